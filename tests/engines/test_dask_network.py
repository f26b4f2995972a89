"""A worker of a Dask cluster loses the network between it and S3: nothing is lost or doubled."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf

import polars as pl
import pytest

import flowconv
from flowconv import ConvertOptions, EngineError
from flowconv.engines.workers import worker_name
from flowconv.running import started
from flowconv.storage import retrying
from support.dask_cluster import DaskCluster, dask_cluster, forks, wait_until
from support.faulty_proxy import Cut, Fault, FaultyProxy, faulty_proxy
from support.lakes import ROW, V2, aws_key
from support.s3_servers import S3Server

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the cluster is forked"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

# A day is a task.
DAYS = 6
OPTIONS = ConvertOptions(workers=2)


@pytest.fixture(scope="module")
def bucket(moto_s3: S3Server) -> str:
    bucket, client = moto_s3.make_bucket(), moto_s3.client()
    for day in range(1, DAYS + 1):
        key = f"logs/{aws_key(time=f'2026-01-{day:02}T00:05').path}"
        client.put_object(Bucket=bucket, Key=key, Body=gzip.compress(V2 + day * ROW))
    return bucket


@pytest.fixture(autouse=True)
def environment(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto_s3.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def proxy(moto_s3: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(moto_s3) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def cluster(
    proxy: FaultyProxy, moto_s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaskCluster]:
    """Two workers; the first reaches S3 by the proxy."""
    folder, direct = tmp_path_factory.mktemp("cluster"), moto_s3.environment()
    by_proxy = direct | {"AWS_ENDPOINT_URL": proxy.endpoint_url}
    with forks(folder, with_s3=True) as started_, dask_cluster(started_, folder, 0) as cluster:
        cluster.add_worker(environment=by_proxy, attempts=4)
        cluster.add_worker(environment=direct)
        yield cluster


def assert_sound(lake: str, logs: str) -> None:
    assert flowconv.verify(lake, logs).problems == []
    rows = flowconv.scan(lake).select(pl.len()).collect().item()
    assert rows == sum(range(1, DAYS + 1))


@pytest.mark.parametrize(
    ("kind", "how"),
    [("GetObject", "reset in body"), ("UploadPart", "lost answer")],
    ids=["reading", "writing"],
)
def test_cut_and_mended(
    cluster: DaskCluster, proxy: FaultyProxy, bucket: str, kind: str, how: str
) -> None:
    lake, logs = f"s3://{bucket}/mended-{kind}", f"s3://{bucket}/logs"
    cut = Cut(kind, how)
    proxy.faults = [cut]
    with distributed.Client(cluster.address) as client:
        run = started(lambda: flowconv.convert(logs, lake, OPTIONS, engine=client))
        wait_until(lambda: cut.injected > 1)
        cut.is_mended.set()
        report = run.result()
    assert report.complete
    assert report.objects == DAYS
    assert report.retries > 0
    # The driver reads no object.
    source = report.requests["source"]
    assert source["kinds"]["GET"]["sent"] >= DAYS + (kind == "GetObject")
    assert source["received_bytes"] >= report.source_bytes
    assert source["usd"] >= DAYS * 0.0004 / 1000
    assert_sound(lake, logs)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("ListObjectsV2", "reset before"),
        ("GetObject", "reset in body"),
        ("UploadPart", "lost answer"),
    ],
    ids=["opening", "reading", "writing"],
)
def test_cut_for_good(
    cluster: DaskCluster, proxy: FaultyProxy, bucket: str, kind: str, how: str
) -> None:
    """The other worker does its tasks, and all those that follow."""
    lake, logs = f"s3://{bucket}/cut-{kind}", f"s3://{bucket}/logs"
    cut = Cut(kind, how)
    proxy.faults = [cut]
    with distributed.Client(cluster.address) as client:
        report = flowconv.convert(logs, lake, OPTIONS, engine=client)
    assert cut.injected > 0
    assert report.complete
    assert {name: worker.tasks for name, worker in report.workers.items()} == {"worker-2": DAYS}
    assert_sound(lake, logs)


def test_verify_with_a_cut(cluster: DaskCluster, proxy: FaultyProxy, bucket: str) -> None:
    """The other worker counts the lines."""
    lake, logs = f"s3://{bucket}/verified", f"s3://{bucket}/logs"
    proxy.calm()
    flowconv.convert(logs, lake, OPTIONS)
    fault = Fault("reset before", "GetObject", ".gz/", times=inf)
    proxy.faults = [fault]
    with distributed.Client(cluster.address) as client:
        # Until the worker that is cut off has been given something to count.
        for _ in range(20):
            report = flowconv.verify(lake, logs, engine=client)
            assert report.problems == []
            assert report.lines == sum(range(2, DAYS + 2))
            if fault.injected:
                break
    assert fault.injected > 0


def test_wrong_credentials_of_one_worker(
    cluster: DaskCluster, proxy: FaultyProxy, bucket: str
) -> None:
    """The run ends at once."""
    proxy.faults = [Fault("denied", "ListObjectsV2", times=inf)]
    denied = "the worker worker-1 has no access: .* access is denied"
    with (
        distributed.Client(cluster.address) as client,
        pytest.raises(EngineError, match=denied),
    ):
        flowconv.convert(f"s3://{bucket}/logs", f"s3://{bucket}/denied", OPTIONS, engine=client)


def test_no_other_worker(proxy: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot read is left to the next run."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint_url)
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    proxy.faults = [Fault("reset before", "GetObject", ".gz/", times=inf)]
    lake, logs = f"s3://{bucket}/alone", f"s3://{bucket}/logs"
    with ThreadPoolExecutor(1) as executor:
        report = flowconv.convert(logs, lake, OPTIONS, engine=executor)
        assert report.objects == 0
        reasons = set(report.unreadable.values())
        assert len(report.unreadable) == DAYS
        broke_off = f"the worker {worker_name()}: the connection broke off"
        assert all(reason.startswith(broke_off) for reason in reasons)
        proxy.calm()
        assert flowconv.convert(logs, lake, OPTIONS, engine=executor).objects == DAYS
        assert_sound(lake, logs)
        proxy.faults = [Fault("reset before", "GetObject", ".gz/", times=inf)]
        problems = flowconv.verify(lake, logs, engine=executor).problems
    assert {problem.kind for problem in problems} == {"unreadable-object"}
    assert len(problems) == DAYS
    assert all(problem.found.startswith(broke_off) for problem in problems)
