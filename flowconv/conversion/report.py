"""The report of a run: counts of lines, objects, files and bytes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime
from typing import Any, NamedTuple

from flowconv.blocks.counts import GROUPS_COUNTED, OTHER_GROUPS, LineCounts
from flowconv.conversion.logged_interfaces import Logged
from flowconv.lake.ledger_records import ConvertedObject, DataFile
from flowconv.lake.overlaps import Overlap
from flowconv.lake.paths import place_of
from flowconv.notebooks import InNotebooks


class TaskResult(NamedTuple):
    """What a task read and wrote.

    Attributes:
        task_id: The task.
        objects: The objects that were converted.
        unreadable: Uri -> reason, of the other objects.
        rejected: Reason -> number of rejected lines.
        unknown_fields: Names in headers that AWS does not document.
        left_out_columns: Columns of Parquet that were not read.
        left_out_log_groups: Log group -> number of its lines that were left out.
        unfit_log_groups: Log group -> rejected lines, where no line of it in an object fits.
        text_bytes: Size of the text.
        files: The files written.
        logged: Flow log -> its windows and interfaces.
        newest_record: See `ConvertReport`.
        newest_object: See `ConvertReport`.
        skipdata: See `ConvertReport`.
        unanswered: No object was converted, since the source gave no answer.
        worker: The worker of an engine that did it; "" for this process.
        retries: Requests that this worker repeated since its last task.
    """

    task_id: str
    objects: tuple[ConvertedObject, ...]
    unreadable: Mapping[str, str]
    rejected: Counter[str]
    unknown_fields: frozenset[str]
    left_out_columns: frozenset[str]
    left_out_log_groups: Counter[str]
    unfit_log_groups: Counter[str]
    text_bytes: int
    files: tuple[DataFile, ...]
    logged: Mapping[str, Logged]
    newest_record: datetime | None = None
    newest_object: datetime | None = None
    skipdata: int = 0
    unanswered: bool = False
    worker: str = ""
    retries: int = 0


@dataclass(slots=True)
class WorkerCounts:
    """What a worker of an engine did: tasks, bytes as they are stored, requests repeated."""

    tasks: int = 0
    source_bytes: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHeader:
    """A header that no object of its prefix had in earlier runs.

    Attributes:
        prefix: Uri of the objects up to the day, else of their folder.
        flow_log_id: The flow log of the first object that has it; None if its key has none.
        since: The day of that object; None if its key has none.
        fields: The header: AWS's names, separated by spaces.
        added: Its fields that the most similar known header does not have.
        removed: Fields of the most similar known header that it does not have.
    """

    prefix: str
    flow_log_id: str | None
    since: date | None
    fields: str
    added: tuple[str, ...]
    removed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"since": self.since and self.since.isoformat()}


@dataclass(slots=True, kw_only=True, repr=False)
class ConvertReport(InNotebooks):
    """What a run of `convert` read and wrote.

    Attributes:
        source: The source.
        lake: The lake.
        run_id: The run, as the ledger and the logs name it.
        objects: Number of objects that were converted.
        already_converted: Number of objects that earlier runs converted.
        changed: Uris of objects that changed since they were converted; the lake has their old
            rows until they are reprocessed.
        changed_format: Uris of objects that were converted by one declared format and now have
            another; the lake has their old rows until they are reprocessed.
        unreadable: Uri -> reason, of objects that were not converted, and of folders that could
            not be listed.
        left_out: Kind -> number of objects that were left out, such as `undated` when days are
            chosen, `--exclude *.json`, or `expired` (`flowconv expire` removed their days). A
            folder that was left out as a whole counts once.
        since: The first chosen day; None if none was chosen.
        until: The last chosen day.
        empty: No flow log of the chosen days was found below the source, and this was not allowed.
        found_before: It is empty, and earlier runs converted flow logs from there.
        newest_record: Start of the newest record that was written, in UTC; None if none has one.
            Records that start in the future do not count.
        newest_object: The time in the name of the newest object that was converted, in UTC; None if
            none has one.
        skipdata: Number of rows that say that AWS lost records (SKIPDATA).
        overlaps: Pairs of flow logs of this run that logged the same interfaces at once, so that
            their records are twice in the lake; the first hundred. Those that have just one window
            in common, as when one takes the other's place, come last.
        number_overlaps: Number of all pairs with more windows in common.
        lines: Lines of the converted objects by kind.
        rejected: Reason -> number of rejected lines; `lines.dropped` of them are not in the
            quarantine.
        unknown_fields: Names in headers that AWS does not document; kept in `unknown_fields`.
        left_out_columns: Columns of Parquet that were not read: nested ones, and those whose names
            or types cannot be a field's.
        left_out_log_groups: Log group -> number of its lines that were left out; `others` for
            groups beyond the first hundred.
        unfit_log_groups: Log group -> rejected lines, of those objects in which no line of it fits;
            beyond the first hundred, `others`.
        source_bytes: Size of the converted objects as they are stored.
        text_bytes: Size of their text.
        expired: Number of rows of expired days, which were not written.
        written_bytes: Size of the Parquet files.
        tables: Table -> number of rows written.
        directories: Partitions that got files.
        files: Number of Parquet files.
        new_headers: Headers that no object of their prefix had in earlier runs; the first hundred.
        number_new_headers: Number of all new headers.
        retries: Number of requests to S3 that were repeated.
        requests: `source` and `lake`, where they are in S3 -> their requests by kind: how many were
            sent (S3 bills all), how many of them answered (`count`), their median and 99th
            percentile (within 5 %, in ms); the most that were under way at once; hedges: GETs and
            LISTs made once more beside one that took much longer; the bytes of objects that were
            sent and received; and `usd`, their price. Those of an engine's workers count; the most
            at once are then those of one process.
        worker_time: What the workers spent their time on, as shares of it: `working`, waiting for
            bytes of the `source`, waiting to write to the `lake`, and waiting for `tasks`: for the
            listing, and for tasks to be committed. Empty if no task was converted.
        workers: On an engine, worker -> what it did: `tasks`, `source_bytes` and `retries`, the
            requests that it repeated.
        cancelled: A signal stopped the run before its end; everything counted is converted.
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
    since: date | None = None
    until: date | None = None
    empty: bool = False
    found_before: bool = False
    newest_record: datetime | None = None
    newest_object: datetime | None = None
    skipdata: int = 0
    overlaps: list[Overlap] = field(default_factory=list)
    number_overlaps: int = 0
    lines: LineCounts = field(default_factory=LineCounts)
    rejected: Counter[str] = field(default_factory=Counter)
    unknown_fields: set[str] = field(default_factory=set)
    left_out_columns: set[str] = field(default_factory=set)
    left_out_log_groups: Counter[str] = field(default_factory=Counter)
    unfit_log_groups: Counter[str] = field(default_factory=Counter)
    source_bytes: int = 0
    text_bytes: int = 0
    expired: int = 0
    written_bytes: int = 0
    tables: Counter[str] = field(default_factory=Counter)
    directories: set[str] = field(default_factory=set)
    files: int = 0
    new_headers: list[NewHeader] = field(default_factory=list)
    number_new_headers: int = 0
    retries: int = 0
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    worker_time: dict[str, float] = field(default_factory=dict)
    workers: dict[str, WorkerCounts] = field(default_factory=dict)
    cancelled: bool = False
    seconds: float = 0.0

    def add(self, done: TaskResult) -> None:
        """Add a task's result."""
        self.objects += len(done.objects)
        self.unreadable |= done.unreadable
        for converted in done.objects:
            self.lines += converted.counts
            self.source_bytes += converted.size_bytes
        self.rejected.update(done.rejected)
        self.unknown_fields |= done.unknown_fields
        self.left_out_columns |= done.left_out_columns
        _add_bounded(self.left_out_log_groups, done.left_out_log_groups)
        _add_bounded(self.unfit_log_groups, done.unfit_log_groups)
        self.text_bytes += done.text_bytes
        self.skipdata += done.skipdata
        self.newest_record = newest(self.newest_record, done.newest_record)
        self.newest_object = newest(self.newest_object, done.newest_object)
        self.expired += sum(file.rows for file in done.files if not file.is_written)
        for file in filter(lambda file: file.is_data and file.is_written, done.files):
            self.files += 1
            self.written_bytes += file.size_bytes
            partition = file.path.rpartition("/")[0]
            self.tables[place_of(partition).table] += file.rows
            self.directories.add(partition)
        if done.worker:
            counts = self.workers.setdefault(done.worker, WorkerCounts())
            counts.tasks += 1
            counts.source_bytes += sum(converted.size_bytes for converted in done.objects)
            counts.retries += done.retries

    @property
    def partitions(self) -> int:
        """Number of directories that got files."""
        return len(self.directories)

    @property
    def lasting_overlaps(self) -> list[Overlap]:
        """Those of `overlaps` that have more than one window."""
        return [overlap for overlap in self.overlaps if overlap.is_lasting]

    @property
    def complete(self) -> bool:
        """Objects were found, all were read, nothing changed in between, and every line fits."""
        odd = (self.empty, self.unreadable, self.rejected, self.changed, self.changed_format)
        return not (self.cancelled or any(odd))

    @property
    def bound_by(self) -> str:
        """What the workers spent most of their time on, as in `worker_time`; "" if unknown."""
        shares = self.worker_time
        return max(shares, key=lambda what: shares[what]) if shares else ""

    @property
    def requests_usd(self) -> float | None:
        """Price of all requests in US dollars; None if none was made to S3."""
        return sum(place["usd"] for place in self.requests.values()) if self.requests else None

    @property
    def text_megabytes_per_second(self) -> float:
        """Text converted per second of the run, in millions of bytes."""
        return self.text_bytes / 1e6 / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; keys are this class's attributes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        lines = self.lines._asdict()
        return plain | {
            "lines": {"lines": self.lines.lines, **lines},
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "newest_record": self.newest_record and self.newest_record.isoformat(),
            "newest_object": self.newest_object and self.newest_object.isoformat(),
            "left_out": dict(self.left_out),
            "workers": {name: asdict(self.workers[name]) for name in sorted(self.workers)},
            "rejected": dict(self.rejected),
            "tables": dict(self.tables),
            "directories": sorted(self.directories),
            "partitions": self.partitions,
            "overlaps": [overlap.to_dict() for overlap in self.overlaps],
            "unknown_fields": sorted(self.unknown_fields),
            "new_headers": [header.to_dict() for header in self.new_headers],
            "left_out_columns": sorted(self.left_out_columns),
            "left_out_log_groups": dict(sorted(self.left_out_log_groups.items())),
            "unfit_log_groups": dict(sorted(self.unfit_log_groups.items())),
            "seconds": round(self.seconds, 3),
            "text_megabytes_per_second": round(self.text_megabytes_per_second, 1),
            "number_changed": len(self.changed),
            "number_changed_format": len(self.changed_format),
            "number_unreadable": len(self.unreadable),
            "requests_usd": self.requests_usd,
            "bound_by": self.bound_by,
            "complete": self.complete,
        }


def newest(*times: datetime | None) -> datetime | None:
    """Return the newest of the times that are known."""
    return max(filter(None, times), default=None)


def _add_bounded(log_groups: Counter[str], more: Mapping[str, int]) -> None:
    """Add lines of log groups, of which no more than a hundred have names of their own."""
    for group, lines in more.items():
        is_named = group in log_groups or len(log_groups) < GROUPS_COUNTED
        log_groups[group if is_named else OTHER_GROUPS] += lines
