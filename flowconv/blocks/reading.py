"""Stage 3, objects -> blocks: gunzipped, recognised, joined and cut at line ends.

Real prefixes are thousands of small objects, and a parser needs megabytes to run at full speed, so
objects with the same fields are joined into one block (benchmarks/README.md, "small"). Whatever
the input's size, a reader holds one block of text, or two where a core is idle that can read the
next one meanwhile, and one piece of an object's bytes.
"""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar

from flowconv.blocks.block import (
    BLOCK_BYTES,
    Block,
    BlockEnd,
    BlockReader,
    LogBlock,
    Span,
    next_block,
)
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.formats import declared_format
from flowconv.blocks.plausibility import Plausibility
from flowconv.blocks.shapes import Head, Shape, recognise
from flowconv.blocks.unpacking import Readable, Unpacked
from flowconv.errors import CorruptObjectError, FlowconvError, FormatError, UnreadableObjectError
from flowconv.memory import unwritten
from flowconv.running import Stopped
from flowconv.source.keys import LogObject


class _Filled(NamedTuple):
    """A buffer that text was read into: where the text ends, and whether the object does."""

    end: int
    at_end: bool


_Result = TypeVar("_Result")


class BeginBeside(Protocol):
    """Where a call goes that another core can do beside the caller's work."""

    def __call__(self, call: Callable[[], _Result], /) -> "Future[_Result] | None":
        """Begin a call; None, and nothing is called, if no core is idle."""
        ...


def no_core_is_idle(_: Callable[[], _Result], /) -> "Future[_Result] | None":
    """Begin nothing."""
    return None


def read_blocks(
    log_objects: Sequence[LogObject],
    open_object: Callable[[LogObject], Readable],
    declared: DeclaredFormats,
    on_failure: Callable[[LogObject, UnreadableObjectError], None],
    max_object_bytes: int | None = None,
    begin_beside: BeginBeside = no_core_is_idle,
) -> BlockReader:
    """Read objects in their order, joining those with the same fields.

    An object whose text fits a block is read whole before any of its lines is given out.

    Args:
        log_objects: What to read.
        open_object: Gives an object's bytes as they are stored.
        declared: The formats of objects without a header.
        on_failure: Hears of the objects that could not be read; nothing of them was given out.
        max_object_bytes: Largest size of an object's text; a larger one is unreadable. None sets no
            limit.
        begin_beside: Reads the next block while the caller has one.

    Yields:
        Blocks, each valid until the next is asked for, with where the parser says that it ends:
        see `next_block`.

    Raises:
        UnreadableObjectError: An object failed after lines of it had been given out. What was made
            of them must be thrown away.
    """
    reader = _BlockReader(declared)
    found = _read_all(reader, log_objects, open_object, max_object_bytes)
    ahead: Future[Block | _Failure | None] | None = None
    end: BlockEnd | None = None
    try:
        while (item := ahead.result() if ahead else next_block(found, end)) is not None:
            ahead = None
            if isinstance(item, _Failure):
                on_failure(item.log_object, item.error)
                continue
            ahead = reader.begin_ahead(begin_beside, item, partial(next_block, found, None))
            end = yield item
    finally:
        # Whoever ends here closes the object next.
        reader.wait_ahead(ahead)
        found.close()
        reader.close()


class _Failure(NamedTuple):
    """An object that cannot be read."""

    log_object: LogObject
    error: UnreadableObjectError


def _read_all(
    reader: "_BlockReader",
    log_objects: Sequence[LogObject],
    open_object: Callable[[LogObject], Readable],
    max_object_bytes: int | None,
) -> Generator[Block | _Failure, BlockEnd | None, None]:
    """Read objects with a reader; see `read_blocks`."""
    for log_object in log_objects:
        given_out = False
        failure: UnreadableObjectError | None = None
        try:
            # Nothing is thrown in where blocks are given out, but what closes this.
            with only_unreadable(log_object):
                text = Unpacked(log_object, open_object(log_object), max_object_bytes)
                try:
                    blocks = reader.append(log_object, text)
                    block = next(blocks, None)
                    while block is not None:
                        # What waited before it may be given out first.
                        given_out |= block.log_objects[-1] is log_object
                        block = next_block(blocks, (yield block))
                finally:
                    text.close()
        except UnreadableObjectError as error:
            if given_out:
                raise
            failure = error.to_keep()
        if failure is not None:
            yield _Failure(log_object, failure)
    if reader.spans:
        yield reader.take_block()


class only_unreadable:  # noqa: N801  # Named as contextlib's are; its own take 5 us an object.
    """Take whatever a reader did not expect for the object's fault, so that the run goes on.

    Raises:
        CorruptObjectError: It raised an error that is neither ours nor the system's.
    """

    __slots__ = ("_log_object",)

    def __init__(self, log_object: LogObject) -> None:
        self._log_object = log_object

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See above."""
        if not isinstance(error, Exception) or isinstance(error, FlowconvError | Stopped):
            return
        # What the system raises has a number; decoders' own, such as Arrow's, have none.
        if isinstance(error, OSError) and error.errno is not None:
            return
        frame = trace
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        module = "?" if frame is None else frame.tb_frame.f_globals.get("__name__", "?")
        raise CorruptObjectError(
            f"the object cannot be read ({type(error).__name__} in {module}). Nothing of this "
            "object was converted; look at it, or leave it out with --exclude.",
            uri=self._log_object.uri,
        ) from None


class _SpareBuffer(threading.local):
    """The block's buffer of the reader that this thread had last.

    A new one takes longer, for its pages come from the system, than a small object takes.
    """

    buffer: bytearray | None = None

    def take(self) -> bytearray:
        # One byte more, for the newline that an object's last line may lack.
        taken, self.buffer = self.buffer, None
        # Tests make blocks smaller; what they leave is too small for others.
        return taken if taken and len(taken) > BLOCK_BYTES else unwritten(BLOCK_BYTES + 1)


_spare = _SpareBuffer()


_HEADER_ALONE = LineCounts(header=1)


class _KnownHeader(NamedTuple):
    """A first line that is a header, with its newline, and what it says."""

    line: bytes
    head: Head


class _BlockReader:
    """A buffer that is filled, given out as a block, and filled again.

        | spans of whole lines, headers | waiting: read, in no span yet | room |
        0                         _size = _start                       _end   BLOCK_BYTES

    Once a block is given out, or a header is passed, `_start` lies behind `_size`. What waits is
    moved to the front when the block was given out, or room is needed.
    """

    def __init__(self, declared: DeclaredFormats) -> None:
        self.spans: list[Span] = []
        self._spare: bytearray | None = None
        # The object that goes on behind the block that was given out, and what follows of it.
        self._unfinished: Unpacked | None = None
        self._filling: Future[_Filled] | None = None
        self._declared = declared
        self._shape = Shape.EMPTY
        self._format = declared_format("default")
        self._text_bytes = 0
        self._size = self._start = self._end = 0
        self._buffer = _spare.take()
        self._view = memoryview(self._buffer)
        self._known: _KnownHeader | None = None

    def close(self) -> None:
        """Give the buffer to the thread's next reader; no block is valid any more."""
        _spare.buffer = self._buffer

    def append(self, log_object: LogObject, text: Unpacked) -> BlockReader:
        """Read an object into the buffer, giving out a block whenever that is full."""
        self._start = self._end = self._size  # The object before may have failed half way.
        if self.spans and text.likely_size > BLOCK_BYTES - self._size:
            yield self.take_block()
        at_end = self._fill(text)
        if self.spans and not at_end:
            # The hint was wrong, and what says how to read the object may be cut.
            yield self.take_block()
            at_end = self._fill(text)
        head = self._recognise(log_object, at_end=at_end)
        if head.shape in _READERS:
            text.unread(bytes(self._view[self._start + head.size_bytes : self._end]))
            self._end = self._start
            if self.spans:
                yield self.take_block()
            yield from _READERS[head.shape](log_object, text, self._declared, head)
            return
        yield from self._append_lines(log_object, text, head, at_end=at_end)

    def _recognise(self, log_object: LogObject, *, at_end: bool) -> Head:
        """Look at what waits: mostly it begins with the header of the object before."""
        known, start = self._known, self._start
        if known and self._buffer.startswith(known.line, start, self._end):
            return known.head
        head = recognise(log_object, self._buffer, start, self._end, self._declared, whole=at_end)
        stop = start + head.size_bytes
        if head.shape is Shape.HEADER and head.lines == _HEADER_ALONE and stop <= self._end:
            self._known = _KnownHeader(bytes(self._view[start:stop]), head)
        return head

    def _append_lines(
        self, log_object: LogObject, text: Unpacked, head: Head, *, at_end: bool
    ) -> BlockReader:
        """Append an object's lines; the first wait in the buffer behind its head."""
        line, counts = head.lines.lines + 1, head.lines
        # A header may lack the newline that its size counts.
        start = min(self._start + head.size_bytes, self._end)
        first_records = None
        if head.is_declared and head.format is not None:
            first_records = Plausibility(log_object, head.format, self._declared)
            if at_end:
                # Before the lines are joined with those of other objects.
                first_records.look_at(self._buffer, start, self._end, line)
                first_records.finish()
        self._start = start
        fits = head.format is None or (head.shape, head.format) == (self._shape, self._format)
        if self.spans and not (at_end and fits):
            yield self.take_block()
            self._move_to_front()
        if head.format is not None:
            self._shape, self._format = head.shape, head.format
        self._text_bytes += head.size_bytes
        while True:
            if at_end:
                self._end_line()
            stop = self._end if at_end else self._buffer.rfind(b"\n", self._start, self._end) + 1
            if stop <= self._start and not at_end:
                if self._end - self._start == BLOCK_BYTES:
                    raise _line_too_long(log_object, line)
                at_end = self._fill(text)
                continue
            if first_records is not None and not first_records.is_done:
                has_header = first_records.look_at(self._buffer, self._start, stop, line)
                if has_header or at_end:
                    first_records.finish()
            self.spans.append(
                Span(
                    log_object=log_object,
                    start=self._start,
                    stop=stop,
                    first_line=line,
                    head=counts,
                    ends_object=at_end,
                )
            )
            self._text_bytes += stop - self._start
            self._size = self._start = stop
            if at_end:
                return
            self._unfinished = text
            behind = yield self.take_block()
            self._unfinished = None
            self._format, line, counts = behind.format, behind.line, LineCounts()
            at_end = self._take_spare() if self._filling else self._fill(text)

    def begin_ahead(
        self,
        begin_beside: BeginBeside,
        block: Block,
        read_next: Callable[[], Block | _Failure | None],
    ) -> "Future[Block | _Failure | None] | None":
        """Begin to read behind a block that is given out, if a core is idle.

        Returns:
            What comes next; None if the caller is to read that, for lack of a core or because it
            depends on how the block's last object ends.
        """
        if self._unfinished is not None:
            self._filling = begin_beside(partial(self._fill_spare, self._unfinished))
        elif isinstance(block, LogBlock) and block.buffer is self._buffer:
            return begin_beside(partial(self._read_into_spare, read_next))
        return None

    def wait_ahead(self, ahead: "Future[Block | _Failure | None] | None") -> None:
        """Wait until nothing is being read."""
        reading: list[Future[Any]] = [begun for begun in (ahead, self._filling) if begun]
        wait(reading)

    def take_block(self) -> LogBlock:
        """Return what has been gathered, and start again."""
        block = LogBlock(
            buffer=self._buffer,
            size=self._size,
            shape=self._shape,
            format=self._format,
            spans=tuple(self.spans),
            text_bytes=self._text_bytes,
        )
        self.spans = []
        self._size = self._text_bytes = 0
        return block

    def _fill(self, text: Unpacked) -> bool:
        """Read text up to the buffer's end; return whether the object ends before it."""
        self._move_to_front()
        self._end, at_end = _fill_up(text, self._view, self._end)
        return at_end

    def _fill_spare(self, text: Unpacked) -> _Filled:
        """Fill the spare buffer with what follows the block that is given out."""
        spare, end = self._with_what_waits()
        return _fill_up(text, spare, end)

    def _take_spare(self) -> bool:
        """Go on with the spare buffer that was filled; return whether the object ends in it."""
        assert self._filling is not None
        filled, self._filling = self._filling.result(), None
        self._turn_to_spare(filled.end)
        return filled.at_end

    def _read_into_spare(
        self, read_next: Callable[[], Block | _Failure | None]
    ) -> Block | _Failure | None:
        """Read what comes next while the block that was given out stays as it is."""
        self._turn_to_spare(self._with_what_waits()[1])
        return read_next()

    def _with_what_waits(self) -> tuple[memoryview, int]:
        """Return the spare buffer, beginning with what waits, and where that ends."""
        self._spare = self._spare or unwritten(BLOCK_BYTES + 1)
        spare, waiting = memoryview(self._spare), self._view[self._start : self._end]
        spare[: len(waiting)] = waiting
        return spare, len(waiting)

    def _turn_to_spare(self, end: int) -> None:
        """Go on with the spare buffer, whose text ends there."""
        assert self._spare is not None
        self._buffer, self._spare = self._spare, self._buffer
        self._view = memoryview(self._buffer)
        self._start, self._end = 0, end

    def _move_to_front(self) -> None:
        """Move what waits to where the spans end."""
        if self._start != self._size:
            waiting = self._view[self._start : self._end]
            self._start, self._end = self._size, self._size + len(waiting)
            self._view[self._start : self._end] = waiting

    def _end_line(self) -> None:
        """Write the newline that an object's last line may lack."""
        if self._end > self._start and self._buffer[self._end - 1] != ord("\n"):
            self._buffer[self._end] = ord("\n")
            self._end += 1


def _fill_up(text: Unpacked, view: memoryview, end: int) -> _Filled:
    """Read text into a buffer, from where its text ends."""
    end += text.readinto(view[end:BLOCK_BYTES])
    return _Filled(end, at_end=end < BLOCK_BYTES)


# Objects that are no lines have readers of their own, imported when there is one: that takes long.
def _read_json(
    log_object: LogObject, text: Unpacked, declared: DeclaredFormats, _: Head
) -> BlockReader:
    from flowconv.blocks.json_blocks import read_json

    return read_json(log_object, text, declared)


def _read_console_csv(
    log_object: LogObject, text: Unpacked, declared: DeclaredFormats, head: Head
) -> BlockReader:
    from flowconv.blocks.console_csv import read_console_csv

    return read_console_csv(log_object, text, declared, head)


def _read_parquet(
    log_object: LogObject, text: Unpacked, _: DeclaredFormats, __: Head
) -> BlockReader:
    from flowconv.blocks.parquet_objects import read_row_groups

    return read_row_groups(log_object, text)


_READERS: Mapping[Shape, Callable[[LogObject, Unpacked, DeclaredFormats, Head], BlockReader]] = {
    Shape.JSON: _read_json,
    Shape.CONSOLE_CSV: _read_console_csv,
    Shape.PARQUET: _read_parquet,
}


def _line_too_long(log_object: LogObject, line: int) -> FormatError:
    return FormatError(
        f"a line of more than {BLOCK_BYTES >> 20} MiB is not a record of a flow log. "
        "Leave it out with --exclude.",
        uri=log_object.uri,
        line=line,
    )
