"""Counts, medians and percentiles of requests."""

import pickle
import random
import threading

import pytest

from flowconv.storage.request_times import RequestTimes


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_quantiles_are_near_those_of_all_times(share: float) -> None:
    chance = random.Random(1)
    seconds = [chance.lognormvariate(-3, 1) for _ in range(5000)]
    times = RequestTimes()
    for second in seconds:
        times.add("GET", second)
    exact = sorted(seconds)[round(share * len(seconds)) - 1]
    assert times.quantile_s("GET", share) == pytest.approx(exact, rel=0.06)
    assert times.quantile_s("LIST", share) == 0


def test_what_is_usual_is_known_after_some_answers() -> None:
    times = RequestTimes()
    assert not times
    for number in range(20):
        assert times.usual_s("GET") is None
        times.begin("GET")
        times.add("GET", 9.0 if number == 0 else 0.03)
    assert times
    assert times.usual_s("GET") == pytest.approx(0.03, rel=0.06)


def test_requests_are_counted_when_they_are_sent() -> None:
    times = RequestTimes()
    for _ in range(3):
        times.begin("PUT")
    times.end()
    times.begin("GET")
    times.add("PUT", 0.02)
    times.hedge("GET")
    times.received_bytes += 5
    assert times.to_dict() == {
        "kinds": {
            "GET": {"count": 0, "sent": 2, "median_ms": 0, "p99_ms": 0},
            "PUT": {"count": 1, "sent": 3, "median_ms": pytest.approx(20, rel=0.06)}
            | {"p99_ms": pytest.approx(20, rel=0.06)},
        },
        "most_at_once": 3,
        "hedges": 1,
        "sent_bytes": 0,
        "received_bytes": 5,
    }


def test_what_is_counted_since() -> None:
    """The parts that are told make the whole, whenever they are."""
    worker, told, driver = RequestTimes(), RequestTimes(), RequestTimes()
    for seconds in ([0.02, 0.03], [], [0.5]):
        for one in seconds:
            worker.begin("GET")
            worker.end()
            worker.add("GET", one)
            worker.received_bytes += 7
        if len(seconds) == 1:
            worker.begin("PUT")
            worker.hedge("PUT")
            worker.sent_bytes += 5
        new = pickle.loads(pickle.dumps(worker.since(told)))
        assert bool(new) == bool(seconds)
        told.include(new)
        driver.include(new)
    assert driver.to_dict() == told.to_dict() == worker.to_dict()
    assert driver.sent == {"GET": 3, "PUT": 2}


def test_it_is_read_while_it_grows() -> None:
    times = RequestTimes()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            times.to_dict()

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20_000):
        kind = ("GET", "LIST", "PUT")[number % 3]
        times.begin(kind)
        times.add(kind, number / 1000)
    over.set()
    reader.join()
    assert sum(kind["count"] for kind in times.to_dict()["kinds"].values()) == 20_000
