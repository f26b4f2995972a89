"""Answers to queries as people see them on stdout, or other programs."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

from flowconv.errors import UsageError
from flowconv.values import check_choice

if TYPE_CHECKING:
    import polars as pl

Output = Literal["table", "csv", "json", "parquet", "arrow"]

# A table is cut here; all other outputs have every row.
_MOST_ROWS = 100


def check_output(output: str) -> None:
    """Check where and how an answer is written.

    Raises:
        UsageError: There is no such output, or it is none for a terminal.
    """
    check_choice(output, get_args(Output), "--output")
    if output in ("parquet", "arrow") and is_terminal():
        raise UsageError(
            f"--output {output}: a terminal cannot show it. Write it to a file: > answer.{output}"
        )


def is_terminal() -> bool:
    """Tell whether stdout is a terminal."""
    return sys.stdout.isatty()


def print_answer(answer: "pl.LazyFrame", dest: str, output: str) -> None:
    """Print an answer piece by piece; only a table of its first rows is held in memory."""
    from flowconv.answers.querying import batches

    if output == "table":
        _print_table(answer.head(_MOST_ROWS + 1), dest)
        return
    frames = batches(answer, dest)
    empty = answer.collect_schema().to_frame()
    if output == "csv":
        sys.stdout.write(empty.write_csv())
        for frame in frames:
            sys.stdout.write(frame.write_csv(include_header=False))
    elif output == "json":
        for frame in frames:
            sys.stdout.write(frame.write_ndjson())
    else:
        _write_arrow(empty, frames, output)


def _print_table(answer: "pl.LazyFrame", dest: str) -> None:
    from flowconv.answers.querying import batches
    from flowconv.cli.console import stdout
    from flowconv.cli.text_tables import TextTable

    schema = answer.collect_schema()
    table = TextTable(*(f"{'<>'[type_.is_numeric()]}{name}" for name, type_ in schema.items()))
    rows = [row for frame in batches(answer, dest) for row in frame.iter_rows()]
    for row in rows[:_MOST_ROWS]:
        table.add_row(*map(_cell, row))
    console = stdout()
    console.print(table)
    if len(rows) > _MOST_ROWS:
        console.print(f"The first {_MOST_ROWS} rows; --output csv prints all.")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)  # A port has no comma.
    return str(value).removesuffix("+00:00")


def _write_arrow(empty: "pl.DataFrame", frames: Iterator["pl.DataFrame"], output: str) -> None:
    """Write Parquet, or a stream of Arrow IPC."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = empty.to_arrow().schema
    tables: Iterable[pa.Table] = (frame.to_arrow().cast(schema) for frame in frames)
    sink: Any = _BinaryOutput()
    with (
        pq.ParquetWriter(sink, schema)
        if output == "parquet"
        else pa.ipc.new_stream(sink, schema) as writer
    ):
        for table in tables:
            writer.write_table(table)


class _BinaryOutput:
    """Stdout for bytes."""

    closed = False

    def write(self, data: Any) -> int:
        stream: Any = sys.stdout  # an Output, as in every command
        stream.write_bytes(data)
        return len(memoryview(data))

    def flush(self) -> None:
        sys.stdout.flush()
