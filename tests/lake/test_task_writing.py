"""The files of a task: the same bytes however its rows came, sorted, with what readers skip by."""

import errno
import gc
import io
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv import ConvertOptions, convert
from flowconv.errors import StorageError
from flowconv.fields import Table
from flowconv.lake import writing
from flowconv.lake.buffered_rows import (
    copied,
    with_own_dictionaries,
    without_dictionaries,
)
from flowconv.lake.writing import SORTED_BY, TaskWriter
from flowconv.options import Order
from flowconv.parquet.writing import ParquetWriter
from flowconv.rows.partition_names import PartitionKey
from flowconv.rows.partitioning import ChosenRows, PartitionedRows
from flowconv.rows.schema import table_schema
from flowconv.storage.opening import open_storage
from support.lakes import aws_key, data_files, sorted_rows, write_objects

ROW_GROUP = 100


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP_ROWS", ROW_GROUP)


def flows(rows: int, table: Table = Table.VPC) -> pa.Table:
    """Rows with few and with many texts, nulls, and times that do not ascend."""
    numbers = range(rows)
    columns: dict[str, Any] = {
        "srcaddr": [f"10.0.0.{n * 7 % 90}" for n in numbers],
        "dstaddr": [None if n % 13 == 0 else f"10.1.{n}.1" for n in numbers],
        SORTED_BY[table][0]: [f"id-{n % 3}" if n % 5 else None for n in numbers],
        "start": [1768348800_000000 - n % 17 for n in numbers],
        "bytes": [n * n for n in numbers],
        # Some pieces of the rows have none of these.
        "action": [None if n < rows // 2 else "ACCEPT" for n in numbers],
        "packets": [None if n > rows // 2 else n for n in numbers],
    }
    schema = table_schema(table)
    return pa.table(
        [pa.array(columns.get(field.name, [None] * rows), field.type) for field in schema],
        schema=schema,
    )


def coded(table: pa.Table) -> pa.Table:
    """Texts as dictionaries."""
    columns = [
        column.dictionary_encode() if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def written(
    pieces: Sequence[pa.Table], folder: Path, table: Table = Table.VPC, **options: Any
) -> list[bytes]:
    writer = TaskWriter(open_storage(str(folder), {}), "t", ConvertOptions(**options))
    for piece in pieces:
        rows = PartitionedRows(
            [PartitionKey(table, "date=1")], np.zeros(piece.num_rows, np.int64), piece
        )
        writer.write_all(rows)
    contents = []
    for staged in writer.close():
        staged.sink.publish()
        contents.append((folder / staged.file.path).read_bytes())
    return contents


ROWS = flows(350)
CODED = coded(ROWS)


@given(
    st.lists(st.integers(0, 350), max_size=6),
    st.lists(st.booleans(), min_size=7, max_size=7),
    st.sampled_from(["sorted", "log"]),
    st.booleans(),
)
@settings(max_examples=40)
def test_bytes_depend_on_the_rows_alone(
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    layouts: list[bool],
    order: str,
    bloom_filters: bool,
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    options: dict[str, Any] = {"order": order, "bloom_filters": bloom_filters}
    edges = [0, *sorted(cuts), 350]
    # Some are slices of one dictionary, some have one of their own, some are plain.
    pieces = [
        (CODED if is_coded else ROWS).slice(start, stop - start)
        for start, stop, is_coded in zip(edges, edges[1:], layouts, strict=False)
    ]
    assert written(pieces, folder / "a", **options) == written([ROWS], folder / "b", **options)


@given(
    st.lists(st.integers(0, 350), max_size=6),
    st.lists(st.integers(0, 350), max_size=40),
    st.sampled_from(["sorted", "log"]),
)
@settings(max_examples=40)
def test_rows_of_other_partitions_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], changes: list[int], order: Order
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    codes = np.array([sum(row >= change for change in changes) % 2 for row in range(350)])
    keys = [PartitionKey(Table.VPC, f"date={day}") for day in (1, 2)]
    writer = TaskWriter(open_storage(str(folder), {}), "t", ConvertOptions(order=order))
    for start, stop in pairwise([0, *sorted(cuts), 350]):
        present, numbers = np.unique(codes[start:stop], return_inverse=True)
        piece = CODED.slice(start, stop - start)
        writer.write_all(PartitionedRows([keys[code] for code in present], numbers, piece))
    contents = {}
    for staged in writer.close():
        staged.sink.publish()
        contents[staged.file.path.split("/")[1]] = (folder / staged.file.path).read_bytes()
    alone = {}
    for day in (1, 2):
        if rows := np.flatnonzero(codes == day - 1).tolist():
            (alone[f"date={day}"],) = written([ROWS.take(rows)], folder / f"{day}", order=order)
    assert contents == alone


@pytest.mark.parametrize("table", Table)
@pytest.mark.parametrize("order", ["sorted", "log"])
def test_order_of_rows(tmp_path: Path, table: Table, order: str) -> None:
    rows = flows(250, table)
    (content,) = written([rows], tmp_path, table, order=order)
    file = pq.ParquetFile(io.BytesIO(content))
    columns = tuple(rows.column_names)
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [100, 100, 50]
    keys = [columns.index(name) for name in SORTED_BY[table]] if order == "sorted" else []
    assert [[column.column_index for column in group.sorting_columns] for group in groups] == [
        keys
    ] * 3
    for number in range(file.num_row_groups):
        wanted = [tuple(row.values()) for row in rows.slice(ROW_GROUP * number, 100).to_pylist()]
        if order == "sorted":
            wanted = sorted_rows(table, columns, wanted)
        assert [tuple(row.values()) for row in file.read_row_group(number).to_pylist()] == wanted


def test_a_file_has_the_types_of_its_table(tmp_path: Path) -> None:
    for name, rows in (("plain", ROWS), ("coded", CODED)):
        (content,) = written([rows], tmp_path / name)
        assert pq.read_schema(io.BytesIO(content)) == ROWS.schema


@pytest.mark.parametrize("days", [1, 2], ids=["behind a row group", "past midnight"])
def test_few_rows_do_not_keep_a_block(tmp_path: Path, days: int) -> None:
    writer = TaskWriter(open_storage(str(tmp_path), {}), "t", ConvertOptions())
    before = pa.total_allocated_bytes()
    codes = np.zeros(ROW_GROUP + 2, np.int64)
    codes[ROW_GROUP:] = days - 1
    block = flows(ROW_GROUP + 2)
    texts = pa.array([f"{number:05}" * 10_000 for number in range(ROW_GROUP + 2)])
    block = coded(block.set_column(block.column_names.index("vpc_id"), "vpc_id", texts))
    del texts
    keys = [PartitionKey(Table.VPC, f"date={day}") for day in range(days)]
    writer.write_all(PartitionedRows(keys, codes, block))
    gc.collect()
    assert pa.total_allocated_bytes() - before > 5_000_000
    del block
    gc.collect()
    assert pa.total_allocated_bytes() - before < 200_000
    writer.discard()


class IdleCores:
    """Cores that are idle now and then; a call begins when it is wanted, or a little later."""

    def __init__(self, idle: Sequence[bool]) -> None:
        self.threads = ThreadPoolExecutor(1)
        self._idle = itertools.cycle(idle)
        self.begun = 0

    def begin(self, function: Callable[[], None]) -> "Future[None] | None":
        if not next(self._idle):
            return None
        self.begun += 1
        return self.threads.submit(function)


@pytest.mark.parametrize(("open_files", "files"), [(1, 6), (16, 2)])
@pytest.mark.parametrize("idle", [(True,), (True, False)])
def test_another_core_encodes_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    idle: tuple[bool, ...],
    open_files: int,
    files: int,
) -> None:
    monkeypatch.setattr(writing, "OPEN_FILES", open_files)
    cores = IdleCores(idle)
    contents: list[dict[str, bytes]] = []
    for name, beside in (("alone", writing.no_idle_core), ("beside", cores.begin)):
        folder = tmp_path / name
        storage = open_storage(str(folder), {})
        writer = TaskWriter(storage, "t", ConvertOptions(), beside=beside)
        keys = [PartitionKey(Table.VPC, f"date={day}") for day in range(2)]
        for piece in (CODED.slice(0, 220), ROWS.slice(220), CODED):
            codes = np.arange(piece.num_rows, dtype=np.int64) % 2
            writer.write_all(PartitionedRows(keys, codes, piece))
        contents.append({})
        for staged in writer.close():
            staged.sink.publish()
            contents[-1][staged.file.path] = (folder / staged.file.path).read_bytes()
            assert staged.file.size_bytes == len(contents[-1][staged.file.path])
    assert contents[0] == contents[1]
    assert len(contents[0]) == files
    assert cores.begun == 8 // len(idle)


def test_another_core_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = IdleCores((True,))
    writer = TaskWriter(open_storage(str(tmp_path), {}), "t", ConvertOptions(), beside=cores.begin)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space is left")

    monkeypatch.setattr(ParquetWriter, "write_row_group", full)
    writer.write(PartitionKey(Table.VPC, "date=1"), ROWS.slice(0, ROW_GROUP))
    with pytest.raises(StorageError, match="full"):
        writer.close()
    writer.discard()
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_another_core_writes_is_discarded(tmp_path: Path) -> None:
    cores = IdleCores((True,))
    go_on = threading.Event()
    cores.threads.submit(go_on.wait)
    writer = TaskWriter(open_storage(str(tmp_path), {}), "t", ConvertOptions(), beside=cores.begin)
    writer.write(PartitionKey(Table.VPC, "date=1"), ROWS.slice(0, ROW_GROUP))
    threading.Timer(0.05, go_on.set).start()
    writer.discard()
    assert go_on.is_set()
    assert not list(tmp_path.rglob("*.parquet"))


def test_buffered_memory_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition whose rows take most is written when there is too much."""
    monkeypatch.setattr(writing, "BUFFERED_BYTES", 1 << 20)
    writer = TaskWriter(open_storage(str(tmp_path), {}), "t", ConvertOptions())
    for number, size in enumerate((1_000, 300_000, 800_000)):
        block = flows(1).set_column(14, "vpc_id", pa.array(["x" * size]))
        for piece in (coded(block), block)[: 1 + (number == 0)]:
            writer.write(PartitionKey(Table.VPC, f"date={number}"), piece)
    files = writer.close()
    assert [staged.file.path for staged in files] == [
        f"vpc/date={day}/t-{number:04}.parquet" for number, day in enumerate((2, 0, 1))
    ]
    writer.discard()


def test_spread_rows_are_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of many partitions wait together, and are joined before they are sorted."""
    monkeypatch.setattr(
        writing, "ROW_GROUP_ROWS", 10_000
    )  # Of small ones there would be thousands.
    table = pa.concat_tables([flows(1000)] * 50)
    keys = [PartitionKey(Table.VPC, f"interface_id=eni-{n}") for n in range(65)]
    codes = np.arange(table.num_rows, dtype=np.int64) % len(keys)
    before = pa.total_allocated_bytes()
    held: list[int] = []
    storage = open_storage(str(tmp_path), {})
    writer = TaskWriter(
        storage, "t", ConvertOptions(), lambda: held.append(pa.total_allocated_bytes() - before)
    )
    for _ in range(4):
        writer.write_all(PartitionedRows(keys, codes, table.combine_chunks()))
    waiting = pa.total_allocated_bytes() - before
    writer.close()
    writer.discard()
    assert waiting > 8 << 20
    assert held[0] < 1.5 * waiting


def test_copied_rows_keep_nothing_of_the_others() -> None:
    rows = 10_000
    texts = pa.array([f"text {row}" for row in range(rows)])
    few = pa.array(["a", None, "b"] * rows).slice(0, rows)
    table = pa.table(
        {
            "n": pa.array([*range(rows - 1), None]),
            "many": texts.dictionary_encode(),
            "few": few.dictionary_encode(),
            "plain": texts,
            "null": pa.nulls(rows),
        }
    )
    parts = [ChosenRows(table.slice(first, 10)) for first in (0, rows - 10, rows - 1)]
    parts.append(ChosenRows(table, np.arange(5, 15, dtype=np.uint32)))
    for part in parts:
        copy = copied(part)
        copy.validate(full=True)
        assert without_dictionaries(copy).equals(without_dictionaries(part.alone()))
        assert copy.get_total_buffer_size() < 1000
        assert copied(ChosenRows(copy)).equals(copy)


def test_own_dictionaries() -> None:
    table = pa.table({"t": ["a", "b", None, "c", "b"], "n": [1, 2, 3, 4, 5]})
    for part in (slice(0, 0), slice(1, 3), slice(2, 3), slice(1, 5)):
        rows = table.slice(part.start, part.stop - part.start)
        dictionaries = coded(table).slice(part.start, part.stop - part.start)
        own = with_own_dictionaries(dictionaries)
        own.validate(full=True)
        assert without_dictionaries(own).equals(without_dictionaries(dictionaries))
        assert without_dictionaries(own).equals(rows)
        assert texts_of(own) == set(rows["t"].drop_null().to_pylist())
        assert texts_of(with_own_dictionaries(dictionaries, least=3)) == texts_of(own)
        assert texts_of(with_own_dictionaries(dictionaries, least=4)) == texts_of(dictionaries)


def texts_of(table: pa.Table) -> set[str]:
    """All texts of a column's dictionaries."""
    return {text for chunk in table["t"].chunks for text in chunk.dictionary.to_pylist()}  # type: ignore[attr-defined]


def test_each_row_keeps_its_source(tmp_path: Path) -> None:
    lines = [f"10.0.0.{9 - n} {1768348800 + n}" for n in range(9)]
    body = "\n".join(["srcaddr start", *lines, ""]).encode()
    write_objects(tmp_path / "logs", {aws_key(): body})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"), ConvertOptions(with_source=True))
    (path,) = data_files(tmp_path / "lake")
    rows = pl.read_parquet(path, hive_partitioning=False).select("srcaddr", "source_line").rows()
    assert rows == [(f"10.0.0.{n}", 11 - n) for n in range(1, 10)]
