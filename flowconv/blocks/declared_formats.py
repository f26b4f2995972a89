"""Formats that are declared for objects without a header: `--format` and `--formats`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from flowconv.blocks.formats import (
    KNOWN_FIELDS,
    LogFormat,
    can_be_name,
    declared_format,
    is_known,
    squash,
)
from flowconv.errors import UsageError, quote


@dataclass(frozen=True, kw_only=True)
class DeclaredFormats:
    """The formats of objects without a header: of --format, and of the file of --formats.

    Attributes:
        default: What nothing else matches; None if such objects cannot be read.
        flow_logs: Flow log id, such as `fl-0a1b2c3d4e5f60718` -> its format.
        log_groups: Name of a log group of CloudWatch Logs -> its format.
        prefixes: Beginning of a path below the source -> its format; the longest wins.
        excluded_log_groups: Globs of log groups that are left out.
    """

    default: LogFormat | None = None
    flow_logs: Mapping[str, LogFormat] = field(default_factory=dict)
    log_groups: Mapping[str, LogFormat] = field(default_factory=dict)
    prefixes: Mapping[str, LogFormat] = field(default_factory=dict)
    excluded_log_groups: tuple[str, ...] = ()

    def excludes(self, log_group: str) -> bool:
        """Tell whether a log group is left out: one that is named with a format is not."""
        return log_group not in self.log_groups and any(
            fnmatchcase(log_group, pattern) for pattern in self.excluded_log_groups
        )

    def find(
        self, path: str, flow_log_id: str | None, log_group: str | None = None
    ) -> LogFormat | None:
        """Return the format of what has no header; a flow log's id comes first, a prefix last."""
        if flow_log_id and flow_log_id in self.flow_logs:
            return self.flow_logs[flow_log_id]
        if log_group and log_group in self.log_groups:
            return self.log_groups[log_group]
        prefixes = [prefix for prefix in self.prefixes if path.startswith(prefix)]
        return self.prefixes[max(prefixes, key=len)] if prefixes else self.default

    def names_for(
        self, path: str, flow_log_id: str | None, log_group: str | None = None
    ) -> frozenset[str]:
        """Return the names of the fields that an object may be read by; see `LogFormat.names`.

        They are several if log groups have formats: the documents within the object may name them.
        """
        format_ = self.find(path, flow_log_id, log_group)
        named = frozenset() if log_group else self._names_of_log_groups
        return named | {format_.names} if format_ else named

    @cached_property
    def _names_of_log_groups(self) -> frozenset[str]:
        return frozenset(format_.names for format_ in self.log_groups.values())

    @cached_property
    def all(self) -> frozenset[LogFormat]:
        """All of them."""
        named = {*self.flow_logs.values(), *self.log_groups.values(), *self.prefixes.values()}
        return frozenset(named | ({self.default} if self.default else set()))


def declared_formats(
    format: str | None = None,
    file: str | None = None,
    text: str | None = None,
    *,
    allow_unknown_fields: Collection[str] = (),
) -> DeclaredFormats:
    """Return what `--format` and the TOML file of `--formats` declare.

        default = "default"                                # as --format, which it replaces
        [flow-logs]
        fl-0a1b2c3d4e5f60718 = "${version} ${account-id}"  # by the id in the object's name
        [log-groups]
        "/aws/vpc/flowlogs" = "default"                    # of CloudWatch Logs
        "/aws/lambda/*" = "exclude"                        # left out
        [prefixes]
        "exportedlogs/one/" = "${version} ${srcaddr}"      # of the path below SOURCE

    Args:
        format: What `--format` says.
        file: The path of the TOML file.
        text: What is in it, if it was read before; see `read_formats`.
        allow_unknown_fields: Names that AWS does not have, but formats may.

    Raises:
        UsageError: A format is not valid, has a name that is neither AWS's nor allowed, or
            the file cannot be read or has something else in it.
    """
    allowed = _allowed(allow_unknown_fields)
    default = None if format is None else _documented(declared_format(format), allowed)
    if file is None:
        return DeclaredFormats(default=default)
    import tomllib

    try:
        tables = tomllib.loads(read_formats(file) if text is None else text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--formats: {file} is not valid TOML ({error}).") from None
    except RecursionError:
        raise UsageError(
            f"--formats: {file} is not a TOML file of formats (nested too deep)."
        ) from None
    if unknown := tables.keys() - {"default", *_BY}:
        raise UsageError(
            f"--formats: {file} has {quote(min(unknown))}. Write default, [flow-logs], "
            "[log-groups] or [prefixes]."
        )
    if "default" in tables:
        default = _format_of_file(file, "default", tables["default"], allowed)
    log_groups = tables.get("log-groups", {})
    excluded: tuple[str, ...] = ()
    if isinstance(log_groups, dict):
        excluded = tuple(name for name, value in log_groups.items() if value == EXCLUDE)
        tables["log-groups"] = {k: v for k, v in log_groups.items() if v != EXCLUDE}
    named = {
        attribute: _formats_of_file(file, tables, name, allowed) for name, attribute in _BY.items()
    }
    return DeclaredFormats(default=default, **named, excluded_log_groups=excluded)


# Stands for the format of log groups that are left out.
EXCLUDE = "exclude"


# Enough for a hundred thousand log groups; limits the memory for other files.
_MOST_BYTES = 32 << 20


def read_formats(file: str) -> str:
    """Return the text of the TOML file of `--formats`; a pipe, such as `<(…)`, gives it but once.

    Raises:
        UsageError: It cannot be read, is not text, or is too large.
    """
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(
                f"--formats: {file} cannot be a file of formats: it is larger than 32 MiB."
            )
        return data.decode()
    except OSError as error:
        raise UsageError(f"--formats: {file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"--formats: {file} is not valid TOML ({error.reason}).") from None
    except ValueError:
        raise UsageError(f"--formats: {quote(file)} is not a file name.") from None


_BY = {"flow-logs": "flow_logs", "log-groups": "log_groups", "prefixes": "prefixes"}


def _formats_of_file(
    file: str, tables: Mapping[str, Any], name: str, allowed: frozenset[str]
) -> dict[str, LogFormat]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"--formats: {name} in {file} is not a table; write [{name}].")
    return {key: _format_of_file(file, key, value, allowed) for key, value in table.items()}


def _format_of_file(file: str, key: str, value: object, allowed: frozenset[str]) -> LogFormat:
    if not isinstance(value, str):
        raise UsageError(f"--formats: {quote(key)} in {file} is not a text of field names.")
    try:
        return _documented(declared_format(value), allowed)
    except UsageError as error:
        raise UsageError(f"--formats: {quote(key)} in {file}: {error.reason[10:]}") from None


def _allowed(names: Collection[str]) -> frozenset[str]:
    """Return the columns that fields beyond AWS's may become."""
    for name in names:
        if not can_be_name(name):
            raise UsageError(
                f"--allow-unknown-fields: {quote(name)} is not a field name; write letters, "
                "digits, - and _, and a letter first."
            )
    return frozenset(map(squash, names))


def _documented(format_: LogFormat, allowed: frozenset[str]) -> LogFormat:
    """Return the format if AWS documents all its fields that are not allowed by name."""
    for named in format_.fields:
        if is_known(named.name) or squash(named.name) in allowed:
            continue
        similar = get_close_matches(squash(named.name), KNOWN_FIELDS, 1, 0.7)
        question = f"; did you mean {KNOWN_FIELDS[similar[0]].name}?" if similar else "."
        raise UsageError(
            f"--format: {quote(named.name)} is not a field of AWS's flow logs{question} If the "
            "logs have it, name it in --allow-unknown-fields."
        )
    return format_
