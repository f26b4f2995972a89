"""Columns of times as numpy has them, in whatever unit they are.

Without Arrow's functions: to import `pyarrow.compute` takes an eighth of a short run.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Times = npt.NDArray[np.int64]


def known_times(column: "pa.ChunkedArray[Any]") -> Times:
    """Return the times that are not null, in their order."""
    times = _joined(column)
    if times.null_count == len(times):
        return np.empty(0, np.int64)
    return _numbers(times.drop_null() if times.null_count else times)


def filled_times(column: "pa.ChunkedArray[Any]") -> Times:
    """Return the times of all rows, -1 for null."""
    times = _joined(column)
    if times.null_count == len(times):
        return np.full(len(times), -1)
    return _numbers(times.cast(pa.int64()).fill_null(-1) if times.null_count else times)


def _joined(column: "pa.ChunkedArray[Any]") -> Any:
    # A chunk alone would be copied.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _numbers(times: Any) -> Times:
    data = times.buffers()[1]
    return np.frombuffer(data, np.int64, len(times), 8 * times.offset)
