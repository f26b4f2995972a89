"""Lines of an object, counted by kind."""

from operator import add
from typing import NamedTuple


class LineCounts(NamedTuple):
    """Lines of an object by kind; every line counts once, in one of the first five.

    Attributes:
        header: Lines that name the fields.
        blank: Lines without any value.
        comment: Lines with nothing but a comment, which begins with `#`.
        rows: Rows that they became: one a line, unless records were glued together.
        rejected: Lines that do not fit; they are in the quarantine, but for those that are dropped.
        split: Rows beyond the first of a line of glued records.
        milliseconds: Rows whose times were in milliseconds, and were made seconds.
        far_times: Rows that start or end on a day far from their object's delivery.
        left_out: Lines of log groups that are left out.
        dropped: Rejected lines beyond what the quarantine takes of an object or a run.
    """

    header: int = 0
    blank: int = 0
    comment: int = 0
    rows: int = 0
    rejected: int = 0
    split: int = 0
    milliseconds: int = 0
    far_times: int = 0
    left_out: int = 0
    dropped: int = 0

    @property
    def lines(self) -> int:
        """All lines."""
        read = self.header + self.blank + self.comment + self.rows + self.rejected - self.split
        return read + self.left_out

    def __add__(self, other: "LineCounts") -> "LineCounts":  # type: ignore[override]
        """Return the sums, kind by kind."""
        # `_make` takes twice as long, and there are counts of thousands of small objects.
        return tuple.__new__(LineCounts, map(add, self, other))


# Names of log groups that a report has; those beyond are counted together.
GROUPS_COUNTED = 100
OTHER_GROUPS = "others"
