"""What each stage of a conversion costs: flowconv's own stages, one thread, one task at a time.

The stages take turns block by block, as in a conversion, so the caches see what they see there.
See README.md, or `python benchmarks/bench_stages.py --help`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from isal import igzip

from datasets import CACHE, Dataset, make
from flowconv.blocks.block import BlockEnd, next_block
from flowconv.blocks.declared_formats import declared_formats
from flowconv.blocks.reading import read_blocks
from flowconv.conversion.planning import Task, plan_tasks
from flowconv.lake.writing import TaskWriter
from flowconv.options import ConvertOptions
from flowconv.rows.extracting import fail
from flowconv.rows.normalising import normalise
from flowconv.rows.parsing import BlockParser
from flowconv.rows.partitioning import split_by_partition
from flowconv.source.fetching import ObjectFetcher
from flowconv.source.opening import Source, StorageSource
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage

# In the order of the work. `gunzip` alone is the floor, and no part of the total: `read` does it.
FLOOR = "gunzip"
STAGES = ("list", "read", "parse", "normalise", "partition", "write", "publish")


@dataclass(slots=True)
class Clock:
    """Adds up what each stage takes.

    Attributes:
        wall_s: By stage.
        cpu_s: By stage; of all threads of this process.
    """

    wall_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.perf_counter() - wall
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + time.process_time() - cpu


def run(dataset: Dataset, lake: Path) -> Clock:
    """Convert a data set stage by stage.

    Raises:
        SystemExit: The rows are not those of the logs; times would mean nothing.
    """
    clock = Clock()
    buffer = bytearray(1 << 20)
    with clock.stage(FLOOR):
        for path in Path(dataset.folder).rglob("*.log.gz"):
            with igzip.open(path) as text:  # type: ignore[no-untyped-call]
                while text.readinto(buffer):
                    pass
    options = ConvertOptions(workers=1)
    source, dest = StorageSource(open_storage(dataset.folder)), open_storage(str(lake))
    with clock.stage("list"):
        tasks = plan_tasks(source.list_objects(), options)
    rows = sum(run_task(task, source, dest, options, clock) for task in tasks)
    if rows != dataset.totals.rows:
        raise SystemExit(f"converted {rows} rows, but the logs have {dataset.totals.rows}")
    return clock


def run_task(
    task: Task, source: Source, dest: Storage, options: ConvertOptions, clock: Clock
) -> int:
    """Convert a task's objects; return how many rows were written."""
    fetcher = ObjectFetcher(source, task.log_objects)
    declared = declared_formats()
    parser = BlockParser(declared)
    writer = TaskWriter(dest, task.id, options)
    blocks = read_blocks(task.log_objects, fetcher.open, declared, fail)
    end: BlockEnd | None = None
    while True:
        with clock.stage("read"):
            block = next_block(blocks, end)
        if block is None:
            break
        with clock.stage("parse"):
            parsed = parser.parse(block)
            end = parsed.end
        for batch in parsed.batches:
            with clock.stage("normalise"):
                flows = normalise(batch, options.time_type)
            with clock.stage("partition"):
                pieces = list(split_by_partition(flows, options.partition_by, None, None))
            with clock.stage("write"):
                for key, piece in pieces:
                    writer.write(key, piece)
    with clock.stage("write"):
        staged = writer.close()
    with clock.stage("publish"):
        for file in staged:
            file.sink.publish()
    return sum(file.file.rows for file in staged)


def print_stages(name: str, dataset: Dataset, clocks: list[Clock]) -> dict[str, dict[str, float]]:
    text_mb = dataset.text_bytes / 1e6
    cpu = {s: median(clock.cpu_s.get(s, 0.0) for clock in clocks) for s in (FLOOR, *STAGES)}
    wall = {s: median(clock.wall_s.get(s, 0.0) for clock in clocks) for s in (FLOOR, *STAGES)}
    totals = sum(cpu[stage] for stage in STAGES), sum(wall[stage] for stage in STAGES)
    print(f"\n{name}: {dataset.objects:,} objects, {text_mb:,.0f} MB of text, one thread\n")
    print("| stage     |  CPU s | wall s | MB/s of CPU | share |")
    print("| --------- | -----: | -----: | ----------: | ----: |")
    lines = [(stage, cpu[stage], wall[stage]) for stage in (FLOOR, *STAGES)]
    for stage, cpu_s, wall_s in [*lines, ("total", *totals)]:
        speed = f"{text_mb / cpu_s:,.0f}" if cpu_s > 0 else ""
        share = "" if stage == FLOOR else f"{cpu_s / totals[0]:.0%}"
        print(f"| {stage:<9} | {cpu_s:6.2f} | {wall_s:6.2f} | {speed:>11} | {share:>5} |")
    return {"cpu_s": cpu, "wall_s": wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    names = ("large_v5", "large_v2", "small_v5")
    parser.add_argument("--case", action="append", choices=names, help="only this; repeatable")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--smoke", action="store_true", help="tiny logs, one round: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="where logs are kept and output goes (.bench)"
    )
    arguments = parser.parse_args()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in arguments.case or names:
        dataset = make(name, cache, smoke=arguments.smoke)
        clocks = []
        for _ in range(1 if arguments.smoke else arguments.rounds):
            with tempfile.TemporaryDirectory(dir=cache, prefix="out-") as folder:
                clocks.append(run(dataset, Path(folder) / "lake"))
        results[name] = print_stages(name, dataset, clocks)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
