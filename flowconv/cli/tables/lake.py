"""What a lake holds, and what it could not take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.filesize import decimal as format_size

from flowconv.cli.tables.parts import (
    MOST_LISTED,
    MOST_PARTITIONS,
    cut,
    describe_overlap,
    first,
    format_time,
    say_how_many_more,
    stdout,
)
from flowconv.cli.text_tables import TextTable

if TYPE_CHECKING:
    from flowconv.cli.console import Console
    from flowconv.lake.partitions import PartitionStatus
    from flowconv.lake.quarantine import QuarantineReport
    from flowconv.lake.status import LakeStatus, RunStatus


def print_status(status: LakeStatus) -> None:
    """Print what a lake holds, and how its last runs went."""
    console = stdout()
    console.print(_lake_figures(status))
    if status.runs:
        console.print()
        _print_runs(console, status)
    if status.partitions:
        console.print()
        print_partitions(console, status.partitions)


def _lake_figures(status: LakeStatus) -> TextTable:
    table = TextTable()
    table.add_row("lake", status.lake)
    if status.layout.schema == "ocsf":
        table.add_row("schema", "Network Activity of OCSF 1.1")
    table.add_row("partitioned", f"by {', '.join(status.layout.partition_by)}")
    table.add_row("objects", f"{status.objects:,} converted")
    table.add_row(
        "rows",
        f"{status.rows:,} in {status.files:,} files, {format_size(status.size_bytes)}, "
        f"{len(status.partitions):,} partitions",
    )
    if status.newest_record:
        table.add_row("newest", _newest("record", status.newest_record))
    if status.newest_object:
        table.add_row("", _newest("object", status.newest_object))
    for source, days in status.uncovered.items():
        table.add_row(
            "uncovered",
            f"{len(days):,} days from {days[0]} to {days[-1]} that no run read from {source}",
        )
    if skipdata := sum(run.run.report.get("skipdata", 0) for run in status.runs):
        table.add_row("lost", f"AWS lost records: {skipdata:,} rows of the last runs are SKIPDATA")
    _add_flow_logs(table, status)
    if status.expired_before or status.expired_rows:
        before = f", days before {status.expired_before}" if status.expired_before else ""
        table.add_row("expired", f"{status.expired_rows:,} rows{before}")
    if status.gone:
        more = f" and {len(status.gone) - 1:,} more" if len(status.gone) > 1 else ""
        table.add_row(
            "gone",
            f"no file is left of {status.gone[0]}/{more}. If a lifecycle rule deleted them, settle "
            f"it with flowconv expire {status.lake} --gone; flowconv verify says what else to do",
        )
    table.add_row(
        "quarantine",
        f"{status.rejected:,} lines of {status.rejected_objects:,} objects"
        + (f" (flowconv quarantine {status.lake})" if status.rejected else ""),
    )
    holder = str(status.lock.holder)
    locks = {
        "free": "free: no run is under way",
        "held": f"held by {holder}",
        "dead": f"left by {holder}, which was killed; the next run takes over",
        "damaged": "its file is damaged: if no run is under way, delete _flowconv/lock.json",
    }
    table.add_row("lock", locks[status.lock.state])
    return table


def _add_flow_logs(table: TextTable, status: LakeStatus) -> None:
    """Add those that deliver less than usual, and those that log the same."""
    few = [flow_log for flow_log in status.flow_logs if flow_log.has_few]
    for flow_log in first(few):
        table.add_row(
            "few objects",
            f"{flow_log.flow_log_id}: {flow_log.objects:,} on {flow_log.day}, {flow_log.usual:,g} "
            "are usual",
        )
    if len(few) > MOST_LISTED:
        table.add_row("", f"and {len(few) - MOST_LISTED:,} flow logs more; --json")
    overlaps = [overlap for overlap in status.overlaps if overlap.is_lasting]
    for overlap in first(overlaps):
        table.add_row("overlap", describe_overlap(overlap))
    if len(overlaps) > MOST_LISTED:
        table.add_row("", f"and {len(overlaps) - MOST_LISTED:,} pairs more; --json")


def _print_runs(console: Console, status: LakeStatus) -> None:
    # A run's id begins with the time at which it began, in UTC.
    runs = TextTable("run", "state", ">took", ">objects", ">rows", ">rejected")
    for run in status.runs:
        runs.add_row(*_run_row(run))
    console.print(runs)
    if status.number_runs > len(status.runs):
        console.print(f"… and {status.number_runs - len(status.runs):,} earlier ones; --runs")
    sources = {run.run.run_id: run.run.report.get("source") for run in status.runs}
    if len({*sources.values()} - {None}) > 1:
        for run_id, read_from in sources.items():
            if read_from:
                console.print(f"{run_id} read {read_from}")
    for run in status.runs:
        if run.state == "failed":
            console.print(f"{run.run.run_id} failed: {run.run.report['failure']}")
        elif run.state == "killed":
            console.print(
                f"{run.run.run_id} was killed on {run.run.host}; what it had finished "
                "counts, the next run goes on from there."
            )


def _newest(what: str, time: datetime) -> str:
    age = format_time((datetime.now(UTC) - time).total_seconds())
    return f"{what} of {time:%Y-%m-%d %H:%M}, {age} old"


def _partition_values(directory: str) -> dict[str, str]:
    """Return the values in a directory such as `aws_region=eu-west-1/date=2026-01-14` by name."""
    parts = (part.partition("=") for part in directory.split("/") if part)
    return {name: value for name, _, value in parts}


def _run_row(run: RunStatus) -> list[str]:
    report = run.run.report
    took = "" if run.seconds is None else f"{run.seconds:,.1f} s"
    row = [run.run.run_id, run.state, took]
    if report.get("expire"):
        what = f"before {report['before']}" if report["before"] else "what was gone"
        return [*row, f"expire: {what}", f"{-report['rows']:,}", ""]
    if report.get("compact"):
        what = f"compact: {report['files']:,} files to {report['compacted_files']:,}"
        if removed := report.get("removed"):
            what += f", {removed:,} duplicates removed"
        return [*row, what, f"{report['rows']:,}", ""]
    if report.get("repair"):
        return [*row, f"repair: {report['forgotten']:,} tasks forgotten", "", ""]
    if not report:
        return [*row, "", "", ""]
    objects = f"{report['objects']:,}"
    for what in ("unreadable", "changed", "changed_format"):
        if number := report[f"number_{what}"]:
            objects += f", {number:,} {what.replace('_', '-')}"
    lines = report["lines"]
    return [*row, objects, f"{lines['rows']:,}", f"{lines['rejected']:,}"]


def print_quarantine(report: QuarantineReport) -> None:
    """Print which lines were rejected, and why."""
    console = stdout()
    table = TextTable()
    table.add_row("lake", report.lake)
    table.add_row("rejected", f"{report.lines:,} lines of {len(report.objects):,} objects")
    for reason, number in sorted(report.reasons.items()):
        table.add_row("", f"{number:,} {reason}")
    if report.dropped:
        table.add_row("not kept", f"{report.dropped:,} lines beyond the quarantine's limits")
    console.print(table)
    for rejected in first(report.objects):
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(rejected.reasons.items()))
        console.print(f"{rejected.uri}: {reasons}")
    say_how_many_more(console, len(report.objects))
    for line in report.shown:
        where = f" (field {line.field})" if line.field else ""
        console.print()
        console.print(f"{line.uri}: line {line.line}: {line.reason}{where}")
        console.print(f"  {cut(line.text)}")
    if report.shown and len(report.shown) < report.lines:
        console.print()
        console.print(f"… and {report.lines - len(report.shown):,} more lines; --lines N")


def print_partitions(console: Console, partitions: Sequence[PartitionStatus]) -> None:
    """Print the files, rows and bytes of partitions."""
    if not partitions:
        return
    names = _partition_values(partitions[0].directory)
    table = TextTable("table", *names, ">files", ">rows", ">size")
    for partition in partitions[:MOST_PARTITIONS]:
        table.add_row(
            partition.table,
            *_partition_values(partition.directory).values(),
            f"{partition.files:,}",
            f"{partition.rows:,}",
            format_size(partition.size_bytes),
        )
    console.print(table)
    if len(partitions) > MOST_PARTITIONS:
        console.print(f"… and {len(partitions) - MOST_PARTITIONS:,} more; --json")
