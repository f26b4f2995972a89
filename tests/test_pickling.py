"""Records that are sent to other processes arrive as they were."""

import pickle
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, date, datetime
from typing import Any

import pytest

from flowconv.blocks.counts import LineCounts
from flowconv.lake.ledger_records import ConvertedObject
from flowconv.source.keys import LogObject

LOG_OBJECT = LogObject(
    uri="s3://logs/a",
    path="a",
    size_bytes=7,
    etag="e",
    account_id=None,
    region="eu-west-1",
    flow_log_id="fl-1",
    day=date(2026, 1, 14),
    time=datetime(2026, 1, 14, 0, 5, tzinfo=UTC),
)
CONVERTED = ConvertedObject(
    uri="s3://logs/a",
    size_bytes=7,
    etag="e",
    day=None,
    counts=LineCounts(header=1, rows=5, dropped=2),
    headers=("srcaddr dstaddr",),
    unfit=(("/app", "start end"),),
    flow_log_id="fl-1",
)


@pytest.mark.parametrize("record", [LOG_OBJECT, CONVERTED, LineCounts(), CONVERTED.counts])
def test_records_arrive_as_they_were(record: Any) -> None:
    again = pickle.loads(pickle.dumps(record))
    # Not all fields are compared by ==.
    for field in fields(record):
        assert getattr(again, field.name) == getattr(record, field.name)
    assert (again, hash(again)) == (record, hash(record))
    with pytest.raises(FrozenInstanceError):
        setattr(again, fields(record)[0].name, 1)
