"""One task: its objects read, parsed, normalised, partitioned, written, and committed at once."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from flowconv.conversion.begun_run import BegunRun
from flowconv.conversion.planning import Task
from flowconv.errors import UnreadableObjectError
from flowconv.events import log_event
from flowconv.memory import Room
from flowconv.running import RunProgress
from flowconv.source.fetching import FirstObjects, ObjectFetcher
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source
from flowconv.storage.interface import Storage

if TYPE_CHECKING:
    from flowconv.conversion.attempt import Attempt

# For each core so many tasks may commit or wait for it while it goes on: to commit is to wait for
# disks and answers. Only the cores' own threads handle rows, since allocators keep memory for each
# thread.
BESIDE_EACH_CORE = 3


class WorkerTime:
    """What the threads that convert have spent their time on, in seconds; any thread adds to it.

    Args:
        workers: Their number.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._mutex = threading.Lock()
        self._began = time.perf_counter()
        self._busy_s = 0.0
        self._waited_s: Counter[str] = Counter()

    def add(self, busy_s: float, **waited_s: float) -> None:
        """Add what was spent on a task, and how much of it was waiting."""
        with self._mutex:
            self._busy_s += busy_s
            self._waited_s.update(waited_s)

    def take(self) -> tuple[float, Mapping[str, float]]:
        """Return what was added since the last time: what was spent, and what was waiting."""
        with self._mutex:
            taken = self._busy_s, dict(self._waited_s)
            self._busy_s = 0.0
            self._waited_s.clear()
        return taken

    def shares(self) -> dict[str, float]:
        """Return the shares of all time so far, as `ConvertReport.worker_time`."""
        all_s = self._workers * (time.perf_counter() - self._began)
        with self._mutex:
            seconds = {
                "working": self._busy_s - self._waited_s.total(),
                "source": self._waited_s["source"],
                "lake": self._waited_s["lake"],
                "tasks": all_s - self._busy_s,
            }
            if not self._busy_s:
                return {}
        return {what: round(max(0.0, spent / all_s), 3) for what, spent in seconds.items()}


_Result = TypeVar("_Result")


class Cores:
    """The threads that handle rows, one for each core that a run may use."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle = threading.Semaphore(count)
        self._threads = ThreadPoolExecutor(count, "flowconv-core")
        self._reading = ThreadPoolExecutor(count, "flowconv-reading")
        self._tasks = 0
        self._lock = threading.Lock()

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a task's function on a core as soon as one is idle, and return its result."""
        with self._idle:
            self._count(1)
            try:
                return self._threads.submit(function).result()
            finally:
                self._count(-1)

    def begin(self, function: Callable[[], None]) -> "Future[None] | None":
        """Begin a call on an idle core; None, and nothing is called, if none is idle."""
        if not self._idle.acquire(blocking=False):
            return None
        begun = self._threads.submit(function)
        begun.add_done_callback(lambda _: self._idle.release())
        return begun

    def begin_reading(self, function: Callable[[], _Result]) -> "Future[_Result] | None":
        """Begin a call if there are fewer tasks than cores; None, and nothing is called, if not.

        It has a thread of its own: a core that encodes is soon idle, and what is read is short.
        """
        return self._reading.submit(function) if self._tasks < self.count else None

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown()
        self._reading.shutdown()

    def _count(self, tasks: int) -> None:
        with self._lock:
            self._tasks += tasks


class TaskConverter:
    """Converts the tasks of a run; shared by its threads.

    Args:
        source: The source.
        lake: The lake.
        run: The run.
        cores: What handles rows.
    """

    def __init__(self, source: Source, lake: Storage, run: BegunRun, cores: Cores) -> None:
        self._source = source
        self._lake = lake
        self._run = run
        self._options = run.options
        self._declared = run.options.declared_formats()
        self._quarantine_room = Room(run.options.quarantine_per_run)
        self.worker_time = WorkerTime(cores.count)
        self.places = cores.count * (1 + BESIDE_EACH_CORE)
        """Number of tasks that may be under way at once."""
        self._cores = cores
        self._first = FirstObjects(source)

    def prepare(self, log_object: LogObject) -> bool:
        """Begin to fetch one of the first new objects; return whether to do so with the next.

        Behind the last of them import what handles rows: 0.1 s, in which the source answers. Runs
        often find nothing new.
        """
        if self._first.begin(log_object):
            return True
        import flowconv.conversion.attempt
        import flowconv.rows.extracting  # noqa: F401

        return False

    def close(self) -> None:
        """Forget what was begun; call it when no task is under way."""
        self._first.close()

    def convert(self, task: Task, progress: RunProgress) -> "Attempt":
        """Convert a task's objects to files that are complete, and not visible yet.

        The caller publishes or discards them; a failure leaves nothing behind.

        Raises:
            ParseError: A line does not fit, and `on_bad_line` is `fail`.
            StorageError: The lake does not answer, or is full.
            Stopped: The run is to end.
        """
        from flowconv.conversion.attempt import Attempt

        failures: dict[LogObject, UnreadableObjectError] = {}
        log_event(
            "task_began",
            run_id=self._run.run_id,
            task_id=task.id,
            objects=len(task.log_objects),
            source_bytes=task.size_bytes,
        )
        while True:
            attempt = Attempt(
                task,
                self._lake,
                self._run,
                self._declared,
                self._quarantine_room,
                progress,
                self._begin,
            )
            log_objects = [o for o in task.log_objects if o not in failures]
            try:
                with closing(self._fetcher(log_objects, attempt)) as fetcher:
                    # While the cores are busy with other tasks.
                    fetcher.begin()
                    self._cores.run(
                        partial(self._read, log_objects, fetcher, attempt, failures, progress)
                    )
                if not attempt.is_spoilt:
                    attempt.end(attempt.shrunk() | failures)
                    return attempt
            except BaseException:
                attempt.discard_unpublished()
                raise
            attempt.discard_unpublished()

    def _begin(self, encode: Callable[[], None]) -> "Future[None] | None":
        """Encode rows of a task on an idle core, if there is one."""

        def timed() -> None:
            began = time.perf_counter()
            encode()
            self.worker_time.add(time.perf_counter() - began)

        return self._cores.begin(timed)

    def _fetcher(self, log_objects: Sequence[LogObject], attempt: "Attempt") -> ObjectFetcher:
        return ObjectFetcher(self._source, log_objects, attempt.add_source_bytes, self._first)

    def _read(
        self,
        log_objects: Sequence[LogObject],
        fetcher: ObjectFetcher,
        attempt: "Attempt",
        failures: dict[LogObject, UnreadableObjectError],
        progress: RunProgress,
    ) -> None:
        """Write the objects' rows to complete files, which are not visible yet.

        A large object may fail after some of its rows were written. This spoils the attempt: the
        other objects are then only read, so the next attempt knows all objects that fail.
        """
        began = time.perf_counter()
        source_s = 0.0
        try:
            rest = self._read_on(log_objects, fetcher, attempt, failures, progress)
            while rest:
                # Some of them may have been opened before.
                with closing(self._fetcher(rest, attempt)) as again:
                    rest = self._read_on(rest, again, attempt, failures, progress)
                source_s += again.waited_s
            self._finish(log_objects, attempt, progress)
        finally:
            self.worker_time.add(
                time.perf_counter() - began - attempt.writer.idle_s,
                source=source_s + fetcher.waited_s,
                lake=attempt.writer.waited_s,
            )

    def _finish(
        self, log_objects: Sequence[LogObject], attempt: "Attempt", progress: RunProgress
    ) -> None:
        """Close the files, unless the attempt is spoilt."""
        # Sizes from CloudWatch Logs were estimates.
        estimate = sum(log_object.size_bytes for log_object in log_objects)
        progress.add(total_bytes=attempt.source_bytes.total() - estimate)
        if not attempt.is_spoilt:
            attempt.close()

    def _read_on(
        self,
        log_objects: Sequence[LogObject],
        fetcher: ObjectFetcher,
        attempt: "Attempt",
        failures: dict[LogObject, UnreadableObjectError],
        progress: RunProgress,
    ) -> Sequence[LogObject]:
        """Read objects up to one that spoils the attempt; return the objects after it."""
        from flowconv.rows.extracting import extract

        def on_failure(log_object: LogObject, error: UnreadableObjectError) -> None:
            failures[log_object] = error
            attempt.forget(log_object)

        try:
            for block, parsed in extract(
                log_objects,
                fetcher.open,
                self._declared,
                on_failure,
                max_object_bytes=self._options.max_object_size,
                begin_beside=self._cores.begin_reading,
            ):
                if not attempt.is_spoilt:
                    attempt.add(block, parsed)
                progress.add(
                    objects=len(block.ended),
                    rows=sum(batch.table.num_rows for batch in parsed.batches),
                    text_bytes=block.text_bytes,
                )
        except UnreadableObjectError as error:
            place = next((n for n, o in enumerate(log_objects) if o.uri == error.uri), None)
            if place is None:
                raise
            failures[log_objects[place]] = error.to_keep()
            attempt.is_spoilt = True
            log_event(
                "retry",
                level=logging.WARNING,
                run_id=self._run.run_id,
                task_id=attempt.task_id,
                uri=error.uri,
                reason=error.reason,
            )
            return log_objects[place + 1 :]
        return ()
