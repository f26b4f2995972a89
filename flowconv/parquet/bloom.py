"""Bloom filters: a few bits a value, by which readers know that a chunk does not have a text.

https://github.com/apache/parquet-format/blob/master/BloomFilter.md
"""

import math

from flowconv.kernel import pages
from flowconv.kernel.pages import Texts
from flowconv.parquet.thrift import EMPTY, Struct

# Of the texts that a chunk does not have, so many seem to be there.
_FALSE_POSITIVES = 0.01

_BLOCK_BYTES = 32
_MOST_BYTES = 1 << 20

# BloomFilterHeader: algorithm, hash and compression; each knows one so far.
_FIRST_OF_UNION = Struct().struct(1, EMPTY).done()


def bloom_filter(texts: Texts) -> bytes:
    """Return a filter of distinct texts, with its header."""
    size_bytes = filter_bytes(len(texts))
    header = Struct().i32(1, size_bytes)
    for field in (2, 3, 4):
        header.struct(field, _FIRST_OF_UNION)
    return header.done() + pages.bloom_filter(texts, size_bytes // _BLOCK_BYTES)


def filter_bytes(distinct: int) -> int:
    """Return the size of a filter of so many texts: a power of two, as Arrow's reader asks."""
    bits = -8 * distinct / math.log(1 - _FALSE_POSITIVES ** (1 / 8))
    blocks = max(1, math.ceil(bits / 8 / _BLOCK_BYTES))
    return min(_BLOCK_BYTES << (blocks - 1).bit_length(), _MOST_BYTES)
