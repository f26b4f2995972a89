"""Stages 3c and 4, Parquet -> blocks of rows.

1. `parquet_footer`: which columns there are, and where they lie.
2. `parquet_pages`: what their pages take in memory.
3. `parquet_native`: the pages -> tables, if they are as AWS's; else `parquet_foreign`.
"""

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from flowconv.blocks.block import BLOCK_BYTES, BlockReader, RowBlock
from flowconv.blocks.formats import LogFormat, can_be_name, columns_format, is_known
from flowconv.blocks.parquet_footer import Footer, check_footer, check_gaps, read_footer
from flowconv.blocks.parquet_native import can_decode, decode, native_schema
from flowconv.blocks.parquet_pages import ColumnPages, column_pages, row_too_long, rows_at_once
from flowconv.blocks.parquet_types import (
    Column,
    is_binary,
    is_plain,
    is_simple,
    is_text,
)
from flowconv.blocks.shapes import Shape
from flowconv.blocks.unpacking import Unpacked
from flowconv.errors import CorruptObjectError, FormatError, StorageError, quote
from flowconv.fields import TIME_COLUMNS
from flowconv.source.keys import LogObject

if TYPE_CHECKING:
    from flowconv.blocks.parquet_foreign import ForeignFile

# AWS's files have at most 75 MB. Larger ones than this are kept on disk while they are read.
_SPOOL_BYTES = 32 << 20

# Columns with longer values in their dictionary are decoded to places in it even if the dictionary
# ends and values follow, where that takes two and a half times as long.
_LONG_ENTRY = 256

# Half as many take a twentieth more time. Of AWS's records so many fit a block.
_MOST_ROWS = 32_768


def read_row_groups(log_object: LogObject, data: Unpacked) -> BlockReader:
    """Read an object of Parquet: its columns by their names, as a header's.

    Args:
        log_object: The object.
        data: Its bytes, from the beginning.

    Raises:
        UnreadableObjectError: The object could not be read, or is damaged; none of its columns is
            known, two are one field, or one has a type that its field cannot have.
        StorageError: The folder for temporary files is full.
    """
    buffer = _spool(data)
    try:
        yield from _read(log_object, buffer, data)
    except FormatError as error:
        error.uri, error.shape = log_object.uri, Shape.PARQUET
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        what = str(error).partition("\n")[0][:200]
        raise CorruptObjectError(
            f"the Parquet data is damaged or cannot be read ({what}). Nothing of this object "
            "was converted; copy it again.",
            uri=log_object.uri,
        ) from error


def _spool(data: Unpacked) -> pa.Buffer:
    """Return all of an object: in memory, or in a file if it is large, or larger than it seemed."""
    room = np.empty(min(data.likely_size + 1, _SPOOL_BYTES), np.uint8).data
    if (count := data.readinto(room)) < len(room):
        return pa.py_buffer(room[:count])
    try:
        with tempfile.TemporaryFile() as file:
            while count:
                file.write(room[:count])
                count = data.readinto(room)
            file.flush()
            return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise StorageError(
            "a Parquet object does not fit into the folder for temporary files, "
            f"{tempfile.gettempdir()} ({error.strerror}). Make room, or set TMPDIR to another."
        ) from error


def _read(log_object: LogObject, buffer: pa.Buffer, data: Unpacked) -> BlockReader:
    file: Any = pa.BufferReader(buffer)
    check_footer(file)
    footer = read_footer(file)
    check_gaps(file, footer.groups)
    schema = native_schema(footer)
    foreign: ForeignFile | None = None
    if schema is None:
        foreign = _foreign(buffer, footer)
        schema = foreign.schema
    format_, names = _recognise(schema)
    # The last piece is marked as the end of the object, so each waits for the next.
    waiting: RowBlock | None = None
    next_row = 1
    for table, table_bytes, is_native in _tables(buffer, footer, schema, foreign, names):
        for rows, size_bytes in _pieces(table.rename_columns(list(format_.columns)), table_bytes):
            data.count(size_bytes)
            if waiting is not None:
                yield waiting
            waiting = RowBlock(
                log_object=log_object,
                rows=rows,
                format=format_,
                first_row=next_row,
                ends_object=False,
                text_bytes=size_bytes,
                is_native=is_native,
            )
            next_row += rows.num_rows
    if waiting is None or next_row - 1 != footer.rows:
        raise ValueError(f"it has {next_row - 1} rows, and names {footer.rows}")
    yield waiting._replace(ends_object=True)


def _tables(
    buffer: pa.Buffer,
    footer: Footer,
    schema: pa.Schema,
    foreign: "ForeignFile | None",
    names: Sequence[str],
) -> Iterator[tuple[pa.Table, int, bool]]:
    """Yield some rows at a time, how many bytes they take one by one, and if they are native."""
    is_native = foreign is None
    if footer.rows == 0:
        yield schema.empty_table().select(names), 0, False
    view = memoryview(buffer)
    for number, group in enumerate(footer.groups):
        columns = column_pages(view, group, set(names))
        coded = _coded(columns)
        if is_native and can_decode(columns):
            rows = rows_at_once(columns, _MOST_ROWS, coded)
            for table, size_bytes in decode(view, group, columns, rows, coded):
                yield table, size_bytes, True
        else:
            foreign = foreign or _foreign(buffer, footer)
            for table, size_bytes in foreign.read(number, columns, _MOST_ROWS, coded):
                yield table, size_bytes, False


def _foreign(buffer: pa.Buffer, footer: Footer) -> "ForeignFile":
    # Here: AWS's own files are read without Arrow's reader.
    from flowconv.blocks.parquet_foreign import ForeignFile

    return ForeignFile(buffer, footer)


def _coded(columns: Sequence[ColumnPages]) -> set[str]:
    """Return the columns that are decoded to places in their dictionary.

    Thousands of rows may share one long value, and most share a short one: each is decoded once.
    """
    return {c.name for c in columns if c.is_coded or c.longest_entry > _LONG_ENTRY}


def _pieces(rows: pa.Table, size_bytes: int) -> Iterator[tuple[pa.Table, int]]:
    """Cut rows so that those of a piece take no more than a block, once they lie one by one.

    Yields:
        Pieces, and how many bytes they take then.
    """
    if size_bytes <= BLOCK_BYTES:
        yield rows, size_bytes
        return
    lengths = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        lengths += _lengths(column)
    if lengths.size and lengths.max() > BLOCK_BYTES:
        raise row_too_long()
    start = 0
    ends = np.cumsum(lengths)
    while start < rows.num_rows:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK_BYTES, "right")))
        yield rows.slice(start, stop - start), int(ends[stop - 1] - before)
        start = stop


def _lengths(column: Column) -> Any:
    """Return how many bytes the values of a column take, each on its own."""
    # Here: AWS's records are short, and Arrow's functions take long to import.
    import pyarrow.compute as pc

    parts = []
    for chunk in column.chunks:
        if types.is_dictionary(chunk.type) and _has_length(chunk.dictionary.type):
            values = pc.fill_null(pc.binary_length(chunk.dictionary), 0)
            part = pc.fill_null(pc.take(values, chunk.indices), 0)
        elif _has_length(chunk.type):
            part = pc.fill_null(pc.binary_length(chunk), 0)
        else:
            part = pa.array(np.full(len(chunk), -(-chunk.nbytes // max(len(chunk), 1))))
        parts.append(np.asarray(part.to_numpy(zero_copy_only=False), np.int64) + 8)
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _has_length(type_: Any) -> bool:
    return is_text(type_) or is_binary(type_)


# Thousands of objects have the same.
@lru_cache(maxsize=64)
def _recognise(schema: pa.Schema) -> tuple[LogFormat, tuple[str, ...]]:
    """Return the fields of a file, and the names of their columns.

    Raises:
        FormatError: No column is known, two are one field, or one cannot be its field.
    """
    names: list[str] = []
    left_out: list[str] = []
    for column in schema:
        may_be_field = can_be_name(column.name) and is_simple(column.type)
        read = is_known(column.name) or may_be_field
        (names if read else left_out).append(column.name)
    if both := set(names).intersection(left_out):
        raise FormatError(f"there are two columns {quote(min(both))}.")
    format_ = columns_format(names, left_out)
    for name, field in zip(names, format_.fields, strict=True):
        type_: Any = schema.field(name).type
        fits = is_plain(type_) or (types.is_timestamp(type_) and field.column in TIME_COLUMNS)
        if is_known(name) and not fits:
            raise FormatError(
                f"column {quote(name)} has the type {quote(str(type_))}, which {field.name} cannot "
                "have; numbers and text are read. Leave it out with --exclude."
            )
    return format_, tuple(names)
