"""Columns of Arrow -> pages of Parquet: what `src/flowconv.h` declares, with Python's types.

Every call lets other threads run. Arrays are C-contiguous; what a function writes to, it says.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.kernel.library import library

Numbers = npt.NDArray[np.uint32]
"""For each row the number of its entry; NULL for none."""

Integers = npt.NDArray[np.int64]

Texts = npt.NDArray[Any]
"""Addresses and sizes of texts, of the type TEXT. Whoever has them keeps the Arrow arrays."""

Entries = npt.NDArray[Any]
"""Integers or Texts."""

TEXT: Final = np.dtype([("address", np.uint64), ("size_bytes", np.uint64)])
NULL: Final = 0xFFFFFFFF
NO_TEXTS: Final[Texts] = np.empty(0, TEXT)
NO_INTEGERS: Final[Integers] = np.empty(0, np.int64)
NO_NUMBERS: Final[Numbers] = np.empty(0, np.uint32)

PhysicalType = Literal["int32", "int64", "text"]

_TYPES: dict[PhysicalType, int] = {"int32": 0, "int64": 1, "text": 2}
_TOO_MANY = -2

# isal's takes a tenth of zlib's time.
_crc32: Any = import_module("isal.isal_zlib" if find_spec("isal") else "zlib").crc32

# Two logs whose values collide in a hash table cannot be made by those who do not know it.
_SEED = int.from_bytes(os.urandom(8), "little")

# Pages of a row group of integers take less, so that a call of the core makes all of them.
_PAGES_BYTES = 2 << 20
_PAGES_AT_ONCE = 64

# About what metadata takes besides the pages; the core says if it is more.
_CHUNK_ROOM = 1024
_PAGE_ROOM = 256

# Stands for a buffer that Arrow left out, as there is nothing in it.
_NOTHING = np.zeros(8, np.uint8)


class _Column(ctypes.Structure):
    _fields_ = (
        ("entries", ctypes.c_void_p),
        ("numbers", ctypes.c_void_p),
        ("rows", ctypes.c_uint32),
        ("type", ctypes.c_uint8),
        ("ranks", ctypes.c_uint8),
        ("width", ctypes.c_uint8),
    )


class DataPage(ctypes.Structure):
    """What a data page holds.

    Attributes:
        size_bytes: Of the page, not compressed.
        rows: Its rows.
        nulls: How many of them have no value.
        least: Number of the least value's entry; NULL if there is no value.
        greatest: Likewise.
    """

    _fields_ = (
        ("size_bytes", ctypes.c_uint64),
        ("rows", ctypes.c_uint32),
        ("nulls", ctypes.c_uint32),
        ("least", ctypes.c_uint32),
        ("greatest", ctypes.c_uint32),
    )
    size_bytes: int
    rows: int
    nulls: int
    least: int
    greatest: int


class _PackedPage(ctypes.Structure):
    _fields_ = (
        ("packed", ctypes.c_void_p),
        ("packed_bytes", ctypes.c_uint64),
        ("with_header_bytes", ctypes.c_uint64),
        ("checksum", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("page", DataPage),
    )


class _Chunk(ctypes.Structure):
    _fields_ = (
        ("column", ctypes.POINTER(_Column)),
        ("pages", ctypes.POINTER(_PackedPage)),
        ("name", ctypes.c_char_p),
        ("start", ctypes.c_uint64),
        ("name_bytes", ctypes.c_uint32),
        ("page_count", ctypes.c_uint32),
        ("has_dictionary", ctypes.c_uint32),
        ("codec", ctypes.c_int32),
        ("filter_bytes", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("plain_bytes", ctypes.c_uint64),
        ("size_bytes", ctypes.c_uint64),
        ("metadata_end", ctypes.c_uint64),
        ("column_index_end", ctypes.c_uint64),
    )


def read_texts(array: "pa.Array[Any]") -> Texts:
    """Return where the texts of a utf8 or large_utf8 array lie; those of nulls may be anything."""
    texts = np.empty(len(array), TEXT)
    large = pa.types.is_large_string(array.type)
    _, offsets, values = array.buffers()
    if len(array) and offsets is not None:
        function = _library().fc_texts_of_large_utf8 if large else _library().fc_texts_of_utf8
        start = offsets.address + array.offset * (8 if large else 4)
        address = values.address if values is not None else _address(_NOTHING)
        _check(function(start, address or _address(_NOTHING), len(array), _address(texts)))
    return texts


def number_rows(array: "pa.Array[Any]", first: int, numbers: Numbers) -> int:
    """Write to `numbers` that rows have the entries `first`, `first + 1`, …; count the nulls."""
    function = _library().fc_number_rows
    found: int = function(_validity(array), array.offset, len(array), first, _address(numbers))
    return found


def number_indices(indices: "pa.Int32Array", entries: int, first: int, numbers: Numbers) -> int:
    """Write to `numbers` what an array's indices say, plus `first`; count the nulls.

    Raises:
        ValueError: An index is not below `entries`.
    """
    values = indices.buffers()[1]
    if not len(indices) or values is None:
        return 0
    return _check(
        _library().fc_number_indices(
            values.address + 4 * indices.offset,
            _validity(indices),
            indices.offset,
            len(indices),
            entries,
            first,
            _address(numbers),
        )
    )


def distinct_integers(entries: Integers, numbers: Numbers, limit: int) -> Integers | None:
    """Return the distinct values of the rows, ascending, and write their ranks to `numbers`.

    Returns None, and changes nothing, if there are more than `limit`.
    """
    limit = min(limit, len(numbers))
    distinct = np.empty(limit, np.int64)
    count = _library().fc_distinct_integers(
        _address(entries), _address(numbers), len(numbers), limit, _SEED, _address(distinct)
    )
    return None if count == _TOO_MANY else distinct[: _check(count)]


def distinct_texts(entries: Texts, numbers: Numbers, limit: int) -> Texts | None:
    """Do the same for texts."""
    limit = min(limit, len(numbers))
    distinct = np.empty(limit, TEXT)
    count = _library().fc_distinct_texts(
        _address(entries),
        len(entries),
        _address(numbers),
        len(numbers),
        limit,
        _SEED,
        _address(distinct),
    )
    return None if count == _TOO_MANY else distinct[: _check(count)]


def sort(numbers: Numbers, ranks: int, order: Numbers | None) -> Numbers:
    """Refine an order of rows by one more key, the numbers of which are below `ranks`.

    The sort is stable and puts nulls first. The last key goes first, with `order` None.
    """
    refined = np.empty(len(numbers), np.uint32)
    before = None if order is None else _address(order)
    _check(_library().fc_sort(_address(numbers), len(numbers), ranks, before, _address(refined)))
    return refined


def reorder(numbers: Numbers, order: Numbers) -> Numbers:
    """Return numbers in an order of rows."""
    reordered = np.empty(len(numbers), np.uint32)
    _library().fc_reorder(_address(numbers), _address(order), len(numbers), _address(reordered))
    return reordered


def bloom_filter(texts: Texts, blocks: int) -> bytes:
    """Return a split block Bloom filter of distinct texts; a block has 32 bytes."""
    bits = np.zeros(8 * blocks, np.uint32)
    _library().fc_bloom_filter(_address(texts), len(texts), _address(bits), blocks)
    return bits.tobytes()


class PageBuffer:
    """Memory for the pages and the bytes of one chunk at a time, used again. For one thread."""

    def __init__(self) -> None:
        self._memory = [np.empty(0, np.uint8) for _ in range(3)]

    def pages(self, size_bytes: int) -> tuple[int, memoryview]:
        """Return memory for pages that are not compressed: its address, and its bytes."""
        return self._reserve(0, size_bytes)

    def scratch(self, rows: int) -> int:
        """Return the address of a number for each row of a page."""
        return self._reserve(1, 4 * rows)[0]

    def chunk(self, size_bytes: int) -> tuple[int, memoryview]:
        """Return memory for a chunk: its address, and its bytes."""
        return self._reserve(2, size_bytes)

    def _reserve(self, place: int, size_bytes: int) -> tuple[int, memoryview]:
        if len(self._memory[place]) < size_bytes:
            self._memory[place] = np.empty(size_bytes, np.uint8)
        memory = self._memory[place]
        return _address(memory), memory.data


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenChunk:
    """What is said of a chunk that lies in a file.

    Attributes:
        size_bytes: Of its headers and pages.
        plain_bytes: The same before compression.
        metadata: ColumnMetaData.
        column_index: ColumnIndex: what is in its pages.
        offset_index: OffsetIndex: where they are.
    """

    size_bytes: int
    plain_bytes: int
    metadata: bytes
    column_index: bytes
    offset_index: bytes


class ColumnPages:
    """Makes the pages of a column of a row group.

    Args:
        entries: The values.
        numbers: For each row the number of its entry.
        physical: How Parquet stores the values.
        ranks: The entries are distinct and ascend.
        width: Bits of a number in a page; 0 writes the values themselves.
    """

    def __init__(
        self,
        entries: Entries,
        numbers: Numbers,
        physical: PhysicalType,
        *,
        ranks: bool,
        width: int,
    ) -> None:
        self._kept = (entries, numbers)
        self._column = _Column(
            _address(entries), _address(numbers), len(numbers), _TYPES[physical], ranks, width
        )

    @property
    def has_dictionary(self) -> bool:
        """Whether pages hold numbers of entries, and the entries stand in a page of their own."""
        return bool(self._column.width)

    def dictionary_page(self, size_bytes: int, buffer: PageBuffer) -> tuple[memoryview, DataPage]:
        """Return the page of all entries, which take so many bytes; the next page overwrites it."""
        address, memory = buffer.pages(size_bytes)
        entries = len(self._kept[0])
        written = _library().fc_dictionary_page(ctypes.byref(self._column), entries, address)
        assert written == size_bytes
        return memory[:size_bytes], DataPage(size_bytes=size_bytes, rows=entries)

    def data_pages(
        self, most_rows: int, most_bytes: int, longest: int, buffer: PageBuffer
    ) -> Iterator[tuple[memoryview, DataPage]]:
        """Give the pages of all rows; each is valid until the next is asked for.

        Args:
            most_rows: The most rows of a page.
            most_bytes: The most that a page's values take, unless the first one takes more.
            longest: What the longest value takes.
            buffer: Memory for the pages.
        """
        width = self._column.width
        capacity = _library().fc_page_capacity(most_rows, width, max(most_bytes, longest))
        capacity = max(capacity, _PAGES_BYTES)
        address, memory = buffer.pages(capacity)
        scratch = buffer.scratch(most_rows)
        pages = (DataPage * _PAGES_AT_ONCE)()
        row = 0
        while row < self._column.rows:
            row, count = self._encode(row, most_rows, most_bytes, scratch, address, capacity, pages)
            start = 0
            for page in pages[:count]:
                yield memory[start : start + page.size_bytes], page
                start += page.size_bytes

    def _encode(
        self,
        row: int,
        most_rows: int,
        most_bytes: int,
        scratch: int,
        address: int,
        capacity: int,
        pages: "ctypes.Array[DataPage]",
    ) -> tuple[int, int]:
        """Write the pages from `row` on; return the row behind them, and how many they are."""
        count = ctypes.c_uint32()
        row = _check(
            _library().fc_data_pages(
                ctypes.byref(self._column),
                row,
                most_rows,
                most_bytes,
                scratch,
                address,
                capacity,
                pages,
                len(pages),
                ctypes.byref(count),
            )
        )
        return row, count.value

    def write_chunk(
        self,
        pages: Sequence[tuple[pa.Buffer, DataPage]],
        *,
        name: bytes,
        codec: int,
        start: int,
        filter_bytes: int,
        buffer: PageBuffer,
    ) -> tuple[WrittenChunk, memoryview]:
        """Make a chunk of compressed pages.

        Args:
            pages: The dictionary page if there is one, and all data pages.
            name: The column's name.
            codec: Parquet's number of the compression.
            start: Where the chunk begins in its file.
            filter_bytes: Size of the Bloom filter that stands right behind it; 0 without one.
            buffer: Memory for the chunk.

        Returns:
            What is said of it, and its bytes, which the next chunk overwrites.
        """
        packed = (_PackedPage * len(pages))()
        size_bytes = _CHUNK_ROOM
        for place, (page_bytes, page) in zip(packed, pages, strict=True):
            place.packed, place.packed_bytes = page_bytes.address, page_bytes.size
            place.checksum = _crc32(page_bytes)
            place.page = page
            size_bytes += page_bytes.size + _PAGE_ROOM
        chunk = _Chunk(
            column=ctypes.pointer(self._column),
            pages=packed,
            name=name,
            start=start,
            name_bytes=len(name),
            page_count=len(pages),
            has_dictionary=self.has_dictionary,
            codec=codec,
            filter_bytes=filter_bytes,
        )
        while True:
            address, memory = buffer.chunk(size_bytes)
            needed = _library().fc_write_chunk(ctypes.byref(chunk), address, size_bytes)
            if needed <= size_bytes:
                break
            size_bytes = needed
        written = WrittenChunk(
            size_bytes=chunk.size_bytes,
            plain_bytes=chunk.plain_bytes,
            metadata=bytes(memory[chunk.size_bytes : chunk.metadata_end]),
            column_index=bytes(memory[chunk.metadata_end : chunk.column_index_end]),
            offset_index=bytes(memory[chunk.column_index_end : needed]),
        )
        return written, memory[: chunk.size_bytes]


def plain_bytes(entries: Entries, numbers: Numbers, physical: PhysicalType) -> int:
    """Return what the values of all rows take, written one by one."""
    column = _Column(_address(entries), _address(numbers), len(numbers), _TYPES[physical], 0, 0)
    size_bytes: int = _library().fc_plain_bytes(ctypes.byref(column))
    return size_bytes


def longest_text(page: bytes, count: int) -> int:
    """Return the length of the longest of at most `count` texts of a page without compression.

    It is the page's own if a text's length leads beyond the page.
    """
    buffer = pa.py_buffer(page)
    found: int = _library().fc_longest_text(buffer.address, buffer.size, count)
    return found


def _address(array: "npt.NDArray[Any]") -> int:
    # A tenth of the time that numpy takes to say it.
    return pa.py_buffer(array).address  # type: ignore[arg-type]


def _validity(array: "pa.Array[Any]") -> int | None:
    validity = array.buffers()[0] if array.null_count else None
    return None if validity is None else validity.address


def _check(result: int) -> int:
    match result:
        case -1:
            raise MemoryError("no memory is left for the pages of a Parquet file")
        case -3:
            raise ValueError("a dictionary array has an index beyond its dictionary")
        case -4:
            raise ValueError("the offsets of an array of texts do not ascend")
        case _ if result < 0:
            raise AssertionError(f"the native core returned {result}")
    return result


_ADDRESS, _U8, _U32, _U64, _I64 = (
    ctypes.c_void_p,
    ctypes.c_uint8,
    ctypes.c_uint32,
    ctypes.c_uint64,
    ctypes.c_int64,
)

# Result and arguments of each function, as in src/flowconv.h.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "fc_texts_of_utf8": (ctypes.c_int, (_ADDRESS, _ADDRESS, _U32, _ADDRESS)),
    "fc_texts_of_large_utf8": (ctypes.c_int, (_ADDRESS, _ADDRESS, _U32, _ADDRESS)),
    "fc_number_rows": (_U32, (_ADDRESS, ctypes.c_size_t, _U32, _U32, _ADDRESS)),
    "fc_number_indices": (
        _I64,
        (_ADDRESS, _ADDRESS, ctypes.c_size_t, _U32, _U32, _U32, _ADDRESS),
    ),
    "fc_distinct_integers": (_I64, (_ADDRESS, _ADDRESS, _U32, _U32, _U64, _ADDRESS)),
    "fc_distinct_texts": (_I64, (_ADDRESS, _U32, _ADDRESS, _U32, _U32, _U64, _ADDRESS)),
    "fc_sort": (ctypes.c_int, (_ADDRESS, _U32, _U32, _ADDRESS, _ADDRESS)),
    "fc_reorder": (None, (_ADDRESS, _ADDRESS, _U32, _ADDRESS)),
    "fc_longest_text": (_U64, (_ADDRESS, _U64, _U64)),
    "fc_plain_bytes": (_U64, (_ADDRESS,)),
    "fc_page_capacity": (_U64, (_U32, _U8, _U64)),
    "fc_data_pages": (
        _I64,
        (
            _ADDRESS,
            _U32,
            _U32,
            _U64,
            _ADDRESS,
            _ADDRESS,
            _U64,
            ctypes.POINTER(DataPage),
            _U32,
            _ADDRESS,
        ),
    ),
    "fc_write_chunk": (_U64, (_ADDRESS, _ADDRESS, _U64)),
    "fc_dictionary_page": (_U64, (_ADDRESS, _U32, _ADDRESS)),
    "fc_bloom_filter": (None, (_ADDRESS, _U32, _ADDRESS, _U32)),
}


@cache
def _library() -> ctypes.CDLL:
    """Return the library with the types of its functions."""
    loaded = library()
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
