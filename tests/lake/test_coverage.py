"""Days that no run covered."""

from datetime import UTC, date, datetime

import pytest

from flowconv.lake.coverage import uncovered_days
from flowconv.lake.ledger_records import Run


def run(
    began: int, since: int | None = None, until: int | None = None, **report: str | None
) -> Run:
    """A run in January, with days of it."""
    days = {
        name: None if day is None else date(2026, 1, day).isoformat()
        for name, day in (("since", since), ("until", until))
    }
    time = datetime(2026, 1, began, 2, tzinfo=UTC)
    return Run(
        run_id=f"run-{began}",
        began=time,
        host="host",
        ended=time,
        report={"source": "s3://logs", "failure": "", **days, **report},
    )


KILLED = Run(run_id="killed", began=datetime(2026, 1, 12, tzinfo=UTC), host="host")
REPAIR = Run(
    run_id="repair",
    began=datetime(2026, 1, 12, tzinfo=UTC),
    host="host",
    ended=datetime(2026, 1, 12, tzinfo=UTC),
    report={"repair": True, "failure": ""},
)


@pytest.mark.parametrize(
    ("runs", "days"),
    [
        ([], []),
        ([run(10)], []),
        ([run(10), run(20)], []),
        ([run(10, 7), run(11, 8), run(12, 9)], []),
        # The tenth itself was not over.
        ([run(10), run(11, 11)], [10]),
        ([run(10), run(20, 17)], [10, 11, 12, 13, 14, 15, 16]),
        ([run(10), run(20, 17), run(21, 12)], [10, 11]),
        ([run(10), run(20, 17), run(21, 10, 12)], [13, 14, 15, 16]),
        ([run(10), run(20, 17), run(21)], []),
        ([run(20, 10, 12), run(20, 14, 15)], [13]),
        ([run(20, 10, 12), run(20, 2, 5)], []),
        ([run(10), run(20, failure="no answer"), run(21, 19)], [*range(10, 19)]),
        ([run(10), KILLED, REPAIR, run(13, 12)], [10, 11]),
        ([run(10), run(20, 25)], [*range(10, 20)]),
    ],
)
def test_uncovered_days(runs: list[Run], days: list[int]) -> None:
    found = uncovered_days(runs)
    assert [day.day for day in found.get("s3://logs", [])] == days
    assert bool(found) == bool(days)


def test_each_source_by_itself() -> None:
    runs = [run(10), run(15, source="s3://others"), run(16, 15), run(17, 17, source="s3://others")]
    found = uncovered_days(runs)
    assert {source: [day.day for day in days] for source, days in found.items()} == {
        "s3://logs": [10, 11, 12, 13, 14],
        "s3://others": [15, 16],
    }
