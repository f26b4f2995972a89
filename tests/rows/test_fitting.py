"""Objects of which no line fits: unreadable, and nothing of them is kept."""

import gzip
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest

import flowconv
from flowconv import ConvertOptions, convert
from flowconv.blocks import json_blocks
from flowconv.errors import FormatError, ParseError
from flowconv.inspecting import inspect_object
from flowconv.lake.quarantine import read_quarantine
from flowconv.rows.batch import RejectedLine
from flowconv.rows.extracting import extract
from support.commands import INCOMPLETE, run
from support.in_memory import Stored, convert_in_memory, declare, log_object
from support.lakes import ROW, V2, data_files
from support.lakes import read_quarantine as read_files
from support.shapes import (
    cloudwatch_export,
    document,
    firehose,
    gzip_members,
    http_endpoint,
    parquet,
    subscription,
)

V5 = b"2 123456789012 eni-1 - - - - - - - 1768348800 1768348860 - NODATA" + b" -" * 13 + b"\n"
MANY = 100_000


def write(tmp_path: Path, **bodies: bytes) -> tuple[str, str]:
    (tmp_path / "logs").mkdir(exist_ok=True)
    for name, body in bodies.items():
        (tmp_path / "logs" / name).write_bytes(body)
    return str(tmp_path / "logs"), str(tmp_path / "lake")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"too few\n" * 2, "line 1: none of the object's 2 lines fits: it has 2 values, and the "),
        (b"\n# x\nfew\n", "line 3: the object's only line does not fit: it has 1 value, and the "),
        (ROW.replace(b"443", b"http"), "line 1: .*: field srcport: its value is not a whole num"),
        (V2 + b"x\n" * 3, "line 2: none of the object's 3 lines fits: it has 1 value, .* fetch it"),
        (V2 + (b"x" * 99 + b"\n") * MANY, f"line 2: none of the object's {MANY:,} lines fits"),
        (cloudwatch_export([b"x"] * 2), "line 1: none .* it has 1 value, and the format has 14"),
        (subscription([document(["x", "y z"])]), "line 1: none of the object's 2 lines fits"),
        (firehose(["x", "y z"]), "line 1: none of the object's 2 lines fits: it has 1 value, "),
        (parquet({"srcaddr": ["a"] * 2, "bytes": ["x"] * 2}), "line 1: none .* 2 rows fits: field"),
        (gzip_members([b"x\n", b"y\n"]), "line 1: none of the object's 2 lines fits"),
    ],
    ids=[
        *("few", "comments", "field", "header", "many-blocks"),
        *("export", "subscription", "firehose", "parquet", "gzip"),
    ],
)
def test_object_is_unreadable(tmp_path: Path, body: bytes, reason: str) -> None:
    logs, lake = write(tmp_path, a=body, b=V2 + ROW)
    report = convert(logs, lake, ConvertOptions(format="default"))
    assert list(report.unreadable) == [f"{logs}/a"]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(report.unreadable[f"{logs}/a"])
    assert "leave it out with --exclude" in report.unreadable[f"{logs}/a"]
    assert (report.objects, report.lines.lines, report.rejected) == (1, 2, {})
    assert read_files(tmp_path / "lake") == []
    assert flowconv.status(lake).objects == 1
    again = convert(logs, lake, ConvertOptions(format="default"))
    assert (again.already_converted, list(again.unreadable)) == (1, [f"{logs}/a"])
    assert flowconv.verify(lake).problems == []


def test_nothing_of_it_is_kept(tmp_path: Path) -> None:
    """Neither its names, nor its lines, also if it lies in a block between others."""
    odd = b"version srcaddr owner\nx\n"
    logs, lake = write(tmp_path, a=V2 + ROW, b=odd, c=odd + b"2 10.0.0.1 me\n")
    report = convert(logs, lake)
    assert list(report.unreadable) == [f"{logs}/b"]
    assert [line[:2] for line in read_files(tmp_path / "lake")] == [(f"{logs}/c", 2)]
    (tmp_path / "logs" / "c").unlink()
    other = str(tmp_path / "other")
    report = convert(logs, other)
    assert (report.unknown_fields, report.lines.rejected) == (set(), 0)
    assert len(data_files(tmp_path / "other")) == 1


def test_next_run_with_a_format_that_fits_converts_it(tmp_path: Path) -> None:
    logs, lake = write(tmp_path, a=V5 * 2)
    report = convert(logs, lake, ConvertOptions(format="default"))
    (reason,) = report.unreadable.values()
    assert reason.startswith("line 1: none of the object's 2 lines fits: it has 27 values, and ")
    tags = tuple(f"tag-{n}" for n in range(13))
    format_ = " ".join([*V2.decode().split(), *tags])
    report = convert(logs, lake, ConvertOptions(format=format_, allow_unknown_fields=tags))
    assert (report.objects, report.lines.rows, report.unreadable) == (1, 2, {})


def test_one_row_is_enough(tmp_path: Path) -> None:
    """What stands before it, over many blocks, is kept once it is there."""
    body = V2 + (b"x" * 99 + b"\n") * MANY + ROW
    logs, lake = write(tmp_path, a=gzip.compress(body, 1))
    report = convert(logs, lake, ConvertOptions(quarantine_per_object=5000))
    assert (report.lines.rows, report.lines.rejected) == (1, MANY)
    kept = read_files(tmp_path / "lake")
    assert 10 < len(kept) < 100
    assert report.lines.dropped == MANY - len(kept)
    assert [line for _, line, *_ in kept] == list(range(2, 2 + len(kept)))


def test_log_groups_of_which_no_line_fits_are_named(tmp_path: Path) -> None:
    """Those of objects that have rows too; objects that have none name theirs in their reason."""
    vpc, app = [ROW.decode()] * 2, ["START RequestId: 1", "END RequestId: 1"]
    groups = [
        ("/vpc", vpc),
        ("/app", app),
        (None, ["x"]),
        ("/part", [vpc[0], "x"]),
        ("/app", ["y"]),
    ]
    mixed = subscription([document(lines, log_group=group) for group, lines in groups])
    alone = [document([str(n)], log_group=f"/{n}") for n in range(7)]
    packed = http_endpoint([subscription([document(app, log_group="/app")]), b"".join([ROW] * 2)])
    bodies = {"a": mixed, "b": subscription(alone), "c": packed, "d": subscription(alone[:1])}
    logs, lake = write(tmp_path, **bodies)
    report = convert(logs, lake, ConvertOptions(format="default"))
    assert report.unfit_log_groups == {"/app": 5}
    assert (report.lines.rows, report.lines.rejected) == (5, 7)
    for name, text in (
        ("b", "log groups: '/0', '/1', '/2', '/3', '/4' and 2 more. "),
        ("d", "log groups: '/0'. "),
    ):
        assert (
            f' Its {text}If the object holds flow logs, correct --format or --formats, or write "'
            'exclude" for log groups there; ' in report.unreadable.pop(f"{logs}/{name}")
        )
    assert report.unreadable == {}
    report = convert(logs, lake, ConvertOptions(format="default"))
    assert report.unfit_log_groups == {}


@pytest.mark.parametrize("how", ["--retry-rejected", "--reprocess"])
def test_a_log_group_gets_its_format_later(tmp_path: Path, how: str) -> None:
    documents = [
        document([ROW.decode()] * 3, log_group="/vpc"),
        document(["10.0.0.3 egress", "10.0.0.4 ingress"], log_group="/short"),
    ]
    logs, lake = write(tmp_path, a=subscription(documents))
    done = run("convert", logs, lake, "--format", "default", code=INCOMPLETE)
    assert "2 lines of the log group /short, none of which fits" in done.stdout
    assert '"exclude" below [log-groups] in the file of --formats; --retry-rejected' in done.stdout
    formats = tmp_path / "formats.toml"
    formats.write_text('default = "default"\n[log-groups]\n"/short" = "srcaddr flow-direction"\n')
    done = run("convert", logs, lake, "--formats", formats, code=INCOMPLETE)
    assert "changed-format" in done.stdout
    done = run("convert", logs, lake, "--formats", formats, how)
    assert "none of which fits" not in done.stdout
    rows = flowconv.scan(lake).select("srcaddr").collect().rows()
    assert sorted(rows) == [*[("10.0.0.1",)] * 3, ("10.0.0.3",), ("10.0.0.4",)]
    run("convert", logs, lake, "--formats", formats)


def test_log_groups_over_many_blocks() -> None:
    """A row in any block is enough; lines of which no group is known count for none."""
    documents = [document([text], log_group=group) for text in ("x", "y") for group in ("a", "b")]
    documents += [document([ROW.decode()], log_group="b")]
    fit: dict[str, int] = {}
    listed, body = log_object("a"), subscription(documents) + b"\n{"
    with mock.patch.object(json_blocks, "STRETCH_BYTES", 1):
        for _, parsed in extract([listed], lambda _: Stored(body, 64), declare("default")):
            fit |= parsed.unfit_log_groups
    assert fit == {"a": 2}


@pytest.mark.parametrize("body", [b"", b"\n\n", V2, b"# nothing\n", V2 + b"\n# x\n"])
def test_object_without_lines_is_converted(tmp_path: Path, body: bytes) -> None:
    logs, lake = write(tmp_path, a=body)
    report = convert(logs, lake)
    assert (report.objects, report.complete) == (1, True)


def test_fail_at_the_first(tmp_path: Path) -> None:
    logs, lake = write(tmp_path, a=V2 + b"x\n")
    with pytest.raises(ParseError, match="line 2: it has 1 value, and the format has 14"):
        convert(logs, lake, ConvertOptions(on_bad_line="fail"))


def test_inspect_and_read_say_so(tmp_path: Path) -> None:
    logs, _ = write(tmp_path, a=V2 + b"x\ny\n")
    found = inspect_object(f"{logs}/a")
    assert str(found.unreadable).startswith("line 2: none of the object's 2 lines fits")
    assert (found.complete, [line.line for line in found.rejected]) == (False, [2, 3])
    lines: list[RejectedLine] = []
    with pytest.raises(FormatError, match="line 2: none of the object's 2 lines fits"):
        flowconv.read(logs, on_rejected=lines.append).read_all()
    assert len(lines) == 2


def test_rows_of_large_parquet_may_come_late() -> None:
    table = pa.table({"srcaddr": ["a"] * 40_000, "bytes": ["x"] * 39_999 + ["1"]})
    (found,) = convert_in_memory([parquet(table)])
    assert (found.unfit, found.counts.rows) == (None, 1)


# --- limits of the quarantine ---------------------------------------------------------------------


def test_limits(tmp_path: Path) -> None:
    bad = b"".join(b"bad %d\n" % number for number in range(1000))
    logs, lake = write(tmp_path, **{f"{n}.log": V2 + ROW + bad for n in range(4)})
    options = ConvertOptions(quarantine_per_object=10_000, quarantine_per_run=25_000)
    report = convert(logs, lake, options)
    assert (report.lines.rejected, report.rejected) == (4000, {"too-few-values": 4000})
    kept = read_files(tmp_path / "lake")
    (file,) = (tmp_path / "lake/_flowconv/quarantine").iterdir()
    assert 20_000 < file.stat().st_size <= 25_000
    assert report.lines.dropped == report.to_dict()["lines"]["dropped"] == 4000 - len(kept)
    shown = read_quarantine(lake)
    assert (shown.lines, shown.dropped) == (len(kept), 4000 - len(kept))
    assert [found.lines + found.dropped for found in shown.objects] == [1000] * 4
    assert flowconv.status(lake).rejected == len(kept)
    assert flowconv.verify(lake, source=logs).problems == []


def test_nothing_is_kept(tmp_path: Path) -> None:
    logs, lake = write(tmp_path, a=V2 + ROW + b"bad\n")
    report = convert(logs, lake, ConvertOptions(quarantine_per_run=0))
    assert (report.lines.rejected, report.lines.dropped, report.complete) == (1, 1, False)
    assert not (tmp_path / "lake/_flowconv/quarantine").exists()
    shown = read_quarantine(lake)
    assert (shown.lines, shown.dropped) == (0, 1)
    assert flowconv.verify(lake, source=logs).problems == []
