"""Partitions merged on an engine: a worker writes the files, the driver makes them count."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from flowconv.engines.engine import Remote
from flowconv.lake.layout import Layout
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.remote import LockWatch, Places, WatchedProgress
from flowconv.options import CompactOptions
from flowconv.running import RunProgress
from flowconv.storage.interface import HandedOver, Storage
from flowconv.upkeep.merging import MergedPartition, Merger, Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedPartition:
    """What a worker made of a partition; small, and picklable.

    Attributes:
        name: Beginning of its files' names.
        files: Its files.
        staged: The same, which are not visible yet.
        progress: What `RunProgress.add` is to be told.
    """

    name: str
    files: tuple[DataFile, ...]
    staged: tuple[HandedOver, ...]
    progress: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """The work of compacting, on an engine.

    Attributes:
        places: The lake.
        layout: Its layout.
        run_id: The run.
        generation: Number of the run's `begin`.
        options: The options of the run.
    """

    places: Places
    layout: Layout
    run_id: str
    generation: int
    options: CompactOptions

    @contextmanager
    def opened(self) -> Iterator["CompactionWorker"]:
        """See `engines.workers.Work`."""
        with self.places.opened() as (lake, _):
            merger = Merger(lake, self.layout, self.generation, self.options)
            yield CompactionWorker(merger, LockWatch(lake, self.run_id))


class CompactionWorker:
    """A lake, open in a worker's process; shared by its threads."""

    def __init__(self, merger: Merger, lock: LockWatch) -> None:
        self._merger = merger
        self._lock = lock

    def do(self, partition: Partition) -> HandedPartition:
        """Merge a partition; its files are left to the driver.

        Raises:
            LostLockError: The run has ended, or another has taken the lake over.
            LakeError, FetchError, StorageError: See `Merger.merge`.
        """
        progress = WatchedProgress(total_objects=0, total_bytes=0, watch=self._lock.check)
        merged = self._merger.merge(partition, progress)
        try:
            staged = merged.hand_over()
        finally:
            merged.discard()
        return HandedPartition(
            name=merged.name,
            files=tuple(merged.files),
            staged=staged,
            progress={"rows": progress.rows, "source_bytes": progress.source_bytes},
        )


class RemoteMerger:
    """Merges partitions on an engine; shared by the run's threads.

    Args:
        remote: The run's work on the engine.
        lake: The lake.
    """

    def __init__(self, remote: Remote, lake: Storage) -> None:
        self._remote = remote
        self._lake = lake
        self.places = remote.places
        """Tells the number of partitions that may be under way at once."""

    def merge(self, partition: Partition, progress: RunProgress) -> MergedPartition:
        """Have a partition merged; see `Merger.merge`.

        Raises:
            EngineError: The engine failed, or a worker that has no access.
        """
        handed: HandedPartition = self._remote.do(partition, progress.add).result
        sinks = [self._lake.adopt(file) for file in handed.staged]
        merged = MergedPartition(handed.name, handed.files, sinks)
        try:
            progress.add(**handed.progress)
        except BaseException:
            merged.discard()
            raise
        return merged
