"""What a check is: it reads a file or an object and compares it; picklable, for any process."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flowconv.lake.layout import Layout
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source
from flowconv.storage.interface import Storage
from flowconv.verification.fetched_files import FetchedFiles
from flowconv.verification.problems import Problem

# An object -> its requests, as `Source.requests`.
Requests = Callable[[LogObject], Iterator[Callable[[], "Future[bytes]"]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What checks read; shared by threads.

    Attributes:
        storage: The lake.
        layout: Its layout.
        logs: The source; None if none is compared.
        requests: Gives the requests of an object of the source.
        files: Has files of the lake; None if they are read as they are checked.
    """

    storage: Storage
    layout: Layout
    logs: Source | None
    requests: Requests | None
    files: FetchedFiles | None


class Checked(NamedTuple):
    """What came of checks.

    Attributes:
        problems: What was found.
        lines: Number of lines counted.
        unanswered: Number of objects that could not be read, since the source gave no answer.
    """

    problems: tuple[Problem, ...] = ()
    lines: int = 0
    unanswered: int = 0


class Check(Protocol):
    """A file or an object to read and check."""

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    def run(self, opened: Opened, go_on: Callable[[], None]) -> Checked:
        """Check it; `go_on` is called for each piece, and raises if verifying is to end.

        Raises:
            StorageError: It cannot be opened; this may pass.
            FetchError: A file of the lake cannot be fetched; this may pass.
        """
        ...
