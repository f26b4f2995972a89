"""A table of a lake -> a table of the Glue Data Catalog, for Athena and EMR, over the same folders.

Glue knows folders, not files: a partition is a folder, and engines read what is in it. So a table
here is up to date when it has the folders of all files that count; nothing else can be committed.
Values are text, as AWS advises
(https://docs.aws.amazon.com/athena/latest/ug/partitions.html).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from flowconv.catalogs.live_tables import LiveTable, catalog_name, partition_values
from flowconv.catalogs.registered import DATABASE, OvertakenError, RegisteredTable, Target
from flowconv.errors import CatalogError, UsageError
from flowconv.fields import Table
from flowconv.rows.partition_names import NULL_PARTITION
from flowconv.rows.schema import TIMESTAMP
from flowconv.storage.aws import ADVICE, known_settings
from flowconv.storage.interface import Storage

_TYPES: Mapping[pa.DataType, str] = {
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.string(): "string",
    TIMESTAMP: "timestamp",
}

# Glue takes no more partitions in a request.
_MOST_CREATED = 100
_MOST_DELETED = 25

# The lake that a table has the folders of.
_LAKE = "flowconv.lake"

_FORMAT = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    },
}

_Values = tuple[str, ...]


@contextmanager
def opened(storage: Storage, target: Target) -> "Iterator[Catalog]":
    """Open the Glue Data Catalog of the account whose credentials reach the lake.

    Raises:
        CatalogError: The credentials or the region are missing.
        UsageError: The lake is not in S3, or another catalog is asked for.
    """
    if storage.is_local:
        raise UsageError("Glue knows lakes in S3 only: s3://bucket/prefix.", uri=storage.root)
    if target.catalog:
        raise UsageError("--to glue takes no --catalog; --database NAME names its database.")
    option = target.options.get
    with _errors(storage.root), known_settings():
        client = botocore.session.Session(profile=option("profile")).create_client(
            "glue",
            region_name=option("region"),
            aws_access_key_id=option("key"),
            aws_secret_access_key=option("secret"),
            aws_session_token=option("token"),
        )
    try:
        yield Catalog(storage, client, target.database or DATABASE)
    finally:
        client.close()


class Catalog:
    """The Glue Data Catalog; `opened` makes it."""

    def __init__(self, storage: Storage, client: Any, database: str) -> None:
        self.storage = storage
        self.client = client
        self.database = database

    def table(self, table: Table) -> "CatalogTable":
        """Return a table as it is now, or the place for one.

        Raises:
            CatalogError: Glue does not answer, or the table is another lake's.
        """
        name = catalog_name(table)
        with _errors(f"{self.database}.{name}"):
            try:
                found = self.client.get_table(DatabaseName=self.database, Name=name)["Table"]
            except self.client.exceptions.EntityNotFoundException:
                return CatalogTable(self, table, None)
        if found.get("Parameters", {}).get(_LAKE) != self.storage.root:
            raise CatalogError(
                f"there is a table {name} that is not this lake's. Choose another database: "
                "--database NAME.",
                uri=f"{self.database}.{name}",
            )
        return CatalogTable(self, table, found)


class CatalogTable:
    """A table of Glue as it is now, or the place for one; `Catalog.table` makes it."""

    def __init__(self, catalog: Catalog, table: Table, found: Mapping[str, Any] | None) -> None:
        self._catalog = catalog
        self._client = catalog.client
        self._place = {"DatabaseName": catalog.database, "TableName": catalog_name(table)}
        self._folder = f"{catalog.storage.location('')}/{table}/"
        self._found = found

    def publish(self, live: LiveTable) -> RegisteredTable | None:
        """Make the table have the folders of the files that count; None if there is no such file.

        Raises:
            OvertakenError: Another process has made the table meanwhile.
            CatalogError: Glue refuses, or does not answer.
        """
        if not (self._found or live.files):
            return None
        name = ".".join(self._place.values())
        wanted = dict(_folders(live.files))
        with _errors(name):
            described = self._write_table(live)
            there = set(self._partitions())
            added = [values for values in wanted if values not in there]
            removed = [values for values in there if values not in wanted]
            self._create(described, {values: wanted[values] for values in added})
            self._delete(removed)
            version = self._client.get_table(
                DatabaseName=self._place["DatabaseName"], Name=self._place["TableName"]
            )["Table"].get("VersionId", "")
        return RegisteredTable(
            name=name,
            address=self._folder,
            version=str(version),
            files=len(live.files),
            added=len(added),
            removed=len(removed),
        )

    def _write_table(self, live: LiveTable) -> dict[str, Any]:
        """Make the table, or add columns to it; return its StorageDescriptor."""
        columns = [{"Name": column.name, "Type": _TYPES[column.type]} for column in live.columns]
        there = self._found["StorageDescriptor"]["Columns"] if self._found else []
        names = {column["Name"] for column in there}
        missing = [column for column in columns if column["Name"] not in names]
        # New columns come last: partitions keep the columns of their time.
        kept = [{"Name": column["Name"], "Type": column["Type"]} for column in there]
        described = _FORMAT | {"Columns": kept + missing, "Location": self._folder}
        if not missing:
            return described
        written = {
            "Name": self._place["TableName"],
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {
                "EXTERNAL": "TRUE",
                "classification": "parquet",
                _LAKE: self._catalog.storage.root,
            },
            "PartitionKeys": [{"Name": name, "Type": "string"} for name in live.partitions.names],
            "StorageDescriptor": described,
        }
        database = self._place["DatabaseName"]
        if self._found:
            self._client.update_table(DatabaseName=database, TableInput=written)
            return described
        with suppress(self._client.exceptions.AlreadyExistsException):
            self._client.create_database(DatabaseInput={"Name": database})
        self._client.create_table(DatabaseName=database, TableInput=written)
        return described

    def _partitions(self) -> Iterator[_Values]:
        pages = self._client.get_paginator("get_partitions").paginate(
            **self._place, ExcludeColumnSchema=True
        )
        for page in pages:
            for partition in page["Partitions"]:
                yield tuple(partition["Values"])

    def _create(self, described: Mapping[str, Any], folders: Mapping[_Values, str]) -> None:
        root = self._catalog.storage.location("")
        partitions = [
            {
                "Values": list(values),
                "StorageDescriptor": {**described, "Location": f"{root}/{folder}/"},
            }
            for values, folder in folders.items()
        ]
        for some in _batches(partitions, _MOST_CREATED):
            answer = self._client.batch_create_partition(**self._place, PartitionInputList=some)
            # Another process may have created it meanwhile.
            _check(answer, "AlreadyExistsException")

    def _delete(self, partitions: Iterable[_Values]) -> None:
        for some in _batches([{"Values": list(values)} for values in partitions], _MOST_DELETED):
            answer = self._client.batch_delete_partition(**self._place, PartitionsToDelete=some)
            _check(answer, "EntityNotFoundException")


def _folders(paths: Iterable[str]) -> Iterator[tuple[_Values, str]]:
    """Give the values of each file's partition, null as Hive has it, and its folder."""
    for folder in {path.rpartition("/")[0] for path in paths}:
        values = partition_values(f"{folder}/")
        yield tuple(NULL_PARTITION if v is None else v for v in values.values()), folder


def _batches(items: Sequence[Any], most: int) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(islice(remaining, most)):
        yield batch


def _check(answer: Mapping[str, Any], ignored: str) -> None:
    """Check what became of each partition.

    Raises:
        ClientError: One was refused.
    """
    for error in answer.get("Errors", []):
        detail = error["ErrorDetail"]
        if detail["ErrorCode"] != ignored:
            described = {"Code": detail["ErrorCode"], "Message": detail.get("ErrorMessage", "")}
            raise ClientError({"Error": described}, "BatchPartition")


@contextmanager
def _errors(address: str) -> Iterator[None]:
    """Turn botocore's errors into flowconv's."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        answer = error.response.get("Error", {}) if isinstance(error, ClientError) else {}
        code = answer.get("Code") or type(error).__name__
        if code == "AlreadyExistsException":
            raise OvertakenError(address) from error
        said = ADVICE.get(code) or " ".join(str(error).split())[:300]
        raise CatalogError(f"Glue: {said}", uri=address) from error
