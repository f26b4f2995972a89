"""Stages 3c and 4, Parquet -> blocks of rows -> raw batches.

AWS's own delivery has the types of the table already, and `-` for text that is missing. Copies by
other tools have any: numbers as text, or as fractions since some were missing; accounts as numbers;
times as timestamps.
"""

import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from flowconv.blocks.block import BLOCK_BYTES, BlockReader, RowBlock
from flowconv.blocks.formats import LogFormat, can_be_name, columns_format, is_known
from flowconv.blocks.parquet_pages import (
    ColumnPages,
    check_footer,
    check_gaps,
    column_pages,
    read_footer,
    rows_at_once,
)
from flowconv.blocks.parquet_types import (
    Column,
    is_binary,
    is_plain,
    is_simple,
    is_text,
    one_by_one,
)
from flowconv.blocks.shapes import Shape
from flowconv.blocks.unpacking import Unpacked
from flowconv.errors import CorruptObjectError, FormatError, StorageError, quote
from flowconv.fields import TIME_COLUMNS
from flowconv.source.keys import LogObject

# AWS's files have at most 75 MB. Larger ones than this are kept on disk while they are read.
_SPOOL_BYTES = 32 << 20

_PIECE_BYTES = 1 << 20

# Columns with longer values in their dictionary are decoded to places in it even if the dictionary
# ends and values follow, where that takes two and a half times as long.
_LONG_ENTRY = 256

# Of large row groups, this much of a column is read at a time.
_STREAM_BYTES = 64 << 10

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
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
        _spool(data, file)
        try:
            yield from _read(log_object, file, data)
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


def _spool(data: Unpacked, file: IO[bytes]) -> None:
    """Copy an object to where it can be read in any order."""
    room = memoryview(bytearray(_PIECE_BYTES))
    while count := data.readinto(room):
        try:
            file.write(room[:count])
        except OSError as error:
            raise StorageError(
                "a Parquet object does not fit into the folder for temporary files, "
                f"{tempfile.gettempdir()} ({error.strerror}). Make room, or set TMPDIR to another."
            ) from error
    file.seek(0)


def _read(log_object: LogObject, file: IO[bytes], data: Unpacked) -> BlockReader:
    check_footer(file)
    parquet = pq.ParquetFile(file, page_checksum_verification=True)
    metadata = parquet.metadata
    chunks = read_footer(file, metadata.schema)
    check_gaps(file, chunks)
    format_, names = _recognise(parquet.schema_arrow)
    groups = list(column_pages(file, chunks, names))
    coded = _coded(groups)
    large = any(metadata.row_group(n).total_byte_size > BLOCK_BYTES for n in range(len(groups)))
    parquet = pq.ParquetFile(
        file,
        metadata=metadata,
        read_dictionary=sorted(coded),
        buffer_size=_STREAM_BYTES if large else 0,
        page_checksum_verification=True,
    )
    schema = parquet.schema_arrow
    coded = {name for name in coded if types.is_dictionary(schema.field(name).type)}
    # The last piece is marked as the end of the object, so each waits for the next.
    waiting, waiting_bytes = schema.empty_table().select(names), 0
    first_row = 1

    def block(*, ends_object: bool) -> RowBlock:
        return RowBlock(
            log_object=log_object,
            rows=waiting.rename_columns(list(format_.columns)),
            format=format_,
            first_row=first_row,
            ends_object=ends_object,
            text_bytes=waiting_bytes,
        )

    for number, columns in enumerate(groups):
        longest = _longest_value(parquet, number, columns)
        rows = rows_at_once(columns, _MOST_ROWS, coded, longest)
        for batch in parquet.iter_batches(rows, [number], columns=names, use_threads=False):
            batch.validate(full=True)
            for piece, size_bytes in _pieces(pa.Table.from_batches([batch]).select(names)):
                data.count(size_bytes)
                if waiting.num_rows:
                    yield block(ends_object=False)
                first_row += waiting.num_rows
                waiting, waiting_bytes = piece, size_bytes
    if (count := first_row - 1 + waiting.num_rows) != metadata.num_rows:
        raise pa.ArrowInvalid(f"it has {count} rows, and names {metadata.num_rows}")
    yield block(ends_object=True)


def _coded(groups: Sequence[Sequence[ColumnPages]]) -> set[str]:
    """Return the columns that are decoded to places in their dictionary.

    Thousands of rows may share one long value, and most share a short one: each is decoded once.
    """
    columns = [column for group in groups for column in group]
    long = {column.name for column in columns if column.longest_entry > _LONG_ENTRY}
    return long | ({c.name for c in columns} - {c.name for c in columns if not c.is_coded})


def _longest_value(parquet: pq.ParquetFile, number: int, columns: Sequence[ColumnPages]) -> int:
    """Return the length of the longest value of those that each begin as the one before.

    Nothing but decoding them tells.
    """
    longest = 0
    for column in columns:
        if not column.delta_page_bytes:
            continue
        rows = rows_at_once([column], _MOST_ROWS, ())
        for batch in parquet.iter_batches(rows, [number], columns=[column.name]):
            values: Any = one_by_one(batch.column(0))
            most = pc.max(pc.binary_length(values)).as_py()
            longest = max(longest, most or 0)
            if longest > BLOCK_BYTES:
                raise _row_too_long()
    return longest


def _pieces(rows: pa.Table) -> Iterator[tuple[pa.Table, int]]:
    """Cut rows so that those of a piece take no more than a block, once they lie one by one.

    Yields:
        Pieces, and how many bytes they take then.
    """
    size_bytes = sum(map(_size_one_by_one, rows.columns))
    if size_bytes <= BLOCK_BYTES:
        yield rows, size_bytes
        return
    lengths = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        lengths += _lengths(column)
    if lengths.size and lengths.max() > BLOCK_BYTES:
        raise _row_too_long()
    start = 0
    ends = np.cumsum(lengths)
    while start < rows.num_rows:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK_BYTES, "right")))
        yield rows.slice(start, stop - start), int(ends[stop - 1] - before)
        start = stop


def _size_one_by_one(column: Column) -> int:
    """Return how many bytes a column takes whose values lie one by one."""
    size = 0
    for chunk in column.chunks:
        if types.is_dictionary(chunk.type) and _has_length(chunk.dictionary.type):
            lengths: Any = pc.binary_length(chunk.dictionary).take(chunk.indices)
            size += 4 * len(chunk) + (pc.sum(lengths).as_py() or 0)
        else:
            size += chunk.nbytes
    return size


def _lengths(column: Column) -> Any:
    """Return how many bytes the values of a column take, each on its own."""
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


def _row_too_long() -> FormatError:
    return FormatError(
        f"a row of more than {BLOCK_BYTES >> 20} MiB is not a record of a flow log. "
        "Leave this object out with --exclude."
    )


def _recognise(schema: pa.Schema) -> tuple[LogFormat, list[str]]:
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
    return format_, names
