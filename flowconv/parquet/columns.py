"""A column of Arrow -> values and numbers: how the kernel wants it, and how it is encoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from flowconv.kernel import pages
from flowconv.kernel.pages import Entries, Integers, Numbers, Texts
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
        kept: Arrow's arrays with the texts.
    """

    name: str
    type: ColumnType
    entries: Entries
    numbers: Numbers
    nulls: int
    ranks: bool = False
    kept: list[Any]

    @property
    def is_constant(self) -> bool:
        """Whether all rows have one value, or none has any."""
        if self.nulls:
            return self.nulls == len(self.numbers)
        return self.ranks and len(self.entries) == 1


def has_only_nulls(chunks: "Sequence[pa.Array[Any]]") -> bool:
    """Tell whether no row of a column has a value, without a look at the rows.

    False where only a dictionary's own nulls make them so.
    """
    return all(chunk.null_count == len(chunk) for chunk in chunks)


def read_column(name: str, kind: ColumnType, chunks: "Sequence[pa.Array[Any]]") -> Column:
    """Read a column, each chunk of it in any layout; chunks of Arrow's type null do, too.

    Raises:
        ValueError: An array is damaged, or a time has too many seconds for milliseconds.
    """
    parts = [_stored(chunk, kind) for chunk in chunks if len(chunk)]
    numbers = np.empty(sum(map(len, parts)), np.uint32)
    read = _read_texts if kind.physical == "text" else _read_integers
    entries, nulls = read(parts, numbers)
    return Column(name=name, type=kind, entries=entries, numbers=numbers, nulls=nulls, kept=parts)


def _stored(chunk: "pa.Array[Any]", kind: ColumnType) -> "pa.Array[Any]":
    if isinstance(chunk, pa.DictionaryArray) or chunk.type == kind.stored:
        return chunk
    return chunk.cast(kind.stored)


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


def dictionary_width(column: Column) -> int:
    """Return the bits of a number if a dictionary makes the column smaller, else 0."""
    if not column.ranks or not len(column.entries):
        return 0
    width = max(1, (len(column.entries) - 1).bit_length())
    values = len(column.numbers) - column.nulls
    size_bytes = dictionary_bytes(column)
    if size_bytes > _LARGEST_DICTIONARY:
        return 0
    return width if _is_less(size_bytes + values * width // 8, column, values) else 0


def longest_value(column: Column) -> int:
    """Return what the longest value takes, or more."""
    if column.type.physical != "text":
        return 8
    return 4 + int(column.entries["size_bytes"].max(initial=0))


def _is_less(size_bytes: int, column: Column, values: int) -> bool:
    """Tell whether this is less than all values take, written one by one."""
    value_bytes = 4 if column.type.physical != "int64" else 8
    if size_bytes < value_bytes * values:
        return True
    return column.type.physical == "text" and size_bytes < pages.plain_bytes(
        column.entries, column.numbers, "text"
    )


def dictionary_bytes(column: Column) -> int:
    """Return what the entries take, written one by one."""
    if column.type.physical == "text":
        return int(column.entries["size_bytes"].sum()) + 4 * len(column.entries)
    return len(column.entries) * (4 if column.type.physical == "int32" else 8)


def _read_integers(chunks: "list[pa.Array[Any]]", numbers: Numbers) -> tuple[Integers, int]:
    entries = np.empty(len(numbers), np.int64)
    nulls = first = 0
    for chunk in chunks:
        stop = first + len(chunk)
        width = np.int32 if pa.types.is_int32(chunk.type) else np.int64
        values: Any = chunk.buffers()[1]
        offset = chunk.offset * np.dtype(width).itemsize
        entries[first:stop] = np.frombuffer(values, width, len(chunk), offset)
        nulls += pages.number_rows(chunk, first, numbers[first:stop])
        first = stop
    return entries, nulls


def _read_texts(chunks: "list[pa.Array[Any]]", numbers: Numbers) -> tuple[Texts, int]:
    parts: list[Texts] = [pages.NO_TEXTS]
    nulls = row = entries = 0
    last: pa.Array[Any] | None = None
    chunk: Any
    for chunk in _plain_if_odd(chunks):
        rows = numbers[row : row + len(chunk)]
        row += len(chunk)
        is_dictionary = isinstance(chunk, pa.DictionaryArray)
        texts = chunk.dictionary if is_dictionary else chunk
        # A dictionary mostly goes on where that of the batch before ended.
        known = len(last) if is_dictionary and last is not None and _begins_with(texts, last) else 0
        parts.append(pages.read_texts(texts.slice(known)))
        entries += len(texts) - known
        first = entries - len(texts)
        if is_dictionary:
            nulls += pages.number_indices(chunk.indices, len(texts), first, rows)
        else:
            nulls += pages.number_rows(chunk, first, rows)
        last = texts if is_dictionary else None
    return np.concatenate(parts), nulls


def _plain_if_odd(chunks: "list[pa.Array[Any]]") -> "Iterator[pa.Array[Any]]":
    """Give the chunks; dictionaries of what the kernel does not read are undone.

    An undone chunk takes the place of the other in the list, which keeps its texts in memory.
    """
    for place, chunk in enumerate(chunks):
        if isinstance(chunk, pa.DictionaryArray):
            if chunk.dictionary.null_count:
                chunks[place] = chunk.dictionary_decode()
            elif chunk.indices.type != pa.int32():
                indices: Any = chunk.indices.cast(pa.int32())
                chunks[place] = pa.DictionaryArray.from_arrays(indices, chunk.dictionary)
        yield chunks[place]


def _begins_with(texts: "pa.Array[Any]", first: "pa.Array[Any]") -> bool:
    """Tell whether texts begin with those of another array, which lie where its own do.

    False for copies: looking at each text would take as long as it saves.
    """
    if len(texts) < len(first) or texts.type != first.type or texts.offset or first.offset:
        return False
    return _addresses(texts) == _addresses(first)


def _addresses(texts: "pa.Array[Any]") -> list[int]:
    return [0 if buffer is None else buffer.address for buffer in texts.buffers()[1:]]
