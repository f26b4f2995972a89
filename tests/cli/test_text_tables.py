"""Tables of text: each cell whole, in its column, and no line longer than it must be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowconv.cli.text_tables import TextTable
from flowconv.errors import printable


def lines(rows: list[list[str]], *headers: str, width: int | None = None) -> list[str]:
    """Its lines, bold or not."""
    table = TextTable(*headers)
    for row in rows:
        table.add_row(*row)
    return plain(table, width)


def plain(table: TextTable, width: int | None = None) -> list[str]:
    return [re.sub(r"\x1b\[[01]m", "", line) for line in table.lines(width)]


@pytest.mark.parametrize(
    ("headers", "rows", "expected"),
    [
        ((), [], []),
        (("a", "b"), [], ["a  b"]),
        ((), [["lake", "x y"], ["", "z"]], ["lake  x y", "      z"]),
        (("a", ">n", "b"), [["xyz", "5", ""], ["x", "1,000", "c"]], [
            "a        n  b", "xyz      5", "x    1,000  c",
        ]),
        (("a", ">n"), [["x", ""], ["", "1"]], ["a  n", "x", "   1"]),
        ((">>", "<>"), [["x", "y"]], [">  >", "x  y"]),
        ((), [["日本", "a"], ["e\u0301", "b"], ["xyz", "c"]], [
            "日本  a", "e\u0301     b", "xyz   c",
        ]),
        ((), [["\x1b[31m", "a\nb\u202e"]], [r"\x1b[31m  a\nb\u202e"]),
    ],
    ids=["empty", "headers", "keys", "right", "gaps", "signs", "wide", "hostile"],
)  # fmt: skip
def test_columns(headers: tuple[str, ...], rows: list[list[str]], expected: list[str]) -> None:
    assert lines(rows, *headers) == expected


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (None, ["key  one two-three four five six"]),
        (32, ["key  one two-three four five six"]),
        (31, ["key  one two-three four five", "     six"]),
        (25, ["key  one two-three four", "     five six"]),
        (24, ["key  one two-three four five six"]),  # left to the terminal
    ],
)
def test_last_column_is_wrapped(width: int | None, expected: list[str]) -> None:
    assert lines([["key", "one two-three four five six"]], width=width) == expected


def test_blanks_alone() -> None:
    assert lines([["key", " " * 70], ["other", "x"]], width=30) == ["key", "other  x"]


def test_long_word_is_whole() -> None:
    first, *others = lines([["key", "x" * 70]], width=30)
    assert "".join([first, *others]).replace(" ", "") == "key" + "x" * 70
    assert max(map(len, [first, *others])) == 30


TEXTS = st.text(st.characters(exclude_categories=["Zs"]), max_size=12)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS).map(list), min_size=1))
def test_nothing_is_lost(rows: list[list[str]]) -> None:
    shown = lines(rows, "a", ">b", "c")
    assert len(shown) == 1 + len(rows)
    for line, row in zip(shown[1:], rows, strict=True):
        assert line == line.rstrip(" ")
        assert line.split() == [printable(cell) for cell in row if cell]


def test_a_table_in_parts() -> None:
    table = TextTable("a", ">b", ">c", "d")
    table.add_row("1234", "22", "333", "")
    assert [plain(part) for part in table.in_parts(13)] == [
        ["a      b    c", "1234  22  333"],
        ["a     d", "1234"],
    ]
    # What is wider than the terminal stands beside the first column alone.
    assert len(table.in_parts(1)) == 3
    assert [plain(part) for part in table.in_parts(None)] == [plain(table)]
