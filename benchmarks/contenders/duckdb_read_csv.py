"""DuckDB: COPY (SELECT ... FROM read_csv(...)) TO ... (FORMAT parquet, PARTITION_BY ...)."""

import duckdb

from contenders.task import Group, Task, Type, given_task

TYPES: dict[Type, str] = {
    "int32": "INTEGER",
    "int64": "BIGINT",
    "string": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
}


def main() -> None:
    task = given_task()
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET threads = {task.threads}")
    # The default of 524,288 rows takes 1.3 times as long and three times the memory.
    connection.execute("SET partitioned_write_flush_threshold = 65536")
    selects = " UNION ALL ".join(select(task, group) for group in task.groups)
    connection.execute(
        f"COPY ({selects}) TO '{task.dest}' (FORMAT parquet, COMPRESSION zstd,"
        # Bloom filters, which no other contender writes, would take more time and bytes.
        " WRITE_BLOOM_FILTER false,"
        " PARTITION_BY (aws_account_id, aws_region, date))"
    )


def select(task: Task, group: Group) -> str:
    # One read for an account and region: their values are constants then.
    columns = ", ".join(
        f'{value(task, column, type_)} AS "{column}"' for column, type_ in task.columns.items()
    )
    log_types = {
        field: "BIGINT" if type_ == "timestamp" else TYPES[type_]
        for field, type_ in task.log_fields.items()
    }
    return (
        f"SELECT {columns}, '{group.account}' AS aws_account_id, '{group.region}' AS aws_region,"
        f" (epoch_ms(log.start * 1000))::DATE AS date FROM read_csv({group.files},"
        f" columns = {log_types}, delim = ' ', quote = '', escape = '', nullstr = '-',"
        r" header = true, auto_detect = false, new_line = '\n', compression = 'gzip') AS log"
    )


def value(task: Task, column: str, type_: Type) -> str:
    field = task.field(column)
    if field is None:
        return f"NULL::{TYPES[type_]}"
    return f'to_timestamp(log."{field}")' if type_ == "timestamp" else f'log."{field}"'


if __name__ == "__main__":
    main()
