"""What a command writes to stderr: errors and progress, for people or as JSON events."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from flowconv import events
from flowconv.cli import progress
from flowconv.errors import redact
from flowconv.events import log_event
from flowconv.values import check_choice

if TYPE_CHECKING:
    from flowconv.running import RunProgress

LOG_FORMATS = ("text", "json")


class TextLog:
    """Text for people."""

    def error(self, message: str) -> None:
        """Print an error."""
        from flowconv.cli import console

        console.stderr().print(redact(message), label="error: ")

    def stopping(self, message: str) -> None:
        """Say from a signal's handler what is waited for: past all buffers, which may be in use."""
        with suppress(OSError, ValueError):
            # A progress bar may stand in the line.
            start = "\r\x1b[K" if sys.stderr.isatty() else ""
            os.write(sys.stderr.fileno(), f"{start}{message}\n".encode())

    def progress(self) -> AbstractContextManager[Callable[["RunProgress"], None]]:
        """Return what shows how far a run has come."""
        if sys.stderr.isatty():
            return progress.bar()
        return nullcontext(progress.lines())


class JsonLog:
    """One JSON object a line, and nothing else."""

    def error(self, message: str) -> None:
        """Log an error."""
        log_event("error", level=logging.ERROR, message=message)

    def stopping(self, message: str) -> None:
        """Log from a signal's handler what is waited for."""
        log_event("stopping", level=logging.WARNING, message=message)

    def progress(self) -> AbstractContextManager[Callable[["RunProgress"], None]]:
        """Return what logs how far a run has come."""
        return nullcontext(progress.events())


Log = TextLog | JsonLog


@contextmanager
def open_log(log_format: str) -> Iterator[Log]:
    """Yield the log of a command; with `json`, the library's events go there too.

    Raises:
        UsageError: The format is neither `text` nor `json`.
    """
    check_choice(log_format, LOG_FORMATS, "--log-format")
    if log_format == "json":
        with events.json_log(sys.stderr):
            yield JsonLog()
    else:
        yield TextLog()
