"""One pass over a task's objects: rows to files, and the counts of its report."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from flowconv.blocks.block import Block
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.shapes import Shape
from flowconv.conversion.begun_run import BegunRun
from flowconv.conversion.freshness import Freshness
from flowconv.conversion.logged_interfaces import LoggedInterfaces
from flowconv.conversion.planning import Task
from flowconv.conversion.report import TaskResult, newest
from flowconv.errors import FetchError, UnreadableObjectError
from flowconv.lake.ledger_records import ConvertedObject, DataFile
from flowconv.lake.quarantine_writing import QuarantineWriter
from flowconv.lake.writing import Beside, StagedFile, TaskWriter
from flowconv.memory import Room
from flowconv.parquet.writing import ROW_GROUP_ROWS
from flowconv.rows.batch import ParsedBlock, RawBatch, bad_line_error
from flowconv.rows.joining import BatchJoiner
from flowconv.rows.normalising import normalise
from flowconv.rows.partitioning import find_partitions
from flowconv.running import RunProgress
from flowconv.source.keys import LogObject
from flowconv.storage.interface import HandedOver, Publishable, StagedSink, Storage

# Objects of these shapes name their fields.
_WITH_OWN_FIELDS = (Shape.HEADER, Shape.PARQUET, Shape.JSON_RECORDS)

# Of each object so many log groups that do not fit are recorded.
_MOST_UNFIT = 64


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
        self._joiner = BatchJoiner()
        self._text_bytes = 0
        self._left_out_log_groups: Counter[str] = Counter()
        self._left_out_of: LogObject | None = None
        self._left_out: Counter[str] = Counter()
        self._counts: dict[LogObject, LineCounts] = {}
        self._headers: defaultdict[LogObject, dict[str, None]] = defaultdict(dict)
        self._declared = declared
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
        for batch in parsed.batches:
            for joined in self._joiner.add(batch):
                self._write(joined)
        if parsed.rejected and self._options.on_bad_line == "fail":
            raise bad_line_error(parsed.rejected[0])
        self._count(block, parsed)
        self._quarantine.write(parsed.rejected)
        for log_object in self._quarantine.held:
            if self._counts[log_object].rows:
                self._quarantine.keep(log_object)

    def _write(self, batch: RawBatch) -> None:
        options = self._options
        self._logged.add_batch(batch)
        # A block of very short lines has millions of rows, and each row gets all columns.
        for piece in batch.pieces(ROW_GROUP_ROWS):
            flows = normalise(piece, options.time_type, with_source=options.with_source)
            self._freshness.add(flows.rows)
            partitions = find_partitions(
                flows, options.partition_by, options.account, options.region
            )
            self.writer.write_all(partitions)

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
        for batch in self._joiner.take():
            self._write(batch)
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
            unanswered=not self._counts and all(error.unanswered for error in failures.values()),
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
        if dropped := self._quarantine.dropped.get(log_object):
            counts = counts._replace(dropped=dropped)
        headers = tuple(self._headers[log_object])
        is_declared = log_object in self._without_header
        return ConvertedObject(
            uri=log_object.uri,
            size_bytes=self.source_bytes[log_object],
            etag=log_object.etag,
            day=log_object.day,
            counts=counts,
            headers=headers,
            declared=tuple(filter(self._declared_names.__contains__, headers))
            if is_declared
            else (),
            unfit=self._unfit(log_object) if log_object in self._unfit_log_groups else (),
            flow_log_id=log_object.flow_log_id,
        )

    def _unfit(self, log_object: LogObject) -> tuple[tuple[str, str], ...]:
        """Return the log groups of which no line fits, and the formats declared for them."""
        groups = sorted(self._unfit_log_groups[log_object])[:_MOST_UNFIT]
        formats = {
            group: self._declared.find(log_object.path, log_object.flow_log_id, group)
            for group in groups
        }
        return tuple((group, format_.names) for group, format_ in formats.items() if format_)

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
    return result._replace(
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
