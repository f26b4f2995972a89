"""What all files of a lake have in common: `_flowconv/lake.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowconv.errors import LakeError
from flowconv.fields import Table
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.ledger import last_layout
from flowconv.lake.paths import LEDGER
from flowconv.options import ConvertOptions, TimeType
from flowconv.storage.interface import Storage

if TYPE_CHECKING:
    pass
from flowconv.lake.paths import LAYOUT


@dataclass(frozen=True, slots=True)
class Layout:
    """What all files of a lake have in common.

    Attributes:
        partition_by: Partition names, outermost first.
        time_type: Type of `start` and `end`.
        with_source: Every row has its object and line.
        version: Of this description; 1.
    """

    partition_by: tuple[str, ...]
    time_type: TimeType
    with_source: bool = False
    version: Literal[1] = 1


def is_lake(storage: Storage) -> bool:
    """Tell whether a lake was begun there.

    Raises:
        LakeError: There is a ledger, but lake.json is gone.
        StorageError: The place does not answer.
    """
    if storage.read(LAYOUT) is not None:
        return True
    if next(storage.list_files(LEDGER), None) and storage.read(LAYOUT) is None:
        raise LakeError(
            f"{LAYOUT} is gone, though the lake's ledger is there. Restore it from a copy, or let "
            "flowconv verify --repair write it again.",
            uri=storage.root,
        )
    return False


def read_layout(storage: Storage) -> Layout:
    """Return a lake's layout.

    Raises:
        LakeError: There is none, it is gone, or it was written by a later flowconv.
    """
    written = storage.read(LAYOUT)
    if written is None and not is_lake(storage):
        raise LakeError(
            "this is no lake of flowconv: it has no _flowconv/lake.json. Check the path, or "
            "write one with flowconv convert.",
            uri=storage.root,
        )
    try:
        described = unseal(written or b"")
        if described["version"] != 1:
            raise LakeError("a later flowconv made this lake; update flowconv.", uri=storage.root)
        return _layout(described)
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{LAYOUT} is damaged ({error}). Restore it from a copy, or delete it and let "
            "flowconv verify --repair write it again.",
            uri=storage.root,
        ) from error


def lost_layout(storage: Storage) -> Layout | None:
    """Return the layout of a lake whose lake.json is gone, as its last run knew it.

    Returns:
        None if lake.json is there, or nothing tells that this was a lake.

    Raises:
        StorageError: The lake does not answer.
    """
    if storage.read(LAYOUT) is not None:
        return None
    described = last_layout(storage)
    return _layout(described) if described else None


def restore_layout(storage: Storage, layout: Layout) -> None:
    """Write lake.json again, if it is gone."""
    storage.create(LAYOUT, seal(asdict(layout)))


def _layout(described: Mapping[str, Any]) -> Layout:
    return Layout(
        tuple(described["partition_by"]), described["time_type"], described["with_source"]
    )


def ensure_layout(storage: Storage, options: ConvertOptions) -> Layout:
    """Begin a lake, or make sure that the options are those that it was begun with.

    Raises:
        LakeError: It has another layout, or there are tables of somebody else.
    """
    layout = Layout(options.partition_by, options.time_type, options.with_source)
    if not is_lake(storage):
        for table in Table:
            # Unless another run has begun the lake in this moment.
            if next(storage.list_files(table), None) and not is_lake(storage):
                raise LakeError(
                    f"there are files below {table}/, but it is no lake of flowconv. Choose "
                    "another DEST.",
                    uri=storage.root,
                )
        if storage.create(LAYOUT, seal(asdict(layout))):
            return layout
    found = read_layout(storage)
    if found != layout:
        raise LakeError(
            f"this lake has --partition-by {','.join(found.partition_by)} --time-type "
            f"{found.time_type} {'--with-source' if found.with_source else 'without --with-source'}"
            "; give the same options, or choose another DEST.",
            uri=storage.root,
        )
    return layout
