"""What killed runs left behind: listed before a run begins, removed once it has begun."""

from collections.abc import Iterable, Sequence

from flowconv.fields import Table
from flowconv.lake.intents import read_intent
from flowconv.lake.ledger import Ledger
from flowconv.lake.paths import SET_ASIDE, STAGING, is_written_here
from flowconv.storage.interface import Storage, Unfinished


def list_unfinished(storage: Storage) -> list[Unfinished]:
    """List unfinished files of killed runs; the caller holds the lake's lock.

    To be called before a run begins (`Ledger.begin` lists the intents then): no later run has any
    of these, so they may be removed however late this run wakes up.
    """
    return storage.list_unfinished(STAGING, (*Table, "_flowconv"))


def remove_leftovers(storage: Storage, ledger: Ledger, unfinished: Sequence[Unfinished]) -> None:
    """Remove what killed runs left behind; the caller holds the lake's lock, and has begun."""
    noted = [path for intent in ledger.intents for path in read_intent(storage, intent)]
    leftovers = ledger.leftovers(noted) if noted else []
    if ledger.missing_records:
        # A lost record may have named them.
        set_aside(storage, [path for path in leftovers if is_written_here(path)], ledger.generation)
    storage.delete(leftovers)
    storage.delete(ledger.intents)
    storage.discard(unfinished)


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
