"""Lines that do not fit: kept below the lake with their place and the reason."""

import json
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.errors import FetchError, LakeError, UsageError
from flowconv.lake.layout import read_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.paths import QUARANTINE, STAGING
from flowconv.rows.batch import RejectedLine, RejectedLines
from flowconv.source.keys import CLOUDWATCH, LogObject
from flowconv.storage.interface import StagedSink, Storage
from flowconv.storage.local_errors import storage_errors
from flowconv.storage.names import to_text
from flowconv.storage.opening import open_storage

_PIECE_BYTES = 8 << 20

# Of each object with rows still to come; more lies in the folder for temporary files.
_HELD_IN_MEMORY = 1 << 20


class QuarantineRoom:
    """What one run may still write to the quarantine, in bytes; shared by its threads."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._mutex = threading.Lock()

    def take(self, size_bytes: int) -> bool:
        """Take some room, if there is so much."""
        with self._mutex:
            if size_bytes > self._left:
                return False
            self._left -= size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        """Give back what was taken in vain."""
        with self._mutex:
            self._left += size_bytes


class QuarantineWriter:
    """Writes one task's rejected lines to a file of JSON lines, if there are any.

    Args:
        storage: The lake.
        name: What the file is to be called.
        object_bytes: So many bytes of the file are of one object at the most.
        room: What the run may still write.

    Attributes:
        dropped: Object -> its lines that were beyond either limit.
    """

    def __init__(
        self, storage: Storage, name: str, object_bytes: int, room: QuarantineRoom
    ) -> None:
        self._storage = storage
        self._path = f"{QUARANTINE}/{name}.jsonl"
        self._staging = f"{STAGING}/{name}.jsonl"
        self._object_bytes = object_bytes
        self._room = room
        self._sink: StagedSink | None = None
        self._is_published = False
        self._lines = 0
        self._held_back: dict[LogObject, _Records] = {}
        self._sizes: Counter[LogObject] = Counter()
        self.dropped: Counter[LogObject] = Counter()

    @property
    def held_back(self) -> tuple[LogObject, ...]:
        """The objects with lines of which it is not known yet whether they are kept."""
        return tuple(self._held_back)

    def write(self, lines: RejectedLines) -> None:
        """Add lines, and hold them back; bytes that are no UTF-8 become surrogate escapes.

        Raises:
            StorageError: There is no room for them among the temporary files.
        """
        for part in lines.parts:
            for log_object, places in part.by_object():
                kept = 0
                if not self.dropped[log_object]:
                    kept = self._write_lines(log_object, map(part.line, places.tolist()))
                self.dropped[log_object] += len(places) - kept

    def _write_lines(self, log_object: LogObject, lines: Iterable[RejectedLine]) -> int:
        """Add lines of one object; return how many there was room for."""
        number = 0
        for line in lines:
            record = _record(line).encode()
            fits = self._sizes[log_object] + len(record) <= self._object_bytes
            if not fits or not self._room.take(len(record)):
                break
            self._sizes[log_object] += len(record)
            if log_object not in self._held_back:
                self._held_back[log_object] = _Records()
            self._held_back[log_object].add(record)
            number += 1
        return number

    def keep(self, log_object: LogObject) -> None:
        """Write the lines of an object that are held back.

        Raises:
            StorageError: The lake cannot be written to.
        """
        records = self._held_back.pop(log_object)
        if self._sink is None:
            self._sink = self._storage.open_staged(self._path, self._staging)
        self._lines += records.number
        with storage_errors(self._sink.uri):
            for piece in records.pieces():
                self._sink.file.write(piece)

    def forget(self, log_object: LogObject) -> None:
        """Throw away the lines of an object that are held back: all that there were."""
        records = self._held_back.pop(log_object, None)
        if records is not None:
            records.close()
        self._room.give_back(self._sizes.pop(log_object, 0))
        self.dropped.pop(log_object, None)

    def close(self) -> list[DataFile]:
        """Finish the file, if there is one; it is not visible yet."""
        if self._sink is None:
            return []
        self._sink.close()
        return [DataFile(self._path, self._lines, self._sink.tell(), self._sink.crc32, ())]

    def publish(self) -> None:
        """Make the file visible, if there is one."""
        self._is_published = True
        if self._sink:
            self._sink.publish()

    def discard(self) -> None:
        """Remove what was written, unless it is published."""
        for log_object in self.held_back:
            self.forget(log_object)
        if not self._is_published:
            self._room.give_back(self._sizes.total())
        if self._sink:
            self._sink.discard()


class _Records:
    """An object's lines, as they are written, until it is known whether they are kept.

    The first row of an object may come behind a gigabyte of lines that do not fit.
    """

    def __init__(self) -> None:
        self.number = 0
        self._file = tempfile.SpooledTemporaryFile(_HELD_IN_MEMORY)  # noqa: SIM115 - closed below

    def add(self, record: bytes) -> None:
        self.number += 1
        with storage_errors(tempfile.gettempdir()):
            self._file.write(record)

    def pieces(self) -> Iterator[bytes]:
        """Return them, a piece at a time; then they are gone."""
        self._file.seek(0)
        while piece := self._file.read(_HELD_IN_MEMORY):
            yield piece
        self._file.close()

    def close(self) -> None:
        self._file.close()


def _record(line: RejectedLine) -> str:
    record = {
        "uri": line.log_object.uri,
        "line": line.line,
        "reason": line.reason,
        "field": line.field,
        "text": line.text.decode("utf-8", "surrogateescape"),
    }
    return json.dumps(record) + "\n"


@dataclass(frozen=True, slots=True)
class QuarantinedLine:
    """A rejected line as the quarantine has it.

    Attributes:
        uri: The object that it is from.
        line: Its number there, from 1.
        reason: As `RejectedLine.reason`.
        field: AWS's name of the field at fault, if it is one.
        text: The line; bytes that are no UTF-8 are Python's surrogate escapes.
    """

    uri: str
    line: int
    reason: str
    field: str | None
    text: str


@dataclass(frozen=True, slots=True)
class QuarantinedObject:
    """An object with rejected lines.

    Attributes:
        uri: The object.
        task_id: The task that converted it.
        dropped: Number of its lines that the quarantine has not kept.
        reasons: Reason -> number of its lines that it has.
    """

    uri: str
    task_id: str
    dropped: int
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def lines(self) -> int:
        """Number of its lines in the quarantine."""
        return self.reasons.total()


@dataclass(frozen=True, slots=True)
class QuarantineReport:
    """What waits in a lake's quarantine.

    Attributes:
        lake: The lake.
        objects: The objects that the lines are from, by uri.
        shown: The first lines, as many as were asked for.
    """

    lake: str
    objects: tuple[QuarantinedObject, ...]
    shown: tuple[QuarantinedLine, ...]

    @property
    def lines(self) -> int:
        """Number of lines."""
        return sum(one.lines for one in self.objects)

    @property
    def dropped(self) -> int:
        """Number of lines that were rejected, but not kept."""
        return sum(one.dropped for one in self.objects)

    @property
    def reasons(self) -> Counter[str]:
        """Reason -> number of lines."""
        return sum((one.reasons for one in self.objects), Counter())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lake": self.lake,
            "lines": self.lines,
            "dropped": self.dropped,
            "reasons": dict(self.reasons),
            "objects": [
                {
                    "uri": one.uri,
                    "lines": one.lines,
                    "dropped": one.dropped,
                    "reasons": dict(one.reasons),
                }
                for one in self.objects
            ],
            "shown": [asdict(line) for line in self.shown],
        }


def read_quarantine(
    lake: str,
    *,
    object: str | None = None,
    lines: int = 10,
    options: Mapping[str, str] | None = None,
) -> QuarantineReport:
    """Say which lines were rejected, from which objects, and why.

    Args:
        lake: The lake, as it was given to `convert`.
        object: Only the lines of this object, as the report names it; None takes all.
        lines: So many lines are returned; all are counted.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Raises:
        UsageError: The object was not converted to this lake.
        LakeError: There is no lake, or a file of its quarantine is gone or damaged.
        StorageError: The lake does not answer.
    """
    storage = open_storage(lake, options)
    read_layout(storage)
    ledger = Ledger.read(storage)
    objects, tasks = _objects_with_rejects(ledger, storage, object)
    shown: list[QuarantinedLine] = []
    files = {task_id: file for file, task_id in ledger.files().values() if not file.is_data}
    for task_id in sorted(tasks):
        if task_id not in files:
            raise LakeError(
                f"the ledger knows no file of rejected lines of task {task_id}, but counts such "
                "lines. See flowconv verify.",
                uri=storage.root,
            )
        try:
            for line in read_lines(storage, files[task_id]):
                if line.uri in objects:
                    objects[line.uri].reasons[line.reason] += 1
                    if len(shown) < lines:
                        shown.append(line)
        except FetchError as error:
            raise LakeError(
                f"{error.reason} flowconv verify says what else is damaged.", uri=error.uri
            ) from error
    return QuarantineReport(storage.root, tuple(objects.values()), tuple(shown))


def read_lines(storage: Storage, file: DataFile) -> Iterator[QuarantinedLine]:
    """Read a file of rejected lines, a piece at a time.

    Raises:
        LakeError: It is not what was written; perhaps not before the last line.
        StorageError: The lake does not answer.
        FetchError: The file cannot be fetched.
    """
    number = crc32 = 0
    rest = b""
    for start in range(0, file.size_bytes, _PIECE_BYTES):
        size = min(_PIECE_BYTES, file.size_bytes - start)
        piece = storage.fetch(file.path, start, size)
        crc32 = zlib.crc32(piece, crc32)
        *whole, rest = (rest + piece).split(b"\n")
        if rest and start + size == file.size_bytes:
            whole.append(rest)  # Its newline is missing: so may more of it.
        for record in whole:
            number += 1
            try:
                line = QuarantinedLine(**json.loads(record))
            except (ValueError, TypeError):
                raise LakeError(
                    f"record {number} is no JSON of a rejected line. See flowconv verify.",
                    uri=storage.uri(file.path),
                ) from None
            yield line
    if crc32 != file.crc32:
        raise LakeError(
            "the rejected lines are not as they were written. See flowconv verify.",
            uri=storage.uri(file.path),
        )


def _objects_with_rejects(
    ledger: Ledger, storage: Storage, chosen: str | None
) -> tuple[dict[str, QuarantinedObject], set[str]]:
    """Return them by uri, in its order, and the tasks that have kept lines of them."""
    converted = ledger.objects("uri", "task_id", "rejected", "dropped")
    if chosen is not None:
        # As the ledger has it: a local path in full, without links.
        known = converted.filter(pc.equal(converted["uri"], pa.scalar(to_text(chosen))))
        if not known.num_rows and not chosen.startswith(CLOUDWATCH):
            chosen = open_storage(chosen).root
            known = converted.filter(pc.equal(converted["uri"], pa.scalar(chosen)))
        converted = known
        if not converted.num_rows:
            raise UsageError(
                f"this object was not converted to {storage.root}; flowconv quarantine "
                f"{storage.root} lists those with rejected lines.",
                uri=chosen,
            )
    rejected = converted.filter(pc.greater(converted["rejected"], pa.scalar(0))).sort_by("uri")
    rows = rejected.to_pylist()
    objects = {
        row["uri"]: QuarantinedObject(row["uri"], row["task_id"], row["dropped"]) for row in rows
    }
    return objects, {row["task_id"] for row in rows if row["rejected"] > row["dropped"]}
