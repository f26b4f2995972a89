"""Compacted files: rows of many tasks, sorted, and the origin of each row.

A task may be converted again, so its rows must be found in a compacted file. The origins lie
between the file's row groups, where no reader looks, and its footer says where their list is:

    row group, codes of its rows' origins, row group, codes, …, list, footer

A code has 16 or 32 bits and is a place in the list's origins; compressed, it takes about a byte.
"""

import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.errors import FetchError, LakeError
from flowconv.fields import Table
from flowconv.lake.ledger_records import DataFile, Share
from flowconv.lake.paths import STAGING, name_of
from flowconv.lake.writing import StagedFile, parquet_writer
from flowconv.options import ConvertOptions
from flowconv.rows.schema import table_schema
from flowconv.storage.interface import Storage
from flowconv.storage.local_errors import storage_errors
from flowconv.storage.stored_reader import StoredReader

Codes = npt.NDArray[np.uint32]
"""For each row the place of its origin in a list."""


class Removed(NamedTuple):
    """A task and a flow log: a record of theirs was removed, since another stands for it."""

    task_id: str
    flow_log_id: str


class Origin(NamedTuple):
    """Where a row is from: its task, and the duplicates that it stands for."""

    task_id: str
    stands_for: tuple[Removed, ...] = ()


class Origins(Sequence[Origin]):
    """Origins, each once; codes are places in it. For one thread."""

    def __init__(self, origins: Iterable[Origin] = ()) -> None:
        self._codes: dict[Origin, int] = {}
        self._all: list[Origin] = []
        for origin in origins:
            self.code(origin)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, place: Any) -> Any:
        return self._all[place]

    def code(self, origin: Origin) -> int:
        """Return an origin's code; it is added if it is new."""
        if origin not in self._codes:
            self._codes[origin] = len(self._all)
            self._all.append(origin)
        return self._codes[origin]


_METADATA = b"flowconv.origins"
_COMPRESSION: Any = "zstd"

# Smaller files are fetched by one request.
_WHOLE_BYTES = 16 << 20

_PIECE_BYTES = 8 << 20


class RowGroups:
    """A data file of a lake, read a row group at a time.

    Args:
        storage: The lake.
        file: The file.
        task_id: Its task; not used if it is compacted.
        schema: The columns of its table.
        use_threads: Columns are read by several threads.
        with_origins: If not, all rows seem to be of `task_id`.

    Raises:
        LakeError: The file is damaged, or a later flowconv wrote it.
        FetchError: It cannot be fetched; this may pass.
    """

    def __init__(
        self,
        storage: Storage,
        file: DataFile,
        task_id: str,
        schema: pa.Schema,
        *,
        use_threads: bool = False,
        with_origins: bool = True,
    ) -> None:
        import pyarrow.parquet as pq

        self._use_threads = use_threads
        self._uri = storage.uri(file.path)
        self.size_bytes = file.size_bytes
        self._file = file
        self._schema = schema
        with self._damage():
            self._stored = _open(storage, file)
            texts = [field.name for field in schema if pa.types.is_string(field.type)]
            self._parquet = pq.ParquetFile(
                pa.PythonFile(self._stored, mode="r"),
                read_dictionary=texts,
                page_checksum_verification=True,
                pre_buffer=not storage.is_local,
            )
            found = self._parquet.schema_arrow.names
            if unknown := [name for name in found if name not in schema.names]:
                raise ValueError(f"it has the column {unknown[0]}, which this flowconv lacks")
            if self._parquet.metadata.num_rows != file.rows:
                raise ValueError(
                    f"it has {self._parquet.metadata.num_rows} rows, the ledger {file.rows}"
                )
            self.origins: Sequence[Origin] = [Origin(task_id)]
            self._places: list[tuple[int, int, int]] = []
            if with_origins and file.shares:
                self._read_origins()

    def __enter__(self) -> "RowGroups":
        return self

    def __exit__(self, *_: object) -> None:
        self._parquet.close()
        self._stored.close()

    def columns(self) -> set[str]:
        """Return the columns in which a row may have a value."""
        metadata = self._parquet.metadata
        found = set()
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for place in range(group.num_columns):
                column = group.column(place)
                counted = column.statistics
                if counted is None or counted.null_count != group.num_rows:
                    found.add(column.path_in_schema)
        return found

    def read(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, Codes]]:
        """Give each row group: these columns, and its rows' origins as places in `origins`.

        Texts are dictionaries; a column that the file lacks is null.

        Raises:
            LakeError: The file is damaged.
            FetchError: It cannot be fetched; this may pass.
        """
        stored = set(self._parquet.schema_arrow.names)
        there = [name for name in columns if name in stored]
        for number in range(self._parquet.metadata.num_row_groups):
            with self._damage():
                group = self._parquet.read_row_group(
                    number, columns=there, use_threads=self._use_threads
                )
                codes = self._read_codes(number, group.num_rows)
            yield with_columns(group, [self._schema.field(name) for name in columns]), codes

    def _read_origins(self) -> None:
        written = (self._parquet.metadata.metadata or {})[_METADATA]
        described = json.loads(self._read_aside(*map(int, written.split())))
        self.origins = [
            Origin(task_id, tuple(Removed(*removed) for removed in stands_for))
            for task_id, *stands_for in described["origins"]
        ]
        self._places = described["places"]
        if {share.task_id for share in self._file.shares} - {one.task_id for one in self.origins}:
            raise ValueError("it lacks tasks that the ledger names")

    def _read_codes(self, number: int, rows: int) -> Codes:
        if not self._places:
            return np.zeros(rows, np.uint32)
        place = self._places[number]
        kind = np.dtype("<u2") if place[2] == 2 * rows else np.dtype("<u4")
        codes = np.frombuffer(self._read_aside(*place), kind)
        if len(codes) != rows or codes.max(initial=0) >= len(self.origins):
            raise ValueError("the origins of its rows are damaged")
        return codes.astype(np.uint32)

    def _read_aside(self, place: int, size_bytes: int, plain_bytes: int) -> Any:
        self._stored.seek(place)
        packed: Any = self._stored.read(size_bytes)
        return pa.decompress(packed, plain_bytes, _COMPRESSION, asbytes=True)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except FetchError:
            raise
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise LakeError(
                f"the file is damaged ({error}). flowconv verify says what to do.", uri=self._uri
            ) from error


class CompactedWriter:
    """Writes sorted rows of one partition to compacted files `<name>-<n>.parquet`. For one thread.

    Args:
        storage: The lake.
        partition: Table and directory.
        name: Beginning of the files' names; no other file has it.
        origins: The origins of the rows; more may be added before a row has them.
        sorted_by: The columns by which the rows are sorted.
        is_deduped: See `DataFile`.
        options: Format and size of the files.
        on_file: Called before each row group is written; stops the writing by raising.
    """

    def __init__(
        self,
        storage: Storage,
        partition: str,
        *,
        name: str,
        origins: Sequence[Origin],
        sorted_by: Sequence[str],
        is_deduped: bool,
        options: ConvertOptions,
        on_file: Callable[[], object] = bool,
    ) -> None:
        self._storage = storage
        self._partition = partition
        self._name = name
        self._origins = origins
        self._sorted_by = tuple(sorted_by)
        self._is_deduped = is_deduped
        self._options = options
        self._on_file = on_file
        self._table = Table(partition.partition("/")[0])
        self._schema = table_schema(self._table, options.time_type, with_source=options.with_source)
        self._open: _OpenFile | None = None
        self._staged: list[StagedFile] = []

    def write(self, tables: Sequence[pa.Table], codes: Codes) -> None:
        """Write rows as a row group; a column that they lack is null.

        Raises:
            StorageError: The lake cannot be written to.
        """
        self._on_file()
        if self._open is None:
            path = f"{self._partition}/{self._name}-{len(self._staged):04d}.parquet"
            self._open = _OpenFile(self, path)
        self._open.write([with_columns(table, list(self._schema)) for table in tables], codes)
        if self._open.sink.tell() >= self._options.target_file_size:
            self._close_file()

    def close(self) -> list[StagedFile]:
        """Finish the last file; none is visible yet.

        Raises:
            StorageError: The lake cannot be written to.
        """
        self._close_file()
        return self._staged

    def discard(self) -> None:
        """Remove what is not published."""
        if self._open:
            self._open.sink.discard()
        for staged in self._staged:
            staged.sink.discard()

    def _close_file(self) -> None:
        if self._open:
            self._staged.append(self._open.close())
            self._open = None


class _OpenFile:
    def __init__(self, writer: CompactedWriter, path: str) -> None:
        self._path = path
        self._origins = writer._origins
        self._sorted_by = writer._sorted_by
        self._is_deduped = writer._is_deduped
        self._rows: Counter[str] = Counter()
        self._places: list[tuple[int, int, int]] = []
        self.sink = writer._storage.open_staged(path, f"{STAGING}/{path.rpartition('/')[2]}")
        with storage_errors(self.sink.uri):
            self._parquet = parquet_writer(
                self.sink.file, writer._table, writer._options, writer._sorted_by
            )

    def write(self, tables: Sequence[pa.Table], codes: Codes) -> None:
        with storage_errors(self.sink.uri):
            self._parquet.write_row_group(tables)
            kind = np.dtype("<u2") if len(self._origins) <= 1 << 16 else np.dtype("<u4")
            self._places.append(self._write_aside(codes.astype(kind).tobytes()))
        for origin, rows in zip(self._origins, np.bincount(codes).tolist(), strict=False):
            if rows:
                self._rows[origin.task_id] += rows

    def close(self) -> StagedFile:
        origins = [[origin.task_id, *origin.stands_for] for origin in self._origins]
        described = json.dumps({"origins": origins, "places": self._places}).encode()
        with storage_errors(self.sink.uri):
            place = self._write_aside(described)
            self._parquet.add_metadata(_METADATA.decode(), " ".join(map(str, place)))
            self._parquet.close()
        self.sink.close()
        file = DataFile(
            path=self._path,
            rows=self._rows.total(),
            size_bytes=self.sink.tell(),
            crc32=self.sink.crc32,
            shares=tuple(Share(*share) for share in self._rows.items()),
            sorted_by=self._sorted_by,
            is_deduped=self._is_deduped,
        )
        return StagedFile(file, self.sink)

    def _write_aside(self, data: bytes) -> tuple[int, int, int]:
        packed = pa.compress(data, _COMPRESSION, asbytes=True)
        return self._parquet.write_aside(packed), len(packed), len(data)


def rewrite_without(
    storage: Storage,
    files: Iterable[DataFile],
    task_ids: Collection[str],
    generation: int,
    options: ConvertOptions,
) -> list[StagedFile]:
    """Write compacted files again, without the rows of some tasks.

    Args:
        storage: The lake.
        files: The files.
        task_ids: The tasks.
        generation: Number of this run's `begin`.
        options: The lake's, and the format of what is written.

    Returns:
        The files, which are not visible yet; fewer, if no row is left.

    Raises:
        LakeError: A file is damaged.
        FetchError: A file cannot be fetched; this may pass.
        StorageError: The lake cannot be written to.
    """
    replaced = dict.fromkeys(task_ids, NOWHERE)
    staged: list[StagedFile] = []
    try:
        for file in files:
            if replaced.keys() >= {share.task_id for share in file.shares}:
                continue
            name = name_of((file.path, sorted(task_ids)), generation)
            staged += write_parts(storage, file, replaced, [name], options)
    except BaseException:
        for rewritten in staged:
            rewritten.sink.discard()
        raise
    return staged


NOWHERE = -1
"""The part of rows that are left out."""


def write_parts(
    storage: Storage,
    file: DataFile,
    part_of: Mapping[str, int],
    names: Sequence[str],
    options: ConvertOptions,
) -> list[StagedFile]:
    """Write the rows of a compacted file to others; in each they keep their order.

    Args:
        storage: The lake.
        file: The file.
        part_of: Task -> place in `names`, or `NOWHERE`; rows of other tasks are in the first part.
        names: Beginnings of the files' names, for each part.
        options: The lake's, and the format of what is written.

    Returns:
        The files, which are not visible yet; none of a part without rows.

    Raises:
        LakeError, FetchError, StorageError: As `rewrite_without`.
    """
    partition = file.path.rpartition("/")[0]
    table = Table(partition.partition("/")[0])
    schema = table_schema(table, options.time_type, with_source=options.with_source)
    with RowGroups(storage, file, "", schema) as groups:
        writers = [
            CompactedWriter(
                storage,
                partition,
                name=name,
                origins=groups.origins,
                sorted_by=file.sorted_by,
                is_deduped=file.is_deduped,
                options=options,
            )
            for name in names
        ]
        parts = np.array([part_of.get(origin.task_id, 0) for origin in groups.origins])
        columns = [name for name in schema.names if name in groups.columns()]
        try:
            for rows, codes in groups.read(columns):
                for number, writer in enumerate(writers):
                    chosen = parts[codes] == number
                    if chosen.any():
                        writer.write([rows.filter(pa.array(chosen))], codes[chosen])
            return [staged for writer in writers for staged in writer.close()]
        except BaseException:
            for writer in writers:
                writer.discard()
            raise


def with_columns(table: pa.Table, fields: "Sequence[pa.Field[Any]]") -> pa.Table:
    """Return a table with these columns: those that it lacks are null."""
    names = table.column_names
    nulls = pa.chunked_array([pa.nulls(table.num_rows)])
    columns = [table[field.name] if field.name in names else nulls for field in fields]
    return pa.table(columns, names=[field.name for field in fields])


def _open(storage: Storage, file: DataFile) -> Any:
    """Open a file; where it costs no second request, its checksum is compared first.

    Raises:
        ValueError: The checksum differs.
    """
    stored: Any
    if file.size_bytes <= _WHOLE_BYTES:
        stored = io.BytesIO(storage.fetch(file.path))
    elif storage.is_local:
        stored = io.FileIO(storage.location(file.path))
    else:
        return StoredReader(storage, file.path, file.size_bytes)
    crc32 = 0
    while piece := stored.read(_PIECE_BYTES):
        crc32 = zlib.crc32(piece, crc32)
    stored.seek(0)
    if crc32 != file.crc32:
        stored.close()
        raise ValueError(f"CRC-32 {crc32:08x}, expected {file.crc32:08x}")
    return stored
