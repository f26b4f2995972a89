"""The oracle itself, pinned by small cases whose answers are spelled out by hand."""

import gzip
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, date, datetime

import pytest

from oracle.reference import (
    HIVE_NULL,
    TGW,
    VPC,
    ReferenceObject,
    Rejected,
    Row,
    Unreadable,
    Value,
    partition,
    partition_path,
    read_object,
    table_row,
)

V2 = (
    b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes"
    b" start end action log-status\n"
)
V2_COLUMNS = (
    "version",
    "account_id",
    "interface_id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log_status",
)
V2_LINE = (
    b"2 012345678901 eni-0a1b 10.0.0.1 10.0.0.2 443 49152 6 10 840"
    b" 1439387263 1439387264 ACCEPT OK\n"
)
V2_VALUES: dict[str, Value] = {
    "version": 2,
    "account_id": "012345678901",
    "interface_id": "eni-0a1b",
    "srcaddr": "10.0.0.1",
    "dstaddr": "10.0.0.2",
    "srcport": 443,
    "dstport": 49152,
    "protocol": 6,
    "packets": 10,
    "bytes": 840,
    "start": datetime(2015, 8, 12, 13, 47, 43, tzinfo=UTC),
    "end": datetime(2015, 8, 12, 13, 47, 44, tzinfo=UTC),
    "action": "ACCEPT",
    "log_status": "OK",
}


def test_tables_have_the_documented_sizes() -> None:
    assert (len(VPC), len(TGW)) == (54, 36)


# --- text ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """Body, and what it holds; rows as (line, srcaddr, action) of a two-column header."""

    id: str
    body: bytes
    _: KW_ONLY
    lines: int
    header: int = 0
    blank: int = 0
    comment: int = 0
    rows: list[tuple[int, str, str]] = field(default_factory=list)
    rejected: list[tuple[int, str, bytes]] = field(default_factory=list)


TEXTS = [
    Text("no bytes", b"", lines=0),
    Text("only a BOM", b"\xef\xbb\xbf", lines=0),
    Text("only a newline", b"\n", lines=1, blank=1),
    Text("only CR", b"\r", lines=1, blank=1),
    Text("only blanks and comments", b" \t\n#\n\n", lines=3, blank=2, comment=1),
    Text("header alone", b"srcaddr action\n", lines=1, header=1),
    Text("header alone, no newline", b"srcaddr action", lines=1, header=1),
    Text("one row", b"srcaddr action\na b\n", lines=2, header=1, rows=[(2, "a", "b")]),
    Text("no final newline", b"srcaddr action\na b", lines=2, header=1, rows=[(2, "a", "b")]),
    Text("blank at the end", b"srcaddr action\n\n", lines=2, header=1, blank=1),
    Text("last piece of spaces", b"srcaddr action\n ", lines=2, header=1, blank=1),
    Text("CRLF", b"srcaddr action\r\na b\r\n", lines=2, header=1, rows=[(2, "a", "b")]),
    Text("CR, no newline", b"srcaddr action\na b\r", lines=2, header=1, rows=[(2, "a", "b")]),
    Text(
        "two CRs",
        b"srcaddr action\na b\r\r\n",
        lines=2,
        header=1,
        rejected=[(2, "control-character", b"a b\r")],
    ),
    Text(
        "CR inside",
        b"srcaddr action\na\rb c\n",
        lines=2,
        header=1,
        rejected=[(2, "control-character", b"a\rb c")],
    ),
    Text("blank CRLF", b"srcaddr action\r\n\r\n \r\n", lines=3, header=1, blank=2),
    Text(
        "CR then space",
        b"srcaddr action\n\r \n",
        lines=2,
        header=1,
        rejected=[(2, "control-character", b"\r ")],
    ),
    Text("BOM", b"\xef\xbb\xbfsrcaddr action\na b\n", lines=2, header=1, rows=[(2, "a", "b")]),
    Text(
        "second BOM",
        b"srcaddr action\n\xef\xbb\xbfa b\n",
        lines=2,
        header=1,
        rows=[(2, "\ufeffa", "b")],
    ),
    Text("spaces", b"  srcaddr   action \n  a   b \n", lines=2, header=1, rows=[(2, "a", "b")]),
    Text("tabs", b"\tsrcaddr\taction\t\n\ta \t b\t\n", lines=2, header=1, rows=[(2, "a", "b")]),
    Text(
        "vertical tab",
        b"srcaddr action\na\x0bb c\x0c\n",
        lines=2,
        header=1,
        rows=[(2, "a\x0bb", "c\x0c")],
    ),
    Text("NUL", b"srcaddr action\n\x00 b\n", lines=2, header=1, rows=[(2, "\x00", "b")]),
    Text(
        "no-break space",
        b"srcaddr action\na\xc2\xa0b c\n",
        lines=2,
        header=1,
        rows=[(2, "a\xa0b", "c")],
    ),
    Text("NEL", b"srcaddr action\na\xc2\x85b c\n", lines=2, header=1, rows=[(2, "a\x85b", "c")]),
    Text("quotes", b'srcaddr action\n"a b"\n', lines=2, header=1, rows=[(2, '"a', 'b"')]),
    Text(
        "quote alone",
        b"srcaddr action\n\" '\nc d\n",
        lines=3,
        header=1,
        rows=[(2, '"', "'"), (3, "c", "d")],
    ),
    Text("commas", b"srcaddr action\na,b c\\\n", lines=2, header=1, rows=[(2, "a,b", "c\\")]),
    Text(
        "non-ASCII",
        b"srcaddr action\n\xc3\xa9 \xf0\x9f\x98\x80\n",
        lines=2,
        header=1,
        rows=[(2, "é", "😀")],
    ),
    Text("comment", b"# hello\nsrcaddr action\n #a b\n#\n", lines=4, header=1, comment=3),
    Text(
        "blank first",
        b"\n \n\t\nsrcaddr action\na b\n",
        lines=5,
        header=1,
        blank=3,
        rows=[(5, "a", "b")],
    ),
    Text(
        "comment behind", b"srcaddr action #x\na b # c d\n", lines=2, header=1, rows=[(2, "a", "b")]
    ),
    Text(
        "# inside a token", b"srcaddr action\na# b#c\n", lines=2, header=1, rows=[(2, "a#", "b#c")]
    ),
    Text(
        "comment leaves too few",
        b"srcaddr action\na #b\n",
        lines=2,
        header=1,
        rejected=[(2, "too-few-values", b"a #b")],
    ),
    Text(
        "not UTF-8",
        b"srcaddr action\na \xff\nc d\n",
        lines=3,
        header=1,
        rows=[(3, "c", "d")],
        rejected=[(2, "not-utf8", b"a \xff")],
    ),
    Text(
        "not UTF-8 before the count",
        b"srcaddr action\na \xe9 c\n",
        lines=2,
        header=1,
        rejected=[(2, "not-utf8", b"a \xe9 c")],
    ),
    Text(
        "not UTF-8 behind #",
        b"srcaddr action\na b #\xff\n",
        lines=2,
        header=1,
        rejected=[(2, "not-utf8", b"a b #\xff")],
    ),
    Text(
        "not UTF-8 comment",
        b"srcaddr action\n#\xff\n",
        lines=2,
        header=1,
        rejected=[(2, "not-utf8", b"#\xff")],
    ),
    Text(
        "surrogate",
        b"srcaddr action\na \xed\xa0\x80\n",
        lines=2,
        header=1,
        rejected=[(2, "not-utf8", b"a \xed\xa0\x80")],
    ),
    Text(
        "overlong",
        b"srcaddr action\n\xc0\x80 b\n",
        lines=2,
        header=1,
        rejected=[(2, "not-utf8", b"\xc0\x80 b")],
    ),
    Text(
        "character cut by a newline",
        b"srcaddr action\na \xc3\n\xa9 b\n",
        lines=3,
        header=1,
        rejected=[(2, "not-utf8", b"a \xc3"), (3, "not-utf8", b"\xa9 b")],
    ),
    Text(
        "not UTF-8 is no later header",
        b"srcaddr action\nsrcaddr action #\xff\n",
        lines=2,
        header=1,
        rejected=[(2, "not-utf8", b"srcaddr action #\xff")],
    ),
    Text(
        "rejected text keeps spaces, drops CR",
        b"srcaddr action\r\n a\t \r\n",
        lines=2,
        header=1,
        rejected=[(2, "too-few-values", b" a\t ")],
    ),
    Text(
        "every kind",
        b"\n# c\nsrcaddr action\na b\n1\n1 2 3\nsrcaddr action\n-  d\n",
        lines=8,
        header=2,
        blank=1,
        comment=1,
        rows=[(4, "a", "b"), (8, "None", "d")],
        rejected=[(5, "too-few-values", b"1"), (6, "too-many-values", b"1 2 3")],
    ),
]


@pytest.mark.parametrize("case", TEXTS, ids=lambda c: c.id)
@pytest.mark.parametrize("pack", ["plain", "gzip", "members"])
def test_text(case: Text, pack: str) -> None:
    body = case.body
    if pack == "gzip":
        body = gzip.compress(body)
    if pack == "members":
        body = b"".join(gzip.compress(case.body[i : i + 7]) for i in range(0, len(case.body), 7))
    got = read_object(body)
    assert got.lines == case.lines
    assert (got.header, got.blank, got.comment) == (case.header, case.blank, case.comment)
    assert [
        (row.line, str(row.values["srcaddr"]), str(row.values["action"])) for row in got.rows
    ] == case.rows
    assert [(bad.line, bad.reason, bad.text) for bad in got.rejected] == case.rejected
    assert all(bad.field is None for bad in got.rejected)


def test_whole_result() -> None:
    assert read_object(b"action\nACCEPT\n0 0\n") == ReferenceObject(
        header=1,
        blank=0,
        comment=0,
        rows=[Row(2, "vpc", {"action": "ACCEPT"})],
        rejected=[Rejected(3, "too-many-values", None, b"0 0")],
        lines=3,
        formats=[("action",)],
        shape="header",
    )


def test_member_boundaries_are_no_line_ends() -> None:
    got = read_object(gzip.compress(b"srcaddr act") + gzip.compress(b"") + gzip.compress(b"ion\na"))
    assert got.formats == [("srcaddr", "action")]
    assert got.rejected == [Rejected(2, "too-few-values", None, b"a")]


def test_bom_counts_only_at_the_start_of_the_text() -> None:
    bom = b"\xef\xbb\xbf"
    got = read_object(gzip.compress(bom + b"action\n") + gzip.compress(bom + b"a\n"))
    assert got.rows == [Row(2, "vpc", {"action": "\ufeffa"})]


def damaged() -> bytes:
    whole = bytearray(gzip.compress(V2 + V2_LINE * 3))
    whole[-6] ^= 1  # in the checksum
    return bytes(whole)


CORRUPT = {
    "magic alone": b"\x1f\x8b",
    "header cut": gzip.compress(b"")[:9],
    "data cut": gzip.compress(V2 + V2_LINE)[:60],
    "checksum cut": gzip.compress(V2 + V2_LINE)[:-1],
    "checksum wrong": damaged(),
    "second member cut": gzip.compress(V2) + gzip.compress(V2_LINE)[:-9],
    "data is no deflate": gzip.compress(b"")[:10] + b"\xff" * 20,
    "bytes after the end": gzip.compress(V2 + V2_LINE) + b"hello",
    "text begins like gzip": b"\x1f\x8b action\nACCEPT\n",
}


@pytest.mark.parametrize("body", CORRUPT.values(), ids=CORRUPT.keys())
def test_corrupt(body: bytes) -> None:
    for format in (None, "default"):
        with pytest.raises(Unreadable, match=r"^corrupt$"):
            read_object(body, format=format)


def test_half_of_the_magic_is_text() -> None:
    got = read_object(b"\x1f\n", format="type")
    assert got.rows == [Row(1, "vpc", {"type": "\x1f"})]


def test_zeros_behind_gzip_are_padding() -> None:
    assert read_object(gzip.compress(V2 + V2_LINE) + b"\x00" * 512).rows == [
        Row(2, "vpc", V2_VALUES)
    ]


# --- header -------------------------------------------------------------------------------------

HEADERS = [
    ("v2", V2.strip(), V2_COLUMNS),
    ("any order, any subset", b"end action bytes", ("end", "action", "bytes")),
    ("one name", b"type", ("type",)),
    ("underscores", b"account_id log_status", ("account_id", "log_status")),
    ("camel case", b"accountId logStatus", ("account_id", "log_status")),
    ("upper case", b"ACCOUNT-ID TCP_FLAGS", ("account_id", "tcp_flags")),
    ("no separators", b"accountid pktsrcawsservice", ("account_id", "pkt_src_aws_service")),
    ("odd separators", b"src-addr dst__port", ("srcaddr", "dstport")),
    ("braces", b"${version} ${account-id}", ("version", "account_id")),
    ("braces, some", b"version ${tcpFlags}", ("version", "tcp_flags")),
    ("tag 2 is not tag", b"instance-tag instance_tag2", ("instance_tag", "instance_tag_2")),
    ("half are known", b"version My-Field", ("version", "My-Field")),
    ("half of four", b"a version b end", ("a", "version", "b", "end")),
    ("unknown, runs", b"version A--b_-C", ("version", "A--b_-C")),
    ("unknown, edges", b"version x-", ("version", "x-")),
    ("unknown, braces", b"version ${New-Field}", ("version", "New-Field")),
    ("unknown, open brace", b"version ${New", ("version", "${New")),
    ("unknown, closing brace", b"end version}", ("end", "version}")),
    ("digits", b"end v12x", ("end", "v12x")),
]


@pytest.mark.parametrize(("_id", "line", "columns"), HEADERS, ids=[h[0] for h in HEADERS])
def test_header(_id: str, line: bytes, columns: tuple[str, ...]) -> None:
    got = read_object(line + b"\n")
    assert (got.header, got.lines, got.formats) == (1, 1, [columns])


NO_HEADERS = {
    "row": V2_LINE,
    "less than half known": b"version a b\n",
    "one of three": b"start x y\n",
    "unknown alone": b"hello\n",
    "starts with a digit": b"version 2end\n",
    "dash": b"version -\n",
    "dot": b"version account.id\n",
    "comma": b"version,account-id\n",
    "non-ASCII": "version é\n".encode(),
    "CR in the middle": b"srcaddr action\ra b\n",
    "not UTF-8": b"version account-id #\xff\n",
    "comment not UTF-8": b"#\xff\nversion account-id\n",
    "row, then header": V2_LINE + V2,
    "twice the same": b"version start version\n",
    "twice the same, spelled otherwise": b"account-id accountId\n",
    "unknown twice": b"version end a-b a-b\n",
    "a long name": b"version end " + b"x" * 129 + b"\n",
    "later header has one twice": V2 + V2_LINE + b"version version\n",
}


@pytest.mark.parametrize("body", NO_HEADERS.values(), ids=NO_HEADERS.keys())
def test_unreadable_without_a_format(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^format$"):
        read_object(body)


def test_512_names_are_the_most() -> None:
    # Only a format can name so many: a header needs half of them known, and fewer are known.
    names = " ".join(f"x{number}" for number in range(512))
    got = read_object(names.encode() + b"\n" + b" -" * 512, format=names)
    assert (got.header, len(got.rows), len(got.formats[0])) == (1, 1, 512)
    with pytest.raises(ValueError, match="format"):
        read_object(b"", format=names + " x512")


def test_later_header_reads_the_lines_after_it() -> None:
    got = read_object(b"action bytes\nACCEPT 1\nbytes action\n2 REJECT\nbytes action\n3 X\n")
    assert got.header == 3
    assert got.formats == [("action", "bytes"), ("bytes", "action"), ("bytes", "action")]
    assert got.rows == [
        Row(2, "vpc", {"action": "ACCEPT", "bytes": 1}),
        Row(4, "vpc", {"bytes": 2, "action": "REJECT"}),
        Row(6, "vpc", {"bytes": 3, "action": "X"}),
    ]


def test_later_line_of_few_known_names_is_no_header() -> None:
    got = read_object(b"action srcaddr\nversion other\nfoo bar\n1 2 3\n")
    assert got.formats == [("action", "srcaddr"), ("version", "other")]
    assert got.rejected == [
        Rejected(3, "not-a-number", "version", b"foo bar"),
        Rejected(4, "too-many-values", None, b"1 2 3"),
    ]


def test_tables_change_with_the_header() -> None:
    got = read_object(
        b"action bytes\nACCEPT 1\n"
        b"tgw-id action traffic-path azId instance-tag packets-lost-blackhole\n"
        b"tgw-1 DROP 07 az %41 5\n"
        b"action version\nACCEPT 2\n"
    )
    assert got.formats[1] == (
        "tgw_id",
        "action",
        "traffic-path",
        "az-id",
        "instance-tag",
        "packets_lost_blackhole",
    )
    assert got.rows == [
        Row(2, "vpc", {"action": "ACCEPT", "bytes": 1}),
        Row(
            4,
            "tgw",
            {
                "tgw_id": "tgw-1",
                "action": "DROP",
                "traffic-path": "07",
                "az-id": "az",
                "instance-tag": "%41",
                "packets_lost_blackhole": 5,
            },
        ),
        Row(6, "vpc", {"action": "ACCEPT", "version": 2}),
    ]


@pytest.mark.parametrize(
    ("header", "table"),
    [
        (b"version srcaddr region", "vpc"),
        (b"resource-id version", "vpc"),
        (b"resource-type version", "tgw"),
        (b"version tgwPairAttachmentId", "tgw"),
        (b"packets-lost-no-route bytes", "tgw"),
        (b"version tgw-new-thing", "vpc"),
    ],
)
def test_table(header: bytes, table: str) -> None:
    got = read_object(header + b"\n" + b"- " * len(header.split()))
    assert [row.table for row in got.rows] == [table]


# --- format -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format",
    [
        "default",
        " default ",
        V2.decode().strip(),
        (
            "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport}"
            " ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}"
        ),
    ],
)
@pytest.mark.parametrize("body", [V2_LINE, b"\n#\n" + V2_LINE, V2 + V2_LINE])
def test_format_gives_the_names(format: str, body: bytes) -> None:
    got = read_object(body, format=format)
    assert [row.values for row in got.rows] == [V2_VALUES]
    assert [row.table for row in got.rows] == ["vpc"]
    assert got.formats == [V2_COLUMNS]
    assert got.rejected == []


def test_header_wins_over_the_format() -> None:
    got = read_object(b"bytes action\n1 X\n", format="action bytes")
    assert got.formats == [("bytes", "action")]
    assert got.rows == [Row(2, "vpc", {"bytes": 1, "action": "X"})]


def test_format_until_a_header_comes() -> None:
    got = read_object(b"X 1\nbytes type\n2 Y\n", format="type bytes")
    assert (got.header, got.formats) == (1, [("type", "bytes"), ("bytes", "type")])
    assert got.rows == [
        Row(1, "vpc", {"type": "X", "bytes": 1}),
        Row(3, "vpc", {"bytes": 2, "type": "Y"}),
    ]


def test_header_that_only_the_format_explains() -> None:
    got = read_object(b"foo-bar x y\na b c\n${foo-bar} x ${y}\n", format="foo-bar x y")
    assert (got.header, got.formats) == (2, [("foo-bar", "x", "y")] * 2)
    assert got.rows == [Row(2, "vpc", {"foo-bar": "a", "x": "b", "y": "c"})]


def test_unknown_names_are_compared_as_they_are() -> None:
    # So this line is no header: it is read as values.
    got = read_object(b"X newField y\n", format="x newField y")
    assert got.rows == [Row(1, "vpc", {"x": "X", "newField": "newField", "y": "y"})]


def test_format_stays_known_behind_another_header() -> None:
    got = read_object(b"x y z\naction end version\nx y z\n1 2 3\n", format="x y z")
    assert got.formats == [("x", "y", "z"), ("action", "end", "version"), ("x", "y", "z")]
    assert got.rows == [Row(4, "vpc", {"x": "1", "y": "2", "z": "3"})]


def test_format_is_in_force_for_a_first_line_that_is_not_utf8() -> None:
    got = read_object(b"\xff\n#\xff\nX\n", format="type")
    assert got.rejected == [
        Rejected(1, "not-utf8", None, b"\xff"),
        Rejected(2, "not-utf8", None, b"#\xff"),
    ]
    assert got.rows == [Row(3, "vpc", {"type": "X"})]


def test_format_needs_no_line() -> None:
    assert read_object(b"\n#\n", format="default") == ReferenceObject(
        header=0, blank=1, comment=1, rows=[], rejected=[], lines=2, formats=[]
    )


@pytest.mark.parametrize("format", ["", " ", "version version", "accountId account-id"])
def test_format_of_no_use(format: str) -> None:
    with pytest.raises(ValueError, match="format"):
        read_object(b"", format=format)


# --- values -------------------------------------------------------------------------------------

SECOND = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
GOOD = [
    ("version", b"-", None),
    ("srcaddr", b"-", None),
    ("start", b"-", None),
    ("instance-tag", b"-", None),
    ("version", b"0", 0),
    ("version", b"-0", 0),
    ("version", b"007", 7),
    ("version", b"2147483647", 2147483647),
    ("version", b"0" * 5000 + b"5", 5),
    ("srcport", b"65535", 65535),
    ("dstport", b"0", 0),
    ("protocol", b"255", 255),
    ("tcp-flags", b"4095", 4095),
    ("traffic-path", b"2147483647", 2147483647),
    ("encryption-status", b"3", 3),
    ("bytes", b"999999999999", 999999999999),
    ("bytes", b"9223372036854775807", 9223372036854775807),
    ("packets", b"-0", 0),
    ("packets-lost-blackhole", b"9223372036854775807", 9223372036854775807),
    ("start", b"0", datetime(1970, 1, 1, tzinfo=UTC)),
    ("end", b"0001", SECOND),
    ("start", b"1616729292", datetime(2021, 3, 26, 3, 28, 12, tzinfo=UTC)),
    ("end", b"253402300799", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ("end", b"253402300800", datetime(1978, 1, 11, 21, 31, 40, tzinfo=UTC)),
    ("start", b"1512564058999", datetime(2017, 12, 6, 12, 40, 58, tzinfo=UTC)),
    ("start", b"253402300799999", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ("account-id", b"000000000012", "000000000012"),
    ("account-id", b"unknown", "unknown"),
    ("srcaddr", b"2001:db8::1", "2001:db8::1"),
    ("srcaddr", b"0a:1b:2c:3d:4e:5f", "0a:1b:2c:3d:4e:5f"),
    ("action", b"--", "--"),
    ("action", b"NaN", "NaN"),
    ("action", b"null", "null"),
    ("action", b"%41", "%41"),
    ("interface-type", b"%41", "%41"),
    ("resource-id", b"%41", "%41"),
    ("instance-tag", b"web%20server", "web server"),
    ("instance-tag-2", b"%E6%97%A5%e6%9c%ac", "日本"),
    ("interface-tag", b"a+b", "a+b"),
    ("interface-tag-2", b"%2D", "-"),
    ("asg-tag", b"100%", "100%"),
    ("asg-tag", b"%zz%41", "%zzA"),
    ("asg-tag-2", b"%FF%41", "%FF%41"),
    ("asg-tag-2", b"%C3", "%C3"),
    ("asg-tag-2", "é%C3%A9".encode(), "éé"),
    ("asg-tag-2", b"%2541", "%41"),
    ("asg-tag-2", b"%0A", "\n"),
    ("asg-tag-2", b"%", "%"),
]


@pytest.mark.parametrize(
    ("name", "token", "value"), GOOD, ids=[f"{g[0]} {g[1][:30]!r}" for g in GOOD]
)
def test_value(name: str, token: bytes, value: object) -> None:
    got = read_object(name.encode() + b"\n" + token + b"\n")
    assert got.rejected == []
    assert [list(row.values.values()) for row in got.rows] == [[value]]
    assert type(next(iter(got.rows[0].values.values()))) is type(value)


SUMMER = date(2025, 7, 1)


@pytest.mark.parametrize(
    ("times", "delivered", "far"),
    [
        ("- -", SUMMER, 0),
        ("1751328000 1751328060", SUMMER, 0),
        ("1748649600 1751328060", SUMMER, 0),  # 31 days before
        ("1748649599 1751328060", SUMMER, 1),
        ("1751328000 1754092799", SUMMER, 0),  # 31 days after
        ("1751328000 1754092800", SUMMER, 1),
        ("- 0", SUMMER, 1),
        ("0 0", SUMMER, 1),
        ("1751328000999 1748649599999", SUMMER, 1),
        ("1433894400 1751500799", None, 0),  # 2015-06-10 to the day after today
        ("1433894399 -", None, 1),
        ("- 1751500800", None, 1),
        ("16548924330 16548924930", None, 1),
    ],
)
def test_times_far_from_the_delivery(times: str, delivered: date | None, far: int) -> None:
    for time_type in ("timestamp", "epoch"):
        got = read_object(
            f"start end\n{times}\n".encode(),
            delivered=delivered,
            today=SUMMER,
            time_type=time_type,
        )
        assert (len(got.rows), got.far_times) == (1, far)


def test_unknown_column_is_text_as_it_is() -> None:
    got = read_object(b"version end new-Field\n2 - %41\n3 - -\n4 1 007\n")
    assert [row.values["new-Field"] for row in got.rows] == ["%41", None, "007"]


BAD = [
    ("version", b"x", "not-a-number"),
    ("version", b"2.0", "not-a-number"),
    ("version", b"+2", "not-a-number"),
    ("version", b"--2", "not-a-number"),
    ("version", b"2-", "not-a-number"),
    ("version", b"1_000", "not-a-number"),
    ("version", b"0x10", "not-a-number"),
    ("version", b"1e3", "not-a-number"),
    ("version", "٣".encode(), "not-a-number"),
    ("srcport", b"NaN", "not-a-number"),
    ("bytes", b"12x", "not-a-number"),
    ("start", b"x", "not-a-number"),
    ("end", b"1616729292.5", "not-a-number"),
    ("version", b"2147483648", "out-of-range"),
    ("version", b"-2147483649", "out-of-range"),
    ("tcp-flags", b"4294967296", "out-of-range"),
    ("version", b"-1", "out-of-range"),
    ("srcport", b"65536", "out-of-range"),
    ("srcport", b"65543", "out-of-range"),
    ("dstport", b"-1", "out-of-range"),
    ("protocol", b"256", "out-of-range"),
    ("protocol", b"8080", "out-of-range"),
    ("protocol", b"-1", "out-of-range"),
    ("tcp-flags", b"4096", "out-of-range"),
    ("tcp-flags", b"-1", "out-of-range"),
    ("packets", b"-1", "out-of-range"),
    ("bytes", b"-40", "out-of-range"),
    ("packets-lost-blackhole", b"-1", "out-of-range"),
    ("traffic-path", b"-1", "out-of-range"),
    ("encryption-status", b"-1", "out-of-range"),
    ("bytes", b"9223372036854775808", "out-of-range"),
    ("packets", b"-9223372036854775809", "out-of-range"),
    ("packets", b"9" * 5000, "out-of-range"),
    ("start", b"-1", "out-of-range"),
    ("end", b"253402300800000", "out-of-range"),
    ("end", b"9223372036854775808", "out-of-range"),
]


@pytest.mark.parametrize(
    ("name", "token", "reason"), BAD, ids=[f"{b[0]} {b[1][:30]!r}" for b in BAD]
)
def test_bad_value(name: str, token: bytes, reason: str) -> None:
    got = read_object(name.encode() + b"\n" + token + b"\n")
    assert got.rows == []
    assert got.rejected == [Rejected(2, reason, name, token.removesuffix(b"\r"))]


@pytest.mark.parametrize(
    ("line", "reason", "name"),
    [
        (b"x 99999999999 y", "not-a-number", "bytes"),
        (b"1 99999999999 y", "out-of-range", "tcp-flags"),
        (b"1 1 y", "not-a-number", "start"),
        (b"1 1 -1", "out-of-range", "start"),
        (b"x y", "too-few-values", None),
        (b"x y z z", "too-many-values", None),
    ],
)
def test_first_bad_value_in_the_headers_order(line: bytes, reason: str, name: str | None) -> None:
    got = read_object(b"bytes tcp_flags start\n" + line)
    assert got.rejected == [Rejected(2, reason, name, line)]


@pytest.mark.parametrize(
    ("token", "seconds"),
    [(b"-", None), (b"0", 0), (b"1616729292", 1616729292), (b"1512564058999", 1512564058)],
)
def test_epoch(token: bytes, seconds: int | None) -> None:
    got = read_object(b"start end\n" + token + b" " + token, time_type="epoch")
    assert got.rows == [Row(2, "vpc", {"start": seconds, "end": seconds})]


def test_nodata_and_skipdata_are_rows() -> None:
    got = read_object(
        V2 + b"2 123456789010 eni-1 - - - - - - - 1431280876 1431280934 - NODATA\n"
        b"2 123456789010 eni-1 - - - - - - - - - - SKIPDATA\n"
    )
    assert [(row.values["srcport"], row.values["log_status"]) for row in got.rows] == [
        (None, "NODATA"),
        (None, "SKIPDATA"),
    ]


# --- output columns -----------------------------------------------------------------------------


def columns_of(table: str) -> list[str]:
    names = [name.replace("-", "_") for name in (VPC if table == "vpc" else TGW)]
    return [*names, "flow_log_id", "unknown_fields"]


def test_table_row_always_has_all_columns() -> None:
    row = table_row(read_object(V2 + V2_LINE).rows[0], flow_log_id="fl-1")
    assert list(row) == columns_of("vpc")
    values = {name: value for name, value in row.items() if value is not None}
    assert values == V2_VALUES | {"flow_log_id": "fl-1"}


def test_table_row_has_unknown_fields_as_json_in_the_headers_order() -> None:
    body = b'zz asg-tag action ecs-task-id Aa x reject-reason\n"1 - 3 4 \xc3\xa9 - 6\n'
    row = table_row(read_object(body).rows[0])
    assert list(row) == columns_of("vpc")
    assert (row["action"], row["ecs_task_id"], row["reject_reason"]) == ("3", "4", "6")
    assert row["unknown_fields"] == '{"zz":"\\"1","Aa":"é"}'


def test_table_row_goes_by_the_rows_own_header() -> None:
    got = read_object(b"reject-reason new\nBPA 1\naction\nACCEPT\n")
    assert [table_row(row)["unknown_fields"] for row in got.rows] == ['{"new":"1"}', None]


def test_table_row_of_a_transit_gateway() -> None:
    row = table_row(read_object(b"other tgw-id action bytes\n1 tgw-1 DROP 9\n").rows[0])
    assert list(row) == columns_of("tgw")
    assert {name: value for name, value in row.items() if value is not None} == {
        "tgw_id": "tgw-1",
        "bytes": 9,
        "unknown_fields": '{"other":"1","action":"DROP"}',
    }


def test_table_row_time_type() -> None:
    row = Row(2, "vpc", {"start": SECOND, "end": None})
    epoch = Row(2, "vpc", {"start": 1, "end": None})
    assert table_row(row)["start"] == SECOND
    assert table_row(epoch)["start"] == 1
    assert table_row(row, "epoch")["start"] == 1
    assert table_row(epoch, "timestamp")["start"] == SECOND
    assert table_row(row, "epoch")["end"] is None


# --- partitions ---------------------------------------------------------------------------------

LATE = datetime(2021, 3, 26, 23, 59, 59, tzinfo=UTC)
NAMED = datetime(2021, 3, 27, 0, 5, tzinfo=UTC)
LOGGED = datetime(2021, 3, 25, 13, 59, 59, tzinfo=UTC)
ALL = ("aws_account_id", "aws_region", "date", "hour")


@pytest.mark.parametrize(
    ("start", "logged", "end", "time", "day", "date_value", "hour_value"),
    [
        (LATE, LOGGED, SECOND, NAMED, date(2021, 3, 28), "2021-03-26", "23"),
        (1616803199, LOGGED, 1, NAMED, date(2021, 3, 28), "2021-03-26", "23"),
        (datetime(1970, 1, 1, tzinfo=UTC), LOGGED, SECOND, NAMED, None, "1970-01-01", "00"),
        (0, None, None, NAMED, None, "1970-01-01", "00"),
        (None, LOGGED, SECOND, NAMED, None, "2021-03-25", "13"),
        (None, None, SECOND, NAMED, date(2021, 3, 28), "1970-01-01", "00"),
        (None, None, 0, NAMED, None, "1970-01-01", "00"),
        (None, None, None, NAMED, date(2021, 3, 28), "2021-03-27", "00"),
        (None, None, None, None, date(2021, 3, 28), "2021-03-28", None),
        (None, None, None, None, None, None, None),
    ],
    ids=[
        *("start", "epoch", "zero", "epoch zero", "logged", "end", "epoch end", "name", "path"),
        "nothing",
    ],
)
def test_date_and_hour(
    start: datetime | int | None,
    logged: datetime | None,
    end: datetime | int | None,
    time: datetime | None,
    day: date | None,
    date_value: str | None,
    hour_value: str | None,
) -> None:
    got = partition(
        Row(2, "vpc", {"start": start, "end": end}, logged=logged),
        account="012345678901",
        region="eu-west-1",
        time=time,
        day=day,
        partition_by=ALL,
    )
    assert list(got.items()) == [
        ("aws_account_id", "012345678901"),
        ("aws_region", "eu-west-1"),
        ("date", date_value),
        ("hour", hour_value),
    ]


def test_log_without_start_is_dated_by_the_name() -> None:
    row = read_object(b"bytes action\n1 X\n").rows[0]
    got = partition(row, account=None, region=None, time=NAMED, day=None)
    assert got == {"aws_account_id": None, "aws_region": None, "date": "2021-03-27"}
    assert partition_path(got) == (
        "aws_account_id=__HIVE_DEFAULT_PARTITION__/aws_region=__HIVE_DEFAULT_PARTITION__"
        "/date=2021-03-27"
    )


def test_the_account_of_the_event_comes_first() -> None:
    row = Row(2, "vpc", {"start": 1, "account_id": "1"}, owner="333")
    got = partition(row, account="222", region="eu-west-1", time=None, day=None)
    assert partition_path(got) == "aws_account_id=333/aws_region=eu-west-1/date=1970-01-01"


def test_account_and_region_are_not_the_rows_own() -> None:
    row = read_object(b"account-id region start\n111 us-east-1 1\n").rows[0]
    got = partition(row, account="222", region="eu-west-1", time=None, day=None)
    assert partition_path(got) == "aws_account_id=222/aws_region=eu-west-1/date=1970-01-01"


def test_known_columns_as_partitions() -> None:
    row = read_object(b"vpc-id dstport bytes start action\nvpc-1 443 5 1 -\n").rows[0]
    got = partition(
        row,
        account=None,
        region=None,
        time=None,
        day=None,
        partition_by=("date", "vpc_id", "dstport", "bytes", "action", "tcp_flags", "tgw_id"),
    )
    assert partition_path(got) == (
        "date=1970-01-01/aws_vpc_id=vpc-1/aws_dstport=443/aws_bytes=5"
        "/aws_action=__HIVE_DEFAULT_PARTITION__/aws_tcp_flags=__HIVE_DEFAULT_PARTITION__"
        "/aws_tgw_id=__HIVE_DEFAULT_PARTITION__"
    )


def test_no_partitions() -> None:
    row = Row(2, "vpc", {})
    got = partition(row, account="1", region="2", time=None, day=None, partition_by=())
    assert (got, partition_path(got)) == ({}, "")


@pytest.mark.parametrize(
    "partition_by",
    [
        ("start",),
        ("end",),
        ("new_field",),
        ("vpc-id",),
        ("aws_vpc_id",),
        ("date", "date"),
        ("aws_account_id", "account_id"),
        ("region", "aws_region"),
    ],
)
def test_partitions_that_cannot_be(partition_by: tuple[str, ...]) -> None:
    row = Row(2, "vpc", {"start": None, "new_field": "x"})
    with pytest.raises(ValueError, match="partition_by"):
        partition(row, account=None, region=None, time=None, day=None, partition_by=partition_by)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, HIVE_NULL),
        ("AZaz09_.-", "AZaz09_.-"),
        ("a b", "a%20b"),
        ("a/b=c", "a%2Fb%3Dc"),
        ("50%", "50%25"),
        ("~:\\", "%7E%3A%5C"),
        ("a\n\x7f", "a%0A%7F"),
        ("é日", "%C3%A9%E6%97%A5"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "__HIVE_DEFAULT_PARTITION__"),
        ("x" * 197 + "/", "x" * 197 + "%2F"),
        ("x" * 198 + "/", "__HIVE_DEFAULT_PARTITION__"),
    ],
)
def test_encoding(value: str | None, encoded: str) -> None:
    assert partition_path({"aws_vpc_id": value}) == f"aws_vpc_id={encoded}"
