"""What lies below ledger/: records, the last checkpoint, and gaps where records are lost."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from flowconv.errors import LakeError
from flowconv.lake.checkpoint_names import PARTS, Part, PartFile, parse_part, part_name
from flowconv.lake.checkpoints import Checkpoint
from flowconv.lake.paths import LEDGER, RECORD_DIGITS, parse_record_path
from flowconv.lake.table_folders import table_folders
from flowconv.storage.interface import Storage, StoredFile


class LedgerListing(NamedTuple):
    """The files of a ledger.

    Attributes:
        checkpoint: The last checkpoint that has all its files.
        records: Numbers of the records after it, in order.
        last_number: Number of the last record, whether it is there or lost.
        missing: Numbers of lost records.
        lost_part: The files of a checkpoint that are lost, and with them its records; or `""`.
        outdated: Files of other checkpoints.
    """

    checkpoint: Checkpoint
    records: list[int]
    last_number: int
    missing: tuple[range, ...]
    lost_part: str
    outdated: list[str]


def list_ledger(
    storage: Storage, files: Iterable[StoredFile], noted_number: int
) -> LedgerListing | None:
    """Sort the files of a ledger; return None if records were merged while it was listed.

    Args:
        storage: The lake.
        files: What lies below ledger/.
        noted_number: The number in ledger.json.

    Raises:
        LakeError: A part of the checkpoint has two files.
        StorageError: The lake does not answer.
    """
    files = list(files)
    numbers = [number for file in files if (number := parse_record_path(file.path) or 0) > 0]
    checkpoints = _checkpoints(files)
    last = _last_whole(checkpoints)
    # An incomplete checkpoint has the number of a record, too.
    last_number = max([noted_number, *checkpoints, *numbers], default=0)
    checkpoint = _checkpoint(storage, last, checkpoints)
    if storage.is_local and _merged_meanwhile(storage, last):
        return None
    if last_number == 0 and _has_files(storage):
        last_number = 1  # A run that wrote files wrote a record first.
    records = sorted(number for number in numbers if number > last)
    ends = [last, *records, last_number + 1]
    gaps = (range(left + 1, right) for left, right in pairwise(ends))
    missing = tuple(gap for gap in gaps if gap)
    lost_parts = (
        f"{LEDGER}/{lost:0{RECORD_DIGITS}d}.{part}-*.parquet"
        for number in sorted(checkpoints, reverse=True)
        if any(number in gap for gap in missing)
        for lost, part in _lost_parts(number, checkpoints)
    )
    return LedgerListing(
        checkpoint=checkpoint,
        records=records,
        last_number=last_number,
        missing=missing,
        lost_part=next(lost_parts, ""),
        outdated=[
            file.path
            for parts in checkpoints.values()
            for found in parts.values()
            for file in found
            if file.path not in checkpoint.paths
        ],
    )


# Number -> part -> its files, of which there should be one.
_Checkpoints = Mapping[int, Mapping[Part, Sequence[PartFile]]]


def _checkpoints(files: Iterable[StoredFile]) -> _Checkpoints:
    """Return what is there of each checkpoint."""
    checkpoints: defaultdict[int, dict[Part, list[PartFile]]] = defaultdict(dict)
    for file in files:
        if name := parse_part(file.path):
            found = PartFile(file.path, file.size_bytes)
            checkpoints[name.number].setdefault(name.part, []).append(found)
    return dict(checkpoints)


def _last_whole(checkpoints: _Checkpoints) -> int:
    """Return the number of the last checkpoint that has all its files; 0 if none has."""
    whole = (number for number in checkpoints if not any(_lost_parts(number, checkpoints)))
    return max(whole, default=0)


def _lost_parts(number: int, checkpoints: _Checkpoints) -> Iterator[tuple[int, Part]]:
    """Give number and part of each file that a checkpoint lacks."""
    for part in PARTS:
        if part not in checkpoints[number]:
            yield number, part
    for earlier in _earlier(number, checkpoints):
        if "objects" not in checkpoints.get(earlier, {}):
            yield earlier, "objects"


def _earlier(number: int, checkpoints: _Checkpoints) -> Iterator[int]:
    """Give the numbers of the other files of a checkpoint's objects, newest first."""
    while files := checkpoints.get(number, {}).get("objects"):
        number = part_name(files[0].path).after
        if not number:
            return
        yield number


def _checkpoint(storage: Storage, number: int, checkpoints: _Checkpoints) -> Checkpoint:
    """Return the checkpoint with a number; 0: the empty one.

    Raises:
        LakeError: A part has two files.
    """

    def only(files: Sequence[PartFile]) -> PartFile:
        if len(files) > 1:
            raise LakeError(
                f"the ledger's checkpoint has two files {files[0].path} and {files[1].path}, "
                "expected one. Remove the one that does not belong there; flowconv verify tells "
                "whether it was the right one.",
                uri=storage.root,
            )
        return files[0]

    earlier = [only(checkpoints[other]["objects"]) for other in _earlier(number, checkpoints)]
    own = {part: only(files) for part, files in checkpoints.get(number, {}).items()}
    return Checkpoint(storage, number, own, earlier[::-1])


def _merged_meanwhile(storage: Storage, last: int) -> bool:
    """Tell whether there is a later checkpoint than the listing had.

    A folder is listed in any order, so a listing may lack both the records that were merged
    meanwhile and their checkpoint. Nothing else shows it if these were the last records. S3
    lists by name, so a record that was removed meanwhile has its checkpoint listed behind it.
    """
    return _last_whole(_checkpoints(storage.list_files(LEDGER))) > last


def _has_files(storage: Storage) -> bool:
    """Tell whether there are files below the tables."""
    # In S3 each is under way from here on.
    listings = [storage.list_files(folder) for folder in table_folders(storage)]
    # S3's console creates an object with such a name for a folder.
    return any(not file.path.endswith("/") for files in listings for file in files)
