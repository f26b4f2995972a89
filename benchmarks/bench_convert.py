"""The whole way, logs to partitioned Parquet: flowconv and its alternatives, side by side.

See README.md, or `python benchmarks/bench_convert.py --help`.
"""

import argparse
import compileall
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from datasets import CACHE, ROOT, Dataset, Totals

if TYPE_CHECKING:
    pass

FLOOR = "gunzip"
OURS = "flowconv_convert"
# They write nothing, and print how many rows they have read.
READERS = ("flowconv_read", "polars_collect")
# Each with the package that it needs.
ALTERNATIVES = {
    "polars_scan_csv": "polars",
    "duckdb_read_csv": "duckdb",
    "chdb_custom_separated": "chdb",
    "datafusion_read_csv": "datafusion",
}
THREADS = 2
HEADER = ("", "wall s", "CPU s", "MB/s of text", "peak MB", "output MB", "files")
UPLOADS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contender's one run, as its process was measured from outside.

    Attributes:
        wall_s: From the start of its process to its end.
        cpu_s: User and system time of the process and its children.
        peak_bytes: Its largest resident memory.
        output_bytes: Size of the Parquet files.
        files: Their number.
        server_cpu_s: CPU time of the S3 server meanwhile; None without one.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output_bytes: int = 0
    files: int = 0
    server_cpu_s: float | None = None


@dataclass(slots=True)
class Result:
    """A contender's runs in a case, one a round."""

    contender: str
    text_bytes: int
    runs: list[Run] = field(default_factory=list)

    def median(self, value: Callable[[Run], float]) -> float:
        return median(map(value, self.runs))

    @property
    def wall_s(self) -> float:
        return self.median(lambda run: run.wall_s)

    @property
    def cpu_s(self) -> float:
        return self.median(lambda run: run.cpu_s)

    @property
    def peak_bytes(self) -> int:
        return max(run.peak_bytes for run in self.runs)

    @property
    def output_bytes(self) -> int:
        return self.runs[-1].output_bytes

    def ratio_to(self, other: "Result", value: Callable[[Run], float]) -> float:
        """Return the median of the rounds' ratios: what slows a round slows both sides of it."""
        return median(value(a) / value(b) for a, b in zip(self.runs, other.runs, strict=True))


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a case: a contender, what it reads, and how."""

    contender: str
    dataset: Dataset
    _: KW_ONLY
    label: str = ""
    source: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    server_pids: tuple[int, ...] = ()


def wall(run: Run) -> float:
    return run.wall_s


def cpu(run: Run) -> float:
    return run.cpu_s


class Bench:
    """Runs cases; keeps what they measured."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.smoke: bool = arguments.smoke
        self.rounds: int = 1 if arguments.smoke else arguments.rounds
        self.cache: Path = arguments.cache.resolve()
        self.contenders: list[str] = arguments.contender or [FLOOR, OURS, *ALTERNATIVES]
        self.results: dict[str, list[Result]] = {}
        for contender in list(self.contenders):
            package = ALTERNATIVES.get(contender)
            if package and importlib.util.find_spec(package) is None:
                say(f"{contender}: left out, {package} is not installed (extra `bench`)")
                self.contenders.remove(contender)

    def dataset(self, name: str) -> Dataset:
        command = [sys.executable, "-m", "datasets", name, "--cache", str(self.cache)]
        if self.smoke:
            command.append("--smoke")
        done = subprocess.run(
            command, env=environment({}), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        return Dataset.read(Path(done.stdout.strip()))

    def run_case(self, case: str, entries: Sequence[Entry]) -> list[Result]:
        """Run the entries in turn, A B C A B C …, so that all see the machine alike."""
        results = [Result(e.label or e.contender, e.dataset.text_bytes) for e in entries]
        for number in range(self.rounds):
            for entry, result in zip(entries, results, strict=True):
                run = self.run(entry)
                result.runs.append(run)
                say(f"{case}, round {number + 1}: {result.contender} {run.wall_s:.2f} s")
        self.results[case] = results
        return results

    def run(self, entry: Entry) -> Run:
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="out-") as folder:
            dest = Path(folder) / "lake"
            task_file = Path(folder) / "task.json"
            entry.dataset.task(dest, THREADS, entry.source).write(task_file)
            # What the run before wrote must not go to the disk at this one's expense.
            os.sync()
            server_before = cpu_of_processes(entry.server_pids)
            run, output = measure(entry.contender, task_file, entry.environment)
            server_after = cpu_of_processes(entry.server_pids)
            if entry.contender == FLOOR:
                return run
            if entry.contender in READERS:
                if int(output) != entry.dataset.totals.rows:
                    raise SystemExit(f"{entry.contender}: {int(output)} rows")
                return run
            self.check(task_file, entry)
            files = list(dest.rglob("*.parquet"))
            return Run(
                wall_s=run.wall_s,
                cpu_s=run.cpu_s,
                peak_bytes=run.peak_bytes,
                output_bytes=sum(file.stat().st_size for file in files),
                files=len(files),
                server_cpu_s=server_after - server_before if entry.server_pids else None,
            )

    def check(self, task_file: Path, entry: Entry) -> None:
        """End the benchmark if the output is not what went in: such a time means nothing."""
        command = [sys.executable, "-m", "check_output", str(task_file)]
        done = subprocess.run(
            command, env=environment({}), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{entry.contender}: its output is wrong")
        found = Totals(**json.loads(done.stdout))
        if found != entry.dataset.totals:
            raise SystemExit(
                f"{entry.contender}: {found}, but the logs have {entry.dataset.totals}"
            )


def measure(contender: str, task_file: Path, variables: Mapping[str, str]) -> tuple[Run, bytes]:
    """Run a contender in a process of its own; also return its output.

    A new process counts the memory of the one that started it as its own peak so far, so this
    process must stay smaller than any contender: it imports none of their libraries, and boto3 for
    the S3 case, which is the last, only.
    """
    command = [sys.executable, "-m", f"contenders.{contender}", str(task_file)]
    return run_process(contender, command, variables)


def run_process(
    what: str,
    command: Sequence[str],
    variables: Mapping[str, str] | None = None,
    codes: Collection[int] = (0,),
) -> tuple[Run, bytes]:
    """Run a process to its end; return what it took, and its output.

    Raises:
        SystemExit: Its exit code is none of these.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment(variables or {}), cwd=ROOT, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode not in codes:
            text = (output.read() + errors.read()).decode(errors="replace")[-3000:]
            raise SystemExit(f"{what}: exit code {process.returncode}\n{text}")
        unit = 1 if sys.platform == "darwin" else 1024
        run = Run(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_bytes=usage.ru_maxrss * unit,
        )
        return run, output.read()


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    paths = [str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def cpu_of_processes(pids: Sequence[int]) -> float:
    """Return the CPU seconds that processes have taken so far; 0 where the system has no /proc."""
    ticks = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            # The name, in parentheses, may hold spaces.
            values = stat.read_text().rpartition(")")[2].split()
            ticks += int(values[11]) + int(values[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# --- cases ---


def compare(bench: Bench, name: str) -> None:
    """All contenders on one data set."""
    dataset = bench.dataset(name)
    results = bench.run_case(name, [Entry(c, dataset) for c in bench.contenders])
    floor = find(results, FLOOR)
    best = min(
        (r for r in results if r.contender in ALTERNATIVES), key=lambda r: r.wall_s, default=None
    )
    print_table(
        f"{name}: {dataset.objects:,} objects, {dataset.totals.rows:,} records, "
        f"{dataset.text_bytes / 1e6:,.0f} MB of text, {dataset.gzip_bytes / 1e6:,.0f} MB of gzip",
        (*HEADER, "wall / best", "CPU / gunzip"),
        [
            [
                *common_cells(result),
                f"{result.ratio_to(best, wall):.2f}" if best and result is not floor else "",
                f"{result.ratio_to(floor, cpu):.1f}" if floor else "",
            ]
            for result in results
        ],
    )
    ours = find(results, OURS)
    if bench.smoke or ours is None or best is None or floor is None:
        return
    print_target(f"{name}: wall / {best.contender}", ours.ratio_to(best, wall), MOST_WALL[name])
    if name == "large_v5":
        print_target(f"{name}: CPU / gunzip", ours.ratio_to(floor, cpu), 6)
        if polars := find(results, "polars_scan_csv"):
            ratio = ours.output_bytes / polars.output_bytes
            print_target(f"{name}: output / polars_scan_csv", ratio, 0.65)


# Of the fastest alternative.
MOST_WALL = {"large_v5": 0.5, "large_v2": 0.55, "small_v5": 0.4}


def compare_reading(bench: Bench) -> None:
    """Reading alone, to the last batch, against polars' collect."""
    dataset = bench.dataset("large_v5")
    ours, polars = results = bench.run_case("read", [Entry(name, dataset) for name in READERS])
    print_table(
        "read: large_v5 to memory",
        (*HEADER, "wall / polars"),
        [[*common_cells(result), f"{result.ratio_to(polars, wall):.2f}"] for result in results],
    )
    if not bench.smoke:
        print_target("read: wall / polars' collect", ours.ratio_to(polars, wall), 0.7)


def compare_one_object(bench: Bench) -> None:
    """As many records in one object as in twelve."""
    many, one = bench.dataset("large_v5"), bench.dataset("one_v5")
    results = bench.run_case(
        "one_object",
        [Entry(OURS, set_, label=f"{OURS}, {set_.objects} objects") for set_ in (many, one)],
    )
    ratio = results[1].ratio_to(results[0], wall)
    print_table(
        f"one_object: {one.totals.rows:,} records in one object",
        (*HEADER, "wall / many"),
        [
            [*common_cells(result), text]
            for result, text in zip(results, ("1.00", f"{ratio:.2f}"), strict=True)
        ],
    )
    if not bench.smoke:
        print_target(f"one object: wall / {many.objects} objects", ratio, 1.3)


def compare_memory(bench: Bench) -> None:
    """flowconv's peak memory on an input and on four times as much."""
    once, four_times = bench.dataset("large_v5"), bench.dataset("large_v5_x4")
    results = bench.run_case(
        "memory",
        [
            Entry(OURS, dataset, label=f"{OURS}, {dataset.objects} objects")
            for dataset in (once, four_times)
        ],
    )
    print_table(
        f"memory: large_v5, and the same four times, with {THREADS} workers",
        HEADER,
        [common_cells(result) for result in results],
    )
    if not bench.smoke:
        print_target("memory: peak MB", max(r.peak_bytes for r in results) / 1e6, 400)
        # Which pieces are in memory together is chance, so "equal" leaves it some room.
        print_target(
            "memory: peak, four times / once", results[1].peak_bytes / results[0].peak_bytes, 1.1
        )


CASES: dict[str, Callable[[Bench], None]] = {
    **{name: partial(compare, name=name) for name in ("large_v5", "large_v2", "small_v5")},
    "read": compare_reading,
    "one_object": compare_one_object,
    "memory": compare_memory,
}


# --- what is printed ---


def find(results: Sequence[Result], contender: str) -> Result | None:
    return next((result for result in results if result.contender == contender), None)


def common_cells(result: Result) -> list[str]:
    written = result.output_bytes > 0
    return [
        result.contender,
        f"{result.wall_s:.2f}",
        f"{result.cpu_s:.2f}",
        f"{result.text_bytes / 1e6 / result.wall_s:.0f}",
        f"{result.peak_bytes / 1e6:.0f}",
        f"{result.output_bytes / 1e6:.1f}" if written else "",
        str(result.runs[-1].files) if written else "",
    ]


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that Markdown reads too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def print_row(cells: Sequence[str]) -> None:
        first, *rest = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        print(f"| {first} | {' | '.join(rest)} |")

    print(f"\n{title}\n")
    print_row(header)
    print_row(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for row in rows:
        print_row(row)
    sys.stdout.flush()


def print_target(what: str, value: float, most: float) -> None:
    print(f"target: {what} at most {most:g}: {value:.2f}, {'met' if value <= most else 'MISSED'}")


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def warn_if_busy() -> None:
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"The machine is busy (load {load:.1f}): trust CPU seconds more than wall time.")


def compile_modules() -> None:
    """Compile flowconv's modules, as pip does it for what it installs.

    Under PYTHONDONTWRITEBYTECODE, each run of flowconv would compile them again, for 0.4 s, and
    the alternatives would not.
    """
    compileall.compile_dir(ROOT / "flowconv", quiet=1)


def machine() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ("pyarrow", "isal", "numpy", *ALTERNATIVES.values())
    found = {name for name in packages if importlib.util.find_spec(name)}
    return {
        "processor": processor(),
        "cores": cores,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in sorted(found)},
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def as_json(bench: Bench) -> dict[str, Any]:
    return {
        "machine": machine(),
        "threads": THREADS,
        "smoke": bench.smoke,
        "cases": {
            case: [
                {
                    "contender": result.contender,
                    "text_bytes": result.text_bytes,
                    "wall_s": round(result.wall_s, 3),
                    "cpu_s": round(result.cpu_s, 3),
                    "peak_bytes": result.peak_bytes,
                    "runs": [asdict(run) for run in result.runs],
                }
                for result in results
            ]
            for case, results in bench.results.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--case", action="append", choices=CASES, help="only this; may be repeated")
    parser.add_argument(
        "--contender",
        action="append",
        choices=[FLOOR, OURS, *ALTERNATIVES],
        help="only this; may be repeated",
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (5)")
    parser.add_argument("--smoke", action="store_true", help="tiny logs, one round: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all runs there")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="where logs are kept and output goes (.bench)"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: the least is 1")
    warn_if_busy()
    compile_modules()
    bench = Bench(arguments)
    bench.cache.mkdir(parents=True, exist_ok=True)
    for case, run in CASES.items():
        if case in (arguments.case or CASES):
            run(bench)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(bench), indent=2) + "\n")


if __name__ == "__main__":
    main()
