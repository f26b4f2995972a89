"""Pages that are compressed: others unpack them, and the same page makes the same bytes."""

import random
import threading
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from flowconv.parquet.compression import NUMBERS, Compression, compress_by

ARROW: dict[Compression, Any] = {
    "zstd": "zstd",
    "snappy": "snappy",
    "gzip": "gzip",
    "lz4": "lz4_raw",
}

# What compresses well, what does not, and nothing; longer than zstd's window and shorter.
PAGES = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda part, times: part * times, st.binary(max_size=20), st.integers(0, 40_000)),
    st.builds(lambda size: random.Random(size).randbytes(size), st.integers(0, 300_000)),
)


@given(st.sampled_from(list(NUMBERS)), PAGES)
def test_others_unpack_a_page(compression: Compression, page: bytes) -> None:
    packed = compress_by(compression)(memoryview(page))
    if compression in ARROW:
        unpacked = pa.Codec(ARROW[compression]).decompress(packed, len(page), asbytes=True)
    else:
        unpacked = packed.to_pybytes()
    assert unpacked == page
    if compression == "zstd":
        frame = zstandard.get_frame_parameters(memoryview(packed))
        assert frame.content_size == len(page)
        assert not frame.has_checksum  # Parquet has its own


@given(st.lists(PAGES, max_size=2), PAGES)
def test_what_was_compressed_before_changes_no_byte(before: list[bytes], page: bytes) -> None:
    compress = compress_by("zstd")
    for other in before:
        compress(memoryview(other))
    fresh = zstandard.ZstdCompressor(level=1).compress(page)
    assert compress(memoryview(page)).to_pybytes() == fresh


@pytest.mark.parametrize("compression", list(NUMBERS))
def test_any_thread_makes_the_same_bytes(compression: Compression) -> None:
    pages = [memoryview(b"%d," % number * 30_000) for number in range(8)]

    def packed() -> list[bytes]:
        compress = compress_by(compression)
        return [compress(page).to_pybytes() for page in pages]

    expected = packed()
    made: dict[int, list[bytes]] = {}
    barrier = threading.Barrier(4)

    def work(name: int) -> None:
        barrier.wait()
        made[name] = packed()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == dict.fromkeys(range(4), expected)
