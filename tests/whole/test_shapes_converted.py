"""Objects of every shape through the whole program: inspect, convert, and what the two refuse."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from unittest import mock

import pytest

from flowconv import ConvertOptions, convert, scan
from flowconv.blocks import json_documents
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.shapes import SIGNS, Shape
from flowconv.errors import UsageError
from flowconv.inspecting import inspect_object
from flowconv.rows.extracting import extract
from support.commands import INCOMPLETE, USAGE, run
from support.in_memory import Stored, declare, log_object
from support.lakes import ROW, Key, aws_key, read_quarantine, write_objects
from support.shapes import (
    cloudwatch_export,
    control,
    document,
    firehose,
    gzip_members,
    subscription,
)

FORMAT = "version type start"
LINES = ["2 A 1768348800", "", "# a", "2 B 1768348800 2 C 1768348801000", "x D 5"]
RAW = [line.encode() for line in LINES]
# Each has lines 1 to 5: a row, none, none, two rows, none.
OBJECTS = {
    Shape.HEADERLESS: b"\n".join(RAW),
    Shape.CLOUDWATCH_EXPORT: cloudwatch_export(RAW),
    Shape.SUBSCRIPTION: subscription([control(), document(LINES[:2]), document(LINES[2:])]),
    Shape.FIREHOSE: firehose(LINES, between=""),
}


# --- inspect --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", OBJECTS)
def test_inspect(tmp_path: Path, shape: Shape) -> None:
    half = len(OBJECTS[shape]) // 2
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip_members([OBJECTS[shape][:half], OBJECTS[shape][half:]]))
    found = inspect_object(str(path), format=FORMAT)
    assert (found.shape, found.sign) == (shape, SIGNS[shape])
    assert found.lines == (0, 1, 1, 3, 1, 1, 1, 0, 0, 0)
    assert [format_.names for format_ in found.formats] == [FORMAT]
    assert [record["type"] for record in found.records] == ["A", "B", "C"]
    assert [(line.line, line.reason) for line in found.rejected] == [(5, "not-a-number")]

    found = inspect_object(str(path))
    assert (found.shape, found.sign, found.records) == (shape, SIGNS[shape], [])
    assert "--format '${version} ${account-id} …'" in str(found.unreadable)


def test_inspect_a_header(tmp_path: Path) -> None:
    for shape, body in [
        (Shape.HEADER, b"version type\n2 A\n"),
        (Shape.CLOUDWATCH_EXPORT, cloudwatch_export([b"version type", b"2 A"])),
        (Shape.SUBSCRIPTION, subscription([document(["version type", "2 A"])])),
        (Shape.FIREHOSE, firehose(["version type", "2 A"])),
    ]:
        (tmp_path / "a.log").write_bytes(body)
        found = inspect_object(str(tmp_path / "a.log"))
        assert (found.shape, found.complete, found.lines.header) == (shape, True, 1)
        assert [format_.names for format_ in found.formats] == ["version type"]


def test_inspect_json_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"Records":[{"eventName":"RunInstances"}]}')
    found = inspect_object(str(tmp_path / "a.json"), format=FORMAT)
    assert (found.shape, found.sign) == (Shape.JSON, "it is JSON")
    assert str(found.unreadable).startswith("this JSON is not a flow log: ")


def test_inspect_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(OBJECTS[Shape.SUBSCRIPTION])
    shown = run("inspect", path, "--format", FORMAT, code=INCOMPLETE).stdout
    assert "subscription: its JSON documents have messageType or logEvents" in shown
    assert "5 = 0 header + 1 blank + 1 comment + 3 rows - 1 split + 1 rejected" in shown
    assert "line 5: not-a-number (field version)" in shown
    (found,) = json.loads(run("inspect", path, "--json", code=INCOMPLETE).stdout)
    assert found["shape"] == "subscription"
    assert found["unreadable"].startswith("line 1: this is a subscription of CloudWatch Logs")
    assert " Its log group is '/aws/vpc/flowlogs'. " in found["unreadable"]


# --- convert --------------------------------------------------------------------------------------


def test_source_columns(tmp_path: Path) -> None:
    objects = {Key(f"{shape}.log.gz"): gzip.compress(body) for shape, body in OBJECTS.items()}
    write_objects(tmp_path / "logs", objects)
    lake = str(tmp_path / "lake")
    options = ConvertOptions(format=FORMAT, with_source=True)
    report = convert(str(tmp_path / "logs"), lake, options)
    assert report.lines == (0, 4, 4, 12, 4, 4, 4, 0, 0, 0)
    columns = ["source_uri", "source_line", "type"]
    rows = scan(lake).select(columns).collect().sort(columns).rows()
    assert rows == [
        (str(tmp_path / "logs" / f"{shape}.log.gz"), line, type)
        for shape in sorted(OBJECTS)
        for line, type in [(1, "A"), (4, "B"), (4, "C")]
    ]
    assert {(line, text) for _, line, _, _, text in read_quarantine(tmp_path / "lake")} == {
        (5, RAW[4]),
        (5, cloudwatch_export(RAW[4:]).rstrip()),
    }


FORMATS = """
default = "default"

[flow-logs]
fl-0a1b2c3d4e5f60718 = "srcaddr bytes"

[log-groups]
"/aws/vpc/flowlogs" = "type bytes"

[prefixes]
"old/" = "${srcaddr} ${start}"
"old/new/" = "dstaddr packets"
"""


def test_formats_of_one_prefix(tmp_path: Path) -> None:
    name = "1_vpcflowlogs_eu-west-1_fl-0a1b2c3d4e5f60718_20260114T0005Z_1a2b3c4d.log"
    objects = {
        "a.log": ROW,
        "old/a.log": b"a 1768348800\n",
        "old/header.log": b"type\nB\n",
        "old/new/a.log": b"b 3\n",
        "old/new/export.gz": gzip.compress(cloudwatch_export([b"c 4", b"x"])),
        "old/new/json": subscription([document(["C 5"]), document(["d 6"], log_group="other")]),
        f"old/new/{name}": subscription([document(["e 7"])]),
    }
    write_objects(tmp_path / "logs", {Key(path): body for path, body in objects.items()})
    (tmp_path / "formats.toml").write_text(FORMATS)
    options = ("--formats", tmp_path / "formats.toml", "--json")
    done = run("convert", tmp_path / "logs", tmp_path / "lake", *options, code=INCOMPLETE)
    report = json.loads(done.stdout)
    assert (report["lines"]["rows"], report["rejected"]) == (8, {"too-few-values": 1})
    columns = ["srcaddr", "dstaddr", "type", "packets", "bytes"]
    rows = scan(str(tmp_path / "lake")).select(columns).collect().rows()
    assert sorted(rows, key=repr) == sorted(
        [
            ("10.0.0.1", "10.0.0.2", None, 10, 840),
            ("a", None, None, None, None),
            (None, None, "B", None, None),
            (None, "b", None, 3, None),
            (None, "c", None, 4, None),
            (None, None, "C", None, 5),
            (None, "d", None, 6, None),
            ("e", None, None, None, 7),
        ],
        key=repr,
    )


def test_log_groups_left_out_of_what_is_unreadable_do_not_count(tmp_path: Path) -> None:
    """Each fails in another way: no line fits, it ends early, or does so after rows of it."""
    out = document(["a", "b"], log_group="out")
    read = subscription([out, document(["A 5"])])
    bodies = {
        "a": read,
        "b": subscription([out, document(["no number"])]),
        "c": gzip.compress(read)[:-9],
        "d": gzip.compress(subscription([out, *[document(["A 5"] * 9999)] * 9]))[:-9],
        "e": read,
        "f": subscription([out, document(["no number"])]),
    }
    write_objects(tmp_path / "logs", {Key(name): body for name, body in bodies.items()})
    formats = tmp_path / "formats.toml"
    formats.write_text('default = "type bytes"\n[log-groups]\nout = "exclude"')
    options = ConvertOptions(formats=str(formats))
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    assert sorted(Path(uri).name for uri in report.unreadable) == ["b", "c", "d", "f"]
    assert (report.lines.left_out, report.left_out_log_groups) == (4, {"out": 4})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read (No such file or directory)."),
        (b"default = ", "is not valid TOML ("),
        (b"\xff", "is not valid TOML ("),
        (b"other = 1", "has 'other'. Write default, [flow-logs], [log-groups] or [prefixes]."),
        (b"default = 1", "'default' in ~ is not a text of field names."),
        (b'default = ""', "'default' in ~: empty. Write"),
        (b'default = "a=b"', "'default' in ~: 'a=b' is not a field name."),
        (b"prefixes = 1", "prefixes in ~ is not a table; write [prefixes]."),
        (b"[prefixes]\na = 1", "'a' in ~ is not a text of field names."),
        (b'[log-groups]\ng = "bytes bytes"', "'g' in ~: the header names column 'bytes' twice."),
        (b"[flow-logs]\nx.y = 'bytes'", "'x' in ~ is not a text of field names."),
        (b"default = " + b"[" * 100_000, "is not a TOML file of formats"),
        (b"#" * (33 << 20), "larger than 32 MiB."),
    ],
)
def test_files_that_are_no_formats(tmp_path: Path, text: bytes | None, message: str) -> None:
    file = tmp_path / "formats.toml"
    if text is not None:
        file.write_bytes(text)
    write_objects(tmp_path / "logs", {Key("a.log"): ROW})
    commands: list[list[str | Path]] = [
        ["convert", tmp_path / "logs", tmp_path / "lake"],
        ["inspect", tmp_path / "logs/a.log"],
    ]
    for command in commands:
        done = run(*command, "--formats", file, code=USAGE)
        assert done.stdout == ""
        assert done.stderr.startswith("error: --formats: ")
        assert message in done.stderr.replace(str(file), "~")
    assert not (tmp_path / "lake").exists()


def test_formats_from_a_pipe_are_read_once(tmp_path: Path) -> None:
    """As of `--formats <(…)`; by more tasks and objects than one."""
    keys = (Key("a.log"), aws_key(time="2026-01-14T00:05"), aws_key(time="2026-01-15T00:05"))
    write_objects(tmp_path / "logs", dict.fromkeys(keys, ROW))
    objects = [tmp_path / "logs" / key.path for key in keys]
    commands: list[list[str | Path]] = [
        ["convert", tmp_path / "logs", tmp_path / "lake"],
        ["inspect", *objects],
    ]
    for command in commands:
        end, start = os.pipe()
        os.write(start, b'default = "default"')
        os.close(start)
        run(*command, "--formats", f"/dev/fd/{end}")
        os.close(end)


@pytest.mark.parametrize("name", ["", ".", "\0", "x" * 5000], ids=ascii)
def test_no_file_of_formats(name: str) -> None:
    with pytest.raises(UsageError, match="--formats: "):
        ConvertOptions(formats=name)


# --- hostile --------------------------------------------------------------------------------------


ONE = f'{{"message":"{ROW.decode().strip()}"}}'.encode()
DEEP = b"[" * 4_000_000


@pytest.mark.parametrize(
    ("body", "rows", "rejected"),
    [
        (subscription([document([ROW.decode()] * 65_000)]), 65_000, 0),
        (ONE * 100_000, 100_000, 0),
        (b"\n".join([ONE, b'{"x":%s}' % (DEEP + b"]" * len(DEEP)), ONE]), 2, 1),
        (b"\n".join([ONE, b'{"x":' + DEEP, ONE]), 2, 1),
        (ONE + b'\n{"a":' * 100_000, 1, 100_000),
        (
            subscription([document([ROW.decode()], log_group=f"g{n % 2}") for n in range(9999)]),
            9999,
            0,
        ),
        (b'{"message":"%s"}' % (b"}{" * 2_000_000), 0, 1),
    ],
    ids=["9 MiB", "documents", "deep", "deep and open", "open lines", "log groups", "braces"],
)
def test_hostile(body: bytes, rows: int, rejected: int) -> None:
    """Such objects take seconds, not minutes."""
    listed, declared, counts = log_object("a", len(body)), declare("default"), LineCounts()
    for _, parsed in extract([listed], lambda _: Stored(body), declared, must_fit=False):
        for _, more in parsed.counts:
            counts += more
    assert (counts.rows, counts.rejected) == (rows, rejected)


@pytest.mark.parametrize("packed", [False, True])
def test_documents_that_never_end(tmp_path: Path, packed: bool) -> None:
    """Memory is bounded by the largest document that is read."""
    text = b'{"message":"' + b"x" * 40_000_000
    path = tmp_path / "a.log"
    path.write_bytes(gzip.compress(text, 1) if packed else text)
    tracemalloc.start()
    with (
        mock.patch.object(json_documents, "MAX_DOCUMENT_BYTES", 1 << 20),
        mock.patch.object(json_documents, "STRETCH_BYTES", 1 << 19),
    ):
        found = inspect_object(str(path), format="default")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(found.unreadable).startswith("a JSON document has more than 1 MiB, or is damaged")
    assert found.shape is Shape.JSON
    assert most < 30_000_000
