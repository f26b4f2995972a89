"""compact(): the small files of a partition become few, and its rows are sorted.

    begin       no other run can commit from here on
    for each partition, several at once:
      intent    the paths of its files, and of the compacted ones
      files     the compacted ones are published
      compact   they count, and the others no longer do
      delete    the others; with --keep, a later run deletes them by another intent

A run that is killed before a partition's `compact` has changed nothing there. After it, the next
run of any kind deletes what is left to be deleted.
"""

import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowconv.engines.engine import Remote, opened_engine
from flowconv.errors import FlowconvError, LakeError, printable, redact
from flowconv.fields import Table
from flowconv.lake.compacted import Removed
from flowconv.lake.expired import day_of
from flowconv.lake.layout import Layout, read_flat_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile, Duplicates, Run, Share, Swap
from flowconv.lake.leftovers import list_leftovers, remove_leftovers
from flowconv.lake.locking import Lock, new_run_id
from flowconv.lake.remote import Places, remove_lost_attempts, require_no_credentials
from flowconv.lake.swapping import commit_swap
from flowconv.lake.writing import SORTED_BY
from flowconv.memory import giving_memory_back
from flowconv.notebooks import InNotebooks
from flowconv.options import CompactOptions
from flowconv.running import RunProgress, run_all, uninterrupted
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from flowconv.upkeep.duplicates import comparable
from flowconv.upkeep.flow_logs import read_flow_logs
from flowconv.upkeep.merging import Merger, Partition
from flowconv.upkeep.remote import Compaction, RemoteMerger

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Client


@dataclass(frozen=True, slots=True)
class RemovedDuplicates:
    """Records of a flow log that were removed, since those of another stand for them.

    Attributes:
        flow_log_id: The flow log.
        kept_flow_log_id: The other.
        rows: Their number.
    """

    flow_log_id: str
    kept_flow_log_id: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactedPartition:
    """A partition that was compacted.

    Attributes:
        table: Its table.
        directory: Below the table.
        rows: Its rows.
        files: Number of its files before.
        size_bytes: Their size.
        compacted_files: Number of its files now; 0 in a dry run.
        compacted_bytes: Their size.
        duplicates: Those of its rows that are not in them.
    """

    table: str
    directory: str
    rows: int
    files: int
    size_bytes: int
    compacted_files: int = 0
    compacted_bytes: int = 0
    duplicates: tuple[RemovedDuplicates, ...] = ()


@dataclass(slots=True, kw_only=True, repr=False)
class CompactReport(InNotebooks):
    """What was compacted.

    Attributes:
        lake: The lake.
        run_id: The run.
        dry_run: Nothing was changed; it says what would be.
        left: Number of partitions that had too few files to be compacted, or were not chosen.
        kept_until: When a later run may remove the replaced files; None: they are removed.
        partitions: The partitions that were compacted.
        not_compared: Flow logs whose fields do not tell records apart.
        seconds: Wall time.
    """

    lake: str
    run_id: str
    dry_run: bool
    left: int = 0
    kept_until: datetime | None = None
    partitions: list[CompactedPartition] = field(default_factory=list)
    not_compared: set[str] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def totals(self) -> dict[str, int]:
        """Rows, files and bytes of all partitions, before and now."""
        names = ("rows", "files", "size_bytes", "compacted_files", "compacted_bytes")
        totals = {name: sum(getattr(p, name) for p in self.partitions) for name in names}
        return totals | {"removed": sum(removed.rows for removed in self.duplicates)}

    @property
    def duplicates(self) -> list[RemovedDuplicates]:
        """The rows that were removed, by flow logs."""
        return _summed(removed for p in self.partitions for removed in p.duplicates)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lake": self.lake,
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            **self.totals,
            "left": self.left,
            "kept_until": self.kept_until and self.kept_until.isoformat(timespec="seconds"),
            "partitions": [asdict(partition) for partition in self.partitions],
            "duplicates": [asdict(removed) for removed in self.duplicates],
            "not_compared": sorted(self.not_compared),
            "seconds": round(self.seconds, 3),
        }


def _summed(duplicates: Iterable[RemovedDuplicates | Duplicates]) -> list[RemovedDuplicates]:
    """Return duplicates by flow logs."""
    rows: Counter[tuple[str, str]] = Counter()
    for removed in duplicates:
        rows[removed.flow_log_id, removed.kept_flow_log_id] += removed.rows
    return [RemovedDuplicates(*pair, number) for pair, number in sorted(rows.items())]


@giving_memory_back()
def compact(
    lake: str | os.PathLike[str],
    options: CompactOptions | None = None,
    *,
    engine: "Executor | Client | None" = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> CompactReport:
    """Merge the small files of each partition, and sort its rows.

    The rows stay the same, unless duplicates are to be removed, and so does what the ledger says of
    objects: those that change later are converted again as before. Memory is bounded, whatever the
    size of a partition; a large one needs temporary files of its size.

    Args:
        lake: The lake: the DEST given to `convert`.
        options: The options; by default all partitions of two files or more are compacted.
        engine: What merges and sorts, as for `convert`; by default threads of this process.
        on_progress: Called in this thread several times a second, with files and rows.

    Returns:
        The partitions that were compacted. If a run fails, those that are done stay compacted.

    Raises:
        LakeError: There is no lake, days are chosen and it is not partitioned by date, a file or
            the ledger is damaged, or another run writes to it.
        StorageError: The lake does not answer, or is full.
        EngineError: The engine failed, or a worker differs from this process or has no access.
    """
    options = options or CompactOptions()
    if engine is not None:
        require_no_credentials({}, options.dest_options)
    started = time.monotonic()
    storage = open_storage(lake, options.dest_options)
    layout = read_flat_layout(storage, "Compacting")
    _check_days(storage, layout, options)
    report = CompactReport(
        lake=storage.root,
        run_id=new_run_id(),
        dry_run=options.dry_run,
    )
    lock = nullcontext() if options.dry_run else Lock(storage, report.run_id, wait=options.wait)
    with lock as held:
        ledger = held.read_ledger() if held else Ledger.read(storage)
        partitions = _due(ledger, options, report)
        if held:
            run = _Run(storage, layout, ledger, options, report, engine)
            run.compact_all(partitions, on_progress)
        else:
            report.partitions = [_described(partition) for partition in partitions]
    report.partitions.sort(key=lambda partition: (partition.table, partition.directory))
    report.seconds = time.monotonic() - started
    return report


def _check_days(storage: Storage, layout: Layout, options: CompactOptions) -> None:
    if (options.since or options.until) and "date" not in layout.partition_by:
        raise LakeError(
            f"the lake is partitioned by {', '.join(layout.partition_by)}, not by date, so no days "
            "can be chosen. Leave out --since and --until.",
            uri=storage.root,
        )


def _due(ledger: Ledger, options: CompactOptions, report: CompactReport) -> list[Partition]:
    """Return the partitions that are to be compacted, the largest first, and count the others."""
    by_name: defaultdict[str, list[tuple[DataFile, str]]] = defaultdict(list)
    for path, (file, task_id) in sorted(ledger.files().items()):
        if file.is_data:
            by_name[path.rpartition("/")[0]].append((file, task_id))
    due = []
    flow_logs = read_flow_logs(ledger) if options.dedupe else None
    removed: defaultdict[str, set[Removed]] = defaultdict(set)
    for note in ledger.notes(with_expired=False):
        removed[note.path.rpartition("/")[0]].update(
            Removed(entry.task_id, entry.flow_log_id) for entry in note.duplicates
        )
    for name, files in by_name.items():
        table = _table_of(name)
        found = flow_logs.of(table, _tasks_of(files)) if flow_logs else {}
        compared = comparable(table, found)
        compared = compared if len(compared) > 1 else {}
        partition = Partition(
            name=name,
            files=files,
            sort_by=options.sort_by or SORTED_BY[table],
            flow_logs=compared,
            removed=frozenset(removed[name]),
        )
        if partition.is_due(options.min_files) and _is_chosen(name, options):
            due.append(partition)
            report.not_compared |= found.keys() - comparable(table, found).keys()
    report.left = len(by_name) - len(due)
    return sorted(due, key=lambda partition: (-partition.size_bytes, partition.name))


def _tasks_of(files: Sequence[tuple[DataFile, str]]) -> set[str]:
    """Return the tasks whose rows are in files."""
    return {
        share.task_id
        for file, task_id in files
        for share in file.shares or (Share(task_id, file.rows),)
    }


def _described(partition: Partition) -> CompactedPartition:
    return CompactedPartition(
        table=str(partition.table),
        directory=partition.name.partition("/")[2],
        rows=partition.rows,
        files=len(partition.files),
        size_bytes=partition.size_bytes,
    )


def _table_of(partition: str) -> Table:
    return Table(partition.partition("/")[0])


def _is_chosen(partition: str, options: CompactOptions) -> bool:
    if not (options.since or options.until):
        return True
    day = day_of(partition)
    return bool(day and (options.since or date.min) <= day <= (options.until or date.max))


class _Run:
    """A run that compacts; the caller holds the lock."""

    def __init__(
        self,
        storage: Storage,
        layout: Layout,
        ledger: Ledger,
        options: CompactOptions,
        report: CompactReport,
        engine: "Executor | Client | None",
    ) -> None:
        self._engine = engine
        self._storage = storage
        self._layout = layout
        self._ledger = ledger
        self._options = options
        self._report = report
        if options.keep:
            report.kept_until = datetime.now(UTC) + timedelta(hours=options.keep)

    def compact_all(
        self,
        partitions: Sequence[Partition],
        on_progress: Callable[[RunProgress], None] | None,
    ) -> None:
        """Record a run, and compact the partitions; do nothing if nothing is to be done."""
        leftovers = list_leftovers(self._storage, self._layout)
        if not (partitions or leftovers.intents or leftovers.unfinished):
            return
        run = Run(run_id=self._report.run_id, began=datetime.now(UTC), host=socket.gethostname())
        failure, begun = "", False
        try:
            with uninterrupted():
                self._ledger.begin(run, asdict(self._layout))
                begun = True
            remove_leftovers(self._storage, self._ledger, leftovers)
            self._run(partitions, on_progress)
        except BaseException as error:
            stopped = "stopped by a signal" if isinstance(error, KeyboardInterrupt) else ""
            failure = stopped or redact(printable(str(error))) or type(error).__name__
            raise
        finally:
            summary = {"compact": True, **self._report.totals, "failure": failure}
            summary["partitions"] = len(self._report.partitions)
            if begun:
                # Keep the first failure.
                with suppress(*[FlowconvError] if failure else ()), uninterrupted():
                    self._ledger.end(replace(run, ended=datetime.now(UTC), report=summary))
        if self._report.partitions:
            # Readers make a request for each record: a lake of 30 days has 32 of them now.
            with uninterrupted():
                self._ledger.merge()

    def _run(
        self,
        partitions: Sequence[Partition],
        on_progress: Callable[[RunProgress], None] | None,
    ) -> None:
        progress = RunProgress(
            total_objects=sum(len(partition.files) for partition in partitions),
            total_bytes=sum(partition.size_bytes for partition in partitions),
        )

        with self._merging(len(partitions)) as merger:

            def compact_and_count(partition: Partition) -> None:
                # Counted in this thread, since the main thread may be interrupted anywhere.
                self._report.partitions.append(self._compact(partition, merger, progress))

            jobs = run_all(
                partitions,
                compact_and_count,
                merger.places if isinstance(merger, RemoteMerger) else self._options.workers,
                progress,
                on_progress=on_progress,
                on_stop=self._storage.give_up,
            )
            for _ in jobs:
                pass

    @contextmanager
    def _merging(self, partitions: int) -> Iterator[Merger | RemoteMerger]:
        """Open what merges so many partitions: this process, or an engine."""
        generation = self._ledger.generation
        if self._engine is None:
            yield Merger(
                self._storage,
                self._layout,
                generation,
                self._options,
                has_two_cores=2 * partitions <= self._options.workers,
            )
            return
        with opened_engine(self._engine) as opened:
            work = Compaction(
                places=Places.of(self._storage, None, self._options.dest_options, {}),
                layout=self._layout,
                run_id=self._report.run_id,
                generation=generation,
                options=self._options,
            )
            try:
                yield RemoteMerger(Remote(opened, work), self._storage)
            finally:
                with suppress(FlowconvError):  # The next run removes what is left.
                    remove_lost_attempts(self._storage, generation)

    def _compact(
        self, partition: Partition, merger: Merger | RemoteMerger, progress: RunProgress
    ) -> CompactedPartition:
        """Compact a partition and commit it; a failure leaves nothing behind."""
        merged = merger.merge(partition, progress)
        try:
            if merged.rows != partition.rows:
                raise AssertionError("compacting has lost rows")
            commit_swap(
                self._storage,
                self._ledger,
                self._report.run_id,
                merged.name,
                Swap(tuple(merged.files), tuple(file.path for file, _ in partition.files)),
                merged.sinks,
                self._report.kept_until,
            )
        finally:
            merged.discard()
        progress.add(objects=len(partition.files))
        return replace(
            _described(partition),
            compacted_files=sum(file.is_written for file in merged.files),
            compacted_bytes=sum(file.size_bytes for file in merged.files),
            duplicates=tuple(_summed(merged.duplicates)),
        )
