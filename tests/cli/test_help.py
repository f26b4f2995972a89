"""Help as people see it, and what the shell completes."""

import re
from dataclasses import fields
from typing import Any, get_args, get_origin

import pytest
import typer

from flowconv import ConvertOptions
from flowconv.cli.app import app
from flowconv.options import Compression
from flowconv.samples.options import GenerateOptions
from support.commands import invoke

COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = COMMAND.commands


def help_of(*command: str, columns: int = 80) -> str:
    result = invoke([*command, "--help"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_and_has_no_markup(command: str) -> None:
    shown = help_of(*command.split())
    assert all(len(line) <= 80 for line in shown.splitlines())
    for markup in ("[bold]", "[/", "\\[", "<bool>", "`", "\b"):
        assert markup not in shown
    assert not re.search(r"\*\*\w", shown)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_stand_one_a_line(command: str) -> None:
    lines = help_of(command).partition("Examples:\n")[2].splitlines()
    assert lines
    assert all(line.startswith(f"    flowconv {command}") for line in lines)


def test_patterns_are_shown_as_they_are_written() -> None:
    shown = " ".join(help_of("convert").split())
    assert "'*.gz' at any depth" in shown
    assert "'AWSLogs/*/vpcflowlogs/**' from SOURCE on" in shown


@pytest.mark.parametrize(
    ("command", "options"), [("convert", ConvertOptions), ("generate", GenerateOptions)]
)
def test_every_field_is_an_option(command: str, options: Any) -> None:
    by_name = {param.name: param for param in COMMANDS[command].params}
    for field in fields(options):
        if field.init:
            param = by_name[field.name]
            assert param.help == field.metadata["help"]
            assert param.metavar or param.is_flag
            assert max(param.opts, key=len).startswith(f"--{field.name.replace('_', '-')[:-1]}")


@pytest.mark.parametrize("command", ["convert", "generate"])
def test_defaults_are_those_of_the_library(command: str) -> None:
    """An option left out and its default typed mean the same."""
    options: Any = {"convert": ConvertOptions, "generate": GenerateOptions}[command]
    by_name = {param.name: param for param in COMMANDS[command].params}
    typed = {}
    for field in fields(options):
        if field.init and isinstance(default := by_name[field.name].default, str):
            typed[field.name] = default
    assert len(typed) > 1
    assert options(**typed) == options()


def test_choices_are_listed_and_completed() -> None:
    assert "--compression zstd|snappy|gzip|lz4|none" in help_of("convert")
    assert "--log-format text|json" in help_of("convert")
    assert "athena|spark|trino|duckdb|clickhouse|polars" in help_of("ddl")
    assert "--shape header|headerless|cloudwatch-export|" in help_of("generate")
    for options, command in ((ConvertOptions, "convert"), (GenerateOptions, "generate")):
        choices = [f.name for f in fields(options) if get_origin(f.type) is not None]
        assert choices, command
    complete = {"_FLOWCONV_COMPLETE": "complete_bash", "COMP_CWORD": "3"}
    for typed, expected in {
        "--compression ": list(get_args(Compression)),
        "--compression s": ["snappy"],
        "--time-type e": ["epoch"],
        "--on-bad-line ": ["quarantine", "fail"],
        "--log-format j": ["json"],
    }.items():
        result = invoke(
            [],
            prog_name="flowconv",
            env=complete | {"COMP_WORDS": f"flowconv convert {typed}"},
        )
        assert result.stdout.split() == expected, typed
