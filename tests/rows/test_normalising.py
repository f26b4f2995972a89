"""Columns as the table has them: names, places, types, times and tag values."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flowconv.blocks.formats import declared_format
from flowconv.fields import FIELDS, Table
from flowconv.option_values import TimeType
from flowconv.rows.batch import RawBatch
from flowconv.rows.normalising import FlowBatch, normalise
from flowconv.rows.schema import TIMESTAMP, field_type, table_schema
from flowconv.rows.table_columns import column_type
from oracle import reference
from support.in_memory import log_object

SECOND = 1768348800
MOMENT = datetime(2026, 1, 14, tzinfo=UTC)
LAST = reference.LAST_SECOND


def normalised(columns: dict[str, list[Any]], time_type: TimeType = "timestamp") -> FlowBatch:
    format_ = declared_format(" ".join(columns))
    arrays = [
        pa.array(values, field_type(field))
        for field, values in zip(format_.fields, columns.values(), strict=True)
    ]
    table = pa.table(arrays, names=list(format_.columns))
    lines = np.arange(table.num_rows) + 1
    raw = RawBatch(
        format=format_, table=table, sources=((log_object("a"), table.num_rows),), lines=lines
    )
    return normalise(raw, time_type)


@pytest.mark.parametrize("time_type", ["timestamp", "epoch"])
@pytest.mark.parametrize(
    ("given", "second"),
    [
        ([SECOND, None], SECOND),
        ([SECOND * 1000 + 999, None], SECOND),
        ([0, None], 0),
        ([LAST, None], LAST),
        ([LAST + 1, None], (LAST + 1) // 1000),
        ([LAST * 1000 + 999, None], LAST),
        ([SECOND, SECOND * 1000], SECOND),
        ([None, None], None),
    ],
)
def test_times(time_type: TimeType, given: list[int | None], second: int | None) -> None:
    rows = normalised({"start": given, "end": given}, time_type).rows
    for column in ("start", "end"):
        assert rows[column].type == (TIMESTAMP if time_type == "timestamp" else pa.int64())
        value = rows[column][0].as_py()
        if time_type == "timestamp" and second is not None:
            assert value == datetime.fromtimestamp(second, UTC)
        else:
            assert value == second
    nulls = sum(value is None for value in given)
    assert rows["start"].null_count == nulls


TAG = reference.header_of(["instance-tag"]).columns[0]


@pytest.mark.parametrize(
    "text",
    ["web", "a%20b", "%E6%97%A5", "%ff", "%", "%2", "%zz", "100%25", "+", "%2B", "%00", "日%20本"],
)
def test_tags(text: str) -> None:
    rows = normalised({"instance-tag": [text, None, text], "srcaddr": [text, None, "-"]}).rows
    decoded = reference.convert_value(text, TAG, "timestamp")
    assert rows["instance_tag"].to_pylist() == [decoded, None, decoded]
    assert rows["srcaddr"].to_pylist() == [text, None, "-"]


def test_columns_and_their_places() -> None:
    batch = normalised({"zzz": ["z"], "reject-reason": ["BPA"], "bytes": [5], "ecs-task-id": ["t"]})
    assert batch.table is Table.VPC
    assert batch.rows.column_names == table_schema(Table.VPC).names
    (row,) = batch.rows.to_pylist()
    values = {
        "bytes": 5,
        "ecs_task_id": "t",
        "reject_reason": "BPA",
        "unknown_fields": '{"zzz":"z"}',
    }
    assert {column: value for column, value in row.items() if value is not None} == values
    assert batch.sources[0][1] == 1


def test_transit_gateway() -> None:
    batch = normalised({"tgw-id": ["1", "2"], "action": ["a", None], "start": [SECOND, None]})
    assert batch.table is Table.TGW
    assert batch.rows.column_names == table_schema(Table.TGW).names
    assert batch.rows["start"].to_pylist() == [MOMENT, None]
    assert batch.rows["unknown_fields"].to_pylist() == ['{"action":"a"}', None]


@pytest.mark.parametrize("table", list(Table))
@pytest.mark.parametrize("time_type", ["timestamp", "epoch"])
def test_schema_is_the_oracles(table: Table, time_type: TimeType) -> None:
    time = TIMESTAMP if time_type == "timestamp" else pa.int64()
    types = {"int32": pa.int32(), "int64": pa.int64(), "time": time}
    kinds = reference.FIELDS[table]
    expected = [
        (name.replace("-", "_"), types.get(kind, pa.string())) for name, kind in kinds.items()
    ]
    expected += [("flow_log_id", pa.string()), ("unknown_fields", pa.string())]
    assert table_schema(table, time_type) == pa.schema(expected)
    assert {f.name: column_type(f, time_type) for f in FIELDS[table]} == {
        name: str(types.get(kind, pa.string())) for name, kind in kinds.items()
    }


def test_no_rows() -> None:
    batch = normalised({"start": [], "srcaddr": []})
    assert batch.rows.num_rows == 0
    assert batch.rows.column_names == table_schema(Table.VPC).names
