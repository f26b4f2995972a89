"""Days that no run of a source covered: between the range of one run and that of the next."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta

from flowconv.lake.ledger_records import Run

_DAY = timedelta(days=1)


def uncovered_days(runs: Iterable[Run]) -> dict[str, list[date]]:
    """Return source -> days that a run with `--since` left out after the one before it.

    A run covers the days that were over when it began, and that it chose: what it found of its own
    day goes on. A later run may cover them yet. Runs that failed or were killed cover nothing, and
    neither do those of earlier releases, whose days are not known.

    Args:
        runs: All runs, oldest first.
    """
    covered: dict[str, date] = {}
    uncovered: defaultdict[str, set[date]] = defaultdict(set)
    for run in runs:
        report = run.report
        if not run.ended or report.get("failure") or "since" not in report:
            continue
        source = report["source"]
        since = date.fromisoformat(report["since"]) if report["since"] else date.min
        until = date.fromisoformat(report["until"]) if report["until"] else date.max
        last = min(until, run.began.date() - _DAY)
        uncovered[source] = {day for day in uncovered[source] if not since <= day <= last}
        if source in covered:
            day = covered[source] + _DAY
            while day < min(since, run.began.date()):
                uncovered[source].add(day)
                day += _DAY
        covered[source] = max(last, covered.get(source, last))
    return {source: sorted(days) for source, days in sorted(uncovered.items()) if days}
