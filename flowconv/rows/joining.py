"""Of stage 4: batches of few rows -> one, since most of what a batch costs it costs once.

An object of Parquet or JSON is a batch at least, and many have some dozens of rows.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from flowconv.blocks.block import Events
from flowconv.rows.batch import RawBatch

# A batch of so many goes on alone.
ENOUGH_ROWS = 8192

# What waits takes no more memory than a block.
_MOST_BYTES = 8 << 20


class BatchJoiner:
    """Joins batches of the same format, in their order. For one thread."""

    def __init__(self) -> None:
        self._waiting: list[RawBatch] = []
        self._rows = self._size_bytes = 0

    def add(self, batch: RawBatch) -> Iterator[RawBatch]:
        """Add a batch, and give out what need not wait."""
        waits = batch.table.num_rows < ENOUGH_ROWS
        if self._waiting and not (waits and _are_alike(self._waiting[0], batch)):
            yield from self.take()
        if not waits:
            yield batch
            return
        self._waiting.append(batch)
        self._rows += batch.table.num_rows
        self._size_bytes += batch.table.get_total_buffer_size()
        if self._rows >= ENOUGH_ROWS or self._size_bytes >= _MOST_BYTES:
            yield from self.take()

    def take(self) -> Iterator[RawBatch]:
        """Give out what waits."""
        waiting, self._waiting = self._waiting, []
        self._rows = self._size_bytes = 0
        if len(waiting) > 1:
            yield _joined(waiting)
        else:
            yield from waiting


def _are_alike(first: RawBatch, second: RawBatch) -> bool:
    return (
        first.format == second.format
        and (first.events is None) == (second.events is None)
        and first.table.schema == second.table.schema
    )


def _joined(batches: list[RawBatch]) -> RawBatch:
    table = pa.concat_tables([batch.table for batch in batches])
    events = [batch.events for batch in batches if batch.events is not None]
    return batches[0]._replace(
        table=table.unify_dictionaries().combine_chunks(),
        sources=tuple(source for batch in batches for source in batch.sources),
        lines=np.concatenate([batch.lines for batch in batches]),
        events=Events.joined(events) if events else None,
    )
