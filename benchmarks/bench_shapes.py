"""The same records in every shape, and dirty ones: speed must not depend on how logs lie there.

See README.md, or `python benchmarks/bench_shapes.py --help`.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench_convert import machine, print_table, print_target, run_process, say, warn_if_busy
from datasets import CACHE

# Name -> options of `flowconv generate`. All are of the default version 2 format, which logs
# without a header mostly have.
SHAPES: dict[str, tuple[str, ...]] = {
    "header": (),
    "1 % bad lines": ("--bad-lines", "0.01"),
    "double spaces": ("--double-spaces",),
    "headerless": ("--shape", "headerless"),
    "cloudwatch-export": ("--shape", "cloudwatch-export"),
    "subscription": ("--shape", "subscription"),
    "firehose": ("--shape", "firehose"),
    "parquet": ("--shape", "parquet"),
}
BASE = "header"
OBJECTS, RECORDS = 12, 250_000
SMOKE_OBJECTS, SMOKE_RECORDS = 2, 2_000

# Of the wall time of the same records as plain text.
MOST = {
    "1 % bad lines": 1.1,
    "double spaces": 1.3,
    "subscription": 1.5,
    "firehose": 1.5,
    "parquet": 1.2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """One run of `flowconv convert`, as its process was measured from outside.

    Attributes:
        wall_s: From its start to its end.
        cpu_s: User and system time.
        peak_bytes: Its largest resident memory.
        rows: Rows in the lake.
        text_bytes: What was read, unpacked.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    rows: int
    text_bytes: int


def make(cache: Path, name: str, objects: int, records: int) -> Path:
    """Generate the logs of a shape, unless they are there."""
    options = SHAPES[name]
    logs = cache / "shapes" / f"{name.replace(' ', '-')}-{objects}x{records}"
    if not logs.exists():
        say(f"generating {name}")
        command = [
            *(sys.executable, "-m", "flowconv", "generate", str(logs), "--versions", "2"),
            *("--accounts", "1", "--regions", "1", "--days", "1", "--no-custom-orders"),
            *("--objects", str(objects), "--records", str(records), *options),
        ]
        run_process(name, command)
    return logs


def convert(logs: Path, cache: Path) -> Converted:
    """Convert in a process of its own.

    Raises:
        SystemExit: It failed.
    """
    with tempfile.TemporaryDirectory(dir=cache, prefix="out-") as lake:
        command = [
            *(sys.executable, "-m", "flowconv", "convert", str(logs), f"{lake}/lake", "--json"),
            *("--format", "default", "--workers", "2"),
        ]
        os.sync()
        # 3: some lines were rejected.
        run, output = run_process(str(logs), command, codes=(0, 3))
    report = json.loads(output)
    if report["unreadable"]:
        raise SystemExit(f"{logs}: {report['unreadable']}")
    rows, text_bytes = report["lines"]["rows"], report["text_bytes"]
    return Converted(
        wall_s=run.wall_s,
        cpu_s=run.cpu_s,
        peak_bytes=run.peak_bytes,
        rows=rows,
        text_bytes=text_bytes,
    )


def cells(name: str, runs: list[Converted], base: list[Converted]) -> list[str]:
    wall_s, cpu_s = median(run.wall_s for run in runs), median(run.cpu_s for run in runs)
    return [
        name,
        f"{runs[0].rows:,}",
        f"{runs[0].text_bytes / 1e6:.0f}",
        f"{wall_s:.2f}",
        f"{cpu_s:.2f}",
        f"{runs[0].text_bytes / 1e6 / wall_s:.0f}",
        f"{median(run.peak_bytes for run in runs) / 1e6:.0f}",
        f"{ratio(runs, base):.2f}",
        f"{cpu_s / median(run.cpu_s for run in base):.2f}",
    ]


def ratio(runs: list[Converted], base: list[Converted]) -> float:
    """Return the median of the rounds' ratios of wall time: a round's runs are neighbours."""
    return median(run.wall_s / other.wall_s for run, other in zip(runs, base, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3, help="times that each shape is converted")
    parser.add_argument("--smoke", action="store_true", help="small logs, once: does it work?")
    parser.add_argument("--objects", type=int, default=OBJECTS, help="how many each shape has")
    parser.add_argument("--records", type=int, default=RECORDS, help="how many an object has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where logs are kept (.bench)")
    arguments = parser.parse_args()
    warn_if_busy()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    size = arguments.objects, arguments.records
    if arguments.smoke:
        size = SMOKE_OBJECTS, SMOKE_RECORDS
    logs = {name: make(cache, name, *size) for name in SHAPES}
    runs: dict[str, list[Converted]] = {name: [] for name in SHAPES}
    for number in range(1 if arguments.smoke else arguments.rounds):
        for name in SHAPES:
            runs[name].append(convert(logs[name], cache))
            say(f"round {number + 1}: {name} {runs[name][-1].wall_s:.2f} s")
    base = runs[BASE]
    print_table(
        f"shapes: {size[0]} objects of {size[1]:,} records each, version 2",
        (
            *("", "rows", "MB of lines", "wall s", "CPU s", "MB/s", "peak MB"),
            *(f"wall / {BASE}", f"CPU / {BASE}"),
        ),
        [cells(name, of_shape, base) for name, of_shape in runs.items()],
    )
    if size == (OBJECTS, RECORDS):
        for name, most in MOST.items():
            print_target(f"{name}: wall / {BASE}", ratio(runs[name], base), most)
    if arguments.json:
        measured = {name: [asdict(run) for run in of_shape] for name, of_shape in runs.items()}
        written = {"machine": machine(), "shapes": measured}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
