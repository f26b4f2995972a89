"""A partition's files -> fewer files with the same rows, sorted, that are not visible yet."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from flowconv.fields import KEYS, Table
from flowconv.lake.compacted import (
    Codes,
    CompactedWriter,
    Origin,
    Origins,
    Removed,
    RowGroups,
)
from flowconv.lake.layout import Layout
from flowconv.lake.ledger_records import DataFile, Duplicates
from flowconv.lake.notes import make_note
from flowconv.lake.paths import STAGING, name_of
from flowconv.options import CompactOptions, ConvertOptions
from flowconv.rows.schema import table_schema
from flowconv.running import RunProgress
from flowconv.storage.interface import HandedOver, Publishable, StagedSink, Storage
from flowconv.storage.local_errors import storage_errors
from flowconv.upkeep.duplicates import DuplicateRemover
from flowconv.upkeep.sorting import sort_rows

# The code of a row's origin, while rows are sorted. No field has this name.
_ORIGIN = "flowconv.origin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition that is due.

    Attributes:
        name: Table and directory.
        files: Its files, with their tasks.
        sort_by: The order of its rows.
        flow_logs: The flow logs whose rows are compared, and their columns; none if duplicates are
            not to be removed.
        removed: What its notes say was removed.
    """

    name: str
    files: Sequence[tuple[DataFile, str]]
    sort_by: tuple[str, ...]
    flow_logs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    removed: frozenset[Removed] = frozenset()

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
        """Tell whether it has so many files that are not compacted, or is in another order.

        Or whether there may be duplicates in it that were not looked for.
        """
        orders = Counter(file.sorted_by for file, _ in self.files)
        is_in_order = not orders.keys() - {(), self.sort_by}
        may_have_duplicates = bool(self.flow_logs) and not self.is_deduped
        return orders[()] >= min_files or not is_in_order or may_have_duplicates

    @property
    def is_deduped(self) -> bool:
        """All its rows were compared."""
        return all(file.is_deduped for file, _ in self.files)


@dataclass(frozen=True, slots=True)
class MergedPartition:
    """What a partition becomes.

    Attributes:
        name: Beginning of its files' names.
        files: The files, and a note of the duplicates that are not in them.
        sinks: The files, which are not visible yet.
    """

    name: str
    files: Sequence[DataFile]
    sinks: Sequence[Publishable]

    @property
    def rows(self) -> int:
        """The rows of its files, and the duplicates that are not in them."""
        return sum(file.rows for file in self.files) + sum(
            duplicates.rows for duplicates in self.duplicates
        )

    @property
    def duplicates(self) -> list[Duplicates]:
        """The duplicates that are not in its files."""
        return [duplicates for file in self.files for duplicates in file.duplicates]

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
        has_two_cores: Each partition has another core: columns are read by two threads, and a row
            group is encoded while the next one is sorted.
    """

    def __init__(
        self,
        storage: Storage,
        layout: Layout,
        generation: int,
        options: CompactOptions,
        *,
        has_two_cores: bool = False,
    ) -> None:
        self._has_two_cores = has_two_cores
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
        paths = [file.path for file, _ in partition.files]
        name = name_of((paths, partition.sort_by), self._generation)
        rows = _Rows(
            self._storage, partition, self._layout, progress, use_threads=self._has_two_cores
        )
        writer = CompactedWriter(
            self._storage,
            partition.name,
            name=name,
            origins=rows.origins,
            sorted_by=partition.sort_by,
            is_deduped=bool(partition.flow_logs) or partition.is_deduped,
            options=self._format,
            on_file=progress.add,
        )
        try:
            duplicates = self._write(partition, rows, writer)
            staged = writer.close()
        except BaseException:
            writer.discard()
            raise
        notes = [make_note(partition.name, name, duplicates)] if duplicates else []
        files = [*(one.file for one in staged), *notes]
        return StagedPartition(name, files, [one.sink for one in staged])

    def _write(
        self, partition: Partition, rows: "_Rows", writer: CompactedWriter
    ) -> list[Duplicates]:
        """Write a partition's rows, and return the duplicates that were left out."""
        remover = DuplicateRemover(partition.table, partition.flow_logs, rows.origins, _ORIGIN)
        sort_by = partition.sort_by
        if partition.flow_logs:
            # So that duplicates are neighbours.
            others = (name for name in KEYS[partition.table] if name not in sort_by)
            sort_by = (*sort_by, *others)
        columns = [*rows.columns, _ORIGIN]
        # The remover adds origins, which the writer reads.
        with _calls(beside=self._has_two_cores and not partition.flow_logs) as begin:
            for tables in sort_rows(
                rows.read, partition.rows, columns, sort_by, self._folder(), remover.keep
            ):
                codes = np.concatenate([table[_ORIGIN].to_numpy() for table in tables])
                group = [table.drop_columns(_ORIGIN) for table in tables]
                begin(partial(writer.write, group, codes))
        return remover.duplicates()

    def _folder(self) -> str | None:
        """Return where temporary files are written: beside the lake's, where there is room."""
        if not self._storage.is_local:
            return None
        folder = self._storage.location(STAGING)
        with storage_errors(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
        return folder


@contextmanager
def _calls(*, beside: bool) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Give what calls functions one after the other, each while the caller goes on if `beside`.

    What a function raises is raised by the next call, or at the end of the block, which waits for
    the last one.
    """
    if not beside:
        yield lambda function: function()
        return
    last: Future[None] | None = None

    def begin(function: Callable[[], None]) -> None:
        nonlocal last
        if last:
            last.result()
        last = pool.submit(function)

    with ThreadPoolExecutor(1, "flowconv-encoder") as pool:
        yield begin
        if last:
            last.result()


class _Rows:
    """The rows of a partition, and their origins.

    Attributes:
        origins: All origins in the files.
        columns: The columns in which any row has a value.
    """

    def __init__(
        self,
        storage: Storage,
        partition: Partition,
        layout: Layout,
        progress: RunProgress,
        *,
        use_threads: bool,
    ) -> None:
        self._use_threads = use_threads
        self._storage = storage
        self._partition = partition
        self._progress = progress
        self._schema = table_schema(
            partition.table, layout.time_type, with_source=layout.with_source
        )
        self.origins = Origins()
        found: set[str] = set()
        for groups in self._open():
            found |= groups.columns()
            self._codes_of(groups)
        self.columns = [name for name in self._schema.names if name in found]

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Give each row group of each file, with the origins if they are asked for."""
        wanted = [name for name in columns if name != _ORIGIN]
        with_origins = _ORIGIN in columns
        for groups in self._open():
            places = self._codes_of(groups)
            for table, codes in groups.read(wanted):
                self._progress.add(rows=table.num_rows if with_origins else 0)
                rows = _typed(table, self._schema)
                if with_origins:
                    rows = rows.append_column(_ORIGIN, pa.array(places[codes]))
                yield rows
            if with_origins:
                self._progress.add(source_bytes=groups.size_bytes)

    def _codes_of(self, groups: RowGroups) -> Codes:
        """Return the codes of a file's origins, without duplicates that are there again."""
        codes = [
            self.origins.code(
                Origin(task_id, tuple(filter(self._partition.removed.__contains__, stands_for)))
            )
            for task_id, stands_for in groups.origins
        ]
        return np.array(codes, np.uint32)

    def _open(self) -> Iterator[RowGroups]:
        for file, task_id in self._partition.files:
            self._progress.add()
            with RowGroups(
                self._storage, file, task_id, self._schema, use_threads=self._use_threads
            ) as groups:
                yield groups


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give columns of Arrow's type null the type that other row groups have."""
    for place, column in enumerate(table.columns):
        if pa.types.is_null(column.type):
            kind = schema.field(table.column_names[place]).type
            kind = pa.dictionary(pa.int32(), kind) if pa.types.is_string(kind) else kind
            table = table.set_column(place, table.column_names[place], column.cast(kind))
    return table
