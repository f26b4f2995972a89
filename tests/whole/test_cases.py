"""Inputs on which flowconv was once wrong or silent: tests/cases/<case>/ has `in/` and `case.json`.

`case.json`: what the command line is given and what must come of it.

    situation    a sentence for people
    arguments    of convert, behind SOURCE and DEST; {case} is the case's folder
    exit         its exit code
    rows         the rows, in any order: of each the columns that matter, text or numbers
                 (timestamps in ISO format); the partition's values too. Or their number
    unreadable   path below in/ -> pattern that is found in the reason
    rejected     path, line, reason and field of each rejected line
    report       keys of the JSON report and their values, where they matter
"""

import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flowconv import scan
from support.commands import invoke
from support.lakes import read_quarantine

CASES = sorted(path.parent for path in (Path(__file__).parents[1] / "cases").glob("*/case.json"))


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case(folder: Path, tmp_path: Path) -> None:
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    source, lake = folder / "in", tmp_path / "lake"
    arguments = [part.replace("{case}", str(folder)) for part in case.get("arguments", [])]
    result = invoke(["convert", str(source), str(lake), "--json", *arguments])
    assert (result.exit_code, result.exception and type(result.exception)) in (
        (case["exit"], None),
        (case["exit"], SystemExit),
    ), result.output
    report = json.loads(result.stdout)
    assert report["unreadable"].keys() == {
        str(source / path) for path in case.get("unreadable", {})
    }
    for path, pattern in case.get("unreadable", {}).items():
        reason = report["unreadable"][str(source / path)]
        assert re.search(pattern, reason), reason
    rows = read_rows(lake)
    if isinstance(case["rows"], int):
        assert len(rows) == case["rows"]
    else:
        columns = {name for row in case["rows"] for name in row}
        assert as_texts(rows, columns) == as_texts(case["rows"], columns)
    rejected = [
        [str(Path(uri).relative_to(source)), line, reason, field]
        for uri, line, reason, field, _ in read_quarantine(lake)
    ]
    assert sorted(rejected, key=str) == sorted(case.get("rejected", []), key=str)
    wanted = case.get("report", {})
    assert {name: report[name] for name in wanted} == wanted


def read_rows(lake: Path) -> list[dict[str, Any]]:
    """All rows of both tables, with their partitions."""
    if not (lake / "_flowconv").exists():
        return []
    frames = [scan(str(lake), table=table).collect() for table in ("vpc", "tgw")]
    return [row for frame in frames for row in pl.DataFrame(frame).rows(named=True)]


def as_texts(rows: list[dict[str, Any]], columns: set[str]) -> list[str]:
    """Rows without the columns that do not matter."""
    return sorted(
        json.dumps({name: plain(row.get(name)) for name in sorted(columns)}) for row in rows
    )


def plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
