"""The oracle, over every shape in which logs reach a bucket: answers spelled out by hand."""

import datetime as dt
import gzip
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.reference import (
    Place,
    ReferenceObject,
    Rejected,
    Row,
    Unreadable,
    read_formats,
    read_object,
)
from support.shapes import (
    TIME,
    cloudwatch_export,
    control,
    document,
    firehose,
    gzip_members,
    parquet,
    subscription,
)

# A format that shows all that matters in few words.
FORMAT = "version type start"
A, B, C = "2 A 5", "3 B 6", "4 C 7"
COLUMNS = ("version", "type", "start")


def values(read: ReferenceObject) -> list[tuple[Any, ...]]:
    """Line and values of each row."""
    return [(row.line, *row.values.values()) for row in read.rows]


def bad(read: ReferenceObject) -> list[tuple[int, str, str | None]]:
    """Line, reason and field of each rejected line."""
    return [(line.line, line.reason, line.field) for line in read.rejected]


def read(body: bytes, format: str | None = FORMAT, **how: Any) -> ReferenceObject:
    """Read, with seconds for times."""
    return read_object(body, format=format, time_type="epoch", **how)


# --- shapes, by their signs -----------------------------------------------------------------------


SHAPES = [
    (b"", None),
    (b"\n # a\n \t\n", None),
    (b"version type\n", "header"),
    (b"\xef\xbb\xbf\n# a\nversion type\n", "header"),
    (b"version type x y z\n", "headerless"),
    (b"2 A 5\n", "headerless"),
    (b"\n# a\n2 A 5\n", "headerless"),
    (b"\xff\n", "headerless"),
    (b"#\xff\n", "headerless"),
    (b"2026-01-14T00:00:00Z 2 A 5\n", "cloudwatch-export"),
    (b"2026-01-14T00:00:00.123Z 2 A 5\n", "cloudwatch-export"),
    (b"\n#\n\t2026-01-14T00:00:00.123Z\t2\n", "cloudwatch-export"),
    (b"2026-01-14T00:00:00Z \xff\n", "cloudwatch-export"),
    (b"2026-01-14T00:00:00Z 2 A\rB 5\n2026-01-14T00:00:00Z 2 A 5\n", "cloudwatch-export"),
    (b"2026-01-14T00:00:00Z \r\n2 A 5\n", "headerless"),
    (b"2026-01-14T00:00:00Z  #\xff\n2 A 5\n", "headerless"),
    (b"2026-01-14T00:00:00Z version type\n", "cloudwatch-export"),
    (b"2026-01-14T00:00:00Z\n", "headerless"),
    (b"2026-01-14T00:00:00Z # a\n", "headerless"),
    (b"2026-01-14T00:00:00 2 A 5\n", "headerless"),
    (b"2026-01-14T00:00:00.1Z 2 A 5\n", "headerless"),
    (b"2026-01-14T00:00:00+00:00 2 A 5\n", "headerless"),
    (subscription([document([])]), "subscription"),
    (subscription([control()]), "subscription"),
    (b'{"logEvents":[]}', "subscription"),
    (b'{"messageType":"x"}', "subscription"),
    (b'{"message":"2 A 5","logEvents":[]}', "subscription"),
    (b"\xef\xbb\xbf \n\n" + firehose([A]), "firehose"),
    (b"# a\n\t" + firehose([A]), "firehose"),
    (b'{"message\n{"a\n{"message":"2 A 5"}', "firehose"),
    (parquet({"type": ["A"]}), "parquet"),
]


@pytest.mark.parametrize(("body", "shape"), SHAPES)
@pytest.mark.parametrize("packed", [False, True])
def test_shapes(body: bytes, shape: str | None, packed: bool) -> None:
    assert read(gzip.compress(body) if packed else body).shape == shape


OF_ANOTHER_KIND = [
    b"{",
    b"{}",
    b"{x\n{y\n",
    b'{"records":[]}',
    b'{"a":1}{"message":"2 A 5"}',
    b'{"message":',
    b'{"message":null}',
    b'{"messageType":1}',
    b'{"message":"2 A 5"}{"message":5}',
]


@pytest.mark.parametrize("body", OF_ANOTHER_KIND)
def test_json_of_another_kind(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^format$"):
        read(body)


@pytest.mark.parametrize(
    "body",
    [b"2 A 5\n", cloudwatch_export([b"2 A 5"]), firehose([A]), subscription([document([A])])],
    ids=["headerless", "export", "firehose", "subscription"],
)
def test_without_a_format(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^format$"):
        read(body, format=None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"# a\n",
        cloudwatch_export([b"version type", b"2 A"]),
        subscription([control()]),
        subscription([document(["", "# a", "version type", "2 A"])]),
        firehose(["version type\n2 A\n"]),
    ],
)
def test_without_need_for_a_format(body: bytes) -> None:
    assert read(body, format=None).rejected == []


# --- exports of CloudWatch Logs -------------------------------------------------------------------


def test_export() -> None:
    body = cloudwatch_export([b"2 A 5", b"- B 1768348800000", b"x C 7", b"", b" # a", b"\xff"])
    got = read(body + b"\n# b\n")
    assert values(got) == [(1, 2, "A", 5), (2, None, "B", 1768348800)]
    assert got.rejected == [
        Rejected(3, "not-a-number", "version", TIME + b" x C 7"),
        Rejected(6, "not-utf8", None, TIME + b" \xff"),
    ]
    assert (got.lines, got.blank, got.comment, got.milliseconds) == (8, 2, 2, 1)


def test_exported_records_have_their_events_times() -> None:
    times = [b"2026-01-14T00:00:00.250Z", b"2026-01-14T00:00:01Z", b"2026-02-30T00:00:00Z"]
    times += [b"2026-01-14T24:00:00Z", b"1969-12-31T23:59:59Z"]
    body = b"".join(cloudwatch_export([b"2 A 5"], time=time) for time in times)
    assert [row.logged for row in read(body).rows] == [
        datetime(2026, 1, 14, 0, 0, 0, 250_000, tzinfo=UTC),
        datetime(2026, 1, 14, 0, 0, 1, tzinfo=UTC),
        *(None, None, None),
    ]


@pytest.mark.parametrize(
    "line", [b"2 A 5", b"version type start", b"2026-01-14 00:00:00Z 2 A", b"x" + TIME + b" 2 A"]
)
def test_export_with_a_line_that_has_no_time(line: bytes) -> None:
    got = read(cloudwatch_export([b"2 A 5"]) + line + b"\n" + cloudwatch_export([b"3 B 6"]))
    assert values(got) == [(1, 2, "A", 5), (3, 3, "B", 6)]
    assert got.rejected == [Rejected(2, "not-a-timestamp", None, line)]


def test_export_of_headers() -> None:
    got = read(cloudwatch_export([b"2 A 5", b"type bytes", b"B 1", b"C"]))
    assert values(got) == [(1, 2, "A", 5), (3, "B", 1)]
    assert bad(got) == [(4, "too-few-values", None)]
    assert got.formats == [COLUMNS, ("type", "bytes")]
    assert got.header == 1


# --- subscriptions and Firehose -------------------------------------------------------------------

BETWEEN = ["", "\n", "\r\n", " ", "\n\n \t"]


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_documents(between: str, indent: int | None) -> None:
    documents = [control(), document([A, "# a", B + "\n"]), document([]), control(), document([C])]
    body = subscription(documents, between=between, indent=indent)
    got = read(body)
    assert values(got) == [(1, 2, "A", 5), (3, 3, "B", 6), (4, 4, "C", 7)]
    assert (got.lines, got.comment, got.rejected, got.shape) == (4, 1, [], "subscription")

    got = read(firehose([A, B, "", C], between=between, indent=indent))
    assert values(got) == [(1, 2, "A", 5), (2, 3, "B", 6), (4, 4, "C", 7)]
    assert (got.lines, got.blank, got.rejected, got.shape) == (4, 1, [], "firehose")


def test_documents_in_members_of_gzip() -> None:
    got = read(gzip_members([subscription([each]) for each in (control(), document([A]))]))
    assert values(got) == [(1, 2, "A", 5)]


MESSAGES = [
    ("2 A 5\n", 1, 0),
    ("2 A 5\r\n\r\n\n", 1, 0),
    ("2 A 5\r", 1, 0),
    ("2 A 5\n3 B 6", 2, 0),
    ("2 A 5\r\n3 B 6\r\n", 2, 0),
    ("2 A 5\n\n3 B 6", 2, 1),
    ("\n2 A 5", 1, 1),
    ("", 0, 1),
    ("\n\r\n", 0, 1),
    (" \t ", 0, 1),
    ("  2\tA   5 # a", 1, 0),
]


@pytest.mark.parametrize(("message", "rows", "blank"), MESSAGES)
def test_lines_of_messages(message: str, rows: int, blank: int) -> None:
    for body in (firehose([message, C]), subscription([document([message, C])])):
        got = read(body)
        assert (len(got.rows), got.blank, got.rejected) == (rows + 1, blank, [])
        assert got.rows[-1].line == got.lines == rows + blank + 1


def test_bad_messages() -> None:
    messages = ["x A 5", "2 A", "2 A 5 6", "2 A\rB 5", "2 \x00 5", "2 \U0001f600 5"]
    rejected = [
        Rejected(1, "not-a-number", "version", b"x A 5"),
        Rejected(2, "too-few-values", None, b"2 A"),
        Rejected(3, "too-many-values", None, b"2 A 5 6"),
        Rejected(4, "control-character", None, b"2 A\rB 5"),
    ]
    for body in (firehose(messages), subscription([document(messages)])):
        got = read(body)
        assert got.rejected == rejected
        assert values(got) == [(5, 2, "\x00", 5), (6, 2, "\U0001f600", 5)]


def test_headers_in_messages() -> None:
    got = read(firehose([A, "type bytes", "B 1", "C x"]))
    assert values(got) == [(1, 2, "A", 5), (3, "B", 1)]
    assert bad(got) == [(4, "not-a-number", "bytes")]
    assert got.formats == [COLUMNS, ("type", "bytes")]


def test_a_header_is_that_of_its_log_group() -> None:
    documents = [
        document(["type bytes", "A 1"], log_group="a"),
        document([B], log_group="b"),
        document(["C 2"], log_group="a"),
        document(["4 D 8"], log_group=None),
    ]
    got = read(subscription(documents))
    assert values(got) == [(2, "A", 1), (3, 3, "B", 6), (4, "C", 2), (5, 4, "D", 8)]
    assert got.formats == [("type", "bytes"), COLUMNS, ("type", "bytes"), COLUMNS]


GOOD = '{"message":"4 C 7"}'


DAMAGED_LINES = [
    "x",
    "[]",
    '["2 A 5"]',
    "5",
    "null",
    "{",
    "}",
    "{}}",
    '{"message":',
    '{"message":"2 A 5"',
    '{"message":"2 A 5',
    '{"message":"2 A 5"},',
    '{"message":"2 A 5"} x',
    '{"message":"2 A 5"}{"message":"2 A',
    '{"message":"2 A 5"}{"message":NaN}',
    '{"message":"2 A 5","x":01}',
    '{"message":"2 A 5",}',
    "{'message':'2 A 5'}",
    '{message:"2 A 5"}',
    '{"message":"2\tA 5"}',
    '{"message":"2 A 5\0"}',
    '{"message":"2 A 5\\x"}',
    '{"message":"2 A 5\\u12"}',
    '{"message":"2 A 5"}\x0b',
    '{"message":"2 A 5"}\x00',
    '{"message":"2 A 5"}/* a */',
    "# a",
]


@pytest.mark.parametrize("line", DAMAGED_LINES)
def test_damaged_line(line: str) -> None:
    got = read(f"{GOOD}\n{line}\n{GOOD}\n \n {GOOD}\r\n{line}".encode())
    assert values(got) == [(n, 4, "C", 7) for n in (1, 3, 4)]
    text = line.encode()
    assert got.rejected == [Rejected(n, "not-json", None, text) for n in (2, 5)]
    if line.startswith("{"):
        # As the first line too: the first document that is whole decides.
        got = read(f"{line}\n{GOOD}\n".encode())
        assert values(got) == [(2, 4, "C", 7)]


def test_line_that_is_not_utf8() -> None:
    line = b'{"message":"2 \xff 5"}'
    got = read(GOOD.encode() + b"\n" + line + b"\n" + GOOD.encode())
    assert got.rejected == [Rejected(2, "not-json", None, line)]
    assert values(got) == [(1, 4, "C", 7), (3, 4, "C", 7)]


WITHOUT_A_MESSAGE = [
    "{}",
    '{"x":1}',
    '{"message":null}',
    '{"Message":"2 A 5"}',
    '{"logEvents":null}',
    '{"logEvents":[{"message":"2 A 5"},{}]}',
    '{"logEvents":[{"message":"2 A 5"},null]}',
    '{"logEvents":[{"message":"2 A 5"},{"message":null}],"message":"2 A 5"}',
    '{"messageType":"DATA_MESSAGE"}',
    '{"logGroup":"g"}',
]


@pytest.mark.parametrize("text", WITHOUT_A_MESSAGE)
def test_firehose_document_without_a_message(text: str) -> None:
    """It alone is rejected: where it ends is known."""
    for before, behind in (("\n", "\n"), ("", ""), (" ", " ")):
        got = read(f"{GOOD}{before}{text}{behind}{GOOD}".encode())
        assert got.rejected == [Rejected(2, "not-json", None, text.encode())]
        assert values(got) == [(1, 4, "C", 7), (3, 4, "C", 7)]


@pytest.mark.parametrize(
    "others",
    [
        {"logEvents": None},
        {"logEvents": [{"message": "2 A 5"}, {}]},
        {"logEvents": [{"message": "2 A 5"}, None]},
        {"logEvents": [{"message": "2 A 5"}, {"message": None}]},
    ],
    ids=str,
)
def test_subscription_document_without_messages(others: dict[str, Any]) -> None:
    text = subscription([document([A], **others)])
    good = subscription([document([C])])
    for between in (b"", b"\n"):
        got = read(between.join([good, text, good]))
        assert got.rejected == [Rejected(2, "not-json", None, text)]
        assert values(got) == [(1, 4, "C", 7), (3, 4, "C", 7)]


AS_DAMAGED = [
    '{"message":5}',
    '{"message":["2 A 5"]}',
    '{"message":{"message":"2 A 5"}}',
    '{"message":"2 A 5","message":1}',
    '{"message":"1 B 6","message":"2 A 5"}',
    '{"message":"2 A 5","messageType":5}',
    '{"message":"2 A 5","messageType":["DATA_MESSAGE"]}',
    '{"message":"2 A 5","logGroup":5}',
    '{"logEvents":{}}',
    '{"logEvents":"2 A 5"}',
    '{"logEvents":["2 A 5"]}',
    '{"logEvents":[{"message":5}]}',
    '{"logEvents":[{"message":"1 B 6","message":"2 A 5"}]}',
    '{"message":"2 \\ud800 5"}',
    '{"message":"2 A 5","x":"\\udc00"}',
    '{"message":"2 A 5","x":1e999}',
    '{"message":"2 A 5","x":' + "[" * 64 + "]" * 64 + "}",
    '{"logEvents":[{"message":"2 A 5","x":' + "[" * 62 + "]" * 62 + "}]}",
    '{"x":' * 64 + "{}" + "}" * 64,
    '{"message":"2 A 5","x":' + "[" * 100_000 + "]" * 100_000 + "}",
]


@pytest.mark.parametrize("text", AS_DAMAGED, ids=lambda text: text[:40])
def test_document_that_counts_as_damage(text: str) -> None:
    """What is known is of another type or there twice; no text or number can hold it; too deep."""
    got = read(f"{GOOD}\n{text}\n{GOOD}".encode())
    assert got.rejected == [Rejected(2, "not-json", None, text.encode())]
    assert values(got) == [(1, 4, "C", 7), (3, 4, "C", 7)]
    # Glued, all is one line.
    line = f"{GOOD}{text} {GOOD}"
    got = read(f"{GOOD}\n{line}".encode())
    assert got.rejected == [Rejected(2, "not-json", None, line.encode())]


def test_documents_of_both_shapes() -> None:
    subscribed, fired = subscription([control(), document([A])]), firehose([B], between="")
    got = read(subscribed + fired)
    assert (values(got), got.shape) == ([(1, 2, "A", 5), (2, 3, "B", 6)], "firehose")
    got = read(fired + subscribed)
    assert (values(got), got.shape) == ([(1, 3, "B", 6), (2, 2, "A", 5)], "subscription")


@pytest.mark.parametrize("kind", ["OTHER", "data_message", "", "control_message"])
def test_other_types_of_messages_are_read(kind: str) -> None:
    got = read(subscription([document([A], messageType=kind)]))
    assert (values(got), got.shape) == ([(1, 2, "A", 5)], "subscription")


ODD_DOCUMENTS = [
    '{"message":"2 A 5","x":[[[[[]]]]]}',
    '{"message":"2 A 5","x":' + "[" * 63 + "]" * 63 + "}",
    '{"message":"2 A 5","x":"' + "[" * 90 + '\\"","y":[' + "[]," * 90 + "{}]}",
    '{"message":"2 A 5","x":' + "9" * 5000 + ',"y":-0.0,"z":1E-9999}',
    '{"message":"2 A 5","x":1,"x":{}}',
    '{"message":"2 A 5","x":NaN,"y":[-Infinity]}',
    '{"message":"2 A 5","x":{"message":1,"message":2}}',
    '{"message":"2 A 5","messageType":null,"logGroup":null,"logEvents":null}',
    '{"":{},"\\u006d\\u0065\\u0073sage":"2\\u0020A 5"}',
    '{"x":{"logEvents":[],"messageType":"CONTROL_MESSAGE"},"message":"2 A 5"}',
    '{"message":"2 A 5","\\u0000":"\\u0000"}',
    ' \t{ "message" : "2 A 5" } \r',
]


@pytest.mark.parametrize("text", ODD_DOCUMENTS, ids=lambda text: text[:40])
def test_odd_documents_that_are_whole(text: str) -> None:
    got = read(f"{GOOD}\n{text}\n".encode())
    assert (values(got), got.rejected) == ([(1, 4, "C", 7), (2, 2, "A", 5)], [])


def test_subscription_without_what_is_not_needed() -> None:
    for body in (
        b'{"logEvents":[{"message":"2 A 5"}]}',
        b'{"messageType":"DATA_MESSAGE","logGroup":null,"logEvents":[{"message":"2 A 5","id":[]}]}',
    ):
        assert values(read(body)) == [(1, 2, "A", 5)]


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_documents_cut_off(indent: int | None) -> None:
    """Wherever the object ends: whole documents' lines are rows; of the last one, whole events."""
    body = subscription([document([A, B]), document([C])], between="\n", indent=indent)
    last = body.rindex(b'{"messageType"' if indent is None else b"{\n" + b" " * indent + b'"mess')
    event = body.rindex(b"{")
    for end in range(last + 1, len(body) - 1):
        got = read(body[:end])
        rest = body[last:end]
        rows = [(2, "A", 5), (3, "B", 6)]
        # An event on lines of its own is like a document of Firehose.
        if indent is not None and b"}" in rest:
            rows.append((4, "C", 7))
            rest = body[last:event] + body[body.index(b"}", event) + 1 : end]
        assert [line[1:] for line in values(got)] == rows
        assert [line.reason for line in got.rejected] == ["not-json"] * len(got.rejected)
        texts = [line for line in rest.split(b"\n") if line.strip()]
        assert [line.text for line in got.rejected] == texts
    # Glued, all is one line, and nothing of it is guessed.
    glued = body.replace(b"\n", b"")
    with pytest.raises(Unreadable, match=r"^format$"):
        read(glued[:-1])


def test_damage_in_an_indented_document() -> None:
    indented = firehose([A], indent=2)
    damaged = indented.replace(b'"2 A 5"', b'"2 A 5",')
    got = read(indented + damaged + indented)
    assert values(got) == [(1, 2, "A", 5), (5, 2, "A", 5)]
    assert got.rejected == [
        Rejected(n, "not-json", None, text)
        for n, text in enumerate([b"{", b'  "message": "2 A 5",', b"}"], start=2)
    ]


def test_a_line_broken_off_takes_no_other_with_it() -> None:
    for broken in ("{", '{"message":', '{"message":"2 A 5",', '{"x":[', '{"x":[{"y":1},'):
        got = read(f"{broken}\n{GOOD}\n{GOOD}\n".encode())
        assert values(got) == [(2, 4, "C", 7), (3, 4, "C", 7)]
        assert got.rejected == [Rejected(1, "not-json", None, broken.encode())]


# --- formats --------------------------------------------------------------------------------------

FORMATS = """
default = "version type"

[flow-logs]
fl-1 = "${type} ${bytes}"

[log-groups]
g = "${type} ${packets}"

[prefixes]
"a/" = "${type} ${dstport}"
"a/b" = "${type} ${srcport}"
"""


@pytest.mark.parametrize(
    ("place", "column"),
    [
        (Place(), None),
        (Place(path="a"), None),
        (Place(path="x/a/b"), None),
        (Place(log_group="G", flow_log_id="fl-"), None),
        (Place(path="a/x"), "dstport"),
        (Place(path="a/bc/d"), "srcport"),
        (Place(path="a/bc/d", log_group="g"), "packets"),
        (Place(path="a/bc/d", log_group="g", flow_log_id="fl-1"), "bytes"),
    ],
)
def test_formats(place: Place, column: str | None) -> None:
    got = read(b"5 5", formats=read_formats(FORMATS), place=place)
    assert got.formats == [("type", column) if column else ("version", "type")]
    # A header wins over all of them.
    assert read(b"srcaddr type\na b", formats=read_formats(FORMATS), place=place).header == 1


def test_formats_by_log_group() -> None:
    documents = [document(["A 1"], log_group=name) for name in ("g", "h", None)]
    got = read(subscription(documents), formats=read_formats('[log-groups]\ng="type bytes"'))
    assert got.formats == [("type", "bytes"), COLUMNS]
    assert bad(got) == [(2, "too-few-values", None), (3, "too-few-values", None)]
    got = read(
        subscription(documents[2:]), place=Place(log_group="g"), formats=read_formats(FORMATS)
    )
    assert got.formats == [("type", "packets")]
    with pytest.raises(Unreadable, match=r"^format$"):
        read(
            subscription(documents),
            format=None,
            formats=read_formats('[log-groups]\ng="type bytes"'),
        )


def test_formats_that_say_nothing() -> None:
    assert read(A.encode(), formats=read_formats("")).formats == [COLUMNS]
    with pytest.raises(Unreadable, match=r"^format$"):
        read(A.encode(), format=None, formats=read_formats(""))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "other = 1",
        "default = 1",
        'default = ""',
        'default = "type type"',
        "prefixes = 1",
        "[prefixes]\na = 1",
        '[prefixes]\na = ""',
    ],
)
def test_formats_of_no_use(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_formats(text)


# --- glued records --------------------------------------------------------------------------------

# Status last, so that records may touch.
TOUCHING = "version type log-status"


GLUED = [
    (FORMAT, "2 A 5 3 B 6", [(2, "A", 5), (3, "B", 6)]),
    (FORMAT, "2 A 5  - - 6\t4 C 7", [(2, "A", 5), (None, None, 6), (4, "C", 7)]),
    (FORMAT, "2 A 5 3 B 6 # a", [(2, "A", 5), (3, "B", 6)]),
    ("version", "2 3", [(2,), (3,)]),
    (TOUCHING, "2 A OK 3 B OK", [(2, "A", "OK"), (3, "B", "OK")]),
    (TOUCHING, "2 A OK3 B NODATA", [(2, "A", "OK"), (3, "B", "NODATA")]),
    (
        TOUCHING,
        "2 A SKIPDATA3 B NODATA4 C OK5 D OK",
        [(2, "A", "SKIPDATA"), (3, "B", "NODATA"), (4, "C", "OK"), (5, "D", "OK")],
    ),
    (TOUCHING, "2 A OK3 B OK 4 C OK", [(2, "A", "OK"), (3, "B", "OK"), (4, "C", "OK")]),
    ("account-id bytes log-status", "01 1 OK02 2 OK", [("01", 1, "OK"), ("02", 2, "OK")]),
    ("start type log-status", "5 A OK6 B OK", [(5, "A", "OK"), (6, "B", "OK")]),
    ("log-status bytes", "OK 1 NODATA 2", [("OK", 1), ("NODATA", 2)]),
    # Just one record, whatever its status.
    ("version type flow-direction", "2 A OK3", [(2, "A", "OK3")]),
]


@pytest.mark.parametrize(("format", "line", "records"), GLUED)
def test_glued(format: str, line: str, records: list[tuple[Any, ...]]) -> None:
    for body in (
        f"{line}\n".encode(),
        cloudwatch_export([line.encode()]),
        firehose([line]),
        f"{format}\n{line}\n".encode(),
    ):
        got = read(body, format)
        assert [tuple(row.values.values()) for row in got.rows] == records
        assert {row.line for row in got.rows} == {got.lines}
        assert (got.split, got.rejected) == (len(records) - 1, [])


NOT_GLUED = [
    (FORMAT, "2 A 5 x B 6", "glued-records"),
    (FORMAT, "2 A 5 3 B 99999999999999999", "glued-records"),
    (FORMAT, "2 A 5 3", "too-many-values"),
    (FORMAT, "2 A 5 3 B 6 7", "too-many-values"),
    (FORMAT, "2 A 53 B 6", "too-many-values"),
    (TOUCHING, "2 A OK3 B", "too-many-values"),
    (TOUCHING, "2 A OK3 B OK 4", "too-many-values"),
    (TOUCHING, "2 A OK3 B OK4", "too-many-values"),
    (TOUCHING, "2 A OK3000000000 B OK", "glued-records"),
    (TOUCHING, "2 A OK 3 B", "too-many-values"),
    (TOUCHING, "2 A OKx B OK", "too-many-values"),
    (TOUCHING, "2 A ok3 B OK", "too-many-values"),
    (TOUCHING, "2 A OK- B OK", "too-many-values"),
    ("type bytes log-status", "A 1 OK2 1 OK", "too-many-values"),
    ("log-status version type", "OK 2 A OK3 B", "too-many-values"),
    # One record of more fields than the format has.
    (FORMAT, "2 A 5 - - -", "too-many-values"),
    (FORMAT, "- - - 2 A 5", "too-many-values"),
    ("version", "2 - 3", "too-many-values"),
    (TOUCHING, "2 A OK - - -", "too-many-values"),
    (TOUCHING, "2 A OK 3 B -", "too-many-values"),
    (TOUCHING, "2 A - 3 B OK", "too-many-values"),
    (TOUCHING, "2 A OK 3 B x", "too-many-values"),
    (TOUCHING, "2 A OK2 B x", "too-many-values"),
    (TOUCHING, "2 A OK 3 B ok", "too-many-values"),
    (TOUCHING, "x A OK 3 B x", "too-many-values"),
    ("log-status bytes", "OK 1 A 2", "too-many-values"),
    ("log-status bytes", "- 1 OK 2", "too-many-values"),
    # Nothing would show that text fits.
    ("srcaddr type", "a b c d", "too-many-values"),
    ("instance-tag", "a b", "too-many-values"),
]


@pytest.mark.parametrize(("format", "line", "reason"), NOT_GLUED)
def test_glued_records_that_do_not_fit(format: str, line: str, reason: str) -> None:
    got = read(f"{line}\n".encode(), format)
    assert (got.rows, got.split) == ([], 0)
    assert got.rejected == [Rejected(1, reason, None, line.encode())]


def test_glued_exports_keep_the_time_between() -> None:
    got = read(cloudwatch_export([b"2 A 5 " + TIME + b" 3 B 6"]))
    assert bad(got) == [(1, "too-many-values", None)]


def test_milliseconds_are_counted() -> None:
    got = read(
        b"5 253402300799\n5 253402300800\n1768348800000 1768348800000\n- -\n1768348800000 x\n"
        b"1768348800000 5 5 1768348800000\n",
        "start end",
    )
    assert got.milliseconds == 4
    assert (len(got.rows), got.split) == (6, 1)


# --- Parquet --------------------------------------------------------------------------------------

V2 = {
    "version": pa.array([2, 2], pa.int32()),
    "account_id": ["012345678901", "-"],
    "srcaddr": ["10.0.0.1", "-"],
    "srcport": pa.array([443, None], pa.int32()),
    "bytes": pa.array([999999999999, None]),
    "start": [1768348800, 1768348801],
    "log_status": ["OK", "NODATA"],
}


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_parquet(compression: str) -> None:
    got = read(parquet(V2, compression=compression), format=None)
    assert got == ReferenceObject(
        header=0,
        blank=0,
        comment=0,
        rows=[
            Row(1, "vpc", dict(zip(V2, row, strict=True)))
            for row in [(2, "012345678901", "10.0.0.1", 443, 999999999999, 1768348800, "OK")]
        ]
        + [Row(2, "vpc", dict.fromkeys(V2) | {"version": 2, "start": 1768348801} | NODATA)],
        rejected=[],
        lines=2,
        formats=[tuple(V2)],
        shape="parquet",
    )


NODATA = {"log_status": "NODATA"}


def stored(name: str, array: "pa.Array[Any]") -> list[Any]:
    """What a column comes to: a value, or why there is none."""
    got = read(parquet({"interface_id": ["x"] * len(array), name: array}))
    results: dict[int, Any] = {row.line: row.values[name.replace("-", "_")] for row in got.rows}
    assert all(line.field == name.replace("_", "-") for line in got.rejected)
    results |= {line.line: Bad(line.reason) for line in got.rejected}
    assert results.keys() == set(range(1, len(array) + 1))
    return [results[n] for n in range(1, len(array) + 1)]


@dataclass(frozen=True)
class Bad:
    reason: str


NONE, FAR = Bad("not-a-number"), Bad("out-of-range")
DAY = dt.datetime(2026, 1, 14, tzinfo=dt.UTC)
SECONDS = 1768348800


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        # Numbers of any width.
        ("srcport", pa.array([0, -128, None, 127], pa.int8()), [0, FAR, None, 127]),
        ("srcport", pa.array([65535], pa.uint16()), [65535]),
        ("version", pa.array([2**31 - 1, 2**31, -(2**31) - 1]), [2**31 - 1, FAR, FAR]),
        ("srcport", pa.array([65536, -1, 2**31], pa.int64()), [FAR, FAR, FAR]),
        ("protocol", pa.array([255, 256, None], pa.int32()), [255, FAR, None]),
        ("packets", pa.array([0, -1], pa.int64()), [0, FAR]),
        ("bytes", pa.array([-1.0, 7.0, -1e300]), [FAR, 7, FAR]),
        ("dstport", pa.array([Decimal("65536.0"), Decimal("-1.0")]), [FAR, FAR]),
        ("bytes", pa.array([2**63 - 1, 2**63], pa.uint64()), [2**63 - 1, FAR]),
        ("bytes", pa.array([1, None], pa.int64()).dictionary_encode(), [1, None]),
        ("bytes", pa.nulls(2), [None, None]),
        # Numbers with a fraction, which pandas makes of those that may be null.
        ("bytes", pa.array([1.0, -0.0, float("nan"), None, 0.5]), [1, 0, None, None, NONE]),
        ("bytes", pa.array([float("inf"), 1e18, 1e19]), [NONE, 10**18, FAR]),
        ("srcport", pa.array([443.0, 1e10], pa.float32()), [443, FAR]),
        ("bytes", pa.array([Decimal("7.00"), Decimal("7.50")]), [7, NONE]),
        # Text.
        ("srcport", pa.array(["443", "007", "-1", "-", None]), [443, 7, FAR, None, None]),
        ("srcport", pa.array(["None", "NaN", "nan", ""]), [None] * 4),
        ("srcport", pa.array(["none", "NAN", " 1", "1.0", "null", " "]), [NONE] * 6),
        ("srcport", pa.array(["2147483648"]), [FAR]),
        ("srcport", pa.array([b"443", b"-", b"x"], pa.binary()), [443, None, NONE]),
        ("srcport", pa.array(["443", "-"], pa.large_string()), [443, None]),
        ("srcport", pa.array(["443", None]).dictionary_encode(), [443, None]),
        # Times.
        ("start", pa.array([SECONDS, 0, -1]), [SECONDS, 0, FAR]),
        ("start", pa.array([SECONDS * 1000 + 999, 253402300800000]), [SECONDS, FAR]),
        ("start", pa.array([float(SECONDS), float("nan"), 1.5]), [SECONDS, None, NONE]),
        (
            "start",
            pa.array([f"{SECONDS}", f"{SECONDS}000", "x", ""]),
            [SECONDS, SECONDS, NONE, None],
        ),
        ("end", pa.array([DAY, None]), [SECONDS, None]),
        ("end", pa.array([DAY], pa.timestamp("ms", "UTC")), [SECONDS]),
        ("end", pa.array([DAY], pa.timestamp("us", "Asia/Tokyo")), [SECONDS]),
        ("end", pa.array([SECONDS * 10**9 + 999_999_999], pa.timestamp("ns")), [SECONDS]),
        ("end", pa.array([-1, 0], pa.timestamp("us")), [FAR, 0]),
        (
            "end",
            pa.array([253402300799_999, 253402300800_000], pa.timestamp("ms")),
            [253402300799, FAR],
        ),
        # Text stays as it is.
        (
            "srcaddr",
            pa.array(["a b", "-", "", "None", "nan", " x", "#", None]),
            ["a b", None, "", "None", "nan", " x", "#", None],
        ),
        ("srcaddr", pa.array(["é", "a\nb"]), ["é", "a\nb"]),
        ("srcaddr", pa.array([b"a", b"\xff"], pa.binary()), ["a", Bad("not-utf8")]),
        ("srcaddr", pa.array([1, -1]), ["1", "-1"]),
        ("instance_tag", pa.array(["a%20b", "%FF", "-"]), ["a b", "%FF", None]),
        # Accounts that lost their zeros.
        (
            "account_id",
            pa.array([12, 123456789012, 0, -1, None]),
            ["000000000012", "123456789012", "000000000000", "-1", None],
        ),
        ("account_id", pa.array([12.0, float("nan"), 0.5]), ["000000000012", None, "0.5"]),
        ("account_id", pa.array(["12", "unknown", "-"]), ["12", "unknown", None]),
        ("tgw_src_vpc_account_id", pa.array([12]), ["000000000012"]),
        # What AWS does not document is text.
        ("other", pa.array(["a", "-", "", "None"]), ["a", None, "", "None"]),
        ("other", pa.array([12, None]), ["12", None]),
        ("other", pa.array([1.0, 0.5, float("nan")]), ["1", "0.5", None]),
        ("other", pa.array([True, False, None]), ["true", "false", None]),
        ("other", pa.array([DAY.date(), None]), ["2026-01-14", None]),
    ],
    ids=lambda value: f"{value.type}" if isinstance(value, pa.Array) else None,
)
def test_parquet_values(name: str, array: "pa.Array[Any]", expected: list[Any]) -> None:
    assert stored(name, array) == expected


def test_parquet_milliseconds() -> None:
    columns = {
        "start": [1768348800000, 5, None, 1768348800000],
        "end": ["-", "6", "1768348800000", "x"],
        "srcport": [1, 2, 3, 4],
    }
    got = read(parquet(columns))
    assert (got.milliseconds, len(got.rows)) == (2, 3)
    assert read(parquet({"start": pa.array([DAY])})).milliseconds == 0


def test_parquet_rejects_rows() -> None:
    columns = {
        "srcaddr": pa.array([b"a", b"\xff", None], pa.binary()),
        "srcport": ["x", "y", "None"],
        "account_id": [7, 8, 9],
        "nested": [[1], [2], [3]],
        "end": pa.array([DAY, DAY, None]),
        "bytes": [0.5, 1.0, 2.5],
    }
    got = read(parquet(columns))
    assert got.rejected == [
        Rejected(1, "not-a-number", "srcport", b"a x 000000000007 1768348800 0.5"),
        Rejected(2, "not-utf8", "srcaddr", b"\xff y 000000000008 1768348800 1"),
        Rejected(3, "not-a-number", "bytes", b"- - 000000000009 - 2.5"),
    ]
    assert (got.lines, got.rows) == (3, [])


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["account-id", "srcAddr", "LOG_STATUS"], ("account_id", "srcaddr", "log_status")),
        (["srcaddr", "New Field"], ("srcaddr",)),
        (
            ["srcaddr", "vpc-id", "New-Field", "date"],
            ("srcaddr", "vpc_id", "New-Field", "date"),
        ),
        (
            [
                "__index_level_0__",
                "srcaddr",
                "é",
                "1",
                "",
                *["type", "vpcId", "subnetId", "az-id"],
            ],
            ("srcaddr", "type", "vpc_id", "subnet_id", "az_id"),
        ),
        (
            ["x", "y", "z", "w", "srcaddr", "dstaddr", "interface-id"],
            ("x", "y", "z", "w", "srcaddr", "dstaddr", "interface_id"),
        ),
    ],
)
def test_parquet_names(names: list[str], columns: tuple[str, ...]) -> None:
    got = read(parquet(pa.table([["a"]] * len(names), names=names)))
    assert got.formats == [columns]
    assert [tuple(row.values) for row in got.rows] == [columns]


def test_parquet_of_a_transit_gateway() -> None:
    got = read(parquet({"tgw_id": ["tgw-1"], "packets_lost_blackhole": [7]}))
    assert got.rows == [Row(1, "tgw", {"tgw_id": "tgw-1", "packets_lost_blackhole": 7})]


@pytest.mark.parametrize(
    "other",
    [
        pa.array([[1]]),
        pa.array([{"a": {"b": 1}}]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
        pa.array([dt.time(1)]),
        pa.array([DAY]),
    ],
    ids=lambda array: f"{array.type}"[:20],
)
def test_parquet_columns_that_are_left_out(other: "pa.Array[Any]") -> None:
    got = read(parquet({"other": other, "srcaddr": ["a"]}))
    assert got.rows == [Row(1, "vpc", {"srcaddr": "a"})]
    # A known field cannot be that.
    with pytest.raises(Unreadable, match=r"^format$"):
        read(parquet({"srcport": other, "srcaddr": ["a"]}))


@pytest.mark.parametrize(
    "columns",
    [
        {"x": ["a"]},
        {"x": [[1]]},
        {"srcport": [True]},
        {"srcaddr": [True]},
        {"start": pa.array([DAY.date()])},
        {"bytes": pa.array([DAY])},
        {"srcaddr": ["a"], "src_addr": ["b"]},
        {"srcaddr": ["a"], "SRCADDR": ["b"]},
        {"srcaddr": ["a"], "x_y": ["b"], "x-y": ["c"]},
        {f"x{n}": ["a"] for n in range(512)} | {"srcaddr": ["a"]},
        {f"x{n}": ["a"] for n in range(512)}
        | {key: [1] for key in ["srcaddr", "dstaddr", "version"]},
        # Other tables.
        {"bill_id": ["a"], "region": ["b"], "cost": [1]},
        {"eventversion": ["a"], "type": ["b"], "version": ["c"]},
        {"uid": ["a"], "id.orig_h": ["b"], "proto": ["c"], "service": ["d"]},
        {"start": [1], "end": [2], "type": ["a"], "version": [2], "user": ["b"]},
        {"srcaddr": ["a"], "x": ["b"], "y": ["c"]},
        {"srcaddr": ["a"], "dstaddr": ["b"], "x": ["c"], "y": ["d"], "z": ["e"]},
        {"srcaddr": ["a"], "interface_id": ["b"], "x": ["c"], "y": ["d"], "z": ["e"]},
        {"class_uid": [4001], "src_endpoint": [{"ip": "a"}], "srcaddr": ["a"], "dstaddr": ["b"]},
    ],
    ids=lambda columns: " ".join(columns)[:40],
)
def test_parquet_that_cannot_be(columns: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=r"^format$"):
        read(parquet(columns))


def test_parquet_without_rows() -> None:
    got = read(parquet({"srcaddr": pa.array([], pa.string())}))
    assert (got.lines, got.rows, got.formats, got.shape) == (0, [], [("srcaddr",)], "parquet")


@pytest.mark.parametrize("end", [4, 8, 20, 100, -100, -8, -4, -1])
def test_damaged_parquet(end: int) -> None:
    with pytest.raises(Unreadable, match=r"^corrupt$"):
        read(parquet(V2)[:end])


def test_parquet_with_text_that_is_not_utf8() -> None:
    """Its file says that it is."""
    buffers = [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    array = pa.Array.from_buffers(pa.string(), 1, buffers)
    with pytest.raises(Unreadable, match=r"^corrupt$"):
        read(parquet({"srcaddr": array}))


# --- anything -------------------------------------------------------------------------------------

OBJECTS = [
    b"version type start\n2 A 5\n3 B 6 4 C 7\n",
    cloudwatch_export([b"2 A 5", b"3 B 6 4 C 7"]),
    subscription([control(), document([A, B]), document([f"{B} {C}"])], between="\n"),
    subscription([document([A, B]), document([C])], indent=1),
    firehose([A, B], between=""),
    firehose([A, B, C]),
]
PIECES = [
    b"",
    b"\n",
    b'"',
    b"{",
    b"}",
    b"}{",
    b"\\",
    b"\\ud800",
    b"\xff",
    b"\r",
    b" ",
    b"#",
    b"OK3",
]


@settings(max_examples=300, deadline=None)
@given(
    body=st.sampled_from(OBJECTS),
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.sampled_from(PIECES)), max_size=4
    ),
)
def test_damaged_objects(body: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    """Every line is counted once and has one number, in order; nothing else goes wrong."""
    for place, removed, piece in changes:
        cut_at = place % (len(body) + 1)
        body = body[:cut_at] + piece + body[cut_at + removed :]
    try:
        got = read(body)
    except Unreadable as verdict:
        assert verdict.reason == "format"  # noqa: PT017
        return
    assert sorted(row.line for row in got.rows) == [row.line for row in got.rows]
    numbers = {row.line for row in got.rows}, {line.line for line in got.rejected}
    assert not numbers[0] & numbers[1]
    assert numbers[0] | numbers[1] <= set(range(1, got.lines + 1))
    assert len(got.rows) - got.split == len(numbers[0])


# --- a declared format that does not fit ----------------------------------------------------------

CLOSED = "account-id interface-id action log-status version"
POSSIBLE = [
    *("1 eni-1 ACCEPT OK 2", "unknown - REJECT NODATA 2", "- - - SKIPDATA x", "- eni- - - -"),
]
IMPOSSIBLE = [
    *("1 eni-1 OK ACCEPT 2", "eni-1 1 ACCEPT OK 2", "1 eni-1 accept OK 2", "1 eni-1 ACCEPT OK2 x"),
    *("1 vpc-1 ACCEPT OK 2", "1a eni-1 - OK 2", "Unknown - - OK 2", "\u0661 - - OK 2"),
]


def is_readable(lines: list[str], format: str = CLOSED) -> bool:
    try:
        read("".join(f"{line}\n" for line in lines).encode(), format)
    except Unreadable as verdict:
        return verdict.reason != "format"
    return True


@pytest.mark.parametrize("line", POSSIBLE)
def test_a_record_that_may_be(line: str) -> None:
    assert is_readable([line])
    assert is_readable([line, IMPOSSIBLE[0]])
    assert not is_readable([line, IMPOSSIBLE[0], IMPOSSIBLE[1]])


@pytest.mark.parametrize("line", IMPOSSIBLE)
def test_a_record_that_cannot_be(line: str) -> None:
    assert not is_readable([line])
    assert is_readable([line, POSSIBLE[0]])
    # A header is believed, and other lines are no records.
    assert is_readable([CLOSED, line])
    assert is_readable([line, POSSIBLE[0], CLOSED, line, line])
    assert not is_readable([line, CLOSED, POSSIBLE[0]])
    assert not is_readable(["", "# a", "x", line, "x y z", f"{line} {line}"])


def test_a_hundred_records_are_looked_at() -> None:
    good, bad = POSSIBLE[0], IMPOSSIBLE[0]
    assert is_readable([good] * 50 + [bad] * 1000)
    assert not is_readable([good] * 49 + [bad] * 51 + [good] * 1000)
    assert is_readable([bad] * 50 + [good] * 50)
    assert is_readable(["x x x x 2"] * 10, "srcaddr dstaddr type region version")


def test_each_log_group_is_looked_at() -> None:
    good, bad = POSSIBLE[0], IMPOSSIBLE[0]
    large = document([good] * 300, log_group="large")
    for small, readable in (([bad], False), ([good, bad], True), ([bad, good, bad], False)):
        for documents in ([large, document(small, log_group="small")], [document(small), large]):
            try:
                read(subscription(documents), CLOSED)
                assert readable
            except Unreadable:
                assert not readable
