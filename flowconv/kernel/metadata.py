"""Parquet's footers and page headers -> tuples: what `src/flowconv.h` declares."""

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from flowconv.kernel.library import Function, functions

# Headers that are read by one call: those of a column of AWS's files.
_HEADERS_AT_ONCE = 64


class SchemaPart(NamedTuple):
    """A column, or what has columns: they stand behind it.

    Attributes:
        name: Its name.
        type: Parquet's number; -1: it has columns.
        type_length: Bytes of a value, if all have the same.
        repetition: Parquet's number.
        children: How many columns it has.
        annotation: ConvertedType; -1: it has none.
        newer_annotation: The number of the member of LogicalType; 0: of none; -1: it has none.
    """

    name: bytes
    type: int
    type_length: int
    repetition: int
    children: int
    annotation: int
    newer_annotation: int


class RowGroupPart(NamedTuple):
    """Some rows.

    Attributes:
        rows: How many.
        size_bytes: What they take, not compressed.
        chunks: How many columns they have.
    """

    rows: int
    size_bytes: int
    chunks: int


class ChunkPlace(NamedTuple):
    """Where a column of a row group lies.

    Attributes:
        values: Their number, nulls included.
        start: Where its first data page begins in the file.
        dictionary_start: Where its dictionary begins; 0 if it has none.
        size_bytes: The length of its pages.
        codec: Parquet's number of their compression.
        is_encrypted: 1 if it is.
    """

    values: int
    start: int
    dictionary_start: int
    size_bytes: int
    codec: int
    is_encrypted: int


class FooterParts(NamedTuple):
    """What a footer says.

    Attributes:
        rows: How many the file has.
        schema: The columns; the first part has them all.
        groups: The row groups.
        chunks: Those of all groups, one behind another.
        pairs: What writers added, by name.
    """

    rows: int
    schema: tuple[SchemaPart, ...]
    groups: list[RowGroupPart]
    chunks: list[ChunkPlace]
    pairs: dict[bytes, bytes]


class PageHeader(NamedTuple):
    """A page, as its header describes it.

    Attributes:
        start: Where its bytes begin in the file, behind the header.
        kind: Parquet's number.
        packed_bytes: How many they are.
        size_bytes: The same, unpacked.
        values: Their number, nulls included; of a dictionary, its entries.
        encoding: How the values are written.
        levels: How it is written which rows have a value, in pages of version 1.
        has_checksum: 1 if it has one.
        checksum: The CRC-32 of its bytes.
    """

    start: int
    kind: int
    packed_bytes: int
    size_bytes: int
    values: int
    encoding: int
    levels: int
    has_checksum: int
    checksum: int


class _Footer(ctypes.Structure):
    _fields_ = (
        ("schema", ctypes.c_void_p),
        ("groups", ctypes.c_void_p),
        ("chunks", ctypes.c_void_p),
        ("pairs", ctypes.c_void_p),
        ("schema_count", ctypes.c_uint64),
        ("group_count", ctypes.c_uint64),
        ("chunk_count", ctypes.c_uint64),
        ("pair_count", ctypes.c_uint64),
        ("rows", ctypes.c_int64),
    )


# As they lie in memory.
_SCHEMA_PART = np.dtype("u4, u4, i4, i4, i4, i4, i4, i4")
_ROW_GROUP = np.dtype("i8, i8, u8")
_CHUNK_PLACE = np.dtype("i8, i8, i8, i8, i4, u4")
_PAIR = np.dtype("u4, u4, u4, u4")
_PAGE_HEADER = np.dtype("u8, i4, i4, i4, i4, i4, i4, u4, u4")


def read_footer(footer: bytes) -> FooterParts:
    """Read a footer.

    Raises:
        ValueError: It is damaged.
    """
    read = _library().fc_read_footer
    found = _Footer()
    address = ctypes.addressof(found)
    _check(read(footer, len(footer), address), "the footer is damaged")
    schema, groups, chunks, pairs = (
        np.empty(count, type_)
        for count, type_ in (
            (found.schema_count, _SCHEMA_PART),
            (found.group_count, _ROW_GROUP),
            (found.chunk_count, _CHUNK_PLACE),
            (found.pair_count, _PAIR),
        )
    )
    found.schema, found.groups, found.chunks, found.pairs = map(
        _address, (schema, groups, chunks, pairs)
    )
    _check(read(footer, len(footer), address), "the footer is damaged")
    return FooterParts(
        rows=found.rows,
        schema=tuple(
            SchemaPart(footer[name : name + name_bytes], *others)
            for name, name_bytes, *others in schema.tolist()
        ),
        groups=list(map(RowGroupPart._make, groups.tolist())),
        chunks=list(map(ChunkPlace._make, chunks.tolist())),
        pairs={
            footer[name : name + name_bytes]: footer[value : value + value_bytes]
            for name, name_bytes, value, value_bytes in pairs.tolist()
        },
    )


def read_page_headers(
    file: memoryview, start: int, stop: int, values: int
) -> Iterator[tuple[int, ...]]:
    """Read the headers of a column of a row group.

    Args:
        file: The file.
        start: Where the column's first page begins.
        stop: Where its last one ends.
        values: How many values its pages have.

    Yields:
        For each page what `PageHeader` has.

    Raises:
        ValueError: One is damaged, or leads beyond the column.
    """
    read = _library().fc_read_page_headers
    address = pa.py_buffer(file).address
    place, left = ctypes.c_uint64(start), ctypes.c_int64(values)
    headers = np.empty(_HEADERS_AT_ONCE, _PAGE_HEADER)
    places = ctypes.byref(place), stop, ctypes.byref(left)
    while left.value > 0:
        found = read(address, *places, _address(headers), _HEADERS_AT_ONCE)
        count = _check(found, "the header of a page is damaged")
        yield from headers[:count].tolist()


def _address(array: "np.ndarray[Any, Any]") -> int:
    return pa.py_buffer(array).address  # type: ignore[arg-type]


def _check(result: int, otherwise: str) -> int:
    if result < 0:
        raise ValueError(otherwise)
    return result


_ADDRESS, _U32, _U64, _I64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64

_FUNCTIONS = {
    "fc_read_footer": Function(_I64, (ctypes.c_char_p, _U64, _ADDRESS), keeps_lock=True),
    "fc_read_page_headers": Function(
        _I64, (_ADDRESS, _ADDRESS, _U64, _ADDRESS, _ADDRESS, _U32), keeps_lock=True
    ),
}


@cache
def _library() -> Any:
    """Return the functions that read metadata."""
    return functions(_FUNCTIONS)
