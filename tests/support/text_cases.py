"""Texts of logs, what the oracle makes of them, and how many rows that are."""

from dataclasses import KW_ONLY, dataclass

V2 = (
    b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes "
    b"start end action log-status\n"
)
ROW = b"2 123456789012 eni-1 10.0.0.1 10.0.0.2 443 49152 6 10 840 1768348800 1768348860 ACCEPT OK\n"
NODATA = b"2 123456789012 eni-1 - - - - - - - 1768348800 1768348860 - NODATA\n"


# Vertical tab, form feed, separators, next line, no-break space, line and paragraph separator.
NO_SPACES = [char.encode() for char in "\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000"]


@dataclass(frozen=True)
class Case:
    id: str
    body: bytes
    rows: int
    rejected: tuple[tuple[int, str, str | None], ...] = ()
    _: KW_ONLY
    format: str | None = None


CASES = [
    Case("nothing", b"", 0),
    Case("header only", V2, 0),
    Case("header without a newline", V2.rstrip(), 0),
    Case("plain", V2 + ROW + NODATA, 2),
    Case("no final newline", V2 + ROW.rstrip(), 1),
    Case("CRLF", (V2 + ROW + ROW).replace(b"\n", b"\r\n"), 2),
    Case("byte order mark", b"\xef\xbb\xbf" + V2 + ROW, 1),
    Case("blank lines", b"\n" + V2 + b"\n" + ROW + b"  \n\n" + ROW + b"\n", 2),
    Case("comment lines", b"# made by hand\n" + V2 + b"#\n" + ROW + b"# 2 1\n", 1),
    Case("comment behind the values", V2 + ROW.replace(b"\n", b" # why\n") + ROW, 2),
    Case("a comment of just the right length", b"srcaddr dstaddr\n#a b\nc d\n", 1),
    Case("a comment in place of the last value", b"srcaddr dstaddr\na #b\n", 0, ((2, "too-few-values", None),)),
    Case("two spaces", V2 + ROW.replace(b" ", b"  ") + ROW, 2),
    Case("leading and trailing spaces", V2 + b"  " + ROW + ROW.replace(b"\n", b"   \n"), 2),
    Case("a missing value and two spaces", b"srcaddr action dstaddr\na  b\nc d e\n", 1, ((2, "too-few-values", None),)),
    Case("tabs", (V2 + ROW).replace(b" ", b"\t"), 1),
    Case("a tab before a number", b"version action\n\t2 a\n", 1),
    Case("hexadecimal", b"version action\n0x10 a\n2 0x10\n", 1, ((2, "not-a-number", "version"),)),
    Case("ellipsis", V2 + ROW + b"...\n" + ROW, 2, ((3, "too-few-values", None),)),
    Case("one value too few", V2 + ROW.replace(b" OK", b"") + ROW, 1, ((2, "too-few-values", None),)),
    Case("one value too many", V2 + ROW + ROW.replace(b" OK", b" OK x"), 1, ((3, "too-many-values", None),)),
    Case("twice the fields of the format", V2 + ROW + ROW[:-1] + b" -" * 14 + b"\n" + NODATA[:-1] + b" -" * 13 + b" OK\n", 3, ((3, "too-many-values", None),)),
    Case("two records glued, of which one has no status", V2 + ROW + ROW[:-1] + b" " + NODATA.replace(b"NODATA", b"-"), 1, ((3, "too-many-values", None),)),
    Case("two records glued", V2 + ROW.replace(b"\n", b" ") + ROW + ROW, 3),
    Case(
        "a record wrapped over lines",
        V2 + ROW.replace(b" 443", b"\n443") + ROW,
        1,
        ((2, "too-few-values", None), (3, "too-few-values", None)),
    ),
    Case("NaN", V2 + ROW.replace(b" 443 ", b" NaN ") + ROW, 1, ((2, "not-a-number", "srcport"),)),
    Case("port 65543", V2 + ROW.replace(b" 443 ", b" 65543 ") + ROW, 1, ((2, "out-of-range", "srcport"),)),
    Case("protocol 8080", V2 + ROW.replace(b" 6 ", b" 8080 ") + ROW, 1, ((2, "out-of-range", "protocol"),)),
    Case("negative bytes", V2 + ROW + ROW.replace(b" 840 ", b" -40 "), 1, ((3, "out-of-range", "bytes"),)),
    Case("negative numbers of all fields", b"version tcp-flags traffic-path encryption-status packets\n" + b"1 1 1 1 1\n-0 -0 -0 -0 -0\n-1 1 1 1 1\n1 -1 1 1 1\n1 1 -1 1 1\n1 1 1 -1 1\n1 1 1 1 -1\n", 2, ((4, "out-of-range", "version"), (5, "out-of-range", "tcp-flags"), (6, "out-of-range", "traffic-path"), (7, "out-of-range", "encryption-status"), (8, "out-of-range", "packets"))),
    Case("the largest numbers", b"srcport dstport protocol tcp-flags\n65535 65535 255 4095\n65536 0 0 0\n0 65536 0 0\n0 0 256 0\n0 0 0 4096\n", 1, ((3, "out-of-range", "srcport"), (4, "out-of-range", "dstport"), (5, "out-of-range", "protocol"), (6, "out-of-range", "tcp-flags"))),
    Case("the largest lost packets", b"tgw-id packets-lost-mtu-exceeded\na 9223372036854775807\nb -1\n", 1, ((3, "out-of-range", "packets-lost-mtu-exceeded"),)),
    Case("a glued record with a port that cannot be", V2 + ROW[:-1] + b" " + ROW.replace(b" 443 ", b" 65536 "), 0, ((2, "glued-records", None),)),
    Case("999999999999 bytes", V2 + ROW.replace(b" 840 ", b" 999999999999 "), 1),
    Case("out of 32 bits", b"version\n2147483648\n-2147483649\n1\n", 1, ((2, "out-of-range", "version"), (3, "out-of-range", "version"))),
    Case("out of 64 bits", b"bytes\n9223372036854775808\n9223372036854775807\n", 1, ((2, "out-of-range", "bytes"),)),
    Case("the first bad value counts", b"bytes srcport\nx y\n1 y\n", 0, ((2, "not-a-number", "bytes"), (3, "not-a-number", "srcport"))),
    Case("milliseconds", V2 + ROW.replace(b"1768348800", b"1512564058000"), 1),
    Case("times out of range", b"start end\n-1 1\n1 253402300800000\n0 253402300799999\n", 1, ((2, "out-of-range", "start"), (3, "out-of-range", "end"))),
    Case("null anywhere", V2 + b"- - - - - - - - - - - - - -\n", 1),
    Case("accounts are text", b"account-id\nunknown\n000000000012\n10000000001\n", 3),
    Case("IPv6, MAC, AWS service", b"srcaddr dstaddr pkt-src-aws-service\n2001:db8::1 0a:1b:2c:3d:4e:5f NEW_ONE\n", 1),
    Case("what Python strips is no space", V2 + b"".join(odd + b"\n" for odd in NO_SPACES) + ROW, 1, tuple((n + 2, "too-few-values", None) for n in range(len(NO_SPACES)))),
    Case("what Python strips is a value", b"srcaddr dstaddr\n" + b"".join(odd + b" " + odd + b"\n" for odd in NO_SPACES), len(NO_SPACES)),
    Case("what Python strips is no number", b"version srcaddr\n" + b"".join(b"5" + odd + b" a\n" + odd + b"5 a\n" for odd in NO_SPACES), 0, tuple((n + 2, "not-a-number", "version") for n in range(2 * len(NO_SPACES)))),
    Case("what Python strips, in an export", b"2026-01-14T00:00:00Z srcaddr dstaddr\n" + b"".join(b"2026-01-14T00:00:00Z " + odd + b"\n" for odd in NO_SPACES), 0, tuple((n + 2, "too-few-values", None) for n in range(len(NO_SPACES)))),
    Case("a header with two carriage returns", V2 + ROW + V2[:-1] + b"\r\r\n" + ROW, 2, ((3, "control-character", None),)),
    Case("another header with two carriage returns", b"srcaddr dstaddr\na b\ndstaddr srcaddr\r\r\nc d\nversion action\r\r\n", 2, ((3, "control-character", None), (5, "control-character", None))),
    Case("a header with a carriage return in it", V2 + ROW + V2.replace(b" ", b"\r", 1) + ROW, 2, ((3, "control-character", None),)),
    Case("quotes are text", b'srcaddr action\n"a b"\n"a" \'b\'\n', 2),
    Case("a 0xFF byte", V2 + ROW + ROW.replace(b"eni-1", b"eni-\xff") + ROW, 2, ((3, "not-utf8", None),)),
    Case("a 0xFF byte and a value too many", V2 + ROW + b"\xff " + ROW, 1, ((3, "not-utf8", None),)),
    Case("non-ASCII letters", V2 + ROW.replace(b"eni-1", "éni-日本".encode()), 1),
    Case("carriage return inside", V2 + ROW.replace(b"eni-1", b"e\rni") + ROW, 1, ((2, "control-character", None),)),
    Case("NUL", b"srcaddr version\na\0b 1\n", 1),
    Case("alphabetical order", b"account-id action bytes version\n000000000012 ACCEPT 7 3\n", 1),
    Case("unknown fields", b"version new-field srcaddr Newer\n2 a b -\n", 1),
    Case("unknown fields named like partitions", b"version srcaddr action date hour aws-region\n2 a b c d e\n", 1),
    Case("names of other tools", b"version account_id srcAddr ${dst-addr} logStatus\n2 1 a b OK\n", 1),
    Case("later versions", b"version ecs-task-id reject-reason encryption-status instance-tag\n5 t BPA 3 a%20b%E6%97%A5\n3 t - - %ff\n", 2),
    Case("tags that repeat", b"instance-tag action\n" + b"a%20b x\nc y\n- z\n" * 9, 27),
    Case("transit gateway", b"version tgw-id packets-lost-blackhole\n6 00000001 3\n6 - -\n", 2),
    Case("header repeated", V2 + ROW + V2 + ROW, 2),
    Case("header repeated without a number in it", b"srcaddr action\na b\nsrcaddr action\nc d\n", 2),
    Case("header changed", V2 + ROW + b"dstaddr bytes\na 1\nb x\n" + V2 + ROW, 3, ((5, "not-a-number", "bytes"),)),
    Case("header changed to the same number of names", b"srcaddr version\na 1\nversion srcaddr\n2 b\n", 2),
    Case("header changed without a number in it", b"srcaddr dstaddr\na b\ndstaddr srcaddr\nc d\n", 2),
    Case("header changed to another table", b"srcaddr tgw-id\na b\n" + V2 + ROW, 2),
    Case("header named by format", b"a 1\nfoo version\nb 2\n", 2, (), format="foo version"),
    Case("no header", ROW + ROW, 2, (), format="default"),
    Case("no header, comments first", b"\n#c\n" + ROW, 1, (), format="default"),
    Case("a header wins over the format", b"action version\na 2\n", 1, (), format="default"),
    Case("no header, bad first line", b"\xff\n" + ROW, 1, ((1, "not-utf8", None),), format="default"),
]  # fmt: skip
