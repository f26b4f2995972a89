"""The oracle's tables of fields, and its idea of names, formats and values."""

import fnmatch
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote_to_bytes

from oracle.documents import Unreadable

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

LARGEST = {"int32": 2**31 - 1, "int64": 2**63 - 1}
# No number of any field is below 0, and of some none is as large as their type allows: ports have
# 16 bits, protocols 8, and TCP's header has 12 for flags.
LARGEST_OF = {"srcport": 65535, "dstport": 65535, "protocol": 255, "tcp-flags": 4095}
LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z
LAST_MILLISECOND = 253402300799999
MAX_NAMES = 512
LONGEST_NAME = 128


class BadValueError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Column:
    field: str | None  # AWS's name, or None if AWS has no such field
    column: str  # the name itself if the table has no such field
    kind: str  # "string", "tag", "int32", "int64" or "time"


@dataclass(frozen=True)
class Header:
    table: str
    columns: list[Column]


@dataclass(frozen=True, kw_only=True)
class Formats:
    """The formats of logs that have no header, by where these come from."""

    default: Header | None
    flow_logs: dict[str, Header]
    log_groups: dict[str, Header]
    prefixes: dict[str, Header]
    left_out: list[str]


# --- text ---------------------------------------------------------------------------------------


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

# What others call some of them, squashed. Of Athena's documentation, as it once was:
KNOWN |= {
    "account": "account-id",
    "sourceaddress": "srcaddr",
    "destinationaddress": "dstaddr",
    "sourceport": "srcport",
    "destinationport": "dstport",
    "numpackets": "packets",
    "numbytes": "bytes",
    "starttime": "start",
    "endtime": "end",
}
# Of StreamAlert, and of the filter patterns in AWS's documentation:
KNOWN |= {
    "eni": "interface-id",
    "source": "srcaddr",
    "destination": "dstaddr",
    "destport": "dstport",
    "windowstart": "start",
    "windowend": "end",
    "flowlogstatus": "log-status",
}


def known_field(token: str) -> str | None:
    """AWS's name of the field of either table that a token names."""
    return KNOWN.get(squash(bare_name(token)))


def name_of(token: str) -> str:
    """AWS's name of a field, or the token's own."""
    return known_field(token) or bare_name(token)


def is_header(tokens: list[str], given: Header | None) -> bool:
    for token in tokens:
        if not re.fullmatch(r"(\$\{)?[A-Za-z][A-Za-z0-9_-]*\}?", token):
            return False
    if given is not None:
        names = [column.field or column.column for column in given.columns]
        if [name_of(token) for token in tokens] == names:
            return True
    known = [token for token in tokens if known_field(token) is not None]
    return 2 * len(known) >= len(tokens)


# Names that tables of any kind have.
COMMON = [
    "version",
    "account-id",
    "region",
    "type",
    "start",
    "end",
    "action",
    "protocol",
    "bytes",
    "packets",
    "account",
    "source",
    "destination",
    "start-time",
    "end-time",
    "window-start",
    "window-end",
]


def are_of_flow_log(names: list[str]) -> bool:
    """Whether columns of these names are a flow log's, or those of a copy with others beside."""
    if "class_uid" in names:
        return False  # OCSF
    common = [squash(name) for name in COMMON]
    fields = {name: known_field(name) for name in names}
    known = [field for field in fields.values() if field is not None]
    peculiar = [field for name, field in fields.items() if field and squash(name) not in common]
    if (
        "srcaddr" in peculiar
        and "dstaddr" in peculiar
        and ("version" in known or "interface-id" in known)
    ):
        return True
    if not peculiar:
        return known != [] and len(known) == len(names)
    return 2 * len(known) >= len(names)


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
        name = name_of(token)
        if name in FIELDS[table]:
            columns.append(Column(field, name.replace("-", "_"), FIELDS[table][name]))
        elif len(name) > LONGEST_NAME:
            raise Unreadable("format")
        else:
            columns.append(Column(field, name, "string"))
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


def read_formats(text: str) -> Formats:
    """Read the text of a file of formats.

    Raises:
        ValueError: It is no TOML, has an unknown name, or a format that is of no use.
    """
    read = tomllib.loads(text)
    unknown = read.keys() - {"default", "flow-logs", "log-groups", "prefixes"}
    if unknown:
        raise ValueError(f"formats: unknown: {sorted(unknown)}")
    tables: list[dict[str, Header]] = []
    left_out: list[str] = []
    for name in ("flow-logs", "log-groups", "prefixes"):
        table = read.get(name, {})
        if not isinstance(table, dict) or not all(isinstance(f, str) for f in table.values()):
            raise ValueError(f"formats: {name}: no table of formats")
        if name == "log-groups":
            left_out = [group for group, format in table.items() if format == "exclude"]
            table = {group: format for group, format in table.items() if format != "exclude"}
        tables.append({key: format_header(format) for key, format in table.items()})
    default = read.get("default")
    if default is not None and not isinstance(default, str):
        raise ValueError("formats: default: no format")
    header = None if default is None else format_header(default)
    return Formats(
        default=header,
        flow_logs=tables[0],
        log_groups=tables[1],
        prefixes=tables[2],
        left_out=left_out,
    )


def leaves_out(formats: Formats, log_group: str) -> bool:
    """Whether the messages of a log group are not read."""
    return log_group not in formats.log_groups and any(
        fnmatch.fnmatchcase(log_group, pattern) for pattern in formats.left_out
    )


def formats_header(
    formats: Formats, path: str, flow_log_id: str | None, log_group: str | None
) -> Header | None:
    if flow_log_id in formats.flow_logs:
        return formats.flow_logs[flow_log_id]
    if log_group in formats.log_groups:
        return formats.log_groups[log_group]
    prefixes = [prefix for prefix in formats.prefixes if path.startswith(prefix)]
    if prefixes:
        return formats.prefixes[max(prefixes, key=len)]
    return formats.default


# --- values -------------------------------------------------------------------------------------


def convert_value(token: str, column: Column, time_type: str) -> Value:
    kind = column.kind
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
    if not 0 <= number <= LARGEST_OF.get(column.field or "", LARGEST[kind]):
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
