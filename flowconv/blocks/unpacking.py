"""Stage 3a, stored bytes -> unpacked bytes: gunzipped if their first bytes say so.

Firehose compresses what a subscription of CloudWatch Logs has compressed already, so gzip within
gzip is unpacked too.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from flowconv.errors import CorruptObjectError, FormatError
from flowconv.source.keys import LogObject

# isal gunzips three times as fast as zlib, but has no wheel for Windows on Arm.
_ISAL = find_spec("isal") is not None
_zlib: Any = import_module("isal.isal_zlib" if _ISAL else "zlib")

_GZIP_MAGIC = b"\x1f\x8b"

# Header, data and checksum as in RFC 1952.
_GZIP = 31
_PLAIN_HEADER = _GZIP_MAGIC + b"\x08" + bytes(6) + b"\xff"
_HAS_CHECKSUM, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT = 2, 4, 8, 16

# What is compressed is given to the decoder in pieces: it copies what it has not used. What it
# unpacks at once stays in the caches.
_LEAST_FED_BYTES = 512
_MOST_FED_BYTES = 64 << 10
_MOST_UNPACKED_BYTES = 256 << 10


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
        self._max_bytes = max_bytes
        self._given_bytes = 0
        self._ungot = memoryview(b"")
        first = stored.fetch_first()
        self._read = stored.readinto
        self.likely_size = log_object.size_bytes
        if first[:2] == _GZIP_MAGIC:
            self._read = self._begin_gzip
            # The last four bytes are the size of the last member.
            whole = len(first) == log_object.size_bytes
            hint = int.from_bytes(first[-4:], "little") if whole else 1 << 32
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
        self._given_bytes += size_bytes
        if self._max_bytes is not None and self._given_bytes > self._max_bytes:
            raise FormatError(
                f"the object unpacks to more than {self._max_bytes} bytes. If it is not a gzip "
                "bomb, raise --max-object-size.",
                uri=self._uri,
            )

    def unread(self, data: bytes) -> None:
        """Take back what was read last; it is read again."""
        self._ungot = memoryview(data + self._ungot)

    def close(self) -> None:
        """Give up what was fetched ahead."""
        self._stored.close()

    def _begin_gzip(self, buffer: memoryview) -> int:
        """Fill the buffer for the first time, and look whether that is gzip itself."""
        outer = _Gunzip(self._uri, self._stored.readinto)
        self._read = outer.readinto
        # However little room there is, it must be enough to tell.
        room = (
            buffer if len(buffer) >= len(_GZIP_MAGIC) else memoryview(bytearray(_LEAST_FED_BYTES))
        )
        size = outer.readinto(room)
        if room[:size][: len(_GZIP_MAGIC)] == _GZIP_MAGIC:
            self.count(size)

            def read_outer(buffer: memoryview) -> int:
                count = outer.readinto(buffer)
                self.count(count)
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


class _Gunzip:
    """Unpacks gzip of one member or many.

    Args:
        uri: The object, for messages.
        read: Fills a buffer with what is packed; 0 at the end.
        first: What was read of it before.
    """

    def __init__(self, uri: str, read: Callable[[memoryview], int], first: bytes = b"") -> None:
        self._uri = uri
        self._read = read
        self._room = memoryview(bytearray(_MOST_FED_BYTES))
        self._packed = first
        self._feed_bytes = _MOST_FED_BYTES
        self._member: Any = None

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or as much of it as there is; 0 at the end.

        Raises:
            FetchError: The object could not be fetched.
            CorruptObjectError: The data is damaged or ends early.
        """
        size = 0
        while size < len(buffer):
            if self._member is None and not self._begin_member():
                break
            # Behind the last piece, the decoder may still have something to give.
            is_last = not self._packed and not self._feed()
            try:
                most = min(_MOST_UNPACKED_BYTES, len(buffer) - size)
                unpacked = self._member.decompress(self._packed, most)
                at_end = self._member.eof
                self._packed = self._member.unused_data if at_end else self._member.unconsumed_tail
            except Exception as error:  # noqa: BLE001 - whatever a decoder raises is for the data
                what = f"the gzip data is damaged ({str(error) or type(error).__name__})"
                raise _corrupt(self._uri, what) from None
            if is_last and not unpacked and not at_end:
                raise self._ends_early()
            buffer[size : size + len(unpacked)] = unpacked
            size += len(unpacked)
            if at_end:
                self._member = None
        return size

    def _begin_member(self) -> bool:
        """Begin the next member, if there is one; zeros may stand between and behind members."""
        while True:
            self._packed = self._packed.lstrip(b"\0")
            if self._packed:
                break
            if not self._feed():
                return False
        self._skip_header()
        self._member = _zlib.decompressobj(_GZIP)
        self._member.decompress(_PLAIN_HEADER)
        # The next members may be tiny, and what a decoder does not use of a piece is copied.
        self._feed_bytes = _LEAST_FED_BYTES
        return True

    def _skip_header(self) -> None:
        """Pass over a member's header (RFC 1952), which decoders limit in various ways."""
        if self._take(2) != _GZIP_MAGIC:
            raise _corrupt(self._uri, "other data follows the gzip data")
        method, flags = self._take(8)[:2]
        if method != 8:
            raise _corrupt(self._uri, "the gzip data is damaged (unknown compression method)")
        if flags & _HAS_EXTRA:
            self._take(int.from_bytes(self._take(2), "little"))
        for flag in (_HAS_NAME, _HAS_COMMENT):
            if flags & flag:
                self._skip_text()
        if flags & _HAS_CHECKSUM:
            self._take(2)

    def _take(self, size: int) -> bytes:
        while len(self._packed) < size:
            begun = self._packed
            if not self._feed():
                raise self._ends_early()
            self._packed = begun + self._packed
        taken, self._packed = self._packed[:size], self._packed[size:]
        return taken

    def _skip_text(self) -> None:
        while (end := self._packed.find(b"\0")) < 0:
            if not self._feed():
                raise self._ends_early()
        self._packed = self._packed[end + 1 :]

    def _ends_early(self) -> CorruptObjectError:
        return _corrupt(self._uri, "the gzip data ends early")

    def _feed(self) -> bool:
        """Read the next piece of what is packed, if there is any."""
        count = self._read(self._room[: self._feed_bytes])
        self._packed = bytes(self._room[:count])
        self._feed_bytes = min(4 * self._feed_bytes, _MOST_FED_BYTES)
        return count > 0


def _corrupt(uri: str, what: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"{what}. Nothing of this object was converted; copy it again.", uri=uri
    )
