"""Files of OCSF: rows of a table -> Parquet with nested columns, in order of time.

Security Lake wants the records of each object in order of time, pages of at most 1 MB, and row
groups of at most 256 MB
(https://docs.aws.amazon.com/security-lake/latest/userguide/custom-sources.html). pyarrow writes
them: the native writer is for flat columns.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowconv.kernel.pages import Numbers
from flowconv.options import Compression
from flowconv.rows.ocsf import to_ocsf
from flowconv.rows.ocsf_schema import OCSF_SCHEMA
from flowconv.rows.partition_names import NO_ACCOUNT, NULL_PARTITION, PartitionKey
from flowconv.rows.partitioning import indices

# Nested, a row takes a kilobyte in memory.
_ROWS_AT_ONCE = 16 << 10
_ROW_GROUP_ROWS = 32 << 10

# Pages are cut after batches of rows, so they may become a little larger.
_PAGE_BYTES = 512 << 10


class OcsfWriter:
    """Writes a file of OCSF. For one thread.

    Args:
        file: What it writes to. It does not close it.
        key: The partition.
        compression: Of all pages.
    """

    def __init__(self, file: pa.NativeFile, key: PartitionKey, compression: Compression) -> None:
        self._table = key.table
        values = dict(part.split("=", 1) for part in key.path.split("/"))
        self._account = _value(values["accountId"])
        self._region = _value(values["region"])
        self._parquet = pq.ParquetWriter(
            file,
            OCSF_SCHEMA,
            compression=compression,
            data_page_size=_PAGE_BYTES,
            write_page_index=True,
            write_page_checksum=True,
            sorting_columns=[pq.SortingColumn(OCSF_SCHEMA.get_field_index("time"))],
            store_schema=False,
        )

    def write_row_group(self, tables: Sequence[pa.Table], places: "Numbers | None" = None) -> None:
        """Write all rows of the file, in order of time; those without a time are last.

        Args:
            tables: The rows.
            places: Which of them, as `ParquetWriter.write_row_group`.
        """
        rows = _joined(tables if places is None else list(_chosen(tables, places)))
        order = np.argsort(_times(rows), kind="stable")
        for start in range(0, len(order), _ROW_GROUP_ROWS):
            group = order[start : start + _ROW_GROUP_ROWS]
            self._parquet.write_table(
                pa.concat_tables(
                    self._events(rows, group[place : place + _ROWS_AT_ONCE])
                    for place in range(0, len(group), _ROWS_AT_ONCE)
                ),
                row_group_size=_ROW_GROUP_ROWS,
            )

    def close(self) -> None:
        """Write the footer."""
        self._parquet.close()

    def _events(self, rows: pa.Table, places: Any) -> pa.Table:
        return to_ocsf(rows.take(indices(places)), self._table, self._account, self._region)


def _value(name: str) -> str | None:
    """Return the value of a partition's directory; None if it stands for none."""
    return None if name in (NULL_PARTITION, NO_ACCOUNT) else unquote(name)


def _chosen(tables: Sequence[pa.Table], places: "Numbers") -> Iterator[pa.Table]:
    """Give the rows at some places, table by table: joined, the others would be copied, too."""
    first = 0
    for table in tables:
        start, stop = np.searchsorted(places, (first, first + table.num_rows))
        yield table.take(indices(places[start:stop] - np.uint32(first)))
        first += table.num_rows


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Return all rows; texts are dictionaries, one for each column."""
    coded = [_with_coded_texts(table) for table in tables]
    # A column of nulls takes the type of the others.
    joined = pa.concat_tables(coded, promote_options="default")
    return joined.unify_dictionaries().combine_chunks()


def _with_coded_texts(table: pa.Table) -> pa.Table:
    columns = [
        column.dictionary_encode() if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def _times(rows: pa.Table) -> Any:
    """Return the time of each row as a number to sort by; the largest is for none."""
    last = pa.scalar(np.iinfo(np.int64).max)
    start, end = (rows[name].cast(pa.int64()) for name in ("start", "end"))
    times: Any = pc.coalesce(start, end, last)
    return times.to_numpy()
