"""What was removed from a lake on purpose: it is not converted again, and nobody misses it."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from flowconv.source.keys import LogObject

_DAY = re.compile(r"/(?:date=([0-9]{4}-[0-9]{2}-[0-9]{2})|eventDay=([0-9]{8}))(?=/|$)")


class Expired(NamedTuple):
    """What was removed from a lake on purpose.

    Attributes:
        before: Days before this one were removed; None: no day was.
        partitions: Partitions that something else deleted, such as a lifecycle rule: table and
            directory.
        files: Paths of files that something else deleted, whose partitions go on.
    """

    before: date | None = None
    partitions: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.before or self.partitions or self.files)

    def has_file(self, path: str) -> bool:
        """Tell whether a file of the lake was removed."""
        return path in self.files or self.has_partition(path.rpartition("/")[0])

    def has_partition(self, partition: str) -> bool:
        """Tell whether a partition was removed; rows of it are not written any more."""
        if partition in self.partitions:
            return True
        day = day_of(partition) if self.before else None
        return bool(day and self.before and day < self.before)

    def has_object(self, log_object: LogObject) -> bool:
        """Tell by an object's key whether all of its records are of days that were removed.

        Records are of the day of their delivery, or of the day before.
        """
        if not self.before:
            return False
        days = [day for day in (log_object.day, log_object.delivered) if day]
        return bool(days) and max(days) < self.before

    def __or__(self, other: "Expired") -> "Expired":
        """Return what either has; what the later day includes is not named any more."""
        before = max(filter(None, (self.before, other.before)), default=None)
        days = Expired(before=before)
        partitions = frozenset(
            partition
            for partition in self.partitions | other.partitions
            if not days.has_partition(partition)
        )
        days = Expired(before=before, partitions=partitions)
        files = frozenset(path for path in self.files | other.files if not days.has_file(path))
        return Expired(before=before, partitions=partitions, files=files)

    def to_json(self) -> dict[str, Any]:
        """Return it as records and checkpoints have it."""
        return {
            "before": self.before and self.before.isoformat(),
            "partitions": sorted(self.partitions),
            "files": sorted(self.files),
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "Expired":
        """Undo `to_json`.

        Raises:
            ValueError, KeyError, TypeError: It is something else.
        """
        before = described["before"]
        return cls(
            before=before and date.fromisoformat(before),
            partitions=frozenset(described["partitions"]),
            files=frozenset(described["files"]),
        )


def day_of(partition: str) -> date | None:
    """Return the day of a partition, given by table and directory; None if it has none."""
    match = _DAY.search(partition)
    try:
        return date.fromisoformat(match[1] or match[2]) if match else None
    except ValueError:
        return None
