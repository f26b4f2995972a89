"""The oracle: flow logs read one line at a time, slowly and obviously.

It shares no code and no field table with the package, so that a mistake there cannot hide here.

    read_object()     body of an object -> its rows, its rejected lines, and the counts
    table_row()       a row             -> every column of the output that its header asks for
    partition()       a row             -> the values that its directory is named after
    partition_path()  those values      -> "aws_account_id=.../aws_region=.../date=..."
"""

import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal
from urllib.parse import unquote_to_bytes

Value = str | int | datetime | None
TimeType = Literal["timestamp", "epoch"]

VPC: dict[str, str] = {
    # Version 2.
    "version": "int32",
    "account-id": "string",
    "interface-id": "string",
    "srcaddr": "string",
    "dstaddr": "string",
    "srcport": "int32",
    "dstport": "int32",
    "protocol": "int32",
    "packets": "int64",
    "bytes": "int64",
    "start": "time",
    "end": "time",
    "action": "string",
    "log-status": "string",
    # Version 3.
    "vpc-id": "string",
    "subnet-id": "string",
    "instance-id": "string",
    "tcp-flags": "int32",
    "type": "string",
    "pkt-srcaddr": "string",
    "pkt-dstaddr": "string",
    # Version 4.
    "region": "string",
    "az-id": "string",
    "sublocation-type": "string",
    "sublocation-id": "string",
    # Version 5.
    "pkt-src-aws-service": "string",
    "pkt-dst-aws-service": "string",
    "flow-direction": "string",
    "traffic-path": "int32",
    # Version 7.
    "ecs-cluster-arn": "string",
    "ecs-cluster-name": "string",
    "ecs-container-instance-arn": "string",
    "ecs-container-instance-id": "string",
    "ecs-container-id": "string",
    "ecs-second-container-id": "string",
    "ecs-service-name": "string",
    "ecs-task-definition-arn": "string",
    "ecs-task-arn": "string",
    "ecs-task-id": "string",
    # Version 8.
    "reject-reason": "string",
    # Version 9.
    "resource-id": "string",
    # Version 10.
    "encryption-status": "int32",
    # Version 11.
    "instance-tag": "tag",
    "instance-tag-2": "tag",
    "interface-tag": "tag",
    "interface-tag-2": "tag",
    "asg-tag": "tag",
    "asg-tag-2": "tag",
    "interface-type": "string",
    "next-hop-interface-id": "string",
    "next-hop-subnet-id": "string",
    "next-hop-az-id": "string",
    "next-hop-vpc-id": "string",
    "next-hop-interface-type": "string",
}

TGW: dict[str, str] = {
    "version": "int32",
    "resource-type": "string",
    "account-id": "string",
    "tgw-id": "string",
    "tgw-attachment-id": "string",
    "tgw-src-vpc-account-id": "string",
    "tgw-dst-vpc-account-id": "string",
    "tgw-src-vpc-id": "string",
    "tgw-dst-vpc-id": "string",
    "tgw-src-subnet-id": "string",
    "tgw-dst-subnet-id": "string",
    "tgw-src-eni": "string",
    "tgw-dst-eni": "string",
    "tgw-src-az-id": "string",
    "tgw-dst-az-id": "string",
    "tgw-pair-attachment-id": "string",
    "srcaddr": "string",
    "dstaddr": "string",
    "srcport": "int32",
    "dstport": "int32",
    "protocol": "int32",
    "packets": "int64",
    "bytes": "int64",
    "start": "time",
    "end": "time",
    "log-status": "string",
    "type": "string",
    "packets-lost-no-route": "int64",
    "packets-lost-blackhole": "int64",
    "packets-lost-mtu-exceeded": "int64",
    "packets-lost-ttl-expired": "int64",
    "tcp-flags": "int32",
    "region": "string",
    "flow-direction": "string",
    "pkt-src-aws-service": "string",
    "pkt-dst-aws-service": "string",
}

FIELDS = {"vpc": VPC, "tgw": TGW}
DEFAULT_FORMAT = list(VPC)[:14]
ALWAYS = {"vpc": list(VPC)[:29], "tgw": list(TGW)}

INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z
LAST_MILLISECOND = 253402300799999
MAX_NAMES = 512
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Row:
    """One line's values, in the header's order, for just the columns that the header names."""

    line: int
    table: str
    values: dict[str, Value]


@dataclass(frozen=True)
class Rejected:
    """A line that is no row. `text` has neither its line end nor the object's BOM."""

    line: int
    reason: str
    field: str | None
    text: bytes


@dataclass(frozen=True)
class ReferenceObject:
    """One object; lines = header + blank + comment + len(rows) + len(rejected).

    `formats` has the columns of everything that lines were read by, in order: the names of
    `format` if the first line that counts is no header, then those of each header line.
    """

    header: int
    blank: int
    comment: int
    rows: list[Row]
    rejected: list[Rejected]
    lines: int
    formats: list[tuple[str, ...]]


class Unreadable(Exception):
    """Nothing of the object may be converted. `reason` is "corrupt" or "format"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadValueError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Column:
    field: str | None  # AWS's name, or None if AWS has no such field
    column: str
    kind: str  # "string", "tag", "int32", "int64" or "time"


@dataclass(frozen=True)
class Header:
    table: str
    columns: list[Column]


def read_object(
    body: bytes, *, format: str | None = None, time_type: str = "timestamp"
) -> ReferenceObject:
    """Read a whole object, gzip or plain text.

    Raises:
        Unreadable: Damaged gzip ("corrupt"); no header and no format, or a header that names a
            column twice or has more than 512 names ("format").
        ValueError: The format itself is of no use.
    """
    given = None
    if format is not None:
        given = format_header(format)
    in_force: Header | None = None
    header_count = 0
    blank = 0
    comment = 0
    rows: list[Row] = []
    rejected: list[Rejected] = []
    formats: list[tuple[str, ...]] = []

    lines = split_lines(text_of(body))
    for number, line in enumerate(lines, start=1):
        if not line.strip(b" \t"):
            blank += 1
            continue

        text: str | None
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        tokens: list[str] = []
        if text is not None and "\r" not in text:
            tokens = without_comment(split_tokens(text))
            if not tokens:
                comment += 1
                continue
            if is_header(tokens, given):
                in_force = header_of(tokens)
                formats.append(tuple(c.column for c in in_force.columns))
                header_count += 1
                continue

        if in_force is None:
            # This is the first line that is neither blank nor comment, and it is no header.
            if given is None:
                raise Unreadable("format")
            in_force = given
            formats.append(tuple(c.column for c in in_force.columns))

        if text is None:
            rejected.append(Rejected(number, "not-utf8", None, line))
        elif "\r" in text:
            rejected.append(Rejected(number, "control-character", None, line))
        elif len(tokens) < len(in_force.columns):
            rejected.append(Rejected(number, "too-few-values", None, line))
        elif len(tokens) > len(in_force.columns):
            rejected.append(Rejected(number, "too-many-values", None, line))
        else:
            values: dict[str, Value] = {}
            for column, token in zip(in_force.columns, tokens, strict=True):
                try:
                    values[column.column] = convert_value(token, column.kind, time_type)
                except BadValueError as exc:
                    rejected.append(Rejected(number, exc.reason, column.field, line))
                    break
            else:
                rows.append(Row(number, in_force.table, values))

    assert len(lines) == header_count + blank + comment + len(rows) + len(rejected)
    return ReferenceObject(header_count, blank, comment, rows, rejected, len(lines), formats)


# --- text ---------------------------------------------------------------------------------------


def text_of(body: bytes) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return gzip.decompress(body)  # all members
    except (OSError, EOFError, zlib.error) as exc:
        raise Unreadable("corrupt") from exc


def split_lines(text: bytes) -> list[bytes]:
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    pieces = text.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    return [piece[:-1] if piece.endswith(b"\r") else piece for piece in pieces]


def split_tokens(text: str) -> list[str]:
    return [token for token in text.replace("\t", " ").split(" ") if token != ""]


def without_comment(tokens: list[str]) -> list[str]:
    for position, token in enumerate(tokens):
        if token.startswith("#"):
            return tokens[:position]
    return tokens


# --- header -------------------------------------------------------------------------------------


def bare_name(token: str) -> str:
    if token.startswith("${") and token.endswith("}"):
        return token[2:-1]
    return token


def squash(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


KNOWN = {squash(field): field for field in [*VPC, *TGW]}


def known_field(token: str) -> str | None:
    """AWS's name of the field of either table that a token names."""
    return KNOWN.get(squash(bare_name(token)))


def column_of(token: str) -> str:
    field = known_field(token)
    if field is not None:
        return field.replace("-", "_")
    column = re.sub(r"[^a-z0-9]+", "_", bare_name(token).lower())
    if column in ("date", "hour") or column.startswith("aws_"):
        return "field_" + column  # partitions have these names
    return column


def is_header(tokens: list[str], given: Header | None) -> bool:
    for token in tokens:
        if not re.fullmatch(r"(\$\{)?[A-Za-z][A-Za-z0-9_-]*\}?", token):
            return False
    if given is not None and [column_of(t) for t in tokens] == [c.column for c in given.columns]:
        return True
    known = [token for token in tokens if known_field(token) is not None]
    return 2 * len(known) >= len(tokens)


def header_of(tokens: list[str]) -> Header:
    if len(tokens) > MAX_NAMES:
        raise Unreadable("format")
    fields = [known_field(token) for token in tokens]
    table = "vpc"
    for field in fields:
        if field is not None and field in TGW and field not in VPC:
            table = "tgw"
    columns: list[Column] = []
    for token, field in zip(tokens, fields, strict=True):
        kind = "string"
        if field is not None and field in FIELDS[table]:
            kind = FIELDS[table][field]
        columns.append(Column(field, column_of(token), kind))
    names = [column.column for column in columns]
    if len(set(names)) != len(names):
        raise Unreadable("format")
    return Header(table, columns)


def format_header(format: str) -> Header:
    tokens = split_tokens(format)
    if tokens == ["default"]:
        tokens = DEFAULT_FORMAT
    if not tokens:
        raise ValueError("format: names no field")
    try:
        return header_of(tokens)
    except Unreadable as exc:
        raise ValueError("format: a column twice, or too many names") from exc


# --- values -------------------------------------------------------------------------------------


def convert_value(token: str, kind: str, time_type: str) -> Value:
    if token == "-":
        return None
    if kind == "string":
        return token
    if kind == "tag":
        try:
            return unquote_to_bytes(token).decode("utf-8")
        except UnicodeDecodeError:
            return token

    number = whole_number(token)
    if kind == "time":
        if 0 <= number <= LAST_SECOND:
            seconds = number
        elif LAST_SECOND < number <= LAST_MILLISECOND:
            seconds = number // 1000
        else:
            raise BadValueError("out-of-range")
        if time_type == "epoch":
            return seconds
        return datetime.fromtimestamp(seconds, UTC)
    least, most = INT_RANGES[kind]
    if not least <= number <= most:
        raise BadValueError("out-of-range")
    return number


def whole_number(token: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", token):
        raise BadValueError("not-a-number")
    digits = token.removeprefix("-").lstrip("0") or "0"
    # int() refuses texts of more than 4300 digits; none of them would fit any column.
    if len(digits) > 19:
        raise BadValueError("out-of-range")
    return -int(digits) if token.startswith("-") else int(digits)


# --- output columns -----------------------------------------------------------------------------


def table_row(row: Row, time_type: TimeType | None = None) -> dict[str, Value]:
    """Give the row every column of its table, in the output's order.

    These are the columns that are always there, the later known fields that the row's own header
    has, then its unknown fields. `start` and `end` stay as they were read, unless `time_type`
    says what they shall be.
    """
    always = [field.replace("-", "_") for field in ALWAYS[row.table]]
    later = [
        field.replace("-", "_")
        for field in FIELDS[row.table]
        if field not in ALWAYS[row.table] and field.replace("-", "_") in row.values
    ]
    unknown = [column for column in row.values if column not in always and column not in later]
    result = {column: row.values.get(column) for column in always + later + unknown}
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
        account: As the object's key says, else as the user says.
        region: Likewise.
        time: UTC, as the object's name says.
        day: As the object's path says.
        partition_by: `aws_account_id`, `aws_region`, `date`, `hour`, or known columns other
            than `start` and `end`.

    Raises:
        ValueError: A name is none of these, or two of them make the same directory.
    """
    start = row.values.get("start")
    if isinstance(start, int):
        start = datetime.fromtimestamp(start, UTC)
    moment = start if isinstance(start, datetime) else time

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
            value = account
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
            value = row.values.get(name)
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
