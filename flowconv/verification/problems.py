"""What `verify` finds: problems, each with what to do about it, and its report."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

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
    "With --source SOURCE --repair its task is forgotten, if all of the task's objects can be "
    "converted again, and the next flowconv convert does so."
)
_REMOVE = "If you did not put it there, remove it with --repair."

ADVICE: dict[ProblemKind, str] = {
    "missing-layout": "Restore it from a copy, or let --repair write it again.",
    "missing-record": "Restore it from a copy. If there is none: what it said counts no more, its "
    "files are strays, and --repair makes that final; it keeps them aside.",
    "dead-lock": "A run was killed. The next run of flowconv convert takes over and cleans up.",
    "damaged-lock": "If no run is under way, delete it.",
    "leftover": "A run was killed. The next run of flowconv convert, or --repair, removes it.",
    "stray-file": _REMOVE,
    "missing-file": f"Restore it from a copy. {_FORGET}",
    "damaged-file": f"Restore it from a copy. {_FORGET}",
    "wrong-rows": _FORGET,
    "not-listed": "What it holds was not compared. Let it be read, or leave it out with --exclude.",
    "not-converted": "Run flowconv convert.",
    "changed": "The lake has its old rows; flowconv convert --reprocess replaces them.",
    "unreadable-object": "The lake has its rows. Copy it anew if it is to be kept.",
    "wrong-lines": "Please report this; flowconv convert --reprocess converts it again.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
        kind: What it is.
        uri: Where.
        found: What was found there.
        expected: What should be there.
        advice: What to do.
        repaired: It was repaired; of damaged files, they are forgotten, and the next run converts
            their objects again.
        path: Below the lake; None if it is an object.
        task_id: The task whose file it is.
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
        """Say it in one line."""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.uri}: {self.found}{expected}. {self.advice}"


@dataclass(frozen=True, slots=True)
class Check:
    """Something to read and check.

    Attributes:
        size_bytes: What is read.
        run: Reads it; calls what it is given for each piece, which raises if all is to end.
    """

    size_bytes: int
    run: Callable[[Callable[[], None]], Problem | None]


@dataclass(slots=True)
class VerifyReport:
    """What was checked and found.

    Attributes:
        lake: The lake.
        source: The source, if one was named.
        files: Files of data and of rejected lines that the ledger names.
        size_bytes: Their size.
        rows: Rows of data.
        rejected: Lines in the quarantine.
        objects: Objects that were converted.
        listed: Objects in the source.
        lines: Lines counted in the source.
        expired: Objects of this source that were converted and are no longer there, such as by a
            lifecycle rule; no problem, but they cannot be converted again.
        under_way: The run that was writing to the lake meanwhile; what it had not finished was
            left out.
        problems: What is not as it should be.
        removed: Files that were removed.
        set_aside: Files that were moved below `_flowconv/set-aside/`: no record names them, but a
            run wrote them, and their rows may be nowhere else.
        forgotten: Tasks that were forgotten; run `convert` to convert their objects again.
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
        """All is well: nothing was found, or it was repaired and nothing is to be converted."""
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
    return Problem(kind, uri, found, expected, ADVICE[kind], path=path, task_id=task_id)
