"""read_quarantine(): the rejected lines of a lake, with their places and reasons."""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.errors import FetchError, LakeError, UsageError
from flowconv.lake.layout import read_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile
from flowconv.notebooks import InNotebooks
from flowconv.source.keys import CLOUDWATCH
from flowconv.storage.interface import Storage
from flowconv.storage.names import to_text
from flowconv.storage.opening import open_storage

_PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedLine:
    """A rejected line in the quarantine.

    Attributes:
        uri: Its object.
        line: Its number there, from 1.
        reason: As `RejectedLine.reason`.
        field: AWS's name of the field at fault; None if no single field is.
        text: The line; bytes that are not UTF-8 are Python's surrogate escapes.
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
        dropped: Number of its lines that were rejected but not kept.
        reasons: Reason -> number of its lines in the quarantine.
    """

    uri: str
    task_id: str
    dropped: int
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def lines(self) -> int:
        """Number of its lines in the quarantine."""
        return self.reasons.total()


@dataclass(frozen=True, slots=True, repr=False)
class QuarantineReport(InNotebooks):
    """The content of a lake's quarantine.

    Attributes:
        lake: The lake.
        objects: The objects with rejected lines, by uri.
        shown: The first lines, as many as were asked for.
    """

    lake: str
    objects: tuple[QuarantinedObject, ...]
    shown: tuple[QuarantinedLine, ...]

    @property
    def lines(self) -> int:
        """Number of lines."""
        return sum(rejected.lines for rejected in self.objects)

    @property
    def dropped(self) -> int:
        """Number of lines that were rejected but not kept."""
        return sum(rejected.dropped for rejected in self.objects)

    @property
    def reasons(self) -> Counter[str]:
        """Reason -> number of lines."""
        return sum((rejected.reasons for rejected in self.objects), Counter())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lake": self.lake,
            "lines": self.lines,
            "dropped": self.dropped,
            "reasons": dict(self.reasons),
            "objects": [
                {
                    "uri": rejected.uri,
                    "lines": rejected.lines,
                    "dropped": rejected.dropped,
                    "reasons": dict(rejected.reasons),
                }
                for rejected in self.objects
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
    """Return which lines were rejected, from which objects, and why.

    Args:
        lake: The lake: the DEST given to `convert`.
        object: An object, as the report names it: only its lines. None: the lines of all objects.
        lines: Number of lines to return; all are counted.
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
                f"the ledger counts rejected lines of task {task_id}, but names no file of them. "
                "Run flowconv verify.",
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
                f"{error.reason} Run flowconv verify to see what else is damaged.", uri=error.uri
            ) from error
    return QuarantineReport(storage.root, tuple(objects.values()), tuple(shown))


def read_lines(storage: Storage, file: DataFile) -> Iterator[QuarantinedLine]:
    """Give the lines of a file of rejected lines, reading a piece at a time.

    Raises:
        LakeError: The file is damaged; this may be found after the last line only.
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
            whole.append(rest)  # Without its newline: the record may be cut.
        for record in whole:
            number += 1
            try:
                line = QuarantinedLine(**json.loads(record))
            except (ValueError, TypeError, RecursionError):
                raise LakeError(
                    f"record {number} is not the JSON of a rejected line. Run flowconv verify.",
                    uri=storage.uri(file.path),
                ) from None
            yield line
    if crc32 != file.crc32:
        raise LakeError(
            f"found CRC-32 {crc32:08x}, expected {file.crc32:08x}: the rejected lines are damaged. "
            "Run flowconv verify.",
            uri=storage.uri(file.path),
        )


def _objects_with_rejects(
    ledger: Ledger, storage: Storage, chosen: str | None
) -> tuple[dict[str, QuarantinedObject], set[str]]:
    """Return uri -> object, sorted by uri, and the tasks that kept lines of these objects."""
    converted = ledger.objects("uri", "task_id", "rejected", "dropped")
    if chosen is not None:
        # The ledger has local paths in full, without links.
        known = converted.filter(pc.equal(converted["uri"], pa.scalar(to_text(chosen))))
        if not known.num_rows and not chosen.startswith(CLOUDWATCH):
            chosen = open_storage(chosen).root
            known = converted.filter(pc.equal(converted["uri"], pa.scalar(chosen)))
        converted = known
        if not converted.num_rows:
            raise UsageError(
                f"this object was not converted to {storage.root}. flowconv quarantine "
                f"{storage.root} lists the objects with rejected lines.",
                uri=chosen,
            )
    rejected = converted.filter(pc.greater(converted["rejected"], pa.scalar(0))).sort_by("uri")
    rows = rejected.to_pylist()
    objects = {
        row["uri"]: QuarantinedObject(
            uri=row["uri"], task_id=row["task_id"], dropped=row["dropped"]
        )
        for row in rows
    }
    return objects, {row["task_id"] for row in rows if row["rejected"] > row["dropped"]}
