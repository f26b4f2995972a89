"""New headers: which are, since when, and what differs."""

from datetime import date

import pyarrow as pa
import pytest

from flowconv.blocks.counts import LineCounts
from flowconv.conversion.new_headers import MAX_LISTED, KnownHeaders
from flowconv.conversion.report import NewHeader
from flowconv.lake.ledger_records import ConvertedObject, split_headers
from flowconv.source.keys import parse_key

OLD = "version srcaddr dstaddr start end"
NEW = "version srcaddr dstaddr start end vpc-id"
OTHER = "srcaddr bytes"
PLAIN = "s3://logs/AWSLogs/123456789012/vpcflowlogs/eu-west-1"
HIVE = "s3://logs/AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=eu-west-1"


def key(prefix: str, day: int, flow_log_id: str) -> str:
    name = f"123456789012_vpcflowlogs_eu-west-1_{flow_log_id}_202601{day:02d}T0005Z_0.log.gz"
    dated = f"year=2026/month=01/day={day:02d}" if "=" in prefix else f"2026/01/{day:02d}"
    return f"{prefix}/{dated}/{name}"


def known(*objects: tuple[str, str]) -> KnownHeaders:
    columns = {
        "uri": pa.array([uri for uri, _ in objects], pa.string()),
        "fields": pa.array([fields for _, fields in objects], pa.string()).dictionary_encode(),
    }
    return KnownHeaders([pa.RecordBatch.from_pydict(columns)])


def converted(uri: str, headers: str, day: int | None = None) -> ConvertedObject:
    return ConvertedObject(
        uri=uri,
        size_bytes=1,
        etag="",
        day=date(2026, 1, day) if day else None,
        counts=LineCounts(),
        headers=split_headers(headers),
        flow_log_id=parse_key(uri).flow_log_id,
    )


@pytest.mark.parametrize("prefix", [PLAIN, HIVE])
def test_a_new_header_is_found_once_and_since_its_first_day(prefix: str) -> None:
    headers = known((key(prefix, 1, "fl-1"), OLD), (key(prefix, 2, "fl-1"), OTHER))
    headers.add([converted(key(prefix, 5, "fl-2"), NEW, 5), converted(key(prefix, 5, "fl-1"), OLD)])
    headers.add([converted(key(prefix, 4, "fl-3"), NEW, 4)])
    assert headers.new() == [
        NewHeader(
            prefix=prefix,
            flow_log_id="fl-3",
            since=date(2026, 1, 4),
            fields=NEW,
            added=("vpc-id",),
            removed=(),
        )
    ]


def test_a_new_header_is_compared_with_the_most_similar_known_header() -> None:
    headers = known(("/logs/a", OLD), ("/logs/b", OTHER))
    headers.add([converted("/logs/c", "srcaddr bytes packets"), converted("/logs/d", "version")])
    assert [(header.fields, header.added, header.removed) for header in headers.new()] == [
        ("srcaddr bytes packets", ("packets",), ()),
        ("version", ("version",), ("srcaddr", "bytes")),
    ]


@pytest.mark.parametrize(
    ("uri", "fields"),
    [
        ("/logs/x", OLD),
        ("/logs/x", f"{OTHER}, {OLD}"),
        ("/logs/x", ""),
        ("/others/x", NEW),  # Nothing is known of that folder.
        ("/logs/below/x", NEW),
    ],
)
def test_nothing_new(uri: str, fields: str) -> None:
    headers = known(("/logs/a", OLD), ("/logs/b", f"{NEW}, {OTHER}"))
    headers.add([converted(uri, fields)])
    assert headers.new() == []


def test_a_header_in_the_middle_of_an_object_counts_too() -> None:
    headers = known(("/logs/a", OLD))
    headers.add([converted("/logs/b", f"{OLD}, {NEW}")])
    (header,) = headers.new()
    assert header.to_dict() == {
        "prefix": "/logs",
        "flow_log_id": None,
        "since": None,
        "fields": NEW,
        "added": ("vpc-id",),
        "removed": (),
    }


def test_an_object_without_values_makes_no_header_known() -> None:
    headers = known(("/logs/a", ""))
    headers.add([converted("/logs/b", OLD)])
    assert headers.new() == []


def test_the_first_hundred_are_listed_and_all_are_counted() -> None:
    headers = known((key(PLAIN, 1, "fl-1"), OLD), ("/logs/a", OLD))
    for number in range(MAX_LISTED - 1):
        header = f"{OLD} x{number}"
        headers.add([converted(f"/logs/{number}", header), converted("/logs/again", header)])
    for day in range(31, 1, -1):
        headers.add([converted(key(PLAIN, day, "fl-2"), f"{OLD} y{day}", day)])
    listed = headers.new()
    assert (len(listed), headers.number_new) == (MAX_LISTED, MAX_LISTED - 1 + 30)
    assert {header.prefix for header in listed[:-1]} == {"/logs"}
    assert listed[-1] == NewHeader(
        prefix=PLAIN,
        flow_log_id="fl-2",
        since=date(2026, 1, 2),
        fields=f"{OLD} y2",
        added=("y2",),
        removed=(),
    )
