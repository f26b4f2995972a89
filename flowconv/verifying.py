"""verify(): a lake and its source held against the ledger, and what is damaged repaired.

    files     each that the ledger names is there, whole, and has its rows and columns
    strays    nothing else lies below the tables and among flowconv's own files
    objects   each was converted as it is now, and has as many lines as were counted then

A task's rows in the ledger are the sum of its objects' lines, so each line of the source is a row
in the lake, a line of the quarantine, or a header, blank or comment. A file whose checksum fits is
as it was written, to the last byte of its footer.
"""

import errno
import io
import secrets
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as futures_wait
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from flowconv.checkpoints import LEDGER, parse_part
from flowconv.engines import RunProgress
from flowconv.errors import FetchError, StorageError
from flowconv.fields import FIELDS, Table
from flowconv.lake import LAYOUT, Layout, lost_layout, read_layout
from flowconv.ledger import INTENTS, Ledger, parse_record_path, read_intent, record_path
from flowconv.locking import LOCK, Lock
from flowconv.memory import giving_memory_back
from flowconv.normalising import SOURCE_COLUMNS, column_type
from flowconv.options import as_day, available_cores
from flowconv.overview import read_lock
from flowconv.patterns import Patterns
from flowconv.problems import ADVICE, Check, Problem, VerifyReport, problem_of
from flowconv.quarantine import QUARANTINE
from flowconv.recounting import PIECE_BYTES, SourceObjects, StoredReader
from flowconv.repairing import repair_lake
from flowconv.report import DataFile
from flowconv.sources import Source, open_source
from flowconv.storage import Storage, open_storage
from flowconv.writing import STAGING

_TICK_S = 0.2


@giving_memory_back()
def verify(
    lake: str,
    *,
    source: str | None = None,
    since: date | None = None,
    until: date | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    quick: bool = False,
    repair: bool = False,
    wait: bool = False,
    workers: int = 0,
    options: Mapping[str, str] | None = None,
    source_options: Mapping[str, str] | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> VerifyReport:
    """Check that a lake is what its ledger says, and that its ledger is what the source says.

    Args:
        lake: The lake, as it was given to `convert`.
        source: What was converted to it; without one the objects are not looked at.
        since: First day of the source, as for `ConvertOptions.since`.
        until: Last day of the source, included.
        include: Patterns of the source's paths, as for `ConvertOptions.include`.
        exclude: Patterns of the source's paths, as for `ConvertOptions.exclude`.
        quick: Compare names, sizes and counts alone; read neither files nor objects.
        repair: Remove leftovers and strays, or set them aside if a run wrote them, and forget the
            tasks of damaged files if all of their objects can be converted again; takes the lake's
            lock.
        wait: With `repair`: wait while a run writes to the lake, instead of failing.
        workers: Files and objects read at once; 0 takes all cores.
        options: Storage options of the lake, as for `ConvertOptions.dest_options`.
        source_options: Storage options of the source.
        on_progress: Called in this thread several times a second, with files and objects read.

    Returns:
        What was checked and found. A run may be under way: what it is about to write is left out.

    Raises:
        UsageError: The lake or the source is none.
        LakeError: There is no lake, its ledger is damaged, or, with `repair`, a run writes to it.
        StorageError: The lake or the source does not answer.
        FetchError: A file of the lake cannot be fetched, which may pass.
    """
    started = time.monotonic()
    since, until = as_day(since, "since"), as_day(until, "until")
    storage = open_storage(lake, options)
    lost = lost_layout(storage)
    layout = lost or read_layout(storage)
    patterns = Patterns(include, exclude)
    logs = None if source is None else open_source(source, source_options)
    report = VerifyReport(storage.root, logs.root if logs else None)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    if lost:
        found, expected = "no such file", "the lake's layout"
        report.problems.append(problem_of("missing-layout", storage, LAYOUT, found, expected))
    _check_lock(storage, report)
    with Lock(storage, run_id, wait=wait) if repair else nullcontext() as lock:
        lake_now = _LakeNow.take(storage)
        if lock:
            lock.confirm()
        objects = SourceObjects(logs, storage.root, lake_now.ledger, since, until, patterns)
        report.problems += [
            *_check_names(storage, lake_now),
            *_check_sums(storage, lake_now),
            *objects.check_names(),
        ]
        if not quick:
            checks = _file_checks(storage, layout, lake_now, report.problems)
            checks += objects.line_checks()
            read_from: list[Storage | Source] = [storage, *([logs] if logs else [])]
            cores = workers or available_cores()
            report.problems += _in_threads(checks, cores, on_progress, read_from)
            report.lines = objects.lines
        if repair:
            cores = workers or available_cores()
            repair_lake(storage, layout, lake_now.ledger, run_id, objects, report, cores)
        else:
            _leave_out_what_is_under_way(storage, lake_now, report)
        _sum_up(lake_now, objects, report)
    order = list(ADVICE)
    report.problems.sort(key=lambda problem: (order.index(problem.kind), problem.uri))
    report.seconds = time.monotonic() - started
    return report


def _check_lock(storage: Storage, report: VerifyReport) -> None:
    lock = read_lock(storage)
    if lock.state == "held":
        report.under_way = str(lock.holder)
    elif lock.state == "dead":
        found = f"the lock of {lock.holder}, which is gone"
        report.problems.append(problem_of("dead-lock", storage, LOCK, found, "none"))
    elif lock.state == "damaged":
        found = "something else than a lock"
        report.problems.append(problem_of("damaged-lock", storage, LOCK, found, "one, or no file"))


@dataclass(frozen=True, slots=True)
class _LakeNow:
    """A lake at one moment.

    Attributes:
        stored: Path -> size, of the files below the tables and in the quarantine, and of those
            among the ledger's that are none.
        staged: Files that are not published.
        intents: Path of a note -> the paths that it is about.
        ledger: The ledger.
        files: Its files: path -> file and task.
    """

    stored: dict[str, int]
    staged: list[str]
    intents: dict[str, list[str]]
    ledger: Ledger
    files: dict[str, tuple[DataFile, str]]

    @classmethod
    def take(cls, storage: Storage) -> "_LakeNow":
        # In this order: a file that is published and neither noted nor committed is a stray, though
        # a run may be under way.
        stored = {
            file.path: file.size_bytes
            for folder in (*Table, QUARANTINE)
            for file in storage.list_files(folder)
            if not file.path.endswith("/")  # What S3's console makes for a folder.
        }
        stored |= {
            file.path: file.size_bytes
            for file in storage.list_files(LEDGER)
            if not (parse_part(file.path) or parse_record_path(file.path))
            and not file.path.endswith("/")
        }
        staged = [file.path for file in storage.list_files(STAGING)]
        noted = [file.path for file in storage.list_files(INTENTS)]
        intents = {path: read_intent(storage, path) for path in noted}
        ledger = Ledger.read(storage, with_gaps=True)
        return cls(stored, staged, intents, ledger, ledger.files)


def _check_names(storage: Storage, lake: _LakeNow) -> Iterator[Problem]:
    """Compare what is there with what the ledger names."""
    for gap in lake.ledger.missing_records:
        found = "no such file" + (f", nor are the {len(gap) - 1:,} after it" if gap[1:] else "")
        expected = "a record of the ledger"
        yield problem_of("missing-record", storage, record_path(gap[0]), found, expected)
    for path in (*lake.staged, *lake.intents):
        yield problem_of("leftover", storage, path, "a file of a run that did not end", "none")
    for path in lake.stored.keys() - lake.files.keys():
        found = f"a file of {lake.stored[path]:,} bytes that the ledger does not name"
        yield problem_of("stray-file", storage, path, found, "none")
    for path, (file, task_id) in lake.files.items():
        size = lake.stored.get(path)
        if size is None:
            expected = f"{file.rows:,} rows in {file.size_bytes:,} bytes"
            yield problem_of("missing-file", storage, path, "no such file", expected, task_id)
        elif size != file.size_bytes:
            found, expected = f"{size:,} bytes", f"{file.size_bytes:,}"
            yield problem_of("damaged-file", storage, path, found, expected, task_id)


def _check_sums(storage: Storage, lake: _LakeNow) -> Iterator[Problem]:
    """Compare the rows of each task's files with the lines of its objects, in the ledger."""
    in_files: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file, task_id in lake.files.values():
        in_files[task_id]["rows" if file.is_data else "rejected lines"] += file.rows
    sums = (
        lake.ledger.objects()
        .group_by("task_id")
        .aggregate([("rows", "sum"), ("rejected", "sum"), ("dropped", "sum")])
    )
    for task in sums.to_pylist():
        kept = task["rejected_sum"] - task["dropped_sum"]
        of_objects = {"rows": task["rows_sum"], "rejected lines": kept}
        for what, number in of_objects.items():
            if in_files[task["task_id"]][what] != number:
                found = f"task {task['task_id']} has {in_files[task['task_id']][what]:,} {what}"
                expected = f"{number:,}, as its objects have"
                yield problem_of("wrong-rows", storage, LEDGER, found, expected, task["task_id"])


def _file_checks(
    storage: Storage, layout: Layout, lake: _LakeNow, problems: Iterable[Problem]
) -> list[Check]:
    """Return the checks of the files with which nothing is wrong yet."""
    wrong = {problem.path for problem in problems}
    return [
        Check(file.size_bytes, partial(_check_file, storage, layout, file, task_id))
        for file, task_id in lake.files.values()
        if file.path not in wrong
    ]


def _check_file(
    storage: Storage, layout: Layout, file: DataFile, task_id: str, go_on: Callable[[], None]
) -> Problem | None:
    """Read a whole file, and compare its bytes, rows and columns with the ledger's.

    Raises:
        StorageError: It cannot be opened, for a reason that may pass.
        FetchError: The same.
    """
    damaged = partial(problem_of, "damaged-file", storage, file.path, task_id=task_id)
    try:
        with _open(storage, file) as stored:
            crc32 = 0
            while piece := stored.read(PIECE_BYTES):
                go_on()
                crc32 = zlib.crc32(piece, crc32)
            if crc32 != file.crc32:
                return damaged(f"CRC-32 {crc32:08x}", f"{file.crc32:08x}, as it was written")
            if not file.is_data:
                return None
            with pq.ParquetFile(pa.PythonFile(stored, mode="r")) as parquet:
                rows, found, expected = (
                    parquet.metadata.num_rows,
                    parquet.schema_arrow,
                    _schema(layout, file),
                )
    except (FetchError, FileNotFoundError) as error:
        if Ledger.read(storage, with_gaps=True).files.get(file.path) != (file, task_id):
            return None  # Replaced meanwhile.
        if isinstance(error, FetchError):
            raise
        return damaged("no such file any longer", f"{file.rows:,} rows")
    except (OSError, pa.ArrowException) as error:
        # Parquet that is damaged is an OSError without a number.
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
            uri = storage.uri(file.path)
            raise StorageError(f"the file cannot be read: {error}.", uri=uri) from error
        return damaged(f"it cannot be read ({error})", "a whole file")
    if rows != file.rows:
        return damaged(f"{rows:,} rows", f"{file.rows:,}")
    if not found.equals(expected):
        differ = [str(f) for f in found if f not in expected] or ["another order"]
        return damaged(f"columns that differ ({', '.join(differ)[:200]})", "those of the ledger")
    return None


def _open(storage: Storage, file: DataFile) -> io.RawIOBase:
    if storage.is_local:
        return io.FileIO(storage.location(file.path))
    return StoredReader(storage, file.path, file.size_bytes)


def _schema(layout: Layout, file: DataFile) -> pa.Schema:
    """Return the schema that a file of these columns has."""
    table = Table(file.path.partition("/")[0])
    types = {field.column: column_type(field, layout.time_type) for field in FIELDS[table]}
    types |= {field.name: field.type for field in SOURCE_COLUMNS}
    return pa.schema([(column, types.get(column, pa.string())) for column in file.columns])


def _in_threads(
    checks: list[Check],
    workers: int,
    on_progress: Callable[[RunProgress], None] | None,
    read_from: Sequence[Storage | Source],
) -> Iterator[Problem]:
    """Run checks and give what they find; few are under way at once, so that any can end it."""
    progress = RunProgress(len(checks), sum(check.size_bytes for check in checks))

    def run(check: Check) -> Problem | None:
        progress.add()
        problem = check.run(progress.add)
        progress.add(objects=1, source_bytes=check.size_bytes)
        return problem

    rest = iter(checks)
    with ThreadPoolExecutor(workers, "flowconv-verify") as pool:
        waiting: set[Future[Problem | None]] = set()
        try:
            waiting |= {pool.submit(run, check) for check in islice(rest, 2 * workers)}
            while waiting:
                done, waiting = futures_wait(waiting, _TICK_S, FIRST_COMPLETED)
                waiting |= {pool.submit(run, check) for check in islice(rest, len(done))}
                if on_progress:
                    on_progress(progress)
                for future in done:
                    if problem := future.result():
                        yield problem
        except KeyboardInterrupt:
            for storage in read_from:
                storage.give_up()
            raise
        finally:
            progress.stop()


def _leave_out_what_is_under_way(storage: Storage, lake: _LakeNow, report: VerifyReport) -> None:
    """Take away problems that are none, since a run was writing meanwhile."""
    lock = read_lock(storage)
    if lock.state == "held":
        report.under_way = str(lock.holder)
    if report.under_way is None or not report.problems:
        return
    pending = {path for paths in lake.intents.values() for path in paths}
    files = Ledger.read(storage, with_gaps=True).files
    report.problems = [
        problem
        for problem in report.problems
        if problem.kind != "leftover"
        and problem.path not in pending
        and (problem.kind != "stray-file" or problem.path not in files)
        and (
            problem.task_id is None
            or problem.kind == "wrong-rows"
            or (files.get(problem.path or "") == lake.files[problem.path or ""])
        )
    ]


def _sum_up(lake: _LakeNow, objects: SourceObjects, report: VerifyReport) -> None:
    """Say how much was checked."""
    files = [file for file, _ in lake.files.values()]
    report.files = len(files)
    report.size_bytes = sum(file.size_bytes for file in files)
    report.rows = sum(file.rows for file in files if file.is_data)
    report.rejected = sum(file.rows for file in files if not file.is_data)
    report.objects, report.listed = objects.converted, objects.listed
    report.expired = objects.expired
