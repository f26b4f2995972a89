"""Stage 4, blocks -> raw batches: columns as the log has them, and the lines that do not fit.

A clean block goes through one call of `pyarrow.csv`. Anything odd in it (other spacing, comments,
a line that does not fit, a header in the middle) sends the whole block a second, slower way that
finds out line by line what is what, still without a Python loop over the lines that are in order.
Both ways give the same rows; tests/test_parsing.py holds them against the reference.
"""

import codecs
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.blocks.block import Block, BlockEnd, LogBlock, RowBlock
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.fields import TEXT
from flowconv.rows.batch import ParsedBlock, RawBatch, RejectedLines
from flowconv.rows.casting import all_possible, far_times, in_milliseconds
from flowconv.rows.csv_lines import (
    csv_columns,
    empty_table,
    exported_events,
    header_like_rows,
    read_csv,
    rows_without_time,
)
from flowconv.rows.irregular import parse_irregular
from flowconv.rows.lines import has_hexadecimal
from flowconv.rows.parquet_columns import parse_rows


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

        The result does not depend on the block's buffer.

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
            parsed, self._expect_odd = parse_irregular(block, self._declared)
        return parsed


def _parse_clean(block: LogBlock) -> ParsedBlock | None:
    """Parse a block if every line of it is in plain order, else return None."""
    table = _read_clean(block)
    if table is None:
        return None
    spans = block.spans
    events = block.events or exported_events(table)
    table = table.select(list(block.format.columns))
    rows = [table.num_rows]
    if len(spans) > 1:
        text = np.frombuffer(block.buffer, np.uint8, block.size)
        rows = [int(np.count_nonzero(text[span.start : span.stop] == 10)) for span in spans]
        assert sum(rows) == table.num_rows
    end = BlockEnd(block.format, spans[-1].first_line + rows[-1])
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
    batch = RawBatch(format=block.format, table=table, sources=sources, lines=lines, events=events)
    return ParsedBlock(batches=(batch,), counts=counts, rejected=RejectedLines(), end=end)


def _read_clean(block: LogBlock) -> pa.Table | None:
    """Return the block's columns if every line of it is in plain order, else None.

    The first is that of the events' times, if they stand before the values.
    """
    text, size = block.buffer, block.size
    if size == 0:
        return empty_table(block.format.column_types)
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
        table = read_csv(view, csv_columns(block.format))
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return None
    if block.format.timestamped and rows_without_time(table).size:
        return None
    for field in block.format.fields:
        column = table[field.column]
        # Two spaces in a row and a missing value elsewhere leave an empty string behind.
        if field.type == TEXT:
            if pc.min(pc.binary_length(column)).as_py() == 0:
                return None
        elif not all_possible(column, field):
            return None
    return None if header_like_rows(block.format, table).size else table
