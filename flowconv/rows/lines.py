"""The lines of a block, one by one: for blocks that are not in plain order."""

import codecs
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from flowconv.blocks.block import LogBlock
from flowconv.blocks.counts import LineCounts
from flowconv.rows.batch import RejectedLines, RejectedPart
from flowconv.source.keys import LogObject

Indexes = npt.NDArray[np.int64]

# Up to this number, lines are decoded one by one.
_FEW_LINES = 4096


class Lines:
    """The lines of a block, by index, and what was found out about them.

    Attributes:
        starts: Offset of each line in the block.
        ends: Offset of each line's newline.
        rejected: Index of a line -> why it does not fit, and AWS's name of the field at fault.
        longest: Length of the longest line in bytes.
        odd: Something was found that the clean way does not read.
        next_line: Number, in the last span's object, of the line behind the block.
        no_text: Lines that are no text, or no message of their JSON.
        hexadecimal: Numbers may be hexadecimal, which Arrow reads and flow logs do not have.
    """

    def __init__(self, block: LogBlock) -> None:
        self._spans = block.spans
        self._damaged = block.damaged
        self._format = block.format
        self._original = bytes(memoryview(block.buffer)[: block.size])
        text = self._original
        for odd, plain in ((b"\r\n", b" \n"), (b"\t", b" ")):
            if odd[:1] in text:
                text = text.replace(odd, plain)
        self._text: bytes | bytearray = text
        self.ends: Indexes = np.flatnonzero(_as_array(text) == 10)
        self.starts: Indexes = np.concatenate(([0], self.ends[:-1] + 1)).astype(np.int64)
        self._first_index = [int(np.searchsorted(self.starts, s.start)) for s in self._spans]
        self._stop_index = [*self._first_index[1:], len(self.ends)]
        self.next_line = self._spans[-1].first_line + len(self.ends) - self._first_index[-1]
        self.rejected: dict[int, tuple[str, str | None]] = {}
        self.no_text: frozenset[int] = frozenset()
        self._comments: list[int] = []
        self.longest = int((self.ends - self.starts).max(initial=0))
        self.odd = text is not self._original
        self.hexadecimal = has_hexadecimal(self._original, block.size)
        self._is_filled = np.zeros(len(self.ends), bool)

    def set_aside_undecodable(self) -> None:
        """Reject the lines that are no text or no message, and cut them out."""
        for offset in self._damaged:
            self.reject(self._index_at(offset), "not-json")
        if not self._text.isascii():
            others = np.flatnonzero(_as_array(self._text) >= 0x80)
            indexes = np.unique(np.searchsorted(self.ends, others)).tolist()
            if len(indexes) < _FEW_LINES or not _is_utf8(self._text):
                for index in indexes:
                    if not _is_utf8(self._original[self.starts[index] : self.ends[index]]):
                        self.reject(index, "not-utf8")
        if b"\r" in self._text:
            for offset in np.flatnonzero(_as_array(self._text) == 13).tolist():
                self.reject(self._index_at(offset), "control-character")
        self.no_text = frozenset(self.rejected)

    def strip_comments(self) -> None:
        """Blank out what follows a `#` that begins a value."""
        if b"#" not in self._text:
            return
        text = _as_array(self._text)
        hashes = np.flatnonzero(text == 35)
        begins = (hashes == 0) | np.isin(text[hashes - 1], (10, 32))
        if not begins.any():
            return
        stripped = bytearray(self._text)
        for offset in hashes[begins].tolist():
            index = self._index_at(offset)
            # Unless an earlier one of its line has done it.
            if stripped[offset] == 35 and index not in self.rejected:
                self._comments.append(index)
                stop = int(self.ends[index])
                stripped[offset:stop] = b" " * (stop - offset)
        self._text = stripped

    def squeeze(self) -> tuple[bytes, Indexes]:
        """Return the text with single spaces between values, and the lines that have any."""
        text, indexes = self._without_cut()
        size = len(text)
        if text[:1] == b" " or _has_pair(text, b"  ", size) or _has_pair(text, b"\n ", size):
            self.odd = True
            spaces = _as_array(text) == 32
            beside = np.ones(size, bool)
            beside[1:] = spaces[:-1] | (_as_array(text)[:-1] == 10)
            text = _as_array(text)[~(spaces & beside)].tobytes()
        if _has_pair(text, b" \n", len(text)):
            self.odd = True
            text = text.replace(b" \n", b"\n")
        lengths = np.diff(np.flatnonzero(_as_array(text) == 10), prepend=-1) - 1
        filled = indexes[lengths > 0]
        self._is_filled[filled] = True
        return text, filled

    def _without_cut(self) -> tuple[bytes, Indexes]:
        """Return the text without the lines that were cut out, and the indexes of the others."""
        indexes = np.arange(len(self.ends))
        if not self.no_text:
            return bytes(self._text), indexes
        cut = sorted(self.no_text)
        view = memoryview(self._text)
        starts = [0, *(self.ends[cut] + 1).tolist()]
        stops = [*self.starts[cut].tolist(), len(view)]
        pieces = [view[start:stop] for start, stop in zip(starts, stops, strict=True)]
        return b"".join(pieces), np.delete(indexes, cut)

    def values(self, index: int) -> list[bytes]:
        """Return a line's values."""
        text = bytes(self._text[self.starts[index] : self.ends[index]])
        return [value for value in text.split(b" ") if value]

    def count_blank(self, index: int) -> None:
        """Note that a line has values, but no record."""
        self._is_filled[index] = False

    def reject(self, index: int, reason: str, field: str | None = None) -> None:
        """Note the first thing that is wrong with a line."""
        self.rejected.setdefault(index, (reason, field))

    def original(self, index: int) -> bytes:
        """Return a line as it stands in the log, without its newline."""
        return self._original[self.starts[index] : self.ends[index]].removesuffix(b"\r")

    def place(self, index: int) -> tuple[str, int]:
        """Return a line's object and number."""
        at = int(self._spans_of(index))
        span = self._spans[at]
        return span.log_object.uri, span.first_line + index - self._first_index[at]

    def rejected_lines(self) -> RejectedLines:
        """Return the lines that do not fit, in their order."""
        if not self.rejected:
            return RejectedLines()
        indexes = np.array(sorted(self.rejected), np.int64)
        reasons = {
            reason: code for code, reason in enumerate(dict.fromkeys(self.rejected.values()))
        }
        starts, ends = self.starts[indexes], self.ends[indexes]
        ends = ends - ((ends > starts) & (_as_array(self._original)[ends - 1] == 13))
        part = RejectedPart(
            text=self._original,
            starts=starts.astype(np.int32),
            ends=ends.astype(np.int32),
            numbers=self.numbers(indexes),
            log_objects=tuple(span.log_object for span in self._spans),
            places=self._spans_of(indexes).astype(np.int32),
            reasons=tuple(reasons),
            codes=np.array([reasons[self.rejected[i]] for i in indexes.tolist()], np.int16),
            format=self._format,
        )
        return RejectedLines([part])

    def numbers(self, indexes: Indexes) -> Indexes:
        """Return the numbers of lines in their objects."""
        at = self._spans_of(indexes)
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
        comments = sorted({index for index in self._comments if not self._is_filled[index]})
        lines_of_rows = rows[np.diff(rows, prepend=-1) > 0]
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

    def _spans_of(self, indexes: Indexes | int) -> Any:
        """Return which spans lines are of."""
        return np.searchsorted(self._first_index, indexes, "right") - 1

    def _index_at(self, offset: int) -> int:
        return int(np.searchsorted(self.ends, offset))


def has_hexadecimal(text: bytes | bytearray, size: int) -> bool:
    """Tell whether there is a 0x, in a number or elsewhere; Arrow reads such numbers."""
    # Most blocks have no such letter.
    return any(text.find(x, 0, size) >= 0 and _has_pair(text, b"0" + x, size) for x in (b"x", b"X"))


def _has_pair(text: bytes | bytearray, pair: bytes, size: int) -> bool:
    """Tell whether two bytes stand side by side.

    Looking at pairs, at even and at odd places, is ten times as quick as a search for two bytes.
    """
    number = int.from_bytes(pair, sys.byteorder)
    return any(
        (np.frombuffer(text, np.uint16, max(0, size - start) // 2, start) == number).any()
        for start in (0, 1)
        if size > start
    )


def _as_array(text: bytes | bytearray) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def _is_utf8(text: bytes | bytearray) -> bool:
    try:
        codecs.utf_8_decode(text, "strict", True)
    except UnicodeDecodeError:
        return False
    return True
