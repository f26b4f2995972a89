"""Stage 3, objects -> blocks: gunzipped, recognised, joined and cut at line ends.

Real prefixes are thousands of small objects, and a parser needs megabytes to run at full speed, so
objects with the same fields are joined into one block (benchmarks/README.md, "small"). Whatever
the input's size, a reader holds one block of text and one piece of an object's bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flowconv.blocks.block import BLOCK_BYTES, BlockEnd, BlockReader, LogBlock, Span, next_block
from flowconv.blocks.console_csv import read_console_csv
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.formats import declared_format
from flowconv.blocks.json_blocks import read_json
from flowconv.blocks.parquet_objects import read_row_groups
from flowconv.blocks.plausibility import Plausibility
from flowconv.blocks.shapes import Shape, recognise
from flowconv.blocks.unpacking import Readable, Unpacked
from flowconv.errors import CorruptObjectError, FlowconvError, FormatError, UnreadableObjectError
from flowconv.running import Stopped
from flowconv.source.keys import LogObject


def read_blocks(
    log_objects: Sequence[LogObject],
    open_object: Callable[[LogObject], Readable],
    declared: DeclaredFormats,
    on_failure: Callable[[LogObject, UnreadableObjectError], None],
    max_object_bytes: int | None = None,
) -> BlockReader:
    """Read objects in their order, joining those with the same fields.

    An object whose text fits a block is read whole before any of its lines is given out.

    Args:
        log_objects: What to read.
        open_object: Gives an object's bytes as they are stored.
        declared: The formats of objects without a header.
        on_failure: Hears of the objects that could not be read; nothing of them was given out.
        max_object_bytes: Text of one object beyond which it is unreadable; None is no limit.

    Yields:
        Blocks, each valid until the next is asked for, with where the parser says that it ends:
        see `next_block`.

    Raises:
        UnreadableObjectError: An object failed after lines of it had been given out. What was made
            of them must be thrown away.
    """
    reader = _BlockReader(declared)
    for log_object in log_objects:
        given_out = False
        failure: UnreadableObjectError | None = None
        try:
            with only_unreadable(log_object):
                text = Unpacked(log_object, open_object(log_object), max_object_bytes)
            try:
                blocks = reader.append(log_object, text)
                end: BlockEnd | None = None
                while True:
                    with only_unreadable(log_object):
                        block = next_block(blocks, end)
                    if block is None:
                        break
                    given_out |= log_object in block.log_objects
                    end = yield block
            finally:
                text.close()
        except UnreadableObjectError as error:
            if given_out:
                raise
            failure = error.to_keep()
        if failure is not None:
            on_failure(log_object, failure)
    if reader.spans:
        yield reader.take_block()


@contextmanager
def only_unreadable(log_object: LogObject) -> Iterator[None]:
    """Take whatever a reader did not expect for the object's fault, so that the run goes on.

    Raises:
        CorruptObjectError: It raised what is no error of ours, of the system or a wish to stop.
    """
    try:
        yield
    except (FlowconvError, Stopped, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - one object must never end a run
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        module = "?" if frame is None else frame.tb_frame.f_globals.get("__name__", "?")
        raise CorruptObjectError(
            f"the object cannot be read ({type(error).__name__} in {module}). Nothing of this "
            "object was converted; look at it, or leave it out with --exclude.",
            uri=log_object.uri,
        ) from None


class _BlockReader:
    """One buffer that is filled, given out as a block, and filled again."""

    def __init__(self, declared: DeclaredFormats) -> None:
        self.spans: list[Span] = []
        self._declared = declared
        self._shape = Shape.EMPTY
        self._format = declared_format("default")
        self._size = self._head_bytes = 0
        # One byte more, for the newline that an object's last line may lack.
        self._buffer = bytearray(BLOCK_BYTES + 1)
        self._view = memoryview(self._buffer)

    def append(self, log_object: LogObject, text: Unpacked) -> BlockReader:
        """Read an object behind what is there, giving out a block whenever there is no room."""
        if self.spans and text.likely_size > BLOCK_BYTES - self._size:
            yield self.take_block()
        begin = self._size
        end, at_end = self._fill(text, begin)
        if self.spans and not at_end:
            # The hint was wrong, and what says how to read the object may be cut.
            yield self.take_block()
            end, at_end = self._fill(text, self._move(begin, end, to=0))
        head = recognise(log_object, self._buffer, self._size, end, self._declared, whole=at_end)
        if head.shape in (Shape.JSON, Shape.PARQUET, Shape.CONSOLE_CSV):
            text.unread(bytes(self._view[head.start : end]))
            if self.spans:
                yield self.take_block()
            if head.shape is Shape.JSON:
                yield from read_json(log_object, text, self._declared)
            elif head.shape is Shape.CONSOLE_CSV:
                yield from read_console_csv(log_object, text, self._declared, head)
            else:
                yield from read_row_groups(log_object, text)
            return
        line = head.lines.lines + 1
        first_records = None
        if head.is_declared and head.format is not None:
            first_records = Plausibility(log_object, head.format, self._declared)
            if at_end:
                first_records.look_at(self._buffer, head.start, end, line)
                first_records.finish()
        head_bytes = head.start - self._size
        fits = head.format is None or (head.shape, head.format) == (self._shape, self._format)
        if self.spans and not (at_end and fits):
            yield self.take_block()
        if head.format is not None:
            self._shape, self._format = head.shape, head.format
        self._head_bytes += head_bytes
        counts = head.lines
        if at_end and head.start != end:
            end = self._end_line(end)
        end = self._move(head.start, end, to=self._size)
        while True:
            start = self._size
            stop = end if at_end else self._buffer.rfind(b"\n", start, end) + 1
            if stop <= start and not at_end:
                if end == BLOCK_BYTES:
                    raise _line_too_long(log_object, line)
                end, at_end = self._refill(text, end)
                continue
            if first_records is not None and not first_records.is_done:
                first_records.look_at(self._buffer, start, stop, line)
                if at_end:
                    first_records.finish()
            self.spans.append(Span(log_object, start, stop, line, counts, at_end))
            self._size = stop
            if at_end:
                return
            behind = yield self.take_block()
            self._format, line, counts = behind.format, behind.line, LineCounts()
            end, at_end = self._refill(text, self._move(stop, end, to=0))

    def take_block(self) -> LogBlock:
        """Return what has been gathered, and begin anew."""
        block = LogBlock(
            buffer=self._buffer,
            size=self._size,
            shape=self._shape,
            format=self._format,
            spans=tuple(self.spans),
            text_bytes=self._head_bytes + self._size,
        )
        self.spans = []
        self._size = self._head_bytes = 0
        return block

    def _fill(self, text: Unpacked, begin: int) -> tuple[int, bool]:
        """Read text to the buffer's end; return where it ends, and whether the object does."""
        end = begin
        while end < BLOCK_BYTES:
            count = text.readinto(self._view[end:BLOCK_BYTES])
            if count == 0:
                return end, True
            end += count
        return end, False

    def _refill(self, text: Unpacked, begin: int) -> tuple[int, bool]:
        end, at_end = self._fill(text, begin)
        return (self._end_line(end) if at_end and end else end), at_end

    def _end_line(self, end: int) -> int:
        """Write the newline that an object's last line may lack."""
        if self._buffer[end - 1] == 10:
            return end
        self._buffer[end] = 10
        return end + 1

    def _move(self, start: int, stop: int, to: int) -> int:
        """Move bytes towards the front; return where they end then."""
        end = to + stop - start
        if start != to:
            self._view[to:end] = self._view[start:stop]
        return end


def _line_too_long(log_object: LogObject, line: int) -> FormatError:
    return FormatError(
        f"a line of more than {BLOCK_BYTES >> 20} MB is no record of a flow log. "
        "Leave it out with --exclude.",
        uri=log_object.uri,
        line=line,
    )
