"""What reports are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowconv.cli.console import Console
    from flowconv.lake.overlaps import Overlap

# Lists in a report are cut here; --json has all.
MOST_LISTED = 10
MOST_PARTITIONS = 100

# A rejected line may be megabytes of anything; --json has it whole.
_MOST_CHARACTERS = 1000


def stdout() -> Console:
    """Return the console of reports."""
    from flowconv.cli import console

    return console.stdout()


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 row`, `2 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_time(seconds: float) -> str:
    """Return a time in minutes, hours or days."""
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def describe_overlap(overlap: Overlap) -> str:
    """Say which flow logs logged which interfaces at once, and when."""
    more = overlap.interfaces - 1
    others = f" and {more:,} more" if more else ""
    pair = " and ".join(overlap.flow_logs)
    return (
        f"{pair} both log {overlap.interface}{others}, from {overlap.first:%Y-%m-%d %H:%M} to "
        f"{overlap.last:%Y-%m-%d %H:%M}"
    )


def cut(text: str) -> str:
    """Return the beginning of a line of somebody's log, bytes that are not UTF-8 escaped."""
    shown = text[:_MOST_CHARACTERS].encode("utf-8", "surrogateescape")
    return shown.decode("utf-8", "backslashreplace") + "…" * (len(text) > _MOST_CHARACTERS)


def first(items: Sequence[Any]) -> Sequence[Any]:
    """Return those that a report lists."""
    return items[:MOST_LISTED]


def say_how_many_more(console: Console, number: int, what: str = " lists all objects.") -> None:
    """Say what `first` left out of so many."""
    if number > MOST_LISTED:
        console.print(f"… and {number - MOST_LISTED:,} more; --json{what}")
