"""A ledger's checkpoint: the content of all records up to a number, in Parquet files.

    000000000064.objects-1a2b3c4d.parquet   every converted object, with its task and lines
    000000000064.files-5e6f7a8b.parquet     every file that counts, with its task
    000000000064.runs-9c0d1e2f.parquet      every run

The objects of a large ledger are in several files, so a merge need not write all of them again:

    000000000096.objects-after-000000000064-2b3c4d5e.parquet   those of the records after 64

These count with those up to 64, which an earlier checkpoint wrote, and so on down to a file without
"after": the chain of a checkpoint.

Each file has the CRC-32 of its bytes in its name, and in its metadata the number of the checkpoint
that wrote it and what had expired. The objects are written last, and name the other files; a
checkpoint counts if all of them are there.
"""

import io
import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError
from flowconv.lake.expired import Expired
from flowconv.lake.ledger_records import (
    Commit,
    DataFile,
    Run,
    file_from_json,
    file_to_json,
    record_of_objects,
)
from flowconv.lake.paths import LEDGER
from flowconv.storage.interface import Storage

# A merge writes the last file of objects again until it is so large: 600,000 of them, which takes a
# second.
FULL_BYTES = 32 << 20

# Of 65,536 rows a merge takes 70 MB more, and the file is 6 % smaller.
_ROWS_PER_GROUP = 1 << 14

# To start threads takes longer than to read less than that: half of 0.5 ms for 60 files.
_BYTES_FOR_THREADS = 1 << 20

Part = Literal["objects", "files", "runs"]

_COUNTS = [(kind, pa.int64()) for kind in LineCounts._fields]

OBJECTS_SCHEMA: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("task_id", pa.string()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
        ("day", pa.date32()),
        *_COUNTS,
        # Headers joined by `join_headers`: a few different texts, of 400 bytes each.
        ("fields", pa.dictionary(pa.int32(), pa.string())),
        ("declared", pa.dictionary(pa.int32(), pa.string())),
        ("unfit", pa.dictionary(pa.int32(), pa.string())),
        ("committed", pa.timestamp("ms", "UTC")),
    ]
)

_FILES_SCHEMA: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("task_id", pa.string()),
        ("path", pa.string()),
        ("rows", pa.int64()),
        ("size_bytes", pa.int64()),
        ("crc32", pa.int64()),
        # Of compacted files and notes, whose task is "".
        ("shares", pa.string()),
        ("sorted_by", pa.string()),
        ("is_deduped", pa.bool_()),
        ("duplicates", pa.string()),
    ]
)

_RUNS_SCHEMA: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("run_id", pa.string()),
        ("began", pa.timestamp("ms", "UTC")),
        ("host", pa.string()),
        ("ended", pa.timestamp("ms", "UTC")),
        ("report", pa.string()),
    ]
)

_SCHEMAS: dict[Part, pa.Schema] = {
    "objects": OBJECTS_SCHEMA,
    "files": _FILES_SCHEMA,
    "runs": _RUNS_SCHEMA,
}


# In the metadata of each part, since every reader reads one of them.
_EXPIRED = "expired"
_NOTHING_EXPIRED = json.dumps(Expired().to_json())

PARTS: tuple[Part, ...] = tuple(_SCHEMAS)

_PATH = re.compile(
    rf"{LEDGER}/([0-9]{{12}})\.(?:(objects)-after-([0-9]{{12}})|({'|'.join(PARTS)}))"
    r"-[0-9a-f]{8}\.parquet"
)


class PartName(NamedTuple):
    """What the name of a checkpoint's file says.

    Attributes:
        number: The number of the checkpoint that wrote it.
        part: The part.
        after: Of objects, those of the records after this one.
    """

    number: int
    part: Part
    after: int = 0


def parse_part(path: str) -> PartName | None:
    """Return what the path of a checkpoint's file says; None if it is not that of one."""
    if not (match := _PATH.fullmatch(path)):
        return None
    part: Any = match[2] or match[4]
    name = PartName(int(match[1]), part, int(match[3] or 0))
    return name if name.after < max(1, name.number) else None


def part_name(path: str) -> PartName:
    """Return what the path of a checkpoint's file says."""
    name = parse_part(path)
    assert name
    return name


class PartFile(NamedTuple):
    """A checkpoint's file."""

    path: str
    size_bytes: int


def objects_table(commit: Commit, columns: Sequence[str] = OBJECTS_SCHEMA.names) -> pa.Table:
    """Return columns of a commit's objects, as `OBJECTS_SCHEMA` has them."""
    # From lists to columns: objects in between took two thirds of a merge's time.
    record = record_of_objects(commit)
    rows, kinds = record["objects"], record["kinds"]
    listed = zip(*rows, strict=True) if rows else [()] * (4 + len(kinds) + 3)
    uris, sizes, etags, days, *counts, headers, declared, unfit = listed
    values = {
        "task_id": [commit.task_id] * len(rows),
        "uri": uris,
        "size_bytes": sizes,
        "etag": etags,
        "day": days,
        **{kind: [0] * len(rows) for kind, _ in _COUNTS},
        **dict(zip(kinds, counts, strict=True)),
        "fields": headers,
        "declared": declared,
        "unfit": unfit,
        "committed": [commit.committed] * len(rows),
    }

    def column(field: "pa.Field[Any]") -> Any:
        chosen = values[field.name]
        if pa.types.is_dictionary(field.type):
            places = {number: place for place, number in enumerate(dict.fromkeys(chosen))}
            texts = pa.array([record["headers"][number] for number in places], pa.string())
            codes = pa.array([places[number] for number in chosen], pa.int32())
            return pa.DictionaryArray.from_arrays(codes, texts)
        if pa.types.is_date(field.type):
            return pa.array(chosen, pa.string()).cast(field.type)
        return pa.array(chosen, field.type)

    schema = pa.schema([OBJECTS_SCHEMA.field(name) for name in columns])
    return pa.table([column(field) for field in schema], schema=schema)


def files_table(files: Iterable[tuple[DataFile, str]]) -> pa.Table:
    """Return files and their tasks as a checkpoint has them."""
    rows = [_file_row(file) | {"task_id": task_id} for file, task_id in files]
    return pa.Table.from_pylist(rows, _FILES_SCHEMA)


class Checkpoint:
    """The content of all records up to a number, read when asked for; 0 is the empty checkpoint.

    Args:
        storage: The lake.
        number: The last record that it holds.
        files: Part -> its file; of objects, the one of this number.
        earlier: The other files of objects, oldest first.
    """

    def __init__(
        self,
        storage: Storage,
        number: int = 0,
        files: Mapping[Part, PartFile] | None = None,
        earlier: Sequence[PartFile] = (),
    ) -> None:
        self._storage = storage
        self.number = number
        self._expired: Expired | None = None if number else Expired()
        self._files: dict[Part, PartFile] = dict(files or {})
        self._earlier = list(earlier)

    def number_full(self) -> int:
        """Return the number of files of objects, from the first, that a merge need not write."""
        last = self._files.get("objects")
        return len(self._earlier) + bool(last and last.size_bytes >= FULL_BYTES)

    def object_batches(
        self, without: Collection[str], columns: Collection[str], after_files: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Give columns of objects, in bounded batches.

        Args:
            without: Their tasks are left out.
            columns: The columns.
            after_files: Objects of so many files, from the first, are left out.
        """
        for file in self._object_files()[after_files:]:
            yield from self._read(file.path, without, columns)

    def files(self, without: Collection[str]) -> dict[str, tuple[DataFile, str]]:
        """Return the files of all tasks except `without`: path -> file and task."""
        batches = self.file_batches(without)
        rows = chain.from_iterable(batch.to_pylist() for batch in batches)
        return {row["path"]: (_file_of(row), row["task_id"]) for row in rows}

    def file_batches(
        self, without: Collection[str], without_paths: Collection[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Give the files of all tasks except `without`, but not those at some paths."""
        if self._files:
            dropped = _texts(without_paths)
            for batch in self._read(self._files["files"].path, without, _FILES_SCHEMA.names):
                yield _without(batch, "path", dropped)

    def expired(self) -> Expired:
        """Return what has expired; it is known once any file with this number was read."""
        if self._expired is None:
            next(self._read_part("files"), None)
        assert self._expired is not None
        return self._expired

    def runs(self) -> dict[str, Run]:
        """Return run id -> run."""
        runs = chain.from_iterable(map(_runs_of, self._read_part("runs")))
        return {run.run_id: run for run in runs}

    def replaced_by(
        self,
        number: int,
        objects: Iterable[pa.RecordBatch],
        files: Iterable[pa.RecordBatch],
        runs: Iterable[Run],
        expired: Expired,
        *,
        after_files: int = 0,
    ) -> "Checkpoint":
        """Write a later checkpoint; its objects come last and make it count.

        Args:
            number: The last record that it holds.
            objects: Its objects.
            files: Its files.
            runs: All runs.
            expired: What has expired.
            after_files: So many of this checkpoint's files of objects, from the first, stay, and
                `objects` are those that they lack.
        """
        run_rows = [asdict(run) | {"report": json.dumps(dict(run.report))} for run in runs]
        later = Checkpoint(self._storage, number, earlier=self._object_files()[:after_files])
        later._expired = expired
        later._write("files", files)
        later._write("runs", pa.Table.from_pylist(run_rows, _RUNS_SCHEMA).to_batches())
        later._write("objects", objects)
        return later

    @property
    def paths(self) -> list[str]:
        """Its files, in the order to delete them: without the objects the others do not count."""
        own = [self._files[part].path for part in PARTS if part in self._files]
        return [*own, *(file.path for file in self._earlier)]

    def _object_files(self) -> list[PartFile]:
        """Return the files of its objects, oldest first."""
        own = self._files.get("objects")
        return [*self._earlier, *([own] if own else [])]

    def _write(self, part: Part, batches: Iterable[pa.RecordBatch]) -> None:
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        schema = _SCHEMAS[part]
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for group in _row_groups(batches):
                writer.write_table(pa.Table.from_batches(group, schema))
            expired = {_EXPIRED: json.dumps(self.expired().to_json())}
            writer.add_key_value_metadata(self._metadata(part) | expired)
        written = sink.getvalue()  # Its memory, not a copy.
        name = f"{self.number:012d}.{part}"
        if part == "objects" and self._earlier:
            name += f"-after-{part_name(self._earlier[-1].path).number:012d}"
        path = f"{LEDGER}/{name}-{zlib.crc32(written):08x}.parquet"
        self._storage.write(path, written)
        self._files[part] = PartFile(path, len(written))

    def _metadata(self, part: Part) -> dict[str, str]:
        """Return a part's metadata: the number, and in the objects the paths of the other files.

        So a file of another checkpoint cannot take its place.
        """
        metadata = {"checkpoint": str(self.number)}
        if part == "objects":
            others = [self._files[other] for other in PARTS if other != part]
            metadata["parts"] = " ".join(file.path for file in (*others, *self._earlier))
        return metadata

    def _read_part(self, part: Part) -> Iterator[pa.RecordBatch]:
        if part in self._files:
            yield from self._read(self._files[part].path, ())

    def _read(
        self, path: str, without: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        number, part, _ = part_name(path)
        is_own = number == self.number
        written = self._storage.read(path)
        if written is None:
            raise LakeError(
                f"the ledger's checkpoint {path} is gone. If another run is merging the ledger "
                "just now, run again; else restore it from a copy.",
                uri=self._storage.root,
            )
        if not path.endswith(f"-{zlib.crc32(written):08x}.parquet"):
            raise self._damaged(path, "its checksum does not fit")
        dropped = _texts(without)
        needed = None if columns is None else list({*columns, *(["task_id"] if without else [])})
        with pq.ParquetFile(pa.BufferReader(written)) as file:
            written_metadata = file.metadata.metadata or {}
            # The last file of objects names the others.
            metadata = self._metadata(part) if is_own else {"checkpoint": str(number)}
            for name, expected in metadata.items():
                found = written_metadata.get(name.encode(), b"").decode(errors="replace")
                if found != expected:
                    why = f"its metadata has {name} {found or 'none'}, expected {expected}"
                    raise self._damaged(path, why)
            if self._expired is None and is_own:
                described = json.loads(written_metadata.get(_EXPIRED.encode(), _NOTHING_EXPIRED))
                self._expired = Expired.from_json(described)
            use_threads = len(written) > _BYTES_FOR_THREADS
            for batch in file.iter_batches(
                _ROWS_PER_GROUP, columns=needed, use_threads=use_threads
            ):
                kept = _without(batch.replace_schema_metadata(), "task_id", dropped)
                yield kept if columns is None else _with_columns(kept, columns, _SCHEMAS[part])

    def _damaged(self, path: str, why: str) -> LakeError:
        return LakeError(
            f"the ledger's checkpoint {path} is damaged: {why}. Restore it from a copy. If there "
            "is none, delete it: flowconv verify --repair goes on without it, and what it said is "
            "converted again.",
            uri=self._storage.root,
        )


_EPOCH = datetime.fromtimestamp(0, UTC)

_LISTS = ("shares", "sorted_by", "duplicates")


def _file_row(file: DataFile) -> dict[str, Any]:
    """Return a file as a checkpoint has it: its lists as JSON, since few files have them."""
    plain = file_to_json(file)
    return plain | {name: json.dumps(plain[name]) for name in _LISTS if name in plain}


def _file_of(row: Mapping[str, Any]) -> DataFile:
    texts = {name: row.get(name) for name in _LISTS}  # An earlier flowconv wrote none.
    return file_from_json(
        {**row, **{name: text and json.loads(text) for name, text in texts.items()}}
    )


def _runs_of(batch: pa.RecordBatch) -> Iterator[Run]:
    rows = batch.drop_columns(["began", "ended"]).to_pylist()
    times = _times(batch["began"]), _times(batch["ended"])
    for row, began, ended in zip(rows, *times, strict=True):
        report = json.loads(row["report"])
        yield Run(**row | {"began": began, "ended": ended, "report": report})


def _times(column: "pa.Array[Any]") -> list[datetime | None]:
    """Return times as `to_pylist` does, which would import pandas where it is installed."""
    milliseconds = column.view(pa.int64()).to_pylist()
    return [None if ms is None else _EPOCH + timedelta(milliseconds=ms) for ms in milliseconds]


def _texts(texts: Collection[str]) -> pa.StringArray:
    """Return texts as `pa.array` does, which would import pandas where it is installed: 0.4 s."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = pa.py_buffer(offsets.data), pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(encoded), *buffers)


def _without(batch: pa.RecordBatch, column: str, dropped: pa.StringArray) -> pa.RecordBatch:
    """Return a batch without the rows that have one of some texts in a column."""
    if not len(dropped):
        return batch
    import pyarrow.compute as pc

    return batch.filter(pc.invert(pc.is_in(batch[column], dropped)))


def _with_columns(
    batch: pa.RecordBatch, names: Collection[str], schema: pa.Schema
) -> pa.RecordBatch:
    """Return columns of a part; those that an earlier flowconv did not write are null."""
    found = batch.schema.names
    if missing := [name for name in names if name not in found]:
        for name in missing:
            field = schema.field(name)
            batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
    return batch.select(list(names))


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Gather small batches: each call to write makes a row group."""
    group: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        group.append(batch)
        rows += batch.num_rows
        if rows >= _ROWS_PER_GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group
