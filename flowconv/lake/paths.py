"""Every name below DEST.

vpc/, tgw/          tables: <partitions>/<task>-<generation>-<number>.parquet
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

LAYOUT = "_flowconv/lake.json"
LOCK = "_flowconv/lock.json"
ACKNOWLEDGED = "_flowconv/acknowledged.json"
LEDGER = "_flowconv/ledger"
LAST_NUMBER = "_flowconv/ledger.json"
INTENTS = "_flowconv/intents"
STAGING = "_flowconv/staging"
QUARANTINE = "_flowconv/quarantine"
SET_ASIDE = "_flowconv/set-aside"

_OF_A_TASK = re.compile(
    r"(?:vpc|tgw)/.*[0-9a-f]{20}-[0-9]+-[0-9]+\.parquet"
    r"|_flowconv/quarantine/[0-9a-f]{20}-[0-9]+\.jsonl",
    re.DOTALL,
)


def is_written_here(path: str) -> bool:
    """Tell whether a file of the tables or of the quarantine has a name that a run gives."""
    return _OF_A_TASK.fullmatch(path) is not None
