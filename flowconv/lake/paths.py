"""Every name below DEST.

vpc/, tgw/          tables: <partitions>/<task>-<generation>-<number>.parquet
_flowconv/
  lake.json         the layout: what all files have in common
  lock.json         the writer
  ledger/           numbered records, and checkpoints that merge them
  intents/          what tasks under way are about to publish
  staging/          files that are not visible yet
  quarantine/       lines that do not fit: <task>-<generation>.jsonl
  set-aside/        files that no record names, kept by repairs
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


LAYOUT = "_flowconv/lake.json"


def is_written_here(path: str) -> bool:
    """Tell whether a file of the tables or the quarantine has a name that a run gave it."""
    return _OF_A_TASK.fullmatch(path) is not None


SET_ASIDE = "_flowconv/set-aside"

# <task>-<generation>-<number>.parquet, <task>-<generation>.jsonl
_OF_A_TASK = re.compile(
    r"(?:vpc|tgw)/.*[0-9a-f]{20}-[0-9]+-[0-9]+\.parquet"
    r"|_flowconv/quarantine/[0-9a-f]{20}-[0-9]+\.jsonl",
    re.DOTALL,
)

LEDGER = "_flowconv/ledger"

# What is about to be published; a crash in between leaves it behind, and the next run cleans up.
INTENTS = "_flowconv/intents"

LOCK = "_flowconv/lock.json"

STAGING = "_flowconv/staging"

QUARANTINE = "_flowconv/quarantine"
