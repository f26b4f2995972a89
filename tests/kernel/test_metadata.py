"""Parquet's footers and page headers, read by the native core: the same as Arrow reads."""

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowconv.blocks.parquet_footer import read_footer
from flowconv.kernel import metadata
from support.shapes import parquet

TABLE = pa.table(
    {
        "int": pa.array([1, None, 3], pa.int32()),
        "long": [1, 2, 3],
        "text": ["a", "b", None],
        "bytes": [b"a", b"\xff", None],
        "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
        "real": [1.5, None, 2.5],
        "yes": [True, False, None],
        "day": [dt.date(2026, 1, 14), None, None],
        "time": [dt.datetime(2026, 1, 14, tzinfo=dt.UTC)] * 3,
        "money": [Decimal("1.50"), None, None],
        "list": [[1], [], None],
        "struct": [{"a": 1, "b": {"c": ["x"]}}, None, None],
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "é": [1, 2, 3],
    }
)


def by_pyarrow(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=2, compression="gzip")


def by_polars(table: pa.Table, path: Path) -> None:
    frame: Any = pl.from_arrow(table.drop_columns(["map"]))
    frame.write_parquet(path, row_group_size=2)


def by_duckdb(table: pa.Table, path: Path) -> None:
    duckdb.from_arrow(table).write_parquet(str(path), compression="snappy")


@pytest.mark.parametrize("write", [by_pyarrow, by_polars, by_duckdb])
def test_footers(write: Callable[[pa.Table, Path], None], tmp_path: Path) -> None:
    write(TABLE, tmp_path / "a.parquet")
    with (tmp_path / "a.parquet").open("rb") as file:
        footer = read_footer(file)
    arrow = pq.ParquetFile(tmp_path / "a.parquet")
    expected: Any = arrow.metadata
    assert footer.rows == expected.num_rows
    assert footer.metadata == (expected.metadata or {})
    described = [expected.schema.column(place) for place in range(len(expected.schema))]
    assert [
        (c.name, c.physical_type, c.type_length, c.is_nested, c.may_be_null, c.is_text)
        for c in footer.columns
    ] == [
        (
            c.path,
            c.physical_type,
            c.length if c.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0,
            "." in c.path,
            c.max_definition_level == 1 if "." not in c.path else ours.may_be_null,
            c.logical_type.type == "STRING",
        )
        for c, ours in zip(described, footer.columns, strict=True)
    ]
    for group, number in zip(footer.groups, range(expected.num_row_groups), strict=True):
        of_arrow = expected.row_group(number)
        assert (group.rows, group.size_bytes) == (of_arrow.num_rows, of_arrow.total_byte_size)
        for chunk, place in zip(group.chunks, range(of_arrow.num_columns), strict=True):
            column = of_arrow.column(place)
            assert (chunk.codec.upper(), chunk.values, chunk.start, chunk.size_bytes) == (
                column.compression,
                column.num_values,
                column.data_page_offset,
                column.total_compressed_size,
            )
            assert chunk.dictionary_start == (column.dictionary_page_offset or 0)


def test_columns_that_are_nested_too_deep() -> None:
    type_: Any = pa.int64()
    for _ in range(70):
        type_ = pa.struct([("a", type_)])
    body = parquet({"a": pa.nulls(1, type_)})
    with pytest.raises(ValueError, match="its columns are nested too deep"):
        read_footer(pa.BufferReader(body))  # type: ignore[arg-type]


def footer_bytes(body: bytes) -> bytes:
    return body[-8 - int.from_bytes(body[-8:-4], "little") : -8]


def test_damaged_footers() -> None:
    """Each is read, or is damaged; no shorter one is whole."""
    whole = footer_bytes(parquet({"a": [1, 2], "b": ["x", "y"]}))
    assert metadata.read_footer(whole).rows == 2
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"^the footer is damaged$"):
            metadata.read_footer(whole[:end])
    rng = random.Random(1)
    for _ in range(3000):
        changed = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            metadata.read_footer(bytes(changed))
        except ValueError as error:
            assert str(error) == "the footer is damaged"  # noqa: PT017


@pytest.mark.parametrize(
    "footer",
    [
        b"",
        b"\x15",
        b"\x29\x15\x02\x00",  # a list of numbers where structs belong
        b"\x1b\x00\x00",  # a map
        b"\x10\x00",  # a field of no type
        b"\x16" + b"\x80" * 10 + b"\x01\x00",
        b"\x1c" * 100,  # structs within structs
        b"\x29\xfc\xff\xff\xff\xff\x0f\x00",  # more parts than there are bytes
        b"\x28\x05abc",
    ],
)
def test_footers_that_cannot_be(footer: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the footer is damaged$"):
        metadata.read_footer(footer)


def test_page_headers() -> None:
    values = [n % 1000 for n in range(5000)]
    body = parquet({"a": values}, data_page_size=100, write_batch_size=10, compression="none")
    column: Any = pq.ParquetFile(pa.BufferReader(body)).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset
    stop = start + column.total_compressed_size
    read = list(metadata.read_page_headers(memoryview(body), start, stop, len(values)))
    dictionary, *pages = map(metadata.PageHeader._make, read)
    assert (dictionary.kind, dictionary.values, dictionary.encoding) == (2, 1000, 0)
    assert len(pages) > 64
    assert {(page.kind, page.encoding, page.levels) for page in pages} == {(0, 8, 3)}
    assert sum(page.values for page in pages) == len(values)
    assert pages[-1].start + pages[-1].packed_bytes == stop
    # One value more than its pages have, and an end before theirs.
    for stop_, count in ((stop, len(values) + 1), (stop - 1, len(values))):
        with pytest.raises(ValueError, match=r"^the header of a page is damaged$"):
            list(metadata.read_page_headers(memoryview(body), start, stop_, count))
