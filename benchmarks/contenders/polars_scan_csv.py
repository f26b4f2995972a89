"""polars: scan_csv(...).sink_parquet(pl.PartitionBy(...)), the streaming engine from end to end."""

import os

from contenders.task import Group, Task, Type, given_task

TASK = given_task()
os.environ["POLARS_MAX_THREADS"] = str(TASK.threads)  # read when polars is imported

import polars as pl  # noqa: E402

TYPES: dict[Type, pl.DataType] = {
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "string": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
}


def scan(task: Task, group: Group) -> pl.LazyFrame:
    # One scan for an account and region: their values are literals then. To take them from the
    # path of each row, with include_file_paths, is slower.
    frame = pl.scan_csv(
        group.files,
        separator=" ",
        quote_char=None,
        null_values="-",
        schema={
            field: pl.Int64() if type_ == "timestamp" else TYPES[type_]
            for field, type_ in task.log_fields.items()
        },
        infer_schema=False,
        glob=False,
    )
    return frame.select(
        *(select(task, column, type_).alias(column) for column, type_ in task.columns.items()),
        aws_account_id=pl.lit(group.account),
        aws_region=pl.lit(group.region),
        date=pl.from_epoch("start", "s").dt.date(),
    )


def select(task: Task, column: str, type_: Type) -> pl.Expr:
    field = task.field(column)
    if field is None:
        return pl.lit(None, TYPES[type_])
    if type_ == "timestamp":
        # Multiplied here: from_epoch(field, "s") gives milliseconds, which takes a second pass.
        return (pl.col(field) * 1_000_000).cast(TYPES[type_])
    return pl.col(field)


def main(task: Task) -> None:
    pl.concat([scan(task, group) for group in task.groups]).sink_parquet(
        pl.PartitionBy(task.dest, key=["aws_account_id", "aws_region", "date"], include_key=False),
        compression="zstd",
        maintain_order=False,
        mkdir=True,
        engine="streaming",
    )


if __name__ == "__main__":
    main(TASK)
