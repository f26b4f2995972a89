"""Types of Arrow -> types of Parquet, as pyarrow's own writer maps them."""

from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from flowconv.kernel.pages import PhysicalType
from flowconv.parquet.thrift import EMPTY, Struct

# Type, ConvertedType and LogicalType of parquet.thrift.
_PHYSICAL: dict[PhysicalType, int] = {"int32": 1, "int64": 2, "text": 6}
_CONVERTED_TEXT, _CONVERTED_MILLIS, _CONVERTED_MICROS = 0, 9, 10
_LOGICAL_TEXT, _LOGICAL_TIMESTAMP = 1, 8
_MILLIS, _MICROS = 1, 2

_OPTIONAL = 1


class ColumnType(NamedTuple):
    """How a column is stored.

    Attributes:
        physical: How its values are stored.
        number: The same in Parquet's metadata.
        stored: The Arrow type whose values are stored; others are cast to it.
        converted: Parquet's older name of what the values mean; None for plain numbers.
        logical: The newer one, a LogicalType.
    """

    physical: PhysicalType
    number: int
    stored: pa.DataType
    converted: int | None = None
    logical: bytes = b""


# Thousands of files may have the same columns.
@lru_cache(maxsize=1024)
def column_type(field: "pa.Field[Any]") -> ColumnType:
    """Return how a field's column is stored.

    Raises:
        TypeError: No column of a table has this type.
    """
    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_int32(kind):
        return ColumnType(physical="int32", number=_PHYSICAL["int32"], stored=kind)
    if pa.types.is_int64(kind):
        return ColumnType(physical="int64", number=_PHYSICAL["int64"], stored=kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ColumnType(
            physical="text",
            number=_PHYSICAL["text"],
            stored=kind,
            converted=_CONVERTED_TEXT,
            logical=Struct().struct(_LOGICAL_TEXT, EMPTY).done(),
        )
    if isinstance(kind, pa.TimestampType) and kind.unit in ("s", "ms", "us"):
        return _timestamp_type(kind)
    raise TypeError(
        f"column {field.name}: {field.type} cannot be written; int32, int64, string, large_string, "
        "a dictionary of texts, and timestamps in s, ms or us can"
    )


def _timestamp_type(kind: "pa.TimestampType[Any, Any]") -> ColumnType:
    # Parquet has no seconds.
    micros = kind.unit == "us"
    unit = Struct().struct(_MICROS if micros else _MILLIS, EMPTY).done()
    is_utc = kind.tz is not None
    timestamp = Struct().boolean(1, is_utc).struct(2, unit).done()
    return ColumnType(
        physical="int64",
        number=_PHYSICAL["int64"],
        stored=kind if kind.unit != "s" else pa.timestamp("ms", kind.tz),
        converted=_CONVERTED_MICROS if micros else _CONVERTED_MILLIS,
        logical=Struct().struct(_LOGICAL_TIMESTAMP, timestamp).done(),
    )


@lru_cache(maxsize=1024)
def schema_element(field: "pa.Field[Any]") -> bytes:
    """Return a column's part of the footer's schema. Every column may have nulls."""
    kind = column_type(field)
    element = Struct().i32(1, kind.number).i32(3, _OPTIONAL).binary(4, field.name.encode())
    if kind.converted is not None:
        element.i32(6, kind.converted)
    if kind.logical:
        element.struct(10, kind.logical)
    return element.done()
