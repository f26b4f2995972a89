"""What people see: tables and reports on stdout, progress and errors on stderr.

Names and values come from others. All text for people goes through `_Console`, which shows it
printable and takes nothing in it for markup.
"""

import errno
import io
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flowconv import events
from flowconv.errors import printable, redact
from flowconv.events import log_event

if TYPE_CHECKING:
    from flowconv.blocks.counts import LineCounts
    from flowconv.conversion.dry_run import Plan
    from flowconv.conversion.report import ConvertReport
    from flowconv.inspecting import Inspection
    from flowconv.lake.quarantine import QuarantineReport
    from flowconv.lake.status import LakeStatus, RunStatus
    from flowconv.running import RunProgress
    from flowconv.samples.options import GenerateReport
    from flowconv.verification.problems import VerifyReport


# A log gets a line of progress so often.
_LINE_EVERY_S = 10.0

# Lists in a report are cut here; --json has all.
_MOST_LISTED = 10
_MOST_PARTITIONS = 100

# A rejected line may be megabytes of anything; --json has it whole.
_MOST_CHARACTERS = 1000


_json_log = False


@contextmanager
def json_log() -> Iterator[None]:
    """Write events to stderr meanwhile, one JSON object a line, and nothing else."""
    global _json_log  # noqa: PLW0603
    _json_log = True
    try:
        with events.json_log(sys.stderr):
            yield
    finally:
        _json_log = False


def print_error(message: str) -> None:
    """Print an error on stderr."""
    if _json_log:
        log_event("error", level=logging.ERROR, message=message)
        return
    console = _stderr()
    console.print(Text("error: ", "bold red") + console.render_str(redact(message)))


def say_at_once(message: str) -> None:
    """Say something on stderr from a signal's handler: past all buffers, which may be in use."""
    if _json_log:
        log_event("stopping", level=logging.WARNING, message=message)
        return
    with suppress(OSError, ValueError):
        # A progress bar may stand in the line.
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), f"{start}{message}\n".encode())


def print_json(value: Any) -> None:
    """Print a report for programs."""
    # At once: each of the encoder's own pieces would be a write.
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


class Output:
    """A standard stream that may be closed or full: then what follows is dropped, without an error.

    Attributes:
        failure: Why what was written did not get through; None if it did.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or a log of another encoding is no reason to fail.
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or drop it."""
        if self.failure is None:
            with self._failing():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        if self.failure is None:
            with self._failing():
                self._stream.flush()

    @property
    def is_closed_pipe(self) -> bool:
        """Whoever read it has gone: `flowconv schema | head -n 1`."""
        return self.failure is not None and self.failure.errno == errno.EPIPE

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error
            with suppress(OSError, ValueError):
                # Else Python, which flushes the stream once more at its end, fails then.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def progress() -> Iterator[Callable[["RunProgress"], None]]:
    """Show how far a run has come: a bar on a terminal, a line now and then in a log.

    Yields:
        What `convert` calls with its progress.
    """
    console = _stderr()
    if _json_log or not console.is_terminal:
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
        if _json_log:
            log_event(
                "progress",
                objects=state.objects,
                total_objects=state.total_objects,
                source_bytes=state.source_bytes,
                total_bytes=state.total_bytes,
                rows=state.rows,
            )
            return
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
    table.add_row("source", report.source)
    table.add_row("lake", report.lake)
    table.add_row(
        "objects",
        f"{report.objects:,} converted, {report.already_converted:,} converted before, "
        f"{len(report.changed):,} changed, {len(report.unreadable):,} unreadable",
    )
    for kind, number in sorted(report.left_out.items()):
        table.add_row("left out", f"{number:,} {kind}")
    if report.changed_format:
        table.add_row("", f"{len(report.changed_format):,} changed-format")
    table.add_row("rows", rows or "0")
    _add_lines(table, lines)
    for reason, number in sorted(report.rejected.items()):
        table.add_row("rejected", f"{number:,} {reason}")
    if report.unknown_fields:
        names = ", ".join(sorted(report.unknown_fields))
        table.add_row("new fields", f"{names} (not documented by AWS; kept as text)")
    if report.left_out_columns:
        names = ", ".join(sorted(report.left_out_columns))
        table.add_row("left out", f"{names} (columns or keys that cannot be fields)")
    for group, number in sorted(report.left_out_log_groups.items()):
        table.add_row("left out", f"{number:,} lines of the log group {group}")
    for group, number in sorted(report.unfit_log_groups.items()):
        table.add_row("rejected", f"{number:,} lines of the log group {group}, of which none fits")
    table.add_row(
        "read", f"{_size(report.source_bytes)} stored, {_size(report.text_bytes)} of text"
    )
    table.add_row(
        "written",
        f"{_size(report.written_bytes)} in {report.files:,} files, "
        f"{report.partitions:,} partitions",
    )
    if report.retries:
        table.add_row("retries", f"{report.retries:,} requests to S3 were made again")
    if report.cancelled:
        table.add_row("stopped", "before its end; the next run goes on from here")
    table.add_row("time", f"{report.seconds:.1f} s, {report.text_megabytes_per_second:.0f} MB/s")
    console = _stdout()
    console.print(table)
    if report.rejected:
        console.print(
            f"Rejected lines are in {report.lake}/_flowconv/quarantine/, "
            "each with its object, number and reason."
        )
    if lines.dropped:
        console.print(
            f"{lines.dropped:,} of them were only counted: the quarantine has a limit "
            "(--quarantine-per-object, --quarantine-per-run)."
        )
    if report.empty:
        console.print(_EMPTY)
    for new in _first(report.new_headers):
        differs = [f"with {' '.join(new.came)}"] * bool(new.came)
        differs += [f"without {' '.join(new.went)}"] * bool(new.went)
        console.print(
            f"new header: {new.prefix}: {new.flow_log_id or 'objects'} since "
            f"{new.since or 'this run'}: {', '.join(differs) or 'in another order'}"
        )
    _say_how_many_more(console, len(report.new_headers))
    for uri in _first(sorted(report.changed)):
        console.print(f"changed since it was converted, not converted again: {uri}")
    _say_how_many_more(console, len(report.changed))
    for uri in _first(sorted(report.changed_format)):
        console.print(
            f"changed-format: converted by another format than is declared now; --reprocess "
            f"converts it anew: {uri}"
        )
    _say_how_many_more(console, len(report.changed_format))
    _print_unreadable(console, report.unreadable)


_EMPTY = (
    "No flow log was found below SOURCE, and none was converted from there before. Check SOURCE, "
    "--since, --until, --include and --exclude; --allow-empty if nothing is to be expected."
)


def _print_unreadable(console: Console, unreadable: Mapping[str, str]) -> None:
    for uri, reason in _first(sorted(unreadable.items())):
        console.print(f"unreadable: {uri}: {reason}")
    _say_how_many_more(console, len(unreadable))


def _add_lines(table: Table, lines: "LineCounts") -> None:
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
        console.print(_EMPTY)
    _print_unreadable(console, plan.unreadable)


def print_inspection(inspection: "Inspection") -> None:
    """Print what an object holds."""
    console = _stdout()
    lines = inspection.lines
    table = _key_values()
    table.add_row("object", inspection.uri)
    table.add_row("size", f"{_size(inspection.size_bytes)} stored")
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
            table.add_row("new fields", f"{unknown} (not documented by AWS; kept as text)")
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


def print_generated(directory: Path, report: "GenerateReport") -> None:
    """Print what sample logs were written."""
    _stdout().print(
        f"{report.objects:,} objects with {report.records:,} records in {directory}: "
        f"{_size(report.text_bytes)} of text, {_size(report.gzip_bytes)} stored, "
        f"{report.seconds:.1f} s"
    )
    if report.bad_lines:
        _stdout().print(f"{report.bad_lines:,} of the records are bad lines")
    if report.format:
        command = f"to convert them: --format {shlex.quote(report.format)}"
        _stdout().print(command, soft_wrap=True)


def print_schema(described: Sequence[dict[str, Any]]) -> None:
    """Print the fields of both tables."""
    table = Table("table", "field", "column", "type", "version", "meaning", box=None)
    for row in described:
        table.add_row(*(str(value) for value in row.values()))
    _stdout().print(table)


def print_status(status: "LakeStatus") -> None:
    """Print what a lake holds, and how its last runs went."""
    console = _stdout()
    table = _key_values()
    table.add_row("lake", status.lake)
    table.add_row("partitioned", f"by {', '.join(status.layout.partition_by)}")
    table.add_row("objects", f"{status.objects:,} converted")
    table.add_row(
        "rows",
        f"{status.rows:,} in {status.files:,} files, {_size(status.size_bytes)}, "
        f"{len(status.partitions):,} partitions",
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
        runs = _columns(*("began (UTC)", "run", "state", ">took", ">objects", ">rows", ">rejected"))
        for run in status.runs:
            runs.add_row(*_run_row(run))
        console.print(runs)
        if status.number_runs > len(status.runs):
            console.print(f"… and {status.number_runs - len(status.runs):,} earlier ones; --runs")
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
        partitions = _columns("table", "partition", ">files", ">rows", ">size")
        for one in status.partitions[:_MOST_PARTITIONS]:
            partitions.add_row(
                one.table,
                one.directory,
                f"{one.files:,}",
                f"{one.rows:,}",
                _size(one.size_bytes),
            )
        console.print(partitions)
        if len(status.partitions) > _MOST_PARTITIONS:
            console.print(f"… and {len(status.partitions) - _MOST_PARTITIONS:,} more; --json")


def _run_row(run: "RunStatus") -> list[str]:
    report = run.run.report
    took = "" if run.seconds is None else f"{run.seconds:,.1f} s"
    row = [f"{run.run.began:%Y-%m-%d %H:%M:%S}", run.run.run_id, run.state, took]
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


def print_verification(report: "VerifyReport") -> None:
    """Print what was checked, and what was found."""
    console = _stdout()
    table = _key_values()
    table.add_row("lake", report.lake)
    if report.source is not None:
        table.add_row("source", report.source)
    table.add_row(
        "files",
        f"{report.files:,}, {_size(report.size_bytes)}, {report.rows:,} rows, "
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


def print_quarantine(report: "QuarantineReport") -> None:
    """Print which lines were rejected, and why."""
    console = _stdout()
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
    """Return the beginning of a line of somebody's log, its bytes that are no UTF-8 escaped."""
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


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _speed(text_bytes: int, seconds: float) -> str:
    return f"{text_bytes / 1e6 / seconds:.0f} MB/s" if seconds > 0 else ""


class _Console(Console):
    """Shows all text as it is, but for what is not printable."""

    def __init__(self, stream: TextIO) -> None:
        # A pipe has no width; lines are not to be broken at 80 columns then.
        width = None if stream.isatty() else 10_000
        super().__init__(file=stream, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **kwargs: Any) -> Text:
        """Make a text of what is printed or stands in a table's cell."""
        return super().render_str(printable(text), **kwargs)


def _stdout() -> Console:
    return _Console(sys.stdout)


def _stderr() -> Console:
    return _Console(sys.stderr)
