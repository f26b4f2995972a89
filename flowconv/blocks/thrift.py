"""Of stage 3c: Thrift's compact protocol, in which Parquet has all that is no data.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

TRUE, FALSE, BYTE, INT16, INT32, INT64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

_DEEPEST = 8

Struct = dict[tuple[int, int], Any]
"""A value for each of its fields, by the field's number and type."""


def read_struct(data: bytes, place: int, depth: int = 0) -> tuple[Struct, int]:
    """Return a struct, without its fields that are true or false, and where it ends.

    Raises:
        IndexError: The data ends before it.
        ValueError: It is damaged.
    """
    if depth > _DEEPEST:
        raise ValueError("a header is nested too deep")
    values: Struct = {}
    field = 0
    while first := data[place]:
        place += 1
        kind = first & 15
        if first >> 4:
            field += first >> 4
        else:
            number, place = read_varint(data, place)
            field = _signed(number)
        if kind not in (TRUE, FALSE):
            # One of another type is passed over by the decoder, so it must not hide the right one.
            values[field, kind], place = _read_value(data, place, kind, depth)
    return values, place + 1


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number that takes as many bytes as it needs, and where it ends."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a header is damaged")


def integer(values: Struct, field: int, kind: int = INT32) -> int:
    """Return a number of a struct; 0 if it has none."""
    return int(values.get((field, kind), 0))


def struct(values: Struct, field: int) -> Struct:
    """Return a struct within a struct; an empty one if there is none."""
    found: Struct = values.get((field, STRUCT), {})
    return found


def structs(values: Struct, field: int) -> list[Struct]:
    """Return the structs of a list; none if there is no list.

    Raises:
        ValueError: It has something else.
    """
    found: list[Struct] = values.get((field, LIST), [])
    if not all(isinstance(entry, dict) for entry in found):
        raise ValueError("a list has something else than structs")
    return found


def _read_value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (INT16, INT32, INT64):
        number, place = read_varint(data, place)
        return _signed(number), place
    if kind in (BYTE, TRUE, FALSE):
        return None, place + 1
    if kind == STRUCT:
        return read_struct(data, place, depth + 1)
    if kind == DOUBLE:
        return None, place + 8
    if kind == BINARY:
        length, place = read_varint(data, place)
        if place + length > len(data):
            raise IndexError
        return data[place : place + length], place + length
    if kind in (LIST, SET):
        first = data[place]
        place += 1
        count = first >> 4
        if count == 15:
            count, place = read_varint(data, place)
        entries = []
        for _ in range(count):
            entry, place = _read_value(data, place, first & 15, depth + 1)
            entries.append(entry)
        return entries, place
    raise ValueError("a header is damaged")


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
