"""names: a lake learns what interfaces and networks are called."""

from typing import Annotated

import typer

from flowconv.cli.arguments import JsonOption, LakeArgument, LakeOptions, shows_examples
from flowconv.cli.failures import explained
from flowconv.cli.log import TextLog
from flowconv.cli.streams import print_json
from flowconv.values import parse_storage_options


@shows_examples(
    "flowconv names lake --from interfaces.json subnets.json instances.json",
    "flowconv names lake --from ip-ranges.json",
    "flowconv names lake --from interfaces.json --time 2026-01-14T10:00",
)
def names(
    lake: LakeArgument,
    from_: Annotated[
        list[str],
        typer.Option(
            "--from", metavar="FILE", help="A file, as below. Can be repeated.", show_default=False
        ),
    ] = [],  # noqa: B006
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="The answer of aws ec2 describe-network-interfaces, describe-subnets or "
            "describe-instances, as JSON, or AWS's ip-ranges.json.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="TIME",
            help="When FILE was made, if not just now, as 2026-01-14T10:00.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while a run writes to the lake.")
    ] = False,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Keep the names of interfaces and networks in a lake, with the time in which each was so.

    Give the files of all accounts and regions whole and together, and again when something has
    changed. Of an account and region that is described, what is not described any more has ended.
    Records are not changed: flowconv query --names finds the names at each record's time.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.answers.naming import names as names_
        from flowconv.cli.tables.naming import print_names

        options = parse_storage_options(dest_option)
        report = names_(lake, [*from_, *files], time=time, wait=wait, options=options)
        print_json(report.to_dict()) if json_ else print_names(report)
