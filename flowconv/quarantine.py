"""Lines that do not fit: kept below the lake with their place and the reason."""

import json
from collections.abc import Sequence

from flowconv.parsing import RejectedLine
from flowconv.report import DataFile
from flowconv.storage import StagedSink, Storage, storage_errors
from flowconv.writing import STAGING

QUARANTINE = "_flowconv/quarantine"


class QuarantineWriter:
    """Writes one task's rejected lines to a file of JSON lines, if there are any."""

    def __init__(self, storage: Storage, task_id: str) -> None:
        self._storage = storage
        self._path = f"{QUARANTINE}/{task_id}.jsonl"
        self._staging = f"{STAGING}/{task_id}.jsonl"
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
        return [DataFile(self._path, self._lines, self._sink.tell(), ())]

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
