"""Of stage 3c: what Parquet's pages take in memory, known before any of them is unpacked.

A page of a few bytes may unpack to gigabytes, and a footer may lie. What pages themselves say
cannot lie, as the decoder goes by it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from flowconv.blocks.block import BLOCK_BYTES
from flowconv.blocks.parquet_footer import Chunk, ParquetColumn, RowGroup
from flowconv.errors import FormatError
from flowconv.kernel.decoding import Bytes, longest_text
from flowconv.kernel.metadata import PageHeader, read_page_headers

# isal unpacks pages in half of zlib's time.
_zlib: Any = import_module("isal.isal_zlib" if find_spec("isal") else "zlib")
_GZIP_OR_ZLIB = 47

# Of all columns together: one page of each, its dictionary, and what they take when unpacked.
# Writers make pages of 1 MiB, dictionaries too.
_PAGES_BYTES = 160 << 20

# Rows that are decoded at once take so much, pages aside.
_ROWS_BYTES = 16 << 20

# Dictionaries of more are not looked into; writers end them at 1 MiB.
_LARGE_DICTIONARY = 4 << 20

# Of a row group, this many are kept in mind: a thousand columns' of a million rows.
_MOST_PAGES = 65_536

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA_LENGTH, _DELTA_TEXT, _RLE_DICTIONARY = 0, 2, 3, 6, 7, 8
# Whose unpacked size is found out: what is said of it may be wrong.
_EXACT_CODECS = ("uncompressed", "snappy", "gzip", "zstd")
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}


class Page(PageHeader):
    """A page, and what it is."""

    __slots__ = ()

    @property
    def is_dictionary(self) -> bool:
        """It has the entries of the dictionary."""
        return self.kind == _DICTIONARY

    @property
    def has_places(self) -> bool:
        """It has, for each value, its place in the dictionary."""
        return not self.is_dictionary and self.encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY)

    def is_plain(self, *, may_be_null: bool) -> bool:
        """Tell whether it is of the kinds that most writers make, and that the core reads.

        Without nulls there are no levels, whatever is said of them.
        """
        if self.is_dictionary:
            return self.encoding in (_PLAIN, _PLAIN_DICTIONARY)
        return (
            self.kind == _DATA
            and (self.encoding == _PLAIN or self.has_places)
            and (self.levels == _RLE or not may_be_null)
        )


@dataclass(slots=True, kw_only=True)
class ColumnPages:
    """The most that a column of a row group takes.

    Attributes:
        column: The column.
        is_text: Its values are as long as each says.
        page_bytes: A page, packed and unpacked.
        row_bytes: A row of it, pages aside, that lies one by one.
        longest_entry: The longest value in its dictionary, or a number that is not less.
        delta_page_bytes: The largest page whose values each begin as the one before; a value may
            be as long as it. 0 without one.
        is_coded: Its values are text, and all of them stand in its dictionary.
        entries: The page of its dictionary, unpacked, if its values are text.
        pages: Its pages, if all are plain; else none.
    """

    column: ParquetColumn
    is_text: bool
    page_bytes: int = 0
    row_bytes: float = 0
    longest_entry: int = 0
    delta_page_bytes: int = 0
    is_coded: bool = False
    entries: Bytes | None = None
    pages: list[Page] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name


def column_pages(data: memoryview, group: RowGroup, names: Collection[str]) -> list[ColumnPages]:
    """Read what the pages of some columns of a row group take.

    Args:
        data: The file.
        group: What its footer says.
        names: The columns, none of them nested.

    Raises:
        FormatError: The pages are too large.
        ValueError: The file is damaged.
    """
    columns: list[ColumnPages] = []
    pages = together = 0
    for chunk in group.chunks:
        if chunk.column.name not in names:
            continue
        column = _read_chunk(data, chunk, _MOST_PAGES - pages)
        columns.append(column)
        pages += len(column.pages)
        together += column.page_bytes
        if together > _PAGES_BYTES:
            column.entries = None
    if together > _PAGES_BYTES:
        largest = max(columns, key=lambda column: column.page_bytes)
        raise FormatError(
            f"the pages of this Parquet unpack to {together:,} bytes a row group, those of one "
            f"column to {largest.page_bytes:,}; at most {_PAGES_BYTES:,} are read. If it is "
            "not a bomb, write it with pages of 1 MiB, as most writers do."
        )
    return columns


def row_too_long() -> FormatError:
    """Return what is said of a row that no block has room for."""
    return FormatError(
        f"a row of more than {BLOCK_BYTES >> 20} MiB is not a record of a flow log. "
        "Leave this object out with --exclude."
    )


def unpack(data: memoryview, page: Page, codec: str) -> Bytes:
    """Return a page's bytes, unpacked.

    Raises:
        ArrowException, OSError, ValueError: It is damaged.
    """
    packed = data[page.start : page.start + page.packed_bytes]
    if page.has_checksum and _zlib.crc32(packed) != page.checksum:
        raise ValueError("a page has another checksum than its bytes")
    unpacked = _unpacked(packed, codec, page.size_bytes)
    if len(unpacked) != page.size_bytes:
        raise ValueError(f"a page has {len(unpacked)} bytes, and says {page.size_bytes}")
    return unpacked


def _unpacked(packed: memoryview, codec: str, size_bytes: int) -> Bytes:
    match codec:
        case "uncompressed":
            return packed
        case "gzip":
            return _gunzipped(packed, size_bytes)
        case "snappy" if _snappy_size(packed) != size_bytes:
            raise ValueError("a page has another size than it says")
        case _:
            name: Any = codec
            return pa.Codec(name).decompress(packed, size_bytes)


def _snappy_size(packed: memoryview) -> int:
    """Return what Snappy's data says that it unpacks to.

    https://github.com/google/snappy/blob/main/format_description.txt
    """
    size_bytes = 0
    for place, byte in enumerate(bytes(packed[:5])):
        size_bytes |= (byte & 127) << 7 * place
        if byte < 128:
            break
    return size_bytes


def _gunzipped(packed: memoryview, size_bytes: int) -> bytes:
    decoder = _zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    try:
        unpacked: bytes = decoder.decompress(packed, size_bytes + 1)
    except _zlib.error as error:
        raise ValueError(str(error)) from None
    if not decoder.eof:
        raise ValueError("the gzip data of a page ends early, or has more than it says")
    return unpacked


def rows_at_once(
    columns: Iterable[ColumnPages], most_rows: int, coded: Collection[str], longest: int = 0
) -> int:
    """Return how many rows may be decoded at once.

    Args:
        columns: A row group's columns.
        most_rows: The most rows.
        coded: The columns that are decoded to places in their dictionary.
        longest: The longest value of columns that have `delta_page_bytes`; 0 if it is not known.
    """
    row_bytes = 1.0
    for column in columns:
        row_bytes += column.row_bytes
        if column.delta_page_bytes:
            row_bytes += longest or column.delta_page_bytes
        if column.is_text and column.name not in coded:
            row_bytes += column.longest_entry
    return max(1, min(most_rows, int(_ROWS_BYTES / row_bytes)))


def _read_chunk(data: memoryview, chunk: Chunk, most_pages: int) -> ColumnPages:
    column = chunk.column
    is_text = column.physical_type == "BYTE_ARRAY"
    width = _WIDTHS.get(column.physical_type, max(column.type_length, 1))
    pages = ColumnPages(
        column=column, is_text=is_text, row_bytes=4 if is_text else width, is_coded=is_text
    )
    packed = unpacked = dictionary = values = 0
    are_plain = chunk.codec in _EXACT_CODECS
    bounds = chunk.bounds(len(data)) if chunk.values else (0, 0)
    for page in map(Page._make, read_page_headers(data, *bounds, chunk.values)):
        packed = max(packed, page.packed_bytes)
        # The dictionary is the first page.
        are_plain &= page.is_plain(may_be_null=column.may_be_null)
        are_plain &= not (page.is_dictionary and pages.pages)
        are_plain &= len(pages.pages) < most_pages
        if are_plain:
            pages.pages.append(page)
        if page.is_dictionary:
            taken = 2 * page.size_bytes + (20 * page.values if is_text else 0)
            dictionary = max(dictionary, taken)
            entries = _entries(data, page, chunk.codec) if is_text else None
            longest = page.size_bytes
            if entries is not None:
                longest = min(longest, longest_text(entries, page.values))
            pages.entries = entries
            pages.longest_entry = max(pages.longest_entry, longest)
            continue
        values += page.values
        taken = page.size_bytes
        pages.is_coded &= not page.values or page.has_places
        if page.encoding in (_DELTA_LENGTH, _DELTA_TEXT):
            taken += 8 * page.values  # The lengths of all values.
        if page.encoding == _DELTA_TEXT:
            pages.delta_page_bytes = max(pages.delta_page_bytes, page.size_bytes)
        elif is_text and page.values and not page.has_places:
            pages.row_bytes = max(pages.row_bytes, page.size_bytes / page.values)
            # Rows that are decoded together may take most of the pages before and behind.
            taken *= 2
        unpacked = max(unpacked, taken)
    pages.page_bytes = packed + unpacked + dictionary
    if not are_plain or values != chunk.values:
        pages.pages.clear()
    return pages


def _entries(data: memoryview, page: Page, codec: str) -> Bytes | None:
    """Return the unpacked page of a dictionary; None if it is large, or cannot be unpacked."""
    try:
        return unpack(data, page, codec) if page.size_bytes <= _LARGE_DICTIONARY else None
    except (pa.ArrowException, OSError, ValueError):
        return None
