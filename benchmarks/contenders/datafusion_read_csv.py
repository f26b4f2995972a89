"""DataFusion: COPY (SELECT ... FROM CSV) TO ... STORED AS PARQUET PARTITIONED BY (...)."""

from pathlib import Path

import pyarrow as pa
from datafusion import SessionConfig, SessionContext

from contenders.task import Group, Task, Type, given_task

TYPES: dict[Type, str] = {
    "int32": "INT",
    "int64": "BIGINT",
    "string": "VARCHAR",
    "timestamp": "TIMESTAMP",
}

SETTINGS = {
    # Else texts are written as string views, which other readers lack.
    "datafusion.sql_parser.map_string_types_to_utf8view": "false",
    "datafusion.execution.parquet.schema_force_view_types": "false",
    "datafusion.execution.parquet.compression": "zstd(3)",
}


def main() -> None:
    task = given_task()
    config = SessionConfig(SETTINGS).with_target_partitions(task.threads)
    context = SessionContext(config)
    # Read as text and cast: its reader has no word for null that numbers would take.
    schema = pa.schema([(field, pa.string()) for field in task.log_fields])
    selects = []
    for number, group in enumerate(task.groups):
        files: list[str | Path] = [*group.files]
        context.register_csv(
            f"log{number}",
            files,
            schema=schema,
            has_header=True,
            delimiter=" ",
            file_extension=".log.gz",
            file_compression_type="gzip",
        )
        selects.append(select(task, group, f"log{number}"))
    context.sql(
        f"COPY ({' UNION ALL '.join(selects)}) TO '{task.dest}/' STORED AS PARQUET"
        " PARTITIONED BY (aws_account_id, aws_region, date)"
    ).collect()


def select(task: Task, group: Group, table: str) -> str:
    columns = ", ".join(
        f'{value(task, column, type_)} AS "{column}"' for column, type_ in task.columns.items()
    )
    return (
        f"SELECT {columns}, '{group.account}' AS aws_account_id, '{group.region}' AS aws_region,"
        f' CAST(CAST(to_timestamp_seconds(CAST("start" AS BIGINT)) AS DATE) AS VARCHAR) AS date'
        f" FROM {table}"
    )


def value(task: Task, column: str, type_: Type) -> str:
    field = task.field(column)
    text = f"NULLIF(\"{field}\", '-')" if field else "NULL"
    if type_ == "timestamp":
        microseconds = f"CAST({text} AS BIGINT) * 1000000"
        return f"arrow_cast({microseconds}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
    return f"CAST({text} AS {TYPES[type_]})"


if __name__ == "__main__":
    main()
