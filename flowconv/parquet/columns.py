"""A column of Arrow -> values and numbers: how the kernel wants it, and how it is encoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from flowconv.kernel import pages
from flowconv.kernel.pages import Batches, Entries, Numbers
from flowconv.parquet.types import ColumnType

# Readers hold a dictionary in memory, beside a page.
_LARGEST_DICTIONARY = 4 << 20

# Integers with more distinct values than a part of the rows are written one by one, whatever the
# plain sizes: compressed, ports are a quarter smaller so (benchmarks/README.md, "pages").
_ROWS_PER_INTEGER = 16


@dataclass(slots=True, kw_only=True)
class Column:
    """A column of a row group: `entries`, and for each row the number of its entry.

    Attributes:
        name: Its name.
        type: How it is stored.
        entries: Values, or where texts lie; each at least once if not `ranks`.
        numbers: For each row the number of its entry; NULL for none.
        nulls: How many rows have no value.
        ranks: The entries are distinct and ascend.
        kept: What has the texts in memory.
    """

    name: str
    type: ColumnType
    entries: Entries
    numbers: Numbers
    nulls: int
    ranks: bool = False
    kept: Batches

    @property
    def is_constant(self) -> bool:
        """Whether all rows have one value, or none has any."""
        if self.nulls:
            return self.nulls == len(self.numbers)
        return self.ranks and len(self.entries) == 1


def as_stored(
    table: pa.Table | pa.RecordBatch, types: Sequence[ColumnType]
) -> pa.Table | pa.RecordBatch:
    """Return rows whose columns the kernel reads: those of other types are cast.

    Raises:
        ValueError: A time has too many seconds for milliseconds.
    """
    for place, (given, kind) in enumerate(zip(table.schema.types, types, strict=True)):
        stored = _stored_as(given, kind)
        if stored is not given and stored != given:
            cast: Any = table.column(place).cast(stored)
            table = table.set_column(place, table.schema.names[place], cast)
    return table


def _stored_as(given: pa.DataType, kind: ColumnType) -> pa.DataType:
    if isinstance(given, pa.DictionaryType):
        is_read = given.index_type == pa.int32()
        return given if is_read else pa.dictionary(pa.int32(), given.value_type)
    return given if pa.types.is_null(given) else kind.stored


def read_column(name: str, kind: ColumnType, batches: Batches, place: int) -> Column:
    """Read a column, in any layout.

    Raises:
        ValueError: An array is damaged.
    """
    entries, numbers, nulls = batches.read(place, kind.physical)
    return Column(name=name, type=kind, entries=entries, numbers=numbers, nulls=nulls, kept=batches)


def choose_rows(column: Column, places: Numbers) -> None:
    """Keep the rows at some places."""
    column.numbers = pages.reorder(column.numbers, places)
    if column.nulls:
        column.nulls = int(np.count_nonzero(column.numbers == pages.NULL))


def rank(column: Column, limit: int) -> bool:
    """Make the entries distinct and ascending; False, and no change, if there are more."""
    if column.ranks:
        return True
    find: Any = pages.distinct_texts if column.type.physical == "text" else pages.distinct_integers
    distinct: Entries | None = find(column.entries, column.numbers, limit)
    if distinct is None:
        return False
    column.entries = distinct
    column.ranks = True
    return True


def rank_if_useful(column: Column) -> None:
    """Make the entries distinct and ascending, unless there are too many for a dictionary."""
    rows = len(column.numbers)
    rank(column, rows if column.type.physical == "text" else rows // _ROWS_PER_INTEGER + 16)


def dictionary_width(column: Column, size_bytes: int) -> int:
    """Return the bits of a number if a dictionary of so many bytes makes it smaller, else 0."""
    if not column.ranks or not len(column.entries):
        return 0
    width = max(1, (len(column.entries) - 1).bit_length())
    values = len(column.numbers) - column.nulls
    if size_bytes > _LARGEST_DICTIONARY:
        return 0
    return width if _is_less(size_bytes + values * width // 8, column, values) else 0


def _is_less(size_bytes: int, column: Column, values: int) -> bool:
    """Tell whether this is less than all values take, written one by one."""
    value_bytes = 4 if column.type.physical != "int64" else 8
    if size_bytes < value_bytes * values:
        return True
    return column.type.physical == "text" and size_bytes < pages.plain_bytes(
        column.entries, column.numbers, "text"
    )
