"""Rows are sorted as the writer sorts them, in ranges of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv.errors import StorageError
from flowconv.upkeep.sorting import sort_rows

NAMES = ("text", "number", "time")

PLAIN: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("text", pa.string()),
        ("number", pa.int64()),
        ("time", pa.int64()),
        ("row", pa.int64()),
    ]
)

ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["", "a", "b", "é", "eni-1", "eni-10"]),
        st.none() | st.integers(-2, 3),
        st.none() | st.integers(0, 5),
    ),
    max_size=60,
)


def table(rows: Sequence[tuple[Any, ...]], first: int) -> pa.Table:
    """Rows, with their numbers; texts are dictionaries, as a lake's files are read."""
    columns = [[row[place] for row in rows] for place in range(3)]
    return pa.table(
        {
            "text": pa.array(columns[0], pa.string()).dictionary_encode(),
            "number": pa.array(columns[1], pa.int32()),
            "time": pa.array(columns[2], pa.timestamp("us", "UTC")),
            "row": pa.array(range(first, first + len(rows)), pa.int64()),
        }
    )


def key(values: Sequence[Any]) -> tuple[Any, ...]:
    plain = (value.encode() if isinstance(value, str) else value for value in values)
    return tuple((value is not None, value or 0 if value != b"" else b"") for value in plain)


@given(
    groups=st.lists(ROWS, max_size=6),
    sort_by=st.lists(st.sampled_from(NAMES), unique=True),
    rows_at_once=st.integers(4, 100),
    group_rows=st.integers(1, 20),
    rows_per_text=st.sampled_from([1, 16]),
)
@settings(max_examples=30)
def test_sorted(
    groups: list[list[tuple[Any, ...]]],
    sort_by: list[str],
    rows_at_once: int,
    group_rows: int,
    rows_per_text: int,
) -> None:
    rows = [row for group in groups for row in group]

    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        first = 0
        for group in groups:
            yield table(group, first).select(list(columns))
            first += len(group)

    with mock.patch.multiple(
        "flowconv.upkeep.sorting",
        ROWS_AT_ONCE=rows_at_once,
        ROW_GROUP_ROWS=group_rows,
        _ROWS_PER_TEXT=rows_per_text,
    ):
        found = [*sort_rows(read, len(rows), [*NAMES, "row"], sort_by, None)]
    sizes = [sum(piece.num_rows for piece in pieces) for pieces in found]
    assert len(set(sizes[:-1])) <= 1
    assert all(size <= sizes[0] for size in sizes)
    if len(rows) >= group_rows:
        assert 0.75 * group_rows <= sizes[0] <= 1.5 * group_rows + 1
    assert sum(sizes) == len(rows)
    whole: Any = pa.concat_tables(
        [table([], 0), *(piece for pieces in found for piece in pieces)]
    ).cast(PLAIN)
    order = whole["row"].to_pylist()
    places = [NAMES.index(name) for name in sort_by]
    # Rows with equal keys keep their order.
    assert order == sorted(
        range(len(rows)), key=lambda number: key([rows[number][place] for place in places])
    )
    assert list(zip(*(whole[name].to_pylist() for name in NAMES), strict=True)) == [
        rows[number] for number in order
    ]


def test_temporary_files_cannot_be_written(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with (
        mock.patch("flowconv.upkeep.sorting.ROWS_AT_ONCE", 4),
        pytest.raises(StorageError, match=r"there is no such file") as raised,
    ):
        list(sort_rows(lambda names: [table([("a", 1, 1)] * 9, 0)], 9, NAMES, NAMES, missing))
    assert raised.value.uri == missing
