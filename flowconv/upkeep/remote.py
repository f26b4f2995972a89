"""Partitions merged on an engine: a worker writes the files, the driver makes them count."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from flowconv.engines.engine import Remote
from flowconv.lake.layout import Layout
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.remote import LockWatch, Places, WatchedProgress
from flowconv.memory import giving_memory_back
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

    def open(self) -> "CompactionWorker":
        """See `engines.workers.Work`."""
        return CompactionWorker(self)


class CompactionWorker:
    """A lake, open in a worker's process; shared by its threads.

    Raises:
        EngineError: The worker does not see the lake.
    """

    def __init__(self, work: Compaction) -> None:
        lake, _ = work.places.open()
        self._merger = Merger(lake, work.layout, work.generation, work.options)
        self._lock = LockWatch(lake, work.run_id)
        self._stack = ExitStack()
        self._stack.enter_context(giving_memory_back())

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

    def close(self) -> None:
        """See `engines.workers.Worker`."""
        self._stack.close()


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
