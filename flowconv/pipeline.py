"""convert(): the stages in order."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self

from flowconv.engines import RunProgress, run_tasks
from flowconv.errors import UnreadableObjectError
from flowconv.fetching import AHEAD_OBJECTS, ObjectFetcher
from flowconv.fields import Table
from flowconv.formats import declared_format
from flowconv.lake import ensure_layout, note_extra_columns
from flowconv.listing import LogObject, list_objects
from flowconv.normalising import normalise
from flowconv.options import ConvertOptions
from flowconv.parsing import BlockParser, ParsedBlock, bad_line_error
from flowconv.partitioning import split_by_partition
from flowconv.planning import Task, plan_tasks
from flowconv.quarantine import QuarantineWriter
from flowconv.reading import LogBlock, read_blocks
from flowconv.report import ConvertReport, LineCounts, TaskResult
from flowconv.storage import Storage, open_storage
from flowconv.writing import TaskWriter


def convert(
    source: str,
    dest: str,
    options: ConvertOptions | None = None,
    *,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> ConvertReport:
    """Convert the flow logs below a prefix to partitioned Parquet.

    Args:
        source: A folder, an object, or an `s3://` URL of a bucket, a prefix or an object.
        dest: The lake: a folder or an `s3://` URL. Tables are written below `DEST/vpc/` and
            `DEST/tgw/`, everything else below `DEST/_flowconv/`.
        options: How; see `ConvertOptions`.
        on_progress: Called in this thread several times a second.

    Returns:
        What was read and written. Lines that do not fit and objects that cannot be read do not
        stop the run; they are in the report, and the lines also in the lake's quarantine.

    Raises:
        UsageError: Source or destination is none.
        StorageError: Source or destination does not answer, or the destination is full.
        ParseError: A line does not fit and `on_bad_line` is `fail`.
    """
    options = options or ConvertOptions()
    started = time.monotonic()
    with _Job(source, dest, options) as job:
        report = ConvertReport(job.source.root, job.lake.root)
        ensure_layout(job.lake, options)
        tasks = plan_tasks(job.list_objects(report.left_out), options)
        for done in run_tasks(tasks, job.run_task, options.tasks_at_once, on_progress):
            report.add(done)
    report.seconds = time.monotonic() - started
    return report


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """Objects of one account, region and day that a run would read.

    Attributes:
        account_id: As the keys say it; None if they do not.
        region: As the keys say it; None if they do not.
        day: As the keys say it; None if they do not.
        objects: Number of objects.
        size_bytes: Their size as they are stored.
        tasks: Number of tasks that would convert them, each writing a file or more.
    """

    account_id: str | None
    region: str | None
    day: date | None
    objects: int
    size_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would read and write.

    Attributes:
        source: What would be read.
        lake: Where it would be written.
        groups: What would be read, by account, region and day.
        left_out: Kind -> number, of objects that would not be read.
    """

    source: str
    lake: str
    groups: tuple[PlannedGroup, ...]
    left_out: Mapping[str, int]

    @property
    def objects(self) -> int:
        """Number of objects."""
        return sum(group.objects for group in self.groups)

    @property
    def size_bytes(self) -> int:
        """Size of the objects as they are stored."""
        return sum(group.size_bytes for group in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "source": self.source,
            "lake": self.lake,
            "objects": self.objects,
            "size_bytes": self.size_bytes,
            "left_out": dict(self.left_out),
            "groups": [
                asdict(group) | {"day": group.day and group.day.isoformat()}
                for group in self.groups
            ],
        }


def plan(source: str, dest: str, options: ConvertOptions | None = None) -> Plan:
    """Say what `convert` would read and write; nothing is written.

    Raises:
        UsageError: Source or destination is none.
        StorageError: The source does not answer.
    """
    options = options or ConvertOptions()
    left_out: Counter[str] = Counter()
    with _Job(source, dest, options) as job:
        tasks = plan_tasks(job.list_objects(left_out), options)
        by_group: dict[tuple[str, str, date], list[Task]] = {}
        for task in tasks:
            group = (task.account_id or "", task.region or "", task.day or date.min)
            by_group.setdefault(group, []).append(task)
        groups = tuple(
            PlannedGroup(
                same[0].account_id,
                same[0].region,
                same[0].day,
                sum(len(task.log_objects) for task in same),
                sum(task.size_bytes for task in same),
                len(same),
            )
            for _, same in sorted(by_group.items())
        )
        return Plan(job.source.root, job.lake.root, groups, left_out)


class _Job:
    """What the tasks of a run share."""

    def __init__(self, source: str, dest: str, options: ConvertOptions) -> None:
        self._options = options
        self._declared = declared_format(options.format) if options.format else None
        self.source = open_storage(source, options.source_options)
        self.lake = open_storage(dest, options.dest_options)
        self._requests: Executor | None = None
        if not self.source.is_local:
            self._requests = ThreadPoolExecutor(AHEAD_OBJECTS, "flowconv-fetch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._requests:
            self._requests.shutdown(cancel_futures=True)

    def list_objects(self, left_out: Counter[str]) -> Iterator[LogObject]:
        """List the source; the lake may lie within it and is left out."""
        options = self._options
        return list_objects(
            self.source,
            since=options.since,
            until=options.until,
            leave_out=self.lake.root,
            left_out=left_out,
        )

    def run_task(self, task: Task, progress: RunProgress) -> TaskResult:
        """Convert one task's objects and publish the files."""
        failures: dict[LogObject, UnreadableObjectError] = {}
        while True:
            attempt = _Attempt(task, self.lake, self._options)
            log_objects = [o for o in task.log_objects if o not in failures]
            try:
                self._convert(log_objects, attempt, failures, progress)
                return attempt.publish(failures)
            except UnreadableObjectError as error:
                # A large object failed after some of its rows were written: again, without it.
                attempt.discard()
                failures |= {o: error for o in log_objects if o.uri == error.uri}
            except BaseException:
                attempt.discard()
                raise

    def _convert(
        self,
        log_objects: Sequence[LogObject],
        attempt: "_Attempt",
        failures: dict[LogObject, UnreadableObjectError],
        progress: RunProgress,
    ) -> None:
        options = self._options
        fetcher = ObjectFetcher(
            self.source,
            self._requests,
            log_objects,
            on_piece=lambda size_bytes: progress.add(source_bytes=size_bytes),
        )
        parser = BlockParser(self._declared)
        try:
            for block in read_blocks(log_objects, fetcher.open, self._declared, failures):
                parsed = parser.parse(block)
                attempt.add(block, parsed)
                for batch in parsed.batches:
                    flows = normalise(batch, options.time_type)
                    for key, piece in split_by_partition(
                        flows, options.partition_by, options.account, options.region
                    ):
                        attempt.writer.write(key, piece)
                progress.add(
                    objects=sum(span.ends_object for span in block.spans),
                    rows=sum(batch.table.num_rows for batch in parsed.batches),
                    text_bytes=block.size,
                )
        finally:
            fetcher.close()


class _Attempt:
    """What one run through a task's objects has made so far."""

    def __init__(self, task: Task, lake: Storage, options: ConvertOptions) -> None:
        self._lake = lake
        self.writer = TaskWriter(lake, task.id, options)
        self._quarantine = QuarantineWriter(lake, task.id)
        self._fail_on_bad_line = options.on_bad_line == "fail"
        self._result = TaskResult(task.id)
        self._counts: dict[LogObject, LineCounts] = {}

    def add(self, block: LogBlock, parsed: ParsedBlock) -> None:
        """Count a block, and set its rejected lines aside.

        Raises:
            ParseError: There is one, and the run is to fail at the first.
        """
        if parsed.rejected and self._fail_on_bad_line:
            raise bad_line_error(parsed.rejected[0])
        self._quarantine.write(parsed.rejected)
        self._result.rejected.update(line.reason for line in parsed.rejected)
        self._result.text_bytes += block.size
        for batch in parsed.batches:
            self._result.unknown_fields.update(f.name for f in batch.format.unknown_fields)
        for log_object, counts in parsed.counts:
            self._counts[log_object] = self._counts.get(log_object, LineCounts()) + counts

    def publish(self, failures: Mapping[LogObject, UnreadableObjectError]) -> TaskResult:
        """Make the files visible."""
        staged = self.writer.close()
        self._quarantine.close()
        for file in staged:
            table, columns = Table(file.file.path.partition("/")[0]), file.file.columns
            note_extra_columns(self._lake, table, columns)
        for file in staged:
            file.sink.publish()
        if self._quarantine.sink:
            self._quarantine.sink.publish()
        result = self._result
        result.files = tuple(file.file for file in staged)
        result.counts = {o.uri: counts for o, counts in self._counts.items()}
        result.source_bytes = sum(o.size_bytes for o in self._counts)
        result.unreadable = {o.uri: error.reason for o, error in failures.items()}
        return result

    def discard(self) -> None:
        """Remove what was written and is not published."""
        self.writer.discard()
        self._quarantine.discard()
