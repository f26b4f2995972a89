"""What a report shows: the numbers, without their looks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from flowconv.answers.questions import PRICES_OF, question_sql
from flowconv.answers.registries import TRAFFIC_PATHS
from flowconv.answers.summing import sum_records
from flowconv.lake.ledger import Ledger
from flowconv.lake.scanning import ChosenFiles, choose_files
from flowconv.lake.status import LockStatus, read_lock, status_of
from flowconv.notebooks import InNotebooks
from flowconv.running import started
from flowconv.storage.opening import open_storage
from flowconv.upkeep.delivery_windows import check_windows, read_times
from flowconv.values import as_day

# Beyond so many days, traffic is summed by day: a chart has no room for more hours.
_HOURLY_DAYS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a report: a table, of which some columns may be drawn.

    Attributes:
        name: In JSON.
        title: For people.
        note: What must be known to read it.
        columns: The table's columns.
        rows: Its rows; values are texts, numbers, times or None.
        drawn: How it is drawn, if it is: `over-time`, with times in the first column and numbers
            in the others, or `bars`, with numbers in the last column.
    """

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    drawn: str | None = None

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain values for JSON."""
        return [
            {
                name: value.isoformat() if isinstance(value, date) else value
                for name, value in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LakeReport(InNotebooks):
    """A report on a lake.

    Attributes:
        lake: The lake.
        days: The days that are reported, as they were asked for.
        sections: Its parts, in the order of reading.
        path: Where its page was written; None if it was not.
    """

    lake: str
    days: str
    sections: tuple[Section, ...]
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        sections = {section.name: section.to_dict() for section in self.sections}
        path = {"path": self.path} if self.path else {}
        return {"lake": self.lake, "days": self.days, **path, "sections": sections}


def read_report(
    dest: str,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    prices: Mapping[str, float] | None = None,
    options: Mapping[str, str] | None = None,
) -> LakeReport:
    """Return a report on a lake; arguments and errors are those of `report`."""
    # Read before the ledger: a run that ends in between would look killed in the other order.
    lock_read = started(lambda: read_lock(open_storage(dest, options)))
    chosen = choose_files(dest, "vpc", since=since, until=until, options=options)
    lock = lock_read.result()
    sums = sum_records(chosen)

    def answer(
        name: str, title: str, note: str = "", *, of: pl.LazyFrame, drawn: str | None = None
    ) -> Section:
        sql = question_sql(name, limit=10, prices=prices or {}, of_sums=True)
        return _section(_ask(of, sql), name, title, note, drawn)

    by_time = _traffic(sums.hours.collect())
    both = "A flow within a VPC counts twice here: both of its interfaces log it."
    once = "What both sides of a flow log is counted once."
    priced = (
        f"At list prices of us-east-1 as known in {PRICES_OF:%B %Y}, not checked against "
        "AWS's pages since, or at those given by --price."
    )
    gateways = f"{priced} saved_usd: by gateway endpoints."
    flows, rejects = sums.flows, sums.rejects
    sections = (
        _section(by_time["bytes"], "traffic", "Traffic over time, in bytes", both, "over-time"),
        _section(by_time["flows"], "flows", "Flows over time", both, "over-time"),
        answer("top-talkers", "Top talkers", once, of=flows, drawn="bars"),
        answer("rejected-ports", "Rejected ports", "By packets.", of=rejects),
        answer("rejected-sources", "Rejected sources", "By packets.", of=rejects),
        answer("aws-services", "AWS services", both, of=flows, drawn="bars"),
        _section(_paths(flows), "traffic-paths", "Paths of egress traffic", "", "bars"),
        answer("cross-az", "Traffic between availability zones", priced, of=flows),
        answer("nat-gateways", "NAT gateways", gateways, of=flows),
        answer("internet-egress", "Internet egress", priced, of=flows),
        _completeness(chosen.ledger, as_day(since, "--since"), as_day(until, "--until")),
        _health(chosen, lock),
    )
    days = f"From {since or 'the first day'} to {until or 'the last day'}"
    return LakeReport(lake=dest, days=days, sections=sections)


def _ask(sums: pl.LazyFrame, sql: str) -> pl.DataFrame:
    with pl.SQLContext(vpc=sums) as context:
        return context.execute(sql, eager=True)


def _paths(sums: pl.LazyFrame) -> pl.DataFrame:
    """Return the flows and bytes of each traffic path."""
    paths = _ask(
        sums,
        "SELECT traffic_path, sum(flows) AS flows, sum(bytes) AS bytes FROM vpc "
        "WHERE flow_direction = 'egress' GROUP BY traffic_path ORDER BY bytes DESC, traffic_path",
    )
    names = pl.col("traffic_path").replace_strict(
        dict(TRAFFIC_PATHS), default="not known", return_dtype=pl.String
    )
    return paths.with_columns(names)


def _traffic(hours: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the bytes and the flows of each hour, or day, by action."""
    known = hours.rename({"hour": "time"}).drop_nulls("time")
    day = pl.col("time").dt.date()
    days = known.select((day.max() - day.min()).dt.total_days()).item()
    if days is not None and days >= _HOURLY_DAYS:
        known = known.with_columns(day)

    def summed(column: str) -> pl.DataFrame:
        accepted, rejected = (
            pl.col(column).filter(pl.col("action") == action).sum()
            for action in ("ACCEPT", "REJECT")
        )
        return known.group_by("time").agg(accepted=accepted, rejected=rejected).sort("time")

    return {"bytes": summed("bytes"), "flows": summed("flows")}


def _completeness(ledger: Ledger, since: date | None, until: date | None) -> Section:
    flow_logs, _ = check_windows(read_times(ledger)[0], since, until)
    rows = tuple(
        (
            log.flow_log_id,
            log.account_id,
            log.region,
            log.first,
            log.last,
            log.windows,
            log.missing,
            log.lag_median_s,
        )
        for log in flow_logs
    )
    return Section(
        name="completeness",
        title="Completeness",
        note="Delivery windows of each flow log, and the median time from a window's end to its "
        "conversion, in seconds. flowconv gaps lists what is missing.",
        columns=("flow log", "account", "region", "first", "last", "windows", "missing", "lag_s"),
        rows=rows,
    )


def _health(chosen: ChosenFiles, lock: LockStatus) -> Section:
    found = status_of(chosen.ledger, chosen.storage, chosen.layout, lock, runs=1)
    last = found.runs[0] if found.runs else None
    rows: tuple[tuple[str, Any], ...] = (
        ("files", found.files),
        ("size in bytes", found.size_bytes),
        ("rows", found.rows),
        ("partitions", len(found.partitions)),
        ("objects converted", found.objects),
        ("rejected lines", found.rejected),
        ("last run began", last.run.began if last else None),
        ("last run", last.state if last else None),
    )
    return Section(
        name="health",
        title="Health of the lake",
        note="All days.",
        columns=("what", "value"),
        rows=rows,
    )


def _section(
    frame: pl.DataFrame, name: str, title: str, note: str, drawn: str | None = None
) -> Section:
    return Section(
        name=name,
        title=title,
        note=note,
        columns=tuple(frame.columns),
        rows=tuple(frame.iter_rows()),
        drawn=drawn,
    )


# Numbers that count nothing.
_NAMES = ("protocol", "dstport")


def shown(value: Any, column: str) -> str:
    """Return a value of a column as people read it."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int) and column not in _NAMES:
        return f"{value:,}"
    return str(value)
