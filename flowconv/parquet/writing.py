"""The writer: tables -> a Parquet file, a row group at a time."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from flowconv.kernel import pages
from flowconv.kernel.pages import (
    NO_TEXTS,
    Batches,
    CompressedPages,
    Numbers,
    PageBuffer,
    WrittenChunk,
)
from flowconv.parquet.bloom import bloom_filter
from flowconv.parquet.chunks import encode_chunk, null_chunk, null_pages
from flowconv.parquet.columns import (
    Column,
    as_stored,
    choose_rows,
    rank,
    rank_if_useful,
    read_column,
)
from flowconv.parquet.compression import NUMBERS, Compression, compress_by
from flowconv.parquet.footer import RowGroup, end_of_file
from flowconv.parquet.types import ColumnType, column_type

# Each row group has its own statistics and dictionaries.
ROW_GROUP_ROWS = 128 << 10

_MAGIC = b"PAR1"

# Less than this waits for what follows: a row group of logs has 30 or more chunks, most of which
# are short, and each write takes 20 us.
_WRITTEN_AT_ONCE = 1 << 20


class Output(Protocol):
    """What a file is written to."""

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        """Write all bytes; they may change afterwards."""
        ...


class ParquetWriter:
    """Writes tables of one schema to a file.

    The same rows make the same bytes, whatever the layout of their columns. Each row group is
    written when it is given; what stays in memory is some kilobytes of metadata for each. For one
    thread.

    Args:
        file: What it writes to. It does not close it.
        schema: The columns. All may have nulls.
        compression: Of all pages.
        sort_by: Columns by which the rows of a row group are sorted, the most important one first;
            nulls come first, and rows with equal keys keep their order.
        is_sorted: The rows come in this order, as `sorted_order` gives it.
        bloom_filters: Columns of texts that get a Bloom filter.
        created_by: The program, such as `flowconv version 0.1.0`. Java's readers expect this form.

    Raises:
        TypeError: A column has a type that tables do not have, or a Bloom filter is not of texts.
        KeyError: There is no such column to sort by or to filter.
    """

    def __init__(
        self,
        file: Output,
        schema: pa.Schema,
        *,
        compression: Compression = "zstd",
        sort_by: Sequence[str] = (),
        is_sorted: bool = False,
        bloom_filters: Sequence[str] = (),
        created_by: str = "flowconv",
    ) -> None:
        self._file = file
        self._schema = schema
        self._names = schema.names
        self._codec = NUMBERS[compression]
        self._compress = compress_by(compression)
        self._sorting = [_place(schema, name) for name in sort_by]
        self._is_sorted = is_sorted
        self._filtered = {_place(schema, name) for name in bloom_filters}
        self._types = [column_type(field) for field in schema]
        _check_filters(schema, self._types, self._filtered)
        self._created_by = created_by
        self._buffer = PageBuffer()
        self._null_pages: dict[int, CompressedPages] = {}
        self._row_groups: list[RowGroup] = []
        self._unwritten = bytearray()
        self._read_as_is: pa.Schema | None = None
        self._size_bytes = 0
        self._metadata: dict[str, str] = {}
        self.is_open = True
        self._write(_MAGIC)

    def write_table(
        self, table: pa.Table | pa.RecordBatch, row_group_size: int = ROW_GROUP_ROWS
    ) -> None:
        """Write rows as one row group, or as several if there are more than `row_group_size`.

        Raises:
            ValueError: The table's columns are not those of the file, an array is damaged, or a
                text is too long.
        """
        for start in range(0, table.num_rows, row_group_size):
            self.write_row_group([table.slice(start, row_group_size)])

    def write_row_group(
        self, tables: Sequence[pa.Table | pa.RecordBatch], places: Numbers | None = None
    ) -> None:
        """Write rows as one row group; a column may have another layout in each table.

        Args:
            tables: The rows.
            places: Which of them, ascending, counted through all tables; None: all.

        Raises:
            ValueError: As `write_table`.
        """
        for table in tables:
            if table.schema.names != self._names:
                raise ValueError(
                    f"the table has the columns {', '.join(table.schema.names)}, but the file has "
                    f"{', '.join(self._names)}"
                )
        rows = sum(table.num_rows for table in tables) if places is None else len(places)
        if rows:
            self._write_row_group(tables, rows, places)

    def write_aside(self, data: bytes) -> int:
        """Write bytes that no reader looks at, since no footer has them; return their place."""
        place = self._size_bytes
        self._write(data)
        self._flush()
        return place

    def add_metadata(self, name: str, value: str) -> None:
        """Add what the footer will say."""
        self._metadata[name] = value

    def close(self) -> None:
        """Write the page index and the footer. Calling it again does nothing."""
        if not self.is_open:
            return
        self.is_open = False
        end = end_of_file(
            self._schema,
            self._row_groups,
            self._sorting,
            self._created_by,
            self._size_bytes,
            metadata=self._metadata,
        )
        self._write(end)
        self._flush()

    def _write_row_group(
        self, tables: Sequence[pa.Table | pa.RecordBatch], rows: int, places: Numbers | None
    ) -> None:
        start = self._size_bytes
        batches = Batches(map(self._as_stored, tables))
        nulls = batches.nulls()
        # A log lacks most of a table's columns: what has no value is neither read nor sorted.
        empty = {place for place in range(len(self._schema)) if nulls[place] == batches.rows}
        keys = {
            place: self._read(place, batches, places)
            for place in self._sorting
            if place not in empty and not self._is_sorted
        }
        order = _order_of(list(keys.values()))
        chunks: list[WrittenChunk] = []
        for place in range(len(self._schema)):
            if place in empty:
                chunk = self._write_nulls(place, rows)
            else:
                # Read here, not before the loop: one column at a time is in memory.
                column = keys.pop(place, None) or self._read(place, batches, places)
                if column.nulls == rows:
                    chunk = self._write_nulls(place, rows)
                else:
                    chunk = self._write_column(place, column, order)
            chunks.append(chunk)
        self._row_groups.append(
            RowGroup(
                start=start,
                rows=rows,
                plain_bytes=sum(chunk.plain_bytes for chunk in chunks),
                size_bytes=sum(chunk.size_bytes for chunk in chunks),
                chunks=chunks,
            )
        )
        self._flush()

    def _as_stored(self, table: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
        # Most tables have the schema of the one before.
        if self._read_as_is is not None and table.schema.equals(self._read_as_is):
            return table
        stored = as_stored(table, self._types)
        self._read_as_is = table.schema if stored is table else None
        return stored

    def _read(self, place: int, batches: Batches, places: Numbers | None) -> Column:
        column = read_column(self._names[place], self._types[place], batches, place)
        if places is not None:
            choose_rows(column, places)
        return column

    def _write_nulls(self, place: int, rows: int) -> WrittenChunk:
        """Write the chunk of a column without values."""
        # Columns and row groups of as many rows share a page.
        if rows not in self._null_pages:
            self._null_pages = {rows: null_pages(rows, self._compress)}
        bits = self._filter(place, NO_TEXTS)
        chunk, written = null_chunk(
            self._names[place],
            self._types[place],
            self._null_pages[rows],
            self._buffer,
            codec=self._codec,
            start=self._size_bytes,
            filter_bytes=len(bits),
        )
        self._write(written, bits)
        return chunk

    def _write_column(self, place: int, column: Column, order: Numbers | None) -> WrittenChunk:
        """Write a column's chunk, and its Bloom filter if it gets one."""
        rank_if_useful(column)
        if order is not None and not column.is_constant:
            column.numbers = pages.reorder(column.numbers, order)
        if place in self._filtered:
            rank(column, len(column.numbers))
        bits = self._filter(place, column.entries)
        chunk, written = encode_chunk(
            column,
            self._compress,
            self._buffer,
            codec=self._codec,
            start=self._size_bytes,
            filter_bytes=len(bits),
        )
        self._write(written, bits)
        return chunk

    def _filter(self, place: int, texts: Any) -> bytes:
        """Return the Bloom filter of a column's texts; empty if it gets none."""
        return bloom_filter(texts) if place in self._filtered else b""

    def _write(self, *parts: bytes | memoryview) -> None:
        for data in parts:
            self._size_bytes += len(data)
            if len(self._unwritten) + len(data) > _WRITTEN_AT_ONCE:
                self._flush()
            if len(data) > _WRITTEN_AT_ONCE:
                self._file.write(data)
            else:
                self._unwritten += data

    def _flush(self) -> None:
        """Write what waits."""
        if self._unwritten:
            self._file.write(self._unwritten)
            self._unwritten = bytearray()


def sorted_order(table: pa.Table, sort_by: Sequence[str]) -> Numbers:
    """Return the order of rows in which a writer with this `sort_by` writes them."""
    types = [column_type(field) for field in table.select(sort_by).schema]
    batches = Batches([as_stored(table.select(sort_by), types)])
    keys = [
        read_column(name, kind, batches, place)
        for place, (name, kind) in enumerate(zip(sort_by, types, strict=True))
    ]
    order = _order_of(keys)
    return np.arange(table.num_rows, dtype=np.uint32) if order is None else order


def _order_of(keys: Sequence[Column]) -> Numbers | None:
    """Return the order of rows by keys, the first being the most important; None without keys."""
    order: Numbers | None = None
    for key in reversed(keys):
        rank(key, len(key.numbers))
        order = pages.sort(key.numbers, len(key.entries), order)
    return order


def _place(schema: pa.Schema, name: str) -> int:
    place = schema.get_field_index(name)
    if place < 0:
        raise KeyError(f"there is no column {name}, or there are several")
    return place


def _check_filters(schema: pa.Schema, types: Sequence[ColumnType], filtered: set[int]) -> None:
    for place in filtered:
        if types[place].physical != "text":
            field = schema.field(place)
            raise TypeError(f"column {field.name}: {field.type} gets no Bloom filter, texts do")
