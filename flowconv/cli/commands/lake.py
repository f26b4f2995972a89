"""status and quarantine: what a lake holds, and what it could not take."""

from typing import Annotated

import typer

from flowconv.cli.arguments import JsonOption, LakeArgument, LakeOptions, shows_examples
from flowconv.cli.failures import explained
from flowconv.cli.log import TextLog
from flowconv.cli.streams import print_json
from flowconv.values import parse_storage_options


@shows_examples(
    "flowconv status lake",
    "flowconv status s3://my-lake/flows --json | jq '.runs[0].state'",
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
        from flowconv.cli.tables.lake import print_status
        from flowconv.lake.status import status as status_

        found = status_(lake, runs=runs, options=parse_storage_options(dest_option))
        print_json(found.to_dict()) if json_ else print_status(found)


@shows_examples(
    "flowconv quarantine lake",
    "flowconv quarantine lake --lines 0 --json | jq .reasons",
    "flowconv quarantine lake --object s3://my-logs/AWSLogs/…/….log.gz",
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
        from flowconv.cli.tables.lake import print_quarantine
        from flowconv.lake.quarantine import read_quarantine

        options = parse_storage_options(dest_option)
        report = read_quarantine(lake, object=object_, lines=lines, options=options)
        print_json(report.to_dict()) if json_ else print_quarantine(report)
