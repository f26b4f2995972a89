"""inspect, schema and generate: what flow logs hold, and samples of them."""

from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer

from flowconv.cli.arguments import JsonOption, option_of, shows_examples, takes_options
from flowconv.cli.failures import INCOMPLETE, explained
from flowconv.cli.log import TextLog
from flowconv.cli.streams import print_json
from flowconv.options import ConvertOptions
from flowconv.samples.options import GenerateOptions
from flowconv.values import parse_storage_options

_OF_CONVERT = {field.name: option_of(field) for field in fields(ConvertOptions) if field.init}


@shows_examples(
    "flowconv inspect logs/AWSLogs/…/….log.gz",
    "flowconv inspect --format default export/000000.gz",
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
    format: Annotated[str | None, _OF_CONVERT["format"]] = None,
    formats: Annotated[str | None, _OF_CONVERT["formats"]] = None,
    allow_unknown_fields: Annotated[list[str], _OF_CONVERT["allow_unknown_fields"]] = [],  # noqa: B006
    rows: Annotated[
        int, typer.Option("--rows", "-n", min=0, metavar="N", help="Number of records to show.")
    ] = 5,
    source_option: Annotated[list[str], _OF_CONVERT["source_options"]] = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show an object's fields, first records and bad lines.

    Exit code 3: an object could not be read, or some of its lines do not fit.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.blocks.declared_formats import declared_formats
        from flowconv.cli.tables.logs import print_inspection
        from flowconv.inspecting import inspect_object

        options = parse_storage_options(source_option)
        declared = declared_formats(format, formats, allow_unknown_fields=allow_unknown_fields)
        inspections = [
            inspect_object(uri, formats=declared, rows=rows, options=options) for uri in objects
        ]
        if json_:
            print_json([inspection.to_dict() for inspection in inspections])
        else:
            for inspection in inspections:
                print_inspection(inspection)
    if any(not inspection.complete for inspection in inspections):
        raise typer.Exit(INCOMPLETE)


@shows_examples(
    "flowconv schema",
    "flowconv schema --json",
)
def schema(json_: JsonOption = False) -> None:
    """Show the fields of flow logs: column, type, version and meaning."""
    from flowconv.cli.tables.logs import print_schema
    from flowconv.fields import FIELDS
    from flowconv.rows.table_columns import column_type

    described = [
        {
            "table": str(table),
            "field": field.name,
            "column": field.column,
            "type": column_type(field, "timestamp"),
            "version": field.version,
            "meaning": field.meaning,
        }
        for table, table_fields in FIELDS.items()
        for field in table_fields
    ]
    if json_:
        print_json(described)
    else:
        print_schema(described)


@shows_examples(
    "flowconv generate logs",
    "flowconv generate big --versions 5 --objects 12 --records 250000",
    "flowconv generate exported --shape cloudwatch-export --versions 2",
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
        from flowconv.cli.tables.logs import print_generated
        from flowconv.samples.generating import generate as generate_

        report = generate_(directory, make_options())
        if json_:
            print_json(asdict(report))
        else:
            print_generated(directory, report)
