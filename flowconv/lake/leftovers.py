"""What killed runs left: listed before a run begins, removed once it has begun."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flowconv.fields import Table
from flowconv.lake.ledger import Ledger, read_intent
from flowconv.lake.paths import STAGING
from flowconv.storage.interface import Storage, Unfinished

if TYPE_CHECKING:
    pass
from flowconv.lake.paths import SET_ASIDE, is_written_here


def list_unfinished(storage: Storage) -> list[Unfinished]:
    """List what runs left that were killed; the caller holds the lake's lock.

    To be called before a run begins, as `Ledger.begin` does with the intents: a run that takes over
    later has none of these, so they may be removed however late this one wakes up.
    """
    return storage.list_unfinished(STAGING, (*Table, "_flowconv"))


def remove_leftovers(storage: Storage, ledger: Ledger, unfinished: Sequence[Unfinished]) -> None:
    """Remove what runs left that were killed; the caller holds the lake's lock, and has begun."""
    noted = [path for intent in ledger.intents for path in read_intent(storage, intent)]
    leftovers = ledger.leftovers(noted) if noted else []
    if ledger.missing_records:
        # A record that is gone may have named them.
        set_aside(storage, [path for path in leftovers if is_written_here(path)], ledger.generation)
    storage.delete(leftovers)
    storage.delete(ledger.intents)
    storage.discard(unfinished)


def set_aside(storage: Storage, paths: Iterable[str], generation: int) -> dict[str, str]:
    """Take files away from the tables, and keep them: their rows may be nowhere else.

    Args:
        storage: The lake.
        paths: The files; those that are gone are left out.
        generation: Number of this run's `begin`.

    Returns:
        Path -> where it is now.
    """
    moved = {path: f"{SET_ASIDE}/{generation}/{path}" for path in paths}
    return {path: to for path, to in moved.items() if storage.move(path, to)}
