"""Sample logs: what they promise to tests, demo and benchmarks."""

import gzip
import json
import re
import zlib
from collections import Counter
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowconv.errors import StorageError, UsageError
from flowconv.fields import DEFAULT_FORMAT, FIELDS, Table
from flowconv.rows.schema import field_type
from flowconv.samples.generating import generate
from flowconv.samples.options import REGIONS, SHAPES, GenerateOptions, GenerateReport, Shape
from oracle import reference

V5 = [f.name for f in FIELDS[Table.VPC] if f.version <= 5]
VERSION_OF = {f.name: f.version for f in FIELDS[Table.VPC]}

KEY = re.compile(
    r"AWSLogs/(?P<account>\d{12})/vpcflowlogs/(?P<region>[a-z0-9-]+)/"
    r"(?P<day>\d{4}/\d\d/\d\d)/((?P<hour>\d\d)/)?"
    r"(?P=account)_vpcflowlogs_(?P=region)_(?P<log>fl-[0-9a-f]{17})_"
    r"(?P<time>\d{8}T\d{4}Z)_[0-9a-f]{8}\.log\.gz"
)
HIVE_KEY = re.compile(
    r"AWSLogs/aws-account-id=(?P<account>\d{12})/aws-service=vpcflowlogs/"
    r"aws-region=(?P<region>[a-z0-9-]+)/year=\d{4}/month=\d\d/day=\d\d/(hour=(?P<hour>\d\d)/)?"
    r"(?P=account)_vpcflowlogs_(?P=region)_fl-[0-9a-f]{17}_\d{8}T\d{4}Z_[0-9a-f]{8}\.log\.gz"
)


def read_files(directory: Path) -> dict[str, bytes]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def read_rows(directory: Path) -> list[tuple[str, list[str], list[dict[str, str]]]]:
    """Give key, header and rows of every object; a row that does not fit its header raises."""
    objects = []
    for key, data in read_files(directory).items():
        text = gzip.decompress(data).decode()
        assert text.endswith("\n")
        header, *lines = (line.split(" ") for line in text[:-1].split("\n"))
        objects.append((key, header, [dict(zip(header, line, strict=True)) for line in lines]))
    return objects


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GenerateReport]:
    directory = tmp_path_factory.mktemp("sample")
    return directory, generate(directory)


def test_defaults_count(sample: tuple[Path, GenerateReport]) -> None:
    directory, report = sample
    objects = read_rows(directory)
    assert report.objects == len(objects) == 2 * 2 * 2 * 4
    assert report.records == sum(len(rows) for _, _, rows in objects) == 32 * 500
    files = read_files(directory)
    assert report.gzip_bytes == sum(map(len, files.values()))
    assert report.text_bytes == sum(len(gzip.decompress(data)) for data in files.values())
    assert report.seconds > 0


def test_same_seed_same_bytes(sample: tuple[Path, GenerateReport], tmp_path: Path) -> None:
    generate(tmp_path / "same")
    assert read_files(tmp_path / "same") == read_files(sample[0])
    generate(tmp_path / "other", GenerateOptions(seed=1))
    assert not read_files(tmp_path / "other").keys() & read_files(sample[0]).keys()


def test_keys(sample: tuple[Path, GenerateReport]) -> None:
    matches = [KEY.fullmatch(key) for key in read_files(sample[0])]
    accounts, regions = set(), set()
    for match in matches:
        assert match is not None
        assert match["hour"] is None
        assert match["day"].replace("/", "") == match["time"][:8]
        accounts.add(match["account"])
        regions.add(match["region"])
    assert len(accounts) == 2
    assert any(account.startswith("0") for account in accounts)
    assert regions == set(list(REGIONS)[:2])


@pytest.mark.parametrize("per_hour", [False, True])
@pytest.mark.parametrize(("hive", "pattern"), [(False, KEY), (True, HIVE_KEY)])
def test_layouts(tmp_path: Path, hive: bool, per_hour: bool, pattern: re.Pattern[str]) -> None:
    generate(tmp_path, GenerateOptions(records=3, hive=hive, per_hour=per_hour))
    files = read_files(tmp_path)
    assert len(files) == 32
    for key in files:
        match = pattern.fullmatch(key)
        assert match is not None
        hour = key.rsplit("T", 1)[1][:2]
        assert match["hour"] == (hour if per_hour else None)


def test_a_flow_log_has_one_format(sample: tuple[Path, GenerateReport]) -> None:
    formats: dict[str, list[str]] = {}
    for key, header, rows in read_rows(sample[0]):
        match = KEY.fullmatch(key)
        assert match is not None
        assert formats.setdefault(match["log"], header) == header
        assert set(header) <= set(V5)
        if "version" in header:
            assert {row["version"] for row in rows} == {str(max(VERSION_OF[n] for n in header))}
    # In each of four networks: four versions in AWS's order, a shuffled, an alphabetical one and
    # a subset.
    assert len(formats) == 28
    headers = list(formats.values())
    for version in (2, 3, 4, 5):
        assert headers.count([name for name in V5 if VERSION_OF[name] <= version]) == 4
    assert headers.count(sorted(V5)) == 4
    shuffled = [h for h in headers if set(h) == set(DEFAULT_FORMAT) and h != list(DEFAULT_FORMAT)]
    assert len(shuffled) == 4
    assert sum(len(header) == len(V5) * 2 // 3 for header in headers) == 4


def test_without_custom_orders(tmp_path: Path) -> None:
    generate(tmp_path, GenerateOptions(versions=(2,), custom_orders=False, records=2))
    assert {tuple(header) for _, header, _ in read_rows(tmp_path)} == {DEFAULT_FORMAT}


@pytest.mark.parametrize("records", [0, 1, 7])
def test_few_records(tmp_path: Path, records: int) -> None:
    report = generate(tmp_path, GenerateOptions(records=records))
    assert report.records == 32 * records
    assert [len(rows) for _, _, rows in read_rows(tmp_path)] == [records] * 32


def test_objects_made_in_several_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowconv.samples.generating._ROWS_PER_CHUNK", 20)
    options = GenerateOptions(
        versions=(5,), accounts=1, regions=1, days=1, objects=9, records=7, custom_orders=False
    )
    generate(tmp_path, options)
    assert [len(rows) for _, _, rows in read_rows(tmp_path)] == [7] * 9


def test_spills_over_midnight(tmp_path: Path) -> None:
    options = GenerateOptions(
        versions=(2, 5), accounts=1, regions=1, days=1, objects=2, records=400, custom_orders=False
    )
    generate(tmp_path, options)
    first, last = read_rows(tmp_path)
    assert "/2026/01/14/" in first[0]
    assert "/2026/01/15/" in last[0]
    midnight = int(datetime(2026, 1, 15, tzinfo=UTC).timestamp())
    assert all(int(row["end"]) < midnight for row in first[2])
    starts = [int(row["start"]) for row in last[2]]
    assert min(starts) < midnight <= max(int(row["end"]) for row in last[2])


@pytest.mark.parametrize(("index", "window_s"), [(0, 600), (1, 60)], ids=["600 s", "60 s"])
def test_times_lie_in_windows(tmp_path: Path, index: int, window_s: int) -> None:
    options = GenerateOptions(versions=(2, 3), accounts=1, regions=1, custom_orders=False)
    generate(tmp_path, options)
    version = str((2, 3)[index])
    objects = [o for o in read_rows(tmp_path) if o[2][0]["version"] == version]
    assert objects
    for key, _, rows in objects:
        match = KEY.fullmatch(key)
        assert match is not None
        bucket = datetime.strptime(match["time"], "%Y%m%dT%H%M%z").timestamp()
        for row in rows:
            start, end = int(row["start"]), int(row["end"])
            assert 0 < end - start < window_s
            assert bucket - 300 < end <= bucket


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], GenerateReport]:
    directory = tmp_path_factory.mktemp("large")
    options = GenerateOptions(
        versions=(5,),
        accounts=1,
        regions=1,
        days=1,
        objects=2,
        records=10_000,
        custom_orders=False,
        ipv6_share=0.1,
    )
    report = generate(directory, options)
    return [row for _, _, rows in read_rows(directory) for row in rows], report


def test_shares(large: tuple[list[dict[str, str]], GenerateReport]) -> None:
    rows, report = large
    assert len(rows) == 20_000
    status = Counter(row["log-status"] for row in rows)
    assert status["NODATA"] / len(rows) == pytest.approx(0.02, abs=0.005)
    assert 0 < status["SKIPDATA"] / len(rows) < 0.003
    talking = [row for row in rows if row["log-status"] == "OK"]

    def share(**wanted: str) -> float:
        items = {name.replace("_", "-"): value for name, value in wanted.items()}
        return sum(items.items() <= row.items() for row in talking) / len(talking)

    assert share(type="IPv6") == pytest.approx(0.1, abs=0.02)
    assert share(action="ACCEPT") + share(action="REJECT") == 1
    assert share(action="ACCEPT") > 0.7
    assert share(protocol="6") > share(protocol="17") > share(protocol="1") > 0
    assert share(flow_direction="egress") == pytest.approx(0.45, abs=0.1)
    assert share(pkt_src_aws_service="-") > 0.9
    assert 100 < len({row["interface-id"] for row in rows}) < 500
    # As real text of version 5 does.
    assert 5 < report.text_bytes / report.gzip_bytes < 8


def test_values_agree(large: tuple[list[dict[str, str]], GenerateReport]) -> None:
    places: dict[str, set[tuple[str, ...]]] = {}
    for row in large[0]:
        place = tuple(row[n] for n in ("vpc-id", "subnet-id", "instance-id", "az-id", "region"))
        places.setdefault(row["interface-id"], set()).add(place)
        if row["log-status"] != "OK":
            silent = ("srcaddr", "dstaddr", "srcport", "dstport", "protocol", "packets", "bytes")
            assert {row[name] for name in (*silent, "action", "tcp-flags", "type")} == {"-"}
            continue
        ipv6 = row["type"] == "IPv6"
        assert all((":" in row[name]) == ipv6 for name in ("srcaddr", "dstaddr", "pkt-srcaddr"))
        assert row["srcaddr"] != row["dstaddr"]
        assert all(0 <= int(row[name]) <= 65_535 for name in ("srcport", "dstport"))
        assert 20 <= int(row["bytes"]) / int(row["packets"]) <= 9001
        assert (row["traffic-path"] == "-") == (row["flow-direction"] == "ingress")
        if row["protocol"] == "6":
            assert row["tcp-flags"] in {"0", "1", "2", "3", "4", "7", "18", "19"}
        else:
            assert row["tcp-flags"] == "0"
        if row["protocol"] == "1":
            assert row["srcport"] == row["dstport"] == "0"
    assert all(len(same) == 1 for same in places.values())


def test_both_directions(large: tuple[list[dict[str, str]], GenerateReport]) -> None:
    ends = ("srcaddr", "srcport", "dstaddr", "dstport")
    accepted = [row for row in large[0] if row["action"] == "ACCEPT"]
    seen = {tuple(row[name] for name in ends) for row in accepted}
    answered = sum((d, dp, s, sp) in seen for s, sp, d, dp in seen)
    assert answered / len(seen) > 0.9


# --- shapes ---------------------------------------------------------------------------------------

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
FIREHOSE_KEY = (
    r"firehose/(?P<account>\d{12})/vpcflowlogs/[a-z0-9-]+/(?P<hour>\d{4}/\d\d/\d\d/\d\d)/"
    rf"flow-logs-1-(?P<time>\d{{4}}-\d\d-\d\d-\d\d-\d\d-\d\d)-{UUID}"
)
SHAPE_KEYS: dict[Shape, str] = {
    "headerless": FIREHOSE_KEY + r"\.gz",
    "cloudwatch-export": rf"exportedlogs/{UUID}/(?P<interface>eni-[0-9a-f]{{17}})-all/\d{{6}}\.gz",
    "subscription": FIREHOSE_KEY + r"(?P<gzip>\.gz)?",
    "firehose": FIREHOSE_KEY + r"\.gz",
    "parquet": KEY.pattern.replace("gz", "parquet"),
}
SMALL: dict[str, Any] = {"versions": (2, 3), "days": 1, "objects": 3, "records": 40}


def sample_of(directory: Path, shape: Shape, **options: Any) -> list[tuple[re.Match[str], bytes]]:
    """Generate a small sample, and give keys and bytes of its objects."""
    report = generate(directory, GenerateOptions(shape=shape, **SMALL | options))
    files = read_files(directory)
    if shape == "cloudwatch-export":
        assert files.pop("exportedlogs/aws-logs-write-test") == b"Permission Check Successful"
    objects = []
    for key, data in files.items():
        match = re.fullmatch(SHAPE_KEYS[shape], key)
        assert match is not None
        objects.append((match, data))
    assert report.objects == len(objects) == 12
    assert report.records == 12 * (SMALL | options)["records"]
    assert report.gzip_bytes == sum(map(len, files.values()))
    v3 = [f"${{{name}}}" for name in V5 if VERSION_OF[name] <= 3]
    assert report.format == (None if shape == "parquet" else " ".join(v3))
    return objects


def assert_v3(lines: list[str]) -> None:
    """Lines of version 3 in AWS's order."""
    assert len(lines) == 40
    assert {len(line.split(" ")) for line in lines} == {21}
    assert {line[:2] for line in lines} == {"3 "}


def documents_of(text: str) -> list[tuple[Any, str]]:
    """Documents, and what stands behind each."""
    documents = []
    while text:
        document, end = json.JSONDecoder().raw_decode(text)
        rest = text[end:].lstrip("\n")
        documents.append((document, text[end : len(text) - len(rest)]))
        text = rest
    return documents


def test_headerless(tmp_path: Path) -> None:
    for match, data in sample_of(tmp_path, "headerless"):
        assert match["time"].replace("-", "").startswith(match["hour"].replace("/", ""))
        assert_v3(gzip.decompress(data).decode().splitlines())


def test_cloudwatch_export(tmp_path: Path) -> None:
    objects = sample_of(tmp_path, "cloudwatch-export")
    # A task for each account, region and day: the last object of each is of the next day.
    assert len({match.string.split("/")[1] for match, _ in objects}) == 8
    for match, data in objects:
        times, lines = zip(
            *(line.split(" ", 1) for line in gzip.decompress(data).decode().splitlines()),
            strict=True,
        )
        assert_v3(list(lines))
        assert lines[0].split(" ")[2] == match["interface"]
        for time, line in zip(times, lines, strict=True):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", time)
            assert datetime.fromisoformat(time).timestamp() == int(line.split(" ")[10])


def test_subscription(tmp_path: Path) -> None:
    controls = compressed = 0
    for match, data in sample_of(tmp_path, "subscription"):
        text = gzip.decompress(data).decode()
        documents = documents_of(text)
        members, rest = 0, data
        while rest:
            member = zlib.decompressobj(31)
            member.decompress(rest)
            members, rest = members + 1, member.unused_data
        if match["gzip"]:
            assert ({behind for _, behind in documents}, members) == ({"\n"}, 1)
        else:
            assert ({behind for _, behind in documents}, members) == ({""}, len(documents))
            compressed += 1
        lines = []
        for i, (document, _) in enumerate(documents):
            assert [*document] == [
                *("messageType", "owner", "logGroup", "logStream", "subscriptionFilters"),
                "logEvents",
            ]
            if document["messageType"] == "CONTROL_MESSAGE":
                assert i == 0
                controls += 1
                continue
            assert document["owner"] == match["account"]
            assert document["logGroup"] == "/aws/vpc/flowlogs"
            for event in document["logEvents"]:
                assert [*event] == ["id", "timestamp", "message"]
                assert re.fullmatch(r"\d{56}", event["id"])
                values = event["message"].split(" ")
                assert document["logStream"] == f"{values[2]}-all"
                assert event["timestamp"] == int(values[10]) * 1000
                lines.append(event["message"])
        assert_v3(lines)
    assert (controls, compressed) == (4, 6)


def test_firehose(tmp_path: Path) -> None:
    glued = 0
    for _, data in sample_of(tmp_path, "firehose"):
        documents = documents_of(gzip.decompress(data).decode())
        (behind,) = {behind for _, behind in documents}
        glued += behind == ""
        assert all([*document] == ["message"] for document, _ in documents)
        assert_v3([document["message"] for document, _ in documents])
    assert glued == 6


def test_parquet(tmp_path: Path) -> None:
    names = set()
    for match, data in sample_of(tmp_path, "parquet"):
        file = pq.ParquetFile(pa.BufferReader(data))
        table = file.read()
        assert file.metadata.row_group(0).column(0).compression == "GZIP"
        assert table.num_rows == 40
        names.add(tuple(table.column_names))
        types = {f.column: field_type(f) for f in FIELDS[Table.VPC]}
        assert table.schema.types == [types[name] for name in table.column_names]
        for row in table.to_pylist():
            assert row.get("account_id", match["account"]) == match["account"]
            if "log_status" not in row:
                continue
            if row["log_status"] != "OK":
                assert {row.get(n, "-") for n in ("srcaddr", "action", "type")} == {"-"}
                assert {row.get(n) for n in ("srcport", "bytes", "tcp_flags")} == {None}
            else:
                assert "-" not in {row.get("srcaddr"), row.get("action")}
                assert None not in {row.get("dstport", 0), row.get("packets", 0)}
    assert len(names) > 3  # Other fields, other orders.


@pytest.mark.parametrize("shape", SHAPE_KEYS)
def test_shapes_are_the_same_again_and_may_be_empty(tmp_path: Path, shape: Shape) -> None:
    dirty: dict[str, Any] = {} if shape == "parquet" else {"bad_lines": 0.1, "double_spaces": True}
    options = GenerateOptions(shape=shape, records=20, days=1, **dirty)
    for name in ("one", "two"):
        generate(tmp_path / name, options)
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")

    for match, data in sample_of(tmp_path / "empty", shape, records=0):
        if shape == "parquet":
            assert pq.read_table(pa.BufferReader(data)).num_rows == 0
        elif shape != "subscription":
            assert gzip.decompress(data) == b""
        else:
            assert "DATA_MESSAGE" not in gzip.decompress(data).decode()
            assert match["account"]


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_shapes_hold_the_same_records(tmp_path: Path, shape: Shape) -> None:
    """Whatever the shape, the oracle reads what text with a header has."""
    rows: list[set[tuple[Any, ...]]] = []
    for made_shape in ("header", shape):
        options = GenerateOptions(
            shape=made_shape, versions=(5,), custom_orders=False, days=1, records=60
        )
        report = generate(tmp_path / made_shape, options)
        found: list[tuple[Any, ...]] = []
        for key, body in read_files(tmp_path / made_shape).items():
            if not key.endswith("write-test"):
                read = reference.read_object(body, format=report.format)
                assert (read.shape, read.rejected, read.blank) == (made_shape, [], 0)
                found += [tuple(row.values.items()) for row in read.rows]
        assert len(found) == report.records
        rows.append(set(found))
    assert rows[0] == rows[1]


@pytest.mark.parametrize("double_spaces", [False, True])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "parquet"])
def test_bad_lines(tmp_path: Path, shape: Shape, double_spaces: bool) -> None:
    options = GenerateOptions(
        shape=shape,
        versions=(3,),
        custom_orders=False,
        objects=3,
        records=100,
        bad_lines=0.05,
        double_spaces=double_spaces,
    )
    report = generate(tmp_path, options)
    assert report.bad_lines == round(report.records * 0.05)
    kinds: Counter[str] = Counter()
    for key, data in read_files(tmp_path).items():
        if key.endswith("write-test"):
            continue
        text = gzip.decompress(data)
        if shape in ("subscription", "firehose"):
            documents = [document for document, _ in documents_of(text.decode())]
            events = [event for d in documents for event in d.get("logEvents", [d])]
            messages = [event["message"] for event in events if event.get("id") != ""]
            lines = [message.encode("utf-8", "surrogatepass") for message in messages]
        else:
            lines = text.splitlines()[1 if shape == "header" else 0 :]
        of_object: Counter[str] = Counter()
        for line in lines:
            tokens = line.split()
            assert line.count(b"  ") == (
                double_spaces
                and len(tokens) - 1 - line.endswith(b" extra") - (shape == "cloudwatch-export")
            )
            count = len(tokens) - (shape == "cloudwatch-export")
            number = tokens[-21] if count == 21 else b"3"
            try:
                line.decode()
            except UnicodeDecodeError:
                of_object["no UTF-8"] += 1
            else:
                of_object[str(count) if count != 21 else number.decode()] += 1
        assert of_object.pop("3") == 95
        kinds += of_object
    quarter = report.bad_lines / 4
    assert kinds == {"20": quarter, "22": quarter, "12x": quarter, "no UTF-8": quarter}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "xml"}, "--shape: 'xml' is not one of header, headerless, "),
        ({"shape": "parquet", "bad_lines": 0.1}, "--shape: parquet has no lines"),
        ({"shape": "parquet", "double_spaces": True}, "--shape: parquet has no lines"),
        ({"shape": "firehose", "hive": True}, "--shape: firehose has keys of its own"),
        ({"bad_lines": 2}, "--bad-lines: 2 is too large"),
        ({"versions": ()}, "--versions: none given"),
        ({"versions": (2, 6)}, "--versions: 6 is unknown"),
        ({"accounts": 0}, "--accounts: 0 is too small; the least is 1."),
        ({"regions": 99}, "--regions: 99 is too large"),
        ({"days": 0}, "--days: 0 is too small"),
        ({"objects": 0}, "--objects: 0 is too small"),
        ({"records": -1}, "--records: -1 is too small"),
        ({"ipv6_share": 1.5}, "--ipv6-share: 1.5 is too large"),
        ({"ipv6_share": float("nan")}, "--ipv6-share: nan"),
        ({"nodata_share": 0.7, "skipdata_share": 0.7}, "--skipdata-share: 0.7 is too large"),
        ({"compresslevel": 10}, "--compresslevel: 10 is too large"),
        ({"start_day": date(1, 1, 1)}, "--start-day: 0001-01-01"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        GenerateOptions(**options)


@pytest.mark.parametrize(
    "shares",
    [
        {"ipv6_share": 1, "nodata_share": 0, "skipdata_share": 0},
        {"ipv6_share": 0, "nodata_share": 1, "skipdata_share": 0},
        {"ipv6_share": 0, "nodata_share": 0, "skipdata_share": 1},
    ],
    ids=lambda shares: ",".join(map(str, shares.values())),
)
def test_whole_shares(tmp_path: Path, shares: dict[str, float]) -> None:
    options = GenerateOptions(versions=(3,), custom_orders=False, records=50, **shares)  # type: ignore[arg-type]
    generate(tmp_path, options)
    rows = [row for _, _, found in read_rows(tmp_path) for row in found]
    assert len(rows) == 32 * 50
    expected = next(name for name, share in shares.items() if share)
    values = {row["type"] if expected == "ipv6_share" else row["log-status"] for row in rows}
    assert values == {{"i": "IPv6", "n": "NODATA", "s": "SKIPDATA"}[expected[0]]}


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write sample logs"):
        generate(tmp_path / "file", GenerateOptions(records=1))


def test_every_option_is_described() -> None:
    assert all(f.metadata["help"].endswith(".") for f in fields(GenerateOptions))
