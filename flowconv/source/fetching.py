"""Stage 3, objects -> bytes: fetched ahead of the parser, bounded in number and bytes."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from itertools import chain

from flowconv.errors import FetchError
from flowconv.source.keys import LogObject
from flowconv.source.opening import PIECE_BYTES, Source

# Fetched ahead for each worker: enough small objects to hide a round trip of 100 ms, few enough
# large ones for the memory limit.
AHEAD_OBJECTS = 512
AHEAD_BYTES = 2 * PIECE_BYTES

# For a task that waits for its worker.
BEGUN_BYTES = AHEAD_BYTES // 4

# How often a waiting reader checks whether the run is to end.
_TICK_S = 0.5


_Requests = Iterator[Callable[[], "Future[bytes]"]]


@contextmanager
def requests_ended(source: Source) -> Iterator[None]:
    """At the end of the block, repeat no request and wait for none."""
    try:
        yield
    finally:
        source.give_up()


def _ignore(log_object: LogObject, size_bytes: int, /) -> None:
    """Ignore a piece."""


class FirstObjects:
    """The first objects of a run; fetched before it is known which task has which of them.

    One thread begins, any takes.

    Args:
        source: Where the objects are.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._begun: dict[str, tuple[Future[bytes], _Requests]] = {}
        self._objects = self._bytes = 0

    def begin(self, log_object: LogObject) -> bool:
        """Begin to fetch an object; return whether another one may be begun."""
        if self._source.is_local:
            return False
        requests = self._source.requests(log_object)
        request = next(requests, None)
        if request:
            self._begun[log_object.uri] = request(), requests
            self._objects += 1
            self._bytes += min(PIECE_BYTES, log_object.size_bytes)
        return self._objects < AHEAD_OBJECTS and self._bytes < AHEAD_BYTES

    def take(self, log_object: LogObject) -> "_Requests":
        """Give an object's requests, as `Source.requests`; once, the first is begun already."""
        begun = self._begun.pop(log_object.uri, None)
        if begun is None:
            return self._source.requests(log_object)
        first, others = begun
        return chain([lambda: first], others)

    def close(self) -> None:
        """Cancel the requests that no task took."""
        for first, _ in self._begun.values():
            first.cancel()
        self._begun.clear()


class ObjectFetcher:
    """Opens a task's objects in order, while the next ones are being fetched.

    Args:
        source: Where the objects are.
        log_objects: The objects that will be opened, in this order.
        on_piece: Called with the object and the size of each piece when the reader gets it, and
            with 0 now and then while the reader waits. It ends the wait by raising.
        first: Objects that may be among them.

    Attributes:
        waited_s: For how long readers have waited for pieces, in seconds.
    """

    def __init__(
        self,
        source: Source,
        log_objects: Sequence[LogObject],
        on_piece: Callable[[LogObject, int], None] = _ignore,
        first: FirstObjects | None = None,
    ) -> None:
        self._source = source
        self._requests = first.take if first else source.requests
        self._rest = iter(log_objects)
        self._ahead: deque[FetchedObject] = deque()
        self._ahead_bytes = 0
        self._on_piece = on_piece
        self.waited_s = 0.0

    def begin(self) -> None:
        """Begin to fetch some of the objects; the others follow as these are opened."""
        if not self._source.is_local:
            self._fetch_ahead(BEGUN_BYTES)

    def open(self, log_object: LogObject) -> "FetchedObject":
        """Return the next object; `log_object` must be the next in order."""
        if self._source.is_local:
            return self._opened(log_object)
        self._fetch_ahead(AHEAD_BYTES)
        opened = self._ahead.popleft()
        assert opened.log_object is log_object
        self._ahead_bytes -= opened.first_bytes
        return opened

    def close(self) -> None:
        """Cancel the requests ahead."""
        for opened in self._ahead:
            opened.close()
        self._ahead.clear()

    def _fetch_ahead(self, most_bytes: int) -> None:
        while not self._ahead or (
            len(self._ahead) < AHEAD_OBJECTS and self._ahead_bytes < most_bytes
        ):
            log_object = next(self._rest, None)
            if log_object is None:
                return
            opened = self._opened(log_object)
            self._ahead.append(opened)
            self._ahead_bytes += opened.first_bytes

    def _opened(self, log_object: LogObject) -> "FetchedObject":
        pieces = self._source.pieces(log_object)
        requests = iter(()) if pieces else self._requests(log_object)
        return FetchedObject(log_object, pieces, requests, self._on_piece, self._note_wait)

    def _note_wait(self, seconds: float) -> None:
        self.waited_s += seconds


class FetchedObject:
    """An object's bytes as stored, piece by piece.

    Args:
        log_object: The object.
        pieces: Reads its pieces, if they are read where they are used.
        requests: Else its requests, as `Source.requests`; the first is begun at once.
        on_piece: See `ObjectFetcher`.
        on_wait: Called with the time in seconds that a piece took.
    """

    def __init__(
        self,
        log_object: LogObject,
        pieces: Iterator[bytes] | None,
        requests: "_Requests",
        on_piece: Callable[[LogObject, int], None],
        on_wait: Callable[[float], None],
    ) -> None:
        self.log_object = log_object
        self._pieces = pieces
        self._requests = requests
        self._on_piece = on_piece
        self._on_wait = on_wait
        self._next = self._begin_next()
        self._current = memoryview(b"")

    @property
    def first_bytes(self) -> int:
        """The size of the first piece."""
        return min(PIECE_BYTES, self.log_object.size_bytes)

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
        if self._next:
            self._next.cancel()
        self._next = self._pieces = None
        # Callers may keep this object for long.
        self._current = memoryview(b"")
        self._requests = iter(())

    def _advance(self) -> None:
        """Get the next piece."""
        began = time.perf_counter()
        try:
            piece = next(self._pieces, None) if self._pieces else self._fetch_next()
        except FetchError as error:
            error.at(self.log_object.uri)
            raise
        if piece is None:
            self._current = memoryview(b"")
            return
        self._on_wait(time.perf_counter() - began)
        self._current = memoryview(piece)
        self._on_piece(self.log_object, len(piece))

    def _fetch_next(self) -> bytes | None:
        """Wait for the piece that was requested before, and request the next one."""
        if self._next is None:
            return None
        piece = self._await(self._next)
        self._next = self._begin_next()
        return piece

    def _await(self, waiting: "Future[bytes]") -> bytes:
        while not waiting.done():
            with suppress(TimeoutError):
                return waiting.result(_TICK_S)
            self._on_piece(self.log_object, 0)
        return waiting.result()

    def _begin_next(self) -> "Future[bytes] | None":
        request = next(self._requests, None)
        return request() if request else None
