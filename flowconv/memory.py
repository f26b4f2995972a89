"""Memory and files: room that threads share; freed memory, given back to the system."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa


class Room:
    """Bytes that may still be used; shared by threads."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._mutex = threading.Lock()

    def take(self, size_bytes: int) -> bool:
        """Take room if there is enough, and tell whether there was."""
        with self._mutex:
            if size_bytes > self._left:
                return False
            self._left -= size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        """Give back room that is not used any more."""
        with self._mutex:
            self._left += size_bytes


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Give freed memory that allocators keep back to the system, at the end of the block.

    A process may do many runs.
    """
    try:
        yield
    finally:
        pa.default_memory_pool().release_unused()
        # glibc keeps an arena for each thread, with all memory freed below the last piece in use:
        # 100 MB after six runs over hostile objects. Trimming takes some 10 ms.
        # https://sourceware.org/glibc/wiki/MallocInternals
        if trim := getattr(_libc(), "malloc_trim", None):
            trim(0)


@cache
def _libc() -> Any:
    """Return the C library on Linux, loaded once; elsewhere None."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
