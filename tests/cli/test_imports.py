"""What commands on folders import: a short run is mostly its start."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowconv import convert
from flowconv.parquet.writing import ROW_GROUP_ROWS
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions
from support.s3_servers import S3Server

# Modules that take 10 ms or more, or import much; `dateutil` and `numpy.ma` come with calls of
# pyarrow that would do without.
HEAVY = {
    *("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "s3fs"),
    *("dateutil", "duckdb", "multiprocessing", "numpy.ma", "pandas", "polars", "pydantic"),
    *("numpy", "pyarrow"),
    *("rich.console", "statistics", "tomllib"),
    *("pyarrow.compute", "pyarrow.dataset", "pyarrow.fs", "pyarrow.json", "pyarrow.parquet"),
    *("flowconv.answers", "flowconv.catalogs", "flowconv.engines", "flowconv.samples"),
    *("flowconv.upkeep", "flowconv.verification"),
    *("flowconv.conversion.dry_run", "flowconv.conversion.remote", "flowconv.source.log_groups"),
    *("flowconv.blocks.json_messages", "flowconv.blocks.parquet_objects"),
    *("flowconv.blocks.parquet_foreign", "flowconv.rows.parquet_columns"),
    # The tasks of a run.
    *("flowconv.conversion.attempt", "flowconv.kernel", "flowconv.parquet", "flowconv.rows"),
    "flowconv.rows.parsing",
}

# What handles rows, or reads a ledger's objects.
ARROW = {"numpy", "pyarrow"}

# What only a run with tasks takes.
TASKS = ARROW | {
    *("flowconv.conversion.attempt", "flowconv.kernel", "flowconv.parquet", "flowconv.rows"),
    "flowconv.rows.parsing",
}

# What a verification takes: neither what parses lines nor what writes files.
CHECKS = ARROW | {
    *("flowconv.engines", "flowconv.kernel", "flowconv.rows", "flowconv.verification"),
    *("multiprocessing", "dateutil"),
    *("pyarrow.compute", "pyarrow.fs", "pyarrow.parquet"),
}

_RUN = """
import json, sys
from flowconv.cli.app import run
try:
    run()
finally:
    sys.stdout = sys.__stdout__
    print("\\n", json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    generate(folder / "logs", GenerateOptions(objects=2, records=50))
    convert(str(folder / "logs"), str(folder / "lake"))
    generate(folder / "more", GenerateOptions(objects=2, records=50, seed=2))
    (folder / "empty").mkdir()
    write_long_object(folder / "long" / "same day.log.gz", rows_past_midnight=0)
    write_long_object(folder / "long" / "past midnight.log.gz", rows_past_midnight=9)
    generate(folder / "delivery", GenerateOptions(objects=2, records=50, shape="parquet"))
    return folder


def write_long_object(path: Path, rows_past_midnight: int) -> None:
    """Write a few rows more than a row group has, with more addresses than those few."""
    rows = ROW_GROUP_ROWS + 50
    first = 1_767_225_600 + 86_400 - rows + rows_past_midnight
    lines = ["srcaddr dstaddr start"]
    lines += [f"10.0.{row % 200}.1 10.0.0.{row % 200} {first + row}" for row in range(rows)]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(lines).encode(), 1))


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--version"], set[str]()),
        # A busy account's week has millions of names to count.
        (["status", "lake", "--json"], ARROW | {"pyarrow.compute", "statistics"}),
        (["status", "lake", "--runs", "3", "--json"], ARROW | {"pyarrow.compute", "statistics"}),
        (["convert", "logs", "new", "--workers", "2", "--json"], TASKS),
        (["convert", "long", "long lake", "--json"], TASKS),
        (
            ["convert", "delivery", "delivered lake", "--json"],
            TASKS | {"flowconv.blocks.parquet_objects"},
        ),
        (["convert", "logs", "lake", "--json"], ARROW | {"pyarrow.compute"}),
        # Its headers are compared with those of a million objects.
        (["convert", "more", "lake", "--json"], TASKS | {"pyarrow.compute"}),
        (["convert", "empty", "nothing", "--allow-empty", "--json"], set[str]()),
        (["convert", "logs", "other"], TASKS),
        (["status", "lake"], ARROW | {"pyarrow.compute", "statistics"}),
        (["verify", "lake"], CHECKS),
        (["verify", "lake", "--source", "logs"], CHECKS),
    ],
    ids=[
        *(
            "version",
            "status",
            "runs",
            "convert",
            "long objects",
            "parquet",
            "nothing new",
            "more",
            "empty",
            "convert for people",
        ),
        *("status for people", "verify", "verify against a source"),
    ],
)
def test_heavy_modules(places: Path, arguments: list[str], allowed: set[str]) -> None:
    imported = _imported(places, arguments)
    assert "flowconv" in imported
    assert HEAVY & imported <= allowed


def test_heavy_modules_of_s3(places: Path, moto_s3: S3Server) -> None:
    options = [f"--source-option={name}={v}" for name, v in moto_s3.storage_options().items()]
    source = f"s3://{moto_s3.make_bucket()}"
    arguments = ["convert", source, "nothing", "--allow-empty", "--json", *options]
    imported = _imported(places, arguments)
    assert "botocore" in imported
    # Arrow is loaded while S3 answers, whatever it answers.
    assert HEAVY & imported <= ARROW | {"botocore", "dateutil"}


def _imported(places: Path, arguments: list[str]) -> set[str]:
    command = [sys.executable, "-c", _RUN, *arguments]
    done = subprocess.run(command, cwd=places, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))
