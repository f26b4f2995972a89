"""What a conversion can be told: described once, here; the command line takes its help from it."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from flowconv.errors import UsageError, did_you_mean, quote
from flowconv.source.patterns import Patterns

if TYPE_CHECKING:
    from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.fields import ALWAYS_COLUMNS, Table

MIB = 1 << 20

_LONGEST_GRACE_S = 86_400

# What one worker takes at the most: a block of text and its columns, rows that wait for their row
# group, the row group being written, and objects fetched ahead.
WORKER_BYTES = 192 * MIB

# Parquet's own codecs that polars, DuckDB, Athena and Spark all read.
Compression = Literal["zstd", "snappy", "gzip", "lz4", "none"]
COMPRESSIONS = get_args(Compression)

# Partition names that are not columns, in the order of AWS's own prefix.
KEY_PARTITIONS = ("aws_account_id", "aws_region")
TIME_PARTITIONS = ("date", "hour")


def _described(help_: str, **kwargs: Any) -> Any:
    return field(metadata={"help": help_}, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """How a prefix is converted; checked when it is made.

    Raises:
        UsageError: An option is out of its range, or two do not go together.
    """

    format: str | None = _described(
        "Fields of objects that have no header line, in AWS's notation "
        "('${version} ${account-id} …'), or 'default' for the default version 2 format. "
        "A header always wins.",
        default=None,
    )
    formats: str | None = _described(
        "TOML file with formats of objects without a header, by flow log id, log group or prefix: "
        "see the README.",
        default=None,
    )
    allow_unknown_fields: tuple[str, ...] = _described(
        "Name of a field that AWS does not have, but --format or --formats may name; may be "
        "repeated. It becomes a column of text.",
        default=(),
    )
    account: str | None = _described(
        "Account of the partition for objects whose key and name do not say it.", default=None
    )
    region: str | None = _described(
        "Region of the partition for objects whose key and name do not say it.", default=None
    )
    partition_by: tuple[str, ...] = _described(
        "Partition names: aws_account_id, aws_region, date, hour, or a column such as vpc_id "
        "(its directories are then named aws_vpc_id=…).",
        default=(*KEY_PARTITIONS, "date"),
    )
    time_type: Literal["timestamp", "epoch"] = _described(
        "Type of start and end: UTC timestamps, or AWS's INT64 seconds since 1970.",
        default="timestamp",
    )
    with_source: bool = _described(
        "Add the columns source_uri and source_line: the object that a row is from, and its line "
        "in it.",
        default=False,
    )
    since: date | None = _described(
        "First day to read, by the day in the objects' keys, or of the events in CloudWatch Logs: "
        "YYYY-MM-DD, or 2d for two days ago.",
        default=None,
    )
    until: date | None = _described(
        "Last day to read, included: YYYY-MM-DD, or 1d for yesterday.", default=None
    )
    include: tuple[str, ...] = _described(
        "Read only objects whose path below SOURCE matches: '*.gz' at any depth, 'tmp/' with all "
        "that is in it, 'AWSLogs/*/vpcflowlogs/**' from SOURCE on, as in a .gitignore file. Can be "
        "repeated.",
        default=(),
    )
    exclude: tuple[str, ...] = _described(
        "Leave out objects whose path below SOURCE matches, also where --include does. Can be "
        "repeated.",
        default=(),
    )
    allow_empty: bool = _described(
        "A run that finds no flow log below SOURCE, and none converted before, is done all the "
        "same (exit code 0, not 3).",
        default=False,
    )
    compression: Compression = _described(
        f"Parquet compression: {', '.join(COMPRESSIONS)}.", default="zstd"
    )
    target_file_size: int = _described(
        "Size at which an output file is closed and the next begun, such as 256MB.",
        default=256 * MIB,
    )
    workers: int = _described(
        "Objects are parsed and written by so many threads; 0 takes all cores.", default=0
    )
    memory_limit: int = _described(
        "Memory for buffers, such as 2GB; every worker needs 192 MB, so less memory means fewer "
        "workers. 0 sets no limit. The process needs some 150 MB besides.",
        default=0,
    )
    max_object_size: int = _described(
        "Text of one object, unpacked, beyond which it is taken for a gzip bomb and not converted, "
        "such as 16GB.",
        default=16 << 30,
    )
    reprocess: bool = _described(
        "Convert objects anew that changed since they were converted, or for which another format "
        "is declared now, or, with --since or --until, all of those days; their old rows are "
        "replaced in one commit.",
        default=False,
    )
    retry_rejected: bool = _described(
        "Convert objects anew of which lines are in quarantine, such as after an upgrade or with "
        "another --format; their old rows are replaced in one commit.",
        default=False,
    )
    grace: float = _described(
        "Seconds that tasks under way have to finish after SIGTERM or Ctrl-C, before they are "
        "abandoned; a second signal abandons them at once.",
        default=10.0,
    )
    wait: bool = _described(
        "Wait while another run writes to DEST, instead of failing.", default=False
    )
    on_bad_line: Literal["quarantine", "fail"] = _described(
        "What happens to a line that does not fit: set it aside below DEST/_flowconv/quarantine/ "
        "and go on, or fail at the first.",
        default="quarantine",
    )
    quarantine_per_object: int = _described(
        "What the quarantine keeps of one object at the most, such as 16MB of its file; further "
        "lines that do not fit are only counted.",
        default=16 * MIB,
    )
    quarantine_per_run: int = _described("The same of one run, such as 1GB.", default=1024 * MIB)
    source_options: Mapping[str, str] = _described(
        "Storage options of SOURCE as KEY=VALUE: key, secret, token, profile, endpoint_url, "
        "region and, for S3, anon=true, requester_pays=true.",
        default_factory=dict,
    )
    dest_options: Mapping[str, str] = _described(
        "Storage options of DEST, as for --source-option.", default_factory=dict
    )
    formats_text: str | None = field(init=False, repr=False, default=None)
    """What is in the file of `formats`, which may be a pipe and is read once."""

    def __post_init__(self) -> None:
        self._take_texts()
        if self.workers == 0:
            object.__setattr__(self, "workers", available_cores())
        _require(1 <= self.workers <= 1024, f"--workers: {self.workers} is not in 1 to 1024.")
        _require(
            self.memory_limit == 0 or self.memory_limit >= WORKER_BYTES,
            f"--memory-limit: {self.memory_limit} bytes are too few; the least is 192MB.",
        )
        _require(
            self.target_file_size >= MIB,
            f"--target-file-size: {self.target_file_size} bytes are too few; the least is 1 MB.",
        )
        _require(
            self.max_object_size >= MIB,
            f"--max-object-size: {self.max_object_size} bytes are too few; the least is 1 MB.",
        )
        for name in ("per_object", "per_run"):
            _require(
                getattr(self, f"quarantine_{name}") >= 0,
                f"--quarantine-{name.replace('_', '-')}: less than 0 bytes; 0 only counts lines.",
            )
        _require(
            0 <= self.grace <= _LONGEST_GRACE_S,
            f"--grace: {self.grace} is not in 0 to {_LONGEST_GRACE_S} seconds.",
        )
        _require(
            self.compression in COMPRESSIONS,
            f"--compression: {quote(self.compression)} is none of {', '.join(COMPRESSIONS)}."
            + did_you_mean(self.compression, COMPRESSIONS),
        )
        _require(
            self.time_type in ("timestamp", "epoch"),
            f"--time-type: {quote(self.time_type)} is neither timestamp nor epoch."
            + did_you_mean(self.time_type, ("timestamp", "epoch")),
        )
        _require(
            self.on_bad_line in ("quarantine", "fail"),
            f"--on-bad-line: {quote(self.on_bad_line)} is neither quarantine nor fail."
            + did_you_mean(self.on_bad_line, ("quarantine", "fail")),
        )
        _require(
            not (self.since and self.until and self.since > self.until),
            f"--since {self.since} lies after --until {self.until}; exchange them.",
        )
        for name in ("include", "exclude"):
            _require(
                not isinstance(getattr(self, name), str),
                f"{name}: write a list of patterns, such as [{getattr(self, name)!r}].",
            )
        Patterns(self.include, self.exclude)
        _check_partitions(self.partition_by)
        if self.format is not None or self.formats is not None:
            from flowconv.blocks.declared_formats import read_formats

            if self.formats is not None:
                object.__setattr__(self, "formats_text", read_formats(self.formats))
            self.declared_formats()
        for name in ("account", "region"):
            value = getattr(self, name)
            _require(
                value is None or re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None,
                f"--{name}: {quote(value or '')} is none; write letters, digits, - and _ only.",
            )

    def _take_texts(self) -> None:
        """Take what is plain of other types, such as days as text, and nothing else."""

        def take(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        for name in ("since", "until"):
            take(name, as_day(getattr(self, name), f"--{name}"))
        for name in ("memory_limit", "target_file_size", "max_object_size"):
            size = getattr(self, name)
            take(name, parse_size(size, _flag(name)) if isinstance(size, str) else size)
        formats: Any = self.formats
        if isinstance(formats, os.PathLike):
            take("formats", os.fspath(formats))
        partitions: Any = self.partition_by
        if isinstance(partitions, str):
            partitions = [name.strip() for name in partitions.split(",") if name.strip()]
        _require(isinstance(partitions, Iterable), "--partition-by: write a list of names.")
        take("partition_by", tuple(partitions))
        names: Any = self.allow_unknown_fields
        take("allow_unknown_fields", (names,) if isinstance(names, str) else tuple(names))
        for of_kind, kinds, wanted in _WANTED:
            for name in of_kind:
                value = getattr(self, name)
                # True is a number for Python.
                fits = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
                _require(fits, f"{_flag(name)}: a {type(value).__name__} is no {wanted}.")
        for name in self.partition_by:
            _require(isinstance(name, str), "--partition-by: its names are texts.")

    def declared_formats(self) -> "DeclaredFormats":
        """Return the formats of objects without a header."""
        from flowconv.blocks.declared_formats import declared_formats

        return declared_formats(
            self.format,
            self.formats,
            self.formats_text,
            allow_unknown_fields=self.allow_unknown_fields,
        )

    @property
    def patterns(self) -> Patterns:
        """What --include and --exclude choose."""
        return Patterns(self.include, self.exclude)

    @property
    def tasks_at_once(self) -> int:
        """Workers that the memory limit has room for."""
        if self.memory_limit == 0:
            return self.workers
        return min(self.workers, self.memory_limit // WORKER_BYTES)


# Options of one type: the types that are taken, and what to write.
_WANTED: tuple[tuple[tuple[str, ...], Any, str], ...] = (
    (("workers", "memory_limit", "target_file_size", "max_object_size"), int, "whole number"),
    (("grace",), int | float, "number"),
    (("format", "formats", "account", "region"), str | None, "text"),
    (("time_type", "compression", "on_bad_line"), str, "text"),
    (
        ("with_source", "reprocess", "retry_rejected", "wait"),
        bool,
        "yes or no; write True or False",
    ),
    (("source_options", "dest_options"), Mapping, "mapping of texts"),
)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def as_day(value: object, option: str) -> date | None:
    """Return a value that is a day: a date, a time's day in UTC, a text of one, or None.

    Raises:
        UsageError: It is none of these.
    """
    if isinstance(value, str):
        return parse_day(value, option)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).date()
    _require(
        value is None or isinstance(value, date),
        f"{option}: a {type(value).__name__} is no day. Write a date, or a text such as "
        "2026-01-14 or 2d.",
    )
    return value  # type: ignore[return-value]


def parse_day(text: str, option: str = "", *, today: date | None = None) -> date:
    """Return the day that `2026-01-14`, `2d` (two days ago), `today` or `yesterday` names, in UTC.

    Args:
        text: The day.
        option: Whose value it is, for the message.
        today: In place of today.

    Raises:
        UsageError: It is none of these.
    """
    today = today or datetime.now(UTC).date()
    words = {"today": 0, "yesterday": 1}
    if relative := re.fullmatch(r"([0-9]{1,5})d", text):
        words[text] = int(relative[1])
    if text in words:
        return today - timedelta(days=words[text])
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option}{': ' * bool(option)}{quote(text)} is no day; write 2026-01-14, or 2d for "
            "two days ago, today or yesterday."
        ) from None


def parse_size(text: str, option: str = "") -> int:
    """Return the bytes that `256MB`, `1.5GiB`, `600M` or `1000000` names (powers of 1024).

    Args:
        text: The size.
        option: Whose value it is, for the message.

    Raises:
        UsageError: It is no size.
    """
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMGT]?)I?B?", text.strip().upper())
    if match is None:
        raise UsageError(
            f"{option}{': ' * bool(option)}{quote(text)} is no size; write 256MB, 1.5GB or a "
            "number of bytes."
        )
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


def parse_storage_options(pairs: list[str]) -> dict[str, str]:
    """Return `KEY=VALUE` arguments as a dictionary; the values are not shown in errors.

    Raises:
        UsageError: An argument has no `=` or no value, or two are of one key.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError("a storage option is written KEY=VALUE, such as anon=true.")
        if name in options:
            raise UsageError("a storage option is given twice. Choose one value.")
        options[name] = value
    return options


def take_texts(value: object, name: str) -> tuple[str, ...] | None:
    """Return an argument that is several texts, or one text alone.

    Raises:
        TypeError: It is of another kind.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        texts: list[object] = [value]
    else:
        texts = list(value)
    for text in texts:
        if not isinstance(text, str):
            zeros = " A number loses an account's zeros." if isinstance(text, int) else ""
            raise TypeError(
                f"{name}: a {type(text).__name__} is no text.{zeros} Write it in quotes."
            )
    return tuple(map(str, texts))


def available_cores() -> int:
    """Return the cores that this process may use; a container's share, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


# What people write -> the name of the partition.
_PARTITIONS_MEANT = {
    **dict.fromkeys(("account", "account_id", "accountid"), "aws_account_id"),
    **dict.fromkeys(("region", "aws_region_id"), "aws_region"),
    **dict.fromkeys(("day", "dt", "start", "end", "start_day", "year", "month"), "date"),
}


def _check_partitions(names: tuple[str, ...]) -> None:
    known = [*KEY_PARTITIONS, *TIME_PARTITIONS]
    _require(bool(names), "--partition-by: name at least one partition, such as date.")
    _require(
        len(set(names)) == len(names),
        "--partition-by: it names one of them twice.",
    )
    others = [name for name in names if name not in known]
    if not others:
        return

    columns = {f.column for f in ALWAYS_COLUMNS[Table.VPC]} - {"account_id", "region"}
    columns -= {"start", "end"}
    for name in others:
        _require(
            name in columns,
            f"--partition-by: {quote(name)} is no partition. Choose from {', '.join(known)}, "
            "or one of the columns of versions 2 to 5 such as vpc_id, action or interface_id."
            + did_you_mean(name, [*known, *sorted(columns)], _PARTITIONS_MEANT),
        )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(message)


TimeType = Literal["timestamp", "epoch"]
