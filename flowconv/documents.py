"""Stage 3b, JSON -> blocks: the messages of CloudWatch subscriptions and of Firehose, as lines.

A subscription delivers documents with many messages each, and Firehose writes one behind the other
with nothing in between (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/
SubscriptionFilters.html); others have one document a line. Arrow's JSON reader takes a stretch of
documents at once, and none of them if one is damaged. Then the stretch is halved, at newlines that
surely stand between documents, until the damage is alone.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from flowconv.blocks import BLOCK_BYTES, LogBlock, Span
from flowconv.errors import FormatError
from flowconv.formats import DeclaredFormats, LogFormat, declared_format
from flowconv.listing import LogObject
from flowconv.report import LineCounts
from flowconv.shapes import BOM, Shape, no_format
from flowconv.unpacking import Unpacked

# CloudWatch's documents are of 1 MB at the most when they are compressed.
MAX_DOCUMENT_BYTES = 32 << 20

_SCHEMA: pa.Schema = pa.schema(
    [
        ("messageType", pa.string()),
        ("logGroup", pa.string()),
        ("message", pa.string()),
        ("logEvents", pa.list_(pa.struct([("message", pa.string())]))),
    ]
)

# A string may look like the end of a document and the beginning of the next, but hardly this often.
_ENDS_TRIED = 4


def read_documents(
    log_object: LogObject, text: Unpacked, declared: DeclaredFormats
) -> Iterator[LogBlock]:
    """Read an object of JSON documents: each line of a block is a message, or damaged JSON.

    Messages of documents that name their log group are read by that group's format.

    Args:
        log_object: The object.
        text: Its text, from the beginning.
        declared: The formats of what has no header.

    Raises:
        UnreadableObjectError: The object could not be read, its documents have no messages, are
            too large, or their messages have no format.
    """
    blocks = _Blocks(log_object, declared)
    stretches = _stretches(log_object, text)
    for number, stretch in enumerate(stretches):
        for lines in _decode(log_object, stretch, first=number == 0):
            blocks.add(lines)
        if blocks.size >= BLOCK_BYTES:
            yield from blocks.take(ends_object=False)
    yield from blocks.take(ends_object=True)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Messages, or one line of damaged JSON.

    Attributes:
        text: A line each, with its newline.
        shape: Where they are from; None if it is damaged JSON.
        log_group: The log group that their documents name.
    """

    text: bytes
    shape: Shape | None
    log_group: str | None = None


class _Blocks:
    """Gathers lines to blocks, each of one format."""

    def __init__(self, log_object: LogObject, declared: DeclaredFormats) -> None:
        self.size = 0
        self._log_object = log_object
        self._declared = declared
        self._format = declared_format("default")
        self._shape = Shape.JSON
        self._lines: list[_Lines] = []
        self._next_line = 1
        self._header: LogFormat | None = None

    def add(self, lines: _Lines) -> None:
        self._lines.append(lines)
        self.size += len(lines.text)

    def take(self, *, ends_object: bool) -> Iterator[LogBlock]:
        """Give out what was gathered; the last block says whether the object ends with it."""
        of_format = [(f, list(lines)) for f, lines in groupby(self._lines, self._format_of)]
        self._lines, self.size = [], 0
        if ends_object and not of_format:
            of_format = [(self._format, [])]
        for number, (format_, some) in enumerate(of_format, start=1):
            text = b"".join(lines.text for lines in some)
            starts = accumulate((len(lines.text) for lines in some), initial=0)
            damaged = [start for lines, start in zip(some, starts, strict=False) if not lines.shape]
            span = Span(
                self._log_object,
                start=0,
                stop=len(text),
                first_line=self._next_line,
                head=LineCounts(),
                ends_object=ends_object and number == len(of_format),
            )
            # A header among the messages wins from there on.
            in_force = self._header or format_
            block = LogBlock(
                *(text, len(text), self._shape, in_force, (span,), len(text)), tuple(damaged)
            )
            yield block
            self._next_line = block.next_line
            if block.next_format != in_force:
                self._header = block.next_format

    def _format_of(self, lines: _Lines) -> LogFormat:
        """Return the format of lines; damaged ones go with those before them."""
        if lines.shape:
            self._shape = lines.shape
        elif self._shape is not Shape.JSON:
            return self._format
        one = self._log_object
        format_ = self._declared.find(one.path, one.flow_log_id, lines.log_group)
        if format_ is None:
            raise no_format(one, self._shape, self._next_line)
        self._format = format_
        return format_


def _stretches(log_object: LogObject, text: Unpacked) -> Iterator[bytes]:
    """Cut an object's text between documents, into stretches of some size."""
    waiting = bytearray()
    at_start = True
    while True:
        room = bytearray(BLOCK_BYTES)
        size = _fill(text, memoryview(room))
        waiting += memoryview(room)[:size]
        if at_start and waiting.startswith(BOM):
            del waiting[: len(BOM)]
        at_start = False
        if size < len(room):
            yield bytes(waiting)
            return
        end = _last_end(waiting)
        if end:
            yield bytes(memoryview(waiting)[:end])
            del waiting[:end]
        elif len(waiting) >= MAX_DOCUMENT_BYTES:
            raise FormatError(
                f"a JSON document is of more than {MAX_DOCUMENT_BYTES >> 20} MB, or is damaged and "
                "has no newline behind it. Leave this object out of SOURCE.",
                uri=log_object.uri,
            )


def _fill(text: Unpacked, room: memoryview) -> int:
    size = 0
    while size < len(room) and (count := text.readinto(room[size:])):
        size += count
    return size


def _last_end(text: bytearray) -> int:
    """Return where the last document ends that is followed by another; 0 if there is none."""
    newline = len(text)
    while (newline := text.rfind(b"\n", 0, newline)) > 0:
        if _is_between(text, newline):
            return newline + 1
    end = len(text)
    for _ in range(_ENDS_TRIED):
        end = text.rfind(b"}{", 0, end) + 1
        if end == 0 or _read(bytes(memoryview(text)[:end])) is not None:
            return end
    return 0


def _is_between(text: bytes | bytearray, newline: int) -> bool:
    """Tell whether a newline stands between documents, and not within one.

    A JSON string has no raw newline, and elsewhere no two braces stand so.
    """
    before = text[max(0, newline - 64) : newline].rstrip()
    after = text[newline : newline + 64].lstrip()
    return before[-1:] == b"}" and after[:1] == b"{"


def _decode(log_object: LogObject, stretch: bytes, *, first: bool) -> Iterator[_Lines]:
    """Take the messages out of a stretch of documents, and set damaged lines aside."""
    documents = _read(stretch)
    if isinstance(documents, pa.Table):
        lacking = _lacking(documents)
        if not lacking.size:
            yield from (lines for _, lines in _messages(documents))
            return
        if first and lacking[0] == 0 and documents["logEvents"][0].as_py() is None:
            raise FormatError(
                "this JSON is no flow log: its first document has neither logEvents, as those of "
                "CloudWatch's subscriptions, nor message, as those of Firehose. Leave this object "
                "out of SOURCE.",
                uri=log_object.uri,
            )
    lines = _one_a_line(stretch)
    if lines is not None:
        yield from lines
    elif middle := _middle(stretch):
        yield from _decode(log_object, stretch[:middle], first=first)
        yield from _decode(log_object, stretch[middle:], first=False)
    else:
        for line in stretch.split(b"\n"):
            documents = _read(line)
            if isinstance(documents, pa.Table) and not _lacking(documents).size:
                yield from (lines for _, lines in _messages(documents))
            else:
                yield _Lines(line + b"\n", None)


def _one_a_line(stretch: bytes) -> list[_Lines] | None:
    """Read lines that are a document each, or damaged; None if there are others."""
    stretch = stretch.removesuffix(b"\n") + b"\n"
    stops = np.flatnonzero(np.frombuffer(stretch, np.uint8) == 10) + 1
    starts = np.concatenate(([0], stops[:-1]))
    filled = stops - starts > 1
    starts, stops = starts[filled], stops[filled]
    good = np.ones(len(starts), bool)
    at = 0
    while at < len(starts) and isinstance(row := _read(stretch, int(starts[at])), int):
        at += row + 1
        # Arrow counts documents, so the line is another where there are not as many lines.
        if at > len(starts) or isinstance(_read(stretch[starts[at - 1] : stops[at - 1]]), pa.Table):
            return None
        good[at - 1] = False
    while True:
        edges = np.flatnonzero(np.diff(good, prepend=False, append=False)).reshape(-1, 2)
        pieces = [stretch[starts[a] : stops[b - 1]] for a, b in edges.tolist()]
        documents = _read(b"".join(pieces))
        if not isinstance(documents, pa.Table) or documents.num_rows != good.sum():
            return None
        lacking = _lacking(documents)
        if not lacking.size:
            break
        good[np.flatnonzero(good)[lacking]] = False
    row_of = np.cumsum(good)
    lines = _messages(documents, np.unique(row_of[~good]).tolist())
    for index in np.flatnonzero(~good).tolist():
        damaged = _Lines(stretch[starts[index] : stops[index]], None)
        lines.append((int(row_of[index]), damaged))
    # A damaged line stands before the row that has its number.
    lines.sort(key=lambda placed: (placed[0], placed[1].shape is not None))
    return [some for _, some in lines]


def _middle(stretch: bytes) -> int:
    """Return where documents surely part, near the middle; 0 if there is no such place."""
    half = len(stretch) // 2
    newline = half
    while (newline := stretch.find(b"\n", newline)) >= 0:
        if _is_between(stretch, newline):
            return newline + 1
        newline += 1
    newline = half
    while (newline := stretch.rfind(b"\n", 0, newline)) > 0:
        if _is_between(stretch, newline):
            return newline + 1
    return 0


def _read(stretch: bytes, start: int = 0) -> pa.Table | int | None:
    """Return the columns of the documents from there on, or which is damaged, if Arrow says it."""
    text = pa.py_buffer(stretch).slice(start)
    if not stretch[start : start + 64].strip() and not stretch[start:].strip():
        return _SCHEMA.empty_table()
    try:
        return json.read_json(
            pa.BufferReader(text),  # type: ignore[arg-type]
            read_options=json.ReadOptions(use_threads=False, block_size=text.size + 1),
            parse_options=json.ParseOptions(
                explicit_schema=_SCHEMA,
                newlines_in_values=True,
                unexpected_field_behavior="ignore",
            ),
        )
    except pa.ArrowInvalid as error:
        row = re.search(r"in row ([0-9]+)", str(error))
        return int(row[1]) if row else None


def _lacking(documents: pa.Table) -> Any:
    """Return the numbers of the documents that have no messages, and are to have some."""
    events: Any = documents["logEvents"].combine_chunks()
    single: Any = documents["message"].combine_chunks()
    texts: Any = pc.struct_field(events.flatten(), "message")
    parents: Any = pc.list_parent_indices(events)
    lacking = pc.and_(pc.is_null(events), pc.is_null(single)).to_numpy(zero_copy_only=False)
    lacking = np.array(lacking)
    lacking[parents.filter(pc.is_null(texts)).to_numpy(zero_copy_only=False)] = True
    return np.flatnonzero(lacking & ~_control(documents))


def _control(documents: pa.Table) -> Any:
    kind: Any = documents["messageType"].combine_chunks()
    control: Any = pc.equal(kind, pa.scalar("CONTROL_MESSAGE"))
    return control.fill_null(False).to_numpy(zero_copy_only=False)


def _messages(documents: pa.Table, cuts: Sequence[int] = ()) -> list[tuple[int, _Lines]]:
    """Return the documents' messages, by the number of their first document.

    Messages go together that are of one kind and log group, with no cut between.
    """
    events: Any = documents["logEvents"].combine_chunks()
    single: Any = documents["message"].combine_chunks()
    groups: Any = documents["logGroup"].combine_chunks().dictionary_encode()
    control, in_events = _control(documents), events.is_valid().to_numpy(zero_copy_only=False)
    group = groups.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    changes = np.any([mark[1:] != mark[:-1] for mark in (control, in_events, group)], axis=0)
    edges = np.unique([0, *(np.flatnonzero(changes) + 1), *cuts, documents.num_rows])
    result = []
    for start, stop in pairwise(edges.tolist()):
        if control[start]:
            continue
        if in_events[start]:
            messages = pc.struct_field(events[start:stop].flatten(), "message")
            shape = Shape.SUBSCRIPTION
        else:
            messages, shape = single[start:stop], Shape.FIREHOSE
        result.append((start, _Lines(_joined(messages), shape, groups[start].as_py())))
    return result


def _joined(messages: Any) -> bytes:
    """Return messages as lines; a newline that ends a message is no line of its own."""
    if pc.any(pc.ends_with(messages, "\n")).as_py():
        messages = pc.ascii_rtrim(messages, "\n")
    lines: Any = pc.binary_join_element_wise(messages, pa.scalar(""), pa.scalar("\n"))
    _, offsets, text = lines.buffers()
    return bytes(text)[: np.frombuffer(offsets, np.int32)[len(lines)]] if len(lines) else b""
