"""Stage 8: which objects are converted, and which files hold their rows.

Records lie below `_flowconv/ledger/`. Each has a number, and is created only if its number is free:

    000000000007   begin   a run starts; earlier runs can no longer commit
    000000000008   commit  a task's objects are converted, and these files hold their rows
    000000000009   end     a run is over, with its report
    000000000011   forget  these tasks no longer count: flowconv verify found their files damaged
    000000000014   expire  these days are removed: flowconv expire was called

A data file counts if a commit names it, no later record replaces or forgets that commit, and its
day has not expired. A paused run whose lock was taken over finds the number that it expects taken
by the next run's `begin`, and stops. A merge writes a checkpoint (see `checkpoints`) and removes
the records that it holds, except:

- `begin` records, since they stop such a run;
- the previous checkpoint, since a reader may have listed it.

Every reader of the ledger finds these losses:

- A damaged or misplaced record: each has its number and a checksum.
- A lost record: the numbers have a gap. A checkpoint that lacks a part does not count, and its
  records are such a gap.
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
| published files that no commit names | the next run, by their intent | after its `begin` |
| files that a paused run publishes when it wakes up | that run | when its commit fails |
| such files, if it is killed before its commit | flowconv verify --repair | when it is called |
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
6. The lock is looked at once more after the ledger was read: if it is still held, a run that takes
   it over later creates a record that this ledger lacks, and this run's `begin` fails.
7. A checkpoint's objects are written after its other parts, and its records removed after both.
"""

import re
import secrets
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple, Self

import pyarrow as pa

from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError, StorageError, quote
from flowconv.fields import Table
from flowconv.lake.checkpoints import (
    OBJECTS_SCHEMA,
    PARTS,
    Checkpoint,
    Part,
    objects_table,
    parse_part,
)
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.expired import Expired
from flowconv.lake.intents import write_intent
from flowconv.lake.ledger_records import (
    Commit,
    DataFile,
    Run,
    TaskObject,
    commit_from_json,
    commit_to_json,
    split_headers,
)
from flowconv.lake.paths import LAST_NUMBER, LEDGER
from flowconv.running import started
from flowconv.storage.interface import Storage

_DIGITS = 12
# ASCII digits only: int() takes those of every alphabet.
_RECORD = re.compile(rf"[0-9]{{{_DIGITS}}}")

# A run ends with a merge after so many records: a reader makes a request for each.
RECORDS_PER_CHECKPOINT = 64

# A long run merges earlier: a killed run then leaves little to read, and memory stays bounded (an
# object that is not merged takes 700 bytes). A merge of a million objects takes 2 s
# (benchmarks/README.md, "bench_ledger").
_COMMITS_BETWEEN_MERGES = 1024
_OBJECTS_BETWEEN_MERGES = 200_000

_READS_AT_ONCE = 16


class LostLockError(LakeError):
    """Another run took the lake over; what this run has not committed does not count."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            "another run has taken this lake over, since this run sent no heartbeat for a while. "
            "What this run did not commit is converted by the other run, or by the next.",
            uri=uri,
        )


class _Content(NamedTuple):
    """What counts at a time; it stays as it is while a later checkpoint is written.

    Attributes:
        checkpoint: The last one.
        commits: Task -> its commit, since then.
        replaced: Tasks of the checkpoint that no longer count.
        merged_away: Numbers of the records since then.
        number: The last record.
        runs: All runs since then, and those whose end is since then.
        expired_since: What has expired since then.
    """

    checkpoint: Checkpoint
    commits: Mapping[str, Commit]
    replaced: tuple[str, ...]
    merged_away: tuple[int, ...]
    number: int
    runs: Mapping[str, Run]
    expired_since: Expired

    def expired(self) -> Expired:
        return self.checkpoint.expired() | self.expired_since

    def files(self) -> dict[str, tuple[DataFile, str]]:
        """Return all files of tasks that count, also of what has expired."""
        return self.checkpoint.files(self.replaced) | {
            file.path: (file, commit.task_id)
            for commit in self.commits.values()
            for file in commit.files
        }

    def all_runs(self) -> list[Run]:
        return sorted(
            (self.checkpoint.runs() | dict(self.runs)).values(), key=lambda run: run.began
        )

    def object_batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        yield from self.checkpoint.object_batches(self.replaced, columns)
        for commit in self.commits.values():
            yield from objects_table(commit).select(list(columns)).to_batches()


class Ledger:
    """A lake's ledger as it was when it was read, and the way to add to it.

    All may be called from any thread; `begin`, `end` and `forget` while no other thread commits.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._mutex = threading.Lock()
        self._last_number = 0
        self._checkpoint = Checkpoint(storage)
        self._commits: dict[str, Commit] = {}
        self._replaced: list[str] = []
        self._expired_since = Expired()
        self._merged_away: list[int] = []
        self._merging: Future[None] | None = None
        self.missing_records: tuple[range, ...] = ()
        """Numbers of lost records."""
        self._lost_part = ""
        self._noted_number = 0
        self._runs: dict[str, Run] = {}
        self._unmerged_objects = 0
        self._outdated: list[str] = []
        self.generation = 0
        """The number of this run's `begin`: no other run of the lake has it."""

    @classmethod
    def read(cls, storage: Storage, *, with_gaps: bool = False) -> Self:
        """Read the lake's ledger; it is empty if there is none.

        Args:
            storage: The lake.
            with_gaps: Accept lost records, and name them in `missing_records`.

        Raises:
            LakeError: The ledger is damaged, or records of it are gone.
            StorageError: The lake does not answer.
        """
        missing: tuple[range, ...] = ()
        while True:
            ledger = cls(storage)
            if ledger._load() and ledger.missing_records == missing:
                break
            # A run may have merged the records meanwhile: a new checkpoint has them. If not, the
            # same records are missing the next time.
            missing = ledger.missing_records
        if missing and not with_gaps:
            raise LakeError(
                f"{ledger.describe_loss()}, and with it what was converted and where its rows are. "
                "Restore it from a copy. If there is none, flowconv verify --repair goes on "
                "without it, and what it said is converted again.",
                uri=storage.root,
            )
        return ledger

    def describe_loss(self) -> str:
        """Say which part of the ledger is gone, without a full stop."""
        if self._lost_part:
            return f"the ledger's checkpoint {self._lost_part} is gone"
        number = sum(len(gap) for gap in self.missing_records)
        more = f" and {number - 1:,} more" if number > 1 else ""
        return f"the ledger's record {record_path(self.missing_records[0][0])}{more} is gone"

    def files(self) -> dict[str, tuple[DataFile, str]]:
        """Return the files that count, with data or rejected lines: path -> file and task."""
        content = self._content()
        files = content.files()
        if expired := content.expired():
            return {path: file for path, file in files.items() if not expired.has_file(path)}
        return files

    def expired_files(self) -> list[tuple[DataFile, str]]:
        """Return files and tasks of what has expired, and of rows that came too late for a file."""
        content = self._content()
        expired = content.expired()
        if not expired:
            return []
        return [file for path, file in content.files().items() if expired.has_file(path)]

    def expired(self) -> Expired:
        """Return what has expired."""
        return self._content().expired()

    def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        return self._content().all_runs()

    def files_of(self, task_ids: Iterable[str]) -> list[DataFile]:
        """Return the files of tasks."""
        wanted = frozenset(task_ids)
        if not wanted:
            return []
        return [file for file, task_id in self.files().values() if task_id in wanted]

    def converted(self) -> dict[str, str]:
        """Return uri -> etag of every converted object."""
        return self.converted_and_declared(with_declared=False)[0]

    def converted_and_declared(
        self, *, with_declared: bool = True
    ) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        """Return uri -> etag, and uri -> declared formats of the objects that were read by any.

        The latter are as `ConvertedObject.declared`.
        """
        converted: dict[str, str] = {}
        declared: dict[str, tuple[str, ...]] = {}
        columns = ["uri", "etag", *(["declared"] if with_declared else [])]
        content = self._content()
        # Batch by batch: the result alone takes 400 MB for a million objects.
        for batch in content.checkpoint.object_batches(content.replaced, columns):
            uris: Any = batch["uri"].to_pylist()
            etags: Any = batch["etag"].to_pylist()
            converted.update(zip(uris, etags, strict=True))
            if with_declared:
                texts: Any = batch["declared"].dictionary.to_pylist()  # type: ignore[attr-defined]
                formats = [split_headers(text) for text in texts]
                codes: Any = batch["declared"].indices.to_pylist()  # type: ignore[attr-defined]
                declared |= {
                    uri: formats[code]
                    for uri, code in zip(uris, codes, strict=True)
                    if formats[code]
                }
        for commit in content.commits.values():
            converted |= {found.uri: found.etag for found in commit.objects}
            declared |= {found.uri: found.declared for found in commit.objects if found.declared}
        return converted, declared

    def counts_of(self, uris: Collection[str]) -> dict[str, tuple[LineCounts, tuple[str, ...]]]:
        """Return uri -> lines by kind, and the formats declared for the object."""
        import pyarrow.compute as pc

        kinds = [kind.name for kind in fields(LineCounts)]
        objects = self.objects("uri", *kinds, "declared")
        chosen = objects.filter(pc.is_in(objects["uri"], pa.array(list(uris), pa.string())))
        return {
            row["uri"]: (
                LineCounts(**{kind: row[kind] for kind in kinds}),
                split_headers(row["declared"]),
            )
            for row in chosen.to_pylist()
        }

    def has_objects(self, source: str) -> bool:
        """Tell whether objects of a source were converted."""
        import pyarrow.compute as pc

        for batch in self.object_batches("uri"):
            uris = batch["uri"]
            if pc.any(
                pc.or_(pc.starts_with(uris, f"{source}/"), pc.equal(uris, pa.scalar(source)))
            ).as_py():
                return True
        return False

    def rejected(self) -> list[str]:
        """Return the uris of the objects that have rejected lines."""
        import pyarrow.compute as pc

        objects = self.objects("uri", "rejected")
        uris: Any = objects.filter(pc.greater(objects["rejected"], pa.scalar(0)))["uri"].to_pylist()
        return list(uris)

    def tasks_of(self, uris: Collection[str]) -> dict[str, list[TaskObject]]:
        """Return each task that converted any of the objects: its id -> all its objects."""
        if not uris:
            return {}
        import pyarrow.compute as pc

        objects = self.objects("task_id", *TaskObject._fields)
        wanted = pc.is_in(objects["uri"], pa.array(list(uris), pa.string()))
        task_ids = pc.unique(objects["task_id"].filter(wanted))
        tasks: dict[str, list[TaskObject]] = {}
        for row in objects.filter(pc.is_in(objects["task_id"], task_ids)).to_pylist():
            tasks.setdefault(row.pop("task_id"), []).append(TaskObject(**row))
        return tasks

    def headers(self) -> Iterator[pa.RecordBatch]:
        """Give columns `uri` and `fields` of all converted objects, in bounded batches.

        `fields` are the object's headers, joined as by `join_headers`.
        """
        yield from self.object_batches("uri", "fields")

    def object_batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """Give columns of `OBJECTS_SCHEMA` of all converted objects, in bounded batches."""
        yield from self._content().object_batches(*columns)

    def objects(self, *columns: str) -> pa.Table:
        """Return columns of `OBJECTS_SCHEMA`, a row for each converted object."""
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
        self._runs[run.run_id] = run

    def commit(self, commit: Commit) -> None:
        """Make all of a task's rows count at once.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        with self._mutex:
            record = {"kind": "commit", **commit_to_json(commit)}
            number = self._append(record)
            self._apply(number, replace(commit, committed=datetime.fromisoformat(record["at"])))
            is_due = (
                len(self._merged_away) >= _COMMITS_BETWEEN_MERGES
                or self._unmerged_objects >= _OBJECTS_BETWEEN_MERGES
            )
        if is_due:
            self._merge_beside()

    def forget(self, run_id: str, task_ids: Iterable[str]) -> None:
        """Stop counting tasks, so that the next run converts their objects again.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        forgotten = sorted(task_ids)
        with self._mutex:
            number = self._append({"kind": "forget", "run_id": run_id, "task_ids": forgotten})
            self._drop(number, forgotten)

    def expire(self, run_id: str, expired: Expired) -> None:
        """Stop counting files, and rows of their days that come later; their objects still count.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        with self._mutex:
            number = self._append({"kind": "expire", "run_id": run_id, **expired.to_json()})
            self._expired_since |= expired
            self._merged_away.append(number)

    def end(self, run: Run) -> None:
        """Record that a run is over, and merge the records if there are many.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer, or did not while it was merged beside the run.
        """
        assert run.ended
        with self._mutex:
            number = self._append({"kind": "end", "run_id": run.run_id, "report": dict(run.report)})
            self._runs[run.run_id] = run
            self._merged_away.append(number)
        if self._merging:
            self._merging.result()
        self._note_number(number)
        if number - self._checkpoint.number >= RECORDS_PER_CHECKPOINT:
            self.merge()

    def leftovers(self, noted: Iterable[str]) -> list[str]:
        """Return the paths of intents that do not count, and may be removed.

        These are files that no commit names, and records that the checkpoint holds.
        """
        live = self.files()
        merged = record_path(self._content().checkpoint.number)
        return [
            path
            for path in noted
            if path not in live and not (path.startswith(f"{LEDGER}/") and path > merged)
        ]

    def _load(self) -> bool:
        """Read checkpoint and records; return False if any was removed meanwhile."""
        # Read before the listing: so it cannot be ahead of it.
        self._noted_number = self._read_noted_number()
        numbers = []
        checkpoints: defaultdict[int, dict[Part, list[str]]] = defaultdict(dict)
        for file in self._storage.list_files(LEDGER):
            if parsed := parse_part(file.path):
                number, part = parsed
                checkpoints[number].setdefault(part, []).append(file.path)
            elif (number := parse_record_path(file.path) or 0) > 0:
                numbers.append(number)
        whole = (number for number, parts in checkpoints.items() if parts.keys() == {*PARTS})
        last = max(whole, default=0)
        # An incomplete checkpoint has the number of a record, too.
        self._last_number = max([self._noted_number, *checkpoints, *numbers], default=0)
        self._checkpoint = Checkpoint(self._storage, last, checkpoints.pop(last, None))
        self._outdated = [
            path for parts in checkpoints.values() for paths in parts.values() for path in paths
        ]
        if self._storage.is_local and self._merged_meanwhile():
            return False
        if self._last_number == 0 and self._has_files():
            self._last_number = 1  # A run that wrote files wrote a record first.
        unmerged = sorted(number for number in numbers if number > last)
        ends = [last, *unmerged, self._last_number + 1]
        gaps = (range(left + 1, right) for left, right in pairwise(ends))
        self.missing_records = tuple(gap for gap in gaps if gap)
        self._lost_part = next(
            (
                f"{LEDGER}/{number:0{_DIGITS}d}.{part}-*.parquet"
                for number, parts in sorted(checkpoints.items(), reverse=True)
                for part in PARTS
                if part not in parts and any(number in gap for gap in self.missing_records)
            ),
            "",
        )
        with ThreadPoolExecutor(_READS_AT_ONCE, "flowconv-ledger") as pool:
            records = pool.map(self._storage.read, map(record_path, unmerged))
            for number, written in zip(unmerged, records, strict=True):
                if written is None:
                    return False
                self._replay(number, written)
        return True

    def _merged_meanwhile(self) -> bool:
        """Tell whether there is a later checkpoint than the listing had.

        A folder is listed in any order, so a listing may lack both the records that were merged
        meanwhile and their checkpoint. Nothing else shows it if these were the last records. S3
        lists by name, so a record that was removed meanwhile has its checkpoint listed behind it.
        """
        later: defaultdict[int, set[Part]] = defaultdict(set)
        for file in self._storage.list_files(LEDGER):
            if (parsed := parse_part(file.path)) and parsed[0] > self._checkpoint.number:
                later[parsed[0]].add(parsed[1])
        return any(parts == {*PARTS} for parts in later.values())

    def _has_files(self) -> bool:
        """Tell whether there are files below the tables."""
        # In S3 each is under way from here on.
        listings = [self._storage.list_files(table) for table in Table]
        # S3's console creates an object with such a name for a folder.
        return any(not file.path.endswith("/") for files in listings for file in files)

    def _read_noted_number(self) -> int:
        written = self._storage.read(LAST_NUMBER)
        if written is None:
            return 0
        try:
            number = unseal(written)["last_number"]
            if type(number) is not int or not 0 < number < 10**_DIGITS:
                raise ValueError(f"{quote(str(number))} is not the number of a record")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LakeError(
                f"{LAST_NUMBER} is damaged ({error}). Restore it from a copy. If there is none, "
                "delete it, and let flowconv verify check the lake.",
                uri=self._storage.root,
            ) from error
        return number

    def _note_number(self, number: int) -> None:
        if self._noted_number != number:
            self._storage.write(LAST_NUMBER, seal({"last_number": number}))
            self._noted_number = number

    def _replay(self, number: int, written: bytes) -> None:
        try:
            record = unseal(written)
            if record["number"] != number:
                raise ValueError(f"it is record {record['number']}")
            kind, time = record["kind"], datetime.fromisoformat(record["at"])
            if kind == "begin":
                run_id = record["run_id"]
                self._runs[run_id] = Run(run_id=run_id, began=time, host=record["host"])
            elif kind == "end":
                run_id = record["run_id"]
                # A long run merges before its end: its begin may be in the checkpoint.
                if run := self._runs.get(run_id) or self._checkpoint.runs().get(run_id):
                    self._runs[run_id] = replace(run, ended=time, report=record["report"])
                self._merged_away.append(number)
            elif kind == "commit":
                self._apply(number, commit_from_json(record))
            elif kind == "forget":
                self._drop(number, record["task_ids"])
            elif kind == "expire":
                self._expired_since |= Expired.from_json(record)
                self._merged_away.append(number)
            else:
                raise ValueError(f"unknown kind {kind!r}")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise LakeError(
                f"the ledger's record {record_path(number)} is damaged ({error}). Restore it "
                "from a copy. If there is none, delete it, and flowconv verify --repair goes on "
                "without it; what it said is converted again.",
                uri=self._storage.root,
            ) from error

    def _apply(self, number: int, commit: Commit) -> None:
        self._drop(number, commit.replaces)
        self._commits[commit.task_id] = commit
        self._unmerged_objects += len(commit.objects)

    def _drop(self, number: int, task_ids: Iterable[str]) -> None:
        """Apply a record that replaces or forgets tasks."""
        for task_id in task_ids:
            self._commits.pop(task_id, None)
            self._replaced.append(task_id)
        self._merged_away.append(number)

    def _append(self, record: dict[str, Any]) -> int:
        """Create the next record, and return its number.

        Raises:
            LostLockError: Another run has created a record with this number.
        """
        number = self._last_number + 1
        record["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Identifies this run's record if the answer is lost and the write is repeated.
        record["token"] = secrets.token_hex(8)
        data = seal({"number": number} | record)
        path = record_path(number)
        if not self._create(path, data):
            raise LostLockError(self._storage.root)
        self._last_number = number
        return number

    def _create(self, path: str, data: bytes) -> bool:
        """Create a record; if the answer is lost, its token shows whether it is this run's."""
        try:
            return self._storage.create(path, data) or self._storage.read(path) == data
        except StorageError:
            if self._storage.read(path) != data:
                raise
            return True

    def merge_if_many(self) -> None:
        """Merge beside the run that has begun, so that its end need not.

        A run often adds less than half of the records that its end would merge.
        """
        if self._last_number - self._checkpoint.number >= RECORDS_PER_CHECKPOINT // 2:
            self._merge_beside()

    def _merge_beside(self) -> None:
        """Merge in a thread of its own, if none does; what failed before is raised here."""
        with self._mutex:
            before = self._merging
            if before is None or before.done():
                self._merging = started(self.merge)
        if before and before.done():
            before.result()

    def merge(self) -> None:
        """Write a checkpoint of everything so far, and remove the records that it holds.

        Another thread may commit meanwhile, but not merge.
        """
        content = self._content()
        old = content.checkpoint
        self._note_number(content.number)
        records = [record_path(number) for number in content.merged_away]
        intent = write_intent(self._storage, f"merge-{content.number}", records)
        merged = old.replaced_by(
            content.number,
            content.object_batches(*OBJECTS_SCHEMA.names),
            list(content.files().values()),
            content.all_runs(),
            content.expired(),
        )
        with self._mutex:
            self._checkpoint = merged
            self._commits = {
                task_id: commit
                for task_id, commit in self._commits.items()
                if content.commits.get(task_id) is not commit
            }
            # Not by their names: one may have been replaced, converted again and replaced again.
            self._replaced = self._replaced[len(content.replaced) :]
            self._merged_away = self._merged_away[len(content.merged_away) :]
            self._unmerged_objects = sum(len(c.objects) for c in self._commits.values())
            self.missing_records = ()
        self._storage.delete(records)
        self._storage.delete([intent])
        # Earlier checkpoints, and incomplete ones: these cannot count even if their run wakes up.
        self._storage.delete(self._outdated)
        self._outdated = old.paths

    def _content(self) -> _Content:
        with self._mutex:
            return _Content(
                checkpoint=self._checkpoint,
                commits=dict(self._commits),
                replaced=tuple(self._replaced),
                merged_away=tuple(self._merged_away),
                number=self._last_number,
                runs=dict(self._runs),
                expired_since=self._expired_since,
            )


def record_path(number: int) -> str:
    """Return the path of a record."""
    return f"{LEDGER}/{number:0{_DIGITS}d}"


def parse_record_path(path: str) -> int | None:
    """Return the number of the record at a path; None if it is not the path of a record."""
    name = path.removeprefix(f"{LEDGER}/")
    return int(name) if name != path and _RECORD.fullmatch(name) else None


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
