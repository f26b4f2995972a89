"""A lake of hourly runs, before and after compaction: what it takes, and what queries then read.

See README.md, or `python benchmarks/bench_compact.py --help`.
"""

import argparse
import importlib.util
import io
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from bench_convert import Run, machine, print_table, print_target, run_process, say, warn_if_busy
from counting_server import counting_server
from datasets import CACHE
from flowconv import CompactOptions, ConvertOptions, compact, convert
from flowconv.answers.ddl import CLICKHOUSE_SETTINGS, address_macro
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions

# Bytes read afterwards, of those read before.
MOST_OF_INTERFACE = 0.12
MOST_OF_ADDRESS = 0.25
MOST_MB = 700
# 1.5 million rows a second on two cores.
MOST_CPU_S = 2 / 1.5

ORDERS = {
    "interface, addresses, start": "",
    "start": "start",
    "srcaddr, dstaddr, start": "srcaddr,dstaddr,start",
    "dstport, interface, start": "dstport,interface_id,start",
}

# Runs in a process of its own.
_DELTA = """
import sys, deltalake
from deltalake.schema import Field, PrimitiveType, Schema
how, lake = sys.argv[1:]
types = {"aws_account_id": "string", "aws_region": "string", "date": "date"}
schema = Schema([Field(name, PrimitiveType(kind)) for name, kind in types.items()])
deltalake.convert_to_deltalake(f'{lake}/vpc', partition_by=schema, partition_strategy='hive')
optimize = deltalake.DeltaTable(f'{lake}/vpc').optimize
optimize.compact() if how == 'compact' else optimize.z_order(['interface_id', 'srcaddr'])
"""
# So that those who read the folder read each row once.
_REMOVE_REPLACED = """
import sys, deltalake
table = deltalake.DeltaTable(f'{sys.argv[1]}/vpc')
table.vacuum(0, dry_run=False, enforce_retention_duration=False)
"""


def make_lake(cache: Path, *, days: int, objects: int, records: int) -> Path:
    """Generate logs, and convert each hour's objects by a run of its own."""
    folder = cache / f"hourly-{days}-{objects}-{records}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        options = GenerateOptions(
            versions=(5,),
            accounts=1,
            regions=1,
            days=days,
            objects=objects,
            records=records,
            custom_orders=False,
        )
        generate(folder / "logs", options)
        for path in sorted((folder / "logs").rglob("*.gz")):
            convert(
                str(folder / "logs"), str(folder / "lake"), ConvertOptions(include=(path.name,))
            )
        (folder / "done").touch()
    return folder / "lake"


@dataclass(frozen=True, slots=True)
class Question:
    """A condition, in SQL with places for times, and as polars takes it.

    Asked are the number of records and the sum of their bytes, or the number alone.
    """

    sql: str
    expression: pl.Expr
    times: tuple[datetime, ...] = ()
    with_bytes: bool = True
    address: str = ""  # Of which all rows are asked, if it is one.

    def sql_with(self, time_format: str) -> str:
        """Return the condition in SQL with times as an engine writes them."""
        return self.sql.format(*(f"{time:{time_format}}" for time in self.times))

    @property
    def columns(self) -> str:
        """What is asked, in SQL."""
        return "count(*), sum(bytes)" if self.with_bytes else "count(*)"


def questions(lake: Path) -> dict[str, Question]:
    """Return what people ask, of what is there."""
    flows = pl.scan_parquet(lake / "vpc").drop_nulls(["interface_id", "srcaddr"])
    found = flows.group_by("interface_id", "srcaddr", "date").len().collect()
    found = found.sort("len", "srcaddr", "interface_id", "date")
    row = found.row(len(found) // 2, named=True)
    day, interface, address = row["date"], row["interface_id"], row["srcaddr"]
    in_day = f"date = DATE '{day}'"
    of_day = pl.col("date") == day
    nine = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
    ten = nine + timedelta(hours=1)
    of_address = f"(srcaddr = '{address}' OR dstaddr = '{address}')"
    is_address = (pl.col("srcaddr") == address) | (pl.col("dstaddr") == address)
    return {
        "one interface of a day": Question(
            f"{in_day} AND interface_id = '{interface}'",
            of_day & (pl.col("interface_id") == interface),
        ),
        "one address of all days": Question(of_address, is_address, address=address),
        "one address, counted": Question(of_address, is_address, with_bytes=False, address=address),
        "one port of a day": Question(
            f"{in_day} AND dstport = 22", of_day & (pl.col("dstport") == 22)
        ),
        "one hour of a day": Question(
            f"{in_day} AND start >= {{}} AND start < {{}}",
            of_day & (pl.col("start") >= nine) & (pl.col("start") < ten),
            (nine, ten),
        ),
    }


def read_by_polars(lake: Path, question: Question) -> tuple[int, tuple[Any, ...]]:
    """Return the bytes that polars reads, and its answer."""
    paths = sorted((lake / "vpc").rglob("*.parquet"))
    asked = (pl.len(), pl.sum("bytes")) if question.with_bytes else (pl.len(),)
    with counting_server(lake) as server:
        flows = pl.scan_parquet(
            [f"s3://bucket/{path.relative_to(lake)}" for path in paths],
            # As `flowconv.scan`: without it polars opens 16 files of other days.
            schema=pl.read_parquet_schema(paths[0]),
            hive_partitioning=True,
            storage_options={
                "aws_endpoint_url": server.endpoint_url,
                "aws_allow_http": "true",
                "aws_skip_signature": "true",
                "aws_region": "us-east-1",
                "aws_virtual_hosted_style_request": "false",
            },
        )
        answer = flows.filter(question.expression).select(*asked).collect()
        return server.sent_bytes, answer.row(0)


class _CountingFiles(LocalFileSystem):  # type: ignore[misc]
    """Local files, and what DuckDB reads of them."""

    protocol = "counting"

    def __init__(self) -> None:
        super().__init__(skip_instance_cache=True)
        self.reads: list[tuple[str, int, int]] = []  # path, start and stop

    def read_bytes(self) -> int:
        """Return the bytes that were read."""
        return sum(stop - start for _, start, stop in self.reads)

    def fetched_bytes(self) -> int:
        """Return the bytes that were read once or more: what DuckDB fetches from S3, it keeps."""
        fetched = 0
        last, end = "", 0
        for path, start, stop in sorted(self.reads):
            if path != last:
                last, end = path, 0
            fetched += max(0, stop - max(start, end))
            end = max(end, stop)
        return fetched

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:  # noqa: ARG002
        return _CountingFile(self, path)


class _CountingFile(io.FileIO):
    """DuckDB's threads share a file, and each seeks before it reads."""

    def __init__(self, files: _CountingFiles, path: str) -> None:
        super().__init__(path, "rb")
        self._files = files
        self._place = threading.local()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        size = os.fstat(self.fileno()).st_size
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: size}[whence]
        self._place.value = begin + offset
        return begin + offset

    def tell(self) -> int:
        return getattr(self._place, "value", 0)

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = os.fstat(self.fileno()).st_size if size in (None, -1) else size
        data = os.pread(self.fileno(), wanted or 0, self.tell())
        self.seek(self.tell() + len(data))
        self._files.reads.append((self.name, self.tell() - len(data), self.tell()))
        return data


def read_by_duckdb(
    lake: Path, question: Question, *, is_local: bool = False
) -> tuple[int, tuple[Any, ...]]:
    """Return the bytes that DuckDB reads, as from S3 or as from a folder, and its answer."""
    files = _CountingFiles()
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET enable_progress_bar = false")
        # Else columns are fetched whole, as DuckDB does it from S3 but not from a folder.
        connection.execute(f"SET disable_parquet_prefetching = {is_local}")
        connection.register_filesystem(files)
        paths = [f"counting://{path}" for path in sorted((lake / "vpc").rglob("*.parquet"))]
        connection.execute(
            f"CREATE VIEW vpc_flows AS FROM read_parquet({paths}, hive_partitioning = true)"
        )
        connection.execute(address_macro("vpc_flows"))
        files.reads.clear()
        condition = question.sql_with("TIMESTAMPTZ '%Y-%m-%d %H:%M:%SZ'")
        rows = f"vpc_flows WHERE {condition}"
        if question.address:
            rows = f"vpc_address('{question.address}')"
        answer = connection.execute(f"SELECT {question.columns} FROM {rows}").fetchall()
        return files.read_bytes() if is_local else files.fetched_bytes(), answer[0]


def read_by_clickhouse(lake: Path, question: Question) -> tuple[int, tuple[Any, ...]]:
    """Return the bytes that ClickHouse reads, and its answer."""
    paths = sorted(str(path.relative_to(lake)) for path in (lake / "vpc").rglob("*.parquet"))
    condition = question.sql_with("'%Y-%m-%d %H:%M:%S'")
    with counting_server(lake) as server:
        before = _read_by_clickhouse()
        answer = _clickhouse(
            f"SELECT {question.columns} "
            f"FROM url('{server.endpoint_url}/bucket/{{{','.join(paths)}}}', 'Parquet') "
            f"WHERE {condition} "
            f"SETTINGS {CLICKHOUSE_SETTINGS}, glob_expansion_max_elements = 100000, "
            "max_query_size = 10000000"
        )
        return _read_by_clickhouse() - before, tuple(answer[0])


def _read_by_clickhouse() -> int:
    """Return what it has received so far: it hangs up within answers, so more is sent."""
    event = "ReadWriteBufferFromHTTPBytes"
    found = _clickhouse(f"SELECT sum(value) FROM system.events WHERE event = '{event}'")
    return int(found[0][0])


def _clickhouse(sql: str) -> list[list[Any]]:
    import chdb

    answer = chdb.query(sql, "JSONCompact")  # type: ignore[no-untyped-call]
    rows: list[list[Any]] = json.loads(answer.data())["data"]
    return rows


Reader = Callable[[Path, Question], tuple[int, tuple[Any, ...]]]
READERS: dict[str, Reader] = {
    "polars": read_by_polars,
    "DuckDB": read_by_duckdb,
    "DuckDB, folder": partial(read_by_duckdb, is_local=True),
}
if importlib.util.find_spec("chdb"):
    READERS["ClickHouse"] = read_by_clickhouse


def read_all(
    lake: Path, conditions: Mapping[str, Question], rows: dict[str, Any]
) -> dict[str, int]:
    """Return reader and question -> bytes; every lake must give the same answers.

    The readers have a process of their own: Linux takes this one's peak for that of its children.
    """
    found = {}
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for (reader, read), (name, question) in product(READERS.items(), conditions.items()):
            found[f"{reader}: {name}"], answer = pool.submit(read, lake, question).result()
            expected = rows.setdefault(name, answer)
            if answer != expected or not answer[0]:
                raise SystemExit(f"{reader}: {name}: {answer}, expected {expected}")
    return found


def run_all(
    before: Path, cache: Path, *, orders: Collection[str], with_delta: bool
) -> tuple[dict[str, Run], dict[str, dict[str, int]]]:
    """Compact copies of a lake in every way; return what each took, and what is read then."""
    conditions = questions(before)
    rows: dict[str, Any] = {}
    reads = {"hourly files": read_all(before, conditions, rows)}
    took: dict[str, Run] = {}
    sort_by = {f"flowconv: {name}": ORDERS[name] for name in orders}
    ways = {
        name: ["-m", "flowconv", "compact", f"--sort-by={by}", "--workers=2"]
        for name, by in sort_by.items()
    }
    if with_delta and importlib.util.find_spec("deltalake"):
        ways |= {f"deltalake: {how}": ["-c", _DELTA, how] for how in ("compact", "z_order")}
    for name, arguments in ways.items():
        with tempfile.TemporaryDirectory(dir=cache, prefix="out-") as folder:
            lake = Path(folder) / "lake"
            shutil.copytree(before, lake)
            took[name], _ = run_process(name, [sys.executable, *arguments, str(lake)])
            say(f"{name}: {took[name].wall_s:.1f} s, {took[name].cpu_s:.1f} s of CPU")
            if name in sort_by:
                options = CompactOptions(sort_by=tuple(sort_by[name].split(",")))
                assert not compact(str(lake), options).partitions
            else:
                run_process(name, [sys.executable, "-c", _REMOVE_REPLACED, str(lake)])
            reads[name] = read_all(lake, conditions, rows)
    return took, reads


def _print_targets(
    took: Mapping[str, Run], reads: Mapping[str, Mapping[str, int]], rows: int
) -> None:
    name = f"flowconv: {next(iter(ORDERS))}"
    for reader in READERS:
        for question, most in (
            ("one interface of a day", MOST_OF_INTERFACE),
            ("one address of all days", MOST_OF_ADDRESS),
        ):
            asked = f"{reader}: {question}"
            print_target(asked, reads[name][asked] / reads["hourly files"][asked], most)
    print_target("peak MB", took[name].peak_bytes / 1e6, MOST_MB)
    print_target("CPU s of a million records", took[name].cpu_s * 1e6 / rows, MOST_CPU_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--records", type=int, default=28_000, help="of an hour")
    parser.add_argument(
        "--full", action="store_true", help="30 days, 20 million records; in the default order only"
    )
    parser.add_argument("--smoke", action="store_true", help="a small lake: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where lakes are made (.bench)")
    arguments = parser.parse_args()
    warn_if_busy()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    days, objects, records = arguments.days, 24, arguments.records
    orders = list(ORDERS)
    if arguments.smoke:
        days, objects, records = 1, 12, 500
    if arguments.full:
        days = 30
    if arguments.smoke or arguments.full:
        orders = orders[:1]
    before = make_lake(cache, days=days, objects=objects, records=records)
    took, reads = run_all(before, cache, orders=orders, with_delta=not arguments.smoke)
    rows = days * objects * records
    print_table(
        f"compact: {rows:,} records of {days * objects} hourly runs",
        ("order", "s", "CPU s", "rows per CPU s", "peak MB"),
        [
            [
                name,
                f"{run.wall_s:.1f}",
                f"{run.cpu_s:.1f}",
                f"{rows / run.cpu_s:,.0f}",
                f"{run.peak_bytes / 1e6:.0f}",
            ]
            for name, run in took.items()
        ],
    )
    first = reads["hourly files"]
    print_table(
        "compact: kB that a question reads, and of hourly files",
        ("question", *reads),
        [
            [
                question,
                *(
                    f"{of[question] / 1e3:,.0f} ({of[question] / size:.0%})"
                    for of in reads.values()
                ),
            ]
            for question, size in first.items()
        ],
    )
    if not arguments.smoke:
        _print_targets(took, reads, rows)
    if arguments.json:
        runs = {name: asdict(run) for name, run in took.items()}
        written = {"machine": machine(), "runs": runs, "reads": reads}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
