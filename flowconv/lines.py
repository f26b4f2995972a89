"""The lines of a block, one by one: for blocks that are not in plain order."""

import codecs
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from flowconv.batches import RejectedLine
from flowconv.blocks import LogBlock, Span
from flowconv.listing import LogObject
from flowconv.report import LineCounts

Indexes = npt.NDArray[np.int64]


class Lines:
    """The lines of a block, by index, and what was found out about them.

    Attributes:
        starts: Offset of each line in the block.
        ends: Offset of each line's newline.
        rejected: Index of a line -> why it does not fit, and AWS's name of the field at fault.
        longest: Length of the longest line in bytes.
        odd: Something was found that the clean way does not read.
        next_line: Number, in the last span's object, of the line behind the block.
        hexadecimal: Numbers may be hexadecimal, which Arrow reads and flow logs do not have.
    """

    def __init__(self, block: LogBlock) -> None:
        self._spans = block.spans
        self._damaged = block.damaged
        self._original = bytes(memoryview(block.buffer)[: block.size])
        self._text = bytearray(self._original.replace(b"\r\n", b" \n").replace(b"\t", b" "))
        self.ends: Indexes = np.flatnonzero(_as_array(self._text) == 10)
        self.starts: Indexes = np.concatenate(([0], self.ends[:-1] + 1)).astype(np.int64)
        self._first_index = [int(np.searchsorted(self.starts, s.start)) for s in self._spans]
        self._stop_index = [*self._first_index[1:], len(self.ends)]
        self.next_line = self._spans[-1].first_line + len(self.ends) - self._first_index[-1]
        self.rejected: dict[int, tuple[str, str | None]] = {}
        self._comments: list[int] = []
        self.longest = int((self.ends - self.starts).max(initial=0))
        self.odd = self._text != self._original
        self.hexadecimal = has_hexadecimal(self._original, block.size)
        self._filled: Indexes = np.empty(0, np.int64)

    def set_aside_undecodable(self) -> None:
        """Reject the lines that are no text or no message, and blank them out."""
        for offset in self._damaged:
            self.reject(self._index_at(offset), "not-json")
        if not self._text.isascii():
            view = memoryview(self._text)
            position = 0
            while position < len(view):
                try:
                    codecs.utf_8_decode(view[position:], "strict", True)
                    break
                except UnicodeDecodeError as error:
                    index = self._index_at(position + error.start)
                    self.reject(index, "not-utf8")
                    position = int(self.ends[index]) + 1
        for offset in np.flatnonzero(_as_array(self._text) == 13).tolist():
            index = self._index_at(offset)
            if index not in self.rejected:
                self.reject(index, "control-character")
        for index in self.rejected:
            self._blank_out(self.starts[index], index)

    def strip_comments(self) -> None:
        """Blank out what follows a `#` that begins a value."""
        text = _as_array(self._text)
        hashes = np.flatnonzero(text == 35)
        begins = (hashes == 0) | np.isin(text[hashes - 1], (10, 32))
        for offset in hashes[begins].tolist():
            if self._text[offset] == 35:  # Not blanked out by an earlier one of its line.
                index = self._index_at(offset)
                self._comments.append(index)
                self._blank_out(offset, index)

    def squeeze(self) -> tuple[bytes, Indexes]:
        """Return the text with single spaces between values, and the lines that have any."""
        text = _as_array(self._text)
        while True:
            space = text == 32
            beside = np.empty_like(space)
            beside[-1:] = False
            beside[:-1] = space[1:] | (text[1:] == 10)
            beside[:1] = True
            beside[1:] |= text[:-1] == 10
            drop = space & beside
            if not drop.any():
                break
            self.odd = True
            text = text[~drop]
        ends = np.flatnonzero(text == 10)
        lengths = np.diff(ends, prepend=-1) - 1
        self._filled = np.flatnonzero(lengths > 0)
        return text.tobytes(), self._filled

    def values(self, index: int) -> list[bytes]:
        """Return a line's values."""
        return bytes(self._text[self.starts[index] : self.ends[index]]).split()

    def count_blank(self, index: int) -> None:
        """Note that a line has values, but no record."""
        self._filled = np.setdiff1d(self._filled, index)

    def reject(self, index: int, reason: str, field: str | None = None) -> None:
        """Note the first thing that is wrong with a line."""
        self.rejected.setdefault(index, (reason, field))

    def original(self, index: int) -> bytes:
        """Return a line as it stands in the log, without its newline."""
        return self._original[self.starts[index] : self.ends[index]].removesuffix(b"\r")

    def place(self, index: int) -> tuple[str, int]:
        """Return a line's object and number."""
        span, first = self._span_of(index)
        return span.log_object.uri, span.first_line + index - first

    def rejected_lines(self) -> tuple[RejectedLine, ...]:
        """Return the lines that do not fit, in their order."""
        result = []
        for index, (reason, field) in sorted(self.rejected.items()):
            span, first = self._span_of(index)
            line = span.first_line + index - first
            text = self.original(index)
            result.append(RejectedLine(span.log_object, line, reason, field, text))
        return tuple(result)

    def numbers(self, indexes: Indexes) -> Indexes:
        """Return the numbers of lines in their objects."""
        at = np.searchsorted(self._first_index, indexes, "right") - 1
        first_lines = np.array([span.first_line for span in self._spans])
        numbers: Indexes = first_lines[at] + indexes - np.array(self._first_index)[at]
        return numbers

    def count(
        self, rows: Indexes, headers: list[int], milliseconds: Indexes
    ) -> tuple[tuple[LogObject, LineCounts], ...]:
        """Count each span's lines by kind.

        Args:
            rows: The line of each row.
            headers: Lines that are headers.
            milliseconds: The line of each row whose times were in milliseconds.
        """
        rejected = np.array(sorted(self.rejected), np.int64)
        comments = np.setdiff1d(self._comments, self._filled)
        lines_of_rows = np.unique(rows)
        counts = []
        places = zip(self._spans, self._first_index, self._stop_index, strict=True)
        for span, first, stop in places:

            def within(lines: Any, first: int = first, stop: int = stop) -> int:
                return int(np.diff(np.searchsorted(lines, (first, stop)))[0])

            found = LineCounts(
                header=within(headers),
                comment=within(comments),
                rows=within(rows),
                rejected=within(rejected),
                split=within(rows) - within(lines_of_rows),
                milliseconds=within(milliseconds),
            )
            blank = LineCounts(blank=stop - first - found.lines)
            counts.append((span.log_object, span.head + found + blank))
        return tuple(counts)

    def _span_of(self, index: int) -> tuple[Span, int]:
        at = int(np.searchsorted(self._first_index, index, "right")) - 1
        return self._spans[at], self._first_index[at]

    def _index_at(self, offset: int) -> int:
        return int(np.searchsorted(self.ends, offset))

    def _blank_out(self, start: int, index: int) -> None:
        stop = int(self.ends[index])
        self._text[start:stop] = b" " * (stop - int(start))


def _as_array(text: bytearray) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def has_hexadecimal(text: bytes | bytearray, size: int) -> bool:
    """Tell whether there is a 0x, in a number or elsewhere; Arrow reads such numbers."""
    for x in (b"x", b"X"):
        # Mostly there is no such letter. Otherwise looking at pairs of bytes, at even and at odd
        # places, is six times as quick as a search for two bytes.
        if text.find(x, 0, size) >= 0:
            pair = int.from_bytes(b"0" + x, sys.byteorder)
            for start in (0, 1):
                pairs = np.frombuffer(text, np.uint16, (size - start) // 2, start)
                if (pairs == pair).any():
                    return True
    return False
