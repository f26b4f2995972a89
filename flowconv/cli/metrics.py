"""Metrics of a run, in a file that the node exporter of Prometheus reads."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flowconv.errors import StorageError, UsageError, printable

if TYPE_CHECKING:
    from flowconv.conversion.report import ConvertReport
    from flowconv.lake.status import LakeStatus


def write_metrics(
    path: Path,
    job: Mapping[str, str],
    report: "ConvertReport | None",
    lake: "LakeStatus | None" = None,
    *,
    failed: bool,
) -> None:
    """Write a run's figures in the OpenMetrics text format, for node_exporter's textfile collector.

    The file is replaced at once, so a collector never reads half of it. What is no file, such as
    `/dev/stderr` or a pipe, is written to.

    Args:
        path: The file; the collector reads those whose names end with `.prom`.
        job: Labels of all figures, which keep the jobs of one machine apart.
        report: Of the run; without one only the outcome and the times are written.
        lake: The lake after the run; None if it does not answer, or there is none.
        failed: It did not come to its end.

    Raises:
        StorageError: The file cannot be written.
    """
    try:
        empty = report is not None and report.empty
        last_success = _last_success(path) if failed or empty else datetime.now(UTC).timestamp()
        text = "".join(f"{line}\n" for line in _metrics(job, report, lake, failed, last_success))
        if _is_special(_mode(path)):
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()  # A link stays one.
        unfinished = target.with_name(f".flowconv.{os.urandom(8).hex()}")
        try:
            unfinished.write_text(text, encoding="utf-8")
            os.replace(unfinished, target)  # noqa: PTH105
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as exc:
        raise StorageError(
            f"the metrics cannot be written ({exc.strerror}). Check --metrics-file.", uri=str(path)
        ) from exc


def check_metrics_file(path: Path) -> None:
    """Check before a run that its metrics can be written at its end.

    Raises:
        UsageError: They cannot: a folder is of that name, or its own is missing or write-protected.
    """
    try:
        mode = _mode(path)
        folder = path.resolve().parent
        if stat.S_ISDIR(mode):
            reason = "this is a folder. Name a file in it"
        elif not stat.S_ISDIR(_mode(folder)):
            reason = f"there is no folder {printable(str(folder))}. Make it, or name another"
        elif not os.access(path if _is_special(mode) else folder, os.W_OK):
            reason = "it may not be written, or its folder may not. Change that, or name another"
        else:
            return
    except (OSError, ValueError) as exc:
        # A name that is too long or has a NUL, a link to itself, a folder that may not be entered.
        reason = f"it cannot be reached ({getattr(exc, 'strerror', exc)}). Name another"
    raise UsageError(f"--metrics-file: {reason}.", uri=str(path))


def _mode(path: Path) -> int:
    """Return a file's mode; 0 if there is none. Since Python 3.14 `is_dir()` tells no errors."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _is_special(mode: int) -> bool:
    """Tell whether it is a device or a pipe, which must not be replaced by a file."""
    return mode != 0 and not stat.S_ISREG(mode)


def _metrics(
    job: Mapping[str, str],
    report: "ConvertReport | None",
    lake: "LakeStatus | None",
    failed: bool,
    last_success: float | None,
) -> Iterator[str]:
    figures: dict[str, tuple[str, float]] = {
        "last_run_failed": ("1 if the last run failed or was stopped, else 0.", int(failed)),
        "last_run_timestamp_seconds": ("When the last run ended.", datetime.now(UTC).timestamp()),
    }
    if last_success is not None:
        figures["last_success_timestamp_seconds"] = (
            "When a run last finished and had found flow logs.",
            last_success,
        )
    if report is not None:
        figures |= _of_run(report)
        if lake is not None:
            figures |= _of_lake(lake, report.source)
    for name, (help_, value) in figures.items():
        yield from _gauge(name, help_, value, job)
    if report is not None:
        yield from _of_requests(report, job)
    if lake is not None:
        yield from _of_flow_logs(lake, job)
    if report is not None:
        # No type `info`: node_exporter, which knows Prometheus' older format, refuses the file.
        labels = {**job, "run_id": report.run_id}
        yield from _gauge("last_run_info", "The last run's id.", 1, labels)
    yield "# EOF"


def _of_run(report: "ConvertReport") -> dict[str, tuple[str, float]]:
    return {
        "last_run_empty": ("1 if it found no flow log.", int(report.empty)),
        "last_run_objects": ("Objects that the last run converted.", report.objects),
        "last_run_objects_unreadable": (
            "Objects that it could not read.",
            len(report.unreadable),
        ),
        "last_run_objects_changed": (
            "Objects that changed after their conversion.",
            len(report.changed),
        ),
        "last_run_objects_changed_format": (
            "Objects for which another format is declared than they were converted by.",
            len(report.changed_format),
        ),
        "last_run_rows": ("Rows that it wrote.", report.lines.rows),
        "last_run_rejected_lines": (
            "Lines that did not fit.",
            report.lines.rejected,
        ),
        "last_run_skipdata_rows": (
            "Rows that say that AWS lost records.",
            report.skipdata,
        ),
        "last_run_overlapping_flow_logs": (
            "Pairs of flow logs that logged the same interfaces at once.",
            report.number_overlaps,
        ),
        "last_run_expired_rows": (
            "Rows of days that flowconv expire removed; they were not written.",
            report.expired,
        ),
        "last_run_source_bytes": ("Size of the objects as stored.", report.source_bytes),
        "last_run_text_bytes": ("Size of their text.", report.text_bytes),
        "last_run_written_bytes": ("Size of the Parquet written.", report.written_bytes),
        "last_run_seconds": ("Time that it took.", round(report.seconds, 3)),
    } | {
        f"last_run_workers_{what}_ratio": (_SPENT_ON[what], share)
        for what, share in report.worker_time.items()
    }


_SPENT_ON = {
    "working": "Share of the workers' time that was work.",
    "source": "Share of the workers' time that was waiting for SOURCE.",
    "lake": "Share of the workers' time that was waiting to write to DEST.",
    "tasks": "Share of the workers' time that was waiting for the listing and for commits.",
}


def _of_lake(lake: "LakeStatus", source: str) -> dict[str, tuple[str, float]]:
    figures: dict[str, tuple[str, float]] = {
        "lake_quarantined_lines": ("Rejected lines that are in the quarantine.", lake.rejected),
        "lake_gone_partitions": (
            "Partitions that were deleted without flowconv expire.",
            len(lake.gone),
        ),
        "lake_uncovered_days": (
            "Days of this source that no run covered.",
            len(lake.uncovered.get(source, ())),
        ),
    }
    if lake.newest_record:
        figures["lake_newest_record_timestamp_seconds"] = (
            "Start of the newest record.",
            lake.newest_record.timestamp(),
        )
    if lake.newest_object:
        figures["lake_newest_object_timestamp_seconds"] = (
            "The time in the name of the newest object.",
            lake.newest_object.timestamp(),
        )
    return figures


def _of_requests(report: "ConvertReport", job: Mapping[str, str]) -> Iterator[str]:
    """Give the figures of S3, by the place (`source` or `lake`); none of folders."""
    if not report.requests:
        return
    figures = {
        "cost_dollars": ("Price of its requests in US dollars.", "usd"),
        "received_bytes": ("Size of the objects received from S3.", "received_bytes"),
        "sent_bytes": ("Size of the objects sent to S3.", "sent_bytes"),
    }
    for name, (help_, key) in figures.items():
        of_places = [({"place": place}, found[key]) for place, found in report.requests.items()]
        yield from _gauges(f"last_run_s3_{name}", help_, of_places, job)
    of_kinds = [
        ({"place": place, "kind": kind}, times["sent"])
        for place, found in report.requests.items()
        for kind, times in found["kinds"].items()
    ]
    yield from _gauges("last_run_s3_requests", "Requests sent to S3.", of_kinds, job)


def _of_flow_logs(lake: "LakeStatus", job: Mapping[str, str]) -> Iterator[str]:
    """Give the objects of each flow log on the last whole day, and how many are usual."""
    figures = {
        "objects": ("Its objects on the last whole day.", "objects"),
        "objects_usual": ("Median of its objects on the seven days before.", "usual"),
    }
    for name, (help_, attribute) in figures.items() if lake.flow_logs else ():
        of_logs = [
            (
                {
                    "flow_log_id": flow_log.flow_log_id,
                    "account_id": flow_log.account_id,
                    "region": flow_log.region,
                },
                getattr(flow_log, attribute),
            )
            for flow_log in lake.flow_logs
        ]
        yield from _gauges(f"lake_flow_log_{name}", help_, of_logs, job)


def _gauge(name: str, help_: str, value: float, labels: Mapping[str, str]) -> Iterator[str]:
    return _gauges(name, help_, [({}, value)], labels)


def _gauges(
    name: str,
    help_: str,
    values: Iterable[tuple[Mapping[str, str], float]],
    labels: Mapping[str, str],
) -> Iterator[str]:
    """Give a figure's lines; its values differ by the labels that they have besides."""
    yield f"# TYPE flowconv_{name} gauge"
    yield f"# HELP flowconv_{name} {help_}"
    for own, value in values:
        pairs = ",".join(f'{label}="{_escape(text)}"' for label, text in {**labels, **own}.items())
        yield f"flowconv_{name}{{{pairs}}} {value}"


def _escape(text: str) -> str:
    lines = (printable(line).replace("\\", r"\\") for line in text.split("\n"))
    return r"\n".join(lines).replace('"', r"\"")


def _last_success(path: Path) -> float | None:
    """Return when the runs before last came to an end, by the file that is to be replaced."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    match = re.search(
        r"^flowconv_last_success_timestamp_seconds\{.*\} ([0-9.]+)$", text, re.MULTILINE
    )
    return float(match[1]) if match else None
