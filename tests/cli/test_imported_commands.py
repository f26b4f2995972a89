"""The commands by their names."""

import sys
from unittest import mock

import pytest

from flowconv.cli.imported_commands import ImportedCommands


class Broken:
    """A module that is there, and has nothing."""

    def __getattr__(self, name: str) -> object:
        raise KeyError(name)


def test_a_command_that_cannot_be_imported_is_not_an_unknown_one() -> None:
    commands = ImportedCommands()
    with (
        mock.patch.dict(sys.modules, {"flowconv.cli.commands.lake": Broken()}),
        pytest.raises(ImportError, match=r"commands\.lake: KeyError"),
    ):
        commands.get("status")
    assert commands.get("statsu") is None
    assert commands.get("status") is not None
