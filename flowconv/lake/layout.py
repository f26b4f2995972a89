"""The layout: what all files of a lake have in common, in `_flowconv/lake.json`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowconv.errors import LakeError, UsageError
from flowconv.fields import Table
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.ledger import last_layout
from flowconv.lake.paths import LAYOUT, LEDGER
from flowconv.lake.table_folders import table_folders
from flowconv.option_values import Schema, TimeType
from flowconv.storage.interface import Storage, StoredFile

if TYPE_CHECKING:
    from flowconv.options import ConvertOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What all files of a lake have in common.

    Attributes:
        schema: Columns of its files, as `ConvertOptions.schema`.
        partition_by: Partition names, outermost first.
        time_type: Type of `start` and `end`.
        with_source: Every row names its object and line.
        version: Version of lake.json's own format.
    """

    schema: Schema = "flat"
    partition_by: tuple[str, ...]
    time_type: TimeType
    with_source: bool = False
    version: Literal[1] = 1


def is_lake(storage: Storage) -> bool:
    """Tell whether there is a lake.

    Raises:
        LakeError: There is a ledger, but lake.json is gone.
        StorageError: The storage does not answer.
    """
    return _written_layout(storage) is not None


def find_layout(storage: Storage) -> Layout | None:
    """Return a lake's layout; None if there is no lake.

    Raises:
        LakeError: lake.json is gone or damaged, or a later flowconv wrote it.
    """
    written = _written_layout(storage)
    if written is None:
        return None
    try:
        described = unseal(written)
        if described["version"] != 1:
            raise LakeError(
                f"found version {described['version']} of {LAYOUT}, expected 1: a later flowconv "
                "made this lake. Update flowconv.",
                uri=storage.root,
            )
        return _layout(described)
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{LAYOUT} is damaged ({error}). Restore it from a copy, or delete it and let "
            "flowconv verify --repair write it again.",
            uri=storage.root,
        ) from error


def _written_layout(storage: Storage) -> bytes | None:
    written = storage.read(LAYOUT)
    if written is None and next(storage.list_files(LEDGER), None):
        written = storage.read(LAYOUT)  # A run may have begun the lake in this moment.
        if written is None:
            raise LakeError(
                f"{LAYOUT} is gone, though the lake's ledger is there. Restore it from a copy, or "
                "let flowconv verify --repair write it again.",
                uri=storage.root,
            )
    return written


def read_layout(storage: Storage) -> Layout:
    """Return a lake's layout.

    Raises:
        LakeError: As `find_layout`; or there is no lake.
    """
    layout = find_layout(storage)
    if layout is None:
        raise LakeError(
            "this is not a flowconv lake: it has no _flowconv/lake.json. Check the path, or "
            "write one with flowconv convert.",
            uri=storage.root,
        )
    return layout


def read_flat_layout(storage: Storage, what: str) -> Layout:
    """Return the layout of a lake whose columns are the fields of flow logs.

    Args:
        storage: The lake.
        what: What needs them, such as "Compacting".

    Raises:
        LakeError: As `read_layout`; or it is a lake of OCSF.
    """
    layout = read_layout(storage)
    if layout.schema == "ocsf":
        raise LakeError(
            f"this lake has --schema ocsf. {what} needs --schema flat: convert the logs to a lake "
            "of their own for it. docs/ocsf.md says how a lake of OCSF is read.",
            uri=storage.root,
        )
    return layout


def lost_layout(storage: Storage) -> Layout | None:
    """Return the layout of a lake whose lake.json is gone, as its last run recorded it.

    Returns:
        None if lake.json is there, or no record of a run is.

    Raises:
        StorageError: The lake does not answer.
    """
    if storage.read(LAYOUT) is not None:
        return None
    described = last_layout(storage)
    return _layout(described) if described else None


def restore_layout(storage: Storage, layout: Layout) -> None:
    """Write lake.json again if it is gone."""
    storage.create(LAYOUT, seal(asdict(layout)))


def _layout(described: Mapping[str, Any]) -> Layout:
    return Layout(
        schema=described.get("schema", "flat"),
        partition_by=tuple(described["partition_by"]),
        time_type=described["time_type"],
        with_source=described["with_source"],
    )


def list_tables(storage: Storage, options: "ConvertOptions") -> dict[str, Iterator[StoredFile]]:
    """Return the files below each folder that a new lake would use for its tables.

    In S3 the listings are under way when this returns.
    """
    folders = table_folders(storage) if options.schema == "ocsf" else Table
    return {folder: storage.list_files(folder) for folder in folders}


def ensure_layout(
    storage: Storage,
    options: "ConvertOptions",
    found: Layout | None,
    tables: Mapping[str, Iterator[StoredFile]],
) -> Layout:
    """Begin a lake, or check that the options fit the lake that is there.

    Args:
        storage: The lake.
        options: Those of the run.
        found: What `find_layout` returned.
        tables: What `list_tables` returned, if there is no lake.

    Raises:
        LakeError: The lake has another layout, or the tables' folders hold files but no lake.
        UsageError: A new lake would lie among the files of another.
    """
    check_layout(storage, options, found, tables)
    layout = _wanted_layout(options)
    if found is None and not storage.create(LAYOUT, seal(asdict(layout))):
        # Another run began the lake just now.
        _require_same(layout, read_layout(storage), storage.root)
    return layout


def check_layout(
    storage: Storage,
    options: "ConvertOptions",
    found: Layout | None,
    tables: Mapping[str, Iterator[StoredFile]],
) -> None:
    """Check what `ensure_layout` does, with the same arguments and errors; begin nothing."""
    if found is not None:
        _require_same(_wanted_layout(options), found, storage.root)
        return
    from flowconv.source.opening import lake_around  # here: only new lakes need it

    if lake := lake_around(storage, options.dest_options):
        raise UsageError(
            f"DEST lies among the files of the lake {lake.root}, whose readers would read its "
            "rows, too. Choose another DEST.",
            uri=storage.root,
        )
    for folder, files in tables.items():
        # Another run may have begun the lake just now.
        if next(files, None) and not is_lake(storage):
            raise LakeError(
                f"there are files below {folder}/, but it is not a flowconv lake. Choose "
                "another DEST.",
                uri=storage.root,
            )


def _wanted_layout(options: "ConvertOptions") -> Layout:
    return Layout(
        schema=options.schema,
        partition_by=options.partition_by,
        time_type=options.time_type,
        with_source=options.with_source,
    )


def _require_same(wanted: Layout, found: Layout, root: str) -> None:
    if found.schema != wanted.schema:
        raise LakeError(
            f"this lake has --schema {found.schema}, and this run --schema {wanted.schema}; give "
            "the same, or choose another DEST.",
            uri=root,
        )
    if found != wanted:
        raise LakeError(
            f"this lake has --partition-by {','.join(found.partition_by)} --time-type "
            f"{found.time_type} {'--with-source' if found.with_source else 'without --with-source'}"
            "; give the same options, or choose another DEST.",
            uri=root,
        )
