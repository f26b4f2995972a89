"""Stage 3a, stored bytes -> unpacked bytes: gunzipped if their first bytes say so.

Firehose compresses what a subscription of CloudWatch Logs has compressed already, so gzip within
gzip is unpacked too.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from flowconv.errors import CorruptObjectError, FormatError
from flowconv.source.keys import LogObject

# isal gunzips three times as fast as zlib, but has no wheel for Windows on Arm.
_ISAL = find_spec("isal") is not None
_reader: Any = import_module("isal.isal_zlib" if _ISAL else "gzip")._GzipReader

_GZIP_MAGIC = b"\x1f\x8b"

# A member's header must fit into the decoder's room. What it is given at once stays in the caches.
_PACKED_ROOM_BYTES = 1 << 20
_MOST_PACKED_BYTES = 256 << 10


class Readable(Protocol):
    """An object's bytes as they are stored; what `open_object` gives."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer, or as much of it as is left; 0 at the end. Raises FetchError."""
        ...

    def fetch_first(self) -> bytes:
        """Fetch and return the first piece: all of a small object. `readinto` begins with it."""
        ...

    def close(self) -> None:
        """Give up what was fetched ahead."""
        ...


class Unpacked:
    """An object's bytes, gunzipped whatever its name if they are gzip.

    Args:
        log_object: The object.
        stored: Its bytes as they are stored.
        max_bytes: Largest unpacked size; beyond it is a gzip bomb. None sets no limit.

    Attributes:
        likely_size: Its unpacked size in bytes; a guess.
    """

    def __init__(
        self, log_object: LogObject, stored: Readable, max_bytes: int | None = None
    ) -> None:
        self._uri = log_object.uri
        self._stored = stored
        self._size = _Size(log_object.uri, max_bytes)
        self._ungot = memoryview(b"")
        first = stored.fetch_first()
        self._read = stored.readinto
        self.likely_size = log_object.size_bytes
        if first[:2] == _GZIP_MAGIC:
            is_whole = len(first) == log_object.size_bytes
            self._read = partial(self._begin_gzip, first if is_whole else None)
            # The last four bytes are the size of the last member.
            hint = int.from_bytes(first[-4:], "little") if is_whole else 1 << 32
            self.likely_size = max(hint, len(first))

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or as much of it as there is; 0 at the end.

        Raises:
            FetchError: The object could not be fetched.
            CorruptObjectError: Its gzip data is damaged or ends early.
            FormatError: It is too large, or packed by gzip more than twice.
        """
        if self._ungot:
            count = min(len(buffer), len(self._ungot))
            buffer[:count] = self._ungot[:count]
            self._ungot = self._ungot[count:]
            return count
        count = self._read(buffer)
        self.count(count)
        return count

    def count(self, size_bytes: int) -> None:
        """Count what the object unpacks to; of compressed columns, the caller does so.

        Raises:
            FormatError: It is too large.
        """
        self._size.add(size_bytes)

    def unread(self, data: bytes) -> None:
        """Take back what was read last; it is read again."""
        self._ungot = memoryview(data + self._ungot)

    def close(self) -> None:
        """Give up what was fetched ahead."""
        self._stored.close()

    def _begin_gzip(self, whole: bytes | None, buffer: memoryview) -> int:
        """Fill the buffer for the first time, and look whether that is gzip itself."""
        outer = _Gunzip(self._uri, self._stored.readinto, whole=whole)
        self._read = outer.readinto
        # However little room there is, it must be enough to tell.
        room = (
            buffer if len(buffer) >= len(_GZIP_MAGIC) else memoryview(bytearray(_MOST_PACKED_BYTES))
        )
        size = outer.readinto(room)
        if room[:size][: len(_GZIP_MAGIC)] == _GZIP_MAGIC:
            self.count(size)

            # isal's reader leads to whatever it reads from, and no collector looks through it: if
            # that led here, which leads to the reader, such a circle would never be freed.
            unpacked = self._size

            def read_outer(buffer: memoryview) -> int:
                count = outer.readinto(buffer)
                unpacked.add(count)
                return count

            inner = _Gunzip(self._uri, read_outer, bytes(room[:size]))
            self._read = inner.readinto
            size = inner.readinto(room)
            if room[:size][: len(_GZIP_MAGIC)] == _GZIP_MAGIC:
                raise FormatError(
                    "this is gzip within gzip within gzip; two layers are read. Unpack it once, or "
                    "leave it out with --exclude.",
                    uri=self._uri,
                )
        if room is not buffer:
            self._ungot = room[len(buffer) : size]
            size = min(size, len(buffer))
            buffer[:size] = room[:size]
        return size


class _Size:
    """What an object unpacks to; see `Unpacked`."""

    def __init__(self, uri: str, max_bytes: int | None) -> None:
        self._uri = uri
        self._max_bytes = max_bytes
        self._bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count what was unpacked; raise FormatError if it is too large."""
        self._bytes += size_bytes
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            raise FormatError(
                f"the object unpacks to more than {self._max_bytes} bytes. If it is not a gzip "
                "bomb, raise --max-object-size.",
                uri=self._uri,
            )


class _Gunzip:
    """Unpacks gzip of one member or many.

    Args:
        uri: The object, for messages.
        read: Fills a buffer with what is packed; 0 at the end.
        first: What was read of it before.
        whole: All that is packed, if it is known.
    """

    def __init__(
        self,
        uri: str,
        read: Callable[[memoryview], int],
        first: bytes = b"",
        *,
        whole: bytes | None = None,
    ) -> None:
        self._uri = uri
        self._packed = _Packed(read, first)
        if not _ISAL:
            self._members = _reader(self._packed)
        elif whole is None:
            self._members = _reader(self._packed, _PACKED_ROOM_BYTES)
        else:
            # Asks for Python's lock once in place of four times: most objects are small.
            self._members = _reader(whole)
        self._is_at_end = False

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or as much of it as there is; 0 at the end.

        Raises:
            FetchError: The object could not be fetched.
            CorruptObjectError: The data is damaged or ends early.
        """
        size = 0
        while size < len(buffer) and not self._is_at_end:
            try:
                count = self._members.readinto(room := buffer[size:])
            except Exception as error:  # whatever a decoder raises is for the data
                if error is self._packed.failure:
                    # It leads to this frame, and so to isal's reader: another such circle.
                    self._packed.failure = None
                    raise
                raise _corrupt(self._uri, _what_is_wrong(error)) from None
            # isal's fills the room unless the data ends.
            self._is_at_end = count < len(room) if _ISAL else not count
            size += count
        return size


class _Packed:
    """Packed bytes as decoders read them.

    Attributes:
        failure: Why they could not be fetched.
    """

    def __init__(self, read: Callable[[memoryview], int], first: bytes) -> None:
        self._read = read
        self._first = memoryview(first)
        self.failure: Exception | None = None

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)[:_MOST_PACKED_BYTES]
        if not self._first:
            try:
                return self._read(room)
            except Exception as error:
                self.failure = error
                raise
        count = min(len(room), len(self._first))
        room[:count], self._first = self._first[:count], self._first[count:]
        return count

    def read(self, size: int) -> bytes:
        room = bytearray(size)
        return bytes(room[: self.readinto(room)])


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the gzip data ends early"
    if "Not a gzipped file" in str(error):
        return "other data follows the gzip data"
    return f"the gzip data is damaged ({str(error) or type(error).__name__})"


def _corrupt(uri: str, what: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"{what}. Nothing of this object was converted; copy it again.", uri=uri
    )
