"""scan(): lazy polars queries over the committed files of a lake."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

from flowconv.errors import LakeError, UsageError, quote
from flowconv.fields import Table
from flowconv.lake.gone import gone_partitions, missing_paths
from flowconv.lake.layout import Layout, read_flat_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile
from flowconv.memory import uncollected
from flowconv.option_values import TimeType
from flowconv.rows.partition_names import NULL_PARTITION, directory_name, encode_value
from flowconv.rows.table_columns import UNKNOWN_FIELDS, ColumnType, table_columns
from flowconv.storage.interface import Storage
from flowconv.storage.names import from_text
from flowconv.storage.opening import open_storage
from flowconv.values import as_day, check_days, require, take_accounts, take_texts

if TYPE_CHECKING:
    import polars as pl


def scan(
    dest: str | os.PathLike[str],
    *,
    table: str = "vpc",
    since: date | str | None = None,
    until: date | str | None = None,
    accounts: Collection[str] | str | None = None,
    regions: Collection[str] | str | None = None,
    unknown_fields: Collection[str] | str | None = None,
    options: Mapping[str, str] | None = None,
) -> "pl.LazyFrame":
    """Open a lake's table for lazy polars queries; only the partitions asked for are read.

    Args:
        dest: The lake: the DEST given to `convert`.
        table: `vpc`, or `tgw` for transit gateway logs.
        since: First day, by the records' start in UTC.
        until: Last day, included.
        accounts: Accounts, with 12 digits each.
        regions: Regions, as in the partition `aws_region`.
        unknown_fields: Names of fields that AWS does not document, as the logs write them. Each
            becomes a column of text, from the JSON in the column `unknown_fields`.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        The table's columns, the same for every lake (null where a log lacks them), the unknown
        fields that are asked for, and the partitions: `date` as a date, `aws_account_id` and all
        others as text with leading zeros. If days or accounts are chosen, records without a time
        or account are left out.

    Raises:
        LakeError: There is no lake, it is not partitioned by what is chosen, or files are gone.
        UsageError: There is no such table, a day or an account is not valid, days are not in
            order, or the table has a column for an unknown field.
        TypeError: An argument has another type, such as an account that is a number.
        StorageError: The lake does not answer.
    """
    with uncollected():
        import polars as pl

    chosen = choose_files(
        dest,
        table,
        since=since,
        until=until,
        accounts=accounts,
        regions=regions,
        options=options,
    )
    names = take_texts(unknown_fields, "unknown_fields")
    readable = _Files(chosen.storage, chosen.table, chosen.layout)
    frame = readable.scan(chosen.files) if chosen.files else pl.LazyFrame(schema=readable.schema)
    return frame.with_columns(_unfolded(chosen.table, names)) if names else frame


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenFiles:
    """Files of a table that are read, and their lake."""

    storage: Storage
    layout: Layout
    ledger: Ledger
    table: Table
    files: Sequence[DataFile]


def choose_files(
    dest: str | os.PathLike[str],
    table: str,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    accounts: Collection[str] | str | None = None,
    regions: Collection[str] | str | None = None,
    options: Mapping[str, str] | None = None,
) -> ChosenFiles:
    """Return the committed files that are asked for; arguments and errors are those of `scan`."""
    storage = open_storage(dest, options or {})
    layout = read_flat_layout(storage, "Reading by flowconv.scan, query or report")
    require(table, str, "table")
    if table not in list(Table):
        raise UsageError(f"{table!r} is not a table, expected 'vpc' or 'tgw'.")
    wanted = _Wanted(
        table=Table(table),
        since=as_day(since, "--since"),
        until=as_day(until, "--until"),
        accounts=_encoded(take_accounts(accounts, "accounts")),
        regions=_encoded(take_texts(regions, "regions")),
    )
    wanted.check(layout, storage)
    ledger, files = _existing_files(storage, wanted)
    return ChosenFiles(
        storage=storage, layout=layout, ledger=ledger, table=wanted.table, files=files
    )


def _unfolded(table: Table, names: Collection[str]) -> "list[pl.Expr]":
    """Return a column of text for each unknown field.

    Raises:
        UsageError: It cannot be the name of a field, or the table has a column for it.
    """
    import polars as pl

    from flowconv.blocks.formats import can_be_name, find_field

    for name in names:
        if not can_be_name(name):
            raise UsageError(f"unknown_fields: {quote(name)} is not the name of a field.")
        if field := find_field(name, table):
            raise UsageError(
                f"unknown_fields: {quote(name)} is known, and is the column {field.column}."
            )
    folded = pl.col(UNKNOWN_FIELDS)
    return [folded.str.json_path_match(f'$["{name}"]').alias(name) for name in names]


def _existing_files(storage: Storage, wanted: "_Wanted") -> tuple[Ledger, list[DataFile]]:
    """Return the ledger and the files that a scan reads, after a check that each is there.

    Locally each file is looked up; in S3 their common folder is listed.

    Raises:
        LakeError: The ledger names files that are gone.
    """
    missing: set[str] = set()
    while True:
        ledger = Ledger.read(storage)
        files = [file for file, _ in ledger.files().values() if wanted.has(file.path)]
        # Files that are missing twice were not replaced meanwhile.
        again = missing & (missing := missing_paths(storage, [file.path for file in files]))
        if not missing:
            return ledger, files
        if again:
            raise LakeError(_describe_missing(storage, files, again), uri=storage.root)


def _describe_missing(storage: Storage, files: Collection[DataFile], missing: set[str]) -> str:
    more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
    partitions = gone_partitions(files, missing)
    whole = f" No file of {partitions[0]}/ is left." if partitions else ""
    return (
        f"the file {min(missing)}{more} is gone, though the ledger names it.{whole} If a lifecycle "
        f"rule of the bucket deleted it, flowconv expire {storage.root} --gone settles it. Else "
        f"restore it from a copy, or let flowconv verify {storage.root} --source SOURCE --repair "
        "forget it, and convert again."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The files that a scan asks for; accounts and regions as directory names have them."""

    table: Table
    since: date | None
    until: date | None
    accounts: frozenset[str] | None
    regions: frozenset[str] | None

    def check(self, layout: Layout, storage: Storage) -> None:
        check_days(self.since, self.until)
        asked = {
            "date": self.since or self.until,
            "aws_account_id": self.accounts,
            "aws_region": self.regions,
        }
        for name, value in asked.items():
            if value is not None and name not in layout.partition_by:
                raise LakeError(
                    f"the lake is partitioned by {', '.join(layout.partition_by)}, not by {name}. "
                    "Filter the columns instead.",
                    uri=storage.root,
                )

    def has(self, path: str) -> bool:
        """Tell by its path whether a file is asked for."""
        table, *directories, _ = path.split("/")
        return table == self.table and all(
            self._has_value(*directory.split("=", 1)) for directory in directories
        )

    def _has_value(self, name: str, value: str) -> bool:
        if name == "aws_account_id":
            return self.accounts is None or value in self.accounts
        if name == "aws_region":
            return self.regions is None or value in self.regions
        if name == "date" and (self.since or self.until):
            if value == NULL_PARTITION:
                return False
            return str(self.since or date.min) <= value <= str(self.until or date.max)
        return True


@dataclass(frozen=True, slots=True)
class _Files:
    """Files of a table, as polars reads them."""

    storage: Storage
    table: Table
    layout: Layout

    @property
    def schema(self) -> dict[str, Any]:
        """All columns, and the partitions."""
        layout = self.layout
        columns = _columns(self.table, layout.time_type, with_source=layout.with_source)
        return {**columns, **self._partitions()}

    def scan(self, files: Collection[DataFile]) -> "pl.LazyFrame":
        """Return all rows and columns of one file or more.

        Raises:
            LakeError: A folder above the lake has the name of one of its partitions.
        """
        import polars as pl

        partitions = self._partitions()
        schema = self.schema
        # polars takes each `name=value` in a file's path for a partition, also above the lake.
        above = {
            part.partition("=")[0]: pl.String()
            for part in from_text(self.storage.root).split("/")
            if "=" in part
        }
        if both := above.keys() & partitions.keys():
            raise LakeError(
                f"a folder above the lake is named {min(both)}=..., like the lake's partition, and "
                "polars cannot tell them apart. Rename that folder.",
                uri=self.storage.root,
            )
        return pl.scan_parquet(
            [self.storage.location(file.path) for file in files],
            schema={name: schema[name] for name in schema if name not in partitions},
            hive_schema=above | partitions,
            hive_partitioning=True,
            glob=False,
            missing_columns="insert",  # Fields that an earlier flowconv did not know.
            **self.storage.polars_options(),
        ).drop(above)

    def _partitions(self) -> dict[str, Any]:
        import polars as pl

        return {
            directory_name(name): pl.Date() if name == "date" else pl.String()
            for name in self.layout.partition_by
        }


@cache
def _columns(table: Table, time_type: TimeType, *, with_source: bool) -> Mapping[str, Any]:
    """Return the columns of a table and polars' types."""
    import polars as pl

    types: dict[ColumnType, Any] = {
        "int32": pl.Int32(),
        "int64": pl.Int64(),
        "string": pl.String(),
        "timestamp[us, tz=UTC]": pl.Datetime("us", "UTC"),
    }
    columns = table_columns(table, time_type, with_source=with_source)
    return {name: types[type_] for name, type_ in columns.items()}


def _encoded(values: Collection[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(encode_value(value) for value in values)
