"""Stage 2, objects -> tasks: each task is converted and committed as a whole."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

from flowconv.options import MB, ConvertOptions
from flowconv.source.keys import LogObject

# A run has at least some 16 tasks, so that all cores have work to the end; small runs have fewer.
_TASKS_PER_RUN = 16
_LEAST_TASK_BYTES = 16 * MB

# A chunk makes up for what those before it lack, up to a tenth.
_MOST_OF_A_SHARE = 1.1

# Parquet is 0.6 to 0.8 times as large as gzip, so a task of this size fills a file.
_GZIP_BYTES_PER_PARQUET_BYTE = 1.5


class Task(NamedTuple):
    """Objects of one account, region and day; small, picklable, and safe to run twice.

    Attributes:
        id: A hash of the objects and of the options that shape the output: 20 hexadecimal digits.
        account_id: The account of the keys; None if they have none.
        region: The region of the keys; None if they have none.
        day: The day of the keys; None if they have none. Records may be of the day before.
        log_objects: The objects, in the order in which they are read.
        replaces: Tasks whose rows no longer count when this task's rows do.
        with_rows: Uris of objects that have changed, and had rows in those tasks.
    """

    id: str
    account_id: str | None
    region: str | None
    day: date | None
    log_objects: tuple[LogObject, ...]
    replaces: tuple[str, ...] = ()
    with_rows: frozenset[str] = frozenset()

    @property
    def size_bytes(self) -> int:
        """Size of the objects as they are stored."""
        return _size(self.log_objects)


def plan_tasks(
    log_objects: Iterable[LogObject], options: ConvertOptions, planned_bytes: int = 0
) -> list[Task]:
    """Group objects into tasks; each object is in exactly one task.

    Args:
        log_objects: The objects.
        options: The options of the run.
        planned_bytes: Size of the run's other objects, planned by `plan_day`.

    Returns:
        Tasks, the largest first. The same objects and options give the same tasks on any machine,
        in whatever order the objects come.
    """
    groups: defaultdict[object, list[LogObject]] = defaultdict(list)
    for log_object in log_objects:
        groups[log_object.account_id, log_object.region, log_object.day].append(log_object)
    limit = _limit(planned_bytes + sum(map(_size, groups.values())), options)
    tasks = [task for group in groups.values() for task in _tasks(group, limit, options)]
    return sorted(tasks, key=lambda task: (-task.size_bytes, task.id))


def plan_day(
    log_objects: Iterable[LogObject], least_bytes: int, options: ConvertOptions
) -> list[Task] | None:
    """Group objects of one account, region and day, before all objects of the run are known.

    Args:
        log_objects: All such objects.
        least_bytes: The run's objects have at least this size.
        options: The options of the run.

    Returns:
        The tasks that `plan_tasks` makes of them; None if those depend on the other objects.
    """
    group = list(log_objects)
    size = _size(group)
    limit, highest = _limit(least_bytes, options), _limit(None, options)
    if _number_of_chunks(size, limit) != _number_of_chunks(size, highest):
        return None
    return list(_tasks(group, limit, options))


def plan_replacement(
    old_task_ids: Sequence[str],
    log_objects: Iterable[LogObject],
    options: ConvertOptions,
    with_rows: Collection[str] = (),
) -> Task:
    """Return the task that converts the objects of tasks again and replaces their rows.

    Args:
        old_task_ids: The tasks to replace; more than one, if that must happen at once.
        log_objects: Their objects, as they are now.
        options: The options of the run.
        with_rows: Uris of objects that have changed, and had rows.
    """
    ordered = tuple(sorted(log_objects, key=_group_and_place))
    first = ordered[0]
    return Task(
        id=_task_id(ordered, options, " ".join(old_task_ids)),
        account_id=first.account_id,
        region=first.region,
        day=first.day,
        log_objects=ordered,
        replaces=tuple(old_task_ids),
        with_rows=frozenset(with_rows),
    )


def _place(log_object: LogObject) -> tuple[str, str]:
    """Return a key to sort the objects of a group by."""
    # Those of a flow log share a header, and are neighbours.
    return log_object.flow_log_id or "", log_object.uri


def _group_and_place(log_object: LogObject) -> tuple[bool, str, bool, str, bool, date, str, str]:
    """Return a key to sort objects of several groups by; None comes first."""
    return (
        log_object.account_id is not None,
        log_object.account_id or "",
        log_object.region is not None,
        log_object.region or "",
        log_object.day is not None,
        log_object.day or date.min,
        *_place(log_object),
    )


def _limit(total_bytes: int | None, options: ConvertOptions) -> int:
    """Return the size of a task in a run of this size; without it the largest of any run."""
    most = int(options.target_file_size * _GZIP_BYTES_PER_PARQUET_BYTE)
    if total_bytes is None:
        return most
    return min(max(total_bytes // _TASKS_PER_RUN, _LEAST_TASK_BYTES), most)


def _size(log_objects: Iterable[LogObject]) -> int:
    return sum(log_object.size_bytes for log_object in log_objects)


def _tasks(group: Iterable[LogObject], limit: int, options: ConvertOptions) -> Iterator[Task]:
    for chunk in _chunks(sorted(group, key=_place), limit):
        first = chunk[0]
        yield Task(
            id=_task_id(chunk, options),
            account_id=first.account_id,
            region=first.region,
            day=first.day,
            log_objects=tuple(chunk),
        )


def _number_of_chunks(size_bytes: int, limit: int) -> int:
    number = max(1, -(-size_bytes // limit))
    # Two cores end at the same time: of five equal tasks the last would be alone.
    return number if number == 1 else number + number % 2


def _chunks(group: Sequence[LogObject], limit: int) -> Iterable[list[LogObject]]:
    """Cut a group into chunks of nearly equal size: at most the limit, or a little more.

    Of all that the limit decides, they depend on `_number_of_chunks` alone: see `plan_day`.
    """
    rest = _size(group)
    left = _number_of_chunks(rest, limit)
    most = _MOST_OF_A_SHARE * rest / left
    chunk: list[LogObject] = []
    size = 0
    for log_object in group:
        # Large objects make more chunks, not larger ones.
        share = min(rest / max(left, 1), most)
        if chunk and size + log_object.size_bytes / 2 > share:
            yield chunk
            rest, left = rest - size, left - 1
            chunk, size = [], 0
        chunk.append(log_object)
        size += log_object.size_bytes
    yield chunk


def _task_id(log_objects: Sequence[LogObject], options: ConvertOptions, replaced: str = "") -> str:
    from hashlib import sha256  # here: many runs find nothing new

    shape = (
        replaced,
        options.format,
        options.account,
        options.region,
        options.partition_by,
        options.time_type,
        options.with_source,
        options.compression,
        options.target_file_size,
        options.formats_text,
    )
    objects = [(o.uri, o.size_bytes, o.etag) for o in log_objects]
    text = "".join(map(repr, [shape, *objects]))
    return sha256(text.encode()).hexdigest()[:20]
