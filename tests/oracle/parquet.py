"""The oracle's part for Parquet: AWS's own delivery, and copies that other tools made of it.

    read_columns()  a file's columns
    read_rows()     the values of some, as a log would write them

DuckDB reads the file, which shares no code with the package's reader.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from oracle.documents import Unreadable

# What a log would write; bytes if that is no UTF-8.
Cell = str | bytes | None

KINDS = {
    "VARCHAR": "text",
    "BLOB": "text",
    "TINYINT": "integer",
    "SMALLINT": "integer",
    "INTEGER": "integer",
    "BIGINT": "integer",
    "HUGEINT": "integer",
    "UTINYINT": "integer",
    "USMALLINT": "integer",
    "UINTEGER": "integer",
    "UBIGINT": "integer",
    "UHUGEINT": "integer",
    '"NULL"': "integer",  # Nothing but nulls.
    "FLOAT": "real",
    "DOUBLE": "real",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}


FILE = "read_parquet(?, hive_partitioning = false)"


@dataclass(frozen=True)
class ParquetColumn:
    """A column; `kind` is text, integer, real, boolean, date, timestamp or other."""

    name: str
    kind: str
    expression: str  # its values, in SQL


def read_columns(body: bytes) -> list[ParquetColumn]:
    """Read which columns a file has, in its order.

    Raises:
        Unreadable: The file is damaged ("corrupt").
    """
    names = top_level(query("SELECT name, num_children FROM parquet_schema(?)", body))
    # DuckDB makes names differ that do not; their order stays.
    described = query(f"DESCRIBE SELECT * FROM {FILE}", body)
    columns = []
    for name, (own_name, type_, *_) in zip(names, described, strict=True):
        kind = "real" if type_.startswith("DECIMAL") else KINDS.get(type_, "other")
        expression = '"' + own_name.replace('"', '""') + '"'
        if kind == "timestamp":
            nanoseconds = f"epoch_ns({expression})"
            microseconds = f"epoch_us({expression})"
            expression = (
                nanoseconds if type_ == "TIMESTAMP_NS" else f"{microseconds} * 1000::HUGEINT"
            )
        columns.append(ParquetColumn(name, kind, expression))
    return columns


def read_rows(body: bytes, columns: Sequence[ParquetColumn]) -> list[list[Cell]]:
    """Read the values of columns, row by row.

    Raises:
        Unreadable: The file is damaged ("corrupt"). Text marked as UTF-8 that is none is damage.
    """
    wanted = ", ".join(column.expression for column in columns)
    return [
        [cell_of(value, column.kind) for value, column in zip(row, columns, strict=True)]
        for row in query(f"SELECT {wanted} FROM {FILE}", body)
    ]


def cell_of(value: Any, kind: str) -> Cell:
    """Write a value as a log would: nothing is None, whole numbers have no fraction."""
    if value is None:
        return None
    if kind == "timestamp":
        return str(value // 1_000_000_000)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal):
        if math.isnan(value):
            return None
        if math.isfinite(value) and value == int(value):
            return str(int(value))
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    assert isinstance(value, str)
    return value


@cache
def database() -> duckdb.DuckDBPyConnection:
    """One for all files, as each takes longer to make than a file to read."""
    return duckdb.connect(config={"threads": 1})


def query(sql: str, body: bytes) -> list[tuple[Any, ...]]:
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        Path(file.name).write_bytes(body)
        try:
            return database().execute(sql, [file.name]).fetchall()
        except duckdb.Error as error:
            raise Unreadable("corrupt") from error


def top_level(schema: list[tuple[Any, ...]]) -> list[str]:
    """The names below the root, of a schema that lists children behind their parents."""
    names = []
    place = 1
    while place < len(schema):
        names.append(schema[place][0])
        waiting = 1
        while waiting:
            waiting += (schema[place][1] or 0) - 1
            place += 1
    return names
