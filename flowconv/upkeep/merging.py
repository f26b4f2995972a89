"""A partition's files -> fewer files with the same rows, sorted, that are not visible yet."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from flowconv.fields import Table
from flowconv.lake.compacted import CompactedWriter, RowGroups
from flowconv.lake.layout import Layout
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.paths import STAGING
from flowconv.options import CompactOptions, ConvertOptions
from flowconv.rows.schema import table_schema
from flowconv.running import RunProgress
from flowconv.storage.interface import HandedOver, Publishable, StagedSink, Storage
from flowconv.storage.local_errors import storage_errors
from flowconv.upkeep.sorting import sort_rows

# The place of a row's task in the partition's list, while rows are sorted. No field has this name.
_TASK = "flowconv.task"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that is due: its name, its files with their tasks, and the order of its rows."""

    name: str
    files: Sequence[tuple[DataFile, str]]
    sort_by: tuple[str, ...]

    @property
    def table(self) -> Table:
        """Its table."""
        return Table(self.name.partition("/")[0])

    @property
    def rows(self) -> int:
        """Its rows."""
        return sum(file.rows for file, _ in self.files)

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        return sum(file.size_bytes for file, _ in self.files)

    def is_due(self, min_files: int) -> bool:
        """Tell whether it has so many files that are not compacted, or is in another order."""
        orders = Counter(file.sorted_by for file, _ in self.files)
        return orders[()] >= min_files or bool(orders.keys() - {(), self.sort_by})


@dataclass(frozen=True, slots=True)
class MergedPartition:
    """What a partition becomes: the beginning of its files' names, the files, and their sinks."""

    name: str
    files: Sequence[DataFile]
    sinks: Sequence[Publishable]

    def discard(self) -> None:
        """Remove all files that are not published."""
        for sink in self.sinks:
            sink.discard()


class StagedPartition(MergedPartition):
    """A partition that this process has merged."""

    sinks: Sequence[StagedSink]

    def hand_over(self) -> tuple[HandedOver, ...]:
        """Leave the files as they are, for the process that adopts them."""
        return tuple(sink.hand_over() for sink in self.sinks)


class Merger:
    """Merges partitions; shared by threads.

    Args:
        storage: The lake.
        layout: Its layout.
        generation: Number of the run's `begin`.
        options: The options of the run.
    """

    def __init__(
        self, storage: Storage, layout: Layout, generation: int, options: CompactOptions
    ) -> None:
        self._storage = storage
        self._layout = layout
        self._generation = generation
        self._format = ConvertOptions(
            time_type=layout.time_type,
            with_source=layout.with_source,
            compression=options.compression,
            bloom_filters=options.bloom_filters,
            target_file_size=options.target_file_size,
        )

    def merge(self, partition: Partition, progress: RunProgress) -> StagedPartition:
        """Write a partition's rows to new files; a failure leaves nothing behind.

        Raises:
            LakeError: A file is damaged.
            FetchError: A file cannot be fetched; this may pass.
            StorageError: The lake does not answer, or is full.
        """
        facts = ([file.path for file, _ in partition.files], partition.sort_by)
        digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:20]
        name = f"{digest}-{self._generation}"
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
        except BaseException:
            writer.discard()
            raise
        return StagedPartition(name, [one.file for one in staged], [one.sink for one in staged])

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
        self, storage: Storage, partition: Partition, layout: Layout, progress: RunProgress
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
