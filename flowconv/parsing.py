"""Stage 4, blocks -> raw batches: columns as the log has them, and the lines that do not fit.

A clean block goes through one call of `pyarrow.csv`. Anything odd in it (other spacing, comments,
a line that does not fit, a header in the middle) sends the whole block a second, slower way that
finds out line by line what is what, still without a Python loop over the lines that are in order.
Both ways give the same rows; tests/test_parsing.py holds them against the reference.
"""

import codecs
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from flowconv.errors import FormatError, ParseError
from flowconv.fields import INT32, TEXT, TIME_COLUMNS, Field
from flowconv.formats import KNOWN_SPELLINGS, LogFormat, header_format, split_line
from flowconv.listing import LogObject
from flowconv.reading import BLOCK_BYTES, LogBlock, Span
from flowconv.report import LineCounts

# Seconds up to the year 9999; larger values are milliseconds, which AWS wrote for a while.
MAX_SECONDS = 253_402_300_799
MAX_MILLISECONDS = MAX_SECONDS * 1000 + 999

# What pyarrow's CSV reader works on at a time; 256 KB to 2 MB are alike, 16 MB took half as long
# again (benchmarks/README.md, "parse").
_CSV_BLOCK_BYTES = 1 << 20

# Each line takes some 50 bytes while it is looked at. AWS's shortest records fill a block with half
# as many.
MAX_ODD_LINES = 1 << 18

# Concatenated logs change their fields now and then; an object that does so all the time is an
# attack, and would be parsed again at every change.
MAX_HEADER_CHANGES = 64

_Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Rows in the order of the log: values split and typed, `-` made null, bad lines left out.

    Not yet done: the table's columns and their order, timestamps, milliseconds, tag values.

    Attributes:
        format: The fields of the rows.
        table: One column per field, named after it: int32, int64 or string.
        sources: The objects that the rows come from, in the rows' order, and how many are theirs.
    """

    format: LogFormat
    table: pa.Table
    sources: tuple[tuple[LogObject, int], ...]

    def pieces(self, most_rows: int) -> Iterator["RawBatch"]:
        """Cut the batch, without a copy, into pieces of at most so many rows."""
        if self.table.num_rows <= most_rows:
            yield self
            return
        rest = deque(self.sources)
        for start in range(0, self.table.num_rows, most_rows):
            table = self.table.slice(start, most_rows)
            sources: list[tuple[LogObject, int]] = []
            missing = table.num_rows
            while missing:
                log_object, rows = rest.popleft()
                sources.append((log_object, min(rows, missing)))
                if rows > missing:
                    rest.appendleft((log_object, rows - missing))
                missing -= sources[-1][1]
            yield RawBatch(self.format, table, tuple(sources))


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that does not fit its header.

    Attributes:
        log_object: Where it is from.
        line: Its number in the object, from 1.
        reason: not-utf8, control-character, too-few-values, too-many-values, not-a-number or
            out-of-range.
        field: AWS's name of the first field that is at fault, if it is one.
        text: The line without its newline.
    """

    log_object: LogObject
    line: int
    reason: str
    field: str | None
    text: bytes


@dataclass(frozen=True, slots=True)
class ParsedBlock:
    """What became of a block: every line of it is counted once.

    Attributes:
        batches: The rows; one batch, or several where a header in the middle changed the fields.
        counts: Per span of the block its object and its lines by kind.
        rejected: The lines that do not fit, in the order of the block.
    """

    batches: tuple[RawBatch, ...]
    counts: tuple[tuple[LogObject, LineCounts], ...]
    rejected: tuple[RejectedLine, ...]


def bad_line_error(line: RejectedLine) -> ParseError:
    """Return the error for a line that does not fit, where such lines are not set aside."""
    what = {
        "not-utf8": "it is not UTF-8",
        "control-character": "it has a carriage return in its middle",
        "too-few-values": "it has fewer values than the header has names",
        "too-many-values": "it has more values than the header has names",
        "not-a-number": "its value is not a whole number",
        "out-of-range": "its value is out of the range of its type",
    }[line.reason]
    place = f"field {line.field}: " if line.field else ""
    return ParseError(
        f"{place}{what}. To set such lines aside and go on, use --on-bad-line quarantine.",
        uri=line.log_object.uri,
        line=line.line,
        field=line.field,
    )


class BlockParser:
    """Parses the blocks of one task; remembers whether the log is an odd one.

    Not to be shared between threads.
    """

    def __init__(self, declared: LogFormat | None) -> None:
        self._declared = declared
        self._expect_odd = False

    def parse(self, block: LogBlock) -> ParsedBlock:
        """Split a block into typed columns.

        Sets the block's `next_format`. The result does not depend on the block's buffer.

        Raises:
            FormatError: A header in the middle of the block is not a possible one.
        """
        parsed = None if self._expect_odd else _parse_clean(block)
        if parsed is None:
            parsed, self._expect_odd = _parse_odd(block, self._declared)
        return parsed


def _parse_clean(block: LogBlock) -> ParsedBlock | None:
    """Parse a block if every line of it is in plain order, else return None."""
    table = _read_clean(block)
    if table is None:
        return None
    spans = block.spans
    rows = [table.num_rows]
    if len(spans) > 1:
        text = np.frombuffer(block.buffer, np.uint8, block.size)
        rows = [int(np.count_nonzero(text[span.start : span.stop] == 10)) for span in spans]
        assert sum(rows) == table.num_rows
    block.next_line = spans[-1].first_line + rows[-1]
    sources = tuple((span.log_object, count) for span, count in zip(spans, rows, strict=True))
    counts = tuple(
        (span.log_object, span.head + LineCounts(rows=count))
        for span, count in zip(spans, rows, strict=True)
    )
    return ParsedBlock((RawBatch(block.format, table, sources),), counts, ())


def _read_clean(block: LogBlock) -> pa.Table | None:
    """Return the block's columns if every line of it is in plain order, else None."""
    text, size = block.buffer, block.size
    if size == 0:
        return _empty_table(block.format, block.format.column_types)
    # Tabs and hexadecimal numbers would pass as numbers; carriage returns would end lines.
    if any(text.find(byte, 0, size) >= 0 for byte in (b"\t", b"\r", b"#")):
        return None
    if _has_hexadecimal(text, size):
        return None
    view = memoryview(text)[:size]
    misfits: list[csv.InvalidRow] = []
    try:
        if not text.isascii():
            # Arrow's own check would come too late for lines that it cannot split.
            codecs.utf_8_decode(view, "strict", True)
        table = _read_csv(view, block.format, block.format.column_types, misfits)
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return None
    if misfits:
        return None
    for field in block.format.fields:
        column = table[field.column]
        if field.column in TIME_COLUMNS:
            bounds: Any = pc.min_max(column).as_py()
            least, most = bounds["min"], bounds["max"]
            if least is not None and (least < 0 or most > MAX_MILLISECONDS):
                return None
        # Two spaces in a row and a missing value elsewhere leave an empty string behind.
        elif field.type == TEXT and pc.min(pc.binary_length(column)).as_py() == 0:
            return None
    return None if _header_like_rows(block.format, table).size else table


def _has_hexadecimal(text: bytes | bytearray, size: int) -> bool:
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


def _read_csv(
    text: memoryview | bytes,
    format_: LogFormat,
    types: dict[str, pa.DataType],
    misfits: list[csv.InvalidRow],
    *,
    skip_blank: bool = False,
    longest_line: int = 0,
) -> pa.Table:
    """Split valid UTF-8; lines with another number of values go to `misfits`.

    Blank lines are such lines too, or, in logs of one field, an empty value.
    """

    def skip(row: csv.InvalidRow) -> Literal["skip"]:
        misfits.append(row)
        return "skip"

    if text[:3] == codecs.BOM_UTF8:
        # Arrow drops one at the beginning. An object's own is cut off, so this is of a value.
        text = codecs.BOM_UTF8 + bytes(text)
    return csv.read_csv(
        pa.BufferReader(pa.py_buffer(text)),  # type: ignore[arg-type]
        # Workers run in parallel already; one thread also makes `InvalidRow.number` known.
        read_options=csv.ReadOptions(
            column_names=list(format_.columns),
            use_threads=False,
            block_size=max(_CSV_BLOCK_BYTES, longest_line + 4),
        ),
        parse_options=csv.ParseOptions(
            delimiter=" ", quote_char=False, invalid_row_handler=skip, ignore_empty_lines=skip_blank
        ),
        convert_options=csv.ConvertOptions(
            column_types=types, null_values=["-"], strings_can_be_null=True, check_utf8=False
        ),
    )


def _header_like_rows(format_: LogFormat, table: pa.Table) -> _Indexes:
    """Return the rows that may be headers, of a log without a number that gives them away."""
    if any(field.type != TEXT for field in format_.fields):
        return np.empty(0, np.int64)
    own = {name for field in format_.fields for name in (field.name.lower(), field.column)}
    known = pa.array(sorted(KNOWN_SPELLINGS | own))
    like: list[Any] = [
        pc.is_in(pc.ascii_lower(column), known).cast(pa.int8()) for column in table.columns
    ]
    count = np.sum([column.to_numpy() for column in like], axis=0)
    return np.flatnonzero(2 * count >= len(like))


def _parse_odd(
    block: LogBlock, declared: LogFormat | None, changes: int = 0
) -> tuple[ParsedBlock, bool]:
    """Parse a block whose lines may be anything; also say whether it was odd indeed."""
    if block.buffer.count(b"\n", 0, block.size) > MAX_ODD_LINES:
        return _parse_in_halves(block, declared, changes), True
    lines = _Lines(block)
    lines.set_aside_undecodable()
    lines.strip_comments()
    squeezed, line_of_row = lines.squeeze()
    headers: list[int] = []

    misfits: list[csv.InvalidRow] = []
    texts: dict[str, pa.DataType] = dict.fromkeys(block.format.columns, TEXT)
    table = _empty_table(block.format, texts)
    if line_of_row.size:
        table = _read_csv(
            squeezed,
            block.format,
            texts,
            misfits,
            skip_blank=True,
            longest_line=lines.longest,
        )
    kept = np.ones(line_of_row.size, bool)
    for row in misfits:
        assert row.number is not None
        kept[row.number - 1] = False
        few = row.actual_columns < row.expected_columns
        lines.reject(
            int(line_of_row[row.number - 1]), "too-few-values" if few else "too-many-values"
        )
    line_of_row = line_of_row[kept]

    typed: list[pa.ChunkedArray[Any]] = []
    suspects = list(_header_like_rows(block.format, table))
    for field in block.format.fields:
        column, bad = _typed(table[field.column], field, strict=lines.hexadecimal)
        typed.append(column)
        for index, reason in bad.items():
            lines.reject(int(line_of_row[index]), reason, field.name)
    table = pa.table(typed, names=list(block.format.columns))

    # A header in the middle cannot be a record, so it is among the lines that failed.
    suspect_lines = {int(line_of_row[index]) for index in suspects} | lines.rejected.keys()
    for index in sorted(suspect_lines):
        split = split_line(lines.original(index))
        try:
            format_ = header_format(split.tokens, declared) if split else None
        except FormatError as error:
            error.uri, error.line = lines.place(index)
            raise
        if format_ is None:
            continue
        if format_ != block.format:
            return _parse_around_header(block, lines, index, format_, declared, changes), True
        lines.rejected.pop(index, None)
        headers.append(index)

    dropped = np.isin(line_of_row, [*lines.rejected, *headers])
    if dropped.any():
        table = table.filter(pa.array(~dropped))
        line_of_row = line_of_row[~dropped]
    counts = lines.count(line_of_row, headers)
    sources = tuple((log_object, count.rows) for log_object, count in counts)
    block.next_line = lines.next_line
    odd = lines.odd or table.num_rows < len(lines.ends)
    batch = RawBatch(block.format, table, sources)
    return ParsedBlock((batch,), counts, lines.rejected_lines()), odd


def _typed(
    column: "pa.ChunkedArray[Any]", field: Field, *, strict: bool
) -> tuple["pa.ChunkedArray[Any]", dict[int, str]]:
    """Make numbers of a column's text; also return the rows that hold none, and why."""
    if field.type == TEXT:
        return column, {}
    bad: dict[int, str] = {}
    try:
        numbers = None if strict else column.cast(field.type)
    except pa.ArrowInvalid:
        numbers = None
    if numbers is None:
        text: Any = column.combine_chunks()
        digits = 9 if field.type == INT32 else 18
        plain: Any = pc.match_substring_regex(text, f"^-?[0-9]{{1,{digits}}}$").fill_null(True)
        numbers = pc.if_else(plain, text, None).cast(field.type)
        # What is left is looked at one by one: bad values, and a few with leading zeros.
        repaired = []
        for index in pc.indices_nonzero(pc.invert(plain)).to_pylist():
            value = _whole_number(text[index].as_py(), field)
            if isinstance(value, str):
                bad[index] = value
            repaired.append(None if isinstance(value, str) else value)
        numbers = pc.replace_with_mask(numbers, pc.invert(plain), pa.array(repaired, field.type))
        numbers = pa.chunked_array([numbers])
    if field.column in TIME_COLUMNS:
        most = pa.scalar(MAX_MILLISECONDS)
        wrong: Any = pc.or_(pc.less(numbers, pa.scalar(0)), pc.greater(numbers, most))
        for index in pc.indices_nonzero(wrong).to_pylist():
            bad[index] = "out-of-range"
    return numbers, bad


def _whole_number(text: str, field: Field) -> int | str:
    if re.fullmatch("-?[0-9]+", text) is None:
        return "not-a-number"
    bits = 32 if field.type == INT32 else 64
    digits = text.removeprefix("-").lstrip("0") or "0"
    value = int(digits) if len(digits) < 20 else 1 << 64
    value = -value if text[0] == "-" else value
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else "out-of-range"


def _parse_around_header(
    block: LogBlock,
    lines: "_Lines",
    index: int,
    format_: LogFormat,
    declared: LogFormat | None,
    changes: int,
) -> ParsedBlock:
    """Parse what stands before a header of other fields, the rest of its object, and the others."""
    uri, line = lines.place(index)
    if changes == MAX_HEADER_CHANGES:
        raise FormatError(
            f"the fields change for the {changes + 1}th time within {BLOCK_BYTES >> 20} MB. "
            "That is no flow log; leave the object out of SOURCE.",
            uri=uri,
            line=line,
        )
    start, stop = int(lines.starts[index]), int(lines.ends[index]) + 1
    at = next(i for i, span in enumerate(block.spans) if span.start <= start < span.stop)
    span = block.spans[at]
    before = replace(span, stop=start, ends_object=False)
    after = Span(
        span.log_object,
        stop,
        span.stop,
        first_line=line + 1,
        head=LineCounts(header=1),
        ends_object=span.ends_object,
    )
    spans, others = (*block.spans[:at], before), block.spans[at + 1 :]
    return _parse_parts(block, spans, (after, format_), others, declared, changes + 1)


def _parse_in_halves(block: LogBlock, declared: LogFormat | None, changes: int) -> ParsedBlock:
    """Parse a block of very short lines in two parts, to bound the memory that they take."""
    at, span = next((i, s) for i, s in enumerate(block.spans) if s.stop >= block.size // 2)
    middle = max(span.start, block.size // 2)
    newline = block.buffer.rfind(b"\n", span.start, middle)
    if newline < 0:  # A single line fills the first half.
        newline = block.buffer.find(b"\n", middle)
    # Its last line belongs to the first part, unless that would be all.
    cut = newline + 1 if newline + 1 < block.size else span.start
    first_line = span.first_line + block.buffer.count(b"\n", span.start, cut)
    before = replace(span, stop=cut, ends_object=False)
    after = replace(span, start=cut, first_line=first_line, head=LineCounts())
    spans, others = (*block.spans[:at], before), block.spans[at + 1 :]
    return _parse_parts(block, spans, (after, None), others, declared, changes)


def _parse_parts(
    block: LogBlock,
    before: tuple[Span, ...],
    after: tuple[Span, LogFormat | None],
    others: tuple[Span, ...],
    declared: LogFormat | None,
    changes: int,
) -> ParsedBlock:
    """Parse a block up to some line, the rest of that line's object, and the other objects.

    The rest is read by a format of its own, or by the one that is in force after the first part.
    """
    first = _part(block, before, block.format)
    parsed = [_parse_odd(first, declared, changes)[0]]
    rest = _part(block, (after[0],), after[1] or first.next_format)
    parsed.append(_parse_odd(rest, declared, changes)[0])
    block.next_format, block.next_line = rest.next_format, rest.next_line
    if others:
        last = _part(block, others, block.format)
        parsed.append(_parse_odd(last, declared, changes)[0])
        block.next_format, block.next_line = last.next_format, last.next_line
    return ParsedBlock(
        tuple(batch for part in parsed for batch in part.batches),
        tuple(count for part in parsed for count in part.counts),
        tuple(line for part in parsed for line in part.rejected),
    )


def _part(block: LogBlock, spans: tuple[Span, ...], format_: LogFormat) -> LogBlock:
    first, last = spans[0].start, spans[-1].stop
    moved = tuple(replace(s, start=s.start - first, stop=s.stop - first) for s in spans)
    text = bytes(memoryview(block.buffer)[first:last])
    return LogBlock(text, len(text), format_, moved, len(text))


class _Lines:
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
        self._original = bytes(memoryview(block.buffer)[: block.size])
        self._text = bytearray(self._original.replace(b"\r\n", b" \n").replace(b"\t", b" "))
        self.ends: _Indexes = np.flatnonzero(_as_array(self._text) == 10)
        self.starts: _Indexes = np.concatenate(([0], self.ends[:-1] + 1)).astype(np.int64)
        self._first_index = [int(np.searchsorted(self.starts, s.start)) for s in self._spans]
        self._stop_index = [*self._first_index[1:], len(self.ends)]
        self.next_line = self._spans[-1].first_line + len(self.ends) - self._first_index[-1]
        self.rejected: dict[int, tuple[str, str | None]] = {}
        self._comments: list[int] = []
        self.longest = int((self.ends - self.starts).max(initial=0))
        self.odd = self._text != self._original
        self.hexadecimal = _has_hexadecimal(self._original, block.size)
        self._filled: _Indexes = np.empty(0, np.int64)

    def set_aside_undecodable(self) -> None:
        """Reject the lines that are not UTF-8 or hold a carriage return, and blank them out."""
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

    def squeeze(self) -> tuple[bytes, _Indexes]:
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

    def count(self, rows: _Indexes, headers: list[int]) -> tuple[tuple[LogObject, LineCounts], ...]:
        """Count each span's lines by kind."""
        rejected = np.array(sorted(self.rejected), np.int64)
        comments = np.setdiff1d(self._comments, self._filled)
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


def _empty_table(format_: LogFormat, types: Mapping[str, pa.DataType]) -> pa.Table:
    nulls: Any = pa.nulls
    columns = [nulls(0, types[column]) for column in format_.columns]
    return pa.table(columns, names=list(format_.columns))
