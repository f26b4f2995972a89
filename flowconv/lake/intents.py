"""Notes of the files that a run is about to publish or remove, below `_flowconv/intents/`.

A note is removed when that is done. The note of a run that was killed stays, and the next run
removes those of its files that do not count. The note of files that are kept for a time stays until
a run begins after that time.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

from flowconv.errors import FlowconvError
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.paths import INTENTS
from flowconv.storage.interface import Storage


class Intent(NamedTuple):
    """A note.

    Attributes:
        paths: The files.
        until: When they may be removed; None: at any time.
    """

    paths: Sequence[str]
    until: datetime | None = None


def write_intent(
    storage: Storage, name: str, paths: Iterable[str], until: datetime | None = None
) -> str:
    """Write a note and return its path; no other run may use its name."""
    intent = f"{INTENTS}/{name}.json"
    described: dict[str, object] = {"paths": sorted(paths)}
    if until:
        described["until"] = until.isoformat(timespec="seconds")
    storage.write(intent, seal(described))
    return intent


def read_intent(storage: Storage, intent: str) -> Intent:
    """Return a note; one without paths if it is gone, damaged, or not written by flowconv."""
    written = storage.read(intent)
    try:
        described: dict[str, Any] = unseal(written) if written else {"paths": ()}
        until = described.get("until")
        return Intent(list(described["paths"]), datetime.fromisoformat(until) if until else None)
    except (ValueError, KeyError, TypeError):
        return Intent(())


@contextmanager
def taking_back(
    storage: Storage, paths: Sequence[str], intent: str, *errors: type[Exception]
) -> Iterator[None]:
    """Remove published files if one of the errors is raised, or leave them to the next run."""
    try:
        yield
    except errors:
        # A run that took over may have looked for leftovers before these files were there.
        with suppress(FlowconvError):
            storage.delete(paths)
            storage.delete([intent])
        raise
