"""What removes days and finds gaps does the same in S3 as in a folder, and may be killed there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import flowconv
from flowconv import ConvertOptions
from flowconv.lake.ledger import Ledger
from support.exactly_once import S3Lake, storage_of
from support.lakes import ROW, V2, aws_key
from support.processes import Done, Runs, Step
from support.s3_servers import S3Server

pytestmark = pytest.mark.usefixtures("no_aws_settings")

FIRST, SECOND, THIRD = "2026-01-14", "2026-01-15", "2026-01-16"

# The second record makes the compacted file count: both before and after it each row counts once.
COMPACTING_MOTO_STEPS = [Step(1, "before append"), Step(1, "after append")]
COMPACTING_CEPH_STEPS = [
    Step(0, "after S3 publish"),
    *COMPACTING_MOTO_STEPS,
    Step(0, "after S3 delete"),
]

# The second record says what expires: until it is written all rows count, from then on none does.
MOTO_STEPS = [Step(1, "after append")]
CEPH_STEPS = [
    Step(0, "after append"),
    Step(1, "before append"),
    *MOTO_STEPS,
    Step(0, "before S3 delete"),
    Step(0, "after S3 delete"),
]


def write_logs(folder: Path) -> None:
    """A flow log's windows of ten minutes over three days, one of which is missing."""
    for day, start in ((FIRST, 1768348800), (SECOND, 1768435200), (THIRD, 1768521600)):
        for number in range(6):
            if (day, number) == (SECOND, 3):
                continue
            begin = start + 600 * number
            row = ROW.replace(b"1768348800 1768348860", b"%d %d" % (begin, begin + 60))
            path = folder / aws_key(time=f"{day}T00:{10 * number:02}").path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(V2 + row)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder)
    return folder


@pytest.fixture
def lake(s3: S3Server, logs: Path) -> S3Lake:
    lake = S3Lake(s3, s3.make_bucket())
    convert(logs, lake)
    return lake


def convert(logs: Path, lake: S3Lake) -> flowconv.ConvertReport:
    options = ConvertOptions(workers=1, dest_options=lake.options)
    return flowconv.convert(str(logs), lake.url, options)


def by_day(lake: S3Lake) -> dict[str, int]:
    days = flowconv.scan(lake.url, options=lake.options).group_by(pl.col("date").cast(pl.String))
    return dict(sorted(days.len().collect().iter_rows()))


def command(runs: Runs, lake: S3Lake, *arguments: str, at: Step | None = None) -> Done:
    name, *more = arguments
    options = [f"--dest-option={name}={value}" for name, value in lake.options.items()]
    done = runs.run(name, lake.url, *more, *options, "--json", at=at)
    assert "Traceback" not in done.stderr
    return done


def test_a_kill_removes_all_of_a_day_or_nothing(
    runs: Runs, s3: S3Server, lake: S3Lake, logs: Path
) -> None:
    for step in MOTO_STEPS if s3.kind == "moto" else CEPH_STEPS:
        broken = lake.copy()
        assert command(runs, broken, "expire", "--before", SECOND, at=step).was_killed, step
        has_expired = bool(Ledger.read(storage_of(broken)).expired())
        assert by_day(broken) == ({} if has_expired else {FIRST: 6}) | {SECOND: 5, THIRD: 6}
        again = command(runs, broken, "expire", "--before", SECOND)
        assert again.code == 0, again.stderr
        assert json.loads(again.stdout)["rows"] == (0 if has_expired else 6)
        assert by_day(broken) == {SECOND: 5, THIRD: 6}
        assert not [name for name in broken.names() if f"date={FIRST}" in name or "intent" in name]
        assert convert(logs, broken).objects == 0
        found = flowconv.verify(
            broken.url, str(logs), flowconv.VerifyOptions(dest_options=broken.options)
        )
        assert not found.problems


def test_a_day_that_a_lifecycle_rule_deleted(lake: S3Lake, runs: Runs, logs: Path) -> None:
    of_day = [name for name in lake.names() if f"date={FIRST}" in name]
    assert of_day
    storage_of(lake).delete(of_day)
    status = flowconv.status(lake.url, options=lake.options)
    assert [path.rpartition("/")[2] for path in status.gone] == [f"date={FIRST}"]
    done = command(runs, lake, "expire", "--gone")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 6
    assert by_day(lake) == {SECOND: 5, THIRD: 6}
    assert convert(logs, lake).objects == 0


def test_gaps_are_those_of_a_folder(lake: S3Lake, runs: Runs, logs: Path, tmp_path: Path) -> None:
    flowconv.convert(str(logs), str(tmp_path / "lake"), ConvertOptions(workers=1))

    def found(report: flowconv.GapReport) -> list[dict[str, Any]]:
        return [gap.to_dict() for gap in report.gaps]

    of_folder = flowconv.gaps(str(tmp_path / "lake"))
    of_s3 = flowconv.gaps(lake.url, options=lake.options)
    assert found(of_s3) == found(of_folder)
    assert [(gap.kind, gap.number) for gap in of_s3.gaps if gap.first.hour == 0] == [("windows", 1)]
    assert of_s3.records == of_folder.records
    assert command(runs, lake, "gaps", "--quick").code == 3
    assert command(runs, lake, "gaps", "--quick", "--ack").code == 0
    assert command(runs, lake, "gaps", "--quick").code == 0


def write_overlapping_logs(folder: Path, flow_log_id: str) -> None:
    for number in range(3):
        path = folder / aws_key(time=f"{FIRST}T00:1{number}", flow_log_id=flow_log_id).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(V2 + ROW.replace(b" 443 ", b" %d " % number))


def test_a_kill_compacts_a_partition_or_leaves_it(runs: Runs, s3: S3Server, tmp_path: Path) -> None:
    """And removes duplicates from it, or none."""
    lake = S3Lake(s3, s3.make_bucket())
    for flow_log_id in ("fl-0a", "fl-0b"):
        write_overlapping_logs(tmp_path, flow_log_id)
        convert(tmp_path, lake)
    for step in COMPACTING_MOTO_STEPS if s3.kind == "moto" else COMPACTING_CEPH_STEPS:
        broken = lake.copy()
        assert command(runs, broken, "compact", "--dedupe", at=step).was_killed, step
        is_compacted = bool(Ledger.read(storage_of(broken)).notes())
        assert by_day(broken) == {FIRST: 3 if is_compacted else 6}
        again = command(runs, broken, "compact", "--dedupe")
        assert again.code == 0, again.stderr
        assert json.loads(again.stdout)["removed"] == (0 if is_compacted else 3)
        assert by_day(broken) == {FIRST: 3}
        assert len([name for name in broken.names() if f"date={FIRST}" in name]) == 1
        assert not [name for name in broken.names() if "intent" in name]
        found = flowconv.verify(
            broken.url, str(tmp_path), flowconv.VerifyOptions(dest_options=broken.options)
        )
        assert not found.problems
