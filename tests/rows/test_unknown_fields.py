"""The JSON of fields that a table lacks."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv.rows.unknown_fields import as_json
from support.examples import MORE_EXAMPLES

SPECIAL = ["", "a", '"', "\\", "\n", "\x00", "\u2028", "é"]
TEXTS = st.none() | st.text() | st.sampled_from(SPECIAL)
NAMES = st.sampled_from(["a", "B-c", "d_1"])


@st.composite
def fields_of_rows(draw: st.DrawFn) -> tuple[int, dict[str, list[str | None]]]:
    rows = draw(st.integers(0, 5))
    columns = st.lists(TEXTS, min_size=rows, max_size=rows)
    return rows, draw(st.dictionaries(NAMES, columns))


@settings(max_examples=100 + MORE_EXAMPLES)
@given(fields_of_rows(), st.booleans())
def test_json_of_each_row(made: tuple[int, dict[str, list[str | None]]], coded: bool) -> None:
    rows, fields = made
    columns = {name: pa.chunked_array([pa.array(v, pa.string())]) for name, v in fields.items()}
    if coded:
        columns = {name: column.dictionary_encode() for name, column in columns.items()}
    expected = []
    for row in range(rows):
        values = {name: texts[row] for name, texts in fields.items() if texts[row] is not None}
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        expected.append(text if values else None)
    assert as_json(columns, rows).to_pylist() == expected


@pytest.mark.parametrize("start", range(4))
def test_slices(start: int) -> None:
    table = pa.table({"x": pa.array(["a", None, None, "b"]).dictionary_encode(), "y": list("cdef")})
    part = table.slice(start)
    expected = ['{"x":"a","y":"c"}', '{"y":"d"}', '{"y":"e"}', '{"x":"b","y":"f"}']
    assert as_json({"x": part["x"], "y": part["y"]}, 4 - start).to_pylist() == expected[start:]
