"""The tables of a lake, with the files that count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from flowconv.fields import Table
from flowconv.lake.layout import Layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile
from flowconv.rows.partition_names import NULL_PARTITION, directory_name
from flowconv.rows.schema import table_schema
from flowconv.storage.interface import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """A table of a lake as the ledger had it when it was read.

    Attributes:
        columns: The columns of its files.
        partitions: The partitions, outermost first: a date, and texts.
        files: Path below the lake -> file.
    """

    columns: pa.Schema
    partitions: pa.Schema
    files: Mapping[str, DataFile]

    @property
    def schema(self) -> pa.Schema:
        """The columns, then the partitions."""
        return pa.schema([*self.columns, *self.partitions])


def read_live_tables(storage: Storage, layout: Layout) -> dict[Table, LiveTable]:
    """Return the tables of a lake.

    Raises:
        LakeError: The ledger is damaged.
        StorageError: The lake does not answer.
    """
    files = [file for file, _ in Ledger.read(storage).files().values() if file.is_written]
    partitions = [
        pa.field(directory_name(name), pa.date32() if name == "date" else pa.string())
        for name in layout.partition_by
    ]
    return {
        table: LiveTable(
            columns=table_schema(table, layout.time_type, with_source=layout.with_source),
            partitions=pa.schema(partitions),
            files={file.path: file for file in files if file.path.startswith(f"{table}/")},
        )
        for table in Table
    }


def catalog_name(table: Table) -> str:
    """Return what a table is called in catalogs: `vpc_flows` or `tgw_flows`."""
    return f"{table}_flows"


def partition_values(path: str) -> dict[str, str | None]:
    """Return the partitions of a file below the lake: name -> value, as text."""
    directories = [part.partition("=") for part in path.split("/")[1:-1]]
    return {name: _decoded(value) for name, _, value in directories}


def _decoded(value: str) -> str | None:
    """Undo `encode_value`; what is not UTF-8 is replaced, since no catalog holds it."""
    return None if value == NULL_PARTITION else unquote(value, errors="replace")


def object_store_options(storage: Storage) -> dict[str, str]:
    """Return how libraries on Rust's object_store reach the lake: empty if it is a folder."""
    if storage.is_local:
        return {}
    described: Any = storage.polars_options()
    options: dict[str, str] = described["storage_options"]
    provider = described["credential_provider"]
    return options | (provider()[0] if provider else {})
