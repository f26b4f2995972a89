"""What S3 does on bad days: every row arrives once, or the run says why not and the next does it.

FLOWCONV_FAULTS=100 adds so many runs in which requests fail at random, over each server.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import cycle, pairwise
from typing import Any
from unittest import mock

import pytest

from flowconv.lake.converted_objects import etags
from flowconv.lake.ledger import Ledger
from flowconv.lake.locking import Holder, read_holder
from flowconv.source.fetching import AHEAD_OBJECTS
from flowconv.storage import retrying, s3, s3_requests
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from support.commands import invoke
from support.exactly_once import (
    Rows,
    S3Lake,
    arguments,
    assert_exact,
    assert_sound,
    body,
    by_object,
    object_path,
    rows_of,
    storage_of,
    tables,
)
from support.faulty_proxy import FAULTS, ONLY, Fault, FaultyProxy, RandomFaults, faulty_proxy
from support.processes import Runs
from support.s3_servers import S3Server

MORE_RUNS = int(os.environ.get("FLOWCONV_FAULTS", "0"))

OBJECTS = 3
LOGS, LAKES = "/logs/", "/lakes/"

# Those that a run makes: where, and the operation.
KINDS = [
    *((LOGS, kind) for kind in ("ListObjectsV2", "GetObject")),
    *((LAKES, kind) for kind in ("ListObjectsV2", "GetObject", "PutObject", "ConditionalPut")),
    *((LAKES, kind) for kind in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")),
    *((LAKES, kind) for kind in ("ListMultipartUploads", "AbortMultipartUpload")),
    *((LAKES, kind) for kind in ("DeleteObject", "HeadObject")),
]

# Each takes a time-out, or nearly so.
SLOW = {"delay", "silence", "trickle"}
PASSING = [what for what in FAULTS if what not in ("denied", "expired")]

# A run asks whether an object is there only if the answer to its making was lost.
LOST_ANSWERS = [
    ("ConditionalPut", frozenset({2, 3})),
    ("CompleteMultipartUpload", frozenset({2})),
]


@dataclass(frozen=True)
class Run:
    code: int
    stdout: str
    events: list[dict[str, Any]]

    @property
    def message(self) -> str:
        return " ".join(event["message"] for event in self.events if event["event"] == "error")


class Site:
    """Logs and lakes behind a proxy."""

    def __init__(self, server: S3Server, proxy: FaultyProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.client = server.client()
        self.bucket = server.make_bucket()
        for number in range(OBJECTS):
            key = f"logs/{object_path(number)}"
            content = body(f"eni-{number}", bad_lines=number % 2)
            self.client.put_object(Bucket=self.bucket, Key=key, Body=content)
        lake = self.new_lake()
        self.proxy.calm()
        assert self.run(lake).code == 3  # There is a bad line.
        self.wanted = _versions(lake)
        self.counts = {
            (below, kind): len(
                {r.target for r in proxy.requests if r.kind == kind and below in r.path}
            )
            for below, kind in KINDS
        }
        self.counts[LAKES, "HeadObject"] = 3
        assert len(self.wanted) == OBJECTS
        assert min(self.counts.values()) >= 2

    def new_lake(self) -> S3Lake:
        """A lake with uploads that somebody left."""
        lake = S3Lake(self.server, self.bucket, self.proxy.endpoint_url)
        for number in range(3):
            key = f"{lake.url.partition(self.bucket + '/')[2]}/vpc/{number}.parquet"
            self.client.create_multipart_upload(Bucket=self.bucket, Key=key)
        return lake

    def command(self, lake: S3Lake, *more: str) -> list[str]:
        options = [f"--source-option={name}={value}" for name, value in lake.options.items()]
        return arguments(f"s3://{self.bucket}/logs", lake, *options, "--log-format=json", *more)

    def run(self, lake: S3Lake) -> Run:
        result = invoke(self.command(lake))
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert "Traceback" not in result.output
        events = [json.loads(line) for line in result.stderr.splitlines()]
        for user in self.server.users:
            assert user.secret_key not in result.output
        return Run(result.exit_code, result.stdout, events)

    def heal(self, lake: S3Lake) -> None:
        """What a run without faults makes of it."""
        self.proxy.calm()
        with mock.patch.object(Holder, "is_dead", True):  # This process is still there.
            done = self.run(lake)
        assert done.code in (0, 3), done.message
        assert_exact(lake, self.wanted)


def _versions(lake: S3Lake) -> Mapping[tuple[str, str], Rows]:
    """The rows of each object, by uri and etag, of a lake that was not disturbed."""
    rows = by_object(rows_of(tables(lake.names()), lake.fetch))
    numbers = {object_path(number): number for number in range(OBJECTS)}
    return {
        (uri, etag): rows[f"eni-{numbers[uri.partition(LOGS)[2]]}"]
        for uri, etag in etags(Ledger.read(storage_of(lake))).items()
    }


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Short waits, and uploads in parts whatever the size."""
    with (
        mock.patch.object(retrying, "FIRST_DELAY_S", 0.01),
        mock.patch.object(retrying, "LONGEST_DELAY_S", 0.05),
        mock.patch.object(s3, "_SMALL_BYTES", 0),
        mock.patch.dict(os.environ, AWS_REQUEST_CHECKSUM_CALCULATION="when_required"),
    ):
        yield


@pytest.fixture(scope="module")
def site_of() -> Iterator[Callable[[S3Server], Site]]:
    """Makes the site of a server, once."""
    with ExitStack() as stack:
        yield cache(lambda server: Site(server, stack.enter_context(faulty_proxy(server))))


@pytest.fixture
def site(request: pytest.FixtureRequest, site_of: Callable[[S3Server], Site]) -> Site:
    return site_of(request.getfixturevalue(f"{request.param}_s3"))


def _over(of_moto: Sequence[Any], of_ceph: Sequence[Any]) -> list[Any]:
    """Cases for the fixture `site`: some over moto; more over Ceph, which is quicker."""
    return [
        *(("moto", case) for case in of_moto),
        *(pytest.param("ceph", case, marks=pytest.mark.s3server) for case in of_ceph),
    ]


both = pytest.mark.parametrize(
    "site", ["moto", pytest.param("ceph", marks=pytest.mark.s3server)], indirect=True
)


def _faults(site: Site, what: str) -> list[Fault]:
    """Faults for the first, second and last request of each kind; of slow ones, for the second."""
    return [
        Fault(what, kind, below, numbers=frozenset({1} if what in SLOW else {0, 1, count - 1}))
        for (below, kind), count in site.counts.items()
        if kind in ONLY.get(what, [kind])
    ]


def _convert_through(site: Site, faults: Sequence[Fault | RandomFaults]) -> Run:
    """With faults that pass: all is well at once, but for uploads that nobody knows of."""
    lake = site.new_lake()
    site.proxy.calm()
    lost = [Fault("lost answer", kind, LAKES, numbers=numbers) for kind, numbers in LOST_ANSWERS]
    site.proxy.faults = [*faults, *lost]
    done = site.run(lake)
    assert done.code == 3, (done.message, done.stdout)
    report = json.loads(done.stdout)
    assert not report["unreadable"]
    names = [event["event"] for event in done.events]
    assert names.count("retry") == report["retries"]
    for fault in faults:
        assert fault.injected, fault
    site.proxy.calm()
    # Where the answer to its making was lost; else the next run would remove it.
    storage = storage_of(lake)
    storage.discard(storage.list_unfinished(""))
    assert_exact(lake, site.wanted)
    return done


QUICK = ["lost answer", "reset in body", "SlowDown", "InternalError, but done", "silence"]


@pytest.mark.parametrize(("site", "what"), _over(QUICK, PASSING), indirect=["site"])
def test_a_fault_at_requests_of_every_kind(
    site: Site, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what in SLOW:
        monkeypatch.setattr(s3_requests, "ANSWER_TIMEOUT_S", 0.4)
    _convert_through(site, _faults(site, what))


# Kind, and what is done to all such requests.
EVER = list(zip(KINDS, cycle(["lost answer", "denied"])))
OTHER_EVER = list(zip(KINDS, cycle(["denied", "lost answer"])))


@pytest.mark.parametrize(
    ("site", "case"),
    _over(EVER, OTHER_EVER),
    indirect=["site"],
    ids=lambda case: case if isinstance(case, str) else f"{case[0][0]}{case[0][1]} {case[1]}",
)
def test_a_fault_that_stays(
    site: Site, case: tuple[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (below, kind), what = case
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    lake = site.new_lake()
    site.proxy.calm()
    lost = [Fault("lost answer", kind, LAKES, numbers=numbers) for kind, numbers in LOST_ANSWERS]
    fault = Fault(what, kind, below, times=float("inf"))
    site.proxy.faults = [fault, *(lost if kind == "HeadObject" else [])]
    began = time.monotonic()
    done = site.run(lake)
    assert time.monotonic() - began < 30
    assert fault.injected
    if done.code == 3:
        unreadable = json.loads(done.stdout)["unreadable"]
        assert bool(unreadable) == (below == LOGS)
        messages = list(unreadable.values())
    else:
        assert done.code == 1
        assert site.bucket in done.message
        messages = [done.message]
    for message in messages:
        assert re.search(ADVICE[what], message)
    site.proxy.calm()
    assert_sound(lake, site.wanted)
    site.heal(lake)


ADVICE = {
    "denied": r"access is denied\. The credentials need s3:ListBucket",
    "lost answer": r"the connection broke off\. Run again",
}


@pytest.mark.parametrize(
    ("site", "seed"), _over(range(1 + MORE_RUNS), range(5 + MORE_RUNS)), indirect=["site"]
)
def test_faults_at_random(site: Site, seed: int) -> None:
    """Each request may fail, and so may each attempt to make it again."""
    whats = [what for what in PASSING if what not in SLOW]
    _convert_through(site, [RandomFaults(seed, 0.2, whats)])


@both
def test_a_burst_is_waited_out_and_logged(site: Site) -> None:
    done = _convert_through(
        site, [Fault("SlowDown", "GetObject", LOGS, numbers=frozenset({1}), times=4)]
    )
    retries = [
        event
        for event in done.events
        if event["event"] == "retry" and event["request"] == "get_object"
    ]
    assert [event["attempt"] for event in retries] == [2, 3, 4, 5]
    assert {event["level"] for event in retries} == {"warning"}
    assert len({(event["uri"], event["run_id"]) for event in retries}) == 1
    assert {event["reason"] for event in retries} == {
        "S3 answers SlowDown: Please reduce your request rate"
    }
    for event, longest in zip(retries, [0.01, 0.02, 0.04, 0.05], strict=True):
        assert 0 <= event["delay_s"] <= longest


STUBBORN = ["denied", "short body"]
MORE_STUBBORN = ["denied", "reset before", "SlowDown", "InternalError", "trickle"]


@pytest.mark.parametrize(("site", "what"), _over(STUBBORN, MORE_STUBBORN), indirect=["site"])
def test_one_object_that_cannot_be_had(
    site: Site, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are converted, and it is tried again in the next run."""
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    if what in SLOW:
        # Enough for the server's other answers, while others use its cores.
        monkeypatch.setattr(s3_requests, "ANSWER_TIMEOUT_S", 2.0)
    lake = site.new_lake()
    site.proxy.calm()
    site.proxy.faults = [Fault(what, "GetObject", object_path(1), times=float("inf"))]
    done = site.run(lake)
    report = json.loads(done.stdout)
    assert (done.code, report["objects"]) == (3, OBJECTS - 1)
    ((uri, reason),) = report["unreadable"].items()
    assert uri.endswith(object_path(1))
    assert re.search(r"Run again|The credentials need", reason)
    site.proxy.calm()
    assert assert_sound(lake, site.wanted) == OBJECTS - 1
    site.heal(lake)
    assert len([r for r in site.proxy.requests if r.kind == "GetObject" and LOGS in r.path]) == 1


@both
def test_credentials_that_expire_meanwhile(site: Site) -> None:
    lake = site.new_lake()
    site.proxy.calm()
    site.proxy.faults = [
        Fault("expired", "GetObject", LOGS, numbers=frozenset({1, 2}), times=float("inf"))
    ]
    done = site.run(lake)
    assert done.code == 1
    assert re.search(r"s3://.*the credentials have expired\. Renew them", done.message)
    site.heal(lake)


@both
def test_fewer_at_once_where_s3_asks_for_it(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever makes more than 4 requests at once is told to slow down."""
    caplog.set_level("INFO", "flowconv")
    lake = site.new_lake()
    storage = open_storage(f"s3://{site.bucket}/logs", lake.options)
    path = object_path(0)
    wanted = storage.fetch(path)
    site.proxy.calm()
    site.proxy.most_at_once = 4
    with ThreadPoolExecutor(AHEAD_OBJECTS) as threads:
        bodies = list(threads.map(lambda _: storage.fetch(path, 0, len(wanted)), range(600)))
    assert bodies == [wanted] * 600
    assert 0 < site.proxy.slowed_down < 0.15 * 600
    events = [vars(record) for record in caplog.records]
    limits = [e["values"]["requests"] for e in events if e["event"] == "concurrency"]
    assert min(limits) <= 4
    assert limits[0] <= AHEAD_OBJECTS // 2
    # It goes up again, one by one.
    assert any(after == before + 1 for before, after in pairwise(limits))


def know_how_long_it_takes(storage: Storage, kind: str) -> None:
    """As after 40 requests; on a busy machine some of them would be made again, too."""
    for _ in range(40):
        storage.times.add(kind, 0.01)


@both
def test_a_get_that_hangs_is_made_again_beside_itself(site: Site) -> None:
    lake = site.new_lake()
    storage = open_storage(f"s3://{site.bucket}/logs", lake.options)
    path = object_path(0)
    wanted = storage.fetch(path)
    know_how_long_it_takes(storage, "GET")
    site.proxy.calm()
    site.proxy.faults = [Fault("silence", "GetObject", LOGS)]
    assert storage.fetch(path, 0, len(wanted)) == wanted
    assert len(site.proxy.requests) == 2
    assert (storage.times.hedges, storage.retries) == (1, 0)


@both
def test_one_of_the_first_gets_hangs(site: Site) -> None:
    """How long one usually takes is known only later."""
    storage = open_storage(f"s3://{site.bucket}/logs", site.new_lake().options)
    path = object_path(0)
    wanted = storage.fetch(path)
    site.proxy.calm()
    site.proxy.faults = [Fault("silence", "GetObject", LOGS)]
    fetched = [storage.start_fetch(path, 0, len(wanted)) for _ in range(60)]
    assert [answer.result() for answer in fetched] == [wanted] * 60
    # On a busy machine others may take long, too.
    assert storage.times.hedges >= 1
    assert storage.retries == 0


@both
def test_a_page_that_hangs_is_asked_for_again_beside_itself(site: Site) -> None:
    storage = open_storage(f"s3://{site.bucket}/logs", site.new_lake().options)
    wanted = list(storage.list_files())
    know_how_long_it_takes(storage, "LIST")
    site.proxy.calm()
    site.proxy.faults = [Fault("silence", "ListObjectsV2", LOGS)]
    assert list(storage.list_files()) == wanted
    assert len(site.proxy.requests) == 2
    assert (storage.times.hedges, storage.retries) == (1, 0)


@both
def test_fewer_pages_at_once_where_s3_asks_for_it(site: Site) -> None:
    storage = open_storage(f"s3://{site.bucket}/logs", site.new_lake().options)
    wanted = list(storage.list_files())
    site.proxy.calm()
    site.proxy.most_listings_at_once = 4
    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda _: list(storage.list_files()), range(150)))
    assert found == [wanted] * 150
    assert 0 < site.proxy.slowed_down < 0.4 * 150


@both
def test_a_run_against_a_store_that_takes_one_request_at_once(site: Site) -> None:
    lake = site.new_lake()
    site.proxy.calm()
    site.proxy.most_at_once = 1
    done = site.run(lake)
    assert not json.loads(done.stdout)["unreadable"]
    site.proxy.calm()
    assert_exact(lake, site.wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("site", ["moto"], indirect=True)
@pytest.mark.parametrize("what", ["silence", "SlowDown"])
def test_a_stop_while_s3_does_not_answer(site: Site, what: str, runs: Runs) -> None:
    """It does not wait for all attempts, nor for the time between them."""
    lake = site.new_lake()
    site.proxy.calm()
    site.proxy.faults = [Fault(what, "GetObject", LOGS, times=float("inf"))]
    patch = {
        "flowconv.storage.s3_requests:ANSWER_TIMEOUT_S": 2.0,
        "flowconv.storage.retrying:FIRST_DELAY_S": 60,
    }
    running = runs.start(*site.command(lake, "--grace=0"), patch=patch)
    began = time.monotonic()
    while not any(fault.injected for fault in site.proxy.faults):
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    began = time.monotonic()
    running.signal(signal.SIGTERM)
    done = running.wait()
    assert time.monotonic() - began < 15
    assert done.code == 143, done.stderr
    assert "Traceback" not in done.stderr
    site.proxy.calm()
    assert read_holder(storage_of(lake)) is None
    site.heal(lake)
