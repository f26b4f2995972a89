"""Stage 3a, stored bytes -> unpacked bytes: gunzipped if their first bytes say so.

Firehose compresses what a subscription of CloudWatch Logs has compressed already, so gzip within
gzip is unpacked too.
"""

import io
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
        self._read: Callable[[memoryview], int] = partial(_fill, stored.readinto)
        self.likely_size = log_object.size_bytes
        if first.startswith(_GZIP_MAGIC):
            is_whole = len(first) == log_object.size_bytes
            self._read = partial(self._begin_gzip, first if is_whole else None)
            # The last four bytes are the size of the last member.
            hint = int.from_bytes(first[-4:], "little") if is_whole else 1 << 32
            self.likely_size = max(hint, len(first))

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; only at the end there is less for it.

        Raises:
            FetchError: The object could not be fetched.
            CorruptObjectError: Its gzip data is damaged or ends early.
            FormatError: It is too large, or packed by gzip more than twice.
        """
        again = 0
        if self._ungot:
            again = min(len(buffer), len(self._ungot))
            buffer[:again] = self._ungot[:again]
            self._ungot = self._ungot[again:]
            buffer = buffer[again:]
        count = self._read(buffer)
        self._size.add(count)
        return again + count

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
        outer = _Gunzip(self._uri, whole or _Packed(self._stored.readinto))
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

            inner = _Gunzip(self._uri, _Packed(read_outer, bytes(room[:size])))
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


def _fill(read: Callable[[memoryview], int], buffer: memoryview) -> int:
    """Fill the buffer with pieces; only at the end there is less for it."""
    size = 0
    while size < len(buffer) and (count := read(buffer[size:])):
        size += count
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
        packed: All that is packed, or what reads it.
    """

    def __init__(self, uri: str, packed: "bytes | _Packed") -> None:
        self._uri = uri
        self._packed = packed
        if not isinstance(packed, bytes):
            self._members = _reader(packed, _PACKED_ROOM_BYTES) if _ISAL else _reader(packed)
        else:
            # isal's asks for Python's lock once in place of four times: most objects are small.
            self._members = _reader(packed if _ISAL else io.BytesIO(packed))
        self._is_at_end = False

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; only at the end there is less for it.

        Raises:
            FetchError: The object could not be fetched.
            CorruptObjectError: The data is damaged or ends early.
        """
        size = 0
        while not self._is_at_end and (room := buffer[size:]):
            try:
                count = self._members.readinto(room)
            except Exception as error:  # whatever a decoder raises is for the data
                packed = self._packed
                if isinstance(packed, _Packed) and error is packed.failure:
                    # It leads to this frame, and so to isal's reader: another such circle.
                    packed.failure = None
                    raise
                raise _corrupt(self._uri, _what_is_wrong(error)) from None
            # isal's fills the room unless the data ends.
            self._is_at_end = count < len(room) if _ISAL else not count
            size += count
        return size


class _Packed:
    """Packed bytes as decoders read them.

    Args:
        read: Fills a buffer with what is packed; 0 at the end.
        first: What was read of it before.

    Attributes:
        failure: Why they could not be fetched.
    """

    def __init__(self, read: Callable[[memoryview], int], first: bytes = b"") -> None:
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
