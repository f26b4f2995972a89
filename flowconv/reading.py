"""Stage 3, objects -> blocks: gunzipped, joined and cut at line ends.

Real prefixes are thousands of small objects, and a parser needs megabytes to run at full speed, so
objects with the same fields are joined into one block (benchmarks/README.md, "small"). Whatever
the input's size, a reader holds one block of text and one piece of an object's bytes.
"""

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from flowconv.errors import CorruptObjectError, FormatError, UnreadableObjectError
from flowconv.formats import LogFormat, declared_format, header_format, split_line
from flowconv.listing import LogObject
from flowconv.report import LineCounts

# isal gunzips three times as fast as zlib, but has no wheel for Windows on Arm.
_ISAL = find_spec("isal") is not None
_gzip: Any = import_module("isal.igzip" if _ISAL else "gzip")
_zlib: Any = import_module("isal.isal_zlib" if _ISAL else "zlib")

# Blocks of 8 MB stay in the caches and reuse their pages: whole 61 MB objects at once took 1.4
# times as long. It is also the longest line that is read.
BLOCK_BYTES = 8 << 20

# Blank lines and comments that may stand before the header.
MAX_HEAD_LINES = 10_000

_BOM = b"\xef\xbb\xbf"


class Readable(Protocol):
    """An object's bytes as they are stored; what `open_object` gives."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer, or as much of it as is left; 0 at the end. Raises FetchError."""
        ...

    def peek_first(self) -> bytes:
        """Return the first piece of the object without taking it; all of a small object."""
        ...

    def close(self) -> None:
        """Give up what was fetched ahead."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a block that comes from one object.

    Attributes:
        log_object: The object.
        start: Offset of its first byte in the block.
        stop: Offset behind its last byte; the same as `start` if it has nothing but a header.
        first_line: Number in the object, from 1, of the line at `start`.
        head: Lines of the object that stand before `start` in this block.
        ends_object: The object's last line is in this block.
    """

    log_object: LogObject
    start: int
    stop: int
    first_line: int
    head: LineCounts
    ends_object: bool


@dataclass(slots=True)
class LogBlock:
    """Whole lines of text with the same fields, from one object or several; headers are cut off.

    The buffer belongs to the reader and is overwritten when the next block is asked for.

    Attributes:
        buffer: Holds the block from its beginning; what follows is of no meaning.
        size: Length of the block in bytes; if it is not 0, the last byte is a newline.
        format: The fields of the lines at each span's start.
        spans: Where the block's bytes come from, in their order, without gaps.
        text_bytes: Length of the block with the headers that were cut off.
        next_format: The fields in force after the last line.
        next_line: Number, in the last span's object, of the line behind the block.

    The parser sets the last two, and the reader goes on with them in the same object.
    """

    buffer: bytes | bytearray
    size: int
    format: LogFormat
    spans: tuple[Span, ...]
    text_bytes: int
    next_format: LogFormat = field(init=False)
    next_line: int = field(init=False)

    def __post_init__(self) -> None:
        self.next_format = self.format
        self.next_line = self.spans[-1].first_line


def read_blocks(
    log_objects: Sequence[LogObject],
    open_object: Callable[[LogObject], Readable],
    declared: LogFormat | None,
    failures: dict[LogObject, UnreadableObjectError],
    max_object_bytes: int | None = None,
) -> Iterator[LogBlock]:
    """Read objects in their order, joining those with the same fields.

    An object whose text fits a block is read whole before any of its lines is given out.

    Args:
        log_objects: What to read.
        open_object: Gives an object's bytes as they are stored.
        declared: Fields of objects without a header.
        failures: Gets the objects that could not be read; nothing of them was given out.
        max_object_bytes: Text of one object beyond which it is unreadable; None is no limit.

    Yields:
        Blocks, each valid until the next is asked for.

    Raises:
        UnreadableObjectError: An object failed after lines of it had been given out. What was made
            of them must be thrown away.
    """
    reader = _BlockReader(declared)
    for log_object in log_objects:
        given_out = False
        try:
            text = _Text(log_object, open_object(log_object), max_object_bytes)
            try:
                for block in reader.append(log_object, text):
                    given_out |= any(span.log_object is log_object for span in block.spans)
                    yield block
            finally:
                text.close()
        except UnreadableObjectError as error:
            if given_out:
                raise
            failures[log_object] = error
    if reader.spans:
        yield reader.take_block()


class _BlockReader:
    """One buffer that is filled, given out as a block, and filled again."""

    def __init__(self, declared: LogFormat | None) -> None:
        self.spans: list[Span] = []
        self._declared = declared
        self._format = declared or declared_format("default")
        self._size = self._head_bytes = 0
        # One byte more, for the newline that an object's last line may lack.
        self._buffer = bytearray(BLOCK_BYTES + 1)
        self._view = memoryview(self._buffer)

    def append(self, log_object: LogObject, text: "_Text") -> Iterator[LogBlock]:
        """Read an object behind what is there, giving out a block whenever there is no room."""
        if self.spans and text.likely_size > BLOCK_BYTES - self._size:
            yield self.take_block()
        end, at_end = self._fill(text, self._size)
        format_, start, head = self._read_head(log_object, self._size, end, at_end)
        format_ = format_ or self._format
        head_bytes = start - self._size
        if self.spans and (not at_end or format_ is not self._format):
            yield self.take_block()
        self._format = format_
        self._head_bytes += head_bytes
        line = head.lines + 1
        end = self._move(start, end, to=self._size)
        while True:
            start = self._size
            stop = end if at_end else self._buffer.rfind(b"\n", start, end) + 1
            if stop <= start and not at_end:
                if end == BLOCK_BYTES:
                    raise _line_too_long(log_object, line)
                end, at_end = self._fill(text, end)
                continue
            self.spans.append(Span(log_object, start, stop, line, head, at_end))
            self._size = stop
            if at_end:
                return
            block = self.take_block()
            yield block
            self._format = block.next_format
            line = block.next_line
            head = LineCounts()
            end, at_end = self._fill(text, self._move(stop, end, to=0))

    def take_block(self) -> LogBlock:
        """Return what has been gathered, and begin anew."""
        text_bytes = self._head_bytes + self._size
        block = LogBlock(self._buffer, self._size, self._format, tuple(self.spans), text_bytes)
        self.spans = []
        self._size = self._head_bytes = 0
        return block

    def _fill(self, text: "_Text", begin: int) -> tuple[int, bool]:
        """Read text to the buffer's end; return where it ends, and whether the object does."""
        end = begin
        while end < BLOCK_BYTES:
            count = text.readinto(self._view[end:BLOCK_BYTES])
            if count == 0:
                unfinished = end > 0 and self._buffer[end - 1] != 10
                if unfinished and self._buffer[begin:end] != _BOM:
                    self._buffer[end] = 10
                    end += 1
                return end, True
            end += count
        return end, False

    def _move(self, start: int, stop: int, to: int) -> int:
        """Move bytes towards the front; return where they end then."""
        end = to + stop - start
        if start != to:
            self._view[to:end] = self._view[start:stop]
        return end

    def _read_head(
        self, log_object: LogObject, begin: int, end: int, at_end: bool
    ) -> tuple[LogFormat | None, int, LineCounts]:
        """Find the first header.

        Returns:
            The format (None if the object has no line that needs one), where the lines begin that
            are read by it, and the lines before them.
        """
        start = begin
        if self._buffer.startswith(_BOM, begin, end):
            start += len(_BOM)
        head = LineCounts()
        format_ = None
        needed = False
        while (
            head.lines < MAX_HEAD_LINES and (newline := self._buffer.find(b"\n", start, end)) >= 0
        ):
            values = split_line(bytes(self._view[start:newline]))
            if values is None or values.tokens:
                needed = True
                if values is not None:
                    try:
                        format_ = header_format(values.tokens, self._declared)
                    except FormatError as error:
                        error.uri, error.line = log_object.uri, head.lines + 1
                        raise
                break
            head += LineCounts(comment=1) if values.comment else LineCounts(blank=1)
            start = newline + 1
        if format_ is not None:
            head += LineCounts(header=1)
            start = newline + 1
        elif needed or not at_end or head.lines == MAX_HEAD_LINES:
            format_ = self._declared
            if format_ is None:
                raise _no_header(log_object, bytes(self._view[start : start + 4]), head.lines + 1)
        return format_, start, head


class _Text:
    """An object's text: gunzipped if its first bytes say so, whatever its name."""

    def __init__(
        self, log_object: LogObject, stored: Readable, max_bytes: int | None = None
    ) -> None:
        self._uri = log_object.uri
        self._stored = stored
        self._max_bytes = max_bytes
        self._given_bytes = 0
        first = stored.peek_first()
        self._gzip: Any = None
        self.likely_size = log_object.size_bytes
        if first[:2] == b"\x1f\x8b":
            self._gzip = _gzip.GzipFile(fileobj=_Raw(stored), mode="rb")
            # The last four bytes are the size of the last member: a hint, not to be relied on.
            whole = len(first) == log_object.size_bytes
            hint = int.from_bytes(first[-4:], "little") if whole else BLOCK_BYTES + 1
            self.likely_size = max(hint, len(first))

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or as much of it as there is text; 0 at the end."""
        count = self._unpack(buffer)
        self._given_bytes += count
        if self._max_bytes is not None and self._given_bytes > self._max_bytes:
            raise FormatError(
                f"the object unpacks to more than {self._max_bytes} bytes. If it is no gzip bomb, "
                "raise --max-object-size.",
                uri=self._uri,
            )
        return count

    def _unpack(self, buffer: memoryview) -> int:
        if self._gzip is None:
            return self._stored.readinto(buffer)
        try:
            return int(self._gzip.readinto(buffer))
        except EOFError as error:
            raise self._corrupt("the gzip data ends early", error) from None
        except (OSError, zlib.error, _zlib.error) as error:
            raise self._corrupt("the gzip data is damaged", error) from None

    def close(self) -> None:
        """Give up what was fetched ahead."""
        self._stored.close()

    def _corrupt(self, what: str, error: Exception) -> CorruptObjectError:
        return CorruptObjectError(
            f"{what} ({error}). Nothing of this object was converted; copy it anew.",
            uri=self._uri,
        )


class _Raw(io.RawIOBase):
    """What `gzip.GzipFile` wants of a file."""

    def __init__(self, stored: Readable) -> None:
        self._stored = stored

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._stored.readinto(memoryview(buffer))


def _line_too_long(log_object: LogObject, line: int) -> FormatError:
    return FormatError(
        f"a line of more than {BLOCK_BYTES >> 20} MB is no record of a flow log. "
        "Leave this object out of SOURCE.",
        uri=log_object.uri,
        line=line,
    )


def _no_header(log_object: LogObject, first: bytes, line: int) -> FormatError:
    if first == b"PAR1":
        message = "this is a Parquet file; flowconv reads flow logs that were delivered as text."
    else:
        message = (
            "this line is no header that names the fields. If the object holds records without a "
            "header, name their fields with --format '${version} ${account-id} …', or "
            "--format default; if it is no flow log, leave it out of SOURCE."
        )
    return FormatError(message, uri=log_object.uri, line=line)
