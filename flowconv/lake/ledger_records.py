"""What the records of the ledger say: runs, converted objects, files, commits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from flowconv.blocks.counts import LineCounts


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that holds what a task read: Parquet of a table, or rejected lines.

    Attributes:
        path: Below the lake.
        rows: Its rows or lines.
        size_bytes: Its size.
        crc32: CRC-32 of its bytes.
        columns: Its columns, in their order; none if it holds rejected lines.
    """

    path: str
    rows: int
    size_bytes: int
    crc32: int
    columns: tuple[str, ...]

    @property
    def is_data(self) -> bool:
        """It is Parquet of a table, not a file of rejected lines."""
        return bool(self.columns)


HEADERS_APART = ", "


@dataclass(frozen=True, slots=True)
class ConvertedObject:
    """An object whose rows are in the lake.

    Attributes:
        uri: The object.
        size_bytes: Its size as it is stored.
        etag: Its etag when it was converted.
        day: The day that its key says, if it does.
        counts: Its lines by kind.
        fields: The fields of its headers, or the declared ones: names separated by spaces,
            headers by `HEADERS_APART`. Empty if it has no line with values.
        declared: Those of them that were declared; empty if it said itself what its fields are.
    """

    uri: str
    size_bytes: int
    etag: str
    day: date | None
    counts: LineCounts
    fields: str
    declared: str = ""


class TaskObject(NamedTuple):
    """What a task read of an object: its uri, its etag and size at that time, and its rows."""

    uri: str
    etag: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the ledger knows it.

    Attributes:
        run_id: Its id.
        began: When, in UTC.
        host: On which machine.
        ended: When, in UTC; None while it runs, or if it was killed.
        report: What it said at its end (`ConvertReport.to_dict` without the lists).
    """

    run_id: str
    began: datetime
    host: str
    ended: datetime | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commit:
    """A task that is done.

    Attributes:
        task_id: The task.
        run_id: The run that did it.
        objects: What was converted.
        files: What holds the rows, and the rejected lines if there are any.
        replaces: Tasks whose objects were converted anew; their files count no more.
    """

    task_id: str
    run_id: str
    objects: tuple[ConvertedObject, ...]
    files: tuple[DataFile, ...]
    replaces: tuple[str, ...] = ()
