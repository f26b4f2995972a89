"""A table of a lake -> a Delta table over the same files.

Delta's readers find files only below the folder of a table, and a folder `_delta_log` among the
files would break scans of that folder (polars). So the log of a lake's first table lies at the
root of the lake, and that of the other in a folder of its own, where few readers find the files.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from flowconv.catalogs.footers import Bounds, read_bounds
from flowconv.catalogs.live_tables import (
    LiveTable,
    catalog_name,
    object_store_options,
    partition_values,
)
from flowconv.catalogs.registered import OvertakenError, RegisteredTable, Target
from flowconv.errors import CatalogError, UsageError, quote
from flowconv.fields import Table
from flowconv.lake.ledger_records import DataFile
from flowconv.storage.interface import Storage

# A commit that names it never follows one that its author has not seen.
_APPLICATION = "flowconv"

# The files are flowconv's: VACUUM would delete those of the other table, and those that are yet to
# be registered.
_PROPERTIES = {"delta.deletedFileRetentionDuration": "interval 36500 days"}

# What deltalake draws before a cause of an error: an arrow, in red.
_DRAWN = re.compile(r"^\s*(\x1b\[\d+m|↳|\s)+")


@contextmanager
def opened(storage: Storage, target: Target) -> "Iterator[Catalog]":
    """Check where Delta tables are to be: they are in the lake.

    Raises:
        UsageError: Another place is asked for.
    """
    if target.catalog or target.database:
        raise UsageError("--to delta takes no --catalog or --database: the tables are in the lake.")
    yield Catalog(storage)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The Delta tables of a lake."""

    storage: Storage

    def table(self, table: Table) -> "CatalogTable":
        """Return a table as it is now, or the place for one; it raises as `CatalogTable`."""
        return CatalogTable(self.storage, table)


class CatalogTable:
    """A Delta table as it is now, or the place for one.

    Args:
        storage: The lake.
        table: The lake's table.

    Raises:
        CatalogError: A table that flowconv did not make is in the way, or cannot be read.
        StorageError: The lake does not answer.
    """

    def __init__(self, storage: Storage, table: Table) -> None:
        self._storage = storage
        self._options = object_store_options(storage)
        self._name = catalog_name(table)
        self._root = storage.location("")
        self._address, self._found = self._root, None
        if escape := re.search(r"%[0-9A-Fa-f]{2}", self._root if storage.is_local else ""):
            raise CatalogError(
                f"deltalake reads {escape[0]} in a folder's name as {unquote(escape[0])}. Rename "
                "it.",
                uri=self._root,
            )
        for address in (self._root, f"{self._root}/delta/{self._name}"):
            with _errors(address):
                if not DeltaTable.is_deltatable(address, self._options):
                    continue
                found = DeltaTable(address, storage_options=self._options)
            if found.metadata().name == self._name:
                self._address, self._found = address, found
                return
            self._check_is_other(found)

    def _check_is_other(self, found: DeltaTable) -> None:
        """Check that a table at the root is the lake's other one.

        Raises:
            CatalogError: It is not.
        """
        name = found.metadata().name
        if name not in map(catalog_name, Table):
            raise CatalogError(
                f"there is a Delta table {quote(name or '')}, expected {self._name} or none. Move "
                "its _delta_log elsewhere.",
                uri=found.table_uri,
            )

    def publish(self, live: LiveTable) -> RegisteredTable | None:
        """Commit the difference to the files that count; None if there is neither table nor file.

        Raises:
            OvertakenError: There was another commit meanwhile.
            CatalogError: The log cannot be written.
            FetchError: A file is gone.
            LakeError: A file is damaged.
            StorageError: The lake does not answer.
        """
        with _errors(self._root):
            # The lake's other table may have been made since.
            if self._found is None and DeltaTable.is_deltatable(self._root, self._options):
                self._address = f"{self._root}/delta/{self._name}"
        # A table apart needs the full names of the files.
        base = "" if self._address == self._root else _url(self._storage)
        files = {f"{base}{path}": file for path, file in live.files.items()}
        there = _registered(self._found, live.partitions) if self._found else {}
        added = [file for path, file in files.items() if path not in there]
        adds = [
            _add(f"{base}{file.path}", file, bounds)
            for file, bounds in read_bounds(self._storage, added)
        ]
        removes = [remove for path, remove in there.items() if path not in files]
        if not (self._found or adds):
            return None
        with _errors(self._address):
            version = self._commit(live, adds, removes)
        return RegisteredTable(
            name=self._name,
            address=self._address,
            version=str(version),
            files=len(files),
            added=len(adds),
            removed=len(removes),
        )

    def _commit(
        self, live: LiveTable, adds: Sequence[AddAction], removes: Sequence[RemoveAction]
    ) -> int:
        """Commit the difference, if there is one, and return the table's version."""
        if self._found is None:
            self._create(live, adds)
            return 0
        table = self._found
        _add_columns(table, live.schema)
        if adds or removes:
            number = table.transaction_version(_APPLICATION) or 0
            table.create_write_transaction(
                [*adds, *removes],
                "append",
                table.schema(),
                partition_by=live.partitions.names,
                commit_properties=_properties(number + 1),
            )
            return DeltaTable(self._address, storage_options=self._options).version()
        return table.version()

    def _create(self, live: LiveTable, adds: Sequence[AddAction]) -> None:
        try:
            create_table_with_add_actions(
                self._address,
                Schema.from_arrow(live.schema),
                list(adds),
                partition_by=live.partitions.names,
                name=self._name,
                configuration=_PROPERTIES,
                storage_options=self._options,
                commit_properties=_properties(1),
            )
        except DeltaError as error:
            if DeltaTable.is_deltatable(self._address, self._options):
                raise OvertakenError(self._address) from error
            raise


@contextmanager
def _errors(address: str) -> Iterator[None]:
    """Turn deltalake's errors into flowconv's."""
    try:
        yield
    except CommitFailedError as error:
        raise OvertakenError(address) from error
    except (DeltaError, OSError) as error:
        # A line of its own for each cause, drawn as a tree for a terminal.
        causes = [_DRAWN.sub("", line) for line in str(error).rstrip().split("\n")]
        raise CatalogError(f"deltalake: {': '.join(causes)}.", uri=address) from error


def _properties(number: int) -> CommitProperties:
    return CommitProperties(app_transactions=[Transaction(_APPLICATION, number)])


def _url(storage: Storage) -> str:
    root = storage.location("")
    return f"file://{root}/" if storage.is_local else f"{root}/"


def _registered(found: DeltaTable, partitions: pa.Schema) -> dict[str, RemoveAction]:
    """Return the path of each file that a table has -> what would remove it."""
    actions = pa.table(found.get_add_actions(flatten=True))
    columns = {f"partition.{name}": name for name in partitions.names}
    now_ms = int(time.time() * 1000)
    return {
        unquote(row["path"]): RemoveAction(
            path=unquote(row["path"]),
            data_change=True,
            deletion_timestamp=now_ms,
            size=row["size_bytes"],
            partition_values={
                name: None if row[column] is None else str(row[column])
                for column, name in columns.items()
            },
        )
        for row in actions.select(["path", "size_bytes", *columns]).to_pylist()
    }


def _add_columns(found: DeltaTable, schema: pa.Schema) -> None:
    """Add the columns that this flowconv knows and a table lacks.

    Raises:
        CatalogError: A column has another type there.
    """
    there = {field.name: field for field in found.schema().fields}
    wanted = Schema.from_arrow(schema).fields
    for field in wanted:
        if field.name in there and there[field.name].type != field.type:
            raise CatalogError(
                f"the Delta table's column {field.name} is {there[field.name].type}, expected "
                f"{field.type}. Move its _delta_log elsewhere, and register again.",
                uri=found.table_uri,
            )
    if missing := [field for field in wanted if field.name not in there]:
        found.alter.add_columns(missing)


def _add(path: str, file: DataFile, bounds: Mapping[str, Bounds]) -> AddAction:
    known = {name: bound for name, bound in bounds.items() if bound.least is not None}
    stats = {
        "numRecords": file.rows,
        "minValues": {name: _as_json(bound.least) for name, bound in known.items()},
        "maxValues": {name: _as_json(bound.greatest) for name, bound in known.items()},
        "nullCount": {name: bound.nulls for name, bound in bounds.items()},
    }
    return AddAction(
        path=path,
        size=file.size_bytes,
        partition_values=partition_values(file.path),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(stats),
    )


def _as_json(value: datetime | int) -> str | int:
    if isinstance(value, int):
        return value
    return f"{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
