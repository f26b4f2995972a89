"""S3 when it is slow: each run ends, and has every row once. No time is asserted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

import flowconv
from flowconv import ConvertOptions
from flowconv.storage import s3_requests
from support.faulty_proxy import Fault, FaultyProxy, Request, faulty_proxy
from support.lakes import ROW, V2, aws_key
from support.s3_servers import S3Server

OBJECTS = 120

# Some 10 KB each: a line of the second version has 100 bytes.
ROWS = 100


@pytest.fixture(scope="module")
def bucket(moto_s3: S3Server) -> str:
    """A bucket of small objects, over two days."""
    bucket, client = moto_s3.make_bucket(), moto_s3.client()
    for number in range(OBJECTS):
        key = aws_key(time=f"2026-01-{14 + number % 2}T00:05", hash_=f"{number:08x}").path
        client.put_object(Bucket=bucket, Key=key, Body=V2 + ROW * ROWS)
    return bucket


@pytest.fixture
def proxy(moto_s3: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(moto_s3) as proxy:
        yield proxy


def convert(
    proxy: FaultyProxy, server: S3Server, bucket: str, lake: Path
) -> flowconv.ConvertReport:
    options = ConvertOptions(
        workers=2, source_options=server.storage_options() | {"endpoint_url": proxy.endpoint_url}
    )
    report = flowconv.convert(f"s3://{bucket}", str(lake), options)
    assert report.complete, report.unreadable
    assert (report.objects, report.lines.rows) == (OBJECTS, OBJECTS * ROWS)
    assert flowconv.scan(str(lake)).select(pl.len()).collect().item() == OBJECTS * ROWS
    return report


def jitter(proxy: FaultyProxy) -> None:
    chance = random.Random(1)
    proxy.delay_s = lambda _: chance.uniform(0.005, 0.5)


def eight_connections(proxy: FaultyProxy) -> None:
    proxy.most_connections = 8
    proxy.delay_s = lambda _: 0.02


def slow_downs(proxy: FaultyProxy) -> None:
    """Bursts: of each 60 objects 20 in a row are refused, some twice."""
    numbers = frozenset(n for n in range(OBJECTS) if n % 60 < 20)
    proxy.faults = [Fault("SlowDown", "GetObject", numbers=numbers, times=2)]


def a_shared_link(proxy: FaultyProxy) -> None:
    """So many bytes that all take half a second."""
    proxy.bytes_per_s = 2.4e6


def one_in_a_hundred_is_slow(proxy: FaultyProxy) -> None:
    gets = iter(range(1, 1_000_000))

    def delay_s(request: Request) -> float:
        return 0.1 * (10 if request.kind == "GetObject" and next(gets) % 100 == 0 else 1)

    proxy.delay_s = delay_s


@pytest.mark.parametrize(
    "slow", [jitter, eight_connections, slow_downs, a_shared_link, one_in_a_hundred_is_slow]
)
def test_all_rows_come_once(
    moto_s3: S3Server,
    bucket: str,
    proxy: FaultyProxy,
    tmp_path: Path,
    slow: Callable[[FaultyProxy], None],
) -> None:
    slow(proxy)
    report = convert(proxy, moto_s3, bucket, tmp_path / "lake")
    times = report.requests["source"]
    assert times["kinds"]["GET"]["count"] == OBJECTS
    if slow is slow_downs:
        assert sum(fault.injected for fault in proxy.faults) == 80
        assert report.retries > 0


def test_connections_that_hang_for_ever(
    moto_s3: S3Server, bucket: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """What was asked for over them is asked for once more; no time-out is waited for."""
    proxy.hanging = 25
    proxy.delay_s = lambda _: 0.02
    with mock.patch.object(s3_requests, "ANSWER_TIMEOUT_S", 600.0):
        report = convert(proxy, moto_s3, bucket, tmp_path / "lake")
    assert report.requests["source"]["hedges"] >= 1
