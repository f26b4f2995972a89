"""The tables' columns and their types."""

import pyarrow as pa

from flowconv.fields import ALWAYS_COLUMNS, FIELDS, TEXT, TIME_COLUMNS, Field, Table
from flowconv.options import TimeType

# Microseconds are what Spark, Delta and Iceberg expect; the log has whole seconds.
TIMESTAMP = pa.timestamp("us", tz="UTC")

# Texts as the native core gives them: each batch has the distinct values of each column once.
ENCODED_TEXT = pa.dictionary(pa.int32(), TEXT)

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
    table: Table,
    time_type: TimeType = "timestamp",
    extra_fields: tuple[Field, ...] = (),
    *,
    with_source: bool = False,
) -> pa.Schema:
    """Return the schema of a table's rows: what every file has, the given fields, the source.

    Raises:
        KeyError: There is no such table.
    """
    fields = [*ALWAYS_COLUMNS[table], *extra_fields]
    schema = pa.schema([(field.column, column_type(field, time_type)) for field in fields])
    return pa.schema([*schema, *SOURCE_COLUMNS]) if with_source else schema


def known_extra_fields(table: Table) -> tuple[Field, ...]:
    """Return the known fields that only the files of logs with them have, in AWS's order."""
    return tuple(field for field in FIELDS[table] if field not in ALWAYS_COLUMNS[table])


def with_encoded_texts(schema: pa.Schema) -> pa.Schema:
    """Return a schema with texts as dictionary arrays."""
    fields = [(f.name, ENCODED_TEXT if f.type == TEXT else f.type) for f in schema]
    return pa.schema(fields)
