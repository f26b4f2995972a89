"""query(): SQL over the tables of a lake."""

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import date

import polars as pl

from flowconv.errors import LakeError, UsageError
from flowconv.fields import Table
from flowconv.lake.scanning import scan


def query(
    dest: str | os.PathLike[str],
    sql: str,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    accounts: Collection[str] | str | None = None,
    regions: Collection[str] | str | None = None,
    options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """Ask a lake in SQL, as polars knows it, of its tables `vpc` and `tgw`.

    Args:
        dest: The lake: the DEST given to `convert`.
        sql: A SELECT.
        since: First day, by the records' start in UTC.
        until: Last day, included.
        accounts: Accounts, as in the partition `aws_account_id`.
        regions: Regions, as in the partition `aws_region`.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        The answer, not yet computed: only committed files that the days, accounts and regions
        leave are read, of these only what the SQL needs.

    Raises:
        UsageError: polars does not understand the SQL, or an argument is not valid.
        LakeError: There is no lake, it is not partitioned by what is chosen, or files are gone.
        TypeError: An argument has another type, such as an account that is a number.
        StorageError: The lake does not answer.
    """
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
    try:
        with pl.SQLContext(frames) as context:
            answer = context.execute(sql, eager=False)
        answer.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"polars does not understand this SQL: {_first_line(error)}") from error
    return answer


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
