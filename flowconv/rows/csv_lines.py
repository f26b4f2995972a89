"""Lines -> columns by one call of pyarrow.csv, for both ways of parsing."""

import codecs
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from flowconv.blocks.block import Events
from flowconv.blocks.formats import KNOWN_NAMES, LogFormat, squash
from flowconv.blocks.shapes import EVENT_TIME
from flowconv.fields import TEXT
from flowconv.rows.lines import Indexes

# What pyarrow's CSV reader works on at a time; 256 KB to 2 MB are alike, 16 MB took half as long
# again (benchmarks/README.md, "parse").
_CSV_BLOCK_BYTES = 1 << 20

# The column of what stands before the values of a CloudWatch export; no field's name has an @.
TIME = "@timestamp"


def csv_columns(format_: LogFormat, type_: pa.DataType | None = None) -> dict[str, pa.DataType]:
    """Return the columns of a log's lines, and their types or the one that all are to have."""
    types = {name: type_ or own for name, own in format_.column_types.items()}
    return {TIME: TEXT, **types} if format_.timestamped else types


def read_csv(
    text: memoryview | bytes,
    columns: dict[str, pa.DataType],
    misfits: list[csv.InvalidRow] | None = None,
    *,
    skip_blank: bool = False,
    longest_line: int = 0,
) -> pa.Table:
    """Split valid UTF-8; lines with another number of values go to `misfits`.

    Blank lines are such lines too, or, in logs of one field, an empty value.

    Raises:
        pyarrow.ArrowInvalid: There is such a line, and no place for it.
    """

    def skip(row: csv.InvalidRow) -> Literal["skip", "error"]:
        if misfits is None:
            return "error"
        misfits.append(row)
        return "skip"

    if text[:3] == codecs.BOM_UTF8:
        # Arrow drops one at the start. The object's own is cut off: this one belongs to a value.
        text = codecs.BOM_UTF8 + bytes(text)
    return csv.read_csv(
        pa.BufferReader(pa.py_buffer(text)),  # type: ignore[arg-type]
        # Workers run in parallel already; one thread also makes `InvalidRow.number` known.
        read_options=csv.ReadOptions(
            column_names=list(columns),
            use_threads=False,
            block_size=max(_CSV_BLOCK_BYTES, longest_line + 4),
        ),
        parse_options=csv.ParseOptions(
            delimiter=" ", quote_char=False, invalid_row_handler=skip, ignore_empty_lines=skip_blank
        ),
        convert_options=csv.ConvertOptions(
            column_types=columns, null_values=["-"], strings_can_be_null=True, check_utf8=False
        ),
    )


def rows_without_time(table: pa.Table) -> Indexes:
    """Return the rows that do not begin with the time of an event."""
    timed: Any = pc.match_substring_regex(table[TIME], f"^{EVENT_TIME}$").fill_null(False)
    return np.flatnonzero(~timed.to_numpy())


def exported_events(table: pa.Table) -> Events | None:
    """Return the events of an export's rows, if some of these have no start."""
    if TIME not in table.column_names:
        return None
    if "start" in table.column_names and table["start"].null_count == 0:
        return None
    return Events.of_times(_event_times(table[TIME]))


def _event_times(texts: "pa.ChunkedArray[Any]") -> Indexes:
    """Return times in milliseconds since 1970; -1 for null, and for days that never were."""
    try:
        times: Any = texts.cast(_EVENT_TIME)
    except pa.ArrowInvalid:
        coded: Any = texts.combine_chunks().dictionary_encode()
        distinct = [_event_time(text) for text in coded.dictionary]
        times = pa.chunked_array([pa.array(distinct, _EVENT_TIME).take(coded.indices)])
    filled: Any = times.cast(pa.int64()).fill_null(-1)
    known: Indexes = np.maximum(filled.to_numpy(), -1)
    return known


_EVENT_TIME = pa.timestamp("ms", tz="UTC")


def _event_time(text: "pa.StringScalar") -> Any:
    try:
        return text.cast(_EVENT_TIME)
    except pa.ArrowInvalid:
        return None


def header_like_rows(format_: LogFormat, table: pa.Table) -> Indexes:
    """Return the rows that may be headers, of a log without a number that gives them away."""
    if any(field.type != TEXT for field in format_.fields):
        return np.empty(0, np.int64)
    known = pa.array(sorted(KNOWN_NAMES | {squash(field.name) for field in format_.fields}))
    count = np.zeros(table.num_rows, np.int64)
    for column in table.select(list(format_.columns)).columns:
        bare = pc.replace_substring_regex(pc.ascii_lower(column), "[-_${}]", "")
        count += pc.is_in(bare, known).to_numpy()
    return np.flatnonzero(2 * count >= len(format_.columns))


def empty_table(columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Return no rows of some columns."""
    nulls: Any = pa.nulls
    return pa.table({name: nulls(0, type_) for name, type_ in columns.items()})
