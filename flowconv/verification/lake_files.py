"""The lake's files compared with the ledger: names, checksums, schemas, rows."""

import errno
import io
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flowconv.errors import FetchError, StorageError
from flowconv.fields import Table
from flowconv.lake.checkpoint_names import parse_part
from flowconv.lake.gone import gone_partitions
from flowconv.lake.intents import read_intent
from flowconv.lake.layout import Layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile, Share
from flowconv.lake.paths import (
    INTENTS,
    LEDGER,
    QUARANTINE,
    STAGING,
    parse_record_path,
    place_of,
    record_path,
)
from flowconv.lake.table_folders import table_folders
from flowconv.rows.ocsf_schema import OCSF_SCHEMA
from flowconv.rows.schema import table_schema
from flowconv.storage.interface import Storage
from flowconv.storage.local_errors import explain_os_error
from flowconv.storage.stored_reader import StoredReader
from flowconv.verification.checks import Check, Checked, Opened
from flowconv.verification.fetched_files import FetchedFiles
from flowconv.verification.problems import Problem, problem_of
from flowconv.verification.recounting import PIECE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeNow:
    """A lake at one moment.

    Attributes:
        stored: Path -> size, of files below the tables and in the quarantine, and of files in the
            ledger's folder that are not the ledger's.
        staged: Paths of files that are not published.
        intents: Path of an intent -> the paths in it.
        kept: Paths of files that were compacted and are kept for a time.
        ledger: The ledger.
        files: The files that count: path -> file and task.
    """

    stored: dict[str, int]
    staged: list[str]
    intents: dict[str, Sequence[str]]
    kept: frozenset[str]
    ledger: Ledger
    files: dict[str, tuple[DataFile, str]]

    @classmethod
    def take(cls, storage: Storage) -> "LakeNow":
        """List and read a lake."""
        # The order matters while a run is under way: a file that is listed as stored has its
        # intent or its commit read later, else it is a stray.
        stored = {
            file.path: file.size_bytes
            for folder in (*table_folders(storage), QUARANTINE)
            for file in storage.list_files(folder)
            if not file.path.endswith("/")  # S3's console creates such an object for a folder.
        }
        stored |= {
            file.path: file.size_bytes
            for file in storage.list_files(LEDGER)
            if not (parse_part(file.path) or parse_record_path(file.path))
            and not file.path.endswith("/")
        }
        staged = [file.path for file in storage.list_files(STAGING)]
        noted = [file.path for file in storage.list_files(INTENTS)]
        intents = {path: read_intent(storage, path) for path in noted}
        kept = (intent.paths for intent in intents.values() if intent.until)
        ledger = Ledger.read(storage, with_gaps=True)
        return cls(
            stored=stored,
            staged=staged,
            intents={path: intent.paths for path, intent in intents.items() if not intent.until},
            kept=frozenset(chain.from_iterable(kept)),
            ledger=ledger,
            files=ledger.files(),
        )


def check_names(storage: Storage, lake: LakeNow) -> Iterator[Problem]:
    """Compare the stored files with those that the ledger names."""
    for gap in lake.ledger.missing_records:
        found = "no such file" + (f", nor are the {len(gap) - 1:,} after it" if gap[1:] else "")
        expected = "a record of the ledger"
        yield problem_of("missing-record", storage, record_path(gap[0]), found, expected)
    for path in (*lake.staged, *lake.intents):
        yield problem_of("leftover", storage, path, "a file of a run that did not end", "none")
    for path in lake.stored.keys() - lake.files.keys() - lake.kept:
        found = f"a file of {lake.stored[path]:,} bytes that the ledger does not name"
        yield problem_of("stray-file", storage, path, found, "none")
    missing = lake.files.keys() - lake.stored.keys()
    gone = set(gone_partitions([file for file, _ in lake.files.values()], missing))
    for path, (file, task_id) in lake.files.items():
        size = lake.stored.get(path)
        if size is None:
            expected = f"{file.rows:,} rows in {file.size_bytes:,} bytes"
            found = "no such file"
            if path.rpartition("/")[0] in gone:
                found += ", nor any other of its partition"
            problem = problem_of("missing-file", storage, path, found, expected, task_id)
            settle = f"flowconv expire {storage.root} --gone settles it."
            yield replace(
                problem, advice=f"If a lifecycle rule deleted it, {settle} Else: {problem.advice}"
            )
        elif size != file.size_bytes:
            found, expected = f"{size:,} bytes", f"{file.size_bytes:,}"
            yield problem_of("damaged-file", storage, path, found, expected, task_id)


def check_sums(storage: Storage, lake: LakeNow) -> Iterator[Problem]:
    """Compare the rows of each task's files with those of its objects, both from the ledger."""
    in_files: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file, task_id in (*lake.files.values(), *lake.ledger.expired_files()):
        what = "rows" if file.is_data else "rejected lines"
        for share in file.shares or (Share(task_id, file.rows),):
            in_files[share.task_id][what] += share.rows
    # Their duplicates stand for them.
    for note in lake.ledger.notes():
        for entry in note.duplicates:
            in_files[entry.task_id]["rows"] += entry.rows
    for task_id, rows, rejected, dropped in _sums_of_tasks(lake.ledger):
        of_objects = {"rows": rows, "rejected lines": rejected - dropped}
        for what, number in of_objects.items():
            if in_files[task_id][what] != number:
                found = f"task {task_id} has {in_files[task_id][what]:,} {what}"
                expected = f"{number:,}, as its objects have"
                yield problem_of("wrong-rows", storage, LEDGER, found, expected, task_id)


def _sums_of_tasks(ledger: Ledger) -> Iterator[tuple[str, int, int, int]]:
    """Give each task, and the rows, rejected and dropped lines of its objects."""
    counted = ("rows", "rejected", "dropped")
    objects = ledger.objects("task_id", *counted)
    tasks: Any = objects["task_id"].dictionary_encode().combine_chunks()
    # By numpy: to group a table takes 0.015 s of imports.
    sums = np.zeros((len(counted), len(tasks.dictionary)), np.int64)
    for sum_, name in zip(sums, counted, strict=True):
        np.add.at(sum_, tasks.indices.to_numpy(), objects[name].to_numpy())
    yield from zip(tasks.dictionary.to_pylist(), *sums.tolist(), strict=True)


def file_checks(lake: LakeNow, problems: Iterable[Problem]) -> list[Check]:
    """Return the checks of the files without a problem so far."""
    wrong = {problem.path for problem in problems}
    return [
        FileCheck(file, task_id) for file, task_id in lake.files.values() if file.path not in wrong
    ]


def files_ahead(storage: Storage, checks: Iterable[Check]) -> FetchedFiles | None:
    """Return what has the checks' files ahead of them; None locally."""
    if storage.is_local:
        return None
    return FetchedFiles(storage, [check.file for check in checks if isinstance(check, FileCheck)])


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A whole file is read, and its bytes, rows and columns compared with the ledger's."""

    file: DataFile
    task_id: str

    @property
    def size_bytes(self) -> int:
        """See `Check`."""
        return self.file.size_bytes

    def run(self, opened: Opened, go_on: Callable[[], None]) -> Checked:
        """See `Check`."""
        problem = _check_file(opened, self.file, self.task_id, go_on)
        return Checked((problem,) if problem else ())


def _check_file(
    opened: Opened, file: DataFile, task_id: str, go_on: Callable[[], None]
) -> Problem | None:
    storage = opened.storage
    damaged = partial(problem_of, "damaged-file", storage, file.path, task_id=task_id)
    try:
        with _open(opened, file) as stored:
            crc32 = 0
            while piece := stored.read(PIECE_BYTES):
                go_on()
                crc32 = zlib.crc32(piece, crc32)
            if crc32 != file.crc32:
                return damaged(f"CRC-32 {crc32:08x}", f"{file.crc32:08x}, as it was written")
            if not file.is_data:
                return None
            with pq.ParquetFile(pa.PythonFile(stored, mode="r")) as parquet:
                rows, found = parquet.metadata.num_rows, parquet.schema_arrow
    except (FetchError, FileNotFoundError) as error:
        if Ledger.read(storage, with_gaps=True).files().get(file.path) != (file, task_id):
            return None  # Replaced meanwhile.
        if isinstance(error, FetchError):
            raise
        return damaged("no such file any longer", f"{file.rows:,} rows")
    except (OSError, pa.ArrowException) as error:
        # Damaged Parquet raises an OSError without a number.
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
            uri = storage.uri(file.path)
            raise StorageError(explain_os_error(error), uri=uri) from error
        return damaged(f"it cannot be read ({error})", "a whole file")
    if rows != file.rows:
        return damaged(f"{rows:,} rows", f"{file.rows:,}")
    table = place_of(file.path).table
    schema = _schema_of(opened.layout, table)
    # An earlier flowconv knew fewer fields.
    if not found.equals(pa.schema([field for field in schema if field.name in found.names])):
        differ = [str(field) for field in found if field not in schema] or ["another order"]
        return damaged(f"columns that differ ({', '.join(differ)[:200]})", f"those of {table}/")
    return None


def _schema_of(layout: Layout, table: str) -> pa.Schema:
    if layout.schema == "ocsf":
        return OCSF_SCHEMA
    return table_schema(Table(table), layout.time_type, with_source=layout.with_source)


def _open(opened: Opened, file: DataFile) -> io.RawIOBase | io.BytesIO:
    storage = opened.storage
    if storage.is_local:
        return io.FileIO(storage.location(file.path))
    if opened.files and (fetched := opened.files.fetch(file)) is not None:
        return io.BytesIO(fetched)
    return StoredReader(storage, file.path, file.size_bytes)
