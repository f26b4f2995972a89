"""verify(): a lake and its source held against the ledger, and what is damaged repaired.

    files     each that the ledger names is there, whole, and has its rows and columns
    strays    nothing else lies below the tables and among flowconv's own files
    objects   each was converted as it is now, and has as many lines as were counted then

A task's rows in the ledger are the sum of its objects' lines, so each line of the source is a row
in the lake, a line of the quarantine, or a header, blank or comment. Here lines are counted with
the standard library alone: a mistake in `reading` cannot hide.
"""

import gzip
import io
import secrets
import socket
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from flowconv.engines import RunProgress
from flowconv.errors import FetchError, FlowconvError, LakeError, StorageError
from flowconv.fields import FIELDS, Table
from flowconv.lake import Layout, read_layout, remove_leftovers
from flowconv.ledger import INTENTS, Ledger, Run, read_intent, write_intent
from flowconv.listing import LogObject, list_objects
from flowconv.locking import Lock
from flowconv.normalising import column_type
from flowconv.options import available_cores
from flowconv.overview import read_lock
from flowconv.quarantine import QUARANTINE, read_lines
from flowconv.report import DataFile, LineCounts
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
    logs = None if source is None else open_storage(source, source_options)
    report = VerifyReport(storage.root, logs and logs.root)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    _check_lock(storage, report)
    with Lock(storage, run_id, wait=wait) if repair else nullcontext():
        snapshot = _Snapshot.take(storage)
        report.problems += snapshot.check_names(storage)
        report.problems += _check_sums(storage, snapshot)
        objects = _Objects(logs, storage.root, snapshot, since, until)
        report.problems += objects.check_names()
        snapshot.sum_up(report)
        objects.sum_up(report)
        if not quick:
            broken = {problem.path for problem in report.problems}
            check = partial(_check_file, storage, layout)
            checks = [
                _Check(file.size_bytes, partial(check, file, task_id))
                for file, task_id in snapshot.files.values()
                if file.path not in broken
            ]
            checks += objects.recounts(report)
            report.problems += _in_threads(
                checks, workers or available_cores(), on_progress, snapshot, storage
            )
        if repair:
            _repair(storage, snapshot.ledger, run_id, objects, report)
        else:
            _leave_out_what_is_under_way(storage, snapshot, report)
    order = list(_ADVICE)
    report.problems.sort(key=lambda problem: (order.index(problem.kind), problem.uri))
    report.seconds = time.monotonic() - started
    return report


def _check_lock(storage: Storage, report: VerifyReport) -> None:
    lock = read_lock(storage)
    if lock.state == "held":
        report.under_way = str(lock.holder)
    elif lock.state == "dead":
        report.problems.append(
            _problem("dead-lock", storage, _LOCK, f"the lock of {lock.holder}, which is gone", "")
        )
    elif lock.state == "damaged":
        report.problems.append(
            _problem("damaged-lock", storage, _LOCK, "no lock of flowconv's", "one, or no file")
        )
