"""Files counted by partition."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowconv.lake.ledger_records import DataFile
from flowconv.lake.paths import place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """A partition.

    Attributes:
        table: Its table.
        directory: Below the table; `""` if the table has no partitions.
        files: Number of its files.
        rows: Their rows.
        size_bytes: Their size.
    """

    table: str
    directory: str
    files: int
    rows: int
    size_bytes: int


class PartitionTotals:
    """What all `partitions` of a report have together."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def partitions(self) -> tuple[PartitionStatus, ...]:
            """The partitions, by name."""

    @property
    def files(self) -> int:
        """Number of their Parquet files."""
        return sum(partition.files for partition in self.partitions)

    @property
    def rows(self) -> int:
        """Their rows."""
        return sum(partition.rows for partition in self.partitions)

    @property
    def size_bytes(self) -> int:
        """Size of their Parquet files."""
        return sum(partition.size_bytes for partition in self.partitions)


def partitions_of(files: Iterable[DataFile]) -> tuple[PartitionStatus, ...]:
    """Return the partitions of files of the tables, by name."""
    by_directory: defaultdict[str, list[DataFile]] = defaultdict(list)
    for file in files:
        by_directory[file.path.rpartition("/")[0]].append(file)
    partitions = []
    for path, same in sorted(by_directory.items()):
        table, directory = place_of(path)
        partitions.append(
            PartitionStatus(
                table=table,
                directory=directory,
                files=len(same),
                rows=sum(file.rows for file in same),
                size_bytes=sum(file.size_bytes for file in same),
            )
        )
    return tuple(partitions)
