"""A process that dies at a change to the file system, played within this one."""

import itertools
import pathlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

_DEATHS = itertools.count()


class Killed(BaseException):
    """The process is gone: nothing that it still tries changes a file."""


@contextmanager
def dies_at(step: int) -> Iterator[list[str]]:
    """Die at a change to the file system, the `step`-th from 0; each step is noted."""
    steps: list[str] = []

    def dying(name: str) -> Any:
        change = getattr(pathlib.Path, name)

        def attempt(*args: Any, **kwargs: Any) -> Any:
            steps.append(name)
            if len(steps) > step:
                raise Killed
            return change(*args, **kwargs)

        return attempt

    with ExitStack() as stack:
        for name in ("replace", "hardlink_to", "unlink", "mkdir"):
            stack.enter_context(mock.patch.object(pathlib.Path, name, dying(name)))
        # Whoever looks for the holder of the lock finds that its process is gone.
        stack.enter_context(
            mock.patch("flowconv.lake.locking._process_start", return_value=f"{next(_DEATHS)}")
        )
        yield steps
