"""What fields a log has: recognised from its header line, or declared with --format.

A log's format cannot change under its flow log id, but one prefix holds many formats, and other
tools' copies spell the names in their own way. A header is never guessed from the number of
values: tools that did so filled the wrong columns for years.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from flowconv.errors import FormatError, UsageError, quote
from flowconv.fields import (
    DEFAULT_FORMAT,
    FIELDS,
    Field,
    Table,
    unknown_field,
)

# AWS documents 54 fields, the longest name has 26 letters; a header far beyond that is an attack or
# no header. Each row with a value of an unknown field has the name, too.
MAX_FIELDS = 512
MAX_NAME = 128

_NAME = re.compile(rb"(?:\$\{)?[A-Za-z][A-Za-z0-9_-]*\}?")


@dataclass(frozen=True)
class LogFormat:
    """The fields of a log's records, in their order.

    Attributes:
        table: Where the records go: `tgw` if any field is known to transit gateway logs alone.
        fields: One per value of a line. Fields that the table lacks have version 0 and are text.
        timestamped: Before the values stands the time of a CloudWatch event, which is dropped.
        left_out_columns: Columns of Parquet that are not read: nested ones, and those whose names
            or types cannot be a field's.
    """

    table: Table
    fields: tuple[Field, ...]
    timestamped: bool = False
    left_out_columns: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that the fields become, in the order of the log."""
        return tuple(field.column for field in self.fields)

    @cached_property
    def names(self) -> str:
        """AWS's names of the fields, separated by spaces."""
        return " ".join(field.name for field in self.fields)

    @cached_property
    def unknown_fields(self) -> tuple[Field, ...]:
        """Fields that the table lacks, in the order of the log."""
        return tuple(field for field in self.fields if field.version == 0)


class SplitLine(NamedTuple):
    """A line's values, and whether a comment was cut off behind them."""

    tokens: tuple[bytes, ...]
    comment: bool


def split_line(line: bytes) -> SplitLine | None:
    """Split one line (without its newline) at spaces and tabs; None if it is not text.

    For single lines: headers, and the few that the parser could not place.
    """
    return _split_again(line) if len(line) <= _LONGEST_HEADER else _split_line(line)


# Thousands of objects have the same header. AWS's longest has 1,100 bytes.
_LONGEST_HEADER = 4096


@lru_cache(maxsize=1024)
def _split_again(line: bytes) -> SplitLine | None:
    return _split_line(line)


def _split_line(line: bytes) -> SplitLine | None:
    tokens: list[bytes] = []
    for token in line.removesuffix(b"\r").replace(b"\t", b" ").split(b" "):
        if token.startswith(b"#"):
            break
        if token:
            tokens.append(token)
    else:
        token = b""
    if tokens or token:
        if b"\r" in line.removesuffix(b"\r"):
            return None
        try:
            line.decode()
        except UnicodeDecodeError:
            return None
    return SplitLine(tuple(tokens), comment=bool(token))


def is_header(line: bytes) -> bool:
    """Tell whether a line is a header, if also one that names a column twice."""
    split = split_line(line)
    try:
        return split is not None and header_format(split.tokens) is not None
    except FormatError:
        return True


def may_be_header(line: bytes) -> bool:
    """Tell whether a line begins as a header may: with a letter, or ${."""
    first = line.lstrip(b" \t")[:1]
    return first.isalpha() or first == b"$"


def header_format(
    tokens: tuple[bytes, ...], declared: frozenset[LogFormat] = frozenset()
) -> LogFormat | None:
    """Return the format that a line's values declare, or None if it is not a header.

    A header consists of names only, at least half of them known, or is a declared format's own.

    Args:
        tokens: The line's values; valid UTF-8.
        declared: The formats given for objects without a header.

    Raises:
        FormatError: It is a header, but names a column twice or has too many names.
    """
    # Most lines end here: records begin with a digit, a dash or an id.
    if not tokens or _NAME.fullmatch(tokens[0]) is None:
        return None
    if len(tokens) > MAX_FIELDS or sum(map(len, tokens)) > _LONGEST_HEADER:
        return _header_format.__wrapped__(tokens, declared)  # Too long for a cache.
    return _header_format(tokens, declared)


@lru_cache(maxsize=1024)
def _header_format(names: tuple[bytes, ...], declared: frozenset[LogFormat]) -> LogFormat | None:
    if not all(_NAME.fullmatch(name) for name in names):
        return None
    words = [name.decode() for name in names]
    known = sum(squash(word) in KNOWN_FIELDS for word in words)
    if 2 * known >= len(words):
        return _format(words)
    written = " ".join(map(_name, words))
    return next((format_ for format_ in declared if format_.names == written), None)


@lru_cache(maxsize=1024)
def with_timestamp(format_: LogFormat) -> LogFormat:
    """Return the format of lines that begin with the time of a CloudWatch event."""
    return replace(format_, timestamped=True)


@lru_cache(maxsize=1024)
def declared_format(text: str, table: Table | None = None) -> LogFormat:
    """Return the format that `--format` names: AWS's `${version} ${account-id} …`, or `default`.

    Args:
        text: The names.
        table: Where such records go; None goes by the names.

    Raises:
        UsageError: It is empty, names a column twice or has a name that cannot be one.
    """
    names = list(DEFAULT_FORMAT) if text.strip() == "default" else text.split()
    if not names:
        raise UsageError("--format: empty. Write '${version} ${account-id} …', or default.")
    for name in names:
        if _NAME.fullmatch(name.encode("utf-8", "replace")) is None:
            raise UsageError(
                f"--format: {quote(name)} is not a field name. Write AWS's notation, "
                "'${version} ${account-id} …', or default."
            )
    try:
        return _format(names, table)
    except FormatError as error:
        raise UsageError(f"--format: {error.reason}") from None


def columns_format(
    names: Sequence[str], left_out: Sequence[str], *, shape: str = "Parquet", each: str = "column"
) -> LogFormat:
    """Return the format of records whose values have names: Parquet's columns, or keys of JSON.

    Args:
        names: The names that are read, in their order; each `is_known` or `can_be_name`.
        left_out: The other names.
        shape: What has them, for messages.
        each: What has one name, for messages.

    Raises:
        FormatError: They are no flow log's, or two are one field.
    """
    all_names = [*names, *left_out]
    _require_flow_log(all_names, f"this {shape} is not a flow log", each)
    return named_format(names, left_out)


def named_format(names: Sequence[str], left_out: Sequence[str]) -> LogFormat:
    """Return the format of values with names, of whatever they are.

    Raises:
        FormatError: Two are one field, or there are too many.
    """
    return replace(_format(names), left_out_columns=tuple(left_out))


# Any table may have columns of these names, squashed; all of its columns must be AWS's then.
_OF_ANY_TABLE = frozenset(
    [
        "version",
        "account",
        "accountid",
        "region",
        "type",
        "action",
        "protocol",
        "bytes",
        "packets",
        "source",
        "destination",
        "start",
        "end",
        "starttime",
        "endtime",
        "windowstart",
        "windowend",
    ]
)


def _require_flow_log(names: Sequence[str], no_flow_log: str, each: str) -> None:
    """Tell other tables from flow logs, and from their copies with many added columns."""
    if "class_uid" in names:
        raise FormatError(
            f"{no_flow_log} of AWS's but OCSF, as Security Lake keeps them: it has the {each} "
            "class_uid. Convert AWS's own logs, and leave these out with --exclude."
        )
    found = {KNOWN_FIELDS[squash(name)].name: name for name in names if is_known(name)}
    if not found:
        example = f", such as {quote(names[0])}," if names else ""
        raise FormatError(
            f"{no_flow_log}: none of its {len(names)} {each}s{example} is known. Leave it out with "
            "--exclude."
        )
    peculiar = {field for field, name in found.items() if squash(name) not in _OF_ANY_TABLE}
    fits = 2 * len(found) >= len(names) if peculiar else len(found) == len(names)
    addresses = {"srcaddr", "dstaddr"} <= peculiar
    if fits or (addresses and not found.keys().isdisjoint({"version", "interface-id"})):
        return
    raise FormatError(
        f"{no_flow_log}: only {len(found)} of its {len(names)} {each}s, such as "
        f"{quote(next(iter(found.values())))}, have AWS's names. At least half are expected, or "
        "srcaddr, dstaddr and interface-id. Leave it out with --exclude."
    )


def unknown_names(tokens: Sequence[bytes]) -> list[str]:
    """Return the values of a line that AWS does not have, if all are names and AWS has others."""
    if not all(_NAME.fullmatch(token) for token in tokens):
        return []
    names = [token.decode() for token in tokens]
    unknown = [name for name in names if not is_known(name)]
    return unknown if len(unknown) < len(names) else []


def is_known(name: str) -> bool:
    """Tell whether AWS documents a field of this name, in whatever spelling."""
    return squash(name) in KNOWN_FIELDS


def find_field(name: str, table: Table) -> Field | None:
    """Return the table's field of this name, in whatever spelling."""
    return _BY_SQUASH[table].get(squash(name))


def can_be_name(name: str) -> bool:
    """Tell whether a field could have this name."""
    return _NAME.fullmatch(name.encode("utf-8", "replace")) is not None


def _format(names: Sequence[str], table: Table | None = None) -> LogFormat:
    if len(names) > MAX_FIELDS:
        raise FormatError(f"the header has {len(names)} names; at most {MAX_FIELDS} are read.")
    if table is None:
        tgw = any(squash(name) in _TGW_ONLY for name in names)
        table = Table.TGW if tgw else Table.VPC
    fields = tuple(_BY_SQUASH[table].get(squash(n)) or unknown_field(_name(n)) for n in names)
    for field, number in Counter(fields).items():
        if number > 1:
            raise FormatError(f"the header names column {quote(field.column)} twice.")
        if len(field.name) > MAX_NAME:
            raise FormatError(
                f"the header has a name of {len(field.name):,} characters, {quote(field.name)}; at "
                f"most {MAX_NAME} are read."
            )
    return LogFormat(table, fields)


def _name(name: str) -> str:
    """Return AWS's name of a field, or the name as it is written."""
    known = KNOWN_FIELDS.get(squash(name))
    return known.name if known else _bare(name)


def squash(name: str) -> str:
    """Return a name in lower case and without punctuation."""
    # account-id, account_id, accountId and ${account-id} are one name in the wild.
    return _bare(name).lower().replace("-", "").replace("_", "")


def _bare(name: str) -> str:
    return name[2:-1] if name.startswith("${") and name.endswith("}") else name


_BY_SQUASH = {
    table: {squash(name): f for f in fields for name in (f.name, *f.aliases)}
    for table, fields in FIELDS.items()
}
KNOWN_FIELDS = _BY_SQUASH[Table.TGW] | _BY_SQUASH[Table.VPC]
_TGW_ONLY = _BY_SQUASH[Table.TGW].keys() - _BY_SQUASH[Table.VPC].keys()

# The known names without their punctuation, for finding headers among rows.
KNOWN_NAMES = frozenset(KNOWN_FIELDS)
