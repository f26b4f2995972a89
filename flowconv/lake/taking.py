"""Some rows of a table -> a table of their own.

At first they are taken by numpy: Arrow's own function, which takes a third of the time, is imported
with all of `pyarrow.compute`, an eighth of a short run.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.rows.partitioning import indices

_Places = npt.NDArray[np.integer[Any]]
_Flags = npt.NDArray[np.bool_]


# From then on Arrow's is worth its import, which takes as long as these.
_FEW_TIMES = 8

# To look through a dictionary takes longer than to write out the texts of as many rows.
_FEW_ROWS = 4096

_times = count()


def taken(table: pa.Table, places: _Places) -> pa.Table:
    """Return rows that keep nothing of the table; texts of few rows are plain.

    Meanwhile a column of texts takes 16 times their bytes.

    Args:
        table: Its columns are texts, dictionaries of texts, integers, timestamps or null.
        places: The rows.
    """
    columns: list[Any]
    if next(_times) >= _FEW_TIMES:
        columns = [_alone(column) for column in table.take(indices(places)).columns]
    else:
        columns = [_taken(column, places) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def with_own_dictionary(array: "pa.DictionaryArray[Any, Any]") -> "pa.DictionaryArray[Any, Any]":
    """Return texts whose dictionary has no others."""
    numbers = _numbers(array.buffers()[1], array, np.int32)
    # Of a null there may be any number.
    is_known = _flags(array) if array.null_count else np.ones(len(array), bool)
    is_used = np.zeros(len(array.dictionary), bool)
    is_used[numbers[is_known]] = True
    own = np.zeros(len(array), np.int32)
    own[is_known] = (np.cumsum(is_used, dtype=np.int32) - np.int32(1))[numbers[is_known]]
    places = np.flatnonzero(is_used)
    texts = _values(array.dictionary, places, np.ones(len(places), bool))
    codes = pa.Array.from_buffers(pa.int32(), len(own), _buffers(is_known, own))
    return pa.DictionaryArray.from_arrays(codes, texts)


def _alone(column: "pa.ChunkedArray[Any]") -> Any:
    """Return texts without those that only other rows have, and what else there is as it is."""
    if not pa.types.is_dictionary(column.type):
        return column
    chunks: list[Any] = column.chunks
    if len(column) > _FEW_ROWS:
        chunks = [with_own_dictionary(chunk) for chunk in chunks]
    else:
        chunks = [chunk.dictionary_decode() for chunk in chunks]
    return pa.chunked_array(chunks or [pa.array([], pa.string())])


def _taken(column: "pa.ChunkedArray[Any]", places: _Places) -> Any:
    # A chunk alone would be copied.
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return _values(array, places, np.ones(len(places), bool))


def _values(array: Any, places: _Places, is_known: _Flags) -> Any:
    """Return the values at some places, null where there is none or it is not known."""
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(places))
    data = array.buffers()[1:]
    if array.null_count:
        is_known = is_known & _flags(array)[places]
    if pa.types.is_dictionary(kind):
        # Of a null there may be any number.
        numbers = np.where(is_known, _numbers(data[0], array, np.int32)[places], 0)
        return _values(array.dictionary, numbers, is_known)
    if not is_known.any():
        return pa.nulls(len(places), kind)
    chosen: Sequence[npt.NDArray[Any]]
    if pa.types.is_string(kind):
        chosen = _texts(array, places)
    else:
        chosen = [_numbers(data[0], array, f"i{kind.bit_width // 8}")[places]]
    return pa.Array.from_buffers(kind, len(places), _buffers(is_known, *chosen))


def _buffers(is_known: _Flags, *data: npt.NDArray[Any]) -> "list[pa.Buffer | None]":
    flags = None if is_known.all() else np.packbits(is_known, bitorder="little")
    return [part if part is None else pa.py_buffer(part.data) for part in (flags, *data)]


def _flags(array: Any) -> _Flags:
    """Tell of each value whether it is none of the nulls, of which there are some."""
    bits = np.unpackbits(np.frombuffer(array.buffers()[0], np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].view(bool)


def _texts(array: Any, places: _Places) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Return the offsets and the bytes of the texts at some places."""
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(array) + 1, 4 * array.offset)
    starts = bounds[places]
    sizes = bounds[places + 1] - starts
    ends = np.cumsum(sizes)
    at = np.arange(ends[-1]) + np.repeat(starts - ends + sizes, sizes)
    return np.append(0, ends).astype(np.int32), np.frombuffer(data or b"", np.uint8)[at]


def _numbers(data: Any, array: Any, dtype: Any) -> npt.NDArray[Any]:
    width = np.dtype(dtype).itemsize
    return np.frombuffer(data, dtype, len(array), width * array.offset)
