"""What fields a log has: recognised from its header line, or declared with --format.

A log's format cannot change under its flow log id, but one prefix holds many formats, and other
tools' copies spell the names in their own way. A header is never guessed from the number of
values: tools that did so filled the wrong columns for years.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pyarrow as pa

from flowconv.errors import FormatError, UsageError, quote
from flowconv.fields import ALWAYS_COLUMNS, DEFAULT_FORMAT, FIELDS, TEXT, Field, Table

# AWS documents 54 fields; a header far beyond that is an attack or no header.
MAX_FIELDS = 512

_NAME = re.compile(rb"(?:\$\{)?[A-Za-z][A-Za-z0-9_-]*\}?")


@dataclass(frozen=True)
class LogFormat:
    """The fields of a log's records, in their order.

    Attributes:
        table: Where the records go: `tgw` if any field is known to transit gateway logs alone.
        fields: One per value of a line. Fields that AWS does not document have version 0 and are
            text.
    """

    table: Table
    fields: tuple[Field, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that the fields become, in the order of the log."""
        return tuple(field.column for field in self.fields)

    @cached_property
    def column_types(self) -> dict[str, pa.DataType]:
        """The type of each column's values in the log: int32, int64 or string."""
        return {field.column: field.type for field in self.fields}

    @cached_property
    def extra_fields(self) -> tuple[Field, ...]:
        """Fields beyond those that every file has: known ones in AWS's order, then unknown."""
        always = {f.column for f in ALWAYS_COLUMNS[self.table]}
        known = [f for f in FIELDS[self.table] if f in self.fields and f.column not in always]
        return (*known, *self.unknown_fields)

    @cached_property
    def unknown_fields(self) -> tuple[Field, ...]:
        """Fields that AWS does not document, in the order of the log."""
        return tuple(field for field in self.fields if field.version == 0)


@dataclass(frozen=True, slots=True)
class SplitLine:
    """A line's values, and whether a comment was cut off behind them."""

    tokens: tuple[bytes, ...]
    comment: bool


@lru_cache(maxsize=1024)  # Thousands of objects have the same header.
def split_line(line: bytes) -> SplitLine | None:
    """Split one line (without its newline) at spaces and tabs; None if it is no text.

    For single lines: headers, and the few that the parser could not place.
    """
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


def header_format(tokens: tuple[bytes, ...], declared: LogFormat | None = None) -> LogFormat | None:
    """Return the format that a line's values declare, or None if it is no header.

    A header consists of names only, at least half of them known, or is the declared format's own.

    Args:
        tokens: The line's values; valid UTF-8.
        declared: The format given with --format, if there is one.

    Raises:
        FormatError: It is a header, but names a column twice or has too many names.
    """
    # Most lines end here: records begin with a digit, a dash or an id.
    if not tokens or _NAME.fullmatch(tokens[0]) is None:
        return None
    return _header_format(tokens, declared)


@lru_cache(maxsize=1024)
def _header_format(names: tuple[bytes, ...], declared: LogFormat | None) -> LogFormat | None:
    if not all(_NAME.fullmatch(name) for name in names):
        return None
    words = [name.decode() for name in names]
    known = sum(_squash(word) in _KNOWN for word in words)
    if 2 * known >= len(words):
        return _format(words)
    if declared is not None and tuple(map(_column, words)) == declared.columns:
        return declared
    return None


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
        if _NAME.fullmatch(name.encode()) is None:
            raise UsageError(
                f"--format: {quote(name)} is no field name. Write AWS's notation, "
                "'${version} ${account-id} …', or default."
            )
    try:
        return _format(names, table)
    except FormatError as error:
        raise UsageError(f"--format: {error.reason}") from None


def _format(names: Sequence[str], table: Table | None = None) -> LogFormat:
    if len(names) > MAX_FIELDS:
        raise FormatError(f"the header has {len(names)} names; at most {MAX_FIELDS} are read.")
    if table is None:
        tgw = any(_squash(name) in _TGW_ONLY for name in names)
        table = Table.TGW if tgw else Table.VPC
    fields = tuple(_BY_SQUASH[table].get(_squash(n)) or _unknown(n) for n in names)
    columns = [field.column for field in fields]
    for column in columns:
        if columns.count(column) > 1:
            raise FormatError(f"the header names column {quote(column)} twice.")
    return LogFormat(table, fields)


def _unknown(name: str) -> Field:
    return Field(_bare(name), _column(name), TEXT, 0, "not documented by AWS")


def _column(name: str) -> str:
    if known := _KNOWN.get(_squash(name)):
        return known.column
    column = re.sub(r"[^a-z0-9]+", "_", _bare(name).lower())
    # Hive refuses a table in which a partition and a column have one name.
    return f"field_{column}" if column in ("date", "hour") or column[:4] == "aws_" else column


def _squash(name: str) -> str:
    # account-id, account_id, accountId and ${account-id} are one name in the wild.
    return _bare(name).lower().replace("-", "").replace("_", "")


def _bare(name: str) -> str:
    return name[2:-1] if name.startswith("${") and name.endswith("}") else name


_BY_SQUASH = {table: {_squash(f.name): f for f in fields} for table, fields in FIELDS.items()}
_KNOWN = _BY_SQUASH[Table.TGW] | _BY_SQUASH[Table.VPC]
_TGW_ONLY = _BY_SQUASH[Table.TGW].keys() - _BY_SQUASH[Table.VPC].keys()

# How headers write the known names, in lower case; for finding headers among rows.
KNOWN_SPELLINGS = frozenset(
    spelling
    for squashed, field in _KNOWN.items()
    for name in (squashed, field.name, field.column)
    for spelling in (name, f"${{{name}}}")
)
