"""A night on which nothing is new: what a ledger with many converted objects costs a run.

See README.md, or `python benchmarks/bench_ledger.py --help`.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from bench_convert import machine, print_table, print_target, run_process, say, warn_if_busy
from datasets import CACHE

OBJECTS = (10_000, 100_000, 1_000_000)
SMOKE_OBJECTS = (1_000,)

# For a million objects, besides the listing.
MOST_SECONDS = 15
MOST_GAPS_SECONDS = 10
MOST_MB = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """What a process took, and what it says of itself.

    Attributes:
        wall_s: From its start to its end.
        cpu_s: User and system time.
        peak_bytes: Its largest resident memory.
        figures: What it printed.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    figures: dict[str, float]


def measure(what: str, lake: Path, objects: int) -> Measured:
    """Do one thing in a process of its own; this one stays small, as in `bench_convert.measure`.

    Raises:
        SystemExit: It failed, or a run did not find every object in the ledger.
    """
    command = [sys.executable, "-m", "ledgers", what, str(lake), str(objects)]
    run, output = run_process(what, command)
    return Measured(run.wall_s, run.cpu_s, run.peak_bytes, json.loads(output))


def run_size(objects: int, cache: Path) -> dict[str, Measured]:
    """Make a ledger of so many objects, and measure a run, its listing alone, and a merge."""
    results = {}
    with tempfile.TemporaryDirectory(dir=cache, prefix="out-") as folder:
        lake = Path(folder) / "lake"
        for what in ("make", "list", "run", "gaps", "merge"):
            os.sync()
            results[what] = measure(what, lake, objects)
            say(f"{objects:,} objects: {what} {results[what].wall_s:.2f} s")
    return results


def cells(objects: int, results: dict[str, Measured]) -> list[str]:
    run, listing, merge = results["run"], results["list"], results["merge"]
    return [
        f"{objects:,}",
        f"{results['make'].figures['tasks']:,}",
        f"{run.figures['files']:,}",
        f"{run.figures['size_bytes'] / 1e6:.1f}",
        f"{listing.wall_s:.2f}",
        f"{run.wall_s:.2f}",
        f"{run.wall_s - listing.wall_s:.2f}",
        f"{run.cpu_s - listing.cpu_s:.2f}",
        f"{run.peak_bytes / 1e6:.0f}",
        f"{merge.figures['merge_s']:.2f}",
        f"{merge.peak_bytes / 1e6:.0f}",
        f"{results['gaps'].wall_s:.2f}",
        f"{results['gaps'].peak_bytes / 1e6:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument(
        "--objects", type=int, action="append", help="only so many; may be repeated"
    )
    parser.add_argument("--smoke", action="store_true", help="a small ledger: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where lakes are made (.bench)")
    arguments = parser.parse_args()
    warn_if_busy()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    sizes = arguments.objects or (SMOKE_OBJECTS if arguments.smoke else OBJECTS)
    results = {objects: run_size(objects, cache) for objects in sizes}
    print_table(
        "ledger: a run that finds nothing new",
        (
            *("objects in the ledger", "tasks", "files of the ledger", "MB of it"),
            *("listing s", "run s", "besides listing s", "CPU besides s", "run's peak MB"),
            *("merge s", "merge's peak MB", "gaps s", "gaps' peak MB"),
        ),
        [cells(objects, of_size) for objects, of_size in results.items()],
    )
    if (million := results.get(1_000_000)) is not None:
        run, listing = million["run"], million["list"]
        print_target("seconds besides the listing", run.wall_s - listing.wall_s, MOST_SECONDS)
        print_target("peak MB", run.peak_bytes / 1e6, MOST_MB)
        print_target("gaps, seconds", million["gaps"].wall_s, MOST_GAPS_SECONDS)
    if arguments.json:
        measured = {
            str(objects): {what: asdict(one) for what, one in of_size.items()}
            for objects, of_size in results.items()
        }
        written = {"machine": machine(), "objects": measured}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
