"""Notes of the files that a run is about to publish or remove, below `_flowconv/intents/`.

A note is removed when that is done. The note of a run that was killed stays, and the next run
removes those of its files that do not count.
"""

from collections.abc import Iterable

from flowconv.lake.checksums import seal, unseal
from flowconv.lake.paths import INTENTS
from flowconv.storage.interface import Storage


def write_intent(storage: Storage, name: str, paths: Iterable[str]) -> str:
    """Write a note and return its path; no other run may use its name."""
    intent = f"{INTENTS}/{name}.json"
    storage.write(intent, seal({"paths": sorted(paths)}))
    return intent


def read_intent(storage: Storage, intent: str) -> list[str]:
    """Return the paths in a note; none if it is gone, damaged, or not written by flowconv."""
    written = storage.read(intent)
    try:
        return list(unseal(written)["paths"]) if written else []
    except (ValueError, KeyError):
        return []
