"""One task: its objects read, parsed, normalised, partitioned, written, and committed at once."""

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TypeVar

import numpy as np

from flowconv.blocks.block import Block
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.shapes import Shape
from flowconv.conversion.freshness import Freshness
from flowconv.conversion.logged_interfaces import LoggedInterfaces
from flowconv.conversion.planning import Task
from flowconv.conversion.report import TaskResult, newest
from flowconv.errors import (
    FetchError,
    UnreadableObjectError,
)
from flowconv.events import log_event
from flowconv.lake.expired import Expired
from flowconv.lake.ledger_records import ConvertedObject, DataFile
from flowconv.lake.quarantine_writing import QuarantineWriter
from flowconv.lake.writing import Beside, StagedFile, TaskWriter
from flowconv.memory import Room
from flowconv.options import ConvertOptions
from flowconv.parquet.writing import ROW_GROUP_ROWS
from flowconv.rows.batch import ParsedBlock, bad_line_error
from flowconv.rows.extracting import extract
from flowconv.rows.normalising import normalise
from flowconv.rows.partitioning import find_partitions
from flowconv.running import RunProgress
from flowconv.source.fetching import ObjectFetcher
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source
from flowconv.storage.interface import HandedOver, Publishable, StagedSink, Storage

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

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function on a core as soon as one is idle, and return its result."""
        with self._idle:
            return self._threads.submit(function).result()

    def begin(self, function: Callable[[], None]) -> "Future[None] | None":
        """Begin a call on an idle core; None, and nothing is called, if none is idle."""
        if not self._idle.acquire(blocking=False):
            return None
        begun = self._threads.submit(function)
        begun.add_done_callback(lambda _: self._idle.release())
        return begun

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunRun:
    """What must be known of a run that has begun to convert its tasks; small, and picklable.

    Attributes:
        run_id: The run.
        generation: The number of its `begin`.
        expired: What has expired in the lake.
        options: Its options.
    """

    run_id: str
    generation: int
    expired: Expired
    options: ConvertOptions


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

    def convert(self, task: Task, progress: RunProgress) -> "Attempt":
        """Convert a task's objects to files that are complete, and not visible yet.

        The caller publishes or discards them; a failure leaves nothing behind.

        Raises:
            ParseError: A line does not fit, and `on_bad_line` is `fail`.
            StorageError: The lake does not answer, or is full.
            Stopped: The run is to end.
        """
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
        return ObjectFetcher(self._source, log_objects, attempt.add_source_bytes)

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


# Objects of these shapes name their fields.
_WITH_OWN_FIELDS = (Shape.HEADER, Shape.PARQUET, Shape.JSON_RECORDS)


class Attempt:
    """The files and counts of one pass over a task's objects: a `StagedTask` at its end."""

    def __init__(
        self,
        task: Task,
        lake: Storage,
        run: BegunRun,
        declared: DeclaredFormats,
        quarantine_room: Room,
        progress: RunProgress,
        beside: Beside,
    ) -> None:
        # No other run's files have such names, so a paused run can neither replace nor remove
        # the files of the run that took over.
        self.name = name = f"{task.id}-{run.generation}"
        options = run.options
        self.is_spoilt = False
        self.writer = TaskWriter(lake, name, options, progress.add, run.expired, beside)
        self._progress = progress
        self.task_id = task.id
        self._replacing = task.log_objects if task.replaces else ()
        self._with_rows = task.with_rows
        self._quarantine = QuarantineWriter(
            lake, name, options.quarantine_per_object, quarantine_room
        )
        self._options = options
        self.source_bytes: Counter[LogObject] = Counter()
        self._rejected: defaultdict[LogObject, Counter[str]] = defaultdict(Counter)
        self._unknown_fields: defaultdict[LogObject, set[str]] = defaultdict(set)
        self._left_out_columns: defaultdict[LogObject, set[str]] = defaultdict(set)
        self._unfit_log_groups: defaultdict[LogObject, Counter[str]] = defaultdict(Counter)
        self._freshness = Freshness()
        self._logged = LoggedInterfaces()
        self._text_bytes = 0
        self._left_out_log_groups: Counter[str] = Counter()
        self._left_out_of: LogObject | None = None
        self._left_out: Counter[str] = Counter()
        self._counts: dict[LogObject, LineCounts] = {}
        self._headers: defaultdict[LogObject, dict[str, None]] = defaultdict(dict)
        self._declared_names = {format_.names for format_ in declared.all}
        self._without_header: set[LogObject] = set()
        self._staged: list[StagedFile] = []
        self._files: list[DataFile] = []

    def add_source_bytes(self, log_object: LogObject, size_bytes: int) -> None:
        """Count what was fetched of an object.

        Raises:
            Stopped: The run is to end.
        """
        self.source_bytes[log_object] += size_bytes
        self._progress.add(source_bytes=size_bytes)

    def add(self, block: Block, parsed: ParsedBlock) -> None:
        """Write a block's rows, count its lines, and quarantine those that do not fit.

        Raises:
            ParseError: A line does not fit, and `on_bad_line` is `fail`.
        """
        options = self._options
        for batch in parsed.batches:
            self._logged.add_batch(batch)
            # A block of very short lines has millions of rows, and each row gets all columns.
            for piece in batch.pieces(ROW_GROUP_ROWS):
                flows = normalise(piece, options.time_type, with_source=options.with_source)
                self._freshness.add(flows.rows)
                partitions = find_partitions(
                    flows, options.partition_by, options.account, options.region
                )
                self.writer.write_all(partitions)
        if parsed.rejected and options.on_bad_line == "fail":
            raise bad_line_error(parsed.rejected[0])
        self._count(block, parsed)
        self._quarantine.write(parsed.rejected)
        for log_object in self._quarantine.held:
            if self._counts[log_object].rows:
                self._quarantine.keep(log_object)

    def _count(self, block: Block, parsed: ParsedBlock) -> None:
        self._text_bytes += block.text_bytes
        if self._declared_names and block.shape not in _WITH_OWN_FIELDS:
            self._without_header.update(block.log_objects)
        self._count_left_out(block)
        for batch in parsed.batches:
            unknown = [field.name for field in batch.format.unknown_fields]
            for log_object, rows in batch.sources:
                if unknown:
                    self._unknown_fields[log_object].update(unknown)
                if batch.format.left_out_columns:
                    self._left_out_columns[log_object].update(batch.format.left_out_columns)
                if rows:
                    self._headers[log_object][batch.format.names] = None
        for log_object, counts in parsed.counts:
            before = self._counts.get(log_object)
            self._counts[log_object] = counts if before is None else before + counts
            # An object without rows and without another header has the block's.
            if counts.header + counts.rejected and log_object not in self._headers:
                self._headers[log_object][block.format.names] = None
        if parsed.unfit_log_groups:
            self._unfit_log_groups[block.log_objects[0]].update(parsed.unfit_log_groups)
        for part in parsed.rejected.parts:
            for log_object, places in part.by_object():
                numbers = np.bincount(part.codes[places], minlength=len(part.reasons)).tolist()
                for (reason, _), number in zip(part.reasons, numbers, strict=True):
                    if number:
                        self._rejected[log_object][reason] += number

    def _count_left_out(self, block: Block) -> None:
        """Count the lines of log groups that are left out; the last object may be forgotten yet."""
        if not block.left_out:
            return
        (log_object,) = block.log_objects  # JSON alone has log groups.
        if log_object != self._left_out_of:
            self._left_out_log_groups.update(self._left_out)
            self._left_out_of, self._left_out = log_object, Counter()
        self._left_out.update(block.left_out)

    def forget(self, log_object: LogObject) -> None:
        """Drop the counts and quarantined lines of an object without rows."""
        self._quarantine.forget(log_object)
        if log_object == self._left_out_of:
            self._left_out = Counter()
        for counted in (
            self._counts,
            self._headers,
            self._rejected,
            self._unknown_fields,
            self._left_out_columns,
            self._unfit_log_groups,
        ):
            counted.pop(log_object, None)

    def close(self) -> None:
        """Finish the files; they are not visible yet."""
        self._staged = self.writer.close()
        self._files = [
            *(staged.file for staged in self._staged),
            *self.writer.expired_files(),
            *self._quarantine.close(),
        ]

    def shrunk(self) -> dict[LogObject, FetchError]:
        """Return what is to be replaced by less than there was.

        CloudWatch Logs removes old events; their rows must not go when the day is read again. Nor
        must those of an object that something emptied.
        """
        shrunk = {
            log_object: FetchError(
                f"{self.source_bytes[log_object]:,} bytes are left of {log_object.size_bytes:,} "
                "that were converted before; the log group keeps events for some time only. The "
                "rows of then are kept.",
                uri=log_object.uri,
            )
            for log_object in self._replacing
            if self.source_bytes[log_object] < log_object.size_bytes
        }
        return shrunk | {
            log_object: FetchError(
                "it has no record any more, and had some when it was converted. The rows of then "
                "are kept. Restore it, or take it away from SOURCE.",
                uri=log_object.uri,
            )
            for log_object in self._replacing
            if log_object.uri in self._with_rows
            and not (counts := self._counts.get(log_object, LineCounts())).rows + counts.rejected
        }

    def end(self, failures: Mapping[LogObject, UnreadableObjectError]) -> None:
        """Make the result, once the files are closed."""
        self.result = TaskResult(
            task_id=self.task_id,
            objects=tuple(
                self._converted(log_object, counts) for log_object, counts in self._counts.items()
            ),
            unreadable={
                log_object.uri: error.reason_with_line for log_object, error in failures.items()
            },
            rejected=sum(self._rejected.values(), Counter()),
            unknown_fields=frozenset(chain.from_iterable(self._unknown_fields.values())),
            left_out_columns=frozenset(chain.from_iterable(self._left_out_columns.values())),
            left_out_log_groups=self._left_out_log_groups + self._left_out,
            unfit_log_groups=sum(self._unfit_log_groups.values(), Counter()),
            text_bytes=self._text_bytes,
            files=tuple(self._files),
            newest_record=self._freshness.newest_record,
            newest_object=newest(*(log_object.time for log_object in self._counts)),
            skipdata=self._freshness.skipdata,
            logged=self._logged.logged(),
        )
        if self._replacing and failures:
            self.result = _with_old_rows(self.result, self._replacing, len(failures))

    def _converted(self, log_object: LogObject, counts: LineCounts) -> ConvertedObject:
        headers = tuple(self._headers[log_object])
        is_declared = log_object in self._without_header
        return ConvertedObject(
            uri=log_object.uri,
            size_bytes=self.source_bytes[log_object],
            etag=log_object.etag,
            day=log_object.day,
            counts=replace(counts, dropped=self._quarantine.dropped[log_object]),
            headers=headers,
            declared=tuple(filter(self._declared_names.__contains__, headers))
            if is_declared
            else (),
            flow_log_id=log_object.flow_log_id,
        )

    @property
    def files(self) -> Sequence[Publishable]:
        """The files."""
        return self._sinks()

    def hand_over(self) -> tuple[HandedOver, ...]:
        """Leave the files as they are, for the process that adopts them."""
        return tuple(sink.hand_over() for sink in self._sinks())

    def _sinks(self) -> list[StagedSink | QuarantineWriter]:
        rejected = [self._quarantine] if self._quarantine.has_file else []
        return [*(staged.sink for staged in self._staged), *rejected]

    def discard_unpublished(self) -> None:
        """Remove all files that are not published."""
        self.writer.discard()
        self._quarantine.discard()


def _with_old_rows(result: TaskResult, replacing: Sequence[LogObject], failures: int) -> TaskResult:
    """Keep the old rows of unreadable objects, and with them all rows in the same files."""
    reason = (
        f"cannot be converted again: {failures} objects that were converted with it cannot be "
        "read now. Its rows are the old ones."
    )
    unreadable = {
        **{log_object.uri: reason for log_object in replacing},
        **result.unreadable,
    }
    return replace(
        result,
        objects=(),
        files=(),
        rejected=Counter(),
        left_out_log_groups=Counter(),
        unfit_log_groups=Counter(),
        text_bytes=0,
        newest_record=None,
        newest_object=None,
        skipdata=0,
        logged={},
        unreadable=unreadable,
    )
