"""What is done with a lake that exists: its layout, and lazy queries over it."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from flowconv.errors import LakeError, UsageError
from flowconv.fields import ALWAYS_COLUMNS, FIELDS, TEXT, Field, Table
from flowconv.normalising import TimeType, table_schema
from flowconv.options import ConvertOptions
from flowconv.partitioning import directory_name, encode_value
from flowconv.storage import Storage, open_storage

if TYPE_CHECKING:
    import polars as pl

_LAYOUT = "_flowconv/lake.json"

# One empty file per column that only some files of a table have; their names are all a scan needs.
_EXTRA_COLUMNS = "_flowconv/columns"


def scan(
    dest: str,
    *,
    table: str = "vpc",
    since: date | None = None,
    until: date | None = None,
    accounts: Collection[str] | None = None,
    regions: Collection[str] | None = None,
    options: Mapping[str, str] | None = None,
) -> "pl.LazyFrame":
    """Open a lake's table for lazy polars queries; only the partitions asked for are read.

    Args:
        dest: The lake, as it was given to `convert`.
        table: `vpc`, or `tgw` for transit gateway logs.
        since: First day, by the records' start in UTC.
        until: Last day, included.
        accounts: Accounts, as in the partition `aws_account_id`.
        regions: Regions, as in the partition `aws_region`.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        The table's columns, those that only some files have (null elsewhere), and the partitions:
        `aws_account_id` and all others as text with their zeros, `date` as a date. Records without
        a time or account are left out where days or accounts are chosen.

    Raises:
        LakeError: There is no lake, or it is not partitioned by what is chosen.
        StorageError: The lake does not answer.
    """
    import polars as pl

    storage = open_storage(dest, options or {})
    layout = read_layout(storage)
    chosen = Table(table) if table in list(Table) else None
    if chosen is None:
        raise UsageError(f"{table!r} is no table; there are vpc and tgw.")
    wanted = _Wanted(since, until, _encoded(accounts), _encoded(regions))
    wanted.check(layout, storage)
    files = list(_partition_files(storage, chosen, layout, wanted))
    schema = table_schema(chosen, layout.time_type, tuple(_extra_columns(storage, chosen)))
    polars_schema: dict[str, Any] = dict(pl.from_arrow(schema.empty_table()).schema)  # type: ignore[union-attr]
    partitions: dict[str, Any] = {
        directory_name(name): pl.Date() if name == "date" else pl.String()
        for name in layout.partition_by
    }
    if not files:
        return pl.LazyFrame(schema=polars_schema | partitions)
    # polars takes every `name=value` of a file's path for a partition, above the lake too.
    above = {part.partition("=")[0]: pl.String() for part in storage.root.split("/") if "=" in part}
    return pl.scan_parquet(
        [storage.uri(path) for path in files],
        schema=polars_schema,
        hive_schema=above | partitions,
        hive_partitioning=True,
        missing_columns="insert",
        extra_columns="ignore",
        **storage.polars_options(),
    ).drop(above)


@dataclass(frozen=True, slots=True)
class Layout:
    """What all files of a lake have in common.

    Attributes:
        partition_by: Partition names, outermost first.
        time_type: Type of `start` and `end`.
        version: Of this description; 1.
    """

    partition_by: tuple[str, ...]
    time_type: TimeType
    version: Literal[1] = 1


def read_layout(storage: Storage) -> Layout:
    """Return a lake's layout.

    Raises:
        LakeError: There is none, or it was written by a later flowconv.
    """
    written = storage.read(_LAYOUT)
    if written is None:
        raise LakeError(
            "this is no lake of flowconv: it has no _flowconv/lake.json. Check the path, or "
            "write one with flowconv convert.",
            uri=storage.root,
        )
    try:
        described = json.loads(written)
        if described["version"] != 1:
            raise LakeError("a later flowconv made this lake; update flowconv.", uri=storage.root)
        return Layout(tuple(described["partition_by"]), described["time_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"_flowconv/lake.json is damaged ({error}). Restore it, or convert anew to another "
            "place.",
            uri=storage.root,
        ) from error


def ensure_layout(storage: Storage, options: ConvertOptions) -> None:
    """Begin a lake, or make sure that the options are those that it was begun with.

    Raises:
        LakeError: It has another layout, or there are tables of somebody else.
    """
    layout = Layout(options.partition_by, options.time_type)
    if storage.read(_LAYOUT) is None:
        for table in Table:
            if next(storage.list_files(table), None):
                raise LakeError(
                    f"there are files below {table}/, but it is no lake of flowconv. Choose "
                    "another DEST.",
                    uri=storage.root,
                )
        if storage.create(_LAYOUT, json.dumps(asdict(layout)).encode()):
            return
    found = read_layout(storage)
    if found != layout:
        raise LakeError(
            f"this lake has --partition-by {','.join(found.partition_by)} --time-type "
            f"{found.time_type}; give the same options, or choose another DEST.",
            uri=storage.root,
        )


def note_extra_columns(storage: Storage, table: Table, columns: Collection[str]) -> None:
    """Note that files of a table have columns beyond those that all have."""
    for column in set(columns) - {field.column for field in ALWAYS_COLUMNS[table]}:
        storage.create(f"{_EXTRA_COLUMNS}/{table}/{column}", b"")


def _extra_columns(storage: Storage, table: Table) -> Iterator[Field]:
    noted = {
        file.path.rpartition("/")[2] for file in storage.list_files(f"{_EXTRA_COLUMNS}/{table}")
    }
    known = [field for field in FIELDS[table] if field.column in noted]
    yield from known
    for column in sorted(noted - {field.column for field in known}):
        yield Field(column, column, TEXT, 0, "not documented by AWS")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The partitions that a scan is asked for; values as they stand in directory names."""

    since: date | None
    until: date | None
    accounts: frozenset[str] | None
    regions: frozenset[str] | None

    def check(self, layout: Layout, storage: Storage) -> None:
        asked = {
            "date": self.since or self.until,
            "aws_account_id": self.accounts,
            "aws_region": self.regions,
        }
        for name, value in asked.items():
            if value is not None and name not in layout.partition_by:
                raise LakeError(
                    f"it is partitioned by {', '.join(layout.partition_by)}, not by {name}; "
                    "filter the columns instead.",
                    uri=storage.root,
                )

    def has(self, name: str, value: str) -> bool:
        if name == "aws_account_id":
            return self.accounts is None or value in self.accounts
        if name == "aws_region":
            return self.regions is None or value in self.regions
        if name == "date":
            # Null's name sorts behind every date; it is wanted only if all are.
            first = self.since is None or str(self.since) <= value
            last = self.until is None or value <= str(self.until)
            return first and last and (value[0] != "_" or self.since is None)
        return True


def _partition_files(
    storage: Storage, table: Table, layout: Layout, wanted: _Wanted
) -> Iterator[str]:
    directories = [str(table)]
    for name in layout.partition_by:
        directories = [
            f"{directory}/{below}"
            for directory in directories
            for below in storage.list_directories(directory)
            if wanted.has(name, below.partition("=")[2])
        ]
    for directory in directories:
        for file in storage.list_files(directory):
            yield file.path


def _encoded(values: Collection[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(encode_value(value) for value in values)
