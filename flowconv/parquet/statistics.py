"""The least and the greatest of a page's or chunk's values, as Parquet's metadata has them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from flowconv.kernel.pages import NULL, text_at
from flowconv.parquet.columns import Column
from flowconv.parquet.thrift import Struct

# Longer texts are cut. parquet-java and arrow-rs cut to as many bytes.
_LONGEST_TEXT = 64

_UNORDERED, _ASCENDING, _DESCENDING = 0, 1, 2
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest value, not cut; both None if there is no value.

    Attributes:
        least: The least one: an integer, or a text's bytes.
        greatest: The greatest one.
    """

    least: int | bytes | None
    greatest: int | bytes | None

    @classmethod
    def of_entries(cls, column: Column, least: int, greatest: int) -> Self:
        """Return the values of the entries with these numbers; NULL is none."""
        if least == NULL:
            return cls(None, None)
        return cls(_value(column, least), _value(column, greatest))


def overall(bounds: Sequence[Bounds]) -> Bounds:
    """Return the bounds of several pages' values together."""
    # All of them are integers, or all are bytes.
    least: list[Any] = [bound.least for bound in bounds if bound.least is not None]
    greatest: list[Any] = [bound.greatest for bound in bounds if bound.greatest is not None]
    return Bounds(min(least), max(greatest)) if least else Bounds(None, None)


def statistics(bounds: Bounds, nulls: int, width: int) -> bytes:
    """Return a chunk's Statistics; `width` is that of its integers in bytes."""
    struct_ = Struct().i64(3, nulls)
    if bounds.least is not None and bounds.greatest is not None:
        least, greatest = lower_bound(bounds.least, width), upper_bound(bounds.greatest, width)
        struct_.binary(5, greatest).binary(6, least)
        struct_.boolean(7, greatest == encoded(bounds.greatest, width))
        struct_.boolean(8, least == encoded(bounds.least, width))
    return struct_.done()


def column_index(bounds: Sequence[Bounds], nulls: Sequence[int], width: int) -> bytes:
    """Return the ColumnIndex of a chunk's pages."""
    lower = [b"" if b.least is None else lower_bound(b.least, width) for b in bounds]
    upper = [b"" if b.greatest is None else upper_bound(b.greatest, width) for b in bounds]
    return (
        Struct()
        .booleans(1, [bound.least is None for bound in bounds])
        .binaries(2, lower)
        .binaries(3, upper)
        .i32(4, _order(bounds))
        .i64s(5, nulls)
        .done()
    )


def encoded(value: int | bytes, width: int) -> bytes:
    """Return a value as statistics have it."""
    if isinstance(value, bytes):
        return value
    return struct.pack("<i" if width == 4 else "<q", value)


def lower_bound(value: int | bytes, width: int) -> bytes:
    """Return a value, cut to what is not greater if it is long."""
    whole = encoded(value, width)
    if isinstance(value, int) or len(whole) <= _LONGEST_TEXT:
        return whole
    return _beginning(whole)


def upper_bound(value: int | bytes, width: int) -> bytes:
    """Return a value, cut to what is not less if it is long and that is possible."""
    whole = encoded(value, width)
    if isinstance(value, int) or len(whole) <= _LONGEST_TEXT:
        return whole
    characters = _beginning(whole).decode()
    # The last character that has a successor is replaced by it.
    for place in reversed(range(len(characters))):
        successor = ord(characters[place]) + 1
        if successor in _SURROGATES:
            successor = _SURROGATES.stop
        if successor <= _LAST_CHARACTER:
            return (characters[:place] + chr(successor)).encode()
    return whole


def _beginning(text: bytes) -> bytes:
    """Cut a text; no character is cut in two."""
    end = _LONGEST_TEXT
    while text[end] & 0xC0 == 0x80:
        end -= 1
    return text[:end]


def _value(column: Column, number: int) -> int | bytes:
    if column.type.physical == "text":
        return text_at(column.entries, number)
    return int(column.entries[number])


def _order(bounds: Sequence[Bounds]) -> int:
    """Return how the pages' bounds are ordered, those without a value left out.

    Cut bounds are ordered as the whole ones are.
    """
    pairs = [(b.least, b.greatest) for b in bounds if b.least is not None]
    columns = [list(column) for column in zip(*pairs, strict=True)]
    if all(column == sorted(column) for column in columns):
        return _ASCENDING
    if all(column == sorted(column, reverse=True) for column in columns):
        return _DESCENDING
    return _UNORDERED
