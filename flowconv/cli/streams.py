"""The standard streams, which may be closed or full."""

import errno
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Output:
    """A standard stream that may be closed or full: then what follows is dropped, without an error.

    Attributes:
        failure: Why what was written did not get through; None if it did.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or a log of another encoding is no reason to fail.
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or drop it."""
        if self.failure is None:
            with self._failing():
                self._stream.write(text)
        return len(text)

    def write_bytes(self, data: Any) -> None:
        """Write bytes, or drop them."""
        if self.failure is None:
            with self._failing():
                self._stream.flush()
                self._stream.buffer.write(data)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        if self.failure is None:
            with self._failing():
                self._stream.flush()

    @property
    def is_closed_pipe(self) -> bool:
        """The reader has gone, as in `flowconv schema | head -n 1`."""
        return self.failure is not None and self.failure.errno == errno.EPIPE

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error
            with suppress(OSError, ValueError):
                # Python flushes the stream once more at exit, which would fail.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def standard_streams() -> Iterator[Output]:
    """Replace stdout and stderr by streams that never fail, and yield stdout's."""
    before = sys.stdout, sys.stderr
    stdout, stderr = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = stdout, stderr
    try:
        yield stdout
    finally:
        stderr.flush()
        sys.stdout, sys.stderr = before


def open_closed_streams() -> None:
    """Open what was closed by `>&-`: otherwise the next file opened would be taken for it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(number, "r+" if number == 0 else "w", closefd=False))


def print_json(value: Any) -> None:
    """Print a report for programs."""
    # At once: each of the encoder's own pieces would be a write.
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
