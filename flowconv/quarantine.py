"""Lines that do not fit: kept below the lake with their place and the reason."""

import json
from collections.abc import Sequence

from flowconv.parsing import RejectedLine
from flowconv.storage import StagedSink, Storage, storage_errors
from flowconv.writing import STAGING

QUARANTINE = "_flowconv/quarantine"


class QuarantineWriter:
    """Writes one task's rejected lines to a file of JSON lines, if there are any."""

    def __init__(self, storage: Storage, task_id: str) -> None:
        self._storage = storage
        self._name = f"{task_id}.jsonl"
        self.sink: StagedSink | None = None

    def write(self, lines: Sequence[RejectedLine]) -> None:
        """Add lines; bytes that are no UTF-8 are kept as Python's surrogate escapes.

        Raises:
            StorageError: The lake cannot be written to.
        """
        if not lines:
            return
        if self.sink is None:
            path = f"{QUARANTINE}/{self._name}"
            self.sink = self._storage.open_staged(path, f"{STAGING}/{self._name}")
        with storage_errors(self.sink.uri):
            self.sink.file.write("".join(_record(line) for line in lines).encode())

    def close(self) -> None:
        """Finish the file; it is not visible yet."""
        if self.sink:
            self.sink.close()

    def discard(self) -> None:
        """Remove what was written."""
        if self.sink:
            self.sink.discard()


def _record(line: RejectedLine) -> str:
    record = {
        "uri": line.log_object.uri,
        "line": line.line,
        "reason": line.reason,
        "field": line.field,
        "text": line.text.decode("utf-8", "surrogateescape"),
    }
    return json.dumps(record) + "\n"
