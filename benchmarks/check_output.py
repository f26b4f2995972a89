"""Adds up what a contender wrote and checks its columns; in a process of its own.

Usage: check_output.py TASK.json; prints the totals as JSON, or ends with what is wrong.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contenders.task import Type, given_task
from datasets import Totals

TYPES: dict[Type, pa.DataType] = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def main() -> None:
    task = given_task()
    expected = {column: TYPES[type_] for column, type_ in task.columns.items()}
    rows = sum_of_bytes = tcp_flags_nulls = 0
    for path in sorted(Path(task.dest).rglob("*.parquet")):
        with pq.ParquetFile(path) as file:
            check_columns(path, file.schema_arrow, expected)
            check_codec(path, file.metadata)
            table = file.read(["bytes", "tcp_flags", "start"])
        check_partition(path, table["start"])
        rows += table.num_rows
        sum_of_bytes += pc.sum(table["bytes"]).as_py() or 0
        tcp_flags_nulls += table["tcp_flags"].null_count
    print(json.dumps(asdict(Totals(rows, sum_of_bytes, tcp_flags_nulls))))


def check_columns(path: Path, schema: pa.Schema, expected: dict[str, pa.DataType]) -> None:
    """The columns must be there; more may be."""
    found = {
        field.name: pa.string() if pa.types.is_large_string(field.type) else field.type
        for field in schema
        if field.name in expected
    }
    if found != expected:
        wrong = {n: t for n, t in found.items() if expected[n] != t}
        raise SystemExit(f"{path}: wrong {wrong}, missing {expected.keys() - found.keys()}")


def check_codec(path: Path, metadata: pq.FileMetaData) -> None:
    codec = metadata.row_group(0).column(0).compression
    if codec != "ZSTD":
        raise SystemExit(f"{path}: compressed with {codec}, not zstd")


def check_partition(path: Path, start: "pa.ChunkedArray[Any]") -> None:
    """Every row must lie in the folder of its day."""
    *_, account, region, day = path.parent.parts
    names = [part.partition("=")[0] for part in (account, region, day)]
    if names != ["aws_account_id", "aws_region", "date"]:
        raise SystemExit(f"{path}: not partitioned by account, region and date")
    days = {time.as_py().date().isoformat() for time in (pc.min(start), pc.max(start))}
    if days != {day.partition("=")[2]}:
        raise SystemExit(f"{path}: holds rows of {sorted(days)}")


if __name__ == "__main__":
    main()
