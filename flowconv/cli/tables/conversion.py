"""What a run did, or would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal as format_size

from flowconv.cli.tables.logs import add_lines
from flowconv.cli.tables.parts import (
    describe_overlap,
    first,
    say_how_many_more,
    stdout,
)
from flowconv.cli.text_tables import TextTable

if TYPE_CHECKING:
    from flowconv.cli.console import Console
    from flowconv.conversion.dry_run import Plan
    from flowconv.conversion.report import ConvertReport


def print_report(report: ConvertReport) -> None:
    """Print what a run read and wrote."""
    console = stdout()
    console.print(_run_figures(report))
    _print_where_rejected_lines_are(console, report)
    if report.unfit_log_groups:
        console.print(_UNFIT)
    if report.empty:
        console.print(_EMPTY_NOW if report.found_before else _EMPTY)
    _print_new_headers(console, report)
    _print_overlaps(console, report)
    _print_changed(console, report)
    _print_unreadable(console, report.unreadable)


def _run_figures(report: ConvertReport) -> TextTable:
    table = TextTable()
    table.add_row("source", report.source)
    table.add_row("lake", report.lake)
    _add_objects(table, report)
    rows = ", ".join(
        f"{n:,} events of OCSF" if name == "ocsf" else f"{n:,} in {name}/"
        for name, n in sorted(report.tables.items())
    )
    table.add_row("rows", rows or "0")
    add_lines(table, report.lines)
    if report.skipdata:
        table.add_row("lost", f"AWS lost records: {report.skipdata:,} rows are SKIPDATA")
    if report.expired:
        table.add_row("expired", f"{report.expired:,} rows of days that expired, not written")
    for reason, number in sorted(report.rejected.items()):
        table.add_row("rejected", f"{number:,} {reason}")
    _add_fields(table, report)
    for group, number in sorted(report.left_out_log_groups.items()):
        table.add_row("left out", f"{number:,} lines of the log group {group}")
    for group, number in sorted(report.unfit_log_groups.items()):
        table.add_row("rejected", f"{number:,} lines of the log group {group}, none of which fits")
    table.add_row(
        "read",
        f"{format_size(report.source_bytes)} stored, {format_size(report.text_bytes)} of text",
    )
    table.add_row(
        "written",
        f"{format_size(report.written_bytes)} in {report.files:,} files, "
        f"{report.partitions:,} partitions",
    )
    for place, requests in report.requests.items():
        table.add_row("requests", _requests(place, requests))
    if report.requests_usd is not None:
        table.add_row("cost", _cost(report))
    if report.retries:
        table.add_row("retries", f"{report.retries:,} requests to S3 were made again")
    if report.cancelled:
        table.add_row("stopped", "before its end; the next run goes on from here")
    table.add_row("time", f"{report.seconds:.1f} s, {report.text_megabytes_per_second:.0f} MB/s")
    if report.worker_time and report.seconds >= _LONG_S:
        table.add_row("workers", _worker_time(report.worker_time))
    for worker, counts in sorted(report.workers.items()):
        retries = f", {counts.retries:,} requests made again" if counts.retries else ""
        table.add_row(
            f"worker {worker}",
            f"{counts.tasks:,} tasks, {format_size(counts.source_bytes)} stored{retries}",
        )
    return table


_UNFIT = (
    "A log group of which no line fits has another format, or is not a flow log. Write its format "
    'or "exclude" below [log-groups] in the file of --formats; --retry-rejected then converts its '
    "objects again."
)

# What bounds shorter runs is their beginning and end.
_LONG_S = 10.0

_SPENT_ON = {
    "working": "work",
    "source": "waiting for SOURCE",
    "lake": "waiting to write to DEST",
    "tasks": "waiting for the listing and commits",
}


def _worker_time(shares: Mapping[str, float]) -> str:
    """Return what the workers spent their time on, the largest share first."""
    ordered = sorted(_SPENT_ON, key=lambda what: -shares[what])
    return ", ".join(f"{shares[what]:.0%} {_SPENT_ON[what]}" for what in ordered)


def _add_objects(table: TextTable, report: ConvertReport) -> None:
    table.add_row(
        "objects",
        f"{report.objects:,} converted, {report.already_converted:,} converted before, "
        f"{len(report.changed):,} changed, {len(report.unreadable):,} unreadable",
    )
    for kind, number in sorted(report.left_out.items()):
        table.add_row("left out", _left_out(kind, number))
    if report.changed_format:
        table.add_row("", f"{len(report.changed_format):,} changed-format")


# Other kinds are options.
_LEFT_OUT = {
    "expired": "objects of days that expired",
    "lakes": "folders that are lakes",
    "not_logs": "names that no log has: folder markers, or with _ or . first",
    "other_services": "folders or objects of other AWS services",
    "undated": "objects without a day in their keys",
}


def _left_out(kind: str, number: int) -> str:
    return f"{number:,} {_LEFT_OUT.get(kind, kind)}"


def _requests(place: str, requests: Mapping[str, Any]) -> str:
    kinds = [
        f"{times['sent']:,} {kind} ({times['median_ms']:.0f} ms, 99 % within "
        f"{times['p99_ms']:.0f} ms)"
        for kind, times in requests["kinds"].items()
    ]
    hedges = f"; {requests['hedges']:,} made twice for slowness" if requests["hedges"] else ""
    at_once = f"; at most {requests['most_at_once']:,} at once"
    return f"{place}: {', '.join(kinds)}{at_once}{hedges}"


def _cost(report: ConvertReport) -> str:
    """Return the price of the requests, and what they carried."""
    received, sent = (
        sum(place[name] for place in report.requests.values())
        for name in ("received_bytes", "sent_bytes")
    )
    return (
        f"${report.requests_usd:.6f} for requests (--request-price); {format_size(received)} "
        f"received, {format_size(sent)} sent"
    )


def _add_fields(table: TextTable, report: ConvertReport) -> None:
    if report.unknown_fields:
        names = ", ".join(sorted(report.unknown_fields))
        table.add_row("new fields", f"{names} (not documented by AWS; in unknown_fields)")
    if report.left_out_columns:
        names = ", ".join(sorted(report.left_out_columns))
        table.add_row("left out", f"{names} (columns or keys that cannot be fields)")


def _print_where_rejected_lines_are(console: Console, report: ConvertReport) -> None:
    if report.rejected:
        console.print(
            f"Rejected lines are in {report.lake}/_flowconv/quarantine/, "
            "each with its object, number and reason."
        )
    if report.lines.dropped:
        console.print(
            f"{report.lines.dropped:,} of them were only counted: the quarantine has a limit "
            "(--quarantine-per-object, --quarantine-per-run)."
        )


def _print_new_headers(console: Console, report: ConvertReport) -> None:
    for header in first(report.new_headers):
        differs = [f"with {' '.join(header.added)}"] * bool(header.added)
        differs += [f"without {' '.join(header.removed)}"] * bool(header.removed)
        console.print(
            f"new header: {header.prefix}: {header.flow_log_id or 'objects'} since "
            f"{header.since or 'this run'}: {', '.join(differs) or 'in another order'}"
        )
    say_how_many_more(console, report.number_new_headers)


def _print_overlaps(console: Console, report: ConvertReport) -> None:
    for overlap in first(report.lasting_overlaps):
        console.print(f"overlap: {describe_overlap(overlap)}")
    say_how_many_more(console, report.number_overlaps, " lists all pairs.")
    if report.number_overlaps:
        # Lakes of OCSF are not compacted.
        advice = (
            "" if "ocsf" in report.tables else "; flowconv compact --dedupe removes one of each"
        )
        console.print(f"The lake has their records twice{advice}.")


def _print_changed(console: Console, report: ConvertReport) -> None:
    for uri in first(sorted(report.changed)):
        console.print(f"changed since it was converted, not converted again: {uri}")
    say_how_many_more(console, len(report.changed))
    for uri in first(sorted(report.changed_format)):
        console.print(
            f"changed-format: converted by another format than is declared now; --reprocess "
            f"converts it again: {uri}"
        )
    say_how_many_more(console, len(report.changed_format))


_EMPTY = (
    "No flow log was found below SOURCE, and none was converted from there before. Check SOURCE, "
    "--since, --until, --include and --exclude; --allow-empty if nothing is to be expected."
)


_EMPTY_NOW = (
    "No flow log of the chosen days was found below SOURCE, though earlier runs converted some "
    "from there. Check whether AWS still delivers, and --since, --until, --include and --exclude; "
    "--allow-empty if nothing is to be expected."
)


def _print_unreadable(console: Console, unreadable: Mapping[str, str]) -> None:
    for uri, reason in first(sorted(unreadable.items())):
        console.print(f"unreadable: {uri}: {reason}")
    say_how_many_more(console, len(unreadable))


def print_plan(plan: Plan) -> None:
    """Print what a run would read and write."""
    table = TextTable("account", "region", "day", ">objects", ">size", ">tasks")
    for group in plan.groups:
        table.add_row(
            group.account_id or "-",
            group.region or "-",
            str(group.day or "-"),
            f"{group.objects:,}",
            format_size(group.size_bytes),
            f"{group.tasks:,}",
        )
    console = stdout()
    console.print(table)
    console.print(
        f"{plan.objects:,} objects, {format_size(plan.size_bytes)}, would be read from "
        f"{plan.source} and written to {plan.lake}; nothing was."
    )
    for place, kinds in plan.requests.items():
        counts = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
        console.print(f"requests for {place}, about: {counts}")
    if plan.requests_usd is not None:
        console.print(f"cost of the requests, about: ${plan.requests_usd:.6f} (--request-price)")
    if plan.already_converted:
        console.print(f"converted before: {plan.already_converted:,} objects")
    if plan.changed:
        console.print(f"changed, and read with --reprocess alone: {plan.changed:,} objects")
    if plan.changed_format:
        console.print(
            f"changed-format, read with --reprocess alone: {plan.changed_format:,} objects"
        )
    for kind, number in sorted(plan.left_out.items()):
        console.print(f"left out: {_left_out(kind, number)}")
    if plan.empty:
        console.print(_EMPTY_NOW if plan.found_before else _EMPTY)
    _print_unreadable(console, plan.unreadable)
