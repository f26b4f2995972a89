"""Thrift's compact protocol, in which Parquet writes all that is not data.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Sequence
from typing import Final, Self

_TRUE, _FALSE, _I16, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 4, 5, 6, 8, 9, 12

_STOP = b"\x00"

# A list's length stands beside its type if it is shorter than this.
_LONG_LIST = 15


class Struct:
    """A struct, written field by field in ascending order. `EMPTY` has none."""

    __slots__ = ("_bytes", "_last")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._last = 0

    def boolean(self, field: int, value: bool) -> Self:
        """Add a field of true or false."""
        self._field(field, _TRUE if value else _FALSE)
        return self

    def i16(self, field: int, value: int) -> Self:
        """Add an integer of 16 bits."""
        return self._integer(field, _I16, value)

    def i32(self, field: int, value: int) -> Self:
        """Add an integer of 32 bits."""
        return self._integer(field, _I32, value)

    def i64(self, field: int, value: int) -> Self:
        """Add an integer of 64 bits."""
        return self._integer(field, _I64, value)

    def binary(self, field: int, value: bytes) -> Self:
        """Add bytes, or the bytes of a text."""
        self._field(field, _BINARY)
        self._bytes += binary(value)
        return self

    def struct(self, field: int, value: bytes) -> Self:
        """Add a struct's bytes."""
        self._field(field, _STRUCT)
        self._bytes += value
        return self

    def booleans(self, field: int, values: Sequence[bool]) -> Self:
        """Add a list of true and false."""
        return self._list(field, _TRUE, [b"\x01" if value else b"\x02" for value in values])

    def i32s(self, field: int, values: Sequence[int]) -> Self:
        """Add a list of integers of 32 bits."""
        return self._list(field, _I32, [zigzag(value) for value in values])

    def i64s(self, field: int, values: Sequence[int]) -> Self:
        """Add a list of integers of 64 bits."""
        return self._list(field, _I64, [zigzag(value) for value in values])

    def binaries(self, field: int, values: Sequence[bytes]) -> Self:
        """Add a list of bytes."""
        return self._list(field, _BINARY, [binary(value) for value in values])

    def structs(self, field: int, values: Sequence[bytes]) -> Self:
        """Add a list of structs' bytes."""
        return self._list(field, _STRUCT, values)

    def done(self) -> bytes:
        """Return the struct's bytes."""
        return bytes(self._bytes) + _STOP

    def _integer(self, field: int, kind: int, value: int) -> Self:
        self._field(field, kind)
        # As `zigzag`, but in place: headers and indexes of pages are thousands of integers a file,
        # and this takes half the time.
        out = self._bytes
        left = value << 1 if value >= 0 else (-value << 1) - 1
        while left >= 0x80:
            out.append(left & 0x7F | 0x80)
            left >>= 7
        out.append(left)
        return self

    def _list(self, field: int, kind: int, items: Sequence[bytes]) -> Self:
        self._field(field, _LIST)
        if len(items) < _LONG_LIST:
            self._bytes.append(len(items) << 4 | kind)
        else:
            self._bytes.append(_LONG_LIST << 4 | kind)
            self._bytes += varint(len(items))
        self._bytes += b"".join(items)
        return self

    def _field(self, field: int, kind: int) -> None:
        step = field - self._last
        assert 0 < step <= 15, "fields ascend, and Parquet has no gap of more than 15"
        self._bytes.append(step << 4 | kind)
        self._last = field


EMPTY: Final = _STOP
"""A struct without fields; also a list's items, one after the other, are structs' bytes."""


def binary(value: bytes) -> bytes:
    """Return bytes with their length before them."""
    return varint(len(value)) + value


def zigzag(value: int) -> bytes:
    """Return a number with a sign: the absolutely small ones take few bytes."""
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def varint(value: int) -> bytes:
    """Return a number that is not negative, seven bits to a byte."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
