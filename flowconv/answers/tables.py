"""The tables of a lake as other engines need to know them: folder, columns, partitions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import polars as pl

from flowconv.fields import Table
from flowconv.lake.layout import read_flat_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.scanning import scan
from flowconv.rows.partition_names import directory_name
from flowconv.storage.opening import open_storage

Kind = Literal["int32", "int64", "text", "timestamp", "date"]

_KINDS: Mapping[Any, Kind] = {
    pl.Int32: "int32",
    pl.Int64: "int64",
    pl.String: "text",
    pl.Datetime: "timestamp",
    pl.Date: "date",
}

_DAY = re.compile(r"/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/")


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeTable:
    """A table of a lake.

    Attributes:
        name: What it is called in other engines: `vpc_flows` or `tgw_flows`.
        folder: The path or URL of its files' folder, without a slash at its end.
        columns: The kind of each column of its files.
        partitions: The kind of each partition, outermost first.
        has_files: It has a file. Some engines refuse a folder without one.
        first_day: The first day of its partitions; None if it has no days.
    """

    name: str
    folder: str
    columns: Mapping[str, Kind]
    partitions: Mapping[str, Kind]
    has_files: bool
    first_day: date | None


def read_tables(
    dest: str,
    *,
    location: str | None = None,
    options: Mapping[str, str] | None = None,
) -> list[LakeTable]:
    """Return both tables of a lake.

    Args:
        dest: The lake.
        location: Where the engine finds the lake, if it is not at `dest`.
        options: Storage options.

    Raises:
        LakeError: There is no lake, or files are gone.
        StorageError: The lake does not answer.
        UsageError: `dest` or an option is not valid.
    """
    storage = open_storage(dest, options or {})
    partitions = [
        directory_name(name) for name in read_flat_layout(storage, "flowconv ddl").partition_by
    ]
    paths = [file.path for file, _ in Ledger.read(storage).files().values()]
    tables = []
    for table in Table:
        schema = scan(dest, table=table, options=options).collect_schema()
        kinds = {name: _KINDS[type_.base_type()] for name, type_ in schema.items()}
        of_table = [path for path in paths if path.startswith(f"{table}/")]
        days = [day[1] for path in of_table if (day := _DAY.search(path))]
        tables.append(
            LakeTable(
                name=f"{table}_flows",
                folder=f"{(location or storage.root).rstrip('/')}/{table}",
                columns={name: kinds[name] for name in kinds if name not in partitions},
                partitions={name: kinds[name] for name in partitions},
                has_files=bool(of_table),
                first_day=date.fromisoformat(min(days)) if days else None,
            )
        )
    return tables
