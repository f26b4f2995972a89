"""A stored file as a seekable file object: what pyarrow reads in S3."""

import io
from typing import Any

from flowconv.storage.interface import Storage


class StoredReader(io.RawIOBase):
    """A file as a seekable file object, fetched as it is read."""

    def __init__(self, storage: Storage, path: str, size_bytes: int) -> None:
        self._storage = storage
        self._path = path
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.RawIOBase`."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(
            whence, self._size_bytes
        )
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """See `io.RawIOBase`."""
        view = memoryview(buffer)
        wanted = min(len(view), max(0, self._size_bytes - self._position))
        if wanted:
            view[:wanted] = self._storage.fetch(self._path, self._position, wanted)
        self._position += wanted
        return wanted
