"""Stage 3a, stored bytes -> unpacked bytes: gunzipped if their first bytes say so."""

import io
import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from flowconv.errors import CorruptObjectError, FormatError
from flowconv.listing import LogObject

# isal gunzips three times as fast as zlib, but has no wheel for Windows on Arm.
_ISAL = find_spec("isal") is not None
_gzip: Any = import_module("isal.igzip" if _ISAL else "gzip")
_zlib: Any = import_module("isal.isal_zlib" if _ISAL else "zlib")


class Readable(Protocol):
    """An object's bytes as they are stored; what `open_object` gives."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer, or as much of it as is left; 0 at the end. Raises FetchError."""
        ...

    def peek_first(self) -> bytes:
        """Return the first piece of the object without taking it; all of a small object."""
        ...

    def close(self) -> None:
        """Give up what was fetched ahead."""
        ...


class Unpacked:
    """An object's bytes, gunzipped whatever its name if they are gzip.

    Args:
        log_object: The object.
        stored: Its bytes as they are stored.
        max_bytes: So many bytes are no gzip bomb yet; None is no limit.

    Attributes:
        likely_size: What it will be unpacked, in bytes; a hint, not to be relied on.
    """

    def __init__(
        self, log_object: LogObject, stored: Readable, max_bytes: int | None = None
    ) -> None:
        self._uri = log_object.uri
        self._stored = stored
        self._max_bytes = max_bytes
        self._given_bytes = 0
        self._ungot = memoryview(b"")
        first = stored.peek_first()
        self._gzip: Any = None
        self.likely_size = log_object.size_bytes
        if first[:2] == b"\x1f\x8b":
            self._gzip = _gzip.GzipFile(fileobj=_Raw(stored), mode="rb")
            # The last four bytes are the size of the last member.
            whole = len(first) == log_object.size_bytes
            hint = int.from_bytes(first[-4:], "little") if whole else 1 << 32
            self.likely_size = max(hint, len(first))

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or as much of it as there is; 0 at the end.

        Raises:
            FetchError: The object could not be fetched.
            CorruptObjectError: Its gzip data is damaged or ends early.
            FormatError: It is too large.
        """
        if self._ungot:
            count = min(len(buffer), len(self._ungot))
            buffer[:count] = self._ungot[:count]
            self._ungot = self._ungot[count:]
            return count
        count = self._unpack(buffer)
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
                f"the object unpacks to more than {self._max_bytes} bytes. If it is no gzip bomb, "
                "raise --max-object-size.",
                uri=self._uri,
            )

    def unread(self, data: bytes) -> None:
        """Take back what was read last; it is read again."""
        self._ungot = memoryview(data)

    def close(self) -> None:
        """Give up what was fetched ahead."""
        self._stored.close()

    def _unpack(self, buffer: memoryview) -> int:
        if self._gzip is None:
            return self._stored.readinto(buffer)
        try:
            return int(self._gzip.readinto(buffer))
        except EOFError as error:
            raise self._corrupt("the gzip data ends early", error) from None
        except (OSError, zlib.error, _zlib.error) as error:
            raise self._corrupt("the gzip data is damaged", error) from None

    def _corrupt(self, what: str, error: Exception) -> CorruptObjectError:
        return CorruptObjectError(
            f"{what} ({error}). Nothing of this object was converted; copy it anew.",
            uri=self._uri,
        )


class _Raw(io.RawIOBase):
    """What `gzip.GzipFile` wants of a file."""

    def __init__(self, stored: Readable) -> None:
        self._stored = stored

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._stored.readinto(memoryview(buffer))
