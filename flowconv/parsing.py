"""Stage 4, blocks -> raw batches: columns as the log has them, and the lines that do not fit.

A clean block goes through one call of `pyarrow.csv`. Anything odd in it (other spacing, comments,
a line that does not fit, a header in the middle) sends the whole block a second, slower way that
finds out line by line what is what, still without a Python loop over the lines that are in order.
Both ways give the same rows; tests/test_parsing.py holds them against the reference.
"""

import codecs
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from flowconv.batches import ParsedBlock, RawBatch, RejectedLines
from flowconv.blocks import BLOCK_BYTES, Block, Events, LogBlock, RowBlock, Span
from flowconv.casting import all_possible, far_times, in_milliseconds, typed
from flowconv.errors import FormatError
from flowconv.fields import TEXT
from flowconv.formats import (
    KNOWN_NAMES,
    DeclaredFormats,
    LogFormat,
    may_be_header,
    split_line,
    squash,
)
from flowconv.lines import Indexes, Lines, has_hexadecimal
from flowconv.report import LineCounts
from flowconv.rowgroups import parse_rows
from flowconv.shapes import EVENT_TIME, find_header, is_timed

# What pyarrow's CSV reader works on at a time; 256 KB to 2 MB are alike, 16 MB took half as long
# again (benchmarks/README.md, "parse").
_CSV_BLOCK_BYTES = 1 << 20

# A line that does not fit takes some 500 bytes while it is looked at. AWS's default records fill a
# block with two thirds as many.
MAX_ODD_LINES = 1 << 17

# Concatenated logs change their fields now and then; an object that does so all the time is an
# attack, and would be parsed again at every change.
MAX_HEADER_CHANGES = 64

# The column of what stands before the values of a CloudWatch export; no field's name has an @.
_TIME = "@timestamp"


class BlockParser:
    """Parses the blocks of one task; remembers whether the log is an odd one.

    Not to be shared between threads.

    Args:
        declared: The formats of objects without a header.
        today: The day of the run, which tells what times are unlikely; None is today, in UTC.
    """

    def __init__(self, declared: DeclaredFormats, today: date | None = None) -> None:
        self._declared = declared.all
        self._today = today or datetime.now(UTC).date()
        self._expect_odd = False

    def parse(self, block: Block) -> ParsedBlock:
        """Split a block into typed columns.

        Sets the block's `next_format`. The result does not depend on the block's buffer.

        Raises:
            FormatError: A header in the middle of the block is not a possible one.
        """
        parsed = self._parse(block)
        far = tuple(
            (log_object, LineCounts(far_times=rows))
            for batch in parsed.batches
            for log_object, rows in far_times(batch.table, batch.sources, self._today)
        )
        return replace(parsed, counts=parsed.counts + far) if far else parsed

    def _parse(self, block: Block) -> ParsedBlock:
        if isinstance(block, RowBlock):
            return parse_rows(block)
        parsed = None if self._expect_odd else _parse_clean(block)
        if parsed is None:
            parsed, self._expect_odd = _parse_odd(block, self._declared)
        return parsed


def _parse_clean(block: LogBlock) -> ParsedBlock | None:
    """Parse a block if every line of it is in plain order, else return None."""
    table = _read_clean(block)
    if table is None:
        return None
    spans = block.spans
    events = block.events or _exported(table)
    table = table.select(list(block.format.columns))
    rows = [table.num_rows]
    if len(spans) > 1:
        text = np.frombuffer(block.buffer, np.uint8, block.size)
        rows = [int(np.count_nonzero(text[span.start : span.stop] == 10)) for span in spans]
        assert sum(rows) == table.num_rows
    block.next_line = spans[-1].first_line + rows[-1]
    edges = np.cumsum([0, *rows])
    lines = np.arange(table.num_rows)
    for span, start, stop in zip(spans, edges[:-1], edges[1:], strict=True):
        lines[start:stop] += span.first_line - start
    milliseconds = np.diff(np.searchsorted(in_milliseconds(table), edges))
    counts = tuple(
        (span.log_object, span.head + LineCounts(rows=count, milliseconds=int(converted)))
        for span, count, converted in zip(spans, rows, milliseconds, strict=True)
    )
    sources = tuple((span.log_object, count) for span, count in zip(spans, rows, strict=True))
    batch = RawBatch(block.format, table, sources, lines, events)
    return ParsedBlock((batch,), counts, RejectedLines())


def _read_clean(block: LogBlock) -> pa.Table | None:
    """Return the block's columns if every line of it is in plain order, else None.

    The first is that of the events' times, if they stand before the values.
    """
    text, size = block.buffer, block.size
    if size == 0:
        return _empty_table(block.format.column_types)
    if block.damaged:
        return None
    # Tabs and hexadecimal numbers would pass as numbers; carriage returns would end lines.
    if any(text.find(byte, 0, size) >= 0 for byte in (b"\t", b"\r", b"#")):
        return None
    if has_hexadecimal(text, size):
        return None
    view = memoryview(text)[:size]
    try:
        if not text.isascii():
            # Arrow's own check would come too late for lines that it cannot split.
            codecs.utf_8_decode(view, "strict", True)
        table = _read_csv(view, _columns(block.format))
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return None
    if block.format.timestamped and _without_time(table).size:
        return None
    for field in block.format.fields:
        column = table[field.column]
        # Two spaces in a row and a missing value elsewhere leave an empty string behind.
        if field.type == TEXT:
            if pc.min(pc.binary_length(column)).as_py() == 0:
                return None
        elif not all_possible(column, field):
            return None
    return None if _header_like_rows(block.format, table).size else table


def _columns(format_: LogFormat, type_: pa.DataType | None = None) -> dict[str, pa.DataType]:
    """Return the columns of a log's lines, and their types or the one that all are to have."""
    types = {name: type_ or own for name, own in format_.column_types.items()}
    return {_TIME: TEXT, **types} if format_.timestamped else types


def _read_csv(
    text: memoryview | bytes,
    columns: dict[str, pa.DataType],
    misfits: list[csv.InvalidRow] | None = None,
    *,
    skip_blank: bool = False,
    longest_line: int = 0,
) -> pa.Table:
    """Split valid UTF-8; lines with another number of values go to `misfits`.

    Blank lines are such lines too, or, in logs of one field, an empty value.

    Raises:
        pyarrow.ArrowInvalid: There is such a line, and no place for it.
    """

    def skip(row: csv.InvalidRow) -> Literal["skip", "error"]:
        if misfits is None:
            return "error"
        misfits.append(row)
        return "skip"

    if text[:3] == codecs.BOM_UTF8:
        # Arrow drops one at the beginning. An object's own is cut off, so this is of a value.
        text = codecs.BOM_UTF8 + bytes(text)
    return csv.read_csv(
        pa.BufferReader(pa.py_buffer(text)),  # type: ignore[arg-type]
        # Workers run in parallel already; one thread also makes `InvalidRow.number` known.
        read_options=csv.ReadOptions(
            column_names=list(columns),
            use_threads=False,
            block_size=max(_CSV_BLOCK_BYTES, longest_line + 4),
        ),
        parse_options=csv.ParseOptions(
            delimiter=" ", quote_char=False, invalid_row_handler=skip, ignore_empty_lines=skip_blank
        ),
        convert_options=csv.ConvertOptions(
            column_types=columns, null_values=["-"], strings_can_be_null=True, check_utf8=False
        ),
    )


def _without_time(table: pa.Table) -> Indexes:
    """Return the rows that do not begin with the time of an event."""
    timed: Any = pc.match_substring_regex(table[_TIME], f"^{EVENT_TIME}$").fill_null(False)
    return np.flatnonzero(~timed.to_numpy())


def _exported(table: pa.Table) -> Events | None:
    """Return the events of an export's rows, if some of these have no start."""
    if _TIME not in table.column_names:
        return None
    if "start" in table.column_names and table["start"].null_count == 0:
        return None
    return Events.of_times(_event_times(table[_TIME]))


def _event_times(texts: "pa.ChunkedArray[Any]") -> Indexes:
    """Return times in milliseconds since 1970; -1 for null, and for days that never were."""
    try:
        times: Any = texts.cast(_EVENT_TIME)
    except pa.ArrowInvalid:
        coded: Any = texts.combine_chunks().dictionary_encode()
        distinct = [_event_time(text) for text in coded.dictionary]
        times = pa.chunked_array([pa.array(distinct, _EVENT_TIME).take(coded.indices)])
    filled: Any = times.cast(pa.int64()).fill_null(-1)
    known: Indexes = np.maximum(filled.to_numpy(), -1)
    return known


_EVENT_TIME = pa.timestamp("ms", tz="UTC")


def _event_time(text: "pa.StringScalar") -> Any:
    try:
        return text.cast(_EVENT_TIME)
    except pa.ArrowInvalid:
        return None


def _header_like_rows(format_: LogFormat, table: pa.Table) -> Indexes:
    """Return the rows that may be headers, of a log without a number that gives them away."""
    if any(field.type != TEXT for field in format_.fields):
        return np.empty(0, np.int64)
    known = pa.array(sorted(KNOWN_NAMES | {squash(field.name) for field in format_.fields}))
    count = np.zeros(table.num_rows, np.int64)
    for column in table.select(list(format_.columns)).columns:
        bare = pc.replace_substring_regex(pc.ascii_lower(column), "[-_${}]", "")
        count += pc.is_in(bare, known).to_numpy()
    return np.flatnonzero(2 * count >= len(format_.columns))


def _parse_odd(
    block: LogBlock, declared: frozenset[LogFormat], changes: int = 0
) -> tuple[ParsedBlock, bool]:
    """Parse a block whose lines may be anything; also say whether it was odd indeed."""
    text = np.frombuffer(block.buffer, np.uint8, block.size)
    if np.count_nonzero(text == 10) > MAX_ODD_LINES:
        return _parse_in_halves(block, declared, changes), True
    lines = Lines(block)
    lines.set_aside_undecodable()
    lines.strip_comments()
    table, line_of_row, glued = _split_odd(block, lines)

    suspects = {int(line_of_row[index]) for index in _header_like_rows(block.format, table)}
    if block.format.timestamped:
        for index in _without_time(table).tolist():
            lines.reject(int(line_of_row[index]), "not-a-timestamp")
    columns: dict[str, pa.ChunkedArray[Any]] = {}
    for field in block.format.fields:
        columns[field.column], bad = typed(table[field.column], field, strict=lines.hexadecimal)
        for index, reason in bad.items():
            line = int(line_of_row[index])
            if line in glued:
                lines.reject(line, "glued-records")
            else:
                lines.reject(line, reason, field.name)
    if block.format.timestamped:
        events = _exported(pa.table({_TIME: table[_TIME], **columns}))
    else:
        events = block.events and block.events.take(line_of_row)
    table = pa.table(columns)

    # A header in the middle cannot be a record, so it is among the lines that failed.
    headers: list[int] = []
    for index in sorted((suspects | lines.rejected.keys()) - lines.no_text):
        original = lines.original(index)
        timed = block.format.timestamped
        # Most lines that failed begin as records do.
        split = split_line(original) if timed or may_be_header(original) else None
        try:
            format_ = (
                find_header(split.tokens, declared, timed=timed) if split and split.tokens else None
            )
        except FormatError as error:
            error.uri, error.line = lines.place(index)
            raise
        if format_ is None:
            continue
        if format_ != block.format:
            return _parse_around_header(block, lines, index, format_, declared, changes), True
        lines.rejected.pop(index, None)
        headers.append(index)

    is_dropped = np.zeros(len(lines.ends), bool)
    is_dropped[[*lines.rejected, *headers]] = True
    dropped = is_dropped[line_of_row]
    if dropped.any():
        table = table.filter(pa.array(~dropped))
        line_of_row = line_of_row[~dropped]
        events = events and events.take(~dropped)
    counts = lines.count(line_of_row, headers, line_of_row[in_milliseconds(table)])
    sources = tuple((log_object, count.rows) for log_object, count in counts)
    block.next_line = lines.next_line
    odd = lines.odd or table.num_rows < len(lines.ends)
    batch = RawBatch(block.format, table, sources, lines.numbers(line_of_row), events)
    return ParsedBlock((batch,), counts, lines.rejected_lines()), odd


def _split_odd(block: LogBlock, lines: Lines) -> tuple[pa.Table, Indexes, frozenset[int]]:
    """Split lines into columns of text, and reject those with another number of values.

    Returns:
        The columns, the line of each row, and the lines that gave several rows.
    """
    columns = _columns(block.format, TEXT)
    squeezed, line_of_row = lines.squeeze()
    if not line_of_row.size:
        return _empty_table(columns), line_of_row, frozenset()
    misfits: list[csv.InvalidRow] = []
    table = _read_csv(squeezed, columns, misfits, skip_blank=True, longest_line=lines.longest)
    kept = np.ones(line_of_row.size, bool)
    glued: dict[int, list[bytes]] = {}
    for row in misfits:
        assert row.number is not None
        kept[row.number - 1] = False
        index = int(line_of_row[row.number - 1])
        if block.format.timestamped:
            time, *values = lines.values(index)
            if not is_timed(time):
                lines.reject(index, "not-a-timestamp")
                continue
            if not values:
                lines.count_blank(index)
                continue
        if row.actual_columns < row.expected_columns:
            lines.reject(index, "too-few-values")
        elif row.actual_columns < 2 * len(block.format.fields) - 1:
            lines.reject(index, "too-many-values")
        elif records := _unglue(lines.original(index), block.format):
            glued[index] = records
        else:
            lines.reject(index, "too-many-values")
    line_of_row = line_of_row[kept]
    if glued:
        text = b"".join(record for records in glued.values() for record in records)
        longest = max(map(len, chain.from_iterable(glued.values())))
        more = _read_csv(text, columns, misfits, longest_line=longest)
        line_of_more = np.repeat([*glued], [len(records) for records in glued.values()])
        line_of_row = np.concatenate((line_of_row, line_of_more))
        order = np.argsort(line_of_row, kind="stable")
        table = pa.concat_tables([table, more]).take(order)
        line_of_row = line_of_row[order]
    return table, line_of_row, frozenset(glued)


def _unglue(line: bytes, format_: LogFormat) -> list[bytes]:
    """Return the records of a line that has the values of several; none if they do not divide.

    Where only the newline between two is missing, the status of one and the first number of the
    next are one value, such as `OK2`. Records of text alone are not divided, since nothing would
    show that they fit. Nor is a line if one of them would be nothing but `-`, or of no status that
    AWS writes: then the format is short of fields, and what they hold is no record.
    """
    split = split_line(line)
    if split is None or all(field.type == TEXT for field in format_.fields):
        return []
    first, last = format_.fields[0], format_.fields[-1]
    may_touch = last.name == "log-status" and (first.type != TEXT or first.name == "account-id")
    names = [field.name for field in format_.fields]
    status = names.index("log-status") if "log-status" in names else None
    time = [*split.tokens[:1]] if format_.timestamped else []
    values = deque(split.tokens[len(time) :])
    records = []
    while len(values) >= len(format_.fields):
        record = [values.popleft() for _ in format_.fields]
        if may_touch and (joint := _JOINT.fullmatch(record[-1])):
            record[-1] = joint[1]
            values.appendleft(joint[2])
        if status is not None and record[status] not in _STATUSES:
            return []
        if all(value == b"-" for value in record):
            return []
        records.append(b" ".join([*time, *record]) + b"\n")
    return [] if values else records


_STATUSES = (b"OK", b"NODATA", b"SKIPDATA")
_JOINT = re.compile(rb"(OK|NODATA|SKIPDATA)([0-9]+)")


def _parse_around_header(
    block: LogBlock,
    lines: Lines,
    index: int,
    format_: LogFormat,
    declared: frozenset[LogFormat],
    changes: int,
) -> ParsedBlock:
    """Parse what stands before a header of other fields, the rest of its object, and the others."""
    uri, line = lines.place(index)
    if changes == MAX_HEADER_CHANGES:
        raise FormatError(
            f"the fields change for the {changes + 1}th time within {BLOCK_BYTES >> 20} MB. "
            "That is no flow log; leave the object out with --exclude.",
            uri=uri,
            line=line,
        )
    start, stop = int(lines.starts[index]), int(lines.ends[index]) + 1
    at = next(i for i, span in enumerate(block.spans) if span.start <= start < span.stop)
    span = block.spans[at]
    before = replace(span, stop=start, ends_object=False)
    after = Span(
        span.log_object,
        stop,
        span.stop,
        first_line=line + 1,
        head=LineCounts(header=1),
        ends_object=span.ends_object,
    )
    spans, others = (*block.spans[:at], before), block.spans[at + 1 :]
    return _parse_parts(block, spans, (after, format_), others, declared, changes + 1)


def _parse_in_halves(block: LogBlock, declared: frozenset[LogFormat], changes: int) -> ParsedBlock:
    """Parse a block of very short lines in two parts, to bound the memory that they take."""
    at, span = next((i, s) for i, s in enumerate(block.spans) if s.stop >= block.size // 2)
    middle = max(span.start, block.size // 2)
    newline = block.buffer.rfind(b"\n", span.start, middle)
    if newline < 0:  # A single line fills the first half.
        newline = block.buffer.find(b"\n", middle)
    # Its last line belongs to the first part, unless that would be all.
    cut = newline + 1 if newline + 1 < block.size else span.start
    first_line = span.first_line + block.buffer.count(b"\n", span.start, cut)
    before = replace(span, stop=cut, ends_object=False)
    after = replace(span, start=cut, first_line=first_line, head=LineCounts())
    spans, others = (*block.spans[:at], before), block.spans[at + 1 :]
    return _parse_parts(block, spans, (after, None), others, declared, changes)


def _parse_parts(
    block: LogBlock,
    before: tuple[Span, ...],
    after: tuple[Span, LogFormat | None],
    others: tuple[Span, ...],
    declared: frozenset[LogFormat],
    changes: int,
) -> ParsedBlock:
    """Parse a block up to some line, the rest of that line's object, and the other objects.

    The rest is read by a format of its own, or by the one that is in force after the first part.
    """
    first = _part(block, before, block.format)
    parsed = [_parse_odd(first, declared, changes)[0]]
    rest = _part(block, (after[0],), after[1] or first.next_format)
    parsed.append(_parse_odd(rest, declared, changes)[0])
    block.next_format, block.next_line = rest.next_format, rest.next_line
    if others:
        last = _part(block, others, block.format)
        parsed.append(_parse_odd(last, declared, changes)[0])
        block.next_format, block.next_line = last.next_format, last.next_line
    return ParsedBlock(
        tuple(batch for part in parsed for batch in part.batches),
        tuple(count for part in parsed for count in part.counts),
        RejectedLines([rejected for part in parsed for rejected in part.rejected.parts]),
    )


def _part(block: LogBlock, spans: tuple[Span, ...], format_: LogFormat) -> LogBlock:
    first, last = spans[0].start, spans[-1].stop
    moved = tuple(replace(s, start=s.start - first, stop=s.stop - first) for s in spans)
    text = bytes(memoryview(block.buffer)[first:last])
    damaged = tuple(start - first for start in block.damaged if first <= start < last)
    events = block.events
    if events is not None:
        line = block.buffer.count(b"\n", 0, first)
        events = events.take(slice(line, line + text.count(b"\n")))
    return LogBlock(text, len(text), block.shape, format_, moved, len(text), damaged, events)


def _empty_table(columns: Mapping[str, pa.DataType]) -> pa.Table:
    nulls: Any = pa.nulls
    return pa.table({name: nulls(0, type_) for name, type_ in columns.items()})
