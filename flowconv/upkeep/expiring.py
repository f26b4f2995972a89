"""expire(): days are removed from a lake, and the ledger says so.

    ledger      what is to be removed
    begin       no other run can commit from here on
    intent      the paths of the files
    expire      they no longer count, nor do rows of these days that come later
    delete      the files

A run that is killed before its `expire` has removed nothing. After it, the next run of any kind
finds the intent and deletes the files.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from flowconv.errors import LakeError, UsageError
from flowconv.lake.expired import Expired
from flowconv.lake.gone import as_expired, missing_paths
from flowconv.lake.intents import write_intent
from flowconv.lake.layout import Layout, read_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile, Run
from flowconv.lake.leftovers import list_leftovers, remove_leftovers
from flowconv.lake.locking import Lock, new_run_id
from flowconv.lake.partitions import PartitionStatus, PartitionTotals, partitions_of
from flowconv.notebooks import InNotebooks
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from flowconv.values import as_day


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExpireReport(PartitionTotals, InNotebooks):
    """What was removed from a lake.

    Attributes:
        lake: The lake.
        before: Days before this one were removed; None if `gone` was asked for.
        partitions: The partitions, with the files, rows and bytes that were removed of each.
        dry_run: Nothing was removed; it says what would be.
        seconds: Wall time.
    """

    lake: str
    before: date | None
    partitions: tuple[PartitionStatus, ...]
    dry_run: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lake": self.lake,
            "before": self.before and self.before.isoformat(),
            "files": self.files,
            "rows": self.rows,
            "size_bytes": self.size_bytes,
            "partitions": [asdict(partition) for partition in self.partitions],
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
        }


def expire(
    lake: str | os.PathLike[str],
    before: date | str | None = None,
    *,
    gone: bool = False,
    dry_run: bool = False,
    wait: bool = False,
    options: Mapping[str, str] | None = None,
) -> ExpireReport:
    """Remove the days before a date from a lake, or settle that something else removed files.

    Their objects still count as converted, so no run converts them again. New objects of these days
    are left out; rows of these days in other objects are counted, and not written.

    Args:
        lake: The lake: the DEST given to `convert`.
        before: The first day to keep: a date, or a text such as `2026-01-14` or `90d`.
        gone: In its place, settle that files are gone, for example by a lifecycle rule. A
            partition of which no file is left, and whose day ended some days ago, counts as
            removed for ever.
        dry_run: Remove nothing, and return what would be.
        wait: Wait while another run writes to the lake, instead of failing.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        The partitions that were removed; those of earlier calls are not among them.

    Raises:
        UsageError: Neither or both of `before` and `gone` are given, or the day lies in the future.
        LakeError: There is no lake, it is not partitioned by date, its ledger is damaged, or
            another run writes to it.
        StorageError: The lake does not answer.
    """
    started = time.monotonic()
    day = _checked_day(before, gone=gone)
    storage = open_storage(lake, options or {})
    layout = read_layout(storage)
    if day and not {"date", "eventDay"}.intersection(layout.partition_by):
        raise LakeError(
            f"the lake is partitioned by {', '.join(layout.partition_by)}, not by date, so no day "
            "can be removed from it.",
            uri=storage.root,
        )
    run_id = new_run_id()
    with nullcontext() if dry_run else Lock(storage, run_id, wait=wait) as lock:
        ledger = lock.read_ledger() if lock else Ledger.read(storage)
        files = [file for file, _ in ledger.files().values()]
        expired = Expired(before=day)
        if gone:
            expired = as_expired(files, missing_paths(storage, [file.path for file in files]))
        removed = [file for file in files if expired.has_file(file.path)]
        if lock:
            _remove(storage, layout, ledger, run_id, expired, removed)
    return ExpireReport(
        lake=storage.root,
        before=day,
        partitions=partitions_of(file for file in removed if file.is_data),
        dry_run=dry_run,
        seconds=time.monotonic() - started,
    )


def _checked_day(before: date | str | None, *, gone: bool) -> date | None:
    """Return the first day to keep; None if `gone` is asked for in its place.

    Raises:
        UsageError: Neither or both are given, or the day lies in the future.
    """
    day = as_day(before, "--before")
    if gone == (day is not None):
        raise UsageError("give --before DATE, or --gone.")
    if day and day > datetime.now(UTC).date():
        raise UsageError(
            f"--before: {day} lies in the future, and the days until then would never be written. "
            "Give today (UTC) or an earlier day."
        )
    return day


def _remove(
    storage: Storage,
    layout: Layout,
    ledger: Ledger,
    run_id: str,
    expired: Expired,
    files: list[DataFile],
) -> None:
    """Record what has expired, then delete its files; the caller holds the lock."""
    leftovers = list_leftovers(storage, layout)
    run = Run(run_id=run_id, began=datetime.now(UTC), host=socket.gethostname())
    ledger.begin(run, asdict(layout))
    remove_leftovers(storage, ledger, leftovers)
    if ledger.expired() | expired != ledger.expired():
        paths = [file.path for file in files]
        intent = write_intent(storage, run_id, paths)
        ledger.expire(run_id, expired)
        storage.delete(paths)
        storage.delete([intent])
    summary = {
        "expire": True,
        "before": expired.before and expired.before.isoformat(),
        "files": len(files),
        "rows": sum(file.rows for file in files if file.is_data),
        "failure": "",
    }
    ledger.end(replace(run, ended=datetime.now(UTC), report=summary))
