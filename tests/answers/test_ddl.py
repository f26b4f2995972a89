"""Statements for other engines: executed where an engine is at hand, otherwise read."""

import re
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from flowconv import ConvertOptions, UsageError, convert, ddl, scan
from flowconv.options import Dialect
from support.commands import USAGE, run
from support.lakes import Key, write_objects

Answer = list[tuple[Any, ...]]

VPC = b"account-id srcaddr start end bytes region\n"
TGW = b"resource-type account-id tgw-id start end packets\n"
ACCOUNT = "012345678901"


def object_key(name: str) -> Key:
    folder = f"AWSLogs/{ACCOUNT}/vpcflowlogs/eu-west-1/2026/01/14/"
    return Key(f"{folder}{ACCOUNT}_vpcflowlogs_eu-west-1_{name}.log")


@pytest.fixture(scope="module", params=["timestamp", "epoch"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of both tables, with a zero before its account, a quote in its name, and no start."""
    folder = tmp_path_factory.mktemp("o'lakes")
    write_objects(
        folder / "logs",
        {
            object_key("fl-1_20260114T0005Z_a"): VPC
            + f"{ACCOUNT} 10.0.0.1 1768348800 1768348860 7 eu-west-1\n".encode()
            + f"{ACCOUNT} 10.0.0.2 1768435200 1768435260 8 eu-west-1\n".encode(),
            object_key("fl-2_20260114T0005Z_b"): TGW
            + f"TransitGateway {ACCOUNT} tgw-1 1768348800 1768348860 9\n".encode(),
            Key("other.log"): b"srcaddr bytes reject-reason\n10.0.0.3 10 BPA\n",
        },
    )
    options = ConvertOptions(time_type=request.param)
    convert(str(folder / "logs"), str(folder / "lake"), options)
    return folder / "lake"


VPC_ANSWER: Answer = [
    ("012345678901", "2026-01-14", 1, 7),
    ("012345678901", "2026-01-15", 1, 8),
    (None, None, 1, 10),
]
TGW_ANSWER: Answer = [("012345678901", "2026-01-14", 1, 9)]


def asked(table: str, count: str) -> str:
    return (
        f"SELECT aws_account_id, CAST(date AS VARCHAR) AS day, count(*) AS n, sum({count}) AS s "
        f"FROM {table} GROUP BY aws_account_id, day ORDER BY aws_account_id NULLS LAST, day"
    )


def test_duckdb(lake: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(ddl(str(lake), "duckdb"))
        assert connection.sql(asked("vpc_flows", "bytes")).fetchall() == VPC_ANSWER
        assert connection.sql(asked("tgw_flows", "packets")).fetchall() == TGW_ANSWER
        columns = connection.sql('SELECT "end", reject_reason FROM vpc_flows').fetchall()
    assert sorted(reason or "" for _, reason in columns) == ["", "", "BPA"]


PAIRS = [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1"), ("10.0.0.1", "10.0.0.1")]
PAIRS += [("-", "10.0.0.1"), ("10.0.0.1", "-"), ("-", "-"), ("10.0.0.2", "10.0.0.3")]


@pytest.fixture(scope="module")
def lake_of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    lines = [f"{source} {target} {bytes_}" for bytes_, (source, target) in enumerate(PAIRS)]
    text = "\n".join(["srcaddr dstaddr bytes", *lines, ""])
    write_objects(folder / "logs", {Key("a.log"): text.encode()})
    convert(folder / "logs", folder / "lake")
    return folder / "lake"


def test_duckdb_rows_of_an_address(lake_of_pairs: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(ddl(lake_of_pairs, "duckdb"))
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"):
            rows = connection.execute("SELECT bytes FROM vpc_address(?) ORDER BY 1", [address])
            wanted = [(n,) for n, pair in enumerate(PAIRS) if address in pair]
            assert rows.fetchall() == wanted, address


def test_duckdb_looks_for_an_address_once_in_each_column(lake_of_pairs: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(ddl(lake_of_pairs, "duckdb"))
        asked = "EXPLAIN (FORMAT json) SELECT bytes FROM vpc_address('10.0.0.2')"
        plan = connection.execute(asked).fetchall()[0][1]
    # What the readers look for, as they read.
    readers = re.findall(r'"Filters": *(".*")', plan)
    assert [sorted(re.findall("srcaddr|dstaddr", reader)[:1]) for reader in readers] == [
        ["srcaddr"],
        ["dstaddr"],
    ]


def test_clickhouse(lake: Path) -> None:
    chdb = pytest.importorskip("chdb.session")
    session = chdb.Session()
    try:
        for statement in ddl(str(lake), "clickhouse").split(";\n"):
            if statement.strip():
                session.query(statement)

        def rows(query: str) -> list[tuple[Any, ...]]:
            query = query.replace("VARCHAR", "Nullable(String)")
            text = str(session.query(query, "TabSeparated"))
            null = {"\\N": None}
            return [
                (null.get(a, a), null.get(day, day), int(n), int(total))
                for a, day, n, total in (line.split("\t") for line in text.splitlines())
            ]

        assert rows(asked("vpc_flows", "bytes")) == VPC_ANSWER
        assert rows(asked("tgw_flows", "packets")) == TGW_ANSWER
    finally:
        session.close()


def test_polars(lake: Path) -> None:
    made: dict[str, Any] = {}
    exec(ddl(str(lake), "polars"), made)
    for name, table in (("vpc_flows", "vpc"), ("tgw_flows", "tgw")):
        frame: pl.LazyFrame = made[name]
        wanted = scan(lake, table=table)
        assert frame.collect_schema() == wanted.collect_schema()
        assert frame.collect().sort(pl.all()).equals(wanted.collect().sort(pl.all()))


def columns_of(statement: str, quote: str) -> list[str]:
    return re.findall(rf"^  {quote}(\w+){quote} \w", statement, re.MULTILINE)


@pytest.mark.parametrize(("dialect", "quote"), [("athena", "`"), ("spark", "`"), ("trino", '"')])
def test_hive_tables_have_every_column_once_and_partitions_last(
    lake: Path, dialect: Dialect, quote: str
) -> None:
    text = ddl(str(lake), dialect, location="s3://my-lake/flows/")
    for table in ("vpc", "tgw"):
        (statement,) = re.findall(rf"^CREATE [^;]*\b{table}_flows[^;]*;", text, re.MULTILINE)
        assert columns_of(statement, quote) == scan(lake, table=table).collect_schema().names()
        scheme = "s3a" if dialect == "spark" else "s3"
        assert f"'{scheme}://my-lake/flows/{table}" in statement


def test_spark_repairs_tables_that_have_files(sample_lake: Path) -> None:
    """It refuses to repair one whose folder is not there."""
    lines = ddl(str(sample_lake), "spark").splitlines()
    repairs = [line for line in lines if "MSCK REPAIR" in line]
    assert repairs == [
        "MSCK REPAIR TABLE `vpc_flows`;",
        "-- When it has files, after each run: MSCK REPAIR TABLE `tgw_flows`",
    ]


def test_athena_computes_partitions(lake: Path) -> None:
    text = ddl(str(lake), "athena", location="s3://my-lake/flows")
    for line in (
        "  `date` string",
        "  `aws_account_id` string,",
        "  'projection.aws_account_id.type' = 'injected',",
        "  'projection.date.format' = 'yyyy-MM-dd',",
        "  'projection.date.range' = '2026-01-14,NOW'",
        "-- Every query says which it reads: WHERE aws_account_id = '…' AND aws_region = '…'",
    ):
        assert text.splitlines().count(line) == 2
    assert "MSCK" not in text


def test_other_partitions(tmp_path: Path) -> None:
    lines = b"vpc-id start bytes\nvpc-1 1768348800 7\n"
    write_objects(tmp_path / "logs", {Key("a.log"): lines})
    options = ConvertOptions(partition_by=("vpc_id", "date", "hour"))
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    text = ddl(str(tmp_path / "lake"), "athena", location="s3://b")
    assert "'projection.aws_vpc_id.type' = 'injected'" in text
    assert "'projection.hour.type' = 'integer'" in text
    assert "'projection.hour.digits' = '2'" in text
    with duckdb.connect() as connection:
        connection.execute(ddl(str(tmp_path / "lake"), "duckdb"))
        rows = connection.sql("SELECT aws_vpc_id, hour, vpc_id FROM vpc_flows").fetchall()
        assert rows == [("vpc-1", "00", "vpc-1")]
        with pytest.raises(duckdb.CatalogException):  # There is no such folder to look into.
            connection.sql("SELECT 1 FROM tgw_flows")


def test_athena_reads_s3_only(lake: Path) -> None:
    with pytest.raises(UsageError, match="Athena reads S3 only"):
        ddl(str(lake), "athena")


def test_unknown_dialect(lake: Path) -> None:
    result = run("ddl", lake, "--dialect", "duckbd", code=USAGE)
    assert "Did you mean duckdb?" in result.output


def test_command(lake: Path) -> None:
    assert run("ddl", lake, "--dialect", "spark").stdout == ddl(str(lake), "spark")


def test_command_says_that_there_is_no_file(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"srcaddr start\n"})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    result = run("ddl", tmp_path / "lake", "--dialect", "duckdb")
    assert (result.stdout, result.stderr) == ("", "The lake has no files yet.\n")


def test_location_with_control_characters(lake: Path) -> None:
    with pytest.raises(UsageError, match="has characters that no statement can hold"):
        ddl(str(lake), "duckdb", location="/lake\n; DROP TABLE x")
