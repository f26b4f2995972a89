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

import hashlib
import os
import secrets
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowconv.errors import FlowconvError, LakeError, StorageError, printable, redact
from flowconv.fields import Table
from flowconv.lake.compacted import CompactedWriter, RowGroups
from flowconv.lake.expired import day_of
from flowconv.lake.intents import taking_back, write_intent
from flowconv.lake.layout import Layout, read_layout
from flowconv.lake.ledger import Ledger, LostLockError
from flowconv.lake.ledger_records import DataFile, Run
from flowconv.lake.leftovers import list_leftovers, remove_leftovers
from flowconv.lake.locking import Lock
from flowconv.lake.paths import STAGING
from flowconv.lake.writing import SORTED_BY, StagedFile
from flowconv.memory import giving_memory_back
from flowconv.notebooks import InNotebooks
from flowconv.options import CompactOptions, ConvertOptions
from flowconv.rows.schema import table_schema
from flowconv.running import RunProgress, Stopped, run_all, uninterrupted
from flowconv.storage.interface import Storage
from flowconv.storage.local_errors import storage_errors
from flowconv.storage.opening import open_storage
from flowconv.upkeep.sorting import sort_rows

# The place of a row's task in the partition's list, while rows are sorted. No field has this name.
_TASK = "flowconv.task"


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
    """

    table: str
    directory: str
    rows: int
    files: int
    size_bytes: int
    compacted_files: int = 0
    compacted_bytes: int = 0


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
        seconds: Wall time.
    """

    lake: str
    run_id: str
    dry_run: bool
    left: int = 0
    kept_until: datetime | None = None
    partitions: list[CompactedPartition] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def totals(self) -> dict[str, int]:
        """Rows, files and bytes of all partitions, before and now."""
        names = ("rows", "files", "size_bytes", "compacted_files", "compacted_bytes")
        return {name: sum(getattr(p, name) for p in self.partitions) for name in names}

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
            "seconds": round(self.seconds, 3),
        }


@giving_memory_back()
def compact(
    lake: str | os.PathLike[str],
    options: CompactOptions | None = None,
    *,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> CompactReport:
    """Merge the small files of each partition, and sort its rows.

    The rows stay the same, and so does what the ledger says of objects: those that change later
    are converted again as before. Memory is bounded, whatever the size of a partition; a large one
    needs temporary files of its size.

    Args:
        lake: The lake: the DEST given to `convert`.
        options: The options; by default all partitions of two files or more are compacted.
        on_progress: Called in this thread several times a second, with files and rows.

    Returns:
        The partitions that were compacted. If a run fails, those that are done stay compacted.

    Raises:
        LakeError: There is no lake, days are chosen and it is not partitioned by date, a file or
            the ledger is damaged, or another run writes to it.
        StorageError: The lake does not answer, or is full.
    """
    options = options or CompactOptions()
    started = time.monotonic()
    storage = open_storage(lake, options.dest_options)
    layout = read_layout(storage)
    _check_days(storage, layout, options)
    report = CompactReport(
        lake=storage.root,
        run_id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        dry_run=options.dry_run,
    )
    lock = nullcontext() if options.dry_run else Lock(storage, report.run_id, wait=options.wait)
    with lock as held:
        ledger = Ledger.read(storage)
        if held:
            held.confirm()
        partitions = _due(ledger, options, report)
        if held:
            run = _Run(storage, layout, ledger, options, report)
            run.compact_all(partitions, on_progress)
        else:
            report.partitions = [partition.described() for partition in partitions]
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


@dataclass(frozen=True, slots=True)
class _Partition:
    """A partition that is due: its name, and its files with their tasks."""

    name: str
    files: Sequence[tuple[DataFile, str]]
    sort_by: tuple[str, ...]

    @property
    def table(self) -> Table:
        return Table(self.name.partition("/")[0])

    @property
    def rows(self) -> int:
        return sum(file.rows for file, _ in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file, _ in self.files)

    def is_due(self, min_files: int) -> bool:
        orders = Counter(file.sorted_by for file, _ in self.files)
        return orders[()] >= min_files or bool(orders.keys() - {(), self.sort_by})

    def described(self) -> CompactedPartition:
        return CompactedPartition(
            table=str(self.table),
            directory=self.name.partition("/")[2],
            rows=self.rows,
            files=len(self.files),
            size_bytes=self.size_bytes,
        )


def _due(ledger: Ledger, options: CompactOptions, report: CompactReport) -> list[_Partition]:
    """Return the partitions that are to be compacted, the largest first, and count the others."""
    by_name: defaultdict[str, list[tuple[DataFile, str]]] = defaultdict(list)
    for path, (file, task_id) in sorted(ledger.files().items()):
        if file.is_data:
            by_name[path.rpartition("/")[0]].append((file, task_id))
    due = []
    for name, files in by_name.items():
        partition = _Partition(name, files, options.sort_by or SORTED_BY[_table_of(name)])
        if partition.is_due(options.min_files) and _is_chosen(name, options):
            due.append(partition)
    report.left = len(by_name) - len(due)
    return sorted(due, key=lambda partition: (-partition.size_bytes, partition.name))


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
    ) -> None:
        self._storage = storage
        self._layout = layout
        self._ledger = ledger
        self._options = options
        self._report = report
        self._format = ConvertOptions(
            time_type=layout.time_type,
            with_source=layout.with_source,
            compression=options.compression,
            bloom_filters=options.bloom_filters,
            target_file_size=options.target_file_size,
        )
        if options.keep:
            report.kept_until = datetime.now(UTC) + timedelta(hours=options.keep)

    def compact_all(
        self,
        partitions: Sequence[_Partition],
        on_progress: Callable[[RunProgress], None] | None,
    ) -> None:
        """Record a run, and compact the partitions; do nothing if nothing is to be done."""
        leftovers = list_leftovers(self._storage)
        if not (partitions or leftovers.intents or leftovers.unfinished):
            return
        run = Run(run_id=self._report.run_id, began=datetime.now(UTC), host=socket.gethostname())
        failure, begun = "", False
        try:
            with uninterrupted():
                self._ledger.begin(run, asdict(self._layout))
                begun = True
            remove_leftovers(self._storage, self._ledger, leftovers)
            self._ledger.merge_if_many()
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

    def _run(
        self,
        partitions: Sequence[_Partition],
        on_progress: Callable[[RunProgress], None] | None,
    ) -> None:
        progress = RunProgress(
            total_objects=sum(len(partition.files) for partition in partitions),
            total_bytes=sum(partition.size_bytes for partition in partitions),
        )

        def compact_and_count(partition: _Partition) -> None:
            # Counted in this thread, since the main thread may be interrupted anywhere.
            self._report.partitions.append(self._compact(partition, progress))

        jobs = run_all(
            partitions,
            compact_and_count,
            self._options.workers,
            progress,
            on_progress=on_progress,
            on_stop=self._storage.give_up,
        )
        for _ in jobs:
            pass

    def _compact(self, partition: _Partition, progress: RunProgress) -> CompactedPartition:
        """Compact a partition and commit it; a failure leaves nothing behind."""
        facts = ([file.path for file, _ in partition.files], partition.sort_by)
        digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:20]
        name = f"{digest}-{self._ledger.generation}"
        rows = _Rows(self._storage, partition, self._layout, progress)
        writer = CompactedWriter(
            self._storage,
            partition.name,
            name=name,
            tasks=rows.tasks,
            sorted_by=partition.sort_by,
            options=self._format,
            on_file=progress.add,
        )
        try:
            columns = [*rows.columns, _TASK]
            for tables in sort_rows(
                rows.read, partition.rows, columns, partition.sort_by, self._folder()
            ):
                codes = np.concatenate([table[_TASK].to_numpy() for table in tables])
                writer.write([table.drop_columns(_TASK) for table in tables], codes)
            staged = writer.close()
            new = [one.file for one in staged]
            if sum(file.rows for file in new) != partition.rows:
                raise AssertionError("compacting has lost rows")
            self._commit(name, partition, staged)
        finally:
            writer.discard()
        progress.add(objects=len(partition.files))
        return replace(
            partition.described(),
            compacted_files=len(new),
            compacted_bytes=sum(file.size_bytes for file in new),
        )

    def _commit(
        self,
        name: str,
        partition: _Partition,
        staged: Sequence[StagedFile],
    ) -> None:
        new = [one.file for one in staged]
        old_paths = [file.path for file, _ in partition.files]
        new_paths = [file.path for file in new]
        until = self._report.kept_until
        intent = write_intent(self._storage, name, new_paths if until else [*old_paths, *new_paths])
        if until:
            write_intent(self._storage, f"{name}-kept", old_paths, until)
        with taking_back(self._storage, new_paths, intent, StorageError, Stopped):
            for one in staged:
                one.sink.publish()
        with taking_back(self._storage, new_paths, intent, LostLockError):
            self._ledger.compact(self._report.run_id, new, old_paths)
        if not until:
            self._storage.delete(old_paths)
        self._storage.delete([intent])

    def _folder(self) -> str | None:
        """Return where temporary files are written: beside the lake's, where there is room."""
        if not self._storage.is_local:
            return None
        folder = self._storage.location(STAGING)
        with storage_errors(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
        return folder


class _Rows:
    """The rows of a partition, and the tasks that they are of.

    Attributes:
        tasks: All tasks of the files.
        columns: The columns in which any row has a value.
    """

    def __init__(
        self, storage: Storage, partition: _Partition, layout: Layout, progress: RunProgress
    ) -> None:
        self._storage = storage
        self._partition = partition
        self._progress = progress
        self._schema = table_schema(
            partition.table, layout.time_type, with_source=layout.with_source
        )
        self.tasks: list[str] = []
        numbers: dict[str, int] = {}
        found: set[str] = set()
        for groups in self._open():
            found |= groups.columns()
            for task_id in groups.tasks:
                numbers.setdefault(task_id, len(numbers))
        self.tasks += numbers
        self._numbers = numbers
        self.columns = [name for name in self._schema.names if name in found]

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Give each row group of each file, with the tasks if they are asked for."""
        wanted = [name for name in columns if name != _TASK]
        with_tasks = _TASK in columns
        for groups in self._open():
            places = np.array([self._numbers[task] for task in groups.tasks], np.uint32)
            for table, codes in groups.read(wanted):
                self._progress.add(rows=table.num_rows if with_tasks else 0)
                rows = _typed(table, self._schema)
                if with_tasks:
                    rows = rows.append_column(_TASK, pa.array(places[codes]))
                yield rows
            if with_tasks:
                self._progress.add(source_bytes=groups.size_bytes)

    def _open(self) -> Iterator[RowGroups]:
        for file, task_id in self._partition.files:
            self._progress.add()
            with RowGroups(self._storage, file, task_id, self._schema) as groups:
                yield groups


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give columns of Arrow's type null the type that other row groups have."""
    for place, column in enumerate(table.columns):
        if pa.types.is_null(column.type):
            kind = schema.field(table.column_names[place]).type
            kind = pa.dictionary(pa.int32(), kind) if pa.types.is_string(kind) else kind
            table = table.set_column(place, table.column_names[place], column.cast(kind))
    return table
