"""A column of a row group -> a chunk: its dictionary page and data pages, and their metadata."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from flowconv.kernel import pages
from flowconv.kernel.pages import ColumnPages, PageBuffer
from flowconv.parquet.columns import Column, dictionary_bytes, dictionary_width, longest_value
from flowconv.parquet.statistics import Bounds, column_index, overall, statistics
from flowconv.parquet.thrift import Struct, varint
from flowconv.parquet.types import ColumnType

# Readers that use the page index skip so many rows at a time, or so many bytes of long texts.
PAGE_ROWS = 20_000
PAGE_BYTES = 1 << 20

_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8

# Parquet's sizes of pages have 32 bits, with a sign.
_LARGEST_PAGE = (1 << 31) - 1

Compress = Callable[[memoryview], Any]
"""Returns compressed bytes, as a buffer."""


@dataclass(slots=True, kw_only=True)
class Chunk:
    """The bytes of a chunk, and what the footer says of it.

    Attributes:
        name: The column's name.
        type: How the column is stored.
        rows: Number of rows.
        nulls: How many of them have no value.
        parts: Headers and pages, one after the other.
        size_bytes: Of the parts.
        plain_bytes: The same before compression, headers included.
        dictionary_bytes: Size of the dictionary page, with its header; 0 without one.
        pages: For each data page its size with its header, its rows and nulls.
        bounds: Of each data page.
    """

    name: str
    type: ColumnType
    rows: int
    nulls: int
    parts: list[Any] = field(default_factory=list)
    size_bytes: int = 0
    plain_bytes: int = 0
    dictionary_bytes: int = 0
    pages: list[tuple[int, int, int]] = field(default_factory=list)
    bounds: list[Bounds] = field(default_factory=list)

    @property
    def encodings(self) -> list[int]:
        """Parquet's numbers of the encodings, that of levels included."""
        return [_PLAIN, _RLE, _RLE_DICTIONARY] if self.dictionary_bytes else [_PLAIN, _RLE]

    def encoding_stats(self) -> list[bytes]:
        """Return how many pages have which encoding: PageEncodingStats."""
        data = Struct().i32(1, _DATA_PAGE)
        data.i32(2, _RLE_DICTIONARY if self.dictionary_bytes else _PLAIN).i32(3, len(self.pages))
        if not self.dictionary_bytes:
            return [data.done()]
        dictionary = Struct().i32(1, _DICTIONARY_PAGE).i32(2, _PLAIN).i32(3, 1)
        return [dictionary.done(), data.done()]

    def statistics(self) -> bytes:
        """Return the chunk's Statistics."""
        return statistics(overall(self.bounds), self.nulls, self._width)

    def column_index(self) -> bytes:
        """Return what is in each page."""
        return column_index(self.bounds, [nulls for _, _, nulls in self.pages], self._width)

    def offset_index(self, start: int) -> bytes:
        """Return where each page is, if the chunk begins at `start`."""
        locations = []
        offset, row = start + self.dictionary_bytes, 0
        for size_bytes, rows, _ in self.pages:
            locations.append(Struct().i64(1, offset).i32(2, size_bytes).i64(3, row).done())
            offset += size_bytes
            row += rows
        return Struct().structs(1, locations).done()

    def append(self, header: bytes, page: Any, plain_bytes: int) -> int:
        """Add a page; returns its size with its header."""
        size_bytes = len(header) + len(page)
        self.parts += (header, page)
        self.size_bytes += size_bytes
        self.plain_bytes += len(header) + plain_bytes
        return size_bytes

    @property
    def _width(self) -> int:
        return 4 if self.type.physical == "int32" else 8


def encode_chunk(column: Column, compress: Compress, buffer: PageBuffer) -> Chunk:
    """Encode and compress a column.

    Raises:
        ValueError: A text is too long for a page.
    """
    longest = longest_value(column)
    if longest > _LARGEST_PAGE - PAGE_BYTES:
        raise ValueError(
            f"column {column.name}: a text has {longest - 4:,} bytes; a page of Parquet holds at "
            f"most {_LARGEST_PAGE - PAGE_BYTES:,}"
        )
    width = dictionary_width(column)
    encoder = ColumnPages(
        column.entries,
        column.numbers,
        column.type.physical,
        ranks=column.ranks,
        width=width,
        buffer=buffer,
    )
    chunk = Chunk(name=column.name, type=column.type, rows=len(column.numbers), nulls=column.nulls)
    if width:
        _append_dictionary(chunk, column, encoder, compress)
    for page, held in _data_pages(column, encoder, longest):
        packed = compress(page)
        header = _data_header(held.rows, len(page), packed, _RLE_DICTIONARY if width else _PLAIN)
        size_bytes = chunk.append(header, packed, len(page))
        chunk.pages.append((size_bytes, held.rows, held.nulls))
        chunk.bounds.append(Bounds.of_entries(column, held.least, held.greatest))
    return chunk


def null_page(rows: int) -> bytes:
    """Return the data page of rows without values: definition levels alone, one run of zeros."""
    levels = varint(rows << 1) + b"\0"
    return len(levels).to_bytes(4, "little") + levels


def null_chunk(name: str, kind: ColumnType, rows: int, page: bytes, packed: Any) -> Chunk:
    """Return the chunk of a column without values, the same as `encode_chunk` makes of it.

    Args:
        name: The column's name.
        kind: How it is stored.
        rows: Number of rows.
        page: Their `null_page`.
        packed: The same, compressed.
    """
    chunk = Chunk(name=name, type=kind, rows=rows, nulls=rows)
    size_bytes = chunk.append(_data_header(rows, len(page), packed, _PLAIN), packed, len(page))
    chunk.pages.append((size_bytes, rows, rows))
    chunk.bounds.append(Bounds(None, None))
    return chunk


def _data_pages(
    column: Column, encoder: ColumnPages, longest: int
) -> Iterator[tuple[memoryview, pages.DataPage]]:
    rows = len(column.numbers)
    # There is nothing to skip in a chunk of one value, or none.
    most_rows = rows if column.is_constant else min(rows, PAGE_ROWS)
    row = 0
    while row < rows:
        page, held = encoder.data_page(row, most_rows, PAGE_BYTES, longest)
        yield page, held
        row += held.rows


def _append_dictionary(
    chunk: Chunk, column: Column, encoder: ColumnPages, compress: Compress
) -> None:
    page = encoder.dictionary_page(dictionary_bytes(column))
    packed = compress(page)
    entries = Struct().i32(1, len(column.entries)).i32(2, _PLAIN).boolean(3, True).done()
    header = _header(_DICTIONARY_PAGE, len(page), packed).struct(7, entries).done()
    chunk.dictionary_bytes = chunk.append(header, packed, len(page))


def _data_header(rows: int, size_bytes: int, packed: Any, encoding: int) -> bytes:
    page = _data_page_header(rows, encoding)
    return _header(_DATA_PAGE, size_bytes, packed).struct(5, page).done()


@lru_cache(maxsize=256)
def _data_page_header(rows: int, encoding: int) -> bytes:
    """Nearly all pages have as many rows, so this is nearly always known."""
    return Struct().i32(1, rows).i32(2, encoding).i32(3, _RLE).i32(4, _RLE).done()


def _header(kind: int, size_bytes: int, packed: Any) -> Struct:
    """Begin a PageHeader, with the checksum of what lies in the file."""
    checksum = zlib.crc32(packed)
    signed = checksum - (1 << 32) if checksum >> 31 else checksum
    return Struct().i32(1, kind).i32(2, size_bytes).i32(3, len(packed)).i32(4, signed)
