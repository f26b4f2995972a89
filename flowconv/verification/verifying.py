"""verify(): a lake and its source compared with the ledger, and damage repaired.

    files     each file that the ledger names is there, whole, and has its rows and columns
    strays    there are no other files below the tables and among flowconv's own files
    objects   each was converted as it is now, and has as many lines as were counted then

A task's rows in the ledger are the sum of its objects' lines, so each line of the source is a row
in the lake, a line of the quarantine, or a header, blank or comment. A file with the right checksum
is as it was written.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from flowconv.engines.engine import Remote, opened_engine
from flowconv.errors import UsageError
from flowconv.lake.layout import lost_layout, read_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.locking import Lock, new_run_id
from flowconv.lake.paths import LAYOUT, LOCK
from flowconv.lake.remote import Places, require_no_credentials
from flowconv.lake.status import read_lock
from flowconv.memory import giving_memory_back
from flowconv.options import VerifyOptions
from flowconv.running import RunProgress
from flowconv.source.opening import open_source
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from flowconv.values import require
from flowconv.verification.checking import Verification, run_checks
from flowconv.verification.checks import Opened
from flowconv.verification.lake_files import (
    LakeNow,
    check_names,
    check_sums,
    file_checks,
    files_ahead,
)
from flowconv.verification.problems import ADVICE, Problem, VerifyReport, problem_of
from flowconv.verification.recounting import SourceObjects, requests_ahead

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Client


@giving_memory_back()
def verify(
    lake: str | os.PathLike[str],
    source: str | os.PathLike[str] | None = None,
    options: VerifyOptions | None = None,
    *,
    engine: "Executor | Client | None" = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> VerifyReport:
    """Check that a lake agrees with its ledger, and the ledger with the source.

    Args:
        lake: The lake: the DEST given to `convert`.
        source: The SOURCE that was converted to it; None: objects are not checked.
        options: How it is verified; by default all files and objects are read, and nothing is
            repaired. To repair takes the lake's lock; strays that a run wrote are set aside, and
            the tasks of damaged files forgotten if all of their objects can be converted again.
        engine: What reads files and objects, as for `convert`; by default threads of this process.
        on_progress: Called in this thread several times a second, with files and objects read.

    Returns:
        What was checked and found. If a run is under way, its unfinished work is left out.

    Raises:
        UsageError: The lake or the source is not a valid path or URL, or an option is about a
            source and there is none.
        LakeError: There is no lake, its ledger is damaged, or, with `repair`, a run writes to it.
        StorageError: The lake or the source does not answer.
        FetchError: A file of the lake cannot be fetched; this may pass.
        EngineError: The engine failed, or a worker differs from this process or has no access.
    """
    started = time.monotonic()
    options = options or VerifyOptions()
    require(options, VerifyOptions, "options")
    if source is None:
        _require_none_of_source(options)
    if engine is not None:
        require_no_credentials(options.source_options, options.dest_options)
    storage = open_storage(lake, options.dest_options)
    lost = lost_layout(storage)
    layout = lost or read_layout(storage)
    logs = None if source is None else open_source(source, options.source_options)
    report = VerifyReport(lake=storage.root, source=logs.root if logs else None)
    run_id = new_run_id()
    if lost:
        found, expected = "no such file", "the lake's layout"
        report.problems.append(problem_of("missing-layout", storage, LAYOUT, found, expected))
    _check_lock(storage, report)
    with Lock(storage, run_id, wait=options.wait) if options.repair else nullcontext() as lock:
        lake_now = LakeNow.take(storage)
        if lock:
            lock.confirm()
        objects = SourceObjects(logs, storage.root, lake_now.ledger, options)
        report.problems += check_names(storage, lake_now)
        report.problems += check_sums(storage, lake_now)
        report.problems += objects.check_names()
        if not options.quick:
            checks = [*file_checks(lake_now, report.problems), *objects.line_checks()]
            opened = Opened(
                storage=storage,
                layout=layout,
                logs=logs,
                requests=requests_ahead(logs, checks),
                files=files_ahead(storage, checks),
            )
            with _verifying(engine, opened, options) as remote:
                checked = run_checks(checks, opened, options.workers, remote, on_progress)
            report.problems += checked.problems
            report.lines = checked.lines
        if options.repair:
            # Here: what writes lakes comes with it.
            from flowconv.verification.repairing import repair_lake

            repair_lake(storage, layout, lake_now.ledger, run_id, objects, report, options.workers)
        else:
            _leave_out_work_under_way(storage, lake_now, report)
        _sum_up(lake_now, objects, report)
    kinds = list(ADVICE)
    report.problems.sort(key=lambda problem: (kinds.index(problem.kind), problem.uri))
    report.seconds = time.monotonic() - started
    return report


# Options of VerifyOptions that choose what is compared of a source.
_OF_SOURCE = ("since", "until", "include", "exclude", "inventory")


def _require_none_of_source(options: VerifyOptions) -> None:
    given = [f"--{name}" for name in _OF_SOURCE if getattr(options, name)]
    if given:
        raise UsageError(f"{' and '.join(given)}: only with --source, whose objects are compared.")


def _check_lock(storage: Storage, report: VerifyReport) -> None:
    lock = read_lock(storage)
    if lock.state == "held":
        report.under_way = str(lock.holder)
    elif lock.state == "dead":
        found = f"the lock of {lock.holder}, which is gone"
        report.problems.append(problem_of("dead-lock", storage, LOCK, found, "none"))
    elif lock.state == "damaged":
        found = "a file that is not a lock"
        report.problems.append(problem_of("damaged-lock", storage, LOCK, found, "one, or no file"))


@contextmanager
def _verifying(
    engine: "Executor | Client | None", opened: Opened, options: VerifyOptions
) -> Iterator[Remote | None]:
    """Open the engine; None stands for this process."""
    if engine is None:
        yield None
        return
    with opened_engine(engine) as chosen:
        places = Places.of(
            opened.storage, opened.logs, options.dest_options, options.source_options
        )
        yield Remote(chosen, Verification(places=places, layout=opened.layout))


def _leave_out_work_under_way(storage: Storage, lake: LakeNow, report: VerifyReport) -> None:
    """Drop problems that are the unfinished work of a run that was writing meanwhile."""
    lock = read_lock(storage)
    if lock.state == "held":
        report.under_way = str(lock.holder)
    if report.under_way is None or not report.problems:
        return
    noted = {path for paths in lake.intents.values() for path in paths}
    files_now = Ledger.read(storage, with_gaps=True).files()

    def is_under_way(problem: Problem) -> bool:
        path = problem.path or ""
        is_committed_since = problem.kind == "stray-file" and path in files_now
        # Contradictory sums have no file of their own.
        is_of_a_file = problem.task_id is not None and problem.kind != "wrong-rows"
        is_replaced_since = is_of_a_file and files_now.get(path) != lake.files[path]
        return (
            problem.kind == "leftover" or path in noted or is_committed_since or is_replaced_since
        )

    report.problems = [problem for problem in report.problems if not is_under_way(problem)]


def _sum_up(lake: LakeNow, objects: SourceObjects, report: VerifyReport) -> None:
    """Count what was checked."""
    files = [file for file, _ in lake.files.values()]
    report.files = len(files)
    report.size_bytes = sum(file.size_bytes for file in files)
    report.rows = sum(file.rows for file in files if file.is_data)
    report.rejected = sum(file.rows for file in files if not file.is_data)
    report.objects, report.listed = objects.converted, objects.listed
    report.expired = objects.expired
