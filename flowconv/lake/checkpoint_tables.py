"""The tables in a ledger's checkpoints; see `checkpoints`."""

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from flowconv.blocks.counts import LineCounts
from flowconv.lake.checkpoint_names import Part
from flowconv.lake.ledger_records import (
    Commit,
    DataFile,
    Run,
    file_from_json,
    file_to_json,
    record_of_objects,
)

# Of 65,536 rows a merge takes 70 MB more, and the file is 6 % smaller.
_ROWS_PER_GROUP = 1 << 14

# To start threads takes longer than to read less than that: half of 0.5 ms for 60 files.
_BYTES_FOR_THREADS = 1 << 20

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

FILES_SCHEMA: pa.Schema = pa.schema(
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
    "files": FILES_SCHEMA,
    "runs": _RUNS_SCHEMA,
}


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
    return pa.Table.from_pylist(rows, FILES_SCHEMA)


def files_of(batch: pa.RecordBatch) -> Iterator[tuple[DataFile, str]]:
    """Give the files of a batch, with their tasks."""
    for row in batch.to_pylist():
        yield _file_of(row), row["task_id"]


def runs_table(runs: Iterable[Run]) -> pa.Table:
    """Return runs as a checkpoint has them."""
    rows = [asdict(run) | {"report": json.dumps(dict(run.report))} for run in runs]
    return pa.Table.from_pylist(rows, _RUNS_SCHEMA)


def runs_of(batch: pa.RecordBatch) -> Iterator[Run]:
    """Give the runs of a batch."""
    rows = batch.drop_columns(["began", "ended"]).to_pylist()
    times = _times(batch["began"]), _times(batch["ended"])
    for row, began, ended in zip(rows, *times, strict=True):
        report = json.loads(row["report"])
        yield Run(**row | {"began": began, "ended": ended, "report": report})


def to_parquet(part: Part, batches: Iterable[pa.RecordBatch], metadata: dict[str, str]) -> bytes:
    """Return the bytes of a part's file."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    schema = _SCHEMAS[part]
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _row_groups(batches):
            writer.write_table(pa.Table.from_batches(group, schema))
        writer.add_key_value_metadata(metadata)
    return sink.getvalue()  # Its memory, not a copy.


class StoredTable:
    """The table in the bytes of a part's file.

    Attributes:
        metadata: Of the file.
    """

    def __init__(self, part: Part, written: bytes) -> None:
        import pyarrow.parquet as pq

        self._schema = _SCHEMAS[part]
        self._file = pq.ParquetFile(pa.BufferReader(written))
        self._uses_threads = len(written) > _BYTES_FOR_THREADS
        found = self._file.metadata.metadata or {}
        self.metadata = {
            name.decode(errors="replace"): text.decode(errors="replace")
            for name, text in found.items()
        }

    def batches(
        self, without: Collection[str], columns: Collection[str] | None
    ) -> Iterator[pa.RecordBatch]:
        """Give the rows but those of some tasks: all columns of the file, or those asked for."""
        dropped = text_array(without)
        needed = None if columns is None else list({*columns, *(["task_id"] if without else [])})
        for batch in self._file.iter_batches(
            _ROWS_PER_GROUP, columns=needed, use_threads=self._uses_threads
        ):
            kept = without_rows(batch.replace_schema_metadata(), "task_id", dropped)
            yield kept if columns is None else _with_columns(kept, columns, self._schema)


def text_array(texts: Collection[str]) -> pa.StringArray:
    """Return texts as `pa.array` does, which would import pandas where it is installed: 0.4 s."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = pa.py_buffer(offsets.data), pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(encoded), *buffers)


def without_rows(batch: pa.RecordBatch, column: str, dropped: pa.StringArray) -> pa.RecordBatch:
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


_EPOCH = datetime.fromtimestamp(0, UTC)


def _times(column: "pa.Array[Any]") -> list[datetime | None]:
    """Return times as `to_pylist` does, which would import pandas where it is installed."""
    milliseconds = column.view(pa.int64()).to_pylist()
    return [None if ms is None else _EPOCH + timedelta(milliseconds=ms) for ms in milliseconds]


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
