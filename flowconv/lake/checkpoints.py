"""A ledger's checkpoint: the content of all records up to a number, in Parquet files.

    000000000064.objects-1a2b3c4d.parquet   every converted object, with its task and lines
    000000000064.files-5e6f7a8b.parquet     every file that counts, with its task
    000000000064.runs-9c0d1e2f.parquet      every run

The objects of a large ledger are in several files, so a merge need not write all of them again:

    000000000096.objects-after-000000000064-2b3c4d5e.parquet   those of the records after 64

These count with those up to 64, which an earlier checkpoint wrote, and so on down to a file without
"after": the chain of a checkpoint.

Each file has the CRC-32 of its bytes in its name, and in its metadata the number of the checkpoint
that wrote it and what had expired. The objects are written last, and name the other files; a
checkpoint counts if all of them are there.
"""

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from flowconv.errors import LakeError
from flowconv.lake.checkpoint_names import PARTS, Part, PartFile, part_name
from flowconv.lake.expired import Expired
from flowconv.lake.ledger_records import DataFile, Run
from flowconv.lake.paths import LEDGER
from flowconv.storage.interface import Storage

if TYPE_CHECKING:
    import pyarrow as pa

# A merge writes the last file of objects again until it is so large: 600,000 of them, which takes a
# second.
FULL_BYTES = 32 << 20

# In the metadata of each part, since every reader reads one of them.
_EXPIRED = "expired"
_NOTHING_EXPIRED = json.dumps(Expired().to_json())


class Checkpoint:
    """The content of all records up to a number, read when asked for; 0 is the empty checkpoint.

    Args:
        storage: The lake.
        number: The last record that it holds.
        files: Part -> its file; of objects, the one of this number.
        earlier: The other files of objects, oldest first.
    """

    def __init__(
        self,
        storage: Storage,
        number: int = 0,
        files: Mapping[Part, PartFile] | None = None,
        earlier: Sequence[PartFile] = (),
    ) -> None:
        self._storage = storage
        self.number = number
        self._expired: Expired | None = None if number else Expired()
        self._files: dict[Part, PartFile] = dict(files or {})
        self._earlier = list(earlier)

    def number_full(self) -> int:
        """Return the number of files of objects, from the first, that a merge need not write."""
        last = self._files.get("objects")
        return len(self._earlier) + bool(last and last.size_bytes >= FULL_BYTES)

    def object_batches(
        self, without: Collection[str], columns: Collection[str], after_files: int = 0
    ) -> "Iterator[pa.RecordBatch]":
        """Give columns of objects, in bounded batches.

        Args:
            without: Their tasks are left out.
            columns: The columns.
            after_files: Objects of so many files, from the first, are left out.
        """
        for file in self._object_files()[after_files:]:
            yield from self._read(file.path, without, columns)

    def files(self, without: Collection[str]) -> dict[str, tuple[DataFile, str]]:
        """Return the files of all tasks except `without`: path -> file and task."""
        if not self._files:
            return {}
        from flowconv.lake.checkpoint_tables import files_of

        files = chain.from_iterable(map(files_of, self.file_batches(without)))
        return {file.path: (file, task_id) for file, task_id in files}

    def file_batches(
        self, without: Collection[str], without_paths: Collection[str] = ()
    ) -> "Iterator[pa.RecordBatch]":
        """Give the files of all tasks except `without`, but not those at some paths."""
        if not self._files:
            return
        from flowconv.lake.checkpoint_tables import FILES_SCHEMA, text_array, without_rows

        dropped = text_array(without_paths)
        for batch in self._read(self._files["files"].path, without, FILES_SCHEMA.names):
            yield without_rows(batch, "path", dropped)

    def expired(self) -> Expired:
        """Return what has expired; it is known once any file with this number was read."""
        if self._expired is None:
            next(self._read_part("files"), None)
        assert self._expired is not None
        return self._expired

    def runs(self) -> dict[str, Run]:
        """Return run id -> run."""
        if not self._files:
            return {}
        from flowconv.lake.checkpoint_tables import runs_of

        runs = chain.from_iterable(map(runs_of, self._read_part("runs")))
        return {run.run_id: run for run in runs}

    def replaced_by(
        self,
        number: int,
        objects: "Iterable[pa.RecordBatch]",
        files: "Iterable[pa.RecordBatch]",
        runs: Iterable[Run],
        expired: Expired,
        *,
        after_files: int = 0,
    ) -> "Checkpoint":
        """Write a later checkpoint; its objects come last and make it count.

        Args:
            number: The last record that it holds.
            objects: Its objects.
            files: Its files.
            runs: All runs.
            expired: What has expired.
            after_files: So many of this checkpoint's files of objects, from the first, stay, and
                `objects` are those that they lack.
        """
        from flowconv.lake.checkpoint_tables import runs_table

        later = Checkpoint(self._storage, number, earlier=self._object_files()[:after_files])
        later._expired = expired
        later._write("files", files)
        later._write("runs", runs_table(runs).to_batches())
        later._write("objects", objects)
        return later

    @property
    def paths(self) -> list[str]:
        """Its files, in the order to delete them: without the objects the others do not count."""
        own = [self._files[part].path for part in PARTS if part in self._files]
        return [*own, *(file.path for file in self._earlier)]

    def _object_files(self) -> list[PartFile]:
        """Return the files of its objects, oldest first."""
        own = self._files.get("objects")
        return [*self._earlier, *([own] if own else [])]

    def _write(self, part: Part, batches: "Iterable[pa.RecordBatch]") -> None:
        from flowconv.lake.checkpoint_tables import to_parquet

        expired = {_EXPIRED: json.dumps(self.expired().to_json())}
        written = to_parquet(part, batches, self._metadata(part) | expired)
        name = f"{self.number:012d}.{part}"
        if part == "objects" and self._earlier:
            name += f"-after-{part_name(self._earlier[-1].path).number:012d}"
        path = f"{LEDGER}/{name}-{zlib.crc32(written):08x}.parquet"
        self._storage.write(path, written)
        self._files[part] = PartFile(path, len(written))

    def _metadata(self, part: Part) -> dict[str, str]:
        """Return a part's metadata: the number, and in the objects the paths of the other files.

        So a file of another checkpoint cannot take its place.
        """
        metadata = {"checkpoint": str(self.number)}
        if part == "objects":
            others = [self._files[other] for other in PARTS if other != part]
            metadata["parts"] = " ".join(file.path for file in (*others, *self._earlier))
        return metadata

    def _read_part(self, part: Part) -> "Iterator[pa.RecordBatch]":
        if part in self._files:
            yield from self._read(self._files[part].path, ())

    def _read(
        self, path: str, without: Collection[str], columns: Collection[str] | None = None
    ) -> "Iterator[pa.RecordBatch]":
        from flowconv.lake.checkpoint_tables import StoredTable

        number, part, _ = part_name(path)
        is_own = number == self.number
        written = self._storage.read(path)
        if written is None:
            raise LakeError(
                f"the ledger's checkpoint {path} is gone. If another run is merging the ledger "
                "just now, run again; else restore it from a copy.",
                uri=self._storage.root,
            )
        if not path.endswith(f"-{zlib.crc32(written):08x}.parquet"):
            raise self._damaged(path, "its checksum does not fit")
        table = StoredTable(part, written)
        # The last file of objects names the others.
        metadata = self._metadata(part) if is_own else {"checkpoint": str(number)}
        for name, expected in metadata.items():
            found = table.metadata.get(name)
            if found != expected:
                why = f"its metadata has {name} {found or 'none'}, expected {expected}"
                raise self._damaged(path, why)
        if self._expired is None and is_own:
            described = json.loads(table.metadata.get(_EXPIRED, _NOTHING_EXPIRED))
            self._expired = Expired.from_json(described)
        yield from table.batches(without, columns)

    def _damaged(self, path: str, why: str) -> LakeError:
        return LakeError(
            f"the ledger's checkpoint {path} is damaged: {why}. Restore it from a copy. If there "
            "is none, delete it: flowconv verify --repair goes on without it, and what it said is "
            "converted again.",
            uri=self._storage.root,
        )
