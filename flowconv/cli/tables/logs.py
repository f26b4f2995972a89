"""What objects of flow logs hold, which fields there are, and what samples were written."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal as format_size

from flowconv.cli.tables.parts import cut, first, say_how_many_more, stdout
from flowconv.cli.text_tables import TextTable

if TYPE_CHECKING:
    from flowconv.blocks.counts import LineCounts
    from flowconv.inspecting import Inspection
    from flowconv.samples.options import GenerateReport


def print_inspection(inspection: Inspection) -> None:
    """Print what an object holds."""
    console = stdout()
    lines = inspection.lines
    table = TextTable()
    table.add_row("object", inspection.uri)
    table.add_row("size", f"{format_size(inspection.size_bytes)} stored")
    if inspection.shape:
        table.add_row("shape", f"{inspection.shape}: {inspection.sign}")
    if inspection.unreadable:
        table.add_row("unreadable", inspection.unreadable)
    add_lines(table, lines)
    for format_ in inspection.formats:
        names = " ".join(f"{field.name}" for field in format_.fields)
        versions = sorted({field.version for field in format_.fields if field.version})
        table.add_row(
            "fields",
            f"{len(format_.fields)} of table {format_.table}, "
            f"versions {', '.join(map(str, versions))}: {names}",
        )
        if format_.unknown_fields:
            unknown = " ".join(field.name for field in format_.unknown_fields)
            table.add_row("new fields", f"{unknown} (not documented by AWS; in unknown_fields)")
        if format_.left_out_columns:
            names = " ".join(format_.left_out_columns)
            table.add_row("left out", f"{names} (columns or keys that cannot be fields)")
    console.print(table)
    if inspection.records:
        # One record a column: flow logs have more fields than a terminal has room for.
        records = TextTable("column", *(f"row {n + 1}" for n in range(len(inspection.records))))
        for column in inspection.records[0]:
            values = [record[column] for record in inspection.records]
            if any(value is not None for value in values):
                records.add_row(column, *("-" if v is None else cut(str(v)) for v in values))
        for part in records.in_parts(console.width):
            console.print()
            console.print(part)
    for line in first(inspection.rejected):
        where = f" (field {line.field})" if line.field else ""
        console.print(f"line {line.line}: {line.reason}{where}")
    say_how_many_more(console, lines.rejected)


def print_generated(directory: Path, report: GenerateReport) -> None:
    """Print what sample logs were written."""
    stdout().print(
        f"{report.objects:,} objects with {report.records:,} records in {directory}: "
        f"{format_size(report.text_bytes)} of text, {format_size(report.gzip_bytes)} stored, "
        f"{report.seconds:.1f} s"
    )
    if report.bad_lines:
        stdout().print(f"{report.bad_lines:,} of the records are bad lines")
    if report.format:
        stdout().print(f"to convert them: --format {shlex.quote(report.format)}")


def print_schema(described: Sequence[dict[str, Any]]) -> None:
    """Print the fields of both tables."""
    table = TextTable("table", "field", "type", "version", "meaning")
    for row in described:
        # 80 columns have no room for the time zone, which is always UTC.
        kind = row["type"].partition("[")[0]
        table.add_row(row["table"], row["field"], kind, str(row["version"]), row["meaning"])
    stdout().print(table)
    stdout().print("A field's column has its name, with _ in place of -.")


def add_lines(table: TextTable, lines: LineCounts) -> None:
    """Add lines by kind to a table without headers."""
    split = f" - {lines.split:,} split" if lines.split else ""
    table.add_row(
        "lines",
        f"{lines.lines:,} = {lines.header:,} header + {lines.blank:,} blank + "
        f"{lines.comment:,} comment + {lines.rows:,} rows{split} + {lines.rejected:,} rejected",
    )
    if lines.split:
        table.add_row("split", f"{lines.split:,} rows more than lines, of records glued together")
    if lines.milliseconds:
        table.add_row("converted", f"{lines.milliseconds:,} rows from milliseconds to seconds")
    if lines.far_times:
        table.add_row("unlikely", f"{lines.far_times:,} rows start or end far from their delivery")
