"""Stage 8: which objects are converted, and which files hold their rows.

Records lie below `_flowconv/ledger/`. Each has a number, and is created only if its number is free:

    000000000007   begin   a run starts; earlier runs can no longer commit
    000000000008   commit  a task's objects are converted, and these files hold their rows
    000000000009   end     a run is over, with its report
    000000000011   forget  these tasks no longer count: flowconv verify found their files damaged
    000000000014   expire  these days are removed: flowconv expire was called
    000000000017   compact these files have the rows of those, which no longer count

A data file counts if a commit names it, no later record replaces or forgets that commit, and its
day has not expired. If it is compacted, a `compact` names it, or a `commit` or `forget` that took
rows of replaced or forgotten tasks out of another one; and no later record replaces it. A paused
run whose lock was taken over finds the number that it expects taken by the next run's `begin`, and
stops. A merge writes a checkpoint (see `checkpoints`) and removes the records that it holds,
except:

- `begin` records, since they stop such a run;
- the previous checkpoint, since a reader may have listed it.

Checkpoints share the files of objects that are full, so a merge takes as long in a large ledger as
in a small one. They share none if tasks were replaced or forgotten: any may have their objects.

Every reader of the ledger finds these losses:

- A damaged or misplaced record: each has its number and a checksum.
- A lost record: the numbers have a gap. A checkpoint that lacks a file, shared or not, does not
  count, and its records are such a gap.
- The last records: `_flowconv/ledger.json` has the last number too. It costs a request to each run
  and each reader. It is never ahead of the ledger; a paused run may set it back until the next run
  ends.
- The whole ledger, with ledger.json: there are files below the tables.

Two losses are not found: the last commits of a killed run before another run ends (flowconv verify
reports their files as strays), and a whole lake that was set back to an earlier state.

A run that is killed, or paused and taken over, leaves behind:

| what | removed by | when |
|---|---|---|
| staged files, unfinished uploads | the next run | after its `begin` |
| those of workers that an engine gave up | this run, then the next | at its end, as above |
| published files that no commit names | the next run, by their intent | after its `begin` |
| files that a paused run publishes when it wakes up | that run | when its commit fails |
| such files, if it is killed before its commit | flowconv verify --repair | when it is called |
| files that were compacted, and are kept | a later run, by their intent | after their time |
| records that a checkpoint holds | the next run, by their intent | after its `begin` |
| an older or incomplete checkpoint | the next merge | when its checkpoint is written |
| the lock | the next run | before all this; see `locking` |

None of this ever counts. These steps keep their order; all others may overlap, such as the listing
of SOURCE with all that a run does before it plans its tasks, the tasks with one another, or a merge
with the commits behind it:

1. The next run takes the lock, lists leftovers and only then creates its `begin`: no later run has
   any of them, so it may remove them however late it wakes up. Nor can a paused run remove or
   replace files of its successor: names contain the number of a run's `begin`.
2. An intent is written before its files are published or removed, so the next run finds them.
3. Files are published before the commit that names them, so a file that counts is there.
4. Replaced files are removed after the commit that replaces them, so rows never disappear.
5. ledger.json is written after the record whose number it has, and before records are merged.
6. The lock is looked at once more after the ledger was listed: if it is still held, a run that
   takes it over later creates a record that this ledger lacks, and this run's `begin` fails.
7. A checkpoint's objects are written after its other files, and its records removed after both.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from flowconv.errors import LakeError, StorageError
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.expired import Expired
from flowconv.lake.last_number import LastNumber
from flowconv.lake.ledger_listing import LedgerListing, list_ledger
from flowconv.lake.ledger_records import (
    NO_SWAP,
    Commit,
    DataFile,
    PackedObjects,
    Run,
    Swap,
    commit_from_json,
    commit_to_json,
)
from flowconv.lake.merging import Merging
from flowconv.lake.paths import LEDGER, parse_record_path, record_path
from flowconv.lake.snapshot import LedgerState, RunEnd, Snapshot
from flowconv.storage.interface import Storage

if TYPE_CHECKING:
    import pyarrow as pa

# A run ends with a merge after so many records: a reader makes a request for each.
RECORDS_PER_CHECKPOINT = 64

# A long run merges earlier: a killed run then leaves little to read, and readers take 700 bytes for
# each object that is not merged. A merge takes up to 2 s (benchmarks/README.md, "bench_ledger").
_COMMITS_BETWEEN_MERGES = 1024
_OBJECTS_BETWEEN_MERGES = 100_000

_READS_AT_ONCE = 16


class LostLockError(LakeError):
    """Another run took the lake over; what this run has not committed does not count."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            "another run has taken this lake over, since this run sent no heartbeat for a while. "
            "What this run did not commit is converted by the other run, or by the next.",
            uri=uri,
        )


class Ledger:
    """A lake's ledger as it was when it was read, and the way to add to it.

    All may be called from any thread; `begin`, `end` and `forget` while no other thread commits.

    Attributes:
        generation: The number of this run's `begin`: no other run of the lake has it.
    """

    def __init__(self, storage: Storage, listing: LedgerListing, last_number: LastNumber) -> None:
        self._storage = storage
        self._lost_part = listing.lost_part
        self._last_number = last_number
        self._state = LedgerState(listing.checkpoint, listing.last_number)
        self._state.missing_records = listing.missing
        self._merging = Merging(storage, self._state, last_number, listing.outdated)
        self.generation = 0

    @classmethod
    def read(
        cls,
        storage: Storage,
        *,
        with_gaps: bool = False,
        on_listed: Callable[[], object] = bool,
    ) -> Self:
        """Read the lake's ledger; it is empty if there is none.

        Args:
            storage: The lake.
            with_gaps: Accept lost records, and name them in `missing_records`.
            on_listed: Called each time it has been listed, before its records are read.

        Raises:
            LakeError: The ledger is damaged, or records of it are gone.
            StorageError: The lake does not answer.
        """
        missing: tuple[range, ...] = ()
        while True:
            # In S3 both are under way together. If a run adds records meanwhile, ledger.json may
            # be ahead of the listing; the next one has them.
            begun = storage.list_files(LEDGER)
            last_number = LastNumber(storage)
            files = list(begun)
            on_listed()
            listing = list_ledger(storage, files, last_number.noted)
            if listing:
                ledger = cls(storage, listing, last_number)
                if ledger._read_records(listing.records) and listing.missing == missing:
                    break
            # A run may have merged the records meanwhile: a new checkpoint has them. If not, the
            # same records are missing the next time.
            missing = listing.missing if listing else ()
        if missing and not with_gaps:
            raise LakeError(
                f"{ledger.describe_loss()}: what was converted is not known, nor where its rows "
                "are. Restore the ledger from a copy. If there is none, flowconv verify --repair "
                "goes on without, and what was recorded there is converted again.",
                uri=storage.root,
            )
        return ledger

    @property
    def missing_records(self) -> tuple[range, ...]:
        """Numbers of lost records."""
        return self._state.missing_records

    def snapshot(self) -> Snapshot:
        """Return what counts now."""
        return self._state.snapshot()

    def describe_loss(self) -> str:
        """Say which part of the ledger is gone, without a full stop."""
        if self._lost_part:
            return f"the ledger's checkpoint {self._lost_part} is gone"
        number = sum(len(gap) for gap in self.missing_records)
        first = f"the ledger's record {record_path(self.missing_records[0][0])}"
        return f"{first} and {number - 1:,} more are gone" if number > 1 else f"{first} is gone"

    def files(self) -> dict[str, tuple[DataFile, str]]:
        """Return the files that count, with data or rejected lines: path -> file and task.

        The task of a compacted file is "".
        """
        snapshot = self.snapshot()
        files = snapshot.files()  # First: what has expired is read with it.
        expired = snapshot.expired()
        return {
            path: (file, task_id)
            for path, (file, task_id) in files.items()
            if file.is_written and not (expired and expired.has_file(path))
        }

    def expired_files(self) -> list[tuple[DataFile, str]]:
        """Return files and tasks of what has expired, and of rows that came too late for a file."""
        snapshot = self.snapshot()
        expired = snapshot.expired()
        if not expired:
            return []
        return [file for path, file in snapshot.files().items() if expired.has_file(path)]

    def notes(self, *, with_expired: bool = True) -> list[DataFile]:
        """Return the notes of duplicates that were removed."""
        snapshot = self.snapshot()
        expired = Expired() if with_expired else snapshot.expired()
        return [
            file
            for path, (file, _) in snapshot.files().items()
            if file.duplicates and not expired.has_file(path)
        ]

    def notes_with(self, task_ids: Iterable[str]) -> list[DataFile]:
        """Return the notes that say that rows of any of the tasks were removed.

        Also compacted files of partitions that have expired: they are no files any more, but their
        rows are counted.
        """
        wanted = frozenset(task_ids)
        snapshot = self.snapshot()
        expired = snapshot.expired()
        return [
            file
            for path, (file, _) in snapshot.files().items()
            if any(entry.task_id in wanted for entry in file.duplicates)
            or (
                any(share.task_id in wanted for share in file.shares)
                and expired.has_partition(path.rpartition("/")[0])
            )
        ]

    def expired(self) -> Expired:
        """Return what has expired."""
        return self.snapshot().expired()

    def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        return self.snapshot().runs()

    def files_of(self, task_ids: Iterable[str]) -> list[DataFile]:
        """Return the files of tasks; compacted files are of none."""
        wanted = frozenset(task_ids)
        if not wanted:
            return []
        return [file for file, task_id in self.files().values() if task_id in wanted]

    def compacted_with(self, task_ids: Iterable[str]) -> list[DataFile]:
        """Return the compacted files that have rows of any of the tasks."""
        wanted = frozenset(task_ids)
        if not wanted:
            return []
        return [
            file
            for file, _ in self.files().values()
            if any(share.task_id in wanted for share in file.shares)
        ]

    def headers(self) -> "Iterator[pa.RecordBatch]":
        """Give columns `uri` and `fields` of all converted objects, in bounded batches.

        `fields` are the object's headers, joined as by `join_headers`.
        """
        yield from self.object_batches("uri", "fields")

    def object_batches(self, *columns: str) -> "Iterator[pa.RecordBatch]":
        """Give columns of `OBJECTS_SCHEMA` of all converted objects, in bounded batches."""
        yield from self.snapshot().object_batches(*columns)

    def objects(self, *columns: str) -> "pa.Table":
        """Return columns of `OBJECTS_SCHEMA`, a row for each converted object."""
        import pyarrow as pa

        from flowconv.lake.checkpoint_tables import OBJECTS_SCHEMA

        schema = pa.schema([OBJECTS_SCHEMA.field(name) for name in columns])
        return pa.Table.from_batches(self.object_batches(*columns), schema)

    def begin(self, run: Run, layout: Mapping[str, Any]) -> None:
        """Record that a run starts; from here on no other run can commit.

        Args:
            run: The run.
            layout: The content of lake.json, recorded here too in case it gets lost.

        Raises:
            LakeError: Another run began at the same moment.
        """
        try:
            record = {"kind": "begin", "run_id": run.run_id, "host": run.host}
            self.generation = self._append(record | {"layout": dict(layout)})
        except LostLockError:
            raise LakeError(
                "another run began at the same moment. Run again when it is done.",
                uri=self._storage.root,
            ) from None
        self._state.begin(run)

    def commit(self, commit: Commit) -> None:
        """Make all of a task's rows count at once.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        with self._state.lock:
            record = {"kind": "commit", **commit_to_json(commit)}
            number = self._append(record)
            committed = datetime.fromisoformat(record["at"])
            kept = commit._replace(objects=PackedObjects(record), committed=committed)
            self._state.commit(number, kept)
            is_due = self._is_merge_due()
        if is_due:
            self._merging.begin()

    def compact(self, run_id: str, files: Iterable[DataFile], replaced: Iterable[str]) -> None:
        """Make compacted files count in the place of others, all at once.

        Args:
            run_id: The run.
            files: The compacted files, with their shares.
            replaced: Paths of the files that have had these rows.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        swap = Swap(tuple(files), tuple(replaced))
        with self._state.lock:
            number = self._append({"kind": "compact", "run_id": run_id, **swap.to_json()})
            self._state.compact(number, swap)
            is_due = self._is_merge_due()
        if is_due:
            self._merging.begin()

    def forget(self, run_id: str, task_ids: Iterable[str], swap: Swap = NO_SWAP) -> None:
        """Stop counting tasks, so that the next run converts their objects again.

        Args:
            run_id: The run.
            task_ids: The tasks.
            swap: Compacted files without their rows, in the place of those that have some.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        forgotten = sorted(task_ids)
        record = {"kind": "forget", "run_id": run_id, "task_ids": forgotten, **swap.to_json()}
        with self._state.lock:
            number = self._append(record)
            self._state.forget(number, forgotten, swap)

    def expire(self, run_id: str, expired: Expired) -> None:
        """Stop counting files, and rows of their days that come later; their objects still count.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        with self._state.lock:
            number = self._append({"kind": "expire", "run_id": run_id, **expired.to_json()})
            self._state.expire(number, expired)

    def end(self, run: Run) -> None:
        """Record that a run is over, and merge the records if there are many.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer, or did not while it was merged beside the run.
        """
        assert run.ended
        with self._state.lock:
            number = self._append({"kind": "end", "run_id": run.run_id, "report": dict(run.report)})
            self._state.end(number, run.run_id, RunEnd(run.ended, run.report))
        self._merging.finish()
        self._last_number.note(number)
        if number - self._state.checkpoint.number >= RECORDS_PER_CHECKPOINT:
            self.merge()

    def merge_if_many(self) -> None:
        """Merge beside the run that has begun, so that its end need not.

        A run often adds less than half of the records that its end would merge.
        """
        if self._state.number - self._state.checkpoint.number >= RECORDS_PER_CHECKPOINT // 2:
            self._merging.begin()

    def merge(self) -> None:
        """Merge all records; see `Merging.merge`."""
        self._merging.merge()

    def leftovers(self, noted: Iterable[str]) -> list[str]:
        """Return the paths of intents that do not count, and may be removed.

        These are files that no commit names, and records that the checkpoint holds.
        """
        live = self.files()
        merged = record_path(self.snapshot().checkpoint.number)
        return [
            path
            for path in noted
            if path not in live and not (path.startswith(f"{LEDGER}/") and path > merged)
        ]

    def _read_records(self, numbers: list[int]) -> bool:
        """Apply records; return False if any was removed meanwhile."""
        paths = map(record_path, numbers)
        with ExitStack() as stack:
            records: Iterator[bytes | None]
            if self._storage.is_local:
                records = map(self._storage.read, paths)  # Quicker than to hand them to threads.
            else:
                pool = ThreadPoolExecutor(_READS_AT_ONCE, "flowconv-ledger")
                records = stack.enter_context(pool).map(self._storage.read, paths)
            for number, written in zip(numbers, records, strict=True):
                if written is None:
                    return False
                self._replay(number, written)
        return True

    def _replay(self, number: int, written: bytes) -> None:
        try:
            record = unseal(written)
            if record["number"] != number:
                raise ValueError(f"it is record {record['number']}")
            kind, time = record["kind"], datetime.fromisoformat(record["at"])
            if kind == "begin":
                run_id = record["run_id"]
                self._state.begin(Run(run_id=run_id, began=time, host=record["host"]))
            elif kind == "end":
                self._state.end(number, record["run_id"], RunEnd(time, record["report"]))
            elif kind == "commit":
                self._state.commit(number, commit_from_json(record))
            elif kind == "forget":
                self._state.forget(number, record["task_ids"], Swap.from_json(record))
            elif kind == "compact":
                self._state.compact(number, Swap.from_json(record))
            elif kind == "expire":
                self._state.expire(number, Expired.from_json(record))
            else:
                raise ValueError(f"unknown kind {kind!r}")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise LakeError(
                f"the ledger's record {record_path(number)} is damaged ({error}). Restore it "
                "from a copy. If there is none, delete it, and flowconv verify --repair goes on "
                "without it; what it said is converted again.",
                uri=self._storage.root,
            ) from error

    def _is_merge_due(self) -> bool:
        return (
            self._state.unmerged_records >= _COMMITS_BETWEEN_MERGES
            or self._state.unmerged_objects >= _OBJECTS_BETWEEN_MERGES
        )

    def _append(self, record: dict[str, Any]) -> int:
        """Create the next record, and return its number.

        Raises:
            LostLockError: Another run has created a record with this number.
        """
        number = self._state.number + 1
        record["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Identifies this run's record if the answer is lost and the write is repeated.
        record["token"] = os.urandom(8).hex()
        data = seal({"number": number} | record)
        path = record_path(number)
        if not self._create(path, data):
            raise LostLockError(self._storage.root)
        self._state.number = number
        return number

    def _create(self, path: str, data: bytes) -> bool:
        """Create a record; if the answer is lost, its token shows whether it is this run's."""
        try:
            return self._storage.create(path, data) or self._storage.read(path) == data
        except StorageError:
            if self._storage.read(path) != data:
                raise
            return True


def last_layout(storage: Storage) -> Mapping[str, Any] | None:
    """Return the layout that the last run recorded; None if there is no record of it.

    Raises:
        StorageError: The lake does not answer.
    """
    paths = [file.path for file in storage.list_files(LEDGER) if parse_record_path(file.path)]
    for path in sorted(paths, reverse=True):
        try:
            record = unseal(storage.read(path) or b"")
            if record["kind"] == "begin":
                return dict(record["layout"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # Damaged; an earlier record has the same layout.
    return None
