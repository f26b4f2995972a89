"""Lines that do not fit: kept below the lake with their place and the reason."""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.batches import RejectedLine
from flowconv.errors import FetchError, LakeError, UsageError
from flowconv.lake import read_layout
from flowconv.ledger import Ledger
from flowconv.listing import CLOUDWATCH
from flowconv.report import DataFile
from flowconv.storage import StagedSink, Storage, open_storage, storage_errors
from flowconv.writing import STAGING

QUARANTINE = "_flowconv/quarantine"

_PIECE_BYTES = 8 << 20


class QuarantineWriter:
    """Writes one task's rejected lines to a file of JSON lines, if there are any."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._path = f"{QUARANTINE}/{name}.jsonl"
        self._staging = f"{STAGING}/{name}.jsonl"
        self._sink: StagedSink | None = None
        self._lines = 0

    def write(self, lines: Sequence[RejectedLine]) -> None:
        """Add lines; bytes that are no UTF-8 are kept as Python's surrogate escapes.

        Raises:
            StorageError: The lake cannot be written to.
        """
        if not lines:
            return
        if self._sink is None:
            self._sink = self._storage.open_staged(self._path, self._staging)
        self._lines += len(lines)
        with storage_errors(self._sink.uri):
            self._sink.file.write("".join(_record(line) for line in lines).encode())

    def close(self) -> list[DataFile]:
        """Finish the file, if there is one; it is not visible yet."""
        if self._sink is None:
            return []
        self._sink.close()
        return [DataFile(self._path, self._lines, self._sink.tell(), self._sink.crc32, ())]

    def publish(self) -> None:
        """Make the file visible, if there is one."""
        if self._sink:
            self._sink.publish()

    def discard(self) -> None:
        """Remove what was written."""
        if self._sink:
            self._sink.discard()


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
        reasons: Reason -> number of its lines.
    """

    uri: str
    task_id: str
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
    def reasons(self) -> Counter[str]:
        """Reason -> number of lines."""
        return sum((one.reasons for one in self.objects), Counter())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lake": self.lake,
            "lines": self.lines,
            "reasons": dict(self.reasons),
            "objects": [
                {"uri": one.uri, "lines": one.lines, "reasons": dict(one.reasons)}
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
    objects = _objects_with_rejects(ledger, storage, object)
    shown: list[QuarantinedLine] = []
    files = {task_id: file for file, task_id in ledger.files.values() if not file.is_data}
    for task_id in sorted({one.task_id for one in objects.values()}):
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
) -> dict[str, QuarantinedObject]:
    """Return them by uri, in its order."""
    converted = ledger.objects().select(["uri", "task_id", "rejected"])
    if chosen is not None:
        # As the ledger has it: a local path in full.
        if not chosen.startswith(CLOUDWATCH):
            chosen = open_storage(chosen).root.encode("utf-8", "backslashreplace").decode()
        converted = converted.filter(pc.equal(converted["uri"], pa.scalar(chosen)))
        if not converted.num_rows:
            raise UsageError(
                f"this object was not converted to {storage.root}; flowconv quarantine "
                f"{storage.root} lists those with rejected lines.",
                uri=chosen,
            )
    rejected = converted.filter(pc.greater(converted["rejected"], pa.scalar(0))).sort_by("uri")
    return {
        row["uri"]: QuarantinedObject(row["uri"], row["task_id"]) for row in rejected.to_pylist()
    }
