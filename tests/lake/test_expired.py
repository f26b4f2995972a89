"""What has expired: what it has, and how two are joined."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowconv.lake.expired import Expired, day_of
from flowconv.source.keys import LogObject

FOURTEENTH = date(2026, 1, 14)
EXPIRED = Expired(
    before=FOURTEENTH,
    partitions=frozenset(["vpc/aws_region=a/date=2026-02-01"]),
    files=frozenset(["vpc/aws_region=b/date=2026-02-01/a.parquet"]),
)


@pytest.mark.parametrize(
    ("path", "has"),
    [
        ("vpc/aws_region=a/date=2026-01-13/a.parquet", True),
        ("tgw/date=2026-01-13/hour=05/a.parquet", True),
        ("vpc/date=1999-12-31/aws_vpc_id=x/a.parquet", True),
        ("vpc/aws_region=a/date=2026-01-14/a.parquet", False),
        ("vpc/aws_region=a/date=2026-02-01/b.parquet", True),
        ("vpc/aws_region=b/date=2026-02-01/b.parquet", False),
        ("vpc/aws_region=b/date=2026-02-01/a.parquet", True),
        ("vpc/aws_region=a/date=__HIVE_DEFAULT_PARTITION__/a.parquet", False),
        ("vpc/aws_update=2026-01-13/a.parquet", False),
        ("vpc/date=2026-13-01/a.parquet", False),
        ("_flowconv/quarantine/a.jsonl", False),
    ],
)
def test_has_file(path: str, has: bool) -> None:
    assert EXPIRED.has_file(path) == has


@pytest.mark.parametrize(
    ("day", "time", "has"),
    [
        (date(2026, 1, 13), None, True),
        (FOURTEENTH, None, False),
        (None, None, False),
        (None, datetime(2026, 1, 13, 23, 55, tzinfo=UTC), True),
        # Whichever is later: a folder may have the day of a copy, or of the window's start.
        (date(2026, 1, 13), datetime(2026, 1, 14, tzinfo=UTC), False),
        (date(2026, 2, 1), datetime(2026, 1, 13, tzinfo=UTC), False),
    ],
)
def test_has_object(day: date | None, time: datetime | None, has: bool) -> None:
    log_object = LogObject(
        uri="a",
        path="a",
        size_bytes=1,
        etag="",
        account_id=None,
        region=None,
        flow_log_id=None,
        day=day,
        time=time,
    )
    assert EXPIRED.has_object(log_object) == has
    assert not Expired(partitions=EXPIRED.partitions).has_object(log_object)


def test_day_of() -> None:
    assert day_of("vpc/aws_region=a/date=2026-01-13") == date(2026, 1, 13)
    assert day_of("vpc/aws_region=a") is None


DAYS = st.dates(date(2026, 1, 1), date(2026, 1, 5))
PARTITIONS = st.builds("vpc/aws_region={}/date={}".format, st.sampled_from("ab"), DAYS)
FILES = st.builds("{}/{}.parquet".format, PARTITIONS, st.sampled_from("ab"))
EXPIRED_OF_ANY_KIND = st.builds(
    Expired,
    before=st.none() | DAYS,
    partitions=st.frozensets(PARTITIONS, max_size=5),
    files=st.frozensets(FILES, max_size=5),
)


@given(EXPIRED_OF_ANY_KIND, EXPIRED_OF_ANY_KIND, st.lists(FILES))
def test_two_are_joined(left: Expired, right: Expired, files: list[str]) -> None:
    both = left | right
    assert both == right | left == both | left == Expired.from_json(both.to_json())
    for path in files:
        assert both.has_file(path) == (left.has_file(path) or right.has_file(path))
        partition = path.rpartition("/")[0]
        has = left.has_partition(partition) or right.has_partition(partition)
        assert both.has_partition(partition) == has
