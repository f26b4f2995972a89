"""What reading gives to parsing: blocks of lines, or of rows that are columns already."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.blocks.counts import LineCounts
from flowconv.blocks.formats import LogFormat
from flowconv.blocks.shapes import Shape
from flowconv.source.keys import LogObject

# Blocks of 8 MiB stay in the caches and reuse their pages: whole 61 MB objects at once took 1.4
# times as long. It is also the longest line that is read.
BLOCK_BYTES = 8 << 20


class Events(NamedTuple):
    """The events that lines were logged in: one value per line, or per row of a batch.

    Attributes:
        times: When, in milliseconds since 1970; -1 where that is not known.
        owners: Whose log group it was: a place in `accounts`; -1 where that is not known.
        accounts: Account ids.
    """

    times: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    accounts: tuple[str, ...] = ()

    @classmethod
    def of_times(cls, times: npt.NDArray[np.int64]) -> Self:
        """Return events of which only the times are known."""
        return cls(times, np.full(len(times), -1))

    @classmethod
    def joined(cls, events: Sequence["Events"]) -> Self:
        """Return several, one behind another."""
        accounts = tuple(dict.fromkeys(account for some in events for account in some.accounts))
        # The last place is that of owners who are not known, -1.
        places = [np.array([*map(accounts.index, some.accounts), -1]) for some in events]
        owners = [there[some.owners] for there, some in zip(places, events, strict=True)]
        times = [some.times for some in events]
        return cls(np.concatenate(times), np.concatenate(owners), accounts)

    def take(self, places: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> "Events":
        """Return the events at some places, or those that a mask selects."""
        return Events(self.times[places], self.owners[places], self.accounts)


class Span(NamedTuple):
    """The part of a block that comes from one object.

    Attributes:
        log_object: The object.
        start: Offset of its first byte in the block.
        stop: Offset behind its last byte, a newline; the same as `start` if it has nothing but a
            header.
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


class BlockEnd(NamedTuple):
    """Where an object goes on behind a block, as the parser found it; the reader needs it.

    Attributes:
        format: The fields in force after the block's last line.
        line: Number, in the last span's object, of the line behind the block.
    """

    format: LogFormat
    line: int


_NONE_LEFT_OUT: Mapping[str, int] = MappingProxyType({})


class LogBlock(NamedTuple):
    """Whole lines of text with the same fields, from one object or several.

    The buffer belongs to the reader and is overwritten when the next block is asked for.

    Attributes:
        buffer: Starts with the block; ignore what follows it.
        size: Length of the block in bytes.
        shape: The shape of its objects; empty ones are among those of any other shape.
        format: The fields of the lines at each span's start.
        spans: Where its lines are, and what objects they come from, in their order. Headers may
            stand between them, and are not to be read again.
        text_bytes: Length of the objects' text, with their headers.
        damaged: Offsets of lines that are no message of the JSON that they stand in.
        events: The event of each line, if they came in events whose facts do not stand in them.
        left_out: Name of a log group -> lines of it that stand before the block and are not read.
        log_groups: Names of log groups, and how many of the block's lines are of each, in their
            order; None is of lines of which it is not known. Empty if it is of none.
    """

    buffer: bytes | bytearray
    size: int
    shape: Shape
    format: LogFormat
    spans: tuple[Span, ...]
    text_bytes: int
    damaged: tuple[int, ...] = ()
    events: Events | None = None
    left_out: Mapping[str, int] = _NONE_LEFT_OUT
    log_groups: tuple[tuple[str | None, int], ...] = ()

    @property
    def log_objects(self) -> tuple[LogObject, ...]:
        """The objects that the lines come from."""
        return tuple(span.log_object for span in self.spans)

    @property
    def ended(self) -> tuple[LogObject, ...]:
        """The objects that have their last line here."""
        return tuple(span.log_object for span in self.spans if span.ends_object)

    def apart(self) -> "Iterator[LogBlock]":
        """Give a block for each span: one of a block's objects may be impossible to parse.

        Headers that were cut off are not counted. Blocks of JSON hold one object and are not cut.
        """
        assert not self.damaged
        assert self.events is None
        for span in self.spans:
            text = bytes(memoryview(self.buffer)[span.start : span.stop])
            moved = span._replace(start=0, stop=len(text))
            yield self._replace(buffer=text, size=len(text), spans=(moved,), text_bytes=len(text))

    def of_spans(self, spans: Sequence[Span]) -> "LogBlock":
        """Return the block as if it had but some of its spans; to be counted, not to be parsed."""
        size = sum(span.stop - span.start for span in spans)
        return self._replace(spans=tuple(spans), size=size, text_bytes=size)


class RowBlock(NamedTuple):
    """Rows of an object that has columns or keys: Parquet, or JSON of records.

    Attributes:
        log_object: The object.
        rows: A column per field, named after it, of whatever type it has in the object.
        format: The fields, in the order of the columns.
        first_row: Number in the object, from 1, of the first row.
        ends_object: The object's last row is among them.
        text_bytes: Size of the columns in memory, or of the text.
        shape: Parquet or JSON_RECORDS.
        texts: Of JSON each row's text; empty if rows have no text of their own.
        damaged: Places of rows that are damaged, and rejected.
        is_native: All columns are int32, int64, texts or places in a dictionary of texts, and none
            of the texts is the `-` of a missing value.
    """

    log_object: LogObject
    rows: pa.Table
    format: LogFormat
    first_row: int
    ends_object: bool
    text_bytes: int
    shape: Shape = Shape.PARQUET
    texts: tuple[bytes, ...] = ()
    damaged: frozenset[int] = frozenset()
    left_out: Mapping[str, int] = _NONE_LEFT_OUT
    is_native: bool = False

    @property
    def log_objects(self) -> tuple[LogObject, ...]:
        """The one object."""
        return (self.log_object,)

    @property
    def ended(self) -> tuple[LogObject, ...]:
        """The object if its last row is here."""
        return (self.log_object,) if self.ends_object else ()


Block = LogBlock | RowBlock

# Gives blocks, and is told after each where its last object goes on.
BlockReader = Generator[Block, BlockEnd, None]


_Item = TypeVar("_Item")


def next_block(blocks: "Generator[_Item, BlockEnd, None]", end: BlockEnd | None) -> _Item | None:
    """Return a reader's next block; None at the end.

    Args:
        blocks: The reader.
        end: What the parser found at the end of the block before; None before the first.
    """
    try:
        return next(blocks) if end is None else blocks.send(end)
    except StopIteration:
        return None
