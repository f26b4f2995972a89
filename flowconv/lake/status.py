"""status(): what a lake holds and how its last runs ended, from its ledger alone."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from flowconv.errors import LakeError
from flowconv.lake.coverage import uncovered_days
from flowconv.lake.flow_log_days import FlowLogDay, flow_log_days
from flowconv.lake.gone import gone_partitions, missing_paths, probably_first_deleted
from flowconv.lake.layout import Layout, read_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile, Run
from flowconv.lake.locking import Holder, read_holder
from flowconv.lake.overlaps import Overlap, overlaps_of
from flowconv.lake.partitions import PartitionStatus, PartitionTotals, partitions_of
from flowconv.notebooks import InNotebooks
from flowconv.running import started
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from flowconv.values import require


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run and its state.

    Attributes:
        run: The run, as the ledger has it.
        state: `done`; `failed`, as its report's `failure` says; `running`; or `killed`: it neither
            ended nor holds the lock. Its commits count in any case.
    """

    run: Run
    state: Literal["done", "failed", "running", "killed"]

    @property
    def seconds(self) -> float | None:
        """Its duration in seconds; None if it did not end."""
        return (self.run.ended - self.run.began).total_seconds() if self.run.ended else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "run_id": self.run.run_id,
            "state": self.state,
            "began": self.run.began.isoformat(),
            "ended": self.run.ended and self.run.ended.isoformat(),
            "seconds": self.seconds,
            "host": self.run.host,
            "report": dict(self.run.report),
        }


@dataclass(frozen=True, slots=True)
class LockStatus:
    """A lake's lock.

    Attributes:
        state: `free`; `held`: a run is under way; `dead`: a run was killed, and the next run takes
            over; `damaged`: another program wrote to its file.
        holder: The run that holds it, if it is held or dead.
    """

    state: Literal["free", "held", "dead", "damaged"]
    holder: Holder | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"state": self.state, "holder": self.holder and self.holder._asdict()}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LakeStatus(PartitionTotals, InNotebooks):
    """What a lake holds, and how its last runs ended.

    Attributes:
        lake: The lake.
        layout: What all its files have in common.
        lock: Its lock.
        runs: The last runs, newest first.
        number_runs: Number of all runs.
        objects: Number of converted objects.
        partitions: Its partitions, by name.
        rejected: Number of lines in the quarantine.
        rejected_objects: Number of objects with rejected lines.
        expired_before: Days before this one were removed by `flowconv expire`; None: no day was.
        expired_rows: Rows that were removed, or came too late for a day that was.
        gone: Partitions of which no file is left, though nobody said so to flowconv.
        newest_record: Start of the newest record that any run wrote, in UTC; None if none is known.
            Runs that were killed do not count.
        newest_object: The time in the name of the newest object that any run converted, likewise.
        uncovered: Source -> days that no run covered, between one run's `--until` and the next
            one's `--since`.
        flow_logs: Objects of each flow log on the last whole day, and how many are usual.
        overlaps: Pairs of flow logs that logged the same interfaces at once, as runs have found
            them.
    """

    lake: str
    layout: Layout
    lock: LockStatus
    runs: tuple[RunStatus, ...]
    number_runs: int
    objects: int
    partitions: tuple[PartitionStatus, ...]
    rejected: int
    rejected_objects: int
    expired_before: date | None = None
    expired_rows: int = 0
    gone: tuple[str, ...] = ()
    newest_record: datetime | None = None
    newest_object: datetime | None = None
    uncovered: Mapping[str, Sequence[date]] = field(default_factory=dict)
    flow_logs: tuple[FlowLogDay, ...] = ()
    overlaps: tuple[Overlap, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lake": self.lake,
            "schema": self.layout.schema,
            "partition_by": list(self.layout.partition_by),
            "time_type": self.layout.time_type,
            "lock": self.lock.to_dict(),
            "objects": self.objects,
            "rows": self.rows,
            "files": self.files,
            "size_bytes": self.size_bytes,
            "rejected": self.rejected,
            "rejected_objects": self.rejected_objects,
            "expired_before": self.expired_before and self.expired_before.isoformat(),
            "expired_rows": self.expired_rows,
            "gone": list(self.gone),
            "newest_record": self.newest_record and self.newest_record.isoformat(),
            "newest_record_age_s": age_s(self.newest_record),
            "newest_object": self.newest_object and self.newest_object.isoformat(),
            "newest_object_age_s": age_s(self.newest_object),
            "uncovered": {
                source: [day.isoformat() for day in days] for source, days in self.uncovered.items()
            },
            "flow_logs": [flow_log.to_dict() for flow_log in self.flow_logs],
            "overlaps": [overlap.to_dict() for overlap in self.overlaps],
            "number_runs": self.number_runs,
            "runs": [run.to_dict() for run in self.runs],
            "partitions": [asdict(partition) for partition in self.partitions],
        }


def status(
    lake: str | os.PathLike[str], *, runs: int = 10, options: Mapping[str, str] | None = None
) -> LakeStatus:
    """Return what a lake holds and how its last runs ended; only its ledger is read.

    In S3 all files are looked for only if one that a lifecycle rule would have deleted first is
    gone.

    Args:
        lake: The lake: the DEST given to `convert`.
        runs: Number of runs to return, counted from the last.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Raises:
        LakeError: There is no lake, or its ledger is damaged.
        StorageError: The lake does not answer.
    """
    require(runs, int, "runs")
    storage = open_storage(lake, options)
    # Read before the ledger: a run that ends in between would look killed in the other order.
    lock_read = started(lambda: read_lock(storage))
    layout = read_layout(storage)
    lock = lock_read.result()
    return status_of(Ledger.read(storage), storage, layout, lock, runs=runs)


def status_of(
    ledger: Ledger, storage: Storage, layout: Layout, lock: LockStatus, *, runs: int
) -> LakeStatus:
    """Return the status of a lake whose ledger, and before it whose lock, was read.

    Raises:
        LakeError: The ledger is damaged.
        StorageError: The lake does not answer.
    """
    all_runs = ledger.runs()
    objects: Any = ledger.objects("rejected", "dropped").to_pylist()
    with_rejects = [row for row in objects if row["rejected"]]
    files = [file for file, _ in ledger.files().values() if file.is_data]
    return LakeStatus(
        lake=storage.root,
        layout=layout,
        lock=lock,
        runs=tuple(RunStatus(run, _state(run, lock)) for run in all_runs[::-1][:runs]),
        number_runs=len(all_runs),
        objects=len(objects),
        partitions=partitions_of(files),
        rejected=sum(row["rejected"] - row["dropped"] for row in with_rejects),
        rejected_objects=len(with_rejects),
        expired_before=ledger.expired().before,
        expired_rows=sum(file.rows for file, _ in ledger.expired_files() if file.is_data),
        gone=tuple(_gone(storage, files)),
        newest_record=_newest(all_runs, "newest_record"),
        newest_object=_newest(all_runs, "newest_object"),
        uncovered=uncovered_days(all_runs),
        flow_logs=tuple(flow_log_days(ledger)),
        overlaps=tuple(overlaps_of(all_runs)),
    )


def age_s(time: datetime | None) -> int | None:
    """Return the seconds since a time."""
    return None if time is None else round((datetime.now(UTC) - time).total_seconds())


def _newest(runs: Iterable[Run], what: str) -> datetime | None:
    times = (datetime.fromisoformat(run.report[what]) for run in runs if run.report.get(what))
    return max(times, default=None)


def read_lock(storage: Storage) -> LockStatus:
    """Return the state of a lake's lock.

    Raises:
        StorageError: The lake does not answer.
    """
    try:
        holder = read_holder(storage)
    except LakeError:
        return LockStatus("damaged")
    if holder is None:
        return LockStatus("free")
    return LockStatus("dead" if holder.is_dead else "held", holder)


def _state(run: Run, lock: LockStatus) -> Literal["done", "failed", "running", "killed"]:
    if run.ended:
        return "failed" if run.report.get("failure") else "done"
    is_holder = lock.holder is not None and lock.holder.run_id == run.run_id
    return "running" if is_holder and lock.state == "held" else "killed"


def _gone(storage: Storage, files: Sequence[DataFile]) -> list[str]:
    """Return the partitions of which no file is left."""
    # A folder's files are looked up, thousands in a moment; a bucket's are listed.
    if not storage.is_local and _has_all(storage, probably_first_deleted(files)):
        return []
    missing = missing_paths(storage, [file.path for file in files])
    if not missing or not _still_count(storage, missing):
        return []
    return gone_partitions(files, missing)


def _has_all(storage: Storage, paths: Collection[str]) -> bool:
    """Tell whether there are files at all of these paths."""
    # In S3 all listings are under way together.
    listings = [
        storage.list_files(folder) for folder in {path.rpartition("/")[0] for path in paths}
    ]
    return {file.path for listing in listings for file in listing}.issuperset(paths)


def _still_count(storage: Storage, paths: Collection[str]) -> bool:
    """Tell whether no run has removed any of the files meanwhile."""
    return not set(paths).difference(Ledger.read(storage).files())
