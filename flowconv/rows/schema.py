"""The tables' columns and their types."""

import pyarrow as pa

from flowconv.fields import FIELDS, TEXT, TIME_COLUMNS, Field, Table
from flowconv.option_values import TimeType

# Microseconds are what Spark, Delta and Iceberg expect; the log has whole seconds.
TIMESTAMP = pa.timestamp("us", tz="UTC")

# Texts as the native core gives them: each batch has the distinct values of each column once.
ENCODED_TEXT = pa.dictionary(pa.int32(), TEXT)

# The flow log that a row is of, as the object's name says.
FLOW_LOG_ID = "flow_log_id"

# What a log has beyond the table: a JSON object of names and values, null if there is none.
UNKNOWN_FIELDS = "unknown_fields"

# Where a row is from: the object, and its line or row in it, counted from 1.
SOURCE_COLUMNS: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("source_uri", pa.string()),
        ("source_line", pa.int64()),
    ]
)


def column_type(field: Field, time_type: TimeType) -> pa.DataType:
    """Return the type of a field's column in the table."""
    if field.column in TIME_COLUMNS and time_type == "timestamp":
        return TIMESTAMP
    return field.type


def table_schema(
    table: Table, time_type: TimeType = "timestamp", *, with_source: bool = False
) -> pa.Schema:
    """Return the columns of a table: they are the same whatever the logs have.

    These are all fields that AWS documents, in its order, then `flow_log_id`, `unknown_fields`,
    and the source if it is wanted.

    Raises:
        KeyError: There is no such table.
    """
    fields = [(field.column, column_type(field, time_type)) for field in FIELDS[table]]
    schema = pa.schema([*fields, (FLOW_LOG_ID, TEXT), (UNKNOWN_FIELDS, TEXT)])
    return pa.schema([*schema, *SOURCE_COLUMNS]) if with_source else schema


def with_encoded_texts(schema: pa.Schema) -> pa.Schema:
    """Return a schema with texts as dictionary arrays."""
    fields = [(f.name, ENCODED_TEXT if f.type == TEXT else f.type) for f in schema]
    return pa.schema(fields)
