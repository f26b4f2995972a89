"""convert: objects of flow logs become a lake."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from flowconv.cli.arguments import JsonOption, choice, shows_examples, takes_options
from flowconv.cli.engines import EngineOption, SchedulerOption, chosen_engine
from flowconv.cli.failures import FAILED, INCOMPLETE, StoppedAndReported, explained
from flowconv.cli.log import LOG_FORMATS, Log, open_log
from flowconv.cli.streams import print_json
from flowconv.errors import FlowconvError, StorageError, UsageError, redact
from flowconv.options import CompactOptions, ConvertOptions

if TYPE_CHECKING:
    from flowconv.conversion.report import ConvertReport


@shows_examples(
    "flowconv convert logs lake",
    "flowconv convert s3://my-logs/AWSLogs/ s3://my-lake/flows --since 2d",
    "flowconv convert exported lake --format default --account 123456789012",
    "flowconv convert cloudwatch:/aws/vpc/flowlogs lake --format default",
    "flowconv convert s3://my-logs s3://my-lake/flows --engine dask",
    "flowconv convert logs s3://my-security-lake/ext/flows --schema ocsf",
)
@takes_options(ConvertOptions)
def convert(  # noqa: PLR0913 - an option each
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, an object, an s3:// URL of a bucket, prefix or object, or "
            "cloudwatch:LOG-GROUP.",
            show_default=False,
        ),
    ],
    dest: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="The lake: a folder or an s3:// URL.", show_default=False
        ),
    ],
    make_options: Callable[[], ConvertOptions],
    log_format: Annotated[
        str,
        choice(
            LOG_FORMATS,
            "--log-format",
            help="What to write to stderr: progress for people, or one JSON event a line.",
        ),
    ] = "text",
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the run's figures to FILE in the OpenMetrics text format, for "
            "node_exporter's textfile collector.",
            show_default=False,
        ),
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Afterwards merge the small files of DEST's partitions, as flowconv compact does; "
            "for a nightly run.",
        ),
    ] = False,
    engine: EngineOption = "threads",
    scheduler: SchedulerOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be read and written, and stop.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Convert flow logs to a lake of Parquet files.

    Every object is read by its header line: any fields, in any order. Records go to
    DEST/vpc/aws_account_id=…/aws_region=…/date=…/ by their own start time in UTC. Lines that do
    not fit are kept in DEST/_flowconv/quarantine/ and do not stop the run. In sizes, 1 MB is
    1,000,000 bytes and 1 MiB is 1,048,576.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but some lines or objects could not be
    read, or no flow log was found, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
    """
    with open_log(log_format) as log:
        with explained(log, as_json=json_):
            options = make_options()
            if compact and options.schema == "ocsf":
                raise UsageError(
                    "--compact does not go with --schema ocsf: compacted files are of the flat "
                    "schema. Leave it out."
                )
        if dry_run:
            complete = _plan(source, dest, options, log, json_=json_)
        else:
            conversion = _Conversion(
                source=source, dest=dest, options=options, engine=engine, scheduler=scheduler
            )
            complete = _convert(conversion, metrics_file, log, compact=compact, json_=json_)
    if not complete:
        raise typer.Exit(INCOMPLETE)


def _plan(source: str, dest: str, options: ConvertOptions, log: Log, *, json_: bool) -> bool:
    """Print what a run would do, and return whether all could be read."""
    with explained(log, as_json=json_):
        from flowconv.cli.tables.conversion import print_plan
        from flowconv.conversion.dry_run import plan

        planned = plan(source, dest, options)
        print_json(planned.to_dict()) if json_ else print_plan(planned)
    return planned.complete


class _Conversion(NamedTuple):
    """What is converted, how, and by what."""

    source: str
    dest: str
    options: ConvertOptions
    engine: str
    scheduler: str | None


def _convert(
    conversion: _Conversion,
    metrics_file: Path | None,
    log: Log,
    *,
    compact: bool,
    json_: bool,
) -> bool:
    """Run the conversion with progress and metrics, print its report; return whether all was read.

    Raises:
        typer.Exit: It did not come to its end, or its metrics could not be written.
    """
    options = conversion.options
    with explained(log, as_json=json_, when_stopped=_when_stopped(options)):
        from flowconv.cli.tables.conversion import print_report
        from flowconv.conversion.converting import convert as convert_

        if metrics_file:
            from flowconv.cli.metrics import check_metrics_file

            check_metrics_file(metrics_file)
        begun: list[ConvertReport] = []
        failed = True
        metrics_failed = False
        try:
            with (
                chosen_engine(
                    conversion.engine, conversion.scheduler, options.tasks_at_once
                ) as engine,
                log.progress() as on_progress,
            ):
                report = convert_(
                    conversion.source,
                    conversion.dest,
                    options,
                    engine=engine,
                    on_progress=on_progress,
                    on_begin=begun.append,
                )
            failed = False
        except KeyboardInterrupt:
            if not begun:
                raise
            begun[0].cancelled = True
            print_json(begun[0].to_dict()) if json_ else print_report(begun[0])
            raise StoppedAndReported from None
        finally:
            if metrics_file:
                try:
                    _write_metrics(
                        metrics_file, conversion, begun[0] if begun else None, failed=failed
                    )
                except StorageError as error:
                    # Must not hide what the run did, or why it failed.
                    log.error(str(error))
                    metrics_failed = True
        _show_and_compact(report, conversion, log, compact=compact, json_=json_)
    if metrics_failed:
        raise typer.Exit(FAILED)
    return report.complete


def _when_stopped(options: ConvertOptions) -> str:
    """Say what becomes of the tasks after a first signal."""
    if options.grace > 0:
        return (
            f": tasks under way have {options.grace:g} s to finish; a second signal abandons them."
        )
    return ": tasks under way are abandoned."


def _write_metrics(
    path: Path, conversion: _Conversion, report: "ConvertReport | None", *, failed: bool
) -> None:
    """Write a run's figures and the lake's, or raise StorageError."""
    from flowconv.cli.metrics import write_metrics
    from flowconv.lake.status import status
    from flowconv.storage.names import from_system, to_text

    names = {"source": conversion.source, "lake": conversion.dest}
    job = {name: redact(to_text(from_system(url))) for name, url in names.items()}
    lake = None
    if not failed:
        with suppress(FlowconvError):  # There may be no lake yet.
            lake = status(conversion.dest, runs=0, options=conversion.options.dest_options)
    write_metrics(path, job, report, lake, failed=failed)


def _show_and_compact(
    report: "ConvertReport",
    conversion: _Conversion,
    log: Log,
    *,
    compact: bool,
    json_: bool,
) -> None:
    """Print a run's report; compact the lake if that is wanted, and print what was compacted."""
    from flowconv.cli.tables.conversion import print_report

    if not json_:
        print_report(report)
    described = report.to_dict()
    # Without an object there may be no lake yet.
    if compact and not report.empty:
        from flowconv.cli.tables.upkeep import print_compacted
        from flowconv.upkeep.compacting import compact as compact_

        options = conversion.options
        how = CompactOptions(
            target_file_size=options.target_file_size,
            compression=options.compression,
            bloom_filters=options.bloom_filters,
            workers=options.tasks_at_once,
            wait=options.wait,
            dest_options=options.dest_options,
        )
        with (
            chosen_engine(conversion.engine, conversion.scheduler, how.workers) as engine,
            log.progress() as on_progress,
        ):
            compacted = compact_(conversion.dest, how, engine=engine, on_progress=on_progress)
        described["compacted"] = compacted.to_dict()
        if not json_:
            print_compacted(compacted)
    if json_:
        print_json(described)
