"""Reports as people see them on stdout, or programs with --json."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal as format_size

if TYPE_CHECKING:
    from rich.table import Table

    from flowconv.blocks.counts import LineCounts
    from flowconv.cli.console import Console
    from flowconv.conversion.dry_run import Plan
    from flowconv.conversion.report import ConvertReport
    from flowconv.inspecting import Inspection
    from flowconv.lake.quarantine import QuarantineReport
    from flowconv.lake.status import LakeStatus, PartitionStatus, RunStatus
    from flowconv.samples.options import GenerateReport
    from flowconv.upkeep.expiring import ExpireReport
    from flowconv.upkeep.gap_report import Gap, GapReport, RecordsFound
    from flowconv.verification.problems import VerifyReport
else:

    def Table(*headers: Any, **style: Any) -> Any:  # noqa: N802
        """Import rich's tables when one is shown: programs ask for JSON."""
        from rich import table

        return table.Table(*headers, **style)


# Lists in a report are cut here; --json has all.
_MOST_LISTED = 10
_MOST_PARTITIONS = 100

# A rejected line may be megabytes of anything; --json has it whole.
_MOST_CHARACTERS = 1000


def stdout() -> Console:
    """Return the console of reports."""
    from flowconv.cli import console

    return console.stdout()


def print_json(value: Any) -> None:
    """Print a report for programs."""
    # At once: each of the encoder's own pieces would be a write.
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_report(report: ConvertReport) -> None:
    """Print what a run read and wrote."""
    console = stdout()
    console.print(_run_figures(report))
    _print_where_rejected_lines_are(console, report)
    if report.empty:
        console.print(_EMPTY_NOW if report.found_before else _EMPTY)
    _print_new_headers(console, report)
    _print_changed(console, report)
    _print_unreadable(console, report.unreadable)


def _run_figures(report: ConvertReport) -> Table:
    table = _key_values()
    table.add_row("source", report.source)
    table.add_row("lake", report.lake)
    _add_objects(table, report)
    rows = ", ".join(f"{n:,} in {name}/" for name, n in sorted(report.tables.items()))
    table.add_row("rows", rows or "0")
    _add_lines(table, report.lines)
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
    if report.retries:
        table.add_row("retries", f"{report.retries:,} requests to S3 were made again")
    if report.cancelled:
        table.add_row("stopped", "before its end; the next run goes on from here")
    table.add_row("time", f"{report.seconds:.1f} s, {report.text_megabytes_per_second:.0f} MB/s")
    if report.worker_time and report.seconds >= _LONG_S:
        table.add_row("workers", _worker_time(report.worker_time))
    return table


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


def _add_objects(table: Table, report: ConvertReport) -> None:
    table.add_row(
        "objects",
        f"{report.objects:,} converted, {report.already_converted:,} converted before, "
        f"{len(report.changed):,} changed, {len(report.unreadable):,} unreadable",
    )
    for kind, number in sorted(report.left_out.items()):
        table.add_row("left out", f"{number:,} {kind}")
    if report.changed_format:
        table.add_row("", f"{len(report.changed_format):,} changed-format")


def _requests(place: str, requests: Mapping[str, Any]) -> str:
    kinds = [
        f"{times['count']:,} {kind} ({times['median_ms']:.0f} ms, 99 % within "
        f"{times['p99_ms']:.0f} ms)"
        for kind, times in requests["kinds"].items()
    ]
    hedges = f"; {requests['hedges']:,} made twice for slowness" if requests["hedges"] else ""
    at_once = f"; at most {requests['most_at_once']:,} at once"
    return f"{place}: {', '.join(kinds)}{at_once}{hedges}"


def _add_fields(table: Table, report: ConvertReport) -> None:
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
    for header in _first(report.new_headers):
        differs = [f"with {' '.join(header.added)}"] * bool(header.added)
        differs += [f"without {' '.join(header.removed)}"] * bool(header.removed)
        console.print(
            f"new header: {header.prefix}: {header.flow_log_id or 'objects'} since "
            f"{header.since or 'this run'}: {', '.join(differs) or 'in another order'}"
        )
    _say_how_many_more(console, report.number_new_headers)


def _print_changed(console: Console, report: ConvertReport) -> None:
    for uri in _first(sorted(report.changed)):
        console.print(f"changed since it was converted, not converted again: {uri}")
    _say_how_many_more(console, len(report.changed))
    for uri in _first(sorted(report.changed_format)):
        console.print(
            f"changed-format: converted by another format than is declared now; --reprocess "
            f"converts it again: {uri}"
        )
    _say_how_many_more(console, len(report.changed_format))


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
    for uri, reason in _first(sorted(unreadable.items())):
        console.print(f"unreadable: {uri}: {reason}")
    _say_how_many_more(console, len(unreadable))


def _add_lines(table: Table, lines: LineCounts) -> None:
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


def print_plan(plan: Plan) -> None:
    """Print what a run would read and write."""
    table = Table("account", "region", "day", "objects", "size", "tasks", box=None)
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
    if plan.already_converted:
        console.print(f"converted before: {plan.already_converted:,} objects")
    if plan.changed:
        console.print(f"changed, and read with --reprocess alone: {plan.changed:,} objects")
    if plan.changed_format:
        console.print(
            f"changed-format, read with --reprocess alone: {plan.changed_format:,} objects"
        )
    for kind, number in sorted(plan.left_out.items()):
        console.print(f"left out: {number:,} {kind}")
    if plan.empty:
        console.print(_EMPTY_NOW if plan.found_before else _EMPTY)
    _print_unreadable(console, plan.unreadable)


def print_inspection(inspection: Inspection) -> None:
    """Print what an object holds."""
    console = stdout()
    lines = inspection.lines
    table = _key_values()
    table.add_row("object", inspection.uri)
    table.add_row("size", f"{format_size(inspection.size_bytes)} stored")
    if inspection.shape:
        table.add_row("shape", f"{inspection.shape}: {inspection.sign}")
    if inspection.unreadable:
        table.add_row("unreadable", inspection.unreadable)
    _add_lines(table, lines)
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
        records = Table("column", *(f"row {n + 1}" for n in range(len(inspection.records))))
        for column in inspection.records[0]:
            values = [record[column] for record in inspection.records]
            if any(value is not None for value in values):
                records.add_row(column, *("-" if v is None else _cut(str(v)) for v in values))
        console.print(records)
    for line in _first(inspection.rejected):
        where = f" (field {line.field})" if line.field else ""
        console.print(f"line {line.line}: {line.reason}{where}")
    _say_how_many_more(console, lines.rejected)


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
        command = f"to convert them: --format {shlex.quote(report.format)}"
        stdout().print(command, soft_wrap=True)


def print_schema(described: Sequence[dict[str, Any]]) -> None:
    """Print the fields of both tables."""
    table = Table(box=None, pad_edge=False)
    for name in ("table", "field", "type", "version"):
        table.add_column(name, no_wrap=True)
    table.add_column("meaning")
    for row in described:
        # 80 columns have no room for the time zone, which is always UTC.
        kind = row["type"].partition("[")[0]
        table.add_row(row["table"], row["field"], kind, str(row["version"]), row["meaning"])
    stdout().print(table)
    stdout().print("A field's column has its name, with _ in place of -.")


def print_status(status: LakeStatus) -> None:
    """Print what a lake holds, and how its last runs went."""
    console = stdout()
    table = _key_values()
    table.add_row("lake", status.lake)
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
    console.print(table)
    if status.runs:
        console.print()
        # A run's id begins with the time at which it began, in UTC.
        runs = _columns("run", "state", ">took", ">objects", ">rows", ">rejected")
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
    if status.partitions:
        console.print()
        _print_partitions(console, status.partitions)


def _newest(what: str, time: datetime) -> str:
    age = _format_time((datetime.now(UTC) - time).total_seconds())
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
        return [*row, f"expire: {what}", f"-{report['rows']:,}", ""]
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


def print_verification(report: VerifyReport) -> None:
    """Print what was checked, and what was found."""
    console = stdout()
    table = _key_values()
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
        if shown[problem.kind] <= _MOST_LISTED:
            console.print(f"{problem.kind}: {problem}")
        elif shown[problem.kind] == _MOST_LISTED + 1:
            more = report.kinds[problem.kind] - _MOST_LISTED
            console.print(f"… and {more:,} more {problem.kind}; --json lists all.")
    if report.removed or report.forgotten:
        console.print(f"Removed {report.removed:,} files, forgot {report.forgotten:,} tasks.")
    if report.set_aside:
        console.print(f"Moved {report.set_aside:,} files below _flowconv/set-aside/.")
    if report.forgotten:
        source, lake = report.source or "SOURCE", report.lake
        console.print(f"Now convert their objects again: flowconv convert {source} {lake}")


def print_expired(report: ExpireReport) -> None:
    """Print what was removed from a lake, or would be."""
    console = stdout()
    _print_partitions(console, report.partitions)
    what = f"{report.rows:,} rows in {report.files:,} files, {format_size(report.size_bytes)}"
    was = "would be" if report.dry_run else "were"
    done = "removed" if report.before else "settled as gone"
    console.print(f"{what}, {was} {done}: {report.lake}")


def print_gaps(report: GapReport) -> None:
    """Print what is missing in a lake."""
    console = stdout()
    table = _columns(
        "flow log", "region", ">minutes", ">windows", ">missing", ">lag", "last window"
    )
    for log in report.flow_logs[:_MOST_PARTITIONS]:
        table.add_row(
            log.flow_log_id,
            log.region,
            str(log.period_minutes or "?"),
            f"{log.windows:,}",
            f"{log.missing:,}" if log.period_minutes else "?",
            "" if log.lag_median_s is None else _format_time(log.lag_median_s),
            f"{log.last:%Y-%m-%d %H:%M}",
        )
    if report.flow_logs:
        console.print(table)
    if len(report.flow_logs) > _MOST_PARTITIONS:
        console.print(f"… and {len(report.flow_logs) - _MOST_PARTITIONS:,} more; --json")
    if report.unnamed_objects:
        console.print(f"{report.unnamed_objects:,} objects have no time in their names")
    if records := report.records:
        _print_records(console, records)
    new = [gap for gap in report.gaps if not gap.acknowledged]
    for gap in _first(new):
        console.print(_describe_gap(gap))
    if len(new) > _MOST_LISTED:
        console.print(f"… and {len(new) - _MOST_LISTED:,} more; --json lists all.")
    acknowledged = len(report.gaps) - len(new)
    known = f", {acknowledged:,} acknowledged" if acknowledged else ""
    console.print(f"{len(new):,} gaps{known}: {report.lake}")


def _print_records(console: Console, records: RecordsFound) -> None:
    since = f" since {records.since}" if records.since else ""
    console.print(
        f"{records.records:,} records{since}: {records.skipdata:,} SKIPDATA (AWS lost records), "
        f"{records.nodata:,} NODATA (no traffic)"
    )
    for hour in _first(records.hours):
        console.print(
            f"SKIPDATA: {hour.interface_id}: {hour.skipdata:,} of {hour.records:,} records of "
            f"{hour.hour:%Y-%m-%d %H}:00"
        )
    _say_that_there_are_more(console, len(records.hours))
    for silent in _first(records.silent_interfaces):
        console.print(
            f"silent: {silent.interface_id}: no record after {silent.last:%Y-%m-%d %H}:59; it was "
            "deleted, or its flow log"
        )
    _say_that_there_are_more(console, len(records.silent_interfaces))


def _say_that_there_are_more(console: Console, number: int) -> None:
    if number > _MOST_LISTED:
        console.print(f"… and {number - _MOST_LISTED:,} more; --json")


def _describe_gap(gap: Gap) -> str:
    first, last = f"{gap.first:%Y-%m-%d %H:%M}", f"{gap.last:%Y-%m-%d %H:%M}"
    if gap.kind == "windows":
        return f"missing: {gap.of}: {gap.number:,} windows that end from {first} to {last}"
    if gap.kind == "silent":
        return f"silent: {gap.of}: no window after {first}, others go on to {last}"
    return f"few rows: {gap.of}: {gap.number:,} on {gap.first:%Y-%m-%d}, {gap.usual:,} are usual"


def _format_time(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def _print_partitions(console: Console, partitions: Sequence[PartitionStatus]) -> None:
    if not partitions:
        return
    names = _partition_values(partitions[0].directory)
    table = _columns("table", *names, ">files", ">rows", ">size")
    for partition in partitions[:_MOST_PARTITIONS]:
        table.add_row(
            partition.table,
            *_partition_values(partition.directory).values(),
            f"{partition.files:,}",
            f"{partition.rows:,}",
            format_size(partition.size_bytes),
        )
    console.print(table)
    if len(partitions) > _MOST_PARTITIONS:
        console.print(f"… and {len(partitions) - _MOST_PARTITIONS:,} more; --json")


def print_quarantine(report: QuarantineReport) -> None:
    """Print which lines were rejected, and why."""
    console = stdout()
    table = _key_values()
    table.add_row("lake", report.lake)
    table.add_row("rejected", f"{report.lines:,} lines of {len(report.objects):,} objects")
    for reason, number in sorted(report.reasons.items()):
        table.add_row("", f"{number:,} {reason}")
    if report.dropped:
        table.add_row("not kept", f"{report.dropped:,} lines beyond the quarantine's limits")
    console.print(table)
    for one in _first(report.objects):
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(one.reasons.items()))
        console.print(f"{one.uri}: {reasons}")
    _say_how_many_more(console, len(report.objects))
    for line in report.shown:
        where = f" (field {line.field})" if line.field else ""
        console.print()
        console.print(f"{line.uri}: line {line.line}: {line.reason}{where}")
        console.print(f"  {_cut(line.text)}", soft_wrap=True)
    if report.shown and len(report.shown) < report.lines:
        console.print()
        console.print(f"… and {report.lines - len(report.shown):,} more lines; --lines N")


def _cut(text: str) -> str:
    """Return the beginning of a line of somebody's log, bytes that are not UTF-8 escaped."""
    shown = text[:_MOST_CHARACTERS].encode("utf-8", "surrogateescape")
    return shown.decode("utf-8", "backslashreplace") + "…" * (len(text) > _MOST_CHARACTERS)


def _columns(*names: str) -> Table:
    """Return a table without lines; columns whose names begin with > are flush right."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(
            name.removeprefix(">"),
            justify="right" if name.startswith(">") else "left",
            overflow="fold",
        )
    return table


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
