"""Fetches objects ahead of the parser, bounded in number and bytes."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from flowconv.source.keys import LogObject
from flowconv.source.opening import PIECE_BYTES, Source

# Ahead of one worker: enough small objects to hide a round trip of 30 ms, few enough large ones
# to hide in the memory limit.
AHEAD_OBJECTS = 32
AHEAD_BYTES = 2 * PIECE_BYTES

# How often a reader that waits for a store looks whether the run is to end.
_TICK_S = 0.5


@contextmanager
def request_pool(source: Source) -> Iterator[Executor | None]:
    """Give threads for fetching ahead; a local source is read without."""
    if not source.requests_at_once:
        yield None
        return
    pool = ThreadPoolExecutor(source.requests_at_once, "flowconv-fetch")
    try:
        yield pool
    finally:
        # Without waiting for what hangs: nobody wants it any more, but others may want the lock.
        source.give_up()
        pool.shutdown(wait=False, cancel_futures=True)


def _ignore(log_object: LogObject, size_bytes: int, /) -> None:
    """Take no notice of a piece."""


class ObjectFetcher:
    """Opens a task's objects in their order, while the next ones are on their way.

    Local objects are read when they are asked for: the page cache answers at once, and handing
    them from thread to thread cost more than it saved.

    Args:
        source: Where the objects are.
        pool: Runs the requests; None reads in the caller's thread.
        log_objects: What will be opened, in this order.
        on_piece: Hears the object and the size of every piece that the reader has taken; 0 now and
            then while the reader waits, which it ends by raising.
    """

    def __init__(
        self,
        source: Source,
        pool: Executor | None,
        log_objects: Sequence[LogObject],
        on_piece: Callable[[LogObject, int], None] = _ignore,
    ) -> None:
        self._source = source
        self._pool = pool
        self._rest = iter(log_objects)
        self._ahead: deque[FetchedObject] = deque()
        self._ahead_bytes = 0
        self._on_piece = on_piece

    def open(self, log_object: LogObject) -> "FetchedObject":
        """Return the next object; it must be the next of the order."""
        self._fetch_ahead()
        opened = self._ahead.popleft()
        assert opened.log_object is log_object
        self._ahead_bytes -= opened.first_bytes
        return opened

    def close(self) -> None:
        """Give up what is on its way."""
        for opened in self._ahead:
            opened.close()
        self._ahead.clear()

    def _fetch_ahead(self) -> None:
        while not self._ahead or (
            self._pool is not None
            and len(self._ahead) < AHEAD_OBJECTS
            and self._ahead_bytes < AHEAD_BYTES
        ):
            log_object = next(self._rest, None)
            if log_object is None:
                return
            opened = FetchedObject(self._source, self._pool, log_object, self._on_piece)
            self._ahead.append(opened)
            self._ahead_bytes += opened.first_bytes


class FetchedObject:
    """An object's bytes as they are stored, fetched piece by piece."""

    def __init__(
        self,
        source: Source,
        pool: Executor | None,
        log_object: LogObject,
        on_piece: Callable[[LogObject, int], None],
    ) -> None:
        self.log_object = log_object
        self.first_bytes = min(PIECE_BYTES, log_object.size_bytes)
        self._requests = source.requests(log_object)
        self._pool = pool
        self._on_piece = on_piece
        self._next = self._begin_next()
        self._current = memoryview(b"")

    def fetch_first(self) -> bytes:
        """Fetch and return the first piece: the whole object up to PIECE_BYTES.

        Call it before `readinto`, which begins with the same bytes.

        Raises:
            FetchError: The object could not be fetched.
        """
        self._advance()
        return self._current.obj  # type: ignore[return-value]

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer, or as much of it as the current piece has; 0 at the end.

        Raises:
            FetchError: The object could not be fetched.
        """
        if not self._current:
            self._advance()
        count = min(len(buffer), len(self._current))
        buffer[:count] = self._current[:count]
        self._current = self._current[count:]
        return count

    def close(self) -> None:
        """Give up what is there and what is on its way."""
        if isinstance(self._next, Future):
            self._next.cancel()
        self._next = None
        # Whoever still knows this object must not keep megabytes alive.
        self._current = memoryview(b"")
        self._requests = iter(())

    def _advance(self) -> None:
        """Take the piece that was asked for before, and ask for the one behind it."""
        waiting, self._next = self._next, None
        if waiting is None:
            self._current = memoryview(b"")
            return
        piece = self._await(waiting) if isinstance(waiting, Future) else waiting()
        self._next = self._begin_next()
        self._current = memoryview(piece)
        self._on_piece(self.log_object, len(piece))

    def _await(self, waiting: "Future[bytes]") -> bytes:
        while not (waiting.done() or wait([waiting], _TICK_S).done):
            self._on_piece(self.log_object, 0)
        return waiting.result()

    def _begin_next(self) -> "Future[bytes] | Callable[[], bytes] | None":
        request = next(self._requests, None)
        return self._pool.submit(request) if self._pool and request else request
