"""Delays between attempts, and the bound of concurrent requests."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import pytest

from flowconv.storage import retrying
from flowconv.storage.retrying import RequestLimit, Retries


class SlowDownError(Exception):
    pass


def _limit(most: int = 100) -> RequestLimit:
    return RequestLimit("s3://bucket", lambda error: isinstance(error, SlowDownError), most)


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
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(retries.wait, 60)
        assert not waiting.done()
        retries.give_up()
        assert waiting.result(60) is False
    assert _delays(retries) == []


class _Requests:
    """Requests that have been asked for; those that were let in are under way."""

    def __init__(self, limit: RequestLimit) -> None:
        self.limit = limit
        self.under_way: deque[int] = deque()

    def ask(self, number: int) -> None:
        for _ in range(number):
            self.limit.begin(self.under_way.append)

    def end(self, failure: Exception | None = None, *, is_second: bool = False) -> None:
        self.limit.end(self.under_way.popleft(), failure, is_second=is_second)

    def succeed(self, number: int) -> None:
        for _ in range(number):
            self.end()

    def fail_together(self, number: int) -> None:
        """Make so many requests at once, of which each is told to slow down."""
        self.ask(number)
        assert len(self.under_way) == number
        for _ in range(number):
            self.end(SlowDownError())


def test_a_burst_halves_the_limit_once() -> None:
    limit = _limit()
    _Requests(limit).fail_together(8)
    assert limit.bound == 4
    for _ in range(2):
        _Requests(limit).fail_together(1)
    assert limit.bound == 1  # One request is always allowed.


def test_a_request_that_fails_twice_halves_the_limit() -> None:
    limit = _limit()
    bound = limit.bound
    for is_second in (False, True, False, False):
        requests = _Requests(limit)
        requests.ask(bound)
        requests.end(OSError(), is_second=is_second)
        assert limit.bound == (bound // 2 if is_second else bound)
        while requests.under_way:
            requests.under_way.popleft()
            limit.leave()
        bound = limit.bound


def test_the_limit_rises_fourfold_with_each_round_trip_at_first() -> None:
    limit = _limit(most=300)
    requests = _Requests(limit)
    bounds = [limit.bound]
    requests.ask(1000)
    for _ in range(2):
        requests.succeed(len(requests.under_way))
        bounds.append(limit.bound)
    assert bounds == [64, 256, 300]
    assert len(requests.under_way) == 300


def test_the_next_rise_is_told_once_as_many_wait_as_are_made() -> None:
    told: list[int] = []
    limit = RequestLimit("s3://bucket", lambda _: False, 500, told.append)
    requests = _Requests(limit)
    requests.ask(64 + 63)
    assert told == []
    requests.ask(2)
    assert told == [192]
    requests.ask(300)
    requests.succeed(64)
    assert (limit.bound, told) == (256, [192])  # 109 wait.
    requests.ask(200)
    assert told == [192, 244]  # Up to the highest bound.
    requests.ask(1000)
    requests.succeed(256)
    assert (limit.bound, told) == (500, [192, 244])


def test_no_rise_is_told_of_a_store_that_asked_to_slow_down() -> None:
    told: list[int] = []
    limit = RequestLimit(
        "s3://bucket", lambda error: isinstance(error, SlowDownError), 500, told.append
    )
    _Requests(limit).fail_together(1)
    _Requests(limit).ask(1000)
    assert told == []


def test_the_limit_holds_and_rises_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_REQUESTS_PER_STEP", 5)
    limit = _limit()
    requests = _Requests(limit)
    requests.fail_together(1)
    assert limit.bound == 1
    for _ in range(5):
        requests.ask(1)
        requests.end()
    assert limit.bound == 2
    for _ in range(50):  # One at a time is below the bound.
        requests.ask(1)
        requests.end()
    assert limit.bound == 2


def test_no_more_than_the_limit_are_made_at_once() -> None:
    limit = _limit(most=3)
    requests = _Requests(limit)
    requests.ask(100)
    for left in range(100, 0, -1):
        assert len(requests.under_way) == min(left, 3)
        requests.end()


def test_a_request_that_is_not_made_takes_no_room() -> None:
    limit = _limit(most=1)
    requests = _Requests(limit)
    requests.ask(2)
    requests.under_way.popleft()
    limit.leave()
    requests.end()
    requests.ask(1)
    assert len(requests.under_way) == 1


def test_other_failures_leave_the_limit_alone() -> None:
    limit = _limit()
    bound = limit.bound
    requests = _Requests(limit)
    requests.ask(bound)
    requests.end(ValueError("why"))
    assert limit.bound == bound


def test_the_limit_holds_for_threads() -> None:
    """Each that ends lets the next one in; none is left waiting."""
    limit = _limit(most=4)
    at_once: list[int] = []
    under_way: set[int] = set()
    with ThreadPoolExecutor(16) as threads:
        done: SimpleQueue[int] = SimpleQueue()

        def make(number: int, cuts: int) -> None:
            under_way.add(number)
            at_once.append(len(under_way))
            under_way.remove(number)
            limit.end(cuts, is_second=False)
            done.put(number)

        def start(number: int, cuts: int) -> None:
            threads.submit(make, number, cuts)

        for number in range(500):
            threads.submit(limit.begin, partial(start, number))
        assert sorted(done.get(timeout=60) for _ in range(500)) == list(range(500))
    assert max(at_once) <= 4
