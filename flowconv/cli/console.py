"""Text for people on stdout and stderr.

Names and values come from others. All text for people goes through `Console`, which shows it
printable, and whole.
"""

import os
import sys
from shutil import get_terminal_size
from typing import TextIO

import typer

from flowconv.cli.text_tables import TextTable
from flowconv.errors import printable


class Console:
    """Shows lines of text and tables.

    Attributes:
        width: The terminal's columns; None for pipes and files, which have none.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.width = get_terminal_size().columns if stream.isatty() else None
        # None: on terminals, that is.
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self._is_styled = False if is_plain else None

    def print(self, shown: str | TextTable = "", *, label: str = "") -> None:
        """Show a line, which the terminal wraps, with a label in red before it; or a table."""
        if isinstance(shown, TextTable):
            for line in shown.lines(self.width):
                self._show(line)
        else:
            label = label and typer.style(label, fg=typer.colors.RED, bold=True)
            self._show(label + printable(shown))

    def _show(self, line: str) -> None:
        # Where text is not styled, this leaves out what makes it red or bold.
        typer.echo(line, file=self._stream, color=self._is_styled)


def stdout() -> Console:
    """Return the console of reports."""
    return Console(sys.stdout)


def stderr() -> Console:
    """Return the console of errors."""
    return Console(sys.stderr)
