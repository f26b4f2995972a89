"""verify(): a lake and its source held against the ledger, and what is damaged repaired.

    files     each that the ledger names is there, whole, and has its rows and columns
    strays    nothing else lies below the tables and among flowconv's own files
    objects   each was converted as it is now, and has as many lines as were counted then

A task's rows in the ledger are the sum of its objects' lines, so each line of the source is a row
in the lake, a line of the quarantine, or a header, blank or comment. Here lines are counted with
the standard library alone: a mistake in `reading` cannot hide.
"""

import codecs
import errno
import gzip
import io
import secrets
import socket
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as futures_wait
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowconv.engines import RunProgress
from flowconv.errors import FetchError, LakeError, StorageError
from flowconv.fields import FIELDS, Table
from flowconv.lake import Layout, read_layout, remove_leftovers
from flowconv.ledger import INTENTS, LEDGER, Ledger, Run, read_intent, write_intent
from flowconv.listing import LogObject
from flowconv.locking import LOCK, Lock
from flowconv.normalising import SOURCE_COLUMNS, column_type
from flowconv.options import available_cores
from flowconv.overview import read_lock
from flowconv.quarantine import QUARANTINE, read_lines
from flowconv.report import DataFile, LineCounts
from flowconv.sources import Source, open_source
from flowconv.storage import Storage, open_storage
from flowconv.writing import STAGING

# A request to S3, and what a thread holds of an object.
_PIECE_BYTES = 8 << 20

_TICK_S = 0.2

ProblemKind = Literal[
    "missing-record",
    "dead-lock",
    "damaged-lock",
    "leftover",
    "stray-file",
    "missing-file",
    "damaged-file",
    "wrong-rows",
    "not-converted",
    "changed",
    "unreadable-object",
    "wrong-lines",
]

_FORGET = (
    "With --source SOURCE --repair its task is forgotten, if all of the task's objects are still "
    "there, and the next flowconv convert converts them again."
)
_REMOVE = "If you did not put it there, remove it with --repair."

_ADVICE: dict[ProblemKind, str] = {
    "missing-record": "Restore it from a copy. If there is none: what it said counts no more, its "
    "files are strays, and --repair makes that final.",
    "dead-lock": "A run was killed. The next run of flowconv convert takes over and cleans up.",
    "damaged-lock": "If no run is under way, delete it.",
    "leftover": "A run was killed. The next run of flowconv convert, or --repair, removes it.",
    "stray-file": _REMOVE,
    "missing-file": f"Restore it from a copy. {_FORGET}",
    "damaged-file": f"Restore it from a copy. {_FORGET}",
    "wrong-rows": _FORGET,
    "not-converted": "Run flowconv convert.",
    "changed": "The lake has its old rows; flowconv convert --reprocess replaces them.",
    "unreadable-object": "The lake has its rows. Copy it anew if it is to be kept.",
    "wrong-lines": "Please report this; flowconv convert --reprocess converts it again.",
}

# What forgetting a task mends.
_DAMAGE: tuple[ProblemKind, ...] = ("missing-file", "damaged-file", "wrong-rows")

# What can be removed for good.
_REMOVABLE = frozenset({"missing-record", "dead-lock", "leftover", "stray-file"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
        kind: What it is.
        uri: Where.
        found: What was found there.
        expected: What should be there.
        advice: What to do.
        repaired: It was repaired; of damaged files, they are forgotten, and the next run converts
            their objects again.
        path: Below the lake; None if it is an object.
        task_id: The task whose file it is.
    """

    kind: ProblemKind
    uri: str
    found: str
    expected: str
    advice: str
    repaired: bool = False
    path: str | None = None
    task_id: str | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.uri}: {self.found}{expected}. {self.advice}"


@dataclass(slots=True)
class VerifyReport:
    """What was checked and found.

    Attributes:
        lake: The lake.
        source: The source, if one was named.
        files: Files of data and of rejected lines that the ledger names.
        size_bytes: Their size.
        rows: Rows of data; decoded and counted, unless `quick`.
        rejected: Lines in the quarantine.
        objects: Objects that were converted.
        listed: Objects in the source.
        lines: Lines counted in the source.
        expired: Objects of this source that were converted and are no longer there, such as by a
            lifecycle rule; no problem, but they cannot be converted again.
        under_way: The run that was writing to the lake meanwhile; what it had not finished was
            left out.
        problems: What is not as it should be.
        removed: Files that were removed.
        forgotten: Tasks that were forgotten; run `convert` to convert their objects again.
        seconds: Wall time.
    """

    lake: str
    source: str | None
    files: int = 0
    size_bytes: int = 0
    rows: int = 0
    rejected: int = 0
    objects: int = 0
    listed: int = 0
    lines: int = 0
    expired: int = 0
    under_way: str | None = None
    problems: list[Problem] = field(default_factory=list)
    removed: int = 0
    forgotten: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """All is well: nothing was found, or it was repaired and nothing is to be converted."""
        return not self.forgotten and all(problem.repaired for problem in self.problems)

    @property
    def kinds(self) -> Counter[str]:
        """Kind -> number of problems."""
        return Counter(problem.kind for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; keys are this class's attributes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {
            "problems": [asdict(problem) for problem in self.problems],
            "kinds": dict(self.kinds),
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }


def verify(
    lake: str,
    *,
    source: str | None = None,
    since: date | None = None,
    until: date | None = None,
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
        quick: Compare names, sizes and counts alone; read neither pages nor objects.
        repair: Remove strays and leftovers, and forget the tasks of damaged files if all of their
            objects are still in the source; takes the lake's lock.
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
    storage = open_storage(lake, options)
    layout = read_layout(storage)
    logs = None if source is None else open_source(source, source_options)
    report = VerifyReport(storage.root, logs.root if logs else None)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    _check_lock(storage, report)
    with Lock(storage, run_id, wait=wait) if repair else nullcontext():
        lake_now = _LakeNow.take(storage)
        objects = _Objects(logs, storage.root, lake_now.ledger, since, until)
        report.problems += [
            *_check_names(storage, lake_now),
            *_check_sums(storage, lake_now),
            *objects.check_names(),
        ]
        if not quick:
            checks = _file_checks(storage, layout, lake_now, report.problems)
            checks += objects.line_checks()
            report.problems += _in_threads(checks, workers or available_cores(), on_progress)
            report.lines = objects.lines
        if repair:
            _repair(storage, lake_now.ledger, run_id, objects, report)
        else:
            _leave_out_what_is_under_way(storage, lake_now, report)
        _sum_up(lake_now, objects, report)
    order = list(_ADVICE)
    report.problems.sort(key=lambda problem: (order.index(problem.kind), problem.uri))
    report.seconds = time.monotonic() - started
    return report


def _check_lock(storage: Storage, report: VerifyReport) -> None:
    lock = read_lock(storage)
    if lock.state == "held":
        report.under_way = str(lock.holder)
    elif lock.state == "dead":
        found = f"the lock of {lock.holder}, which is gone"
        report.problems.append(_problem("dead-lock", storage, LOCK, found, "none"))
    elif lock.state == "damaged":
        found = "something else than a lock"
        report.problems.append(_problem("damaged-lock", storage, LOCK, found, "one, or no file"))


@dataclass(frozen=True, slots=True)
class _LakeNow:
    """A lake at one moment.

    Attributes:
        stored: Path -> size, of the files below the tables and in the quarantine.
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
        staged = [file.path for file in storage.list_files(STAGING)]
        noted = [file.path for file in storage.list_files(INTENTS)]
        intents = {path: read_intent(storage, path) for path in noted}
        ledger = Ledger.read(storage)
        return cls(stored, staged, intents, ledger, ledger.files)


def _check_names(storage: Storage, lake: _LakeNow) -> Iterator[Problem]:
    """Compare what is there with what the ledger names."""
    for path in lake.ledger.missing_records:
        yield _problem("missing-record", storage, path, "no such file", "a record of the ledger")
    for path in (*lake.staged, *lake.intents):
        yield _problem("leftover", storage, path, "a file of a run that did not end", "none")
    for path in lake.stored.keys() - lake.files.keys():
        found = f"a file of {lake.stored[path]:,} bytes that the ledger does not name"
        yield _problem("stray-file", storage, path, found, "none")
    for path, (file, task_id) in lake.files.items():
        size = lake.stored.get(path)
        if size is None:
            expected = f"{file.rows:,} rows in {file.size_bytes:,} bytes"
            yield _problem("missing-file", storage, path, "no such file", expected, task_id)
        elif size != file.size_bytes:
            found, expected = f"{size:,} bytes", f"{file.size_bytes:,}"
            yield _problem("damaged-file", storage, path, found, expected, task_id)


def _check_sums(storage: Storage, lake: _LakeNow) -> Iterator[Problem]:
    """Compare the rows of each task's files with the lines of its objects, in the ledger."""
    in_files: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file, task_id in lake.files.values():
        in_files[task_id]["rows" if file.is_data else "rejected lines"] += file.rows
    sums = (
        lake.ledger.objects().group_by("task_id").aggregate([("rows", "sum"), ("rejected", "sum")])
    )
    for task in sums.to_pylist():
        of_objects = {"rows": task["rows_sum"], "rejected lines": task["rejected_sum"]}
        for what, number in of_objects.items():
            if in_files[task["task_id"]][what] != number:
                found = f"task {task['task_id']} has {in_files[task['task_id']][what]:,} {what}"
                expected = f"{number:,}, as its objects have"
                yield _problem("wrong-rows", storage, LEDGER, found, expected, task["task_id"])


@dataclass(frozen=True, slots=True)
class _Check:
    """Something to read and check.

    Attributes:
        size_bytes: What is read.
        run: Reads it.
    """

    size_bytes: int
    run: Callable[[], Problem | None]


def _file_checks(
    storage: Storage, layout: Layout, lake: _LakeNow, problems: Iterable[Problem]
) -> list[_Check]:
    """Return the checks of the files with which nothing is wrong yet."""
    wrong = {problem.path for problem in problems}
    return [
        _Check(file.size_bytes, partial(_check_file, storage, layout, file, task_id))
        for file, task_id in lake.files.values()
        if file.path not in wrong
    ]


def _check_file(storage: Storage, layout: Layout, file: DataFile, task_id: str) -> Problem | None:
    """Read a whole file, and compare its rows and columns with the ledger's.

    Raises:
        StorageError: It cannot be opened, for a reason that may pass.
        FetchError: The same.
    """
    damaged = partial(_problem, "damaged-file", storage, file.path, task_id=task_id)
    try:
        if not file.is_data:
            lines = sum(1 for _ in read_lines(storage, file))
            return None if lines == file.rows else damaged(f"{lines:,} lines", f"{file.rows:,}")
        with _open_parquet(storage, file) as parquet:
            found, expected = parquet.schema_arrow, _schema(layout, file)
            if not found.equals(expected):
                differ = [str(f) for f in found if f not in expected] or ["another order"]
                return damaged(
                    f"columns that differ ({', '.join(differ)[:200]})", "those of the ledger"
                )
            # The pages' checksums are compared on the way.
            rows = sum(
                parquet.read_row_group(n, use_threads=False).num_rows
                for n in range(parquet.num_row_groups)
            )
        if rows != file.rows or rows != parquet.metadata.num_rows:
            return damaged(f"{rows:,} rows", f"{file.rows:,}")
    except (FetchError, FileNotFoundError) as error:
        if Ledger.read(storage).files.get(file.path) != (file, task_id):
            return None  # Replaced meanwhile.
        if isinstance(error, FetchError):
            raise
        return damaged("no such file any longer", f"{file.rows:,} rows")
    except LakeError as error:
        return damaged(error.reason, "lines of JSON")
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        # Parquet that is damaged is an OSError without a number.
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
            uri = storage.uri(file.path)
            raise StorageError(f"the file cannot be read: {error}.", uri=uri) from error
        return damaged(f"it cannot be read ({error})", "whole Parquet")
    return None


def _open_parquet(storage: Storage, file: DataFile) -> pq.ParquetFile:
    source: Any = storage.uri(file.path)
    if not storage.is_local:
        source = pa.PythonFile(_Stored(storage, file.path, file.size_bytes), "r")
    return pq.ParquetFile(source, page_checksum_verification=True)


def _schema(layout: Layout, file: DataFile) -> pa.Schema:
    """Return the schema that a file of these columns has."""
    table = Table(file.path.partition("/")[0])
    types = {field.column: column_type(field, layout.time_type) for field in FIELDS[table]}
    types |= {field.name: field.type for field in SOURCE_COLUMNS}
    return pa.schema([(column, types.get(column, pa.string())) for column in file.columns])


class _Objects:
    """The source's objects beside those that the ledger has.

    Args:
        logs: The source; None if none is named.
        lake_root: The lake, which may lie within it.
        ledger: What was converted.
        since: First day.
        until: Last day.
    """

    def __init__(
        self,
        logs: Source | None,
        lake_root: str,
        ledger: Ledger,
        since: date | None,
        until: date | None,
    ) -> None:
        self._logs = logs
        self._all_days = since is None and until is None
        self._converted = {
            row["uri"]: (row["etag"], sum(row[f.name] for f in fields(LineCounts)))
            for batch in ledger.objects().drop_columns(["task_id", "fields"]).to_batches()
            for row in batch.to_pylist()
        }
        self._listed: dict[str, LogObject] = {}
        if logs is not None:
            listed = logs.list_objects(since, until, lake_root)
            self._listed = {log_object.uri: log_object for log_object in listed}
        self._mutex = threading.Lock()
        self.lines = 0
        """Lines counted so far."""

    @property
    def converted(self) -> int:
        """Number of objects that the ledger has."""
        return len(self._converted)

    @property
    def listed(self) -> int:
        """Number of objects in the source."""
        return len(self._listed)

    @property
    def expired(self) -> int:
        """Number of objects of this source that the ledger has and the source has no longer."""
        if self._logs is None or not self._all_days:
            return 0
        below = f"{self._logs.root}/"
        return sum(
            uri not in self._listed and f"{uri}/".startswith(below) for uri in self._converted
        )

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Return those that are not in the source."""
        return [uri for uri in uris if uri not in self._listed]

    def check_names(self) -> Iterator[Problem]:
        """Compare what is there with what was converted."""
        for uri, log_object in self._listed.items():
            etag, _ = self._converted.get(uri, (None, 0))
            if etag is None:
                found = f"an object of {log_object.size_bytes:,} bytes that was not converted"
                yield Problem("not-converted", uri, found, "", _ADVICE["not-converted"])
            elif etag != log_object.etag:
                found, expected = f"etag {log_object.etag}", f"{etag}, as it was converted"
                yield Problem("changed", uri, found, expected, _ADVICE["changed"])

    def line_checks(self) -> list[_Check]:
        """Return the checks of the objects that are as they were converted."""
        return [
            _Check(log_object.size_bytes, partial(self._check_lines, log_object))
            for uri, log_object in self._listed.items()
            if self._converted.get(uri, (None, 0))[0] == log_object.etag
        ]

    def _check_lines(self, log_object: LogObject) -> Problem | None:
        assert self._logs is not None
        expected = self._converted[log_object.uri][1]
        kind: ProblemKind = "unreadable-object"
        try:
            lines = count_lines(self._logs, log_object)
        except FetchError as error:
            found = error.reason
        except (EOFError, OSError, zlib.error) as error:
            found = f"damaged gzip data ({error})"
        else:
            with self._mutex:
                self.lines += lines
            if lines == expected:
                return None
            kind, found = "wrong-lines", f"{lines:,} lines"
        wanted = f"{expected:,} lines, as when it was converted"
        return Problem(kind, log_object.uri, found.removesuffix("."), wanted, _ADVICE[kind])


def count_lines(logs: Source, log_object: LogObject) -> int:
    """Count an object's lines of all kinds, by the standard library alone.

    Raises:
        FetchError: The object cannot be fetched.
        EOFError: Its gzip data ends early.
        OSError: Its gzip data is damaged.
        zlib.error: The same.
    """
    text: Any = io.BufferedReader(_Pieces(logs.requests(log_object)), _PIECE_BYTES)
    if text.peek(2)[:2] == b"\x1f\x8b":
        text = gzip.GzipFile(fileobj=text)
    lines = size = 0
    last = b""
    while piece := text.read(_PIECE_BYTES):
        lines += piece.count(b"\n")
        size += len(piece)
        last = (last + piece)[-3:]
    # The last line may lack its newline; a byte order mark alone is none.
    return lines + (size > 0 and last[-1:] != b"\n" and (size, last) != (3, codecs.BOM_UTF8))


class _Pieces(io.RawIOBase):
    """An object as Python's readers want it; fetched as it is read."""

    def __init__(self, requests: Iterator[Callable[[], bytes]]) -> None:
        self._requests = requests
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._piece and (request := next(self._requests, None)):
            self._piece = memoryview(request())
        view = memoryview(buffer)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


class _Stored(io.RawIOBase):
    """A file as Arrow's reader wants it; fetched as it is read."""

    def __init__(self, storage: Storage, path: str, size_bytes: int) -> None:
        self._storage = storage
        self._path = path
        self._size_bytes = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence, self._size_bytes)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._size_bytes - self._at)
        wanted = left if size < 0 else min(size, left)
        piece = self._storage.fetch(self._path, self._at, wanted) if wanted else b""
        self._at += len(piece)
        return piece


def _in_threads(
    checks: list[_Check], workers: int, on_progress: Callable[[RunProgress], None] | None
) -> Iterator[Problem]:
    """Run checks and give what they find; few are under way at once, so that any can end it."""
    progress = RunProgress(len(checks), sum(check.size_bytes for check in checks))

    def run(check: _Check) -> Problem | None:
        progress.add()
        problem = check.run()
        progress.add(objects=1, source_bytes=check.size_bytes)
        return problem

    rest = iter(checks)
    with ThreadPoolExecutor(workers, "flowconv-verify") as pool:
        waiting: set[Future[Problem | None]] = {
            pool.submit(run, check) for check in islice(rest, 2 * workers)
        }
        try:
            while waiting:
                done, waiting = futures_wait(waiting, _TICK_S, FIRST_COMPLETED)
                waiting |= {pool.submit(run, check) for check in islice(rest, len(done))}
                if on_progress:
                    on_progress(progress)
                for future in done:
                    if problem := future.result():
                        yield problem
        finally:
            progress.stop()


def _repair(
    storage: Storage, ledger: Ledger, run_id: str, objects: _Objects, report: VerifyReport
) -> None:
    """Remove what does not count, and forget what is damaged; the caller holds the lock."""
    forgotten, reasons = _forgettable(ledger, objects, report)
    if not forgotten and not _REMOVABLE.intersection(report.kinds):
        report.problems = [_after_repair(one, forgotten, reasons) for one in report.problems]
        return
    run = Run(run_id, datetime.now(UTC), socket.gethostname())
    ledger.begin(run)
    remove_leftovers(storage, ledger)
    strays = [problem.path for problem in report.problems if problem.kind == "stray-file"]
    doomed = [path for path in strays if path]
    doomed += [file.path for file in ledger.files_of(forgotten)]
    intent = write_intent(storage, run_id, doomed)
    if forgotten:
        ledger.forget(run_id, forgotten)
    storage.delete(doomed)
    storage.delete([intent])
    report.removed, report.forgotten = len(doomed), len(forgotten)
    summary = {"repair": True, "removed": len(doomed), "forgotten": len(forgotten), "failure": ""}
    ledger.end(replace(run, ended=datetime.now(UTC), report=summary))
    if ledger.missing_records:
        ledger.merge()
    report.problems = [_after_repair(one, forgotten, reasons) for one in report.problems]


def _forgettable(
    ledger: Ledger, objects: _Objects, report: VerifyReport
) -> tuple[set[str], dict[str, str]]:
    """Return the damaged tasks whose objects can be converted again, and why the others cannot."""
    damaged = {problem.task_id for problem in report.problems if problem.kind in _DAMAGE}
    table = ledger.objects().select(["task_id", "uri"])
    chosen = table.filter(pc.is_in(table["task_id"], pa.array(list(damaged), pa.string())))
    uris: defaultdict[str, list[str]] = defaultdict(list)
    for row in chosen.to_pylist():
        uris[row["task_id"]].append(row["uri"])
    if report.source is None:
        reason = "give --source, so that it is known whether its objects are still there."
        return set(), dict.fromkeys(uris, reason)
    reasons = {}
    for task_id, of_task in uris.items():
        if missing := objects.missing(of_task):
            reasons[task_id] = (
                f"{len(missing):,} of its {len(of_task):,} objects are not in {report.source} "
                f"(such as {missing[0]}), and their rows would be lost. Restore the file from a "
                "copy."
            )
    return uris.keys() - reasons.keys(), reasons


def _after_repair(problem: Problem, forgotten: set[str], reasons: Mapping[str, str]) -> Problem:
    """Say of a problem what became of it."""
    if problem.kind in _DAMAGE:
        if problem.task_id in forgotten:
            advice = "Its task was forgotten; flowconv convert converts its objects again."
            return replace(problem, advice=advice, repaired=True)
        return replace(problem, advice=f"Not repaired: {reasons[problem.task_id or '']}")
    if problem.kind in ("stray-file", "leftover"):
        return replace(problem, advice="It was removed.", repaired=True)
    if problem.kind == "missing-record":
        advice = "What is left of the ledger was merged, and counts."
        return replace(problem, advice=advice, repaired=True)
    if problem.kind == "dead-lock":
        return replace(problem, advice="It was taken over and released.", repaired=True)
    return problem


def _leave_out_what_is_under_way(storage: Storage, lake: _LakeNow, report: VerifyReport) -> None:
    """Take away problems that are none, since a run was writing meanwhile."""
    lock = read_lock(storage)
    if lock.state == "held":
        report.under_way = str(lock.holder)
    if report.under_way is None or not report.problems:
        return
    pending = {path for paths in lake.intents.values() for path in paths}
    files = Ledger.read(storage).files
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


def _sum_up(lake: _LakeNow, objects: _Objects, report: VerifyReport) -> None:
    """Say how much was checked."""
    files = [file for file, _ in lake.files.values()]
    report.files = len(files)
    report.size_bytes = sum(file.size_bytes for file in files)
    report.rows = sum(file.rows for file in files if file.is_data)
    report.rejected = sum(file.rows for file in files if not file.is_data)
    report.objects, report.listed = objects.converted, objects.listed
    report.expired = objects.expired


def _problem(
    kind: ProblemKind,
    storage: Storage,
    path: str,
    found: str,
    expected: str,
    task_id: str | None = None,
) -> Problem:
    uri = storage.uri(path)
    return Problem(kind, uri, found, expected, _ADVICE[kind], path=path, task_id=task_id)
