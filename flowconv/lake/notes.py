"""Notes of duplicates: which rows were removed from a partition, and which stand for them.

A note is named like a file of its partition, so it expires with it, and is replaced like one.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

from flowconv.lake.ledger_records import DataFile, Duplicates
from flowconv.lake.paths import name_of


def make_note(partition: str, name: str, duplicates: Iterable[Duplicates]) -> DataFile:
    """Return a note; no other may have its name."""
    return DataFile(
        path=f"{partition}/{name}.duplicates",
        rows=0,
        size_bytes=0,
        crc32=0,
        duplicates=tuple(duplicates),
    )


def notes_without(
    notes: Iterable[DataFile], task_ids: Collection[str], generation: int
) -> list[DataFile]:
    """Return notes without the rows of tasks, which are written again; fewer, if none is left.

    Args:
        notes: The notes, and compacted files that have expired: these are no files any more.
        task_ids: The tasks.
        generation: Number of this run's `begin`.
    """
    rest = []
    for note in notes:
        duplicates = tuple(entry for entry in note.duplicates if entry.task_id not in task_ids)
        shares = tuple(share for share in note.shares if share.task_id not in task_ids)
        if duplicates or shares:
            name = name_of((note.path, sorted(task_ids)), generation)
            left = make_note(note.path.rpartition("/")[0], name, duplicates)
            rows = sum(share.rows for share in shares)
            rest.append(left._replace(rows=rows, shares=shares))
    return rest


class Bonds:
    """Which tasks can only be converted again together with others.

    If rows stand for duplicates that were removed, the duplicates would be lost should the rows'
    object have changed: so those who read them are converted again, too.

    Args:
        notes: The notes of what has not expired.
    """

    def __init__(self, notes: Iterable[DataFile]) -> None:
        self._removed: defaultdict[str, set[str]] = defaultdict(set)
        for note in notes:
            for entry in note.duplicates:
                self._removed[entry.kept_task_id].add(entry.task_id)

    def bound_to(self, task_ids: Iterable[str]) -> set[str]:
        """Return tasks and all that are to be converted again with them."""
        bound: set[str] = set()
        waiting = set(task_ids)
        while waiting:
            bound |= waiting
            removed = (self._removed[task_id] for task_id in waiting & self._removed.keys())
            waiting = set().union(*removed) - bound
        return bound

    def groups(self, task_ids: Iterable[str]) -> list[list[str]]:
        """Return the groups in which tasks are converted again: no task is in two."""
        groups: list[set[str]] = []
        for task_id in task_ids:
            group = self.bound_to([task_id])
            touched = [other for other in groups if other & group]
            groups = [other for other in groups if not other & group]
            groups.append(group.union(*touched))
        return [sorted(group) for group in groups]
