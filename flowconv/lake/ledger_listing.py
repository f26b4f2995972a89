"""What lies below ledger/: records, the last checkpoint, and gaps where records are lost."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from flowconv.lake.checkpoints import PARTS, Checkpoint, Part, parse_part
from flowconv.lake.paths import LEDGER, RECORD_DIGITS, parse_record_path
from flowconv.lake.table_folders import table_folders
from flowconv.storage.interface import Storage, StoredFile


class LedgerListing(NamedTuple):
    """The files of a ledger.

    Attributes:
        checkpoint: The last checkpoint that has all its parts.
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
    numbers = []
    checkpoints: defaultdict[int, dict[Part, list[str]]] = defaultdict(dict)
    for file in files:
        if parsed := parse_part(file.path):
            number, part = parsed
            checkpoints[number].setdefault(part, []).append(file.path)
        elif (number := parse_record_path(file.path) or 0) > 0:
            numbers.append(number)
    whole = (number for number, parts in checkpoints.items() if parts.keys() == {*PARTS})
    last = max(whole, default=0)
    # An incomplete checkpoint has the number of a record, too.
    last_number = max([noted_number, *checkpoints, *numbers], default=0)
    checkpoint = Checkpoint(storage, last, checkpoints.pop(last, None))
    if storage.is_local and _merged_meanwhile(storage, last):
        return None
    if last_number == 0 and _has_files(storage):
        last_number = 1  # A run that wrote files wrote a record first.
    records = sorted(number for number in numbers if number > last)
    ends = [last, *records, last_number + 1]
    gaps = (range(left + 1, right) for left, right in pairwise(ends))
    missing = tuple(gap for gap in gaps if gap)
    lost_parts = (
        f"{LEDGER}/{number:0{RECORD_DIGITS}d}.{part}-*.parquet"
        for number, parts in sorted(checkpoints.items(), reverse=True)
        for part in PARTS
        if part not in parts and any(number in gap for gap in missing)
    )
    return LedgerListing(
        checkpoint=checkpoint,
        records=records,
        last_number=last_number,
        missing=missing,
        lost_part=next(lost_parts, ""),
        outdated=[
            path for parts in checkpoints.values() for paths in parts.values() for path in paths
        ],
    )


def _merged_meanwhile(storage: Storage, last: int) -> bool:
    """Tell whether there is a later checkpoint than the listing had.

    A folder is listed in any order, so a listing may lack both the records that were merged
    meanwhile and their checkpoint. Nothing else shows it if these were the last records. S3
    lists by name, so a record that was removed meanwhile has its checkpoint listed behind it.
    """
    later: defaultdict[int, set[Part]] = defaultdict(set)
    for file in storage.list_files(LEDGER):
        if (parsed := parse_part(file.path)) and parsed[0] > last:
            later[parsed[0]].add(parsed[1])
    return any(parts == {*PARTS} for parts in later.values())


def _has_files(storage: Storage) -> bool:
    """Tell whether there are files below the tables."""
    # In S3 each is under way from here on.
    listings = [storage.list_files(folder) for folder in table_folders(storage)]
    # S3's console creates an object with such a name for a folder.
    return any(not file.path.endswith("/") for files in listings for file in files)
