"""A page -> the same, compressed: the compressions, and their numbers in Parquet."""

from collections.abc import Callable
from functools import partial
from threading import local
from typing import Any, Literal

import pyarrow as pa
import zstandard

Compression = Literal["zstd", "snappy", "gzip", "lz4", "none"]

Compress = Callable[[memoryview], pa.Buffer]
"""Returns compressed bytes, which are not those that it is given. For one thread at a time."""

NUMBERS: dict[Compression, int] = {"none": 0, "snappy": 1, "gzip": 2, "zstd": 6, "lz4": 7}
"""CompressionCodec. Parquet's `LZ4`, 5, is an older format that few readers share."""

# Arrow's names.
_CODECS: dict[Compression, Any] = {"snappy": "snappy", "gzip": "gzip", "lz4": "lz4_raw"}


def compress_by(compression: Compression) -> Compress:
    """Return what compresses pages."""
    if compression == "zstd":
        return _zstd
    if compression == "none":
        return lambda page: pa.py_buffer(bytes(page))
    return partial(pa.Codec(_CODECS[compression]).compress, asbytes=False)


class _Thread(local):
    """What a thread keeps: zstd's memory, 1.4 MB at most, is for one thread."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdCompressor(level=1)


_thread = _Thread()


def _zstd(page: memoryview) -> pa.Buffer:
    # For each page Arrow's makes that memory anew, and asks for Python's lock six times, not once:
    # half of all times that a run does.
    return pa.py_buffer(_thread.zstd.compress(page))
