"""Stage 5, raw batches -> flow batches: the table's columns, types and times."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.blocks.block import Events
from flowconv.fields import (
    ALWAYS_COLUMNS,
    MAX_SECONDS,
    TAG_FIELDS,
    TIME_COLUMNS,
    Table,
)
from flowconv.options import TimeType
from flowconv.rows.batch import RawBatch
from flowconv.rows.schema import SOURCE_COLUMNS, TIMESTAMP, column_type
from flowconv.source.keys import LogObject


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """Rows as the table has them, in the order of the log.

    Done: the table's columns in its order, its types, UTC times, nulls for what the log lacks,
    percent-decoded tag values. Not yet done: the split into partitions.

    Attributes:
        table: The table that the rows belong to.
        rows: The columns that every file has, then those that this log has beyond them.
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
    fields = [*ALWAYS_COLUMNS[batch.format.table], *batch.format.extra_fields]
    columns = []
    for field in fields:
        if field.column not in present:
            columns.append(_nulls(raw.num_rows, column_type(field, time_type)))
        elif field.column in TIME_COLUMNS:
            columns.append(_times(raw[field.column], time_type))
        elif field in TAG_FIELDS:
            columns.append(_percent_decoded(raw[field.column]))
        else:
            columns.append(raw[field.column])
    names = [field.column for field in fields]
    if with_source:
        names += SOURCE_COLUMNS.names
        columns += [_uris(batch), pa.chunked_array([pa.array(batch.lines, pa.int64())])]
    rows = pa.table(columns, names=names)
    return FlowBatch(batch.format.table, rows, batch.sources, batch.events)


def _uris(batch: RawBatch) -> "pa.ChunkedArray[Any]":
    uris = [log_object.uri for log_object, _ in batch.sources]
    codes = np.repeat(np.arange(len(uris)), [rows for _, rows in batch.sources])
    return pa.chunked_array([pa.array(uris, pa.string()).take(codes)])


def _nulls(rows: int, type_: Any) -> "pa.ChunkedArray[Any]":
    return pa.chunked_array([pa.nulls(rows, type_)])


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
