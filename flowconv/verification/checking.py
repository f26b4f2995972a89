"""Runs checks: in threads of this process, or on an engine, some together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from flowconv.engines.engine import Remote
from flowconv.engines.workers import CutOffError, worker_name
from flowconv.lake.layout import Layout
from flowconv.lake.remote import Places
from flowconv.running import RunProgress, run_all
from flowconv.verification.checks import Check, Checked, Opened
from flowconv.verification.lake_files import files_ahead
from flowconv.verification.problems import Problem
from flowconv.verification.recounting import LineCheck, requests_ahead

# A job of an engine takes some milliseconds more than its checks. It has several checks, and each
# place gets several jobs, so that all end at about the same time.
_JOB_CHECKS = 500
_JOB_BYTES = 64_000_000
_JOBS_PER_PLACE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The work of verifying, on an engine.

    Attributes:
        places: The lake, and the source.
        layout: The lake's layout.
    """

    places: Places
    layout: Layout

    @contextmanager
    def opened(self) -> Iterator["VerificationWorker"]:
        """See `engines.workers.Work`."""
        with self.places.opened() as (storage, logs):
            yield VerificationWorker(
                Opened(storage=storage, layout=self.layout, logs=logs, requests=None, files=None)
            )


class VerificationWorker:
    """Lake and source, open in a worker's process; shared by its threads."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def do(self, checks: Sequence[Check]) -> Checked:
        """Do some checks.

        Raises:
            CutOffError: The source answered no request for an object.
            StorageError, FetchError: See `Check.run`.
        """
        opened = replace(
            self._opened,
            requests=requests_ahead(self._opened.logs, checks),
            files=files_ahead(self._opened.storage, checks),
        )
        checked = _sum(check.run(opened, _go_on) for check in checks)
        objects = sum(isinstance(check, LineCheck) for check in checks)
        if objects and checked.unanswered == objects:
            named = tuple(map(_with_worker, checked.problems))
            raise CutOffError(named[-1].found, checked._replace(problems=named))
        return checked


def _with_worker(problem: Problem) -> Problem:
    """Name the worker, where it is what failed."""
    if problem.kind != "unreadable-object":
        return problem
    return replace(problem, found=f"the worker {worker_name()}: {problem.found}")


def run_checks(
    checks: Sequence[Check],
    opened: Opened,
    workers: int,
    remote: Remote | None,
    on_progress: Callable[[RunProgress], None] | None,
) -> Checked:
    """Do all checks.

    Args:
        checks: The checks.
        opened: What they read.
        workers: Number of threads, if there is no engine.
        remote: The work on the engine; None: this process does it.
        on_progress: See `verify`.

    Raises:
        StorageError, FetchError: See `Check.run`.
        EngineError: The engine failed.
    """
    progress = RunProgress(
        total_objects=len(checks), total_bytes=sum(check.size_bytes for check in checks)
    )

    def run(job: Sequence[Check]) -> Checked:
        progress.add()
        if remote:
            checked: Checked = remote.do(job, progress.add).result
        else:
            checked = _sum(check.run(opened, progress.add) for check in job)
        progress.add(objects=len(job), source_bytes=sum(check.size_bytes for check in job))
        return checked

    def give_up() -> None:
        opened.storage.give_up()
        if opened.logs:
            opened.logs.give_up()

    jobs = _jobs(checks, remote.places()) if remote else ((check,) for check in checks)
    places = remote.places if remote else workers
    return _sum(run_all(jobs, run, places, progress, on_progress=on_progress, on_stop=give_up))


def _jobs(checks: Sequence[Check], places: int) -> Iterator[Sequence[Check]]:
    most = min(_JOB_CHECKS, -(-len(checks) // (_JOBS_PER_PLACE * places)))
    job: list[Check] = []
    size = 0
    for check in checks:
        if job and (len(job) == most or size + check.size_bytes > _JOB_BYTES):
            yield job
            job, size = [], 0
        job.append(check)
        size += check.size_bytes
    if job:
        yield job


def _sum(results: Iterator[Checked]) -> Checked:
    problems: list[Problem] = []
    lines = unanswered = 0
    for checked in results:
        problems += checked.problems
        lines += checked.lines
        unanswered += checked.unanswered
    return Checked(tuple(problems), lines, unanswered)


def _go_on() -> None:
    """Go on: a job is short."""
