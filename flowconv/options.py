"""What a conversion can be told: described once, here; the command line takes its help from it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, get_args

from flowconv.errors import UsageError

MIB = 1 << 20

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
        "Convert objects anew that changed since they were converted, or, with --since or "
        "--until, all of those days; their old rows are replaced in one commit.",
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
        _require(self.grace >= 0, f"--grace: {self.grace} is less than 0 seconds.")
        _require(
            self.compression in COMPRESSIONS,
            f"--compression: {self.compression!r} is none of {', '.join(COMPRESSIONS)}.",
        )
        _require(
            self.time_type in ("timestamp", "epoch"),
            f"--time-type: {self.time_type!r} is neither timestamp nor epoch.",
        )
        _require(
            self.on_bad_line in ("quarantine", "fail"),
            f"--on-bad-line: {self.on_bad_line!r} is neither quarantine nor fail.",
        )
        _require(
            not (self.since and self.until and self.since > self.until),
            f"--since {self.since} lies after --until {self.until}; exchange them.",
        )
        _check_partitions(self.partition_by)
        if self.format is not None or self.formats is not None:
            from flowconv.formats import declared_formats, read_formats

            if self.formats is not None:
                object.__setattr__(self, "formats_text", read_formats(self.formats))
            declared_formats(self.format, self.formats, self.formats_text)
        for name in ("account", "region"):
            value = getattr(self, name)
            _require(
                value is None or re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None,
                f"--{name}: {value!r} is none; write letters, digits, - and _ only.",
            )

    @property
    def tasks_at_once(self) -> int:
        """Workers that the memory limit has room for."""
        if self.memory_limit == 0:
            return self.workers
        return min(self.workers, self.memory_limit // WORKER_BYTES)


def parse_day(text: str, today: date | None = None) -> date:
    """Return the day that `2026-01-14`, `2d` (two days ago), `today` or `yesterday` names, in UTC.

    Raises:
        UsageError: It is none of these.
    """
    today = today or datetime.now(UTC).date()
    words = {"today": 0, "yesterday": 1}
    if relative := re.fullmatch(r"(\d{1,5})d", text):
        words[text] = int(relative[1])
    if text in words:
        return today - timedelta(days=words[text])
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no day; write 2026-01-14, or 2d for two days ago, today or yesterday."
        ) from None


def parse_size(text: str) -> int:
    """Return the bytes that `256MB`, `1.5GiB`, `600M` or `1000000` names (powers of 1024).

    Raises:
        UsageError: It is no size.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)I?B?", text.strip().upper())
    if match is None:
        raise UsageError(f"{text!r} is no size; write 256MB, 1.5GB or a number of bytes.")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


def parse_storage_options(pairs: list[str]) -> dict[str, str]:
    """Return `KEY=VALUE` arguments as a dictionary; the values are not shown in errors.

    Raises:
        UsageError: An argument has no `=`.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError("a storage option is written KEY=VALUE, such as anon=true.")
        options[name] = value
    return options


def available_cores() -> int:
    """Return the cores that this process may use; a container's share, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _check_partitions(names: tuple[str, ...]) -> None:
    known = [*KEY_PARTITIONS, *TIME_PARTITIONS]
    _require(bool(names), "--partition-by: name at least one partition, such as date.")
    _require(
        len(set(names)) == len(names),
        f"--partition-by: {', '.join(names)} names one of them twice.",
    )
    others = [name for name in names if name not in known]
    if not others:
        return
    from flowconv.fields import ALWAYS_COLUMNS, Table  # brings pyarrow, which --help goes without

    columns = {f.column for f in ALWAYS_COLUMNS[Table.VPC]} - {"account_id", "region"}
    columns -= {"start", "end"}
    for name in others:
        _require(
            name in columns,
            f"--partition-by: {name!r} is no partition. Choose from {', '.join(known)}, "
            "or one of the columns of versions 2 to 5 such as vpc_id, action or interface_id.",
        )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(message)
