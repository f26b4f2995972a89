"""Rows that numpy takes are those that Arrow takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, repeat
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowconv.lake import taking
from flowconv.lake.buffered_rows import with_own_dictionaries, without_dictionaries
from flowconv.lake.taking import taken
from flowconv.rows.schema import TIMESTAMP

TEXTS = [None, "", "a", "é", "10.0.0.1", "a\0b"]
ROWS = 12


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    numbers = st.lists(st.sampled_from([None, 0, 1, -(1 << 31), (1 << 31) - 1]), min_size=ROWS)
    texts = st.lists(st.sampled_from(TEXTS), min_size=ROWS)
    indices = st.lists(st.sampled_from([None, 0, 1]), min_size=ROWS)
    all_null = st.just([None] * ROWS)
    columns: dict[str, Any] = {
        "int32": pa.array(draw(numbers | all_null)[:ROWS], pa.int32()),
        "int64": pa.array(draw(numbers | all_null)[:ROWS], pa.int64()),
        "time": pa.array(draw(numbers)[:ROWS], TIMESTAMP),
        "text": pa.array(draw(texts | all_null)[:ROWS], pa.string()),
        "coded": pa.array(draw(texts | all_null)[:ROWS], pa.string()).dictionary_encode(),
        # Its dictionary has a null, too.
        "nulls": pa.DictionaryArray.from_arrays(
            pa.array(draw(indices)[:ROWS], pa.int32()),
            pa.array([None, "b"]),
        ),
        "null": pa.nulls(ROWS),
    }
    table = pa.table(columns)
    start, rows = draw(st.integers(0, ROWS)), draw(st.integers(0, ROWS))
    if draw(st.booleans()):
        table = pa.concat_tables([table, table.slice(start, rows)])
    return table.slice(start, rows)


# By numpy, by Arrow, and by Arrow with dictionaries.
@pytest.fixture(params=[(0, ROWS), (8, ROWS), (8, -1)])
def ways(request: pytest.FixtureRequest) -> Iterator[None]:
    times, few_rows = request.param
    with (
        patch.object(taking, "_times", repeat(times)),
        patch.object(taking, "_FEW_ROWS", few_rows),
    ):
        yield


@pytest.mark.usefixtures("ways")
@given(tables(), st.data())
def test_rows_are_those_that_arrow_takes(table: pa.Table, data: st.DataObject) -> None:
    one = st.integers(0, max(0, table.num_rows - 1))
    places = np.array(sorted(data.draw(st.sets(one))) if table.num_rows else [], np.uint32)
    rows = taken(table, places)
    rows.validate(full=True)
    assert without_dictionaries(rows).equals(without_dictionaries(table.take(places)))


def test_arrow_takes_rows_when_its_import_has_paid() -> None:
    calls: list[int] = []

    class Table:
        columns = ()
        column_names = ()

        def take(self, places: pa.Array[Any]) -> Table:
            calls.append(len(places))
            return self

    table: Any = Table()
    with patch.object(taking, "_times", count()):
        for rows in range(10):
            taken(table, np.arange(rows))
    assert calls == [8, 9]


@given(tables())
def test_own_dictionaries_have_the_same_rows(table: pa.Table) -> None:
    own = with_own_dictionaries(table)
    own.validate(full=True)
    assert without_dictionaries(own).equals(without_dictionaries(table))


@pytest.mark.usefixtures("ways")
def test_nothing_of_the_others_is_kept() -> None:
    texts = pa.array([f"text {row}" for row in range(10_000)])
    table = pa.table({"coded": texts.dictionary_encode(), "plain": texts, "n": range(10_000)})
    assert taken(table, np.arange(5_000, 5_010)).get_total_buffer_size() < 1_000


@pytest.mark.parametrize("kind", [pa.string(), pa.int64()])
def test_what_lies_under_a_null_is_not_shown(kind: pa.DataType) -> None:
    column = pa.array([1, None, 3]).cast(kind)
    rows = taken(pa.table({"n": column}), np.array([1], np.uint32))
    assert rows["n"].to_pylist() == [None]
