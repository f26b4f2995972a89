"""Stage 3, objects -> bytes: fetched ahead of the parser, bounded in number and bytes."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from flowconv.source.keys import LogObject
from flowconv.source.opening import PIECE_BYTES, Source

# Fetched ahead for each worker: enough small objects to hide a round trip of 30 ms, few enough
# large ones for the memory limit.
AHEAD_OBJECTS = 32
AHEAD_BYTES = 2 * PIECE_BYTES

# How often a waiting reader checks whether the run is to end.
_TICK_S = 0.5


@contextmanager
def request_pool(source: Source) -> Iterator[Executor | None]:
    """Give the threads that fetch ahead; None for a local source."""
    if not source.requests_at_once:
        yield None
        return
    pool = ThreadPoolExecutor(source.requests_at_once, "flowconv-fetch")
    try:
        yield pool
    finally:
        # Do not wait for a request that hangs: other runs may be waiting for the lock.
        source.give_up()
        pool.shutdown(wait=False, cancel_futures=True)


def _ignore(log_object: LogObject, size_bytes: int, /) -> None:
    """Ignore a piece."""


class ObjectFetcher:
    """Opens a task's objects in order, while the next ones are being fetched.

    Local objects are read in the caller's thread: the page cache answers at once, and passing them
    between threads cost more than it saved.

    Args:
        source: Where the objects are.
        pool: Runs the requests; None: the caller's thread does.
        log_objects: The objects that will be opened, in this order.
        on_piece: Called with the object and the size of each piece when the reader gets it, and
            with 0 now and then while the reader waits. It ends the wait by raising.
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
        """Return the next object; `log_object` must be the next in order."""
        self._fetch_ahead()
        opened = self._ahead.popleft()
        assert opened.log_object is log_object
        self._ahead_bytes -= opened.first_bytes
        return opened

    def close(self) -> None:
        """Cancel the requests ahead."""
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
    """An object's bytes as stored, fetched piece by piece."""

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
        """Fill the buffer as far as the current piece goes; return the count, 0 at the end.

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
        """Cancel the next request and drop the buffers."""
        if isinstance(self._next, Future):
            self._next.cancel()
        self._next = None
        # Callers may keep this object for long.
        self._current = memoryview(b"")
        self._requests = iter(())

    def _advance(self) -> None:
        """Get the piece that was requested before, and request the next one."""
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
