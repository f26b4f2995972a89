"""The command line: options in, one library call, report or error out."""

import gc
import logging
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from flowconv.cli.failures import Commands
from flowconv.cli.imported_commands import ImportedCommands
from flowconv.cli.streams import open_closed_streams


class FlowconvCommands(Commands):
    """The commands of flowconv, each imported when it is asked for."""

    commands: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.commands = ImportedCommands()


app = typer.Typer(
    name="flowconv",
    cls=FlowconvCommands,
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


def run() -> None:
    """Run the command line in a process of its own."""
    # What is there now stays: nothing need look at it again.
    gc.freeze()
    gc.enable()
    # Looked for after so many objects, not 700: of `register`, 0.07 s in place of 0.17 s.
    gc.set_threshold(10_000)
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
