"""What the project says of itself holds: its version, its targets, its command."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from itertools import chain
from pathlib import Path

import pytest

import flowconv

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = re.compile(r"^\.PHONY: (.+)$", re.MULTILINE)
REQUIREMENT = re.compile(r"(?P<name>[\w-]+)>=[\d.]+(?:; .+)?")


def imported_packages() -> Iterator[str]:
    """The packages that flowconv imports, and those that it looks for with find_spec()."""
    for path in Path(flowconv.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=aliases):
                    modules = [alias.name for alias in aliases]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case ast.Call(func=ast.Name("find_spec"), args=[ast.Constant(str(module))]):
                    modules = [module]
                case _:
                    continue
            yield from (module.partition(".")[0] for module in modules)


def test_version_is_that_of_the_package() -> None:
    assert flowconv.__version__ == version("flowconv")


def test_dependencies_are_what_is_imported() -> None:
    extras = PROJECT["optional-dependencies"]
    of_users = [extra for name, extra in extras.items() if name not in ("test", "bench", "dev")]
    declared = [
        REQUIREMENT.fullmatch(requirement)
        for requirement in chain(PROJECT["dependencies"], *of_users)
    ]
    names = [found["name"] for found in declared if found]
    assert len(names) == len(declared), "each dependency has a lower bound, and no other"
    third_party = set(imported_packages()) - sys.stdlib_module_names - {"flowconv"}
    # All of them import under their own names.
    assert sorted(names) == sorted(third_party)


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
