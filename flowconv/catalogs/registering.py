"""register(): a lake's committed files are published in a catalog of other engines."""

import os
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_args

from flowconv.catalogs.live_tables import read_live_tables
from flowconv.catalogs.registered import OvertakenError, RegisteredTable, RegisterReport, Target
from flowconv.errors import FetchError, LakeError, UsageError
from flowconv.fields import Table
from flowconv.lake.layout import Layout, read_flat_layout
from flowconv.options import CatalogKind
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from flowconv.values import check_choice

# What each catalog needs, by the name under which it is imported; extras are named as catalogs.
_LIBRARIES: Mapping[CatalogKind, tuple[str, ...]] = {
    "delta": ("deltalake",),
    "iceberg": ("pyiceberg", "sqlalchemy"),
    "glue": (),
}

# Another run may replace files, or register the lake, in each of these.
_ATTEMPTS = 5


def register(
    lake: str | os.PathLike[str],
    to: CatalogKind,
    *,
    catalog: str | None = None,
    database: str | None = None,
    options: Mapping[str, str] | None = None,
) -> RegisterReport:
    """Make the tables of a catalog have the files of a lake that count, without copying them.

    Each table changes at once: files that are new are added, those that were replaced or have
    expired are taken out. Nothing is written if nothing is new. A run that is killed is completed
    by the next.

    Args:
        lake: The lake: the DEST given to `convert`.
        to: The kind of catalog: `delta`, `iceberg` or `glue`.
        catalog: For Iceberg, a catalog of your own, by its name in pyiceberg's configuration. If it
            is not given, the catalog is a file in the folder `iceberg/` of the lake.
        database: For Iceberg and Glue, the tables' database; `flowconv` if it is not given.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        Each table, its address and its version.

    Raises:
        UsageError: There is no such kind of catalog, or its library is not installed.
        LakeError: There is no lake, its ledger is damaged, or files are gone.
        CatalogError: The catalog refuses, or another table is in the way.
        StorageError: The lake does not answer.
    """
    began = time.monotonic()
    _refuse_ducklake(to)
    check_choice(to, get_args(CatalogKind), "--to")
    for library in _LIBRARIES[to]:
        if find_spec(library) is None:
            raise UsageError(
                f"--to {to} needs {library}, which is not installed. Install it: "
                f"pip install 'flowconv[{to}]'"
            )
    storage = open_storage(lake, options or {})
    layout = read_flat_layout(storage, "flowconv register")
    target = Target(catalog=catalog, database=database, options=options or {})
    with import_module(f"flowconv.catalogs.{to}").opened(storage, target) as opened:
        tables = _publish(storage, layout, opened)
    return RegisterReport(
        lake=storage.root,
        catalog=to,
        tables=tuple(tables),
        seconds=time.monotonic() - began,
    )


def _refuse_ducklake(to: object) -> None:
    # Tried with format 1.0 (DuckDB 1.5.5): after ducklake_merge_adjacent_files, its clean-up
    # deletes files that ducklake_add_data_files has added, and no option keeps them. See
    # https://ducklake.select/docs/stable/duckdb/metadata/adding_files.
    if to == "ducklake":
        raise UsageError(
            "--to ducklake: DuckLake takes over the files that it is told of, and its clean-up "
            "would delete the lake's own. DuckDB reads the tables of --to delta and iceberg, and a "
            "lake by flowconv ddl --dialect duckdb."
        )


def _publish(storage: Storage, layout: Layout, catalog: Any) -> list[RegisteredTable]:
    """Publish both tables in an open catalog.

    Raises:
        OvertakenError: Others change a table all the time.
        LakeError: A file that counts is gone.
    """
    published: dict[Table, RegisteredTable | None] = {}
    for attempt in range(1, _ATTEMPTS + 1):
        # In this order: if a catalog has what a later run committed, so has the ledger.
        found = {table: catalog.table(table) for table in Table if table not in published}
        live = read_live_tables(storage, layout)
        try:
            for table, there in found.items():
                published[table] = there.publish(live[table])
            break
        except OvertakenError:
            if attempt == _ATTEMPTS:
                raise
        except FetchError as error:
            # It may have been replaced since the ledger was read.
            if attempt == _ATTEMPTS:
                raise LakeError(
                    f"a file that the ledger names cannot be read: {error.reason} If a lifecycle "
                    "rule of the bucket deleted it, flowconv expire --gone settles it; else "
                    "flowconv verify --repair converts its objects again.",
                    uri=error.uri,
                ) from error
    return [table for table in published.values() if table]
