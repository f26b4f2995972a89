"""Generated logs, converted on disk, read back, and held against the oracle in everything."""

import gzip
import json
import os
import random
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv import ConvertOptions, convert
from flowconv.blocks import reading
from flowconv.lake import writing
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions
from flowconv.source.keys import parse_key
from oracle import reference
from support.examples import MORE_EXAMPLES
from support.lakes import ROW, V2, Key, assert_as_reference, aws_key, data_files, write_objects
from support.shapes import firehose, gzip_member, parquet

DAY = 1768348800  # 2026-01-14T00:00Z

UNKNOWN = ["new-field", "Newer_Field", "x", "date", "hour", "aws-region-name", "azs"]
TGW_ONLY = [name for name in reference.TGW if name not in reference.VPC]

TEXTS = [
    *("-", "10.0.0.1", "172.31.0.9", "2001:db8::1", "fe80::1:2", "0e:11:22:33:44:55"),
    *("eni-0a1b2c3d4e5f60718", "000000000012", "unknown", "ACCEPT", "REJECT", "OK", "NODATA"),
    *('"', '"a', "a,b", "a;b", "a#b", "a=b", "a/b", "..", "%2e", "é", "日本", "NaN", "null", "--"),
    *("0x10", "True", "\N{NO-BREAK SPACE}", "a\0b", "\x0b", "\x85", "\u2028", "a" * 201, "\\N"),
]
NUMBERS = ["-", "-", "0", "1", "6", "17", "255", "007", "-0"]
LARGE_NUMBERS = [*NUMBERS, "999999999999", "9223372036854775807"]
TIMES = [
    *(str(DAY + offset) for offset in (-86400, -1, 0, 1, 3599, 3600, 43200, 86399, 86400)),
    *("-", "0", "1", "253402300799", "253402300800", f"{DAY}999", "253402300799999"),
]
TAGS = ["-", "web", "a%20b", "%E6%97%A5", "%ff", "100%", "%zz", "%2D", "a%0Ab", "+", "-"]
GOOD = {"string": TEXTS, "tag": TAGS, "int32": NUMBERS, "int64": LARGE_NUMBERS, "time": TIMES}
BAD_NUMBERS = [
    *("NaN", "x", "12x", "1.5", "1e3", "+1", "0x10", "0X1f", "1,000", "٣", "--1", "true", "''"),
    *("2147483648", "-2147483649", "9223372036854775808", "-9223372036854775809", "9" * 30),
    *("-1", "253402300800000", "0" * 40 + "7", "0" * 25, "256", "4096", "65536", "2147483647"),
]

DIRT: list[Callable[[bytes], bytes]] = [
    lambda line: line.replace(b" ", b"  "),
    lambda line: line.replace(b" ", b"\t", 1),
    lambda line: line.replace(b" ", b" \t "),
    lambda line: b"  " + line,
    lambda line: b"\t" + line,
    lambda line: line + b" \t",
    lambda line: line + b" # a comment",
    lambda line: line + b" #\xff",
    lambda line: line + b"#no-comment",
    lambda line: line + b"\r",
    lambda line: line + b"\r\r",
    lambda line: line.replace(b" ", b"\r", 1),
    lambda line: line + b" #\r ",
    lambda line: line.rpartition(b" ")[0],
    lambda line: line + b" one-more",
    lambda line: line + b" " + line,
    lambda line: line + b" -" * len(line.split()),
    lambda line: line + b" " + line.replace(b"OK", b"-").replace(b"NODATA", b"x"),
    lambda line: line.replace(b" ", b"\n", 1),
    lambda line: line + b"\xff",
    lambda line: b"\xc3" + line,
    lambda line: line.replace(b" ", b"  ", 1).rpartition(b" ")[0],
    lambda line: b"# " + line,
    lambda line: b"#" + line,
]
OTHER_LINES = [
    b"",
    b" ",
    b"\t \t",
    b"\r",
    b"#",
    b"# by hand \xc3\xa9",
    b"  #c",
    b"...",
    b"bogus line",
]
OTHER_LINES += [b"\x0b", b" \x0c\t", "\x85".encode(), "\u2028".encode(), b"\x1c \x1d"]
OTHER_LINES += [b"srcaddr action\r\r", b"version srcaddr action\r\r"]
OTHER_LINES += [b"\xff\xfe", b"-", b"action", b"srcaddr dstaddr", b"action action", b"version 2"]

FLAT = aws_key(hash_="3c3c3c3c")
KEYS = [
    aws_key(),
    aws_key(hash_="00000000", time="2026-01-14T23:55"),
    aws_key(flow_log_id="fl-0fffffffffffffff1"),
    aws_key("055700000001", "us-gov-east-1", prefix="some/prefix/"),
    aws_key(layout="o-abc123/{account}/vpcflowlogs/{region}/{time:%Y/%m/%d/%H}/"),
    aws_key(
        hash_="2b2b2b2b",
        layout="aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/"
        "year={time:%Y}/month={time:%m}/day={time:%d}/hour={time:%H}/",
    ),
    Key("copies/a.log"),
    Key("copies/b with spaces.txt.gz"),
    replace(FLAT, path="flat/" + FLAT.path.split("/")[-1]),
    Key(
        "AWSLogs/123456789012/vpcflowlogs/eu-west-1/unnamed",
        account_id="123456789012",
        region="eu-west-1",
    ),
    # No UTF-8; what would break lines, or the writing; and what is like our way to show these.
    Key("copies/caf\udce9.log"),
    Key("copies/\udcff\udcc3/a\n\x1b[1m\u202e%0A%3D%.log"),
    Key("copies/caf%E9.log"),
]


ALIASES = {
    "account-id": "account",
    "interface-id": "eni",
    "srcaddr": "source",
    "dstport": "DestPort",
    "bytes": "num_bytes",
    "start": "windowstart",
    "end": "${end-time}",
    "dstaddr": "destination",
}
SPELLINGS: list[Callable[[str], str]] = [
    lambda name: name,
    lambda name: name,
    lambda name: name.replace("-", "_"),
    lambda name: f"${{{name}}}",
    lambda name: name.upper(),
    lambda name: "".join(word.capitalize() for word in name.split("-")),
    lambda name: ALIASES.get(name, name),
]


Names = list[str]


def some(names: Names, least: int, most: int) -> st.SearchStrategy[Names]:
    """Some of the names, in any order."""
    return st.lists(st.sampled_from(names), unique=True, min_size=least, max_size=most)


ANY_TABLE = st.sampled_from([[*reference.VPC], [*reference.DEFAULT_FORMAT], [*reference.TGW]])
SHUFFLED = st.permutations(reference.DEFAULT_FORMAT)
MIXED = some([*reference.VPC, *TGW_ONLY[:2]], 2, 8)
NAMES = st.one_of(
    ANY_TABLE.flatmap(lambda names: some(names, 1, 9)),
    st.builds(lambda known, unknown: [*known, *unknown], SHUFFLED, some(UNKNOWN, 0, 2)),
    st.builds(lambda known, unknown: [*unknown, *known], MIXED, some(UNKNOWN, 0, 2)),
)


def kinds_of(names: Names) -> list[str]:
    table = "tgw" if any(name in TGW_ONLY for name in names) else "vpc"
    return [reference.FIELDS[table].get(name, "string") for name in names]


def clean_rows(names: Names) -> st.SearchStrategy[bytes]:
    values = [st.sampled_from(GOOD[kind]) for kind in kinds_of(names)]
    return st.tuples(*values).map(lambda tokens: " ".join(tokens).encode())


def bad_rows(names: Names) -> st.SearchStrategy[bytes]:
    values = [
        st.sampled_from(TEXTS if kind in ("string", "tag") else BAD_NUMBERS + NUMBERS)
        for kind in kinds_of(names)
    ]
    return st.tuples(*values).map(lambda tokens: " ".join(tokens).encode())


@st.composite
def sections(draw: st.DrawFn, names: Names) -> bytes:
    """A header and lines below it."""
    spell = draw(st.sampled_from(SPELLINGS))
    header = " ".join(map(spell, names)).encode()
    clean = clean_rows(names)
    if draw(st.booleans()):
        lines = draw(st.lists(clean, max_size=8))
    else:
        dirty = st.tuples(clean, st.sampled_from(DIRT)).map(lambda both: both[1](both[0]))
        line = st.one_of(clean, bad_rows(names), dirty, st.sampled_from([*OTHER_LINES, header]))
        lines = draw(st.lists(line, max_size=8))
    return b"".join(line + b"\n" for line in [header, *lines])


def stored(text: bytes, how: str) -> bytes:
    half = len(text) // 2
    members = gzip.compress(text[:half], 1) + gzip.compress(b"", 1) + gzip.compress(text[half:], 1)
    return {
        "plain": text,
        "gzip": gzip.compress(text, 1),
        "members": members,
        "early end": members[:-9],
        "trailing rubbish": members + b"rubbish",
        "no final newline": text[:-1],
        "CRLF": text.replace(b"\n", b"\r\n"),
        "byte order mark": b"\xef\xbb\xbf" + text,
        "lines before the header": b"\n# made by hand\n \n" + text,
        "empty last member": gzip.compress(text, 1) + gzip.compress(b"", 1),
        "long name": gzip_member(text, name=b"n" * 70_000),
        "long comment": gzip_member(text[:half]) + gzip_member(text[half:], comment=b"c" * 600),
        "gzip within gzip": gzip.compress(members, 1),
        "no header": text.partition(b"\n")[2],
    }[how]


STORED = ["plain", "gzip", "gzip", "gzip", "members", "early end", "trailing rubbish", "CRLF"]
STORED += ["empty last member", "empty last member", "long name", "long comment"]
STORED += [
    "gzip within gzip",
    "no final newline",
    "byte order mark",
    "lines before the header",
    "no header",
]


def records(names: Names) -> st.SearchStrategy[bytes]:
    """JSON of records whose keys are fields, or of messages that are lines."""

    def of(lines: list[bytes], as_messages: bool) -> bytes:
        texts = [line.decode() for line in lines]
        if as_messages:
            return firehose(texts)
        rows = [dict(zip(names, text.split(" "), strict=True)) for text in texts]
        return "\n".join(map(json.dumps, rows)).encode()

    # Values with spaces would be several.
    lines = clean_rows(names).filter(lambda line: line.count(b" ") == len(names) - 1)
    return st.builds(of, st.lists(lines, min_size=1, max_size=4), st.booleans())


BLANK = st.sampled_from(
    [b"", b"\n", b"\xef\xbb\xbf", b" \r\n# by hand\n\t", gzip.compress(b"\n\n")]
)


def parquet_files(names: Names) -> st.SearchStrategy[bytes]:
    """A file of text columns; seldom two, one behind the other."""

    def of(lines: list[bytes], times: int) -> bytes:
        rows = [line.decode().split(" ") for line in lines]
        columns = zip(*rows, strict=True)
        return parquet({n: list(c) for n, c in zip(names, columns, strict=True)}) * times

    lines = clean_rows(names).filter(lambda line: line.count(b" ") == len(names) - 1)
    return st.builds(of, st.lists(lines, min_size=1, max_size=4), st.sampled_from([1, 1, 2]))


@st.composite
def bodies(draw: st.DrawFn, shared: Names) -> bytes:
    """An object: mostly of the fields that others have too, so that they are joined."""
    names = draw(st.one_of(st.just(shared), st.just(shared), NAMES))
    kind = draw(st.sampled_from(["text"] * 5 + ["records", "blank", "blank", "Parquet"]))
    if kind != "text":
        return draw(
            {"records": records(names), "blank": BLANK, "Parquet": parquet_files(names)}[kind]
        )
    parts = [draw(sections(names))]
    while draw(st.integers(0, 5)) == 5:
        parts.append(draw(sections(draw(NAMES))))
    return stored(b"".join(parts), draw(st.sampled_from(STORED)))


Objects = dict[Key, bytes]
OBJECTS = NAMES.flatmap(
    lambda names: st.dictionaries(st.sampled_from(KEYS), bodies(names), min_size=1, max_size=5)
)

PARTITIONS = [
    ("aws_account_id", "aws_region", "date"),
    ("aws_account_id", "aws_region", "date"),
    ("date", "hour"),
    ("aws_region",),
    ("action", "date"),
    ("hour", "srcport", "srcaddr"),
    ("version", "vpc_id", "bytes"),
]
FORMATS = [None, None, None, "default", "${srcaddr} ${action} ${new-field} ${start}"]
OPTIONS = st.builds(
    ConvertOptions,
    partition_by=st.sampled_from(PARTITIONS),
    time_type=st.sampled_from(["timestamp", "epoch"]),
    order=st.sampled_from(["sorted", "log"]),
    format=st.sampled_from(FORMATS),
    allow_unknown_fields=st.just(("new-field",)),
    account=st.sampled_from([None, "000000000099"]),
    region=st.sampled_from([None, "mars-north-1"]),
    workers=st.just(1),
)


# What a link leads to, or the object that lies outside and is reached by links alone.
Links = list[str]
LINKS = st.lists(
    st.sampled_from(["object", "its folder", "up", "itself", "nowhere", "outside", "outside too"]),
    max_size=2,
    unique=True,
)


def write_links(source: Path, first: Path, links: Links) -> set[str]:
    """Write links into a source, and return what cannot be read of them.

    An object that they lead to is still one, by where it really is, and a circle is nothing.
    """
    broken = set()
    # Of links to one place outside the first counts; that is to be the one that has the key.
    folder = source / "~links" if {"outside", "outside too"} & {*links} else source
    folder.mkdir(exist_ok=True)
    for name, how in zip(["0-link", "z-link too"], links, strict=False):
        link = folder / name
        if how.startswith("outside"):
            if not first.is_symlink():
                place = source.parent / f"elsewhere-{name}"
                first.rename(place)
                first.symlink_to(place)
            if how == "outside":
                continue  # By its own key alone.
        target = {
            "its folder": first.parent,
            "up": source,
            "itself": link,
            "nowhere": source.parent / "missing",
        }.get(how, first)
        link.symlink_to(os.path.relpath(target, folder) if how == "up" else target)
        if how in ("itself", "nowhere"):
            broken.add(str(link))
    return broken


def check(objects: Mapping[Key, bytes], options: ConvertOptions, links: Links) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, lake = Path(folder, "logs"), Path(folder, "lake")
        write_objects(source, objects)
        broken = write_links(source, source / next(iter(objects)).path, links)
        report = convert(str(source), str(lake), options)
        assert_as_reference(source, objects, lake, options, report, broken)


def test_what_the_keys_of_these_tests_say() -> None:
    for key in KEYS:
        facts = parse_key(key.path)
        said = (facts.account_id, facts.region, facts.flow_log_id, facts.day, facts.time)
        assert said == (key.account_id, key.region, key.flow_log_id, key.day, key.time), key.path


@given(OBJECTS, OPTIONS, LINKS)
@settings(max_examples=100 + MORE_EXAMPLES)
def test_logs(objects: Objects, options: ConvertOptions, links: Links) -> None:
    check(objects, options, links)


@given(OBJECTS, OPTIONS, LINKS, st.integers(2500, 4096), st.sampled_from([1, 3]))
@settings(max_examples=50 + MORE_EXAMPLES)
def test_small_blocks_row_groups_and_files(
    objects: Objects, options: ConvertOptions, links: Links, block_bytes: int, rows: int
) -> None:
    with ExitStack() as stack:
        for module, name, value in (
            (reading, "BLOCK_BYTES", block_bytes),
            (writing, "ROW_GROUP_ROWS", rows),
            (writing, "BUFFERED_BYTES", 1500),
            (writing, "OPEN_FILES", 2),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        check(objects, options, links)


@pytest.mark.parametrize("time_type", ["timestamp", "epoch"])
def test_sample_logs(tmp_path: Path, time_type: Literal["timestamp", "epoch"]) -> None:
    """Those of all versions, and objects large enough for several blocks."""
    source = tmp_path / "logs"
    generate(source, GenerateOptions(records=60))
    objects = {}
    for path in source.rglob("*.log.gz"):
        facts = parse_key(path.relative_to(source).as_posix())
        said: dict[str, Any] = {
            name: getattr(facts, name)
            for name in ("account_id", "region", "flow_log_id", "day", "time")
        }
        objects[Key(path.relative_to(source).as_posix(), **said)] = path.read_bytes()
    assert len(objects) == 32
    options = ConvertOptions(time_type=time_type, workers=2)
    with mock.patch.object(reading, "BLOCK_BYTES", 20_000):
        report = convert(str(source), str(tmp_path / "lake"), options)
    assert report.complete
    assert report.lines.rows == 32 * 60
    assert_as_reference(source, objects, tmp_path / "lake", options, report)


def test_a_long_dirty_log(tmp_path: Path) -> None:
    """Blocks of real size, with every kind of line in the midst of them."""
    chance = random.Random(0)
    lines = [ROW] * 300
    lines += [change(ROW[:-1]) + b"\n" for change in DIRT]
    # Some of these are headers, so the usual one follows.
    lines += [line + b"\n" + V2 for line in OTHER_LINES if line != b"action action"]
    chance.shuffle(lines)
    body = gzip.compress(V2 + b"".join(lines), 1)
    objects = {aws_key(hash_=f"{number:08x}"): body for number in range(20)}
    objects[aws_key(hash_="ffffffff")] = body[:-8]
    write_objects(tmp_path / "logs", objects)
    options = ConvertOptions()
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    assert report.lines.rows > 6000
    assert_as_reference(tmp_path / "logs", objects, tmp_path / "lake", options, report)


@given(OBJECTS, st.sampled_from(["1MB", "256MB"]))
@settings(max_examples=8 + MORE_EXAMPLES)
def test_the_same_objects_and_options_give_the_same_files(objects: Objects, size: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "logs")
        write_objects(source, objects)
        found = []
        for name in ("one", "two"):
            lake = Path(folder, name)
            convert(str(source), str(lake), ConvertOptions(workers=2))
            found.append({p.relative_to(lake): p.read_bytes() for p in data_files(lake)})
        assert found[0] == found[1]
