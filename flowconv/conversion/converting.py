"""convert(): a run, from the lock to the report."""

import logging
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import Any

from flowconv.conversion.new_headers import KnownHeaders
from flowconv.conversion.pending import (
    Pending,
    find_pending,
    is_empty,
    list_source,
    require_apart,
)
from flowconv.conversion.planning import Task
from flowconv.conversion.report import ConvertReport
from flowconv.conversion.task import BESIDE_EACH_CORE, TaskConverter
from flowconv.errors import FlowconvError, printable, redact
from flowconv.events import log_event
from flowconv.lake.layout import Layout, ensure_layout, find_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Run
from flowconv.lake.leftovers import Leftovers, list_leftovers, remove_leftovers
from flowconv.lake.locking import Lock
from flowconv.memory import giving_memory_back
from flowconv.options import ConvertOptions
from flowconv.running import RunProgress, begun, run_all, started, uninterrupted
from flowconv.source.fetching import requests_ended
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source, open_source
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage


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
        options: The options of the run.
        on_progress: Called in this thread several times a second.
        on_begin: Called once with the report, which fills during the run. It has the run's id and
            what was done even if the run fails.

    A run converts new objects: those that the lake's ledger has are not read again. All rows of a
    task count at once, and the next run cleans up after a run that was killed. A new lake is begun
    only when an object is found.

    Returns:
        What was read and written. Rejected lines and unreadable objects do not stop the run; they
        are in the report, and the lines also in the lake's quarantine.

    Raises:
        UsageError: The source or destination is not a valid path or URL.
        StorageError: The source or destination does not answer, or the destination is full.
        LakeError: The destination is not a lake, its layout differs, or another run writes to it.
        ParseError: A line does not fit and `on_bad_line` is `fail`.
    """
    options = options or ConvertOptions()
    logs = open_source(source, options.source_options, options.max_requests)
    lake = open_storage(dest, options.dest_options)
    require_apart(logs, lake)
    report = ConvertReport(source=logs.root, lake=lake.root, run_id=_new_run_id())
    log_event("run_began", run_id=report.run_id, source=report.source, lake=report.lake)
    if on_begin:
        on_begin(report)
    left_out: Counter[str] = Counter()
    unreadable: dict[str, str] = {}
    listed: Iterator[LogObject] = list_source(logs, lake, options, left_out, unreadable)
    with ExitStack() as stack:
        if not logs.is_local:
            # Its requests and those of the lake need not wait for one another.
            listed = stack.enter_context(begun(listed, _LISTED_AHEAD))
        found = find_layout(lake)
        first = list(islice(listed, 0 if found else 1))
        if not (found or first):
            # A mistyped SOURCE must not leave a lake behind.
            _note_listed(report, left_out, unreadable)
            _note_pending(report, Pending(), None, options)
            _sum_up(report, failure="")
            return report
        layout = ensure_layout(lake, options, found)
        lock = stack.enter_context(Lock(lake, report.run_id, wait=options.wait))
        stack.enter_context(requests_ended(logs))
        ledger, leftovers = _read_lake(lake)
        lock.confirm()
        with _recorded(ledger, report, layout, {"source": logs, "lake": lake}):
            remove_leftovers(lake, ledger, leftovers)
            ledger.merge_if_many()
            pending = find_pending(chain(first, listed), ledger, options)
            _note_listed(report, left_out, unreadable)
            _note_pending(report, pending, ledger, options)
            with TaskConverter(logs, lake, ledger, report.run_id, options) as converter:
                _convert_all(pending.tasks, converter, ledger, report, options, on_progress)
    return report


# Objects that may have been listed before the ledger is read, some 1 kB each.
_LISTED_AHEAD = 20_000


def _read_lake(lake: Storage) -> tuple[Ledger, Leftovers]:
    """Return the ledger, and what killed runs have left behind."""
    if lake.is_local:
        return Ledger.read(lake), list_leftovers(lake)
    leftovers = started(partial(list_leftovers, lake))
    return Ledger.read(lake), leftovers.result()


def _note_listed(report: ConvertReport, left_out: Counter[str], unreadable: dict[str, str]) -> None:
    report.left_out.update(left_out)
    report.unreadable |= unreadable


def _note_pending(
    report: ConvertReport, pending: Pending, ledger: Ledger | None, options: ConvertOptions
) -> None:
    """Report and log what is to be converted and what is not."""
    report.empty = is_empty(report.source, pending, report.unreadable, ledger, options)
    report.already_converted = pending.already_converted
    report.changed = pending.changed
    report.changed_format = pending.changed_format
    report.left_out += Counter(expired=pending.expired)
    report.unreadable |= pending.stuck
    for uri, reason in report.unreadable.items():
        log_event(
            "object_unreadable",
            level=logging.WARNING,
            run_id=report.run_id,
            uri=uri,
            reason=reason,
        )
    if report.empty:
        log_event(
            "nothing_found",
            level=logging.WARNING,
            run_id=report.run_id,
            source=report.source,
            left_out=dict(report.left_out),
        )
    if ledger:
        log_event(
            "run_planned",
            run_id=report.run_id,
            objects=sum(len(task.log_objects) for task in pending.tasks),
            tasks=len(pending.tasks),
            already_converted=report.already_converted,
            changed=len(report.changed),
            changed_format=len(report.changed_format),
        )


def _convert_all(
    tasks: Sequence[Task],
    converter: TaskConverter,
    ledger: Ledger,
    report: ConvertReport,
    options: ConvertOptions,
    on_progress: Callable[[RunProgress], None] | None,
) -> None:
    """Convert and commit the tasks, on as many threads as the options allow."""
    headers = KnownHeaders(ledger.headers() if tasks else ())
    progress = RunProgress(
        total_objects=sum(len(task.log_objects) for task in tasks),
        total_bytes=sum(task.size_bytes for task in tasks),
    )
    mutex = threading.Lock()

    def convert_and_count(task: Task) -> None:
        # Counted in this thread, since the main thread may be interrupted anywhere.
        done = converter.convert(task, progress)
        with mutex:
            report.add(done)
            headers.add(done.objects)

    workers = options.tasks_at_once * (1 + BESIDE_EACH_CORE)
    run = run_all(
        tasks, convert_and_count, workers, progress, grace_s=options.grace, on_progress=on_progress
    )
    for _ in run:
        pass
    report.new_headers, report.number_new_headers = headers.new(), headers.number_new
    for header in report.new_headers:
        log_event("new_header", level=logging.WARNING, run_id=report.run_id, **header.to_dict())


@contextmanager
def _recorded(
    ledger: Ledger,
    report: ConvertReport,
    layout: Layout,
    storages: Mapping[str, Source | Storage],
) -> Iterator[None]:
    """Record the run's begin, and its end even if it fails."""
    started = time.monotonic()
    run = Run(run_id=report.run_id, began=datetime.now(UTC), host=socket.gethostname())
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
        report.retries = sum(storage.retries for storage in storages.values())
        report.requests = {
            name: storage.times.to_dict() for name, storage in storages.items() if storage.times
        }
        ended = replace(run, ended=datetime.now(UTC), report=_sum_up(report, failure))
        if begun:
            # Keep the first failure.
            with suppress(*[FlowconvError] if failure else ()), uninterrupted():
                ledger.end(ended)


def _sum_up(report: ConvertReport, failure: str) -> dict[str, Any]:
    """Log a run's end, and return the part of its report that the ledger records."""
    described = report.to_dict()
    summary = {key: described[key] for key in _IN_LEDGER} | {"failure": failure}
    log_event("run_ended", level=logging.ERROR if failure else logging.INFO, **summary)
    return summary


_IN_LEDGER = (
    "run_id",
    "source",
    "objects",
    "already_converted",
    "lines",
    "rejected",
    "source_bytes",
    "text_bytes",
    "expired",
    "written_bytes",
    "files",
    "partitions",
    "retries",
    "seconds",
    "number_changed",
    "number_changed_format",
    "number_unreadable",
    "new_headers",
    "number_new_headers",
)


def _new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
