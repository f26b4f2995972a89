"""Requests and their price: what a run reports is what S3 got."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import flowconv
from flowconv import ConvertOptions
from flowconv.conversion.dry_run import plan
from flowconv.conversion.planning import Task
from flowconv.conversion.request_estimate import requests_of_lake, requests_of_source
from flowconv.source.keys import LogObject
from flowconv.storage import s3
from flowconv.storage.request_prices import PRICES
from support.commands import run
from support.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from support.lakes import ROW, V2, aws_key
from support.s3_servers import S3Server

parse_openmetrics: Any = text_string_to_metric_families  # which has no types

KINDS = {
    "AbortMultipartUpload": "DELETE",
    "CompleteMultipartUpload": "POST",
    "ConditionalPut": "PUT",
    "CreateMultipartUpload": "POST",
    "DeleteObject": "DELETE",
    "GetObject": "GET",
    "HeadObject": "HEAD",
    "ListMultipartUploads": "LIST",
    "ListObjectsV2": "LIST",
    "PutObject": "PUT",
    "UploadPart": "PUT",
}

OBJECTS = 6
BODY = gzip.compress(V2 + ROW * 3)


@pytest.fixture
def proxy(moto_s3: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(moto_s3) as proxy:
        yield proxy


@pytest.fixture
def bucket(moto_s3: S3Server) -> str:
    bucket, client = moto_s3.make_bucket(), moto_s3.client()
    for number in range(OBJECTS):
        key = aws_key(time=f"2026-01-{14 + number % 2}T00:05", hash_=f"{number:08x}").path
        client.put_object(Bucket=bucket, Key=key, Body=BODY)
    return bucket


def options(server: S3Server, proxy: FaultyProxy, **changed: Any) -> ConvertOptions:
    of_s3 = server.storage_options() | {"endpoint_url": proxy.endpoint_url}
    return ConvertOptions(workers=2, source_options=of_s3, dest_options=of_s3, **changed)


def sent(requests: dict[str, Any]) -> Counter[str]:
    """All requests of a report, by kind."""
    counts: Counter[str] = Counter()
    for place in requests.values():
        counts.update({kind: times["sent"] for kind, times in place["kinds"].items()})
    return counts


@pytest.mark.parametrize("small_bytes", [s3._SMALL_BYTES, 0], ids=["whole", "in-parts"])
def test_every_request_is_counted_and_priced(
    moto_s3: S3Server, proxy: FaultyProxy, bucket: str, small_bytes: int
) -> None:
    """Also those that are made again, and those with which a run ends."""
    proxy.faults = [Fault("SlowDown", "GetObject", "vpcflowlogs", numbers=frozenset({1}))]
    with mock.patch.object(s3, "_SMALL_BYTES", small_bytes):
        report = flowconv.convert(
            f"s3://{bucket}/AWSLogs", f"s3://{bucket}/lake", options(moto_s3, proxy)
        )
    counts = sent(report.requests)
    assert counts == Counter(KINDS[request.kind] for request in proxy.requests)
    assert report.requests["source"]["kinds"]["GET"]["sent"] == OBJECTS + 1
    assert report.requests["source"]["kinds"]["GET"]["count"] == OBJECTS
    assert ("POST" in counts) == (small_bytes == 0)
    assert report.requests["source"]["received_bytes"] == OBJECTS * len(BODY)
    assert report.requests["lake"]["sent_bytes"] > report.written_bytes
    usd = sum(PRICES[kind] * number / 1000 for kind, number in counts.items())
    assert report.requests_usd == pytest.approx(usd)


def test_a_report_reads_the_ledger_once(moto_s3: S3Server, proxy: FaultyProxy, bucket: str) -> None:
    lake = f"s3://{bucket}/lake"
    of_s3 = options(moto_s3, proxy)
    flowconv.convert(f"s3://{bucket}/AWSLogs", lake, of_s3)
    proxy.requests.clear()
    flowconv.report(lake, options=of_s3.dest_options)
    of_ledger = Counter(request.target for request in proxy.requests if "ledger" in request.target)
    assert of_ledger
    assert set(of_ledger.values()) == {1}, of_ledger


def test_what_is_shown(moto_s3: S3Server, proxy: FaultyProxy, bucket: str, tmp_path: Path) -> None:
    of_s3 = {**moto_s3.storage_options(), "endpoint_url": proxy.endpoint_url}
    command: list[str | Path] = ["convert", f"s3://{bucket}/AWSLogs", tmp_path / "lake"]
    for name, value in of_s3.items():
        command += ["--source-option", f"{name}={value}"]
    metrics = tmp_path / "m.prom"
    command += ["--metrics-file", metrics, "--request-price", "GET=1000"]
    command += ["--request-price", "LIST=0", "--request-price", "RECEIVED=1e9"]
    report = json.loads(run(*command, "--json").stdout)
    assert list(report["requests"]) == ["source"]
    assert report["requests_usd"] == OBJECTS * (1 + len(BODY))
    status = json.loads(run("status", tmp_path / "lake", "--json").stdout)
    assert status["runs"][0]["report"]["requests_usd"] == report["requests_usd"]
    families = {family.name: family for family in parse_openmetrics(metrics.read_text())}
    found = {
        name: families[f"flowconv_last_run_s3_{name}"].samples
        for name in ("cost_dollars", "received_bytes", "requests", "sent_bytes")
    }
    assert found["cost_dollars"][0].value == report["requests_usd"]
    assert found["received_bytes"][0].value == OBJECTS * len(BODY)
    assert found["sent_bytes"][0].value == 0
    (gets,) = [sample for sample in found["requests"] if sample.labels["kind"] == "GET"]
    assert (gets.labels["place"], gets.value) == ("source", OBJECTS)
    planned = run(*command, "--dry-run").stdout
    assert "requests for source, about: 6 GET, 4 LIST" not in planned  # All is converted.
    assert "cost of the requests, about: $0.000000" in planned
    again = run(*command).stdout
    assert "$0.000000 for requests" in again


def test_a_run_that_finds_nothing_has_a_price(moto_s3: S3Server, proxy: FaultyProxy) -> None:
    bucket = moto_s3.make_bucket()
    report = flowconv.convert(
        f"s3://{bucket}/AWSLogs", f"s3://{bucket}/lake", options(moto_s3, proxy)
    )
    assert report.empty
    # It ends without the answers that it no longer needs: their requests may come a little later.
    wanted, ends = sent(report.requests), time.monotonic() + 60
    while (came := seen(proxy)) != wanted and came <= wanted and time.monotonic() < ends:
        time.sleep(0.01)
    assert came == wanted
    assert report.requests_usd


def seen(proxy: FaultyProxy) -> Counter[str]:
    return Counter(KINDS[request.kind] for request in proxy.requests)


def test_folders_have_no_price(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/a.log").write_bytes(V2 + ROW)
    command: list[str | Path] = [
        "convert",
        tmp_path / "logs",
        tmp_path / "lake",
        "--metrics-file",
        tmp_path / "m",
    ]
    result = run(*command)
    assert "cost" not in result.stdout
    assert "s3" not in (tmp_path / "m").read_text()
    assert "cost" not in run(*command, "--dry-run").stdout
    for dry_run in ([], ["--dry-run"]):
        report = json.loads(run(*command, *dry_run, "--json").stdout)
        assert (report["requests"], report["requests_usd"]) == ({}, None)


def test_a_dry_run_estimates_the_requests(
    moto_s3: S3Server, proxy: FaultyProxy, bucket: str
) -> None:
    """Of a new lake, of one that lacks objects, and of one that has all."""
    source, lake = f"s3://{bucket}/AWSLogs", f"s3://{bucket}/lake"
    of_first_day = options(moto_s3, proxy, until="2026-01-14")
    for chosen in (of_first_day, options(moto_s3, proxy), options(moto_s3, proxy)):
        planned = plan(source, lake, chosen)
        report = flowconv.convert(source, lake, chosen)
        assert planned.objects == report.objects
        assert planned.requests_usd == pytest.approx(report.requests_usd, rel=0.05)
        for place in ("source", "lake"):
            kinds = report.requests[place]["kinds"]
            for kind, number in planned.requests[place].items():
                assert number == pytest.approx(kinds[kind]["sent"], abs=1), (place, kind)


def test_large_objects_are_estimated_by_their_pieces() -> None:
    """A fetched piece has 8 MiB; what is written is smaller, and is sent in parts of 5 MiB."""
    log_object = LogObject(
        uri="s3://b/a",
        path="a",
        size_bytes=20 << 20,
        etag="1",
        account_id=None,
        region=None,
        flow_log_id=None,
        day=None,
        time=None,
    )
    task = Task(id="1", account_id=None, region=None, day=None, log_objects=(log_object,) * 2)
    assert requests_of_source({"LIST": 1}, [task]) == {"LIST": 1, "GET": 6}
    alone = requests_of_lake({}, [], is_new=False)
    assert requests_of_lake({}, [task], is_new=False) - alone == {
        "PUT": 2 + 6,
        "POST": 2,
        "DELETE": 1,
    }
