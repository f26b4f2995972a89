"""Delays between attempts, and the bound of concurrent requests."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

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

    async def run() -> None:
        waiting = asyncio.create_task(retries.wait(60))
        await asyncio.sleep(0)
        retries.give_up()
        assert await asyncio.wait_for(waiting, 5) is False

    asyncio.run(run())
    assert _delays(retries) == []


async def _fail_together(limit: RequestLimit, number: int) -> None:
    """Begin so many requests, of which each is told to slow down once all are under way."""
    begun: list[int] = []
    all_begun = asyncio.Event()

    async def request() -> None:
        async with limit.request():
            begun.append(1)
            if len(begun) == number:
                all_begun.set()
            await all_begun.wait()
            raise SlowDownError

    failures = await asyncio.gather(*(request() for _ in range(number)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [SlowDownError] * number


async def _succeed(limit: RequestLimit) -> None:
    async with limit.request():
        await asyncio.sleep(0)


def test_a_burst_halves_the_limit_once() -> None:
    async def run() -> None:
        limit = _limit()
        await _fail_together(limit, 8)
        assert limit.bound == 4
        for _ in range(2):
            await _fail_together(limit, 1)
        assert limit.bound == 1  # One request is always allowed.

    asyncio.run(run())


def test_a_request_that_fails_twice_halves_the_limit() -> None:
    async def run() -> None:
        limit = _limit()
        bound = limit.bound
        for is_second in (False, True, False, False):
            with suppress(OSError):
                async with AsyncExitStack() as stack:
                    for _ in range(bound - 1):
                        await stack.enter_async_context(limit.request())
                    async with limit.request(is_second=is_second):
                        raise OSError
            assert limit.bound == (bound // 2 if is_second else bound)
            bound = limit.bound

    asyncio.run(run())


def test_the_limit_doubles_with_each_round_trip_at_first() -> None:
    async def run() -> None:
        limit = _limit(most=200)
        bounds = [limit.bound]
        for _ in range(3):
            await asyncio.gather(*(_succeed(limit) for _ in range(limit.bound)))
            bounds.append(limit.bound)
        assert bounds[0] < bounds[1] <= 2 * bounds[0]
        assert bounds[1] < bounds[2] <= 200
        await asyncio.gather(*(_succeed(limit) for _ in range(1000)))
        assert limit.bound == 200

    asyncio.run(run())


def test_the_limit_holds_and_rises_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_REQUESTS_PER_STEP", 5)

    async def run() -> None:
        limit = _limit()
        await _fail_together(limit, 1)
        assert limit.bound == 1
        for _ in range(5):
            await _succeed(limit)
        assert limit.bound == 2
        for _ in range(50):  # One at a time is below the bound.
            await _succeed(limit)
        assert limit.bound == 2

    asyncio.run(run())


def test_no_more_than_the_limit_are_made_at_once() -> None:
    async def run() -> None:
        limit = _limit(most=3)
        at_once = 0
        counted: list[int] = []

        async def request() -> None:
            nonlocal at_once
            async with limit.request():
                at_once += 1
                await asyncio.sleep(0)
                counted.append(at_once)
                at_once -= 1

        await asyncio.gather(*(request() for _ in range(100)))
        assert len(counted) == 100
        assert max(counted) == 3

    asyncio.run(run())


def test_a_request_that_is_cancelled_takes_no_room() -> None:
    async def run() -> None:
        limit = _limit(most=1)
        async with limit.request():
            waiting = [asyncio.create_task(_succeed(limit)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()  # While it waits,
        waiting[1].cancel()  # and when it was just let in.
        await asyncio.wait(waiting)
        assert [task.cancelled() for task in waiting] == [True, True, False]
        await asyncio.wait_for(_succeed(limit), 5)

    asyncio.run(run())


def test_other_failures_leave_the_limit_alone() -> None:
    async def run() -> None:
        limit = _limit()
        bound = limit.bound
        with pytest.raises(ValueError, match="why"):
            async with limit.request():
                raise ValueError("why")
        assert limit.bound == bound

    asyncio.run(run())
