"""Days that are removed from a lake: they stay away, nobody misses them, and no row is lost."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

import flowconv
from flowconv import ConvertOptions, ConvertReport, LakeError, UsageError, VerifyOptions
from flowconv.lake.ledger import Ledger
from flowconv.storage.opening import open_storage
from support.commands import USAGE, run
from support.deaths import Killed, dies_at
from support.lakes import ROW, V2, aws_key, data_files

DAY_S = 86_400
FIRST = date(2026, 1, 14)


def rows(*days: int, port: int = 443) -> bytes:
    """Records of days, counted from the first."""
    lines = []
    for day in days:
        start = 1768348800 + day * DAY_S
        line = ROW.replace(b"1768348800 1768348860", b"%d %d" % (start, start + 60))
        lines.append(line.replace(b" 443 ", b" %d " % port))
    return V2 + b"".join(lines)


def key(day: int, hash_: str = "1a2b3c4d", hour: int = 12) -> str:
    time = f"{FIRST + timedelta(day)}T{hour:02}:05"
    return aws_key(time=time, hash_=hash_).path


def write(logs: Path, objects: dict[str, bytes]) -> None:
    for path, body in objects.items():
        (logs / path).parent.mkdir(parents=True, exist_ok=True)
        (logs / path).write_bytes(body)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Three days; the first object of the second has a record of the day before."""
    objects = {
        key(0): rows(0, 0),
        key(1, "00000000", 0): rows(0, 1),
        key(1): rows(1, 1, 1),
        key(2): rows(2),
    }
    write(tmp_path / "logs", objects)
    return tmp_path / "logs"


@pytest.fixture
def lake(logs: Path, tmp_path: Path) -> Path:
    assert convert(logs, tmp_path / "lake").complete
    return tmp_path / "lake"


def convert(logs: Path, lake: Path, *, reprocess: bool = False) -> ConvertReport:
    return flowconv.convert(str(logs), str(lake), ConvertOptions(workers=1, reprocess=reprocess))


def by_day(lake: Path) -> dict[int, int]:
    """Day, counted from the first -> rows, as scan has them."""
    counts = flowconv.scan(lake).group_by("date").len().collect()
    return {(day - FIRST).days: number for day, number in sorted(counts.iter_rows())}


def merge(lake: Path) -> None:
    """Write a checkpoint, as a run does now and then."""
    Ledger.read(open_storage(str(lake))).merge()


def leave(lake: Path) -> None:
    """Leave the ledger's records as they are."""


LEDGERS = pytest.mark.parametrize("then", [leave, merge])


def assert_well(lake: Path, logs: Path) -> None:
    """No row is missed, and nothing is to be done."""
    found = flowconv.verify(str(lake), str(logs))
    assert not found.problems
    planned = run("convert", logs, lake, "--dry-run", "--json")
    assert json.loads(planned.stdout)["objects"] == 0


def folder(lake: Path, day: int) -> Path:
    (found,) = lake.glob(f"vpc/*/*/date={FIRST + timedelta(day)}")
    return found


@LEDGERS
def test_days_are_removed_and_stay_away(
    logs: Path, lake: Path, then: Callable[[Path], None]
) -> None:
    assert by_day(lake) == {0: 3, 1: 4, 2: 1}
    then(lake)
    report = flowconv.expire(str(lake), "2026-01-15")
    assert (report.files, report.rows, len(report.partitions)) == (2, 3, 1)
    assert report.size_bytes > 0
    then(lake)
    assert by_day(lake) == {1: 4, 2: 1}
    assert {path.parent.name for path in data_files(lake)} == {
        "date=2026-01-15",
        "date=2026-01-16",
    }
    assert_well(lake, logs)
    again = convert(logs, lake)
    assert (again.objects, again.already_converted, again.complete) == (0, 4, True)
    status = flowconv.status(str(lake))
    assert (status.rows, status.expired_rows, status.expired_before) == (5, 3, date(2026, 1, 15))
    assert not list((lake / "_flowconv/intents").iterdir())
    assert flowconv.expire(str(lake), "2026-01-15").partitions == ()


def test_dry_run_removes_nothing(lake: Path) -> None:
    before = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    shown = run("expire", lake, "--before", "2026-01-16", "--dry-run").stdout
    assert "would be removed" in shown
    assert "7 rows in 3 files" in shown
    assert "2026-01-14" in shown
    assert {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()} == before


def test_an_earlier_day_brings_nothing_back(logs: Path, lake: Path) -> None:
    flowconv.expire(str(lake), "2026-01-16")
    assert flowconv.expire(str(lake), "2026-01-15").partitions == ()
    assert flowconv.status(str(lake)).expired_before == date(2026, 1, 16)
    assert by_day(lake) == {2: 1}
    assert_well(lake, logs)


@LEDGERS
def test_rows_that_come_later_are_counted_and_not_written(
    logs: Path, lake: Path, then: Callable[[Path], None]
) -> None:
    flowconv.expire(str(lake), "2026-01-15")
    then(lake)
    late = {key(1, "0000000a", 0): rows(0, 0, 1), key(1, "0000000b", 1): rows(0)}
    write(logs, late)
    report = convert(logs, lake)
    assert (report.objects, report.lines.rows, report.expired) == (2, 4, 3)
    assert (report.complete, report.tables) == (True, {"vpc": 1})
    then(lake)
    assert by_day(lake) == {1: 5, 2: 1}
    assert not list(lake.glob("vpc/*/*/date=2026-01-14/*"))
    assert flowconv.status(str(lake)).expired_rows == 6
    assert_well(lake, logs)


def test_many_partitions_at_once(logs: Path, lake: Path) -> None:
    """Rows of so many partitions are buffered together."""
    flowconv.expire(str(lake), "2026-01-15")
    write(logs, {key(1, "0000000a"): rows(*range(-100, 2))})
    report = convert(logs, lake)
    assert (report.lines.rows, report.expired) == (102, 101)
    assert by_day(lake) == {1: 5, 2: 1}
    assert_well(lake, logs)


def test_objects_of_these_days_are_left_out(logs: Path, lake: Path) -> None:
    flowconv.expire(str(lake), "2026-01-15")
    write(logs, {key(0, "0000000a"): rows(0)})
    report = convert(logs, lake)
    assert (report.objects, report.left_out, report.complete) == (0, {"expired": 1}, True)
    assert_well(lake, logs)


@LEDGERS
def test_reprocessing_replaces_the_rows_of_other_days(
    logs: Path, lake: Path, then: Callable[[Path], None]
) -> None:
    flowconv.expire(str(lake), "2026-01-15")
    then(lake)
    # The first object's days have expired; the second's only in part.
    write(logs, {key(0): rows(0, 0, 0), key(1, "00000000", 0): rows(0, 1, 1, port=80)})
    report = convert(logs, lake)
    assert (len(report.changed), report.already_converted) == (1, 3)
    report = convert(logs, lake, reprocess=True)
    # All objects of its task are converted again.
    assert (report.objects, report.expired, report.complete) == (2, 1, True)
    then(lake)
    assert by_day(lake) == {1: 5, 2: 1}
    assert flowconv.scan(lake).filter(pl.col("srcport") == 80).collect().height == 2
    assert_well(lake, logs)


def test_a_repair_does_not_bring_days_back(logs: Path, lake: Path) -> None:
    flowconv.expire(str(lake), "2026-01-15")
    (file,) = folder(lake, 1).iterdir()  # Of the task that also had a row of the day before.
    file.write_bytes(b"PAR1")
    flowconv.verify(str(lake), str(logs), VerifyOptions(repair=True))
    report = convert(logs, lake)
    assert (report.objects, report.expired) == (2, 1)
    assert by_day(lake) == {1: 4, 2: 1}
    assert_well(lake, logs)


@LEDGERS
def test_days_that_are_gone_are_noticed_and_settled(
    logs: Path, lake: Path, then: Callable[[Path], None]
) -> None:
    shutil.rmtree(folder(lake, 0))
    then(lake)
    settle = f"flowconv expire {lake} --gone"
    with pytest.raises(LakeError, match=rf"No file of vpc/\S+14/ is left\. .*{settle}"):
        flowconv.scan(lake)
    assert len(flowconv.scan(lake, since="2026-01-15").collect()) == 5
    shown = run("status", lake).stdout
    assert settle in " ".join(shown.split())
    found = flowconv.verify(str(lake), str(logs))
    assert {problem.kind for problem in found.problems} == {"missing-file"}
    assert all(settle in problem.advice for problem in found.problems)

    assert flowconv.expire(str(lake), gone=True, dry_run=True).rows == 3
    assert flowconv.status(str(lake)).gone
    report = flowconv.expire(str(lake), gone=True)
    assert (report.files, report.rows) == (2, 3)
    then(lake)
    assert by_day(lake) == {1: 4, 2: 1}
    assert flowconv.status(str(lake)).gone == ()
    assert flowconv.verify(str(lake), str(logs), VerifyOptions(repair=True)).complete
    # As with --before, rows that come later are not written.
    write(logs, {key(1, "0000000a", 0): rows(0, 1)})
    assert convert(logs, lake).expired == 1
    assert by_day(lake) == {1: 5, 2: 1}
    assert_well(lake, logs)
    flowconv.expire(str(lake), "2026-01-16")
    assert Ledger.read(open_storage(str(lake))).expired().partitions == frozenset()


@LEDGERS
def test_a_day_of_which_some_files_are_gone(
    logs: Path, lake: Path, then: Callable[[Path], None]
) -> None:
    gone, left = sorted(folder(lake, 0).iterdir())
    gone.unlink()
    with pytest.raises(LakeError, match=f"the file .*{gone.name} is gone.*--gone settles it"):
        flowconv.scan(lake)
    assert flowconv.status(str(lake)).gone == ()
    report = flowconv.expire(str(lake), gone=True)
    assert report.files == 1
    then(lake)
    assert by_day(lake)[0] == 3 - report.rows
    assert left.exists()
    write(logs, {key(1, "0000000a", 0): rows(0, 0)})
    assert convert(logs, lake).expired == 0  # The day goes on.
    assert by_day(lake)[0] == 5 - report.rows
    assert_well(lake, logs)


def test_a_day_that_may_still_get_rows_goes_on(tmp_path: Path) -> None:
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    today = (datetime.now(UTC).date() - FIRST).days
    write(logs, {key(today): rows(today), key(today - 1): rows(today - 1)})
    convert(logs, lake)
    shutil.rmtree(folder(lake, today))
    flowconv.expire(str(lake), gone=True)
    write(logs, {key(today, "0000000a"): rows(today, today)})
    assert convert(logs, lake).expired == 0
    assert by_day(lake) == {today - 1: 1, today: 2}
    assert_well(lake, logs)


def test_a_lake_without_days(logs: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    flowconv.convert(str(logs), str(lake), ConvertOptions(partition_by=("aws_region",)))
    with pytest.raises(LakeError, match="partitioned by aws_region, not by date, so no day"):
        flowconv.expire(str(lake), "2026-01-15")
    gone = data_files(lake)
    for path in gone:
        path.unlink()
    assert flowconv.expire(str(lake), gone=True).files == len(gone)
    write(logs, {key(2, "0000000a"): rows(2)})
    assert convert_by_region(logs, lake).expired == 0
    assert flowconv.scan(lake).collect().height == 1


def convert_by_region(logs: Path, lake: Path) -> ConvertReport:
    return flowconv.convert(str(logs), str(lake), ConvertOptions(partition_by=("aws_region",)))


FAR_DAY = "2100-01-01"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --before DATE, or --gone."),
        (["--before", "2026-01-14", "--gone"], "give --before DATE, or --gone."),
        (["--before", "soon"], "--before: 'soon' is not a day"),
        (["--before", FAR_DAY], f"--before: {FAR_DAY} lies in the future"),
    ],
)
def test_usage(lake: Path, arguments: list[str], message: str) -> None:
    shown = run("expire", lake, *arguments, code=USAGE)
    assert message in " ".join(shown.stderr.split())
    with pytest.raises(UsageError):
        flowconv.expire(str(lake))


def test_not_a_lake(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="this is not a flowconv lake"):
        flowconv.expire(str(tmp_path), "2026-01-15")


def test_command(lake: Path) -> None:
    shown = run("expire", lake, "--before", "2026-01-15", "--json").stdout
    found = json.loads(shown)
    assert (found["rows"], found["files"], found["dry_run"]) == (3, 2, False)
    shown = run("status", lake).stdout
    assert "expire: before 2026-01-15" in shown
    assert "3 rows, days before 2026-01-15" in shown


def test_another_run_is_under_way(lake: Path) -> None:
    from flowconv.lake.locking import Lock

    with (
        Lock(open_storage(str(lake)), "20260114T000000Z-abcdef"),
        pytest.raises(LakeError, match="is being written by run 20260114T000000Z-abcdef"),
    ):
        flowconv.expire(str(lake), "2026-01-15")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("how", "healed_by", "merge_each"),
    [("before", "expire", 64), ("before", "convert", 1), ("gone", "convert", 64)],
)
def test_killed_at_any_step(
    logs: Path, lake: Path, tmp_path: Path, how: str, healed_by: str, merge_each: int
) -> None:
    """The rows are there or not, whole; and the next run finishes what was begun."""
    if how == "gone":
        shutil.rmtree(folder(lake, 0))
    broken = tmp_path / "broken"

    def expire() -> None:
        before = None if how == "gone" else "2026-01-15"
        flowconv.expire(str(broken), before, gone=how == "gone")

    step = 0
    was_killed = True
    with (
        mock.patch("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", merge_each),
        mock.patch("flowconv.lake.locking.SETTLE_S", 0.0),
    ):
        while was_killed:
            shutil.copytree(lake, broken)
            with dies_at(step):
                try:
                    expire()
                    was_killed = False
                except Killed:
                    step += 1
            has_expired = bool(Ledger.read(open_storage(str(broken))).expired())
            if how == "before":
                assert by_day(broken) == ({} if has_expired else {0: 3}) | {1: 4, 2: 1}
            if healed_by == "expire" or not has_expired:
                expire()
            else:
                assert convert(logs, broken).complete
            assert by_day(broken) == {1: 4, 2: 1}
            assert {path.parent.name for path in data_files(broken)} == {
                "date=2026-01-15",
                "date=2026-01-16",
            }
            assert not list((broken / "_flowconv/intents").iterdir())
            found = flowconv.verify(str(broken), str(logs))
            assert not found.problems
            shutil.rmtree(broken)
    assert step > 5
    gc.collect()  # Here, where such warnings are ignored, not in another test.
