"""Rejected lines, written: each with its place and the reason, as JSON lines below the lake."""

import json
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from flowconv.lake.ledger_records import DataFile
from flowconv.lake.paths import QUARANTINE, STAGING
from flowconv.memory import Room
from flowconv.rows.batch import RejectedLines, RejectedPart
from flowconv.source.keys import LogObject
from flowconv.storage.interface import HandedOver, StagedSink, Storage
from flowconv.storage.local_errors import storage_errors

# Of each object with held lines; the rest goes to a temporary file.
_HELD_IN_MEMORY_BYTES = 1 << 20

# A block may have millions.
_LINES_AT_ONCE = 1000


class QuarantineWriter:
    """Writes one task's rejected lines to a file of JSON lines, if there are any.

    The lines of an object are held until `keep` or `forget` is called for it.

    Args:
        storage: The lake.
        name: The file's name, without its suffix.
        object_bytes: Most bytes of the file for one object.
        room: The bytes that the run may still write.

    Attributes:
        dropped: Object -> number of its lines beyond either limit.
    """

    def __init__(self, storage: Storage, name: str, object_bytes: int, room: Room) -> None:
        self._storage = storage
        self._path = f"{QUARANTINE}/{name}.jsonl"
        self._staging = f"{STAGING}/{name}.jsonl"
        self._object_bytes = object_bytes
        self._room = room
        self._sink: StagedSink | None = None
        self._is_published = False
        self._lines = 0
        self._held: dict[LogObject, _Records] = {}
        self._sizes: Counter[LogObject] = Counter()
        self.dropped: Counter[LogObject] = Counter()

    @property
    def held(self) -> tuple[LogObject, ...]:
        """The objects with held lines."""
        return tuple(self._held)

    def write(self, lines: RejectedLines) -> None:
        """Add lines and hold them; bytes that are not UTF-8 become surrogate escapes.

        Raises:
            StorageError: The folder for temporary files is full.
        """
        # Held lines go to temporary files.
        with storage_errors(tempfile.gettempdir()):
            for part in lines.parts:
                for log_object, places in part.by_object():
                    kept = 0
                    if not self.dropped[log_object]:
                        kept = self._write_records(log_object, _records(part, places))
                    self.dropped[log_object] += len(places) - kept

    def _write_records(self, log_object: LogObject, groups: Iterable[list[str]]) -> int:
        """Add records of one object; return the number for which there was room."""
        number = 0
        for records in groups:
            if count := self._take_room(log_object, records):
                if log_object not in self._held:
                    self._held[log_object] = _Records()
                self._held[log_object].add(records[:count])
                number += count
            if count < len(records):
                break
        return number

    def _take_room(self, log_object: LogObject, records: list[str]) -> int:
        """Take room for records, as far as there is; return for how many."""
        sizes = list(accumulate(map(len, records)))
        count = bisect_right(sizes, self._object_bytes - self._sizes[log_object])
        while count and not self._room.take(sizes[count - 1]):
            count -= 1
        if count:
            self._sizes[log_object] += sizes[count - 1]
        return count

    def keep(self, log_object: LogObject) -> None:
        """Write the held lines of an object.

        Raises:
            StorageError: The lake cannot be written to.
        """
        records = self._held.pop(log_object)
        if self._sink is None:
            self._sink = self._storage.open_staged(self._path, self._staging)
        self._lines += records.number
        with storage_errors(self._sink.uri):
            for piece in records.pieces():
                self._sink.file.write(piece)

    def forget(self, log_object: LogObject) -> None:
        """Drop all lines of an object, which must be held."""
        records = self._held.pop(log_object, None)
        if records is not None:
            records.close()
        self._room.give_back(self._sizes.pop(log_object, 0))
        self.dropped.pop(log_object, None)

    def close(self) -> list[DataFile]:
        """Finish the file, if there is one; it is not visible yet."""
        if self._sink is None:
            return []
        self._sink.close()
        file = DataFile(
            path=self._path,
            rows=self._lines,
            size_bytes=self._sink.tell(),
            crc32=self._sink.crc32,
        )
        return [file]

    @property
    def has_file(self) -> bool:
        """There is a file."""
        return self._sink is not None

    def publish(self) -> None:
        """Make the file visible; there must be one."""
        assert self._sink
        self._is_published = True
        self._sink.publish()

    def hand_over(self) -> HandedOver:
        """Leave the file to another process, which publishes it; there must be one."""
        assert self._sink
        self._is_published = True
        return self._sink.hand_over()

    def discard(self) -> None:
        """Remove what was written, unless it is published."""
        for log_object in self.held:
            self.forget(log_object)
        if not self._is_published:
            self._room.give_back(self._sizes.total())
        if self._sink:
            self._sink.discard()


class _Records:
    """An object's held lines, as they will be written.

    A gigabyte of lines that do not fit may precede the object's first row.
    """

    def __init__(self) -> None:
        self.number = 0
        self._file = tempfile.SpooledTemporaryFile(_HELD_IN_MEMORY_BYTES)  # noqa: SIM115 - closed later

    def add(self, records: list[str]) -> None:
        self.number += len(records)
        self._file.write("".join(records).encode("ascii"))

    def pieces(self) -> Iterator[bytes]:
        """Give all lines, a piece at a time; afterwards they are gone."""
        self._file.seek(0)
        while piece := self._file.read(_HELD_IN_MEMORY_BYTES):
            yield piece
        self._file.close()

    def close(self) -> None:
        self._file.close()


def _records(part: RejectedPart, places: npt.NDArray[np.intp]) -> Iterator[list[str]]:
    """Give lines as they are written, in ASCII, some together.

    Each takes 1 us; made of a `RejectedLine`, and written alone, it took 6.
    """
    about = [
        f'"reason": {json.dumps(reason)}, "field": {json.dumps(field)}, "text": '
        for reason, field in part.reasons
    ]
    uris = [json.dumps(log_object.uri) for log_object in part.log_objects]
    columns = (part.places, part.numbers, part.codes, part.starts, part.ends)
    for first in range(0, len(places), _LINES_AT_ONCE):
        some = places[first : first + _LINES_AT_ONCE]
        lines = zip(*(column[some].tolist() for column in columns), strict=True)
        yield [
            f'{{"uri": {uris[of]}, "line": {line}, {about[code]}{_quoted(part.text[start:end])}}}\n'
            for of, line, code, start, end in lines
        ]


def _quoted(text: bytes) -> str:
    return json.dumps(text.decode("utf-8", "surrogateescape"))
