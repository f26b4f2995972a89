"""What says where everything in a file lies: chunks, row groups, the page index, the footer.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from flowconv.kernel.pages import WrittenChunk
from flowconv.parquet.thrift import EMPTY, Struct, zigzag
from flowconv.parquet.types import schema_element

_VERSION = 2
_REQUIRED = 0

# Texts compare byte by byte, integers with their sign.
_ORDER_OF_TYPE = Struct().struct(1, EMPTY).done()

# ColumnChunk. Field 2, an i64, is required, but no longer used; 3 is a struct; then places in the
# file, i64, and sizes, i32, take turns.
_FIELD_2, _FIELD_3, _FIELDS_4_TO_7 = b"\x26\x00", b"\x1c", (b"\x16", b"\x15", b"\x16", b"\x15")


class RowGroup(NamedTuple):
    """A row group that is in the file.

    Attributes:
        start: Where its first page is.
        rows: Its rows.
        plain_bytes: Its size before compression.
        size_bytes: Its size.
        chunks: One for each column.
    """

    start: int
    rows: int
    plain_bytes: int
    size_bytes: int
    chunks: Sequence[WrittenChunk]


def end_of_file(
    schema: pa.Schema,
    row_groups: Sequence[RowGroup],
    sorting: Sequence[int],
    created_by: str,
    start: int,
    *,
    metadata: Mapping[str, str],
) -> bytes:
    """Return the page index and the footer, which end a file.

    Args:
        schema: The columns.
        row_groups: All row groups.
        sorting: The columns by which rows of a row group are sorted; nulls are the first.
        created_by: The writer's name and version.
        start: Where the page index begins.
        metadata: What the file says of itself, by name.
    """
    column_indexes = [chunk.column_index for group in row_groups for chunk in group.chunks]
    offset_indexes = [chunk.offset_index for group in row_groups for chunk in group.chunks]
    index = column_indexes + offset_indexes
    places = []
    for part in index:
        places.append((start, len(part)))
        start += len(part)
    groups = []
    for ordinal, group in enumerate(row_groups):
        first = ordinal * len(schema)
        chunks = [
            _column_chunk(chunk, places[place], places[place + len(column_indexes)])
            for place, chunk in enumerate(group.chunks, first)
        ]
        groups.append(_row_group(group, chunks, sorting, ordinal))
    footer = _file_metadata(schema, row_groups, groups, created_by, metadata)
    return b"".join(index) + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _column_chunk(
    chunk: WrittenChunk, column_index: tuple[int, int], offset_index: tuple[int, int]
) -> bytes:
    # As a Struct makes it, in a quarter of the time: a file has thousands of them.
    parts = [_FIELD_2, _FIELD_3, chunk.metadata]
    for field, number in zip(_FIELDS_4_TO_7, (*offset_index, *column_index), strict=True):
        parts += field, zigzag(number)
    parts.append(EMPTY)
    return b"".join(parts)


def _row_group(
    group: RowGroup, chunks: Sequence[bytes], sorting: Sequence[int], ordinal: int
) -> bytes:
    written = Struct().structs(1, chunks).i64(2, group.plain_bytes).i64(3, group.rows)
    if sorting:
        keys = [Struct().i32(1, key).boolean(2, False).boolean(3, True).done() for key in sorting]
        written.structs(4, keys)
    written.i64(5, group.start).i64(6, group.size_bytes)
    # The ordinal has 16 bits; without it, nothing is missing but to encryption.
    if ordinal < 1 << 15:
        written.i16(7, ordinal)
    return written.done()


def _file_metadata(
    schema: pa.Schema,
    row_groups: Sequence[RowGroup],
    groups: Sequence[bytes],
    created_by: str,
    metadata: Mapping[str, str],
) -> bytes:
    root = Struct().i32(3, _REQUIRED).binary(4, b"schema").i32(5, len(schema)).done()
    written = (
        Struct()
        .i32(1, _VERSION)
        .structs(2, [root, *(schema_element(field) for field in schema)])
        .i64(3, sum(group.rows for group in row_groups))
        .structs(4, groups)
    )
    if metadata:
        pairs = [
            Struct().binary(1, name.encode()).binary(2, value.encode()).done()
            for name, value in metadata.items()
        ]
        written.structs(5, pairs)
    return written.binary(6, created_by.encode()).structs(7, [_ORDER_OF_TYPE] * len(schema)).done()
