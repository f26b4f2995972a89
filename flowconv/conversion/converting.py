"""convert(): a run, from the lock to the report."""

import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from flowconv.conversion.begun_run import BegunRun
from flowconv.conversion.committing import Removals, TaskCommitter
from flowconv.conversion.logged_interfaces import LoggedInterfaces
from flowconv.conversion.new_headers import KnownHeaders
from flowconv.conversion.pending import (
    Pending,
    is_empty,
    list_source,
    plan_pending,
    require_apart,
)
from flowconv.conversion.planning import Task
from flowconv.conversion.report import ConvertReport
from flowconv.conversion.task import Cores, TaskConverter
from flowconv.errors import FlowconvError, printable, redact
from flowconv.events import log_event
from flowconv.lake.converted_objects import has_objects
from flowconv.lake.layout import Layout, ensure_layout, find_layout, list_tables
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Run
from flowconv.lake.leftovers import Leftovers, list_leftovers, remove_leftovers
from flowconv.lake.locking import Lock, new_run_id
from flowconv.lake.overlaps import MAX_LISTED, Overlap, merged, overlaps_of
from flowconv.memory import giving_memory_back
from flowconv.options import ConvertOptions
from flowconv.running import Begun, RunProgress, begun, run_all, started, uninterrupted
from flowconv.source.fetching import requests_ended
from flowconv.source.keys import LogObject
from flowconv.source.listing import DayEnd
from flowconv.source.opening import Source, open_source
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from flowconv.storage.request_prices import cost_usd, parse_request_prices
from flowconv.storage.request_times import RequestTimes
from flowconv.values import require

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Client

    from flowconv.conversion.remote import RemoteConverter


@giving_memory_back()
def convert(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    options: ConvertOptions | None = None,
    *,
    engine: "Executor | Client | None" = None,
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
        engine: What does the tasks: a client of Dask (`distributed.Client`) or an executor of
            `concurrent.futures`, with workers that see the same source and lake by credentials of
            their own; by default threads of this process. See docs/scale-out.md.
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
        EngineError: The engine failed, or a worker differs from this process or has no access.
    """
    options = options or ConvertOptions()
    require(options, ConvertOptions, "options")
    _require_no_credentials(engine, options)
    logs = open_source(source, options.source_options, options.max_requests)
    lake = open_storage(dest, options.dest_options)
    require_apart(logs, lake)
    report = _begun_report(logs, lake, options)
    if on_begin:
        on_begin(report)
    storages: dict[str, Source | Storage] = {"source": logs, "lake": lake}
    of_workers = (RequestTimes(), RequestTimes())
    note_requests = partial(_note_requests, report, storages, of_workers, options)
    with ExitStack() as stack:
        # The last request gives back the lock.
        stack.callback(note_requests)
        # Its requests and those of the lake need not wait for one another.
        listing = stack.enter_context(_listing(logs, lake, options))
        found = find_layout(lake)
        # Whether others have files there is asked while SOURCE is being listed.
        tables = {} if found else list_tables(lake, options)
        if not (found or listing.has_objects()):
            # A mistyped SOURCE must not leave a lake behind.
            _note_pending(report, Pending(), listing, None, options)
            _sum_up(report, failure="")
            return report
        layout = ensure_layout(lake, options, found, tables)
        lock = stack.enter_context(Lock(lake, report.run_id, wait=options.wait))
        if lock.has_waited:
            # The other run may have converted what has changed since it was listed.
            listing = stack.enter_context(_listing(logs, lake, options))
        stack.enter_context(requests_ended(logs))
        ledger, leftovers = _read_lake(lake, layout, lock)
        removals = stack.enter_context(Removals(lake))
        with _recorded(ledger, lock, report, layout, note_requests):
            remove_leftovers(lake, ledger, leftovers)
            ledger.merge_if_many()
            run = _begun_run(report, ledger, options)
            with (
                closing(Cores(options.tasks_at_once)) as cores,
                _converting(logs, lake, run, cores, engine, of_workers) as converter,
            ):
                pending = Pending()
                committer = TaskCommitter(
                    lake, ledger, report.run_id, options, cores, pending.replaced, removals
                )
                _convert_all(
                    listing, converter, committer, ledger, report, options, on_progress, pending
                )
    return report


def _require_no_credentials(engine: "Executor | Client | None", options: ConvertOptions) -> None:
    if engine is not None:
        from flowconv.lake.remote import require_no_credentials

        require_no_credentials(options.source_options, options.dest_options)


def _begun_run(report: ConvertReport, ledger: Ledger, options: ConvertOptions) -> BegunRun:
    return BegunRun(
        run_id=report.run_id,
        generation=ledger.generation,
        expired=ledger.expired(),
        options=options,
    )


def _begun_report(logs: Source, lake: Storage, options: ConvertOptions) -> ConvertReport:
    """Return the report of a run that begins, and log this."""
    report = ConvertReport(
        source=logs.root,
        lake=lake.root,
        run_id=new_run_id(),
        since=options.since,
        until=options.until,
    )
    log_event("run_began", run_id=report.run_id, source=report.source, lake=report.lake)
    return report


@contextmanager
def _converting(
    logs: Source,
    lake: Storage,
    run: BegunRun,
    cores: Cores,
    engine: "Executor | Client | None",
    requests: tuple[RequestTimes, RequestTimes],
) -> Iterator["TaskConverter | RemoteConverter"]:
    """Open what converts tasks: this process, or an engine, whose requests are counted."""
    if engine is None:
        with closing(TaskConverter(logs, lake, run, cores)) as converter:
            yield converter
        return
    from flowconv.conversion.remote import Conversion, RemoteConverter
    from flowconv.engines.engine import Remote, opened_engine
    from flowconv.lake.remote import Places, remove_lost_attempts

    with opened_engine(engine) as opened:
        options = run.options
        places = Places.of(
            lake, logs, options.dest_options, options.source_options, options.max_requests
        )
        work = Conversion(places=places, run=run)
        try:
            yield RemoteConverter(Remote(opened, work), lake, requests)
        finally:
            with suppress(FlowconvError):  # The next run removes what is left.
                remove_lost_attempts(lake, run.generation)


# Objects that may have been listed before the ledger is read, some 1 kB each.
_LISTED_AHEAD = 20_000


def _read_lake(lake: Storage, layout: Layout, lock: Lock) -> tuple[Ledger, Leftovers]:
    """Return the ledger, and what killed runs have left behind."""
    if lake.is_local:
        return lock.read_ledger(), list_leftovers(lake, layout)
    # Begun first: more requests wait for its listing, which gets a connection that is open.
    ledger = started(lock.read_ledger)
    leftovers = list_leftovers(lake, layout)
    return ledger.result(), leftovers


class _Listing:
    """The listing of a source; in S3 another thread goes on with it.

    Args:
        listed: The objects.
        left_out: As `ConvertReport.left_out`; complete at the end of the listing, as the next.
        unreadable: As `ConvertReport.unreadable`.
    """

    def __init__(
        self,
        listed: Iterator[LogObject | DayEnd],
        left_out: Counter[str],
        unreadable: dict[str, str],
    ) -> None:
        self.left_out = left_out
        self.unreadable = unreadable
        self._listed = listed
        self._first: list[LogObject | DayEnd] = []

    def has_objects(self) -> bool:
        """Wait for the first object, and tell whether there is one."""
        self._first += islice(self._listed, 1)
        return bool(self._first)

    def items(self) -> Iterator[LogObject | DayEnd | None]:
        """Give all objects and ends of days; None now and then while there is none."""
        listed = self._listed
        return chain(self._first, listed.with_pauses() if isinstance(listed, Begun) else listed)


@contextmanager
def _listing(logs: Source, lake: Storage, options: ConvertOptions) -> Iterator[_Listing]:
    """List the source; in S3 at once, elsewhere when its objects are asked for."""
    left_out: Counter[str] = Counter()
    unreadable: dict[str, str] = {}
    listed = partial(list_source, logs, lake, options, left_out, unreadable)
    if logs.is_local:
        yield _Listing(listed(), left_out, unreadable)
        return
    with begun(_listed_while_loading(listed), _LISTED_AHEAD) as ahead:
        yield _Listing(ahead, left_out, unreadable)


def _listed_while_loading(
    listed: Callable[[], Iterator[LogObject | DayEnd]],
) -> Iterator[LogObject | DayEnd]:
    """Give what is listed; what is loaded meanwhile takes 0.1 s, like a round trip."""
    begun_listing = listed()
    import_module("pyarrow")
    yield from begun_listing


def _note_pending(
    report: ConvertReport,
    pending: Pending,
    listing: _Listing,
    ledger: Ledger | None,
    options: ConvertOptions,
) -> None:
    """Report and log what is to be converted and what is not, once all of it is listed."""
    report.empty = is_empty(pending, listing.unreadable, options)
    if report.empty and ledger:
        report.found_before = has_objects(ledger, report.source)
    report.left_out.update(listing.left_out)
    report.already_converted = pending.already_converted
    report.changed = pending.changed
    report.changed_format = pending.changed_format
    if pending.expired:
        report.left_out["expired"] += pending.expired
    unreadable = listing.unreadable | pending.stuck
    report.unreadable |= unreadable
    for uri, reason in unreadable.items():
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
            found_before=report.found_before,
            left_out=dict(report.left_out),
        )
    if ledger:
        log_event(
            "run_planned",
            run_id=report.run_id,
            objects=pending.objects,
            tasks=pending.tasks,
            already_converted=report.already_converted,
            changed=len(report.changed),
            changed_format=len(report.changed_format),
        )


def _convert_all(
    listing: _Listing,
    converter: "TaskConverter | RemoteConverter",
    committer: TaskCommitter,
    ledger: Ledger,
    report: ConvertReport,
    options: ConvertOptions,
    on_progress: Callable[[RunProgress], None] | None,
    pending: Pending,
) -> None:
    """Plan, convert and commit tasks, as many at once as there are places for."""
    headers = KnownHeaders(())
    logged = LoggedInterfaces()
    progress = RunProgress(total_objects=0, total_bytes=0)
    mutex = threading.Lock()

    def planned() -> Iterator[Task | None]:
        nonlocal headers
        objects = size_bytes = 0
        tasks = plan_pending(listing.items(), ledger, options, pending, converter.prepare)
        for task in tasks:
            if task:
                if not progress.total_objects:
                    headers = KnownHeaders(ledger.headers())
                # Tasks are taken one by one, long after they are known.
                progress.add(
                    total_objects=pending.objects - objects,
                    total_bytes=pending.size_bytes - size_bytes,
                )
                objects, size_bytes = pending.objects, pending.size_bytes
            yield task
        with mutex:
            _note_pending(report, pending, listing, ledger, options)

    def convert_and_count(task: Task) -> None:
        # Counted in this thread, since the main thread may be interrupted anywhere.
        done = committer.commit(task, converter.convert(task, progress), progress.add)
        with mutex:
            report.add(done)
            headers.add(done.objects)
            logged.add(done.logged)

    def show(state: RunProgress) -> None:
        if on_progress and state.total_objects:
            on_progress(state)

    run = run_all(
        planned(),
        convert_and_count,
        converter.places,
        progress,
        grace_s=options.grace,
        on_progress=show,
    )
    try:
        for _ in run:
            pass
    finally:
        report.worker_time = converter.worker_time.shares()
    report.new_headers, report.number_new_headers = headers.new(), headers.number_new
    for header in report.new_headers:
        log_event("new_header", level=logging.WARNING, run_id=report.run_id, **header.to_dict())
    _note_overlaps(report, logged.overlaps(), ledger)


def _note_overlaps(report: ConvertReport, found: Sequence[Overlap], ledger: Ledger) -> None:
    """Report and log overlapping flow logs, with the windows in which earlier runs found them."""
    if not found:
        return
    pairs = {overlap.flow_logs for overlap in found}
    before = [overlap for overlap in overlaps_of(ledger.runs()) if overlap.flow_logs in pairs]
    overlaps = merged([*before, *found])
    report.overlaps = overlaps[:MAX_LISTED]
    report.number_overlaps = sum(overlap.is_lasting for overlap in overlaps)
    for overlap in report.lasting_overlaps:
        log_event("overlap", level=logging.WARNING, run_id=report.run_id, **overlap.to_dict())


@contextmanager
def _recorded(
    ledger: Ledger,
    lock: Lock,
    report: ConvertReport,
    layout: Layout,
    note_requests: Callable[[], None],
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
        note_requests()
        ended = replace(run, ended=datetime.now(UTC), report=_sum_up(report, failure))
        if begun:
            # Keep the first failure.
            with suppress(*[FlowconvError] if failure else ()), uninterrupted():
                lock.look_ahead()
                ledger.end(ended)


def _note_requests(
    report: ConvertReport,
    storages: Mapping[str, Source | Storage],
    of_workers: tuple[RequestTimes, RequestTimes],
    options: ConvertOptions,
) -> None:
    """Report the requests so far, with those of workers, and their price."""
    prices = parse_request_prices(options.request_prices)
    report.retries = sum(storage.retries for storage in storages.values()) + sum(
        worker.retries for worker in report.workers.values()
    )
    for (name, storage), told in zip(storages.items(), of_workers, strict=True):
        times = RequestTimes()
        times.include(storage.times)
        times.include(told)
        if times:
            usd = round(cost_usd(times.sent, times.received_bytes, prices), 9)
            report.requests[name] = times.to_dict() | {"usd": usd}


def _sum_up(report: ConvertReport, failure: str) -> dict[str, Any]:
    """Log a run's end, and return the part of its report that the ledger records."""
    described = report.to_dict()
    summary = {key: described[key] for key in _IN_LEDGER} | {"failure": failure}
    log_event("run_ended", level=logging.ERROR if failure else logging.INFO, **summary)
    return summary


_IN_LEDGER = (
    "run_id",
    "source",
    "since",
    "until",
    "empty",
    "newest_record",
    "newest_object",
    "skipdata",
    "overlaps",
    "number_overlaps",
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
    "requests_usd",
    "seconds",
    "number_changed",
    "number_changed_format",
    "number_unreadable",
    "new_headers",
    "number_new_headers",
)
