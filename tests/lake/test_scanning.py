"""Lakes as people query them: polars, DuckDB, pyarrow and flowconv.scan, which must agree."""

import gzip
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from flowconv import ConvertOptions, FlowconvError, convert, scan
from flowconv.errors import LakeError, UsageError
from flowconv.lake import ledger
from oracle import reference
from support.lakes import ROW, V2, Key, aws_key, data_files, write_objects

NULL = "__HIVE_DEFAULT_PARTITION__"
FIELDS = {name.replace("-", "_"): kind for name, kind in reference.VPC.items()}
COLUMNS = [*FIELDS, "flow_log_id", "unknown_fields"]
PARTITIONS = ["aws_account_id", "aws_region", "date"]


def make_lake(folder: Path, objects: dict[Key, bytes], **options: Any) -> Path:
    write_objects(folder / "logs", objects)
    convert(str(folder / "logs"), str(folder / "lake"), ConvertOptions(**options))
    return folder / "lake"


def duckdb_rows(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.sql(query).fetchall()


# --- the same answer, whoever is asked ----------------------------------------------------------

Answer = tuple[int, int, int, datetime, dict[date, int]]


@pytest.fixture(scope="module")
def answer(sample_logs: Path) -> Answer:
    """Rows, bytes, null ports, last end and starts per day of the sample logs, by the oracle."""
    rows = [
        reference.table_row(row, "timestamp")
        for path in sample_logs.rglob("*.log.gz")
        for row in reference.read_object(path.read_bytes()).rows
    ]
    ends = [end for row in rows if isinstance(end := row["end"], datetime)]
    days = Counter(start.date() for row in rows if isinstance(start := row["start"], datetime))
    assert len(rows) > sum(days.values()) > 0  # Some logs have no start.
    return (
        len(rows),
        sum(value for row in rows if isinstance(value := row["bytes"], int)),
        sum(row["srcport"] is None for row in rows),
        max(ends),
        dict(days),
    )


def ask_polars(frame: pl.LazyFrame) -> Answer:
    totals = frame.select(
        pl.len(), pl.sum("bytes"), pl.col("srcport").is_null().sum(), pl.max("end")
    )
    rows, bytes_, nulls, last = totals.collect().row(0)
    days = frame.group_by("date").agg(pl.count("start")).collect().rows()
    return rows, bytes_, nulls, last, dict(days)


def test_plain_polars(sample_lake: Path, answer: Answer) -> None:
    frame = pl.scan_parquet(f"{sample_lake}/vpc/")
    assert frame.collect_schema().names() == COLUMNS + PARTITIONS
    assert ask_polars(frame) == answer


def test_scan(sample_lake: Path, answer: Answer) -> None:
    assert ask_polars(scan(str(sample_lake))) == answer


def test_duckdb(sample_lake: Path, answer: Answer) -> None:
    table = f"read_parquet('{sample_lake}/vpc/**/*.parquet', hive_partitioning=true)"
    ((rows, bytes_, nulls, last),) = duckdb_rows(
        "select count(*), sum(bytes), count(*) filter (srcport is null), epoch(max(\"end\")) "
        f"from {table}"
    )  # fmt: skip
    days = duckdb_rows(f"select date, count(start) from {table} group by all")
    assert (rows, bytes_, nulls, datetime.fromtimestamp(last, UTC), dict(days)) == answer


def test_pyarrow(sample_lake: Path, answer: Answer) -> None:
    dataset = ds.dataset(f"{sample_lake}/vpc", format="parquet", partitioning="hive")
    table = dataset.to_table()
    assert table.column_names == COLUMNS + PARTITIONS
    days = {
        date.fromisoformat(str(day)): pc.count(
            table.filter(ds.field("date") == day)["start"]
        ).as_py()
        for day in set(table["date"].to_pylist())
    }
    frame = pl.DataFrame(table.select(COLUMNS))
    assert (
        table.num_rows,
        frame["bytes"].sum(),
        frame["srcport"].null_count(),
        frame["end"].max(),
        days,
    ) == answer


def test_all_values_are_the_same(sample_lake: Path) -> None:
    plain = pl.scan_parquet(f"{sample_lake}/vpc/").select(COLUMNS).collect()
    scanned = scan(str(sample_lake)).select(COLUMNS).collect()
    arrow = pl.DataFrame(ds.dataset(f"{sample_lake}/vpc", format="parquet").to_table())
    files = pl.concat(
        pl.read_parquet(path, hive_partitioning=False) for path in data_files(sample_lake)
    )
    every = pl.all()
    for frame in (plain, scanned, arrow.select(COLUMNS)):
        assert frame.sort(every).equals(files.sort(every))


# --- flowconv.scan ------------------------------------------------------------------------------


def test_scan_knows_the_types(sample_lake: Path) -> None:
    schema = scan(str(sample_lake)).collect_schema()
    time = pl.Datetime("us", "UTC")
    kinds = {"int32": pl.Int32(), "int64": pl.Int64(), "time": time}
    assert dict(schema) == {
        name: kinds.get(FIELDS.get(name, ""), pl.String()) for name in COLUMNS
    } | {"aws_account_id": pl.String(), "aws_region": pl.String(), "date": pl.Date()}


def sample_partitions(lake: Path) -> list[dict[str, str]]:
    return [
        dict(part.split("=", 1) for part in path.relative_to(lake).parts[1:-1])
        for path in data_files(lake)
    ]


@pytest.mark.parametrize(
    "chosen",
    [
        {"since": date(2026, 1, 15)},
        {"until": date(2026, 1, 14)},
        {"since": date(2026, 1, 14), "until": date(2026, 1, 14)},
        {"accounts": 1},
        {"regions": ["us-east-1"]},
        {"accounts": 1, "regions": ["eu-west-1"], "since": date(2026, 1, 15)},
        {"regions": []},
        {"regions": ["mars-north-1"]},
        {"since": date(2030, 1, 1)},
    ],
    ids=str,
)
def test_scan_reads_only_the_partitions_asked_for(
    sample_lake: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    accounts = sorted({p["aws_account_id"] for p in sample_partitions(sample_lake)})
    assert accounts[0].startswith("0")
    if "accounts" in chosen:
        chosen = chosen | {"accounts": accounts[: chosen["accounts"]]}
    lake = tmp_path / "lake"
    shutil.copytree(sample_lake, lake)
    expected = 0
    for path, partition in zip(data_files(lake), sample_partitions(lake), strict=True):
        day = date.fromisoformat(partition["date"])
        if (
            chosen.get("since", day) <= day <= chosen.get("until", day)
            and partition["aws_account_id"] in chosen.get("accounts", accounts)
            and partition["aws_region"] in chosen.get("regions", [partition["aws_region"]])
        ):
            expected += pq.read_metadata(path).num_rows
        else:
            path.write_bytes(b"no Parquet")
    frame = scan(str(lake), **chosen)
    assert frame.collect_schema() == scan(str(sample_lake)).collect_schema()
    assert frame.select(pl.len()).collect().item() == expected
    if "regions" not in chosen and chosen != {"since": date(2030, 1, 1)}:
        assert expected > 0


def test_scan_keeps_leading_zeros(sample_lake: Path) -> None:
    accounts = scan(str(sample_lake)).select("aws_account_id").unique().collect().to_series()
    named = {partition["aws_account_id"] for partition in sample_partitions(sample_lake)}
    assert set(accounts) == named
    assert any(account.startswith("0") for account in named)
    zero = min(named)
    frame = scan(str(sample_lake)).filter(pl.col("aws_account_id") == zero)
    ids = frame.select(pl.col("account_id").drop_nulls().unique()).collect().to_series()
    assert set(ids) == {zero}


def test_scan_where_nothing_was_written(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, {aws_key(): V2})
    frame = scan(str(lake))
    assert frame.collect_schema().names() == COLUMNS + PARTITIONS
    assert frame.collect().height == 0
    assert scan(str(lake), table="tgw").collect().height == 0


def test_scan_refuses_what_cannot_be(tmp_path: Path, sample_lake: Path) -> None:
    by_account = make_lake(tmp_path, {aws_key(): V2 + ROW}, partition_by=("aws_account_id",))
    cases: list[tuple[type[FlowconvError], str, Callable[[], object]]] = [
        (LakeError, "not a flowconv lake", lambda: scan(str(tmp_path / "logs"))),
        (LakeError, "not a flowconv lake", lambda: scan(str(tmp_path / "nowhere"))),
        (LakeError, "not by date", lambda: scan(str(by_account), since=date(2026, 1, 1))),
        (LakeError, "not by aws_region", lambda: scan(str(by_account), regions=["x"])),
        (UsageError, "'flows' is not a table", lambda: scan(str(sample_lake), table="flows")),
    ]
    for kind, message, call in cases:
        with pytest.raises(kind, match=message):
            call()
    assert scan(str(by_account), accounts=["123456789012"]).collect().height == 1


# --- mixed, nameless and hostile logs -----------------------------------------------------------

LATER = b"srcaddr new-field ecs-task-id srcport instance-tag\n10.0.0.9 x task 80 a%20b\n"
TGW = b"version tgw-id account-id bytes start\n6 tgw-1 000000000007 5 1768348800\n"


@pytest.fixture(scope="module")
def mixed_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2, later and unknown fields, and transit gateway logs, in one prefix."""
    folder = tmp_path_factory.mktemp("mixed")
    objects = {
        aws_key(): gzip.compress(V2 + ROW),
        aws_key(flow_log_id="fl-0fffffffffffffff2"): gzip.compress(LATER),
        aws_key(flow_log_id="fl-0fffffffffffffff3"): gzip.compress(TGW),
    }
    return make_lake(folder, objects)


def test_scan_of_mixed_logs(mixed_lake: Path) -> None:
    frame = scan(str(mixed_lake)).sort("srcaddr")
    assert frame.collect_schema().names() == COLUMNS + PARTITIONS
    picked = ["srcaddr", "srcport", "version", "ecs_task_id", "instance_tag", "flow_log_id"]
    assert frame.select(picked).collect().rows() == [
        ("10.0.0.1", 443, 2, None, None, aws_key().flow_log_id),
        ("10.0.0.9", 80, None, "task", "a b", "fl-0fffffffffffffff2"),
    ]
    tgw = scan(str(mixed_lake), table="tgw")
    tgw_columns = [*(name.replace("-", "_") for name in reference.TGW), *COLUMNS[-2:]]
    assert tgw.collect_schema().names() == tgw_columns + PARTITIONS
    assert tgw.select("tgw_id", "account_id", "bytes").collect().rows() == [
        ("tgw-1", "000000000007", 5)
    ]


def test_scan_unfolds_unknown_fields(tmp_path: Path) -> None:
    odd = b"srcaddr x-1 X-1 date action version\n"
    odd += b'10.0.0.1 "a\\b \xc3\xa9 - - -\n10.0.0.2 - \x01 monday - -\n'
    lake = make_lake(tmp_path, {Key("a.log"): odd, Key("b.log"): V2 + ROW})
    frame = scan(str(lake), unknown_fields=["X-1", "x-1", "none"]).sort("srcaddr", "x-1")
    assert frame.collect_schema().names() == [*COLUMNS, *PARTITIONS, "X-1", "x-1", "none"]
    assert frame.select("srcaddr", "x-1", "X-1", "none").collect().rows() == [
        ("10.0.0.1", None, None, None),
        ("10.0.0.1", '"a\\b', "é", None),
        ("10.0.0.2", None, "\x01", None),
    ]
    assert frame.filter(pl.col("X-1") == "é").select(pl.len()).collect().item() == 1
    texts = scan(str(lake)).select("unknown_fields").sort("unknown_fields").collect().to_series()
    assert [text and json.loads(text) for text in texts] == [
        None,
        {"X-1": "\x01", "date": "monday"},
        {"x-1": '"a\\b', "X-1": "é"},
    ]


def test_what_scan_cannot_unfold(sample_lake: Path) -> None:
    with pytest.raises(UsageError, match="'src-addr' is known, and is the column srcaddr"):
        scan(sample_lake, unknown_fields="src-addr")
    with pytest.raises(UsageError, match="'a b' is not the name of a field"):
        scan(sample_lake, unknown_fields=["a b"])
    with pytest.raises(TypeError, match="unknown_fields"):
        scan(sample_lake, unknown_fields=5)  # type: ignore[arg-type]


def test_plain_readers_read_mixed_logs(mixed_lake: Path) -> None:
    """Every file has the same columns, so no reader needs an option."""
    expected = [("10.0.0.1", None, None), ("10.0.0.9", "task", '{"new-field":"x"}')]
    picked = ["srcaddr", "ecs_task_id", "unknown_fields"]
    plain = pl.scan_parquet(f"{mixed_lake}/vpc/")
    assert plain.collect_schema().names() == COLUMNS + PARTITIONS
    assert plain.select(picked).sort("srcaddr").collect().rows() == expected
    glob = f"'{mixed_lake}/vpc/**/*.parquet'"
    assert duckdb_rows(f"select {', '.join(picked)} from {glob} order by srcaddr") == expected
    dataset = ds.dataset(f"{mixed_lake}/vpc", format="parquet", partitioning="hive")
    for table in (dataset.to_table(picked), pq.read_table(f"{mixed_lake}/vpc", columns=picked)):
        assert sorted(zip(*table.to_pydict().values(), strict=True)) == expected


def test_null_partitions(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, {Key("a.log"): b"srcaddr start\n10.0.0.1 -\n10.0.0.2 1768348800\n"})
    directories = [path.parent.relative_to(lake).as_posix() for path in data_files(lake)]
    nowhere = f"vpc/aws_account_id={NULL}/aws_region={NULL}/date="
    assert directories == [f"{nowhere}2026-01-14", f"{nowhere}{NULL}"]
    picked = ["srcaddr", *PARTITIONS]
    expected = [("10.0.0.1", None, None, None), ("10.0.0.2", None, None, date(2026, 1, 14))]
    assert scan(str(lake)).select(picked).sort("srcaddr").collect().rows() == expected
    plain = pl.scan_parquet(f"{lake}/vpc/").select(picked)
    assert plain.sort("srcaddr").collect().rows() == expected
    glob = f"read_parquet('{lake}/vpc/**/*.parquet', hive_partitioning=true)"
    assert duckdb_rows(f"select {', '.join(picked)} from {glob} order by srcaddr") == expected
    for frame in (
        scan(str(lake), since=date(2026, 1, 1)),
        scan(str(lake), until=date(2026, 12, 31)),
    ):
        assert frame.select("srcaddr").collect().rows() == [("10.0.0.2",)]
    assert scan(str(lake), accounts=["000000000001"]).collect().height == 0


HOSTILE = ["..", ".", "../../x", "/etc/passwd", "a=b", "%2e%2e", "%", "*", "[a]", "?", "{x}", "~"]
HOSTILE += [
    "a\0b",
    "é",
    "日本",
    "\\",
    '"',
    "'",
    "$HOME",
    "-x",
    NULL,
    "CON",
    "a:b",
    "\x01",
    "a" * 200,
]


def test_hostile_partition_values(tmp_path: Path) -> None:
    values = [*HOSTILE, "b" * 201, "日" * 23]  # The last is 69 bytes, and 207 encoded.
    body = b"srcaddr interface-id\n" + b"".join(f"{v} {v}\n".encode() for v in values)
    lake = make_lake(tmp_path, {Key("a.log"): body}, partition_by=("interface_id",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "logs"]
    directories = {path.parent for path in data_files(lake)}
    assert {directory.parent for directory in directories} == {lake / "vpc"}
    assert all(len(directory.name) <= len("aws_interface_id=") + 200 for directory in directories)
    frame = scan(str(lake)).select("srcaddr", "aws_interface_id").collect()
    assert len(frame) == len(values)
    # What is too long for a directory's name, or is called as Hive's null, reads as null.
    lost = {NULL, "b" * 201, "日" * 23}
    assert dict(frame.rows()) == {value: None if value in lost else value for value in values}


@pytest.mark.parametrize(
    "name",
    [
        *("with space", "star*", "per%20cent", "é", "x=y", "[brackets]"),
    ],
)
def test_odd_names_of_lakes(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    lake = make_lake(folder, {aws_key(): V2 + ROW})
    frame = scan(str(lake)).collect()
    assert frame.columns == COLUMNS + PARTITIONS
    assert frame.select(PARTITIONS).rows() == [("123456789012", "eu-west-1", date(2026, 1, 14))]


def test_a_lake_below_a_folder_named_like_a_partition(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "date=2020-01-01", {aws_key(): V2 + ROW})
    with pytest.raises(LakeError, match="a folder above the lake is named date="):
        scan(str(lake))


def test_other_partitions_and_times(tmp_path: Path) -> None:
    lake = make_lake(
        tmp_path,
        {aws_key(): V2 + ROW},
        partition_by=("date", "hour", "action"),
        time_type="epoch",
    )
    (path,) = data_files(lake)
    assert path.parent == lake / "vpc/date=2026-01-14/hour=00/aws_action=ACCEPT"
    frame = scan(str(lake), since=date(2026, 1, 14)).collect()
    assert frame.select("start", "date", "hour", "aws_action", "action").rows() == [
        (1768348800, date(2026, 1, 14), "00", "ACCEPT", "ACCEPT")
    ]
    assert frame.schema["start"] == pl.Int64()


# --- the files ----------------------------------------------------------------------------------


def test_nothing_but_parquet_below_the_table(sample_lake: Path) -> None:
    files = data_files(sample_lake)
    assert files
    assert {path.suffix for path in files} == {".parquet"}
    assert all(path.read_bytes()[:4] == path.read_bytes()[-4:] == b"PAR1" for path in files)
    assert {path.name for path in sample_lake.iterdir()} == {"vpc", "_flowconv"}
    assert not list(sample_lake.glob("_flowconv/staging/*"))


def test_parquet_schema(sample_lake: Path) -> None:
    time = "Timestamp(isAdjustedToUTC=true, timeUnit=microseconds"
    physical = {"int32": "INT32", "int64": "INT64", "time": "INT64"}
    for path in data_files(sample_lake):
        with pq.ParquetFile(path) as file:
            schema = file.schema
        assert schema.names == COLUMNS
        for index, name in enumerate(COLUMNS):
            column, kind = schema.column(index), FIELDS.get(name, "string")
            assert column.physical_type == physical.get(kind, "BYTE_ARRAY")
            assert column.max_definition_level == 1  # May be null.
            logical = str(column.logical_type)
            texts = dict.fromkeys(("string", "tag"), "String")
            assert logical.startswith({**texts, "time": time}.get(kind, "None"))


def test_statistics_and_compression(sample_lake: Path) -> None:
    for path in data_files(sample_lake):
        metadata = pq.read_metadata(path)
        assert metadata.created_by.startswith("flowconv version ")
        for group in range(metadata.num_row_groups):
            for index in range(len(COLUMNS)):
                column = metadata.row_group(group).column(index)
                assert column.compression == "ZSTD"
                assert column.is_stats_set
                assert column.statistics is not None
                assert column.statistics.has_null_count  # type: ignore[attr-defined]
                assert column.has_column_index
                assert column.has_offset_index


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "lz4", "none"])
def test_every_compression_is_read_by_all(tmp_path: Path, codec: str) -> None:
    lake = make_lake(tmp_path, {aws_key(): V2 + ROW * 50}, compression=codec)
    (path,) = data_files(lake)
    compression = pq.read_metadata(path).row_group(0).column(0).compression
    assert compression == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
    assert pl.scan_parquet(f"{lake}/vpc/").select(pl.sum("bytes")).collect().item() == 42_000
    assert duckdb_rows(f"select sum(bytes) from '{path}'") == [(42_000,)]
    assert pc.sum(pq.read_table(path)["bytes"]).as_py() == 42_000


_SCAN = """
import sys, flowconv
flowconv.scan(sys.argv[1]).collect()
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize("kind", ["plain", "merged", "replaced"])
def test_scan_does_not_import_what_it_does_not_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Pandas takes half a second, where it is installed, the others a tenth of one."""
    pytest.importorskip("pandas")
    lake = make_lake(tmp_path, {aws_key(): V2 + ROW})
    if kind != "plain":
        with monkeypatch.context() as merging:
            merging.setattr(ledger, "_COMMITS_BETWEEN_MERGES", 1)
            make_lake(tmp_path, {aws_key(hash_="ffffffff"): V2 + ROW})
        assert list(lake.glob("_flowconv/ledger/*.files-*.parquet"))
    if kind == "replaced":
        make_lake(tmp_path, {aws_key(): V2 + ROW * 2}, reprocess=True)
    command = [sys.executable, "-c", _SCAN, str(lake)]
    scanned = subprocess.run(command, capture_output=True, text=True, check=True)
    unused = {"pandas", "flowconv.options", "flowconv.rows.partitioning", "flowconv.blocks.formats"}
    # A checkpoint is Parquet. What replaced tasks wrote is left out by a kernel.
    unused |= {"plain": {"pyarrow"}, "merged": {"pyarrow.compute"}}.get(kind, set())
    assert unused.isdisjoint(scanned.stdout.split())
