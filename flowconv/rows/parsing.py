"""Stage 4, blocks -> raw batches: columns as the log has them, and the lines that do not fit.

The native core reads the lines. What may be a header, or several records in one line, comes back as
a question, and is decided here.
"""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.blocks.block import BLOCK_BYTES, Block, BlockEnd, Events, LogBlock, RowBlock, Span
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.formats import (
    KNOWN_NAMES,
    MAX_FIELDS,
    LogFormat,
    may_be_header,
    split_line,
    squash,
)
from flowconv.blocks.shapes import find_header, is_timed
from flowconv.errors import FormatError
from flowconv.fields import TIME_COLUMNS
from flowconv.kernel.rows import REASONS, REJECTED, Appended, Column, RowBuilder
from flowconv.rows import glued_records
from flowconv.rows.batch import ParsedBlock, RawBatch, RejectedLines, RejectedPart
from flowconv.rows.far_times import far_times
from flowconv.rows.native_columns import parse_native_rows
from flowconv.rows.schema import field_type
from flowconv.source.keys import LogObject

# Concatenated logs change their fields now and then; an object that does so all the time is an
# attack, and would be parsed again at every change.
MAX_HEADER_CHANGES = 64

# Lines that do not fit take 32 bytes each while the text is read, so much of it at a time.
TEXT_BYTES = 1 << 20

# Up to this number, lines that do not fit are kept without the text between them.
_FEW_LINES = 4096

# Spaces before a header's first name are few.
_FIRST_BYTES = 16

# Behind the kernel's own reasons.
_ALL_REASONS = (*REASONS, "glued-records", "not-json")
_GLUED, _NOT_JSON = len(REASONS), len(REASONS) + 1

_Rejections = npt.NDArray[np.void]


class BlockParser:
    """Parses the blocks of one task. Not to be shared between threads.

    Args:
        declared: The formats of objects without a header.
        today: The day of the run, which tells what times are unlikely; None is today, in UTC.
    """

    def __init__(self, declared: DeclaredFormats, today: date | None = None) -> None:
        self._declared = declared.all
        self._builders = _Builders(
            KNOWN_NAMES
            | {squash(field.name) for format_ in declared.all for field in format_.fields}
        )
        self._today = today or datetime.now(UTC).date()

    def parse(self, block: Block) -> ParsedBlock:
        """Split a block into typed columns.

        The result does not depend on the block's buffer.

        Raises:
            FormatError: A header in the middle of the block is not a possible one.
        """
        if isinstance(block, RowBlock):
            parsed = _parse_rows(block)
        else:
            parsed = _LogBlockParser(block, self._declared, self._builders).parse()
        far = tuple(
            (log_object, LineCounts(far_times=rows))
            for batch in parsed.batches
            for log_object, rows in far_times(batch.table, batch.sources, self._today)
        )
        return parsed._replace(counts=parsed.counts + far) if far else parsed


def _parse_rows(block: RowBlock) -> ParsedBlock:
    if block.is_native and (parsed := parse_native_rows(block)):
        return parsed
    # Imported when there is such an object: that takes long.
    from flowconv.rows.parquet_columns import parse_rows

    return parse_rows(block)


class _LogBlockParser:
    """Parses one block of lines.

    Args:
        block: The block.
        declared: The formats of objects without a header.
        builders: Collect the rows.
    """

    def __init__(
        self, block: LogBlock, declared: frozenset[LogFormat], builders: "_Builders"
    ) -> None:
        self._block = block
        self._declared = declared
        self._builders = builders
        self._text = memoryview(block.buffer)[: block.size]
        self._section = _Section(block.format, builders.take(block.format))
        self._sections = [self._section]
        self._changes = 0
        self._rejected: list[RejectedPart] = []
        self._unkept: list[_Rejections] = []
        self._unkept_lines = 0
        # The object that is read, its next line, and its lines so far.
        self._place = 0
        self._line = 1
        self._counts = LineCounts()

    def parse(self) -> ParsedBlock:
        counts = []
        small, large = self._small_spans()
        appended: deque[Appended] = deque()
        for place, span in enumerate(self._block.spans):
            self._place, self._line, self._counts = place, span.first_line, span.head
            # The object before may have ended with other fields.
            self._change_format(self._block.format)
            if not appended and place not in large:
                behind = next((number for number in large if number > place), None)
                appended.extend(self._section.builder.append_parts(self._text, small[place:behind]))
            if self._block.damaged:
                self._read_damaged(span)
            else:
                self._read(span.start, span.stop, appended.popleft() if appended else None)
            self._end_object()
            counts.append((span.log_object, self._counts))
        return ParsedBlock(
            batches=tuple(self._batch(section) for section in self._sections),
            counts=tuple(counts),
            rejected=RejectedLines(self._rejected),
            end=BlockEnd(self._section.format, self._line),
        )

    def _batch(self, section: "_Section") -> RawBatch:
        batch = section.batch(self._block)
        self._builders.give_back(section.format, section.builder)
        return batch

    def _small_spans(self) -> tuple[npt.NDArray[np.int64], Sequence[int]]:
        """Return all spans as the builder takes them, and the places of those that it does not."""
        spans = self._block.spans
        parts = [(span.start, span.stop - span.start, span.first_line) for span in spans]
        if self._block.damaged:
            return np.empty((0, 3), np.int64), range(len(spans))
        # A block has room for few of these.
        large = [place for place, (_, size, _) in enumerate(parts) if size > TEXT_BYTES]
        return np.array(parts, np.int64), large

    def _read_damaged(self, span: Span) -> None:
        """Add the rows of lines that are messages of their JSON, and reject the others."""
        starts = _starts_of_lines(self._text[span.start : span.stop]) + span.start
        are_lines = ~np.isin(starts, self._block.damaged)
        changes = np.flatnonzero(np.diff(are_lines)) + 1
        edges = [*starts[[0, *changes]].tolist(), span.stop] if starts.size else []
        for start, stop in pairwise(edges):
            if are_lines[np.searchsorted(starts, start)]:
                self._read(start, stop)
            else:
                self._reject_damaged(start, stop)

    def _read(self, start: int, stop: int, found: Appended | None = None) -> None:
        """Add the rows of some lines; `found` is what became of the first, if they are added."""
        settled = False
        while start < stop:
            found = found or self._section.builder.append(
                self._text[start : self._end_of_lines(start, stop)],
                first_line=self._line,
                settled=settled,
            )
            self._section.rows += found.rows
            self._counts += LineCounts(
                blank=found.blank,
                comment=found.comment,
                rows=found.rows,
                milliseconds=found.milliseconds,
            )
            if len(found.rejected):
                found.rejected["offset"] += start
                self._reject(found.rejected)
            self._line += found.lines
            start += found.consumed
            settled = False
            if found.question:
                start, settled = self._answer(start, stop)
            found = None

    def _answer(self, start: int, stop: int) -> tuple[int, bool]:
        """Read lines that may be headers or several records.

        Returns:
            Where the first line is that is neither, and whether that is known of it.
        """
        while start < stop:
            behind = self._block.buffer.find(b"\n", start, stop) + 1
            if not self._decide(start, behind - 1):
                return start, True
            self._line += 1
            start = behind
            # A text of nothing but headers would take a call of the kernel for each.
            if not may_be_header(bytes(self._text[start : start + _FIRST_BYTES])):
                break
        return start, False

    def _end_of_lines(self, start: int, stop: int) -> int:
        """Return the end of about `TEXT_BYTES` of whole lines."""
        if stop - start <= TEXT_BYTES:
            return stop
        end = self._block.buffer.rfind(b"\n", start, start + TEXT_BYTES)
        if end < 0:
            end = self._block.buffer.find(b"\n", start, stop)
        return end + 1

    def _decide(self, start: int, end: int) -> bool:
        """Read a line that may be a header or several records; False if it is one like others."""
        line = bytes(self._text[start:end])
        split = split_line(line)
        format_ = self._section.format
        if split is None or not split.tokens:
            return False
        try:
            header = find_header(split.tokens, self._declared, timed=format_.timestamped)
        except FormatError as error:
            raise error.at(self._block.spans[self._place].log_object.uri, self._line) from None
        if header is not None:
            self._counts += LineCounts(header=1)
            self._change_fields(header)
            return True
        if format_.timestamped and not is_timed(split.tokens[0]):
            return False
        if len(split.tokens) - format_.timestamped < 2 * len(format_.fields) - 1:
            return False
        records = glued_records.divide(line.removesuffix(b"\r"), format_)
        if not records:
            return False
        self._add_glued(records, start, end)
        return True

    def _change_fields(self, format_: LogFormat) -> None:
        """Go on with the fields of a header.

        Raises:
            FormatError: They change too often.
        """
        if format_ == self._section.format:
            return
        log_object = self._block.spans[self._place].log_object
        if self._changes == MAX_HEADER_CHANGES:
            raise FormatError(
                f"the fields change for the {self._changes + 1}th time within "
                f"{BLOCK_BYTES >> 20} MiB. That is not a flow log; leave the object out with "
                "--exclude.",
                uri=log_object.uri,
                line=self._line,
            )
        self._changes += 1
        self._end_object()
        self._change_format(format_)

    def _change_format(self, format_: LogFormat) -> None:
        # To compare all fields takes longer, and mostly it is the same object.
        if format_ is not self._section.format and format_ != self._section.format:
            self._section = _Section(format_, self._builders.take(format_))
            self._sections.append(self._section)

    def _end_object(self) -> None:
        """Note what the section has of the object."""
        if self._unkept:
            self._keep_rejected()
        self._section.end_object(self._block.spans[self._place].log_object)

    def _reject(self, lines: _Rejections) -> None:
        """Note lines that do not fit; their offsets are the block's."""
        if len(lines):
            self._counts += LineCounts(rejected=len(lines))
            self._unkept.append(lines)
            self._unkept_lines += len(lines)
            if self._unkept_lines > _FEW_LINES:
                self._keep_rejected()

    def _keep_rejected(self) -> None:
        """Make the lines that do not fit a part of what is returned."""
        lines = np.concatenate(self._unkept)
        self._unkept, self._unkept_lines = [], 0
        log_object = self._block.spans[self._place].log_object
        part = _rejected_part(lines, self._text, log_object, self._section.format)
        self._rejected.append(part)

    def _add_glued(self, records: list[bytes], start: int, end: int) -> None:
        """Add the records of one line, or none of them if one does not fit."""
        builder = self._section.builder
        before = len(builder)
        milliseconds = 0
        for record in records:
            found = builder.append(record, first_line=self._line, settled=True)
            if not found.rows:
                builder.truncate(before)
                end -= self._text[end - 1] == ord("\r")
                lines = np.array([(self._line, start, end - start, _GLUED, -1, 0)], REJECTED)
                self._reject(lines)
                return
            milliseconds += found.milliseconds
        self._section.rows += len(records)
        self._counts += LineCounts(
            rows=len(records), split=len(records) - 1, milliseconds=milliseconds
        )

    def _reject_damaged(self, start: int, stop: int) -> None:
        text = self._text[start:stop]
        starts = _starts_of_lines(text)
        lines = np.zeros(len(starts), REJECTED)
        lines["line"] = np.arange(self._line, self._line + len(starts))
        lines["offset"] = starts + start
        lines["length"] = np.append(starts[1:], len(text)) - 1 - starts
        bytes_ = np.frombuffer(text, np.uint8)
        lines["length"] -= (lines["length"] > 0) & (bytes_[starts + lines["length"] - 1] == 13)
        lines["reason"], lines["field"] = _NOT_JSON, -1
        self._reject(lines)
        self._line += len(starts)


class _Builders:
    """Makes builders. The one of the last format is used again: it knows the texts of its rows.

    Args:
        names: Names of fields that show that a line is a header.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._spare: tuple[LogFormat, RowBuilder] | None = None

    def take(self, format_: LogFormat) -> RowBuilder:
        spare, self._spare = self._spare, None
        if spare is not None and spare[0] == format_:
            return spare[1]
        return RowBuilder(
            kernel_columns(format_),
            timestamped=format_.timestamped,
            names=self._names.union(squash(field.name) for field in format_.unknown_fields),
        )

    def give_back(self, format_: LogFormat, builder: RowBuilder) -> None:
        """Keep a builder that has no rows."""
        self._spare = format_, builder


class _Section:
    """The rows of lines that have the same fields.

    Attributes:
        rows: How many are of the object that is read; others may be there already.
    """

    def __init__(self, format_: LogFormat, builder: RowBuilder) -> None:
        self.format = format_
        self.builder = builder
        self.rows = 0
        self._sources: list[tuple[LogObject, int]] = []

    def end_object(self, log_object: LogObject) -> None:
        """Say of which object the rows since the last are."""
        self._sources.append((log_object, self.rows))
        self.rows = 0

    def batch(self, block: LogBlock) -> RawBatch:
        """Return the rows; nothing can be added any more."""
        rows = self.builder.take()
        events = block.events
        if events is not None:
            # Objects with events are in blocks of their own.
            events = events.take(rows.lines - block.spans[0].first_line)
        elif rows.times is not None and _lack_start(rows.batch):
            events = Events.of_times(rows.times)
        return RawBatch(
            format=self.format,
            table=pa.Table.from_batches([rows.batch]),
            sources=tuple(self._sources),
            lines=rows.lines,
            events=events,
        )


def _rejected_part(
    lines: _Rejections, text: memoryview, log_object: LogObject, format_: LogFormat
) -> RejectedPart:
    """Return lines of an object, with a copy of their text."""
    starts, lengths = lines["offset"], lines["length"]
    first = int(starts[0])
    if len(lines) > _FEW_LINES:
        starts = starts - first
        kept = bytes(text[first : first + int(starts[-1] + lengths[-1])])
    else:
        ends = (starts + lengths).tolist()
        kept = b"".join(text[i:j] for i, j in zip(starts.tolist(), ends, strict=True))
        starts = np.cumsum(lengths, dtype=np.int32) - lengths
    kinds, codes = np.unique(
        lines["reason"].astype(np.int64) * _FIELDS + lines["field"] + 1, return_inverse=True
    )

    def reason_of(kind: int) -> tuple[str, str | None]:
        reason, field = divmod(kind, _FIELDS)
        return _ALL_REASONS[reason], format_.fields[field - 1].name if field else None

    return RejectedPart(
        text=kept,
        starts=starts,
        ends=starts + lengths,
        numbers=lines["line"].copy(),
        log_objects=(log_object,),
        places=np.zeros(len(lines), np.int32),
        reasons=tuple(reason_of(kind) for kind in kinds.tolist()),
        codes=codes.astype(np.int16),
        format=format_,
    )


# Fields that a line can fail at, and none.
_FIELDS = MAX_FIELDS + 1


@lru_cache(maxsize=256)
def kernel_columns(format_: LogFormat) -> tuple[Column, ...]:
    """Return what each value of a line becomes."""
    return tuple(
        Column(
            name=field.column,
            type=field_type(field),
            largest=field.largest,
            is_time=field.column in TIME_COLUMNS and not field.is_text,
        )
        for field in format_.fields
    )


def _lack_start(rows: pa.RecordBatch) -> bool:
    """Tell whether the partition of a row may not be known by itself."""
    return "start" not in rows.schema.names or rows["start"].null_count > 0


def _starts_of_lines(text: memoryview) -> npt.NDArray[np.int64]:
    """Return the offset of each line."""
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return np.append(0, newlines[:-1] + 1) if newlines.size else newlines
