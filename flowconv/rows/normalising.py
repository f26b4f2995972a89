"""Stage 5, raw batches -> flow batches: the table's columns, types and times."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.blocks.block import Events
from flowconv.fields import FIELDS, MAX_SECONDS, TAG_FIELDS, TIME_COLUMNS, Table
from flowconv.options import TimeType
from flowconv.rows.batch import RawBatch
from flowconv.rows.schema import FLOW_LOG_ID, SOURCE_COLUMNS, TIMESTAMP, UNKNOWN_FIELDS
from flowconv.rows.unknown_fields import as_json
from flowconv.source.keys import LogObject


@dataclass(frozen=True, slots=True)
class FlowBatch:
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
    columns[UNKNOWN_FIELDS] = as_json(
        {field.name: raw[field.column] for field in batch.format.unknown_fields}, raw.num_rows
    )
    if with_source:
        uri, line = SOURCE_COLUMNS.names
        columns[uri] = _of_sources(batch, lambda source: source.uri)
        columns[line] = pa.chunked_array([pa.array(batch.lines, pa.int64())])
    return FlowBatch(batch.format.table, pa.table(columns), batch.sources, batch.events)


def _of_sources(
    batch: RawBatch, text_of: Callable[[LogObject], str | None]
) -> "pa.ChunkedArray[Any]":
    """Return for each row a text that its object says."""
    texts = [text_of(source) for source, _ in batch.sources]
    distinct = pa.array(dict.fromkeys(text for text in texts if text is not None), pa.string())
    if not len(distinct):
        return pa.chunked_array([pa.nulls(batch.table.num_rows)])
    place: dict[str | None, int | None] = {
        text: place for place, text in enumerate(distinct.to_pylist())
    }
    counts = [rows for _, rows in batch.sources]
    codes = pa.array([place.get(text) for text in texts], pa.int32())
    taken = codes.take(np.repeat(np.arange(len(texts)), counts))
    return pa.chunked_array([pa.DictionaryArray.from_arrays(taken, distinct)])


def _times(seconds: "pa.ChunkedArray[Any]", time_type: TimeType) -> "pa.ChunkedArray[Any]":
    most = pc.max(seconds).as_py()
    if most is not None and most > MAX_SECONDS:
        milliseconds = pc.greater(seconds, pa.scalar(MAX_SECONDS))
        seconds = pc.if_else(milliseconds, pc.divide(seconds, pa.scalar(1000)), seconds)
    if time_type == "epoch":
        return seconds
    microseconds: pa.ChunkedArray[Any] = pc.multiply(seconds, pa.scalar(1_000_000))
    return microseconds.cast(TIMESTAMP)


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
