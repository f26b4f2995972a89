"""Stage 8: which objects are converted, and which files hold their rows.

Below `_flowconv/ledger/` lie numbered records, each written once and only if its number is free:

    000000000007   begin   a run starts; whoever wrote before it can commit no more
    000000000008   commit  a task's objects are converted, and these files hold their rows
    000000000009   end     the run is over, with its report
    000000000011   forget  these tasks count no more: flowconv verify found their files damaged

A data file counts if a commit names it and no later record replaces or forgets that commit. A
writer that was paused, and whose lock was taken over, finds the number that it expects taken by
the next run's `begin`, and stops. Records are merged into a checkpoint (see `checkpoints`) now and
then, and removed; the begins stay, since they are what stops such a writer. The checkpoint before
the last stays too, for those who are reading it.

Each record has its number and a checksum, so one that was damaged, or put in another's place, is
found. What is lost is found, too, by everybody who reads the ledger:

- One that is gone leaves a gap in the numbers. A checkpoint that lost a part does not count, and
  the records that went into it are such a gap.
- The last ones leave none. So their number is kept in a second place, `_flowconv/ledger.json`. It
  is written once at the end of a run, and before records are merged: one small request a run, and
  one for who reads. It is never ahead of the ledger: it names a record that was there. A writer
  that was paused may set it back, until the next run ends.
- If the ledger is gone as a whole, and that file with it, files below the tables tell.

Not found is the loss of the last commits of a run that was killed, before another run ends: no
second place knew of them. flowconv verify reports their files as strays. A lake that was wholly set
back to an earlier state is a sound lake of then.

Such a writer can leave behind, beside its lock: files that it published when it woke up, which it
removes as soon as its commit fails, and which count at no time; notes of them below
`_flowconv/intents/`, which the next run removes; and a checkpoint older than the last, which the
next merge removes. If it is killed in the moment between publishing and removing, and the run that
took over had already done away with its note, the file stays until `flowconv verify --repair`. It
removes nothing that belongs to the run which took over: names have the number of a run's `begin`,
and what it takes for leftovers was listed before it began itself.
"""

import re
import secrets
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime
from itertools import chain, pairwise
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError, StorageError, quote
from flowconv.fields import Table
from flowconv.lake.checkpoints import OBJECTS_SCHEMA, PARTS, Checkpoint, Part, parse_part
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.ledger_records import Commit, ConvertedObject, DataFile, Run, TaskObject
from flowconv.lake.paths import INTENTS, LEDGER
from flowconv.storage.interface import Storage

# The second place that knows the last record's number.
LAST_NUMBER = "_flowconv/ledger.json"

_DIGITS = 12
# No other digits than these: int() takes those of every alphabet.
_RECORD = re.compile(rf"[0-9]{{{_DIGITS}}}")

# A read of the ledger takes a request for each record since the last checkpoint. So a run ends with
# a merge if they have become many,
RECORDS_PER_CHECKPOINT = 64
# and a long one merges on its way, so that little is left to read if it is killed, and so that
# memory stays bounded: an object that is not merged takes 700 bytes. A merge takes 2 s for a
# million objects (benchmarks/README.md, "bench_ledger").
_COMMITS_BETWEEN_MERGES = 1024
_OBJECTS_BETWEEN_MERGES = 200_000

_READS_AT_ONCE = 16


class LostLockError(LakeError):
    """Another run took the lake over; what this one has not committed does not count."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            "another run has taken this lake over, since this one did not answer for a while. "
            "What it had not committed will be converted by the other, or by the next run.",
            uri=uri,
        )


class Ledger:
    """A lake's ledger as it was when it was read, and the way to add to it.

    `commit` may be called from any thread.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._mutex = threading.Lock()
        self._last_number = 0
        self._checkpoint = Checkpoint(storage)
        self._commits: dict[str, Commit] = {}
        self._replaced: set[str] = set()
        self._merged_away: list[int] = []
        self.missing_records: tuple[range, ...] = ()
        """Numbers of records that are gone; what they said is not known."""
        self._lost_part = ""
        self._noted_number = 0
        self._runs: dict[str, Run] = {}
        self._unmerged_objects = 0
        self._outdated: list[str] = []
        self.generation = 0
        """The number of this run's `begin`: no other run of the lake has it."""
        self.intents: list[str] = []
        """What earlier runs noted and left; listed when this one begins."""

    @classmethod
    def read(cls, storage: Storage, *, with_gaps: bool = False) -> Self:
        """Return what the lake's ledger says now; empty if there is none.

        Args:
            storage: The lake.
            with_gaps: Read it though records are gone, and name them in `missing_records`.

        Raises:
            LakeError: The ledger is damaged, or records of it are gone.
            StorageError: The lake does not answer.
        """
        missing: tuple[range, ...] = ()
        while True:
            ledger = cls(storage)
            if ledger._load() and ledger.missing_records == missing:
                break
            # A run merged the records while they were listed or read: there is a new checkpoint.
            # If not, the same records are missing the next time.
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
        """Say what of the ledger is gone."""
        if self._lost_part:
            return f"the ledger's checkpoint {self._lost_part} is gone"
        number = sum(len(gap) for gap in self.missing_records)
        more = f" and {number - 1:,} more" if number > 1 else ""
        return f"the ledger's record {record_path(self.missing_records[0][0])}{more} is gone"

    def files(self) -> dict[str, tuple[DataFile, str]]:
        """Return the files that count, of data and of rejected lines: path -> file and task."""
        return self._checkpoint.files(self._replaced) | {
            file.path: (file, commit.task_id)
            for commit in self._commits.values()
            for file in commit.files
        }

    def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        return sorted((self._checkpoint.runs() | self._runs).values(), key=lambda run: run.began)

    def files_of(self, task_ids: Iterable[str]) -> list[DataFile]:
        """Return the files of tasks; may be called from any thread."""
        wanted = frozenset(task_ids)
        if not wanted:
            return []
        with self._mutex:  # A merge may be under way.
            return [file for file, task_id in self.files().values() if task_id in wanted]

    def converted(self) -> dict[str, str]:
        """Return the etag of every converted object by its uri."""
        return self.converted_and_declared(with_declared=False)[0]

    def converted_and_declared(
        self, *, with_declared: bool = True
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return etags by uris, and the declared formats of the objects that were read by one.

        The latter are as `ConvertedObject.declared`.
        """
        converted: dict[str, str] = {}
        declared: dict[str, str] = {}
        columns = ["uri", "etag", *(["declared"] if with_declared else [])]
        # A batch at a time: a million objects are 400 MB as it is.
        for batch in self._checkpoint.object_batches(self._replaced, columns):
            uris: Any = batch["uri"].to_pylist()
            etags: Any = batch["etag"].to_pylist()
            converted.update(zip(uris, etags, strict=True))
            if with_declared:
                names: Any = batch["declared"].dictionary.to_pylist()  # type: ignore[attr-defined]
                codes: Any = batch["declared"].indices.to_pylist()  # type: ignore[attr-defined]
                declared |= {
                    uri: names[code] for uri, code in zip(uris, codes, strict=True) if names[code]
                }
        for commit in self._commits.values():
            converted |= {one.uri: one.etag for one in commit.objects}
            declared |= {one.uri: one.declared for one in commit.objects if one.declared}
        return converted, declared

    def counts_of(self, uris: Collection[str]) -> dict[str, tuple[LineCounts, str]]:
        """Return the lines of objects, and the formats that were declared for them."""
        kinds = [f.name for f in fields(LineCounts)]
        objects = self.objects("uri", *kinds, "declared")
        chosen = objects.filter(pc.is_in(objects["uri"], pa.array(list(uris), pa.string())))
        return {
            row["uri"]: (LineCounts(**{kind: row[kind] for kind in kinds}), row["declared"])
            for row in chosen.to_pylist()
        }

    def has_objects(self, source: str, since: date | None, until: date | None) -> bool:
        """Tell whether objects of a source were converted; of these days, if some are chosen."""
        for batch in self._object_batches("uri", "day"):
            uris, days = batch["uri"], batch["day"]
            wanted = pc.or_(pc.starts_with(uris, f"{source}/"), pc.equal(uris, pa.scalar(source)))
            if since:
                wanted = pc.and_(wanted, pc.greater_equal(days, pa.scalar(since)))
            if until:
                wanted = pc.and_(wanted, pc.less_equal(days, pa.scalar(until)))
            if pc.any(wanted).as_py():
                return True
        return False

    def rejected(self) -> list[str]:
        """Return the uris of the objects that have lines in quarantine."""
        objects = self.objects("uri", "rejected")
        uris: Any = objects.filter(pc.greater(objects["rejected"], pa.scalar(0)))["uri"].to_pylist()
        return list(uris)

    def tasks_of(self, uris: Collection[str]) -> dict[str, list[TaskObject]]:
        """Return the tasks that converted any of the objects: task -> all its objects."""
        if not uris:
            return {}
        objects = self.objects("task_id", *TaskObject._fields)
        wanted = pc.is_in(objects["uri"], pa.array(list(uris), pa.string()))
        task_ids = pc.unique(objects["task_id"].filter(wanted))
        tasks: dict[str, list[TaskObject]] = {}
        for row in objects.filter(pc.is_in(objects["task_id"], task_ids)).to_pylist():
            tasks.setdefault(row.pop("task_id"), []).append(TaskObject(**row))
        return tasks

    def headers(self) -> Iterator[pa.RecordBatch]:
        """Give uri and fields of all converted objects, a bounded number at a time."""
        yield from self._object_batches("uri", "fields")

    def objects(self, *columns: str) -> pa.Table:
        """Return columns of all converted objects, a row each: see `OBJECTS_SCHEMA`."""
        schema = pa.schema([OBJECTS_SCHEMA.field(name) for name in columns])
        return pa.Table.from_batches(self._object_batches(*columns), schema)

    def begin(self, run: Run, layout: Mapping[str, Any]) -> None:
        """Note that a run starts; from here on no other run can commit.

        Args:
            run: The run.
            layout: What lake.json says, kept here too, in case that it gets lost.

        Raises:
            LakeError: Another run began at the same moment.
        """
        # Before the record: a run that takes over has noted none of these, so they may be removed
        # however late this one wakes up.
        self.intents = [file.path for file in self._storage.list_files(INTENTS)]
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
        """Make a task's rows count, all at once.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        with self._mutex:
            number = self._append({"kind": "commit", **_commit_to_json(commit)})
            self._apply(number, commit)
            if (
                len(self._merged_away) >= _COMMITS_BETWEEN_MERGES
                or self._unmerged_objects >= _OBJECTS_BETWEEN_MERGES
            ):
                self.merge()

    def forget(self, run_id: str, task_ids: Iterable[str]) -> None:
        """Make tasks count no more, so that the next run converts their objects again.

        Raises:
            LostLockError: Another run has taken the lake over.
            StorageError: The lake does not answer.
        """
        forgotten = sorted(task_ids)
        with self._mutex:
            number = self._append({"kind": "forget", "run_id": run_id, "task_ids": forgotten})
            self._drop(number, forgotten)

    def end(self, run: Run) -> None:
        """Note that a run is over, and merge the records if they have become many."""
        assert run.ended
        number = self._append({"kind": "end", "run_id": run.run_id, "report": dict(run.report)})
        self._runs[run.run_id] = run
        self._merged_away.append(number)
        self._note_number()
        if number - self._checkpoint.number >= RECORDS_PER_CHECKPOINT:
            self.merge()

    def leftovers(self, noted: Iterable[str]) -> list[str]:
        """Return those of the paths that intents note which do not count, and may be removed.

        They are files that no commit names, and records that have gone into the checkpoint.
        """
        live = self.files()
        merged = record_path(self._checkpoint.number)
        return [
            path
            for path in noted
            if path not in live and not (path.startswith(f"{LEDGER}/") and path > merged)
        ]

    def _load(self) -> bool:
        """Read checkpoint and records; False if one of them vanished meanwhile."""
        # Before the records: it is never ahead of what is listed later.
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
        # Those that are begun name the last record of then, too.
        self._last_number = max([self._noted_number, *checkpoints, *numbers], default=0)
        self._checkpoint = Checkpoint(self._storage, last, checkpoints.pop(last, None))
        self._outdated = [
            path for parts in checkpoints.values() for paths in parts.values() for path in paths
        ]
        if self._storage.is_local and self._merged_meanwhile():
            return False
        if self._last_number == 0 and self._has_files():
            self._last_number = 1  # There was one at the least, if nobody put them there.
        new = sorted(n for n in numbers if n > last)
        ends = [last, *new, self._last_number + 1]
        gaps = (range(one + 1, other) for one, other in pairwise(ends))
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
            records = pool.map(self._storage.read, map(record_path, new))
            for number, written in zip(new, records, strict=True):
                if written is None:
                    return False
                self._replay(number, written)
        return True

    def _merged_meanwhile(self) -> bool:
        """Tell whether there is a later checkpoint than the one that the listing had.

        A folder is listed in any order: a listing may lack records that were merged meanwhile, and
        the checkpoint too. If they were the last, nothing else would tell. S3 lists by name, and so
        the checkpoint behind the records.
        """
        later: defaultdict[int, set[Part]] = defaultdict(set)
        for file in self._storage.list_files(LEDGER):
            if (parsed := parse_part(file.path)) and parsed[0] > self._checkpoint.number:
                later[parsed[0]].add(parsed[1])
        return any(parts == {*PARTS} for parts in later.values())

    def _has_files(self) -> bool:
        """Tell whether there is anything that a ledger would name."""
        listings = map(self._storage.list_files, Table)
        # S3's console makes such a name for a folder.
        return any(not file.path.endswith("/") for files in listings for file in files)

    def _read_noted_number(self) -> int:
        written = self._storage.read(LAST_NUMBER)
        if written is None:
            return 0
        try:
            number = unseal(written)["last_number"]
            if type(number) is not int or not 0 < number < 10**_DIGITS:
                raise ValueError(f"{quote(str(number))} is no number of a record")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LakeError(
                f"{LAST_NUMBER} is damaged ({error}). Restore it from a copy. If there is none, "
                "delete it, and let flowconv verify check the lake.",
                uri=self._storage.root,
            ) from error
        return number

    def _note_number(self) -> None:
        if self._noted_number != self._last_number:
            self._storage.write(LAST_NUMBER, seal({"last_number": self._last_number}))
            self._noted_number = self._last_number

    def _replay(self, number: int, written: bytes) -> None:
        try:
            record = unseal(written)
            if record["number"] != number:
                raise ValueError(f"it is record {record['number']}")
            kind, at = record["kind"], datetime.fromisoformat(record["at"])
            if kind == "begin":
                self._runs[record["run_id"]] = Run(record["run_id"], at, record["host"])
            elif kind == "end":
                run_id = record["run_id"]
                # A long run merges on its way, so its beginning may be in the checkpoint.
                if run := self._runs.get(run_id) or self._checkpoint.runs().get(run_id):
                    self._runs[run_id] = replace(run, ended=at, report=record["report"])
                self._merged_away.append(number)
            elif kind == "commit":
                self._apply(number, _commit_from_json(record))
            elif kind == "forget":
                self._drop(number, record["task_ids"])
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
        """Let a record take away what counted before it."""
        for task_id in task_ids:
            self._commits.pop(task_id, None)
            self._replaced.add(task_id)
        self._merged_away.append(number)

    def _append(self, record: dict[str, Any]) -> int:
        """Write the next record; nobody else has written it."""
        number = self._last_number + 1
        record["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Makes it our own beyond doubt when an answer is lost and the write is tried again.
        record["token"] = secrets.token_hex(8)
        data = seal({"number": number} | record)
        path = record_path(number)
        if not self._create(path, data):
            raise LostLockError(self._storage.root)
        self._last_number = number
        return number

    def _create(self, path: str, data: bytes) -> bool:
        """Create a record; where the answer is lost, it is known for our own by its token."""
        try:
            return self._storage.create(path, data) or self._storage.read(path) == data
        except StorageError:
            if self._storage.read(path) != data:
                raise
            return True

    def merge(self) -> None:
        """Write a checkpoint of all up to now, and remove the records that it holds."""
        self._note_number()
        old = self._checkpoint
        records = [record_path(number) for number in self._merged_away]
        intent = write_intent(self._storage, f"merge-{self._last_number}", records)
        self._checkpoint = old.replaced_by(
            self._last_number,
            self._object_batches(*OBJECTS_SCHEMA.names),
            list(self.files().values()),
            self.runs(),
        )
        self._storage.delete(records)
        self._storage.delete([intent])
        # Those before the old one, and what was begun of others, which cannot count any more even
        # if their writer should wake up.
        self._storage.delete(self._outdated)
        self._outdated = old.paths
        self._commits, self._replaced, self._merged_away = {}, set(), []
        self._unmerged_objects = 0
        self.missing_records = ()

    def _object_batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        yield from self._checkpoint.object_batches(self._replaced, columns)
        for commit in self._commits.values():
            yield from _objects_table(commit).select(list(columns)).to_batches()


def record_path(number: int) -> str:
    """Return where a record is."""
    return f"{LEDGER}/{number:0{_DIGITS}d}"


def parse_record_path(path: str) -> int | None:
    """Return the number of the record at a path; None if there can be none."""
    name = path.removeprefix(f"{LEDGER}/")
    return int(name) if name != path and _RECORD.fullmatch(name) else None


def _objects_table(commit: Commit) -> pa.Table:
    rows = (
        (
            *(commit.task_id, one.uri, one.size_bytes, one.etag, one.day),
            *one.counts.by_kind(),
            *(one.fields, one.declared),
        )
        for one in commit.objects
    )
    columns = list(zip(*rows, strict=True)) or [()] * len(OBJECTS_SCHEMA)
    return pa.table(columns, schema=OBJECTS_SCHEMA)


def _commit_to_json(commit: Commit) -> dict[str, Any]:
    # Thousands of objects share a header: it is written once.
    texts = chain.from_iterable((one.fields, one.declared) for one in commit.objects)
    headers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return {
        "task_id": commit.task_id,
        "run_id": commit.run_id,
        "kinds": [f.name for f in fields(LineCounts)],
        "headers": list(headers),
        "objects": [
            [
                *(one.uri, one.size_bytes, one.etag, one.day and one.day.isoformat()),
                *one.counts.by_kind(),
                *(headers[one.fields], headers[one.declared]),
            ]
            for one in commit.objects
        ],
        "files": [asdict(file) for file in commit.files],
        "replaces": list(commit.replaces),
    }


def _commit_from_json(record: Mapping[str, Any]) -> Commit:
    return Commit(
        record["task_id"],
        record["run_id"],
        tuple(
            ConvertedObject(
                uri,
                size_bytes,
                etag,
                day and date.fromisoformat(day),
                LineCounts(**dict(zip(record["kinds"], counts, strict=True))),
                record["headers"][header],
                record["headers"][declared],
            )
            for uri, size_bytes, etag, day, *counts, header, declared in record["objects"]
        ),
        tuple(DataFile(**file | {"columns": tuple(file["columns"])}) for file in record["files"]),
        tuple(record["replaces"]),
    )


def last_layout(storage: Storage) -> Mapping[str, Any] | None:
    """Return what lake.json said when the last run began; None if no run did.

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
            continue  # Damaged; an earlier one says the same.
    return None


def write_intent(storage: Storage, name: str, paths: Iterable[str]) -> str:
    """Note the files that a run is about to publish or remove, and return where.

    The note goes when that is done; where it stays, the next run removes those of them that do not
    count. No other run may use its name.
    """
    path = f"{INTENTS}/{name}.json"
    storage.write(path, seal({"paths": sorted(paths)}))
    return path


def read_intent(storage: Storage, path: str) -> list[str]:
    """Return the paths that an intent notes; none if it is gone, damaged, or no intent of ours."""
    written = storage.read(path)
    try:
        return list(unseal(written)["paths"]) if written else []
    except (ValueError, KeyError):
        return []
