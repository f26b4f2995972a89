"""The types that columns of Parquet have in the copies of other tools."""

from typing import Any

import pyarrow as pa
from pyarrow import types

# A column of whatever type Parquet has.
Column = Any

# Texts as places in their dictionary.
CODED_TEXT: Any = pa.dictionary(pa.int32(), pa.string())


def is_simple(type_: Any) -> bool:
    """Tell whether a field that AWS does not document may have a type."""
    return is_plain(type_) or types.is_boolean(type_) or types.is_date(type_)


def is_plain(type_: Any) -> bool:
    """Tell whether any field may have a type: all that numbers and text become in copies."""
    if types.is_dictionary(type_):
        type_ = type_.value_type
    return (
        types.is_null(type_)
        or types.is_integer(type_)
        or types.is_floating(type_)
        or types.is_decimal(type_)
        or is_text(type_)
        or is_binary(type_)
    )


def is_text(type_: Any) -> bool:
    """Tell whether values of a type are text, in any of Arrow's layouts."""
    return types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)


def is_binary(type_: Any) -> bool:
    """Tell whether values of a type are bytes, in any of Arrow's layouts."""
    return (
        types.is_binary(type_)
        or types.is_large_binary(type_)
        or types.is_binary_view(type_)
        or types.is_fixed_size_binary(type_)
    )


def one_by_one(column: Column) -> Column:
    """Return a column of values that stand one by one, neither in a dictionary nor as views."""
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_string_view(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if types.is_binary_view(column.type) else column
