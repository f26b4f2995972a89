r"""Stage 3b, JSON -> documents: what wraps documents is taken off, and damage is found.

Documents follow one another with newlines, spaces or nothing in between. Other tools wrap them:

    [{"message": …}, {"message": …}]      an array: of events, of documents or of records
    {"events": [{"message": …}], …}       what `aws logs filter-log-events` and the like print
    "{\"messageType\": …}"                  a string that holds documents

Each element of an array, and each event, becomes a document of its own, behind a newline.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder, dumps
from typing import Any

from flowconv.blocks.shapes import Shape
from flowconv.errors import FormatError
from flowconv.kernel.messages import count
from flowconv.memory import unwritten
from flowconv.source.keys import LogObject

# JSON is read in pieces of this size. There are several copies of each: 8 MiB took twice the
# memory.
STRETCH_BYTES = 2 << 20

# CloudWatch's documents have at most 1 MB when compressed.
MAX_DOCUMENT_BYTES = 16 << 20

# Objects and arrays within each other; AWS's documents have 4. Python's own bound is another one
# in each version.
MOST_LEVELS = 64

# Each takes at least 100 bytes while it is read; AWS's events have at least 200 bytes.
_MAX_OBJECTS = 1 << 18

ReadInto = Callable[[memoryview], int]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whole documents, as far as they are not damaged.

    Attributes:
        text: The documents, with anything or nothing between them.
        are_events: They were wrapped: what has a message may have the time of its event.
    """

    text: bytes | bytearray
    are_events: bool = False


def read_stretches(log_object: LogObject, read_into: ReadInto) -> Iterator[Stretch]:
    """Cut an object's text between documents, into stretches of some size.

    Args:
        log_object: The object.
        read_into: Fills a buffer with what follows of the text; 0 at its end.

    Raises:
        FormatError: A document is too large, or too many objects.
    """
    text = _Text(log_object, read_into)
    text.read_on()
    if _STRING.match(text.waiting):
        for value in _strings(text):
            yield from _unwrapped(_Text(log_object, io.BytesIO(value).readinto))
    yield from _unwrapped(text)


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document, or a damaged line.

    Attributes:
        text: As one line, without a newline.
        values: What it says; None if it is a damaged line. Numbers with a fraction are as they are
            written, and keys that it has twice are `TWICE`.
    """

    text: bytes
    values: dict[str, Any] | None


TWICE = object()


def read_documents(stretch: Stretch) -> Iterator[Document]:
    r"""Read the documents of a stretch one by one, and find the damaged lines.

    Newlines between } and { surely part documents. What lies between two of them and is not
    documents from end to end is cut before lines that begin with {, and behind those that end
    with }; if a piece still is not, each of its lines is damaged:

        {"message": "a"}{"message": "b"}       two documents
        {"message": "c"                        a damaged line
        {"message": "d"}                       a document
    """
    are_events = stretch.are_events
    for part in _split(_SURELY_BETWEEN, bytes(stretch.text)):
        documents = _decode_all(part, are_events=are_events)
        if documents is not None:
            yield from documents
            continue
        for piece in _split(_PERHAPS_BETWEEN, part):
            documents = _decode_all(piece, are_events=are_events)
            if documents is None:
                lines = (match[1] for match in _LINES.finditer(piece))
                yield from (Document(line, None) for line in lines if line.strip(b" \t\r"))
            else:
                yield from documents


def find_sure_cut(text: bytes | bytearray, start: int) -> tuple[int, int]:
    """Return the end of what is at `start`, and the begin of what follows.

    They are surely documents of their own, or damage; both are the text's end at its end.
    """
    match = _SURELY_BETWEEN.search(text, start)
    return match.span(1) if match else (len(text), len(text))


def unreadable_json(log_object: LogObject, reason: str) -> FormatError:
    """Return the error for an object of JSON that cannot be read."""
    error = FormatError(reason, uri=log_object.uri)
    error.shape = Shape.JSON
    return error


_SURELY_BETWEEN = re.compile(rb"\}([ \t\r]*\n)(?=[ \t\r\n]*\{)")
_PERHAPS_BETWEEN = re.compile(rb"((?<=\})[ \t\r]*\n|\n(?=[ \t\r]*\{))")

# A line, with the blank ones before it: there may be millions of these.
_LINES = re.compile(rb"(?:[ \t\r]*+\n)*+([^\n]*)")

_STRING = re.compile(rb'[ \t\r\n]*"(?: |\\[nrt])*[{\[]')
_ARRAY = re.compile(r"[ \t\r\n]*\[(?=[ \t\r\n]*[{\]])")
_EVENTS = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*\[')
_BEHIND_ELEMENT = re.compile(r"[ \t\r\n]*([,\]])[ \t\r\n]*")


class _Text:
    """The text of an object, read as it is needed."""

    def __init__(self, log_object: LogObject, read_into: ReadInto) -> None:
        self.log_object = log_object
        self.waiting = bytearray()
        self.at_end = False
        self._read_into = read_into

    def read_on(self) -> None:
        """Read another stretch behind what waits."""
        end = len(self.waiting)
        grown = unwritten(end + STRETCH_BYTES)
        with memoryview(grown) as room:
            room[:end] = self.waiting
            while end < len(room) and (more := self._read_into(room[end:])):
                end += more
        self.at_end = end < len(grown)
        self.waiting = grown[:end] if self.at_end else grown

    def take(self, size: int) -> bytearray:
        """Take away the first bytes; most of what waits."""
        taken, self.waiting = self.waiting, self.waiting[size:]
        del taken[size:]
        return taken


def _unwrapped(text: _Text) -> Iterator[Stretch]:
    """Take documents out of arrays, then cut what follows."""
    if not text.waiting and not text.at_end:
        text.read_on()
    are_events = False
    for elements in _arrays(text):
        are_events = True
        gathered: list[bytes] = []
        size = 0
        for element in elements:
            gathered.append(element)
            size += len(element) + 1
            if size >= STRETCH_BYTES:
                yield Stretch(b"\n".join(gathered) + b"\n", are_events=True)
                gathered, size = [], 0
        yield Stretch(b"\n".join(gathered) + b"\n", are_events=True)
    yield from _plain(text, are_events=are_events)


def _plain(text: _Text, *, are_events: bool) -> Iterator[Stretch]:
    """Cut text between documents."""
    while True:
        if text.at_end:
            yield Stretch(_checked(text, len(text.waiting)), are_events)
            return
        if end := _last_end(text.waiting):
            yield Stretch(_checked(text, end), are_events)
        elif len(text.waiting) >= MAX_DOCUMENT_BYTES:
            raise unreadable_json(
                text.log_object,
                f"a JSON document has more than {MAX_DOCUMENT_BYTES >> 20} MiB, or is damaged and "
                "has no newline behind it. Leave it out with --exclude.",
            )
        text.read_on()


def _checked(text: _Text, size: int) -> bytearray:
    taken = text.take(size)
    found = count(taken, b"{")
    if found > _MAX_OBJECTS:
        found -= sum(match[0].count(b"{") for match in _STRINGS.finditer(taken))
    if found > _MAX_OBJECTS:
        raise unreadable_json(
            text.log_object,
            f"{size:,} bytes of JSON hold {found:,} objects; at most {_MAX_OBJECTS:,} are read. "
            "Leave it out with --exclude.",
        )
    return taken


def _last_end(text: bytearray) -> int:
    """Return where the last document ends that another follows; 0 if none does."""
    end = _last_newline_between(text)
    if not end and text.find(b"\n") >= 0:
        for match in _SURELY_BETWEEN.finditer(text):
            end = match.end()
    return end or _last_glued_end(text)


def _last_newline_between(text: bytearray) -> int:
    """Return the end of a newline that surely parts documents; 0 if none of the last ones does."""
    newline = len(text)
    for _ in range(_ENDS_TRIED):
        newline = text.rfind(b"\n", 0, newline)
        if newline < 0:
            break
        brace = text.rfind(b"}", max(0, newline - _MOST_BLANKS), newline)
        if brace >= 0 and (match := _SURELY_BETWEEN.match(text, brace)):
            return match.end()
    return 0


def _last_glued_end(text: bytearray) -> int:
    """Return where the last of documents with nothing in between ends; 0 if that is not clear."""
    plain = _ESCAPED.sub(b"__", text) if b"\\" in text else text
    quotes = count(plain, b'"')
    end = len(text)
    for _ in range(_ENDS_TRIED):
        start = text.rfind(b"}{", 0, end) + 1
        quotes -= plain.count(b'"', start, end)
        end = start
        # After an even number of quotes no string is open.
        if end == 0 or quotes % 2 == 0:
            return end
    return 0


# Most documents are shorter.
_NEAR_END = 1 << 16

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ENDS_TRIED = 1000

# In front of a newline that is looked at from behind.
_MOST_BLANKS = 64

_ESCAPED = re.compile(rb"\\.", re.DOTALL)


def _split(between: re.Pattern[bytes], text: bytes) -> Iterator[bytes]:
    """Leave out what the pattern's group matches, and give what stands before and behind it."""
    start = 0
    for match in between.finditer(text):
        yield text[start : match.start(1)]
        start = match.end(1)
    yield text[start:]


def _decode_all(text: bytes, *, are_events: bool) -> list[Document] | None:
    """Read documents from end to end of a text; None if it is anything else."""
    stripped = text.strip(b" \t\r\n")
    # Most rubbish ends here.
    if stripped[:1] + stripped[-1:] not in (b"", b"{}"):
        return None
    documents: list[Document] = []
    try:
        rest = stripped.decode()
        start = 0
        while start < len(rest):
            values, stop = _DECODER.raw_decode(rest, start)
            if _is_too_deep(rest[start:stop]):
                return None
            own = rest[start:stop].replace("\r\n", " ").replace("\n", " ").encode()
            _require_types(values)
            if are_events:
                _require_time(values)
            if b"\\u" in own:
                # JSON can name half of a surrogate pair, which UTF-8 cannot.
                dumps(values, ensure_ascii=False, default=str).encode()
            documents.append(Document(own, values))
            start = _NOT_BLANK(rest, stop).end()
    except (ValueError, RecursionError):
        return None
    return documents


def _is_too_deep(value: str) -> bool:
    """Tell whether the text of a JSON value has more levels than are read."""
    if value.count("{") + value.count("[") <= MOST_LEVELS:
        return False
    brackets = _BETWEEN_BRACKETS.sub("", value).replace("{", "[").replace("}", "]")
    for _ in range(MOST_LEVELS):  # Each time, the innermost level goes away.
        brackets = brackets.replace("[]", "")
    return bool(brackets)


_BETWEEN_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^]["{}]++')


def _require_types(values: Any) -> None:
    """Make sure that each known key has its type, or null, and occurs once.

    Raises:
        ValueError: One does not, or this is not an object.
    """
    if not isinstance(values, dict):
        raise ValueError
    _require(values, str, "messageType", "logGroup", "owner", "message")
    _require(values, list, "logEvents", "events", "records")
    for key, name in (("logEvents", "message"), ("events", "message"), ("records", "data")):
        for event in values.get(key) or ():
            if event is not None and not isinstance(event, dict):
                raise ValueError
            _require(event or {}, str, name)
            if name == "message":
                _require_time(event or {})


def _require(values: dict[str, Any], type_: type, *keys: str) -> None:
    for key in keys:
        if not isinstance(values.get(key), type_ | None):
            raise ValueError


def _require_time(values: dict[str, Any]) -> None:
    time = values.get("timestamp")
    if time is not None and (type(time) is not int or not -(1 << 63) <= time < 1 << 63):
        raise ValueError


_NOT_BLANK: Any = re.compile(r"[ \t\r\n]*").match


def _with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                values[key] = TWICE
            seen.add(key)
    return values


def _whole_number(text: str) -> int | float:
    # Python's int refuses numbers of very many digits.
    return int(text) if len(text) <= 20 else float(text)


@dataclass(frozen=True, slots=True)
class Fraction:
    """A number that is written with a fraction or an exponent."""

    text: str

    def __str__(self) -> str:
        """Return it as text logs write it: without `.0`."""
        number = float(self.text)
        return str(int(number)) if number.is_integer() and abs(number) < 2**63 else self.text


def _fraction(text: str) -> Fraction:
    if float(text) in (float("inf"), float("-inf")):
        raise ValueError
    return Fraction(text)


_DECODER = JSONDecoder(
    object_pairs_hook=_with_keys_once, parse_int=_whole_number, parse_float=_fraction
)
_ELEMENT_DECODER = JSONDecoder(parse_int=float)


class _Cursor:
    """Reads JSON values from a text, which is read on when needed."""

    def __init__(self, text: _Text) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._at = 0
        self.characters = ""
        self._take()

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Match what comes next, and go behind it."""
        found = pattern.match(self.characters, self._at)
        is_near_end = len(self.characters) - self._at < _NEAR_END
        may_go_on = is_near_end if found is None else found.end() == len(self.characters)
        if may_go_on and self._more():
            return self.match(pattern)
        if found is not None:
            self._at = found.end()
        return found

    def value(self, before: str = "") -> str | None:
        """Return the text of the next value, and go behind it; None if damaged or too deep.

        Args:
            before: Stands before it.
        """
        while True:
            characters = before + self.characters[self._at :] if before else self.characters
            start = 0 if before else self._at
            try:
                _, stop = _ELEMENT_DECODER.raw_decode(characters, start)
            except RecursionError:
                return None
            except JSONDecodeError:
                if len(self.characters) - self._at < MAX_DOCUMENT_BYTES and self._more():
                    continue
                return None
            taken = characters[start:stop]
            if _is_too_deep(taken):
                return None
            self._at += len(taken) - len(before)
            return taken

    def give_back(self) -> None:
        """Give back to the text what was not read."""
        rest = self.characters[self._at :].encode("utf-8", "surrogateescape")
        undecoded, _ = self._decoder.getstate()
        self._text.waiting[:0] = rest + undecoded

    def _take(self) -> None:
        waiting = bytes(self._text.waiting)
        self._text.waiting.clear()
        self.characters = self.characters[self._at :] + self._decoder.decode(waiting)
        self._at = 0

    def _more(self) -> bool:
        if self._text.at_end:
            return False
        self._text.read_on()
        self._take()
        return True


def _arrays(text: _Text) -> Iterator[Iterator[bytes]]:
    """Give the elements of each array of events; stops where none follows."""
    cursor = _Cursor(text)
    try:
        while True:
            if cursor.match(_ARRAY):
                yield _elements(cursor)
            elif cursor.match(_EVENTS):
                yield _elements(cursor)
                if cursor.value(before='{"":[]') is None:
                    return
            else:
                return
    finally:
        cursor.give_back()


def _elements(cursor: _Cursor) -> Iterator[bytes]:
    """Give the text of each element, up to the array's end or to what is damaged."""
    cursor.match(_BLANKS)
    if cursor.match(_ARRAY_END):
        return
    while (element := cursor.value()) is not None:
        yield element.encode("utf-8", "surrogateescape")
        behind = cursor.match(_BEHIND_ELEMENT)
        if behind is None or behind[1] == "]":
            return


_BLANKS = re.compile(r"[ \t\r\n]*")
_ARRAY_END = re.compile(r"\]")


def _strings(text: _Text) -> Iterator[bytes]:
    """Give the contents of strings, up to what is not a string."""
    cursor = _Cursor(text)
    while cursor.match(_BEFORE_STRING) and (value := cursor.value()) is not None:
        yield _ELEMENT_DECODER.decode(value).encode("utf-8", "surrogatepass")
    cursor.give_back()


_BEFORE_STRING = re.compile(r'[ \t\r\n]*(?=")')
