"""What every engine takes and gives."""

from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Protocol

from flowconv.engines.workers import Done
from flowconv.errors import EngineError

# The end of messages that an engine failed.
KEPT = "What was committed is kept; the next run goes on from there."


class Engine(Protocol):
    """Where jobs are done; all may be called from any thread."""

    def submit(
        self, function: Callable[..., Done], *arguments: object, without: Collection[str] = ()
    ) -> "Future[Done]":
        """Call a function in a worker, if possible in none of those at these addresses."""
        ...

    def has_others(self, without: Collection[str]) -> bool:
        """Tell whether there are workers besides these, and one of them can be chosen."""
        ...

    def places(self) -> int:
        """Return the number of jobs that can be done at once now.

        Raises:
            EngineError: There has been no worker for too long.
        """
        ...

    def explain(self, error: Exception) -> EngineError | None:
        """Return what the engine's own error says to people; None if it is not the engine's."""
        ...
