"""What parsing gives: rows as columns, the lines that do not fit, and a count of all lines."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.blocks.block import BlockEnd, Events
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.formats import LogFormat, split_line
from flowconv.errors import ParseError
from flowconv.source.keys import LogObject

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "not-utf8": "it is not UTF-8",
        "control-character": "it has a carriage return in its middle",
        "not-json": "it is not a JSON document with messages",
        "not-a-timestamp": "it does not begin with the time of an event, as CloudWatch exports it",
        "too-few-values": "it has fewer values than the header has names",
        "too-many-values": "it has more values than the header has names",
        "glued-records": "it has the values of several records, not all of which fit",
        "not-a-number": "its value is not a whole number",
        "out-of-range": "its value is out of the range of its field",
    }
)


# A piece has at most so much of JSON beside the values: 512 names of 128 letters are 67 KB a row.
NAMED_BYTES = 16 << 20
_BESIDE_NAME = 6


class RawBatch(NamedTuple):
    """Rows in the order of the log: values split and typed, `-` made null, bad lines left out.

    Not yet done: the table's columns and their order, timestamps, milliseconds, tag values.

    Attributes:
        format: The fields of the rows.
        table: One column per field, named after it: int32, int64 or string.
        sources: The objects that the rows come from, in the rows' order, and how many are theirs.
        lines: Number of each row's line in its object, from 1.
        events: The event of each row, if they came in events. Times of an export's are known only
            if a row needs them, since it has no start.
    """

    format: LogFormat
    table: pa.Table
    sources: tuple[tuple[LogObject, int], ...]
    lines: npt.NDArray[np.int64]
    events: Events | None = None

    def pieces(self, most_rows: int) -> Iterator["RawBatch"]:
        """Cut the batch, without a copy, into pieces of at most `most_rows` rows.

        They have fewer where names of unknown fields, which each row will have, are many.
        """
        named = sum(len(field.name) + _BESIDE_NAME for field in self.format.unknown_fields)
        most_rows = min(most_rows, NAMED_BYTES // named) if named else most_rows
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
            place = slice(start, start + most_rows)
            yield self._replace(
                table=table,
                sources=tuple(sources),
                lines=self.lines[place],
                events=self.events and self.events.take(place),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedLine:
    """A line that does not fit its header.

    Attributes:
        log_object: Where it is from.
        line: Its number in the object, from 1.
        reason: A key of `REASONS`.
        field: AWS's name of the first field that is at fault, if it is one.
        text: The line without its newline.
        format: The fields that it was to have.
    """

    log_object: LogObject
    line: int
    reason: str
    field: str | None
    text: bytes
    format: LogFormat


class RejectedPart(NamedTuple):
    """Lines of one text that do not fit, as columns: a block may have millions of them.

    Attributes:
        text: Holds the lines.
        starts: Offset of each line.
        ends: Offset behind each line, without its line end.
        numbers: Number of each line in its object, from 1.
        log_objects: Where they are from.
        places: Which of these each line is from.
        reasons: What is wrong with them, and AWS's name of the field at fault, if it is one.
        codes: Which of these each line has.
        format: The format that they were read by.
    """

    text: bytes
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int64]
    log_objects: tuple[LogObject, ...]
    places: npt.NDArray[np.int32]
    reasons: tuple[tuple[str, str | None], ...]
    codes: npt.NDArray[np.int16]
    format: LogFormat

    def line(self, place: int) -> RejectedLine:
        """Return one of the lines."""
        reason, field = self.reasons[self.codes[place]]
        return RejectedLine(
            log_object=self.log_objects[self.places[place]],
            line=int(self.numbers[place]),
            reason=reason,
            field=field,
            text=self.text[self.starts[place] : self.ends[place]],
            format=self.format,
        )

    def by_object(self) -> Iterator[tuple[LogObject, npt.NDArray[np.intp]]]:
        """Give the objects that lines are of, and the places of theirs."""
        for place in np.unique(self.places).tolist():
            yield self.log_objects[place], np.flatnonzero(self.places == place)


class RejectedLines(Sequence[RejectedLine]):
    """Lines that do not fit, each made when it is asked for."""

    def __init__(self, parts: Sequence[RejectedPart] = ()) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return sum(len(part.starts) for part in self.parts)

    def __iter__(self) -> Iterator[RejectedLine]:
        for part in self.parts:
            for place in range(len(part.starts)):
                yield part.line(place)

    @overload
    def __getitem__(self, place: int) -> RejectedLine: ...
    @overload
    def __getitem__(self, place: slice) -> list[RejectedLine]: ...
    def __getitem__(self, place: int | slice) -> RejectedLine | list[RejectedLine]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = place + len(self) if place < 0 else place
        for part in self.parts:
            if 0 <= number < len(part.starts):
                return part.line(number)
            number -= len(part.starts)
        raise IndexError(place)


_NONE_UNFIT: Mapping[str, int] = MappingProxyType({})


class ParsedBlock(NamedTuple):
    """What became of a block: every line of it is counted once.

    Attributes:
        batches: The rows; one batch, or several where a header in the middle changed the fields.
        counts: Objects and their lines by kind; an object may come several times.
        rejected: The lines that do not fit, in the order of the block.
        end: Where the block's last object goes on.
        unfit_log_groups: Log groups of an object that ends here, of which no line is a row, and how
            many of their lines do not fit.
    """

    batches: tuple[RawBatch, ...]
    counts: tuple[tuple[LogObject, LineCounts], ...]
    rejected: RejectedLines
    end: BlockEnd
    unfit_log_groups: Mapping[str, int] = _NONE_UNFIT

    @classmethod
    def joined(cls, parts: Sequence[Self], end: BlockEnd) -> Self:
        """Return parts of a block as one."""
        return cls(
            batches=tuple(batch for part in parts for batch in part.batches),
            counts=tuple(count for part in parts for count in part.counts),
            rejected=RejectedLines([kept for part in parts for kept in part.rejected.parts]),
            end=end,
        )


def bad_line_error(line: RejectedLine) -> ParseError:
    """Return the error for a line that does not fit, where such lines are not set aside."""
    return ParseError(
        f"{what_is_wrong(line)}. To set such lines aside and go on, use --on-bad-line quarantine.",
        uri=line.log_object.uri,
        line=line.line,
        field=line.field,
    )


def what_is_wrong(line: RejectedLine) -> str:
    """Say why a line does not fit, as a part of a sentence."""
    split = split_line(line.text) if line.reason in ("too-few-values", "too-many-values") else None
    if split is not None:
        values = len(split.tokens) - line.format.timestamped
        return (
            f"it has {values} value{'' if values == 1 else 's'}, and the format has "
            f"{len(line.format.fields)}"
        )
    place = f"field {line.field}: " if line.field else ""
    return place + REASONS[line.reason]
