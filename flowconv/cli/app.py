"""The command line: options in, one library call, report or error out."""

import gc
import logging
import signal
import sys
from contextlib import suppress
from typing import Annotated

import typer

from flowconv.cli.arguments import end_of_help
from flowconv.cli.commands.answers import ddl, query, report
from flowconv.cli.commands.catalogs import register
from flowconv.cli.commands.conversion import convert
from flowconv.cli.commands.lake import quarantine, status
from flowconv.cli.commands.logs import generate, inspect, schema
from flowconv.cli.commands.naming import names
from flowconv.cli.commands.upkeep import compact, expire, gaps
from flowconv.cli.commands.verification import verify
from flowconv.cli.failures import Commands
from flowconv.cli.streams import open_closed_streams

# As help lists them.
COMMANDS = (
    convert,
    inspect,
    schema,
    generate,
    status,
    verify,
    gaps,
    compact,
    expire,
    quarantine,
    query,
    report,
    names,
    ddl,
    register,
)

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
for command in COMMANDS:
    app.command(epilog=end_of_help(command))(command)


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
