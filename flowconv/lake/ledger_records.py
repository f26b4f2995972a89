"""The records of the ledger: runs, commits, and the objects and files that a commit names."""

import json
import pickle
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from typing import Any, NamedTuple

from flowconv.blocks.counts import LineCounts
from flowconv.lake.paths import QUARANTINE
from flowconv.pickling import quickly_pickled


class Share(NamedTuple):
    """A task, and how many of a compacted file's rows it read."""

    task_id: str
    rows: int


class Duplicates(NamedTuple):
    """Rows that were removed, since rows of another flow log say all that they said.

    Attributes:
        task_id: The task that read them.
        flow_log_id: Their flow log.
        kept_task_id: The task of the rows that stand for them.
        kept_flow_log_id: The flow log of these.
        rows: Their number.
    """

    task_id: str
    flow_log_id: str
    kept_task_id: str
    kept_flow_log_id: str
    rows: int


class DataFile(NamedTuple):
    """A file with what a task read: Parquet of a table, or rejected lines.

    Or a compacted file, with rows of many tasks: it is of no task, and has their shares. Or a note,
    which is no file: the duplicates that were removed from a partition, or what is left to count of
    a compacted file that has expired.

    Attributes:
        path: Below the lake.
        rows: Number of its rows or lines.
        size_bytes: Its size; 0 if there is no file, since its rows are of a day that had expired,
            or it is a note.
        crc32: CRC-32 of its bytes.
        shares: The tasks of a compacted file.
        sorted_by: The columns by which its partition is sorted, if it is compacted.
        is_deduped: Its rows were compared with those of the partition's other compacted files, and
            have no duplicates among them.
        duplicates: What a note says.
    """

    path: str
    rows: int
    size_bytes: int
    crc32: int
    shares: tuple[Share, ...] = ()
    sorted_by: tuple[str, ...] = ()
    is_deduped: bool = False
    duplicates: tuple[Duplicates, ...] = ()

    @property
    def is_of_many_tasks(self) -> bool:
        """It is compacted, or a note: of no task alone."""
        return bool(self.shares or self.duplicates)

    @property
    def is_data(self) -> bool:
        """It is Parquet of a table, not a file of rejected lines."""
        return not self.path.startswith(f"{QUARANTINE}/")

    @property
    def is_written(self) -> bool:
        """There is such a file, or was; else it stands for rows that are not there."""
        return self.size_bytes > 0


class Swap(NamedTuple):
    """Compacted files, and the paths of files that have had their rows and no longer count."""

    files: tuple[DataFile, ...]
    replaced: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as records have it."""
        return {
            "files": [file_to_json(file) for file in self.files],
            "replaced_files": list(self.replaced),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Swap":
        """Return the swap of a record; without one, it replaces nothing.

        Raises:
            ValueError, KeyError, TypeError: It is something else.
        """
        files = tuple(map(file_from_json, record.get("files", ())))
        return cls(files, tuple(record.get("replaced_files", ())))


NO_SWAP = Swap((), ())


@quickly_pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedObject:
    """An object whose rows are in the lake.

    Attributes:
        uri: The object.
        size_bytes: Its size as it is stored.
        etag: Its etag when it was converted.
        day: The day of its key; None if the key has none.
        counts: Its lines by kind.
        headers: Its headers, or the formats declared for it, each as names separated by spaces.
            Empty if no line has values.
        declared: Those of `headers` that were declared; empty if the object names its fields.
        unfit: Its log groups of which no line is a row, each with the format declared for it.
        flow_log_id: The flow log of its key; None if the key has none. Not recorded.
    """

    uri: str
    size_bytes: int
    etag: str
    day: date | None
    counts: LineCounts
    headers: tuple[str, ...]
    declared: tuple[str, ...] = ()
    unfit: tuple[tuple[str, str], ...] = ()
    flow_log_id: str | None = field(default=None, compare=False)


class TaskObject(NamedTuple):
    """An object of a task: its uri, its etag and size when it was converted, and its rows."""

    uri: str
    etag: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the ledger has it.

    Attributes:
        run_id: Its id.
        began: Time of its begin, in UTC.
        host: The machine.
        ended: Time of its end, in UTC; None while it runs, or if it was killed.
        report: Its report (`ConvertReport.to_dict` without the long lists).
    """

    run_id: str
    began: datetime
    host: str
    ended: datetime | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


class Commit(NamedTuple):
    """A task that is done.

    Attributes:
        task_id: The task.
        run_id: The run that did it.
        objects: The objects that were converted.
        files: The files with their rows, and with their rejected lines if there are any.
        replaces: Tasks whose objects were converted again; their files no longer count.
        replaced_files: Compacted files with rows of these; `files` has them without these rows.
        committed: Time of its record, in UTC; None before there is one.
    """

    task_id: str
    run_id: str
    objects: Collection[ConvertedObject]
    files: tuple[DataFile, ...]
    replaces: tuple[str, ...] = ()
    replaced_files: tuple[str, ...] = ()
    committed: datetime | None = None


class RecordedObjects(Collection[ConvertedObject]):
    """The objects of a commit as its record has them; each use makes them anew.

    Most readers of a ledger want none of them, or columns of them.

    Args:
        record: The commit's record.

    Raises:
        ValueError, KeyError, TypeError, IndexError: It is not the record of a commit.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        _require_objects(record)
        self._number = len(record["objects"])
        self._keep({name: record[name] for name in _OF_OBJECTS})

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[ConvertedObject]:
        return _objects_from_json(self.record())

    def __contains__(self, found: object) -> bool:
        return found in tuple(self)

    def record(self) -> Mapping[str, Any]:
        """Return what the commit's record has of them."""
        return self._recorded

    def _keep(self, recorded: Mapping[str, Any]) -> None:
        self._recorded = recorded


class PackedObjects(RecordedObjects):
    """The same in 40 bytes each, in place of 700; each use unpacks them."""

    def record(self) -> Mapping[str, Any]:
        """See `RecordedObjects`."""
        recorded: Mapping[str, Any] = pickle.loads(zlib.decompress(self._packed))
        return recorded

    def _keep(self, recorded: Mapping[str, Any]) -> None:
        self._packed = zlib.compress(pickle.dumps(recorded), 1)


def record_of_objects(commit: Commit) -> Mapping[str, Any]:
    """Return what a commit's record has of its objects."""
    objects = commit.objects
    return objects.record() if isinstance(objects, RecordedObjects) else commit_to_json(commit)


def join_headers(headers: Iterable[str]) -> str:
    """Return an object's headers as records and checkpoints have them."""
    return _BETWEEN_HEADERS.join(headers)


def split_headers(text: str) -> tuple[str, ...]:
    """Undo `join_headers`."""
    return tuple(text.split(_BETWEEN_HEADERS)) if text else ()


_BETWEEN_HEADERS = ", "


def join_unfit(unfit: Iterable[tuple[str, str]]) -> str:
    """Return log groups and their formats as records and checkpoints have them."""
    return json.dumps(dict(unfit)) if unfit else ""


def split_unfit(text: str) -> tuple[tuple[str, str], ...]:
    """Undo `join_unfit`."""
    return tuple(json.loads(text).items()) if text else ()


# Texts that thousands of objects share come last.
_SHARED_TEXTS = 3


def commit_to_json(commit: Commit) -> dict[str, Any]:
    """Return a commit as its record has it."""
    rows = [_object_to_json(converted) for converted in commit.objects]
    # Thousands of objects share a header: it is written once.
    texts = dict.fromkeys(chain.from_iterable(row[-_SHARED_TEXTS:] for row in rows))
    numbers = {text: number for number, text in enumerate(texts)}
    return {
        "task_id": commit.task_id,
        "run_id": commit.run_id,
        "kinds": [*LineCounts._fields],
        "headers": list(texts),
        "objects": [
            [*row[:-_SHARED_TEXTS], *(numbers[text] for text in row[-_SHARED_TEXTS:])]
            for row in rows
        ],
        "files": [file_to_json(file) for file in commit.files],
        "replaces": list(commit.replaces),
        "replaced_files": list(commit.replaced_files),
    }


def file_to_json(file: DataFile) -> dict[str, Any]:
    """Return a file as records and checkpoints have it."""
    plain = file._asdict()
    if not file.shares:
        del plain["shares"], plain["sorted_by"], plain["is_deduped"]
    if not file.duplicates:
        del plain["duplicates"]
    return plain


def file_from_json(plain: Mapping[str, Any]) -> DataFile:
    """Undo `file_to_json`; what a compacted file has may be missing or null.

    Raises:
        ValueError, KeyError, TypeError: It is something else.
    """
    return DataFile(
        path=plain["path"],
        rows=plain["rows"],
        size_bytes=plain["size_bytes"],
        crc32=plain["crc32"],
        shares=tuple(Share(*share) for share in plain.get("shares") or ()),
        sorted_by=tuple(plain.get("sorted_by") or ()),
        is_deduped=bool(plain.get("is_deduped")),
        duplicates=tuple(map(Duplicates._make, plain.get("duplicates") or ())),
    )


def _object_to_json(converted: ConvertedObject) -> list[Any]:
    return [
        converted.uri,
        converted.size_bytes,
        converted.etag,
        converted.day and converted.day.isoformat(),
        *converted.counts,
        join_headers(converted.headers),
        join_headers(converted.declared),
        join_unfit(converted.unfit),
    ]


def commit_from_json(record: Mapping[str, Any]) -> Commit:
    """Return the commit of a record.

    Raises:
        ValueError, KeyError, TypeError, IndexError: It is not the record of a commit.
    """
    return Commit(
        task_id=record["task_id"],
        run_id=record["run_id"],
        objects=RecordedObjects(record),
        files=tuple(map(file_from_json, record["files"])),
        replaces=tuple(record["replaces"]),
        replaced_files=tuple(record.get("replaced_files", ())),
        committed=datetime.fromisoformat(record["at"]) if "at" in record else None,
    )


# What a record has of its objects.
_OF_OBJECTS = ("kinds", "headers", "objects")


def _require_objects(record: Mapping[str, Any]) -> None:
    """Check what a record has of its objects, without a step for each; raise if it is damaged."""
    kinds, texts, objects = (record[name] for name in _OF_OBJECTS)
    LineCounts(**dict.fromkeys(kinds, 0))
    "".join(texts)
    if not objects:
        return
    _, _, _, days, *counts, headers, declared, unfit = zip(*objects, strict=True)
    if len(counts) != len(kinds):
        raise ValueError(f"{len(counts)} counts of {len(kinds)} kinds of lines")
    for day in {*days} - {None}:
        date.fromisoformat(day)
    for number in {*headers, *declared, *unfit}:
        texts[number]
    for number in {*unfit}:
        split_unfit(texts[number])


def _objects_from_json(record: Mapping[str, Any]) -> Iterator[ConvertedObject]:
    texts = record["headers"]
    headers = [split_headers(text) for text in texts]
    for uri, size_bytes, etag, day, *counts, header, declared, unfit in record["objects"]:
        yield ConvertedObject(
            uri=uri,
            size_bytes=size_bytes,
            etag=etag,
            day=day and date.fromisoformat(day),
            counts=LineCounts(**dict(zip(record["kinds"], counts, strict=True))),
            headers=headers[header],
            declared=headers[declared],
            unfit=split_unfit(texts[unfit]),
        )
