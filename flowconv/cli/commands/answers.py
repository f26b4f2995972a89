"""query, report and ddl: a lake is asked."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from flowconv.answers.options import QueryOptions
from flowconv.answers.questions import QUESTIONS, parse_prices, question_sql
from flowconv.cli.arguments import (
    JsonOption,
    LakeArgument,
    LakeOptions,
    choice,
    listed,
    shows_examples,
    takes_options,
)
from flowconv.cli.failures import explained
from flowconv.cli.log import TextLog
from flowconv.cli.streams import print_json
from flowconv.cli.tables.answers import Output, check_output, print_answer
from flowconv.errors import UsageError
from flowconv.options import Dialect
from flowconv.values import parse_storage_options, take_accounts


@shows_examples(
    "flowconv query lake 'SELECT action, sum(bytes) FROM vpc GROUP BY action'",
    "flowconv query lake --question rejected-ports --since 7d",
    "flowconv query lake --question address --value 10.0.0.1 --output csv",
    "flowconv query lake --question nat-gateways --show-sql",
    above=listed("Questions", {name: question.help for name, question in QUESTIONS.items()}),
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
                options.question,
                value=options.value,
                limit=options.limit,
                prices=prices,
                names=options.names,
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
            accounts=take_accounts(options.accounts or None, "--account"),
            regions=options.regions or None,
            names=options.names,
            options=options.dest_options,
        )
        print_answer(answer, lake, output)


@shows_examples(
    "flowconv report lake --output report.html",
    "flowconv report s3://my-lake/flows --since 30d --output report.html",
    "flowconv report lake --json | jq '.sections.traffic'",
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
        from flowconv.answers.report_pages import report as report_

        found = report_(
            lake,
            output,
            since=since,
            until=until,
            prices=parse_prices(price),
            options=parse_storage_options(dest_option),
        )
        if json_:
            print_json(found.to_dict())


@shows_examples(
    "flowconv ddl lake --dialect duckdb > lake.sql && duckdb -init lake.sql",
    "flowconv ddl s3://my-lake/flows --dialect athena",
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
        statements = ddl_(lake, cast("Dialect", dialect), location=location, options=options)
        sys.stdout.write(statements)
        if not statements:
            typer.echo("The lake has no files yet.", err=True)
