"""Gaps that an owner knows of, in `_flowconv/acknowledged.json`; nothing else depends on it."""

from collections.abc import Iterable, Mapping
from typing import Any

from flowconv.errors import LakeError
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.paths import ACKNOWLEDGED
from flowconv.storage.interface import Storage


def read_acknowledged(storage: Storage) -> list[dict[str, Any]]:
    """Return what was acknowledged, as it was written.

    Raises:
        LakeError: The file is damaged.
        StorageError: The lake does not answer.
    """
    written = storage.read(ACKNOWLEDGED)
    if written is None:
        return []
    try:
        return [dict(gap) for gap in unseal(written)["gaps"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LakeError(
            f"{ACKNOWLEDGED} is damaged ({error}). Restore it from a copy, or delete it and let "
            "flowconv gaps --ack write it again.",
            uri=storage.root,
        ) from error


def write_acknowledged(storage: Storage, gaps: Iterable[Mapping[str, Any]]) -> None:
    """Write what is acknowledged, in place of what was; the caller holds the lake's lock."""
    storage.write(ACKNOWLEDGED, seal({"gaps": list(gaps)}))
