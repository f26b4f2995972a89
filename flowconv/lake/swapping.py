"""Compacted files take the place of others with the same rows: one record, and no row is missed."""

from collections.abc import Sequence
from datetime import datetime

from flowconv.errors import StorageError
from flowconv.lake.intents import taking_back, write_intent
from flowconv.lake.ledger import Ledger, LostLockError
from flowconv.lake.ledger_records import Swap
from flowconv.running import Stopped
from flowconv.storage.interface import Publishable, Storage


def commit_swap(
    storage: Storage,
    ledger: Ledger,
    run_id: str,
    name: str,
    swap: Swap,
    sinks: Sequence[Publishable],
    until: datetime | None = None,
) -> None:
    """Publish files, make them count in the place of others, and remove those.

    Args:
        storage: The lake.
        ledger: Its ledger.
        run_id: The run, which holds the lock.
        name: Of the intent; no other has it.
        swap: The files, with all rows of those that they replace.
        sinks: The files, which are not visible yet.
        until: When a later run may remove the replaced files; None: they are removed at once.

    Raises:
        StorageError: The lake does not answer, or is full; nothing has changed.
        LostLockError: Another run has taken the lake over.
    """
    new_paths = [file.path for file in swap.files if file.is_written]
    removed = () if until else swap.replaced
    intent = write_intent(storage, name, [*removed, *new_paths])
    if until:
        write_intent(storage, f"{name}-kept", swap.replaced, until)
    with taking_back(storage, new_paths, intent, StorageError, Stopped):
        for sink in sinks:
            sink.publish()
    with taking_back(storage, new_paths, intent, LostLockError):
        ledger.compact(run_id, *swap)
    storage.delete([*removed])
    storage.delete([intent])
