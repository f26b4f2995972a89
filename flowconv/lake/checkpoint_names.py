"""The names of a ledger's checkpoints; see `checkpoints`."""

import re
from typing import Any, Literal, NamedTuple, get_args

from flowconv.lake.paths import LEDGER

Part = Literal["objects", "files", "runs"]

PARTS: tuple[Part, ...] = get_args(Part)

_PATH = re.compile(
    rf"{LEDGER}/([0-9]{{12}})\.(?:(objects)-after-([0-9]{{12}})|({'|'.join(PARTS)}))"
    r"-[0-9a-f]{8}\.parquet"
)


class PartName(NamedTuple):
    """What the name of a checkpoint's file says.

    Attributes:
        number: The number of the checkpoint that wrote it.
        part: The part.
        after: Of objects, those of the records after this one.
    """

    number: int
    part: Part
    after: int = 0


def parse_part(path: str) -> PartName | None:
    """Return what the path of a checkpoint's file says; None if it is not that of one."""
    if not (match := _PATH.fullmatch(path)):
        return None
    part: Any = match[2] or match[4]
    name = PartName(int(match[1]), part, int(match[3] or 0))
    return name if name.after < max(1, name.number) else None


def part_name(path: str) -> PartName:
    """Return what the path of a checkpoint's file says."""
    name = parse_part(path)
    assert name
    return name


class PartFile(NamedTuple):
    """A checkpoint's file."""

    path: str
    size_bytes: int
