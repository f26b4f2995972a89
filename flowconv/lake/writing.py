"""Stage 7, pieces -> staged files: Parquet that readers cannot see yet."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from flowconv.errors import StorageError
from flowconv.fields import Table
from flowconv.kernel.pages import Numbers
from flowconv.lake.buffered_rows import (
    BufferedRows,
    copied,
    without_dictionaries,
    without_typed_nulls,
)
from flowconv.lake.expired import Expired
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.paths import STAGING
from flowconv.options import ConvertOptions
from flowconv.parquet.writing import ROW_GROUP_ROWS, ParquetWriter
from flowconv.rows.partition_names import PartitionKey
from flowconv.rows.partitioning import ChosenRows, PartitionedRows, indices
from flowconv.rows.schema import table_schema
from flowconv.storage.interface import StagedSink, Storage
from flowconv.storage.local_errors import storage_errors
from flowconv.version import VERSION

if TYPE_CHECKING:
    from flowconv.lake.ocsf_writing import OcsfWriter

# A task buffers so much over all partitions before it writes the largest.
BUFFERED_BYTES = 64 << 20

# A task normally has one partition, or two around midnight. It has more if a column partitions the
# lake, or if keys name no account; then the file that was written to least recently is closed.
OPEN_FILES = 16

# Rows of more partitions are buffered together and sorted when there are many: writing a few rows
# of each at a time would take ten times their memory and make many small files.
_FEW_PARTITIONS = 64
_SPREAD_BYTES = 48 << 20
_SORTED_ROWS = 16_384

# Rows of one interface and one conversation stand together in their row group: files are two
# fifths smaller, and the page index leads to an interface's pages (benchmarks/README.md, "pages").
SORTED_BY: Mapping[Table, tuple[str, ...]] = MappingProxyType(
    {
        Table.VPC: ("interface_id", "srcaddr", "dstaddr", "start"),
        Table.TGW: ("tgw_attachment_id", "srcaddr", "dstaddr", "start"),
    }
)

# The rows of a file of OCSF are sorted in memory: with so many a worker stays within 200 MB.
OCSF_FILE_ROWS = 384 << 10

# What people look for by its value, and has too many values for statistics to help.
FILTERED = ("srcaddr", "dstaddr", "pkt_srcaddr", "pkt_dstaddr", "interface_id")

# What always has filters in compacted files. They are a hundredth larger so, and DuckDB reads a
# third less of them to find an address (benchmarks/README.md, "compact").
FILTERED_IF_COMPACTED = ("srcaddr", "dstaddr")


class StagedFile(NamedTuple):
    """A complete Parquet file; readers see it once its sink is published."""

    file: DataFile
    sink: StagedSink


@dataclass(slots=True)
class _OpenFile:
    sink: StagedSink
    parquet: "ParquetWriter | OcsfWriter"
    path: str
    rows: int = 0


Beside = Callable[[Callable[[], None]], "Future[None] | None"]
"""Begins a call on another core; returns None, and does nothing, if no core is idle."""


def no_idle_core(_: Callable[[], None]) -> "Future[None] | None":
    """Begin nothing: the caller has no other core."""
    return None


class TaskWriter:
    """Writes one task's rows to files named `<name>-<n>.parquet`.

    The files depend on the rows and their order alone, not on the machine, so a task that runs
    again writes the same files. How the rows were cut into pieces, and whether their texts are
    plain or dictionaries, makes no difference while BUFFERED_BYTES are not reached. For one thread.

    Args:
        storage: The lake.
        name: Beginning of the files' names.
        options: The options of the run.
        on_file: Called before each row group and file is written; stops the writing by raising.
        expired: What has expired: its rows are counted, and not written.
        beside: Encodes a row group on an idle core while the next one is gathered.

    Attributes:
        waited_s: For how long files that were closed have waited to be written, in seconds.
        idle_s: For how long the thread has waited for the other core, in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        options: ConvertOptions,
        on_file: Callable[[], object] = bool,
        expired: Expired = Expired(),  # noqa: B008  # it is frozen
        beside: Beside = no_idle_core,
    ) -> None:
        self._storage = storage
        self._name = name
        self._options = options
        self._is_ocsf = options.schema == "ocsf"
        self._rows_at_once = OCSF_FILE_ROWS if self._is_ocsf else ROW_GROUP_ROWS
        self._on_file = on_file
        self._expired = expired
        self._expired_rows: Counter[str] = Counter()
        self._pending: dict[PartitionKey, BufferedRows] = {}
        self._open: dict[PartitionKey, _OpenFile] = {}
        self._staged: list[StagedFile] = []
        self._buffered_bytes = 0
        self._spread: list[PartitionedRows] = []
        self._spread_bytes = 0
        self._next_number = 0
        self._beside = beside
        self._encoding: tuple[PartitionKey, Future[None]] | None = None
        self.waited_s = 0.0
        self.idle_s = 0.0

    def write_all(self, rows: PartitionedRows) -> None:
        """Add rows to their partitions.

        Raises:
            StorageError: The lake cannot be written to.
        """
        if self._expired:
            rows = self._without_expired(rows)
        rows = rows._replace(rows=without_typed_nulls(rows.rows))
        if len(rows.keys) <= _FEW_PARTITIONS:
            for key, piece in rows.pieces():
                # A few rows past midnight must not keep a whole block in memory, nor its texts; and
                # most of its rows need not be copied for the sake of a few others.
                if piece.places is None or 2 * len(piece) >= len(rows.codes):
                    self._buffer(key, piece)
                else:
                    self._buffer(key, ChosenRows(copied(piece)))
            return
        # Few rows of each partition share few texts.
        rows = rows._replace(rows=without_dictionaries(rows.rows))
        self._spread.append(rows)
        self._spread_bytes += rows.rows.nbytes
        if self._spread_bytes > _SPREAD_BYTES:
            self._write_spread()

    def write(self, key: PartitionKey, rows: pa.Table) -> None:
        """Add rows to a partition.

        Raises:
            StorageError: The lake cannot be written to.
        """
        self._buffer(key, ChosenRows(without_typed_nulls(rows)))

    def _buffer(self, key: PartitionKey, rows: ChosenRows) -> None:
        whole = len(rows)
        while len(rows):
            pending = self._pending.setdefault(key, BufferedRows())
            # Row groups end at the same rows however these were cut into pieces.
            piece, rows = rows.cut(self._rows_at_once - pending.rows)
            is_full = pending.rows + len(piece) == self._rows_at_once
            if not is_full and 2 * len(piece) < whole:
                # What waits must not keep what is written.
                piece = ChosenRows(copied(piece))
            self._buffered_bytes += pending.append(piece)
            if is_full:
                self._write_row_group(key)
        while self._buffered_bytes > BUFFERED_BYTES:
            self._write_row_group(max(self._pending, key=lambda k: self._pending[k].size_bytes))

    def close(self) -> list[StagedFile]:
        """Finish all files; they are not visible yet.

        Raises:
            StorageError: The lake cannot be written to.
        """
        self._write_spread()
        for key in list(self._pending):
            self._write_row_group(key)
        self._settle()
        for key in list(self._open):
            self._close_file(key)
        return self._staged

    def expired_files(self) -> list[DataFile]:
        """Return files that stand for the rows of expired days; none of them exists."""
        return [
            DataFile(
                path=f"{partition}/{self._name}-expired",
                rows=rows,
                size_bytes=0,
                crc32=0,
            )
            for partition, rows in self._expired_rows.items()
        ]

    def discard(self) -> None:
        """Remove everything that was written."""
        if self._encoding is not None:
            wait([self._encoding[1]])
            self._encoding = None
        for file in self._open.values():
            file.sink.discard()
        for staged in self._staged:
            staged.sink.discard()

    def _without_expired(self, rows: PartitionedRows) -> PartitionedRows:
        """Count the rows of expired days, and return the others."""
        partitions = [key.folder for key in rows.keys]
        kept = np.array([not self._expired.has_partition(name) for name in partitions], bool)
        if kept.all():
            return rows
        counts = np.bincount(rows.codes, minlength=len(kept))
        for place in np.flatnonzero(~kept).tolist():
            self._expired_rows[partitions[place]] += int(counts[place])
        chosen = np.flatnonzero(kept[rows.codes])
        return PartitionedRows(
            keys=[rows.keys[place] for place in np.flatnonzero(kept).tolist()],
            codes=(np.cumsum(kept) - 1)[rows.codes[chosen]],
            rows=rows.rows.take(indices(chosen)),
        )

    def _write_spread(self) -> None:
        """Write the rows that were buffered together, partition by partition."""
        spread, self._spread, self._spread_bytes = self._spread, [], 0
        for table in dict.fromkeys(rows.keys[0].table for rows in spread):
            places: dict[PartitionKey, int] = {}
            codes, tables = [], []
            for rows in spread:
                if rows.keys[0].table is table:
                    common = [places.setdefault(key, len(places)) for key in rows.keys]
                    codes.append(np.array(common, np.int64)[rows.codes])
                    tables.append(rows.rows)
            # From here on the list of tables alone keeps their memory.
            spread = [rows for rows in spread if rows.keys[0].table is not table]
            del rows
            self._write_sorted(_joined(tables), np.concatenate(codes), list(places))

    def _write_sorted(self, rows: pa.Table, codes: Any, keys: list[PartitionKey]) -> None:
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(keys) + 1)).tolist()
        begin = 0
        while begin < len(keys):
            end = begin + 1
            while end < len(keys) and bounds[end + 1] - bounds[begin] <= _SORTED_ROWS:
                end += 1
            piece = rows.take(indices(order[bounds[begin] : bounds[end]]))
            for place in range(begin, end):
                stop = bounds[place + 1] - bounds[begin]
                for start in range(bounds[place] - bounds[begin], stop, self._rows_at_once):
                    group = piece.slice(start, min(self._rows_at_once, stop - start))
                    self._write_rows(keys[place], [ChosenRows(group)])
            begin = end

    def _write_row_group(self, key: PartitionKey) -> None:
        pending = self._pending.pop(key)
        self._buffered_bytes -= pending.size_bytes
        self._write_rows(key, pending.pieces)

    def _write_rows(self, key: PartitionKey, pieces: Sequence[ChosenRows]) -> None:
        self._settle()
        self._on_file()
        # Taken out and put back, so the first file is the least recently written.
        file = self._open.pop(key, None) or self._open_file(key)
        self._open[key] = file
        file.rows += sum(map(len, pieces))

        def encode() -> None:
            with storage_errors(file.sink.uri):
                file.parquet.write_row_group(*_chosen(pieces))

        encoding = self._beside(encode)
        if encoding is not None:
            self._encoding = key, encoding
            return
        encode()
        self._close_files(key)

    def _settle(self) -> None:
        """Wait for the row group that another core encodes."""
        if self._encoding is None:
            return
        (key, encoding), self._encoding = self._encoding, None
        began = time.perf_counter()
        encoding.result()
        self.idle_s += time.perf_counter() - began
        self._close_files(key)

    def _close_files(self, key: PartitionKey) -> None:
        """Close the file that was written to if it is large enough, or another if many are open."""
        # A file of OCSF is in order, and nothing can be added to it.
        if self._is_ocsf or self._open[key].sink.tell() >= self._options.target_file_size:
            self._close_file(key)
        elif len(self._open) > OPEN_FILES:
            self._close_file(next(iter(self._open)))

    def _open_file(self, key: PartitionKey) -> _OpenFile:
        name = f"{self._name}-{self._next_number:04d}.parquet"
        self._next_number += 1
        path = f"{key.folder}/{name}"
        sink = self._storage.open_staged(path, f"{STAGING}/{name}")
        try:
            with storage_errors(sink.uri):
                parquet = self._writer_of(key, sink.file)
        except StorageError:
            sink.discard()
            raise
        return _OpenFile(sink, parquet, path)

    def _writer_of(self, key: PartitionKey, file: pa.NativeFile) -> "ParquetWriter | OcsfWriter":
        if self._is_ocsf:
            # pyarrow's own writer takes 0.1 s to import.
            from flowconv.lake.ocsf_writing import OcsfWriter

            return OcsfWriter(file, key, self._options.compression)
        return parquet_writer(file, key.table, self._options)

    def _close_file(self, key: PartitionKey) -> None:
        self._on_file()
        file = self._open[key]
        with storage_errors(file.sink.uri):
            file.parquet.close()
        file.sink.close()
        self.waited_s += file.sink.waited_s
        del self._open[key]
        data_file = DataFile(
            path=file.path,
            rows=file.rows,
            size_bytes=file.sink.tell(),
            crc32=file.sink.crc32,
        )
        self._staged.append(StagedFile(data_file, file.sink))


def _chosen(pieces: Sequence[ChosenRows]) -> "tuple[list[pa.Table], Numbers | None]":
    """Return the tables, and which of all their rows are to be written; None for all."""
    tables = [piece.table for piece in pieces]
    if all(piece.places is None for piece in pieces):
        return tables, None
    places, first = [], 0
    for piece in pieces:
        rows = np.arange(len(piece), dtype=np.uint32) if piece.places is None else piece.places
        places.append(rows + np.uint32(first))
        first += piece.table.num_rows
    return tables, np.concatenate(places)


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Join tables, and empty the list: one column at a time is twice in memory, not all of them."""
    # A column of nulls takes the type of the others.
    whole = pa.concat_tables(tables, promote_options="default")
    tables.clear()
    columns = {}
    while whole.num_columns:
        columns[whole.schema.names[0]] = whole.column(0).combine_chunks()
        whole = whole.remove_column(0)
    return pa.table(columns)


def parquet_writer(
    file: pa.NativeFile,
    table: Table,
    options: ConvertOptions,
    sorted_by: Sequence[str] | None = None,
) -> ParquetWriter:
    """Return a writer of a table's files.

    Args:
        file: What it writes to.
        table: The table.
        options: The options of the run.
        sorted_by: The columns by which the rows of a compacted file are sorted already; None if it
            is not one.
    """
    is_compacted = sorted_by is not None
    filtered: Sequence[str] = FILTERED if options.bloom_filters else ()
    if is_compacted and not filtered:
        filtered = FILTERED_IF_COMPACTED
    sort_by = SORTED_BY[table] if options.order == "sorted" else ()
    schema = table_schema(table, options.time_type, with_source=options.with_source)
    return ParquetWriter(
        file,
        schema,
        compression=options.compression,
        sort_by=sort_by if sorted_by is None else sorted_by,
        is_sorted=is_compacted,
        bloom_filters=[name for name in filtered if name in schema.names],
        created_by=f"flowconv version {VERSION}",
    )
