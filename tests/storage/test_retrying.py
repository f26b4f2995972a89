"""Delays between attempts, and the bound of concurrent requests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowconv.storage import retrying
from flowconv.storage.retrying import RequestLimit, Retries


class SlowDownError(Exception):
    pass


def _limit() -> RequestLimit:
    return RequestLimit("s3://bucket", lambda error: isinstance(error, SlowDownError))


def _delays(retries: Retries) -> list[float]:
    backoff = retries.begin("get_object", "s3://bucket/x")
    delays = []
    while (delay_s := backoff.delay_s("why")) is not None:
        delays.append(delay_s)
    return delays


def test_waits_grow_and_are_cut_short_at_random() -> None:
    retries = Retries()
    many = [_delays(retries) for _ in range(300)]
    assert retries.count == 300 * (retrying.ATTEMPTS - 1)
    columns = list(zip(*many, strict=True))
    assert len(columns) == retrying.ATTEMPTS - 1
    for number, delays in enumerate(columns):
        longest = min(retrying.LONGEST_DELAY_S, retrying.FIRST_DELAY_S * 2**number)
        assert 0 <= min(delays) < 0.1 * longest
        assert 0.9 * longest < max(delays) <= longest


def test_no_attempt_begins_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("flowconv.storage.retrying.time.monotonic", lambda: now)
    backoff = Retries().begin("get_object", "s3://bucket/x")
    now += retrying.GIVE_UP_AFTER_S
    assert backoff.delay_s("why") is not None
    now += 1
    assert backoff.delay_s("why") is None


def test_giving_up_ends_every_wait() -> None:
    retries = Retries()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(retries.wait, 60)
        retries.give_up()
        assert waiting.result(5) is False
    assert _delays(retries) == []


def test_a_burst_halves_the_limit_once() -> None:
    limit = _limit()
    together = threading.Barrier(8)

    def request(number: int) -> None:
        with limit.request():
            together.wait(5)
            raise SlowDownError

    with ThreadPoolExecutor(8) as threads:
        for failed in [threads.submit(request, number) for number in range(8)]:
            with pytest.raises(SlowDownError):
                failed.result(5)
    assert limit.bound == 4
    for _ in range(3):  # One request is always allowed.
        with pytest.raises(SlowDownError), limit.request():
            raise SlowDownError
        assert limit.bound == 1


def test_the_limit_holds_and_rises_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_REQUESTS_PER_STEP", 5)
    limit = _limit()
    with pytest.raises(SlowDownError), limit.request():
        raise SlowDownError
    assert limit.bound == 1
    for _ in range(5):
        with limit.request():
            pass
    assert limit.bound == 2
    for _ in range(50):  # One at a time is below the bound.
        with limit.request():
            pass
    assert limit.bound == 2


def test_no_more_than_the_limit_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_REQUESTS_PER_STEP", 1000)
    limit = _limit()
    limit.bound = 3
    at_once: list[int] = []
    counted: list[int] = []

    def request(number: int) -> None:
        with limit.request():
            at_once.append(number)
            time.sleep(0.001)
            counted.append(len(at_once))
            at_once.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(request, range(100)))
    assert max(counted) == 3


def test_other_failures_leave_the_limit_alone() -> None:
    limit = _limit()
    with pytest.raises(ValueError, match="why"), limit.request():
        raise ValueError("why")
    assert limit.bound == float("inf")
