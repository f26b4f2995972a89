"""Compacted files with rows of tasks that a run replaces -> the rows of each in a file of its own.

A task is replaced by one commit, which writes the compacted files with rows of it again without
them. If many tasks are replaced, each would write the same files again. So the first one lets the
rows of all be cut out at once, which changes no row; then each has files of its own to replace.
"""

from collections.abc import Collection, Sequence

from flowconv.lake.compacted import write_parts
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile, Swap
from flowconv.lake.paths import name_of
from flowconv.lake.swapping import commit_swap
from flowconv.options import ConvertOptions
from flowconv.storage.interface import Storage

# Files that are written at once; the rows of other groups are cut out of the rest later.
_GROUPS_AT_ONCE = 64


def separate_tasks(
    storage: Storage,
    ledger: Ledger,
    run_id: str,
    file: DataFile,
    groups: Sequence[Collection[str]],
    options: ConvertOptions,
) -> None:
    """Put files in the place of a compacted one: one for each group of tasks, one for the rest.

    Args:
        storage: The lake.
        ledger: Its ledger.
        run_id: The run, which holds the lock.
        file: The compacted file.
        groups: Tasks with rows in it; no task is in two groups. The first groups are served first.
        options: The lake's, and the format of what is written.

    Raises:
        LakeError: The file is damaged, or another run has taken the lake over.
        FetchError: The file cannot be fetched; this may pass.
        StorageError: The lake does not answer, or is full; nothing has changed.
    """
    chosen = groups[:_GROUPS_AT_ONCE]
    part_of = {task_id: place for place, group in enumerate(chosen, 1) for task_id in group}
    generation = ledger.generation
    names = [name_of((file.path, "part", part), generation) for part in range(len(chosen) + 1)]
    staged = write_parts(storage, file, part_of, names, options)
    try:
        swap = Swap(tuple(one.file for one in staged), (file.path,))
        if sum(part.rows for part in swap.files) != file.rows:
            raise AssertionError("cutting a compacted file has lost rows")
        commit_swap(storage, ledger, run_id, names[0], swap, [one.sink for one in staged])
    finally:
        for one in staged:
            one.sink.discard()
