"""Dask against threads, and what tasks and objects cost a driver and its ledger.

See README.md, or `python benchmarks/bench_dask.py --help`.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench_convert import (
    environment,
    machine,
    print_table,
    print_target,
    run_process,
    say,
    warn_if_busy,
)
from datasets import CACHE, ROOT, Dataset

OBJECTS = (1_000, 10_000, 100_000, 1_000_000)
SMOKE_OBJECTS = (600,)

MOST_RATIO = 1.15

# Above the driver's start, with a million keys; the scheduler is in the same process.
MOST_GROWN_MB = 300

Figures = dict[str, float]


def run(what: str, of: str) -> Figures:
    """Do a run in a process of its own, and return what it printed."""
    command = [sys.executable, "-m", "dask_runs", what, of]
    # As the command does.
    malloc = {"ARROW_DEFAULT_MEMORY_POOL": "system"} if sys.platform == "linux" else {}
    _, output = run_process(what, command, malloc)
    figures: Figures = json.loads(output)
    return figures


def compare(cache: Path, rounds: int) -> Figures:
    """Return what two workers of Dask take as a multiple of what two threads do."""
    command = [sys.executable, "-m", "datasets", "large_v5", "--cache", str(cache)]
    made = subprocess.run(
        command,
        env=environment({}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    folder = Path(made.stdout.strip())
    logs = str(Dataset.read(folder).folder)
    measured: dict[str, list[Figures]] = {"threads": [], "dask": []}
    for _ in range(rounds):
        for engine, runs in measured.items():
            runs.append(run(engine, logs))
            say(f"large_v5, two of {engine}: {runs[-1]['wall_s']:.2f} s")

    def medians(name: str) -> dict[str, float]:
        return {
            engine: statistics.median(figures[name] for figures in runs)
            for engine, runs in measured.items()
        }

    wall_s, cpu_s = medians("wall_s"), medians("cpu_s")
    print_table(
        "dask: large_v5, two workers of one thread each, median of the rounds",
        ("engine", "s", "CPU s"),
        [[engine, f"{wall_s[engine]:.2f}", f"{cpu_s[engine]:.2f}"] for engine in measured],
    )
    return {what: m["dask"] / m["threads"] for what, m in (("wall", wall_s), ("cpu", cpu_s))}


def cells(objects: int, figures: Figures) -> list[str]:
    return [
        f"{objects:,}",
        f"{figures['tasks']:,.0f}",
        f"{figures['wall_s']:.1f}",
        f"{1000 * figures['cpu_s'] / figures['tasks']:.1f}",
        f"{1e6 * figures['cpu_s'] / objects:.0f}",
        f"{figures['grown_bytes'] / 1e6:.0f}",
        f"{figures['ledger_files']:,.0f}",
        f"{figures['ledger_bytes'] / 1e6:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument(
        "--objects", type=int, action="append", help="simulate so many; may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison (3); 0 for none")
    parser.add_argument("--smoke", action="store_true", help="small inputs: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where logs are made (.bench)")
    arguments = parser.parse_args()
    if importlib.util.find_spec("distributed") is None:
        say("Dask is not installed (extra dask): nothing is measured.")
        return
    warn_if_busy()
    rounds = 0 if arguments.smoke else arguments.rounds
    written: dict[str, object] = {"machine": machine()}
    if rounds:
        written["ratios"] = ratios = compare(arguments.cache.resolve(), rounds)
        print_target("dask's time, as a multiple of threads'", ratios["wall"], MOST_RATIO)
        print_target("dask's CPU time, as a multiple of threads'", ratios["cpu"], MOST_RATIO)
    results: dict[int, Figures] = {}
    for objects in arguments.objects or (SMOKE_OBJECTS if arguments.smoke else OBJECTS):
        results[objects] = run("simulate", str(objects))
        say(f"{objects:,} objects: {results[objects]['wall_s']:.1f} s")
    print_table(
        "dask: a run whose tasks convert nothing",
        (
            *("objects", "tasks", "s", "driver's CPU ms a task", "driver's CPU us an object"),
            *("grown MB", "files of the ledger", "MB of it"),
        ),
        [cells(objects, figures) for objects, figures in results.items()],
    )
    if (million := results.get(1_000_000)) is not None:
        print_target("MB above the start", million["grown_bytes"] / 1e6, MOST_GROWN_MB)
    if arguments.json:
        written["objects"] = {str(objects): figures for objects, figures in results.items()}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
