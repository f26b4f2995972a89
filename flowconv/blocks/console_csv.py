"""Stage 3d, CSV of the CloudWatch console -> blocks: its messages, as an export to S3 has them.

The console writes `timestamp,message`, Logs Insights `@timestamp,@message`; messages with commas,
quotes or newlines are quoted. Each line of the file is a line of a block, so that numbers stay.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from flowconv.blocks.block import BLOCK_BYTES, BlockReader, LogBlock, Span
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.formats import LogFormat, declared_format, split_line, with_timestamp
from flowconv.blocks.plausibility import Plausibility
from flowconv.blocks.shapes import Head, Shape, find_header, is_timed, no_format
from flowconv.blocks.unpacking import Unpacked
from flowconv.errors import FormatError
from flowconv.source.keys import LogObject

_PIECE_BYTES = 1 << 20

_RECORD = re.compile(rb'(?:"([0-9TZ:. -]+)"|([0-9TZ:. -]+)),(.*)', re.DOTALL)
_MILLISECONDS = re.compile(rb"[0-9]{1,14}")
_TIME = re.compile(
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?)Z?"
)


def read_console_csv(
    log_object: LogObject, text: Unpacked, declared: DeclaredFormats, head: Head
) -> BlockReader:
    """Read an object behind its first line: each line of a block is an event's time and a message.

    Args:
        log_object: The object.
        text: Its text, from behind the names of the columns.
        declared: The formats of what has no header.
        head: What stands before.

    Raises:
        UnreadableObjectError: The object could not be read, or its messages have no format, or not
            the declared one.
    """
    counts, line = head.lines, head.lines.lines + 1
    format_: LogFormat | None = None
    first_records: Plausibility | None = None
    for lines, at_end in _exported(log_object, text, line):
        if format_ is None and (first := _first(lines)) is not None:
            try:
                format_ = find_header(first, declared.all, timed=True)
            except FormatError as error:
                raise error.at(log_object.uri, line, Shape.CONSOLE_CSV) from None
            if format_ is None:
                format_ = _declared(log_object, declared, line)
                first_records = Plausibility(log_object, format_, declared)
        if first_records is not None:
            has_header = first_records.look_at(lines, 0, len(lines), line)
            if has_header or at_end:
                first_records.finish()
        in_force = format_ or with_timestamp(declared_format("default"))
        span = Span(
            log_object=log_object,
            start=0,
            stop=len(lines),
            first_line=line,
            head=counts,
            ends_object=at_end,
        )
        end = yield LogBlock(
            buffer=lines,
            size=len(lines),
            shape=Shape.CONSOLE_CSV,
            format=in_force,
            spans=(span,),
            text_bytes=len(lines),
        )
        format_ = format_ and end.format
        line, counts = end.line, LineCounts()


def _declared(log_object: LogObject, declared: DeclaredFormats, line: int) -> LogFormat:
    format_ = declared.find(log_object.path, log_object.flow_log_id, log_object.log_group)
    if format_ is None:
        raise no_format(log_object, Shape.CONSOLE_CSV, line)
    return with_timestamp(format_)


def _first(lines: bytes) -> tuple[bytes, ...] | None:
    """Return the values of the first line that needs a format; an empty one if it is not text."""
    for line in lines.split(b"\n"):
        split = split_line(line)
        if split is None:
            return (b"",)
        if len(split.tokens) > 1 and is_timed(split.tokens[0]):
            return split.tokens
    return None


def _exported(log_object: LogObject, text: Unpacked, line: int) -> Iterator[tuple[bytes, bool]]:
    """Write lines as an export has them; also say whether they are the last."""
    room = bytearray(_PIECE_BYTES)
    waiting = b""
    # Of a quoted message that goes on: its time.
    time: bytes | None = None
    at_end = False
    while not at_end:
        count = text.readinto(memoryview(room))
        at_end = count == 0
        waiting += room[:count]
        lines = waiting.split(b"\n")
        waiting = b"" if at_end else lines.pop()
        if at_end and lines[-1] == b"":
            lines.pop()
        if len(waiting) > BLOCK_BYTES:
            raise FormatError(
                f"a line of more than {BLOCK_BYTES >> 20} MiB is not a record of a flow log. Leave "
                "it out with --exclude.",
                uri=log_object.uri,
                line=line + len(lines),
            )
        written = []
        for exported in lines:
            text_of_line, time = _as_exported(exported.removesuffix(b"\r"), time)
            # What is behind the message is its line's end, and the message keeps its own.
            written.append(text_of_line + (b"\r\n" if text_of_line.endswith(b"\r") else b"\n"))
        line += len(lines)
        if written or at_end:
            yield b"".join(written), at_end


def _as_exported(line: bytes, time: bytes | None) -> tuple[bytes, bytes | None]:
    """Write a line behind its event's time, and return that time if its message goes on."""
    message = line
    if time is None:
        record = _RECORD.fullmatch(line)
        time = record and _time(record[1] or record[2])
        if record is None or time is None:
            # The parser says that it has no time.
            return line, None
        message = record[3]
        if not message.startswith(b'"'):
            return time + b" " + message, None
        message = message[1:]
    bare = message.replace(b'""', b"")
    goes_on = not bare.endswith(b'"')
    if not goes_on:
        message = message[:-1]
    message = message.replace(b'""', b'"')
    return (time + b" " + message if message.strip(b" \t") else b""), time if goes_on else None


def _time(text: bytes) -> bytes | None:
    """Write a time as an export does; None if it is none."""
    if _MILLISECONDS.fullmatch(text):
        seconds, thousandths = divmod(int(text), 1000)
        moment = datetime.fromtimestamp(seconds, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{thousandths:03d}Z".encode()
    time = _TIME.fullmatch(text)
    return time and time[1] + b"T" + time[2] + b"Z"
