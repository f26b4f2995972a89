"""Objects of every shape: the fast path and the oracle must agree in everything."""

import gzip
import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowconv.blocks import console_csv, json_blocks
from oracle.test_reference_shapes import (
    AS_DAMAGED,
    CLOSED,
    DAMAGED_LINES,
    FORMAT,
    GLUED,
    GOOD,
    IMPOSSIBLE,
    MESSAGES,
    NOT_GLUED,
    ODD_DOCUMENTS,
    OF_ANOTHER_KIND,
    POSSIBLE,
    SHAPES,
    WITHOUT_A_MESSAGE,
)
from support.examples import MORE_EXAMPLES
from support.in_memory import assert_as_reference, convert_in_memory
from support.shapes import (
    LOG_GROUP,
    api_events,
    cloudwatch_export,
    control,
    document,
    firehose,
    gzip_members,
    http_endpoint,
    subscription,
)

FORMATS = """
[flow-logs]
fl-1 = "type bytes version"

[log-groups]
g = "type bytes"
h = "${version} ${type}"
"out/*" = "exclude"

[prefixes]
"a/" = "srcaddr version"
"a/b/" = "version srcaddr"
"""


def each_way(body: bytes, format: str | None = FORMAT, *, cut: bool = True) -> None:
    """Hold the object against the oracle as it is, packed, and read in small pieces.

    Args:
        body: The object.
        format: As --format.
        cut: Also cut JSON in small pieces, which rejects less of damaged documents on one line.
    """
    half = len(body) // 2
    packed = gzip.compress(body, 1), gzip_members([body[:half], b"", body[half:]])
    assert_as_reference([body, *packed], format)
    assert_as_reference([body], format, document_bytes=64 if cut else 1 << 20, piece_bytes=7)


@pytest.mark.parametrize(
    "body", [body for body, _ in SHAPES if not body.startswith(b"PAR1")], ids=lambda b: repr(b)[:50]
)
@pytest.mark.parametrize("format", [FORMAT, None])
def test_shapes(body: bytes, format: str | None) -> None:
    each_way(body, format)
    each_way(body * 3, format)


@pytest.mark.parametrize("body", OF_ANOTHER_KIND)
def test_json_of_another_kind(body: bytes) -> None:
    each_way(body, cut=False)
    (got,) = convert_in_memory([body], FORMAT)
    assert "this JSON is not a flow log" in str(got.failure)


@pytest.mark.parametrize("message", [message for message, _, _ in MESSAGES], ids=repr)
@pytest.mark.parametrize("between", ["", "\n", "\r\n", " \n\t"])
def test_messages(message: str, between: str) -> None:
    each_way(firehose([message, "4 C 7", message], between=between))
    texts = [control(), document([message, "4 C 7"]), document([]), document([message])]
    for indent in (None, 2):
        each_way(subscription(texts, between=between, indent=indent))


@pytest.mark.parametrize("line", DAMAGED_LINES)
def test_damaged_line(line: str) -> None:
    each_way(f"{GOOD}\n{line}\n{GOOD}\n \n {GOOD}\r\n{line}".encode(), cut=False)
    each_way(f"{GOOD}{line} {GOOD}\n{GOOD}".encode(), cut=False)
    if line.startswith("{"):
        each_way(f"{line}\n{GOOD}\n".encode(), cut=False)
        each_way(f"{line}{GOOD}\n{GOOD}".encode(), cut=False)


def http_record(text: str) -> str:
    return http_endpoint([text.encode()]).decode()


# Where a value may lie in JSON, how many levels of its document or event it lies in, and what is
# around that.
AROUND: dict[str, tuple[str, int, Callable[[str], str]]] = {
    "message": ('{"message":"2 A 5","x":%s}', 1, str),
    "log event": ('{"logEvents":[{"message":"2 A 5","x":%s}]}', 3, str),
    "control": ('{"messageType":"CONTROL_MESSAGE","x":%s}', 1, str),
    "record": ('{"version":2,"type":"A","bytes":5,"x":%s}', 1, str),
    "array": ('[{"message":"2 A 5"},{"message":"2 A 5","x":%s}]', 1, str),
    "event": ('{"events":[{"message":"2 A 5","x":%s}]}', 1, str),
    "behind events": ('{"events":[{"message":"2 A 5"}],"x":%s}', 1, str),
    "text": ('{"message":"2 A 5","x":%s}', 1, json.dumps),
    "array in text": ('[{"message":"2 A 5","x":%s}]', 1, json.dumps),
    "data": ('{"message":"2 A 5","x":%s}', 1, http_record),
    "beside data": ('{"records":[{"data":"MiBBIDU=","x":%s}]}', 3, str),
}


@pytest.mark.parametrize("place", AROUND)
@pytest.mark.parametrize(("opened", "closed"), ["[]", ('{"y":', "}")])
def test_levels(place: str, opened: str, closed: str) -> None:
    """Python's own bound lies between 900 levels and 20,000, and depends on its version."""
    document, own, around = AROUND[place]
    for levels in (63, 64, 65, 980, 100_000):
        inner = levels - own
        deep = around(document % (opened * inner + "1" + closed * inner))
        texts = [deep, f"{deep}\n{GOOD}", f"{GOOD}\n{deep}\n{GOOD}", f"{deep}{GOOD}", deep[:-3]]
        assert_as_reference([text.encode() for text in texts[: 5 if inner < 1000 else 1]], FORMAT)
        (got,) = convert_in_memory([f"{deep}\n{GOOD}".encode()], FORMAT)
        if place != "record":
            assert got.failure is None
            assert [line.reason for line in got.rejected] == ["not-json"] * (levels > 64)


@pytest.mark.parametrize(
    "text", WITHOUT_A_MESSAGE + AS_DAMAGED + ODD_DOCUMENTS, ids=lambda t: t[:40]
)
@pytest.mark.parametrize("between", ["", "\n", " "])
def test_document(text: str, between: str) -> None:
    each_way(between.join([GOOD, text, GOOD]).encode(), cut=False)
    each_way(between.join([GOOD, text, GOOD, '{"message":"x', GOOD]).encode(), cut=False)
    each_way(f"{text}{between}{GOOD}\n".encode(), cut=False)


@pytest.mark.parametrize(
    ("format", "line"), [(case[0], case[1]) for case in [*GLUED, *NOT_GLUED]], ids=repr
)
def test_glued(format: str, line: str) -> None:
    text = line.encode()
    assert_as_reference(
        [
            text + b"\n",
            f"{format}\n{line}\n{line}\n".encode(),
            cloudwatch_export([text, text]),
            firehose([line, line]),
            subscription([document([line, line])]),
        ],
        format,
    )


# --- anything -------------------------------------------------------------------------------------

LINES = [
    *("2 A 5", "3 B 6", "- - -", "4 é 7", "2 A 1768348800000", "A 1", "5 6"),
    *("x A 5", "2 A", "2 A 5 6", "2 A -1", "2 A\rB 5", "\ufeff2 A 5"),
    *("2 A 5 3 B 6", "2 A 5 x B 6", "2 A 5 3 B 6 4", "1 2 3 4 5 6 7 8 9"),
    *("\x0b", "\x0c", "\x85", "\u2028", " \x1c ", "version type start\r\r"),
    *("", " ", "# a", "2 A 5 # a", "  2\tA   5 "),
    *("version type start", "type bytes", "srcaddr type", "new version"),
]
SEPARATORS = ["", "\n", "\r\n", " ", "\n\n", "\n \t"]

some_lines = st.lists(st.sampled_from(LINES), max_size=5)
messages = st.lists(
    st.sampled_from([*LINES, "2 A 5\n", "2 A 5\r\n\n", "\n", "2 A 5\n\n3 B 6", "2 A\r\nx A 5"]),
    max_size=5,
)
log_groups = st.sampled_from([None, "g", "h", "other", "out/x"])
some_documents = st.one_of(
    st.builds(lambda lines, group: document(lines, log_group=group), messages, log_groups),
    st.sampled_from(["2 A 5", "A 1", "", "x", "2 A 5\n3 B 6"]).map(lambda text: {"message": text}),
    st.sampled_from(
        [
            {"messageType": "X", "message": "2 A 5", "timestamp": 5},
            {"message": "2 A 5", "timestamp": 1768348800000},
            {"events": [{"message": "2 A 5", "timestamp": 7}], "nextToken": "x"},
            {"records": [{"data": "MiBBIDU="}, {"data": "MiBBIDUKMyBCIDYNCg=="}]},
            {"records": [{"data": "!"}]},
            {"records": [{"data": None}]},
            {"logEvents": [{"message": "2 A 5", "timestamp": -3}], "owner": "000000000001"},
            {"logEvents": [{"message": "2 A 5", "timestamp": 1.5}]},
            {"version": 2, "action": "A", "bytes": 5},
        ]
    ),
    st.sampled_from([control(), {}, {"message": None}, {"messageType": "X"}, {"x": [{"y": "}{"}]}]),
)


def written(parts: list[tuple[dict[str, Any], int | None, str]]) -> bytes:
    """Documents, each with its indent and what stands behind it."""
    texts = [json.dumps(d, ensure_ascii=False, indent=i) + behind for d, i, behind in parts]
    return "".join(texts).encode()


def some_json(separators: list[str]) -> st.SearchStrategy[bytes]:
    """Objects of documents."""
    indents = st.sampled_from([None, None, 1, 3])
    part = st.tuples(some_documents, indents, st.sampled_from(separators))
    return st.lists(part, min_size=1, max_size=6).map(written)


GARBAGE = [
    *(b"\x0b", b"\n\x0c\n", "\u2028".encode(), b"}\x1c\n{", b"}\n\x0b{"),
    *(b"x", b"null", b"5", b"[]", b'"', b"{", b"}", b"{}", b"]}", b",", b"# a", b'{"x":['),
    *(b"\xff", b"\xef\xbb\xbf", b"\r", b"\0", b"\n", b"\\ud800"),
    *(b'{"message":5}', b'{"message":"2 A', b'{"logEvents":[{}]}'),
]


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Objects with lines of rubbish, replaced bytes, or without their end."""
    body = draw(bodies)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(body)))
        what = draw(st.sampled_from(["cut", "replace", "line"]))
        rubbish = draw(st.sampled_from(GARBAGE))
        if what == "cut":
            body = body[:place] if place > len(body) // 2 else body
        elif what == "replace":
            body = body[:place] + rubbish + body[place + draw(st.integers(0, 2)) :]
        else:
            place = body.find(b"\n", place) + 1
            body = body[:place] + rubbish + b"\n" + body[place:]
    return body


@settings(max_examples=100 + MORE_EXAMPLES)
@given(
    bodies=st.lists(some_json(SEPARATORS), min_size=1, max_size=3),
    formats=st.sampled_from([None, FORMATS]),
    size=st.sampled_from([7, 100, 1 << 20]),
)
def test_documents(bodies: list[bytes], formats: str | None, size: int) -> None:
    assert_as_reference(bodies, FORMAT, formats=formats, document_bytes=size, piece_bytes=50)
    assert_as_reference(bodies, formats=formats)


scalars = st.sampled_from(
    [
        2,
        "2",
        "-",
        None,
        True,
        5.0,
        1e3,
        0.5,
        -1,
        1 << 40,
        10**25,
        "A",
        "é",
        "",
        "NaN",
        1768348800000,
    ]
)
some_records = st.dictionaries(
    st.sampled_from(
        ["version", "action", "srcAddr", "bytes", "start", "account_id", "AccountId", "new", "a b"]
    ),
    st.one_of(scalars, scalars, scalars, st.sampled_from([[], {"a": 1}])),
    max_size=6,
)


@settings(max_examples=150 + MORE_EXAMPLES)
@given(
    records=st.lists(some_records, min_size=1, max_size=6),
    separator=st.sampled_from(SEPARATORS),
    rubbish=st.sampled_from(["", "x\n", "{\n", '{"version": 2']),
    place=st.integers(0, 6),
    size=st.sampled_from([7, 100, 1 << 20]),
)
def test_records(
    records: list[dict[str, Any]], separator: str, rubbish: str, place: int, size: int
) -> None:
    texts = [json.dumps(record, ensure_ascii=False) + separator for record in records]
    texts.insert(place, rubbish)
    body = "".join(texts).encode()
    assert_as_reference([body, b"[" + ",".join(map(json.dumps, records)).encode() + b"]"])
    if "\n" in separator and not rubbish.startswith("{"):
        assert_as_reference([body], document_bytes=size, piece_bytes=50)


wrapped = st.one_of(
    st.lists(some_documents, max_size=5).map(lambda documents: json.dumps(documents).encode()),
    st.lists(some_documents, max_size=5).map(
        lambda documents: json.dumps(documents, indent=1).encode() + b"\n"
    ),
    messages.map(api_events),
    some_json(SEPARATORS).map(lambda text: json.dumps(text.decode()).encode()),
    st.lists(some_documents, max_size=3).map(
        lambda documents: json.dumps(json.dumps(documents)).encode()
    ),
    st.lists(
        st.one_of(some_json(SEPARATORS), st.sampled_from([b"2 A 5", b"2 A 5\n3 B 6\r\n", b"\xff"])),
        max_size=3,
    ).map(http_endpoint),
    some_json(SEPARATORS).map(lambda text: http_endpoint([gzip.compress(text, mtime=0)])),
)


@settings(max_examples=200 + MORE_EXAMPLES)
@given(
    parts=st.lists(wrapped, min_size=1, max_size=3),
    between=st.sampled_from(["", "\n", " \r\n"]),
    formats=st.sampled_from([None, FORMATS]),
)
@example(parts=[b'{"version": 2, "action": "A"}', b'"x"', b"[]"], between=" \r\n", formats=None)
def test_wrapped(parts: list[bytes], between: str, formats: str | None) -> None:
    body = between.encode().join(parts)
    assert_as_reference([body, gzip.compress(body, 1)], FORMAT, formats=formats)
    assert_as_reference([body], formats=formats)


@settings(max_examples=150 + MORE_EXAMPLES)
@given(body=damaged(wrapped))
def test_damaged_wrapped(body: bytes) -> None:
    assert_as_reference([body], FORMAT)


@settings(max_examples=200 + MORE_EXAMPLES)
@given(body=damaged(some_json(SEPARATORS)), formats=st.sampled_from([None, FORMATS]))
def test_damaged_documents(body: bytes, formats: str | None) -> None:
    assert_as_reference([body], FORMAT, formats=formats)


EVENT_TIMES = [
    *(b"2026-01-14T00:00:00.000Z", b"2026-01-13T23:59:59.999Z", b"2026-01-14T00:00:00Z"),
    *(b"2026-13-01T00:00:00Z", b"2026-02-29T00:00:00.000Z", b"2026-01-14T24:00:00Z"),
    *(b"2026-01-14T00:00:60Z", b"0000-01-01T00:00:00Z", b"1969-12-31T23:59:59.999Z"),
    *(b"1970-01-01T00:00:00Z", b"9999-12-31T23:59:59.999Z"),
]


def as_text(lines: list[str], shape: str, first_time: int) -> bytes:
    """Lines as an object of a shape that is text."""
    raw = [line.encode() for line in lines]
    if shape == "cloudwatch-export":
        times = EVENT_TIMES[first_time:] + EVENT_TIMES
        return b"".join(
            cloudwatch_export([line], time=time) for line, time in zip(raw, times, strict=False)
        )
    return b"".join(
        line + b"\n" for line in ([b"version type", *raw] if shape == "header" else raw)
    )


texts = st.builds(
    as_text,
    some_lines,
    st.sampled_from(["header", "headerless", "cloudwatch-export"]),
    st.integers(0, len(EVENT_TIMES)),
)
keys = st.builds(
    lambda path, flow_log: {"path": path, "flow_log_id": flow_log},
    st.sampled_from(["a/x", "a/b/x", "x"]),
    st.sampled_from([None, "fl-1", "fl-2"]),
)


@settings(max_examples=150 + MORE_EXAMPLES)
@given(
    objects=st.lists(
        st.tuples(st.one_of(texts, damaged(texts), some_json(["\n"])), keys), min_size=1, max_size=6
    ),
    formats=st.sampled_from([None, FORMATS]),
    size=st.sampled_from([300, 1 << 20]),
)
def test_objects_of_several_shapes(
    objects: list[tuple[bytes, dict[str, Any]]], formats: str | None, size: int
) -> None:
    """They are read together, and joined where they are alike."""
    bodies = [body for body, _ in objects]
    how: dict[str, Any] = {"keys": [key for _, key in objects], "formats": formats}
    assert_as_reference(bodies, FORMAT, **how, block_bytes=size, piece_bytes=40)
    assert_as_reference([gzip.compress(body, 1) for body in bodies], **how)


closed_lines = st.lists(
    st.sampled_from(
        [*POSSIBLE, *POSSIBLE, *IMPOSSIBLE, CLOSED, "", "# a", "x", "  - eni-1\t- -  x "]
    ),
    max_size=8,
)


@settings(max_examples=100 + MORE_EXAMPLES)
@given(
    first=closed_lines,
    repeated=st.sampled_from([0, 1, 49, 50, 99]),
    line=st.sampled_from([POSSIBLE[0], IMPOSSIBLE[0]]),
    last=closed_lines,
    shape=st.sampled_from(["headerless", "cloudwatch-export"]),
    size=st.sampled_from([150, 700, 1 << 20]),
)
def test_declared_formats_that_may_not_fit(
    first: list[str], repeated: int, line: str, last: list[str], shape: str, size: int
) -> None:
    lines = [*first, *[line] * repeated, *last]
    raw = [text.encode() for text in lines]
    body = cloudwatch_export(raw) if shape == "cloudwatch-export" else as_text(lines, shape, 0)
    assert_as_reference([body, body], CLOSED, block_bytes=size, piece_bytes=64)


GROUPS = f"""
default = "{CLOSED}"
[log-groups]
g = "type interface-id version action bytes"
h = "type bytes"
out = "exclude"
"""
# A log group, and messages of a document of it.
closed_documents = st.lists(
    st.tuples(
        st.sampled_from([None, "g", "h", "a", "b", "out"]),
        closed_lines,
        st.sampled_from([0, 0, 1, 50, 99]),
        st.sampled_from([POSSIBLE[0], IMPOSSIBLE[0]]),
    ),
    max_size=5,
)


@settings(max_examples=50 + MORE_EXAMPLES)
@given(
    documents=closed_documents,
    shape=st.sampled_from(["subscription", "firehose", "api", "http", "http-text", "csv"]),
    formats=st.sampled_from([None, GROUPS]),
    size=st.sampled_from([300, 1 << 20]),
)
def test_declared_formats_that_may_not_fit_messages(
    documents: list[tuple[str | None, list[str], int, str]],
    shape: str,
    formats: str | None,
    size: int,
) -> None:
    by_group = [(group, [*lines, *[line] * n]) for group, lines, n, line in documents]
    messages = [message for _, lines in by_group for message in lines]
    made = [document(lines, log_group=group) for group, lines in by_group]
    bodies = {
        "subscription": subscription(made),
        "firehose": firehose(messages),
        "api": api_events(messages),
        "http": http_endpoint([subscription([each]) for each in made]),
        "http-text": http_endpoint(["\n".join(messages).encode()]),
        "csv": as_csv(
            [("1", message) for message in messages], "timestamp,message", quoted=False, end="\n"
        ),
    }
    assert_as_reference([bodies[shape]], CLOSED, formats=formats, document_bytes=size)


def test_a_header_is_believed_within_its_log_group() -> None:
    good, bad = POSSIBLE[0], IMPOSSIBLE[0]
    for before, header, behind in (("a", "a", "a"), ("b", "a", "a"), ("a", "a", "b")):
        documents = [
            document([good], log_group=before),
            document([CLOSED], log_group=header),
            document([good], log_group="b"),
            document([bad] * 3, log_group=behind),
        ]
        assert_as_reference([subscription(documents)], CLOSED)
        (got,) = convert_in_memory([subscription(documents)], CLOSED)
        assert (got.failure is None) == (behind == header)


@pytest.mark.parametrize("most", ["first", "last", "between"])
@pytest.mark.parametrize("pack", [subscription, lambda made: http_endpoint([subscription(made)])])
def test_a_small_log_group_that_a_format_does_not_fit(
    most: str, pack: Callable[[list[dict[str, Any]]], bytes]
) -> None:
    """However many records of another one fit, before or behind its own."""
    documents = [
        document([POSSIBLE[0]] * (300 if most != "last" else 1), log_group="large"),
        document([IMPOSSIBLE[0]], log_group="small"),
        document([POSSIBLE[0]] * (300 if most == "last" else 1), log_group="large"),
        document([POSSIBLE[0]], log_group="small" if most == "between" else "other"),
        document([IMPOSSIBLE[0]], log_group="small"),
    ]
    assert_as_reference([pack(documents)], CLOSED)
    (got,) = convert_in_memory([pack(documents)], CLOSED)
    assert "the declared format does not fit log group 'small': action would" in str(got.failure)
    (got,) = convert_in_memory([pack(documents[:1] + documents[2:4])], CLOSED)
    assert got.failure is None


def test_log_groups_beyond_those_looked_at_apart() -> None:
    good, bad = (
        [document([line], log_group=f"{n}") for n in range(3)]
        for line in (POSSIBLE[0], IMPOSSIBLE[0])
    )
    with mock.patch.object(json_blocks, "_GROUPS_LOOKED_AT", 2):
        for documents in (good + bad[:1], good + bad[1:2], good + bad[2:]):
            (got,) = convert_in_memory([subscription(documents)], CLOSED)
            assert got.failure is None
        for documents in (bad[:1] + good[1:], good[:2] + bad[2:]):
            (got,) = convert_in_memory([subscription(documents)], CLOSED)
            assert "does not fit log group" in str(got.failure)


@pytest.mark.parametrize(
    ("body", "line", "group"),
    [
        (subscription([document(["x", IMPOSSIBLE[0]], log_group="g")]), 2, " log group 'g'"),
        (
            http_endpoint([subscription([document([IMPOSSIBLE[0]])])]),
            1,
            f" log group '{LOG_GROUP}'",
        ),
        (firehose([IMPOSSIBLE[0]]), 1, ""),
        (api_events([IMPOSSIBLE[0]]), 1, ""),
        (cloudwatch_export([IMPOSSIBLE[0].encode()]), 1, ""),
    ],
    ids=["subscription", "http", "firehose", "api", "export"],
)
def test_the_log_group_that_a_format_does_not_fit_is_named(
    body: bytes, line: int, group: str
) -> None:
    (got,) = convert_in_memory([body], CLOSED)
    assert str(got.failure).startswith(
        f"object-0: line {line}: the declared format does not fit{group}: action would be 'OK', "
    )


def as_csv(events: list[tuple[str, str]], columns: str, *, quoted: bool, end: str) -> bytes:
    rows = [columns]
    for time, message in events:
        text = message
        if quoted or any(char in message for char in ',"\n'):
            doubled = message.replace('"', '""')
            text = f'"{doubled}"'
        rows.append(f"{time},{text}")
    return (end.join(rows) + end).encode("utf-8", "surrogateescape")


csv_times = st.sampled_from(
    [
        *("1742570569000", "1742570569001", "0", "99999999999999", "2025-03-21 15:22:49.000"),
        *('"1742570569000"', "2025-03-21T15:22:49Z", "x", "", "-5", "2025-03-21"),
    ]
)
csv_messages = st.sampled_from(
    [*LINES, "2 A 5\n3 B 6", 'a "b" c', "a,b", "2 A 5\n", '"', "\n\n", "\udcff"]
)
some_csv = st.builds(
    lambda events, columns, quoted, end: as_csv(events, columns, quoted=quoted, end=end),
    st.lists(st.tuples(csv_times, csv_messages), max_size=6),
    st.sampled_from(["timestamp,message", "@timestamp,@message", '"timestamp","message"']),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)


@settings(max_examples=100 + MORE_EXAMPLES)
@given(body=st.one_of(some_csv, damaged(some_csv)), format=st.sampled_from([FORMAT, None]))
# Several records behind what is no time.
@example(b"timestamp,message\n1742570569000,2 A 5 3 B 6\nx,2 A 5 3 B 6 4\n", FORMAT)
def test_csv_of_the_console(body: bytes, format: str | None) -> None:
    assert_as_reference([body, b"\n# a\n" + body], format)
    with mock.patch.object(console_csv, "_PIECE_BYTES", 30):
        assert_as_reference([body], format, piece_bytes=20)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (cloudwatch_export([b"a b"]), "this is an export of CloudWatch Logs, which has no"),
        (
            subscription([document(["a b"])]),
            "this is a subscription of CloudWatch Logs, which has no",
        ),
        (firehose(["a b"]), "these are messages of Firehose, which have no"),
        (http_endpoint([b"a b"]), "these are records of Firehose, which have no"),
        (api_events(["a b"]), "these are events of CloudWatch Logs, which have no"),
        (
            b"timestamp,message\n1,a b\n",
            "this is CSV of the CloudWatch console, whose messages have no",
        ),
        (b"a b\n", "this line is not a"),
    ],
)
def test_what_has_no_format_is_named(body: bytes, found: str) -> None:
    (got,) = convert_in_memory([body])
    assert f": {found} header" in str(got.failure)
