"""Flow logs that others published, with what they read from them; skipped where they are not.

They lie where FLOWCONV_CORPUS says: a folder for each case, with the object (`input.log`, `.json`
or `.parquet`), `case.json` and mostly `expected.json`.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flowconv import ConvertOptions, convert
from oracle import reference
from support.in_memory import assert_as_reference
from support.lakes import Key, data_files, read_quarantine, write_objects

if "FLOWCONV_CORPUS" not in os.environ:
    pytest.skip("FLOWCONV_CORPUS says not where a corpus is", allow_module_level=True)

CORPUS = Path(os.environ["FLOWCONV_CORPUS"])
CASES = sorted(path.parent for path in CORPUS.glob("*/case.json"))
assert CASES, f"there is no corpus in {CORPUS}"

Rejected = list[tuple[int, str, str | None]]

# Case -> its rows and rejected lines, where it is not just the records that the case counts.
DIFFERENT: dict[str, tuple[int, Rejected]] = {
    # The documentation leaves something out with "...".
    "awsdocs-tgw-vpc-ellipsis": (2, [(3, "too-few-values", None)]),
    # Protocol 8080 is beyond the 8 bits that IP has for it.
    "flr-parquet-stringly": (2, [(3, "out-of-range", "protocol")]),
    "flr-v2-records-bogus": (5, [(6, "too-few-values", None)]),
    "flr-v5-file-bogus": (2, [(4, "too-few-values", None)]),
    # Its origin refuses all six lines. The last two have no start or no end, which are nulls; ports
    # of two have more than 16 bits.
    "go-vpcflow-bad-values": (
        2,
        [
            (1, "not-a-number", "srcport"),
            (2, "not-a-number", "dstport"),
            (3, "out-of-range", "srcport"),
            (4, "out-of-range", "srcport"),
        ],
    ),
}

# Of these no record fits. Values are not missing silently: which they are is not guessed.
UNREADABLE = {
    "awslabs-mcp-tgw-truncated": "it has 31 values, and the format has 36",
    "otel-too-few-fields": "values, and the format has 14",
    "otel-too-many-fields": "values, and the format has 14",
}


def load(folder: Path) -> tuple[dict[str, Any], bytes, str | None]:
    """The case, its object, and the format for objects without a header."""
    case: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    (path,) = folder.glob("input.*")
    return case, path.read_bytes(), None if case["has_header"] else case["format"]


def as_published(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the log's own names and without nulls; times in seconds.

    What the row's object says is left out.
    """
    fields = {name.replace("-", "_"): name for name in (*reference.VPC, *reference.TGW)}
    return {
        fields[column]: int(value.timestamp()) if isinstance(value, datetime) else value
        for column, value in row.items()
        if value is not None and column != "flow_log_id"
    }


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case(folder: Path, tmp_path: Path) -> None:
    case, body, format_ = load(folder)
    assert_as_reference([body], format_)
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    write_objects(logs, {Key(case.get("s3_key") or "copies/a.log"): body})
    report = convert(str(logs), str(lake), ConvertOptions(format=format_))
    if folder.name in UNREADABLE:
        (reason,) = report.unreadable.values()
        assert UNREADABLE[folder.name] in reason
        return
    assert report.unreadable == {}
    frames = [pl.read_parquet(path, hive_partitioning=False) for path in data_files(lake)]
    rows = [as_published(row) for frame in frames for row in frame.rows(named=True)]
    rejected = [(line, reason, field) for _, line, reason, field, _ in read_quarantine(lake)]
    assert (len(rows), rejected) == DIFFERENT.get(folder.name, (case["records"], []))
    published = folder / "expected.json"
    if published.exists():
        records = json.loads(published.read_text(encoding="utf-8"))
        wanted = [{k: v for k, v in record.items() if v is not None} for record in records]
        if folder.name == "flr-parquet-stringly":
            del wanted[2]
        assert sorted(map(as_text, rows)) == sorted(map(as_text, wanted))


def as_text(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)
