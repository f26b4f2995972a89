"""polars: what `polars_scan_csv` writes is collected; prints the rows."""

# First: it says how many threads polars may start.
from contenders.polars_scan_csv import TASK, scan

import polars as pl  # isort: skip


def main() -> None:
    print(pl.concat([scan(TASK, group) for group in TASK.groups]).collect().height)


if __name__ == "__main__":
    main()
