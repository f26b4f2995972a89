"""What the project says of itself holds: its version, its targets, its command."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import flowconv

ROOT = Path(__file__).parents[2]
TARGETS = re.compile(r"^\.PHONY: (.+)$", re.MULTILINE)


def test_version_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert flowconv.__version__ == project["version"] == version("flowconv")


def test_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="flowconv")
    assert callable(command.load())


def test_package_says_that_it_is_typed() -> None:
    assert (Path(flowconv.__file__).parent / "py.typed").is_file()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_every_target() -> None:
    targets = TARGETS.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert {"install", "test", "check", "demo", "clean"} <= set(targets)
    command = ["make", "--no-print-directory", "help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == targets
