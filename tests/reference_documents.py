"""The oracle's part for JSON: documents of CloudWatch Logs subscriptions and of Firehose.

    read_documents()  text of an object -> the lines in its messages, and what is no document

A document is a JSON object (RFC 8259, UTF-8). Documents follow one another with whitespace between
them or without, and one may run over several physical lines. The first decides what the object
holds. Whitespace and CONTROL_MESSAGE documents count nothing.

What is not JSON is not guessed at: the physical line on which a damaged document begins is rejected
whole. If that document ran on over more lines, those are rejected too, up to the next that begins
with `{`. A document that is JSON, but has no messages where its shape has them, is rejected alone.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024


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


@dataclass(frozen=True)
class Damage:
    """Lines that hold no whole documents: the error is on line `at`, counted from the first."""

    at: int
    document_start: int


def read_documents(lines: list[bytes]) -> tuple[str, list[Message | NotJson]]:
    """Read an object's physical lines, without their ends.

    Returns:
        "subscription" or "firehose", and the lines of the messages in their order.

    Raises:
        Unreadable: No document is whole, the first is of another kind, or one is too large.
    """
    shape: str | None = None
    result: list[Message | NotJson] = []
    i = 0
    while i < len(lines):
        if not lines[i].strip(b" \t\r"):
            i += 1
            continue
        documents, count = whole_documents(lines, i)
        if isinstance(documents, Damage):
            end = i + 1
            if documents.at > 0:
                while end < len(lines) and not lines[end].startswith(b"{"):
                    end += 1
            if len(b"\n".join(lines[i:end])) - documents.document_start > MAX_DOCUMENT_BYTES:
                raise Unreadable("format")
            result += [NotJson(line) for line in lines[i:end] if line.strip(b" \t\r")]
            i = end
            continue
        for document, text in documents:
            if len(text) > MAX_DOCUMENT_BYTES:
                raise Unreadable("format")
            shape = shape or shape_of_document(document)
            messages = messages_of(document, shape)
            result += [NotJson(text)] if messages is None else messages
        i += count
    if shape is None:
        raise Unreadable("format")
    return shape, result


def shape_of_document(document: dict[str, Any]) -> str:
    if "logEvents" in document or "messageType" in document:
        return "subscription"
    if "message" in document:
        return "firehose"
    raise Unreadable("format")


def messages_of(document: dict[str, Any], shape: str) -> list[Message] | None:
    """The lines of a document's messages; None if it is not as its shape has it."""
    if shape == "firehose":
        if not isinstance(document.get("message"), str):
            return None
        return [Message(line, None) for line in lines_of(document["message"])]

    if document.get("messageType") == "CONTROL_MESSAGE":
        return []
    events = document.get("logEvents")
    if document.get("messageType", "DATA_MESSAGE") != "DATA_MESSAGE":
        return None
    if not isinstance(events, list):
        return None
    log_group = document.get("logGroup")
    if not isinstance(log_group, str):
        log_group = None
    result: list[Message] = []
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("message"), str):
            return None
        result += [Message(line, log_group) for line in lines_of(event["message"])]
    return result


def lines_of(message: str) -> list[bytes]:
    """Cut a message at its newlines; it ends with any number of them.

    JSON can name half of a surrogate pair, which UTF-8 cannot: such a line stays what it is, and
    is no UTF-8.
    """
    text = message.rstrip("\r\n").encode("utf-8", "surrogatepass")
    return [line.removesuffix(b"\r") for line in text.split(b"\n")]


def whole_documents(
    lines: list[bytes], first: int
) -> tuple[list[tuple[dict[str, Any], bytes]] | Damage, int]:
    """Read the fewest lines from the first on that are whole documents; say how many they are."""
    starts = [0]  # Of each line, in characters.
    for count in range(1, len(lines) - first + 1):
        try:
            text = b"\n".join(lines[first : first + count]).decode("utf-8")
        except UnicodeDecodeError:
            # Characters do not run over lines, so it is the last of these lines.
            return Damage(count - 1, 0), 0
        documents, error = parse_all(text)
        if error is None:
            return documents, count
        at = max(n for n, start in enumerate(starts) if start <= error.place)
        if error.final or at < count - 1 or first + count == len(lines):
            return Damage(at, len(text[: error.document_start].encode())), 0
        starts.append(len(text) + 1)
    raise AssertionError("there is a first line")


@dataclass(frozen=True)
class JsonError:
    place: int
    document_start: int
    final: bool  # More lines would not mend it.


def parse_all(text: str) -> tuple[list[tuple[dict[str, Any], bytes]], JsonError | None]:
    """Read documents to the end of the text, if they are whole."""
    documents: list[tuple[dict[str, Any], bytes]] = []
    place = skip_whitespace(text, 0)
    while place < len(text):
        if text[place] != "{":
            return [], JsonError(place, place, final=True)
        try:
            document, end = DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            return [], JsonError(error.pos, place, final=False)
        except (NotStrictError, RecursionError):
            # Fewer lines did not show it, so it is on the last one.
            return [], JsonError(len(text), place, final=True)
        documents.append((document, text[place:end].encode()))
        place = skip_whitespace(text, end)
    return documents, None


def skip_whitespace(text: str, place: int) -> int:
    found = re.compile(r"[ \t\r\n]*").match(text, place)
    assert found is not None
    return found.end()


class NotStrictError(Exception):
    """Python reads NaN and Infinity, which JSON does not have."""


def refuse(constant: str) -> NoReturn:
    raise NotStrictError(constant)


# No number matters, however long it is. Of two keys that are alike, the last one counts.
DECODER = json.JSONDecoder(
    parse_int=lambda _: 0, parse_float=lambda _: 0.0, parse_constant=refuse, strict=True
)
