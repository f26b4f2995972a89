"""A ledger's records are merged into a checkpoint, beside a run or at its end."""

import threading
from collections.abc import Iterable
from concurrent.futures import Future

from flowconv.lake.intents import write_intent
from flowconv.lake.last_number import LastNumber
from flowconv.lake.paths import record_path
from flowconv.lake.snapshot import LedgerState
from flowconv.memory import giving_memory_back
from flowconv.running import started
from flowconv.storage.interface import Storage


class Merging:
    """What merges a ledger's records.

    Args:
        storage: The lake.
        state: What the records say.
        last_number: The number in ledger.json.
        outdated: Files of checkpoints that are removed by the next merge.
    """

    def __init__(
        self,
        storage: Storage,
        state: LedgerState,
        last_number: LastNumber,
        outdated: Iterable[str],
    ) -> None:
        self._storage = storage
        self._state = state
        self._last_number = last_number
        self._outdated = list(outdated)
        self._lock = threading.Lock()
        self._beside: Future[None] | None = None

    def begin(self) -> None:
        """Merge in a thread of its own, if none does; what failed before is raised here."""
        with self._lock:
            before = self._beside
            if before is None or before.done():
                self._beside = started(self.merge)
        if before and before.done():
            before.result()

    def finish(self) -> None:
        """Wait for a merge that has begun; why it failed is raised here."""
        if self._beside:
            self._beside.result()

    @giving_memory_back()
    def merge(self) -> None:
        """Write a checkpoint of everything so far, and remove the records that it holds.

        Another thread may commit meanwhile, but not merge.
        """
        content = self._state.snapshot()
        old = content.checkpoint
        if content.number == old.number:
            return  # Its files have these names already.
        from flowconv.lake.checkpoint_tables import OBJECTS_SCHEMA

        self._last_number.note(content.number)
        records = [record_path(number) for number in content.merged_away]
        intent = write_intent(self._storage, f"merge-{content.number}", records)
        kept = content.number_kept()
        merged = old.replaced_by(
            content.number,
            content.object_batches(*OBJECTS_SCHEMA.names, after_files=kept),
            content.file_batches(),
            content.runs(),
            content.expired(),
            after_files=kept,
        )
        self._state.merge(content, merged)
        self._storage.delete(records)
        self._storage.delete([intent])
        # Earlier checkpoints, and incomplete ones: these cannot count even if their run wakes up.
        self._storage.delete(self._outdated)
        self._outdated = [path for path in old.paths if path not in merged.paths]
