"""A ledger's checkpoint: all that its records said up to a number, in three Parquet files.

    000000000064.objects-1a2b3c4d.parquet   every converted object, with its task and lines
    000000000064.files-5e6f7a8b.parquet     every file that counts, with its task
    000000000064.runs-9c0d1e2f.parquet      every run

Each has the CRC-32 of its bytes in its name, and the checkpoint's number within. The objects are
written last, and name the others; without all three it does not count.
"""

import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import chain
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError
from flowconv.lake.ledger_records import DataFile, Run
from flowconv.lake.paths import LEDGER
from flowconv.storage.interface import Storage

_ROWS_AT_ONCE = 1 << 16

Part = Literal["objects", "files", "runs"]

OBJECTS_SCHEMA: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("task_id", pa.string()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
        ("day", pa.date32()),
        *((f.name, pa.int64()) for f in fields(LineCounts)),
        ("fields", pa.dictionary(pa.int32(), pa.string())),  # a few, of 400 bytes each
        ("declared", pa.dictionary(pa.int32(), pa.string())),
    ]
)

_FILES_SCHEMA: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("task_id", pa.string()),
        ("path", pa.string()),
        ("rows", pa.int64()),
        ("size_bytes", pa.int64()),
        ("crc32", pa.int64()),
        ("columns", pa.string()),
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


PARTS: tuple[Part, ...] = tuple(_SCHEMAS)

_PATH = re.compile(rf"{LEDGER}/([0-9]{{12}})\.({'|'.join(PARTS)})-[0-9a-f]{{8}}\.parquet")


def parse_part(path: str) -> tuple[int, Part] | None:
    """Return number and part of a checkpoint's file; None if it is none."""
    match = _PATH.fullmatch(path)
    return (int(match[1]), match[2]) if match else None  # type: ignore[return-value]


class Checkpoint:
    """All that the ledger said up to a number; 0 is the empty one. Read when asked for.

    Args:
        storage: The lake.
        number: The last record that it holds.
        paths: Part -> its file; there should be one of each.

    Raises:
        LakeError: There are more.
    """

    def __init__(
        self, storage: Storage, number: int = 0, paths: Mapping[Part, Sequence[str]] | None = None
    ) -> None:
        self._storage = storage
        self.number = number
        self._paths: dict[Part, str] = {part: found[0] for part, found in (paths or {}).items()}
        for found in (paths or {}).values():
            if len(found) > 1:
                raise LakeError(
                    f"the ledger's checkpoint has {found[0]} and {found[1]}, of which one does not "
                    "belong there. Remove that one; flowconv verify tells whether it was the "
                    "right one.",
                    uri=storage.root,
                )

    def object_batches(
        self, without: Collection[str], columns: Collection[str]
    ) -> Iterator[pa.RecordBatch]:
        """Give columns of the objects of all tasks but some, a bounded number at a time."""
        return self._read("objects", without, columns)

    def files(self, without: Collection[str]) -> dict[str, tuple[DataFile, str]]:
        """Return the files of all tasks but some: path -> file and task."""
        rows = chain.from_iterable(batch.to_pylist() for batch in self._read("files", without))
        return {
            row["path"]: (
                DataFile(
                    row["path"],
                    row["rows"],
                    row["size_bytes"],
                    row["crc32"],
                    tuple(row["columns"].split()),
                ),
                row["task_id"],
            )
            for row in rows
        }

    def runs(self) -> dict[str, Run]:
        """Return the runs by their ids."""
        rows = chain.from_iterable(batch.to_pylist() for batch in self._read("runs", ()))
        return {row["run_id"]: Run(**row | {"report": json.loads(row["report"])}) for row in rows}

    def replaced_by(
        self,
        number: int,
        objects: Iterable[pa.RecordBatch],
        files_: Iterable[tuple[DataFile, str]],
        runs: Iterable[Run],
    ) -> "Checkpoint":
        """Write a later checkpoint; the objects come last and make it count."""
        file_rows = [
            asdict(file) | {"columns": " ".join(file.columns), "task_id": task_id}
            for file, task_id in files_
        ]
        run_rows = [asdict(run) | {"report": json.dumps(dict(run.report))} for run in runs]
        later = Checkpoint(self._storage, number)
        later._write("files", pa.Table.from_pylist(file_rows, _FILES_SCHEMA).to_batches())
        later._write("runs", pa.Table.from_pylist(run_rows, _RUNS_SCHEMA).to_batches())
        later._write("objects", objects)
        return later

    @property
    def paths(self) -> list[str]:
        """Its files; without the objects, which are the first, the others do not count."""
        return [self._paths[part] for part in _SCHEMAS if part in self._paths]

    def _write(self, part: Part, batches: Iterable[pa.RecordBatch]) -> None:
        sink = pa.BufferOutputStream()
        schema = _SCHEMAS[part]
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for some in _in_groups(batches):
                writer.write_table(pa.Table.from_batches(some, schema))
            writer.add_key_value_metadata(self._facts(part))
        written = sink.getvalue().to_pybytes()
        path = f"{LEDGER}/{self.number:012d}.{part}-{zlib.crc32(written):08x}.parquet"
        self._storage.write(path, written)
        self._paths[part] = path

    def _facts(self, part: Part) -> dict[str, str]:
        """Return what a part says of the whole; the objects, which are the last, name the others.

        So no part of another checkpoint can stand in its place.
        """
        facts = {"checkpoint": str(self.number)}
        if part == "objects":
            facts["parts"] = " ".join(self._paths[other] for other in PARTS if other != part)
        return facts

    def _read(
        self,
        part: Part,
        without: Collection[str],
        columns: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        if self.number == 0:
            return
        path = self._paths[part]
        written = self._storage.read(path)
        if written is None:
            raise LakeError(
                f"the ledger's checkpoint {path} is gone; if no other run is merging the ledger at "
                "the moment, restore it from a copy.",
                uri=self._storage.root,
            )
        if not path.endswith(f"-{zlib.crc32(written):08x}.parquet"):
            raise self._damaged(path, "its checksum does not fit")
        dropped = pa.array(list(without), pa.string())
        asked = None if columns is None else list({*columns, *(["task_id"] if without else [])})
        with pq.ParquetFile(pa.BufferReader(written)) as file:
            facts = file.metadata.metadata or {}
            for name, value in self._facts(part).items():
                if (found := facts.get(name.encode(), b"").decode(errors="replace")) != value:
                    raise self._damaged(path, f"it is of {name} {found or 'none'}, not {value}")
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=asked):
                kept = batch.replace_schema_metadata()
                if without:
                    kept = kept.filter(pc.invert(pc.is_in(kept["task_id"], dropped)))
                yield kept if columns is None else kept.select(list(columns))

    def _damaged(self, path: str, why: str) -> LakeError:
        return LakeError(
            f"the ledger's checkpoint {path} is damaged: {why}. Restore it from a copy. If there "
            "is none, delete it, and flowconv verify --repair goes on without it; what it said is "
            "converted again.",
            uri=self._storage.root,
        )


def _in_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Gather small batches: each call to write makes a row group."""
    some: list[pa.RecordBatch] = []
    for batch in batches:
        some.append(batch)
        if sum(one.num_rows for one in some) >= _ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some
