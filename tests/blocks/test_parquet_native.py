"""Parquet as AWS delivers it, read by the native core: the same as Arrow reads."""

import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv.blocks import parquet_objects
from flowconv.blocks.parquet_footer import Footer, read_footer
from flowconv.blocks.parquet_native import can_decode, decode, native_schema
from flowconv.blocks.parquet_pages import ColumnPages, Page, column_pages, unpack
from flowconv.errors import CorruptObjectError
from support.in_memory import convert_in_memory
from support.shapes import parquet

INT32, INT64, TEXT = pa.int32(), pa.int64(), pa.string()


def footer_of(body: bytes) -> Footer:
    file: Any = pa.BufferReader(body)
    return read_footer(file)


def read(body: bytes, most_rows: int = 1000, *, is_coded: bool | None = None) -> list[pa.Table]:
    """Read a file that must be native; `is_coded` overrules what is usual for texts."""
    footer = footer_of(body)
    assert native_schema(footer) is not None
    tables: list[pa.Table] = []
    for group in footer.groups:
        columns = column_pages(memoryview(body), group, {c.name for c in footer.columns})
        assert can_decode(columns)
        coded = {c.name for c in columns if (c.is_coded if is_coded is None else is_coded)}
        for table, size_bytes in decode(memoryview(body), group, columns, most_rows, coded):
            tables.append(table)
            # Each text stands behind its offset; a page's have one more, and a bit for each.
            values = [value for row in table.to_pylist() for value in row.values()]
            text_bytes = sum(len(value.encode()) for value in values if isinstance(value, str))
            expected = text_bytes + table.num_rows * sum(map(_width, columns))
            assert 0 <= size_bytes - expected <= 5 * len(values)
    return tables


def _width(column: ColumnPages) -> int:
    return 8 if column.column.physical_type == "INT64" else 4


def rows_of(tables: list[pa.Table]) -> list[dict[str, Any]]:
    for table in tables:
        table.validate(full=True)
    return [row for table in tables for row in table.to_pylist()]


def as_arrow_reads(body: bytes) -> list[dict[str, Any]]:
    rows = pq.read_table(pa.BufferReader(body)).to_pylist()
    return [{k: None if v == "-" else v for k, v in row.items()} for row in rows]


def assert_as_arrow_reads(body: bytes, most_rows: int = 1000) -> None:
    expected = as_arrow_reads(body)
    for is_coded in (None, False, True):
        tables = read(body, most_rows, is_coded=is_coded)
        assert rows_of(tables) == expected
        assert all(0 < table.num_rows <= most_rows for table in tables)


def columns(type_: pa.DataType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Columns of few values, and of many; with nulls here and there, and in runs."""
    few = st.lists(st.none() | values, min_size=1, max_size=3)
    runs = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), min_size=1, max_size=12)
    repeated = st.builds(
        lambda some, runs: [some[n % len(some)] for n, times in runs for _ in range(times)],
        few,
        runs,
    )
    several = st.lists(st.none() | values, min_size=1, max_size=60)
    return (repeated | several).map(lambda column: pa.array(column, type_))


TEXTS = st.sampled_from(["-", "", "a", "--", "é", "x" * 300]) | st.text(max_size=5)
COLUMNS = st.one_of(
    columns(INT32, st.integers(-(2**31), 2**31 - 1)),
    columns(INT64, st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9)),
    columns(TEXT, TEXTS.filter(lambda text: text.isprintable())),
)


@settings(max_examples=300)
@given(
    st.lists(COLUMNS, min_size=1, max_size=3),
    st.sampled_from(["none", "gzip", "snappy", "zstd"]),
    st.booleans(),
    st.sampled_from([None, 1, 30, 1000]),
    st.sampled_from([1, 7, 100, 10_000]),
    st.sampled_from([1, 50, 1000]),
    st.sampled_from([1, 3, 64, 1000]),
)
def test_as_arrow_reads(
    arrays: list[Any],
    compression: str,
    use_dictionary: bool,
    dictionary_bytes: int | None,
    page_bytes: int,
    group_rows: int,
    most_rows: int,
) -> None:
    rows = min(map(len, arrays))
    fields = [
        pa.field(f"c{n}", array.type, nullable=array.slice(0, rows).null_count > 0)
        for n, array in enumerate(arrays)
    ]
    table = pa.table([array.slice(0, rows) for array in arrays], schema=pa.schema(fields))
    body = parquet(
        table,
        compression=compression,
        use_dictionary=use_dictionary,
        dictionary_pagesize_limit=dictionary_bytes,
        data_page_size=page_bytes,
        write_batch_size=10,
        row_group_size=group_rows,
        write_page_checksum=group_rows == 50,
        store_schema=most_rows != 64,
    )
    assert_as_arrow_reads(body, most_rows)


def by_polars(table: pa.Table, path: Path) -> None:
    frame: Any = pl.from_arrow(table)
    frame.write_parquet(path, compression="snappy", row_group_size=700)


def by_duckdb(table: pa.Table, path: Path) -> None:
    duckdb.from_arrow(table).write_parquet(str(path), compression="zstd")


@pytest.mark.parametrize("write", [by_polars, by_duckdb])
def test_other_writers(write: Callable[[pa.Table, Path], None], tmp_path: Path) -> None:
    """Which of their files are native is theirs to say; those that are read the same."""
    table = pa.table(
        {
            "few": pa.array([n // 100 for n in range(3000)], INT32),
            "null": pa.array([None if n % 3 else n for n in range(3000)], INT64),
            "none": pa.array([None] * 3000, INT32),
            "text": [f"10.0.{n % 250}.1" if n % 7 else "-" for n in range(3000)],
            "missing": [None if n % 2 else "ACCEPT" for n in range(3000)],
        }
    )
    write(table, tmp_path / "a.parquet")
    body = (tmp_path / "a.parquet").read_bytes()
    names = [
        column.name
        for column in footer_of(body).columns
        if can_decode(column_pages(memoryview(body), footer_of(body).groups[0], {column.name}))
    ]
    assert "few" in names
    kept = pq.read_table(tmp_path / "a.parquet", columns=names)
    write(kept.cast(pa.schema([(n, table.schema.field(n).type) for n in names])), tmp_path / "b")
    assert_as_arrow_reads((tmp_path / "b").read_bytes(), 500)


def test_a_dictionary_with_a_text_twice() -> None:
    texts = ["-", "x", "a", "-", "x", None] * 20
    body = parquet({"srcaddr": texts}, compression="none", data_page_size=100)
    assert body.count(b"\1\0\0\0-\1\0\0\0x") == 1
    twice = body.replace(b"\1\0\0\0-\1\0\0\0x", b"\1\0\0\0-\1\0\0\0-")
    for is_coded in (None, False, True):
        rows = rows_of(read(twice, 50, is_coded=is_coded))
        assert [row["srcaddr"] for row in rows] == [None, None, "a", None, None, None] * 20


@pytest.mark.parametrize("nullable", [False, True])
def test_levels_that_are_none(nullable: bool) -> None:
    """Spark says that the levels of columns without nulls are bit-packed; there are none."""
    schema = pa.schema([pa.field("srcport", INT32, nullable=nullable)])
    body = parquet(pa.table([list(range(100))], schema=schema), compression="none")
    # Fields 3 and 4 of DataPageHeader: RLE.
    assert body.count(b"\x15\x06\x15\x06") == 1
    packed = body.replace(b"\x15\x06\x15\x06", b"\x15\x08\x15\x08")
    (group,) = footer_of(packed).groups
    (column,) = column_pages(memoryview(packed), group, {"srcport"})
    assert can_decode([column]) is not nullable
    if not nullable:
        assert rows_of(read(packed)) == as_arrow_reads(body)


def test_texts_share_their_dictionary() -> None:
    texts = [f"10.0.0.{n % 90}" for n in range(1000)]
    first, *others = read(parquet({"srcaddr": texts}, data_page_size=100), 300)
    assert len(others) == 3
    chunks: list[Any] = [table["srcaddr"].chunk(0) for table in [first, *others]]
    assert len({chunk.dictionary.buffers()[2].address for chunk in chunks}) == 1


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1], pa.int16()),
        pa.array([1], pa.uint32()),
        pa.array([True]),
        pa.array([1.5]),
        pa.array([b"a"]),
        pa.array([b"a"], pa.binary(1)),
        pa.array([1], pa.date32()),
        pa.array([1], pa.time64("us")),
        pa.array([1], pa.timestamp("us")),
        pa.array([1], pa.duration("us")),
        pa.array([1], pa.decimal128(5)),
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.nulls(1),
    ],
    ids=lambda array: f"{array.type}",
)
def test_types_that_are_read_by_arrow(array: "pa.Array[Any]") -> None:
    assert native_schema(footer_of(parquet({"srcaddr": ["a"], "x": array}))) is None


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "lz4"},
        {"compression": "brotli"},
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "column_encoding": {"srcport": "DELTA_BINARY_PACKED"}},
        {"use_dictionary": False, "column_encoding": {"srcport": "BYTE_STREAM_SPLIT"}},
    ],
)
def test_pages_that_are_read_by_arrow(how: dict[str, Any]) -> None:
    body = parquet({"srcport": pa.array(range(100), INT32)}, **how)
    (group,) = footer_of(body).groups
    assert not can_decode(column_pages(memoryview(body), group, {"srcport"}))
    (got,) = convert_in_memory([body])
    assert [row["srcport"] for _, _, row in got.rows] == list(range(100))


# --- damage -------------------------------------------------------------------------------------


def pages_of(body: bytes) -> Iterator[tuple[int, Page]]:
    """Yield where the header of each page begins, and the page."""
    footer = footer_of(body)
    for group in footer.groups:
        columns = column_pages(memoryview(body), group, {c.name for c in footer.columns})
        for chunk, column in zip(group.chunks, columns, strict=True):
            place = chunk.bounds(len(body))[0]
            for page in column.pages:
                yield place, page
                place = page.start + page.packed_bytes


def with_number(body: bytes, what: str, number: int, change: int) -> bytes:
    """Change a number of a page's header, without changing its length.

    Args:
        body: A file.
        what: The attribute of the page; in the header it takes at least two bytes.
        number: The number of the page.
        change: What is added.
    """
    start, page = list(pages_of(body))[number]
    old = varint(getattr(page, what))
    changed = varint(getattr(page, what) + change)
    assert len(changed) == len(old) > 1
    place = body.index(old, start, page.start)
    return body[:place] + changed + body[place + len(changed) :]


def varint(number: int) -> bytes:
    number <<= 1
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


PORTS = {"srcport": pa.array([n * 37 % 2000 for n in range(3000)], INT32)}


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "zstd"])
@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("page", [0, 1])
def test_a_page_of_another_size(compression: str, change: int, page: int) -> None:
    body = with_number(parquet(PORTS, compression=compression), "size_bytes", page, change)
    (got,) = convert_in_memory([body])
    assert isinstance(got.failure, CorruptObjectError)
    assert got.rows == []


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_dictionary_with_fewer_values_than_are_used(compression: str) -> None:
    body = with_number(parquet(PORTS, compression=compression), "values", 0, -1)
    (got,) = convert_in_memory([body])
    assert "a page ends early, or says what cannot be" in str(got.failure)


@pytest.mark.parametrize("columns", [PORTS, {"srcaddr": [f"{n}" for n in range(3000)]}])
def test_a_dictionary_with_more_values_than_it_has(columns: dict[str, Any]) -> None:
    body = with_number(parquet(columns), "values", 0, 1)
    (got,) = convert_in_memory([body])
    assert isinstance(got.failure, CorruptObjectError)


def test_a_page_of_another_number_of_rows() -> None:
    (got,) = convert_in_memory([with_number(parquet(PORTS), "values", 1, -1)])
    assert isinstance(got.failure, CorruptObjectError)
    # Rows beyond those that the footer names are no rows, says Arrow.
    (got,) = convert_in_memory([with_number(parquet(PORTS), "values", 1, 1)])
    assert [row["srcport"] for _, _, row in got.rows] == PORTS["srcport"].to_pylist()


def test_a_checksum() -> None:
    body = parquet(PORTS, write_page_checksum=True, compression="none")
    _, (_, page) = pages_of(body)
    packed = body[page.start : page.start + page.packed_bytes]
    assert (page.has_checksum, page.checksum) == (1, zlib.crc32(packed))
    for place in (page.start + 20, page.start + len(packed) - 1):
        changed = bytearray(body)
        changed[place] ^= 1
        (got,) = convert_in_memory([bytes(changed)])
        assert "a page has another checksum than its bytes" in str(got.failure)


def test_gzip_with_something_behind_it_or_missing() -> None:
    body = parquet(PORTS, compression="gzip")
    (group,) = footer_of(body).groups
    (column,) = column_pages(memoryview(body), group, {"srcport"})
    page = column.pages[1]
    good = unpack(memoryview(body), page, "gzip")
    assert len(good) == page.size_bytes
    for cut in (1, 8, page.packed_bytes // 2):
        short = page._replace(packed_bytes=page.packed_bytes - cut)
        with pytest.raises(ValueError, match=r"gzip|size|bytes"):
            unpack(memoryview(body), short, "gzip")


DAMAGED = {
    "srcport": pa.array([n * 7 % 90 if n % 5 else None for n in range(200)], INT32),
    "srcaddr": [f"10.0.{n % 13}.1" if n % 7 else ("-" if n % 2 else None) for n in range(200)],
    "bytes": pa.array([n * 1000 for n in range(200)]),
    "action": ["ACCEPT"] * 100 + ["REJECT"] * 100,
}
WRITTEN: list[dict[str, Any]] = [
    {"compression": "none", "data_page_size": 100, "write_batch_size": 10},
    {"compression": "none", "use_dictionary": False},
    {"compression": "none", "dictionary_pagesize_limit": 40, "data_page_size": 50,
     "write_batch_size": 5, "row_group_size": 90},
    {"compression": "gzip"},
    {"compression": "snappy", "row_group_size": 70},
    {"compression": "zstd"},
]  # fmt: skip


@pytest.mark.parametrize("how", WRITTEN)
def test_damage_is_read_as_arrow_reads_it(how: dict[str, Any]) -> None:
    """One of the two may find that a file is damaged; if both read it, they read the same."""
    whole = parquet(pa.table(DAMAGED), **how)
    rng = random.Random(len(whole))
    outcomes: Counter[tuple[bool, bool]] = Counter()
    for _ in range(300):
        body = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 3])):
            place = rng.randrange(4, len(body) - 8)
            body[place] = rng.choice([body[place] ^ 1 << rng.randrange(8), rng.randrange(256), 0])
        (native,) = convert_in_memory([bytes(body)])
        with mock.patch.object(parquet_objects, "native_schema", return_value=None):
            (foreign,) = convert_in_memory([bytes(body)])
        read_by = native.failure is None, foreign.failure is None
        outcomes[read_by] += 1
        if all(read_by):
            assert (native.rows, native.counts) == (foreign.rows, foreign.counts)
            assert native.rejected == foreign.rejected
    assert outcomes[True, True] > 15
    assert outcomes[False, False] > 15
