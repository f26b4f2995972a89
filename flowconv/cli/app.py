"""The command line: options in, one library call, report or error out."""

import gc
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from flowconv.answers.options import QueryOptions
from flowconv.answers.questions import QUESTIONS, parse_prices, question_sql
from flowconv.cli import tables
from flowconv.cli.answers import Output, check_output, print_answer
from flowconv.cli.arguments import (
    FormatOption,
    FormatsOption,
    JsonOption,
    LakeArgument,
    LakeOptions,
    SourceOptions,
    UnknownFieldsOption,
    choice,
    examples,
    listed,
    takes_options,
)
from flowconv.cli.failures import (
    FAILED,
    INCOMPLETE,
    Commands,
    StoppedAndReported,
    explained,
)
from flowconv.cli.log import LOG_FORMATS, Log, TextLog, open_log
from flowconv.cli.streams import open_closed_streams
from flowconv.errors import FlowconvError, StorageError, UsageError, redact
from flowconv.options import ConvertOptions, Dialect, VerifyOptions
from flowconv.samples.options import GenerateOptions
from flowconv.values import parse_storage_options

if TYPE_CHECKING:
    from flowconv.conversion.report import ConvertReport


app = typer.Typer(
    name="flowconv",
    cls=Commands,
    help="Convert AWS VPC Flow Logs to partitioned Parquet.",
    epilog="Begin with: flowconv generate logs && flowconv convert logs lake",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # `*` and `[` in help are themselves
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


@app.command(
    epilog=examples(
        "flowconv convert logs lake",
        "flowconv convert s3://my-logs/AWSLogs/ s3://my-lake/flows --since 2d",
        "flowconv convert exported lake --format default --account 123456789012",
        "flowconv convert cloudwatch:/aws/vpc/flowlogs lake --format default",
    )
)
@takes_options(ConvertOptions)
def convert(
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
        if dry_run:
            complete = _plan(source, dest, options, log, json_=json_)
        else:
            complete = _convert(source, dest, options, metrics_file, log, json_=json_)
    if not complete:
        raise typer.Exit(INCOMPLETE)


def _plan(source: str, dest: str, options: ConvertOptions, log: Log, *, json_: bool) -> bool:
    """Print what a run would do, and return whether all could be read."""
    with explained(log, as_json=json_):
        from flowconv.conversion.dry_run import plan

        planned = plan(source, dest, options)
        tables.print_json(planned.to_dict()) if json_ else tables.print_plan(planned)
    return planned.complete


def _convert(
    source: str,
    dest: str,
    options: ConvertOptions,
    metrics_file: Path | None,
    log: Log,
    *,
    json_: bool,
) -> bool:
    """Run the conversion with progress and metrics, print its report; return whether all was read.

    Raises:
        typer.Exit: It did not come to its end, or its metrics could not be written.
    """
    when_stopped = ": tasks under way are abandoned."
    if options.grace > 0:
        when_stopped = (
            f": tasks under way have {options.grace:g} s to finish; a second signal abandons them."
        )
    with explained(log, as_json=json_, when_stopped=when_stopped):
        from flowconv.cli.metrics import check_metrics_file, write_metrics
        from flowconv.conversion.converting import convert as convert_
        from flowconv.lake.status import status as read_status
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
                report = convert_(
                    source, dest, options, on_progress=on_progress, on_begin=begun.append
                )
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
                found = None
                if not failed:
                    with suppress(FlowconvError):  # There may be no lake yet.
                        found = read_status(dest, runs=0, options=options.dest_options)
                try:
                    write_metrics(
                        metrics_file, job, begun[0] if begun else None, found, failed=failed
                    )
                except StorageError as error:
                    # Must not hide what the run did, or why it failed.
                    log.error(str(error))
                    metrics_failed = True
        show(report)
    if metrics_failed:
        raise typer.Exit(FAILED)
    return report.complete


@app.command(
    epilog=examples(
        "flowconv inspect logs/AWSLogs/…/….log.gz",
        "flowconv inspect --format default export/000000.gz",
    )
)
def inspect(
    objects: Annotated[
        list[str],
        typer.Argument(
            metavar="OBJECTS",
            help="Objects of flow logs: files or s3:// URLs.",
            show_default=False,
        ),
    ],
    format: FormatOption = None,
    formats: FormatsOption = None,
    allow_unknown_fields: UnknownFieldsOption = [],  # noqa: B006
    rows: Annotated[
        int, typer.Option("--rows", "-n", min=0, metavar="N", help="Number of records to show.")
    ] = 5,
    source_option: SourceOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show an object's fields, first records and bad lines.

    Exit code 3: an object could not be read, or some of its lines do not fit.
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


@app.command(
    epilog=examples(
        "flowconv schema",
        "flowconv schema --json",
    )
)
def schema(json_: JsonOption = False) -> None:
    """Show the fields of flow logs: column, type, version and meaning."""
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


@app.command(
    epilog=examples(
        "flowconv generate logs",
        "flowconv generate big --versions 5 --objects 12 --records 250000",
        "flowconv generate exported --shape cloudwatch-export --versions 2",
    )
)
@takes_options(GenerateOptions)
def generate(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where to write.", show_default=False)
    ],
    make_options: Callable[[], GenerateOptions],
    json_: JsonOption = False,
) -> None:
    """Write sample flow logs, to try flowconv without an AWS account.

    They lie in AWS's key layouts; the same seed and options give the same bytes. Shapes without
    a header are converted with --format; the report says which.
    """
    log = TextLog()
    with explained(log, as_json=json_, when_stopped=": objects begun are finished first."):
        from flowconv.samples.generating import generate as generate_

        report = generate_(directory, make_options())
        if json_:
            tables.print_json(asdict(report))
        else:
            tables.print_generated(directory, report)


@app.command(
    epilog=examples(
        "flowconv status lake",
        "flowconv status s3://my-lake/flows --json | jq '.runs[0].state'",
    )
)
def status(
    lake: LakeArgument,
    runs: Annotated[
        int, typer.Option("--runs", "-n", min=0, metavar="N", help="Number of runs to show.")
    ] = 10,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show a lake's runs, partitions, quarantine and lock.

    Only LAKE's ledger is read, so large lakes take no longer. flowconv verify checks the files
    against it.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.lake.status import status as status_

        found = status_(lake, runs=runs, options=parse_storage_options(dest_option))
        tables.print_json(found.to_dict()) if json_ else tables.print_status(found)


@app.command(
    epilog=examples(
        "flowconv verify lake --source logs",
        "flowconv verify s3://my-lake/flows --quick",
        "flowconv verify lake --source logs --repair; flowconv convert logs lake",
    )
)
@takes_options(VerifyOptions)
def verify(
    lake: LakeArgument,
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            help="What was converted to LAKE: compare its objects too, and count lines again.",
        ),
    ] = None,
    make_options: Callable[[], VerifyOptions],
    json_: JsonOption = False,
) -> None:
    """Check that a lake has all its files and rows, and no other.

    Every file is read, and its checksum compared. --source also finds objects that were not
    converted or have changed since, and lines of objects that are not in LAKE. Nothing is changed
    without --repair.

    Exit codes: 0 no problem, 1 failed, 2 wrong usage, 3 problems were found, or tasks forgotten
    that are to be converted again.
    """
    log = TextLog()
    with explained(log, as_json=json_, when_stopped=": running checks are abandoned."):
        from flowconv.verification.verifying import verify as verify_

        with log.progress() as on_progress:
            report = verify_(lake, source, make_options(), on_progress=on_progress)
        tables.print_json(report.to_dict()) if json_ else tables.print_verification(report)
    if not report.complete:
        raise typer.Exit(INCOMPLETE)


@app.command(
    epilog=examples(
        "flowconv gaps lake",
        "flowconv gaps s3://my-lake/flows --since 7d --json",
        "flowconv gaps lake --ack",
    )
)
def gaps(
    lake: LakeArgument,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DAY", help="First day to look at, as in 2026-01-14 or 7d."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="Last day to look at, included.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read the ledger only, not the records.")
    ] = False,
    ack: Annotated[
        bool,
        typer.Option("--ack", help="Acknowledge what is missing now: it is no failure any more."),
    ] = False,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Find what is missing in a lake, from its ledger and records alone.

    Delivery windows without an object, flow logs that fell silent, days with far fewer rows than
    their neighbours. Also shown: how late objects were converted, records that AWS lost (SKIPDATA),
    interfaces without records. Records are read of the chosen days, or of the last week.

    Exit code 3: something is missing that was not acknowledged.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.upkeep.completeness import gaps as gaps_

        options = parse_storage_options(dest_option)
        report = gaps_(
            lake, since=since, until=until, quick=quick, acknowledge=ack, options=options
        )
        tables.print_json(report.to_dict()) if json_ else tables.print_gaps(report)
    if not report.complete:
        raise typer.Exit(INCOMPLETE)


@app.command(
    epilog=examples(
        "flowconv expire lake --before 2026-01-01 --dry-run",
        "flowconv expire s3://my-lake/flows --before 400d",
        "flowconv expire s3://my-lake/flows --gone",
    )
)
def expire(
    lake: LakeArgument,
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="DATE",
            help="First day to keep, in UTC: YYYY-MM-DD, or 400d for 400 days ago.",
        ),
    ] = None,
    gone: Annotated[
        bool,
        typer.Option("--gone", help="Settle that files are gone, as after a lifecycle rule."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and stop.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while another run writes to LAKE.")
    ] = False,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Remove old days from a lake, for ever.

    Their objects are not converted again, and flowconv verify does not miss them. Records of these
    days that come later are counted, and not written.

    --gone does the same for days that were deleted in another way, such as by a lifecycle rule of
    the bucket: flowconv scan, status and verify say so.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.upkeep.expiring import expire as expire_

        options = parse_storage_options(dest_option)
        report = expire_(lake, before, gone=gone, dry_run=dry_run, wait=wait, options=options)
        tables.print_json(report.to_dict()) if json_ else tables.print_expired(report)


@app.command(
    epilog=examples(
        "flowconv quarantine lake",
        "flowconv quarantine lake --lines 0 --json | jq .reasons",
        "flowconv quarantine lake --object s3://my-logs/AWSLogs/…/….log.gz",
    )
)
def quarantine(
    lake: LakeArgument,
    object_: Annotated[
        str | None,
        typer.Option("--object", metavar="URI", help="Only the lines of this object."),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="Number of lines to show.")
    ] = 10,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show the lines that could not be converted, and why.

    The lines are shown as they are in the logs, with your customers' addresses. Once flowconv can
    read them, flowconv convert --retry-rejected converts their objects again.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.lake.quarantine import read_quarantine

        options = parse_storage_options(dest_option)
        report = read_quarantine(lake, object=object_, lines=lines, options=options)
        tables.print_json(report.to_dict()) if json_ else tables.print_quarantine(report)


@app.command(
    epilog=listed("Questions", {name: question.help for name, question in QUESTIONS.items()})
    + examples(
        "flowconv query lake 'SELECT action, sum(bytes) FROM vpc GROUP BY action'",
        "flowconv query lake --question rejected-ports --since 7d",
        "flowconv query lake --question address --value 10.0.0.1 --output csv",
        "flowconv query lake --question nat-gateways --show-sql",
    )
)
@takes_options(QueryOptions)
def query(
    lake: LakeArgument,
    *,
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL",
            help="A SELECT from vpc or tgw, in the SQL that polars knows.",
            show_default=False,
        ),
    ] = None,
    make_options: Callable[[], QueryOptions],
    show_sql: Annotated[
        bool, typer.Option("--show-sql", help="Print a question's SQL, and stop.")
    ] = False,
    output: Annotated[
        str,
        choice(
            get_args(Output),
            "--output",
            help="A table of the first rows; or all rows, as CSV, JSON lines, Parquet or a stream "
            "of Arrow IPC.",
        ),
    ] = "table",
) -> None:
    """Ask a lake, in SQL or by the name of a question.

    Only committed files are read, and of these what the days, accounts, regions and the SQL need.
    """
    with explained(TextLog(), as_json=False):
        check_output(output)
        options = make_options()
        if (sql is None) == (options.question is None):
            raise UsageError("give either SQL or --question.")
        if options.question is not None:
            prices = parse_prices(options.prices)
            sql = question_sql(
                options.question, value=options.value, limit=options.limit, prices=prices
            )
        elif options.value is not None or options.prices or show_sql:
            raise UsageError("--value, --price and --show-sql belong to --question.")
        if show_sql:
            sys.stdout.write(f"{sql}")
            return
        from flowconv.answers.querying import query as query_

        answer = query_(
            lake,
            f"{sql}",
            since=options.since,
            until=options.until,
            accounts=options.accounts or None,
            regions=options.regions or None,
            options=options.dest_options,
        )
        print_answer(answer, lake, output)


@app.command(
    epilog=examples(
        "flowconv report lake --output report.html",
        "flowconv report s3://my-lake/flows --since 30d --output report.html",
        "flowconv report lake --json | jq '.sections.traffic'",
    )
)
def report(
    lake: LakeArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the page to FILE.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DAY", help="First day: YYYY-MM-DD, or 30d."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="Last day, included.")
    ] = None,
    price: Annotated[
        list[str],
        typer.Option(
            "--price",
            metavar="NAME=USD",
            help="US dollars for each GiB, as for flowconv query. Can be repeated.",
        ),
    ] = [],  # noqa: B006
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Write a page that shows what a lake holds: one HTML file, which loads nothing.

    It has traffic over time, top talkers, what is rejected, AWS services, paths and their cost,
    completeness and the lake's health. --json prints the numbers.
    """
    with explained(TextLog(), as_json=json_):
        if output is None and not json_:
            raise UsageError("give --output FILE, --json or both.")
        from flowconv.answers.page import render
        from flowconv.answers.reporting import read_report

        found = read_report(
            lake,
            since=since,
            until=until,
            prices=parse_prices(price),
            options=parse_storage_options(dest_option),
        )
        if output is not None:
            try:
                output.write_text(render(found), encoding="utf-8")
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "it is not a valid path"
                raise StorageError(
                    f"the page cannot be written ({reason}). Choose another --output.",
                    uri=str(output),
                ) from None
        if json_:
            tables.print_json(found.to_dict())


@app.command(
    epilog=examples(
        "flowconv ddl lake --dialect duckdb > lake.sql && duckdb -init lake.sql",
        "flowconv ddl s3://my-lake/flows --dialect athena",
    )
)
def ddl(
    lake: LakeArgument,
    dialect: Annotated[
        str, choice(get_args(Dialect), "--dialect", help="The engine.", show_default=False)
    ],
    location: Annotated[
        str | None,
        typer.Option(
            "--location",
            metavar="URL",
            help="Where the engine finds the lake, if it is not at LAKE.",
        ),
    ] = None,
    dest_option: LakeOptions = [],  # noqa: B006
) -> None:
    """Print statements by which other engines know a lake's tables.

    They make vpc_flows and tgw_flows, with the columns that the lake has now and partitions as
    text. Athena computes the partitions; Spark and Trino are told of new ones by the last
    statement. For polars it is a script.
    """
    with explained(TextLog(), as_json=False):
        from flowconv.answers.ddl import ddl as ddl_

        options = parse_storage_options(dest_option)
        sys.stdout.write(ddl_(lake, cast("Dialect", dialect), location=location, options=options))


def run() -> None:
    """Run the command line in a process of its own."""
    # What is there now stays: nothing need look at it again.
    gc.freeze()
    gc.enable()
    sys.meta_path.insert(0, _WithoutPandas())
    open_closed_streams()
    # What other libraries log is for developers; flowconv says itself what they mean.
    logging.getLogger().addHandler(logging.NullHandler())
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
