"""Objects that have lines, none of which fits: they are no flow logs, or declared as others."""

from dataclasses import dataclass

from flowconv.blocks.block import Block
from flowconv.blocks.foreign import describe_line
from flowconv.blocks.shapes import Shape
from flowconv.errors import FormatError
from flowconv.rows.batch import ParsedBlock, RejectedLine, what_is_wrong
from flowconv.source.keys import LogObject


class Fitting:
    """Looks at a task's blocks in their order; not to be shared between threads."""

    def __init__(self) -> None:
        self._unfinished: dict[LogObject, _Tally] = {}

    def add(self, block: Block, parsed: ParsedBlock) -> dict[LogObject, FormatError]:
        """Return the objects that end with this block and of which no line was a row, and why."""
        for log_object, counts in parsed.counts:
            tally = self._unfinished.setdefault(log_object, _Tally())
            tally.rows += counts.rows
            tally.rejected += counts.rejected
        for part in parsed.rejected.parts:
            for log_object, places in part.by_object():
                tally = self._unfinished[log_object]
                tally.first = tally.first or part.line(int(places[0]))
        tallies = {one: self._unfinished.pop(one) for one in block.ended}
        return {
            one: _unfit(one, block, tally, tally.first)
            for one, tally in tallies.items()
            if tally.first is not None and not tally.rows
        }


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    rejected: int = 0
    first: RejectedLine | None = None


def _unfit(log_object: LogObject, block: Block, tally: _Tally, first: RejectedLine) -> FormatError:
    unit = "row" if block.shape is Shape.PARQUET else "line"
    none = f"none of the object's {tally.rejected:,} {unit}s fits"
    if tally.rejected == 1:
        none = f"the object's only {unit} does not fit"
    if block.shape in (Shape.HEADER, Shape.PARQUET):
        advice = "If the object holds flow logs, it is damaged: fetch it anew"
    else:
        advice = "If the object holds flow logs, correct --format or --formats"
    is_text = block.shape in (Shape.HEADER, Shape.HEADERLESS, Shape.CLOUDWATCH_EXPORT)
    described = f"{describe_line(first.text[:4096])} " if is_text else ""
    error = FormatError(
        f"{none}: {what_is_wrong(first)}. {described}{advice}; if not, leave it out with "
        "--exclude.",
        uri=log_object.uri,
        line=first.line,
        field=first.field,
    )
    error.shape = block.shape
    return error
