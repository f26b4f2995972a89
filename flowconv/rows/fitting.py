"""Objects of which no line fits: they are not flow logs, or have another format than declared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flowconv.blocks.block import Block, RowBlock
from flowconv.blocks.counts import GROUPS_COUNTED
from flowconv.blocks.foreign import describe_line
from flowconv.blocks.shapes import Shape
from flowconv.errors import FormatError, quote
from flowconv.rows.batch import ParsedBlock, RejectedLine, what_is_wrong
from flowconv.source.keys import LogObject

# Names of log groups in a message.
_NAMES_SHOWN = 5


class Fitting:
    """Looks at a task's blocks in their order; not to be shared between threads."""

    def __init__(self) -> None:
        self._unfinished: dict[LogObject, _Tally] = {}

    def add(
        self, block: Block, parsed: ParsedBlock
    ) -> tuple[dict[LogObject, FormatError], dict[str, int]]:
        """Return what ends with this block and does not fit.

        Returns:
            The objects of which no line was a row, and why; log groups of which none was, and how
            many lines these have.
        """
        if not self._unfinished and not parsed.rejected and block.ended == block.log_objects:
            return {}, {}
        for log_object, counts in parsed.counts:
            tally = self._unfinished.setdefault(log_object, _Tally())
            tally.rows += counts.rows
            tally.rejected += counts.rejected
        for part in parsed.rejected.parts:
            for log_object, places in part.by_object():
                tally = self._unfinished[log_object]
                tally.first = tally.first or part.line(int(places[0]))
        for log_group, rows, rejected in _by_log_group(block, parsed):
            groups = self._unfinished[block.log_objects[0]].log_groups
            if log_group in groups or len(groups) < GROUPS_COUNTED:
                before = groups.get(log_group, (0, 0))
                groups[log_group] = (before[0] + rows, before[1] + rejected)
        tallies = {ended: self._unfinished.pop(ended) for ended in block.ended}
        objects = {
            ended: _unfit(ended, block, tally, tally.first)
            for ended, tally in tallies.items()
            if tally.first is not None and not tally.rows
        }
        log_groups = {
            log_group: rejected
            for tally in tallies.values()
            for log_group, (rows, rejected) in tally.log_groups.items()
            if rejected and not rows
        }
        return objects, log_groups


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    rejected: int = 0
    first: RejectedLine | None = None
    # Rows, and lines that do not fit.
    log_groups: dict[str, tuple[int, int]] = field(default_factory=dict)


def _by_log_group(block: Block, parsed: ParsedBlock) -> Iterator[tuple[str, int, int]]:
    """Give the log groups of a block that name themselves, with their rows and rejected lines."""
    if isinstance(block, RowBlock) or not block.log_groups:
        return
    names = list(dict.fromkeys(name for name, _ in block.log_groups))
    places = {name: place for place, name in enumerate(names)}
    of_lines = np.repeat(
        [places[name] for name, _ in block.log_groups], [lines for _, lines in block.log_groups]
    )
    first_line = block.spans[0].first_line

    def count(numbers: Sequence[npt.NDArray[np.int64]]) -> list[int]:
        all_numbers = np.concatenate([np.zeros(0, np.int64), *numbers])
        counts = np.bincount(of_lines[all_numbers - first_line], minlength=len(names))
        return [int(number) for number in counts]

    rows = count([batch.lines for batch in parsed.batches])
    rejected = count([part.numbers for part in parsed.rejected.parts])
    for name, own_rows, own_rejected in zip(names, rows, rejected, strict=True):
        if name is not None:
            yield name, own_rows, own_rejected


def _unfit(log_object: LogObject, block: Block, tally: _Tally, first: RejectedLine) -> FormatError:
    unit = "row" if block.shape is Shape.PARQUET else "line"
    none = f"none of the object's {tally.rejected:,} {unit}s fits"
    if tally.rejected == 1:
        none = f"the object's only {unit} does not fit"
    if block.shape in (Shape.HEADER, Shape.PARQUET):
        advice = "If the object holds flow logs, it is damaged: fetch it again"
    else:
        advice = "If the object holds flow logs, correct --format or --formats"
    log_groups = list(tally.log_groups)
    if log_object.log_group is not None:
        log_groups.append(log_object.log_group)
    of_groups = ""
    if log_groups:
        more = len(log_groups) - _NAMES_SHOWN
        names = ", ".join(map(quote, log_groups[:_NAMES_SHOWN]))
        of_groups = f"Its log groups: {names}{f' and {more} more' if more > 0 else ''}. "
        advice += ', or write "exclude" for log groups there'
    is_text = block.shape in (Shape.HEADER, Shape.HEADERLESS, Shape.CLOUDWATCH_EXPORT)
    described = f"{describe_line(first.text[:4096])} " if is_text else ""
    error = FormatError(
        f"{none}: {what_is_wrong(first)}. {described}{of_groups}{advice}; if not, leave it out "
        "with --exclude.",
        uri=log_object.uri,
        line=first.line,
        field=first.field,
    )
    error.shape = block.shape
    return error
