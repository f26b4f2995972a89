"""Statements by which other engines know a lake's tables."""

import json
import os
from collections.abc import Mapping
from datetime import date
from typing import get_args

from flowconv.answers.tables import Kind, LakeTable, read_tables
from flowconv.errors import UsageError, printable, quote
from flowconv.options import Dialect
from flowconv.rows.partition_names import NULL_PARTITION
from flowconv.storage.opening import path_text
from flowconv.values import check_choice

_TYPES: Mapping[str, Mapping[Kind, str]] = {
    # Hive has `date` for a partition's type too, but text is what AWS advises.
    "athena": {
        "int32": "int",
        "int64": "bigint",
        "text": "string",
        "timestamp": "timestamp",
        "date": "string",
    },
    "spark": {
        "int32": "INT",
        "int64": "BIGINT",
        "text": "STRING",
        "timestamp": "TIMESTAMP",
        "date": "DATE",
    },
    "trino": {
        "int32": "INTEGER",
        "int64": "BIGINT",
        "text": "VARCHAR",
        "timestamp": "TIMESTAMP",
        "date": "DATE",
    },
    "duckdb": {"text": "VARCHAR", "date": "DATE"},
    "clickhouse": {
        "int32": "Nullable(Int32)",
        "int64": "Nullable(Int64)",
        "text": "Nullable(String)",
        "timestamp": "Nullable(DateTime64(6, 'UTC'))",
        "date": "Nullable(String)",
    },
    "polars": {
        "int32": "pl.Int32",
        "int64": "pl.Int64",
        "text": "pl.String",
        "timestamp": 'pl.Datetime("us", "UTC")',
        "date": "pl.Date",
    },
}


_FIRST_FLOW_LOGS = date(2015, 6, 10)

# By default ClickHouse fetches what lies between columns, too, if it is less than 4 MiB: of a
# compacted lake most of each file (benchmarks/README.md, "compact").
CLICKHOUSE_SETTINGS = "use_hive_partitioning = 1, remote_read_min_bytes_for_seek = 262144"


def ddl(
    dest: str | os.PathLike[str],
    dialect: Dialect,
    *,
    location: str | os.PathLike[str] | None = None,
    options: Mapping[str, str] | None = None,
) -> str:
    """Return statements that make a lake's tables, `vpc_flows` and `tgw_flows`, known to an engine.

    Args:
        dest: The lake: the DEST given to `convert`.
        dialect: The engine.
        location: Where the engine finds the lake, if it is not at `dest`: a URL or path.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        Both tables, with the columns that the lake has now. DuckDB, ClickHouse and polars refuse
        folders without files: for them a table without files is left out.

    Raises:
        LakeError: There is no lake, or files are gone.
        StorageError: The lake does not answer.
        UsageError: There is no such dialect, or it cannot read from there.
    """
    dest = path_text(dest)
    if location is not None:
        location = path_text(location)
    check_choice(dialect, get_args(Dialect), "dialect")
    tables = read_tables(dest, location=location, options=options)
    if printable(tables[0].folder) != tables[0].folder:
        raise UsageError(
            f"{quote(tables[0].folder)} has characters that no statement can hold. Rename the "
            "folder, or say by --location where else the lake is found.",
            uri=dest,
        )
    if dialect == "athena" and not tables[0].folder.startswith("s3://"):
        raise UsageError(
            "Athena reads S3 only. Say where the lake is: --location s3://bucket/prefix.",
            uri=dest,
        )
    write = _WRITERS[dialect]
    return "\n".join(table_ddl for table in tables if (table_ddl := write(table)))


def _athena(table: LakeTable) -> str:
    columns = _columns(table.columns, "athena", "`")
    partitions = _columns(table.partitions, "athena", "`")
    properties = {"projection.enabled": "true"}
    for name, kind in table.partitions.items():
        described = _projection(name, kind, table.first_day or _FIRST_FLOW_LOGS)
        properties |= {f"projection.{name}.{key}": value for key, value in described.items()}
    listed = ",\n".join(f"  {_text(key)} = {_text(value)}" for key, value in properties.items())
    injected = [
        name for name in table.partitions if properties[f"projection.{name}.type"] == "injected"
    ]
    asked = " AND ".join(f"{name} = '…'" for name in injected)
    note = f"\n-- Every query says which it reads: WHERE {asked}" if injected else ""
    return f"""\
-- Athena computes the partitions: new ones need no statement.{note}
CREATE EXTERNAL TABLE `{table.name}` (
{columns}
)
PARTITIONED BY (
{partitions}
)
STORED AS PARQUET
LOCATION {_text(table.folder + "/")}
TBLPROPERTIES (
{listed}
);
"""


def _projection(name: str, kind: Kind, first_day: date) -> dict[str, str]:
    """Return how Athena computes a partition's values."""
    if kind == "date":
        return {"type": "date", "format": "yyyy-MM-dd", "range": f"{first_day},NOW"}
    if name == "hour":
        return {"type": "integer", "range": "0,23", "digits": "2"}
    # A list would have to name accounts and regions that are yet to come.
    return {"type": "injected"}


def _spark(table: LakeTable) -> str:
    columns = _columns({**table.columns, **table.partitions}, "spark", "`")
    folder = table.folder.replace("s3://", "s3a://", 1)
    quoted = folder.replace("\\", "\\\\").replace("'", "\\'")
    names = ", ".join(f"`{name}`" for name in table.partitions)
    repair = f"MSCK REPAIR TABLE `{table.name}`"
    # Spark refuses it for a folder that is not there.
    before = "" if table.has_files else f"-- When it has files, after each run: {repair}\n"
    after = f"-- Now and after each run:\n{repair};\n" if table.has_files else ""
    return f"""\
{before}CREATE TABLE IF NOT EXISTS `{table.name}` (
{columns}
)
USING PARQUET
PARTITIONED BY ({names})
LOCATION '{quoted}';
{after}"""


def _trino(table: LakeTable) -> str:
    columns = _columns({**table.columns, **table.partitions}, "trino", '"')
    names = ", ".join(map(_text, table.partitions))
    return f"""\
CREATE TABLE IF NOT EXISTS hive.default.{table.name} (
{columns}
)
WITH (
  format = 'PARQUET',
  external_location = {_text(table.folder + "/")},
  partitioned_by = ARRAY[{names}]
);
-- Now and after each run:
CALL hive.system.sync_partition_metadata('default', '{table.name}', 'FULL');
"""


def _duckdb(table: LakeTable) -> str:
    if not table.has_files:
        return ""
    types = ", ".join(
        f"{_text(name)}: {_TYPES['duckdb'][kind]}" for name, kind in table.partitions.items()
    )
    return f"""\
CREATE OR REPLACE VIEW {table.name} AS
SELECT * FROM read_parquet(
  {_text(_glob(table.folder))},
  union_by_name = true,
  hive_partitioning = true,
  hive_types = {{{types}}}
);
{address_macro(table.name)}"""


def address_macro(name: str) -> str:
    """Return the statement of DuckDB's macro `vpc_address(x)`: the rows from or to an address.

    Args:
        name: Of the view: `vpc_flows` or `tgw_flows`.
    """
    macro = name.replace("_flows", "_address")
    # DuckDB's reader takes conditions on one column each. What leaves out rows that are there
    # already is on two: else the reader would look into all of srcaddr again (benchmarks/README.md,
    # "compact").
    return f"""\
CREATE OR REPLACE MACRO {macro}(address) AS TABLE
SELECT * FROM {name} WHERE srcaddr = address
UNION ALL SELECT * FROM {name}
  WHERE dstaddr = address AND srcaddr IS DISTINCT FROM dstaddr;
"""


def _clickhouse(table: LakeTable) -> str:
    if not table.has_files:
        return ""
    structure = ", ".join(
        f"`{name}` {_TYPES['clickhouse'][kind]}"
        for name, kind in {**table.columns, **table.partitions}.items()
    )
    # It does not know Hive's null.
    values = {name: f"nullIf(`{name}`, '{NULL_PARTITION}')" for name in table.partitions}
    values |= {
        name: f"toDateOrNull(`{name}`)" for name, kind in table.partitions.items() if kind == "date"
    }
    replaced = ",\n".join(f"  {value} AS `{name}`" for name, value in values.items())
    function = "s3" if table.folder.startswith("s3://") else "file"
    return f"""\
CREATE OR REPLACE VIEW {table.name} AS
SELECT * REPLACE (
{replaced}
)
FROM {function}(
  {_text(_glob(table.folder))},
  Parquet,
  {_text(structure)}
)
SETTINGS {CLICKHOUSE_SETTINGS};
"""


def _polars(table: LakeTable) -> str:
    if not table.has_files:
        return ""
    columns = _python_types(table.columns)
    partitions = _python_types(table.partitions)
    return f"""\
import polars as pl

{table.name} = pl.scan_parquet(
    {json.dumps(_glob(table.folder), ensure_ascii=False)},
    schema={{
{columns}    }},
    hive_schema={{
{partitions}    }},
    missing_columns="insert",
    extra_columns="ignore",
)
"""


_WRITERS = {
    "athena": _athena,
    "spark": _spark,
    "trino": _trino,
    "duckdb": _duckdb,
    "clickhouse": _clickhouse,
    "polars": _polars,
}


def _columns(kinds: Mapping[str, Kind], dialect: Dialect, quote: str) -> str:
    """Return columns, one a line; all are quoted, since `end`, `date` and others are reserved."""
    return ",\n".join(
        f"  {quote}{name}{quote} {_TYPES[dialect][kind]}" for name, kind in kinds.items()
    )


def _python_types(kinds: Mapping[str, Kind]) -> str:
    types = _TYPES["polars"]
    return "".join(f"        {json.dumps(name)}: {types[kind]},\n" for name, kind in kinds.items())


def _glob(folder: str) -> str:
    return f"{folder}/**/*.parquet"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
