"""The public interface: its names, where they come from, and the types that users see."""

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, assert_type

import polars as pl
import pyarrow as pa
import pytest

import flowconv
from flowconv import (
    ConvertOptions,
    ConvertReport,
    FlowconvError,
    LakeStatus,
    ReadOptions,
    RejectedLine,
    RunProgress,
    VerifyOptions,
    VerifyReport,
)
from flowconv.lake.layout import Layout
from flowconv.lake.ledger_records import Run
from flowconv.lake.partitions import PartitionStatus
from flowconv.lake.status import LockStatus, RunStatus
from flowconv.verification.problems import Problem
from support.lakes import ROW, V2, Key, write_objects

PACKAGE = Path(flowconv.__file__).parent
# Module-level __getattr__ and what it reads are hidden from type checkers.
HOMES: dict[str, str] = vars(flowconv)["_HOMES"]
MODULES = {"expressions"}


def imports_for_type_checkers() -> Iterator[tuple[str, str]]:
    """The names below `if TYPE_CHECKING:` in flowconv/__init__.py, each with its module."""
    module = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    for block in module.body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for imported in block.body:
                if isinstance(imported, ast.ImportFrom):
                    yield from ((alias.name, str(imported.module)) for alias in imported.names)


@pytest.fixture
def source(tmp_path: Path) -> str:
    write_objects(tmp_path / "logs", {Key("a.log"): V2 + ROW + b"2 x\n"})
    return str(tmp_path / "logs")


@pytest.fixture
def lake(source: str, tmp_path: Path) -> str:
    flowconv.convert(source, str(tmp_path / "lake"))
    return str(tmp_path / "lake")


def test_every_name_is_listed_once_and_has_a_module() -> None:
    assert sorted(flowconv.__all__) == sorted([*HOMES, "__version__"])


def test_type_checkers_import_from_the_same_modules() -> None:
    imports = list(imports_for_type_checkers())
    assert len(imports) == len(HOMES)
    assert dict(imports) == HOMES | dict.fromkeys(MODULES, "flowconv")


@pytest.mark.parametrize("name", sorted(HOMES.keys() - MODULES))
def test_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(flowconv, name)
    assert value is getattr(import_module(HOMES[name]), name)
    assert value.__module__ == HOMES[name]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_name_is_a_module(name: str) -> None:
    assert getattr(flowconv, name) is import_module(HOMES[name])


def test_star_import_gives_every_name() -> None:
    names: dict[str, Any] = {}
    exec("from flowconv import *", names)
    assert names.keys() - {"__builtins__"} == set(flowconv.__all__)
    assert set(flowconv.__all__) <= set(dir(flowconv))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'flowconv' has no attribute 'converts'"):
        flowconv.converts  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("name", ["convert", "ddl", "query", "read", "scan", "status", "verify"])
def test_what_a_function_takes_returns_and_raises_is_public(name: str) -> None:
    function = getattr(flowconv, name)
    annotations = " ".join(map(str, inspect.get_annotations(function).values()))
    mentioned = set(re.findall(r"\bflowconv\.[\w.]*\.(\w+)", annotations))
    raises = str(inspect.getdoc(function)).partition("Raises:\n")[2]
    mentioned |= set(re.findall(r"^ +(\w+): ", raises, re.MULTILINE)) - {"TypeError"}
    assert "StorageError" in mentioned
    assert mentioned <= set(flowconv.__all__)


def test_no_module_would_replace_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(flowconv.__path__)}
    assert "lake" in modules
    assert modules & set(flowconv.__all__) == MODULES


IMPORTS = """
import sys
import flowconv
before = set(sys.modules)
flowconv.FlowconvError
print(sorted(before & {"pyarrow", "polars", "numpy", "s3fs", "botocore"}))
print(sorted(name for name in set(sys.modules) - before if name.startswith("flowconv")))
"""


def test_name_is_imported_when_it_is_first_used() -> None:
    command = [sys.executable, "-c", IMPORTS]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["[]", "['flowconv.errors']"]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.parent.name) for path in sorted(PACKAGE.glob("*/**/__init__.py"))],
)
def test_package_holds_its_docstring_only(path: Path) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(module)
    assert len(module.body) == 1


# mypy checks the types in these tests (`make check`), the tests that values have them.


def test_types_of_convert(source: str, tmp_path: Path) -> None:
    progress: list[RunProgress] = []
    began: list[ConvertReport] = []
    options = ConvertOptions(workers=1, since=date(2026, 1, 14), include=("*.log",))
    report = flowconv.convert(
        source,
        str(tmp_path / "lake"),
        options,
        on_progress=progress.append,
        on_begin=began.append,
    )
    assert_type(report, ConvertReport)
    assert_type(report.run_id, str)
    assert_type(report.objects, int)
    assert_type(report.lines.rows, int)
    assert_type(report.rejected, Counter[str])
    assert_type(report.unreadable, dict[str, str])
    assert_type(report.changed, list[str])
    assert_type(report.seconds, float)
    assert_type(report.to_dict(), dict[str, Any])
    assert isinstance(report, ConvertReport)
    assert began == [report]


def test_types_of_read(source: str) -> None:
    rejected: list[RejectedLine] = []
    reader = flowconv.read(source, ReadOptions(include=("*.log",)), on_rejected=rejected.append)
    assert_type(reader, pa.RecordBatchReader)
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.read_all().num_rows == 1
    (line,) = rejected
    assert_type(line.reason, str)
    assert isinstance(line.reason, str)


def test_types_of_scan(lake: str) -> None:
    flows = flowconv.scan(lake)
    assert_type(flows, pl.LazyFrame)
    assert isinstance(flows, pl.LazyFrame)
    # Paths, days as text, and one account or several.
    path, day = Path(lake), "2026-01-14"
    assert_type(
        flowconv.scan(path, since=day, accounts="123456789012", regions=["a"]), pl.LazyFrame
    )


def test_types_of_status(lake: str) -> None:
    status = flowconv.status(lake, runs=1)
    assert_type(status, LakeStatus)
    assert_type(status.layout, Layout)
    assert_type(status.lock, LockStatus)
    assert_type(status.runs, tuple[RunStatus, ...])
    assert_type(status.runs[0].run, Run)
    assert_type(status.partitions, tuple[PartitionStatus, ...])
    assert_type(status.rows, int)
    assert_type(status.to_dict(), dict[str, Any])
    assert isinstance(status, LakeStatus)


def test_types_of_verify(source: str, lake: str) -> None:
    report = flowconv.verify(lake, source=source, options=VerifyOptions(quick=True))
    assert_type(report, VerifyReport)
    assert_type(report.problems, list[Problem])
    assert_type(report.to_dict(), dict[str, Any])
    assert isinstance(report, VerifyReport)


def test_types_of_errors(tmp_path: Path) -> None:
    with pytest.raises(FlowconvError, match="this is not a flowconv lake") as raised:
        flowconv.status(str(tmp_path))
    assert_type(raised.value.uri, str | None)
    assert_type(raised.value.line, int | None)
    assert_type(raised.value.field, str | None)
    assert raised.value.uri == str(tmp_path)
