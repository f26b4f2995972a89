"""The objects that a run is to convert: those that the lake's ledger lacks, as tasks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.conversion.planning import Task, plan_day, plan_replacement, plan_tasks
from flowconv.errors import UsageError
from flowconv.lake.converted_objects import (
    DeclaredFor,
    etags_and_formats,
    objects_of,
    rejected_uris,
    task_ids_of,
)
from flowconv.lake.ledger import Ledger
from flowconv.lake.notes import Bonds
from flowconv.options import ConvertOptions
from flowconv.source.keys import LogObject
from flowconv.source.listing import DayEnd, day_of
from flowconv.source.opening import Source
from flowconv.source.selection import Selection
from flowconv.storage.interface import Storage
from flowconv.storage.names import from_text, is_plain


@dataclass(slots=True, kw_only=True)
class Pending:
    """The objects that a run is to convert, and those that it leaves as they are.

    Attributes:
        objects: Number of objects to convert.
        size_bytes: Their size as they are stored.
        tasks: Number of their tasks.
        already_converted: Number of objects that earlier runs converted.
        changed: Uris of objects that changed since they were converted.
        changed_format: Uris of objects whose declared format has changed.
        stuck: Uri -> reason, of objects that cannot be converted again.
        expired: Number of new objects that are left out, since their days have expired.
        replaced: The tasks whose objects are converted again, those of each new task together.
    """

    objects: int = 0
    size_bytes: int = 0
    tasks: int = 0
    already_converted: int = 0
    changed: list[str] = field(default_factory=list)
    changed_format: list[str] = field(default_factory=list)
    stuck: dict[str, str] = field(default_factory=dict)
    expired: int = 0
    replaced: list[tuple[str, ...]] = field(default_factory=list)


# With more objects in the ledger the first task waits for the end of the listing: the ledger's uris
# take 0.4 kB each, which tasks shall not need beside them.
_MOST_CONVERTED = 100_000


def plan_pending(
    listed: Iterable[LogObject | DayEnd | None],
    ledger: Ledger,
    options: ConvertOptions,
    pending: Pending,
    on_new: Callable[[LogObject], bool] = lambda log_object: False,  # noqa: ARG005
) -> Iterator[Task | None]:
    """Plan objects that the ledger lacks, and objects to convert again.

    Args:
        listed: The objects; ends of days; None if the next is not known yet.
        ledger: The ledger as it was before the first task is converted.
        options: The options of the run.
        pending: Filled with what is found.
        on_new: Called with each object that the ledger lacks, as long as it returns True.

    Yields:
        Tasks: those of days that have ended in their order, then the others: that of the first new
        object, then the largest first. None if the next is not known yet.
    """
    unconverted: defaultdict[DayEnd, list[LogObject]] = defaultdict(list)
    new_bytes = planned_bytes = 0
    tells_new = True
    first: LogObject | None = None
    again: dict[str, LogObject] = {}
    formats = options.declared_formats()
    converted, declared = etags_and_formats(ledger, with_formats=bool(formats.all))
    expired = ledger.expired()
    for item in listed:
        if item is None:
            yield None
        elif isinstance(item, DayEnd):
            objects = unconverted.get(item, [])
            if not objects or len(converted) > _MOST_CONVERTED:
                continue
            tasks = plan_day(objects, new_bytes, options)
            if tasks is not None:
                del unconverted[item]
                planned_bytes += sum(task.size_bytes for task in tasks)
                yield from _counted(tasks, pending)
        elif item.uri not in converted:
            if expired.has_object(item):
                pending.expired += 1
            else:
                first = first or item
                tells_new = tells_new and on_new(item)
                unconverted[day_of(item)].append(item)
                new_bytes += item.size_bytes
        else:
            uri = item.uri
            if options.reprocess or options.retry_rejected:
                again[uri] = item
            if expired.has_object(item):
                # Changed or not, no row of it is to be in the lake.
                pending.already_converted += 1
            elif converted[uri] != item.etag:
                pending.changed.append(uri)
            elif uri in declared and _has_other_format(item, declared[uri], formats):
                pending.changed_format.append(uri)
            else:
                pending.already_converted += 1
    del converted, declared
    is_first_left = first is not None and day_of(first) in unconverted
    rest = plan_tasks(chain.from_iterable(unconverted.values()), options, planned_bytes)
    unconverted.clear()
    if is_first_left:
        # What `on_new` was told of has come by now.
        rest.sort(key=lambda task: first not in task.log_objects)
    if again:
        rest += _replacements(pending, again, ledger, options)
    yield from _counted(rest, pending)


def _counted(tasks: list[Task], pending: Pending) -> Iterator[Task]:
    pending.tasks += len(tasks)
    pending.objects += sum(len(task.log_objects) for task in tasks)
    pending.size_bytes += sum(task.size_bytes for task in tasks)
    yield from tasks


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
) -> Iterator[LogObject | DayEnd]:
    """List the source without the lake, which may lie within it.

    Args:
        logs: The source.
        lake: The lake.
        options: Days and patterns of the objects to list.
        left_out: Gets the counts of the other objects, as `ConvertReport.left_out`.
        unreadable: Gets what cannot be listed, as `ConvertReport.unreadable`.

    Raises:
        UsageError: There is an inventory, and the source is not in S3.
    """
    selection = Selection(
        since=options.since,
        until=options.until,
        patterns=options.patterns,
        leave_out=lake.root,
        inventory=options.inventory,
    )
    selection.require_bucket(logs.root)
    return logs.list_with_day_ends(selection, left_out, unreadable)


def is_empty(pending: Pending | None, unreadable: Collection[str], options: ConvertOptions) -> bool:
    """Tell whether a source has no flow log of the chosen days, and this is not allowed.

    Args:
        pending: Its pending objects; None if no object was listed.
        unreadable: Objects and folders that could not be listed.
        options: The chosen days, and whether the source may be empty.
    """
    if options.allow_empty or unreadable:
        return False
    return not pending or not (
        pending.tasks
        or pending.already_converted
        or pending.changed
        or pending.changed_format
        or pending.stuck
        or pending.expired
    )


def _has_other_format(
    log_object: LogObject, declared: DeclaredFor, formats: DeclaredFormats
) -> bool:
    """Tell whether an object was converted by other formats than are now declared for it.

    So it was if another one is declared for a log group that did not fit.
    """
    names = formats.names_for(log_object.path, log_object.flow_log_id, log_object.log_group)
    if names and not names.issuperset(declared.formats):
        return True
    for log_group, unfit in declared.unfit:
        format_ = formats.find(log_object.path, log_object.flow_log_id, log_group)
        if format_ and format_.names != unfit and not formats.excludes(log_group):
            return True
    return False


def _replacements(
    pending: Pending, again: dict[str, LogObject], ledger: Ledger, options: ConvertOptions
) -> list[Task]:
    """Plan whole tasks again: a file has the rows of many objects, and is replaced as a whole.

    Args:
        pending: What was found; the objects of the tasks count no longer as something else.
        again: Uri -> object, of listed objects that the ledger has.
        ledger: The ledger.
        options: Which objects to convert again.

    Returns:
        The tasks; each object counts once.
    """
    whole_days = options.since is not None or options.until is not None
    wanted = set(rejected_uris(ledger)) if options.retry_rejected else set()
    if options.reprocess:
        wanted |= again.keys() if whole_days else {*pending.changed, *pending.changed_format}
    wanted &= again.keys()
    expired = ledger.expired()
    wanted = {uri for uri in wanted if not expired.has_object(again[uri])}
    replacements: list[Task] = []
    stuck: dict[str, str] = {}
    taken: set[str] = set()
    groups = Bonds(ledger.notes(with_expired=False)).groups(task_ids_of(ledger, wanted))
    objects = objects_of(ledger, set(chain.from_iterable(groups)))
    for task_ids in groups:
        converted = [found for task_id in task_ids for found in objects[task_id]]
        uris = {task_object.uri for task_object in converted}
        if lost := uris - again.keys():
            reason = (
                f"cannot be converted again: {len(lost)} objects that were converted with it "
                f"{_OR_DUPLICATES if len(task_ids) > 1 else ''}are no longer there, and their rows "
                "would be lost. Restore them."
            )
            stuck |= dict.fromkeys(wanted & uris, reason)
            continue
        log_objects = []
        with_rows = set()
        for task_object in converted:
            log_object = again[task_object.uri]
            if task_object.etag == log_object.etag:
                # Sizes listed in CloudWatch Logs are estimates; the ledger has the size.
                log_object = log_object._replace(size_bytes=task_object.size_bytes)
            elif task_object.rows:
                with_rows.add(task_object.uri)
            log_objects.append(log_object)
        replacements.append(plan_replacement(task_ids, log_objects, options, with_rows))
        taken |= uris
    moved = taken | stuck.keys()
    pending.already_converted -= len(moved.difference(pending.changed, pending.changed_format))
    pending.changed = [uri for uri in pending.changed if uri not in moved]
    pending.changed_format = [uri for uri in pending.changed_format if uri not in moved]
    pending.stuck = stuck
    pending.replaced += [task.replaces for task in replacements]
    return replacements


_OR_DUPLICATES = "or had the same records, which flowconv compact --dedupe removed, "
