"""convert(): the stages in order."""

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from itertools import chain, islice
from typing import Any

from flowconv.converting import COMMITTING_AT_ONCE, TaskConverter
from flowconv.engines import RunProgress, run_tasks, uninterrupted
from flowconv.errors import FlowconvError, UsageError, printable, redact
from flowconv.fetching import request_pool
from flowconv.formats import DeclaredFormats
from flowconv.headers import KnownHeaders
from flowconv.lake import Layout, ensure_layout, is_lake, list_unfinished, remove_leftovers
from flowconv.ledger import Ledger
from flowconv.listing import LogObject
from flowconv.locking import Lock
from flowconv.memory import giving_memory_back
from flowconv.monitoring import log_event
from flowconv.names import from_text, is_plain
from flowconv.options import ConvertOptions
from flowconv.planning import Task, plan_replacement, plan_tasks
from flowconv.report import HEADERS_APART, ConvertReport, Run
from flowconv.sources import Source, open_source
from flowconv.storage import Storage, open_storage


@giving_memory_back()
def convert(
    source: str,
    dest: str,
    options: ConvertOptions | None = None,
    *,
    on_progress: Callable[[RunProgress], None] | None = None,
    on_begin: Callable[[ConvertReport], None] | None = None,
) -> ConvertReport:
    """Convert the flow logs below a prefix to partitioned Parquet.

    Args:
        source: A folder, an object, an `s3://` URL of a bucket, a prefix or an object, or
            `cloudwatch:LOG-GROUP`.
        dest: The lake: a folder or an `s3://` URL. Tables are written below `DEST/vpc/` and
            `DEST/tgw/`, everything else below `DEST/_flowconv/`.
        options: How; see `ConvertOptions`.
        on_progress: Called in this thread several times a second.
        on_begin: Called once, with the report, which fills as the run goes on: who keeps it knows
            the run's id and what it did also when the run fails.

    Objects that the lake's ledger has are not read again, so a run converts what is new. A task's
    rows count all at once, and a run that was killed leaves nothing that the next does not mend.
    Where there is no lake yet, none is begun before an object is found.

    Returns:
        What was read and written. Lines that do not fit and objects that cannot be read do not
        stop the run; they are in the report, and the lines also in the lake's quarantine.

    Raises:
        UsageError: Source or destination is none.
        StorageError: Source or destination does not answer, or the destination is full.
        LakeError: The destination is no lake or one of other options, or another run writes to it.
        ParseError: A line does not fit and `on_bad_line` is `fail`.
    """
    options = options or ConvertOptions()
    logs = open_source(source, options.source_options)
    lake = open_storage(dest, options.dest_options)
    _require_apart(logs, lake)
    report = ConvertReport(logs.root, lake.root, _new_run_id())
    log_event("run_began", run_id=report.run_id, source=report.source, lake=report.lake)
    if on_begin:
        on_begin(report)
    listed = _list(logs, lake, options, report)
    if not is_lake(lake):
        # A mistyped SOURCE must not leave a lake behind.
        first = list(islice(listed, 1))
        if not first:
            _note_unlisted(report)
            _note_empty(report, None, options)
            _sum_up(report, failure="")
            return report
        listed = chain(first, listed)
    layout = ensure_layout(lake, options)
    with Lock(lake, report.run_id, wait=options.wait) as lock, request_pool(logs) as requests:
        ledger = Ledger.read(lake)
        lock.confirm()
        unfinished = list_unfinished(lake)
        with _recorded(ledger, report, layout, (logs, lake)):
            remove_leftovers(lake, ledger, unfinished)
            tasks = _plan(listed, ledger, options, report)
            _note_unlisted(report)
            if not tasks:
                _note_empty(report, ledger, options)
            log_event(
                "run_planned",
                run_id=report.run_id,
                objects=sum(len(task.log_objects) for task in tasks),
                tasks=len(tasks),
                already_converted=report.already_converted,
                changed=len(report.changed),
                changed_format=len(report.changed_format),
            )
            headers = KnownHeaders(ledger.headers() if tasks else ())
            with TaskConverter(logs, requests, lake, ledger, report.run_id, options) as converter:
                counted = threading.Lock()

                def convert_and_count(task: Task, progress: RunProgress) -> None:
                    # Counted here, since this thread may be interrupted wherever it is.
                    done = converter.convert(task, progress)
                    with counted:
                        report.add(done)
                        headers.add(done.objects)

                workers = options.tasks_at_once + COMMITTING_AT_ONCE
                for _ in run_tasks(tasks, convert_and_count, workers, options.grace, on_progress):
                    pass
            report.new_headers = headers.new()
            for new in report.new_headers:
                log_event(
                    "new_header", level=logging.WARNING, run_id=report.run_id, **new.to_dict()
                )
    return report


@contextmanager
def _recorded(
    ledger: Ledger, report: ConvertReport, layout: Layout, storages: Iterable[Source | Storage]
) -> Iterator[None]:
    """Record the run's beginning and its end, also where it fails."""
    started = time.monotonic()
    run = Run(report.run_id, datetime.now(UTC), socket.gethostname())
    failure = ""
    begun = False
    try:
        with uninterrupted():
            ledger.begin(run, asdict(layout))
            begun = True
        yield
    except KeyboardInterrupt:
        report.cancelled = True
        failure = "stopped by a signal"
        raise
    except BaseException as error:
        failure = redact(printable(str(error))) or type(error).__name__
        raise
    finally:
        report.seconds = time.monotonic() - started
        report.retries = sum(storage.retries for storage in storages)
        ended = replace(run, ended=datetime.now(UTC), report=_sum_up(report, failure))
        if begun:
            # What went wrong first is what matters.
            with suppress(*[FlowconvError] if failure else ()), uninterrupted():
                ledger.end(ended)


def _sum_up(report: ConvertReport, failure: str) -> dict[str, Any]:
    """Log a run's end, and return what the ledger keeps of its report."""
    described = report.to_dict()
    summary = {key: described[key] for key in _IN_LEDGER} | {"failure": failure}
    log_event("run_ended", level=logging.ERROR if failure else logging.INFO, **summary)
    return summary


_IN_LEDGER = (
    *("run_id", "source", "objects", "already_converted", "lines", "rejected", "source_bytes"),
    *("text_bytes", "written_bytes", "files", "partitions", "retries"),
    *("seconds", "number_changed", "number_changed_format", "number_unreadable", "new_headers"),
)


def _require_apart(logs: Source, lake: Storage) -> None:
    if logs.is_within(lake):
        raise UsageError(
            "SOURCE lies within DEST, or is the same. Write the lake to a place of its own; it may "
            "lie within SOURCE.",
            uri=logs.root,
        )
    if not is_plain(from_text(lake.root)):
        raise UsageError(
            "DEST has a name that is no UTF-8, or has control characters in it, and no other "
            "program could read the lake. Choose another.",
            uri=lake.root,
        )


def _list(
    logs: Source, lake: Storage, options: ConvertOptions, report: ConvertReport
) -> Iterator[LogObject]:
    """List the source; the lake may lie within it and is left out."""
    return logs.list_objects(
        options.since,
        options.until,
        options.patterns,
        lake.root,
        report.left_out,
        report.unreadable,
    )


def _note_unlisted(report: ConvertReport) -> None:
    for uri, reason in report.unreadable.items():
        log_event(
            "object_unreadable",
            level=logging.WARNING,
            run_id=report.run_id,
            uri=uri,
            reason=reason,
        )


def _note_empty(report: ConvertReport, ledger: Ledger | None, options: ConvertOptions) -> None:
    """Note that a run found no flow log, of its days if some are chosen, now or before."""
    found = report.already_converted or report.changed or report.unreadable
    if found or options.allow_empty:
        return
    if ledger and ledger.has_objects(report.source, options.since, options.until):
        return
    report.empty = True
    log_event(
        "nothing_found",
        level=logging.WARNING,
        run_id=report.run_id,
        source=report.source,
        left_out=dict(report.left_out),
    )


def _plan(
    listed: Iterable[LogObject], ledger: Ledger, options: ConvertOptions, report: ConvertReport
) -> list[Task]:
    """Plan what the ledger does not have, and what is to be converted anew."""
    again: dict[str, LogObject] = {}
    tasks = plan_tasks(_unconverted(listed, ledger, options, report, again), options)
    return tasks + _plan_again(again, ledger, options, report) if again else tasks


def _unconverted(
    listed: Iterable[LogObject],
    ledger: Ledger,
    options: ConvertOptions,
    report: ConvertReport,
    again: dict[str, LogObject],
) -> Iterator[LogObject]:
    """Take away what the ledger has; if it may be wanted anew, it is gathered in `again`."""
    formats = options.declared_formats()
    converted, declared = ledger.converted_and_declared(with_declared=bool(formats.all))
    for log_object in listed:
        etag = converted.get(log_object.uri)
        if etag is None:
            yield log_object
            continue
        if etag != log_object.etag:
            report.changed.append(log_object.uri)
        elif _has_other_format(log_object, declared.get(log_object.uri), formats):
            report.changed_format.append(log_object.uri)
        else:
            report.already_converted += 1
        if options.reprocess or options.retry_rejected:
            again[log_object.uri] = log_object


def _has_other_format(
    log_object: LogObject, converted_by: str | None, formats: DeclaredFormats
) -> bool:
    """Tell whether another format is declared for an object than it was converted by."""
    if converted_by is None:
        return False
    o = log_object
    now = formats.names_for(o.path, o.flow_log_id, o.log_group)
    return bool(now) and not now.issuperset(converted_by.split(HEADERS_APART))


def _plan_again(
    again: dict[str, LogObject], ledger: Ledger, options: ConvertOptions, report: ConvertReport
) -> list[Task]:
    """Plan whole tasks anew: a file holds the rows of many objects, and is replaced as one."""
    whole_days = options.since is not None or options.until is not None
    wanted = set(ledger.rejected()) if options.retry_rejected else set()
    if options.reprocess:
        other = {*report.changed, *report.changed_format}
        wanted |= again.keys() if whole_days else other
    wanted &= again.keys()
    tasks = []
    taken: set[str] = set()
    uris_of_tasks = ledger.tasks_of(wanted)
    sizes = ledger.sizes_of(uris_of_tasks)
    for task_id, uris in uris_of_tasks.items():
        gone = [uri for uri in uris if uri not in again]
        if gone:
            in_vain = wanted.intersection(uris)
            report.unreadable |= {
                uri: f"cannot be converted anew: {len(gone)} objects that were converted with it "
                "are no longer there, and their rows would be lost. Restore them."
                for uri in in_vain
            }
            taken |= in_vain
            continue
        log_objects = []
        with_rows = set()
        for log_object in (again[uri] for uri in uris):
            etag, size_bytes, rows = sizes[log_object.uri]
            if etag != log_object.etag:
                log_objects.append(log_object)
                if rows:
                    with_rows.add(log_object.uri)
            else:
                # Only the ledger knows the size of what comes from CloudWatch Logs.
                log_objects.append(replace(log_object, size_bytes=size_bytes))
        tasks.append(plan_replacement(task_id, log_objects, options, with_rows))
        taken.update(uris)
    # Each object is reported once, as what becomes of it now.
    report.already_converted -= len(taken.difference(report.changed, report.changed_format))
    report.changed = [uri for uri in report.changed if uri not in taken]
    report.changed_format = [uri for uri in report.changed_format if uri not in taken]
    return tasks


def _new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """Objects of one account, region and day that a run would read.

    Attributes:
        account_id: As the keys say it; None if they do not.
        region: As the keys say it; None if they do not.
        day: As the keys say it; None if they do not.
        objects: Number of objects.
        size_bytes: Their size as they are stored.
        tasks: Number of tasks that would convert them, each writing a file or more.
    """

    account_id: str | None
    region: str | None
    day: date | None
    objects: int
    size_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would read and write.

    Attributes:
        source: What would be read.
        lake: Where it would be written.
        groups: What would be read, by account, region and day.
        already_converted: Objects that earlier runs converted.
        changed: Objects that changed since they were converted, and would not be read.
        changed_format: Objects that were converted by another format than is declared for them
            now, and would not be read.
        left_out: Kind -> number, of objects that would not be read.
        unreadable: Uri -> reason, of what cannot be listed.
        empty: As `ConvertReport.empty`.
    """

    source: str
    lake: str
    groups: tuple[PlannedGroup, ...]
    already_converted: int
    changed: int
    changed_format: int
    left_out: Mapping[str, int]
    unreadable: Mapping[str, str]
    empty: bool

    @property
    def complete(self) -> bool:
        """Objects were found, and everything could be listed."""
        return not (self.empty or self.unreadable)

    @property
    def objects(self) -> int:
        """Number of objects."""
        return sum(group.objects for group in self.groups)

    @property
    def size_bytes(self) -> int:
        """Size of the objects as they are stored."""
        return sum(group.size_bytes for group in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "source": self.source,
            "lake": self.lake,
            "objects": self.objects,
            "size_bytes": self.size_bytes,
            "already_converted": self.already_converted,
            "changed": self.changed,
            "changed_format": self.changed_format,
            "left_out": dict(self.left_out),
            "unreadable": dict(self.unreadable),
            "empty": self.empty,
            "complete": self.complete,
            "groups": [
                asdict(group) | {"day": group.day and group.day.isoformat()}
                for group in self.groups
            ],
        }


def plan(source: str, dest: str, options: ConvertOptions | None = None) -> Plan:
    """Say what `convert` would read and write; nothing is written.

    Raises:
        UsageError: Source or destination is none.
        StorageError: The source does not answer.
    """
    options = options or ConvertOptions()
    logs = open_source(source, options.source_options)
    lake = open_storage(dest, options.dest_options)
    report = ConvertReport(logs.root, lake.root, "")
    _require_apart(logs, lake)
    listed = _list(logs, lake, options, report)
    is_lake(lake)  # Says so if it was one.
    by_group: dict[tuple[str, str, date], list[Task]] = {}
    ledger = Ledger.read(lake)
    tasks = _plan(listed, ledger, options, report)
    if not tasks:
        _note_empty(report, ledger, options)
    for task in tasks:
        group = (task.account_id or "", task.region or "", task.day or date.min)
        by_group.setdefault(group, []).append(task)
    groups = tuple(
        PlannedGroup(
            same[0].account_id,
            same[0].region,
            same[0].day,
            sum(len(task.log_objects) for task in same),
            sum(task.size_bytes for task in same),
            len(same),
        )
        for _, same in sorted(by_group.items())
    )
    return Plan(
        source=logs.root,
        lake=lake.root,
        groups=groups,
        already_converted=report.already_converted,
        changed=len(report.changed),
        changed_format=len(report.changed_format),
        left_out=report.left_out,
        unreadable=report.unreadable,
        empty=report.empty,
    )
