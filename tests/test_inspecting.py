"""What inspect says of one object; counts and rows held against the oracle."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowconv.blocks import reading
from flowconv.blocks.counts import LineCounts
from flowconv.errors import StorageError, UsageError
from flowconv.inspecting import Inspection, inspect_object
from oracle import reference
from support.lakes import ROW, V2

MIXED = V2 + b"\n# c\n" + ROW * 4 + b"bogus\n" + b"new-field tgw-id\nx y\n" + V2 + ROW * 3 + b"x\n"


def inspect(folder: Path, body: bytes, format: str | None = None, rows: int = 5) -> Inspection:
    path = folder / "a.log"
    path.write_bytes(body)
    inspection = inspect_object(str(path), format=format, rows=rows)
    assert inspection.uri == str(path)
    assert inspection.size_bytes == len(body)
    assert json.loads(json.dumps(inspection.to_dict()))["uri"] == str(path)
    return inspection


@pytest.mark.parametrize("block_bytes", [300, 1000, 8 << 20])
@pytest.mark.parametrize("body", [MIXED, gzip.compress(MIXED)], ids=["plain", "gzip"])
def test_counts_and_records_are_the_oracles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, body: bytes
) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", block_bytes)
    expected = reference.read_object(body)
    found = inspect(tmp_path, body, rows=100)
    assert found.lines == LineCounts(
        header=expected.header,
        blank=expected.blank,
        comment=expected.comment,
        rows=len(expected.rows),
        rejected=len(expected.rejected),
    )
    assert found.records == [reference.table_row(row) for row in expected.rows]
    assert [(r.line, r.reason, r.field, r.text) for r in found.rejected] == [
        (r.line, r.reason, r.field, r.text) for r in expected.rejected
    ]
    assert [format_.columns for format_ in found.formats] == list(dict.fromkeys(expected.formats))
    assert not found.complete
    assert found.unreadable is None


def test_a_good_object(tmp_path: Path) -> None:
    found = inspect(tmp_path, gzip.compress(V2 + ROW * 9), rows=2)
    assert found.complete
    assert len(found.records) == 2
    assert found.records[0]["start"] == datetime(2026, 1, 14, tzinfo=UTC)
    assert found.to_dict()["records"][0]["start"] == "2026-01-14T00:00:00+00:00"
    assert inspect(tmp_path, V2 + ROW, rows=0).records == []


def test_no_header(tmp_path: Path) -> None:
    found = inspect(tmp_path, b"\n" + ROW)
    assert found.unreadable is not None
    assert found.unreadable.startswith("line 2: this line is not a header")
    assert not found.complete
    assert inspect(tmp_path, ROW, format="default").complete


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (gzip.compress(V2 + ROW)[:-9], "the gzip data ends early"),
        (V2 + ROW + b"action action\n", "line 3: the header names column 'action' twice"),
        (b"PAR1....", "the Parquet data is damaged"),
    ],
)
def test_unreadable(tmp_path: Path, body: bytes, message: str) -> None:
    found = inspect(tmp_path, body)
    assert str(found.unreadable).startswith(message)
    assert not found.complete


@pytest.mark.parametrize("body", [b"", b"\n", gzip.compress(b"", mtime=0), V2])
def test_nothing_in_it(tmp_path: Path, body: bytes) -> None:
    found = inspect(tmp_path, body)
    assert found.complete
    assert found.records == []
    assert found.lines.rows == 0


def test_very_many_bad_lines(tmp_path: Path) -> None:
    found = inspect(tmp_path, V2 + b"bogus\n" * 5000)
    assert found.lines.rejected == 5000
    assert len(found.rejected) == 1000


def test_the_fields_of_an_object_without_rows(tmp_path: Path) -> None:
    (format_,) = inspect(tmp_path, b"srcaddr new-field\n").formats
    assert format_.columns == ("srcaddr", "new-field")


def test_what_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "one.log").write_bytes(V2)
    with pytest.raises(UsageError, match="not a single object"):
        inspect_object(str(tmp_path))
    with pytest.raises(StorageError, match="no such folder or file"):
        inspect_object(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="--format"):
        inspect_object(str(tmp_path / "one.log"), format="a=b")
