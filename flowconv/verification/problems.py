"""What `verify` finds: problems, each with what to do about it, and its report."""

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from flowconv.notebooks import InNotebooks
from flowconv.storage.interface import Storage

ProblemKind = Literal[
    "missing-layout",
    "missing-record",
    "dead-lock",
    "damaged-lock",
    "leftover",
    "stray-file",
    "missing-file",
    "damaged-file",
    "wrong-rows",
    "not-listed",
    "not-converted",
    "changed",
    "unreadable-object",
    "wrong-lines",
]

_FORGET = (
    "--source SOURCE --repair forgets its task if all of the task's objects can be converted "
    "again; the next flowconv convert converts them."
)
_REMOVE = "If you did not put it there, remove it with --repair."

ADVICE: dict[ProblemKind, str] = {
    "missing-layout": "Restore it from a copy, or let --repair write it again.",
    "missing-record": "Restore it from a copy. Without it, its objects count as not converted and "
    "its files as strays; --repair makes that final and sets the files aside.",
    "dead-lock": "A run was killed. The next run of flowconv convert takes over and cleans up.",
    "damaged-lock": "If no run is under way, delete it.",
    "leftover": "A run was killed. The next run of flowconv convert, or --repair, removes it.",
    "stray-file": _REMOVE,
    "missing-file": f"Restore it from a copy. {_FORGET}",
    "damaged-file": f"Restore it from a copy. {_FORGET}",
    "wrong-rows": _FORGET,
    "not-listed": "Its objects were not compared. Allow reading, or leave it out with --exclude.",
    "not-converted": "Run flowconv convert.",
    "changed": "The lake has its old rows; flowconv convert --reprocess replaces them.",
    "unreadable-object": "The lake has its rows. Copy it again to keep it.",
    "wrong-lines": "Please report this. flowconv convert --reprocess converts it again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
        kind: Its kind.
        uri: The file or object.
        found: What was found there.
        expected: What should be there.
        advice: What to do.
        repaired: It was repaired. Damaged files are forgotten, and the next run converts their
            objects again.
        path: The file's path below the lake; None if it is an object.
        task_id: The task whose file it is; None if it is of no task.
    """

    kind: ProblemKind
    uri: str
    found: str
    expected: str
    advice: str
    repaired: bool = False
    path: str | None = None
    task_id: str | None = None

    def __str__(self) -> str:
        """Describe it in one line."""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.uri}: {self.found}{expected}. {self.advice}"


@dataclass(slots=True, kw_only=True, repr=False)
class VerifyReport(InNotebooks):
    """What was checked and found.

    Attributes:
        lake: The lake.
        source: The source; None if none was given.
        files: Number of files of data and of rejected lines that the ledger names.
        size_bytes: Their size.
        rows: Number of rows of data.
        rejected: Number of lines in the quarantine.
        objects: Number of converted objects.
        listed: Number of objects in the source.
        lines: Number of lines counted in the source.
        expired: Number of objects of this source that were converted and are no longer there, for
            example after a lifecycle rule. This is no problem, but they cannot be converted again.
        under_way: A run that was writing to the lake meanwhile; its unfinished work was left out.
        problems: The problems that were found.
        removed: Number of files that were removed.
        set_aside: Number of files that were moved below `_flowconv/set-aside/`: no record names
            them, but a run wrote them, and their rows may be nowhere else.
        forgotten: Number of tasks that were forgotten; `convert` converts their objects again.
        seconds: Wall time.
    """

    lake: str
    source: str | None
    files: int = 0
    size_bytes: int = 0
    rows: int = 0
    rejected: int = 0
    objects: int = 0
    listed: int = 0
    lines: int = 0
    expired: int = 0
    under_way: str | None = None
    problems: list[Problem] = field(default_factory=list)
    removed: int = 0
    set_aside: int = 0
    forgotten: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """No problem was found, or all were repaired and nothing is to be converted again."""
        return not self.forgotten and all(problem.repaired for problem in self.problems)

    @property
    def kinds(self) -> Counter[str]:
        """Kind -> number of problems."""
        return Counter(problem.kind for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; keys are this class's attributes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {
            "problems": [asdict(problem) for problem in self.problems],
            "kinds": dict(self.kinds),
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }


def problem_of(
    kind: ProblemKind,
    storage: Storage,
    path: str,
    found: str,
    expected: str,
    task_id: str | None = None,
) -> Problem:
    """Return a problem with a file of the lake."""
    uri = storage.uri(path)
    return Problem(
        kind=kind,
        uri=uri,
        found=found,
        expected=expected,
        advice=ADVICE[kind],
        path=path,
        task_id=task_id,
    )


def object_problem(kind: ProblemKind, uri: str, found: str, expected: str = "") -> Problem:
    """Return a problem with an object of the source."""
    return Problem(kind=kind, uri=uri, found=found, expected=expected, advice=ADVICE[kind])
