"""One reader answers the questions of `bench_questions.py`, each once; what it took, as JSON.

`python benchmarks/answering.py TASK QUESTIONS READER FOLDER`, in a process of its own. Imports and
the first opening do not count.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from contenders.task import given_task

DAY = date(2026, 1, 14)
DAY_IS = f"date = DATE '{DAY}'"

Rows = list[tuple[Any, ...]]
Answer = Callable[[str], Rows]


def with_polars(frame: Callable[[], Any]) -> Answer:
    """Ask a frame, opened anew for each question."""
    import polars as pl

    frame().collect_schema()

    def answer(sql: str) -> Rows:
        with pl.SQLContext(flows=frame()) as context:
            return context.execute(sql).collect(engine="streaming").rows()

    return answer


def with_duckdb(view: str) -> Answer:
    """Ask a view, which is opened anew for each question."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET threads = {given_task().threads}")
    connection.execute("SELECT sum(a) FROM range(10) AS t(a)").fetchall()
    connection.execute(f"CREATE VIEW flows AS {view}")
    return lambda sql: connection.execute(sql).fetchall()


def from_raw_polars(_: str) -> Answer:
    import polars as pl

    from contenders.polars_scan_csv import scan

    task = given_task()
    return with_polars(lambda: pl.concat([scan(task, group) for group in task.groups]))


def from_raw_duckdb(_: str) -> Answer:
    from contenders.duckdb_read_csv import select

    task = given_task()
    return with_duckdb(" UNION ALL ".join(select(task, group) for group in task.groups))


def from_parquet_polars(folder: str) -> Answer:
    import polars as pl

    partitions = {"aws_account_id": pl.String, "aws_region": pl.String, "date": pl.Date}
    return with_polars(lambda: pl.scan_parquet(f"{folder}/", hive_schema=partitions))


def from_parquet_duckdb(folder: str) -> Answer:
    types = "{'aws_account_id': VARCHAR, 'aws_region': VARCHAR, 'date': DATE}"
    return with_duckdb(
        f"SELECT * FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true, "
        f"hive_types = {types})"
    )


def from_lake_polars(folder: str) -> Answer:
    from flowconv import scan

    return with_polars(lambda: scan(folder))


def from_lake_duckdb(folder: str) -> Answer:
    import flowconv

    statement = flowconv.ddl(folder, "duckdb").partition(" AS\n")[2]
    return with_duckdb(statement.partition(";")[0])


def from_iceberg(address: str) -> Answer:
    import polars as pl

    with suppress(ModuleNotFoundError):
        import polars_iceberg  # noqa: F401 (polars imports it when it plans)
    return with_polars(lambda: pl.scan_iceberg(address))


READERS: dict[str, Callable[[str], Answer]] = {
    "raw, polars": from_raw_polars,
    "raw, DuckDB": from_raw_duckdb,
    "Parquet of polars, polars": from_parquet_polars,
    "Parquet of polars, DuckDB": from_parquet_duckdb,
    "Parquet of DuckDB, polars": from_parquet_polars,
    "Parquet of DuckDB, DuckDB": from_parquet_duckdb,
    "lake, scan": from_lake_polars,
    "lake, DuckDB": from_lake_duckdb,
    "lake, Iceberg": from_iceberg,
}


def main() -> None:
    _, _, questions, reader, place = sys.argv
    answer = READERS[reader](place)
    answers = {}
    for name, sql in json.loads(Path(questions).read_text()).items():
        began, cpu_began = time.perf_counter(), time.process_time()
        rows = answer(sql)
        answers[name] = {
            "wall_s": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu_began,
            "rows": [[str(value) for value in row] for row in rows],
        }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
