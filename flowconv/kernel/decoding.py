"""Pages of Parquet -> columns of Arrow: what `src/flowconv.h` declares, with Python's types."""

import ctypes
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from flowconv.kernel.library import Function, functions

Bytes = bytes | memoryview | pa.Buffer

NO_PLACE: Final = 0xFFFFFFFF
_NO_BYTE = -1


class _Numbers(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("packed", ctypes.c_void_p),
        ("bit", ctypes.c_uint64),
        ("left", ctypes.c_uint64),
        ("value", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
    )


class _PageReader(ctypes.Structure):
    _fields_ = (
        ("levels", _Numbers),
        ("places", _Numbers),
        ("values", ctypes.c_void_p),
        ("values_end", ctypes.c_void_p),
        ("rows", ctypes.c_uint32),
        ("may_be_null", ctypes.c_uint8),
        ("has_places", ctypes.c_uint8),
    )
    rows: int
    has_places: int


class PageReader:
    """Reads the rows of a page, version 1, in their order; for one thread.

    Args:
        page: Its bytes, unpacked.
        rows: How many it has.
        may_be_null: Levels say which of them have a value, as the column is OPTIONAL.
        has_places: For each value it has the place in a dictionary, else the values one by one.

    Raises:
        ValueError: The page is damaged; so do all methods.
    """

    def __init__(self, page: Bytes, rows: int, *, may_be_null: bool, has_places: bool) -> None:
        self._page = pa.py_buffer(page)
        self._reader = _PageReader()
        self._address = ctypes.addressof(self._reader)
        bytes_ = self._page.address, self._page.size
        _check(_library().fc_begin_page(self._address, *bytes_, rows, may_be_null, has_places))

    @property
    def rows(self) -> int:
        """How many rows are left."""
        return self._reader.rows

    @property
    def has_places(self) -> bool:
        """It has the places of values in a dictionary."""
        return bool(self._reader.has_places)

    def read_integers(
        self,
        rows: int,
        values: pa.Buffer,
        size: int,
        validity: pa.Buffer,
        place: int,
        dictionary: pa.Buffer,
    ) -> int:
        """Read rows, and return how many have no value.

        Args:
            rows: How many.
            values: Where they are written, from `place` on; 0 for those without a value.
            size: Of each, in bytes: 4 or 8.
            validity: Where a bit is set for each with a value, all of them 0 before: the first row
                has the lowest bit of a byte.
            place: Where in both.
            dictionary: The integers that places are of.
        """
        return _check(
            _library().fc_read_integers(
                self._address,
                rows,
                size,
                dictionary.address,
                dictionary.size // size,
                values.address + place * size,
                validity.address,
                place,
            )
        )

    def read_places(
        self,
        rows: int,
        places: pa.Buffer,
        validity: pa.Buffer,
        place: int,
        entries: int,
        null: int = NO_PLACE,
    ) -> int:
        """Read rows of a page with places in a dictionary, and return how many have no value.

        Args:
            rows: How many.
            places: Where they are written as 4 bytes each, from `place` on.
            validity: As for integers.
            place: Where in both.
            entries: How many the dictionary has.
            null: The place that stands for no value.
        """
        return _check(
            _library().fc_read_places(
                self._address,
                rows,
                entries,
                null,
                places.address + 4 * place,
                validity.address,
                place,
            )
        )

    def read_texts(self, rows: int, null: bytes = b"") -> Any:
        """Read rows of a page of texts one by one, as an array.

        Args:
            rows: How many.
            null: The text of one byte that stands for no value; of none: no text does.

        Raises:
            ArrowInvalid: One is not UTF-8.
        """
        size_bytes = _check(_library().fc_measure_texts(self._address, rows))
        validity, offsets, text = no_bits(rows), room(4 * (rows + 1)), room(size_bytes)
        to = offsets.address, text.address, validity.address
        byte = null[0] if null else _NO_BYTE
        nulls = _check(_library().fc_read_texts(self._address, rows, byte, *to))
        buffers = [validity if nulls else None, offsets, text]
        array: Any = pa.Array.from_buffers(pa.string(), rows, buffers, nulls)
        array.validate(full=True)
        return array


def room(size_bytes: int) -> pa.Buffer:
    """Return memory for so many bytes."""
    return pa.py_buffer(np.empty(size_bytes, np.uint8))  # type: ignore[arg-type]


def no_bits(rows: int) -> pa.Buffer:
    """Return memory with a bit for each of some rows, none of them set."""
    return pa.py_buffer(np.zeros((rows + 7) // 8, np.uint8))  # type: ignore[arg-type]


def find_byte(texts: "pa.StringArray", byte: bytes) -> int:
    """Return the place of the first text that is this byte; NO_PLACE if none is."""
    _, offsets, text = texts.buffers()
    if not offsets or not text:
        return NO_PLACE
    start = offsets.address + 4 * texts.offset
    place: int = _library().fc_find_byte(start, text.address, len(texts), byte[0])
    return place


def measure_places(
    places: pa.Buffer, validity: pa.Buffer | None, first: int, count: int, offsets: pa.Buffer
) -> int:
    """Return the bytes that the texts at some places take one by one.

    Args:
        places: Places of 32 bits.
        validity: A bit for each that has a text; None: all have.
        first: The first place.
        count: How many there are.
        offsets: Those of the texts; no place is beyond them.
    """
    size_bytes: int = _library().fc_measure_places(
        places.address + 4 * first,
        None if validity is None else validity.address,
        first,
        count,
        offsets.address,
    )
    return size_bytes


def longest_text(page: Bytes, count: int) -> int:
    """Return the length of the longest of at most `count` texts of a page without compression.

    It is the page's own if a text's length leads beyond the page.
    """
    buffer = pa.py_buffer(page)
    found: int = _library().fc_longest_text(buffer.address, buffer.size, count)
    return found


def _check(result: int) -> int:
    if result < 0:
        raise ValueError("a page ends early, or says what cannot be")
    return result


_ADDRESS, _U8, _U32, _U64, _I64 = (
    ctypes.c_void_p,
    ctypes.c_uint8,
    ctypes.c_uint32,
    ctypes.c_uint64,
    ctypes.c_int64,
)

_FUNCTIONS = {
    "fc_begin_page": Function(_I64, (_ADDRESS, _ADDRESS, _U64, _U32, _U8, _U8), keeps_lock=True),
    "fc_read_integers": Function(
        _I64, (_ADDRESS, _U32, _U8, _ADDRESS, _U32, _ADDRESS, _ADDRESS, _U64)
    ),
    "fc_read_places": Function(_I64, (_ADDRESS, _U32, _U32, _U32, _ADDRESS, _ADDRESS, _U64)),
    "fc_measure_texts": Function(_I64, (_ADDRESS, _U32)),
    "fc_read_texts": Function(_I64, (_ADDRESS, _U32, ctypes.c_int32, _ADDRESS, _ADDRESS, _ADDRESS)),
    "fc_find_byte": Function(_U32, (_ADDRESS, _ADDRESS, _U32, _U8)),
    "fc_measure_places": Function(_U64, (_ADDRESS, _ADDRESS, _U64, _U32, _ADDRESS)),
    "fc_longest_text": Function(_U64, (_ADDRESS, _U64, _U64)),
}


@cache
def _library() -> Any:
    """Return the functions that read pages."""
    return functions(_FUNCTIONS)
