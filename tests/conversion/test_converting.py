"""Whole conversions: what goes wrong in them, and what must not depend on how they are run."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import polars as pl
import pytest

import flowconv
from flowconv import ConvertOptions, ConvertReport, convert
from flowconv.blocks import reading
from flowconv.blocks.counts import LineCounts
from flowconv.conversion import task
from flowconv.conversion.dry_run import plan
from flowconv.conversion.task import WorkerTime
from flowconv.errors import FlowconvError, LakeError, ParseError, StorageError, UsageError
from flowconv.lake.checksums import seal
from flowconv.lake.ledger import Ledger
from flowconv.lake.writing import TaskWriter
from flowconv.option_values import TimeType
from flowconv.running import RunProgress
from flowconv.storage.opening import open_storage
from support.commands import invoke
from support.lakes import ROW, V2, Key, aws_key, data_files, read_quarantine, write_objects
from support.shapes import cloudwatch_export, document, parquet, subscription

GOOD = gzip.compress(V2 + ROW * 3)
BAD_LINE = b"bogus line\n"


def files_of(lake: Path) -> dict[str, bytes]:
    return {path.relative_to(lake).as_posix(): path.read_bytes() for path in data_files(lake)}


def staged(lake: Path) -> list[Path]:
    return [path for path in (lake / "_flowconv/staging").rglob("*") if path.is_file()]


# --- unreadable objects -------------------------------------------------------------------------

LARGE = V2 + BAD_LINE + ROW * 300
UNREADABLE = {
    "ends early": (gzip.compress(V2 + ROW)[:-10], "the gzip data ends early"),
    "damaged": (gzip.compress(V2 + ROW)[:-8] + b"\0" * 8, "the gzip data is damaged"),
    "rubbish behind": (gzip.compress(V2 + ROW) + b"rubbish", "the gzip data"),
    "no header": (ROW, "--format"),
    "no text": (b"\x89PNG\r\n\x1a\n\0\0\n", "this is a PNG picture"),
    "Parquet": (b"PAR1....", "Parquet"),
    "a column twice": (b"srcaddr action srcAddr\na b c\n", "'srcaddr' twice"),
    "large, ends early": (gzip.compress(LARGE)[:-10], "the gzip data ends early"),
    "large, wrong checksum": (
        gzip.compress(LARGE)[:-8] + b"\0" * 8,
        "the gzip data is damaged",
    ),
    "large, a column twice later": (LARGE + b"action action\n", "'action' twice"),
    "large, a line too long": (LARGE + b"x" * 9000, "a line of more than"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_objects(tmp_path: Path, case: str) -> None:
    """Nothing of them gets into the lake, and the others are converted as without them."""
    body, reason = UNREADABLE[case]
    others = {aws_key(hash_=f"{n:08x}"): gzip.compress(V2 + ROW * n + BAD_LINE) for n in (1, 2, 4)}
    bad = aws_key(hash_="00000003")
    bad_uri = str(tmp_path / "logs" / bad.path)
    with mock.patch.object(reading, "BLOCK_BYTES", 8000):
        write_objects(tmp_path / "logs", others | {bad: body})
        report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert report.unreadable.keys() == {bad_uri}
    assert reason in report.unreadable[bad_uri]
    assert not report.complete
    assert (report.objects, report.lines.rows, report.lines.rejected) == (3, 7, 3)
    frame = pl.concat(pl.read_parquet(path) for path in data_files(tmp_path / "lake"))
    assert frame.height == 7
    assert {uri for uri, *_ in read_quarantine(tmp_path / "lake")} == {
        str(tmp_path / "logs" / key.path) for key in others
    }
    assert not staged(tmp_path / "lake")


def test_several_unreadable_objects_in_one_task(tmp_path: Path) -> None:
    bodies = [
        GOOD,
        GOOD[:-4],
        gzip.compress(LARGE)[:-4],
        ROW,
        GOOD,
        gzip.compress(LARGE)[:-9],
        GOOD,
    ]
    keys = [aws_key(hash_=f"{n:08x}") for n in range(len(bodies))]
    write_objects(tmp_path / "logs", dict(zip(keys, bodies, strict=True)))
    with mock.patch.object(reading, "BLOCK_BYTES", 8000):
        report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert report.unreadable.keys() == {str(tmp_path / "logs" / keys[n].path) for n in (1, 2, 3, 5)}
    assert report.lines.rows == 9
    assert read_quarantine(tmp_path / "lake") == []


def test_objects_that_cannot_be_fetched(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): GOOD})
    (tmp_path / "logs/b.log").symlink_to(tmp_path / "nowhere")
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert report.objects == 1
    assert list(report.unreadable) == [str(tmp_path / "logs/b.log")]


# --- lines that do not fit ----------------------------------------------------------------------


def test_fail_on_the_first_bad_line(tmp_path: Path) -> None:
    body = V2 + ROW + ROW.replace(b" 443 ", b" https ") + BAD_LINE
    write_objects(tmp_path / "logs", {Key("a.log"): body})
    options = ConvertOptions(on_bad_line="fail")
    with pytest.raises(ParseError, match=r"srcport.*whole number") as raised:
        convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    error = raised.value
    assert (error.uri, error.line, error.field) == (str(tmp_path / "logs/a.log"), 3, "srcport")
    assert "https" not in str(error) or "10.0.0.1" not in str(error)
    assert not data_files(tmp_path / "lake")
    assert not read_quarantine(tmp_path / "lake")
    assert not staged(tmp_path / "lake")


def test_fail_does_not_mind_a_log_without_bad_lines(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): V2 + b"# c\n\n" + ROW})
    options = ConvertOptions(on_bad_line="fail")
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    assert report.complete
    assert report.lines.rows == 1


# --- however it is run --------------------------------------------------------------------------


def test_workers_do_not_show(tmp_path: Path, sample_logs: Path) -> None:
    found = []
    for workers in (1, 2, 4):
        lake = tmp_path / str(workers)
        report = convert(str(sample_logs), str(lake), ConvertOptions(workers=workers))
        described = report.to_dict()
        times = ("seconds", "text_megabytes_per_second", "worker_time", "bound_by")
        for varies in ("lake", "run_id", *times):
            described.pop(varies, None)
        found.append((files_of(lake), described))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) >= 8


def test_progress(tmp_path: Path, sample_logs: Path) -> None:
    seen: list[tuple[int, int, int]] = []

    def on_progress(progress: RunProgress) -> None:
        assert progress.objects <= progress.total_objects == 32
        assert progress.source_bytes <= progress.total_bytes
        seen.append((progress.objects, progress.source_bytes, progress.rows))

    report = convert(str(sample_logs), str(tmp_path / "lake"), on_progress=on_progress)
    assert seen == sorted(seen)
    assert seen[-1] == (32, report.source_bytes, report.lines.rows)


def test_progress_of_many_tasks_is_of_all_that_are_known(tmp_path: Path) -> None:
    keys = [aws_key(time=f"2026-01-{day:02}T00:05") for day in range(1, 29)]
    write_objects(tmp_path / "logs", dict.fromkeys(keys, V2 + ROW))
    size_bytes = sum(path.stat().st_size for path in (tmp_path / "logs").rglob("*.gz"))
    totals: set[tuple[int, int]] = set()
    convert(
        str(tmp_path / "logs"),
        str(tmp_path / "lake"),
        ConvertOptions(workers=1),
        on_progress=lambda progress: totals.add((progress.total_objects, progress.total_bytes)),
    )
    assert totals == {(28, size_bytes)}


@pytest.mark.parametrize("source", ["logs", "logs/", "./logs", "logs/a.log", "logs/sub"])
def test_relative_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): GOOD, Key("sub/b.log"): GOOD})
    monkeypatch.chdir(tmp_path)
    report = convert(source, "lake")
    assert report.objects == (1 if "/a" in source or "sub" in source else 2)
    assert report.source == str(tmp_path / source.removeprefix("./")).rstrip("/")
    assert report.lake == str(tmp_path / "lake")


def test_dest_inside_source(tmp_path: Path) -> None:
    write_objects(tmp_path, {Key("a.log"): GOOD, Key("lake/b.log"): GOOD, Key("lake2/c.log"): GOOD})
    report = convert(str(tmp_path), str(tmp_path / "lake"))
    assert report.objects == 2
    assert report.lines.rows == 6


def test_nothing_to_convert(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert (report.objects, report.files, report.empty, report.complete) == (0, 0, True, False)
    assert not (tmp_path / "lake").exists(), "a mistyped source begins no lake"
    allowed = ConvertOptions(allow_empty=True)
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), allowed)
    assert (report.empty, report.complete) == (False, True)
    write_objects(tmp_path / "logs", {aws_key(): GOOD})
    tomorrow = ConvertOptions(since=date(2026, 1, 15))
    assert convert(str(tmp_path / "logs"), str(tmp_path / "lake"), tomorrow).objects == 0
    assert not (tmp_path / "lake").exists()
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    (tmp_path / "logs" / aws_key().path).unlink()
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert (report.objects, report.found_before, report.complete) == (0, True, False)
    assert convert(str(tmp_path / "logs"), str(tmp_path / "lake"), allowed).complete


def test_report_is_plain(tmp_path: Path) -> None:
    key = aws_key()
    write_objects(tmp_path / "logs", {key: V2 + ROW + BAD_LINE, Key("b.log"): ROW})
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake")).to_dict()
    assert json.loads(json.dumps(report)) == report
    counts = {"header": 1, "blank": 0, "comment": 0, "rows": 1, "rejected": 1}
    counts |= {"split": 0, "milliseconds": 0, "far_times": 0, "left_out": 0, "dropped": 0}
    assert report["lines"] == {"lines": 3} | counts
    assert report["rejected"] == {"too-few-values": 1}
    assert report["tables"] == {"vpc": 1}
    assert report["directories"] == [
        "vpc/aws_account_id=123456789012/aws_region=eu-west-1/date=2026-01-14"
    ]
    assert list(report["unreadable"]) == [str(tmp_path / "logs/b.log")]
    assert report["complete"] is False


def test_what_workers_spend_their_time_on(tmp_path: Path, sample_logs: Path) -> None:
    lake = str(tmp_path / "lake")
    report = convert(str(sample_logs), lake)
    shares = report.worker_time
    assert shares.keys() == {"working", "source", "lake", "tasks"}
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    assert shares["working"] > 0
    assert report.bound_by == max(shares, key=lambda what: shares[what])
    again = convert(str(sample_logs), lake)
    assert (again.worker_time, again.bound_by) == ({}, "")


def test_waits_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(task, "time", SimpleNamespace(perf_counter=lambda: now))
    spent = WorkerTime(2)
    now = 105.0
    spent.add(4.0, source=1.0, lake=0.5)
    spent.add(3.0, source=1.0)
    assert spent.shares() == {"working": 0.45, "source": 0.2, "lake": 0.05, "tasks": 0.3}


def test_days_and_what_is_left_out(tmp_path: Path) -> None:
    objects = {
        aws_key(time="2026-01-13T12:00"): GOOD,
        aws_key(time="2026-01-14T12:00"): GOOD,
        aws_key(time="2026-01-15T12:00"): GOOD,
        Key("AWSLogs/123456789012/CloudTrail/eu-west-1/2026/01/14/a.json.gz"): b"{}",
        Key("undated.log"): GOOD,
        Key("_SUCCESS"): b"",
    }
    write_objects(tmp_path / "logs", objects)
    options = ConvertOptions(since=date(2026, 1, 14), until=date(2026, 1, 14))
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    assert (report.objects, report.complete) == (1, True)
    assert report.left_out == {"other_services": 1, "undated": 1, "not_logs": 1}


def test_plan_writes_nothing(tmp_path: Path, sample_logs: Path) -> None:
    planned = plan(str(sample_logs), str(tmp_path / "lake"))
    assert not (tmp_path / "lake").exists()
    assert planned.objects == 32
    assert planned.size_bytes == sum(p.stat().st_size for p in sample_logs.rglob("*.gz"))
    assert len({(g.account_id, g.region) for g in planned.groups}) == 4
    assert json.loads(json.dumps(planned.to_dict())) == planned.to_dict()


def test_a_dry_run_refuses_what_a_run_refuses(tmp_path: Path) -> None:
    write_objects(tmp_path, {Key("logs/a.log"): V2 + ROW, Key("others/vpc/a.parquet"): b""})
    logs = str(tmp_path / "logs")
    convert(logs, str(tmp_path / "lake"))
    by_day = ConvertOptions(partition_by=("date",))
    for folder, options in (("lake", by_day), ("others", None), ("lake/vpc/x", None)):
        errors = []
        for command in (convert, plan):
            with pytest.raises(FlowconvError) as caught:
                command(logs, str(tmp_path / folder), options)
            errors.append(str(caught.value))
        assert errors[0] == errors[1]
    assert not (tmp_path / "lake/vpc/x").exists()


@pytest.mark.parametrize("how", ["gone", "unreadable"])
def test_objects_that_cannot_be_converted_anew(tmp_path: Path, how: str) -> None:
    """Each object is reported once, and keeps its rows."""
    bad, changed, other = (aws_key(hash_=f"{number:08x}") for number in range(3))
    write_objects(tmp_path / "logs", {bad: V2 + ROW + BAD_LINE, changed: GOOD, other: GOOD})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    before = files_of(tmp_path / "lake")
    write_objects(tmp_path / "logs", {changed: V2 + 9 * ROW, other: b"\x1f\x8b"})
    if how == "gone":
        (tmp_path / "logs" / other.path).unlink()
    again = ConvertOptions(reprocess=True, retry_rejected=True)
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), again)
    assert (report.objects, report.already_converted, report.changed) == (0, 0, [])
    keys = [bad, changed] if how == "gone" else [bad, changed, other]
    assert report.unreadable.keys() == {str(tmp_path / "logs" / key.path) for key in keys}
    for key in (bad, changed):
        reason = report.unreadable[str(tmp_path / "logs" / key.path)]
        assert "cannot be converted again: 1 objects that were converted with it" in reason
    assert report.lines.lines == 0
    assert not report.rejected
    assert not report.complete
    assert files_of(tmp_path / "lake") == before


# --- destinations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"time_type": "epoch"}, "--time-type timestamp"),
        ({"partition_by": ("date",)}, "--partition-by aws_account_id,aws_region,date"),
    ],
    ids=str,
)
def test_a_lake_has_one_layout(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    write_objects(tmp_path / "logs", {aws_key(): GOOD})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    before = files_of(tmp_path / "lake")
    with pytest.raises(LakeError, match=message) as raised:
        convert(str(tmp_path / "logs"), str(tmp_path / "lake"), ConvertOptions(**other))
    assert raised.value.uri == str(tmp_path / "lake")
    assert files_of(tmp_path / "lake") == before


def test_somebody_elses_tables_are_left_alone(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {aws_key(): GOOD})
    write_objects(tmp_path / "lake", {Key("vpc/theirs.parquet"): b"PAR1"})
    with pytest.raises(LakeError, match="not a flowconv lake"):
        convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert files_of(tmp_path / "lake") == {"vpc/theirs.parquet": b"PAR1"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b"\xff"])
def test_a_damaged_layout_is_said(tmp_path: Path, content: bytes) -> None:
    write_objects(tmp_path / "lake", {Key("_flowconv/lake.json"): content})
    (tmp_path / "logs").mkdir()
    with pytest.raises(LakeError, match=r"lake\.json is damaged"):
        convert(str(tmp_path / "logs"), str(tmp_path / "lake"))


def test_a_later_lake_is_said(tmp_path: Path) -> None:
    write_objects(tmp_path / "lake", {Key("_flowconv/lake.json"): seal({"version": 99})})
    (tmp_path / "logs").mkdir()
    with pytest.raises(LakeError, match=r"found version 99 .* Update flowconv"):
        convert(str(tmp_path / "logs"), str(tmp_path / "lake"))


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        convert(str(tmp_path / "nowhere"), str(tmp_path / "lake"))
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("url", ["gs://bucket/x", "", "a\0b"])
def test_places_that_are_none(tmp_path: Path, url: str) -> None:
    for source, dest in ((url, str(tmp_path / "lake")), (str(tmp_path), url)):
        with pytest.raises(UsageError, match="Write a local folder or s3://bucket/prefix"):
            convert(source, dest)


def test_dest_that_is_a_file(tmp_path: Path) -> None:
    write_objects(tmp_path, {Key("logs/a.log"): GOOD, Key("file"): b"mine"})
    with pytest.raises(StorageError, match="a part of this path is a file"):
        convert(str(tmp_path / "logs"), str(tmp_path / "file"))
    with pytest.raises(StorageError, match="a part of this path is a file"):
        convert(str(tmp_path / "logs"), str(tmp_path / "file/below"))
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_dest_without_permission(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {aws_key(): GOOD})
    (tmp_path / "lake").mkdir(mode=0o555)
    with pytest.raises(StorageError, match="access is denied"):
        convert(str(tmp_path / "logs"), str(tmp_path / "lake"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {aws_key(): GOOD})

    real = io.FileIO

    def full_disk(path: str, mode: str) -> io.FileIO:
        Path(path).touch()
        return real("/dev/full", mode)

    with (
        mock.patch("io.FileIO", full_disk),
        pytest.raises(StorageError, match="the disk is full") as raised,
    ):
        convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert str(raised.value.uri).startswith(str(tmp_path / "lake"))
    assert not staged(tmp_path / "lake")
    assert not data_files(tmp_path / "lake")


# --- the process --------------------------------------------------------------------------------


def start(*arguments: str | Path, under: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    package = Path(flowconv.__file__).parent.parent
    return subprocess.Popen(
        [*under, sys.executable, "-m", "flowconv", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package)},
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no files")
def test_a_file_that_cannot_grow(tmp_path: Path) -> None:
    """As with a full disk: a clear error, no traceback, nothing half-written."""
    write_objects(tmp_path / "logs", {aws_key(): GOOD})
    # In blocks of 512 or 1024 bytes. Python 3.11 keeps bytecode that it could not write whole.
    limits = 'ulimit -f 4; export PYTHONDONTWRITEBYTECODE=1; exec "$@"'
    limited = ("sh", "-c", limits, "sh")
    process = start("convert", tmp_path / "logs", tmp_path / "lake", under=limited)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith(f"error: {tmp_path / 'lake'}")
    assert "the shell's limit (ulimit -f)" in errors
    assert errors.count("\n") == 1
    assert not staged(tmp_path / "lake")
    assert not data_files(tmp_path / "lake")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends a long run soon, and leaves nothing half-written."""
    first, *others = [
        aws_key(hash_=f"{n:08x}", time=f"2026-01-{n % 9 + 10}T00:05") for n in range(600)
    ]
    write_objects(tmp_path / "logs", {first: gzip.compress(V2 + ROW * 90_000, 1)})
    for key in others:
        path = tmp_path / "logs" / key.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(tmp_path / "logs" / first.path)
    process = start(
        *("convert", tmp_path / "logs", tmp_path / "lake", "--workers", "2", "--grace", "0")
    )
    deadline = time.monotonic() + 60
    while not staged(tmp_path / "lake") and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == (
        "stopping: tasks under way are abandoned.\n"
        "error: stopped. What was finished is kept; nothing half-written is left.\n"
    )
    assert re.search(r"^stopped +before its end", output, re.MULTILINE)
    assert not staged(tmp_path / "lake")
    for path in data_files(tmp_path / "lake"):
        pl.read_parquet_schema(path)


def test_a_new_header_is_reported_and_recorded(tmp_path: Path) -> None:
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    write_objects(logs, {aws_key(time="2026-01-14T00:05"): GOOD})
    first = convert(str(logs), str(lake))
    assert first.new_headers == []
    changed = (
        V2.replace(b" start", b" flow-direction start") + b"2 - - - - - - - - - egress - - - -\n"
    )
    write_objects(logs, {aws_key(time="2026-01-15T00:05", hash_="1"): changed})
    report = convert(str(logs), str(lake))
    assert report.complete
    (header,) = report.new_headers
    assert (header.since, header.added, header.removed) == (
        date(2026, 1, 15),
        ("flow-direction",),
        (),
    )
    assert header.prefix == str(logs / "AWSLogs/123456789012/vpcflowlogs/eu-west-1")
    assert header.flow_log_id is not None
    *_, last = Ledger.read(open_storage(str(lake))).runs()
    assert last.report["new_headers"][0]["added"] == ["flow-direction"]
    assert (report.number_new_headers, last.report["number_new_headers"]) == (1, 1)
    assert convert(str(logs), str(lake)).new_headers == []


def test_the_size_of_the_text_is_that_of_all_lines(tmp_path: Path) -> None:
    """Of objects of several formats too, some of which are joined."""
    other = b"# made by hand\n" + V2.replace(b" end", b"") + b"2 - - - - - - - - - - - -\n"
    bodies = [V2 + ROW, V2 + ROW * 2, other, other, V2 + ROW, V2, b"\n\n" + V2 + ROW]
    objects = {aws_key(hash_=f"{n:08x}"): body for n, body in enumerate(bodies)}
    write_objects(tmp_path / "logs", objects)
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert report.complete
    assert report.text_bytes == sum(map(len, bodies))


TWICE = b"srcaddr srcaddr version\n"
LARGE_ROWS = ROW * 100_000


@pytest.mark.parametrize(
    ("bodies", "unreadable"),
    [
        pytest.param([V2 + ROW, V2 + TWICE, V2 + ROW * 2, V2 + ROW + TWICE], [1, 3], id="small"),
        pytest.param([V2 + TWICE, V2 + TWICE], [0, 1], id="nothing but"),
        pytest.param([V2 + LARGE_ROWS, V2 + TWICE, V2 + ROW], [1], id="behind a large one"),
        pytest.param(
            [V2 + LARGE_ROWS + TWICE, V2 + ROW, V2 + TWICE], [0, 2], id="a large one's end"
        ),
        pytest.param(
            [V2 + ROW, V2 + LARGE_ROWS + TWICE, V2 + TWICE + LARGE_ROWS, V2 + ROW, V2 + LARGE_ROWS],
            [1, 2],
            id="two large ones",
        ),
        pytest.param(
            [
                gzip.compress(V2 + LARGE_ROWS, 1)[:-9],
                V2 + ROW,
                gzip.compress(V2 + LARGE_ROWS, 1)[:-9],
            ],
            [0, 2],
            id="cut gzip",
        ),
    ],
)
def test_objects_that_fail_late(tmp_path: Path, bodies: list[bytes], unreadable: list[int]) -> None:
    """All of them are found in one pass, and the others are converted in the next."""
    keys = [aws_key(hash_=f"{n:08x}") for n in range(len(bodies))]
    packed = [body if body[0] == 0x1F else gzip.compress(body, 1) for body in bodies]
    write_objects(tmp_path / "logs", dict(zip(keys, packed, strict=True)))
    attempts = 0
    close = TaskWriter.discard

    def discard(self: TaskWriter) -> None:
        nonlocal attempts
        attempts += 1
        close(self)

    with mock.patch.object(TaskWriter, "discard", discard):
        report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), ConvertOptions(workers=1))
    bad = [str(tmp_path / "logs" / keys[n].path) for n in unreadable]
    assert sorted(report.unreadable) == bad
    good = [body for n, body in enumerate(bodies) if n not in unreadable]
    rows = sum(body.count(ROW) for body in good)
    assert report.lines == LineCounts(header=len(good), rows=rows)
    assert attempts <= 2
    if rows:
        assert flowconv.scan(str(tmp_path / "lake")).collect().height == rows


# --- another format is declared than before -------------------------------------------------------

SHORT = "version account-id interface-id srcaddr dstaddr"
FIVE = b"2 123456789012 eni-1 10.0.0.1 10.0.0.2\n"
SWAPPED = "version account-id interface-id dstaddr srcaddr"


def changed_formats(report: ConvertReport) -> list[str]:
    return sorted(Path(uri).name for uri in report.changed_format)


@pytest.mark.parametrize("merge", [1, 64])
def test_another_format_than_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge: int
) -> None:
    monkeypatch.setattr("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", merge)
    logs, lake = str(tmp_path / "logs"), str(tmp_path / "lake")
    objects = {
        Key("a/plain.log"): FIVE,
        Key("b/plain.log"): FIVE,
        Key("c/header.log"): V2 + ROW,
        Key("d/same-header.log"): SHORT.encode() + b"\n" + FIVE,
        Key("e/empty.log"): b"",
        Key("f/export.log"): cloudwatch_export([FIVE.strip()]),
        Key("g/documents.log"): subscription([document([FIVE.decode().strip()])]),
        Key("h/rows.parquet"): parquet({"version": [2], "srcaddr": ["10.0.0.1"]}),
    }
    write_objects(Path(logs), objects)

    def convert_(**options: Any) -> ConvertReport:
        return convert(logs, lake, ConvertOptions(**options))

    assert convert_(format=SHORT).complete
    for same in ({"format": SHORT}, {"format": "${" + SHORT.replace(" ", "} ${") + "}"}, {}):
        again = convert_(**same)
        assert (again.complete, again.already_converted) == (True, 8)
    found = convert_(format=SWAPPED)
    assert [Path(uri).parent.name for uri in sorted(found.changed_format)] == list("abfg")
    assert not found.complete
    assert found.already_converted == 4
    assert found.to_dict()["number_changed_format"] == 4
    planned = plan(logs, lake, ConvertOptions(format=SWAPPED))
    assert (planned.objects, planned.changed_format, planned.already_converted) == (0, 4, 4)
    shown = invoke(["convert", logs, lake, "--format", SWAPPED])
    assert shown.exit_code == 3
    assert "4 changed-format" in shown.stdout
    assert f"converts it again: {logs}/a/plain.log\n" in shown.stdout
    assert "4 changed-format" in invoke(["status", lake]).stdout
    dry = invoke(["convert", logs, lake, "--format", SWAPPED, "--dry-run"])
    assert "changed-format, read with --reprocess alone: 4 objects" in dry.stdout
    planned = plan(logs, lake, ConvertOptions(format=SWAPPED, reprocess=True))
    assert planned.objects >= 4

    anew = convert_(format=SWAPPED, reprocess=True)
    assert (anew.changed_format, anew.unreadable) == ([], {})
    rows = flowconv.scan(lake).select("srcaddr", "dstaddr").collect().rows()
    assert rows.count(("10.0.0.2", "10.0.0.1")) == 4
    assert len(rows) == 7
    quiet = convert_(format=SWAPPED)
    assert (quiet.complete, quiet.already_converted) == (True, 8)


def test_formats_of_prefixes_and_log_groups_that_changed(tmp_path: Path) -> None:
    """Only where another one is declared; which group a document is of, nobody looks up."""
    logs, lake, formats = (str(tmp_path / name) for name in ("logs", "lake", "formats.toml"))
    objects = {
        Key("a/plain.log"): FIVE,
        Key("b/documents.log"): subscription(
            [
                document([FIVE.decode().strip()], log_group="/one"),
                document([FIVE.decode().strip()], log_group="/two"),
            ]
        ),
    }
    write_objects(Path(logs), objects)

    def convert_(toml: str, **options: Any) -> ConvertReport:
        Path(formats).write_text(toml)
        return convert(logs, lake, ConvertOptions(formats=formats, **options))

    groups = f'[log-groups]\n"/one" = "{SHORT}"\n"/two" = "{SWAPPED}"\n'
    assert convert_(f'{groups}[prefixes]\n"a/" = "{SHORT}"').complete
    assert convert_(f'{groups}[prefixes]\n"b/" = "{SWAPPED}"').complete
    assert convert_(f'[prefixes]\n"c/" = "{SWAPPED}"').complete, "none is declared for any"
    other = convert_(f'[log-groups]\n"/one" = "{SWAPPED}"\n[prefixes]\n"a/" = "{SWAPPED}"')
    assert changed_formats(other) == ["documents.log", "plain.log"]


def test_nothing_is_found_though_there_was_something_before(tmp_path: Path) -> None:
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    write_objects(logs, {aws_key(): GOOD})
    assert convert(str(logs), str(lake)).complete
    later = ConvertOptions(since=date(2026, 1, 15))
    report = convert(str(logs), str(lake), later)
    assert (report.empty, report.found_before, report.complete) == (True, True, False)
    planned = plan(str(logs), str(lake), later)
    assert (planned.empty, planned.found_before, planned.complete) == (True, True, False)
    allowed = ConvertOptions(since=date(2026, 1, 15), allow_empty=True)
    assert convert(str(logs), str(lake), allowed).complete
    (logs / aws_key().path).unlink()
    assert convert(str(logs), str(lake)).found_before
    # Another source is as empty as if there were no lake.
    (tmp_path / "others").mkdir()
    report = convert(str(tmp_path / "others"), str(lake))
    assert (report.empty, report.found_before) == (True, False)


@pytest.mark.parametrize("time_type", ["timestamp", "epoch"])
@pytest.mark.parametrize(
    ("lines", "newest", "skipdata"),
    [
        ("1768348800 OK\n1768348860 OK\n", 1768348860, 0),
        ("1768348800 SKIPDATA\n- SKIPDATA\n1768348700 NODATA\n", 1768348800, 2),
        ("1768348800 OK\n4102444800 OK\n", 1768348800, 0),  # A clock is wrong: it is 2100.
        ("4102444800 OK\n", None, 0),
        ("- OK\n", None, 0),
        ("1768348800 -\n", 1768348800, 0),
    ],
)
def test_newest_record_and_what_aws_lost(
    tmp_path: Path, lines: str, newest: int | None, skipdata: int, time_type: TimeType
) -> None:
    write_objects(tmp_path / "logs", {aws_key(): b"start log-status\n" + lines.encode()})
    options = ConvertOptions(time_type=time_type)
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    wanted = None if newest is None else datetime.fromtimestamp(newest, UTC)
    assert (report.newest_record, report.skipdata) == (wanted, skipdata)
    assert report.newest_object == aws_key().time
    status = flowconv.status(str(tmp_path / "lake"))
    assert (status.newest_record, status.newest_object) == (wanted, aws_key().time)


def test_no_status_at_all(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"start\n1768348800\n"})
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert (report.skipdata, report.newest_object) == (0, None)
