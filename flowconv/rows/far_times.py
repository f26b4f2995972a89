"""Rows whose times are far from the day on which their object was delivered."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from flowconv.fields import MAX_SECONDS, TIME_COLUMNS
from flowconv.rows.times import known_times
from flowconv.source.keys import LogObject

# AWS announced VPC Flow Logs on that day
# (https://aws.amazon.com/blogs/aws/vpc-flow-logs-log-and-view-network-traffic-flows/).
_FIRST_FLOW_LOG = date(2015, 6, 10)

# Windows last minutes, and objects come late by hours or days.
_NEAR_DAYS = 31


def far_times(
    table: pa.Table, sources: Iterable[tuple[LogObject, int]], today: date
) -> list[tuple[LogObject, int]]:
    """Count the rows that start or end on a day far from their object's delivery.

    That is more than 31 days before or after the day of its name, else of its key. Where neither
    says any, it is before AWS wrote flow logs, or later than the day after today.

    Args:
        table: Rows with numbers in `start` and `end`, if it has these.
        sources: The objects that the rows come from, in the rows' order, and how many are theirs.
        today: The day of the run.

    Returns:
        The objects that have such rows, and how many.
    """
    columns = [table[name] for name in TIME_COLUMNS if name in table.column_names]
    sources = [source for source in sources if source[1]]
    # The objects of a block are mostly of one day.
    near = {day: _near(day, today) for day in {log_object.delivered for log_object, _ in sources}}
    if not columns or not near:
        return []
    latest_first = max(first for first, _ in near.values())
    earliest_stop = min(stop for _, stop in near.values())
    times = [known_times(column) for column in columns]
    if all(
        part.min(initial=latest_first) >= latest_first and part.max(initial=0) < earliest_stop
        for part in times
    ):
        return []
    rows = [rows for _, rows in sources]
    first, stop = (
        np.repeat([near[log_object.delivered][side] for log_object, _ in sources], rows)
        for side in (0, 1)
    )
    far = np.zeros(table.num_rows, bool)
    for column in columns:
        known: Any = column.is_valid().to_numpy()
        filled: Any = column.fill_null(pa.scalar(0))
        seconds = filled.to_numpy()
        seconds = np.where(seconds > MAX_SECONDS, seconds // 1000, seconds)
        far |= known & ((seconds < first) | (seconds >= stop))
    counts = np.add.reduceat(far.astype(np.int64), np.cumsum([0, *rows[:-1]])).tolist()
    return [
        (log_object, count) for (log_object, _), count in zip(sources, counts, strict=True) if count
    ]


def _near(day: date | None, today: date) -> tuple[int, int]:
    """Return the first second that is near the day of a delivery, and the one behind the last."""
    if day is None:
        return _second(_FIRST_FLOW_LOG), _second(today) + 2 * _DAY
    return _second(day) - _NEAR_DAYS * _DAY, _second(day) + (_NEAR_DAYS + 1) * _DAY


_DAY = 86_400


def _second(day: date) -> int:
    return (day - date(1970, 1, 1)) // timedelta(seconds=1)
