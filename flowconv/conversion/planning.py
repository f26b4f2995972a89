"""Stage 2, objects -> tasks: what is converted, and committed, together."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from flowconv.options import MB, ConvertOptions
from flowconv.source.keys import LogObject

# A run is cut into some 16 tasks at the least, so that all cores have work to the end, but not
# into crumbs.
_TASKS_PER_RUN = 16
_LEAST_TASK_BYTES = 16 * MB

# Parquet takes 0.6 to 0.8 of the gzip's size, so this fills a file of the wanted size.
_GZIP_BYTES_PER_PARQUET_BYTE = 1.5


@dataclass(frozen=True, slots=True)
class Task:
    """Some objects of one account, region and day; small, picklable, and safe to run twice.

    Attributes:
        id: A hash of what is read and of the options that shape the output: 20 hexadecimal digits.
        account_id: Of the objects' keys, if they say it.
        region: Of the objects' keys, if they say it.
        day: Of the objects' keys, if they say it; their records may be of the day before.
        log_objects: What is read, in this order.
        replaces: Tasks whose rows count no more when this one's do.
        with_rows: Uris of objects that changed, and had rows in those tasks.
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
        return sum(log_object.size_bytes for log_object in self.log_objects)


def plan_tasks(log_objects: Iterable[LogObject], options: ConvertOptions) -> list[Task]:
    """Group objects into tasks; each object is in exactly one.

    Returns:
        Tasks, the largest first. The same objects and options give the same tasks on any machine,
        in whatever order the objects come.
    """
    ordered = sorted(log_objects, key=_group_and_place)
    total = sum(log_object.size_bytes for log_object in ordered)
    most = int(options.target_file_size * _GZIP_BYTES_PER_PARQUET_BYTE)
    limit = min(max(total // _TASKS_PER_RUN, _LEAST_TASK_BYTES), most)
    tasks = []
    for _, group in groupby(ordered, key=lambda o: _group_and_place(o)[:6]):
        for chunk in _chunks(list(group), limit):
            first = chunk[0]
            task_id = _task_id(chunk, options)
            tasks.append(Task(task_id, first.account_id, first.region, first.day, tuple(chunk)))
    return sorted(tasks, key=lambda task: (-task.size_bytes, task.id))


def plan_replacement(
    old_task_id: str,
    log_objects: Iterable[LogObject],
    options: ConvertOptions,
    with_rows: Collection[str] = (),
) -> Task:
    """Return the task that converts a task's objects anew and replaces its rows.

    Args:
        old_task_id: The task.
        log_objects: Its objects, as they are now.
        options: Those of the run.
        with_rows: Uris of those that changed, and had rows.
    """
    ordered = tuple(sorted(log_objects, key=_group_and_place))
    first = ordered[0]
    return Task(
        _task_id(ordered, options, old_task_id),
        first.account_id,
        first.region,
        first.day,
        ordered,
        replaces=(old_task_id,),
        with_rows=frozenset(with_rows),
    )


def _group_and_place(o: LogObject) -> tuple[bool, str, bool, str, bool, date, str, str]:
    # None sorts first. Within a group the objects of a flow log, which share a header, are
    # neighbours.
    return (
        *(o.account_id is not None, o.account_id or ""),
        *(o.region is not None, o.region or ""),
        *(o.day is not None, o.day or date.min),
        o.flow_log_id or "",
        o.uri,
    )


def _chunks(group: Sequence[LogObject], limit: int) -> Iterable[list[LogObject]]:
    """Cut a group into runs of nearly equal size, of the limit or a little more."""
    total = sum(log_object.size_bytes for log_object in group)
    share = total / max(1, -(-total // limit))
    chunk: list[LogObject] = []
    size = 0
    for log_object in group:
        if chunk and size + log_object.size_bytes / 2 > share:
            yield chunk
            chunk, size = [], 0
        chunk.append(log_object)
        size += log_object.size_bytes
    yield chunk


def _task_id(log_objects: Sequence[LogObject], options: ConvertOptions, replaced: str = "") -> str:
    shape = (
        replaced,
        *(options.format, options.account, options.region, options.partition_by),
        *(options.time_type, options.with_source, options.compression, options.target_file_size),
        options.formats_text,
    )
    digest = hashlib.sha256(repr(shape).encode())
    for log_object in log_objects:
        facts = (log_object.uri, log_object.size_bytes, log_object.etag)
        digest.update(repr(facts).encode())
    return digest.hexdigest()[:20]
