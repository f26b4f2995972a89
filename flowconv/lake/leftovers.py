"""What killed runs left behind: listed before a run begins, removed once it has begun."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple

from flowconv.fields import Table
from flowconv.lake.intents import read_intent
from flowconv.lake.layout import Layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.paths import INTENTS, SET_ASIDE, STAGING, is_written_here
from flowconv.storage.interface import Storage, Unfinished


class Leftovers(NamedTuple):
    """What killed runs left behind.

    Attributes:
        unfinished: Files that were being written.
        intents: Notes of files that may not count.
    """

    unfinished: Sequence[Unfinished]
    intents: Sequence[str]


def list_leftovers(storage: Storage, layout: Layout) -> Leftovers:
    """List what killed runs left behind; the caller holds the lake's lock.

    To be called before a run begins: no later run has any of these, so they may be removed however
    late this run wakes up.
    """
    # In S3 both are under way together.
    intents = storage.list_files(INTENTS)
    if layout.schema == "ocsf":
        # Its tables have no folder of their own.
        unfinished = [
            file
            for file in storage.list_unfinished(STAGING)
            if file.path.startswith("_flowconv/") or is_written_here(file.path)
        ]
    else:
        unfinished = storage.list_unfinished(STAGING, (*Table, "_flowconv"))
    return Leftovers(unfinished, [file.path for file in intents])


def remove_leftovers(storage: Storage, ledger: Ledger, leftovers: Leftovers) -> None:
    """Remove what killed runs left behind; the caller holds the lake's lock, and has begun."""
    intents = {path: read_intent(storage, path) for path in leftovers.intents}
    now = datetime.now(UTC)
    due = {path: i.paths for path, i in intents.items() if i.until is None or i.until <= now}
    noted = list(chain.from_iterable(due.values()))
    paths = ledger.leftovers(noted) if noted else []
    if ledger.missing_records:
        # A lost record may have named them.
        set_aside(storage, [path for path in paths if is_written_here(path)], ledger.generation)
    storage.delete(paths)
    storage.delete(list(due))
    storage.discard(leftovers.unfinished)


def set_aside(storage: Storage, paths: Iterable[str], generation: int) -> dict[str, str]:
    """Move files out of the tables, and keep them: their rows may be nowhere else.

    Args:
        storage: The lake.
        paths: The files; those that are gone are skipped.
        generation: Number of this run's `begin`.

    Returns:
        Path -> where it is now.
    """
    moves = {path: f"{SET_ASIDE}/{generation}/{path}" for path in paths}
    return {path: target for path, target in moves.items() if storage.move(path, target)}
