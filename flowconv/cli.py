"""The command line: options in, one library call, report or error out."""

import io
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowconv import console
from flowconv.errors import FlowconvError, UsageError
from flowconv.generating import GenerateOptions
from flowconv.generating import generate as generate_
from flowconv.options import (
    ConvertOptions,
    parse_day,
    parse_size,
    parse_storage_options,
)

if TYPE_CHECKING:
    from flowconv.report import ConvertReport

DONE, FAILED, USAGE, INCOMPLETE, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143

app = typer.Typer(
    name="flowconv",
    help="Convert AWS VPC Flow Logs to partitioned Parquet.",
    epilog="Begin with: flowconv generate logs && flowconv convert logs lake",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
)

_HELP = {f.name: f.metadata["help"] for f in fields(ConvertOptions)}
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
FormatOption = Annotated[str | None, _option("format", "--format", metavar="FIELDS")]
FormatsOption = Annotated[str | None, _option("formats", "--formats", metavar="FILE")]
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
    version: Annotated[  # noqa: ARG001  # its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Convert AWS VPC Flow Logs to partitioned Parquet."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a log of another encoding is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


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
    account: Annotated[str | None, _option("account", "--account")] = None,
    region: Annotated[str | None, _option("region", "--region")] = None,
    with_source: Annotated[bool, _option("with_source", "--with-source")] = False,
    since: Annotated[str | None, _option("since", "--since", metavar="DAY")] = None,
    until: Annotated[str | None, _option("until", "--until", metavar="DAY")] = None,
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
    read, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.

    **Examples**

    flowconv convert ./logs ./lake

    flowconv convert s3://my-logs/AWSLogs/ s3://my-lake/flows --since 2d --until 1d

    flowconv convert s3://my-logs/AWSLogs/123456789012/vpcflowlogs/eu-west-1/2026/01/ ./lake

    flowconv convert ./exported ./lake --format default --account 123456789012

    flowconv convert cloudwatch:/aws/vpc/flowlogs s3://my-lake/flows --format default --since 3d
    """
    with ExitStack() as log, _errors(json_):
        if log_format not in ("text", "json"):
            raise UsageError(f"--log-format: {log_format!r} is neither text nor json.")
        if log_format == "json":
            log.enter_context(console.json_log())
        options = ConvertOptions(
            format=format,
            formats=formats,
            account=account,
            region=region,
            partition_by=tuple(name.strip() for name in partition_by.split(",") if name.strip()),
            time_type=time_type,  # type: ignore[arg-type]
            with_source=with_source,
            since=parse_day(since) if since else None,
            until=parse_day(until) if until else None,
            compression=compression,  # type: ignore[arg-type]
            target_file_size=parse_size(target_file_size),
            workers=workers,
            memory_limit=parse_size(memory_limit),
            max_object_size=parse_size(max_object_size),
            reprocess=reprocess,
            retry_rejected=retry_rejected,
            grace=grace,
            wait=wait,
            on_bad_line=on_bad_line,  # type: ignore[arg-type]
            source_options=parse_storage_options(source_option),
            dest_options=parse_storage_options(dest_option),
        )
        if dry_run:
            from flowconv.pipeline import plan

            planned = plan(source, dest, options)
            _print_json(planned.to_dict()) if json_ else console.print_plan(planned)
            return
        report = _convert(source, dest, options, metrics_file)
        _print_json(report.to_dict()) if json_ else console.print_report(report)
    if not report.complete:
        raise typer.Exit(INCOMPLETE)


def _convert(
    source: str, dest: str, options: ConvertOptions, metrics_file: Path | None
) -> "ConvertReport":
    """Run the conversion as a job: with progress and metrics."""
    from flowconv.monitoring import write_metrics
    from flowconv.pipeline import convert as convert_

    begun: list[ConvertReport] = []
    succeeded = False
    try:
        with console.progress() as on_progress:
            report = convert_(source, dest, options, on_progress=on_progress, on_begin=begun.append)
        succeeded = True
    finally:
        if metrics_file:
            job = {"source": source, "lake": dest}
            report_ = begun[0] if begun else None
            write_metrics(metrics_file, job, report_, failed=not succeeded)
    return report


@app.command()
def inspect(
    objects: Annotated[
        list[str],
        typer.Argument(help="Objects of flow logs: files or s3:// URLs.", show_default=False),
    ],
    format: FormatOption = None,
    formats: FormatsOption = None,
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
    with _errors(json_):
        from flowconv.inspecting import inspect_object

        options = parse_storage_options(source_option)
        inspections = [
            inspect_object(uri, format=format, formats=formats, rows=rows, options=options)
            for uri in objects
        ]
        if json_:
            _print_json([inspection.to_dict() for inspection in inspections])
        else:
            for inspection in inspections:
                console.print_inspection(inspection)
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
    from flowconv.normalising import column_type

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
        _print_json(described)
    else:
        console.print_schema(described)


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
    with _errors(json_):
        try:
            chosen = tuple(int(version) for version in versions.split(","))
        except ValueError:
            raise UsageError(f"--versions: {versions!r} is no list such as 2,5.") from None
        options = GenerateOptions(
            shape=shape,  # type: ignore[arg-type]
            seed=seed,
            versions=chosen,
            accounts=accounts,
            regions=regions,
            days=days,
            start_day=parse_day(start_day),
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
            _print_json(asdict(report))
        else:
            console.print_generated(directory, report)


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
    with _errors(json_):
        from flowconv.overview import status as status_

        found = status_(lake, runs=runs, options=parse_storage_options(dest_option))
        _print_json(found.to_dict()) if json_ else console.print_status(found)


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
    with _errors(json_):
        from flowconv.verifying import verify as verify_

        with console.progress() as on_progress:
            report = verify_(
                lake,
                source=source,
                since=parse_day(since) if since else None,
                until=parse_day(until) if until else None,
                quick=quick,
                repair=repair,
                wait=wait,
                workers=workers,
                options=parse_storage_options(dest_option),
                source_options=parse_storage_options(source_option),
                on_progress=on_progress,
            )
        _print_json(report.to_dict()) if json_ else console.print_verification(report)
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
    with _errors(json_):
        from flowconv.quarantine import read_quarantine

        options = parse_storage_options(dest_option)
        report = read_quarantine(lake, object=object_, lines=lines, options=options)
        _print_json(report.to_dict()) if json_ else console.print_quarantine(report)


@contextmanager
def _errors(json_: bool) -> Iterator[None]:
    """Turn errors and signals into a message on stderr (and JSON on stdout) and an exit code."""
    interrupted = INTERRUPTED

    def terminate(*_: object) -> None:
        nonlocal interrupted
        interrupted = TERMINATED
        raise KeyboardInterrupt

    # A job is ended with SIGTERM; that is to be as clean as Ctrl-C.
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except FlowconvError as error:
        console.print_error(str(error))
        if json_:
            place = {"uri": error.uri, "line": error.line, "field": error.field}
            _print_json({"error": error.reason, **place})
        raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILED) from None
    except KeyboardInterrupt:
        console.print_error("stopped. What was finished is kept; nothing half-written is left.")
        raise typer.Exit(interrupted) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def run() -> None:
    """Run the command line in a process of its own."""
    sys.meta_path.insert(0, _WithoutPandas())
    app()


class _WithoutPandas:
    """Hides pandas, which pyarrow imports where it is installed to convert a first Python value.

    That takes 0.2 s and 40 MB, and nothing here needs it.
    """

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")
