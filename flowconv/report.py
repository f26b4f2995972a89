"""What a run says when it is done: counts of lines, objects, files and bytes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime
from operator import add
from typing import Any


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Lines of an object by kind; every line is of exactly one of the first five.

    Attributes:
        header: Lines that name the fields.
        blank: Lines without any value.
        comment: Lines with nothing but a comment, which begins with `#`.
        rows: Rows that they became: one a line, unless records were glued together.
        rejected: Lines that do not fit; they are in the quarantine, but for those that are dropped.
        split: Rows beyond the first of a line of glued records.
        milliseconds: Rows whose times were in milliseconds, and were made seconds.
        far_times: Rows that start or end on a day far from their object's delivery.
        left_out: Lines of log groups that are left out.
        dropped: Rejected lines beyond what the quarantine takes of an object or a run.
    """

    header: int = 0
    blank: int = 0
    comment: int = 0
    rows: int = 0
    rejected: int = 0
    split: int = 0
    milliseconds: int = 0
    far_times: int = 0
    left_out: int = 0
    dropped: int = 0

    @property
    def lines(self) -> int:
        """All lines."""
        read = self.header + self.blank + self.comment + self.rows + self.rejected - self.split
        return read + self.left_out

    def by_kind(self) -> tuple[int, ...]:
        """Return the numbers in the order of the attributes."""
        return tuple(getattr(self, f.name) for f in fields(self))

    def __add__(self, other: "LineCounts") -> "LineCounts":
        return LineCounts(*map(add, self.by_kind(), other.by_kind()))


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


# Names of log groups that a report has; those beyond are counted together.
GROUPS_COUNTED = 100
OTHER_GROUPS = "others"

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
class TaskResult:
    """What a task read and wrote.

    Attributes:
        task_id: The task.
        objects: The objects that were converted.
        unreadable: Uri -> reason, of the others.
        rejected: Reason -> number of lines that do not fit.
        unknown_fields: Names in headers that AWS does not document.
        left_out_columns: Columns of Parquet that were not read.
        left_out_log_groups: Log group -> lines of it that were not read.
        text_bytes: Size of the text.
        files: The files written.
    """

    task_id: str
    objects: tuple[ConvertedObject, ...]
    unreadable: Mapping[str, str]
    rejected: Counter[str]
    unknown_fields: frozenset[str]
    left_out_columns: frozenset[str]
    left_out_log_groups: Counter[str]
    text_bytes: int
    files: tuple[DataFile, ...]


@dataclass(frozen=True, slots=True)
class NewHeader:
    """A header that no object of its prefix had in earlier runs.

    Attributes:
        prefix: Uri of what stands before the day in the objects' keys, else of their folder.
        flow_log_id: The flow log of the first object that has it, if its key says it.
        since: That object's day, if its key says it.
        fields: The header: AWS's names, separated by spaces.
        came: Fields that the header most like it, of those known before, does not have.
        went: Fields that it lacks, and that one has.
    """

    prefix: str
    flow_log_id: str | None
    since: date | None
    fields: str
    came: tuple[str, ...]
    went: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"since": self.since and self.since.isoformat()}


@dataclass(slots=True)
class ConvertReport:
    """What a run of `convert` read and wrote.

    Attributes:
        source: What was read.
        lake: Where the tables are.
        run_id: The run, as the ledger and the logs name it.
        objects: Objects that were converted.
        already_converted: Objects that earlier runs converted.
        changed: Uris of objects that changed since they were converted; their rows are the old
            ones until they are reprocessed.
        changed_format: Uris of objects that were converted by a declared format, and for which
            another one is declared now; their rows are the old ones until they are reprocessed.
        unreadable: Uri -> reason, of objects of which nothing was converted, and of folders that
            could not be listed.
        left_out: Kind -> number, of objects that were not to be read, such as `undated` ones
            when days are chosen, or `--exclude *.json`; folders that were left out whole count
            once.
        empty: No flow log was found below the source, and none was converted from there (with
            since or until, of those days) before; and that was not allowed.
        lines: Lines of the converted objects by kind.
        rejected: Reason -> number, of lines that do not fit; `lines.dropped` of them are not in
            the quarantine.
        unknown_fields: Names in headers that AWS does not document; kept as text columns.
        left_out_columns: Columns of Parquet that were not read: nested ones, and those whose names
            or types cannot be a field's.
        left_out_log_groups: Log group -> lines of it that were not to be read; beyond the first
            hundred, `others`.
        source_bytes: Size of the converted objects as they are stored.
        text_bytes: Size of their text.
        written_bytes: Size of the Parquet files.
        tables: Table -> rows.
        directories: Partitions that got files.
        files: Parquet files.
        new_headers: Headers that prefixes did not have in earlier runs.
        retries: Requests to S3 that were made again.
        cancelled: A signal stopped the run before its end; what is counted is converted.
        seconds: Wall time.
    """

    source: str
    lake: str
    run_id: str
    objects: int = 0
    already_converted: int = 0
    changed: list[str] = field(default_factory=list)
    changed_format: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    empty: bool = False
    lines: LineCounts = field(default_factory=LineCounts)
    rejected: Counter[str] = field(default_factory=Counter)
    unknown_fields: set[str] = field(default_factory=set)
    left_out_columns: set[str] = field(default_factory=set)
    left_out_log_groups: Counter[str] = field(default_factory=Counter)
    source_bytes: int = 0
    text_bytes: int = 0
    written_bytes: int = 0
    tables: Counter[str] = field(default_factory=Counter)
    directories: set[str] = field(default_factory=set)
    files: int = 0
    new_headers: list[NewHeader] = field(default_factory=list)
    retries: int = 0
    cancelled: bool = False
    seconds: float = 0.0

    def add(self, done: TaskResult) -> None:
        """Count in what a task did."""
        self.objects += len(done.objects)
        self.unreadable |= done.unreadable
        for converted in done.objects:
            self.lines += converted.counts
            self.source_bytes += converted.size_bytes
        self.rejected.update(done.rejected)
        self.unknown_fields |= done.unknown_fields
        self.left_out_columns |= done.left_out_columns
        for group, lines in done.left_out_log_groups.items():
            is_named = group in self.left_out_log_groups
            name = (
                group
                if is_named or len(self.left_out_log_groups) < GROUPS_COUNTED
                else OTHER_GROUPS
            )
            self.left_out_log_groups[name] += lines
        self.text_bytes += done.text_bytes
        for file in filter(lambda file: file.is_data, done.files):
            self.files += 1
            self.written_bytes += file.size_bytes
            self.tables[file.path.partition("/")[0]] += file.rows
            self.directories.add(file.path.rpartition("/")[0])

    @property
    def partitions(self) -> int:
        """Number of directories that got files."""
        return len(self.directories)

    @property
    def complete(self) -> bool:
        """Objects were found, all were read, nothing changed in between, and every line fits."""
        odd = (self.empty, self.unreadable, self.rejected, self.changed, self.changed_format)
        return not (self.cancelled or any(odd))

    @property
    def text_megabytes_per_second(self) -> float:
        """Text converted per second of the run, in millions of bytes."""
        return self.text_bytes / 1e6 / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; keys are this class's attributes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        lines = {f.name: getattr(self.lines, f.name) for f in fields(LineCounts)}
        return plain | {
            "lines": {"lines": self.lines.lines, **lines},
            "left_out": dict(self.left_out),
            "rejected": dict(self.rejected),
            "tables": dict(self.tables),
            "directories": sorted(self.directories),
            "partitions": self.partitions,
            "unknown_fields": sorted(self.unknown_fields),
            "new_headers": [new.to_dict() for new in self.new_headers],
            "left_out_columns": sorted(self.left_out_columns),
            "left_out_log_groups": dict(sorted(self.left_out_log_groups.items())),
            "seconds": round(self.seconds, 3),
            "text_megabytes_per_second": round(self.text_megabytes_per_second, 1),
            "number_changed": len(self.changed),
            "number_changed_format": len(self.changed_format),
            "number_unreadable": len(self.unreadable),
            "complete": self.complete,
        }
