"""Text of logs -> numbers, for what Arrow's CSV reader refuses; and which numbers cannot be."""

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.fields import INT32, MAX_SECONDS, TEXT, TIME_COLUMNS, Field
from flowconv.source.keys import LogObject

# AWS announced VPC Flow Logs on that day
# (https://aws.amazon.com/blogs/aws/vpc-flow-logs-log-and-view-network-traffic-flows/).
_FIRST_FLOW_LOG = date(2015, 6, 10)

# Windows last minutes, and objects come late by hours or days.
_NEAR_DAYS = 31


def typed(
    column: "pa.ChunkedArray[Any]", field: Field, *, strict: bool
) -> tuple["pa.ChunkedArray[Any]", dict[int, str]]:
    """Make numbers of a column's text; also return the rows that hold none, and why."""
    if field.type == TEXT:
        return column, {}
    bad: dict[int, str] = {}
    try:
        numbers = None if strict else column.cast(field.type)
    except pa.ArrowInvalid:
        numbers = None
    if numbers is None:
        text: Any = column.combine_chunks()
        digits = 9 if field.type == INT32 else 18
        plain: Any = pc.match_substring_regex(text, f"^-?[0-9]{{1,{digits}}}$").fill_null(True)
        numbers = pc.if_else(plain, text, None).cast(field.type)
        # What is left is looked at one by one: bad values, and a few with leading zeros.
        repaired = []
        for index in pc.indices_nonzero(pc.invert(plain)).to_pylist():
            value = _whole_number(text[index].as_py(), field)
            if isinstance(value, str):
                bad[index] = value
            repaired.append(None if isinstance(value, str) else value)
        numbers = pc.replace_with_mask(numbers, pc.invert(plain), pa.array(repaired, field.type))
        numbers = pa.chunked_array([numbers])
    return numbers, bad | impossible(numbers, field)


def all_possible(numbers: "pa.ChunkedArray[Any]", field: Field) -> bool:
    """Tell whether a column has nothing but numbers that its field can have."""
    bounds: Any = pc.min_max(numbers).as_py()
    least, most = bounds["min"], bounds["max"]
    return least is None or (least >= 0 and (field.largest is None or most <= field.largest))


def impossible(numbers: "pa.ChunkedArray[Any]", field: Field) -> dict[int, str]:
    """Return the rows whose numbers the field cannot have, and why."""
    if all_possible(numbers, field):
        return {}
    wrong: Any = pc.less(numbers, pa.scalar(0))
    if field.largest is not None:
        wrong = pc.or_(wrong, pc.greater(numbers, pa.scalar(field.largest)))
    return dict.fromkeys(pc.indices_nonzero(wrong).to_pylist(), "out-of-range")


def in_milliseconds(table: pa.Table) -> npt.NDArray[np.int64]:
    """Return the rows that have a time in milliseconds."""
    rows = np.empty(0, np.int64)
    for name in TIME_COLUMNS:
        if name in table.column_names:
            most: Any = pc.max(table[name]).as_py()
            if most is not None and most > MAX_SECONDS:
                beyond: Any = pc.greater(table[name], pa.scalar(MAX_SECONDS)).fill_null(False)
                rows = np.union1d(rows, np.flatnonzero(beyond.to_numpy()))
    return rows


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
    given = [(one, rows, *_near(one, today)) for one, rows in sources if rows]
    if not columns or not given:
        return []
    bounds = [bound for column in columns for bound in _bounds(column)]
    if not bounds or (
        min(bounds) >= max(first for *_, first, _ in given)
        and max(bounds) < min(stop for *_, stop in given)
    ):
        return []
    rows = [rows for _, rows, _, _ in given]
    first = np.repeat([first for *_, first, _ in given], rows)
    stop = np.repeat([stop for *_, stop in given], rows)
    far = np.zeros(table.num_rows, bool)
    for column in columns:
        known: Any = column.is_valid().to_numpy()
        filled: Any = column.fill_null(pa.scalar(0))
        seconds = filled.to_numpy()
        seconds = np.where(seconds > MAX_SECONDS, seconds // 1000, seconds)
        far |= known & ((seconds < first) | (seconds >= stop))
    counts = np.add.reduceat(far.astype(np.int64), np.cumsum([0, *rows[:-1]])).tolist()
    return [(one, count) for (one, *_), count in zip(given, counts, strict=True) if count]


def _near(log_object: LogObject, today: date) -> tuple[int, int]:
    """Return the first second that is near an object's delivery, and the one behind the last."""
    day = log_object.delivered
    if day is None:
        return _second(_FIRST_FLOW_LOG), _second(today) + 2 * _DAY
    return _second(day) - _NEAR_DAYS * _DAY, _second(day) + (_NEAR_DAYS + 1) * _DAY


_DAY = 86_400


def _second(day: date) -> int:
    return (day - date(1970, 1, 1)) // timedelta(seconds=1)


def _bounds(times: "pa.ChunkedArray[Any]") -> tuple[int, ...]:
    """Return the least and the largest of the times; none if all are null."""
    bounds: Any = pc.min_max(times).as_py()
    return () if bounds["min"] is None else (bounds["min"], bounds["max"])


def _whole_number(text: str, field: Field) -> int | str:
    if re.fullmatch("-?[0-9]+", text) is None:
        return "not-a-number"
    bits = 32 if field.type == INT32 else 64
    digits = text.removeprefix("-").lstrip("0") or "0"
    value = int(digits) if len(digits) < 20 else 1 << 64
    value = -value if text[0] == "-" else value
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else "out-of-range"
