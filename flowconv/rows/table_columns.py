"""The tables' columns and their types, for any library."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from flowconv.fields import FIELDS, INT64, TEXT, TIME_COLUMNS, Field, Table
from flowconv.option_values import TimeType

# By Arrow's names.
ColumnType = Literal["int32", "int64", "string", "timestamp[us, tz=UTC]"]

# Microseconds are what Spark, Delta and Iceberg expect; the log has whole seconds.
TIMESTAMP: Final = "timestamp[us, tz=UTC]"

# The flow log that a row is of, as the object's name says.
FLOW_LOG_ID = "flow_log_id"

# What a log has beyond the table: a JSON object of names and values, null if there is none.
UNKNOWN_FIELDS = "unknown_fields"

# Where a row is from: the object, and its line or row in it, counted from 1.
SOURCE_COLUMNS: Mapping[str, ColumnType] = MappingProxyType(
    {"source_uri": TEXT, "source_line": INT64}
)


def table_columns(
    table: Table, time_type: TimeType = "timestamp", *, with_source: bool = False
) -> dict[str, ColumnType]:
    """Return the columns of a table: they are the same whatever the logs have.

    These are all fields that AWS documents, in its order, then `flow_log_id`, `unknown_fields`,
    and the source if it is wanted.

    Raises:
        KeyError: There is no such table.
    """
    return {
        **{field.column: column_type(field, time_type) for field in FIELDS[table]},
        FLOW_LOG_ID: TEXT,
        UNKNOWN_FIELDS: TEXT,
        **(SOURCE_COLUMNS if with_source else {}),
    }


def column_type(field: Field, time_type: TimeType) -> ColumnType:
    """Return the type of a field's column in the table."""
    is_timestamp = field.column in TIME_COLUMNS and time_type == "timestamp"
    return TIMESTAMP if is_timestamp else field.type
