"""What shape an object has, recognised from its content: never from its key or a count of values.

A header always wins. What has none is read by a declared format, or not at all.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.foreign import describe_line, name_foreign
from flowconv.blocks.formats import (
    LogFormat,
    header_format,
    is_header,
    split_line,
    unknown_names,
    with_timestamp,
)
from flowconv.errors import FormatError, quote
from flowconv.source.keys import LogObject

# Blank lines and comments that may stand before the first line with values.
MAX_HEAD_LINES = 10_000

# Names in a message.
_NAMES_SHOWN = 5

BOM = b"\xef\xbb\xbf"
PARQUET_MAGIC = b"PAR1"

# The time of a CloudWatch event, as exports to S3 write it before each line.
EVENT_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z"
_EVENT_TIME = re.compile(EVENT_TIME.encode())
# With something behind it that is not a comment.
_EXPORTED = re.compile(rf"[ \t]*{EVENT_TIME}[ \t]+(?!#|\r?$)[^ \t]".encode())

# What the CloudWatch console, and Logs Insights, write before events.
_CONSOLE_CSV = re.compile(rb'"?@?timestamp"?,"?@?message"?\r?')


# A document, an array of some, or a string that holds either; no line of a log begins so.
_JSON = re.compile(rb'[ \t\r]*(?:\{|\[[ \t\r\n]*[{\]]|"(?: |\\[nrt])*[{\[])')


class Shape(StrEnum):
    """How flow logs lie in an object; of `json` it takes the documents to tell which."""

    EMPTY = "empty"
    JSON = "json"
    HEADER = "header"
    HEADERLESS = "headerless"
    CLOUDWATCH_EXPORT = "cloudwatch-export"
    CONSOLE_CSV = "console-csv"
    SUBSCRIPTION = "subscription"
    FIREHOSE = "firehose"
    HTTP_ENDPOINT = "http-endpoint"
    CLOUDWATCH_API = "cloudwatch-api"
    JSON_RECORDS = "json-records"
    PARQUET = "parquet"


SIGNS: Mapping[Shape, str] = MappingProxyType(
    {
        Shape.EMPTY: "it has no line with values",
        Shape.JSON: "it is JSON",
        Shape.HEADER: "its first line with values names the fields",
        Shape.HEADERLESS: "its first line with values is not a header",
        Shape.CLOUDWATCH_EXPORT: "its first line begins with the time of a CloudWatch event",
        Shape.CONSOLE_CSV: "its first line is timestamp,message, as of the CloudWatch console",
        Shape.SUBSCRIPTION: "its JSON documents have messageType or logEvents",
        Shape.FIREHOSE: "its JSON documents have message",
        Shape.HTTP_ENDPOINT: "its JSON documents have records with data",
        Shape.CLOUDWATCH_API: "its JSON has events with message",
        Shape.JSON_RECORDS: "its JSON documents have fields as keys",
        Shape.PARQUET: "it begins with PAR1",
    }
)


class Head(NamedTuple):
    """The beginning of an object of text.

    Attributes:
        shape: Its shape.
        format: The fields of its lines; None if it has none that needs one.
        size_bytes: Its length: the first line that is read by the format stands behind it.
        lines: The lines before it, by kind.
        is_declared: The format is a declared one, and no header's.
    """

    shape: Shape
    format: LogFormat | None
    size_bytes: int
    lines: LineCounts
    is_declared: bool = False


def recognise(
    log_object: LogObject,
    text: bytearray,
    begin: int,
    end: int,
    declared: DeclaredFormats,
    *,
    whole: bool,
) -> Head:
    """Look at the first line of an object that has values.

    Args:
        log_object: The object.
        text: Holds its text.
        begin: Offset of its first byte.
        end: Offset behind what is there of it.
        declared: The formats of objects without a header.
        whole: The object ends at `end`, and so does its last line.

    Raises:
        FormatError: There is neither a header nor a format declared, or the header is not a
            possible one.
    """
    if text.startswith(PARQUET_MAGIC, begin, end):
        return _without_format(Shape.PARQUET, 0, LineCounts())
    _require_text(log_object, text, begin, end)
    start = begin + len(BOM) if text.startswith(BOM, begin, end) else begin
    lines = LineCounts()
    shape = Shape.HEADERLESS
    unknown: list[str] = []
    commented: int | None = None
    while start < end and lines.lines < MAX_HEAD_LINES:
        # All of a large object may be one line of JSON.
        if _JSON.match(text, start, end):
            return _without_format(Shape.JSON, start - begin, lines)
        newline = text.find(b"\n", start, end)
        if newline < 0 and not whole:
            break
        newline = end if newline < 0 else newline
        if _CONSOLE_CSV.fullmatch(text, start, newline):
            lines += LineCounts(header=1)
            return _without_format(Shape.CONSOLE_CSV, min(newline + 1, end) - begin, lines)
        timed = _EXPORTED.match(text, start, newline) is not None
        shape = Shape.CLOUDWATCH_EXPORT if timed else shape
        line = bytes(text[start:newline])
        split = split_line(line)
        if split is None:
            break
        if split.tokens:
            format_ = _header(log_object, lines.lines + 1, split.tokens, declared, timed=timed)
            if format_ is not None:
                return Head(
                    shape=shape if timed else Shape.HEADER,
                    format=format_,
                    size_bytes=newline + 1 - begin,
                    lines=lines + LineCounts(header=1),
                )
            unknown = unknown_names(split.tokens)
            break
        lines += LineCounts(comment=1) if split.comment else LineCounts(blank=1)
        if split.comment and commented is None and is_header(line.strip(b"# \t")):
            commented = lines.lines
        start = newline + 1
    if start >= end and whole:
        return _without_format(Shape.EMPTY, start - begin, lines)
    # A line that is not a header, is not text or has no end, or too many lines without values.
    if head := _with_declared_format(log_object, declared, shape, start - begin, lines):
        return head
    if commented is not None:
        raise _header_in_comment(log_object, commented)
    first = bytes(text[start : min(end, start + _SHOWN_BYTES)]).partition(b"\n")[0]
    raise no_format(log_object, shape, lines.lines + 1, unknown, first)


def _header(
    log_object: LogObject,
    line: int,
    tokens: tuple[bytes, ...],
    declared: DeclaredFormats,
    *,
    timed: bool,
) -> LogFormat | None:
    """Return the format that a line declares; as `find_header`, naming the place of errors."""
    try:
        return find_header(tokens, declared.all, timed=timed)
    except FormatError as error:
        raise error.at(log_object.uri, line) from None


def _with_declared_format(
    log_object: LogObject,
    declared: DeclaredFormats,
    shape: Shape,
    size_bytes: int,
    lines: LineCounts,
) -> Head | None:
    """Return the head of an object without a header, or None if no format is declared for it."""
    format_ = declared.find(log_object.path, log_object.flow_log_id, log_object.log_group)
    if format_ is None:
        return None
    if shape is Shape.CLOUDWATCH_EXPORT:
        format_ = with_timestamp(format_)
    return Head(shape=shape, format=format_, size_bytes=size_bytes, lines=lines, is_declared=True)


def _without_format(shape: Shape, size_bytes: int, lines: LineCounts) -> Head:
    return Head(shape=shape, format=None, size_bytes=size_bytes, lines=lines)


def _require_text(log_object: LogObject, text: bytearray, begin: int, end: int) -> None:
    """Refuse what begins as something else than text."""
    if foreign := name_foreign(text, begin, end):
        name, advice = foreign
        raise FormatError(
            f"this is {name}, which is not read. If it holds flow logs, {advice}; if not, leave "
            "it out with --exclude.",
            uri=log_object.uri,
        )


def _header_in_comment(log_object: LogObject, line: int) -> FormatError:
    return FormatError(
        "this line names the fields, but the '#' before them makes it a comment. Take the '#' "
        "away, or name the fields with --format or --formats; if the object is not a flow log, "
        "leave it out with --exclude.",
        uri=log_object.uri,
        line=line,
    )


def find_header(
    tokens: tuple[bytes, ...], declared: frozenset[LogFormat], *, timed: bool
) -> LogFormat | None:
    """Return the format that a line declares, or None if it is not a header.

    Args:
        tokens: The line's values.
        declared: The formats given for objects without a header.
        timed: The line is of an export, and begins with the time of an event.

    Raises:
        FormatError: See `header_format`.
    """
    if not timed:
        return header_format(tokens, declared)
    format_ = header_format(tokens[1:], declared) if is_timed(tokens[0]) else None
    return format_ and with_timestamp(format_)


def is_timed(token: bytes) -> bool:
    """Tell whether a line's first value is the time of an event."""
    return _EVENT_TIME.fullmatch(token) is not None


# So much of a line is looked at to say what it is.
_SHOWN_BYTES = 4096


def no_format(
    log_object: LogObject,
    shape: Shape,
    line: int,
    unknown: Sequence[str] = (),
    text: bytes = b"",
    log_group: str | None = None,
) -> FormatError:
    """Return the error for an object without a header of which no format is known.

    Args:
        log_object: The object.
        shape: Its shape.
        line: Number of its first line with values.
        unknown: Names in that line, if it would be a header but for these.
        text: Its beginning, if that is to be described.
        log_group: That of the line, if it is known.
    """
    found = {
        Shape.CLOUDWATCH_EXPORT: "this is an export of CloudWatch Logs, which has no header",
        Shape.CONSOLE_CSV: "this is CSV of the CloudWatch console, whose messages have no header",
        Shape.SUBSCRIPTION: "this is a subscription of CloudWatch Logs, which has no header",
        Shape.FIREHOSE: "these are messages of Firehose, which have no header",
        Shape.HTTP_ENDPOINT: "these are records of Firehose, which have no header",
        Shape.CLOUDWATCH_API: "these are events of CloudWatch Logs, which have no header",
    }.get(shape, "this line is not a header that names the fields")
    if unknown:
        more = f" and {len(unknown) - _NAMES_SHOWN} more" if len(unknown) > _NAMES_SHOWN else ""
        names = ", ".join(map(quote, unknown[:_NAMES_SHOWN]))
        found = f"this line has names, but most of them AWS does not have: {names}{more}"
    described = f" {describe_line(text)}" if text and not unknown else ""
    if log_group := log_group or log_object.log_group:
        described += f" Its log group is {quote(log_group)}."
    error = FormatError(
        f"{found}.{described} If the object holds records without a header, name their fields "
        "with --format '${version} ${account-id} …', --format default, or --formats FILE; if it "
        "is not a flow log, leave it out with --exclude.",
        uri=log_object.uri,
        line=line,
    )
    error.shape = shape
    return error
