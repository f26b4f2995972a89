"""A row group of flow logs -> Parquet: flowconv's writer beside Arrow's, and what each step takes.

One thread. The rows are those of generated version 5 logs, once with texts one by one, as a reader
of text has them, and once as dictionaries, as the native core has them.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

import flowconv
from flowconv.fields import Table
from flowconv.kernel import pages
from flowconv.lake.writing import FILTERED, SORTED_BY
from flowconv.parquet import columns, writing
from flowconv.parquet.writing import ROW_GROUP_ROWS, ParquetWriter
from flowconv.rows.schema import table_schema
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions

ORDER = SORTED_BY[Table.VPC]

# How the lake's files were written before.
STATISTICS = ["start", "end", "srcaddr", "dstaddr", "srcport", "dstport", "interface_id"]
STATISTICS += ["pkt_srcaddr", "pkt_dstaddr"]
PLAIN = {"srcport", "dstport", "packets", "bytes"}

# What is timed within the writer: where it is called, by name.
STEPS: dict[str, tuple[Any, str]] = {
    "read": (writing, "read_column"),
    "rank": (columns, "rank"),
    "sort": (pages, "sort"),
    "reorder": (pages, "reorder"),
    "encode": (pages.ColumnPages, "_encode"),
    "dictionary": (pages.ColumnPages, "_encode_dictionary"),
    "sizes": (pages, "plain_bytes"),
    "compress": (pages.CompressedPages, "compress"),
    "assemble": (pages.ColumnPages, "write_chunk"),
    "bloom": (writing, "bloom_filter"),
}


def rows_of_logs(rows: int) -> tuple[pa.Table, int]:
    """Generate logs and read them; texts are plain. Also return the size of the logs' text."""
    options = GenerateOptions(
        versions=(5,),
        accounts=1,
        regions=1,
        days=1,
        objects=1,
        records=rows,
        custom_orders=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        text_bytes = generate(Path(folder) / "logs", options).text_bytes
        table = pa.Table.from_batches(flowconv.read(f"{folder}/logs"))
    if table.num_rows != rows:
        raise SystemExit(f"read {table.num_rows} rows, but the logs have {rows}")
    return table.cast(table_schema(Table.VPC)).combine_chunks(), text_bytes


def as_dictionaries(table: pa.Table) -> pa.Table:
    return pa.table(
        {
            name: column.dictionary_encode() if pa.types.is_string(column.type) else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )


def write_native(table: pa.Table, schema: pa.Schema, **options: Any) -> bytes:
    file = io.BytesIO()
    writer = ParquetWriter(file, schema, **options)
    writer.write_table(table)
    writer.close()
    return file.getvalue()


def write_arrow(table: pa.Table, schema: pa.Schema) -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(
        table.cast(schema),
        file,
        compression="zstd",
        use_dictionary=[n for n in schema.names if n not in PLAIN],  # type: ignore[arg-type]
        write_statistics=STATISTICS,
        write_batch_size=64 << 10,
        write_page_checksum=True,
        store_schema=False,
    )
    return file.getvalue().to_pybytes()


def least_cpu(function: Callable[[], bytes], rounds: int) -> tuple[float, int]:
    """Return the least CPU time in seconds, and the size of what was written."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        size_bytes = len(function())
        times.append(time.process_time() - begin)
    return min(times), size_bytes


@contextmanager
def timed_steps(times: dict[str, float]) -> Iterator[None]:
    """Add up the CPU time of each step; timing takes a little itself."""
    with ExitStack() as patches:
        for step, (owner, name) in STEPS.items():
            function = timed(getattr(owner, name), step, times)
            patches.enter_context(mock.patch.object(owner, name, function))
        yield


def timed(function: Callable[..., Any], step: str, times: dict[str, float]) -> Callable[..., Any]:
    def call(*values: Any, **more: Any) -> Any:
        begin = time.thread_time()
        result = function(*values, **more)
        times[step] = times.get(step, 0.0) + time.thread_time() - begin
        return result

    return call


def check(written: bytes, table: pa.Table, order: tuple[str, ...]) -> None:
    """Compare what was written with the rows; times of anything else would mean nothing."""
    found = pq.read_table(pa.BufferReader(written), page_checksum_verification=True)
    if order:
        keys: Any = [(name, "ascending") for name in table.column_names]
        found, table = found.sort_by(keys), table.sort_by(keys)
    if not found.equals(table):
        raise SystemExit("the file has other rows than the table")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20, help="runs of each (20)")
    parser.add_argument("--smoke", action="store_true", help="few rows, one round: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    rows, rounds = (2_000, 1) if arguments.smoke else (ROW_GROUP_ROWS, arguments.rounds)
    texts, text_bytes = rows_of_logs(rows)
    schema = texts.schema
    coded = as_dictionaries(texts)
    cases: dict[str, tuple[pa.Table, tuple[str, ...], dict[str, Any]]] = {
        "texts": (texts, (), {}),
        "dictionaries": (coded, (), {}),
        "dictionaries, not compressed": (coded, (), {"compression": "none"}),
        "dictionaries, sorted": (coded, ORDER, {"sort_by": ORDER}),
        "dictionaries, sorted, Bloom filters": (
            coded,
            ORDER,
            {"sort_by": ORDER, "bloom_filters": FILTERED},
        ),
    }
    results: dict[str, Any] = {}
    print(f"\n{rows:,} rows of {len(schema)} columns, {text_bytes / 1e6:.0f} MB of text\n")
    print("| writer | CPU ms | MB |\n| --- | ---: | ---: |")
    for name, table in (("Arrow, texts", texts), ("Arrow, dictionaries", coded)):
        cpu_s, size_bytes = least_cpu(lambda table=table: write_arrow(table, schema), rounds)  # type: ignore[misc]
        results[name] = {"cpu_s": cpu_s, "bytes": size_bytes}
        print(f"| {name} | {cpu_s * 1e3:.1f} | {size_bytes / 1e6:.3f} |")
    for name, (table, order, options) in cases.items():
        check(write_native(table, schema, **options), texts, order)
        write: Callable[[], bytes] = lambda t=table, o=options: write_native(t, schema, **o)  # type: ignore[misc]  # noqa: E731
        cpu_s, size_bytes = least_cpu(write, rounds)
        times: dict[str, float] = {}
        with timed_steps(times):
            write()
        results[name] = {"cpu_s": cpu_s, "bytes": size_bytes, "steps_s": times}
        print(f"| flowconv, {name} | {cpu_s * 1e3:.1f} | {size_bytes / 1e6:.3f} |")
    for name in cases:
        steps = sorted(results[name]["steps_s"].items(), key=lambda step: -step[1])
        print(f"\n{name}, CPU ms (GB/s of text):")
        print(
            ", ".join(f"{s} {1e3 * took:.1f} ({text_bytes / 1e9 / took:.1f})" for s, took in steps)
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
