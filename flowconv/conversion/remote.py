"""Tasks on an engine: a worker writes a task's files, and the driver publishes and commits them.

So a worker that is frozen, cut off or started twice changes nothing that counts: only the driver
holds the lake's lock, and what other attempts leave behind has other names and was never visible.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace

from flowconv.conversion.planning import Task
from flowconv.conversion.report import TaskResult
from flowconv.conversion.task import BegunRun, Cores, TaskConverter, WorkerTime
from flowconv.engines.engine import Remote
from flowconv.engines.workers import threads_of_worker, worker_name
from flowconv.errors import EngineError, FlowconvError, UsageError, redact
from flowconv.fields import Table
from flowconv.lake.layout import find_layout
from flowconv.lake.ledger import LostLockError
from flowconv.lake.locking import HEARTBEAT_S, read_holder
from flowconv.lake.paths import STAGING, is_of_generation
from flowconv.memory import giving_memory_back
from flowconv.option_values import available_cores
from flowconv.options import ConvertOptions
from flowconv.running import RunProgress
from flowconv.source.fetching import requests_ended
from flowconv.source.opening import Source, open_source
from flowconv.storage.interface import HandedOver, Publishable, Storage
from flowconv.storage.opening import open_storage

# What says who asks, not where and how.
_CREDENTIALS = ("key", "secret", "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedTask:
    """What a worker did for a task; small, and picklable.

    Attributes:
        result: What it read and wrote.
        name: Beginning of its files' names.
        files: Its files, which are not visible yet.
        progress: What `RunProgress.add` is to be told.
        busy_s: Time spent by the worker's process since its last task, in seconds.
        waited_s: How much of it was waiting, as in `WorkerTime`.
        retries: Requests to S3 that the worker's process repeated since its last task.
    """

    result: TaskResult
    name: str
    files: tuple[HandedOver, ...]
    progress: Mapping[str, int]
    busy_s: float
    waited_s: Mapping[str, float]
    retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The work of a run; a worker opens source and lake with credentials of its own.

    Attributes:
        source: The source.
        lake: The lake.
        run: The run.
    """

    source: str
    lake: str
    run: BegunRun

    def open(self) -> "ConversionWorker":
        """See `engines.workers.Work`."""
        return ConversionWorker(self)


class ConversionWorker:
    """Source and lake, open in a worker's process; shared by its threads.

    Raises:
        EngineError: The worker cannot read the lake.
    """

    def __init__(self, work: Conversion) -> None:
        options = work.run.options
        logs = open_source(work.source, options.source_options, options.max_requests)
        lake = open_storage(work.lake, options.dest_options)
        _require_access(work, logs, lake)
        with ExitStack() as stack:
            stack.enter_context(giving_memory_back())
            stack.enter_context(requests_ended(logs))
            cores = stack.enter_context(closing(Cores(threads_of_worker() or available_cores())))
            self._stack = stack.pop_all()
        self._converter = TaskConverter(logs, lake, work.run, cores)
        self._storages = (logs, lake)
        self._lock = _LockWatch(lake, work.run.run_id)
        self._mutex = threading.Lock()
        self._retries = 0

    def do(self, task: Task) -> ConvertedTask:
        """Convert a task; its files are left to the driver.

        Raises:
            ParseError: A line does not fit, and `on_bad_line` is `fail`.
            StorageError: The lake does not answer, or is full.
            LostLockError: The run has ended, or another has taken the lake over.
        """
        progress = _WatchedProgress(total_objects=0, total_bytes=0, watch=self._lock.check)
        attempt = self._converter.convert(task, progress)
        try:
            files = attempt.hand_over() if attempt.result.objects else ()
        finally:
            attempt.discard_unpublished()
        busy_s, waited_s = self._converter.worker_time.take()
        with self._mutex:
            before = self._retries
            self._retries = sum(storage.retries for storage in self._storages)
            retries = self._retries - before
        return ConvertedTask(
            result=attempt.result,
            name=attempt.name,
            files=files,
            progress={name: getattr(progress, name) for name in _COUNTED},
            busy_s=busy_s,
            waited_s=waited_s,
            retries=retries,
        )

    def close(self) -> None:
        """See `engines.workers.Worker`."""
        self._stack.close()


_COUNTED = ("total_bytes", "objects", "source_bytes", "rows", "text_bytes")


def _require_access(work: Conversion, logs: Source, lake: Storage) -> None:
    """Check that this process sees the source and the lake."""
    who = f"the worker {worker_name()}"
    try:
        found = find_layout(lake)
        if work.source.startswith("s3://"):
            next(open_storage(work.source, work.run.options.source_options).list_folder(), None)
    except FlowconvError as error:
        raise EngineError(
            f"{who} has no access: {error} Workers use credentials of their own; see "
            "docs/scale-out.md."
        ) from error
    missing = [lake.root] if found is None else []
    if logs.is_local and not os.path.lexists(work.source):
        missing.append(logs.root)
    if missing:
        raise EngineError(
            f"{who} does not see {' and '.join(missing)}. All machines must see the same: use "
            "s3:// URLs, or a file system that they share, at the same path."
        )


class _LockWatch:
    """Looks now and then whether a run still holds the lake's lock; for any thread.

    Jobs under way in a worker hear so that the run has ended, whatever engine runs them.
    """

    def __init__(self, lake: Storage, run_id: str) -> None:
        self._lake = lake
        self._run_id = run_id
        self._looked = -HEARTBEAT_S
        self._is_lost = False
        self._mutex = threading.Lock()

    def check(self) -> None:
        """Raise LostLockError if another run, or none, holds the lock."""
        with self._mutex:
            is_due = time.monotonic() - self._looked >= HEARTBEAT_S
            if is_due:
                self._looked = time.monotonic()
        if is_due:
            with suppress(FlowconvError):  # The lake does not answer just now.
                holder = read_holder(self._lake)
                self._is_lost = holder is None or holder.run_id != self._run_id
        if self._is_lost:
            raise LostLockError(self._lake.root)


@dataclass(slots=True, kw_only=True)
class _WatchedProgress(RunProgress):
    """Progress of a task, which ends when its run does."""

    watch: Callable[[], None]

    def add(self, **counts: int) -> None:
        """See `RunProgress`."""
        self.watch()
        RunProgress.add(self, **counts)


class RemoteConverter:
    """Converts the tasks of a run on an engine; shared by its threads.

    Args:
        remote: The run's work on the engine.
        lake: The lake.
    """

    def __init__(self, remote: Remote, lake: Storage) -> None:
        self._remote = remote
        self._lake = lake
        self.places = remote.places
        """Tells the number of tasks that may be under way at once."""
        self.worker_time = WorkerTime(remote.places())

    def convert(self, task: Task, progress: RunProgress) -> "AdoptedTask":
        """Have a task converted; see `TaskConverter.convert`.

        Raises:
            EngineError: The engine failed, or a worker that has no access.
        """
        answer = self._remote.do(task, progress.add)
        converted: ConvertedTask = answer.result
        result = replace(converted.result, worker=answer.worker, retries=converted.retries)
        adopted = AdoptedTask(self._lake, replace(converted, result=result))
        try:
            progress.add(**converted.progress)
        except BaseException:
            adopted.discard_unpublished()
            raise
        self.worker_time.add(converted.busy_s, **converted.waited_s)
        return adopted


class AdoptedTask:
    """A task that a worker converted, as the driver's `StagedTask`."""

    def __init__(self, lake: Storage, converted: ConvertedTask) -> None:
        self.name = converted.name
        self.result = converted.result
        self._files = [lake.adopt(file) for file in converted.files]

    @property
    def files(self) -> Sequence[Publishable]:
        """See `StagedTask`."""
        return self._files

    def discard_unpublished(self) -> None:
        """See `StagedTask`."""
        for file in self._files:
            file.discard()


def remove_lost_attempts(lake: Storage, generation: int) -> None:
    """Remove what workers of this run wrote and could not hand over: they died, for example.

    What a worker writes after that is removed by the next run.
    """
    unfinished = lake.list_unfinished(STAGING, (*Table, "_flowconv"))
    lake.discard([file for file in unfinished if is_of_generation(file.path, generation)])


def require_no_credentials(options: ConvertOptions) -> None:
    """Check that no credentials would be sent to workers.

    Raises:
        UsageError: Some would be.
    """
    for flag, given in (
        ("--source-option", options.source_options),
        ("--dest-option", options.dest_options),
    ):
        for name, value in given.items():
            if name in _CREDENTIALS or redact(value) != value:
                raise UsageError(
                    f"{flag} {name}: credentials are not sent to the workers of an engine. Give "
                    "each machine its own, as AWS's tools do: a role, a profile, or the "
                    "environment."
                )
