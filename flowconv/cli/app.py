"""The command line: options in, one library call, report or error out."""

import logging
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowconv.cli import tables
from flowconv.cli.failures import (
    FAILED,
    INCOMPLETE,
    Commands,
    StoppedAndReported,
    describe_bug,
    explained,
)
from flowconv.cli.log import Log, TextLog, open_log
from flowconv.cli.streams import open_closed_streams
from flowconv.errors import StorageError, UsageError, quote, redact
from flowconv.options import ConvertOptions, parse_day, parse_size, parse_storage_options
from flowconv.samples.generating import generate as generate_
from flowconv.samples.options import GenerateOptions

if TYPE_CHECKING:
    from flowconv.conversion.report import ConvertReport


app = typer.Typer(
    name="flowconv",
    cls=Commands,
    help="Convert AWS VPC Flow Logs to partitioned Parquet.",
    epilog="Begin with: flowconv generate logs && flowconv convert logs lake",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
)

_HELP = {f.name: f.metadata["help"] for f in fields(ConvertOptions) if f.init}
_DEFAULTS = ConvertOptions(workers=1)
_SAMPLE_HELP = {f.name: f.metadata["help"] for f in fields(GenerateOptions)}
_SAMPLE = GenerateOptions()


def _option(name: str, *declarations: str, **kwargs: Any) -> Any:
    """An option of `convert`, with the help of the field of ConvertOptions."""
    return typer.Option(*declarations, help=_HELP[name], **kwargs)


def _sample(name: str, **kwargs: Any) -> Any:
    """An option of `generate`, with the help of the field of GenerateOptions."""
    return typer.Option(help=_SAMPLE_HELP[name], **kwargs)


SourceOptions = Annotated[
    list[str], _option("source_options", "--source-option", metavar="KEY=VALUE")
]
IncludeOption = Annotated[list[str], _option("include", "--include", metavar="GLOB")]
ExcludeOption = Annotated[list[str], _option("exclude", "--exclude", metavar="GLOB")]
FormatOption = Annotated[str | None, _option("format", "--format", metavar="FIELDS")]
FormatsOption = Annotated[str | None, _option("formats", "--formats", metavar="FILE")]
UnknownFieldsOption = Annotated[
    list[str], _option("allow_unknown_fields", "--allow-unknown-fields", metavar="NAME")
]
LakeArgument = Annotated[
    str,
    typer.Argument(help="The lake: what was DEST of flowconv convert.", show_default=False),
]
LakeOptions = Annotated[
    list[str],
    typer.Option(
        "--dest-option",
        metavar="KEY=VALUE",
        help="Storage options of LAKE, as for --source-option of flowconv convert.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs on stdout.")]


def _version(wanted: bool) -> None:
    if wanted:
        from flowconv import __version__

        typer.echo(f"flowconv {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Convert AWS VPC Flow Logs to partitioned Parquet."""


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, an object, an s3:// URL of a bucket, prefix or object, or "
            "cloudwatch:LOG-GROUP.",
            show_default=False,
        ),
    ],
    dest: Annotated[
        str, typer.Argument(help="The lake: a folder or an s3:// URL.", show_default=False)
    ],
    format: FormatOption = None,
    formats: FormatsOption = None,
    allow_unknown_fields: UnknownFieldsOption = [],  # noqa: B006
    account: Annotated[str | None, _option("account", "--account")] = None,
    region: Annotated[str | None, _option("region", "--region")] = None,
    with_source: Annotated[bool, _option("with_source", "--with-source")] = False,
    since: Annotated[str | None, _option("since", "--since", metavar="DAY")] = None,
    until: Annotated[str | None, _option("until", "--until", metavar="DAY")] = None,
    include: IncludeOption = [],  # noqa: B006 - typer's way to repeat an option
    exclude: ExcludeOption = [],  # noqa: B006
    allow_empty: Annotated[bool, _option("allow_empty", "--allow-empty")] = False,
    partition_by: Annotated[
        str, _option("partition_by", "--partition-by", metavar="NAME,NAME…")
    ] = ",".join(_DEFAULTS.partition_by),
    time_type: Annotated[
        str, _option("time_type", "--time-type", metavar="timestamp|epoch")
    ] = _DEFAULTS.time_type,
    compression: Annotated[
        str, _option("compression", "--compression", metavar="CODEC")
    ] = _DEFAULTS.compression,
    target_file_size: Annotated[
        str, _option("target_file_size", "--target-file-size", metavar="SIZE")
    ] = "256MB",
    workers: Annotated[int, _option("workers", "--workers", "-w", metavar="N")] = 0,
    memory_limit: Annotated[str, _option("memory_limit", "--memory-limit", metavar="SIZE")] = "0",
    max_object_size: Annotated[
        str, _option("max_object_size", "--max-object-size", metavar="SIZE")
    ] = "16GB",
    reprocess: Annotated[bool, _option("reprocess", "--reprocess")] = False,
    retry_rejected: Annotated[bool, _option("retry_rejected", "--retry-rejected")] = False,
    grace: Annotated[float, _option("grace", "--grace", metavar="SECONDS")] = _DEFAULTS.grace,
    wait: Annotated[bool, _option("wait", "--wait")] = False,
    on_bad_line: Annotated[
        str, _option("on_bad_line", "--on-bad-line", metavar="quarantine|fail")
    ] = _DEFAULTS.on_bad_line,
    quarantine_per_object: Annotated[
        str, _option("quarantine_per_object", "--quarantine-per-object", metavar="SIZE")
    ] = "16MB",
    quarantine_per_run: Annotated[
        str, _option("quarantine_per_run", "--quarantine-per-run", metavar="SIZE")
    ] = "1GB",
    source_option: SourceOptions = [],  # noqa: B006 - typer's way to repeat an option
    dest_option: Annotated[
        list[str], _option("dest_options", "--dest-option", metavar="KEY=VALUE")
    ] = [],  # noqa: B006
    log_format: Annotated[
        str,
        typer.Option(
            metavar="text|json",
            help="What is written to stderr: progress for people, or one JSON event a line.",
        ),
    ] = "text",
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            help="Write the run's figures there in the OpenMetrics text format, for "
            "node_exporter's textfile collector.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be read and written, and stop.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Convert the flow logs below SOURCE to Parquet tables below DEST.

    Every object is read by its header line: any fields, in any order. Records go to
    DEST/vpc/aws_account_id=…/aws_region=…/date=…/ by their own start time in UTC. Lines that do
    not fit are kept in DEST/_flowconv/quarantine/ and do not stop the run.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but some lines or objects could not be
    read, or no flow log was found, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.

    **Examples**

    flowconv convert ./logs ./lake

    flowconv convert s3://my-logs/AWSLogs/ s3://my-lake/flows --since 2d --until 1d

    flowconv convert s3://my-logs/AWSLogs/123456789012/vpcflowlogs/eu-west-1/2026/01/ ./lake

    flowconv convert ./exported ./lake --format default --account 123456789012

    flowconv convert cloudwatch:/aws/vpc/flowlogs s3://my-lake/flows --format default --since 3d
    """
    when_stopped = ": tasks under way are abandoned."
    if grace > 0:
        when_stopped = f": tasks under way have {grace:g} s to finish; once more abandons them."
    with (
        open_log(log_format) as log,
        explained(log, as_json=json_, when_stopped="" if dry_run else when_stopped),
    ):
        options = ConvertOptions(
            format=format,
            formats=formats,
            allow_unknown_fields=tuple(allow_unknown_fields),
            account=account,
            region=region,
            partition_by=tuple(name.strip() for name in partition_by.split(",") if name.strip()),
            time_type=time_type,  # type: ignore[arg-type]
            with_source=with_source,
            since=None if since is None else parse_day(since, "--since"),
            until=None if until is None else parse_day(until, "--until"),
            include=tuple(include),
            exclude=tuple(exclude),
            allow_empty=allow_empty,
            compression=compression,  # type: ignore[arg-type]
            target_file_size=parse_size(target_file_size, "--target-file-size"),
            workers=workers,
            memory_limit=parse_size(memory_limit, "--memory-limit"),
            max_object_size=parse_size(max_object_size, "--max-object-size"),
            reprocess=reprocess,
            retry_rejected=retry_rejected,
            grace=grace,
            wait=wait,
            on_bad_line=on_bad_line,  # type: ignore[arg-type]
            quarantine_per_object=parse_size(quarantine_per_object),
            quarantine_per_run=parse_size(quarantine_per_run),
            source_options=parse_storage_options(source_option),
            dest_options=parse_storage_options(dest_option),
        )
        if dry_run:
            from flowconv.conversion.dry_run import plan

            planned = plan(source, dest, options)
            tables.print_json(planned.to_dict()) if json_ else tables.print_plan(planned)
            complete = planned.complete
        else:
            complete = _convert(source, dest, options, metrics_file, log, json_=json_).complete
    if not complete:
        raise typer.Exit(INCOMPLETE)


def _convert(
    source: str,
    dest: str,
    options: ConvertOptions,
    metrics_file: Path | None,
    log: Log,
    *,
    json_: bool,
) -> "ConvertReport":
    """Run the conversion as a job: with progress and metrics; and print its report."""
    from flowconv.cli.metrics import check_metrics_file, write_metrics
    from flowconv.conversion.converting import convert as convert_
    from flowconv.storage.names import from_system, to_text

    def show(report: "ConvertReport") -> None:
        tables.print_json(report.to_dict()) if json_ else tables.print_report(report)

    if metrics_file:
        check_metrics_file(metrics_file)
    begun: list[ConvertReport] = []
    failed = True
    metrics_failed = False
    try:
        with log.progress() as on_progress:
            report = convert_(source, dest, options, on_progress=on_progress, on_begin=begun.append)
        failed = False
    except KeyboardInterrupt:
        if not begun:
            raise
        begun[0].cancelled = True
        show(begun[0])
        raise StoppedAndReported from None
    finally:
        if metrics_file:
            names = {"source": source, "lake": dest}
            job = {name: redact(to_text(from_system(url))) for name, url in names.items()}
            try:
                write_metrics(metrics_file, job, begun[0] if begun else None, failed=failed)
            except StorageError as error:
                # What the run did, or why it failed, is not to be lost for this.
                log.error(str(error))
                metrics_failed = True
    show(report)
    if metrics_failed:
        raise typer.Exit(FAILED)
    return report


@app.command()
def inspect(
    objects: Annotated[
        list[str],
        typer.Argument(help="Objects of flow logs: files or s3:// URLs.", show_default=False),
    ],
    format: FormatOption = None,
    formats: FormatsOption = None,
    allow_unknown_fields: UnknownFieldsOption = [],  # noqa: B006
    rows: Annotated[
        int, typer.Option("--rows", "-n", min=0, help="So many records are shown.")
    ] = 5,
    source_option: SourceOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show what an object holds: its fields and their versions, its first records, its bad lines.

    Exit code 3 says that an object could not be read, or that lines of it do not fit.

    **Examples**

    flowconv inspect logs/AWSLogs/…/123456789012_vpcflowlogs_eu-west-1_fl-0abc_….log.gz

    flowconv inspect --format default export/000000.gz
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.blocks.declared_formats import declared_formats
        from flowconv.inspecting import inspect_object

        options = parse_storage_options(source_option)
        declared = declared_formats(format, formats, allow_unknown_fields=allow_unknown_fields)
        inspections = [
            inspect_object(uri, formats=declared, rows=rows, options=options) for uri in objects
        ]
        if json_:
            tables.print_json([inspection.to_dict() for inspection in inspections])
        else:
            for inspection in inspections:
                tables.print_inspection(inspection)
    if any(not inspection.complete for inspection in inspections):
        raise typer.Exit(INCOMPLETE)


@app.command()
def schema(json_: JsonOption = False) -> None:
    """Show every field of flow logs, its column and type in the table, its version and meaning.

    **Examples**

    flowconv schema

    flowconv schema --json
    """
    from flowconv.fields import FIELDS
    from flowconv.rows.schema import column_type

    described = [
        {
            "table": str(table),
            "field": field.name,
            "column": field.column,
            "type": str(column_type(field, "timestamp")),
            "version": field.version,
            "meaning": field.meaning,
        }
        for table, table_fields in FIELDS.items()
        for field in table_fields
    ]
    if json_:
        tables.print_json(described)
    else:
        tables.print_schema(described)


@app.command()
def generate(
    directory: Annotated[Path, typer.Argument(help="Where to write.", show_default=False)],
    shape: Annotated[str, _sample("shape", metavar="SHAPE")] = _SAMPLE.shape,
    seed: Annotated[int, _sample("seed")] = 0,
    versions: Annotated[str, _sample("versions", metavar="2,3,4,5")] = "2,3,4,5",
    accounts: Annotated[int, _sample("accounts")] = _SAMPLE.accounts,
    regions: Annotated[int, _sample("regions")] = _SAMPLE.regions,
    days: Annotated[int, _sample("days")] = _SAMPLE.days,
    start_day: Annotated[str, _sample("start_day", metavar="DAY")] = str(_SAMPLE.start_day),
    objects: Annotated[int, _sample("objects")] = _SAMPLE.objects,
    records: Annotated[int, _sample("records")] = _SAMPLE.records,
    custom_orders: Annotated[bool, _sample("custom_orders")] = _SAMPLE.custom_orders,
    ipv6_share: Annotated[float, _sample("ipv6_share")] = _SAMPLE.ipv6_share,
    nodata_share: Annotated[float, _sample("nodata_share")] = _SAMPLE.nodata_share,
    skipdata_share: Annotated[float, _sample("skipdata_share")] = _SAMPLE.skipdata_share,
    bad_lines: Annotated[float, _sample("bad_lines", metavar="SHARE")] = _SAMPLE.bad_lines,
    double_spaces: Annotated[bool, _sample("double_spaces")] = _SAMPLE.double_spaces,
    hive: Annotated[bool, _sample("hive")] = _SAMPLE.hive,
    per_hour: Annotated[bool, _sample("per_hour")] = _SAMPLE.per_hour,
    json_: JsonOption = False,
) -> None:
    """Write sample flow logs in AWS's key layouts, to try flowconv without an AWS account.

    The same seed and options give the same bytes. What has no header is converted with --format,
    and the report says which.

    **Examples**

    flowconv generate logs

    flowconv generate big --versions 5 --objects 12 --records 250000 --accounts 1 --regions 1

    flowconv generate exported --shape cloudwatch-export --versions 2
    """
    log = TextLog()
    with explained(log, as_json=json_, when_stopped=": objects under way are finished first."):
        try:
            chosen = tuple(int(version) for version in versions.split(","))
        except ValueError:
            raise UsageError(f"--versions: {quote(versions)} is no list such as 2,5.") from None
        options = GenerateOptions(
            shape=shape,  # type: ignore[arg-type]
            seed=seed,
            versions=chosen,
            accounts=accounts,
            regions=regions,
            days=days,
            start_day=parse_day(start_day, "--start-day"),
            objects=objects,
            records=records,
            custom_orders=custom_orders,
            ipv6_share=ipv6_share,
            nodata_share=nodata_share,
            skipdata_share=skipdata_share,
            bad_lines=bad_lines,
            double_spaces=double_spaces,
            hive=hive,
            per_hour=per_hour,
        )
        report = generate_(directory, options)
        if json_:
            tables.print_json(asdict(report))
        else:
            tables.print_generated(directory, report)


@app.command()
def status(
    lake: LakeArgument,
    runs: Annotated[int, typer.Option("--runs", "-n", min=0, help="So many runs are shown.")] = 10,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show what a lake holds: its last runs, its partitions, its quarantine, and who writes to it.

    Only flowconv's own notes in LAKE are read, so it takes no longer for large lakes. Whether the
    files are what the notes say, flowconv verify finds out.

    [bold]Examples[/bold]

    flowconv status lake

    flowconv status s3://my-lake/flows --json | jq '.runs[0].state'
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.lake.status import status as status_

        found = status_(lake, runs=runs, options=parse_storage_options(dest_option))
        tables.print_json(found.to_dict()) if json_ else tables.print_status(found)


@app.command()
def verify(
    lake: LakeArgument,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            help="What was converted to LAKE: its objects are compared too, and their lines are "
            "counted again.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="First day of SOURCE to compare.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="DAY", help="Last day of SOURCE to compare, included."),
    ] = None,
    include: IncludeOption = [],  # noqa: B006
    exclude: ExcludeOption = [],  # noqa: B006
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Compare names and sizes alone; read no file and no object."),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Remove files that do not belong to LAKE, and forget damaged ones, so that the "
            "next run converts their objects again; these must still be in SOURCE.",
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="With --repair: wait while a run writes to LAKE."),
    ] = False,
    workers: Annotated[
        int,
        typer.Option("--workers", "-w", min=0, help="So many files at once; 0 takes all cores."),
    ] = 0,
    source_option: SourceOptions = [],  # noqa: B006
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Check that a lake is whole: every file is there, undamaged, with all its rows; and no other.

    Every file is read, and its checksum compared. With --source also: objects that
    were not converted or changed since, and lines that are in the objects but not in LAKE. Nothing
    is changed without --repair.

    Exit codes: 0 all is well, 1 failed, 2 wrong usage, 3 something is not as it should be, or was
    forgotten and is to be converted again.

    [bold]Examples[/bold]

    flowconv verify lake --source logs

    flowconv verify s3://my-lake/flows --quick

    flowconv verify lake --source logs --repair; flowconv convert logs lake
    """
    log = TextLog()
    with explained(log, as_json=json_, when_stopped=": checks under way are broken off."):
        from flowconv.verification.verifying import verify as verify_

        with log.progress() as on_progress:
            report = verify_(
                lake,
                source=source,
                since=None if since is None else parse_day(since, "--since"),
                until=None if until is None else parse_day(until, "--until"),
                include=include,
                exclude=exclude,
                quick=quick,
                repair=repair,
                wait=wait,
                workers=workers,
                options=parse_storage_options(dest_option),
                source_options=parse_storage_options(source_option),
                on_progress=on_progress,
            )
        tables.print_json(report.to_dict()) if json_ else tables.print_verification(report)
    if not report.complete:
        raise typer.Exit(INCOMPLETE)


@app.command()
def quarantine(
    lake: LakeArgument,
    object_: Annotated[
        str | None,
        typer.Option("--object", metavar="URI", help="Only the lines of this object."),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="So many lines are shown.")
    ] = 10,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show the lines that could not be converted: how many of which object, why, and the lines.

    The lines are shown as they are in the logs, with your customers' addresses. Once flowconv can
    read them, convert --retry-rejected converts their objects anew.

    [bold]Examples[/bold]

    flowconv quarantine lake

    flowconv quarantine lake --lines 0 --json | jq .reasons

    flowconv quarantine lake --object s3://my-logs/AWSLogs/…/….log.gz --lines 1000
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.lake.quarantine import read_quarantine

        options = parse_storage_options(dest_option)
        report = read_quarantine(lake, object=object_, lines=lines, options=options)
        tables.print_json(report.to_dict()) if json_ else tables.print_quarantine(report)


def run() -> None:
    """Run the command line in a process of its own."""
    sys.meta_path.insert(0, _WithoutPandas())
    open_closed_streams()
    # What other libraries log is for developers; flowconv says itself what they mean.
    logging.getLogger().addHandler(logging.NullHandler())
    threading.excepthook = lambda failed: TextLog().error(describe_bug(failed.exc_value))
    try:
        app()
    finally:
        with suppress(ValueError):
            # From here on nothing is left to be tidied up.
            signal.signal(signal.SIGINT, signal.SIG_DFL)


class _WithoutPandas:
    """Hides pandas, which pyarrow imports where it is installed to convert a first Python value.

    That takes 0.2 s and 40 MB, and nothing here needs it.
    """

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
