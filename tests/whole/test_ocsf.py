"""Lakes of --schema ocsf: their events, files and commands, and that each row is there once."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ocsf.v1_1_0.events import NetworkActivity
from pydantic import BaseModel

import flowconv
from flowconv import ConvertOptions, UsageError
from flowconv.errors import LakeError
from flowconv.fields import Table
from flowconv.lake.ledger import Ledger
from flowconv.lake.ocsf_writing import OcsfWriter
from flowconv.rows.ocsf_schema import OCSF_SCHEMA
from flowconv.rows.partition_names import PartitionKey
from flowconv.rows.schema import table_schema
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions
from oracle import ocsf
from support.commands import DONE, FAILED, USAGE, run
from support.exactly_once import (
    Lake,
    arguments,
    body,
    storage_of,
    write_object,
)
from support.lakes import aws_key, write_objects
from support.parquet_file import footer, pages
from support.processes import Runs, Step
from support.stories import patch_of

OCSF = ConvertOptions(workers=1, schema="ocsf", allow_unknown_fields=("next-year",))

# Of all fields, one record each; what is not named is "-".
FIELDS = [
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
    "vpc-id",
    "subnet-id",
    "instance-id",
    "tcp-flags",
    "type",
    "pkt-srcaddr",
    "pkt-dstaddr",
    "region",
    "az-id",
    "pkt-src-aws-service",
    "flow-direction",
    "traffic-path",
    "reject-reason",
    "next-year",
]
PLAIN = {
    "version": "5",
    "account-id": "123456789012",
    "interface-id": "eni-1",
    "srcaddr": "10.0.0.1",
    "dstaddr": "10.0.0.2",
    "srcport": "443",
    "dstport": "49152",
    "protocol": "6",
    "packets": "10",
    "bytes": "840",
    "start": "1768348800",
    "end": "1768348860",
    "action": "ACCEPT",
    "log-status": "OK",
}
INGRESS = {"flow-direction": "ingress", "vpc-id": "vpc-1", "instance-id": "i-1"}
SAMPLES = 1200  # Of one account, in two regions, on two days.
MAC = "02:00:00:00:00:01"

# A record -> some of its event's attributes.
RECORDS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "accepted": (
        {},
        {
            "time": 1768348800000,
            "activity_name": "Traffic",
            "type_uid": 400106,
            "action_id": 1,
            "disposition_id": 1,
            "src_endpoint.ip": "10.0.0.1",
            "src_endpoint.interface_uid": None,
            "cloud.region": "eu-west-1",
            "connection_info.boundary_id": 99,
            "unmapped": {"interface_id": "eni-1", "flow_log_id": "fl-0a1b2c3d4e5f60718"},
        },
    ),
    "rejected": (
        {"action": "REJECT", "reject-reason": "BPA"},
        {"activity_id": 5, "type_uid": 400105, "action": "Denied", "status_detail": "BPA"},
    ),
    "of no traffic": (
        {"log-status": "NODATA", "action": "-", "srcaddr": "-", "bytes": "-"},
        {"activity_id": 0, "action_id": 0, "status_code": "NODATA", "src_endpoint.ip": None},
    ),
    "without an action": ({"action": "-"}, {"activity_id": 6, "disposition": "Unknown"}),
    "of an action of tomorrow": (
        {"action": "DEFER"},
        {"activity_id": 99, "activity_name": "DEFER", "type_uid": 400199, "action_id": 99},
    ),
    "through a NAT gateway": (
        {"pkt-srcaddr": "8.8.8.8", "pkt-dstaddr": "10.0.0.2"},
        {
            "src_endpoint.ip": "8.8.8.8",
            "src_endpoint.intermediate_ips": ["10.0.0.1"],
            "dst_endpoint.intermediate_ips": None,
        },
    ),
    "ingress": (
        INGRESS,
        {
            "dst_endpoint.interface_uid": "eni-1",
            "dst_endpoint.instance_uid": "i-1",
            "src_endpoint.vpc_uid": None,
            "connection_info.direction": "Inbound",
            "unmapped": {"flow_log_id": "fl-0a1b2c3d4e5f60718"},
        },
    ),
    "egress": (
        {**INGRESS, "flow-direction": "egress", "traffic-path": "8"},
        {
            "src_endpoint.vpc_uid": "vpc-1",
            "connection_info.boundary": "Internet Gateway",
            "connection_info.boundary_id": 11,
        },
    ),
    "by a path of tomorrow": (
        {"traffic-path": "9"},
        {"connection_info.boundary_id": 99, "connection_info.boundary": "9"},
    ),
    "of EFA": (
        {"srcaddr": MAC, "type": "EFA"},
        {
            "src_endpoint.mac": MAC,
            "src_endpoint.ip": None,
            "connection_info.protocol_ver_id": 99,
        },
    ),
    "of IPv6": (
        {"srcaddr": "2001:db8::1", "type": "IPv6"},
        {"src_endpoint.ip": "2001:db8::1", "connection_info.protocol_ver_id": 6},
    ),
    "without a start": ({"start": "-"}, {"time": 1768348860000, "start_time": None}),
    "without a time": ({"start": "-", "end": "-"}, {"time": None, "time_dt": None}),
    "with an unknown field": ({"next-year": "x"}, {"unmapped.unknown_fields": '{"next-year":"x"}'}),
}
TGW = (
    b"version tgw-id account-id tgw-src-eni tgw-dst-vpc-id srcaddr bytes start\n"
    b"6 tgw-1 000000000007 eni-7 vpc-9 10.1.1.1 5 1768348700\n"
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records, each with its number as srcport; a transit gateway's; and a few samples."""
    folder = tmp_path_factory.mktemp("ocsf") / "logs"
    lines = [" ".join(FIELDS)]
    for number, (values, _) in enumerate(RECORDS.values()):
        record = {**PLAIN, **values, "srcport": str(number)}
        lines.append(" ".join(record.get(name, "-") for name in FIELDS))
    text = "\n".join(lines).encode()
    objects = {aws_key(): gzip.compress(text), aws_key(hash_="00000001"): gzip.compress(TGW)}
    write_objects(folder, objects)
    options = GenerateOptions(versions=(5,), accounts=1, objects=3, records=SAMPLES // 12)
    generate(folder / "samples", options)
    return folder


@pytest.fixture(scope="module")
def lake(logs: Path) -> Path:
    """The lake of OCSF; not to be changed."""
    report = flowconv.convert(str(logs), str(logs.parent / "lake"), OCSF)
    assert report.complete
    return logs.parent / "lake"


def files(lake: Path) -> list[Path]:
    return sorted(lake.glob("region=*/accountId=*/eventDay=*/*.parquet"))


def read(path: Path | io.BytesIO) -> list[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        events: list[dict[str, Any]] = file.read().to_pylist(maps_as_pydicts="strict")
    return events


def plain(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, default=str)


def attribute(event: Any, name: str) -> Any:
    for part in name.split("."):
        event = event[part]
    return event


def given(value: Any) -> Any:
    """A value without the attributes that have none."""
    if isinstance(value, dict):
        return {name: given(part) for name, part in value.items() if part is not None}
    return value


# --- events -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDS)
def test_records(lake: Path, name: str) -> None:
    number, (_, expected) = list(RECORDS).index(name), RECORDS[name]
    (path,) = {
        path
        for path in files(lake)
        if "accountId=123456789012" in str(path) and "region=eu-west-1" in str(path)
        for event in read(path)
        if event["src_endpoint"]["port"] == number and event["dst_endpoint"]["port"] == 49152
    }
    (event,) = [event for event in read(path) if event["src_endpoint"]["port"] == number]
    assert {name: attribute(event, name) for name in expected} == expected


def test_all_by_the_oracle(logs: Path, lake: Path) -> None:
    """The flat lake's rows, which other tests compare with the logs, one by one."""
    flat = logs.parent / "flat"
    options = ConvertOptions(workers=1, allow_unknown_fields=("next-year",))
    flowconv.convert(str(logs), str(flat), options)
    wanted: Counter[str] = Counter()
    for table in Table:
        for row in flowconv.scan(str(flat), table=table).collect().to_dicts():
            account, region = row.pop("aws_account_id"), row.pop("aws_region")
            del row["date"]
            wanted[plain(ocsf.event(row, account, region))] += 1
    events = Counter(plain(event) for path in files(lake) for event in read(path))
    assert events.total() == len(RECORDS) + 1 + SAMPLES
    assert events == wanted


def test_valid_by_ocsf_itself(lake: Path) -> None:
    """Its classes know the endpoints, the connection and so on; its dictionary the attributes."""
    with (Path(flowconv_schemas()) / "v1_1_0.json").open(encoding="utf-8") as file:
        attributes = json.load(file)["dictionary"]["attributes"]
    # Of the profile datetime.
    known = {*attributes, *(f"{name}_dt" for name in attributes)}

    def unknown(model: BaseModel) -> Iterator[str]:
        yield from (model.model_extra or {}).keys() - known
        for name in model.model_fields_set - {"unmapped"}:
            if isinstance(part := getattr(model, name, None), BaseModel):
                yield from unknown(part)

    checked = 0
    for path in files(lake):
        for event in read(path)[:100]:
            if event["time"] is not None:
                assert not [*unknown(NetworkActivity.model_validate(given(event)))]
                checked += 1
    assert checked > 100


def flowconv_schemas() -> Path:
    import ocsf as package

    return Path(package.__file__).parent / "schemas"


# --- files --------------------------------------------------------------------------------------


def test_where_they_lie(lake: Path) -> None:
    folders = {str(path.parent.relative_to(lake)) for path in files(lake)}
    assert "region=eu-west-1/accountId=123456789012/eventDay=20260114" in folders
    assert not [*lake.glob("vpc*"), *lake.glob("tgw*")]


def test_an_account_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/a.log").write_bytes(b"start bytes\n1768348800 1\n- 2\n")
    flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"), OCSF)
    folders = {str(path.parent.relative_to(tmp_path / "lake")) for path in files(tmp_path / "lake")}
    null = "__HIVE_DEFAULT_PARTITION__"
    assert folders == {
        f"region={null}/accountId=external/eventDay={day}" for day in ("20260114", null)
    }
    event = read(files(tmp_path / "lake")[0])[0]
    assert event["cloud"] == {
        "provider": "AWS",
        "account": {"uid": None},
        "region": None,
        "zone": None,
    }


def test_order_and_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts plain or dictionaries, rows of several tables: one order. Pages stay small."""
    monkeypatch.setattr("flowconv.lake.ocsf_writing._ROW_GROUP_ROWS", 8_000)
    monkeypatch.setattr("flowconv.lake.ocsf_writing._ROWS_AT_ONCE", 3_000)
    schema = table_schema(Table.VPC)
    starts = [(number * 7919) % 20_000 for number in range(20_000)]
    tables = []
    for half, is_coded in ((starts[:10_000], True), (starts[10_000:], False)):
        texts: Any = pa.array([f"{start:0300x}" for start in half])
        columns: dict[str, Any] = {name: pa.nulls(len(half)) for name in schema.names}
        columns["start"] = pa.array(
            [1_000_000 * start for start in half], schema.field("start").type
        )
        columns["srcaddr"] = texts.dictionary_encode() if is_coded else texts
        columns["srcport"] = pa.array(half, pa.int32())
        tables.append(pa.table(columns))
    buffer = pa.BufferOutputStream()
    key = PartitionKey(Table.VPC, "region=eu-west-1/accountId=123/eventDay=19700101")
    writer = OcsfWriter(buffer, key, "zstd")
    writer.write_row_group(tables)
    writer.close()
    data = buffer.getvalue().to_pybytes()
    assert pq.read_schema(io.BytesIO(data)).equals(OCSF_SCHEMA)
    found = pq.read_table(io.BytesIO(data), columns=["src_endpoint", "cloud"]).flatten().flatten()
    assert found["src_endpoint.port"].to_pylist() == sorted(starts)
    assert found["cloud.account.uid"].unique().to_pylist() == ["123"]
    groups = footer(data)[4]
    assert [group[3] for group in groups] == [8_000, 8_000, 4_000]
    addresses = [column[3] for group in groups for column in group[1] if b"ip" in column[3][3]]
    assert sum(column[6] for column in addresses) > 5 << 20
    sizes = [page.size_bytes for column in addresses for page in pages(data, column)]
    assert max(sizes) <= 1 << 20


def test_rows_at_places() -> None:
    schema = table_schema(Table.VPC)
    columns: dict[str, Any] = {name: pa.nulls(40) for name in schema.names}
    rows = pa.table(columns | {"srcport": pa.array(range(40), pa.int32())})
    places = np.array([0, 3, 9, 10, 11, 30, 39], np.uint32)
    contents = []
    for tables, chosen in (
        ([rows.slice(0, 10), rows.slice(10, 15), rows.slice(25)], places),
        ([rows.take(places.tolist())], None),
    ):
        buffer = pa.BufferOutputStream()
        key = PartitionKey(Table.VPC, "region=eu-west-1/accountId=123/eventDay=19700101")
        writer = OcsfWriter(buffer, key, "zstd")
        writer.write_row_group(tables, chosen)
        writer.close()
        contents.append(pq.read_table(pa.BufferReader(buffer.getvalue())))
    assert contents[0].num_rows == len(places)
    assert contents[0].equals(contents[1])


def test_other_readers(lake: Path) -> None:
    whole = f"{lake}/region=*/**/*.parquet"
    rows = len(RECORDS) + 1 + SAMPLES
    frame = pl.scan_parquet(whole, hive_partitioning=True)
    assert frame.select(pl.len()).collect().item() == rows
    ports = frame.filter(pl.col("region") == "eu-west-1").select(
        pl.col("src_endpoint").struct.field("ip").is_not_null().sum()
    )
    with duckdb.connect() as connection:
        found = connection.execute(
            "select count(*), sum(traffic.bytes), count(unmapped['flow_log_id']), "
            "count(*) filter (region = 'eu-west-1' and src_endpoint.ip is not null) "
            "from read_parquet(?, hive_partitioning = true)",
            [whole],
        ).fetchone()
    events = [event for path in files(lake) for event in read(path)]
    assert found is not None
    assert found[0] == rows
    assert found[1] == sum(event["traffic"]["bytes"] or 0 for event in events)
    assert found[2] == sum("flow_log_id" in event["unmapped"] for event in events) > 0
    assert found[3] == ports.collect().item() > 0


# --- commands -----------------------------------------------------------------------------------


def test_commands_that_work(logs: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    report = json.loads(run("convert", logs, lake, "--schema", "ocsf", "--json").stdout)
    assert [*report["tables"]] == ["ocsf"]
    said = run("status", lake).output
    assert "by region, accountId, eventDay" in said
    assert "of OCSF 1.1" in said
    assert run("verify", lake, "--source", logs, "--json").exit_code == DONE
    first = files(lake)[0]
    (lake / "region=x").mkdir()
    (lake / "region=x/stray.parquet").write_bytes(first.read_bytes())
    first.write_bytes(b"damaged")
    problems = json.loads(run("verify", lake, "--source", logs, "--json", code=3).stdout)[
        "problems"
    ]
    assert {problem["kind"] for problem in problems} == {"stray-file", "damaged-file"}
    run("verify", lake, "--source", logs, "--repair", code=3)
    run("convert", logs, lake, "--schema", "ocsf")
    run("verify", lake, "--source", logs)
    run("expire", lake, "--before", "2026-01-15")
    assert {path.parent.name for path in files(lake)} == {"eventDay=20260115", "eventDay=20260116"}
    run("verify", lake)


@pytest.mark.parametrize(
    "command",
    [
        ("compact",),
        ("gaps",),
        ("query", "select 1 from vpc"),
        ("query", "--question", "top-talkers"),
        ("report", "--output", "report.html"),
        ("ddl", "--dialect", "duckdb"),
        ("register", "--to", "delta"),
    ],
    ids=" ".join,
)
def test_commands_that_are_refused(
    lake: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lake.parent)
    before = sorted(lake.parent.rglob("*"))
    result = run(command[0], lake, *command[1:], code=FAILED)
    assert "this lake has --schema ocsf" in result.stderr
    assert "needs --schema flat" in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(lake.parent.rglob("*")) == before


def test_no_advice_that_would_be_refused(logs: Path, tmp_path: Path) -> None:
    said = run("convert", logs / "samples", tmp_path / "lake", "--schema", "ocsf").output
    assert "overlap: " in said
    assert "The lake has their records twice." in said


def test_names_are_refused(lake: Path, tmp_path: Path) -> None:
    described = tmp_path / "interfaces.json"
    described.write_text('{"NetworkInterfaces": []}')
    with pytest.raises(LakeError, match="this lake has --schema ocsf"):
        flowconv.names(str(lake), described)


@pytest.mark.parametrize(
    "option",
    [
        ("--partition-by", "date"),
        ("--time-type", "epoch"),
        ("--with-source",),
        ("--order", "log"),
        ("--bloom-filters",),
        ("--compact",),
    ],
    ids=" ".join,
)
def test_options_that_are_refused(logs: Path, tmp_path: Path, option: tuple[str, ...]) -> None:
    result = run("convert", logs, tmp_path / "x", "--schema", "ocsf", *option, code=USAGE)
    assert f"{option[0]} does not go with --schema ocsf" in result.stderr
    assert not [*tmp_path.iterdir()]


def test_a_lake_is_one_or_the_other(logs: Path, lake: Path, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"this lake has --schema ocsf, and this run --schema flat"):
        flowconv.convert(str(logs), str(lake), ConvertOptions(workers=1))
    (tmp_path / "region=x").mkdir()
    (tmp_path / "region=x/a.parquet").touch()
    with pytest.raises(LakeError, match=r"files below region=x/, but it is not a flowconv lake"):
        flowconv.convert(str(logs), str(tmp_path), OCSF)
    with pytest.raises(UsageError, match="--schema"):
        ConvertOptions(schema="ecs")  # type: ignore[arg-type]


def test_a_lake_is_no_source(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is flowconv's lake"):
        flowconv.convert(str(lake / "region=eu-west-1"), str(tmp_path / "x"), OCSF)


# --- exactly once -------------------------------------------------------------------------------

OBJECTS = 4


def names_of_rows(lake: Lake, paths: Iterable[str]) -> Counter[tuple[str, int]]:
    """The object that each row is from, and the row's number in it."""
    found: Counter[tuple[str, int]] = Counter()
    for path in paths:
        for event in read(io.BytesIO(lake.fetch(path))):
            found[event["unmapped"]["interface_id"], event["dst_endpoint"]["port"]] += 1
    return found


@pytest.mark.parametrize("step", ["row group", "publish", "commit"])
def test_killed(runs: Runs, place: Lake, tmp_path: Path, step: str) -> None:
    """Killed before a step, the first or the second time; the next run mends it."""
    if place.kind != "local" and step != "publish":
        pytest.skip("what is not of the storage is the same in all")
    if step == "publish":
        step = f"{'local' if place.kind == 'local' else 'S3'} publish"
    lake = place.copy()
    for number in range(OBJECTS):
        write_object(tmp_path, number, body(f"eni-{number}"))
    patch = patch_of(lake)
    for time in (0, 1):
        at = Step(time, f"before {step}")
        done = runs.run(*arguments(tmp_path, lake, "--schema=ocsf"), at=at, patch=patch)
        assert done.was_killed, done.stderr
    write_object(tmp_path, 0, body("eni-0-new"))
    done = runs.run(*arguments(tmp_path, lake, "--schema=ocsf", "--reprocess"), patch=patch)
    assert done.code == DONE, done.stderr
    ledger = Ledger.read(storage_of(lake))
    listed = {name for name in lake.names() if name.startswith("region=")}
    assert listed == {path for path, _ in ledger.files().items()}
    assert not {name for name in lake.names() if "staging" in name or "unfinished" in name}
    objects = ["eni-0-new", *(f"eni-{number}" for number in range(1, OBJECTS))]
    wanted = Counter({(name, number): 1 for name in objects for number in range(4)})
    assert names_of_rows(lake, listed) == wanted
