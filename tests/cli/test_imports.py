"""What commands on folders import: a short run is mostly its start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowconv import convert
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions

# Modules that take 20 ms or more, or import much.
HEAVY = {
    *("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "obstore", "s3fs"),
    *("duckdb", "pandas", "polars", "pydantic", "tomllib", "rich.console", "rich.table"),
    *("pyarrow.compute", "pyarrow.dataset", "pyarrow.fs", "pyarrow.json", "pyarrow.parquet"),
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
    return folder


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--version"], set[str]()),
        # A busy account's week has millions of names to count.
        (["status", "lake", "--json"], {"pyarrow.compute"}),
        (["status", "lake", "--runs", "3", "--json"], {"pyarrow.compute"}),
        (["convert", "logs", "new", "--workers", "2", "--json"], {"pyarrow.compute"}),
        (["convert", "logs", "lake", "--json"], {"pyarrow.compute"}),
        (["convert", "logs", "other"], {"pyarrow.compute", "rich.console", "rich.table"}),
    ],
    ids=["version", "status", "runs", "convert", "nothing new", "for people"],
)
def test_heavy_modules(places: Path, arguments: list[str], allowed: set[str]) -> None:
    command = [sys.executable, "-c", _RUN, *arguments]
    done = subprocess.run(command, cwd=places, capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "flowconv" in imported
    assert HEAVY & imported <= allowed
