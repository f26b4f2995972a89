"""Tables to write: made by hypothesis, and by hand where size matters."""

import random
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

UTC_US = pa.timestamp("us", tz="UTC")

# What a column's values may be; each list is drawn from, so values repeat.
_VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 300),
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300),
    UTC_US: st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**20),
    pa.timestamp("ms"): st.integers(-(2**62), 2**62),
    pa.timestamp("s", tz="UTC"): st.integers(-(2**50), 2**50),
    pa.string(): st.text(max_size=12) | st.sampled_from(["", "-", "a" * 200, "\U0010ffff" * 40]),
    pa.large_string(): st.text(max_size=90),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["", "eni-1", "é" * 70, "10.0.0.1"]),
    pa.dictionary(pa.int8(), pa.large_string()): st.sampled_from(["x", "y" * 65]),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> "pa.ChunkedArray[Any]":
    """A column in one or more chunks, some of which are slices of longer arrays."""
    kind: Any = draw(st.sampled_from(list(_VALUES)))
    pool = draw(st.lists(_VALUES[kind], min_size=1, max_size=30))
    nulls = draw(st.sampled_from([0.0, 0.1, 0.9, 1.0]))
    chance = random.Random(draw(st.integers(0, 2**32)))
    values = [None if chance.random() < nulls else chance.choice(pool) for _ in range(rows)]
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=3)))
    chunks: list[Any] = []
    for start, stop in zip([0, *cuts], [*cuts, rows], strict=True):
        before = draw(st.integers(0, 9))
        whole = [*[pool[0]] * before, *values[start:stop], None]
        chunks.append(array_of(whole, kind).slice(before, stop - start))
    return pa.chunked_array(chunks, kind)


def array_of(values: list[Any], kind: pa.DataType) -> "pa.Array[Any]":
    if isinstance(kind, pa.DictionaryType):
        plain: Any = pa.array(values, kind.value_type)
        coded = plain.dictionary_encode()
        return pa.DictionaryArray.from_arrays(coded.indices.cast(kind.index_type), coded.dictionary)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Up to six columns of up to 400 rows."""
    rows = draw(st.integers(0, 400))
    count = draw(st.integers(1, 6))
    return pa.table({f"column_{place}": draw(columns(rows)) for place in range(count)})


def as_read(table: pa.Table) -> pa.Table:
    """The table as readers give it: dictionaries undone, seconds as milliseconds."""
    names, arrays = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_large_string(kind):
            kind = pa.string()
        if isinstance(kind, pa.TimestampType) and kind.unit == "s":
            kind = pa.timestamp("ms", kind.tz)
        names.append(field.name)
        arrays.append(column.cast(kind))
    return pa.table(arrays, names)


def large_table() -> pa.Table:
    """All that takes many rows: 200,000 distinct texts, extremes, runs, nulls in stretches."""
    rows = 200_000
    chance = random.Random(7)
    addresses = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(rows)]
    chance.shuffle(addresses)
    extremes = [-(2**63), 2**63 - 1, 0, -1]
    return pa.table(
        {
            "distinct": addresses,
            "few": [addresses[chance.randrange(5000)] for _ in range(rows)],
            "one": ["ACCEPT"] * rows,
            "none": pa.nulls(rows, pa.string()),
            "empty": [""] * rows,
            "null_stretches": [None if n // 3000 % 2 else n // 100 for n in range(rows)],
            "null_page": pa.array([None if n < 40_000 else 5 for n in range(rows)], pa.int32()),
            "extreme": [chance.choice(extremes) for _ in range(rows)],
            "random": pa.array(
                [chance.randrange(-(2**31), 2**31) for _ in range(rows)], pa.int32()
            ),
            "ascending": pa.array(range(rows), pa.int64()).cast(UTC_US),
            "runs": pa.array(
                [n // chance.choice((7, 8, 9)) % 1000 for n in range(rows)], pa.int32()
            ),
            "long": ["é" * 30_000 if n % 9001 == 0 else str(n % 50) for n in range(rows)],
        }
    )


def long_texts() -> pa.Table:
    """Texts of which each takes a page's share, and one that takes more than a page."""
    texts = [f"{n:04d}" + "x" * 60_000 for n in range(300)]
    return pa.table({"text": [*texts, "y" * 3_000_000, None, ""]})
