"""What people see: tables and reports on stdout, progress and errors on stderr."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from flowconv.engines import RunProgress
    from flowconv.generating import GenerateReport
    from flowconv.inspecting import Inspection
    from flowconv.pipeline import Plan
    from flowconv.report import ConvertReport

# A log gets a line of progress so often.
_LINE_EVERY_S = 10.0

# Lists in a report are cut here; --json has all.
_MOST_LISTED = 10


def print_error(message: str) -> None:
    """Print an error on stderr."""
    _stderr().print(f"[bold red]error:[/bold red] {escape(message)}")


@contextmanager
def progress() -> Iterator[Callable[["RunProgress"], None]]:
    """Show how far a run has come: a bar on a terminal, a line now and then in a log.

    Yields:
        What `convert` calls with its progress.
    """
    console = _stderr()
    if not console.is_terminal:
        yield _lines(console)
        return
    bar = Progress(
        TextColumn("{task.fields[objects]} objects"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rows]} rows  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("convert", objects="", rows="", speed="", total=None)
        started = time.monotonic()

        def show(state: "RunProgress") -> None:
            bar.update(
                task,
                total=max(1, state.total_bytes),
                completed=state.source_bytes if state.total_bytes else 1,
                objects=f"{state.objects:,}/{state.total_objects:,}",
                rows=f"{state.rows:,}",
                speed=_speed(state.text_bytes, time.monotonic() - started),
            )

        yield show


def _lines(console: Console) -> Callable[["RunProgress"], None]:
    started = last = time.monotonic()

    def show(state: "RunProgress") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _LINE_EVERY_S:
            return
        last = now
        done = state.source_bytes / max(1, state.total_bytes)
        left = (now - started) * (1 - done) / done if done else 0
        console.print(
            f"{done:.0%}  {state.objects:,} of {state.total_objects:,} objects  "
            f"{state.rows:,} rows  {_speed(state.text_bytes, now - started)}  {left:.0f} s left",
            highlight=False,
        )

    return show


def print_report(report: "ConvertReport") -> None:
    """Print what a run read and wrote."""
    lines = report.lines
    rows = ", ".join(f"{n:,} in {table}/" for table, n in sorted(report.tables.items()))
    table = _key_values()
    table.add_row("source", escape(report.source))
    table.add_row("lake", escape(report.lake))
    table.add_row(
        "objects",
        f"{report.objects:,} converted, {report.already_converted:,} converted before, "
        f"{len(report.changed):,} changed, {len(report.unreadable):,} unreadable",
    )
    for kind, number in sorted(report.left_out.items()):
        table.add_row("left out", f"{number:,} {kind}")
    table.add_row("rows", rows or "0")
    table.add_row(
        "lines",
        f"{lines.lines:,} = {lines.header:,} header + {lines.blank:,} blank + "
        f"{lines.comment:,} comment + {lines.rows:,} rows + {lines.rejected:,} rejected",
    )
    for reason, number in sorted(report.rejected.items()):
        table.add_row("rejected", f"{number:,} {reason}")
    if report.unknown_fields:
        names = ", ".join(sorted(report.unknown_fields))
        table.add_row("new fields", f"{escape(names)} (not documented by AWS; kept as text)")
    table.add_row(
        "read", f"{_size(report.source_bytes)} stored, {_size(report.text_bytes)} of text"
    )
    table.add_row(
        "written",
        f"{_size(report.written_bytes)} in {report.files:,} files, "
        f"{report.partitions:,} partitions",
    )
    table.add_row("time", f"{report.seconds:.1f} s, {report.text_megabytes_per_second:.0f} MB/s")
    console = _stdout()
    console.print(table)
    if report.rejected:
        console.print(
            f"Rejected lines are in {escape(report.lake)}/_flowconv/quarantine/, "
            "each with its object, number and reason."
        )
    for uri in _first(sorted(report.changed)):
        console.print(f"changed since it was converted, not converted again: {escape(uri)}")
    _say_how_many_more(console, len(report.changed))
    for uri, reason in _first(sorted(report.unreadable.items())):
        console.print(f"unreadable: {escape(uri)}: {escape(reason)}")
    _say_how_many_more(console, len(report.unreadable))


def print_plan(plan: "Plan") -> None:
    """Print what a run would read and write."""
    table = Table("account", "region", "day", "objects", "size", "tasks", box=None)
    for group in plan.groups:
        table.add_row(
            group.account_id or "-",
            group.region or "-",
            str(group.day or "-"),
            f"{group.objects:,}",
            _size(group.size_bytes),
            f"{group.tasks:,}",
        )
    console = _stdout()
    console.print(table)
    console.print(
        f"{plan.objects:,} objects, {_size(plan.size_bytes)}, would be read from "
        f"{escape(plan.source)} and written to {escape(plan.lake)}; nothing was."
    )
    if plan.already_converted:
        console.print(f"converted before: {plan.already_converted:,} objects")
    for kind, number in sorted(plan.left_out.items()):
        console.print(f"left out: {number:,} {kind}")


def print_inspection(inspection: "Inspection") -> None:
    """Print what an object holds."""
    console = _stdout()
    lines = inspection.lines
    table = _key_values()
    table.add_row("object", escape(inspection.uri))
    table.add_row("size", f"{_size(inspection.size_bytes)} stored")
    if inspection.unreadable:
        table.add_row("unreadable", escape(inspection.unreadable))
    table.add_row(
        "lines",
        f"{lines.lines:,} = {lines.header:,} header + {lines.blank:,} blank + "
        f"{lines.comment:,} comment + {lines.rows:,} rows + {lines.rejected:,} rejected",
    )
    for format_ in inspection.formats:
        names = " ".join(f"{field.name}" for field in format_.fields)
        versions = sorted({field.version for field in format_.fields if field.version})
        table.add_row(
            "fields",
            f"{len(format_.fields)} of table {format_.table}, "
            f"versions {', '.join(map(str, versions))}: {escape(names)}",
        )
        if format_.unknown_fields:
            unknown = " ".join(field.name for field in format_.unknown_fields)
            table.add_row("new fields", f"{escape(unknown)} (not documented by AWS; kept as text)")
    console.print(table)
    if inspection.records:
        # One record a column: flow logs have more fields than a terminal has room for.
        records = Table("column", *(f"row {n + 1}" for n in range(len(inspection.records))))
        for column in inspection.records[0]:
            values = [record[column] for record in inspection.records]
            if any(value is not None for value in values):
                records.add_row(column, *("-" if v is None else escape(str(v)) for v in values))
        console.print(records)
    for line in _first(inspection.rejected):
        where = f" (field {line.field})" if line.field else ""
        console.print(f"line {line.line}: {line.reason}{where}")
    _say_how_many_more(console, lines.rejected)


def print_generated(directory: Path, report: "GenerateReport") -> None:
    """Print what sample logs were written."""
    _stdout().print(
        f"{report.objects:,} objects with {report.records:,} records in {escape(str(directory))}: "
        f"{_size(report.text_bytes)} of text, {_size(report.gzip_bytes)} stored, "
        f"{report.seconds:.1f} s"
    )


def print_schema(described: Sequence[dict[str, Any]]) -> None:
    """Print the fields of both tables."""
    table = Table("table", "field", "column", "type", "version", "meaning", box=None)
    for row in described:
        table.add_row(*(str(value) for value in row.values()))
    _stdout().print(table)


def _first(items: Sequence[Any]) -> Sequence[Any]:
    return items[:_MOST_LISTED]


def _say_how_many_more(console: Console, number: int) -> None:
    if number > _MOST_LISTED:
        console.print(f"… and {number - _MOST_LISTED:,} more; --json lists all objects.")


def _key_values() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _speed(text_bytes: int, seconds: float) -> str:
    return f"{text_bytes / 1e6 / seconds:.0f} MB/s" if seconds > 0 else ""


def _stdout() -> Console:
    # A pipe has no width; lines are not to be broken at 80 columns then.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=10_000, highlight=False)


def _stderr() -> Console:
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(file=sys.stderr, width=10_000)
