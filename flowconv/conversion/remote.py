"""Tasks on an engine: a worker writes a task's files, and the driver publishes and commits them.

What other attempts of a task leave behind has other names and was never visible; see `lake.remote`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from flowconv.conversion.begun_run import BegunRun
from flowconv.conversion.planning import Task
from flowconv.conversion.report import TaskResult
from flowconv.conversion.task import Cores, TaskConverter, WorkerTime
from flowconv.engines.engine import Remote
from flowconv.engines.workers import CutOffError, threads_of_worker, worker_name
from flowconv.lake.remote import LockWatch, Places, WatchedProgress
from flowconv.option_values import available_cores
from flowconv.running import RunProgress
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source
from flowconv.storage.interface import HandedOver, Publishable, Storage
from flowconv.storage.request_times import RequestTimes


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
        requests: Its requests since then, to the source and to the lake.
    """

    result: TaskResult
    name: str
    files: tuple[HandedOver, ...]
    progress: Mapping[str, int]
    busy_s: float
    waited_s: Mapping[str, float]
    retries: int
    requests: tuple[RequestTimes, RequestTimes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The work of a run.

    Attributes:
        places: The source and the lake.
        run: The run.
    """

    places: Places
    run: BegunRun

    @contextmanager
    def opened(self) -> Iterator["ConversionWorker"]:
        """See `engines.workers.Work`."""
        with (
            self.places.opened() as (lake, logs),
            closing(Cores(threads_of_worker() or available_cores())) as cores,
        ):
            assert logs
            yield ConversionWorker(logs, lake, self.run, cores)


class ConversionWorker:
    """Source and lake, open in a worker's process; shared by its threads."""

    def __init__(self, logs: Source, lake: Storage, run: BegunRun, cores: Cores) -> None:
        self._converter = TaskConverter(logs, lake, run, cores)
        self._storages = (logs, lake)
        self._lock = LockWatch(lake, run.run_id)
        self._mutex = threading.Lock()
        self._retries = 0
        self._told = (RequestTimes(), RequestTimes())

    def do(self, task: Task) -> ConvertedTask:
        """Convert a task; its files are left to the driver.

        Raises:
            CutOffError: The source answered no request for an object.
            ParseError: A line does not fit, and `on_bad_line` is `fail`.
            StorageError: The lake does not answer, or is full.
            LostLockError: The run has ended, or another has taken the lake over.
        """
        progress = WatchedProgress(total_objects=0, total_bytes=0, watch=self._lock.check)
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
            requests = self._requests()
        converted = ConvertedTask(
            result=_with_worker(attempt.result),
            name=attempt.name,
            files=files,
            progress={name: getattr(progress, name) for name in _COUNTED},
            busy_s=busy_s,
            waited_s=waited_s,
            retries=retries,
            requests=requests,
        )
        if converted.result.unanswered:
            raise CutOffError(next(iter(converted.result.unreadable.values())), converted)
        return converted

    def _requests(self) -> tuple[RequestTimes, RequestTimes]:
        """Return the requests since the last time, to the source and to the lake."""
        logs, lake = self._storages
        new = logs.times.since(self._told[0]), lake.times.since(self._told[1])
        for told, requests in zip(self._told, new, strict=True):
            told.include(requests)
        return new


def _with_worker(result: TaskResult) -> TaskResult:
    """Name the worker, where it is what failed."""
    if not result.unanswered:
        return result
    name = worker_name()
    reasons = {uri: f"the worker {name}: {reason}" for uri, reason in result.unreadable.items()}
    return result._replace(unreadable=reasons)


_COUNTED = ("total_bytes", "objects", "source_bytes", "rows", "text_bytes")


class RemoteConverter:
    """Converts the tasks of a run on an engine; shared by its threads.

    Args:
        remote: The run's work on the engine.
        lake: The lake.
        requests: Gets the requests of the workers, to the source and to the lake.
    """

    def __init__(
        self, remote: Remote, lake: Storage, requests: tuple[RequestTimes, RequestTimes]
    ) -> None:
        self._remote = remote
        self._lake = lake
        self.places = remote.places
        """Tells the number of tasks that may be under way at once."""
        self.worker_time = WorkerTime(remote.places())
        self._requests = requests
        self._mutex = threading.Lock()

    def prepare(self, log_object: LogObject) -> bool:  # noqa: ARG002
        """Do nothing, once: the workers fetch objects and handle rows."""
        return False

    def convert(self, task: Task, progress: RunProgress) -> "AdoptedTask":
        """Have a task converted; see `TaskConverter.convert`.

        Raises:
            EngineError: The engine failed, or a worker that has no access.
        """
        answer = self._remote.do(task, progress.add)
        converted: ConvertedTask = answer.result
        with self._mutex:
            for times, new in zip(self._requests, converted.requests, strict=True):
                times.include(new)
        result = converted.result._replace(worker=answer.worker, retries=converted.retries)
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
