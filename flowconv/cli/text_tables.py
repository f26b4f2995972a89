"""Tables of text, whose columns stand below one another: no lines are drawn around them."""

from collections.abc import Iterator, Sequence
from copy import copy
from textwrap import wrap
from unicodedata import combining, east_asian_width

import typer

from flowconv.errors import printable

_GAP = "  "

# A narrower last column is left to the terminal, which wraps lines anywhere.
_LEAST_WRAPPED = 20


class TextTable:
    """Rows of texts; the headers in bold, or else the first column."""

    def __init__(self, *headers: str) -> None:
        """Begin a table; a header may begin with > for flush right, with < for flush left."""
        self._has_headers = bool(headers)
        self._flush_right = [n for n, header in enumerate(headers) if header.startswith(">")]
        self._rows: list[list[str]] = []
        if headers:
            self.add_row(*(header[header.startswith((">", "<")) :] for header in headers))

    def add_row(self, *cells: str) -> None:
        """Add a row, with a cell for each column."""
        self._rows.append([printable(cell) for cell in cells])

    def lines(self, width: int | None) -> Iterator[str]:
        """Give the lines, without blanks at their ends.

        Args:
            width: The terminal's; longer texts in the last column are wrapped. None: nothing is.
        """
        sizes = self._sizes()
        indent = sum(sizes[:-1]) + len(_GAP) * (len(sizes) - 1)
        for number, row in enumerate(self._rows):
            *cells, last = row
            first, *others = _wrapped(last, width and width - indent)
            yield self._line([*cells, first], sizes, is_header=self._has_headers and number == 0)
            yield from (" " * indent + part for part in others)

    def in_parts(self, width: int | None) -> list["TextTable"]:
        """Return tables of this width: the first column in each, and others while there is room.

        Args:
            width: The terminal's. None: the table stays whole.
        """
        sizes = self._sizes()
        parts = [[0]]
        for place in range(1, len(sizes)):
            used = sum(sizes[other] + len(_GAP) for other in parts[-1])
            if width is not None and len(parts[-1]) > 1 and used + sizes[place] > width:
                parts.append([0])
            parts[-1].append(place)
        return [self._of_columns(places) for places in parts]

    def _of_columns(self, places: Sequence[int]) -> "TextTable":
        table = copy(self)
        table._flush_right = [n for n, place in enumerate(places) if place in self._flush_right]
        table._rows = [[row[place] for place in places] for row in self._rows]
        return table

    def _sizes(self) -> list[int]:
        return [max(map(_size, column)) for column in zip(*self._rows, strict=True)]

    def _line(self, cells: list[str], sizes: list[int], *, is_header: bool) -> str:
        line = ""
        blanks = 0  # that stand before the next text
        for place, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
            missing = size - _size(cell)
            before = missing if place in self._flush_right else 0
            if cell:
                is_bold = is_header or (place == 0 and not self._has_headers)
                text = typer.style(cell, bold=True) if is_bold else cell
                line += " " * (blanks + before) + text
                blanks = missing - before + len(_GAP)
            else:
                blanks += size + len(_GAP)
        return line


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None or width < _LEAST_WRAPPED or _size(text) <= width:
        return [text]
    return wrap(text, width, break_on_hyphens=False) or [""]  # of blanks alone nothing is left


def _size(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum((1 + (east_asian_width(c) in "WF")) * (not combining(c)) for c in text)
