"""How far a run has come: a bar on a terminal, now and then a line or an event in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowconv.events import log_event

if TYPE_CHECKING:
    from flowconv.running import RunProgress

# A log gets a line of progress this often.
_LINE_EVERY_S = 10.0


@contextmanager
def bar() -> Iterator[Callable[["RunProgress"], None]]:
    """Show a bar on a terminal meanwhile.

    Yields:
        What `convert` calls with its progress.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = Progress(
        TextColumn("{task.fields[objects]} objects"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rows]} rows  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    with columns:
        task = columns.add_task("convert", objects="", rows="", speed="", total=None)
        started = time.monotonic()

        def show(state: "RunProgress") -> None:
            columns.update(
                task,
                total=max(1, state.total_bytes),
                completed=state.source_bytes if state.total_bytes else 1,
                objects=f"{state.objects:,}/{state.total_objects:,}",
                rows=f"{state.rows:,}",
                speed=_speed(state.text_bytes, time.monotonic() - started),
            )

        yield show


def lines() -> Callable[["RunProgress"], None]:
    """Return what prints a line of progress for people every ten seconds."""
    started = time.monotonic()

    def show(state: "RunProgress") -> None:
        seconds = time.monotonic() - started
        done = state.source_bytes / max(1, state.total_bytes)
        left = seconds * (1 - done) / done if done else 0
        sys.stderr.write(
            f"{done:.0%}  {state.objects:,} of {state.total_objects:,} objects  "
            f"{state.rows:,} rows  {_speed(state.text_bytes, seconds)}  {left:.0f} s left\n"
        )

    return _now_and_then(show)


def events() -> Callable[["RunProgress"], None]:
    """Return what logs an event of progress every ten seconds."""

    def show(state: "RunProgress") -> None:
        log_event(
            "progress",
            objects=state.objects,
            total_objects=state.total_objects,
            source_bytes=state.source_bytes,
            total_bytes=state.total_bytes,
            rows=state.rows,
        )

    return _now_and_then(show)


def _now_and_then(show: Callable[["RunProgress"], None]) -> Callable[["RunProgress"], None]:
    last = time.monotonic()

    def show_if_due(state: "RunProgress") -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            show(state)

    return show_if_due


def _speed(text_bytes: int, seconds: float) -> str:
    return f"{text_bytes / 1e6 / seconds:.0f} MB/s" if seconds > 0 else ""
