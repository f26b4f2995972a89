"""Rows of a partition -> the same rows sorted, in bounded memory.

A partition that fits is sorted at once. Of a larger one, rows are looked at first to find ranges of
keys of as many rows as fit; then each row group is sorted and cut into these ranges, which wait in
temporary files; then range by range is sorted.
"""

import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa

from flowconv.lake.buffered_rows import with_own_dictionaries
from flowconv.parquet.writing import ROW_GROUP_ROWS as PIECE_ROWS
from flowconv.parquet.writing import sorted_order
from flowconv.rows.partitioning import indices
from flowconv.storage.local_errors import storage_errors

# Rows of a row group, about: those of a partition are equally large, 294,912 to 589,824 rows if it
# has that many. More than in other files: fewer footers, and readers skip pages within them. Not so
# few that polars also fetches what lies between an address and its bytes, since it is less than a
# megabyte (benchmarks/README.md, "compact").
ROW_GROUP_ROWS = 384 << 10

# Rows that are sorted at once: some 250 MB with what sorting takes.
ROWS_AT_ONCE = 768 << 10

# A dictionary with fewer texts than this part of the rows is short.
_ROWS_PER_TEXT = 16

# After so many columns, memory is given back.
_COLUMNS_TO_RELEASE = 10

# Rows of each row group that are looked at to find ranges.
_SAMPLES = 64

Read = Callable[[Sequence[str]], Iterable[pa.Table]]
"""Gives the rows with these columns, a row group at a time, in the same order each time."""


def sort_rows(
    read: Read,
    rows: int,
    columns: Sequence[str],
    sort_by: Sequence[str],
    folder: str | None,
    keep: Callable[[Iterable[pa.Table]], Iterator[pa.Table]] = iter,
) -> Iterator[list[pa.Table]]:
    """Sort rows: nulls come first, and rows with equal keys keep their order.

    Args:
        read: Gives the rows.
        rows: Their number.
        columns: Their columns; without those that have no value.
        sort_by: Keys, the most important one first; those that are not among the columns are left
            out.
        folder: Where temporary files are written; None: where the system has them.
        keep: Takes the sorted rows, and gives those that are to be kept.

    Yields:
        The rows of a row group, in one table or more.

    Raises:
        StorageError: The temporary files cannot be written.
    """
    keys = [name for name in sort_by if name in columns]
    group_rows = -(-rows // max(1, round(rows / ROW_GROUP_ROWS)))
    if rows <= ROWS_AT_ONCE:
        tables = list(read(columns))
        yield from _row_groups(keep(_sorted_pieces(tables, keys)), group_rows)
        return
    with ExitStack() as stack:
        ranges = _Ranges(read, rows, keys, folder, stack)
        for table in read(columns):
            ranges.add(table)
        yield from _row_groups(keep(ranges.sorted_pieces()), group_rows)


def _sorted_pieces(tables: list[pa.Table], keys: Sequence[str]) -> Iterator[pa.Table]:
    """Sort tables, which are dropped; give pieces of their rows; texts have one dictionary."""
    if not tables:
        return
    names = tables[0].column_names
    pending = {name: [chunk for table in tables for chunk in table[name].chunks] for name in names}
    tables.clear()
    joined = {name: _joined(pending.pop(name)) for name in keys or names[:1]}
    order = indices(sorted_order(pa.table(joined), keys).astype(np.int64))
    columns: list[Any] = []
    pool = pa.default_memory_pool()
    for name in names:
        # Column by column, so that no more than one is in memory twice.
        column = joined.pop(name) if name in joined else _joined(pending.pop(name))
        columns.append(column.take(order))
        # What was freed lies between what was not. Arrow's own allocators would keep 60 MB of it
        # for each worker. malloc keeps less, and compaction would take a sixth longer.
        if len(columns) % _COLUMNS_TO_RELEASE == 0 and pool.backend_name != "system":
            pool.release_unused()
    whole = pa.table(columns, names=names)
    for start in range(0, whole.num_rows, PIECE_ROWS):
        yield whole.slice(start, PIECE_ROWS)


def _joined(chunks: "list[pa.Array[Any]]") -> Any:
    """Return a column as one chunk."""
    chunked: Any = pa.chunked_array(chunks)
    return chunked.unify_dictionaries().combine_chunks()


def _row_groups(pieces: Iterable[pa.Table], group_rows: int) -> Iterator[list[pa.Table]]:
    """Join and cut pieces, so that all row groups but the last have so many rows."""
    group: list[pa.Table] = []
    room = group_rows
    for piece in pieces:
        rest = piece
        while rest.num_rows >= room:
            yield [*group, rest.slice(0, room)]
            rest, group, room = rest.slice(room), [], group_rows
        if rest.num_rows:
            group.append(rest)
            room -= rest.num_rows
    if group:
        yield group


class _Ranges:
    """Ranges of keys, and their rows in temporary files, which nobody else sees."""

    def __init__(
        self, read: Read, rows: int, keys: Sequence[str], folder: str | None, stack: ExitStack
    ) -> None:
        self._keys = keys
        self._stack = stack
        self._folder = folder
        # Ranges differ in size, since samples are few.
        number = -(-rows * 4 // (3 * ROWS_AT_ONCE))
        samples = sorted(_samples(read, keys))
        places = np.linspace(0, len(samples), number + 1)[1:-1].astype(int).tolist()
        self._bounds = [samples[place] for place in places]
        self._files: list[Any] = [None] * number
        self._writers: list[Any] = [None] * number
        self._first_row = 0

    def add(self, table: pa.Table) -> None:
        """Write rows to the ranges that they are in."""
        order = sorted_order(table, self._keys).astype(np.int64)
        # Most row groups are in the default order already.
        is_sorted = np.array_equal(order, np.arange(len(order)))
        rows = table if is_sorted else table.take(indices(order))
        columns = [rows[name] for name in self._keys]
        first = self._first_row

        def key_of(place: int) -> tuple[Any, ...]:
            return _key(columns, place, first + int(order[place]))

        cuts = [bisect_left(range(rows.num_rows), bound, key=key_of) for bound in self._bounds]
        for place, (start, stop) in enumerate(zip([0, *cuts], [*cuts, rows.num_rows], strict=True)):
            if start < stop:
                # To find a short dictionary's texts takes longer than to write them all.
                least = (stop - start) // _ROWS_PER_TEXT
                piece = rows.slice(start, stop - start)
                self._write(place, with_own_dictionaries(piece, least))
        self._first_row += rows.num_rows

    def sorted_pieces(self) -> Iterator[pa.Table]:
        """Give the rows of all ranges, sorted."""
        for place, writer in enumerate(self._writers):
            if writer is None:
                continue
            with storage_errors(self._name):
                writer.close()
                self._files[place].seek(0)
                with pa.ipc.open_stream(pa.PythonFile(self._files[place], mode="r")) as stream:
                    tables = [pa.Table.from_batches([batch]) for batch in stream]
            self._files[place].close()
            yield from _sorted_pieces(tables, self._keys)

    def _write(self, place: int, rows: pa.Table) -> None:
        with storage_errors(self._name):
            if self._writers[place] is None:
                file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
                self._files[place] = self._stack.enter_context(file)
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                sink = pa.PythonFile(file, mode="w")
                self._writers[place] = pa.ipc.new_stream(sink, rows.schema, options=options)
            self._writers[place].write_table(rows)

    @property
    def _name(self) -> str:
        return self._folder or tempfile.gettempdir()


def _samples(read: Read, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Give the keys of some rows of each row group, at equal distances."""
    first = 0
    for table in read(keys):
        columns = [table[name] for name in keys]
        for place in range(0, table.num_rows, max(1, table.num_rows // _SAMPLES)):
            yield _key(columns, place, first + place)
        first += table.num_rows


def _key(columns: "Sequence[pa.ChunkedArray[Any]]", place: int, row: int) -> tuple[Any, ...]:
    """Return what rows are compared by: nulls come first, texts compare as their bytes do.

    The row's number is the last key: rows with equal keys need not be in one range.
    """
    return (*(_comparable(column[place]) for column in columns), row)


def _comparable(scalar: Any) -> tuple[bool, Any]:
    value = scalar.value if isinstance(scalar, pa.TimestampScalar) else scalar.as_py()
    return value is not None, value.encode() if isinstance(value, str) else value or 0
