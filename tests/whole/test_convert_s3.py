"""The whole way over a real connection: from a bucket of one user to a bucket of another."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import polars as pl
import pytest

import flowconv
from flowconv import ConvertOptions, ReadOptions, running
from flowconv.errors import LakeError, StorageError
from flowconv.lake import locking, writing
from flowconv.lake.ledger import Ledger
from flowconv.lake.locking import Lock
from flowconv.source import keys, opening
from flowconv.source.keys import LogObject
from flowconv.source.listing import DayEnd, list_with_day_ends
from flowconv.storage.opening import open_storage
from flowconv.storage.s3 import S3Storage
from support.commands import INCOMPLETE, run
from support.faulty_proxy import Fault, faulty_proxy
from support.lakes import ROW, V2, aws_key
from support.s3_servers import S3Server


def options(server: S3Server, user: int, **changed: str) -> dict[str, str]:
    who = server.users[user]
    return {
        "key": who.access_key,
        "secret": who.secret_key,
        "endpoint_url": server.endpoint_url,
        "region": server.region,
    } | changed


class Buckets:
    """A bucket of logs that belongs to user 0, and one for the lake that belongs to user 1."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.logs, self.lake = server.make_bucket(0), server.make_bucket(1)
        self.client = server.client(0)
        self.source, self.dest = f"s3://{self.logs}/AWSLogs", f"s3://{self.lake}/a/lake"

    def put(self, *bodies: bytes, day: int = 14, account: str = "123456789012") -> None:
        for n, body in enumerate(bodies):
            key = aws_key(account, time=f"2026-01-{day}T00:05", hash_=f"{day:04x}{n:04x}")
            self.client.put_object(Bucket=self.logs, Key=key.path, Body=gzip.compress(body))

    def options(self, **changed: Any) -> ConvertOptions:
        both = {
            "source_options": options(self.server, 0),
            "dest_options": options(self.server, 1),
        }
        return ConvertOptions(**both | changed)

    def convert(self, **changed: Any) -> flowconv.ConvertReport:
        return flowconv.convert(self.source, self.dest, self.options(**changed))

    def scan(self, **wanted: Any) -> pl.LazyFrame:
        return flowconv.scan(self.dest, options=options(self.server, 1), **wanted)

    def keys(self, bucket: str, user: int) -> list[str]:
        pages = self.server.client(user).get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


@pytest.fixture
def buckets(s3: S3Server) -> Buckets:
    return Buckets(s3)


def test_each_side_with_its_own_credentials(buckets: Buckets) -> None:
    buckets.put(V2 + ROW * 3, V2 + ROW + b"bogus\n", V2)
    report = buckets.convert()
    assert (report.objects, report.lines.rows, report.lines.rejected) == (3, 4, 1)
    assert buckets.scan().select(pl.sum("bytes")).collect().item() == 4 * 840
    again = buckets.convert()
    assert (again.objects, again.already_converted, again.complete) == (0, 3, True)
    buckets.put(V2 + ROW * 5, day=15)
    assert buckets.convert().lines.rows == 5
    assert len(buckets.scan(since=date(2026, 1, 14), accounts=["123456789012"]).collect()) == 9
    keys = buckets.keys(buckets.lake, 1)
    assert not [key for key in keys if "staging" in key or "intents" in key or "lock" in key]
    assert all(key.endswith(".parquet") for key in keys if "/vpc/" in key)


def test_more_keys_than_one_page(buckets: Buckets) -> None:
    body, count = gzip.compress(V2 + ROW), buckets.server.page_keys + 5
    for n in range(count):
        key = aws_key(hash_=f"{n:08x}").path
        buckets.client.put_object(Bucket=buckets.logs, Key=key, Body=body)
    report = buckets.convert()
    assert (report.objects, report.lines.rows) == (count, count)


def test_tasks_are_converted_while_the_listing_goes_on(buckets: Buckets) -> None:
    for day in (14, 15):
        buckets.put(V2 + ROW, day=day)
    converted = threading.Event()

    def listing(*args: Any) -> Iterator[LogObject | DayEnd]:
        for item in list_with_day_ends(*args):
            if isinstance(item, LogObject) and item.day == date(2026, 1, 15):
                assert converted.wait(60)
            yield item

    def commit(self: Ledger, commit: Any) -> None:
        real(self, commit)
        converted.set()

    real = Ledger.commit
    with (
        mock.patch.object(opening, "list_with_day_ends", listing),
        mock.patch.object(running, "_GROUP", 1),
        mock.patch.object(Ledger, "commit", commit),
    ):
        report = buckets.convert()
    assert (report.objects, report.lines.rows, report.complete) == (2, 2, True)


def test_what_came_while_the_lock_was_waited_for_is_converted(buckets: Buckets) -> None:
    buckets.put(V2 + ROW)
    buckets.convert()
    lock = Lock(open_storage(buckets.dest, options(buckets.server, 1)), "another")

    def sleep(_: float) -> None:
        buckets.put(V2 + ROW, day=15)
        lock.__exit__(None, None, None)

    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    lock.__enter__()
    with mock.patch.object(locking, "time", clock):
        report = buckets.convert(wait=True)
    assert (report.objects, report.already_converted) == (1, 1)


def test_only_the_wanted_days_are_listed(buckets: Buckets) -> None:
    for day in range(10, 20):
        buckets.put(V2 + ROW, day=day)
    listed = []
    real = S3Storage.list_files

    def list_files(self: S3Storage, below: str = "") -> Any:
        listed.append(below)
        return real(self, below)

    with mock.patch.object(S3Storage, "list_files", list_files):
        report = buckets.convert(since=date(2026, 1, 12), until=date(2026, 1, 13))
    assert report.objects == 2
    days = [path[-10:] for path in listed if "vpcflowlogs" in path]
    assert sorted(day.strip("/")[-2:] for day in days) == ["12", "13"]
    assert keys.SERVICE == "vpcflowlogs"


def test_multi_part_output(buckets: Buckets) -> None:
    rows = b"".join(
        b"2 123456789012 eni-%d 10.0.%d.%d 10.1.%d.%d %d %d 6 %d %d 1768348800 1768348860 A OK\n"
        % (
            n,
            n * 7919 % 256,
            n * 104729 % 251,
            n % 256,
            n * 31 % 253,
            n % 9973,
            n % 65536,
            n,
            n * n,
        )
        for n in range(300_000)
    )
    buckets.put(V2 + rows)
    with mock.patch.object(writing, "ROW_GROUP_ROWS", 50_000):
        report = buckets.convert(compression="none", target_file_size=12 << 20)
    assert report.files > 1
    assert report.written_bytes > 15 << 20  # parts are of 5 MiB
    assert buckets.scan().select(pl.len()).collect().item() == 300_000


def test_records_without_a_copy(buckets: Buckets) -> None:
    buckets.put(V2 + ROW * 3, V2 + ROW)
    reader = flowconv.read(buckets.source, ReadOptions(source_options=options(buckets.server, 0)))
    assert reader.read_all().num_rows == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source_options": {"secret": "wrong"}}, "secret"),
        ({"source_options": {"key": "AKIAWRONGWRONGWRONG1"}}, "key"),
        ({"dest_options": {"secret": "wrong"}}, "secret"),
    ],
    ids=["wrong secret", "unknown key", "wrong secret of the lake"],
)
def test_wrong_credentials(buckets: Buckets, changed: dict[str, Any], message: str) -> None:
    buckets.put(V2 + ROW)
    given = {
        side: options(buckets.server, 0 if side == "source_options" else 1, **values)
        for side, values in changed.items()
    }
    with pytest.raises(StorageError) as raised:
        buckets.convert(**given)
    assert message in str(raised.value).lower()
    assert not [key for key in buckets.keys(buckets.lake, 1) if "/vpc/" in key]


def test_missing_credentials(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in buckets.server.environment(0).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageError, match=r"(?i)credentials"):
        flowconv.convert(buckets.source, str(tmp_path / "lake"))


def test_no_such_bucket(buckets: Buckets) -> None:
    with pytest.raises(StorageError, match=r"(?i)bucket"):
        flowconv.convert("s3://no-such-bucket-anywhere/x", buckets.dest, buckets.options())


def test_a_bucket_of_somebody_else(buckets: Buckets) -> None:
    buckets.put(V2 + ROW)
    with pytest.raises(StorageError, match=r"(?i)denied|refuse|permission"):
        buckets.convert(dest_options=options(buckets.server, 0))


def test_what_is_denied_within_the_source(buckets: Buckets) -> None:
    """A prefix and an object; the others are converted, and patterns leave these out."""
    other, denied = "000000000012", aws_key(hash_="000e0001").path
    buckets.put(V2 + ROW, V2 + ROW * 2)
    buckets.put(V2 + ROW * 4, account=other)
    with faulty_proxy(buckets.server) as proxy:
        proxy.faults = [
            Fault("denied", "ListObjectsV2", f"AWSLogs/{other}", times=float("inf")),
            Fault("denied", "GetObject", denied, times=float("inf")),
        ]
        arguments = [
            f"--{side}-option={name}={value}"
            for side, user in (("source", 0), ("dest", 1))
            for name, value in options(
                buckets.server, user, endpoint_url=proxy.endpoint_url
            ).items()
        ]
        done = run("convert", buckets.source, buckets.dest, "--json", *arguments, code=INCOMPLETE)
        report = json.loads(done.stdout)
        assert (report["objects"], report["lines"]["rows"]) == (1, 1)
        assert report["unreadable"].keys() == {
            f"{buckets.source}/{other}/",
            f"s3://{buckets.logs}/{denied}",
        }
        for reason in report["unreadable"].values():
            assert reason.startswith("access is denied. The credentials need s3:ListBucket")
            assert reason.endswith("can also be left out with --exclude.")
        patterns = ("--exclude", f"{other}/", "--exclude", denied.rpartition("/")[2])
        run("convert", buckets.source, buckets.dest, *arguments, *patterns)


def test_another_layout(buckets: Buckets) -> None:
    buckets.put(V2 + ROW)
    buckets.convert()
    with pytest.raises(LakeError, match="--partition-by"):
        buckets.convert(partition_by=("date",))
