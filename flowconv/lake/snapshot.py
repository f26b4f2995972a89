"""What a ledger says: the state that each record changes, and snapshots of it.

Both are the last checkpoint and what the records after it say.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from flowconv.lake.checkpoints import Checkpoint
from flowconv.lake.expired import Expired
from flowconv.lake.ledger_records import Commit, DataFile, Run, Swap

if TYPE_CHECKING:
    import pyarrow as pa


class RunEnd(NamedTuple):
    """The end of a run."""

    ended: datetime
    report: Mapping[str, Any]


class Snapshot(NamedTuple):
    """What counts at a time; it stays as it is while a later checkpoint is written.

    Attributes:
        checkpoint: The last one.
        commits: Task -> its commit, since then.
        compacted: Path -> compacted file or note of duplicates, since then.
        replaced: Tasks of the checkpoint that no longer count.
        replaced_files: Paths of files that were compacted, or written again, since then.
        merged_away: Numbers of the records since then that a merge removes.
        number: The last record.
        runs_since: All runs that began since then.
        ends_since: Run id -> end and report, since then; also of runs that began before.
        expired_since: What has expired since then.
    """

    checkpoint: Checkpoint
    commits: Mapping[str, Commit]
    compacted: Mapping[str, DataFile]
    replaced: tuple[str, ...]
    replaced_files: tuple[str, ...]
    merged_away: tuple[int, ...]
    number: int
    runs_since: Mapping[str, Run]
    ends_since: Mapping[str, RunEnd]
    expired_since: Expired

    def expired(self) -> Expired:
        """Return what has expired."""
        return self.checkpoint.expired() | self.expired_since

    def files(self) -> dict[str, tuple[DataFile, str]]:
        """Return all files of tasks that count, also of what has expired: path -> file and task."""
        files = self.checkpoint.files(self.replaced) | self._new_files()
        # No path is given twice, so a file that was replaced stays so.
        for path in self.replaced_files:
            files.pop(path, None)
        return files

    def file_batches(self) -> "Iterator[pa.RecordBatch]":
        """Give the same files as a checkpoint has them, in bounded batches."""
        from flowconv.lake.checkpoint_tables import files_table

        yield from self.checkpoint.file_batches(self.replaced, self.replaced_files)
        new = self._new_files()
        for path in self.replaced_files:
            new.pop(path, None)
        yield from files_table(new.values()).to_batches()

    def _new_files(self) -> dict[str, tuple[DataFile, str]]:
        """Return the files since the checkpoint, also those that were replaced."""
        files = {
            file.path: (file, commit.task_id)
            for commit in self.commits.values()
            for file in commit.files
        }
        return files | {path: (file, "") for path, file in self.compacted.items()}

    def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        runs = self.checkpoint.runs() | dict(self.runs_since)
        # The begin of others is lost.
        for run_id in runs.keys() & self.ends_since.keys():
            runs[run_id] = replace(runs[run_id], **self.ends_since[run_id]._asdict())
        return sorted(runs.values(), key=lambda run: run.began)

    def number_kept(self) -> int:
        """Return the number of the checkpoint's files of objects that a merge need not write."""
        # Any may have objects of tasks that no longer count.
        return 0 if self.replaced else self.checkpoint.number_full()

    def object_batches(self, *columns: str, after_files: int = 0) -> "Iterator[pa.RecordBatch]":
        """Give columns of `OBJECTS_SCHEMA` of all converted objects, in bounded batches.

        Args:
            columns: The columns.
            after_files: Objects of so many files of the checkpoint are left out.
        """
        yield from self.checkpoint.object_batches(self.replaced, columns, after_files)
        if not self.commits:
            return
        from flowconv.lake.checkpoint_tables import objects_table

        for commit in self.commits.values():
            yield from objects_table(commit, columns).to_batches()


class LedgerState:
    """What a ledger says now.

    Any thread may take a snapshot. Whoever changes it while other threads do holds `lock`, from
    before a record is created until the record is applied: the next snapshot has all or nothing.

    Attributes:
        checkpoint: The last checkpoint.
        number: The last record.
        missing_records: Numbers of lost records.
        unmerged_objects: Number of objects in the commits since the checkpoint.
        lock: Held by who changes it.
    """

    def __init__(self, checkpoint: Checkpoint, number: int) -> None:
        self.lock = threading.Lock()
        self.checkpoint = checkpoint
        self.number = number
        self.missing_records: tuple[range, ...] = ()
        self.unmerged_objects = 0
        self._commits: dict[str, Commit] = {}
        self._compacted: dict[str, DataFile] = {}
        self._replaced: list[str] = []
        self._replaced_files: list[str] = []
        self._merged_away: list[int] = []
        self._runs: dict[str, Run] = {}
        self._ends: dict[str, RunEnd] = {}
        self._expired_since = Expired()

    @property
    def unmerged_records(self) -> int:
        """Number of records that a merge would remove."""
        return len(self._merged_away)

    def begin(self, run: Run) -> None:
        """Apply the beginning of a run; its record stays when others are merged."""
        self._runs[run.run_id] = run

    def end(self, number: int, run_id: str, end: RunEnd) -> None:
        """Apply the end of a run."""
        # A long run merges before its end: its begin may be in the checkpoint, which a reader of
        # files need not fetch for it.
        self._ends[run_id] = end
        self._merged_away.append(number)

    def commit(self, number: int, commit: Commit) -> None:
        """Apply a commit."""
        # A compacted file stays when the commit that wrote it again is itself replaced.
        compacted = tuple(file for file in commit.files if file.is_of_many_tasks)
        own = tuple(file for file in commit.files if not file.is_of_many_tasks)
        self.forget(number, commit.replaces, Swap(compacted, commit.replaced_files))
        self._commits[commit.task_id] = commit._replace(files=own)
        self.unmerged_objects += len(commit.objects)

    def forget(self, number: int, task_ids: Iterable[str], swap: Swap) -> None:
        """Apply a record that replaces or forgets tasks."""
        for task_id in task_ids:
            self._commits.pop(task_id, None)
            self._replaced.append(task_id)
        self.compact(number, swap)

    def compact(self, number: int, swap: Swap) -> None:
        """Apply a record by which compacted files take the place of others."""
        self._compacted |= {file.path: file for file in swap.files}
        self._replaced_files += swap.replaced
        self._merged_away.append(number)

    def expire(self, number: int, expired: Expired) -> None:
        """Apply a record of what has expired."""
        self._expired_since |= expired
        self._merged_away.append(number)

    def snapshot(self) -> Snapshot:
        """Return what counts now."""
        with self.lock:
            return Snapshot(
                checkpoint=self.checkpoint,
                commits=dict(self._commits),
                compacted=dict(self._compacted),
                replaced=tuple(self._replaced),
                replaced_files=tuple(self._replaced_files),
                merged_away=tuple(self._merged_away),
                number=self.number,
                runs_since=dict(self._runs),
                ends_since=dict(self._ends),
                expired_since=self._expired_since,
            )

    def merge(self, merged: Snapshot, checkpoint: Checkpoint) -> None:
        """Let a checkpoint take the place of the snapshot that it holds."""
        with self.lock:
            self.checkpoint = checkpoint
            self._commits = {
                task_id: commit
                for task_id, commit in self._commits.items()
                if merged.commits.get(task_id) is not commit
            }
            # Not by their names: one may have been replaced, converted again and replaced again.
            self._replaced = self._replaced[len(merged.replaced) :]
            self._replaced_files = self._replaced_files[len(merged.replaced_files) :]
            self._compacted = {
                path: file for path, file in self._compacted.items() if path not in merged.compacted
            }
            self._merged_away = self._merged_away[len(merged.merged_away) :]
            self.unmerged_objects = sum(len(c.objects) for c in self._commits.values())
            self.missing_records = ()
