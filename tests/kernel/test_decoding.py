"""Pages of Parquet that others wrote, read by the native core."""

import struct
from typing import Any

import pyarrow as pa
import pytest

from flowconv.kernel.decoding import (
    NO_PLACE,
    PageReader,
    find_byte,
    longest_text,
    measure_places,
    no_bits,
    room,
)


def _page(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _levels(runs: bytes) -> bytes:
    return struct.pack("<I", len(runs)) + runs


# Five rows, of which the second and the last have no value.
SOME_NULL = _levels(b"\x03\x0d")
PLAIN = struct.pack("<3i", 7, -8, 9)
# Of three bits each: 2, 1, 0, and five zeros that fill the group.
PLACES = b"\x03\x03\x0a\x00\x00"


def read_integers(page: PageReader, rows: int, dictionary: bytes = b"") -> list[int | None]:
    values, validity = room(4 * rows), no_bits(rows)
    nulls = page.read_integers(rows, values, 4, validity, 0, pa.py_buffer(dictionary))
    array: Any = pa.Array.from_buffers(pa.int32(), rows, [validity, values], nulls)
    numbers: list[int | None] = array.to_pylist()
    return numbers


def read_places(page: PageReader, rows: int, entries: int, null: int) -> list[int | None]:
    places, validity = room(4 * rows), no_bits(rows)
    nulls = page.read_places(rows, places, validity, 0, entries, null)
    array: Any = pa.Array.from_buffers(pa.int32(), rows, [validity, places], nulls)
    numbers: list[int | None] = array.to_pylist()
    assert array.null_count == numbers.count(None)
    return numbers


@pytest.mark.parametrize(
    ("page", "rows", "has_places", "expected"),
    [
        (SOME_NULL + PLAIN, 5, False, [7, None, -8, 9, None]),
        (_levels(b"\x0a\x00"), 5, False, [None] * 5),
        (_levels(b"\x06\x01\x04\x00") + PLAIN, 5, False, [7, -8, 9, None, None]),
        (SOME_NULL + PLACES, 5, True, [30, None, 20, 10, None]),
        (SOME_NULL + b"\x03\x06\x01", 5, True, [20, None, 20, 20, None]),
        # A dictionary of one value needs no bits.
        (SOME_NULL + b"\x00\x06", 5, True, [10, None, 10, 10, None]),
        (SOME_NULL + b"\x00\x03", 5, True, [10, None, 10, 10, None]),
        # Without a value, nothing need stand behind the levels.
        (_levels(b"\x0a\x00"), 5, True, [None] * 5),
        (_levels(b""), 0, False, []),
    ],
)
def test_integers(page: bytes, rows: int, has_places: bool, expected: list[int | None]) -> None:
    dictionary = struct.pack("<3i", 10, 20, 30)
    for step in range(1, rows + 2):
        reader = PageReader(page, rows, may_be_null=True, has_places=has_places)
        got = []
        while reader.rows:
            got += read_integers(reader, min(step, reader.rows), dictionary)
        assert got == expected


def test_without_levels() -> None:
    reader = PageReader(PLAIN, 3, may_be_null=False, has_places=False)
    assert read_integers(reader, 3) == [7, -8, 9]


def test_a_place_that_stands_for_no_value() -> None:
    for null, expected in (
        (NO_PLACE, [2, None, 1, 0, None]),
        (0, [2, None, 1, None, None]),
        (2, [None, None, 1, 0, None]),
    ):
        reader = PageReader(SOME_NULL + PLACES, 5, may_be_null=True, has_places=True)
        assert read_places(reader, 5, 3, null) == expected


@pytest.mark.parametrize(
    ("page", "rows", "has_places"),
    [
        (b"", 1, False),
        (b"\3\0\0", 1, False),
        (_levels(b"\x02\x01")[:-1], 1, False),
        (_levels(b""), 1, False),
        (_levels(b"\x02"), 1, False),  # a run without its value
        (_levels(b"\x02\x02") + PLAIN, 1, False),  # no level is 2
        (_levels(b"\x03"), 1, False),
        (_levels(b"\x80\x80\x80\x80\x80\x80\x01"), 1, False),
        (_levels(b"\x06\x01") + PLAIN, 4, False),  # fewer rows than are said
        (_levels(b"\x0a\x01") + PLAIN, 5, False),  # fewer values than rows that have one
        (_levels(b"\x02\x01"), 1, True),
        (_levels(b"\x02\x01") + b"\x21\x02\x00\x00\x00\x00\x00", 1, True),  # 33 bits
        (_levels(b"\x02\x01") + b"\x03\x02\x03", 1, True),  # beyond the dictionary
        (_levels(b"\x06\x01") + PLACES[:-1], 3, True),  # a group that is not whole
        (_levels(b"\x05\x07") + PLAIN, 3, False),
        (_levels(b"\x12\x01") + PLACES, 9, True),
    ],
)
def test_damaged_pages(page: bytes, rows: int, has_places: bool) -> None:
    with pytest.raises(ValueError, match="a page ends early, or says what cannot be"):
        read_integers(
            PageReader(page, rows, may_be_null=True, has_places=has_places), rows, bytes(12)
        )


def test_more_rows_than_are_left() -> None:
    reader = PageReader(PLAIN, 2, may_be_null=False, has_places=False)
    assert read_integers(reader, 1) == [7]
    with pytest.raises(ValueError, match="a page ends early"):
        read_integers(reader, 2)


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_texts(step: int) -> None:
    texts = ["a", "", "-", "é", "b" * 70_000, "-x"] * 100
    page = _page(*(text.encode() for text in texts))
    for null, expected in ((b"", texts), (b"-", [None if t == "-" else t for t in texts])):
        reader = PageReader(page, 600, may_be_null=False, has_places=False)
        got = []
        while reader.rows:
            got += reader.read_texts(min(step, reader.rows), null).to_pylist()
        assert got == expected
    reader = PageReader(SOME_NULL + _page(b"a", b"-", b""), 5, may_be_null=True, has_places=False)
    assert reader.read_texts(5, b"-").to_pylist() == ["a", None, None, "", None]


def test_damaged_texts() -> None:
    for page in (b"\1\0\0", b"\2\0\0\0a", b"\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match="a page ends early"):
            PageReader(page, 1, may_be_null=False, has_places=False).read_texts(1)
    with pytest.raises(pa.ArrowInvalid, match="UTF8"):
        PageReader(_page(b"\xff"), 1, may_be_null=False, has_places=False).read_texts(1)


def test_the_place_of_a_byte() -> None:
    for texts, place in ((["a", "-b", "-", "-"], 2), ([], NO_PLACE), (["", "--"], NO_PLACE)):
        assert find_byte(pa.array(["x", *texts], pa.string()).slice(1), b"-") == place
    assert find_byte(pa.array([], pa.string()), b"-") == NO_PLACE


def test_the_size_of_texts() -> None:
    texts: Any = pa.array(["ab", None, "c", "ab", ""] * 3).dictionary_encode()
    validity, places = texts.indices.buffers()
    offsets = texts.dictionary.buffers()[1]
    assert measure_places(places, validity, 0, 15, offsets) == 15
    assert measure_places(places, validity, 1, 3, offsets) == 3
    assert measure_places(places, None, 2, 2, offsets) == 3
    assert measure_places(places, validity, 0, 0, offsets) == 0


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
