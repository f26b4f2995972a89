"""What makes a task's rows count: its files are published, then its commit is recorded."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from flowconv.conversion.planning import Task
from flowconv.conversion.report import TaskResult
from flowconv.conversion.task import Cores
from flowconv.errors import FlowconvError, StorageError
from flowconv.events import log_event
from flowconv.lake.intents import taking_back, write_intent
from flowconv.lake.ledger import Ledger, LostLockError
from flowconv.lake.ledger_records import NO_SWAP, Commit, DataFile, Swap
from flowconv.lake.notes import notes_without
from flowconv.options import ConvertOptions
from flowconv.running import Stopped, started
from flowconv.storage.interface import Publishable, Storage

if TYPE_CHECKING:
    from flowconv.lake.writing import StagedFile

# Files of a task that are published at once in S3, a round trip or two each.
_PUBLISHED_AT_ONCE = 16


class StagedTask(Protocol):
    """A task whose files are complete, and not visible yet."""

    name: str
    """Beginning of its files' names."""

    result: TaskResult

    @property
    def files(self) -> Sequence[Publishable]:
        """Its files."""
        ...

    def discard_unpublished(self) -> None:
        """Remove all files that are not published."""
        ...


class Removals:
    """Removes files of a lake; in S3 beside what follows. The `with` block ends when all are gone.

    If the process is killed before, the next run finds them by their intent.

    Raises:
        StorageError: At the end of the block, unless it failed: the lake does not answer.
    """

    def __init__(self, lake: Storage) -> None:
        self._lake = lake
        self._under_way: list[Future[None]] = []

    def begin(self, *groups: Sequence[str]) -> None:
        """Remove groups of files, one group after the other."""

        def remove() -> None:
            for paths in groups:
                self._lake.delete(paths)

        if self._lake.is_local:
            remove()
        else:
            self._under_way.append(started(remove))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(*[FlowconvError] if error else ()):
            for removal in self._under_way:
                removal.result()


class TaskCommitter:
    """Commits the tasks of a run; shared by its threads.

    Args:
        lake: The lake.
        ledger: Its ledger.
        run_id: The run.
        options: The options of the run.
        cores: What handles rows.
        replaced: The tasks that the run replaces, those of each new one together; complete before
            the first is committed.
        removals: Removes what does not count any more.
    """

    def __init__(
        self,
        lake: Storage,
        ledger: Ledger,
        run_id: str,
        options: ConvertOptions,
        cores: Cores,
        replaced: Sequence[tuple[str, ...]],
        removals: "Removals",
    ) -> None:
        self._lake = lake
        self._ledger = ledger
        self._run_id = run_id
        self._options = options
        self._cores = cores
        self._replaced = replaced
        self._removals = removals
        # Tasks that are replaced may have rows in the same compacted file.
        self._replacing = threading.Lock()

    def commit(self, task: Task, staged: StagedTask, go_on: Callable[[], None]) -> TaskResult:
        """Publish a task's files, make them count, and return its result.

        Args:
            task: The task.
            staged: What it wrote; a failure leaves nothing of it behind.
            go_on: Called before each file is published; stops by raising.

        Raises:
            StorageError: The lake does not answer, or is full.
            LakeError: Another run has taken the lake over.
            Stopped: The run is to end.
        """
        try:
            if staged.result.objects:
                self._commit(task, staged, go_on)
        finally:
            staged.discard_unpublished()
        self._log(staged.result)
        return staged.result

    def _commit(self, task: Task, staged: StagedTask, go_on: Callable[[], None]) -> None:
        if not task.replaces:
            self._publish_and_commit(task, staged, go_on)
            return
        with self._replacing:
            self._cores.run(partial(self._separate, task))
            # Read here: another task may just have rewritten the same files.
            shared = self._ledger.compacted_with(task.replaces)
            rewritten = self._cores.run(partial(self._rewrite, task, shared))
            notes = self._ledger.notes_with(task.replaces)
            swap = Swap(
                (
                    *(file.file for file in rewritten),
                    *notes_without(notes, task.replaces, self._ledger.generation),
                ),
                tuple(file.path for file in (*shared, *notes)),
            )
            try:
                self._publish_and_commit(task, staged, go_on, swap, rewritten)
            finally:
                for file in rewritten:
                    file.sink.discard()

    def _separate(self, task: Task) -> None:
        """Cut a task's rows and those of all that will be replaced out of the files they share."""
        from flowconv.lake.separating import separate_tasks

        for file in self._ledger.compacted_with(task.replaces):
            there = {share.task_id for share in file.shares}
            others = [
                task_ids
                for task_ids in self._replaced
                if task_ids != task.replaces and not there.isdisjoint(task_ids)
            ]
            if others:
                separate_tasks(
                    self._lake,
                    self._ledger,
                    self._run_id,
                    file,
                    [task.replaces, *others],
                    self._options,
                )

    def _rewrite(self, task: Task, shared: Sequence[DataFile]) -> list["StagedFile"]:
        """Write compacted files without the rows that are replaced."""
        from flowconv.lake.compacted import rewrite_without

        return rewrite_without(
            self._lake, shared, task.replaces, self._ledger.generation, self._options
        )

    def _publish_and_commit(
        self,
        task: Task,
        staged: StagedTask,
        go_on: Callable[[], None],
        swap: Swap = NO_SWAP,
        rewritten: Sequence["StagedFile"] = (),
    ) -> None:
        result = staged.result
        live = self._ledger.files() if task.replaces else {}
        old = [
            path
            for path, (_, task_id) in live.items()
            if task_id in task.replaces or path in swap.replaced
        ]
        files = (*result.files, *swap.files)
        published = [file.path for file in files if file.is_written]
        intent = write_intent(self._lake, staged.name, [*old, *published])
        commit = Commit(
            task_id=task.id,
            run_id=self._run_id,
            objects=result.objects,
            files=files,
            replaces=task.replaces,
            replaced_files=swap.replaced,
        )
        with taking_back(self._lake, published, intent, StorageError, Stopped):
            self._publish([*staged.files, *(file.sink for file in rewritten)], go_on)
        with taking_back(self._lake, published, intent, LostLockError):
            self._ledger.commit(commit)
        self._removals.begin(old, [intent])

    def _publish(self, files: Sequence[Publishable], go_on: Callable[[], None]) -> None:
        """Make files visible; after a failure some may be.

        Raises:
            StorageError: A file could not be published.
            Stopped: The run is to end.
        """

        def publish(file: Publishable) -> None:
            go_on()
            file.publish()

        if self._lake.is_local or len(files) < 2:
            for file in files:
                publish(file)
            return
        with ThreadPoolExecutor(_PUBLISHED_AT_ONCE, "flowconv-publish") as pool:
            for _ in pool.map(publish, files):
                pass

    def _log(self, result: TaskResult) -> None:
        for uri, reason in result.unreadable.items():
            log_event(
                "object_unreadable",
                level=logging.WARNING,
                run_id=self._run_id,
                task_id=result.task_id,
                uri=uri,
                reason=reason,
            )
        for converted in result.objects:
            log_event(
                "object_converted",
                run_id=self._run_id,
                task_id=result.task_id,
                uri=converted.uri,
                source_bytes=converted.size_bytes,
                rows=converted.counts.rows,
                rejected=converted.counts.rejected,
            )
        if not result.objects:
            return
        files = [file for file in result.files if file.is_data and file.is_written]
        worker: dict[str, Any] = {"worker": result.worker} if result.worker else {}
        log_event(
            "task_committed",
            run_id=self._run_id,
            task_id=result.task_id,
            objects=len(result.objects),
            rows=sum(converted.counts.rows for converted in result.objects),
            rejected=sum(converted.counts.rejected for converted in result.objects),
            files=len(files),
            written_bytes=sum(file.size_bytes for file in files),
            **worker,
        )
