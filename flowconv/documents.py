"""Stage 3b, JSON -> blocks: the messages of CloudWatch subscriptions and of Firehose, as lines.

A subscription delivers documents with many messages each, and Firehose writes one behind the other
with nothing in between (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/
SubscriptionFilters.html); others have one document a line. Arrow's JSON reader takes a stretch of
documents at once, and none of them if one is damaged. Then the damage is looked for:

1. Newlines between `}` and `{` surely part documents; what lies between two of them is read apart.
2. Where that is damaged, it is cut before lines that begin with `{` and behind lines that end with
   `}`, and each piece is read apart.
3. The lines of a piece that is damaged are rejected. A document that is whole, but has no messages,
   is rejected alone.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import merge
from itertools import accumulate, compress, groupby, pairwise
from json import JSONDecoder
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from flowconv.blocks import LogBlock, Span
from flowconv.errors import FormatError
from flowconv.formats import (
    DeclaredFormats,
    LogFormat,
    declared_format,
    header_format,
    split_line,
)
from flowconv.listing import LogObject
from flowconv.report import LineCounts
from flowconv.shapes import Shape, no_format
from flowconv.unpacking import Unpacked

# JSON is read in pieces of this size, of which some copies are about: 8 MB took twice the memory.
STRETCH_BYTES = 2 << 20

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

# What JSON has between values. Python strips other characters too.
_SPACE = b" \t\r\n"

# A string may look like the end of a document and the beginning of the next, but hardly this often.
_ENDS_TRIED = 4
_PIECES_TRIED = 64


def read_documents(
    log_object: LogObject, text: Unpacked, declared: DeclaredFormats
) -> Iterator[LogBlock]:
    """Read an object of JSON documents: each line of a block is a message, or damaged JSON.

    Messages of documents that name their log group are read by that group's format.

    Args:
        log_object: The object.
        text: Its text, from the first document on.
        declared: The formats of what has no header.

    Raises:
        UnreadableObjectError: The object could not be read, its documents have no messages, are
            too large, or their messages have no format.
    """
    blocks = _Blocks(log_object, declared)
    for stretch in _stretches(log_object, text):
        for lines in _decode(stretch):
            blocks.add(lines)
        if blocks.size >= 2 * STRETCH_BYTES:
            yield from blocks.take(ends_object=False)
    yield from blocks.take(ends_object=True)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Messages, or one line of JSON without any.

    Attributes:
        text: A line each, with its newline.
        shape: Where they are from; JSON if it is a document of no known kind, None if it is none.
        log_group: The log group that their documents name.
        are_messages: If not, they are rejected.
    """

    text: bytes
    shape: Shape | None = None
    log_group: str | None = None
    are_messages: bool = False


class _Blocks:
    """Gathers lines to blocks, each of one format."""

    def __init__(self, log_object: LogObject, declared: DeclaredFormats) -> None:
        self.size = 0
        self._log_object = log_object
        self._declared = declared
        self._format: LogFormat | None = declared_format("default")
        self._shape = Shape.JSON
        self._lines: list[_Lines] = []
        self._next_line = 1
        self._log_group: str | None = None
        self._headers: dict[str | None, LogFormat] = {}
        self._may_have_headers = False

    def add(self, lines: _Lines) -> None:
        """Add lines of one kind.

        Raises:
            FormatError: The first document that is whole is of another kind.
        """
        if lines.shape is Shape.JSON and self._shape is Shape.JSON:
            raise _foreign(self._log_object)
        if lines.shape not in (None, Shape.JSON):
            self._shape = lines.shape
        if lines.text:
            self._may_have_headers |= _may_hold_header(lines.text)
            self._lines.append(lines)
            self.size += len(lines.text)

    def take(self, *, ends_object: bool) -> Iterator[LogBlock]:
        """Give out what was gathered; the last block says whether the object ends with it.

        Raises:
            FormatError: The object has lines, but no document; or messages without a format.
        """
        has_lines = bool(self._lines) or self._next_line > 1
        if ends_object and has_lines and self._shape is Shape.JSON:
            raise _foreign(self._log_object)
        runs = [(by, list(lines)) for by, lines in groupby(self._lines, self._read_by)]
        self._lines, self.size = [], 0
        if ends_object and not runs:
            runs = [((self._format, self._log_group), [])]
        for number, ((format_, log_group), some) in enumerate(runs, start=1):
            text = b"".join(lines.text for lines in some)
            starts = accumulate((len(lines.text) for lines in some), initial=0)
            damaged = [s for lines, s in zip(some, starts, strict=False) if not lines.are_messages]
            span = Span(
                self._log_object,
                start=0,
                stop=len(text),
                first_line=self._next_line,
                head=LineCounts(),
                ends_object=ends_object and number == len(runs),
            )
            # A header among the messages wins from there on, for its log group.
            in_force = self._headers.get(log_group) or format_ or self._find_header(log_group, some)
            block = LogBlock(
                *(text, len(text), self._shape, in_force, (span,), len(text)), tuple(damaged)
            )
            yield block
            self._next_line = block.next_line
            # Headers may have led away from the format and back to it.
            if block.next_format is not in_force:
                self._headers[log_group] = block.next_format

    def _read_by(self, lines: _Lines) -> tuple[LogFormat | None, str | None]:
        """Return the format declared for messages, and their log group if that matters.

        Lines that are no messages go with those before them.
        """
        if lines.are_messages:
            one = self._log_object
            self._format = self._declared.find(one.path, one.flow_log_id, lines.log_group)
            # A header is that of its group. Blocks of many groups are quicker.
            self._log_group = lines.log_group if self._may_have_headers else None
        return self._format, self._log_group

    def _find_header(self, log_group: str | None, some: list[_Lines]) -> LogFormat:
        """Return the format of messages of which none is declared: the first may be a header."""
        for lines in some:
            for line in lines.text.split(b"\n") if lines.are_messages else ():
                split = split_line(line)
                if split is not None and not split.tokens:
                    continue
                header = split and header_format(split.tokens)
                if not header:
                    raise no_format(self._log_object, self._shape, self._next_line)
                self._headers[log_group] = header
                return header
        # Nothing in them needs any.
        return declared_format("default")


def _may_hold_header(text: bytes) -> bool:
    """Tell whether a line begins as `may_be_header` says, or with a space."""
    letters = np.frombuffer(text, np.uint8)
    begins = letters[np.concatenate(([0], np.flatnonzero(letters[:-1] == ord("\n")) + 1))]
    return bool(_MAY_BEGIN_HEADER[begins].any())


_MAY_BEGIN_HEADER = np.array([chr(code).isalpha() or chr(code) in "$ \t" for code in range(256)])


def _foreign(log_object: LogObject) -> FormatError:
    return _unreadable(
        log_object,
        "this JSON is no flow log: it begins with no document that has logEvents, as those of "
        "CloudWatch's subscriptions, or message, as those of Firehose.",
    )


def _unreadable(log_object: LogObject, reason: str) -> FormatError:
    error = FormatError(f"{reason} Leave this object out of SOURCE.", uri=log_object.uri)
    error.shape = Shape.JSON
    return error


def _stretches(log_object: LogObject, text: Unpacked) -> Iterator[bytes]:
    """Cut an object's text between documents, into stretches of some size."""
    waiting = bytearray()
    while True:
        room = bytearray(STRETCH_BYTES)
        size = _fill(text, memoryview(room))
        waiting += memoryview(room)[:size]
        if size < len(room):
            yield bytes(waiting)
            return
        end = _last_end(waiting)
        if end:
            yield bytes(memoryview(waiting)[:end])
            del waiting[:end]
        elif len(waiting) >= MAX_DOCUMENT_BYTES:
            raise _unreadable(
                log_object,
                f"a JSON document is of more than {MAX_DOCUMENT_BYTES >> 20} MB, or is damaged and "
                "has no newline behind it.",
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
        if end == 0 or isinstance(_read(bytes(memoryview(text)[:end])), _Documents):
            return end
    return 0


def _is_between(text: bytes | bytearray, newline: int) -> bool:
    """Tell whether a newline stands between documents, and not within one.

    A JSON string has no raw newline, and elsewhere no two braces stand so.
    """
    before = text[max(0, newline - 64) : newline].rstrip(_SPACE)
    after = text[newline : newline + 64].lstrip(_SPACE)
    return before[-1:] == b"}" and after[:1] == b"{"


def _decode(stretch: bytes) -> Iterator[_Lines]:
    """Take the messages out of a stretch of documents, and set aside what has none."""
    is_text = _is_utf8(stretch)
    documents = _read(stretch) if is_text else None
    if isinstance(documents, _Documents) and not documents.lacking.any():
        yield from (lines for _, lines in documents.lines())
        return
    lines = _one_a_piece(stretch) if is_text else None
    if lines is not None:
        yield from lines
    elif middle := _middle(stretch):
        yield from _decode(stretch[:middle])
        yield from _decode(stretch[middle:])
    elif (lines := _read_whole(stretch)) is not None:
        yield from lines
    else:
        for piece in _PIECES.split(stretch):
            lines = _read_whole(piece)
            yield from _damaged(piece) if lines is None else lines


_PIECES = re.compile(rb"\n(?=[ \t\r]*\{)|(?<=\})[ \t\r]*\n")


def _read_whole(text: bytes) -> list[_Lines] | None:
    """Read documents, whatever they have; None if the text is not documents from end to end."""
    stripped = text.strip(b" \t\r\n")
    if stripped[:1] + stripped[-1:] not in (b"", b"{}"):
        return None
    documents = _read(text) if _is_utf8(text) else None
    if not isinstance(documents, _Documents):
        return None
    texts = _texts(text)
    if len(texts) != len(documents.lacking):
        return None
    return [lines for _, lines in documents.lines(texts)]


def _damaged(piece: bytes) -> Iterator[_Lines]:
    return (_Lines(line + b"\n") for line in piece.split(b"\n") if line.strip(_SPACE))


def _one_a_piece(stretch: bytes) -> list[_Lines] | None:
    """Read a stretch whose pieces are a document each, or damaged; None if there are others."""
    stretch = stretch.removesuffix(b"\n") + b"\n"
    text = np.frombuffer(stretch, np.uint8)
    ends = np.flatnonzero(text == 10)
    if np.isin(text[[0, *(ends[:-1] + 1), *(ends - 1)]], np.frombuffer(b" \t\r\n", np.uint8)).any():
        return None
    before, behind = text[ends[:-1] - 1] == ord("}"), text[ends[:-1] + 1] == ord("{")
    parting = before | behind
    # What is damaged ends where documents surely part: so far it is read at each of its pieces.
    surely = np.flatnonzero((before & behind)[parting])
    if np.diff(surely, prepend=-1, append=np.count_nonzero(parting)).max() > _PIECES_TRIED:
        return None
    edges = [0, *(ends[:-1][parting] + 1).tolist(), len(stretch)]
    pieces = [stretch[start:stop] for start, stop in pairwise(edges)]
    good = np.ones(len(pieces), bool)
    at = 0
    while at < len(pieces) and isinstance(document := _read(stretch, edges[at]), int):
        at += document + 1
        # Arrow counts documents: the piece is another where there are not as many pieces.
        if at > len(pieces) or isinstance(_read(pieces[at - 1]), _Documents):
            return None
        good[at - 1] = False
    whole = list(compress(pieces, good))
    documents = _read(b"".join(whole))
    if not isinstance(documents, _Documents) or len(documents.lacking) != len(whole):
        return None
    whole_before = np.cumsum(good)
    texts = [piece[:-1].replace(b"\n", b" ") for piece in whole]
    result = documents.lines(texts, np.unique(whole_before[~good]).tolist())
    damaged = [
        (int(whole_before[index]), lines)
        for index in np.flatnonzero(~good)
        for lines in _damaged(pieces[index])
    ]
    # Of a document and a damaged piece with its number, the piece comes first.
    return [lines for _, lines in merge(damaged, result, key=itemgetter(0))]


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


def _read(stretch: bytes, start: int = 0) -> "_Documents | int | None":
    """Return the documents from there on, or which of them is damaged, if Arrow says it."""
    text = memoryview(stretch)[start:]
    if not bytes(text[:64]).strip(_SPACE) and not bytes(text).strip(_SPACE):
        return _Documents(_SCHEMA.empty_table())
    if _NO_DOCUMENT.match(text):
        return 0
    try:
        return _Documents(
            json.read_json(
                pa.BufferReader(pa.py_buffer(text)),  # type: ignore[arg-type]
                read_options=json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                parse_options=json.ParseOptions(
                    explicit_schema=_SCHEMA,
                    newlines_in_values=True,
                    unexpected_field_behavior="ignore",
                ),
            )
        )
    except pa.ArrowInvalid as error:
        document = re.search(r"in row ([0-9]+)", str(error))
        return int(document[1]) if document else None


# Arrow crashes on a text that begins with null (behind a document it takes null for another), and
# skips a byte order mark, which may stand nowhere but at the beginning of the object.
_NO_DOCUMENT = re.compile(rb"[ \t\r\n]*null|\xef\xbb\xbf")


def _is_utf8(stretch: bytes) -> bool:
    """Tell whether it is UTF-8, which Arrow does not look at."""
    try:
        return stretch.isascii() or bool(codecs.utf_8_decode(stretch, "strict", True))
    except UnicodeDecodeError:
        return False


def _texts(piece: bytes) -> list[bytes]:
    """Return each document's text, as one line.

    Not all if one is no document, but null, or Python cannot read it.
    """
    text = piece.decode()
    texts: list[bytes] = []
    start = 0
    with suppress(RecursionError, ValueError):
        while (match := _FILLED.search(text, start)) is not None:
            document, stop = _DECODER.raw_decode(text, match.start())
            if document is None:
                break
            texts.append(re.sub("\r?\n", " ", text[match.start() : stop]).encode())
            start = stop
    return texts


# Python's int refuses numbers of very many digits.
_DECODER = JSONDecoder(parse_int=float)
_FILLED = re.compile(r"[^ \t\r\n]")

_CONTROL, _LACKING, _EVENTS, _SINGLE = range(4)


class _Documents:
    """Whole documents, column by column.

    Attributes:
        lacking: For each document, whether it is to have messages and has none.
    """

    def __init__(self, columns: pa.Table) -> None:
        self._events: Any = columns["logEvents"].combine_chunks()
        self._message: Any = columns["message"].combine_chunks()
        self._groups: Any = columns["logGroup"].combine_chunks().dictionary_encode()
        type_: Any = columns["messageType"].combine_chunks()
        control = _as_bools(pc.equal(type_, pa.scalar("CONTROL_MESSAGE")))
        has_events, has_message = (
            _as_bools(self._events.is_valid()),
            _as_bools(self._message.is_valid()),
        )
        lacking = ~has_events & ~has_message
        self._foreign = lacking & ~_as_bools(type_.is_valid())
        messages: Any = pc.struct_field(pc.list_flatten(self._events), "message")
        parents: Any = pc.list_parent_indices(self._events)
        lacking[parents.filter(messages.is_null()).to_numpy()] = True
        self.lacking = lacking & ~control
        conditions = [control, self.lacking, has_events]
        self._kinds = np.select(conditions, [_CONTROL, _LACKING, _EVENTS], _SINGLE)

    def lines(
        self, texts: Sequence[bytes] = (), cuts: Sequence[int] = ()
    ) -> list[tuple[int, _Lines]]:
        """Return the messages, and the documents that lack them, by their first document's number.

        Messages go together that are of one kind and log group, with no cut between.

        Args:
            texts: The documents, if any of them are lacking messages.
            cuts: Numbers of documents.
        """
        groups = self._groups.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        alone = np.flatnonzero(self.lacking)
        changes = (self._kinds[1:] != self._kinds[:-1]) | (groups[1:] != groups[:-1])
        places = [0, *(np.flatnonzero(changes) + 1), *alone, *(alone + 1), *cuts, len(groups)]
        result = []
        for start, stop in pairwise(np.unique(places).tolist()):
            kind, group = self._kinds[start], self._groups[start].as_py()
            if kind == _LACKING:
                shape = Shape.JSON if self._foreign[start] else Shape.SUBSCRIPTION
                lines = _Lines(texts[start] + b"\n", shape)
            elif kind == _CONTROL:
                lines = _Lines(b"", Shape.SUBSCRIPTION)
            elif kind == _EVENTS:
                events = pc.list_flatten(self._events[start:stop])
                messages = pc.struct_field(events, "message")
                lines = _Lines(_joined(messages), Shape.SUBSCRIPTION, group, are_messages=True)
            else:
                messages = self._message[start:stop]
                lines = _Lines(_joined(messages), Shape.FIREHOSE, group, are_messages=True)
            result.append((start, lines))
        return result


def _as_bools(array: Any) -> Any:
    return array.fill_null(False).to_numpy(zero_copy_only=False)


def _joined(messages: Any) -> bytes:
    """Return messages as lines; newlines that end a message are no lines of their own."""
    if any(pc.any(pc.ends_with(messages, end)).as_py() for end in ("\n", "\r")):
        messages = pc.ascii_rtrim(messages, "\r\n")
    lines: Any = pc.binary_join_element_wise(messages, pa.scalar(""), pa.scalar("\n"))
    _, offsets, text = lines.buffers()
    return bytes(text)[: np.frombuffer(offsets, np.int32)[len(lines)]] if len(lines) else b""
