"""Free memory is given back to the system at the end of a run: a process may do many runs."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Give freed memory that allocators keep back to the system, at the end of the block."""
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
