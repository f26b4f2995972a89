"""A column of a row group -> a chunk: its pages, compressed, and what is said of them."""

from functools import cache

from flowconv.kernel import pages
from flowconv.kernel.pages import (
    NO_INTEGERS,
    NO_NUMBERS,
    NO_TEXTS,
    NULL,
    ColumnPages,
    CompressedPages,
    DataPage,
    PageBuffer,
    PhysicalType,
    WrittenChunk,
)
from flowconv.parquet.columns import Column, dictionary_width
from flowconv.parquet.compression import Compress
from flowconv.parquet.thrift import varint
from flowconv.parquet.types import ColumnType

# Readers that use the page index skip so many rows at a time, or so many bytes of long texts.
PAGE_ROWS = 20_000
PAGE_BYTES = 1 << 20

# Parquet's sizes of pages have 32 bits, with a sign.
_LARGEST_PAGE = (1 << 31) - 1


def encode_chunk(
    column: Column,
    compress: Compress,
    buffer: PageBuffer,
    *,
    codec: int,
    start: int,
    filter_bytes: int = 0,
) -> tuple[WrittenChunk, memoryview]:
    """Encode and compress a column.

    Args:
        column: The column.
        compress: Compresses a page.
        buffer: Memory for pages and the chunk.
        codec: Parquet's number of the compression.
        start: Where the chunk begins in its file.
        filter_bytes: Size of the Bloom filter that stands right behind it; 0 without one.

    Returns:
        What is said of the chunk, and its bytes, which the next chunk overwrites.

    Raises:
        ValueError: A text is too long for a page.
    """
    size_bytes, longest = pages.entry_bytes(column.entries, column.type.physical)
    if longest > _LARGEST_PAGE - PAGE_BYTES:
        raise ValueError(
            f"column {column.name}: a text has {longest - 4:,} bytes; a page of Parquet holds at "
            f"most {_LARGEST_PAGE - PAGE_BYTES:,}"
        )
    width = dictionary_width(column, size_bytes)
    encoder = ColumnPages(
        column.entries, column.numbers, column.type.physical, ranks=column.ranks, width=width
    )
    made = CompressedPages(compress)
    if width:
        encoder.add_dictionary(size_bytes, made, buffer)
    rows = len(column.numbers)
    # There is nothing to skip in a chunk of one value, or none.
    most_rows = rows if column.is_constant else min(rows, PAGE_ROWS)
    encoder.add_data(most_rows, PAGE_BYTES, longest, made, buffer)
    return encoder.write_chunk(
        made,
        name=column.name.encode(),
        codec=codec,
        start=start,
        filter_bytes=filter_bytes,
        buffer=buffer,
    )


def null_pages(rows: int, compress: Compress) -> CompressedPages:
    """Return the page of rows without values: definition levels alone, one run of zeros."""
    levels = varint(rows << 1) + b"\0"
    page = len(levels).to_bytes(4, "little") + levels
    held = DataPage(size_bytes=len(page), rows=rows, nulls=rows, least=NULL, greatest=NULL)
    made = CompressedPages(compress)
    made.add(memoryview(page), held)
    return made


def null_chunk(
    name: str,
    kind: ColumnType,
    page: CompressedPages,
    buffer: PageBuffer,
    *,
    codec: int,
    start: int,
    filter_bytes: int = 0,
) -> tuple[WrittenChunk, memoryview]:
    """Make the chunk of a column without values, the same as `encode_chunk` makes of it.

    Args:
        name: The column's name.
        kind: How it is stored.
        page: The rows' `null_pages`.
        buffer: As `encode_chunk`.
        codec: As `encode_chunk`.
        start: As `encode_chunk`.
        filter_bytes: As `encode_chunk`.
    """
    return _no_values(kind.physical).write_chunk(
        page,
        name=name.encode(),
        codec=codec,
        start=start,
        filter_bytes=filter_bytes,
        buffer=buffer,
    )


# Half of all columns have no values.
@cache
def _no_values(physical: PhysicalType) -> ColumnPages:
    no_entries = NO_TEXTS if physical == "text" else NO_INTEGERS
    return ColumnPages(no_entries, NO_NUMBERS, physical, ranks=True, width=0)
