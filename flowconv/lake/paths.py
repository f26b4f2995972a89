"""Every name below DEST.

vpc/, tgw/          tables: <partitions>/<task>-<generation>-<number>.parquet
region=…/           with --schema ocsf, in place of these: accountId=…/eventDay=…/<name>.parquet
dim/                names: interfaces.parquet, networks.parquet; not of the ledger
_flowconv/
  lake.json         the layout: what all files have in common
  lock.json         the run that writes to the lake
  acknowledged.json the gaps that its owner knows of
  ledger/           numbered records, and the checkpoints that replace them
  ledger.json       the number of the last record, once more
  intents/          the files that a run is about to publish or remove
  staging/          files that are not visible yet
  quarantine/       rejected lines: <task>-<generation>.jsonl
  set-aside/        files that no record names, kept by repairs
"""

import re
from typing import NamedTuple

from flowconv.fields import OCSF_FOLDER

NAMES = "dim"
LAYOUT = "_flowconv/lake.json"
LOCK = "_flowconv/lock.json"
ACKNOWLEDGED = "_flowconv/acknowledged.json"
LEDGER = "_flowconv/ledger"
LAST_NUMBER = "_flowconv/ledger.json"
INTENTS = "_flowconv/intents"
STAGING = "_flowconv/staging"
QUARANTINE = "_flowconv/quarantine"
SET_ASIDE = "_flowconv/set-aside"

RECORD_DIGITS = 12
# ASCII digits only: int() takes those of every alphabet.
_RECORD = re.compile(rf"[0-9]{{{RECORD_DIGITS}}}")

_OF_A_TASK = re.compile(
    rf"(?:vpc/|tgw/|{OCSF_FOLDER}).*[0-9a-f]{{20}}-[0-9]+-[0-9]+\.parquet"
    r"|_flowconv/quarantine/[0-9a-f]{20}-[0-9]+\.jsonl",
    re.DOTALL,
)


def name_of(facts: tuple[object, ...], generation: int) -> str:
    """Return the beginning of a file's name: of what is special about it, and of its run."""
    from hashlib import sha256  # here: it takes longer than all other imports together

    return f"{sha256(repr(facts).encode()).hexdigest()[:20]}-{generation}"


def is_written_here(path: str) -> bool:
    """Tell whether a file of the tables or of the quarantine has a name that a run gives."""
    return _OF_A_TASK.fullmatch(path) is not None


class Place(NamedTuple):
    """A partition's table, which is `ocsf` for OCSF's records, and directory."""

    table: str
    directory: str


def place_of(partition: str) -> Place:
    """Return the table and directory of a partition, given by its path."""
    if partition.startswith(OCSF_FOLDER):
        return Place("ocsf", partition)
    table, _, directory = partition.partition("/")
    return Place(table, directory)


def record_path(number: int) -> str:
    """Return the path of a record."""
    return f"{LEDGER}/{number:0{RECORD_DIGITS}d}"


def parse_record_path(path: str) -> int | None:
    """Return the number of the record at a path; None if it is not the path of a record."""
    name = path.removeprefix(f"{LEDGER}/")
    return int(name) if name != path and _RECORD.fullmatch(name) else None


def is_of_generation(path: str, generation: int) -> bool:
    """Tell whether a file, also while it is staged, has the name of a file of a generation."""
    return re.search(rf"/[0-9a-f]{{20}}-{generation}[-.]", path) is not None
