"""The oracle's part for JSON: CloudWatch Logs and Firehose, and records with keys.

    read_documents()  text of an object -> the lines in its messages, or its records, and what is
                      no document

A document is a JSON object (RFC 8259, UTF-8). Documents follow one another with whitespace between
them or without, and one may run over several physical lines. The first that is whole decides
whether the object is read, and whether its documents have messages or are records. Whitespace and
CONTROL_MESSAGE documents count nothing.

An array of documents, `{"events": [...]}` and a string of JSON stand for the documents in them.

What is not JSON is not guessed at. Newlines between `}` and `{` surely part documents. A stretch
between two of them that is not documents from end to end is cut at the lines that begin with `{`,
and behind those that end with `}`; the lines of a piece that still is not are rejected, each. A
document that is JSON, but has no messages, is rejected alone, as one line.

A value with more than 64 levels of objects and arrays counts as damaged.
"""

import base64
import binascii
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Unreadable(Exception):
    """Nothing of the object may be converted. `reason` is "corrupt" or "format"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Message:
    """A line of a message.

    `log_group` and `owner` are its document's, and `time` its event's, in milliseconds.
    """

    line: bytes
    log_group: str | None
    owner: str | None = None
    time: int | None = None


@dataclass(frozen=True)
class Record:
    """A document that is a record itself: the values of its keys; all but integers as text."""

    values: dict[str, str | int | None]
    text: bytes


@dataclass(frozen=True)
class NotJson:
    """A physical line, or a whole document, that holds no messages."""

    text: bytes


Entry = Message | Record | NotJson


def read_documents(
    lines: list[bytes], is_flow_log: Callable[[list[str]], bool]
) -> tuple[str | None, list[Entry]]:
    """Read an object's physical lines, without their ends.

    Args:
        lines: The lines.
        is_flow_log: Whether names may be the keys of a flow log's record.

    Returns:
        The shape, as the last message says (None if there is no document at all), and the lines of
        the messages, or the records, in their order.

    Raises:
        Unreadable: No document is whole, or the first that is has nothing of any kind.
    """
    shape: str | None = None
    result: list[Entry] = []
    for text, are_events in unwrapped(b"\n".join(lines)):
        for document, own in documents_of(text, are_events):
            if document is None:
                result.append(NotJson(own))
                continue
            if shape == "json-records":
                result.append(record_of(document, own) or NotJson(own))
                continue
            kind = shape_of(document, are_events)
            if kind is None and shape is None:
                first = record_of(document, own)
                if first is None or not is_flow_log(list(document)):
                    raise Unreadable("format")
                shape = "json-records"
                result.append(first)
                continue
            shape = kind or shape
            messages = messages_of(document, are_events)
            result += [NotJson(own)] if messages is None else messages
    if shape is None and result:
        raise Unreadable("format")
    return shape, result


def documents_of(text: bytes, are_events: bool) -> list[tuple[dict[str, Any] | None, bytes]]:
    """Read documents, each with its own text, and lines that are none."""
    found: list[tuple[dict[str, Any] | None, bytes]] = []
    for stretch in re.split(rb"(?<=\})[ \t\r]*\n(?=[ \t\r\n]*\{)", text):
        pieces = [stretch]
        if parse(stretch, are_events) is None:
            pieces = re.split(rb"\n(?=[ \t\r]*\{)|(?<=\})[ \t\r]*\n", stretch)
        for piece in pieces:
            documents = parse(piece, are_events)
            if documents is None:
                found += [(None, line) for line in piece.split(b"\n") if line.strip(b" \t\r\n")]
            else:
                found += documents
    return found


# --- what wraps documents -----------------------------------------------------------------------


def unwrapped(text: bytes) -> list[tuple[bytes, bool]]:
    """Take documents out of strings and arrays; also say whether they may be events."""
    found: list[tuple[bytes, bool]] = []
    rest = text.decode("utf-8", "surrogateescape")
    if re.match(r'[ \t\r\n]*"(?: |\\[nrt])*[{\[]', rest):
        while (string := json_value(rest.lstrip(" \t\r\n"))) and isinstance(string[0], str):
            held = string[0].encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
            found += without_arrays(held)
            rest = string[1]
    return [*found, *without_arrays(rest)]


def without_arrays(rest: str) -> list[tuple[bytes, bool]]:
    elements: list[str] = []
    are_events = False
    while True:
        if array := re.match(r"[ \t\r\n]*\[(?=[ \t\r\n]*[{\]])", rest):
            are_events = True
            rest = rest_of_array(rest[array.end() :], elements)
        elif array := re.match(r'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*\[', rest):
            are_events = True
            rest = rest_of_array(rest[array.end() :], elements)
            behind = json_value('{"":[]' + rest)
            if behind is None:
                break
            rest = behind[1]
        else:
            break
    texts = ["\n".join(elements), rest]
    return [(text.encode("utf-8", "surrogateescape"), are_events) for text in texts]


def rest_of_array(rest: str, elements: list[str]) -> str:
    """Take the elements of an array off a text, up to its end or to what is damaged."""
    if closed := re.match(r"[ \t\r\n]*\]", rest):
        return rest[closed.end() :]
    rest = rest.lstrip(" \t\r\n")
    while (element := json_value(rest)) is not None:
        elements.append(rest[: len(rest) - len(element[1])])
        rest = element[1]
        behind = re.match(r"[ \t\r\n]*([,\]])[ \t\r\n]*", rest)
        if behind is None:
            break
        rest = rest[behind.end() :]
        if behind[1] == "]":
            break
    return rest


def json_value(text: str) -> tuple[Any, str] | None:
    """Read a value at the beginning of a text, and return what stands behind it."""
    try:
        value, end = json.JSONDecoder(parse_int=float).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return None if levels(text[:end]) > MOST_LEVELS else (value, text[end:])


MOST_LEVELS = 64


def levels(value: str) -> int:
    """How many objects and arrays lie within each other at most, the outermost included."""
    most = level = 0
    for sign in re.sub(r'"[^"\\]*(\\.[^"\\]*)*"', "", value):
        level += (sign in "{[") - (sign in "}]")
        most = max(most, level)
    return most


# --- documents ----------------------------------------------------------------------------------


def shape_of(document: dict[str, Any], are_events: bool) -> str | None:
    """The shape by what a document holds; None if that is no messages."""
    if document.get("logEvents") is not None:
        return "subscription"
    if document.get("events") is not None:
        return "cloudwatch-api"
    if document.get("message") is not None:
        return "cloudwatch-api" if are_events else "firehose"
    records = document.get("records")
    if records and all(record and record.get("data") is not None for record in records):
        return "http-endpoint"
    return None if document.get("messageType") is None else "subscription"


def messages_of(document: dict[str, Any], are_events: bool) -> list[Message | NotJson] | None:
    """The lines of a document's messages; None if it has none."""
    if document.get("messageType") == "CONTROL_MESSAGE":
        return []
    if shape_of(document, are_events) == "http-endpoint":
        return [entry for record in document["records"] for entry in entries_of(record["data"])]
    events: list[dict[str, Any] | None]
    events = [document if are_events else {"message": document.get("message")}]
    for key in ("logEvents", "events"):
        if document.get(key) is not None:
            events = document[key]
            break
    messages: list[Message | NotJson] = []
    for event in events:
        if event is None or event.get("message") is None:
            return None
        text = event["message"]
        time = event.get("timestamp")
        messages += [
            Message(
                line,
                document.get("logGroup"),
                document.get("owner"),
                None if time is None or time < 0 else time,
            )
            for line in lines_of(text)
        ]
    return messages


def entries_of(data: str) -> list[Message | NotJson]:
    """The lines of a record that Firehose sent to an HTTP endpoint, in base64."""
    try:
        text = base64.b64decode(data, validate=True)
        if text.startswith(b"\x1f\x8b"):
            text = gzip.decompress(text)
    except (ValueError, binascii.Error, OSError, EOFError, zlib.error):
        return [NotJson(re.sub("[\r\n]", " ", data).encode())]
    if not text.lstrip(b" \t\r\n").startswith(b"{"):
        return [
            Message(line.removesuffix(b"\r"), None) for line in text.rstrip(b"\r\n").split(b"\n")
        ]
    entries: list[Message | NotJson] = []
    for document, own in documents_of(text, are_events=False):
        messages = None if document is None else messages_of(document, are_events=False)
        entries += [NotJson(own)] if messages is None else messages
    return entries


def record_of(document: dict[str, Any], text: bytes) -> Record | None:
    """The values of a document that is a record; None if it is none."""
    values: dict[str, str | int | None] = {}
    if isinstance(document, Pairs) and document.repeated:
        return None
    for name, value in document.items():
        if isinstance(value, dict | list):
            return None
        if isinstance(value, bool):
            values[name] = "true" if value else "false"
        else:
            values[name] = value if value is None or isinstance(value, int) else str(value)
    return Record(values, text)


def lines_of(message: str) -> list[bytes]:
    """Cut a message at its newlines; it ends with any number of them."""
    lines = message.rstrip("\r\n").encode().split(b"\n")
    return [line.removesuffix(b"\r") for line in lines]


def parse(text: bytes, are_events: bool) -> list[tuple[dict[str, Any], bytes]] | None:
    """Read documents from end to end of the text, each with its own text; None if that fails."""
    documents: list[tuple[dict[str, Any], bytes]] = []
    try:
        rest = text.decode().strip(" \t\r\n")
        while rest:
            document, end = DECODER.raw_decode(rest)
            require_types(document)
            if are_events:
                require_time(document)
            own, rest = rest[:end], rest[end:].lstrip(" \t\r\n")
            require(levels(own) <= MOST_LEVELS)
            documents.append((document, re.sub("\r?\n", " ", own).encode()))
    except (ValueError, TypeError, RecursionError):
        return None
    return documents


def require_types(document: Any) -> None:
    """Make sure that what is known is of its type, or null, and that all is UTF-8."""
    require(isinstance(document, dict))
    lists = {"logEvents": "message", "events": "message", "records": "data"}
    texts = {"messageType", "logGroup", "owner", "message"}
    require_once(document, texts | set(lists))
    for key in texts:
        require(isinstance(document.get(key), str | None))
    for key, name in lists.items():
        events = document.get(key)
        require(events is None or isinstance(events, list))
        for event in events or []:
            require(event is None or isinstance(event, dict))
            if event is not None:
                require_once(event, {name, "timestamp"} if name == "message" else {name})
                require(isinstance(event.get(name), str | None))
                if name == "message":
                    require_time(event)
    # JSON can name half of a surrogate pair, which UTF-8 cannot.
    json.dumps(document, ensure_ascii=False, default=str).encode()


def require_time(event: dict[str, Any]) -> None:
    time = event.get("timestamp")
    require(time is None or (type(time) is int and -(2**63) <= time < 2**63))


def require_once(pairs: "Pairs", known: set[str]) -> None:
    require(not known & pairs.repeated)


def require(holds: bool) -> None:
    if not holds:
        raise ValueError


@dataclass(frozen=True)
class Fraction:
    """A number with a fraction or an exponent; text logs have it without, if it is whole."""

    text: str

    def __str__(self) -> str:
        number = float(self.text)
        whole = number.is_integer() and abs(number) < 2**63
        return str(int(number)) if whole else self.text


def number(text: str) -> Fraction:
    """An exponent beyond a float's is refused."""
    require(float(text) not in (float("inf"), float("-inf")))
    return Fraction(text)


class Pairs(dict[str, Any]):
    """A JSON object, and the keys that it has more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = Counter(key for key, _ in pairs)
        self.repeated = {key for key, count in keys.items() if count > 1}


DECODER = json.JSONDecoder(
    parse_int=lambda text: int(text) if len(text) <= 20 else float(text),
    parse_float=number,
    object_pairs_hook=Pairs,
    strict=True,
)
