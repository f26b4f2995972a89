"""Memory: room that threads share, what comes late from the system and goes back early, garbage."""

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


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


def unwritten(size_bytes: int) -> bytearray:
    """Return memory that comes from the system when it is written to; what is in it is not known.

    `bytearray(size_bytes)` writes zeros to all of it: for 8 MB that takes 3 ms, a tenth of what
    the conversion of a few small objects takes.
    """
    made: bytearray = _make_bytearray(None, size_bytes)
    return made


_make_bytearray = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyByteArray_FromStringAndSize", ctypes.pythonapi)
)


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: a large import makes many objects and none of it.

    Of botocore's import that is a third. Threads may be within this at once.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Give freed memory that allocators keep back to the system, at the end of the block.

    A process may do many runs. From then on, malloc maps large pieces one by one in all of it.
    """
    # glibc has an arena for each of some threads, and each run's threads get others. Of these,
    # `malloc_trim` leaves alone what is free at the top, and once a block was freed, that is up to
    # 64 MB each: 120 MB after 20 runs over objects of one long line. Fixed thresholds bound it;
    # with ones of 1 MB a run takes a tenth longer.
    # https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html
    if set_option := getattr(_libc(), "mallopt", None):
        set_option(_MMAP_THRESHOLD, _MOST_KEPT_BYTES)
        set_option(_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
    try:
        yield
    finally:
        if pyarrow := sys.modules.get("pyarrow"):  # Not all runs have used it.
            pyarrow.default_memory_pool().release_unused()
        # Pages that are free between others, which takes some 10 ms.
        if trim := getattr(_libc(), "malloc_trim", None):
            trim(0)


# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

# Smaller than a block and a piece of an object: 8 MB.
_MOST_KEPT_BYTES = 4 << 20


@cache
def _libc() -> Any:
    """Return the C library on Linux, loaded once; elsewhere None."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
