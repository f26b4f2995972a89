"""Listed objects - what the ledger has = what is to be converted."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.conversion.planning import Task, plan_replacement, plan_tasks
from flowconv.conversion.report import ConvertReport
from flowconv.errors import UsageError
from flowconv.events import log_event
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import HEADERS_APART
from flowconv.options import ConvertOptions
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source
from flowconv.storage.interface import Storage
from flowconv.storage.names import from_text, is_plain


def require_apart(logs: Source, lake: Storage) -> None:
    """Raise if source and lake lie in one another, or no other program could read the lake."""
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


def list_source(
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


def note_unlisted(report: ConvertReport) -> None:
    """Log what could not be listed."""
    for uri, reason in report.unreadable.items():
        log_event(
            "object_unreadable",
            level=logging.WARNING,
            run_id=report.run_id,
            uri=uri,
            reason=reason,
        )


def note_empty(report: ConvertReport, ledger: Ledger | None, options: ConvertOptions) -> None:
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


def plan_pending(
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
