"""ClickHouse (chdb): INSERT INTO FUNCTION file(...) PARTITION BY ... SELECT ... FROM file(...)."""

import chdb

from contenders.task import Group, Task, Type, given_task

TYPES: dict[Type, str] = {
    "int32": "Int32",
    "int64": "Int64",
    "string": "String",
    "timestamp": "DateTime64(6, 'UTC')",
}


def main() -> None:
    task = given_task()
    settings = {
        "max_threads": task.threads,
        "max_insert_threads": task.threads,
        "format_custom_field_delimiter": "' '",
        "format_custom_escaping_rule": "'CSV'",
        "format_csv_delimiter": "' '",
        "format_csv_null_representation": "'-'",
        "format_csv_allow_single_quotes": 0,
        "format_csv_allow_double_quotes": 0,
        "output_format_parquet_compression_method": "'zstd'",
        # Bloom filters, which no other contender writes, would take 5% more time and bytes.
        "output_format_parquet_write_bloom_filter": 0,
    }
    assignments = ", ".join(f"{name} = {value}" for name, value in settings.items())
    for group in task.groups:
        chdb.query(f"{insert(task, group)} SETTINGS {assignments}")  # type: ignore[no-untyped-call]


def insert(task: Task, group: Group) -> str:
    target = f"{task.dest}/{group.directory}/date={{_partition_id}}/part.parquet"
    columns = ", ".join(
        f"{value(task, column, type_)} AS `{column}`" for column, type_ in task.columns.items()
    )
    log_types = ", ".join(
        f"`{field}` Nullable({'Int64' if type_ == 'timestamp' else TYPES[type_]})"
        for field, type_ in task.log_fields.items()
    )
    return (
        f"INSERT INTO FUNCTION file('{target}', 'Parquet') PARTITION BY toDate(start, 'UTC')"
        f" SELECT {columns} FROM"
        f" file('{group.folder}/**/*.log.gz', 'CustomSeparatedWithNames', '{log_types}') AS log"
    )


def value(task: Task, column: str, type_: Type) -> str:
    field = task.field(column)
    if field is None:
        return f"CAST(NULL, $$Nullable({TYPES[type_]})$$)"
    if type_ == "timestamp":
        return (
            f"CAST(fromUnixTimestamp64Second(log.`{field}`, 'UTC'), $$Nullable({TYPES[type_]})$$)"
        )
    return f"log.`{field}`"


if __name__ == "__main__":
    main()
