"""Pages of Parquet that others wrote, looked at in the native core."""

import struct

import pytest

from flowconv.kernel.pages import longest_text


def _page(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


@pytest.mark.parametrize(
    ("page", "count", "longest"),
    [
        (b"", 9, 0),
        (_page(b""), 1, 0),
        (_page(b"a", b"abc", b"ab"), 3, 3),
        (_page(b"a", b"abc", b"ab"), 1, 1),
        (_page(b"a", b"abc", b"ab"), -1, 3),
        (_page(b"a") + b"\1\0\0", 9, 1),
        (_page(b"a" * 70_000, b"b"), 2, 70_000),
        (_page(b"a", b"abc")[:-1], 2, 11),
        (_page(b"a") + b"\xff\xff\xff\xff", 2, 9),
    ],
)
def test_the_longest_text_of_a_page(page: bytes, count: int, longest: int) -> None:
    assert longest_text(page, count) == longest
