"""Days with far fewer rows than their neighbours, from the files that the ledger names."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from statistics import median

from flowconv.lake.expired import day_of
from flowconv.lake.ledger_records import DataFile
from flowconv.upkeep.gap_report import Gap

# A day is compared with so many days before it and after it.
_NEIGHBOURS = 3

# It has far fewer rows if it has less than this share of their median.
_SHARE = 0.25

# Fewer rows than these say nothing.
_LEAST_USUAL = 20


def days_with_few_rows(
    files: Iterable[DataFile], since: date | None, until: date | None
) -> Iterator[Gap]:
    """Give the days with far fewer rows than their neighbours, or with none.

    The first and the last day of a partition are not complete yet, and are left out.

    Args:
        files: The files that count, and notes of duplicates that were removed.
        since: The first day.
        until: The last day, included.
    """
    by_partition: defaultdict[str, Counter[date]] = defaultdict(Counter)
    for file in files:
        partition = file.path.rpartition("/")[0]
        if file.is_data and (day := day_of(partition)):
            by_partition[_without_time(partition)][day] += file.rows + sum(
                duplicates.rows for duplicates in file.duplicates
            )
    for partition, rows in sorted(by_partition.items()):
        first, last = min(rows), max(rows)
        for number in range(1, (last - first).days):
            day = first + timedelta(days=number)
            if (since and day < since) or (until and day > until):
                continue
            usual = _usual(rows, day, first, last)
            if usual >= _LEAST_USUAL and rows[day] < _SHARE * usual:
                midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
                yield Gap(
                    kind="few-rows",
                    of=partition,
                    first=midnight,
                    last=midnight,
                    number=rows[day],
                    usual=usual,
                )


def _usual(rows: Counter[date], day: date, first: date, last: date) -> int:
    """Return the median of the neighbours' rows; the first and last day do not count."""
    steps = [step for step in range(-_NEIGHBOURS, _NEIGHBOURS + 1) if step]
    neighbours = [day + timedelta(days=step) for step in steps]
    inside = [rows[neighbour] for neighbour in neighbours if first < neighbour < last]
    # Days without any row are gaps of their own.
    counts = [count for count in inside if count] or [rows[first], rows[last]]
    return int(median(counts))


def _without_time(partition: str) -> str:
    """Return a partition without its day and hour."""
    names = partition.split("/")
    return "/".join(name for name in names if not name.startswith(("date=", "hour=")))
