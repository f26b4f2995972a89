"""Readers that know nothing of flowconv find one schema without an option, whatever logs had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

import flowconv
from flowconv import ConvertOptions
from flowconv.fields import Table
from flowconv.rows.schema import table_schema
from support.lakes import ROW, V2, aws_key, write_objects

COLUMNS = table_schema(Table.VPC).names
PARTITIONS = ["aws_account_id", "aws_region", "date"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of logs of version 2, with late fields, with a field nobody knows, without a time."""
    folder = tmp_path_factory.mktemp("plain")
    bodies = [
        V2 + ROW,
        b"start dstport ecs-cluster-name reject-reason\n1768348800 443 c BPA\n",
        b"start dstport next-year\n1768348800 443 x\n",
        b"srcaddr dstport\n10.0.0.1 443\n",
    ]
    options = ConvertOptions(workers=1, allow_unknown_fields=("next-year",))
    for number, body in enumerate(bodies):  # Each gets a file of its own.
        key = aws_key("012345678901", hash_=f"0000000{number}")
        write_objects(folder / "logs", {key: body})
        assert flowconv.convert(str(folder / "logs"), str(folder / "lake"), options).complete
    return folder / "lake"


def facts(rows: list[dict[str, Any]]) -> tuple[int, int, list[Any], set[str]]:
    """What every reader must find: rows, the sum of ports, a rare column, and accounts as text."""
    reasons = sorted({row["reject_reason"] for row in rows} - {None})
    accounts = {str(row["aws_account_id"]).zfill(12) for row in rows}
    return len(rows), sum(int(row["dstport"]) for row in rows), reasons, accounts


EXPECTED = (4, 49152 + 3 * 443, ["BPA"], {"012345678901"})


def test_polars(lake: Path) -> None:
    frame = pl.scan_parquet(f"{lake}/vpc/").collect()
    assert frame.columns == [*COLUMNS, *PARTITIONS]
    assert facts(frame.to_dicts()) == EXPECTED


def test_pyarrow(lake: Path) -> None:
    dataset = ds.dataset(lake / "vpc", partitioning="hive")
    assert dataset.schema.names == [*COLUMNS, *PARTITIONS]
    assert facts(dataset.to_table().to_pylist()) == EXPECTED


def test_pandas(lake: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(lake / "vpc")
    assert list(frame.columns) == [*COLUMNS, *PARTITIONS]
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert facts(rows) == EXPECTED


def test_duckdb(lake: Path) -> None:
    with duckdb.connect() as connection:
        found = connection.sql(f"FROM read_parquet('{lake}/vpc/**/*.parquet')")
        assert sorted(found.columns) == sorted([*COLUMNS, *PARTITIONS])
        assert facts(found.to_arrow_table().to_pylist()) == EXPECTED


def test_deltalake(lake: Path) -> None:
    import deltalake

    (table,) = flowconv.register(str(lake), "delta").tables
    found = deltalake.DeltaTable(table.address).to_pyarrow_table()
    assert found.column_names == [*COLUMNS, *PARTITIONS]
    assert facts(found.to_pylist()) == EXPECTED


def test_pyiceberg(lake: Path) -> None:
    from pyiceberg.table import StaticTable

    (table,) = flowconv.register(str(lake), "iceberg").tables
    found = StaticTable.from_metadata(table.address).scan().to_arrow()
    assert found.column_names == [*COLUMNS, *PARTITIONS]
    assert facts(found.to_pylist()) == EXPECTED
