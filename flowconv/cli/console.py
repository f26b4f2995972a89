"""Text for people on stdout and stderr.

Names and values come from others. All text for people goes through `Console`, which shows it
printable, and whole.
"""

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

    def print(self, shown: str | TextTable = "", *, label: str = "") -> None:
        """Show a line, which the terminal wraps, with a label in red before it; or a table."""
        if isinstance(shown, TextTable):
            # Off a terminal, `echo` leaves out what makes text bold.
            for line in shown.lines(self.width):
                typer.echo(line, file=self._stream)
        else:
            label = label and typer.style(label, fg=typer.colors.RED, bold=True)
            typer.echo(label + printable(shown), file=self._stream)


def stdout() -> Console:
    """Return the console of reports."""
    return Console(sys.stdout)


def stderr() -> Console:
    """Return the console of errors."""
    return Console(sys.stderr)
