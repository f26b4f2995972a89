"""Stage 4, blocks of rows -> raw batches, where columns have the types of their fields already.

That is so in AWS's own delivery. `parquet_columns` does the same for everything else.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from flowconv.blocks.block import BlockEnd, RowBlock
from flowconv.blocks.counts import LineCounts
from flowconv.fields import MAX_SECONDS, TIME_COLUMNS, Field
from flowconv.rows.batch import ParsedBlock, RawBatch, RejectedLines
from flowconv.rows.schema import TEXT, field_type


def parse_native_rows(block: RowBlock) -> ParsedBlock | None:
    """Take a block's columns as they are.

    Returns:
        All of its rows; None if a column has another type than its field, a value that the field
        cannot have, or a time in milliseconds.
    """
    rows, format_ = block.rows, block.format
    if not all(_is_as_in_table(rows[field.column], field) for field in format_.fields):
        return None
    lines = np.arange(block.first_row, block.first_row + rows.num_rows)
    batch = RawBatch(
        format=format_, table=rows, sources=((block.log_object, rows.num_rows),), lines=lines
    )
    return ParsedBlock(
        batches=(batch,),
        counts=((block.log_object, LineCounts(rows=rows.num_rows)),),
        rejected=RejectedLines(),
        end=BlockEnd(format_, block.first_row + rows.num_rows),
    )


def _is_as_in_table(column: "pa.ChunkedArray[Any]", field: Field) -> bool:
    type_ = column.type
    if field.is_text:
        text: pa.DataType = type_.value_type if types.is_dictionary(type_) else type_
        return text == TEXT
    largest = MAX_SECONDS if field.column in TIME_COLUMNS else field.largest
    possible = (_are_all_possible(chunk, largest) for chunk in column.chunks)
    return type_ == field_type(field) and all(possible)


def _are_all_possible(numbers: "pa.Array[Any]", largest: int | None) -> bool:
    """Tell whether all are between 0 and a number; those of nulls count too, which are 0."""
    if not len(numbers):
        return True
    data: Any = numbers.buffers()[1]
    type_: Any = numbers.type
    width = type_.bit_width // 8
    values = np.frombuffer(data, f"i{width}", len(numbers), numbers.offset * width)
    return bool(values.min() >= 0) and (largest is None or bool(values.max() <= largest))
