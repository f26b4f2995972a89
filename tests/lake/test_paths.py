"""Names below a lake: which files a run wrote."""

import pytest

from flowconv.lake.paths import is_written_here

TASK = "0123456789abcdef0123"


@pytest.mark.parametrize(
    ("path", "written_here"),
    [
        (f"vpc/date=2026-01-14/{TASK}-7-0000.parquet", True),
        (f"tgw/{TASK}-12-0001.parquet", True),
        (f"vpc/name=a\nb/{TASK}-7-0000.parquet", True),
        (f"_flowconv/quarantine/{TASK}-7.jsonl", True),
        (f"vpc/{TASK}-7-0000.parquet.1", False),
        (f"vpc/{TASK.upper()}-7-0000.parquet", False),
        (f"vpc/{TASK[1:]}-7-0000.parquet", False),
        (f"vpc/{TASK}-0000.parquet", False),
        (f"logs/{TASK}-7-0000.parquet", False),
        (f"_flowconv/quarantine/{TASK}.jsonl", False),
        (f"_flowconv/quarantine/below/{TASK}-7.jsonl", False),
        (f"_flowconv/staging/{TASK}-7-0000.parquet", False),
        ("_flowconv/ledger/000000000001", False),
        ("", False),
    ],
)
def test_is_written_here(path: str, written_here: bool) -> None:
    assert is_written_here(path) == written_here
