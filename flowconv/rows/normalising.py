"""Stage 5, raw batches -> flow batches: the table's columns, types and times."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa

from flowconv.blocks.block import Events
from flowconv.fields import FIELDS, MAX_SECONDS, TAG_FIELDS, TIME_COLUMNS, Table
from flowconv.option_values import TimeType
from flowconv.rows.batch import RawBatch
from flowconv.rows.schema import TIMESTAMP
from flowconv.rows.table_columns import FLOW_LOG_ID, SOURCE_COLUMNS, UNKNOWN_FIELDS
from flowconv.source.keys import LogObject

# The place of a text that is not there.
_NO_TEXT = -1


class FlowBatch(NamedTuple):
    """Rows as the table has them, in the order of the log.

    Done: the table's columns in its order, its types, UTC times, nulls for what the log lacks,
    percent-decoded tag values, unknown fields in one column. Not yet done: the split into
    partitions.

    Attributes:
        table: The table that the rows belong to.
        rows: The columns of the table. Those without any value may have Arrow's type null, which
            takes no memory.
        sources: The objects that the rows come from, in the rows' order, and how many are theirs.
        events: See `RawBatch.events`.
    """

    table: Table
    rows: pa.Table
    sources: tuple[tuple[LogObject, int], ...]
    events: Events | None = None


def normalise(batch: RawBatch, time_type: TimeType, *, with_source: bool = False) -> FlowBatch:
    """Give every column its name, place and type in the table.

    Args:
        batch: Columns as the log has them. Left unchanged.
        time_type: `timestamp` makes `start` and `end` UTC timestamps in microseconds, `epoch`
            leaves them int64 seconds.
        with_source: Add the columns `SOURCE_COLUMNS`.

    Returns:
        The same rows. Times in milliseconds, which some logs have, have become seconds.
    """
    raw = batch.table
    present = set(batch.format.columns)
    nulls = pa.chunked_array([pa.nulls(raw.num_rows)])
    columns: dict[str, pa.ChunkedArray[Any]] = {}
    for field in FIELDS[batch.format.table]:
        if field.column not in present:
            columns[field.column] = nulls
        elif field.column in TIME_COLUMNS:
            columns[field.column] = _times(raw[field.column], time_type)
        elif field in TAG_FIELDS:
            columns[field.column] = _percent_decoded(raw[field.column])
        else:
            columns[field.column] = raw[field.column]
    columns[FLOW_LOG_ID] = _of_sources(batch, lambda source: source.flow_log_id)
    columns[UNKNOWN_FIELDS] = _unknown_fields(batch) if batch.format.unknown_fields else nulls
    if with_source:
        uri, line = SOURCE_COLUMNS
        columns[uri] = _of_sources(batch, lambda source: source.uri)
        columns[line] = pa.chunked_array([pa.array(batch.lines, pa.int64())])
    return FlowBatch(batch.format.table, pa.table(columns), batch.sources, batch.events)


def _unknown_fields(batch: RawBatch) -> "pa.ChunkedArray[Any]":
    # Few logs have such, and Arrow's functions take long to import.
    from flowconv.rows.unknown_fields import as_json

    fields = {field.name: batch.table[field.column] for field in batch.format.unknown_fields}
    return as_json(fields, batch.table.num_rows)


def _of_sources(
    batch: RawBatch, text_of: Callable[[LogObject], str | None]
) -> "pa.ChunkedArray[Any]":
    """Return for each row a text that its object says."""
    texts = [text_of(source) for source, _ in batch.sources]
    distinct = pa.array(dict.fromkeys(text for text in texts if text is not None), pa.string())
    if not len(distinct):
        return pa.chunked_array([pa.nulls(batch.table.num_rows)])
    place = {text: place for place, text in enumerate(distinct.to_pylist())}
    codes = np.array([_NO_TEXT if text is None else place[text] for text in texts], np.int32)
    codes = np.repeat(codes, [rows for _, rows in batch.sources])
    validity = None
    if None in texts:
        validity = pa.py_buffer(np.packbits(codes != _NO_TEXT, bitorder="little").data)
        codes = np.maximum(codes, 0)
    places: Any = pa.Array.from_buffers(
        pa.int32(), len(codes), [validity, pa.py_buffer(codes.data)]
    )
    return pa.chunked_array([pa.DictionaryArray.from_arrays(places, distinct)])


def _times(seconds: "pa.ChunkedArray[Any]", time_type: TimeType) -> "pa.ChunkedArray[Any]":
    kind: Any = pa.int64() if time_type == "epoch" else TIMESTAMP
    factor = 1 if time_type == "epoch" else 1_000_000
    return pa.chunked_array([_scaled(chunk, factor, kind) for chunk in seconds.chunks], kind)


def _scaled(seconds: "pa.Array[Any]", factor: int, kind: pa.DataType) -> "pa.Array[Any]":
    """Return times as numbers of another unit; milliseconds among them become seconds first."""
    validity, data = seconds.buffers()
    # In front of its offset, a slice has what other slices show; where null, there may be anything.
    given: Any = data or b""
    values = np.frombuffer(given, np.int64, seconds.offset + len(seconds))
    if values.max(initial=0) > MAX_SECONDS:
        values = np.where(values > MAX_SECONDS, values // 1000, values)
    buffers = [validity, pa.py_buffer((values * factor).data)]
    return pa.Array.from_buffers(kind, len(seconds), buffers, seconds.null_count, seconds.offset)


def _percent_decoded(column: "pa.ChunkedArray[Any]") -> "pa.ChunkedArray[Any]":
    # Tags repeat on every record of a resource, so only the distinct values are decoded.
    return _map_distinct(column, _unquote)


def _unquote(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return text


def _map_distinct(
    column: "pa.ChunkedArray[Any]", function: Callable[[str], str]
) -> "pa.ChunkedArray[Any]":
    coded: Any = column.combine_chunks()
    if not pa.types.is_dictionary(column.type):
        coded = coded.dictionary_encode()
    distinct: Any = coded.dictionary.to_pylist()
    values = pa.array([function(value) for value in distinct], pa.string())
    # Two values may have become one, and a dictionary has each but once.
    return pa.chunked_array([values.take(coded.indices).dictionary_encode()]).cast(column.type)
