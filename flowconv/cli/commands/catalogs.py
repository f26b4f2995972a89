"""register: a lake's tables are published in catalogs."""

from typing import Annotated, cast, get_args

import typer

from flowconv.cli.arguments import JsonOption, LakeArgument, LakeOptions, choice, shows_examples
from flowconv.cli.failures import explained
from flowconv.cli.log import TextLog
from flowconv.cli.streams import print_json
from flowconv.cli.tables.catalogs import print_registered
from flowconv.options import CatalogKind
from flowconv.values import parse_storage_options


@shows_examples(
    "flowconv register lake --to delta",
    "flowconv register s3://my-lake/flows --to iceberg --catalog mine",
    "flowconv register s3://my-lake/flows --to glue --database network",
)
def register(
    lake: LakeArgument,
    to: Annotated[
        str,
        choice(get_args(CatalogKind), "--to", help="The kind of catalog.", show_default=False),
    ],
    catalog: Annotated[
        str | None,
        typer.Option(
            "--catalog",
            metavar="NAME",
            help="For iceberg, your catalog, by its name in ~/.pyiceberg.yaml. Without it, the "
            "catalog is a file in LAKE.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="NAME",
            help="For iceberg and glue, the tables' database; else flowconv.",
        ),
    ] = None,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Make a lake's tables known to catalogs of other engines, without copying data.

    Each table gets the files that count, in one commit: new ones are added, those that were
    replaced or have expired are taken out. If nothing is new, nothing is written. Call it after
    each flowconv convert, compact and expire.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.catalogs.registering import register as register_

        options = parse_storage_options(dest_option)
        kind = cast("CatalogKind", to)
        report = register_(lake, kind, catalog=catalog, database=database, options=options)
        print_json(report.to_dict()) if json_ else print_registered(report)
