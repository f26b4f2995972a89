"""When a failed request to S3 is repeated, and how many requests are made at once.

The S3 clients' own retries are off: two layers would multiply the attempts, and theirs are not
logged. Two repeats are decided elsewhere: `s3` fetches once more when a body has the wrong length,
and botocore repeats requests to CloudWatch Logs (`source.log_groups`).
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable

from flowconv.events import log_event

# An overloaded store recovers within seconds; S3 splits a busy prefix within minutes. All delays of
# a request together are 21 s on average, 42 s at most.
ATTEMPTS = 10
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0

# No attempt begins later than this: each may take until its timeout.
GIVE_UP_AFTER_S = 180.0

# The bound at first: what one round trip of any store bears.
_FIRST_BOUND = 64

# What each request that succeeds adds to it. With one, 512 are under way only after eight round
# trips: a new connection takes one of its own.
_FIRST_STEP = 3

# After the store has asked to slow down, the bound rises by one after this many requests succeed at
# the bound. With fewer, a store that takes four at once would refuse about one request in ten.
_REQUESTS_PER_STEP = 50


class Retries:
    """Counts and logs the repeated requests of a storage; shared by its threads.

    Attributes:
        count: Number of repeated requests.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mutex = threading.Lock()
        self._given_up = threading.Event()

    def begin(self, request: str, uri: str) -> "Backoff":
        """Return the attempts of one new request."""
        return Backoff(self, request, uri)

    def give_up(self) -> None:
        """Repeat no request from now on; end all waits."""
        self._given_up.set()

    @property
    def is_given_up(self) -> bool:
        """Whether no request is repeated any more."""
        return self._given_up.is_set()

    def wait(self, delay_s: float) -> bool:
        """Wait; return False as soon as `give_up` is called."""
        return not self._given_up.wait(delay_s)

    def note(self, request: str, uri: str, reason: str, attempt: int, delay_s: float) -> None:
        """Count and log a request that is about to be repeated."""
        with self._mutex:
            self.count += 1
        log_event(
            "retry",
            level=logging.WARNING,
            uri=uri,
            request=request,
            reason=reason,
            attempt=attempt,
            delay_s=round(delay_s, 3),
        )


class Backoff:
    """The attempts of one request, with growing delays between them."""

    def __init__(self, retries: Retries, request: str, uri: str) -> None:
        self._retries = retries
        self._request = request
        self._uri = uri
        self._attempt = 1
        self._began = time.monotonic()

    def delay_s(self, reason: str) -> float | None:
        """Return the delay before the next attempt, in seconds; None to give up."""
        is_late = time.monotonic() - self._began > GIVE_UP_AFTER_S
        if is_late or self._attempt >= ATTEMPTS or self._retries.is_given_up:
            return None
        # Random, so that requests that failed together are not repeated together.
        # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (self._attempt - 1))
        delay_s = random.uniform(0, longest)
        self._attempt += 1
        self._retries.note(self._request, self._uri, reason, self._attempt, delay_s)
        return delay_s


class RequestLimit:
    """Bounds the number of concurrent requests by the store's answers; shared by threads.

    - At first each request that succeeds at the bound raises it by three: it is four times as high
      after each round trip, until it is the highest allowed.
    - An answer that asks to slow down halves the bound, or the number under way if that is lower.
      Of requests made together only the first such answer counts. So does a request that fails
      twice, once, whatever the error: some servers only break off connections beyond a number.
    - From then on it rises by one after every `_REQUESTS_PER_STEP` requests that succeed at the
      bound.

    Args:
        uri: The store, for the log.
        asks_to_slow_down: Tells whether an error does.
        most: The highest bound.
        prepare: Called with the number by which the bound is soon to rise, once enough requests
            wait for that. It must not block.

    Attributes:
        bound: The highest number of concurrent requests at this time.
    """

    def __init__(
        self,
        uri: str,
        asks_to_slow_down: Callable[[BaseException], bool],
        most: int,
        prepare: Callable[[int], None] | None = None,
    ) -> None:
        self._uri = uri
        self._asks_to_slow_down = asks_to_slow_down
        self._most = most
        self._prepare = prepare
        self._prepared = 0  # The bound that was told.
        self.bound = min(_FIRST_BOUND, most)
        self._lock = threading.Lock()
        self._under_way = 0
        self._successes = 0
        self._cuts = 0
        self._waiting: deque[Callable[[int], None]] = deque()

    def begin(self, start: Callable[[int], None]) -> None:
        """Start a request as soon as there is room, in the thread that makes the room.

        Args:
            start: Takes a number that `end` wants back. It must not block.
        """
        with self._lock:
            is_full = self._under_way >= self.bound
            if is_full:
                self._waiting.append(start)
            else:
                self._under_way += 1
                cuts = self._cuts
        if is_full:
            self._prepare_rise()
        else:
            start(cuts)

    def end(self, cuts: int, failure: BaseException | None = None, *, is_second: bool) -> None:
        """Note how a request ended, and start those that there is room for.

        Args:
            cuts: What it was started with.
            failure: Why it failed.
            is_second: Whether it was a second attempt.
        """
        with self._lock:
            if failure is None:
                # Success with fewer requests says nothing about the bound.
                self._successes += self._under_way >= self.bound
                if self._successes >= (_REQUESTS_PER_STEP if self._cuts else 1):
                    step = 1 if self._cuts else _FIRST_STEP
                    self._change(min(self.bound + step, self._most))
            elif is_second or self._asks_to_slow_down(failure):
                self._cut(cuts)
            self._under_way -= 1
        self._start_waiting()
        self._prepare_rise()

    def leave(self) -> None:
        """Give back the room of a request that was not made."""
        with self._lock:
            self._under_way -= 1
        self._start_waiting()

    def _start_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._under_way >= self.bound:
                    return
                start = self._waiting.popleft()
                self._under_way += 1
                cuts = self._cuts
            start(cuts)

    def _prepare_rise(self) -> None:
        """Tell by how much the next round trip raises the bound, if as many wait as are made."""
        if self._prepare is None or self.bound == self._most:
            return
        with self._lock:
            bound = self.bound
            if self._cuts or bound < self._prepared or len(self._waiting) < bound:
                return
            self._prepared = min((1 + _FIRST_STEP) * bound, self._most)
        self._prepare(self._prepared - bound)

    def _cut(self, cuts: int) -> None:
        if cuts == self._cuts and self.bound > 1:
            self._cuts += 1
            self._change(max(1, min(self.bound, self._under_way) // 2))

    def _change(self, bound: int) -> None:
        if self._cuts and bound != self.bound:
            level = logging.WARNING if bound < self.bound else logging.INFO
            log_event("concurrency", level=level, uri=self._uri, requests=bound)
        self.bound, self._successes = bound, 0
