"""Records that are sent to other processes arrive as they were."""

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

from flowconv.blocks.counts import LineCounts
from flowconv.lake.ledger_records import ConvertedObject

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


def test_records_arrive_as_they_were() -> None:
    record = CONVERTED
    again = pickle.loads(pickle.dumps(record))
    # Not all fields are compared by ==.
    for field in fields(record):
        assert getattr(again, field.name) == getattr(record, field.name)
    assert (again, hash(again)) == (record, hash(record))
    with pytest.raises(FrozenInstanceError):
        setattr(again, fields(record)[0].name, 1)
