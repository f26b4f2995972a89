"""What a lake's tables became in a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowconv.cli.tables.parts import stdout

if TYPE_CHECKING:
    from flowconv.catalogs.registered import RegisterReport


def print_registered(report: RegisterReport) -> None:
    """Print each table, where it is and what was new."""
    console = stdout()
    for table in report.tables:
        changes = f"{table.added:,} added, {table.removed:,} removed"
        what = changes if table.added or table.removed else "nothing new"
        console.print(f"{table.name}, version {table.version}: {table.files:,} files, {what}")
        console.print(f"  {table.address}")
    if not report.tables:
        console.print("The lake has no files yet.")
