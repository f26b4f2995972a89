"""Every case goes through the fast path and the oracle, which must agree in everything."""

import gzip
from unittest import mock

import pytest

from flowconv.blocks import shapes
from flowconv.errors import FormatError
from flowconv.rows import parsing
from flowconv.rows.parsing import MAX_HEADER_CHANGES
from support.in_memory import assert_as_reference, convert_in_memory
from support.text_cases import CASES, ROW, V2, Case


@pytest.mark.parametrize("stored", ["plain", "gzip", "members"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, stored: str) -> None:
    half = len(case.body) // 2
    body = {
        "plain": case.body,
        "gzip": gzip.compress(case.body),
        "members": gzip.compress(case.body[:half]) + gzip.compress(case.body[half:]),
    }[stored]
    (got,) = convert_in_memory([body], case.format)
    assert got.counts.rows == case.rows
    assert [(r.line, r.reason, r.field) for r in got.rejected] == list(case.rejected)
    assert_as_reference([body], case.format)


@pytest.mark.parametrize("block_bytes", [200, 333, 1000, 4096])
def test_cases_joined_and_cut_into_blocks(block_bytes: int) -> None:
    bodies = [case.body for case in CASES if case.format is None]
    assert_as_reference(bodies, block_bytes=block_bytes, piece_bytes=100)


def test_many_blocks_of_a_clean_log() -> None:
    assert_as_reference([gzip.compress(V2 + ROW * 3000)] * 3, block_bytes=10_000)


def test_odd_lines_in_every_block() -> None:
    body = V2 + (ROW * 50 + b"...\n" + ROW.replace(b" ", b"  ")) * 60
    assert_as_reference([body, gzip.compress(body)], block_bytes=10_000)


def test_blocks_are_parsed_piece_by_piece() -> None:
    bodies = [
        b"srcaddr action\n" + b"a b\n" * 40 + b"\n" * 100 + b"version action\n" + b"1 b\n" * 50,
        b"action\n",
        b"action\n" + b"\n" * 300 + b"x\n#\n" * 9,
        b"action\n" + b"x" * 2000 + b"\n" * 100,
    ]
    with mock.patch.object(parsing, "TEXT_BYTES", 16):
        assert_as_reference(bodies)
        assert_as_reference(bodies, block_bytes=4000)


def test_too_much_before_the_header_is_unreadable() -> None:
    (got,) = convert_in_memory([b"\n" * (shapes.MAX_HEAD_LINES + 1) + V2 + ROW])
    assert isinstance(got.failure, FormatError)


def test_a_line_longer_than_a_piece() -> None:
    assert_as_reference([b"srcaddr action\n" + b"a" * 3_000_000 + b" b\n" + b"c d\n"])


def test_a_line_longer_than_a_block_is_unreadable() -> None:
    body = b"srcaddr action\na b\n" + b"c" * 5000
    (got, other) = convert_in_memory([body, V2 + ROW], block_bytes=1000)
    assert isinstance(got.failure, FormatError)
    assert got.failure.line == 3
    assert other.counts.rows == 1


def test_a_header_that_changes_all_the_time_is_unreadable() -> None:
    body = b"srcaddr action\na b\naction srcaddr\nc d\n" * MAX_HEADER_CHANGES
    (got,) = convert_in_memory([body])
    assert isinstance(got.failure, FormatError)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (ROW, "--format"),
        (
            b"hello world\n",
            "this line is not a header that names the fields. It begins with 'hello'. If",
        ),
        (
            b"start over here\n",
            "this line has names, but most of them AWS does not have: 'over', 'here'. If",
        ),
        (b"version a1 a2 a3 a4 a5 a6 a7", "not have: 'a1', 'a2', 'a3', 'a4', 'a5' and 2 more. If"),
        (b"\x89PNG\r\n\x1a\n\0\0", "this is a PNG picture"),
        (b"srcaddr action srcaddr\na b c\n", "'srcaddr' twice"),
        (b"srcaddr action\na b\naction action\nc d\n", "'action' twice"),
    ],
)
def test_not_readable_says_why(body: bytes, message: str) -> None:
    (got,) = convert_in_memory([body])
    assert isinstance(got.failure, FormatError)
    assert message in got.failure.reason


def test_a_damaged_object_does_not_harm_its_neighbours() -> None:
    good = gzip.compress(V2 + ROW)
    damaged = bytearray(good)
    damaged[-6] ^= 1
    bodies = [good, good[:-9], bytes(damaged), good + b"rubbish", good]
    results = convert_in_memory(bodies)
    assert [type(r.failure).__name__ for r in results] == [
        *("NoneType", "CorruptObjectError", "CorruptObjectError", "CorruptObjectError", "NoneType")
    ]
    assert [r.counts.rows for r in results] == [1, 0, 0, 0, 1]


def test_a_large_object_that_ends_early_gives_nothing() -> None:
    good = gzip.compress(V2 + ROW)
    truncated = gzip.compress(V2 + ROW * 5000)[:-10]
    results = convert_in_memory([good, truncated, good], block_bytes=5000)
    assert [r.counts.rows for r in results] == [1, 0, 1]
    assert results[1].failure is not None
