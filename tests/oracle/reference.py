"""The oracle: flow logs read one line at a time, slowly and obviously.

It shares no code and no field table with the package, so that a mistake there cannot hide here.

    read_object()     body of an object -> its shape, its rows, its rejected lines, and the counts
    read_formats()    text of a file    -> the formats of logs that have no header
    table_row()       a row             -> every column of the output that its header asks for
    partition()       a row             -> the values that its directory is named after
    name_text()       a name            -> the text that it has in reports
    partition_path()  those values      -> "aws_account_id=.../aws_region=.../date=..."
"""

import dataclasses
import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from oracle.documents import Message, Record, Unreadable, read_documents
from oracle.fields import (
    DEFAULT_FORMAT,
    FIELDS,
    LAST_SECOND,
    TGW,
    VPC,
    BadValueError,
    Column,
    Formats,
    Header,
    TimeType,
    Value,
    are_of_flow_log,
    convert_value,
    format_header,
    formats_header,
    header_of,
    is_header,
    known_field,
    leaves_out,
    read_formats,
    split_tokens,
    whole_number,
    without_comment,
)
from oracle.parquet import Cell, ParquetColumn, read_columns, read_rows

__all__ = [
    "DEFAULT_FORMAT",
    "FIELDS",
    "HIVE_NULL",
    "LAST_SECOND",
    "TGW",
    "VPC",
    "Formats",
    "Place",
    "ReferenceObject",
    "Rejected",
    "Row",
    "TimeType",
    "Unreadable",
    "Value",
    "convert_value",
    "encode_value",
    "format_header",
    "header_of",
    "is_header",
    "known_field",
    "name_text",
    "partition",
    "partition_path",
    "read_formats",
    "read_object",
    "table_row",
]

PRINTABLE = {chr(code) for code in range(32, 127)} | set("\t\n\r")

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Row:
    """One record's values, in the header's order, for just the columns that the header names.

    `line` is its line in the object. In documents it counts the lines of all messages; in Parquet
    it is the number of the row. `logged` is when the event was logged that the record came in, and
    `owner` the account whose log group that was, if either is known.
    """

    line: int
    table: str
    values: dict[str, Value]
    _: dataclasses.KW_ONLY
    logged: datetime | None = dataclasses.field(default=None, compare=False)
    owner: str | None = dataclasses.field(default=None, compare=False)


@dataclass(frozen=True)
class Rejected:
    """A line that is no row. `text` has neither its line end nor the object's BOM."""

    line: int
    reason: str
    field: str | None
    text: bytes


@dataclass(frozen=True, kw_only=True)
class ReferenceObject:
    """One object; lines = header + blank + comment + len(rows) + len(rejected) - split.

    `formats` has the columns of everything that lines were read by, in order: the names of
    `format` if the first line that counts is no header, then those of each header line. `split`
    counts the rows beyond the first that a line gave, `milliseconds` the rows whose start or end
    was in milliseconds, `far_times` those whose start or end lies far from their delivery. `shape`
    is None if no line has values.
    """

    header: int
    blank: int
    comment: int
    rows: list[Row]
    rejected: list[Rejected]
    lines: int
    formats: list[tuple[str, ...]]
    split: int = 0
    milliseconds: int = 0
    far_times: int = 0
    left_out: int = 0
    shape: str | None = None


class Place(NamedTuple):
    """Where an object is.

    Attributes:
        path: Its key, below the source.
        flow_log_id: As the key says.
        log_group: The one that the source is, if it is one.
    """

    path: str = ""
    flow_log_id: str | None = None
    log_group: str | None = None


def read_object(
    body: bytes,
    *,
    format: str | None = None,
    formats: Formats | None = None,
    place: Place = Place(),  # noqa: B008 - it cannot be changed
    delivered: date | None = None,
    today: date | None = None,
    time_type: str = "timestamp",
) -> ReferenceObject:
    """Read a whole object, packed by gzip or not, in any shape.

    Args:
        body: Its bytes.
        format: What --format says.
        formats: What the file of --formats says.
        place: Where it is, for `formats`.
        delivered: The day of the object's name, else of its path.
        today: When it is read; none is today.
        time_type: "timestamp" or "epoch".

    Raises:
        Unreadable: Damaged gzip or Parquet ("corrupt"); no header and no format, a header that
            names a column twice or has more than 512 names, JSON of another kind, Parquet without
            any known column ("format").
        ValueError: The format itself is of no use.
    """
    by_format = None if format is None else format_header(format)

    def declared(group: str | None) -> Header | None:
        found = (
            None
            if formats is None
            else formats_header(formats, place.path, place.flow_log_id, group)
        )
        return by_format if found is None else found

    read = read_text(text_of(body), declared, place.log_group, time_type, formats)
    far = sum(is_far(row, delivered, today or datetime.now(UTC).date()) for row in read.rows)
    return dataclasses.replace(read, far_times=far)


# Zip, bzip2, zstd, xz, lz4, snappy, 7z, rar, lzip, lzop, compress; what is encrypted; UTF-32 and
# UTF-16; PNG, JPEG, PDF; Avro, SQLite, Arrow, Ion, those of Hadoop and Hive; captures of packets.
FOREIGN = (
    *(b"PK\x03\x04", b"PK\x05\x06", *(b"BZh%d1AY&SY" % level for level in range(1, 10))),
    *(b"(\xb5/\xfd", b"\xfd7zXZ\0", b'\x04"M\x18', b"\xff\x06\0\0sNaPpY", b"7z\xbc\xaf'\x1c"),
    *(b"PK\x07\x08", b"Rar!\x1a\x07", b"LZIP\x01", b"\x89LZO\0\r\n\x1a\n", b"\x1f\x9d"),
    *(b"\x02!L\x18", *(bytes([first]) + b"*M\x18" for first in range(0x50, 0x60)), b"\x82SNAPPY\0"),
    *(b"-----BEGIN PGP MESSAGE-----", b"age-encryption.org/", b"ARROW1\0\0", b"\xe0\x01\0\xea"),
    *(b"SEQ\x04", b"SEQ\x05", b"SEQ\x06", b"RCF\x01", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4"),
    *(b"\0\0\xfe\xff", b"\xff\xfe", b"\xfe\xff", b"\x89PNG\r\n", b"\xff\xd8\xff", b"%PDF-"),
    *(b"Obj\x01", b"SQLite format 3\0"),
)


def is_foreign(text: bytes) -> bool:
    """Whether the first bytes are those of what is no log, or no UTF-8."""
    if text.startswith(FOREIGN) or text[257:].startswith((b"ustar\0", b"ustar  \0")):
        return True
    for encoding, size in (("utf-16", 2), ("utf-32", 4)):
        for order in ("le", "be"):
            # Two characters of ASCII have no byte order mark, but zeros.
            start = text[: 2 * size].decode(f"{encoding}-{order}", "replace")
            if len(text) >= 2 * size and all(c.isascii() and is_of_text(c) for c in start):
                return True
    begun = text.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:9].lower()
    return (
        is_packed(text)
        or text.startswith((b"x\x01", b"x\x9c", b"x\xda"))
        or (text.startswith(b"x^") and any(byte >= 0x80 for byte in text[2:11]))
        or (text.startswith(b"ORC") and any(byte < 9 for byte in text[3:68]))
        or begun.startswith((b"<?xml", b"<html", b"<!doctype"))
    )


def is_packed(text: bytes) -> bool:
    """Whether it is packed, archived or encrypted by what leaves no certain mark."""
    in_octal = [text[100:148], text[148:154]]  # of a tar's header
    return (
        (len(text) > 155 and not b"".join(in_octal).strip(b" 01234567\0") and is_tar(text))
        or (text.startswith(b"Salted__") and any(byte >= 0x80 for byte in text[8:33]))
        or (
            text.startswith(b"H4sI") and re.fullmatch(rb"[A-Za-z0-9+/]{28}", text[4:32]) is not None
        )
        or (
            text.startswith(b"]\0\0")
            and len(text) >= 13
            and (text[5:13] == b"\xff" * 8 or text[10:13] == bytes(3))
        )
        or is_raw(text)
        or (text.startswith(b"\0") and is_raw(text[8:]))
    )


def is_tar(text: bytes) -> bool:
    return b"\0" not in text[148:154] and text[154:156] == b"\0 "


def is_raw(text: bytes) -> bool:
    """Whether it is a block of lz4 or snappy: text, and then a copy of some of it."""
    if text[:1] >= b"\xf0":  # lz4
        full = len(text) - 1 - len(text[1:].lstrip(b"\xff"))
        start = 2 + full
        if full <= 8 and start <= len(text) and is_ascii_text(text[start : start + 15], 15):
            literal = 15 + 255 * full + text[start - 1]
            copy = text[start + literal :]
            if len(text) == start + literal or 0 < back(copy) <= literal:
                return True
    place = size = 0
    while place < len(text) and text[place] >= 0x80:
        size += (text[place] & 0x7F) << 7 * place
        place += 1
    if not 1 <= place <= 4 or place + 2 > len(text):
        return False
    size += text[place] << 7 * place
    tag = text[place + 1]
    more = {0xF0: 1, 0xF4: 2}.get(tag, 0)
    start = place + 2 + more
    try:
        text[:start].decode()
        return False
    except UnicodeDecodeError:
        pass
    if tag & 3 or (not more and not 7 <= tag >> 2 < 60):
        return False
    literal = 1 + (int.from_bytes(text[start - more : start], "little") if more else tag >> 2)
    if not is_ascii_text(text[start : start + 8], 8):
        return False
    copy = text[start + literal :]
    if not copy:
        return len(text) == start + literal and literal == size
    offset = {1: back(copy[1:2] + bytes([copy[0] >> 5])), 2: back(copy[1:])}.get(copy[0] & 3, 0)
    return literal < size and 0 < offset <= literal


def back(copy: bytes) -> int:
    """How far back a copy begins; 0 if that is not there."""
    return int.from_bytes(copy[:2], "little") if len(copy) >= 2 else 0


def is_ascii_text(text: bytes, size: int) -> bool:
    return len(text) == size and all(chr(byte) in PRINTABLE for byte in text)


def is_of_text(character: str) -> bool:
    return character.isprintable() or character in "\t\r\n"


def read_text(
    text: bytes,
    declared: Callable[[str | None], Header | None],
    log_group: str | None,
    time_type: str,
    formats: Formats | None,
) -> ReferenceObject:
    """Read an object's bytes as they are without gzip."""
    if text.startswith(b"PAR1"):
        return read_parquet(text, time_type)
    if is_foreign(text):
        raise Unreadable("format")

    lines = split_lines(text)
    reading = Reading(time_type=time_type)
    shape = shape_of(lines, declared(log_group))
    if shape == "json":
        return read_json(lines, reading, declared, log_group, formats)

    if shape == "console-csv":
        lines = as_exported(lines)
    for number, line in enumerate(lines, start=1):
        if shape == "console-csv" and line is COLUMNS:
            reading.header += 1
            continue
        exported = shape in ("cloudwatch-export", "console-csv")
        reading.read_line(number, line, declared(log_group), exported=exported)
    reading.require_possible()
    return reading.result(len(lines), shape)


def read_json(
    lines: list[bytes],
    reading: "Reading",
    declared: Callable[[str | None], Header | None],
    log_group: str | None,
    formats: Formats | None,
) -> ReferenceObject:
    """Read the messages, or the records, of documents."""
    shape, entries = read_documents(without_leading_comments(lines), are_of_flow_log)
    number = 0
    has_messages = False
    undeclared = False
    for entry in entries:
        if isinstance(entry, Record):
            number += 1
            reading.read_keys(number, entry)
            continue
        if isinstance(entry, Message) and entry.log_group is not None and formats is not None:
            is_excluded = leaves_out(formats, entry.log_group)
            unknown = bool(formats.log_groups) and declared(entry.log_group) is None
            if is_excluded or unknown:
                undeclared = undeclared or not is_excluded
                reading.left_out += 1
                continue
        number += 1
        if isinstance(entry, Message):
            has_messages = True
            logged = None if entry.time is None else time_of(entry.time)
            reading.read_line(
                number,
                entry.line,
                declared(entry.log_group or log_group),
                log_group=entry.log_group,
                logged=logged,
                owner=entry.owner,
            )
        else:
            reading.rejected.append(Rejected(number, "not-json", None, entry.text))
    if undeclared and not has_messages:
        raise Unreadable("format")
    reading.require_possible()
    return reading.result(number + reading.left_out, shape)


@dataclass(kw_only=True)
class Reading:
    """What an object's lines have come to so far."""

    time_type: str
    header: int = 0
    blank: int = 0
    comment: int = 0
    split: int = 0
    milliseconds: int = 0
    left_out: int = 0
    rows: list[Row] = dataclasses.field(default_factory=list)
    rejected: list[Rejected] = dataclasses.field(default_factory=list)
    formats: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    # The keys that records had so far.
    names: list[str] = dataclasses.field(default_factory=list)
    # Log group, if documents name it -> the last header among its messages.
    in_force: dict[str | None, Header] = dataclasses.field(default_factory=dict)
    # Columns of a declared format, and log group -> of each record of that group that was read by
    # it, whether it could be one.
    possible: dict[tuple[tuple[str, ...], str | None], list[bool]] = dataclasses.field(
        default_factory=dict
    )

    def read_line(
        self,
        number: int,
        line: bytes,
        given: Header | None,
        *,
        log_group: str | None = None,
        exported: bool = False,
        logged: datetime | None = None,
        owner: str | None = None,
    ) -> None:
        """Read the next line; `given` is the format that is declared for it."""
        if not line.strip(b" \t"):
            self.blank += 1
            return

        text: str | None
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        tokens: list[str] = []
        if text is not None and "\r" not in text:
            tokens = without_comment(split_tokens(text))
            if not tokens:
                self.comment += 1
                return
            if exported:
                # What was logged at that time is a line like others.
                logged, tokens = self.read_time(number, line, tokens)
                if not tokens:
                    return
            if is_header(tokens, given):
                header = header_of(tokens)
                self.in_force[log_group] = header
                self.formats.append(tuple(c.column for c in header.columns))
                self.header += 1
                return

        by = self.in_force.get(log_group) or given
        if by is given and given is not None and len(tokens) == len(given.columns):
            declared = tuple(column.column for column in given.columns)
            may_be = may_be_record(tokens, given.columns)
            self.possible.setdefault((declared, log_group), []).append(may_be)
        if by is None:
            raise Unreadable("format")
        columns = tuple(column.column for column in by.columns)
        if self.formats[-1:] != [columns]:
            self.formats.append(columns)

        if text is None:
            self.rejected.append(Rejected(number, "not-utf8", None, line))
        elif "\r" in text:
            self.rejected.append(Rejected(number, "control-character", None, line))
        else:
            before = len(self.rows)
            self.read_record(number, line, tokens, by)
            for place in range(before, len(self.rows)):
                row = dataclasses.replace(self.rows[place], logged=logged, owner=owner)
                self.rows[place] = row

    def read_time(
        self, number: int, line: bytes, tokens: list[str]
    ) -> tuple[datetime | None, list[str]]:
        """Take the time off an exported line; no tokens are left if it counts as something else."""
        if not EXPORT_TIME.fullmatch(tokens[0]):
            self.rejected.append(Rejected(number, "not-a-timestamp", None, line))
            return None, []
        if len(tokens) == 1:
            if len(split_tokens(line.decode())) == 1:
                self.blank += 1
            else:
                self.comment += 1
        return event_time(tokens[0]), tokens[1:]

    def read_record(self, number: int, line: bytes, tokens: list[str], header: Header) -> None:
        if len(tokens) < len(header.columns):
            self.rejected.append(Rejected(number, "too-few-values", None, line))
            return
        records = [tokens]
        if len(tokens) > len(header.columns):
            try:
                records = glued_records(tokens, header.columns)
            except BadValueError as exc:
                self.rejected.append(Rejected(number, exc.reason, None, line))
                return
        rows: list[Row] = []
        for record in records:
            values: dict[str, Value] = {}
            for column, token in zip(header.columns, record, strict=True):
                try:
                    values[column.column] = convert_value(token, column, self.time_type)
                except BadValueError as exc:
                    rejected = Rejected(number, exc.reason, column.field, line)
                    if len(records) > 1:
                        rejected = Rejected(number, "glued-records", None, line)
                    self.rejected.append(rejected)
                    return
            rows.append(Row(number, header.table, values))
        self.rows += rows
        self.split += len(rows) - 1
        self.milliseconds += sum(has_milliseconds(record, header.columns) for record in records)

    def read_keys(self, number: int, record: Record) -> None:
        """Read a record whose values have names; keys that none before had are fields from here."""
        names = list(dict.fromkeys([*self.names, *record.values]))
        known = [name for name in record.values if known_field(name) is not None]
        found = [name for name in names if is_used(ParquetColumn(name, "text", ""))]
        try:
            if not known and self.names:
                raise Unreadable("format")
            header = header_of(found)
        except Unreadable:
            if not self.names:
                raise
            self.rejected.append(Rejected(number, "not-json", None, record.text))
            return
        self.names = names
        columns = tuple(column.column for column in header.columns)
        if self.formats[-1:] != [columns]:
            self.formats.append(columns)
        values: dict[str, Value] = {}
        for column, name in zip(header.columns, found, strict=True):
            cell = record.values.get(name)
            kind = "integer" if isinstance(cell, int) else "text"
            stored = ParquetColumn(name, kind, "")
            token = token_of(None if cell is None else str(cell), column, stored)
            try:
                values[column.column] = convert_value(str(token), column, self.time_type)
            except BadValueError as exc:
                self.rejected.append(Rejected(number, exc.reason, column.field, record.text))
                return
        self.rows.append(Row(number, header.table, values))
        self.milliseconds += any(
            column.kind == "time"
            and record.values.get(name) not in (None, "-", "", "None", "NaN", "nan")
            and whole_number(str(record.values[name])) > LAST_SECOND
            for column, name in zip(header.columns, found, strict=True)
        )

    def require_possible(self) -> None:
        """Refuse the object if most first records of a log group cannot be of its format."""
        for records in self.possible.values():
            first = records[:100]
            if 2 * first.count(False) > len(first):
                raise Unreadable("format")

    def result(self, lines: int, shape: str | None) -> ReferenceObject:
        """Say what all lines have come to."""
        kinds = self.header + self.blank + self.comment + len(self.rows) + len(self.rejected)
        assert lines == kinds - self.split + self.left_out
        return ReferenceObject(
            header=self.header,
            blank=self.blank,
            comment=self.comment,
            rows=self.rows,
            rejected=self.rejected,
            lines=lines,
            formats=self.formats,
            split=self.split,
            milliseconds=self.milliseconds,
            left_out=self.left_out,
            shape=shape,
        )


# --- shapes -------------------------------------------------------------------------------------

EXPORT_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z")


COLUMNS = b"timestamp,message"


def as_exported(lines: list[bytes]) -> list[bytes]:
    """The lines of a CSV of the console as an export has them; its first one is COLUMNS."""
    before = len(lines) - len(without_leading_comments(lines))
    result = [*lines[:before], COLUMNS]
    time: bytes | None = None  # of a quoted message that goes on
    for line in lines[before + 1 :]:
        message = line
        if time is None:
            first, comma, message = line.partition(b",")
            if first[:1] == first[-1:] == b'"' and len(first) > 2:
                first = first[1:-1]
            time = csv_time(first)
            if not comma or time is None:
                time = None
                result.append(line)
                continue
            if message[:1] != b'"':
                result.append(time + b" " + message)
                time = None
                continue
            message = message[1:]
        open_ended = (len(message) - len(message.rstrip(b'"'))) % 2 == 0
        if not open_ended:
            message = message[:-1]
        message = message.replace(b'""', b'"')
        result.append(time + b" " + message if message.strip(b" \t") else b"")
        time = time if open_ended else None
    return result


def csv_time(text: bytes) -> bytes | None:
    """Milliseconds since 1970, or a time of day; None if it is neither."""
    if re.fullmatch(rb"[0-9]{1,14}", text):
        time = datetime(1970, 1, 1) + timedelta(milliseconds=int(text))  # noqa: DTZ001
        return time.isoformat(timespec="milliseconds").encode() + b"Z"
    form = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z?"
    if re.fullmatch(form, text):
        return text.removesuffix(b"Z").replace(b" ", b"T") + b"Z"
    return None


def time_of(milliseconds: int) -> datetime | None:
    """The time of an event; None if it is beyond what a date can be."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def event_time(text: str) -> datetime | None:
    """The time that is meant; None if there was no such time, or before 1970."""
    year, month, day, hour, minute, second, *thousandths = map(int, re.findall("[0-9]+", text))
    thousandth = thousandths[0] if thousandths else 0
    try:
        time = datetime(year, month, day, hour, minute, second, thousandth * 1000, UTC)
    except ValueError:
        return None
    return time if time.year >= 1970 else None


def shape_of(lines: list[bytes], given: Header | None) -> str | None:
    """Tell the shape by the first line that has values; None if there is none."""
    rest = without_leading_comments(lines)
    if not rest:
        return None
    if re.match(rb'[ \t\r]*(\{|\[[ \t\r\n]*[{\]]|"( |\\[nrt])*[{\[])', b"\n".join(rest)):
        return "json"
    if re.fullmatch(rb'"?@?timestamp"?,"?@?message"?', rest[0]):
        return "console-csv"
    # Whatever the rest of the line is, its beginning tells.
    text = rest[0].decode("utf-8", "replace")
    tokens = without_comment(split_tokens(text))
    if len(tokens) > 1 and EXPORT_TIME.fullmatch(tokens[0]):
        return "cloudwatch-export"
    if tokens and "\r" not in text and is_header(tokens, given):
        return "header"
    return "headerless"


def without_leading_comments(lines: list[bytes]) -> list[bytes]:
    """Leave out blank lines and comments up to the first line that has values."""
    for position, line in enumerate(lines):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return lines[position:]
        if "\r" in text or without_comment(split_tokens(text)):
            return lines[position:]
    return []


# --- records glued to one line ------------------------------------------------------------------


def glued_records(tokens: list[str], columns: list[Column]) -> list[list[str]]:
    """Divide the values of a line that has too many for one record, if all of them are records.

    The newline between two may be gone altogether, so that a status and the next record's first
    value are one token. Records of text alone are not divided: nothing would show that they fit.
    Nor does it if one has no value at all, or no status that AWS writes where there is one: the
    record is one, and has more fields than the format.

    Raises:
        BadValueError: They are no records.
    """
    count = len(columns)
    if all(column.kind in ("string", "tag") for column in columns):
        raise BadValueError("too-many-values")
    begins_with_number = columns[0].kind in ("int32", "int64", "time")
    may_touch = columns[-1].field == "log-status" and (
        begins_with_number or columns[0].field == "account-id"
    )
    waiting = list(tokens)
    records: list[list[str]] = []
    while len(waiting) >= count:
        record, waiting = waiting[:count], waiting[count:]
        touching = re.fullmatch(r"(OK|NODATA|SKIPDATA)([0-9]+)", record[-1])
        if may_touch and touching:
            record[-1] = touching[1]
            waiting.insert(0, touching[2])
        records.append(record)
    if waiting or not all(may_be_whole(record, columns) for record in records):
        raise BadValueError("too-many-values")
    return records


def may_be_record(tokens: list[str], columns: list[Column]) -> bool:
    """Whether AWS may have written these values, of fields that have but a few."""
    patterns = {
        "action": "ACCEPT|REJECT|-",
        "log-status": "OK|NODATA|SKIPDATA|-",
        "interface-id": "eni-.*|-",
        "account-id": "[0-9]+|unknown|-",
    }
    return all(
        re.fullmatch(patterns.get(column.field or "", ".*"), token, re.DOTALL)
        for column, token in zip(columns, tokens, strict=True)
    )


def may_be_whole(record: list[str], columns: list[Column]) -> bool:
    """Whether values may be a record of their own."""
    for column, token in zip(columns, record, strict=True):
        if column.field == "log-status" and token not in ("OK", "NODATA", "SKIPDATA"):
            return False
    return any(token != "-" for token in record)


def has_milliseconds(tokens: list[str], columns: list[Column]) -> bool:
    """Whether start or end of a valid record is in milliseconds."""
    return any(
        column.kind == "time" and token != "-" and whole_number(token) > LAST_SECOND
        for column, token in zip(columns, tokens, strict=True)
    )


# --- times --------------------------------------------------------------------------------------

FIRST_FLOW_LOG = date(2015, 6, 10)  # AWS began to write VPC flow logs


def is_far(row: Row, delivered: date | None, today: date) -> bool:
    """Whether a record's start or end lies on a day that its delivery makes unlikely."""
    first, last = FIRST_FLOW_LOG, today + timedelta(days=1)
    if delivered is not None:
        first, last = delivered - timedelta(days=31), delivered + timedelta(days=31)
    times = [of_row(row, "start"), of_row(row, "end")]
    return any(time is not None and not first <= time.date() <= last for time in times)


def of_row(row: Row, column: str) -> datetime | None:
    """A row's time, whichever type it was read as."""
    value = row.values.get(column)
    if isinstance(value, int):
        return datetime.fromtimestamp(value, UTC)
    return value if isinstance(value, datetime) else None


# --- Parquet ------------------------------------------------------------------------------------

NUMBERS = ("int32", "int64", "time")
ACCOUNTS = ("account-id", "tgw-src-vpc-account-id", "tgw-dst-vpc-account-id")


def read_parquet(body: bytes, time_type: str) -> ReferenceObject:
    """Read a file's rows by the names of its columns; each row is a line.

    Of several files one behind the other, readers know but the last.
    """
    columns = read_columns(body)
    if b"PAR1PAR1" in body:
        raise Unreadable("format")
    if not are_of_flow_log([column.name for column in columns]):
        raise Unreadable("format")
    found = [column for column in columns if is_used(column)]
    header = header_of([column.name for column in found])
    for column, stored in zip(header.columns, found, strict=True):
        if column.field is not None and not can_be(stored.kind, column.kind):
            raise Unreadable("format")

    reading = Reading(time_type=time_type)
    reading.formats.append(tuple(column.column for column in header.columns))
    cells = read_rows(body, found)
    for number, row in enumerate(cells, start=1):
        values: dict[str, Value] = {}
        tokens = [
            token_of(cell, column, stored)
            for cell, column, stored in zip(row, header.columns, found, strict=True)
        ]
        for token, column, stored in zip(tokens, header.columns, found, strict=True):
            try:
                values[column.column] = parquet_value(token, column, stored, time_type)
            except BadValueError as exc:
                text = b" ".join(t if isinstance(t, bytes) else t.encode() for t in tokens)
                reading.rejected.append(Rejected(number, exc.reason, column.field, text))
                break
        else:
            reading.rows.append(Row(number, header.table, values))
            reading.milliseconds += any(
                column.kind == "time"
                and stored.kind != "timestamp"
                and token != "-"
                and whole_number(str(token)) > LAST_SECOND
                for token, column, stored in zip(tokens, header.columns, found, strict=True)
            )
    return reading.result(len(cells), "parquet")


def is_used(column: ParquetColumn) -> bool:
    """Whether a column is read: AWS has such a field, or its name and type could be of one."""
    if known_field(column.name) is not None:
        return True
    is_name = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", column.name) is not None
    return is_name and column.kind in ("text", "integer", "real", "boolean", "date")


def can_be(stored: str, kind: str) -> bool:
    """Whether a known field can be stored so; if it cannot, nothing of the file is right."""
    if stored == "timestamp":
        return kind == "time"
    return stored in ("text", "integer", "real")


def token_of(cell: Cell, column: Column, stored: ParquetColumn) -> str | bytes:
    """Write a cell as a log would."""
    if cell is None:
        return "-"
    if column.kind in NUMBERS and stored.kind == "text" and cell in ("None", "NaN", "nan", ""):
        return "-"
    if column.field in ACCOUNTS and stored.kind in ("integer", "real"):
        # Whoever made numbers of them lost the zeros.
        return str(cell).zfill(12) if re.fullmatch("[0-9]+", str(cell)) else cell
    return cell


def parquet_value(
    token: str | bytes, column: Column, stored: ParquetColumn, time_type: str
) -> Value:
    if isinstance(token, bytes):
        raise BadValueError("not-utf8")
    if stored.kind == "timestamp" and token != "-" and int(token) > LAST_SECOND:
        raise BadValueError("out-of-range")
    return convert_value(token, column, time_type)


# --- text ---------------------------------------------------------------------------------------


def text_of(body: bytes) -> bytes:
    """Unpack gzip, and gzip within gzip."""
    for _ in range(2):
        if not body.startswith(b"\x1f\x8b"):
            return body
        try:
            body = gzip.decompress(body)  # all members
        except (OSError, EOFError, zlib.error) as exc:
            raise Unreadable("corrupt") from exc
    if body.startswith(b"\x1f\x8b"):
        raise Unreadable("format")
    return body


def split_lines(text: bytes) -> list[bytes]:
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    pieces = text.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    return [piece[:-1] if piece.endswith(b"\r") else piece for piece in pieces]


# --- output columns -----------------------------------------------------------------------------


def table_row(
    row: Row, time_type: TimeType | None = None, *, flow_log_id: str | None = None
) -> dict[str, Value]:
    """Give the row every column of its table, in the output's order.

    These are the fields that AWS documents, the flow log of the object's key, and a JSON object of
    all other values that the row has. `start` and `end` stay as they were read, unless `time_type`
    says what they shall be.
    """
    columns = [field.replace("-", "_") for field in FIELDS[row.table]]
    result = {column: row.values.get(column) for column in columns}
    result["flow_log_id"] = flow_log_id
    unknown = {
        name: value
        for name, value in row.values.items()
        if name not in columns and value is not None
    }
    result["unknown_fields"] = (
        json.dumps(unknown, ensure_ascii=False, separators=(",", ":")) if unknown else None
    )
    for column in ("start", "end"):
        value = result[column]
        if time_type == "epoch" and isinstance(value, datetime):
            result[column] = int(value.timestamp())
        if time_type == "timestamp" and isinstance(value, int):
            result[column] = datetime.fromtimestamp(value, UTC)
    return result


# --- partitions ---------------------------------------------------------------------------------


def partition(
    row: Row,
    *,
    account: str | None,
    region: str | None,
    time: datetime | None,
    day: date | None,
    partition_by: Sequence[str] = ("aws_account_id", "aws_region", "date"),
) -> dict[str, str | None]:
    """Directory names and their values, not yet encoded, in the order of `partition_by`.

    Args:
        row: As read, with either time type.
        account: As the object's key says, else as the user says. The row's owner comes first.
        region: As the object's key says, else as the user says.
        time: UTC, as the object's name says.
        day: As the object's path says.
        partition_by: `aws_account_id`, `aws_region`, `date`, `hour`, or known columns other
            than `start` and `end`.

    Raises:
        ValueError: A name is none of these, or two of them make the same directory.
    """

    moment = time
    for possible in (of_row(row, "start"), row.logged, of_row(row, "end")):
        if possible is not None:
            moment = possible
            break

    columns = {
        field.replace("-", "_")
        for table in FIELDS.values()
        for field, kind in table.items()
        if kind != "time"
    }
    result: dict[str, str | None] = {}
    for name in partition_by:
        directory = name
        value: Value
        if name == "aws_account_id":
            value = row.owner or account
        elif name == "aws_region":
            value = region
        elif name == "date" and moment is not None:
            value = moment.strftime("%Y-%m-%d")
        elif name == "date":
            value = None if day is None else day.strftime("%Y-%m-%d")
        elif name == "hour":
            value = None if moment is None else moment.strftime("%H")
        elif name in columns:
            directory = f"aws_{name}"
            # What the row's own table has no column for is among its unknown fields.
            is_own = name in {field.replace("-", "_") for field in FIELDS[row.table]}
            value = row.values.get(name) if is_own else None
        else:
            raise ValueError(f"partition_by: {name}: no such name")
        if directory in result:
            raise ValueError(f"partition_by: {directory} twice")
        result[directory] = None if value is None else str(value)
    return result


def partition_path(values: Mapping[str, str | None]) -> str:
    """The directory below the table, without a slash at either end."""
    return "/".join(f"{name}={encode_value(value)}" for name, value in values.items())


def encode_value(value: str | None) -> str:
    if value is None:
        return HIVE_NULL
    encoded = ""
    for byte in value.encode("utf-8"):
        character = chr(byte)
        if re.fullmatch(r"[A-Za-z0-9_.-]", character):
            encoded += character
        else:
            encoded += f"%{byte:02X}"
    return encoded if len(encoded) <= 200 else HIVE_NULL


# --- names --------------------------------------------------------------------------------------


def name_text(name: str) -> str:
    """A name as it is shown: percent-encoded is what is no UTF-8, or breaks lines or writing.

    So is a % before what could be a byte that is percent-encoded.

    Args:
        name: Bytes that are no UTF-8 are surrogate escapes.
    """
    text = ""
    for place, character in enumerate(name):
        code = ord(character)
        is_control = code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029)
        is_direction = code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
        is_raw_byte = 0xDC80 <= code <= 0xDCFF
        behind = name[place + 1 : place + 3]
        is_like_ours = character == "%" and re.fullmatch(
            "[01][0-9A-F]|7F|25|[89A-F][0-9A-F]", behind
        )
        if is_control or is_direction or is_raw_byte or is_like_ours:
            encoded = character.encode("utf-8", "surrogateescape")
            text += "".join(f"%{byte:02X}" for byte in encoded)
        else:
            text += character
    return text
