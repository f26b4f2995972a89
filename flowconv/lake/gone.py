"""Files that the ledger names and that are gone, as when a lifecycle rule deleted old days."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from flowconv.lake.expired import Expired, day_of
from flowconv.lake.ledger_records import DataFile
from flowconv.storage.interface import Storage

# Rows of a day may come so many days after it; its partition is then not removed for ever.
_DAYS_OF_LATE_ROWS = 2


def missing_paths(storage: Storage, paths: Sequence[str]) -> set[str]:
    """Return the paths at which there is no file.

    Locally each file is looked up; in S3 their common folder is listed.

    Raises:
        StorageError: The lake does not answer.
    """
    if storage.is_local:
        return {path for path in paths if not os.path.exists(storage.location(path))}  # noqa: PTH110
    if not paths:
        return set()
    folder = os.path.commonpath(paths)
    if folder in paths:  # There is one path only.
        folder = folder.rpartition("/")[0]
    return set(paths).difference(file.path for file in storage.list_files(folder))


def gone_partitions(files: Iterable[DataFile], missing: Collection[str]) -> list[str]:
    """Return the partitions, by table and directory, of which no file is left; sorted."""
    left: dict[str, bool] = {}
    for file in files:
        if file.is_data:
            partition = file.path.rpartition("/")[0]
            left[partition] = left.get(partition, False) or file.path not in missing
    return sorted(partition for partition, is_left in left.items() if not is_left)


def as_expired(files: Collection[DataFile], missing: Collection[str]) -> Expired:
    """Return what makes missing files count as removed on purpose.

    A partition of which no file is left is removed for ever, unless rows of its day may still come,
    or it has no day.
    """
    latest = datetime.now(UTC).date() - timedelta(days=_DAYS_OF_LATE_ROWS)
    partitions = {
        partition
        for partition in gone_partitions(files, missing)
        if (day_of(partition) or date.max) < latest
    }
    paths = {path for path in missing if path.rpartition("/")[0] not in partitions}
    return Expired(partitions=frozenset(partitions), files=frozenset(paths))


def probably_first_deleted(files: Iterable[DataFile]) -> list[str]:
    """Return paths of a few files, of which a lifecycle rule would have deleted one first.

    Rules go by age: these are, of each table, a file of the first day and one that was written
    first.
    """
    by_table: defaultdict[str, list[DataFile]] = defaultdict(list)
    for file in files:
        by_table[file.path.partition("/")[0]].append(file)
    paths: list[str] = []
    for same in by_table.values():
        paths.append(min(same, key=_by_day).path)
        paths.append(min(same, key=_by_writing).path)
    return paths


def _by_day(file: DataFile) -> tuple[date, str]:
    return day_of(file.path.rpartition("/")[0]) or date.max, file.path


def _by_writing(file: DataFile) -> tuple[int, str]:
    """Sort by the run that wrote a file; its name is `<task>-<generation>-<number>`."""
    generation = file.path.rpartition("/")[2].split("-")[1:2]
    return int(generation[0]) if generation and generation[0].isdigit() else 0, file.path
