"""Runs on Dask, and what they take; a program, so that each has a process of its own.

`simulate` converts nothing: listing, planner, engine and ledger are real, for millions of keys.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from distributed import Client

from flowconv.blocks.counts import LineCounts
from flowconv.cli.app import _WithoutPandas
from flowconv.conversion import converting, remote
from flowconv.conversion.planning import Task
from flowconv.conversion.remote import Conversion, ConvertedTask
from flowconv.conversion.report import TaskResult
from flowconv.engines.dask import dask_client
from flowconv.lake.ledger_records import ConvertedObject, DataFile
from flowconv.options import ConvertOptions
from flowconv.source.opening import StorageSource
from flowconv.storage.request_times import RequestTimes
from ledgers import FIELDS, Source

_ROWS = 1000

# Pages of 4 KiB on Linux.
_PAGE = os.sysconf("SC_PAGE_SIZE")


class FakeConversion(Conversion):
    """The work of a run that reads and writes nothing."""

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """See `engines.workers.Work`."""
        yield FakeWorker()


class FakeWorker:
    """Says of each task that it is done."""

    def do(self, task: Task) -> ConvertedTask:
        """Return what a worker would."""
        objects = tuple(
            ConvertedObject(
                uri=one.uri,
                size_bytes=one.size_bytes,
                etag=one.etag,
                day=one.day,
                counts=LineCounts(header=1, rows=_ROWS),
                headers=(FIELDS,),
                flow_log_id=one.flow_log_id,
            )
            for one in task.log_objects
        )
        place = f"aws_account_id={task.account_id}/aws_region={task.region}/date={task.day}"
        file = DataFile(
            path=f"vpc/{place}/{task.id}-1-0000.parquet",
            rows=_ROWS * len(objects),
            size_bytes=10_000_000,
            crc32=0,
        )
        result = TaskResult(
            task_id=task.id,
            objects=objects,
            unreadable={},
            rejected=Counter(),
            unknown_fields=frozenset(),
            left_out_columns=frozenset(),
            left_out_log_groups=Counter(),
            unfit_log_groups=Counter(),
            text_bytes=0,
            files=(file,),
            logged={},
        )
        return ConvertedTask(
            result=result,
            name=f"{task.id}-1",
            files=(),
            progress={"objects": len(objects), "source_bytes": task.size_bytes},
            busy_s=0.0,
            waited_s={},
            retries=0,
            requests=(RequestTimes(), RequestTimes()),
        )


def convert(logs: str, lake: str, engine: str) -> dict[str, float]:
    """Convert logs twice, and measure the second time, when all is loaded."""
    with dask_client(None, 2) if engine == "dask" else nullcontext() as client:
        for number in range(2):
            began, cpu_began = time.perf_counter(), _cpu_s(client)
            options = ConvertOptions(workers=2)
            report = converting.convert(logs, f"{lake}-{number}", options, engine=client)
            wall_s, cpu_s = time.perf_counter() - began, _cpu_s(client) - cpu_began
    return {"wall_s": wall_s, "cpu_s": cpu_s, "rows": report.lines.rows}


def _cpu_s(client: Client | None) -> float:
    """Return the CPU seconds of this process and of the workers so far."""
    of_workers: dict[str, float] = client.run(time.process_time) if client else {}
    return time.process_time() + sum(of_workers.values())


def simulate(lake: str, objects: int) -> dict[str, float]:
    """Do as if what is listed were converted, on two workers; without pandas, as the command.

    Raises:
        SystemExit: Not every object is in the ledger; the time would mean nothing.
    """
    sys.meta_path.insert(0, _WithoutPandas())
    source = Source(objects)
    logs: Any = StorageSource(source)  # type: ignore[arg-type]  # it can only be listed
    with (
        dask_client(None, 2) as client,
        # Nothing here outlives a crash, and this is no benchmark of the disk. A mock would keep all
        # of its calls, some kB for each task.
        mock.patch("os.fsync", int),
        mock.patch.object(converting, "open_source", return_value=logs),
        mock.patch.object(remote, "Conversion", FakeConversion),
    ):
        before_bytes = _resident_bytes()
        began, cpu_began = time.perf_counter(), time.process_time()
        report = converting.convert(source.root, lake, ConvertOptions(workers=2), engine=client)
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    tasks = sum(worker.tasks for worker in report.workers.values())
    if (report.objects, tasks) != (objects, len(source.folders())):
        raise SystemExit(f"{report.objects} of {objects} objects were converted, in {tasks} tasks")
    files = [path for path in Path(lake).rglob("_flowconv/ledger/*") if path.is_file()]
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "tasks": tasks,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "grown_bytes": peak_bytes - before_bytes,
        "ledger_files": len(files),
        "ledger_bytes": sum(path.stat().st_size for path in files),
    }


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=["threads", "dask", "simulate"])
    parser.add_argument("of", help="a folder of logs, or a number of objects")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dask-") as folder:
        lake = f"{folder}/lake"
        if arguments.what == "simulate":
            figures = simulate(lake, int(arguments.of))
        else:
            figures = convert(arguments.of, lake, arguments.what)
    print(json.dumps(figures))


if __name__ == "__main__":
    # Workers find the classes by the module's name.
    import dask_runs

    dask_runs.main()
