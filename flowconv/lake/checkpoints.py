"""A ledger's checkpoint: the content of all records up to a number, in three Parquet files.

    000000000064.objects-1a2b3c4d.parquet   every converted object, with its task and lines
    000000000064.files-5e6f7a8b.parquet     every file that counts, with its task
    000000000064.runs-9c0d1e2f.parquet      every run

Each file has the CRC-32 of its bytes in its name, and in its metadata the checkpoint's number and
what has expired. The objects are written last, and name the other two; a checkpoint counts if all
three are there.
"""

import io
import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import chain
from typing import Any, Literal

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
    join_headers,
    join_unfit,
)
from flowconv.lake.paths import LEDGER
from flowconv.storage.interface import Storage

# Of 65,536 rows a merge takes 70 MB more, and the file is 6 % smaller.
_ROWS_PER_GROUP = 1 << 14

Part = Literal["objects", "files", "runs"]

_COUNTS = [(kind.name, pa.int64()) for kind in fields(LineCounts)]

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

_PATH = re.compile(rf"{LEDGER}/([0-9]{{12}})\.({'|'.join(PARTS)})-[0-9a-f]{{8}}\.parquet")


def parse_part(path: str) -> tuple[int, Part] | None:
    """Return number and part of a checkpoint's file; None if the path is not that of one."""
    match = _PATH.fullmatch(path)
    return (int(match[1]), match[2]) if match else None  # type: ignore[return-value]


def objects_table(commit: Commit) -> pa.Table:
    """Return a commit's objects, in `OBJECTS_SCHEMA`."""
    rows = [
        (
            commit.task_id,
            converted.uri,
            converted.size_bytes,
            converted.etag,
            converted.day,
            *converted.counts.by_kind(),
            join_headers(converted.headers),
            join_headers(converted.declared),
            join_unfit(converted.unfit),
            commit.committed,
        )
        for converted in commit.objects
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(OBJECTS_SCHEMA)
    return pa.table(columns, schema=OBJECTS_SCHEMA)


class Checkpoint:
    """The content of all records up to a number, read when asked for; 0 is the empty checkpoint.

    Args:
        storage: The lake.
        number: The last record that it holds.
        paths: Part -> its files; there should be one file of each part.

    Raises:
        LakeError: A part has two files.
    """

    def __init__(
        self, storage: Storage, number: int = 0, paths: Mapping[Part, Sequence[str]] | None = None
    ) -> None:
        self._storage = storage
        self.number = number
        self._expired: Expired | None = None if number else Expired()
        self._paths: dict[Part, str] = {part: files[0] for part, files in (paths or {}).items()}
        for files in (paths or {}).values():
            if len(files) > 1:
                raise LakeError(
                    f"the ledger's checkpoint has two files {files[0]} and {files[1]}, expected "
                    "one. Remove the one that does not belong there; flowconv verify tells whether "
                    "it was the right one.",
                    uri=storage.root,
                )

    def object_batches(
        self, without: Collection[str], columns: Collection[str]
    ) -> Iterator[pa.RecordBatch]:
        """Give columns of the objects of all tasks except `without`, in bounded batches."""
        return self._read("objects", without, columns)

    def files(self, without: Collection[str]) -> dict[str, tuple[DataFile, str]]:
        """Return the files of all tasks except `without`: path -> file and task."""
        rows = chain.from_iterable(batch.to_pylist() for batch in self._read("files", without))
        return {row["path"]: (_file_of(row), row["task_id"]) for row in rows}

    def expired(self) -> Expired:
        """Return what has expired; it is known once any part was read."""
        if self._expired is None:
            next(self._read("files", ()), None)
        assert self._expired is not None
        return self._expired

    def runs(self) -> dict[str, Run]:
        """Return run id -> run."""
        rows = chain.from_iterable(batch.to_pylist() for batch in self._read("runs", ()))
        return {row["run_id"]: Run(**row | {"report": json.loads(row["report"])}) for row in rows}

    def replaced_by(
        self,
        number: int,
        objects: Iterable[pa.RecordBatch],
        files: Iterable[tuple[DataFile, str]],
        runs: Iterable[Run],
        expired: Expired,
    ) -> "Checkpoint":
        """Write a later checkpoint; its objects come last and make it count."""
        file_rows = [_file_row(file) | {"task_id": task_id} for file, task_id in files]
        run_rows = [asdict(run) | {"report": json.dumps(dict(run.report))} for run in runs]
        later = Checkpoint(self._storage, number)
        later._expired = expired
        later._write("files", pa.Table.from_pylist(file_rows, _FILES_SCHEMA).to_batches())
        later._write("runs", pa.Table.from_pylist(run_rows, _RUNS_SCHEMA).to_batches())
        later._write("objects", objects)
        return later

    @property
    def paths(self) -> list[str]:
        """Its files, in the order to delete them: without the objects the others do not count."""
        return [self._paths[part] for part in _SCHEMAS if part in self._paths]

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
        path = f"{LEDGER}/{self.number:012d}.{part}-{zlib.crc32(written):08x}.parquet"
        self._storage.write(path, written)
        self._paths[part] = path

    def _metadata(self, part: Part) -> dict[str, str]:
        """Return a part's metadata: the number, and in the objects the paths of the other parts.

        So a part of another checkpoint cannot take its place.
        """
        metadata = {"checkpoint": str(self.number)}
        if part == "objects":
            metadata["parts"] = " ".join(self._paths[other] for other in PARTS if other != part)
        return metadata

    def _read(
        self,
        part: Part,
        without: Collection[str],
        columns: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        if self.number == 0:
            return
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        path = self._paths[part]
        written = self._storage.read(path)
        if written is None:
            raise LakeError(
                f"the ledger's checkpoint {path} is gone. If another run is merging the ledger "
                "just now, run again; else restore it from a copy.",
                uri=self._storage.root,
            )
        if not path.endswith(f"-{zlib.crc32(written):08x}.parquet"):
            raise self._damaged(path, "its checksum does not fit")
        dropped = pa.array(list(without), pa.string())
        needed = None if columns is None else list({*columns, *(["task_id"] if without else [])})
        with pq.ParquetFile(pa.BufferReader(written)) as file:
            written_metadata = file.metadata.metadata or {}
            for name, expected in self._metadata(part).items():
                found = written_metadata.get(name.encode(), b"").decode(errors="replace")
                if found != expected:
                    why = f"its metadata has {name} {found or 'none'}, expected {expected}"
                    raise self._damaged(path, why)
            if self._expired is None:
                described = json.loads(written_metadata.get(_EXPIRED.encode(), _NOTHING_EXPIRED))
                self._expired = Expired.from_json(described)
            for batch in file.iter_batches(_ROWS_PER_GROUP, columns=needed):
                kept = batch.replace_schema_metadata()
                if without:
                    kept = kept.filter(pc.invert(pc.is_in(kept["task_id"], dropped)))
                yield kept if columns is None else _with_columns(kept, columns)

    def _damaged(self, path: str, why: str) -> LakeError:
        return LakeError(
            f"the ledger's checkpoint {path} is damaged: {why}. Restore it from a copy. If there "
            "is none, delete it: flowconv verify --repair goes on without it, and what it said is "
            "converted again.",
            uri=self._storage.root,
        )


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


def _with_columns(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """Return columns of objects; those that an earlier flowconv did not write are null."""
    found = batch.schema.names
    if missing := [name for name in names if name not in found]:
        for name in missing:
            field = OBJECTS_SCHEMA.field(name)
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
