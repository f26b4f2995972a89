"""Rows into directories, held against the oracle; and names that must not climb out of them."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowconv import ConvertOptions, convert
from flowconv.blocks.block import Events
from flowconv.blocks.formats import declared_format
from flowconv.lake import writing
from flowconv.option_values import TimeType
from flowconv.rows.batch import RawBatch
from flowconv.rows.normalising import FlowBatch, normalise
from flowconv.rows.partition_names import (
    NULL_PARTITION,
    PartitionKey,
    directory_name,
    encode_value,
)
from flowconv.rows.partitioning import split_by_partition
from flowconv.rows.schema import field_type
from flowconv.source.keys import LogObject
from oracle import reference
from support.in_memory import log_object
from support.lakes import aws_key, data_files, write_objects

DAY = 1768348800  # 2026-01-14T00:00Z

SOURCES = [
    log_object("a", account_id="000000000012", region="eu-west-1"),
    log_object("b", account_id="123456789012", region="eu-west-1", day=date(2026, 1, 13)),
    log_object("c", region="us-east-1", time=datetime(2026, 1, 14, 0, 5, tzinfo=UTC)),
    log_object("d", day=date(2026, 1, 10), time=datetime(2026, 1, 12, 13, 5, tzinfo=UTC)),
    log_object("e"),
]

# Start, source port, action, end, milliseconds of the event, its owner.
Row = tuple[int | None, int | None, str | None, int | None, int, str | None]
STARTS = [None, 0, DAY - 86400, DAY - 1, DAY, DAY + 1, DAY + 3599, DAY + 3600, DAY + 86400]
ROWS = st.tuples(
    st.sampled_from([*STARTS, reference.LAST_SECOND]),
    st.sampled_from([None, 0, -1, 443]),
    st.sampled_from([None, "ACCEPT", "..", "a/b", NULL_PARTITION, "x" * 201, "y" * 300, "é%"]),
    st.sampled_from([None, 0, DAY + 86400 * 3]),
    st.sampled_from([-1, 0, 999, DAY * 1000 - 1, DAY * 1000, DAY * 1000 + 86400_000 * 2]),
    st.sampled_from([None, "000000000077", "a/b"]),
)
NO_MORE = (None, -1, None)
NAMES = ("aws_account_id", "aws_region", "date", "hour", "srcport", "action", "vpc_id")


def flow_batch(
    rows: list[Row],
    sources: tuple[tuple[LogObject, int], ...],
    time_type: TimeType = "timestamp",
    *,
    events: bool = False,
) -> FlowBatch:
    format_ = declared_format("start srcport action end packets")
    columns: list[Any] = [[row[n] for row in rows] for n in range(4)]
    columns.append(list(range(len(rows))))
    arrays = [pa.array(c, field_type(f)) for c, f in zip(columns, format_.fields, strict=True)]
    raw = RawBatch(
        format=format_,
        table=pa.table(arrays, names=list(format_.columns)),
        sources=sources,
        lines=np.arange(len(rows)),
        events=events_of(rows) if events else None,
    )
    return normalise(raw, time_type)


def events_of(rows: list[Row]) -> Events:
    accounts = [*{row[5]: None for row in rows if row[5]}]
    owners = [accounts.index(row[5]) if row[5] else -1 for row in rows]
    return Events(
        np.array([row[4] for row in rows], np.int64), np.array(owners, np.int64), tuple(accounts)
    )


@given(
    rows=st.lists(st.tuples(ROWS, st.integers(0, 2)), max_size=30),
    partition_by=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    time_type=st.sampled_from(["timestamp", "epoch"]),
    account=st.sampled_from([None, "9"]),
    events=st.booleans(),
)
def test_as_the_oracle(
    rows: list[tuple[Row, int]],
    partition_by: list[str],
    time_type: TimeType,
    account: str | None,
    events: bool,
) -> None:
    # A row's number says how many sources to go on by; some are left without a row.
    sources, number_of_source = [(source, 0) for source in SOURCES], 0
    expected: dict[str, list[int]] = {}
    for number, ((start, port, action, end, milliseconds, owner), onwards) in enumerate(rows):
        number_of_source = min(number_of_source + onwards, len(SOURCES) - 1)
        current = SOURCES[number_of_source]
        sources[number_of_source] = (current, sources[number_of_source][1] + 1)
        values: dict[str, reference.Value] = {"start": start, "srcport": port, "action": action}
        known = milliseconds if events and milliseconds >= 0 else None
        values = reference.partition(  # type: ignore[assignment]
            reference.Row(
                1,
                "vpc",
                values | {"end": end},
                logged=None if known is None else datetime.fromtimestamp(known // 1000, UTC),
                owner=owner if events else None,
            ),
            account=current.account_id or account,
            region=current.region,
            time=current.time,
            day=current.day,
            partition_by=partition_by,
        )
        path = reference.partition_path(values)  # type: ignore[arg-type]
        expected.setdefault(path, []).append(number)
    batch = flow_batch([row for row, _ in rows], tuple(sources), time_type, events=events)
    found: dict[str, list[int]] = {}
    for key, piece in split_by_partition(batch, partition_by, account, None):
        assert piece.num_rows > 0
        assert piece.schema == batch.rows.schema
        assert key.path not in found
        found[key.path] = piece["packets"].to_pylist()  # type: ignore[assignment]
    assert found == expected


def test_one_partition_is_not_copied() -> None:
    rows: list[Row] = [(DAY, 1, "a", *NO_MORE), (DAY + 5, 2, "b", *NO_MORE)]
    batch = flow_batch(rows, ((SOURCES[0], 2),))
    ((key, piece),) = split_by_partition(batch, NAMES[:3], None, None)
    path = "aws_account_id=000000000012/aws_region=eu-west-1/date=2026-01-14"
    assert key == PartitionKey(batch.table, path)
    assert piece is batch.rows


def test_a_few_rows_do_not_keep_the_others_in_memory() -> None:
    rows: list[Row] = [(DAY, n, "a", *NO_MORE) for n in range(50_000)]
    rows += [(DAY + 86_400, 1, "a", *NO_MORE)] * 10
    pieces = dict(split_by_partition(flow_batch(rows, ((SOURCES[0], len(rows)),)), ["date"], *"ab"))
    few = min(pieces.values(), key=lambda piece: piece.num_rows)
    assert few.num_rows == 10
    assert few.get_total_buffer_size() < 100_000


def test_no_rows() -> None:
    assert list(split_by_partition(flow_batch([], ((SOURCES[0], 0),)), NAMES[:3], None, None)) == []


@pytest.mark.parametrize(
    ("value", "directory"),
    [
        (None, NULL_PARTITION),
        ("eu-west-1", "eu-west-1"),
        ("A_z.9-", "A_z.9-"),
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("\\", "%5C"),
        ("%2F", "%252F"),
        ("a=b", "a%3Db"),
        ("é", "%C3%A9"),
        ("\0", "%00"),
        ("~", "%7E"),
        ("x" * 200, "x" * 200),
        ("x" * 201, NULL_PARTITION),
        ("/" * 67, NULL_PARTITION),
    ],
    ids=str,
)
def test_encoding(value: str | None, directory: str) -> None:
    assert encode_value(value) == directory == reference.encode_value(value)


def test_an_empty_value_has_no_directory_of_its_own() -> None:
    """Hive knows no empty values either; no log has one."""
    assert encode_value("") == NULL_PARTITION


@given(st.text(min_size=1))
def test_encoding_as_the_oracle(value: str) -> None:
    assert encode_value(value) == reference.encode_value(value)
    assert "/" not in encode_value(value)


def test_directory_names_are_no_columns() -> None:
    assert [directory_name(name) for name in NAMES] == [
        *("aws_account_id", "aws_region", "date", "hour"),
        *("aws_srcport", "aws_action", "aws_vpc_id"),
    ]


def test_a_column_that_the_table_lacks_is_null(tmp_path: Path) -> None:
    """Its values are among the unknown fields of the rows."""
    body = b"tgw-id action\ntgw-1 ACCEPT\ntgw-2 -\n"
    write_objects(tmp_path / "logs", {aws_key(): body})
    options = ConvertOptions(partition_by=("action",))
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    (path,) = data_files(tmp_path / "lake")
    assert path.parent == tmp_path / "lake/tgw" / f"aws_action={NULL_PARTITION}"
    rows = pl.read_parquet(path, hive_partitioning=False).select("tgw_id", "unknown_fields").rows()
    assert rows == [("tgw-1", '{"action":"ACCEPT"}'), ("tgw-2", None)]
    (row, _) = reference.read_object(body).rows
    where = reference.partition(
        row, account=None, region=None, time=None, day=None, partition_by=("action",)
    )
    assert where == {"aws_action": None}


def test_rows_of_many_partitions_lie_in_their_order(tmp_path: Path) -> None:
    """Whether they wait together or not; also where logs differ in their columns."""
    lines = [b"%d eni-%03d %d\n" % (n, n * n % 211, 1768348800 + n) for n in range(3000)]
    write_objects(
        tmp_path / "logs",
        {
            aws_key(hash_="00000000"): b"bytes interface-id start\n" + b"".join(lines),
            aws_key(hash_="00000001"): b"bytes interface-id start x\n"
            + b"".join(line[:-1] + b" y\n" for line in lines),
        },
    )
    options = ConvertOptions(workers=1, partition_by=("interface_id",))
    with mock.patch.object(writing, "_SPREAD_BYTES", 100_000):
        report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    assert report.lines.rows == 6000
    found = 0
    for path in data_files(tmp_path / "lake"):
        frame = pl.read_parquet(path, hive_partitioning=False)
        assert path.parent.name == f"aws_interface_id={frame['interface_id'].unique().item()}"
        assert frame["bytes"].is_sorted()
        found += frame.height
    assert found == 6000
