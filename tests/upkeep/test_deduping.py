"""Lakes whose duplicates were removed: no record is lost, whatever becomes of the objects."""

from __future__ import annotations

import gc
import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import flowconv
from flowconv import CompactOptions, UsageError, VerifyOptions
from support.commands import run
from support.deaths import Killed, dies_at
from support.lakes import data_files
from support.overlapping import LATE, LONE, POOR, RICH, Place, body


def records(flow_log: str, ports: range, size: int = 840) -> Counter[Any]:
    return Counter((flow_log, port, size) for port in ports)


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two flow logs that overlap, each hour's objects by a run of its own; not to be changed."""
    place = Place(tmp_path_factory.mktemp("overlapping"))
    with mock.patch("flowconv.conversion.planning._LEAST_TASK_BYTES", 1):
        for hour in (1, 2):
            place.write(RICH, hour, range(hour * 100, hour * 100 + 20))
            place.write(POOR, hour, range(hour * 100 + 10, hour * 100 + 30))
            place.convert()
    assert place.records().total() == 80
    return place


LEFT = sum(
    (records(RICH, range(n, n + 20)) + records(POOR, range(n + 20, n + 30)) for n in (100, 200)),
    Counter(),
)


@pytest.fixture
def place(overlapping: Place, tmp_path: Path) -> Any:
    """The same, to be changed: the ledger has the logs' names."""
    shutil.copytree(overlapping.logs, tmp_path / "saved")
    copied = Place(tmp_path)
    copied.logs = overlapping.logs
    shutil.copytree(overlapping.lake, copied.lake)
    yield copied
    shutil.rmtree(overlapping.logs)
    shutil.copytree(tmp_path / "saved", overlapping.logs)


def merge(place: Place) -> None:
    place.ledger().merge()


def leave(place: Place) -> None:
    """Leave the ledger's records as they are."""


LEDGERS = pytest.mark.parametrize("then", [leave, merge])


@LEDGERS
def test_each_record_is_left_once(place: Place, then: Callable[[Place], None]) -> None:
    report = place.compact()
    then(place)
    assert place.records() == LEFT
    (removed,) = report.duplicates
    assert (removed.flow_log_id, removed.kept_flow_log_id) == (POOR, RICH)
    assert removed.rows == report.totals["removed"] == 80 - LEFT.total()
    place.assert_well()
    status = flowconv.status(str(place.lake))
    assert status.rows == LEFT.total()
    again = place.compact()
    assert (again.partitions, again.duplicates) == ([], [])
    assert place.compact(dedupe=False).partitions == []
    assert place.convert().already_converted == 4


def test_never_by_default(place: Place) -> None:
    before = place.records()
    assert place.compact(dedupe=False).duplicates == []
    assert place.records() == before
    # Compacted partitions are looked at, too.
    assert place.compact().totals["removed"] == 80 - LEFT.total()
    assert place.records() == LEFT
    place.assert_well()


def test_another_order(place: Place) -> None:
    place.compact(sort_by="start,dstport")
    assert place.records() == LEFT
    place.compact(dedupe=False, sort_by="bytes")
    assert place.records() == LEFT
    assert place.compact(sort_by="start").totals["removed"] == 0
    place.assert_well()
    with pytest.raises(UsageError, match="--sort-by: with --dedupe rows cannot be sorted by bytes"):
        place.compact(sort_by="bytes")


def test_on_an_engine(place: Place) -> None:
    with ThreadPoolExecutor(2) as engine:
        how = CompactOptions(dedupe=True)
        report = flowconv.compact(str(place.lake), how, engine=engine)
    assert report.totals["removed"] == 80 - LEFT.total()
    assert place.records() == LEFT
    place.assert_well()


def test_three_flow_logs_one_after_the_other(place: Place) -> None:
    """The last one is the richest: its records stand for what the others' stood for."""
    place.compact()
    place.write(LATE, 1, range(105, 125))
    place.convert()
    report = place.compact()
    pairs = {(pair.flow_log_id, pair.kept_flow_log_id): pair.rows for pair in report.duplicates}
    assert pairs == {(RICH, LATE): 15, (POOR, LATE): 5}
    left = LEFT - records(RICH, range(105, 120)) - records(POOR, range(120, 125))
    assert place.records() == left + records(LATE, range(105, 125))
    place.assert_well()
    # With it all are converted again that its records stand for, also by way of others.
    place.write(LATE, 1, range(105, 106))
    assert place.convert(reprocess=True).objects == 3
    place.assert_well()
    place.compact()
    left = LEFT - records(RICH, range(105, 106)) + records(LATE, range(105, 106))
    assert place.records() == left


def test_bounded_memory(place: Place) -> None:
    with mock.patch.multiple("flowconv.upkeep.sorting", PIECE_ROWS=8, ROWS_AT_ONCE=16):
        place.compact()
    assert place.records() == LEFT
    place.assert_well()


def test_late_records(place: Place) -> None:
    place.compact()
    place.write(POOR, 3, range(100, 110))
    late = place.path(POOR, 3)
    late.write_bytes(body(POOR, 1, range(105, 125)))
    place.convert()
    assert place.compact().duplicates
    # The flow log had the records from 110 on already, so it has them twice, and they stay twice.
    more = records(POOR, range(110, 125))
    assert place.records() == LEFT + more
    place.assert_well()


@LEDGERS
def test_the_objects_of_kept_records_are_converted_again(
    place: Place, then: Callable[[Place], None]
) -> None:
    """Those of the removed ones are, too: else these would be lost."""
    place.compact()
    then(place)
    place.write(RICH, 1, range(100, 105))
    report = place.convert(reprocess=True)
    assert (report.objects, report.complete) == (2, True)
    then(place)
    place.assert_well()
    expected = LEFT - records(RICH, range(105, 120)) + records(POOR, range(110, 120))
    assert place.records() == expected
    place.compact()
    assert place.records() == expected
    place.assert_well()


@LEDGERS
def test_the_objects_of_removed_records_are_converted_again(
    place: Place, then: Callable[[Place], None]
) -> None:
    place.compact()
    then(place)
    place.write(POOR, 2, range(210, 230), size=9)
    assert place.convert(reprocess=True).objects == 1
    then(place)
    place.assert_well()
    changed = LEFT - records(POOR, range(220, 230)) + records(POOR, range(210, 230), 9)
    assert place.records() == changed
    place.compact()
    assert place.records() == changed
    place.assert_well()


def test_all_is_converted_again(place: Place) -> None:
    before = place.records()
    place.compact()
    assert place.convert(reprocess=True, since="2026-01-01").objects == 4
    assert place.records() == before
    assert place.ledger().notes() == []
    place.assert_well()


def test_removed_records_whose_object_is_gone(place: Place) -> None:
    """They are in no object any more, so what stands for them stays."""
    place.compact()
    before = place.records()
    place.path(POOR, 1).unlink()
    place.write(RICH, 1, range(100, 105))
    report = place.convert(reprocess=True)
    assert report.objects == 0
    ((uri, reason),) = report.unreadable.items()
    assert uri == str(place.path(RICH, 1))
    assert "flowconv compact --dedupe removed" in reason
    assert place.records() == before


def test_rejected_lines_are_tried_again(place: Place) -> None:
    place.write(RICH, 3, range(300, 310))
    place.write(POOR, 3, range(300, 310))
    path = place.path(POOR, 3)
    path.write_bytes(path.read_bytes() + gzip.compress(b"no record\n"))
    place.convert()
    place.compact()
    after = place.records()
    assert place.convert(retry_rejected=True).objects >= 1
    place.assert_well()
    place.compact()
    assert place.records() == after


@LEDGERS
def test_a_damaged_file(place: Place, then: Callable[[Place], None]) -> None:
    """All tasks that the file's rows stand for are converted again."""
    place.compact()
    then(place)
    path = next(p for p in data_files(place.lake) if "2026-01-14" in str(p))
    path.write_bytes(b"PAR1")
    lake, logs = str(place.lake), str(place.logs)
    report = flowconv.verify(lake, logs, VerifyOptions(repair=True))
    assert report.forgotten == 4
    assert place.convert().objects == 4
    place.assert_well()
    place.compact()
    assert place.records() == LEFT


def test_a_damaged_file_whose_duplicates_are_gone(place: Place) -> None:
    place.compact()
    path = next(p for p in data_files(place.lake) if "2026-01-14" in str(p))
    path.write_bytes(b"PAR1")
    place.path(POOR, 1).unlink()
    report = flowconv.verify(str(place.lake), str(place.logs), VerifyOptions(repair=True))
    assert report.forgotten == 0


def test_expired_days(place: Place) -> None:
    place.compact()
    assert flowconv.expire(str(place.lake), "2026-01-15").rows == LEFT.total()
    place.assert_well()
    place.write(RICH, 1, range(100, 105))
    assert place.convert(reprocess=True).complete
    place.assert_well()
    assert place.records().total() == 0


def test_days_are_as_full_as_they_were(place: Place) -> None:
    with mock.patch("flowconv.upkeep.completeness.days_with_few_rows", return_value=[]) as few:
        place.compact()
        flowconv.gaps(str(place.lake), quick=True)
    files = few.call_args[0][0]
    assert sum(file.rows + sum(d.rows for d in file.duplicates) for file in files) == 80


def test_kept_files(place: Place) -> None:
    report = place.compact(keep=1)
    assert report.kept_until
    assert place.records() == LEFT
    assert not flowconv.verify(str(place.lake), str(place.logs)).problems


def test_flow_logs_that_cannot_be_compared(place: Place) -> None:
    place.write(LONE, 1, range(100, 120))
    place.convert()
    report = place.compact()
    assert report.not_compared == {LONE}
    assert place.records().total() == LEFT.total() + 20


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("change", "every"), [(False, 9), (True, 23)])
def test_killed_at_any_step(
    overlapping: Place, tmp_path: Path, *, change: bool, every: int
) -> None:
    """While duplicates are removed, or while their objects are converted again."""
    step, was_killed = 0, True
    with mock.patch("flowconv.lake.locking.SETTLE_S", 0.0):
        while was_killed:
            place = Place(tmp_path)
            place.logs = overlapping.logs
            shutil.copytree(overlapping.lake, place.lake)
            if change:
                place.compact()
            before = place.records()

            def act(place: Place = place) -> None:
                if change:
                    place.convert(reprocess=True, since="2026-01-01")
                else:
                    place.compact(since="2026-01-14")

            with dies_at(step):
                try:
                    act()
                    was_killed = False
                except Killed:
                    step += every
            ports = {port for _, port, _ in before}
            assert {port for _, port, _ in place.records()} == ports
            place.compact()
            assert place.records() == LEFT
            place.assert_well()
            shutil.rmtree(place.lake)
    assert step > 10
    gc.collect()  # Here, where such warnings are ignored, not in another test.


def test_command(place: Place) -> None:
    shown = run("compact", place.lake, "--dedupe", "--until", "2026-01-14").stdout
    assert f"records of {POOR} that {RICH} has, too" in shown
    found = json.loads(run("compact", place.lake, "--dedupe", "--json").stdout)
    assert (found["duplicates"], found["removed"]) == ([], 0)
    assert "duplicates removed" in " ".join(run("status", place.lake).stdout.split())
