"""Text in columns of Parquet or JSON -> numbers; and which numbers cannot be."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.fields import INT32, MAX_SECONDS, TIME_COLUMNS, Field
from flowconv.rows.schema import field_type


def typed(
    column: "pa.ChunkedArray[Any]", field: Field, *, strict: bool
) -> tuple["pa.ChunkedArray[Any]", dict[int, str]]:
    """Make numbers of a column's text; also return the rows that hold none, and why."""
    if field.is_text:
        return column, {}
    bad: dict[int, str] = {}
    type_ = field_type(field)
    try:
        numbers = None if strict else column.cast(type_)
    except pa.ArrowInvalid:
        numbers = None
    if numbers is None:
        text: Any = column.combine_chunks()
        digits = 9 if field.type == INT32 else 18
        plain: Any = pc.match_substring_regex(text, f"^-?[0-9]{{1,{digits}}}$").fill_null(True)
        numbers = pc.if_else(plain, text, None).cast(type_)
        # What is left is looked at one by one: bad values, and a few with leading zeros.
        repaired = []
        for index in pc.indices_nonzero(pc.invert(plain)).to_pylist():
            value = _whole_number(text[index].as_py(), field)
            if isinstance(value, str):
                bad[index] = value
            repaired.append(None if isinstance(value, str) else value)
        numbers = pc.replace_with_mask(numbers, pc.invert(plain), pa.array(repaired, type_))
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


def _whole_number(text: str, field: Field) -> int | str:
    if re.fullmatch("-?[0-9]+", text) is None:
        return "not-a-number"
    bits = 32 if field.type == INT32 else 64
    digits = text.removeprefix("-").lstrip("0") or "0"
    value = int(digits) if len(digits) < 20 else 1 << 64
    value = -value if text[0] == "-" else value
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else "out-of-range"
