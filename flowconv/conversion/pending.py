"""The objects that a run is to convert: those that the lake's ledger lacks, as tasks."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.conversion.planning import Task, plan_replacement, plan_tasks
from flowconv.errors import UsageError
from flowconv.lake.ledger import Ledger
from flowconv.options import ConvertOptions
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source
from flowconv.source.selection import Selection
from flowconv.storage.interface import Storage
from flowconv.storage.names import from_text, is_plain


@dataclass(slots=True, kw_only=True)
class Pending:
    """The objects that a run is to convert, and those that it leaves as they are.

    Attributes:
        tasks: The objects to convert.
        already_converted: Number of objects that earlier runs converted.
        changed: Uris of objects that changed since they were converted.
        changed_format: Uris of objects whose declared format has changed.
        stuck: Uri -> reason, of objects that cannot be converted again.
        expired: Number of new objects that are left out, since their days have expired.
    """

    tasks: list[Task] = field(default_factory=list)
    already_converted: int = 0
    changed: list[str] = field(default_factory=list)
    changed_format: list[str] = field(default_factory=list)
    stuck: dict[str, str] = field(default_factory=dict)
    expired: int = 0


def find_pending(listed: Iterable[LogObject], ledger: Ledger, options: ConvertOptions) -> Pending:
    """Plan objects that the ledger lacks, and objects to convert again."""
    pending = Pending()
    new: list[LogObject] = []
    again: dict[str, LogObject] = {}
    formats = options.declared_formats()
    converted, declared = ledger.converted_and_declared(with_declared=bool(formats.all))
    expired = ledger.expired()
    for log_object in listed:
        uri = log_object.uri
        if uri not in converted:
            if expired.has_object(log_object):
                pending.expired += 1
            else:
                new.append(log_object)
            continue
        if options.reprocess or options.retry_rejected:
            again[uri] = log_object
        if expired.has_object(log_object):
            # Changed or not, no row of it is to be in the lake.
            pending.already_converted += 1
        elif converted[uri] != log_object.etag:
            pending.changed.append(uri)
        elif _has_other_format(log_object, declared.get(uri, ()), formats):
            pending.changed_format.append(uri)
        else:
            pending.already_converted += 1
    pending.tasks = plan_tasks(new, options)
    return _with_replacements(pending, again, ledger, options) if again else pending


def require_apart(logs: Source, lake: Storage) -> None:
    """Check that the source is not within the lake, and that other programs can read the lake.

    Raises:
        UsageError: The source is within the lake, or the name of DEST is not UTF-8 or has
            control characters.
    """
    if logs.is_within(lake):
        raise UsageError(
            "SOURCE lies within DEST, or is the same. Write the lake to a place of its own; it may "
            "lie within SOURCE.",
            uri=logs.root,
        )
    if not is_plain(from_text(lake.root)):
        raise UsageError(
            "DEST's name is not UTF-8 or has control characters, so no other "
            "program could read the lake. Choose another.",
            uri=lake.root,
        )


def list_source(
    logs: Source,
    lake: Storage,
    options: ConvertOptions,
    left_out: Counter[str],
    unreadable: dict[str, str],
) -> Iterator[LogObject]:
    """List the source without the lake, which may lie within it.

    Args:
        logs: The source.
        lake: The lake.
        options: Days and patterns of the objects to list.
        left_out: Gets the counts of the other objects, as `ConvertReport.left_out`.
        unreadable: Gets what cannot be listed, as `ConvertReport.unreadable`.
    """
    selection = Selection(
        since=options.since,
        until=options.until,
        patterns=options.patterns,
        leave_out=lake.root,
    )
    return logs.list_objects(selection, left_out, unreadable)


def is_empty(
    root: str,
    pending: Pending | None,
    unreadable: Collection[str],
    ledger: Ledger | None,
    options: ConvertOptions,
) -> bool:
    """Tell whether a source has no flow log of the chosen days, and had none before.

    Args:
        root: The source.
        pending: Its pending objects; None if no object was listed.
        unreadable: Objects and folders that could not be listed.
        ledger: The lake's ledger; None if there is no lake.
        options: The chosen days, and whether the source may be empty.
    """
    if options.allow_empty or unreadable:
        return False
    if pending and (
        pending.tasks or pending.already_converted or pending.changed or pending.expired
    ):
        return False
    return not (ledger and ledger.has_objects(root, options.since, options.until))


def _has_other_format(
    log_object: LogObject, converted_by: tuple[str, ...], formats: DeclaredFormats
) -> bool:
    """Tell whether an object was converted by other formats than are now declared for it."""
    if not converted_by:
        return False
    names = formats.names_for(log_object.path, log_object.flow_log_id, log_object.log_group)
    return bool(names) and not names.issuperset(converted_by)


def _with_replacements(
    pending: Pending, again: dict[str, LogObject], ledger: Ledger, options: ConvertOptions
) -> Pending:
    """Plan whole tasks again: a file has the rows of many objects, and is replaced as a whole.

    Args:
        pending: The pending objects so far.
        again: Uri -> object, of listed objects that the ledger has.
        ledger: The ledger.
        options: Which objects to convert again.

    Returns:
        The pending objects with these; each object counts once.
    """
    whole_days = options.since is not None or options.until is not None
    wanted = set(ledger.rejected()) if options.retry_rejected else set()
    if options.reprocess:
        wanted |= again.keys() if whole_days else {*pending.changed, *pending.changed_format}
    wanted &= again.keys()
    expired = ledger.expired()
    wanted = {uri for uri in wanted if not expired.has_object(again[uri])}
    replacements: list[Task] = []
    stuck: dict[str, str] = {}
    taken: set[str] = set()
    for task_id, converted in ledger.tasks_of(wanted).items():
        uris = {task_object.uri for task_object in converted}
        if lost := uris - again.keys():
            reason = (
                f"cannot be converted again: {len(lost)} objects that were converted with it are "
                "no longer there, and their rows would be lost. Restore them."
            )
            stuck |= dict.fromkeys(wanted & uris, reason)
            continue
        log_objects = []
        with_rows = set()
        for task_object in converted:
            log_object = again[task_object.uri]
            if task_object.etag == log_object.etag:
                # Sizes listed in CloudWatch Logs are estimates; the ledger has the size.
                log_object = replace(log_object, size_bytes=task_object.size_bytes)
            elif task_object.rows:
                with_rows.add(task_object.uri)
            log_objects.append(log_object)
        replacements.append(plan_replacement(task_id, log_objects, options, with_rows))
        taken |= uris
    moved = taken | stuck.keys()
    return Pending(
        tasks=pending.tasks + replacements,
        already_converted=pending.already_converted
        - len(moved.difference(pending.changed, pending.changed_format)),
        changed=[uri for uri in pending.changed if uri not in moved],
        changed_format=[uri for uri in pending.changed_format if uri not in moved],
        stuck=stuck,
        expired=pending.expired,
    )
