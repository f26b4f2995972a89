"""Text for people on stdout and stderr.

Names and values come from others. All text for people goes through `Console`, which shows it
printable and takes nothing in it for markup.
"""

import sys
from typing import Any, TextIO

import rich.console
from rich.text import Text

from flowconv.errors import printable


class Console(rich.console.Console):
    """Shows all text as it is, except what is not printable."""

    def __init__(self, stream: TextIO) -> None:
        # A pipe has no width: its lines are not broken at 80 columns.
        width = None if stream.isatty() else 10_000
        super().__init__(file=stream, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **kwargs: Any) -> Text:
        """Make a text of what is printed or stands in a table's cell."""
        return super().render_str(printable(text), **kwargs)


def stdout() -> Console:
    """Return the console of reports."""
    return Console(sys.stdout)


def stderr() -> Console:
    """Return the console of errors and progress."""
    return Console(sys.stderr)
