"""Requests to S3 -> futures of their answers.

Here it is decided how many are made at once, when one is repeated (with `retrying`), when it is
hedged, that is made once more beside itself, and when it has taken too long.
"""

import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from flowconv.storage.request_times import KINDS, RequestTimes
from flowconv.storage.retrying import Backoff, RequestLimit, Retries
from flowconv.storage.s3_errors import (
    CLIENT_ERRORS,
    WrongLengthError,
    asks_to_slow_down,
    may_pass,
    reason_of,
)
from flowconv.storage.s3_threads import threads

# For a whole answer: a body may come byte by byte.
ANSWER_TIMEOUT_S = 60.0

# The slowest upload in bytes a second; a request's body adds its time to the timeout.
_LEAST_SENT_PER_S = 100_000

# A GET or LIST is hedged when it takes so many times as long as usual, and as it would at this many
# bytes a second; at most this share of all is.
_HEDGED = ("GET", "LIST")
_PATIENCE = 5
_LEAST_PATIENCE_S = 0.5
_LEAST_RECEIVED_PER_S = 1_000_000
_HEDGED_SHARE = 0.05

# How often requests under way are looked at, and after how many looks at none this ends.
_TICK_S = 0.1
_IDLE_TICKS = 20

# Concurrent requests of botocore, such as deletes.
REQUESTS_AT_ONCE = 64

Answer = TypeVar("Answer")

# Takes the answer, or else the error.
Done = Callable[[Answer | None, BaseException | None], None]


def in_thread(call: Callable[[], Answer]) -> Callable[[Done[Answer]], None]:
    """Return what makes a call, which blocks, in a thread."""

    def begin(done: Done[Answer]) -> None:
        threads().begin(partial(_call, call, done))

    return begin


def _call(call: Callable[[], Answer], done: Done[Answer]) -> None:
    try:
        answer = call()
    except BaseException as exc:  # noqa: BLE001 - whoever waits for the future gets it
        done(None, exc)
    else:
        done(answer, None)


@dataclass(slots=True, eq=False, kw_only=True)
class Request(Generic[Answer]):
    """One request, with all its attempts.

    Attributes:
        method: Its name in botocore.
        uri: What it concerns.
        begin: Begins it, and does not block; what it is given is called once, in any thread.
        limit: Which limit holds; see `Requests`.
        sent_bytes: Size of its body.
        received_bytes: Size of the answer, as far as it is known.
        explain: What is raised for the last attempt's error.
        future: Of the answer.
        failures: Attempts that have failed.
        backoff: When the next one is made; from the first attempt on.
    """

    method: str
    uri: str
    begin: Callable[[Done[Answer]], None]
    limit: str = "others"
    sent_bytes: int = 0
    received_bytes: int = 0
    explain: Callable[[BaseException], BaseException] = lambda failure: failure
    future: "Future[Answer]" = field(default_factory=Future)
    failures: int = 0
    backoff: Backoff | None = None

    @property
    def kind(self) -> str:
        """What a report calls it, such as "GET"."""
        return KINDS[self.method]


@dataclass(slots=True, eq=False)
class _Attempt:
    """An attempt of a request, begun once, or twice if it is hedged; the first end counts."""

    request: Request[Any]
    cuts: int
    began: float
    is_hedged: bool = False
    is_over: bool = False


class Requests:
    """The requests to a bucket; shared by threads.

    Args:
        uri: Of the bucket.
        max_requests: The highest number of GETs at once, and of LISTs.
        prepare: Told how many more GETs are soon made at once; see `RequestLimit`.
    """

    def __init__(self, uri: str, max_requests: int, prepare: Callable[[int], None]) -> None:
        self.retries = Retries()
        self.times = RequestTimes()
        self._lock = threading.Lock()
        self._watched: dict[_Attempt, None] = {}
        self._watcher: threading.Thread | None = None
        most_at_once = min(max_requests, _sockets_allowed())
        # Apart: a page need not wait until the objects before it are fetched.
        self._limits = {
            name: RequestLimit(uri, _is_overloaded, most, prepared)
            for name, most, prepared in (
                ("fetches", most_at_once, prepare),
                ("pages", min(REQUESTS_AT_ONCE, most_at_once), None),
                ("others", REQUESTS_AT_ONCE, None),
            )
        }

    def start(self, request: Request[Answer]) -> "Future[Answer]":
        """Make a request as soon as there is room, and repeat it where that may help."""
        self._limits[request.limit].begin(partial(self._attempt, request))
        return request.future

    def _attempt(self, request: Request[Any], cuts: int) -> None:
        """Make an attempt."""
        if not request.failures and not request.future.set_running_or_notify_cancel():
            # Not here: the next one, for which there is room then, may be cancelled, too.
            threads().begin(self._limits[request.limit].leave)
            return
        if request.backoff is None:
            request.backoff = self.retries.begin(request.method, request.uri)
        attempt = _Attempt(request, cuts, time.monotonic())
        with self._lock:
            self.times.begin(request.kind)
            self._watch(attempt)
        self._begin(attempt)

    def _begin(self, attempt: _Attempt) -> None:
        try:
            attempt.request.begin(partial(self._end, attempt))
        except BaseException as exc:  # noqa: BLE001 - whoever waits for the future gets it
            self._end(attempt, None, exc)

    def _end(self, attempt: _Attempt, answer: Any, failure: BaseException | None) -> None:
        """End an attempt, unless it is over: answer its request, or make the next attempt."""
        request = attempt.request
        with self._lock:
            if attempt.is_over:
                return
            attempt.is_over = True
            del self._watched[attempt]
            self.times.end()
            if failure is None:
                self.times.add(request.kind, time.monotonic() - attempt.began)
                self.times.sent_bytes += request.sent_bytes
                self.times.received_bytes += len(answer) if isinstance(answer, bytes) else 0
        is_refused = failure is not None and not isinstance(failure, WrongLengthError)
        self._limits[request.limit].end(
            attempt.cuts, failure if is_refused else None, is_second=request.failures == 1
        )
        if failure is None:
            request.future.set_result(answer)
        else:
            threads().begin(partial(self._repeat, request, failure))

    def _repeat(self, request: Request[Any], failure: BaseException) -> None:
        """Make the next attempt of a request, or answer it."""
        if self._waits_to_repeat(request, failure):
            self.start(request)
        else:
            request.future.set_exception(request.explain(failure))

    def _waits_to_repeat(self, request: Request[Any], failure: BaseException) -> bool:
        """Tell whether to repeat a request; if so, wait before."""
        request.failures += 1
        if not isinstance(failure, CLIENT_ERRORS) or not may_pass(failure):
            return False
        if isinstance(failure, WrongLengthError) and request.failures > 1:
            return False
        assert request.backoff is not None  # The attempt made it.
        delay_s = request.backoff.delay_s(reason_of(failure))
        return delay_s is not None and self.retries.wait(delay_s)

    def _watch(self, attempt: _Attempt) -> None:
        self._watched[attempt] = None
        # A fork has the watcher, but it does not live.
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(
                target=self._watch_all, name="flowconv-s3-watch", daemon=True
            )
            # Where the system allows no more threads, the next request tries again.
            with suppress(RuntimeError):
                self._watcher.start()

    def _watch_all(self) -> None:
        """Look after the attempts, as long as there are any."""
        idle_ticks = 0
        while True:
            time.sleep(_TICK_S)
            with self._lock:
                idle_ticks = 0 if self._watched else idle_ticks + 1
                if idle_ticks > _IDLE_TICKS:
                    self._watcher = None
                    return
                calls = self._calls_for_slow_ones(time.monotonic())
            for call in calls:
                call()

    def _calls_for_slow_ones(self, now: float) -> list[Callable[[], None]]:
        """Return the second calls of attempts, and the ends of those that have taken too long.

        See Dean and Barroso, The Tail at Scale (https://research.google/pubs/the-tail-at-scale/).
        """
        calls: list[Callable[[], None]] = []
        for attempt in self._watched:
            request, waited_s = attempt.request, now - attempt.began
            if waited_s < min(_LEAST_PATIENCE_S, ANSWER_TIMEOUT_S):
                break  # The others began later.
            if waited_s > ANSWER_TIMEOUT_S + request.sent_bytes / _LEAST_SENT_PER_S:
                calls.append(partial(self._end, attempt, None, TimeoutError()))
            elif not attempt.is_hedged and waited_s > self._patience_s(request):
                attempt.is_hedged = True
                self.times.hedge(request.kind)
                calls.append(partial(self._begin, attempt))
        return calls

    def _patience_s(self, request: Request[Any]) -> float:
        """Return after how many seconds a request is hedged."""
        # What is usual is not known before some requests have been answered.
        usual_s = self.times.usual_s(request.kind)
        answered = sum(self.times.count(kind) for kind in _HEDGED)
        if (
            request.kind not in _HEDGED
            or usual_s is None
            or self.times.hedges > _HEDGED_SHARE * answered
        ):
            return math.inf
        least_s = max(_LEAST_PATIENCE_S, _PATIENCE * usual_s)
        return least_s + request.received_bytes / _LEAST_RECEIVED_PER_S


def _is_overloaded(exc: BaseException) -> bool:
    """Tell whether to make fewer requests; some servers do not answer those beyond a number."""
    return asks_to_slow_down(exc) or isinstance(exc, TimeoutError)


def _sockets_allowed() -> int:
    """Return how many connections may be open beside files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit, but its `select` takes 512.
        return 256
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else max(1, files // 2)
