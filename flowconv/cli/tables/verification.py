"""What was checked in a lake, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal as format_size

from flowconv.cli.tables.parts import MOST_LISTED, stdout
from flowconv.cli.text_tables import TextTable

if TYPE_CHECKING:
    from flowconv.verification.problems import VerifyReport


def print_verification(report: VerifyReport) -> None:
    """Print what was checked, and what was found."""
    console = stdout()
    table = TextTable()
    table.add_row("lake", report.lake)
    if report.source is not None:
        table.add_row("source", report.source)
    table.add_row(
        "files",
        f"{report.files:,}, {format_size(report.size_bytes)}, {report.rows:,} rows, "
        f"{report.rejected:,} rejected lines",
    )
    table.add_row("objects", f"{report.objects:,} converted")
    if report.source is not None:
        table.add_row("in source", f"{report.listed:,} objects, {report.lines:,} lines counted")
        if report.expired:
            table.add_row("", f"{report.expired:,} converted ones are no longer there")
    if report.under_way:
        table.add_row("under way", f"{report.under_way}: what it writes was left out")
    table.add_row("time", f"{report.seconds:.1f} s")
    table.add_row(
        "problems",
        ", ".join(f"{n:,} {kind}" for kind, n in report.kinds.items()) or "none",
    )
    console.print(table)
    shown: dict[str, int] = {}
    for problem in report.problems:
        shown[problem.kind] = shown.get(problem.kind, 0) + 1
        if shown[problem.kind] <= MOST_LISTED:
            console.print(f"{problem.kind}: {problem}")
        elif shown[problem.kind] == MOST_LISTED + 1:
            more = report.kinds[problem.kind] - MOST_LISTED
            console.print(f"… and {more:,} more {problem.kind}; --json lists all.")
    if report.removed or report.forgotten:
        console.print(f"Removed {report.removed:,} files, forgot {report.forgotten:,} tasks.")
    if report.set_aside:
        console.print(f"Moved {report.set_aside:,} files below _flowconv/set-aside/.")
    if report.forgotten:
        source, lake = report.source or "SOURCE", report.lake
        console.print(f"Now convert their objects again: flowconv convert {source} {lake}")
