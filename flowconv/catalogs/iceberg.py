"""A table of a lake -> an Iceberg table over the same files.

The table has the lake's partitions, whose values no file holds: each file's entry does, and readers
take them from there. Entries are made here, since pyiceberg's own `add_files` takes partitions from
statistics, and finds null.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyiceberg.exceptions
from pyiceberg.catalog import Catalog as PyicebergCatalog
from pyiceberg.catalog import load_catalog
from pyiceberg.conversions import to_bytes
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.manifest import DataFile as Entry
from pyiceberg.manifest import DataFileContent, FileFormat, ManifestFile
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties
from pyiceberg.table.update.snapshot import ExpireSnapshots
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    DateType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)
from pyiceberg.utils.datetime import date_str_to_days, datetime_to_micros, datetime_to_millis
from sqlalchemy.exc import SQLAlchemyError

from flowconv.catalogs.footers import Bounds, read_bounds
from flowconv.catalogs.live_tables import LiveTable, catalog_name, partition_values
from flowconv.catalogs.manifests import live_paths
from flowconv.catalogs.registered import DATABASE, OvertakenError, RegisteredTable, Target
from flowconv.errors import CatalogError, UsageError
from flowconv.fields import Table
from flowconv.lake.ledger_records import DataFile
from flowconv.rows.schema import TIMESTAMP
from flowconv.storage.interface import Storage

_TIME, _SECONDS = TimestamptzType(), LongType()
_TYPES: Mapping[pa.DataType, PrimitiveType] = {
    pa.int32(): IntegerType(),
    pa.int64(): _SECONDS,
    pa.string(): StringType(),
    pa.date32(): DateType(),
    TIMESTAMP: _TIME,
}

# pyiceberg's have no common base; those of what it stands on come through.
_ERRORS: tuple[type[Exception], ...] = (
    *(
        error
        for error in vars(pyiceberg.exceptions).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
    SQLAlchemyError,
    OSError,
    ValueError,
)

# The lake that a table has the files of.
_LAKE = "flowconv.lake"

# Entries of a manifest. Readers leave out whole manifests by their days; all 10,000 entries in one
# took pyiceberg 430 ms to plan a day, these 23 (benchmarks/README.md, "register").
_ENTRIES = 500
_BYTES_OF_ENTRIES = 128 << 10  # What so many take, or a few less.

# No commit adds more manifests than this, but larger ones. For each pyiceberg makes all changes of
# the metadata anew: for 100 manifests of 50,000 files it took 11 s of processor time, for 20 four.
_MOST_MANIFESTS = 20

# As long as Iceberg's own default. The metadata names all snapshots, so those of a year of hourly
# runs would be 5 MB, which every reader and every run reads.
_SNAPSHOTS_STAY = timedelta(days=5)

_PROPERTIES = {
    # pyiceberg would add files once more to a table that has got them meanwhile.
    TableProperties.COMMIT_NUM_RETRIES: "0",
    # The files are flowconv's: no engine may delete them with a snapshot or the table.
    "gc.enabled": "false",
    # Else each of thousands of runs leaves a manifest, and every query reads all of them.
    TableProperties.MANIFEST_MERGE_ENABLED: "true",
    TableProperties.MANIFEST_TARGET_SIZE_BYTES: str(_BYTES_OF_ENTRIES),
    TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
}


@contextmanager
def opened(storage: Storage, target: Target) -> "Iterator[Catalog]":
    """Open an Iceberg catalog: the caller's own, or one in a file beside the lake.

    Raises:
        CatalogError: It cannot be opened.
        UsageError: There is nothing beside a lake in S3.
    """
    if target.catalog is None and not storage.is_local:
        raise UsageError(
            "an Iceberg table of a lake in S3 needs a catalog of yours: --catalog NAME, by its "
            "name in ~/.pyiceberg.yaml.",
            uri=storage.root,
        )
    folder = f"{storage.location('')}/iceberg"
    with _errors(target.catalog or folder):
        catalog = _beside(folder) if target.catalog is None else _named(target.catalog)
    try:
        yield Catalog(storage, catalog, target, folder)
    finally:
        catalog.close()


def _beside(folder: str) -> PyicebergCatalog:
    Path(folder).mkdir(exist_ok=True)
    return load_catalog("flowconv", type="sql", uri=f"sqlite:///{folder}/catalog.db")


def _named(name: str) -> PyicebergCatalog:
    try:
        return load_catalog(name)
    except ValueError as error:
        raise CatalogError(
            "pyiceberg knows no such catalog, or it lacks something. Describe it in "
            f"~/.pyiceberg.yaml. ({error})",
            uri=name,
        ) from error


class Catalog:
    """An open Iceberg catalog; `opened` makes it."""

    def __init__(
        self, storage: Storage, catalog: PyicebergCatalog, target: Target, folder: str
    ) -> None:
        self.storage = storage
        self._catalog = catalog
        self._is_own = target.catalog is None
        self._folder = folder
        self._database = target.database or DATABASE

    def table(self, table: Table) -> "CatalogTable":
        """Return a table as it is now, or the place for one.

        Raises:
            CatalogError: The catalog does not answer, or the table is another lake's.
        """
        name = f"{self._database}.{catalog_name(table)}"
        with _errors(name):
            try:
                found = self._catalog.load_table(name)
            except NoSuchTableError:
                return CatalogTable(self, name, None)
            except FileNotFoundError:
                if not self._is_own:
                    raise
                raise self._moved(name) from None
        lake = found.properties.get(_LAKE)
        if lake == self.storage.root:
            return CatalogTable(self, name, found)
        if self._is_own:
            raise self._moved(name)
        whose = f"of the lake {lake}" if lake else "that flowconv did not make"
        raise CatalogError(
            f"there is a table {name} {whose}. Choose another database: --database NAME.",
            uri=self.storage.root,
        )

    def _moved(self, name: str) -> CatalogError:
        return CatalogError(
            f"the Iceberg table {name} was made where the lake was before, and has its paths. "
            "Remove the lake's folder iceberg/, and register again.",
            uri=self.storage.root,
        )

    def create(self, name: str, live: LiveTable) -> IcebergTable:
        """Make a table without files.

        Raises:
            OvertakenError: Another process has made it meanwhile.
        """
        self._catalog.create_namespace_if_not_exists(self._database)
        schema = _schema(live.schema)
        partitions = [
            PartitionField(
                source_id=schema.find_field(partition).field_id,
                field_id=number,
                transform=IdentityTransform(),
                name=partition,
            )
            for number, partition in enumerate(live.partitions.names, PARTITION_FIELD_ID_START)
        ]
        return self._catalog.create_table(
            name,
            schema,
            location=f"file://{self._folder}/{name.replace('.', '/')}" if self._is_own else None,
            partition_spec=PartitionSpec(*partitions),
            properties=_PROPERTIES
            | {_LAKE: self.storage.root}
            # Files of the lake have names of columns, not Iceberg's numbers.
            | {TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json()},
        )


class CatalogTable:
    """An Iceberg table as it is now, or the place for one; `Catalog.table` makes it."""

    def __init__(self, catalog: Catalog, name: str, found: IcebergTable | None) -> None:
        self._catalog = catalog
        self._name = name
        self._found = found

    def publish(self, live: LiveTable) -> RegisteredTable | None:
        """Commit the difference to the files that count; None if there is neither table nor file.

        Raises:
            OvertakenError: There was another commit meanwhile.
            CatalogError: The catalog refuses, or does not answer.
            FetchError: A file is gone.
            LakeError: A file is damaged.
            StorageError: The lake does not answer.
        """
        if not (self._found or live.files):
            return None
        with _errors(self._name):
            table = self._found or self._catalog.create(self._name, live)
            _add_columns(table, live.schema)
            there = _manifests(table)
        storage = self._catalog.storage
        scheme = "file://" if storage.is_local else ""
        addresses = {path: f"{scheme}{storage.location(path)}" for path in live.files}
        new = [file for path, file in live.files.items() if addresses[path] not in there]
        make_entry = _EntryMaker(table, live)
        added = [
            make_entry(addresses[file.path], file, bounds)
            for file, bounds in read_bounds(storage, sorted(new, key=_day_and_path))
        ]
        wanted = frozenset(addresses.values())
        with _errors(self._name):
            removed = _entries(table, {path: there[path] for path in there if path not in wanted})
            _commit(table, added, removed)
        snapshot = table.current_snapshot()
        return RegisteredTable(
            name=self._name,
            address=table.metadata_location,
            version=str(snapshot.snapshot_id if snapshot else ""),
            files=len(live.files),
            added=len(added),
            removed=len(removed),
        )


@contextmanager
def _errors(address: str) -> Iterator[None]:
    """Turn errors of pyiceberg and of what it stands on into flowconv's."""
    try:
        yield
    # pyiceberg 0.12 may overlook a file that is to be removed, and refuses the commit then: its
    # threads share what tells whether a manifest can have it.
    except (CommitFailedException, TableAlreadyExistsError, ValidationException) as error:
        raise OvertakenError(address) from error
    except _ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise CatalogError(f"pyiceberg: {reason}", uri=address) from error


def _schema(columns: pa.Schema) -> Schema:
    """Return columns as Iceberg has them, numbered from 1."""
    return Schema(
        *(
            NestedField(number, column.name, _TYPES[column.type], required=False)
            for number, column in enumerate(columns, 1)
        )
    )


def _add_columns(table: IcebergTable, columns: pa.Schema) -> None:
    """Add the columns that this flowconv knows and a table lacks.

    Raises:
        CatalogError: A column has another type there.
    """
    there = {field.name: field.field_type for field in table.schema().fields}
    for column in columns:
        found = there.get(column.name, _TYPES[column.type])
        if found != _TYPES[column.type]:
            raise CatalogError(
                f"the Iceberg table's column {column.name} is {found}, expected "
                f"{_TYPES[column.type]}. Drop the table, without purging it, and register again.",
                uri=table.metadata_location,
            )
    if missing := [column for column in columns if column.name not in there]:
        with table.update_schema() as update:
            for column in missing:
                update.add_column(column.name, _TYPES[column.type])


def _manifests(table: IcebergTable) -> dict[str, ManifestFile]:
    """Return the path of each file that a table has -> the manifest that has its entry."""
    snapshot = table.current_snapshot()
    manifests = snapshot.manifests(table.io) if snapshot else []
    return {path: manifest for manifest in manifests for path in live_paths(manifest, table.io)}


def _entries(table: IcebergTable, manifests: Mapping[str, ManifestFile]) -> list[Entry]:
    """Return the entries of some files of a table, each given with its manifest."""
    found = {
        entry.data_file.file_path: entry.data_file
        for manifest in dict.fromkeys(manifests.values())
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }
    return [found[path] for path in manifests]


class _EntryMaker:
    """Makes the entries of files.

    Args:
        table: The table.
        live: Its files.
    """

    def __init__(self, table: IcebergTable, live: LiveTable) -> None:
        schema = table.schema()
        self._spec_id = table.spec().spec_id
        self._partitions = live.partitions.names
        self._fields = {field.name: field for field in schema.fields}

    def __call__(self, path: str, file: DataFile, bounds: Mapping[str, Bounds]) -> Entry:
        fields = {self._fields[name]: bound for name, bound in bounds.items()}
        values = partition_values(file.path)
        entry = Entry.from_args(
            content=DataFileContent.DATA,
            file_path=path,
            file_format=FileFormat.PARQUET,
            partition=Record(*(_partition(name, values[name]) for name in self._partitions)),
            record_count=file.rows,
            file_size_in_bytes=file.size_bytes,
            column_sizes={},
            value_counts={field.field_id: file.rows for field in fields},
            null_value_counts={field.field_id: bound.nulls for field, bound in fields.items()},
            nan_value_counts={},
            lower_bounds=_encoded({field: bound.least for field, bound in fields.items()}),
            upper_bounds=_encoded({field: bound.greatest for field, bound in fields.items()}),
            key_metadata=None,
            split_offsets=None,
            equality_ids=None,
            sort_order_id=None,
        )
        entry.spec_id = self._spec_id
        return entry


def _day_and_path(file: DataFile) -> tuple[str, str]:
    """Return what entries are sorted by, so that each manifest has few days."""
    return partition_values(file.path).get("date") or "", file.path


def _partition(name: str, value: str | None) -> str | int | None:
    """Return a partition's value as an entry has it: a day as its number since 1970."""
    return date_str_to_days(value) if name == "date" and value else value


def _encoded(bounds: Mapping[NestedField, Any]) -> dict[int, bytes]:
    return {
        field.field_id: to_bytes(
            _TIME if isinstance(value, datetime) else _SECONDS,
            datetime_to_micros(value) if isinstance(value, datetime) else value,
        )
        for field, value in bounds.items()
        if value is not None
    }


def _commit(table: IcebergTable, added: list[Entry], removed: list[Entry]) -> None:
    """Commit the difference, if there is one, and forget old snapshots."""
    if not (added or removed):
        return
    entries = max(_ENTRIES, -(-len(added) // _MOST_MANIFESTS))
    made: list[int] = []
    leaving = removed
    with table.transaction() as transaction:
        # A snapshot adds one manifest. All but the last one are passed through within the commit.
        for start in range(0, max(1, len(added)), entries):
            update = transaction.update_snapshot()
            with update.overwrite() if leaving else update.merge_append() as snapshot:
                for entry in added[start : start + entries]:
                    snapshot.append_data_file(entry)
                for entry in leaving:
                    snapshot.delete_data_file(entry)
            leaving = []
            made.append(snapshot.snapshot_id)
        if gone := [*_old_snapshots(table), *made[:-1]]:
            ExpireSnapshots(transaction).by_ids(gone).commit()


def _old_snapshots(table: IcebergTable) -> list[int]:
    """Return the snapshots whose time is over; not the current one, nor those with a name."""
    named = {reference.snapshot_id for reference in table.refs().values()}
    oldest = datetime_to_millis(datetime.now(UTC) - _SNAPSHOTS_STAY)
    return [
        snapshot.snapshot_id
        for snapshot in table.snapshots()
        if snapshot.timestamp_ms < oldest and snapshot.snapshot_id not in named
    ]
