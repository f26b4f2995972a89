"""query(): SQL over the tables of a lake."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date

import polars as pl

from flowconv.answers.name_columns import with_names
from flowconv.answers.name_tables import ALWAYS, NameTables
from flowconv.errors import LakeError, UsageError
from flowconv.fields import Table
from flowconv.lake.scanning import scan
from flowconv.storage.opening import open_storage
from flowconv.values import require


def query(
    dest: str | os.PathLike[str],
    sql: str,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    accounts: Collection[str] | str | None = None,
    regions: Collection[str] | str | None = None,
    names: bool = False,
    options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """Ask a lake in SQL, as polars knows it, of its tables `vpc` and `tgw`.

    What `flowconv.names` keeps are the tables `interfaces`, `addresses` and `networks`: each row
    was so from its `valid_from` until before its `valid_to`, times as in the column `start`.

    Args:
        dest: The lake: the DEST given to `convert`.
        sql: A SELECT.
        since: First day, by the records' start in UTC.
        until: Last day, included.
        accounts: Accounts, with 12 digits each.
        regions: Regions, as in the partition `aws_region`.
        names: Give `vpc` the columns `interface_name`, `srcaddr_name`, `dstaddr_name`,
            `pkt_srcaddr_name` and `pkt_dstaddr_name`: the names at each record's time.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        The answer, not yet computed: only committed files that the days, accounts and regions
        leave are read, of these only what the SQL needs.

    Raises:
        UsageError: The SQL is no SELECT, polars does not understand it, an argument is not valid,
            or the lake has no names.
        LakeError: There is no lake, it is not partitioned by what is chosen, or files are gone.
        TypeError: An argument has another type, such as an account that is a number.
        StorageError: The lake does not answer.
    """
    require(sql, str, "sql")
    if found := _CHANGE.match(sql):
        raise UsageError(
            f"SQL: {found[1].upper()} changes a table; a lake is only asked, by SELECT."
        )
    frames = {
        table.value: scan(
            dest,
            table=table,
            since=since,
            until=until,
            accounts=accounts,
            regions=regions,
            options=options,
        )
        for table in Table
    }
    mentioned = {name for name in _NAME_TABLES if name in sql.lower()}
    if names or mentioned:
        tables = NameTables.read(open_storage(dest, options or {}))
        time = frames["vpc"].collect_schema()["start"]
        frames |= {name: _as_of(_NAME_TABLES[name](tables), time) for name in mentioned}
        if names and tables.described == ALWAYS:
            raise UsageError(
                "the lake has no names yet. Keep some first: flowconv names LAKE --from FILE."
            )
        if names:
            frames["vpc"] = with_names(frames["vpc"], tables)
    try:
        with pl.SQLContext(frames) as context:
            answer = context.execute(sql, eager=False)
        answer.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"polars does not understand this SQL: {_first_line(error)}") from error
    return answer


# polars would change its own view of a table, and show what is left of it.
_CHANGE = re.compile(
    r"(?:\s|--.*\n|/\*[\s\S]*?\*/)*(ALTER|CREATE|DELETE|DROP|INSERT|MERGE|TRUNCATE|UPDATE)\b",
    re.IGNORECASE,
)

_NAME_TABLES: Mapping[str, Callable[[NameTables], pl.DataFrame]] = {
    "interfaces": lambda tables: tables.interfaces,
    "addresses": NameTables.addresses,
    "networks": lambda tables: tables.networks,
}


def _as_of(table: pl.DataFrame, time: pl.DataType) -> pl.LazyFrame:
    """Give a table of names the lake's type of time, and its lists as text."""
    valid = pl.col("valid_from", "valid_to")
    return table.lazy().with_columns(
        valid.dt.epoch("s").cast(time) if time.is_integer() else valid.cast(time),
        pl.col(pl.List(pl.String)).list.join(" "),
    )


def batches(answer: pl.LazyFrame, dest: str) -> Iterator[pl.DataFrame]:
    """Compute an answer, piece by piece, in the streaming engine.

    Raises:
        LakeError: It cannot be computed: a file cannot be read, for example.
    """
    try:
        yield from answer.collect_batches(maintain_order=True, engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LakeError(
            f"polars cannot compute the answer: {_first_line(error)}. Check the SQL; flowconv "
            "verify checks the files.",
            uri=dest,
        ) from error


def compute(answer: pl.LazyFrame, dest: str) -> pl.DataFrame:
    """Compute a small answer.

    Raises:
        LakeError: As `batches`.
    """
    frame = answer.collect_schema().to_frame()
    return pl.concat([frame, *batches(answer, dest)])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
