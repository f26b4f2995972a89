"""The commands by their names, each imported when it is asked for.

A short run is mostly its start, and the other commands' options would be half of flowconv's part
of it.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer

# As help lists them: the module of each in `flowconv.cli.commands`.
_MODULES = {
    "convert": "conversion",
    "inspect": "logs",
    "schema": "logs",
    "generate": "logs",
    "status": "lake",
    "verify": "verification",
    "gaps": "upkeep",
    "compact": "upkeep",
    "expire": "upkeep",
    "quarantine": "lake",
    "query": "answers",
    "report": "answers",
    "names": "naming",
    "ddl": "answers",
    "register": "catalogs",
}


class ImportedCommands(Mapping[str, Any]):
    """The commands as click knows them; only their names are known before."""

    def __init__(self) -> None:
        self._imported: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return a command, or raise KeyError."""
        module = _MODULES[name]
        if name not in self._imported:
            self._imported[name] = _imported(module, name)
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        """Give the names as help lists them."""
        return iter(_MODULES)

    def __len__(self) -> int:
        """Return the number of commands."""
        return len(_MODULES)


def _imported(module: str, name: str) -> Any:
    from flowconv.cli.arguments import end_of_help

    try:
        command = getattr(import_module(f"flowconv.cli.commands.{module}"), name)
    except KeyError as error:
        # A KeyError from here would mean that there is no such command.
        raise ImportError(f"flowconv.cli.commands.{module}: {error!r}") from error
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, epilog=end_of_help(command))(command)
    return typer.main.get_command(alone)
