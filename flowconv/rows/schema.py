"""The types of fields and the tables' columns in Arrow."""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from flowconv.fields import Field, Table
from flowconv.option_values import TimeType
from flowconv.rows.table_columns import ColumnType, table_columns

INT32 = pa.int32()
INT64 = pa.int64()
TEXT = pa.string()
TIMESTAMP = pa.timestamp("us", tz="UTC")

# Texts as the native core gives them: each batch has the distinct values of each column once.
ENCODED_TEXT = pa.dictionary(INT32, TEXT)

_TYPES: Mapping[ColumnType, pa.DataType] = MappingProxyType(
    {
        "int32": INT32,
        "int64": INT64,
        "string": TEXT,
        "timestamp[us, tz=UTC]": TIMESTAMP,
    }
)


def table_schema(
    table: Table, time_type: TimeType = "timestamp", *, with_source: bool = False
) -> pa.Schema:
    """Return a table's columns, as `table_columns` does."""
    columns = table_columns(table, time_type, with_source=with_source)
    return pa.schema([(name, _TYPES[type_]) for name, type_ in columns.items()])


def field_type(field: Field) -> pa.DataType:
    """Return the type of a field's values in a log."""
    return _TYPES[field.type]


def with_encoded_texts(schema: pa.Schema) -> pa.Schema:
    """Return a schema with texts as dictionary arrays."""
    fields = [(f.name, ENCODED_TEXT if f.type == TEXT else f.type) for f in schema]
    return pa.schema(fields)
