"""Memory that is free is given back at the end of a run: a process may do many of them."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Give back, at the end of a block or of a function, what allocators keep of freed memory."""
    try:
        yield
    finally:
        pa.default_memory_pool().release_unused()
        # glibc keeps an arena for every thread, with all that was freed below its last piece in
        # use: 100 MB after six runs over hostile objects. It takes some 10 ms.
        # https://sourceware.org/glibc/wiki/MallocInternals
        if trim := getattr(_libc(), "malloc_trim", None):
            trim(0)


@cache
def _libc() -> Any:
    """Return the C library where it may be glibc, loaded once."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
