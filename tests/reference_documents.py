"""The oracle's part for JSON: documents of CloudWatch Logs subscriptions and of Firehose.

    read_documents()  text of an object -> the lines in its messages, and what is no document

A document is a JSON object (RFC 8259, UTF-8). Documents follow one another with whitespace between
them or without, and one may run over several physical lines. The first that is whole decides
whether the object is read. Whitespace and CONTROL_MESSAGE documents count nothing.

What is not JSON is not guessed at. Newlines between `}` and `{` surely part documents. A stretch
between two of them that is not documents from end to end is cut at the lines that begin with `{`,
and behind those that end with `}`; the lines of a piece that still is not are rejected, each. A
document that is JSON, but has no messages, is rejected alone, as one line.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any


class Unreadable(Exception):
    """Nothing of the object may be converted. `reason` is "corrupt" or "format"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Message:
    """A line of a message. `log_group` is its document's, if that says any."""

    line: bytes
    log_group: str | None


@dataclass(frozen=True)
class NotJson:
    """A physical line, or a whole document, that holds no messages."""

    text: bytes


def read_documents(lines: list[bytes]) -> tuple[str, list[Message | NotJson]]:
    """Read an object's physical lines, without their ends.

    Returns:
        "subscription" or "firehose", as the last message says, and the lines of the messages in
        their order.

    Raises:
        Unreadable: No document is whole, or the first that is has nothing of either kind.
    """
    shape: str | None = None
    result: list[Message | NotJson] = []
    for stretch in re.split(rb"(?<=\})[ \t\r]*\n(?=[ \t\r\n]*\{)", b"\n".join(lines)):
        pieces = [stretch]
        if parse(stretch) is None:
            pieces = re.split(rb"\n(?=[ \t\r]*\{)|(?<=\})[ \t\r]*\n", stretch)
        for piece in pieces:
            documents = parse(piece)
            if documents is None:
                result += [NotJson(line) for line in piece.split(b"\n") if line.strip(b" \t\r\n")]
                continue
            for document, text in documents:
                shape = shape_of(document) or shape
                if shape is None:
                    raise Unreadable("format")
                messages = messages_of(document)
                result += [NotJson(text)] if messages is None else messages
    if shape is None:
        raise Unreadable("format")
    return shape, result


def shape_of(document: dict[str, Any]) -> str | None:
    if document.get("logEvents") is not None or document.get("messageType") is not None:
        return "subscription"
    return "firehose" if document.get("message") is not None else None


def messages_of(document: dict[str, Any]) -> list[Message] | None:
    """The lines of a document's messages; None if it has none."""
    if document.get("messageType") == "CONTROL_MESSAGE":
        return []
    events = [document] if document.get("logEvents") is None else document["logEvents"]
    messages: list[Message] = []
    for event in events:
        text = None if event is None else event.get("message")
        if text is None:
            return None
        messages += [Message(line, document.get("logGroup")) for line in lines_of(text)]
    return messages


def lines_of(message: str) -> list[bytes]:
    """Cut a message at its newlines; it ends with any number of them."""
    lines = message.rstrip("\r\n").encode().split(b"\n")
    return [line.removesuffix(b"\r") for line in lines]


def parse(text: bytes) -> list[tuple[dict[str, Any], bytes]] | None:
    """Read documents from end to end of the text, each with its own text; None if that fails."""
    documents: list[tuple[dict[str, Any], bytes]] = []
    try:
        rest = text.decode().lstrip(" \t\r\n")
        while rest:
            document, end = DECODER.raw_decode(rest)
            require_types(document)
            own, rest = rest[:end], rest[end:].lstrip(" \t\r\n")
            documents.append((document, own.replace("\n", " ").encode()))
    except (ValueError, TypeError, RecursionError):
        return None
    return documents


def require_types(document: Any) -> None:
    """Make sure that what is known is of its type, or null, and that all is UTF-8."""
    require(isinstance(document, dict))
    require_once(document, {"messageType", "logGroup", "message", "logEvents"})
    for key in ("messageType", "logGroup", "message"):
        require(isinstance(document.get(key), str | None))
    events = document.get("logEvents")
    require(events is None or isinstance(events, list))
    for event in events or []:
        require(event is None or isinstance(event, dict))
        if event is not None:
            require_once(event, {"message"})
            require(isinstance(event.get("message"), str | None))
    # JSON can name half of a surrogate pair, which UTF-8 cannot.
    json.dumps(document, ensure_ascii=False).encode()


def require_once(pairs: "Pairs", known: set[str]) -> None:
    require(not known & pairs.repeated)


def require(holds: bool) -> None:
    if not holds:
        raise ValueError


def number(text: str) -> float:
    """No number matters, but an exponent beyond a float's is refused."""
    require(float(text) not in (float("inf"), float("-inf")))
    return 0.0


class Pairs(dict[str, Any]):
    """A JSON object, and the keys that it has more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = Counter(key for key, _ in pairs)
        self.repeated = {key for key, count in keys.items() if count > 1}


DECODER = json.JSONDecoder(
    parse_int=float,
    parse_float=number,
    object_pairs_hook=Pairs,
    strict=True,
)
