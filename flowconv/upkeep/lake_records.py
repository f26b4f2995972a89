"""What the lake's records say of themselves: SKIPDATA, NODATA, and interfaces that fell silent."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from flowconv.fields import Table
from flowconv.lake.expired import day_of
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.scanning import scan
from flowconv.upkeep.gap_report import InterfaceHour, RecordsFound, SilentInterface

if TYPE_CHECKING:
    import polars as pl

# So many days are read if none is chosen.
_DAYS = 7

# An interface is silent after a day without a record, while others of its account have some.
_SILENT = timedelta(days=1)

_MOST_LISTED = 1000

_INTERFACE = {Table.VPC: "interface_id", Table.TGW: "tgw_attachment_id"}


def read_records(
    lake: str,
    files: Iterable[DataFile],
    since: date | None,
    until: date | None,
    options: Mapping[str, str],
) -> RecordsFound:
    """Read the hours of interfaces in the chosen days.

    Args:
        lake: The lake.
        files: The files that count.
        since: The first day; None: the last week that there is.
        until: The last day, included.
        options: Storage options.
    """
    found = RecordsFound()
    data = [file for file in files if file.is_data]
    for table in Table:
        partitions = {
            file.path.rpartition("/")[0] for file in data if file.path.startswith(f"{table}/")
        }
        if not partitions:
            continue
        days = [day for day in map(day_of, partitions) if day and day <= (until or date.max)]
        first = since
        if days and not first:
            first = max(max(days) - timedelta(days=_DAYS - 1), min(days))
        chosen = {"since": first, "until": until} if days else {}
        flows = scan(lake, table=table, options=options, **chosen)  # type: ignore[arg-type]
        found = _with_table(found, table, flows, first)
    return found


def _with_table(
    found: RecordsFound, table: Table, flows: "pl.LazyFrame", since: date | None
) -> RecordsFound:
    """Add what a table says."""
    import polars as pl

    schema = flows.collect_schema()
    owners = [name for name in ("aws_account_id", "aws_region") if name in schema]
    hours = _by_hour(flows, table, owners)
    known = hours.drop_nulls(["interface_id", "hour"])
    share = pl.col("skipdata") / pl.col("records")
    lost = known.filter(pl.col("skipdata") > 0).sort(-share, "hour", "interface_id")
    newest = pl.max("hour").over(owners) if owners else pl.max("hour")
    last = known.group_by(*owners, "interface_id").agg(pl.max("hour"))
    silent = last.filter(pl.col("hour") < newest - _SILENT).sort("hour", "interface_id")
    more_hours = tuple(
        InterfaceHour(table=str(table), **row)
        for row in lost.drop(owners).head(_MOST_LISTED).iter_rows(named=True)
    )
    more_silent = tuple(
        SilentInterface(table=str(table), interface_id=row["interface_id"], last=row["hour"])
        for row in silent.head(_MOST_LISTED).iter_rows(named=True)
    )
    return RecordsFound(
        since=min(filter(None, (found.since, since)), default=None),
        records=found.records + int(hours["records"].sum()),
        skipdata=found.skipdata + int(hours["skipdata"].sum()),
        nodata=found.nodata + int(hours["nodata"].sum()),
        hours=(*found.hours, *more_hours)[:_MOST_LISTED],
        silent_interfaces=(*found.silent_interfaces, *more_silent)[:_MOST_LISTED],
    )


def _by_hour(flows: "pl.LazyFrame", table: Table, owners: Sequence[str]) -> "pl.DataFrame":
    """Return the records, SKIPDATA and NODATA of each interface and hour, read as a stream."""
    import polars as pl

    time = pl.col("start")
    if not flows.collect_schema()["start"].is_temporal():
        time = pl.from_epoch(time)
    status = pl.col("log_status").cast(pl.String)
    return (
        flows.select(
            *owners,
            pl.col(_INTERFACE[table]).cast(pl.String).alias("interface_id"),
            time.dt.replace_time_zone("UTC").dt.truncate("1h").alias("hour"),
            (status == "SKIPDATA").fill_null(value=False).alias("skipdata"),
            (status == "NODATA").fill_null(value=False).alias("nodata"),
        )
        .group_by(*owners, "interface_id", "hour")
        .agg(pl.len().alias("records"), pl.sum("skipdata", "nodata"))
        .collect(engine="streaming")
    )
