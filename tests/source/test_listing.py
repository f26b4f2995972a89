"""What keys say, and which of them are listed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from flowconv.source.keys import KeyFacts, LogObject, parse_key
from flowconv.source.listing import list_objects
from flowconv.source.selection import Selection
from flowconv.storage.interface import Folder, StoredFile
from flowconv.storage.opening import open_storage
from support.s3_servers import S3Server

ACCOUNT = "012345678901"
NAME = "012345678901_vpcflowlogs_eu-west-1_fl-0a1b2c3d4e5f60718_20260114T0005Z_e3f0cd3b.log.gz"
TIME = datetime(2026, 1, 14, 0, 5, tzinfo=UTC)
DAY = date(2026, 1, 14)
PLAIN = "AWSLogs/012345678901/vpcflowlogs/eu-west-1"
HIVE = "AWSLogs/aws-account-id=012345678901/aws-service=vpcflowlogs/aws-region=eu-west-1"
ORGANISATION = "AWSLogs/o-ab12cd34ef/012345678901/vpcflowlogs/eu-west-1"
FULL = KeyFacts(
    account_id=ACCOUNT,
    region="eu-west-1",
    flow_log_id="fl-0a1b2c3d4e5f60718",
    day=DAY,
    time=TIME,
    service="vpcflowlogs",
)
OF_NAME = KeyFacts(
    account_id=ACCOUNT, region="eu-west-1", flow_log_id="fl-0a1b2c3d4e5f60718", day=DAY, time=TIME
)
OF_PATH = KeyFacts(account_id=ACCOUNT, region="eu-west-1", day=DAY, service="vpcflowlogs")

KEYS = {
    # AWS's layouts.
    "plain": (f"{PLAIN}/2026/01/14/{NAME}", FULL),
    "plain by hour": (f"{PLAIN}/2026/01/14/00/{NAME}", FULL),
    "hive": (f"{HIVE}/year=2026/month=01/day=14/{NAME}", FULL),
    "hive by hour": (f"{HIVE}/year=2026/month=01/day=14/hour=00/{NAME}", FULL),
    "below a prefix": (f"net/logs/{PLAIN}/2026/01/14/{NAME}", FULL),
    "below a prefix of the service's name": (f"vpcflowlogs/{PLAIN}/2026/01/14/{NAME}", FULL),
    "organisation": (f"{ORGANISATION}/2026/01/14/{NAME}", FULL),
    "hive of an event": (f"{HIVE}/year=2026/month=01/day=14/{NAME}".replace("=", "%3D"), FULL),
    "hive of an event, lower case": (
        f"{HIVE}/year=2026/month=01/day=14/{NAME}".replace("=", "%3d"),
        FULL,
    ),
    "Parquet": (
        f"{PLAIN}/2026/01/14/{NAME.replace('.log.gz', '.log.parquet')}",
        FULL,
    ),
    "government region": (
        f"{PLAIN}/2026/01/14/x".replace("eu-west-1", "us-gov-west-1"),
        KeyFacts(account_id=ACCOUNT, region="us-gov-west-1", day=DAY, service="vpcflowlogs"),
    ),
    # What the path says goes before the name.
    "copied into another day": (
        f"{PLAIN}/2026/01/13/{NAME}",
        KeyFacts(
            account_id=ACCOUNT,
            region="eu-west-1",
            flow_log_id="fl-0a1b2c3d4e5f60718",
            day=date(2026, 1, 13),
            time=TIME,
            service="vpcflowlogs",
        ),
    ),
    "copied into another account": (
        f"{PLAIN}/2026/01/14/{NAME}".replace(f"/{ACCOUNT}/", "/999999999999/"),
        KeyFacts(
            account_id="999999999999",
            region="eu-west-1",
            flow_log_id="fl-0a1b2c3d4e5f60718",
            day=DAY,
            time=TIME,
            service="vpcflowlogs",
        ),
    ),
    # Names and paths alone.
    "name alone": (NAME, OF_NAME),
    "name in a folder": (f"my copies/{NAME}", OF_NAME),
    "name with something before and behind": (f"copy of {NAME} (1).bak", OF_NAME),
    "path alone": (f"{PLAIN}/2026/01/14/records.log", OF_PATH),
    "without AWSLogs": (f"{PLAIN}/2026/01/14/x".removeprefix("AWSLogs/"), OF_PATH),
    "path without region": (
        f"AWSLogs/{ACCOUNT}/vpcflowlogs/x.gz",
        KeyFacts(account_id=ACCOUNT, service="vpcflowlogs"),
    ),
    "account alone": (f"AWSLogs/{ACCOUNT}/x.gz", KeyFacts(account_id=ACCOUNT)),
    "region and year alone": (
        f"{PLAIN}/2026/x.gz",
        KeyFacts(account_id=ACCOUNT, region="eu-west-1", service="vpcflowlogs"),
    ),
    "partitions of one's own": (
        "logs/aws-region=eu-west-1/year=2026/month=01/day=14/x",
        KeyFacts(region="eu-west-1", day=DAY),
    ),
    "day of one's own": ("logs/2026/01/14/x", KeyFacts(day=DAY)),
    "the last day counts": ("logs/2025/12/31/2026/01/14/x", KeyFacts(day=DAY)),
    # Nothing.
    "nothing": ("x.log.gz", KeyFacts()),
    "empty": ("", KeyFacts()),
    "no such day": (
        f"logs/2026/02/30/{NAME}".replace("0114T", "0230T"),
        KeyFacts(account_id=ACCOUNT, region="eu-west-1", flow_log_id="fl-0a1b2c3d4e5f60718"),
    ),
    "no such hour": (
        f"logs/{NAME}".replace("T0005Z", "T2400Z"),
        KeyFacts(account_id=ACCOUNT, region="eu-west-1", flow_log_id="fl-0a1b2c3d4e5f60718"),
    ),
    "export from CloudWatch": ("exportedlogs/0a1b/eni-0a-all/000000.gz", KeyFacts()),
    "no region": (
        f"AWSLogs/{ACCOUNT}/vpcflowlogs/2026/01/14/x",
        KeyFacts(account_id=ACCOUNT, day=DAY, service="vpcflowlogs"),
    ),
    "another service": (
        f"AWSLogs/{ACCOUNT}/CloudTrail/eu-west-1/2026/01/14/x.json.gz",
        KeyFacts(account_id=ACCOUNT, day=DAY, service="CloudTrail"),
    ),
    "another service below a prefix of ours": (
        f"vpcflowlogs/AWSLogs/{ACCOUNT}/elasticloadbalancing/eu-west-1/x",
        KeyFacts(account_id=ACCOUNT, service="elasticloadbalancing"),
    ),
}


@pytest.mark.parametrize(("key", "facts"), KEYS.values(), ids=KEYS)
def test_parse_key(key: str, facts: KeyFacts) -> None:
    assert parse_key(key) == facts


# Locally and in S3.


def day_key(day: int, layout: str = PLAIN, month: int = 1, number: int = 0) -> str:
    folder = f"2026/{month:02}/{day:02}"
    if layout == HIVE:
        folder = f"year=2026/month={month:02}/day={day:02}"
    name = NAME.replace("20260114T0005", f"2026{month:02}{day:02}T{number:02}05")
    return f"{layout}/{folder}/{name}"


OTHERS = {
    # The key and how it is counted.
    f"AWSLogs/{ACCOUNT}/CloudTrail/eu-west-1/2026/01/14/a.json.gz": "other_services",
    f"AWSLogs/{ACCOUNT}/CloudTrail/eu-west-1/2026/01/14/b.json.gz": None,
    f"AWSLogs/{ACCOUNT}/elasticloadbalancing/eu-west-1/2026/01/14/a.log.gz": "other_services",
    "AWSLogs/aws-account-id=012345678901/aws-service=other/a": "other_services",
    "AWSLogs/aws-logs-write-test": "not_logs",
    "_SUCCESS": "not_logs",
    f"{PLAIN}/2026/01/14/.part-0": "not_logs",
    "lake/vpc/date=2026-01-14/x.parquet": None,
    "lake/_flowconv/x.json": None,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    keys = [day_key(day, layout) for layout in (PLAIN, HIVE, ORGANISATION) for day in (13, 14, 15)]
    for key in [*keys, NAME, "copies/undated.log", *OTHERS]:
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def listed(
    root: str, since: date | None = None, until: date | None = None
) -> tuple[list[str], Counter[str]]:
    storage = open_storage(root)
    left_out: Counter[str] = Counter()
    selection = Selection(since=since, until=until, leave_out=f"{root}/lake")
    found = list(list_objects(storage, selection, left_out))
    assert all(o.uri == storage.uri(o.path) for o in found)
    return sorted(o.path for o in found), left_out


def test_everything(tree: Path) -> None:
    paths, left_out = listed(str(tree))
    keys = [day_key(day, layout) for layout in (PLAIN, HIVE, ORGANISATION) for day in (13, 14, 15)]
    assert paths == sorted([*keys, NAME, "copies/undated.log"])
    assert left_out == Counter(filter(None, OTHERS.values()))


def test_chosen_days(tree: Path) -> None:
    paths, left_out = listed(str(tree), since=DAY, until=DAY)
    assert paths == sorted([*(day_key(14, layout) for layout in (PLAIN, HIVE, ORGANISATION)), NAME])
    assert left_out["undated"] == 1


@pytest.mark.parametrize(
    ("window", "days"),
    [
        ({}, [13, 14, 15]),
        ({"since": date(2026, 1, 14)}, [14, 15]),
        ({"until": date(2026, 1, 14)}, [13, 14]),
        ({"since": date(2026, 1, 1), "until": date(2026, 1, 31)}, [13, 14, 15]),
        ({"since": date(2025, 1, 1), "until": date(2027, 1, 31)}, [13, 14, 15]),
        ({"since": date(2026, 1, 16)}, []),
        ({"until": date(2025, 12, 31)}, []),
        ({"since": date(2026, 1, 15), "until": date(2026, 2, 15)}, [15]),
    ],
)
@pytest.mark.parametrize("layout", [PLAIN, HIVE, ORGANISATION], ids=["plain", "hive", "org"])
def test_windows(tree: Path, layout: str, window: dict[str, date], days: list[int]) -> None:
    paths, left_out = listed(str(tree / layout), **window)
    assert [f"{layout}/{path}" for path in paths] == [day_key(day, layout) for day in days]
    assert not left_out - Counter(not_logs=1)


@pytest.mark.parametrize(
    ("root", "path"),
    [
        (f"{PLAIN}/2026", day_key(14)),
        (f"{PLAIN}/2026/01", day_key(14)),
        (f"{PLAIN}/2026/01/14", day_key(14)),
        (f"{HIVE}/year=2026/month=01", day_key(14, HIVE)),
        ("AWSLogs/o-ab12cd34ef", day_key(14, ORGANISATION)),
        (day_key(14), day_key(14)),
    ],
)
def test_root_below_the_top_counts_too(tree: Path, root: str, path: str) -> None:
    storage = open_storage(str(tree / root))
    (found,) = list_objects(storage, Selection(since=DAY, until=DAY))
    assert found == LogObject(
        uri=str(tree / path),
        path=path.removeprefix(root).removeprefix("/"),
        size_bytes=1,
        etag=found.etag,
        account_id=ACCOUNT,
        region="eu-west-1",
        flow_log_id="fl-0a1b2c3d4e5f60718",
        day=DAY,
        time=TIME,
    )
    assert storage.fetch(found.path) == b"x"


def test_an_object_that_is_named_is_listed_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "_x").write_bytes(b"")
    assert len(list(list_objects(open_storage(str(tmp_path / "_x"))))) == 1


def test_order_is_always_the_same(tree: Path) -> None:
    storage = open_storage(str(tree))
    first = [o.path for o in list_objects(storage)]
    assert [o.path for o in list_objects(storage)] == first
    assert len(set(first)) == len(first)


@dataclass
class CountingStorage:
    """A bucket of keys that remembers what it was asked for."""

    keys: list[str]
    _: KW_ONLY
    root: str = "s3://bucket"
    is_local: bool = False
    folders: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)

    def uri(self, path: str) -> str:
        return f"{self.root}/{path}"

    def location(self, path: str) -> str:
        return self.uri(path)

    def key(self, path: str) -> str:
        return path

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        self.flat.append(below)
        for key in sorted(self.keys):
            if key.startswith(below):
                yield StoredFile(key, 1, "etag")

    def list_first(self) -> Iterator[StoredFile]:
        return (StoredFile(key, 1, "etag") for key in sorted(self.keys)[:1])

    def list_folder(self, below: str = "") -> Iterator[StoredFile | Folder]:
        self.folders.append(below)
        seen = set()
        for key in sorted(self.keys):
            if key.startswith(below):
                name, slash, _ = key[len(below) :].partition("/")
                path = below + name + slash
                if path not in seen:
                    seen.add(path)
                    yield Folder(path) if slash else StoredFile(path, 1, "etag")


def test_only_the_wanted_days_are_listed() -> None:
    keys = [
        day_key(day, layout, month)
        for layout in (PLAIN, HIVE)
        for month in (1, 2, 12)
        for day in (1, 2, 28)
    ]
    keys += [key.replace("2026", "2025") for key in keys]
    keys += [f"AWSLogs/{ACCOUNT}/CloudTrail/eu-west-1/{n}" for n in range(10)]
    storage = CountingStorage(keys)
    left_out: Counter[str] = Counter()
    window = Selection(since=date(2026, 1, 28), until=date(2026, 2, 1))
    found = list(list_objects(storage, window, left_out))  # type: ignore[arg-type]
    assert [o.path for o in found] == [
        *(day_key(28, layout) for layout in (PLAIN,)),
        day_key(1, PLAIN, 2),
        day_key(28, HIVE),
        day_key(1, HIVE, 2),
    ]
    assert storage.flat == [
        f"{PLAIN}/2026/01/28/",
        f"{PLAIN}/2026/02/01/",
        f"{HIVE}/year=2026/month=01/day=28/",
        f"{HIVE}/year=2026/month=02/day=01/",
    ]
    assert storage.folders == [
        "",
        "AWSLogs/",
        f"AWSLogs/{ACCOUNT}/",
        f"AWSLogs/{ACCOUNT}/vpcflowlogs/",
        f"{PLAIN}/",
        f"{PLAIN}/2026/",
        f"{PLAIN}/2026/01/",
        f"{PLAIN}/2026/02/",
        f"AWSLogs/aws-account-id={ACCOUNT}/",
        f"AWSLogs/aws-account-id={ACCOUNT}/aws-service=vpcflowlogs/",
        f"{HIVE}/",
        f"{HIVE}/year=2026/",
        f"{HIVE}/year=2026/month=01/",
        f"{HIVE}/year=2026/month=02/",
    ]
    assert left_out == {"other_services": 1}


def test_without_days_a_service_is_listed_at_once() -> None:
    keys = [day_key(day, PLAIN, month) for month in range(1, 13) for day in range(1, 29)]
    storage = CountingStorage(keys)
    assert [o.path for o in list_objects(storage)] == keys  # type: ignore[arg-type]
    assert storage.flat == [f"AWSLogs/{ACCOUNT}/vpcflowlogs/"]
    assert storage.folders == ["", "AWSLogs/", f"AWSLogs/{ACCOUNT}/"]


def test_years_and_months_that_are_wanted_whole_are_listed_at_once() -> None:
    keys = [day_key(day, PLAIN, month) for month in range(1, 13) for day in range(1, 29)]
    keys += [key.replace("2026", "2025") for key in keys]
    storage = CountingStorage(keys)
    window = Selection(since=date(2025, 11, 27), until=date(2026, 12, 31))
    found = list(list_objects(storage, window))  # type: ignore[arg-type]
    assert len(found) == 12 * 28 + 28 + 2
    assert storage.flat == [
        f"{PLAIN}/2025/11/27/",
        f"{PLAIN}/2025/11/28/",
        f"{PLAIN}/2025/12/",
        f"{PLAIN}/2026/",
    ]


@pytest.mark.parametrize(
    "keys",
    [
        [f"copies/{number:04}/x" for number in range(1000)],
        ["/".join("abcdefghij"[:n]) + f"/{k}" for n in range(1, 10) for k in range(3)],
    ],
    ids=["wide", "deep"],
)
def test_trees_outside_the_layout_take_few_calls(keys: list[str]) -> None:
    storage = CountingStorage(keys)
    assert sorted(o.path for o in list_objects(storage)) == sorted(keys)  # type: ignore[arg-type]
    assert len(storage.folders) <= 6


def test_odd_keys_are_listed_once(s3: S3Server) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    keys = ["/a", "//b", "c//d", "e/", "f/../g", "f/./h", f"p//{day_key(14)}", "é ü+%20"]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    storage = open_storage(
        f"s3://{bucket}",
        {
            "key": s3.users[0].access_key,
            "secret": s3.users[0].secret_key,
            "endpoint_url": s3.endpoint_url,
            "region": s3.region,
        },
    )
    left_out: Counter[str] = Counter()
    found = {o.path: o for o in list_objects(storage, left_out=left_out)}
    assert sorted(found) == sorted(set(keys) - {"e/"})
    assert left_out == {"not_logs": 1}
    assert found[f"p//{day_key(14)}"].day == DAY
    assert found["c//d"].uri == f"s3://{bucket}/c//d"


def test_bucket_s_name_says_nothing(s3: S3Server) -> None:
    client, bucket = s3.client(), s3.make_bucket()
    client.put_object(Bucket=bucket, Key="eu-west-1/2026/01/14/x", Body=b"")
    environment = {"endpoint_url": s3.endpoint_url, "region": s3.region}
    user = {"key": s3.users[0].access_key, "secret": s3.users[0].secret_key}
    (found,) = list_objects(open_storage(f"s3://{bucket}/eu-west-1", environment | user))
    assert (found.account_id, found.region, found.day) == (None, None, DAY)


def test_names_that_are_no_utf8_are_listed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.log")
    try:
        (tmp_path / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (found,) = list_objects(open_storage(str(tmp_path)))
    assert found.path == "caf%E9.log"
    assert found.uri == f"{tmp_path}/caf%E9.log"
