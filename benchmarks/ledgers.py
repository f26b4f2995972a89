"""Lakes with large ledgers but no rows, and what is measured of them.

Run as a program, in a process of its own, so that its memory can be measured from outside.
"""

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

from flowconv.blocks.counts import LineCounts
from flowconv.conversion import converting
from flowconv.lake.layout import ensure_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Commit, ConvertedObject, DataFile, Run
from flowconv.options import ConvertOptions
from flowconv.source.listing import list_objects
from flowconv.source.opening import StorageSource
from flowconv.storage.interface import Folder, Storage, StoredFile
from flowconv.storage.opening import open_storage
from flowconv.storage.request_times import RequestTimes
from flowconv.upkeep import completeness

# What AWS delivers of one flow log: an object every five minutes.
OBJECTS_PER_DAY = 288
_ACCOUNTS = ("123456789012", "210987654321")
_REGIONS = ("ap-southeast-2", "eu-central-1")
_FIRST_DAY = date(2024, 1, 1)
_BUCKET = "example-flow-logs-archive"
FIELDS = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start "
    "end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr "
    "region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service "
    "flow-direction traffic-path"
)

# The last run was a night's: its few commits are not merged yet.
_UNMERGED_TASKS = 40


@dataclass(frozen=True, slots=True)
class Source:
    """A bucket whose objects are made up as they are listed; none can be read.

    Attributes:
        objects: Their number.
    _: KW_ONLY
    """

    objects: int
    root: str = f"s3://{_BUCKET}"
    is_local: bool = False
    retries: int = 0
    times: RequestTimes = field(default_factory=RequestTimes)

    def give_up(self) -> None:
        """Nothing is under way."""

    def uri(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def location(self, path: str) -> str:
        return self.uri(path)

    def key(self, path: str) -> str:
        return path

    def is_within(self, _: Storage) -> bool:
        return False

    def folders(self) -> dict[str, int]:
        """Return the number of objects by folder, one for each day of a flow log, in order."""
        days = -(-self.objects // (OBJECTS_PER_DAY * len(_ACCOUNTS) * len(_REGIONS)))
        folders = [
            f"AWSLogs/{account}/vpcflowlogs/{region}/{_FIRST_DAY + timedelta(day):%Y/%m/%d}/"
            for account in _ACCOUNTS
            for region in _REGIONS
            for day in range(days)
        ]
        share, rest = divmod(self.objects, len(folders))
        return {folder: share + (n < rest) for n, folder in enumerate(folders)}

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        for folder, number in self.folders().items():
            if folder.startswith(below):
                yield from _objects(folder, number)

    def list_first(self) -> Iterator[StoredFile]:
        return islice(self.list_files(), 1)

    def list_folder(self, below: str = "") -> Iterator[StoredFile | Folder]:
        inside = {f[len(below) :].partition("/")[0] for f in self.folders() if f.startswith(below)}
        return iter([Folder(f"{below}{name}/") for name in sorted(inside)])


def _objects(folder: str, number: int) -> Iterator[StoredFile]:
    _, account, _, region, year, month, day = folder.rstrip("/").split("/")
    for minute in range(0, 5 * number, 5):
        time_ = f"{year}{month}{day}T{minute // 60:02}{minute % 60:02}Z"
        etag = md5(f"{folder}{time_}".encode(), usedforsecurity=False).hexdigest()
        name = f"{account}_vpcflowlogs_{region}_fl-0a1b2c3d4e5f60718_{time_}_{etag[:8]}.log.gz"
        yield StoredFile(f"{folder}{name}", 50_000 + minute, etag)


def make(lake: str, objects: int) -> dict[str, float]:
    """Write a ledger with so many converted objects, a task for each day of a flow log."""
    storage = open_storage(lake)
    ensure_layout(storage, ConvertOptions(workers=1), None, {})
    source = Source(objects)
    tasks = (_task(source, folder, number) for folder, number in source.folders().items())
    number_tasks = len(source.folders())
    unmerged = min(_UNMERGED_TASKS, number_tasks // 4)
    _run(storage, "first", islice(tasks, number_tasks - unmerged))
    _run(storage, "second", tasks)
    return {"tasks": number_tasks}


def _run(storage: Storage, run_id: str, commits: Iterable[Commit]) -> None:
    # Nothing here outlives a crash, and the benchmark is not one of the disk. A mock would keep all
    # of its calls.
    with mock.patch("os.fsync", int):
        ledger = Ledger.read(storage)
        run = Run(run_id=run_id, began=datetime.now(UTC), host="host")
        ledger.begin(run, {})
        for commit in commits:
            ledger.commit(commit)
        ledger.end(replace(run, ended=datetime.now(UTC), report={"failure": ""}))


def _task(source: Source, folder: str, number: int) -> Commit:
    _, account, _, region, year, month, day = folder.rstrip("/").split("/")
    task_id = md5(folder.encode(), usedforsecurity=False).hexdigest()[:20]
    objects = tuple(
        ConvertedObject(
            uri=source.uri(file.path),
            size_bytes=file.size_bytes,
            etag=file.etag,
            day=date(int(year), int(month), int(day)),
            counts=LineCounts(header=1, rows=1000),
            headers=(FIELDS,),
        )
        for file in _objects(folder, number)
    )
    directory = f"vpc/aws_account_id={account}/aws_region={region}/date={year}-{month}-{day}"
    file = DataFile(
        path=f"{directory}/{task_id}-0.parquet",
        rows=1000 * len(objects),
        size_bytes=10_000_000,
        crc32=0,
    )
    return Commit(task_id=task_id, run_id="first", objects=objects, files=(file,))


def run(lake: str, objects: int) -> dict[str, float]:
    """Convert what is listed, which is nothing new.

    Raises:
        SystemExit: Not all of it was found in the ledger; the time would mean nothing.
    """
    source = Source(objects)

    logs: Any = StorageSource(source)  # type: ignore[arg-type]  # it can only be listed
    with mock.patch.object(converting, "open_source", return_value=logs):
        report = converting.convert(source.root, lake, ConvertOptions(workers=2))
    if (report.already_converted, report.objects, report.complete) != (objects, 0, True):
        raise SystemExit(f"the ledger has {report.already_converted} of {objects} objects")
    files = [path for path in Path(lake).rglob("_flowconv/ledger/*") if path.is_file()]
    return {"files": len(files), "size_bytes": sum(path.stat().st_size for path in files)}


def list_(objects: int) -> dict[str, float]:
    """List what `run` lists, and do nothing with it."""
    source: Any = Source(objects)
    if sum(1 for _ in list_objects(source)) != objects:
        raise SystemExit("the listing is not complete")
    return {}


def merge(lake: str) -> dict[str, float]:
    """Merge the commits since the last checkpoint."""
    ledger = Ledger.read(open_storage(lake))
    began = time.perf_counter()
    ledger.merge()
    return {"merge_s": time.perf_counter() - began}


def gaps(lake: str, objects: int) -> dict[str, float]:
    """Look for gaps.

    Raises:
        SystemExit: Not all objects were looked at.
    """
    report = completeness.gaps(lake, quick=True)
    if sum(log.objects for log in report.flow_logs) != objects:
        raise SystemExit("gaps did not see every object")
    return {"gaps": len(report.gaps), "gaps_s": report.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=["make", "run", "list", "merge", "gaps"])
    parser.add_argument("lake")
    parser.add_argument("objects", type=int)
    arguments = parser.parse_args()
    lake = os.path.abspath(arguments.lake)  # noqa: PTH100  # as flowconv does it
    figures = {
        "make": lambda: make(lake, arguments.objects),
        "run": lambda: run(lake, arguments.objects),
        "list": lambda: list_(arguments.objects),
        "merge": lambda: merge(lake),
        "gaps": lambda: gaps(lake, arguments.objects),
    }[arguments.what]()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
