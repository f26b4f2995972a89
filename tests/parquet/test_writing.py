"""Files of the native writer, read by others: the same rows, and metadata that is true."""

import datetime
import gc
import io
import random
import struct
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowconv.parquet.chunks import PAGE_ROWS
from flowconv.parquet.compression import Compression
from flowconv.parquet.writing import ParquetWriter
from support.parquet_file import footer, pages, struct_at
from support.parquet_tables import as_read, large_table, long_texts, tables

CODECS: list[Compression] = ["zstd", "snappy", "gzip", "lz4", "none"]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def written(*parts: pa.Table, row_group_size: int = 128 << 10, **options: Any) -> bytes:
    file = io.BytesIO()
    writer = ParquetWriter(file, parts[0].schema, **options)
    for part in parts:
        writer.write_table(part, row_group_size)
    writer.close()
    return file.getvalue()


def by_arrow(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)


def by_arrow_writer(table: pa.Table) -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(table, file, store_schema=False)
    return file.getvalue().to_pybytes()


def parquet_schema(data: bytes) -> list[str]:
    """Parquet's own types; the first line is an address."""
    return str(pq.read_metadata(io.BytesIO(data)).schema).splitlines()[1:]


def sorted_rows(table: pa.Table, keys: list[str]) -> pa.Table:
    """By Arrow's own sort, stable and with nulls first."""
    plain = as_read(table)
    ranks = [pc.rank(plain[key].combine_chunks(), "ascending", tiebreaker="dense") for key in keys]
    rows = range(len(plain))
    nulls = [plain[key].is_null().to_pylist() for key in keys]
    columns = [column.to_pylist() for column in ranks]
    order = sorted(
        rows,
        key=lambda row: [
            0 if null[row] else column[row] for null, column in zip(nulls, columns, strict=True)
        ],
    )
    return plain.take(pa.array(order, pa.int64()))


@given(tables(), st.integers(1, 500), st.sampled_from(CODECS))
def test_arrow_reads_the_same_rows(table: pa.Table, size: int, codec: Compression) -> None:
    found = by_arrow(written(table, row_group_size=size, compression=codec))
    assert found.num_rows == table.num_rows
    assert found.equals(as_read(table))


@given(tables())
def test_polars_and_arrow_read_what_arrow_would_have_written(table: pa.Table) -> None:
    ours, theirs = written(table), by_arrow_writer(as_read(table))
    assert pl.read_parquet(ours).equals(pl.read_parquet(theirs), null_equal=True)
    assert pl.read_parquet(ours).schema == pl.read_parquet(theirs).schema
    assert parquet_schema(ours) == parquet_schema(theirs)


@given(tables(), st.data())
def test_rows_of_a_row_group_are_sorted(table: pa.Table, data: st.DataObject) -> None:
    keys = data.draw(
        st.lists(st.sampled_from(table.column_names), min_size=1, max_size=3, unique=True)
    )
    file = written(table, sort_by=keys)
    assert by_arrow(file).equals(sorted_rows(table, keys))
    for group in footer(file)[4]:
        assert [(key[1], key[2], key[3]) for key in group[4]] == [
            (table.column_names.index(key), False, True) for key in keys
        ]


@given(tables())
def test_bytes_depend_on_the_rows_alone(table: pa.Table) -> None:
    plain = as_read(table).combine_chunks()
    coded = pa.table(
        {
            name: column.dictionary_encode() if pa.types.is_string(column.type) else column
            for name, column in zip(plain.column_names, plain.columns, strict=True)
        }
    )
    assert written(table) == written(plain) == written(coded)


@given(tables().filter(len), st.data(), st.booleans())
def test_rows_at_places_are_written_as_if_they_were_alone(
    table: pa.Table, data: st.DataObject, is_sorted: bool
) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, len(table) - 1), min_size=1)))
    cut = data.draw(st.integers(0, len(table)))
    options: Any = {"sort_by": table.column_names[:2] if is_sorted else ()}
    file = io.BytesIO()
    writer = ParquetWriter(file, table.schema, **options)
    writer.write_row_group([table.slice(0, cut), table.slice(cut)], np.array(places, np.uint32))
    writer.close()
    assert file.getvalue() == written(as_read(table).take(places), **options)


@given(tables(), st.lists(st.integers(0, 400), max_size=4), st.sampled_from(CODECS), st.booleans())
def test_columns_without_values_need_no_type(
    table: pa.Table, cuts: list[int], codec: Compression, is_sorted: bool
) -> None:
    options: Any = {"compression": codec, "sort_by": table.column_names[:2] if is_sorted else ()}
    parts = []
    for start, stop in pairwise([0, *sorted(cuts), 400]):
        part = table.slice(start, stop - start)
        columns: Any = [
            pa.nulls(len(part)) if column.null_count == len(column) else column
            for column in part.columns
        ]
        parts.append(pa.table(columns, names=table.column_names))
    file = io.BytesIO()
    writer = ParquetWriter(file, table.schema, **options)
    writer.write_row_group(parts)
    writer.close()
    assert file.getvalue() == written(table, **options)


def test_a_column_without_values_takes_few_bytes() -> None:
    rows = 1000

    def size_bytes(columns: int) -> int:
        names = [f"{n:02}" for n in range(columns)]
        parts = [pa.table([pa.nulls(rows, pa.string())] * columns, names=names)] * 50
        return len(written(*parts))

    # A page, its index, and the footer's part of each of 50 row groups.
    assert (size_bytes(11) - size_bytes(1)) / 10 / 50 < 140


@given(tables(), st.integers(1, 500))
def test_metadata_is_true(table: pa.Table, size: int) -> None:
    check_metadata(written(table, row_group_size=size, bloom_filters=()), as_read(table))


def value_bytes(kind: pa.DataType, values: Any) -> list[Any]:
    """Values that compare as Parquet's do."""
    if pa.types.is_string(kind):
        return [value.encode() for value in values.to_pylist() if value is not None]
    return [value for value in values.cast(pa.int64()).to_pylist() if value is not None]


def decoded(kind: pa.DataType, value: bytes) -> Any:
    if pa.types.is_string(kind):
        value.decode()  # what was cut is still a text
        return value
    return struct.unpack("<i" if pa.types.is_int32(kind) else "<q", value)[0]


def check_metadata(data: bytes, table: pa.Table) -> None:
    """Compare footer and page index with the pages, and both with the rows."""
    row = 0
    found = footer(data)
    assert found[3] == table.num_rows
    for group in found[4]:
        assert group[6] == sum(chunk[3][7] for chunk in group[1])
        for place, chunk in enumerate(group[1]):
            rows = table.column(place).slice(row, group[3])
            check_statistics(chunk[3], rows)
            check_index(data, chunk, rows)
        row += group[3]
    assert row == table.num_rows


def check_statistics(metadata: dict[int, Any], rows: "pa.ChunkedArray[Any]") -> None:
    statistics = metadata[12]
    values = value_bytes(rows.type, rows)
    assert metadata[5] == len(rows)
    assert statistics[3] == len(rows) - len(values)
    assert (5 in statistics) == (6 in statistics) == bool(values)
    if values:
        greatest, least = decoded(rows.type, statistics[5]), decoded(rows.type, statistics[6])
        assert least <= min(values) <= max(values) <= greatest
        assert statistics[7] == (greatest == max(values))
        assert statistics[8] == (least == min(values))
        long = isinstance(least, bytes) and len(max(min(values), max(values), key=len)) > 64
        assert long or (statistics[7] and statistics[8])


def check_index(data: bytes, chunk: dict[int, Any], rows: "pa.ChunkedArray[Any]") -> None:
    places = struct_at(data, chunk[4], chunk[5])[1]
    index = struct_at(data, chunk[6], chunk[7])
    data_pages = [page for page in pages(data, chunk[3]) if page.kind == 0]
    assert [(place[1], place[2]) for place in places] == [
        (page.offset, page.size_bytes) for page in data_pages
    ]
    row = 0
    lower, upper = [], []
    for number, page in enumerate(data_pages):
        assert places[number][3] == row
        values = value_bytes(rows.type, rows.slice(row, page.values))
        row += page.values
        assert index[5][number] == page.values - len(values)
        assert index[1][number] == (not values)
        if values:
            lower.append(decoded(rows.type, index[2][number]))
            upper.append(decoded(rows.type, index[3][number]))
            assert lower[-1] <= min(values) <= max(values) <= upper[-1]
    assert row == len(rows)
    if index[4] == 1:
        assert lower == sorted(lower)
        assert upper == sorted(upper)
    if index[4] == 2:
        assert lower == sorted(lower)[::-1]
        assert upper == sorted(upper)[::-1]


@pytest.fixture(scope="module")
def large() -> pa.Table:
    return large_table()


@pytest.mark.parametrize("codec", CODECS)
def test_large_table(large: pa.Table, codec: Compression, tmp_path: Path) -> None:
    data = written(large, compression=codec)
    assert by_arrow(data).equals(large)
    assert pl.read_parquet(data).to_arrow().cast(large.schema).equals(large)
    path = tmp_path / "large.parquet"
    path.write_bytes(data)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    found = connection.sql(f"SELECT * FROM '{path}'").to_arrow_table()
    assert found.cast(large.schema).equals(large)


def test_large_table_is_indexed(large: pa.Table) -> None:
    data = written(large)
    check_metadata(data, large)
    chunks = footer(data)[4][0][1]
    counts = {
        chunk[3][3][0].decode(): len([p for p in pages(data, chunk[3]) if p.kind == 0])
        for chunk in chunks
    }
    assert counts["one"] == counts["none"] == counts["empty"] == 1
    assert counts["few"] == counts["random"] == -(-(128 << 10) // PAGE_ROWS)


def test_dictionary_or_not(large: pa.Table) -> None:
    group = pq.read_metadata(io.BytesIO(written(large))).row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    assert {c.path_in_schema for c in columns if c.has_dictionary_page} == {
        *("few", "one", "empty", "null_stretches", "null_page", "extreme", "runs", "long")
    }


def test_long_texts_make_pages_of_few_rows() -> None:
    table = long_texts()
    data = written(table)
    assert by_arrow(data).equals(table)
    check_metadata(data, table)
    (chunk,) = footer(data)[4][0][1]
    found = [page.values for page in pages(data, chunk[3])]
    assert max(found) == 17
    assert len(found) > 17


@pytest.mark.parametrize(
    ("text", "least", "greatest"),
    [
        ("a" * 64, "a" * 64, "a" * 64),
        ("a" * 65, "a" * 64, "a" * 63 + "b"),
        ("a" * 63 + "\u00e9x", "a" * 63, "a" * 62 + "b"),
        ("a" * 63 + "\x7fx", "a" * 63 + "\x7f", "a" * 62 + "b"),
        ("a" * 61 + "\ud7ffx", "a" * 61 + "\ud7ff", "a" * 61 + "\ue000"),
        ("a" * 60 + "\U0010ffff" * 2, "a" * 60 + "\U0010ffff", "a" * 59 + "b"),
        ("\U0010ffff" * 17, "\U0010ffff" * 16, "\U0010ffff" * 17),
    ],
    ids=[
        "not cut",
        "cut",
        "no half character",
        "a longer successor",
        "no surrogate",
        "no successor",
        "none has a successor",
    ],
)
def test_cut_bounds(text: str, least: str, greatest: str) -> None:
    table = pa.table({"t": [text]})
    data = written(table)
    check_metadata(data, table)
    statistics = footer(data)[4][0][1][0][3][12]
    assert (statistics[6].decode(), statistics[5].decode()) == (least, greatest)
    assert (statistics[8], statistics[7]) == (least == text, greatest == text)


def test_duckdb_sees_the_statistics(large: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    path.write_bytes(written(large))
    found: Any = duckdb.sql(
        "SELECT row_group_id, stats_min_value, stats_max_value, stats_null_count "
        f"FROM parquet_metadata('{path}') WHERE path_in_schema = 'extreme' ORDER BY ALL"
    )
    bounds = (str(-(2**63)), str(2**63 - 1), 0)
    assert found.fetchall() == [(0, *bounds), (1, *bounds)]


def test_clickhouse_reads_it(large: pa.Table, tmp_path: Path) -> None:
    chdb = pytest.importorskip("chdb")
    path = tmp_path / "large.parquet"
    path.write_bytes(written(large, sort_by=["few"], bloom_filters=["few"]))
    text = large["few"][77].as_py()
    query = f"SELECT count(), sum(random) FROM file('{path}') WHERE few = '{text}'"
    matching = large.filter(pc.equal(large["few"], text))
    sums = [matching.num_rows, pc.sum(matching["random"]).as_py()]
    assert str(chdb.query(query, "CSV")).strip() == ",".join(map(str, sums))
    assert sums[0] > 0


def test_bloom_filter_knows_every_text(large: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    path.write_bytes(written(large, bloom_filters=["distinct", "few"]))
    connection = duckdb.connect()
    chance = random.Random(1)
    absent = 0
    for name in ("distinct", "few"):
        texts = large[name].to_pylist()
        groups_texts = [set(texts[start : start + 131_072]) for start in (0, 131_072)]
        for text in chance.sample(texts, 40):
            probe = f"SELECT * FROM parquet_bloom_probe('{path}', '{name}', '{text}')"
            groups = {row[1]: row[2] for row in connection.execute(probe).fetchall()}
            # True means that the row group can be left out.
            assert not any(groups[n] and text in there for n, there in enumerate(groups_texts))
        for number in range(100):
            probe = f"SELECT * FROM parquet_bloom_probe('{path}', '{name}', '10.9.9.{number}x')"
            absent += sum(bool(row[2]) for row in connection.execute(probe).fetchall())
    assert absent > 380  # of 400, 1 % of which may seem to be there


def test_many_row_groups_and_batches() -> None:
    table = pa.table({"n": pa.array(range(1000), pa.int32()), "t": [str(n) for n in range(1000)]})
    data = written(*[table.slice(start, 10) for start in range(0, 1000, 10)], row_group_size=3)
    assert by_arrow(data).equals(table)
    metadata = pq.read_metadata(io.BytesIO(data))
    assert metadata.num_row_groups == 400
    check_metadata(data, table)


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_a_writer_gives_its_buffers_back_at_once(compression: Compression) -> None:
    table = pa.table({"n": pa.array([1, 2], pa.int32()), "t": pa.array([None, None], pa.string())})
    gc.disable()  # Garbage of few objects waits long for it, whatever their size.
    try:
        writer = ParquetWriter(io.BytesIO(), table.schema, compression=compression)
        writer.write_table(table)
        writer.close()
        kept = weakref.ref(writer)
        del writer
        assert kept() is None
    finally:
        gc.enable()


def test_a_file_without_rows() -> None:
    table = pa.table({"n": pa.array([], pa.int32()), "t": pa.array([], pa.string())})
    assert by_arrow(written(table)).equals(table)


def test_record_batches_are_rows_too() -> None:
    batch = pa.record_batch({"t": ["a", None, "b"]})
    file = io.BytesIO()
    writer = ParquetWriter(file, batch.schema, created_by="flowconv version 1.2.3")
    writer.write_table(batch)
    writer.close()
    writer.close()
    assert by_arrow(file.getvalue()).to_batches() == [batch]
    assert pq.read_metadata(io.BytesIO(file.getvalue())).created_by == "flowconv version 1.2.3"


TEXTS = ["a", "bb", "", "ccc", "a", "dd"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([TEXTS, ["a", "bb", "", "ccd"], ["a", "b", "b"], ["bb", "a"]]),
            st.integers(1, 6),
            st.integers(0, 2),
            st.sampled_from([pa.string(), pa.large_string()]),
            st.lists(st.none() | st.integers(0, 99), max_size=5),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_dictionaries_that_begin_alike(parts: list[Any]) -> None:
    chunks: list[Any] = []
    for texts, count, skipped, kind, numbers in parts:
        dictionary = pa.array(["x"] * skipped + texts[:count], kind)[skipped:]
        indices = [None if n is None else n % len(dictionary) for n in numbers]
        chunks.append(pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), dictionary))
    plain = pa.table({"x": pa.array([text for chunk in chunks for text in chunk.to_pylist()])})
    plain = plain.cast(pa.schema([("x", pa.string())]))
    file = io.BytesIO()
    writer = ParquetWriter(file, plain.schema)
    writer.write_row_group([pa.table({"x": chunk}) for chunk in chunks])
    writer.close()
    assert file.getvalue() == written(plain)


def test_a_dictionary_with_nulls_and_repetition() -> None:
    indices = pa.array([0, 1, 2, None, 3], pa.int32())
    array = pa.DictionaryArray.from_arrays(indices, pa.array(["a", None, "a", "b"]))
    found = by_arrow(written(pa.table({"t": array})))
    assert found["t"].to_pylist() == ["a", None, "a", None, "b"]


def test_an_index_beyond_its_dictionary() -> None:
    buffers = [None, pa.py_buffer(struct.pack("<2i", 0, 5))]
    indices = pa.Array.from_buffers(pa.int32(), 2, buffers)
    array = pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)
    with pytest.raises(ValueError, match="beyond its dictionary"):
        written(pa.table({"t": array}))


def test_what_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="column x: list"):
        ParquetWriter(io.BytesIO(), pa.schema([("x", pa.list_(pa.int32()))]))
    schema = pa.schema([("x", pa.int32())])
    with pytest.raises(TypeError, match="no Bloom filter"):
        ParquetWriter(io.BytesIO(), schema, bloom_filters=["x"])
    with pytest.raises(KeyError, match="no column y"):
        ParquetWriter(io.BytesIO(), schema, sort_by=["y"])
    with pytest.raises(ValueError, match="the columns y, but the file has x"):
        ParquetWriter(io.BytesIO(), schema).write_table(pa.table({"y": [1]}))
