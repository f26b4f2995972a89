"""Columns of Arrow -> pages of Parquet: what `src/flowconv.h` declares, with Python's types.

Arrays are C-contiguous; what a function writes to, it says.
"""

import ctypes
import os
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.kernel.library import Function, functions

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


class PackedPage(ctypes.Structure):
    """A page as it lies in a file, or is to be compressed.

    Attributes:
        packed: Its address.
        packed_bytes: Its size there.
        checksum: Its CRC-32.
        page: What it holds; of a dictionary page, `rows` are entries.
    """

    _fields_ = (
        ("packed", ctypes.c_void_p),
        ("packed_bytes", ctypes.c_uint64),
        ("with_header_bytes", ctypes.c_uint64),
        ("checksum", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("page", DataPage),
    )
    packed: int
    packed_bytes: int
    checksum: int
    page: DataPage


_PAGE_SIZE = ctypes.sizeof(PackedPage)


class _Chunk(ctypes.Structure):
    _fields_ = (
        ("column", ctypes.c_void_p),
        ("pages", ctypes.c_void_p),
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


class Batches:
    """The rows of some tables, as the kernel reads them.

    It keeps their memory, in which the texts of its columns lie.

    Args:
        tables: The tables; all have the same columns, each in one of these types: int32, int64,
            timestamp, string, large_string, dictionaries of texts with int32 indices, and null.
    """

    def __init__(self, tables: Iterable[pa.Table | pa.RecordBatch]) -> None:
        self.rows = self._columns = 0
        self._kept = []
        addresses: list[int] = []
        for table in tables:
            for batch in table.to_batches() if isinstance(table, pa.Table) else [table]:
                exported = batch.__arrow_c_array__()  # type: ignore[no-untyped-call]
                self._kept.append(exported)
                for capsule, name in zip(exported, (b"arrow_schema", b"arrow_array"), strict=True):
                    addresses.append(_pointer_in(capsule, name))
                self.rows += batch.num_rows
                self._columns = batch.num_columns
        self._batches = (ctypes.c_void_p * len(addresses))(*addresses)

    def nulls(self) -> list[int]:
        """Return how many nulls each column has, those of dictionaries not counted."""
        nulls = (ctypes.c_uint64 * self._columns)()
        _library().fc_count_nulls(self._batches, len(self._kept), self._columns, nulls)
        return list(nulls)

    def read(self, place: int, physical: PhysicalType) -> tuple[Entries, Numbers, int]:
        """Return a column's entries, for each row the number of its entry, and its nulls.

        Raises:
            ValueError: An array is damaged.
        """
        column = (self._batches, len(self._kept), place, _TYPES[physical])
        count = _check(_library().fc_count_entries(*column))
        entries = np.empty(count, TEXT if physical == "text" else np.int64)
        numbers = np.empty(self.rows, np.uint32)
        nulls = _library().fc_read_column(*column, _address(entries), _address(numbers))
        return entries, numbers, _check(nulls)


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
    """Return numbers in an order of rows, which may lack some."""
    reordered = np.empty(len(order), np.uint32)
    _library().fc_reorder(_address(numbers), _address(order), len(order), _address(reordered))
    return reordered


def bloom_filter(texts: Texts, blocks: int) -> bytes:
    """Return a split block Bloom filter of distinct texts; a block has 32 bytes."""
    bits = np.zeros(8 * blocks, np.uint32)
    _library().fc_bloom_filter(_address(texts), len(texts), _address(bits), blocks)
    return bits.tobytes()


class PageBuffer:
    """Memory for the pages and the bytes of one chunk at a time, used again. For one thread."""

    def __init__(self) -> None:
        self._memory = [(0, memoryview(b""))] * 3

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
        if len(self._memory[place][1]) < size_bytes:
            memory = np.empty(size_bytes, np.uint8)
            self._memory[place] = _address(memory), memory.data
        return self._memory[place]


class WrittenChunk(NamedTuple):
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


class CompressedPages:
    """The pages of a chunk: the dictionary page if there is one, and all data pages.

    Args:
        compress: Returns compressed bytes, which are not those that it is given.

    Attributes:
        packed: The pages; behind them there may be room.
        size_bytes: What all of them take.
    """

    def __init__(self, compress: Callable[[memoryview], pa.Buffer]) -> None:
        self._compress = compress
        self._kept: list[pa.Buffer] = []
        self.packed = (PackedPage * _PAGES_AT_ONCE)()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, page: memoryview, held: DataPage) -> None:
        """Compress a page, and add it."""
        self.packed[len(self)] = PackedPage(packed_bytes=len(page), page=held)
        self.compress(page, 1)

    def room(self) -> tuple[Any, int]:
        """Return where the next pages go, and how many may be added."""
        if len(self) == len(self.packed):
            grown = (PackedPage * (2 * len(self)))()
            ctypes.memmove(grown, self.packed, ctypes.sizeof(self.packed))
            self.packed = grown
        used = len(self)
        return ctypes.byref(self.packed, used * _PAGE_SIZE), len(self.packed) - used

    def compress(self, pages: memoryview, count: int) -> None:
        """Compress the pages that were written where the next ones go.

        Args:
            pages: Their bytes, one page behind another.
            count: How many they are.
        """
        start = 0
        for page in self.packed[len(self) : len(self) + count]:
            stop = start + page.packed_bytes
            packed = self._compress(pages[start:stop])
            page.packed, page.packed_bytes = packed.address, packed.size
            page.checksum = _crc32(packed)
            self._kept.append(packed)
            self.size_bytes += packed.size
            start = stop


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

    def add_dictionary(self, size_bytes: int, pages: CompressedPages, buffer: PageBuffer) -> None:
        """Add the page of all entries, which take so many bytes."""
        pages.add(
            self._encode_dictionary(size_bytes, buffer),
            DataPage(size_bytes=size_bytes, rows=len(self._kept[0])),
        )

    def _encode_dictionary(self, size_bytes: int, buffer: PageBuffer) -> memoryview:
        address, memory = buffer.pages(size_bytes)
        entries = len(self._kept[0])
        written = _library().fc_dictionary_page(ctypes.byref(self._column), entries, address)
        assert written == size_bytes
        return memory[:size_bytes]

    def add_data(
        self,
        most_rows: int,
        most_bytes: int,
        longest: int,
        pages: CompressedPages,
        buffer: PageBuffer,
    ) -> None:
        """Add the pages of all rows.

        Args:
            most_rows: The most rows of a page.
            most_bytes: The most that a page's values take, unless the first one takes more.
            longest: What the longest value takes.
            pages: Compresses them.
            buffer: Memory for the pages.
        """
        width = self._column.width
        capacity = _library().fc_page_capacity(most_rows, width, max(most_bytes, longest))
        capacity = max(capacity, _PAGES_BYTES)
        address, memory = buffer.pages(capacity)
        scratch = buffer.scratch(most_rows)
        row = 0
        while row < self._column.rows:
            row, count = self._encode(row, most_rows, most_bytes, scratch, address, capacity, pages)
            pages.compress(memory, count)

    def _encode(
        self,
        row: int,
        most_rows: int,
        most_bytes: int,
        scratch: int,
        address: int,
        capacity: int,
        pages: CompressedPages,
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
                *pages.room(),
                ctypes.byref(count),
            )
        )
        return row, count.value

    def write_chunk(
        self,
        pages: CompressedPages,
        *,
        name: bytes,
        codec: int,
        start: int,
        filter_bytes: int,
        buffer: PageBuffer,
    ) -> tuple[WrittenChunk, memoryview]:
        """Make a chunk of its pages.

        Args:
            pages: All of them.
            name: The column's name.
            codec: Parquet's number of the compression.
            start: Where the chunk begins in its file.
            filter_bytes: Size of the Bloom filter that stands right behind it; 0 without one.
            buffer: Memory for the chunk.

        Returns:
            What is said of it, and its bytes, which the next chunk overwrites.
        """
        size_bytes = _CHUNK_ROOM + pages.size_bytes + _PAGE_ROOM * len(pages)
        chunk = _Chunk(
            column=ctypes.addressof(self._column),
            pages=ctypes.addressof(pages.packed),
            name=name,
            start=start,
            name_bytes=len(name),
            page_count=len(pages),
            has_dictionary=bool(self._column.width),
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


def entry_bytes(entries: Entries, physical: PhysicalType) -> tuple[int, int]:
    """Return what entries take, written one by one, and what the longest of them takes."""
    column = _Column(_address(entries), None, 0, _TYPES[physical], 0, 0)
    longest = ctypes.c_uint64()
    size_bytes: int = _library().fc_entry_bytes(
        ctypes.byref(column), len(entries), ctypes.byref(longest)
    )
    return size_bytes, longest.value


def plain_bytes(entries: Entries, numbers: Numbers, physical: PhysicalType) -> int:
    """Return what the values of all rows take, written one by one."""
    column = _Column(_address(entries), _address(numbers), len(numbers), _TYPES[physical], 0, 0)
    size_bytes: int = _library().fc_plain_bytes(ctypes.byref(column))
    return size_bytes


def _address(array: "npt.NDArray[Any]") -> int:
    # A tenth of the time that numpy takes to say it.
    return pa.py_buffer(array).address  # type: ignore[arg-type]


def _pointer_in(capsule: object, name: bytes) -> int:
    """Return the address that a capsule of Arrow's C data interface holds."""
    pointer: int = _get_pointer(capsule, name)
    return pointer


_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _check(result: int) -> int:
    match result:
        case -1:
            raise MemoryError("no memory is left for the pages of a Parquet file")
        case -3:
            raise ValueError("a dictionary array has an index beyond its dictionary")
        case -4:
            raise ValueError("the offsets of an array of texts do not ascend")
        case -6:
            raise ValueError("an array has another type than its column")
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

_FUNCTIONS = {
    "fc_count_nulls": Function(None, (_ADDRESS, _U32, _U32, _ADDRESS), keeps_lock=True),
    "fc_count_entries": Function(_I64, (_ADDRESS, _U32, _U32, _U8), keeps_lock=True),
    "fc_read_column": Function(_I64, (_ADDRESS, _U32, _U32, _U8, _ADDRESS, _ADDRESS)),
    "fc_distinct_integers": Function(_I64, (_ADDRESS, _ADDRESS, _U32, _U32, _U64, _ADDRESS)),
    "fc_distinct_texts": Function(_I64, (_ADDRESS, _U32, _ADDRESS, _U32, _U32, _U64, _ADDRESS)),
    "fc_sort": Function(ctypes.c_int, (_ADDRESS, _U32, _U32, _ADDRESS, _ADDRESS)),
    "fc_reorder": Function(None, (_ADDRESS, _ADDRESS, _U32, _ADDRESS)),
    "fc_plain_bytes": Function(_U64, (_ADDRESS,)),
    "fc_entry_bytes": Function(_U64, (_ADDRESS, _U32, _ADDRESS), keeps_lock=True),
    "fc_page_capacity": Function(_U64, (_U32, _U8, _U64), keeps_lock=True),
    "fc_data_pages": Function(
        _I64, (_ADDRESS, _U32, _U32, _U64, _ADDRESS, _ADDRESS, _U64, _ADDRESS, _U32, _ADDRESS)
    ),
    "fc_write_chunk": Function(_U64, (_ADDRESS, _ADDRESS, _U64), keeps_lock=True),
    "fc_dictionary_page": Function(_U64, (_ADDRESS, _U32, _ADDRESS)),
    "fc_bloom_filter": Function(None, (_ADDRESS, _U32, _ADDRESS, _U32)),
}


@cache
def _library() -> Any:
    """Return the functions that make pages."""
    return functions(_FUNCTIONS)
