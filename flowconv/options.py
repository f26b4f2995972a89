"""What the calls can be told: described once, here; the command line takes its help from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, get_args

from flowconv.errors import did_you_mean, quote
from flowconv.fields import FIELDS, KEYS, Table
from flowconv.option_values import (
    DEFAULT_PARTITIONS,
    SIZES,
    Schema,
    TimeType,
    check_partitions,
    check_patterns,
    check_types,
    check_workers,
    flag,
    require,
    take,
    take_days,
    take_formats,
    take_list,
    take_names,
    take_ocsf,
)
from flowconv.source.patterns import Patterns
from flowconv.storage.opening import MAX_REQUESTS
from flowconv.storage.request_prices import PRICES, PRICES_OF, parse_request_prices
from flowconv.values import check_account, check_choice, check_days, parse_size

if TYPE_CHECKING:
    from flowconv.blocks.declared_formats import DeclaredFormats

MB = 1_000_000
_LONGEST_GRACE_S = 86_400
_LONGEST_KEEP_H = 24 * 365
_MOST_REQUESTS = 10_000

# What one worker takes at the most: a block of text and its columns, rows that wait for their row
# group, the row group being written, and objects fetched ahead.
WORKER_BYTES = 200 * MB

# Parquet's own codecs that polars, DuckDB, Athena and Spark all read.
Compression = Literal["zstd", "snappy", "gzip", "lz4", "none"]
OnBadLine = Literal["quarantine", "fail"]
Order = Literal["sorted", "log"]
CatalogKind = Literal["delta", "iceberg", "glue"]
Dialect = Literal["athena", "spark", "trino", "duckdb", "clickhouse", "polars"]


def described(help_: str, *, default: Any = None, default_factory: Any = None, **shown: str) -> Any:
    """Return a field of options that the command line takes as well.

    Args:
        help_: What it is for.
        default: Its value if it is not given.
        default_factory: What makes this value, in place of `default`.
        shown: What cannot be told from its name, type and default: `metavar`, `flag`, `short` (a
            second flag of one letter), and `typed`, the default as it is typed.
    """
    metadata = {"help": help_} | shown
    if default_factory is not None:
        return field(default_factory=default_factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def _size(help_: str, typed: str) -> Any:
    return described(help_, default=parse_size(typed), typed=typed, metavar="SIZE")


# Of ConvertOptions and VerifyOptions.
_INCLUDE = (
    "Read only objects whose path below SOURCE matches: '*.gz' at any depth, 'tmp/' with all "
    "that is in it, 'AWSLogs/*/vpcflowlogs/**' from SOURCE on, as in a .gitignore file. Can be "
    "repeated."
)
_EXCLUDE = (
    "Leave out objects whose path below SOURCE matches, even if --include does. Can be repeated."
)
_INVENTORY = (
    "Manifest of an S3 Inventory of SOURCE's bucket: it lists the objects, and requests only those "
    "of the last days before it and since (docs/scale-out.md)."
)
_SOURCE_OPTION = (
    "Storage option of SOURCE: key, secret, token, profile, endpoint_url, region and, for S3, "
    "anon=true, requester_pays=true. Can be repeated."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """How a prefix is converted; checked when it is made.

    Raises:
        UsageError: An option is out of its range, or two do not go together.
    """

    format: str | None = described(
        "Fields of objects that have no header line, in AWS's notation "
        "('${version} ${account-id} …'), or 'default' for the default version 2 format. "
        "A header always wins.",
        metavar="FIELDS",
    )
    formats: str | None = described(
        "TOML file with formats of objects without a header, by flow log id, log group or prefix: "
        "see docs/shapes.md.",
        metavar="FILE",
    )
    allow_unknown_fields: tuple[str, ...] = described(
        "Name of a field that AWS does not have, but --format or --formats may name; its values "
        "are in unknown_fields. Can be repeated.",
        default=(),
        metavar="NAME",
    )
    account: str | None = described(
        "Account of the partition for objects whose key and name do not say it.", metavar="ACCOUNT"
    )
    region: str | None = described(
        "Region of the partition for objects whose key and name do not say it.", metavar="REGION"
    )
    partition_by: tuple[str, ...] = described(
        "Partition names: aws_account_id, aws_region, date, hour, or a column such as vpc_id "
        "(its directories are then named aws_vpc_id=…).",
        default=DEFAULT_PARTITIONS,
        metavar="NAME,NAME…",
    )
    schema: Schema = described(
        "Columns of the files: flat has a column for each field of the logs; ocsf is the class "
        "Network Activity of OCSF 1.1, in the layout of a custom source of Security Lake: see "
        "docs/ocsf.md. A lake has one of them.",
        default="flat",
    )
    time_type: TimeType = described(
        "Type of start and end: UTC timestamps, or AWS's INT64 seconds since 1970.",
        default="timestamp",
    )
    with_source: bool = described(
        "Add the columns source_uri and source_line: the object that a row is from, and its line "
        "in it.",
        default=False,
    )
    since: date | None = described(
        "First day to read, by the day in the objects' keys, or of the events in CloudWatch Logs: "
        "YYYY-MM-DD, or 2d for two days ago.",
        metavar="DAY",
    )
    until: date | None = described(
        "Last day to read, included: YYYY-MM-DD, or 1d for yesterday.", metavar="DAY"
    )
    include: tuple[str, ...] = described(
        _INCLUDE,
        default=(),
        metavar="GLOB",
    )
    exclude: tuple[str, ...] = described(
        _EXCLUDE,
        default=(),
        metavar="GLOB",
    )
    inventory: str | None = described(_INVENTORY, metavar="URL")
    allow_empty: bool = described(
        "Exit with 0, not 3, if no flow log of the chosen days is found below SOURCE.",
        default=False,
    )
    compression: Compression = described("Compression of the Parquet files.", default="zstd")
    order: Order = described(
        "Order of rows within each row group: sorted by interface (in tgw/ by attachment), "
        "addresses and start, which makes files two fifths smaller; or as in the log.",
        default="sorted",
    )
    bloom_filters: bool = described(
        "Add Bloom filters of addresses and interfaces, by which DuckDB, ClickHouse and Trino skip "
        "row groups without a value; files are a twentieth larger.",
        default=False,
    )
    target_file_size: int = _size(
        "Size at which an output file is closed and the next begun.", "256MB"
    )
    workers: int = described(
        "Number of threads that parse and write; 0 uses all cores.", default=0, short="-w"
    )
    max_requests: int = described(
        "Most objects to fetch from S3 at once. Fewer are while S3 asks to slow down.",
        default=MAX_REQUESTS,
    )
    request_prices: tuple[str, ...] = described(
        f"US dollars for 1,000 requests to S3 of a kind, or for 1 GB received, in place of a list "
        f"price of us-east-1, known on {PRICES_OF} and not checked since: "
        f"{', '.join(f'{name}={usd:g}' for name, usd in PRICES.items())}. Can be repeated.",
        default=(),
        metavar="NAME=USD",
        flag="--request-price",
    )
    memory_limit: int = _size(
        "Memory for buffers, such as 2GB; every worker needs 200 MB, so less memory means fewer "
        "workers. 0 sets no limit. The process needs some 150 MB besides.",
        "0",
    )
    max_object_size: int = _size(
        "Most text that one object may unpack to; a larger one is taken for a gzip bomb and not "
        "converted.",
        "16GB",
    )
    reprocess: bool = described(
        "Convert again every object that has changed since, or for which another format is "
        "declared now, or, with --since or --until, all of those days; their old rows are replaced "
        "in one commit.",
        default=False,
    )
    retry_rejected: bool = described(
        "Convert again every object that has lines in quarantine, for example after an upgrade or "
        "with another --format; their old rows are replaced in one commit.",
        default=False,
    )
    grace: float = described(
        "Seconds that tasks under way have to finish after SIGTERM or Ctrl-C, before they are "
        "abandoned; a second signal abandons them at once.",
        default=10.0,
        metavar="SECONDS",
    )
    wait: bool = described(
        "Wait while another run writes to DEST, instead of failing.", default=False
    )
    on_bad_line: OnBadLine = described(
        "What to do with a line that does not fit: set it aside below DEST/_flowconv/quarantine/ "
        "and go on, or fail at the first.",
        default="quarantine",
    )
    quarantine_per_object: int = _size(
        "Size of one object's file in quarantine, beyond which its lines that do not fit are only "
        "counted.",
        "16MB",
    )
    quarantine_per_run: int = _size("The same for all objects of one run.", "1GB")
    source_options: Mapping[str, str] = described(
        _SOURCE_OPTION,
        default_factory=dict,
        metavar="KEY=VALUE",
        flag="--source-option",
    )
    dest_options: Mapping[str, str] = described(
        "Storage option of DEST, as for --source-option.",
        default_factory=dict,
        metavar="KEY=VALUE",
        flag="--dest-option",
    )
    formats_text: str | None = field(init=False, repr=False, default=None)
    """What is in the file of `formats`, which may be a pipe and is read once."""

    def __post_init__(self) -> None:
        self._take_texts()
        check_types(self)
        check_workers(self)
        require(
            1 <= self.max_requests <= _MOST_REQUESTS,
            f"--max-requests: {self.max_requests} is not in 1 to {_MOST_REQUESTS}.",
        )
        require(
            self.memory_limit == 0 or self.memory_limit >= WORKER_BYTES,
            f"--memory-limit: {self.memory_limit} bytes are too few; the least is 200MB.",
        )
        require(
            self.target_file_size >= MB,
            f"--target-file-size: {self.target_file_size} bytes are too few; the least is 1MB.",
        )
        require(
            self.max_object_size >= MB,
            f"--max-object-size: {self.max_object_size} bytes are too few; the least is 1MB.",
        )
        for name in ("per_object", "per_run"):
            require(
                getattr(self, f"quarantine_{name}") >= 0,
                f"--quarantine-{name.replace('_', '-')}: less than 0 bytes; 0 only counts lines.",
            )
        require(
            0 <= self.grace <= _LONGEST_GRACE_S,
            f"--grace: {self.grace} is not in 0 to {_LONGEST_GRACE_S} seconds.",
        )
        check_choice(self.compression, get_args(Compression), "--compression")
        check_choice(self.time_type, get_args(TimeType), "--time-type")
        check_choice(self.order, get_args(Order), "--order")
        check_choice(self.on_bad_line, get_args(OnBadLine), "--on-bad-line")
        check_days(self.since, self.until)
        check_patterns(self)
        parse_request_prices(self.request_prices)
        check_choice(self.schema, get_args(Schema), "--schema")
        if self.schema == "ocsf":
            take_ocsf(self)
        else:
            check_partitions(self.partition_by)
        if self.format is not None or self.formats is not None:
            from flowconv.blocks.declared_formats import read_formats

            if self.formats is not None:
                object.__setattr__(self, "formats_text", read_formats(self.formats))
            self.declared_formats()
        if self.account is not None:
            check_account(self.account, "--account")
        require(
            self.region is None or re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.region) is not None,
            f"--region: {quote(self.region or '')} is not valid; write letters, digits, - and _.",
        )

    def _take_texts(self) -> None:
        """Take what is plain of other types, such as days as text, and nothing else."""
        take_days(self)
        for name in SIZES:
            size = getattr(self, name)
            take(self, name, parse_size(size, flag(name)) if isinstance(size, str) else size)
        take_formats(self)
        take_names(self, "partition_by")
        take_list(self, "request_prices")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What is read of a source without a lake; checked when it is made.

    Attributes:
        format: Fields of objects without a header, as for `ConvertOptions`.
        formats: A TOML file of formats, as for `ConvertOptions`.
        allow_unknown_fields: As for `ConvertOptions`.
        table: `vpc`, or `tgw` for transit gateway logs; records of the other are left out.
        since: First day, by the day in the objects' keys.
        until: Last day, included.
        include: Patterns of paths, as for `ConvertOptions`.
        exclude: Patterns of paths, as for `ConvertOptions`.
        source_options: Storage options of the source, as for `ConvertOptions`.

    Raises:
        UsageError: An option is out of its range, or two do not go together.
    """

    format: str | None = None
    formats: str | None = None
    allow_unknown_fields: tuple[str, ...] = ()
    table: str = Table.VPC
    since: date | None = None
    until: date | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    source_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        take_days(self)
        take_formats(self)
        check_types(self)
        check_days(self.since, self.until)
        check_patterns(self)
        require(self.table in list(Table), f"{self.table!r} is not a table; write vpc or tgw.")

    def declared_formats(self) -> "DeclaredFormats":
        """Return the formats of objects without a header."""
        from flowconv.blocks.declared_formats import declared_formats

        return declared_formats(
            self.format, self.formats, allow_unknown_fields=self.allow_unknown_fields
        )

    @property
    def patterns(self) -> Patterns:
        """What `include` and `exclude` choose."""
        return Patterns(self.include, self.exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How a lake is verified; checked when it is made.

    Raises:
        UsageError: An option is out of its range, or two do not go together.
    """

    since: date | None = described("First day of SOURCE to compare.", metavar="DAY")
    until: date | None = described("Last day of SOURCE to compare, included.", metavar="DAY")
    include: tuple[str, ...] = described(_INCLUDE, default=(), metavar="GLOB")
    exclude: tuple[str, ...] = described(_EXCLUDE, default=(), metavar="GLOB")
    inventory: str | None = described(_INVENTORY, metavar="URL")
    quick: bool = described(
        "Compare names and sizes only; read no file and no object.", default=False
    )
    repair: bool = described(
        "Remove files that do not belong to LAKE (those that a run wrote are set aside), and "
        "forget damaged ones, so that the next run converts their objects again; these must still "
        "be in SOURCE.",
        default=False,
    )
    wait: bool = described("With --repair: wait while a run writes to LAKE.", default=False)
    workers: int = described(
        "Number of files to check at once; 0 uses all cores.", default=0, short="-w"
    )
    source_options: Mapping[str, str] = described(
        _SOURCE_OPTION, default_factory=dict, metavar="KEY=VALUE", flag="--source-option"
    )
    dest_options: Mapping[str, str] = described(
        "Storage option of LAKE, as for --source-option. Can be repeated.",
        default_factory=dict,
        metavar="KEY=VALUE",
        flag="--dest-option",
    )

    def __post_init__(self) -> None:
        take_days(self)
        check_types(self)
        check_workers(self)
        check_days(self.since, self.until)
        check_patterns(self)

    @property
    def patterns(self) -> Patterns:
        """What --include and --exclude choose."""
        return Patterns(self.include, self.exclude)


_KEYS = tuple(dict.fromkeys(chain.from_iterable(KEYS.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactOptions:
    """How a lake's files are compacted; checked when it is made.

    Raises:
        UsageError: An option is out of its range, or two do not go together.
    """

    since: date | None = described(
        "First day to compact: YYYY-MM-DD, or 2d for two days ago.", metavar="DAY"
    )
    until: date | None = described("Last day to compact, included.", metavar="DAY")
    min_files: int = described(
        "Compact partitions with at least so many files that are not compacted, and those that "
        "are compacted in another order.",
        default=2,
    )
    sort_by: tuple[str, ...] = described(
        "Columns to sort each partition by, the most important one first. By default interface (in "
        "tgw/ attachment), addresses and start.",
        default=(),
        metavar="NAME,NAME…",
    )
    dedupe: bool = described(
        "Remove records that two flow logs have: of each two that agree in all fields that both "
        "flow logs have, the one of the flow log with more fields stays.",
        default=False,
    )
    target_file_size: int = _size(
        "Size at which a compacted file is closed and the next begun.", "256MB"
    )
    keep: float = described(
        "Hours for which the replaced files are kept, for readers that go by flowconv.scan or a "
        "catalog and are under way; a later run removes them. Readers of the folder count the rows "
        "of kept files twice.",
        default=0.0,
        metavar="HOURS",
    )
    compression: Compression = described("Compression of the Parquet files.", default="zstd")
    bloom_filters: bool = described(
        "Add Bloom filters of interfaces and of packets' addresses, too, as flowconv convert does; "
        "those of srcaddr and dstaddr are always there.",
        default=False,
    )
    workers: int = described(
        "Number of partitions to compact at once; 0 uses all cores. Each takes 300 MB.",
        default=0,
        short="-w",
    )
    dry_run: bool = described("Show what would be compacted, and stop.", default=False)
    wait: bool = described(
        "Wait while another run writes to LAKE, instead of failing.", default=False
    )
    dest_options: Mapping[str, str] = described(
        "Storage option of LAKE, as for --source-option of flowconv convert. Can be repeated.",
        default_factory=dict,
        metavar="KEY=VALUE",
        flag="--dest-option",
    )

    def __post_init__(self) -> None:
        take_days(self)
        size: Any = self.target_file_size
        if isinstance(size, str):
            take(self, "target_file_size", parse_size(size, "--target-file-size"))
        take_names(self, "sort_by")
        check_types(self)
        check_workers(self)
        check_days(self.since, self.until)
        check_choice(self.compression, get_args(Compression), "--compression")
        require(self.min_files >= 1, f"--min-files: {self.min_files} is too small; at least 1.")
        require(
            self.target_file_size >= MB,
            f"--target-file-size: {self.target_file_size} bytes are too few; the least is 1MB.",
        )
        require(
            0 <= self.keep <= _LONGEST_KEEP_H,
            f"--keep: {self.keep:g} is not in 0 to {_LONGEST_KEEP_H} hours.",
        )
        require(len(set(self.sort_by)) == len(self.sort_by), "--sort-by: it names a column twice.")
        for name in self.sort_by:
            known = sorted({f.column for table in Table for f in FIELDS[table]})
            require(
                name in known,
                f"--sort-by: {quote(name)} is not a column; flowconv schema shows them."
                + did_you_mean(name, known),
            )
            require(
                not self.dedupe or name in _KEYS,
                f"--sort-by: with --dedupe rows cannot be sorted by {name}, since the same records "
                f"must be neighbours. Choose among {', '.join(_KEYS)}.",
            )
