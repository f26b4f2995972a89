"""read(): flow logs as a stream of Arrow batches, and who takes it."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import flowconv
from flowconv import running, streaming
from flowconv.blocks import reading
from flowconv.errors import (
    CorruptObjectError,
    FlowconvError,
    FormatError,
    ParseError,
    StorageError,
    UnreadableObjectError,
    UsageError,
)
from flowconv.fields import Table
from flowconv.options import ReadOptions
from flowconv.rows.batch import RejectedLine
from flowconv.rows.parsing import BlockParser
from flowconv.rows.schema import table_schema, with_encoded_texts
from flowconv.storage import local
from oracle import reference
from support.lakes import ROW, V2, Key, aws_key, write_objects

LATER = b"srcaddr ecs-task-id instance-tag\n10.0.0.9 task a%20b\n"
TGW = b"version tgw-id start\n6 tgw-1 1768348800\n"
NEW = b"srcaddr new-field action\na x ACCEPT\n"


def logs(folder: Path, *bodies: bytes) -> str:
    write_objects(folder / "logs", {Key(f"{n:03d}.log"): body for n, body in enumerate(bodies)})
    return str(folder / "logs")


def test_schema_and_rows(tmp_path: Path) -> None:
    reader = flowconv.read(logs(tmp_path, V2 + ROW, LATER, gzip.compress(V2 + ROW * 2), TGW))
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.schema == with_encoded_texts(table_schema(Table.VPC))
    table = reader.read_all()
    assert table.schema == reader.schema
    assert table["srcaddr"].to_pylist() == ["10.0.0.1", "10.0.0.9", "10.0.0.1", "10.0.0.1"]
    assert table["start"][0].as_py() == datetime(2026, 1, 14, tzinfo=UTC)
    assert table["ecs_task_id"].to_pylist() == [None, "task", None, None]
    assert table["instance_tag"].to_pylist() == [None, "a b", None, None]


def test_the_rows_are_the_oracles(sample_logs: Path) -> None:
    expected = [
        reference.table_row(row, flow_log_id=path.name.split("_")[3])
        for path in sorted(sample_logs.rglob("*.log.gz"), key=str)
        for row in reference.read_object(path.read_bytes()).rows
    ]
    rows = flowconv.read(str(sample_logs)).read_all().to_pylist()
    assert len(rows) == len(expected) > 0
    assert rows == expected


def test_transit_gateway_logs(tmp_path: Path) -> None:
    table = flowconv.read(logs(tmp_path, V2 + ROW, TGW), ReadOptions(table="tgw")).read_all()
    assert table.schema == with_encoded_texts(table_schema(Table.TGW))
    assert table["tgw_id"].to_pylist() == ["tgw-1"]


def test_polars_and_duckdb_take_it(tmp_path: Path) -> None:
    source = logs(tmp_path, V2 + ROW * 3)
    frame = pl.DataFrame(flowconv.read(source))
    assert frame["bytes"].sum() == 2520
    reader = flowconv.read(source)
    with duckdb.connect() as connection:
        connection.register("flows", reader)
        rows = connection.sql("select count(*), sum(bytes), min(srcaddr) from flows").fetchall()
    assert rows == [(3, 2520, "10.0.0.1")]
    assert pa.table(flowconv.read(source)).num_rows == 3


# --- fields that the tables lack ----------------------------------------------------------------


def test_unknown_fields(tmp_path: Path) -> None:
    table = flowconv.read(logs(tmp_path, NEW, V2 + ROW, LATER)).read_all()
    assert table["unknown_fields"].to_pylist() == ['{"new-field":"x"}', None, None]
    source = logs(tmp_path / "tgw", b"tgw-id action\nt ACCEPT\n")
    table = flowconv.read(source, ReadOptions(table="tgw")).read_all()
    assert table["unknown_fields"].to_pylist() == ['{"action":"ACCEPT"}']


# --- what does not fit --------------------------------------------------------------------------

BAD = V2 + ROW + b"bogus\n" + ROW.replace(b" 443 ", b" x ") + ROW


def test_rejected_lines(tmp_path: Path) -> None:
    lines: list[RejectedLine] = []
    table = flowconv.read(logs(tmp_path, V2 + ROW, BAD), on_rejected=lines.append).read_all()
    assert table.num_rows == 3
    assert [(line.log_object.uri, line.line, line.reason, line.field) for line in lines] == [
        (str(tmp_path / "logs/001.log"), 3, "too-few-values", None),
        (str(tmp_path / "logs/001.log"), 4, "not-a-number", "srcport"),
    ]
    assert lines[0].text == b"bogus"


def test_the_first_rejected_line_raises(tmp_path: Path) -> None:
    with pytest.raises(ParseError, match="it has 1 value, and the format has 14") as raised:
        flowconv.read(logs(tmp_path, BAD)).read_all()
    assert (raised.value.uri, raised.value.line) == (str(tmp_path / "logs/000.log"), 3)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (gzip.compress(V2 + ROW)[:-9], CorruptObjectError, "the gzip data ends early"),
        (ROW, FormatError, "this line is not a header"),
        (b"srcaddr action srcaddr\na b c\n", FormatError, "names column 'srcaddr' twice"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_unreadable_objects(
    tmp_path: Path, body: bytes, kind: type[UnreadableObjectError], message: str, place: int
) -> None:
    bodies = [V2 + ROW, V2 + ROW]
    bodies.insert(place, body)
    with pytest.raises(kind, match=message) as raised:
        flowconv.read(logs(tmp_path, *bodies)).read_all()
    assert raised.value.uri == str(tmp_path / f"logs/{place:03d}.log")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda path: flowconv.read(f"{path}/nowhere"), StorageError, "no such folder"),
        (
            lambda path: flowconv.read(path, ReadOptions(table="flows")),
            UsageError,
            "'flows' is not a table",
        ),
        (lambda path: flowconv.read(path, ReadOptions(format="a=b")), UsageError, "--format"),
        (lambda path: flowconv.read("gs://b"), UsageError, "gs://"),
        (
            lambda path: flowconv.read(path, ReadOptions(source_options={"x": "y"})),
            UsageError,
            "not a storage option",
        ),
    ],
)
def test_what_cannot_be_read_is_said_at_once(
    tmp_path: Path, call: Callable[[str], Any], kind: type[FlowconvError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        call(str(tmp_path))


# --- which objects, and when --------------------------------------------------------------------


def test_days_and_formats(tmp_path: Path) -> None:
    keys = [aws_key(time=f"2026-01-{day}T00:05") for day in (13, 14, 15)]
    write_objects(tmp_path, {key: ROW.replace(b"10.0.0.1", f"{key.day}".encode()) for key in keys})
    days = {"since": date(2026, 1, 14), "until": date(2026, 1, 14)}
    reader = flowconv.read(str(tmp_path), ReadOptions(format="default", **days))  # type: ignore[arg-type]
    assert reader.read_all()["srcaddr"].to_pylist() == ["2026-01-14"]


def test_nothing_to_read(tmp_path: Path) -> None:
    assert flowconv.read(str(tmp_path)).read_all().num_rows == 0
    assert flowconv.read(logs(tmp_path, b"", V2, gzip.compress(b""))).read_all().num_rows == 0


def test_it_reads_no_further_than_asked(tmp_path: Path) -> None:
    """The first batch comes before the last objects are fetched, so memory stays bounded."""
    source = logs(tmp_path, *[gzip.compress(V2 + ROW * 100) for _ in range(30)])
    fetched: list[str] = []
    fetch = local.LocalStorage.fetch
    is_full = threading.Event()

    def counted(self: local.LocalStorage, path: str, *place: Any) -> bytes:
        fetched.append(path)
        return fetch(self, path, *place)

    # One is given, two wait, and one waits for its place.
    puts: list[object] = []
    put = running._Ahead._put

    def noted(self: running._Ahead[Any], item: Any) -> None:
        puts.append(item)
        if len(puts) == 1 + 2 + 1:
            is_full.set()
        put(self, item)

    with (
        mock.patch.object(local.LocalStorage, "fetch", counted),
        # So small that each object is a block, and a batch.
        mock.patch.object(reading, "BLOCK_BYTES", len(V2 + ROW * 101)),
        mock.patch.object(streaming, "_BATCHES_AHEAD", 2),
        mock.patch.object(running._Ahead, "_put", noted),
    ):
        reader = flowconv.read(source)
        assert fetched == []
        assert reader.read_next_batch().num_rows == 100
        assert is_full.wait(60)
        # The last one's block ends where the next begins.
        assert len(fetched) == 1 + 2 + 1 + 1
        assert sum(batch.num_rows for batch in reader) == 29 * 100
        assert len(fetched) == 30


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "raise MemoryError('of the program')"])
def test_a_program_that_leaves_a_stream_ends(tmp_path: Path, end: str) -> None:
    source = logs(tmp_path, *[V2 + ROW * 100 for _ in range(30)])
    program = f"""if True:
        import flowconv
        from flowconv.blocks import reading
        reading.BLOCK_BYTES = 20_000
        reader = flowconv.read({source!r})
        print(reader.read_next_batch().num_rows)
        {end}
    """
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True)
    assert done.stdout == b"200\n"
    assert done.returncode == ("MemoryError" in end)
    assert done.stderr.count(b"Traceback") == ("MemoryError" in end)


def test_a_stream_may_be_left(tmp_path: Path) -> None:
    source = logs(tmp_path, *[V2 + ROW * 100 for _ in range(30)])
    with mock.patch.object(reading, "BLOCK_BYTES", 20_000), flowconv.read(source) as reader:
        reader.read_next_batch()


@pytest.mark.parametrize(
    "error",
    [
        *(MemoryError(), OverflowError(), RecursionError(), ValueError()),
        *(pa.ArrowException(), OSError("a decoder's has no number")),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("decoder", [(reading, "recognise"), (BlockParser, "parse")])
def test_whatever_a_decoder_raises(
    tmp_path: Path, decoder: tuple[Any, str], error: Exception
) -> None:
    source = logs(tmp_path, V2 + ROW)
    with (
        mock.patch.object(*decoder, side_effect=error),
        pytest.raises(CorruptObjectError, match=f"cannot be read .{type(error).__name__} in "),
    ):
        flowconv.read(source).read_all()
