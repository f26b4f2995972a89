"""Lakes whose files are merged: no row is lost or doubled, also when objects change afterwards."""

from __future__ import annotations

import errno
import gc
import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

import flowconv
from flowconv import (
    CompactOptions,
    ConvertOptions,
    LakeError,
    StorageError,
    UsageError,
    VerifyOptions,
)
from flowconv.lake.compacted import write_parts
from flowconv.lake.layout import read_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.remote import Places
from flowconv.lake.writing import FILTERED, FILTERED_IF_COMPACTED
from flowconv.running import RunProgress
from flowconv.storage.local import LocalStorage
from flowconv.storage.opening import open_storage
from flowconv.upkeep.merging import Partition
from flowconv.upkeep.remote import Compaction
from support.commands import INCOMPLETE, USAGE, run
from support.deaths import Killed, dies_at
from support.exactly_once import s3_options
from support.lakes import V2, aws_key, data_files
from support.s3_servers import S3Server

START = 1768348800  # 2026-01-14
RUNS, OBJECTS, ROWS = 3, 2, 40


def body(run_: int, number: int, rows: int = ROWS, *, port: int = 443) -> bytes:
    """Records of some interfaces; the last ones are of the day before."""
    lines = [
        b"2 123456789012 eni-%d 10.0.%d.%d 10.1.0.%d %d 49152 6 10 840 %d %d ACCEPT OK\n"
        % (row % 5, number, row % 7, row % 3, port, start, start + 60)
        for row in range(rows)
        for start in [START + 3600 * run_ + row - (3600 * 24 if row >= rows - 2 else 0)]
    ]
    return V2 + b"".join(lines)


def path_of(run_: int, number: int) -> str:
    return aws_key(time=f"2026-01-14T{run_:02}:05", hash_=f"{run_:04x}{number:04x}").path


def write(logs: Path, run_: int, number: int, text: bytes) -> None:
    path = logs / path_of(run_, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text))


class Place(NamedTuple):
    """Logs, and their lake."""

    logs: Path
    lake: Path

    def with_copied_lake(self, folder: Path) -> Place:
        """The same logs, since the ledger has their names."""
        shutil.copytree(self.lake, folder / "lake")
        return Place(self.logs, folder / "lake")


@pytest.fixture(scope="module")
def hourly(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Logs, and a lake of several runs; not to be changed."""
    folder = tmp_path_factory.mktemp("hourly")
    place = Place(folder / "logs", folder / "lake")
    for run_ in range(RUNS):
        for number in range(OBJECTS):
            write(place.logs, run_, number, body(run_, number))
        convert(place)
    return place


@pytest.fixture
def place(hourly: Place, tmp_path: Path) -> Iterator[Place]:
    """The same, to be changed."""
    shutil.copytree(hourly.logs, tmp_path / "saved")
    yield hourly.with_copied_lake(tmp_path)
    shutil.rmtree(hourly.logs)
    shutil.copytree(tmp_path / "saved", hourly.logs)


def convert(place: Place, **options: Any) -> flowconv.ConvertReport:
    how = ConvertOptions(workers=2, **options)
    return flowconv.convert(str(place.logs), str(place.lake), how)


def compact(place: Place, **options: Any) -> flowconv.CompactReport:
    """Compact, and leave the ledger's records, as if it was killed before it merges them."""
    with mock.patch.object(Ledger, "merge"):
        return flowconv.compact(str(place.lake), CompactOptions(**{"workers": 2, **options}))


def rows_of(place: Place) -> Counter[Any]:
    """All rows, as often as each is there, as scan has them."""
    return Counter(flowconv.scan(place.lake).collect().rows())


def files_of(place: Place) -> set[str]:
    return {path.relative_to(place.lake).as_posix() for path in data_files(place.lake)}


def ledger_of(place: Place) -> Ledger:
    return Ledger.read(open_storage(str(place.lake)))


def merge(place: Place) -> None:
    """Write a checkpoint, as a run does now and then."""
    ledger_of(place).merge()


def leave(place: Place) -> None:
    """Leave the ledger's records as they are."""


LEDGERS = pytest.mark.parametrize("then", [leave, merge])


def assert_well(place: Place) -> None:
    """The files are those of the ledger, and no row is missed."""
    assert files_of(place) == {p for p, (f, _) in ledger_of(place).files().items() if f.is_data}
    assert not flowconv.verify(str(place.lake), str(place.logs)).problems
    assert not list((place.lake / "_flowconv/staging").iterdir())


def test_readers_then_make_few_requests(place: Place) -> None:
    flowconv.compact(str(place.lake), CompactOptions(workers=2))
    asked: list[str] = []

    def fetch(self: LocalStorage, path: str) -> bytes | None:
        asked.append(path)
        return read(self, path)

    read = LocalStorage.read
    with mock.patch.object(LocalStorage, "read", fetch):
        flowconv.scan(place.lake)
    # The layout, the last number, and the files of the checkpoint.
    assert len(asked) == 3
    assert_well(place)


@LEDGERS
def test_rows_stay_and_files_become_few(place: Place, then: Callable[[Place], None]) -> None:
    before, files = rows_of(place), files_of(place)
    assert len(files) == 2 * RUNS
    then(place)
    report = compact(place)
    assert report.totals["rows"] == before.total() == RUNS * OBJECTS * ROWS
    assert (report.totals["files"], report.totals["compacted_files"]) == (len(files), 2)
    assert [p.directory[-10:] for p in report.partitions] == ["2026-01-13", "2026-01-14"]
    then(place)
    assert rows_of(place) == before
    # Readers of the folder see the same.
    assert len(pl.read_parquet(place.lake / "vpc")) == before.total()
    assert len(files_of(place)) == 2
    assert_well(place)
    names = {path: path.read_bytes() for path in place.lake.rglob("*") if path.is_file()}
    again = compact(place)
    assert (again.partitions, again.left) == ([], 2)
    assert {path: path.read_bytes() for path in place.lake.rglob("*") if path.is_file()} == names
    assert convert(place).already_converted == RUNS * OBJECTS


def test_an_engine_writes_the_same_files(place: Place, tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    other = place.with_copied_lake(tmp_path / "engine")
    alone = compact(place)
    shown: list[RunProgress] = []
    with ThreadPoolExecutor(2) as engine:
        report = flowconv.compact(other.lake, engine=engine, on_progress=shown.append)
        assert report.partitions == alone.partitions
        assert len(report.partitions) == 2
        assert flowconv.compact(other.lake, engine=engine).partitions == []
        secret = CompactOptions(dest_options={"token": "x"})
        with pytest.raises(UsageError, match="credentials are not sent"):
            flowconv.compact(other.lake, secret, engine=engine)
    assert [(path.name, path.read_bytes()) for path in data_files(other.lake)] == [
        (path.name, path.read_bytes()) for path in data_files(place.lake)
    ]
    assert shown[-1].source_bytes == shown[-1].total_bytes > 0
    assert_well(other)


def test_a_worker_of_a_lost_run_writes_nothing(place: Place) -> None:
    storage = open_storage(str(place.lake))
    (name,) = {path.rpartition("/")[0] for path in files_of(place) if "2026-01-14" in path}
    files = [found for path, found in ledger_of(place).files().items() if path.startswith(name)]
    work = Compaction(
        places=Places.of(storage, None, {}, {}),
        layout=read_layout(storage),
        run_id="a run that has ended",
        generation=99,
        options=CompactOptions(),
    )
    taken_over = "another run has taken this lake over"
    with work.opened() as worker, pytest.raises(LakeError, match=taken_over):
        worker.do(Partition(name=name, files=files, sort_by=("start",)))
    assert_well(place)


def test_rows_are_sorted(place: Place) -> None:
    compact(place)
    for path in data_files(place.lake):
        rows = pl.read_parquet(path).select("interface_id", "srcaddr", "dstaddr", "start")
        assert rows.equals(rows.sort(rows.columns))
        sorting = pq.read_metadata(path).row_group(0).sorting_columns
        assert [column.column_index for column in sorting] == [
            rows_column(path, name) for name in rows.columns
        ]


@pytest.mark.parametrize(
    ("bloom_filters", "filtered"), [(False, FILTERED_IF_COMPACTED), (True, FILTERED)]
)
def test_bloom_filters(place: Place, bloom_filters: bool, filtered: Collection[str]) -> None:
    """Readers find out by few bytes that a row group lacks an address."""
    compact(place, bloom_filters=bloom_filters)
    for path in data_files(place.lake):
        found: Any = duckdb.sql(
            f"SELECT DISTINCT path_in_schema FROM parquet_metadata('{path}') "
            "WHERE bloom_filter_offset > 0"
        )
        assert {name for (name,) in found.fetchall()} == set(filtered)


def rows_column(path: Path, name: str) -> int:
    return pq.read_schema(path).get_field_index(name)


def test_another_order(place: Place) -> None:
    before = rows_of(place)
    compact(place)
    report = compact(place, sort_by="dstport,start")
    assert len(report.partitions) == 2
    for path in data_files(place.lake):
        assert pl.read_parquet(path)["start"].is_sorted()
    assert rows_of(place) == before
    assert compact(place, sort_by=("dstport", "start")).partitions == []
    assert_well(place)


def test_many_files_of_the_target_size(place: Place) -> None:
    before = rows_of(place)
    with (
        mock.patch.multiple("flowconv.upkeep.sorting", ROW_GROUP_ROWS=16, ROWS_AT_ONCE=64),
        mock.patch("flowconv.options.MB", 1),
    ):
        report = compact(place, target_file_size=1)
    assert report.totals["compacted_files"] == len(files_of(place)) > RUNS * OBJECTS
    assert rows_of(place) == before
    assert_well(place)
    merged = flowconv.scan(place.lake).collect()
    assert merged.height == before.total()
    # Each task is found again in each file.
    write(place.logs, 1, 0, body(1, 0, port=80))
    assert convert(place, reprocess=True).objects == OBJECTS
    assert rows_of(place).total() == before.total()
    assert_well(place)


def test_two_cores_of_a_partition_write_the_same_files(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = place.with_copied_lake(tmp_path / "other")
    with (
        mock.patch.multiple("flowconv.upkeep.sorting", ROW_GROUP_ROWS=16, ROWS_AT_ONCE=64),
        mock.patch("flowconv.options.MB", 1),
    ):
        assert compact(place, workers=1, target_file_size=30_000).totals == (
            compact(other, workers=4, target_file_size=30_000).totals
        )
    assert len(files_of(place)) == 3
    assert [(path.name, path.read_bytes()) for path in data_files(other.lake)] == [
        (path.name, path.read_bytes()) for path in data_files(place.lake)
    ]
    assert_well(other)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_full_disk(place: Place, workers: int) -> None:
    before = rows_of(place)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space is left")

    with (
        mock.patch("flowconv.parquet.writing.ParquetWriter.write_row_group", full),
        pytest.raises(StorageError, match="full"),
    ):
        compact(place, workers=workers)
    assert rows_of(place) == before
    assert_well(place)


def test_late_rows_join(place: Place) -> None:
    compact(place)
    write(place.logs, 9, 0, body(9, 0))
    convert(place)
    assert compact(place).partitions == []  # One new file for each day.
    assert len(compact(place, min_files=1).partitions) == 2
    assert rows_of(place).total() == (RUNS * OBJECTS + 1) * ROWS
    assert len(files_of(place)) == 2
    assert_well(place)


@LEDGERS
def test_changed_objects_are_replaced_exactly(place: Place, then: Callable[[Place], None]) -> None:
    """Two tasks have rows in the same compacted files, and are replaced in one run."""
    compact(place)
    then(place)
    write(place.logs, 0, 1, body(0, 1, 50, port=80))
    write(place.logs, 2, 0, body(2, 0, 10, port=81))
    assert len(convert(place).changed) == 2
    report = convert(place, reprocess=True)
    assert (report.objects, report.complete) == (2 * OBJECTS, True)
    then(place)
    expected = Place(place.logs, place.lake.parent / "expected")
    convert(expected)
    assert rows_of(place) == rows_of(expected)
    assert_well(place)
    # And once more, now that some are compacted and some are not.
    compact(place)
    write(place.logs, 0, 1, body(0, 1, 3))
    convert(place, reprocess=True)
    then(place)
    shutil.rmtree(expected.lake)
    convert(expected)
    assert rows_of(place) == rows_of(expected)
    assert_well(place)


@pytest.mark.parametrize(("at_once", "writings"), [(64, 2), (1, 4)])
def test_shared_files_are_written_once_for_all_tasks(
    place: Place, *, at_once: int, writings: int
) -> None:
    """Not once for each; or once for each number that is written at once."""
    compact(place)
    for run_ in range(RUNS):
        write(place.logs, run_, 0, body(run_, 0, 20, port=80))
    with (
        mock.patch("flowconv.lake.separating._GROUPS_AT_ONCE", at_once),
        mock.patch("flowconv.lake.separating.write_parts", side_effect=write_parts) as cut,
        mock.patch("flowconv.lake.compacted.write_parts", side_effect=write_parts) as left_out,
    ):
        assert convert(place, reprocess=True).objects == RUNS * OBJECTS
    assert (cut.call_count, left_out.call_count) == (writings, 0)
    assert rows_of(place).total() == RUNS * (ROWS + 20)
    assert_well(place)


def test_a_task_that_fails_stays_as_it_was(place: Place) -> None:
    """Its rows may be in a file of their own then."""
    compact(place)
    for run_ in range(RUNS):
        write(place.logs, run_, 0, body(run_, 0, 20, port=80))
    cut = place.logs / path_of(1, 0)
    cut.write_bytes(cut.read_bytes()[:-6])
    assert len(convert(place, reprocess=True).unreadable) == OBJECTS
    assert rows_of(place).total() == RUNS * (ROWS + 20) + ROWS - 20
    problems = flowconv.verify(str(place.lake), str(place.logs)).problems
    assert [problem.kind for problem in problems] == ["changed"]
    write(place.logs, 1, 0, body(1, 0, 20, port=80))
    assert convert(place, reprocess=True).objects == OBJECTS
    assert len(compact(place).partitions) == 2
    assert len(files_of(place)) == 2
    assert rows_of(place).total() == RUNS * (ROWS + 20)
    assert_well(place)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_killed_while_tasks_are_replaced(place: Place, tmp_path: Path) -> None:
    """Each task has its old rows or its new ones, whatever the files that they share."""
    compact(place)
    old = rows_of(place)
    for run_ in range(2):
        write(place.logs, run_, 0, body(run_, 0, ROWS, port=80))
    expected = Place(place.logs, tmp_path / "expected")
    convert(expected)
    new = rows_of(expected)
    step, was_killed = 8, True
    with mock.patch("flowconv.lake.locking.SETTLE_S", 0.0):
        while was_killed:
            killed = place.with_copied_lake(tmp_path / "killed")
            with dies_at(step):
                try:
                    convert(killed, reprocess=True)
                    was_killed = False
                except Killed:
                    step += 5
            found = rows_of(killed)
            assert found.total() == old.total()
            assert found <= old | new
            convert(killed, reprocess=True)
            assert rows_of(killed) == new
            assert_well(killed)
            shutil.rmtree(killed.lake)
    assert step > 30
    gc.collect()  # Here, where such warnings are ignored, not in another test.


def test_all_rows_of_a_file_are_replaced(place: Place) -> None:
    compact(place)
    assert convert(place, reprocess=True, since="2026-01-01").objects == RUNS * OBJECTS
    assert not any(file.shares for file, _ in ledger_of(place).files().values())
    assert rows_of(place).total() == RUNS * OBJECTS * ROWS
    assert_well(place)


def test_rejected_lines_are_tried_again(place: Place) -> None:
    write(place.logs, 9, 0, body(9, 0) + b"no record\n")
    convert(place)
    compact(place, min_files=1)
    before = rows_of(place)
    assert convert(place, retry_rejected=True).objects == 1
    assert rows_of(place) == before
    assert_well(place)


@LEDGERS
def test_a_damaged_file_is_converted_again(place: Place, then: Callable[[Place], None]) -> None:
    before = rows_of(place)
    compact(place)
    then(place)
    path = next(p for p in data_files(place.lake) if "2026-01-13" in str(p))
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(LakeError, match=r"the file is damaged .*flowconv verify says what to do"):
        compact(place, sort_by="start")
    lake, logs = str(place.lake), str(place.logs)
    report = flowconv.verify(lake, logs, VerifyOptions(repair=True))
    assert (report.forgotten, report.complete) == (RUNS, False)
    assert convert(place).objects == RUNS * OBJECTS
    then(place)
    assert rows_of(place) == before
    assert_well(place)


def test_a_damaged_file_of_which_an_object_is_gone(place: Place) -> None:
    """Rows of other objects would be lost with it."""
    compact(place)
    path = next(p for p in data_files(place.lake) if "2026-01-13" in str(p))
    path.write_bytes(b"PAR1")
    (place.logs / path_of(1, 0)).unlink()
    lake, logs = str(place.lake), str(place.logs)
    report = flowconv.verify(lake, logs, VerifyOptions(repair=True))
    assert report.forgotten == 0
    (problem,) = report.problems
    assert "cannot be converted again" in problem.advice
    assert len(files_of(place)) == 2


def test_tasks_with_rows_in_damaged_and_whole_files(place: Place) -> None:
    """Compacted files that are whole are written again without the tasks that are forgotten."""
    with mock.patch("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", 1):
        compact(place, since="2026-01-14")
    before = rows_of(place)
    path = next(p for p in data_files(place.lake) if "2026-01-13" in str(p))
    path.unlink()
    lake, logs = str(place.lake), str(place.logs)
    report = flowconv.verify(lake, logs, VerifyOptions(repair=True))
    assert report.forgotten == 1
    assert flowconv.scan(lake, since="2026-01-14").collect().height < before.total()
    assert convert(place).objects == OBJECTS
    assert rows_of(place) == before
    assert_well(place)


def test_expired_days(place: Place) -> None:
    compact(place)
    assert flowconv.expire(str(place.lake), "2026-01-14").rows == 2 * RUNS * OBJECTS
    write(place.logs, 0, 1, body(0, 1, port=80))
    assert convert(place, reprocess=True).complete
    assert rows_of(place).total() == RUNS * OBJECTS * (ROWS - 2)
    assert_well(place)
    # Rows that were converted again have expired once.
    assert flowconv.status(str(place.lake)).expired_rows == 2 * RUNS * OBJECTS
    shutil.rmtree(next((place.lake).glob("vpc/*/*/date=2026-01-14")))
    assert flowconv.expire(str(place.lake), gone=True).files == 2
    assert flowconv.status(str(place.lake)).rows == 0


def test_expired_days_of_tasks_that_are_forgotten(place: Place) -> None:
    compact(place)
    flowconv.expire(str(place.lake), "2026-01-14")
    (path,) = data_files(place.lake)
    path.write_bytes(b"PAR1")
    lake, logs = str(place.lake), str(place.logs)
    assert flowconv.verify(lake, logs, VerifyOptions(repair=True)).forgotten == RUNS
    assert convert(place).objects == RUNS * OBJECTS
    assert flowconv.status(lake).expired_rows == 2 * RUNS * OBJECTS
    assert_well(place)


def test_kept_files(place: Place) -> None:
    before, files = rows_of(place), files_of(place)
    under_way = flowconv.scan(place.lake)
    report = compact(place, keep=1)
    assert report.kept_until
    assert files < files_of(place)
    assert Counter(under_way.collect().rows()) == rows_of(place) == before
    # They are no strays, and a run before their time leaves them.
    assert not flowconv.verify(str(place.lake), str(place.logs)).problems
    convert(place)
    assert compact(place).partitions == []
    assert files < files_of(place)
    with mock.patch("flowconv.lake.leftovers.datetime") as time:
        time.now.return_value = report.kept_until
        convert(place)
    assert not files & files_of(place)
    assert_well(place)
    assert not list((place.lake / "_flowconv/intents").iterdir())


@pytest.mark.parametrize(("workers", "keep"), [(1, 0), (2, 24)])
def test_a_reader_sees_the_same_rows_meanwhile(place: Place, workers: int, keep: int) -> None:
    """Of two workers, one may remove what a reader within the other has begun to read."""
    before = rows_of(place)
    seen = []

    def seeing(name: str) -> Any:
        call = getattr(Ledger, name)

        def see(*arguments: Any) -> Any:
            seen.append(rows_of(place))
            result = call(*arguments)
            seen.append(rows_of(place))
            return result

        return mock.patch.object(Ledger, name, see)

    with seeing("compact"), seeing("end"):
        compact(place, workers=workers, keep=keep)
    assert len(seen) >= 6
    assert all(rows == before for rows in seen)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("keep", "healed_by", "merge_each", "every"),
    [(0, "compact", 64, 3), (1, "convert", 64, 7), (0, "convert", 1, 11)],
)
def test_killed_at_any_step(
    hourly: Place, tmp_path: Path, *, keep: int, healed_by: str, merge_each: int, every: int
) -> None:
    """A partition's rows are in its old files or in the compacted one, whole."""
    before = rows_of(hourly)
    step, was_killed = 0, True
    with (
        mock.patch("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", merge_each),
        mock.patch("flowconv.lake.locking.SETTLE_S", 0.0),
    ):
        while was_killed:
            place = hourly.with_copied_lake(tmp_path)
            with dies_at(step):
                try:
                    compact(place, since="2026-01-14", keep=keep)
                    was_killed = False
                except Killed:
                    step += every
            assert rows_of(place) == before
            if healed_by == "compact":
                compact(place)
            else:
                convert(place)
            assert rows_of(place) == before
            if keep:
                assert not flowconv.verify(str(place.lake)).problems
            else:
                assert_well(place)
            shutil.rmtree(place.lake)
    assert step > 10
    gc.collect()  # Here, where such warnings are ignored, not in another test.


def test_dry_run_changes_nothing(place: Place) -> None:
    before = {path: path.read_bytes() for path in place.lake.rglob("*") if path.is_file()}
    shown = run("compact", place.lake, "--dry-run").stdout
    assert "6 files" in shown
    assert "would be compacted" in shown
    assert {path: path.read_bytes() for path in place.lake.rglob("*") if path.is_file()} == before


def test_command(place: Place) -> None:
    shown = run("compact", place.lake, "--until", "2026-01-13", "--json").stdout
    found = json.loads(shown)
    assert (found["files"], found["compacted_files"], found["left"]) == (3, 1, 1)
    shown = run("compact", place.lake, "--keep", "2").stdout
    assert "3 files" in shown
    assert "replaced files are kept until" in shown
    assert "compact: 3 files to 1" in run("status", place.lake).stdout
    assert "nothing to compact" in run("compact", place.lake).stdout


def test_at_the_end_of_a_run(place: Place) -> None:
    write(place.logs, 9, 0, body(9, 0))
    shown = run("convert", place.logs, place.lake, "--compact", "--json").stdout
    found = json.loads(shown)
    assert (found["objects"], found["compacted"]["files"]) == (1, 2 * RUNS + 2)
    assert len(files_of(place)) == 2
    shown = run("convert", place.logs, place.lake, "--compact").stdout
    assert "nothing to compact" in shown
    assert_well(place)


def test_no_lake_is_compacted_after_a_run_that_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    run("convert", tmp_path / "logs", tmp_path / "lake", "--compact", code=INCOMPLETE)
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sort-by", "scraddr"], "--sort-by: scraddr is not a column"),
        (["--sort-by", "start,start"], "--sort-by: it names a column twice."),
        (["--min-files", "0"], "--min-files: 0 is too small; at least 1."),
        (["--keep", "-1"], "--keep: -1 is not in 0 to 8760 hours."),
        (["--target-file-size", "1kB"], "--target-file-size: 1000 bytes are too few"),
        (["--since", "2026-01-15", "--until", "2026-01-14"], "--since 2026-01-15 lies after"),
    ],
)
def test_usage(hourly: Place, arguments: list[str], message: str) -> None:
    shown = run("compact", hourly.lake, *arguments, code=USAGE)
    assert message in " ".join(shown.stderr.replace("'", "").split())
    with pytest.raises(UsageError):
        CompactOptions(min_files=True)


def test_not_a_lake(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="this is not a flowconv lake"):
        flowconv.compact(str(tmp_path))


def test_a_lake_without_days(hourly: Place, tmp_path: Path) -> None:
    place = Place(hourly.logs, tmp_path / "lake")
    for last in ("0000", "0001"):
        convert(place, partition_by="aws_region", include=[f"*{last}.log.gz"])
    with pytest.raises(LakeError, match="partitioned by aws_region, not by date, so no days"):
        compact(place, since="2026-01-14")
    assert compact(place).totals["files"] == 2
    assert rows_of(place).total() == rows_of(hourly).total()
    assert_well(place)


def test_another_run_is_under_way(place: Place) -> None:
    from flowconv.lake.locking import Lock

    with (
        Lock(open_storage(str(place.lake)), "20260114T000000Z-abcdef"),
        pytest.raises(LakeError, match="is being written by run 20260114T000000Z-abcdef"),
    ):
        compact(place)


def test_in_s3(place: Place, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    for path in place.lake.rglob("*"):
        if path.is_file():
            name = f"a/lake/{path.relative_to(place.lake).as_posix()}"
            s3.client().put_object(Bucket=bucket, Key=name, Body=path.read_bytes())
    lake, options = f"s3://{bucket}/a/lake", s3_options(s3)
    before = rows_of(place)
    with mock.patch("flowconv.lake.compacted._WHOLE_BYTES", 0):
        report = flowconv.compact(lake, CompactOptions(dest_options=options))
    assert (report.totals["files"], report.totals["compacted_files"]) == (2 * RUNS, 2)
    assert Counter(flowconv.scan(lake, options=options).collect().rows()) == before
    write(place.logs, 0, 1, body(0, 1, port=80))
    how = ConvertOptions(workers=2, dest_options=options, reprocess=True)
    assert flowconv.convert(str(place.logs), lake, how).complete
    assert flowconv.scan(lake, options=options).collect().height == before.total()
    found = flowconv.verify(lake, str(place.logs), VerifyOptions(dest_options=options))
    assert not found.problems
