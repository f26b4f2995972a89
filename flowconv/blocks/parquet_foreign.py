"""Of stage 3c: a row group of any Parquet file -> tables, by Arrow.

Copies by other tools have any types and encodings.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from flowconv.blocks.block import BLOCK_BYTES
from flowconv.blocks.parquet_footer import Footer
from flowconv.blocks.parquet_pages import ColumnPages, row_too_long, rows_at_once
from flowconv.blocks.parquet_types import CODED_TEXT, Column, one_by_one
from flowconv.kernel.decoding import measure_places

# Of large row groups, this much of a column is read at a time.
_STREAM_BYTES = 64 << 10


class ForeignFile:
    """A file as Arrow reads it.

    Args:
        data: The file.
        footer: What its footer says.

    Attributes:
        schema: Its columns.

    Raises:
        ArrowException, OSError, ValueError: It is damaged; so do all methods.
    """

    def __init__(self, data: pa.Buffer, footer: Footer) -> None:
        self._data = data
        self._groups = footer.groups
        parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        self._metadata = parquet.metadata
        self.schema = parquet.schema_arrow
        columns = self._metadata.schema
        names = [columns.column(place).path for place in range(len(columns))]
        if names != [column.name for column in footer.columns]:
            raise ValueError("its schema is damaged")

    def read(
        self, number: int, columns: Sequence[ColumnPages], most_rows: int, coded: Collection[str]
    ) -> Iterator[tuple[pa.Table, int]]:
        """Read a row group.

        Args:
            number: Its number in the file.
            columns: The columns that are read.
            most_rows: How many rows are read at once, or fewer if they are long.
            coded: The columns of texts that become places in a dictionary.

        Yields:
            Tables of the columns; and how many bytes they take if all values lie one by one.

        Raises:
            FormatError: A row is too long for a record.
        """
        parquet = pq.ParquetFile(
            pa.BufferReader(self._data),
            metadata=self._metadata,
            read_dictionary=sorted(coded),
            buffer_size=_STREAM_BYTES if self._groups[number].size_bytes > BLOCK_BYTES else 0,
            page_checksum_verification=True,
        )
        schema = parquet.schema_arrow
        coded = {name for name in coded if types.is_dictionary(schema.field(name).type)}
        names = [column.name for column in columns]
        longest = _longest_value(parquet, number, columns, most_rows)
        rows = rows_at_once(columns, most_rows, coded, longest)
        for batch in parquet.iter_batches(rows, [number], columns=names, use_threads=False):
            batch.validate(full=True)
            table = pa.Table.from_batches([batch]).select(names)
            yield table, sum(map(_size_one_by_one, table.columns))


def _longest_value(
    parquet: pq.ParquetFile, number: int, columns: Sequence[ColumnPages], most_rows: int
) -> int:
    """Return the length of the longest value of those that each begin as the one before.

    Nothing but decoding them tells.
    """
    longest = 0
    for column in columns:
        if not column.delta_page_bytes:
            continue
        rows = rows_at_once([column], most_rows, ())
        for batch in parquet.iter_batches(rows, [number], columns=[column.name]):
            values: Any = one_by_one(batch.column(0))
            most = pc.max(pc.binary_length(values)).as_py()
            longest = max(longest, most or 0)
            if longest > BLOCK_BYTES:
                raise row_too_long()
    return longest


def _size_one_by_one(column: Column) -> int:
    """Return how many bytes a column takes whose values lie one by one."""
    size = 0
    for chunk in column.chunks:
        if chunk.type == CODED_TEXT:
            size += 4 * len(chunk) + _measure_coded(chunk)
        else:
            size += one_by_one(chunk).nbytes
    return size


def _measure_coded(texts: "pa.DictionaryArray[Any, Any]") -> int:
    indices, dictionary = texts.indices, texts.dictionary
    validity, places = indices.buffers()
    offsets = dictionary.buffers()[1]
    if not places or not offsets:
        return 0
    offsets = offsets.slice(4 * dictionary.offset)
    return measure_places(places, validity, indices.offset, len(indices), offsets)
