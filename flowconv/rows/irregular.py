"""Stage 4, the slow way: blocks with lines that are not in plain order, line by line."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from flowconv.blocks.block import BLOCK_BYTES, BlockEnd, LogBlock, Span
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.formats import LogFormat, may_be_header, split_line
from flowconv.blocks.shapes import find_header, is_timed
from flowconv.errors import FormatError
from flowconv.fields import TEXT
from flowconv.rows.batch import ParsedBlock, RawBatch
from flowconv.rows.casting import in_milliseconds, typed
from flowconv.rows.csv_lines import (
    TIME,
    csv_columns,
    empty_table,
    exported_events,
    header_like_rows,
    read_csv,
    rows_without_time,
)
from flowconv.rows.lines import Indexes, Lines

# A line that does not fit takes some 500 bytes while it is looked at. AWS's default records fill a
# block with two thirds as many.
MAX_ODD_LINES = 1 << 17

# Concatenated logs change their fields now and then; an object that does so all the time is an
# attack, and would be parsed again at every change.
MAX_HEADER_CHANGES = 64


def parse_irregular(
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

    suspects = {int(line_of_row[index]) for index in header_like_rows(block.format, table)}
    if block.format.timestamped:
        for index in rows_without_time(table).tolist():
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
        events = exported_events(pa.table({TIME: table[TIME], **columns}))
    else:
        events = block.events and block.events.take(line_of_row)
    table = pa.table(columns)

    # A header in the middle cannot be a record, so it is among the lines that failed.
    headers: list[int] = []
    for index, format_ in _headers(block, lines, suspects, declared):
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
    end = BlockEnd(block.format, lines.next_line)
    odd = lines.odd or table.num_rows < len(lines.ends)
    batch = RawBatch(
        format=block.format,
        table=table,
        sources=sources,
        lines=lines.numbers(line_of_row),
        events=events,
    )
    rejected = lines.rejected_lines()
    return ParsedBlock(batches=(batch,), counts=counts, rejected=rejected, end=end), odd


def _headers(
    block: LogBlock, lines: Lines, suspects: set[int], declared: frozenset[LogFormat]
) -> Iterator[tuple[int, LogFormat]]:
    """Give the headers among the lines that failed and the suspects, in their order."""
    timed = block.format.timestamped
    for index in sorted((suspects | lines.rejected.keys()) - lines.no_text):
        original = lines.original(index)
        # Most lines that failed begin as records do.
        split = split_line(original) if timed or may_be_header(original) else None
        if not split or not split.tokens:
            continue
        try:
            format_ = find_header(split.tokens, declared, timed=timed)
        except FormatError as error:
            raise error.at(*lines.place(index)) from None
        if format_ is not None:
            yield index, format_


def _split_odd(block: LogBlock, lines: Lines) -> tuple[pa.Table, Indexes, frozenset[int]]:
    """Split lines into columns of text, and reject those with another number of values.

    Returns:
        The columns, the line of each row, and the lines that gave several rows.
    """
    columns = csv_columns(block.format, TEXT)
    squeezed, line_of_row = lines.squeeze()
    if not line_of_row.size:
        return empty_table(columns), line_of_row, frozenset()
    misfits: list[csv.InvalidRow] = []
    table = read_csv(squeezed, columns, misfits, skip_blank=True, longest_line=lines.longest)
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
        more = read_csv(text, columns, misfits, longest_line=longest)
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
    AWS writes: then the format lacks fields.
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
            "That is not a flow log; leave the object out with --exclude.",
            uri=uri,
            line=line,
        )
    start, stop = int(lines.starts[index]), int(lines.ends[index]) + 1
    at = next(i for i, span in enumerate(block.spans) if span.start <= start < span.stop)
    span = block.spans[at]
    before = replace(span, stop=start, ends_object=False)
    after = Span(
        log_object=span.log_object,
        start=stop,
        stop=span.stop,
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
    parsed = [parse_irregular(first, declared, changes)[0]]
    rest = _part(block, (after[0],), after[1] or parsed[0].end.format)
    parsed.append(parse_irregular(rest, declared, changes)[0])
    if others:
        last = _part(block, others, block.format)
        parsed.append(parse_irregular(last, declared, changes)[0])
    return ParsedBlock.joined(parsed, parsed[-1].end)


def _part(block: LogBlock, spans: tuple[Span, ...], format_: LogFormat) -> LogBlock:
    first, last = spans[0].start, spans[-1].stop
    moved = tuple(replace(s, start=s.start - first, stop=s.stop - first) for s in spans)
    text = bytes(memoryview(block.buffer)[first:last])
    damaged = tuple(start - first for start in block.damaged if first <= start < last)
    events = block.events
    if events is not None:
        line = block.buffer.count(b"\n", 0, first)
        events = events.take(slice(line, line + text.count(b"\n")))
    return LogBlock(
        buffer=text,
        size=len(text),
        shape=block.shape,
        format=format_,
        spans=moved,
        text_bytes=len(text),
        damaged=damaged,
        events=events,
    )
