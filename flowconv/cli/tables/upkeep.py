"""What is missing in a lake, what was compacted, and what was removed from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal as format_size

from flowconv.cli.tables.lake import print_partitions
from flowconv.cli.tables.parts import (
    MOST_PARTITIONS,
    counted,
    first,
    format_time,
    say_how_many_more,
    stdout,
)
from flowconv.cli.text_tables import TextTable

if TYPE_CHECKING:
    from flowconv.cli.console import Console
    from flowconv.upkeep.compacting import CompactReport
    from flowconv.upkeep.expiring import ExpireReport
    from flowconv.upkeep.gap_report import Gap, GapReport, RecordsFound


def print_gaps(report: GapReport) -> None:
    """Print what is missing in a lake."""
    console = stdout()
    table = TextTable(
        "flow log", "region", ">minutes", ">windows", ">missing", ">lag", "last window"
    )
    for log in report.flow_logs[:MOST_PARTITIONS]:
        table.add_row(
            log.flow_log_id,
            log.region,
            str(log.period_minutes or "?"),
            f"{log.windows:,}",
            f"{log.missing:,}" if log.period_minutes else "?",
            "" if log.lag_median_s is None else format_time(log.lag_median_s),
            f"{log.last:%Y-%m-%d %H:%M}",
        )
    if report.flow_logs:
        console.print(table)
    if len(report.flow_logs) > MOST_PARTITIONS:
        console.print(f"… and {len(report.flow_logs) - MOST_PARTITIONS:,} more; --json")
    if report.unnamed_objects:
        console.print(f"{report.unnamed_objects:,} objects have no time in their names")
    if records := report.records:
        _print_records(console, records)
    unacknowledged = [gap for gap in report.gaps if not gap.acknowledged]
    for gap in first(unacknowledged):
        console.print(_describe_gap(gap))
    say_how_many_more(console, len(unacknowledged), " lists all.")
    acknowledged = len(report.gaps) - len(unacknowledged)
    known = f", {acknowledged:,} acknowledged" if acknowledged else ""
    console.print(f"{len(unacknowledged):,} gaps{known}: {report.lake}")


def _print_records(console: Console, records: RecordsFound) -> None:
    since = f" since {records.since}" if records.since else ""
    console.print(
        f"{records.records:,} records{since}: {records.skipdata:,} SKIPDATA (AWS lost records), "
        f"{records.nodata:,} NODATA (no traffic)"
    )
    for hour in first(records.hours):
        console.print(
            f"SKIPDATA: {hour.interface_id}: {hour.skipdata:,} of {hour.records:,} records of "
            f"{hour.hour:%Y-%m-%d %H}:00"
        )
    say_how_many_more(console, len(records.hours), "")
    for silent in first(records.silent_interfaces):
        console.print(
            f"silent: {silent.interface_id}: no record after {silent.last:%Y-%m-%d %H}:59; it or "
            "its flow log was deleted"
        )
    say_how_many_more(console, len(records.silent_interfaces), "")


def _describe_gap(gap: Gap) -> str:
    first, last = f"{gap.first:%Y-%m-%d %H:%M}", f"{gap.last:%Y-%m-%d %H:%M}"
    if gap.kind == "windows":
        return f"missing: {gap.of}: {gap.number:,} windows that end from {first} to {last}"
    if gap.kind == "silent":
        return f"silent: {gap.of}: no window after {first}, others go on to {last}"
    return f"few rows: {gap.of}: {gap.number:,} on {gap.first:%Y-%m-%d}, {gap.usual:,} are usual"


def print_compacted(report: CompactReport) -> None:
    """Print what was compacted, or would be."""
    console = stdout()
    if report.partitions:
        table = TextTable(
            "table", "partition", ">rows", ">files", ">size", ">files now", ">size now"
        )
        for partition in report.partitions[:MOST_PARTITIONS]:
            now = "" if report.dry_run else f"{partition.compacted_files:,}"
            table.add_row(
                partition.table,
                "/".join(part.partition("=")[2] for part in partition.directory.split("/")),
                f"{partition.rows:,}",
                f"{partition.files:,}",
                format_size(partition.size_bytes),
                now,
                now and format_size(partition.compacted_bytes),
            )
        console.print(table)
    if len(report.partitions) > MOST_PARTITIONS:
        console.print(f"… and {len(report.partitions) - MOST_PARTITIONS:,} more; --json")
    if report.left:
        console.print(f"{report.left:,} partitions have too few small files, or are not chosen")
    for removed in first(report.duplicates):
        console.print(
            f"removed: {counted(removed.rows, 'record')} of {removed.flow_log_id} that "
            f"{removed.kept_flow_log_id} has, too"
        )
    say_how_many_more(console, len(report.duplicates), " lists all pairs.")
    if report.not_compared:
        names = ", ".join(first(sorted(report.not_compared)))
        console.print(f"not compared, since a field is missing that tells records apart: {names}")
        say_how_many_more(console, len(report.not_compared), "")
    totals = report.totals
    before = f"{totals['files']:,} files, {format_size(totals['size_bytes'])}"
    now = f"{totals['compacted_files']:,} files, {format_size(totals['compacted_bytes'])}"
    if not report.partitions:
        console.print(f"nothing to compact: {report.lake}")
    elif report.dry_run:
        console.print(f"{before}, would be compacted: {report.lake}")
    else:
        console.print(f"{before} -> {now}, in {report.seconds:.1f} s: {report.lake}")
    if report.partitions and report.kept_until:
        console.print(f"replaced files are kept until {report.kept_until:%Y-%m-%d %H:%M} UTC")


def print_expired(report: ExpireReport) -> None:
    """Print what was removed from a lake, or would be."""
    console = stdout()
    print_partitions(console, report.partitions)
    rows, files = counted(report.rows, "row"), counted(report.files, "file")
    what = f"{rows} in {files}, {format_size(report.size_bytes)}"
    was = "would be" if report.dry_run else "was" if report.rows == 1 else "were"
    done = "removed" if report.before else "settled as gone"
    console.print(f"{what}, {was} {done}: {report.lake}")
