"""How requests are made, repeated, hedged and ended; the calls are the tests' own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from flowconv.storage import s3_requests
from flowconv.storage.retrying import GIVE_UP_AFTER_S
from flowconv.storage.s3_errors import WrongLengthError
from flowconv.storage.s3_requests import Request, Requests, in_thread


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowconv.storage.retrying.FIRST_DELAY_S", 0.0)
    monkeypatch.setattr(s3_requests, "_TICK_S", 0.01)


def _requests(max_requests: int = 64) -> Requests:
    return Requests("s3://bucket", max_requests, lambda _: None)


def _get(call: Callable[[], bytes], **more: Any) -> Request[bytes]:
    return Request(
        method="get_object", uri="s3://bucket/x", begin=in_thread(call), limit="fetches", **more
    )


class _Answers:
    """What a request's calls come to, one after the other."""

    def __init__(self, answers: Sequence[bytes | Exception]) -> None:
        self.rest = list(answers)
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        answer = self.rest.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "made", "raised"),
    [
        ([b"body"], 1, None),
        ([ConnectionError(), TimeoutError(), b"body"], 3, None),
        ([WrongLengthError("short"), b"body"], 2, None),
        ([WrongLengthError("short"), WrongLengthError("long"), b"body"], 2, WrongLengthError),
        ([FileNotFoundError("gone"), b"body"], 1, FileNotFoundError),
        ([ValueError("a fault of ours"), b"body"], 1, ValueError),
    ],
)
def test_which_requests_are_repeated(
    answers: list[bytes | Exception], made: int, raised: type[Exception] | None
) -> None:
    requests, call = _requests(), _Answers(answers)
    future = requests.start(_get(call))
    if raised:
        assert isinstance(future.exception(60), raised)
    else:
        assert future.result(60) == b"body"
    assert call.made == made
    assert requests.retries.count == made - 1
    assert requests.times.sent == {"GET": made}
    assert requests.times.received_bytes == (0 if raised else 4)


def test_the_last_error_is_explained() -> None:
    call = _Answers([FileNotFoundError("gone")])
    request = _get(call, explain=lambda failure: RuntimeError(f"explained: {failure}"))
    with pytest.raises(RuntimeError, match="explained: gone"):
        _requests().start(request).result(60)


def test_no_request_is_repeated_after_giving_up() -> None:
    requests, call = _requests(), _Answers([ConnectionError("broken"), b"body"])
    requests.retries.give_up()
    with pytest.raises(ConnectionError, match="broken"):
        requests.start(_get(call)).result(60)


def test_no_attempt_begins_late_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the first took counts."""
    now = 100.0
    monkeypatch.setattr("flowconv.storage.retrying.time.monotonic", lambda: now)

    def call() -> bytes:
        nonlocal now
        now += GIVE_UP_AFTER_S + 1
        raise ConnectionError("broken")

    requests = _requests()
    # Or whoever looks after requests finds that it has taken too long.
    assert isinstance(requests.start(_get(call)).exception(60), ConnectionError | TimeoutError)
    assert requests.times.sent == {"GET": 1}


def _answer_many(requests: Requests) -> None:
    """Let it be known how long a GET usually takes."""
    for _ in range(40):
        requests.start(_get(lambda: b"")).result(60)


class _HangsOnce:
    """A call of which the first does not come back until `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self._made = 0

    def __call__(self) -> bytes:
        self._made += 1
        if self._made == 1:
            self.go_on.wait()
            return b"late"
        return b"body"


def test_a_call_that_hangs_is_made_again_beside_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    requests, call = _requests(), _HangsOnce()
    _answer_many(requests)
    # Not before: on a busy machine some of these would be made again.
    monkeypatch.setattr(s3_requests, "_LEAST_PATIENCE_S", 0.05)
    assert requests.start(_get(call)).result(60) == b"body"
    call.go_on.set()
    assert requests.start(_get(lambda: b"next")).result(60) == b"next"
    assert requests.times.count("GET") == 42
    assert requests.retries.count == 0
    assert requests.times.hedges >= 1


def test_few_calls_are_made_again_beside_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a store that is slow would have twice as much to do."""
    requests = _requests()
    _answer_many(requests)
    monkeypatch.setattr(s3_requests, "_LEAST_PATIENCE_S", 0.02)
    go_on = threading.Event()
    seen = threading.Semaphore(0)

    def call() -> bytes:
        seen.release()
        go_on.wait()
        return b"body"

    futures = [requests.start(_get(call)) for _ in range(20)]
    # Those that are made again come after the 20; 5 % of 40 answers are two, and one more begins.
    assert all(seen.acquire(timeout=60) for _ in range(23))
    assert not seen.acquire(timeout=0.2)
    go_on.set()
    assert [future.result(60) for future in futures] == [b"body"] * 20
    assert requests.times.hedges == 3


def test_a_call_that_takes_too_long_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_requests, "ANSWER_TIMEOUT_S", 0.05)
    requests, call = _requests(), _HangsOnce()
    put: Request[bytes] = Request(method="put_object", uri="s3://bucket/x", begin=in_thread(call))
    assert requests.start(put).result(60) == b"body"
    call.go_on.set()
    assert requests.retries.count >= 1
    assert requests.times.hedges == 0


def test_a_request_that_is_cancelled_before_it_is_made() -> None:
    requests = _requests(max_requests=1)
    go_on = threading.Event()

    def wait() -> bytes:
        go_on.wait()
        return b"first"

    first = requests.start(_get(wait))
    cancelled = _Answers([b"never"])
    second, third = requests.start(_get(cancelled)), requests.start(_get(lambda: b"third"))
    assert second.cancel()
    go_on.set()
    assert (first.result(60), third.result(60)) == (b"first", b"third")
    assert cancelled.made == 0
    assert requests.times.sent == {"GET": 2}


def test_no_thread_is_left_to_look_after_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = _requests()
    assert requests.start(_get(lambda: b"one")).result(60) == b"one"
    requests = _requests()
    with monkeypatch.context() as patch:
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "flowconv-s3-watch":
                raise RuntimeError("can't start new thread")
            start(thread)

        patch.setattr(threading.Thread, "start", refuse)
        assert requests.start(_get(lambda: b"two")).result(60) == b"two"
    assert requests.start(_get(lambda: b"three")).result(60) == b"three"
    assert any(thread.name == "flowconv-s3-watch" for thread in threading.enumerate())
