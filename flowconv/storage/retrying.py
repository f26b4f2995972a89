"""What failed and may pass is tried again; and how many requests are made at once meanwhile.

This is the only place where requests are repeated: the S3 clients' own retries are turned off,
since theirs and ours would multiply, and would be seen by nobody.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowconv.events import log_event

# A store that is overloaded recovers within seconds, S3 splits a busy prefix within minutes: 21 s
# of waiting on average, 42 s at most,
ATTEMPTS = 10
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
# and an end where each attempt takes until its time is up.
GIVE_UP_AFTER_S = 180.0

# After so many requests went well while all that are allowed were made, there may be one more.
# With fewer, one in some ten requests would be refused where a store takes four at once.
_REQUESTS_PER_STEP = 50


class Retries:
    """Waits before requests of a storage are made again; used by all its threads.

    Attributes:
        count: How many requests have been made again.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mutex = threading.Lock()
        self._given_up = threading.Event()

    def begin(self, request: str, uri: str) -> "Backoff":
        """Return what counts the attempts of one request."""
        return Backoff(self, request, uri)

    def give_up(self) -> None:
        """Make no request again, also of those that wait for it."""
        self._given_up.set()

    def wait(self, delay_s: float) -> bool:
        """Wait in this thread; False as soon as all is given up."""
        return not self._given_up.wait(delay_s)

    def note(self, request: str, uri: str, reason: str, attempt: int, delay_s: float) -> None:
        """Count a request that is made again, and log it."""
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
    """The attempts of one request."""

    def __init__(self, retries: Retries, request: str, uri: str) -> None:
        self._retries = retries
        self._request = request
        self._uri = uri
        self._attempt = 1
        self._began = time.monotonic()

    def delay_s(self, reason: str) -> float | None:
        """Return how long to wait after an attempt that failed, in seconds; None to give up."""
        is_late = time.monotonic() - self._began > GIVE_UP_AFTER_S
        if is_late or self._attempt >= ATTEMPTS or not self._retries.wait(0):
            return None
        # Any time up to the longest: what failed together is not tried again together.
        # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (self._attempt - 1))
        delay_s = random.uniform(0, longest)
        self._attempt += 1
        self._retries.note(self._request, self._uri, reason, self._attempt, delay_s)
        return delay_s


class RequestLimit:
    """Bounds how many requests are made at once, by how the store takes them.

    There is no bound until it asks to slow down; then half of what was under way is. From there on
    each answer that asks for it halves the bound, and each `_REQUESTS_PER_STEP` requests that went
    well raise it by one.

    Args:
        uri: The store, for the log.
        asks_to_slow_down: Tells an error that does.

    Attributes:
        most: The bound.
    """

    def __init__(self, uri: str, asks_to_slow_down: Callable[[BaseException], bool]) -> None:
        self._uri = uri
        self._asks_to_slow_down = asks_to_slow_down
        self.most = float("inf")
        self._under_way = 0
        self._went_well = 0
        self._cuts = 0
        self._free = threading.Condition()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Make a request within this block, which is entered when there is room for it."""
        with self._free:
            self._free.wait_for(lambda: self._under_way < self.most)
            self._under_way += 1
            cuts = self._cuts
        try:
            yield
        except BaseException as exc:
            # Of requests that were made together only the first answer counts.
            if self._asks_to_slow_down(exc):
                with self._free:
                    if cuts == self._cuts and self.most > 1:
                        self._cuts += 1
                        self._change(max(1, min(self.most, self._under_way) // 2))
            raise
        else:
            with self._free:
                # Fewer would go well under any bound.
                self._went_well += self._under_way >= self.most
                if self._went_well >= _REQUESTS_PER_STEP:
                    self._change(self.most + 1)
        finally:
            with self._free:
                self._under_way -= 1
                self._free.notify()

    def _change(self, most: float) -> None:
        level = logging.WARNING if most < self.most else logging.INFO
        log_event("concurrency", level=level, uri=self._uri, requests=int(most))
        self.most, self._went_well = most, 0
        self._free.notify_all()
