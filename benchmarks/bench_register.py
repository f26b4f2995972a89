"""A lake of many files becomes a table of a catalog, and then gets one more file.

See README.md, or `python benchmarks/bench_register.py --help`.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest import mock

from bench_convert import (
    compile_modules,
    machine,
    print_table,
    print_target,
    run_process,
    say,
    warn_if_busy,
)
from datasets import CACHE
from flowconv import ConvertOptions, convert
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Commit, DataFile, Run
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions
from flowconv.storage.opening import open_storage

FILES, SMOKE_FILES = 10_000, 50

# Glue is in AWS.
KINDS = ("delta", "iceberg")

MOST_SECONDS = 10
MOST_SECONDS_FOR_ONE = 1

_FILES_PER_DAY = 24
_FIRST_DAY = date(2000, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What `flowconv register` took.

    Attributes:
        seconds: As its report says: without Python's start.
        wall_s: Of the whole process.
        cpu_s: User and system time of the process.
        peak_bytes: Its largest resident memory.
    """

    seconds: float
    wall_s: float
    cpu_s: float
    peak_bytes: int


def make_lake(folder: Path) -> Path:
    """Return a lake of a few files."""
    generate(folder / "logs", GenerateOptions(objects=1, records=2000))
    convert(str(folder / "logs"), str(folder / "lake"), ConvertOptions(workers=1))
    return folder / "lake"


def add_files(lake: Path, first: int, files: int) -> None:
    """Add links to one of a lake's files, with numbers from the first: 24 for each day."""
    storage = open_storage(str(lake))
    ledger = Ledger.read(storage)
    written, _ = next(file for path, file in ledger.files().items() if path.startswith("vpc/"))
    account = written.path.rpartition("/date=")[0]
    run = Run(run_id=f"run-{first}", began=datetime.now(UTC), host="host")
    # The benchmark is not one of the disk.
    with mock.patch("os.fsync"):
        ledger.begin(run, {})
        for start in range(first, first + files, _FILES_PER_DAY):
            day = _FIRST_DAY + timedelta(start // _FILES_PER_DAY)
            numbers = range(start, min(start + _FILES_PER_DAY, first + files))
            linked = [_link(lake, written, f"{account}/date={day}", number) for number in numbers]
            ledger.commit(
                Commit(task_id=f"{start:020x}", run_id=run.run_id, objects=(), files=tuple(linked))
            )
        ledger.end(replace(run, ended=datetime.now(UTC), report={"failure": ""}))


def _link(lake: Path, written: DataFile, folder: str, number: int) -> DataFile:
    path = f"{folder}/{number:020x}-0-0000.parquet"
    (lake / path).parent.mkdir(parents=True, exist_ok=True)
    os.link(lake / written.path, lake / path)
    return written._replace(path=path)


def register(kind: str, lake: Path, added: int) -> Measured:
    """Register a lake in a process of its own.

    Raises:
        SystemExit: It failed, or did not add so many files.
    """
    command = [sys.executable, "-m", "flowconv", "register", str(lake), "--to", kind, "--json"]
    run, output = run_process(kind, command)
    report = json.loads(output)
    found = report["tables"][0]["added"]
    if found != added:
        raise SystemExit(f"{kind}: {found} files were added, expected {added}")
    return Measured(
        seconds=report["seconds"], wall_s=run.wall_s, cpu_s=run.cpu_s, peak_bytes=run.peak_bytes
    )


def measure(kind: str, files: int, cache: Path) -> dict[str, Measured]:
    """Register so many files, none, and one."""
    with tempfile.TemporaryDirectory(dir=cache, prefix="out-") as name:
        lake = make_lake(Path(name))
        there = len(list(lake.rglob("vpc/**/*.parquet")))
        add_files(lake, 0, files - there)
        results = {"all": register(kind, lake, files)}
        results["none"] = register(kind, lake, 0)
        add_files(lake, files, 1)
        results["one"] = register(kind, lake, 1)
    for what, measured in results.items():
        say(f"{kind}, {files:,} files: {what} {measured.seconds:.2f} s")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--smoke", action="store_true", help="a few files: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where lakes are made (.bench)")
    arguments = parser.parse_args()
    warn_if_busy()
    compile_modules()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    files = SMOKE_FILES if arguments.smoke else FILES
    results = {kind: measure(kind, files, cache) for kind in KINDS}
    print_table(
        f"register: {files:,} files, none, and one more",
        ("catalog", "files", "s", "wall s", "CPU s", "peak MB"),
        [
            [
                kind,
                what,
                f"{measured.seconds:.2f}",
                f"{measured.wall_s:.2f}",
                f"{measured.cpu_s:.2f}",
                f"{measured.peak_bytes / 1e6:.0f}",
            ]
            for kind, of_kind in results.items()
            for what, measured in of_kind.items()
        ],
    )
    if not arguments.smoke:
        for kind, of_kind in results.items():
            print_target(f"{kind}: seconds", of_kind["all"].seconds, MOST_SECONDS)
            print_target(f"{kind}: seconds for one", of_kind["one"].seconds, MOST_SECONDS_FOR_ONE)
    if arguments.json:
        figures = {
            kind: {what: asdict(measured) for what, measured in of_kind.items()}
            for kind, of_kind in results.items()
        }
        written = {"machine": machine(), "files": files, "catalogs": figures}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
