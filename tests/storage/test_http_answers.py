"""How the bytes of an answer are read, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from flowconv.storage.http_answers import Answer


def _read(pieces: list[bytes]) -> Answer:
    answer = Answer()
    for piece in pieces:
        answer.add(piece)
    return answer


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

WHOLE = {
    "length": (OK + b"Content-Length: 3\r\n\r\nabc", 200, b"abc", True),
    "no body": (OK + b"content-length:0\r\n\r\n", 200, b"", True),
    "no reason": (b"HTTP/1.1 206\r\nContent-Length: 1\r\n\r\na", 206, b"a", True),
    "ends in lines": (OK + b"Content-Length: 4\r\n\r\n\r\n\r\n", 200, b"\r\n\r\n", True),
    "closes": (OK + b"Connection: Close\r\nContent-Length: 1\r\n\r\na", 200, b"a", False),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 200, b"a", False),
    "old, stays": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        200,
        b"a",
        True,
    ),
    "after another": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\na",
        404,
        b"a",
        True,
    ),
    "chunks": (
        CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        200,
        b"abc0123456789",
        True,
    ),
    "chunks, headers": (CHUNKED + b"1 \r\na\r\n00\r\nX: y\r\n\r\n", 200, b"a", True),
    "no chunks": (CHUNKED + b"0\r\n\r\n", 200, b"", True),
}


@given(name=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_whole_answers(name: str, data: st.DataObject) -> None:
    sent, status, body, may_follow = WHOLE[name]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=6)))
    edges = [0, *cuts, len(sent)]
    pieces = [sent[a:b] for a, b in pairwise(edges)]
    assert not _read(pieces[:-1]).is_whole
    answer = _read(pieces)
    assert (answer.is_whole, answer.may_follow) == (True, may_follow)
    assert (answer.status, answer.body) == (status, body)


def test_headers() -> None:
    answer = _read([OK + b"X-Amz-A:  b:c \r\nContent-Length: 0\r\n\r\n"])
    assert answer.headers == {"x-amz-a": "b:c", "content-length": "0"}


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(["Etag", "etag", "X-Etag", "E", "Etag ", "\xc0"]),
            st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=9),
        )
    )
)
def test_one_header_is_that_of_all(lines: list[tuple[str, str]]) -> None:
    head = "".join(f"{name}:{value}\r\n" for name, value in lines).encode("latin-1")
    answer = _read([OK + head + b"Content-Length: 0\r\n\r\n"])
    for name in ("etag", "x-etag", "e", "\xe0", "content-length", "http/1.1 200 ok"):
        assert answer.header(name) == answer.headers.get(name)


def test_what_follows_an_answer_is_no_part_of_it() -> None:
    answer = _read([OK + b"Content-Length: 3\r\n\r\nabcHTTP"])
    assert (answer.is_whole, answer.may_follow, answer.body) == (True, False, b"abc")


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1, 1\r\n\r\n",
        OK + b"Content-Length: 1e3\r\n\r\n",
        OK + b"Content-Length: \xb9\r\n\r\n",
        OK + b"Content-Length: 1000000000000000000\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"+1\r\na\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"1\r\nabc\r\n",
        OK + b"X: " + bytes(1 << 17),
    ],
)
def test_damaged_answers(sent: bytes) -> None:
    with pytest.raises(ResponseParserError):
        _read([sent])


@pytest.mark.parametrize(
    ("sent", "is_whole"),
    [
        (b"", False),
        (OK, False),
        (OK + b"Content-Length: 3\r\n\r\nab", False),
        (CHUNKED + b"3\r\nabc\r\n", False),
        # It may have broken off.
        (OK + b"\r\nabc", False),
        (b"HTTP/1.1 403 Forbidden\r\n\r\nabc", True),
    ],
)
def test_end_of_the_connection(sent: bytes, is_whole: bool) -> None:
    answer = _read([sent])
    assert answer.end() is is_whole
    assert not answer.may_follow
    if is_whole:
        assert answer.body == b"abc"


@given(sent=st.binary(max_size=200), start=st.sampled_from([b"", OK, CHUNKED, OK + b"\r\n"]))
def test_any_bytes(sent: bytes, start: bytes) -> None:
    """Nothing but the error for damaged answers is raised."""
    try:
        answer = _read([start, sent])
    except ResponseParserError:
        return
    answer.end()
    assert len(answer.body) <= len(sent)
