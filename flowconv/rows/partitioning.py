"""Stage 6, flow batches -> pieces, each of one partition.

Rows go by their own start time: AWS files objects by the time of delivery, and a window near
midnight lies under the next day. Those without a start go by the time at which they were logged,
else by their end, else by what the object's key says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.rows.normalising import FlowBatch
from flowconv.rows.partition_names import NO_ACCOUNT, PartitionKey, directory_name, encode_value
from flowconv.rows.times import filled_times, known_times
from flowconv.source.keys import LogObject

_DAY = 86_400
_HOUR = 3_600

_Codes = npt.NDArray[np.int64]


class PartitionedRows(NamedTuple):
    """Rows of one table, and the partition of each.

    Attributes:
        keys: The partitions that have rows.
        codes: For each row the place of its partition in `keys`.
        rows: The rows.
    """

    keys: Sequence[PartitionKey]
    codes: "_Codes"
    rows: pa.Table

    def pieces(self) -> Iterator[tuple[PartitionKey, "ChosenRows"]]:
        """Give every row once; rows of a partition keep their order, and no piece is empty."""
        if len(self.keys) < 2:
            yield from ((key, ChosenRows(self.rows)) for key in self.keys)
            return
        # Of 16 bits, numpy sorts by counting.
        codes = self.codes.astype(np.uint16) if len(self.keys) <= 1 << 16 else self.codes
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(self.codes[order], np.arange(len(self.keys) + 1))
        for key, (start, stop) in zip(self.keys, pairwise(bounds.tolist()), strict=True):
            yield key, ChosenRows(self.rows, order[start:stop].astype(np.uint32))


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """Some rows of a table.

    Attributes:
        table: The table.
        places: Where they are, ascending; None: all of them.
    """

    table: pa.Table
    places: "npt.NDArray[np.uint32] | None" = None

    def __len__(self) -> int:
        return self.table.num_rows if self.places is None else len(self.places)

    def alone(self) -> pa.Table:
        """Return a table of these rows alone."""
        return self.table if self.places is None else self.table.take(indices(self.places))

    def cut(self, rows: int) -> tuple["ChosenRows", "ChosenRows"]:
        """Return the first rows, and the others."""
        rows = min(rows, len(self))
        if self.places is None:
            return ChosenRows(self.table.slice(0, rows)), ChosenRows(self.table.slice(rows))
        first, others = self.places[:rows], self.places[rows:]
        end = int(others[0]) if len(others) else self.table.num_rows
        return (
            ChosenRows(self.table.slice(0, end), first),
            ChosenRows(self.table.slice(end), others - np.uint32(end)),
        )


def indices(places: "npt.NDArray[np.integer[Any]]") -> Any:
    """Return places in a table as Arrow takes them, without a copy.

    `pa.array` would import numpy.ma.
    """
    buffers = [None, pa.py_buffer(places.data)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(places.dtype), len(places), buffers)


def find_partitions(
    batch: FlowBatch, partition_by: Sequence[str], account: str | None, region: str | None
) -> PartitionedRows:
    """Find the partition of each row.

    Args:
        batch: Rows of the table.
        partition_by: Partition names, outermost first.
        account: Account of rows whose event and object key do not name one.
        region: Region of objects whose key does not name one.
    """
    group = np.zeros(batch.rows.num_rows, np.int64)
    if batch.rows.num_rows == 0:
        return PartitionedRows((), group, batch.rows)
    levels = [_encoded(_level(batch, name, account, region)) for name in partition_by]
    for level in levels:
        if len(level.values) > 1:
            # Renumbered each time, so that the product cannot overflow.
            _, group = _distinct(group * len(level.values) + level.codes)
    first = np.zeros(int(group.max()) + 1, np.int64)
    if len(first) > 1:
        first[group[::-1]] = np.arange(len(group))[::-1]
    paths = [_path(partition_by, levels, row) for row in first.tolist()]
    return PartitionedRows([PartitionKey(batch.table, path) for path in paths], group, batch.rows)


def split_by_partition(
    batch: FlowBatch, partition_by: Sequence[str], account: str | None, region: str | None
) -> Iterator[tuple[PartitionKey, pa.Table]]:
    """Cut a batch into pieces that each belong to one partition; see `find_partitions`."""
    pieces = find_partitions(batch, partition_by, account, region).pieces()
    return ((key, piece.alone()) for key, piece in pieces)


class _Level(NamedTuple):
    """The values of one partition name; `codes` says which of them a row has."""

    values: list[str | None]
    codes: _Codes

    def of_row(self, row: int) -> str | None:
        return self.values[0] if len(self.values) == 1 else self.values[int(self.codes[row])]


_NO_CODES: _Codes = np.empty(0, np.int64)


def _encoded(level: _Level) -> _Level:
    """Encode the values, and make one of those that share a directory: hours of several days."""
    names = [encode_value(value) for value in level.values]
    number = {name: code for code, name in enumerate(dict.fromkeys(names))}
    if len(number) == len(names):
        return _Level([*names], level.codes)
    merged = np.array([number[name] for name in names], np.int64)
    return _Level([*number], merged[level.codes])


def _level(batch: FlowBatch, name: str, account: str | None, region: str | None) -> _Level:
    match name:
        case "aws_account_id":
            return _of_owners(batch, lambda source: source.account_id or account)
        case "accountId":
            level = _of_owners(batch, lambda source: source.account_id or account)
            return _Level([value or NO_ACCOUNT for value in level.values], level.codes)
        case "aws_region" | "region":
            return _of_sources(batch, lambda source: source.region or region)
        case "date":
            return _of_time(batch, _DAY, _day_of_source, _date_name)
        case "eventDay":
            return _of_time(batch, _DAY, _day_of_source, _event_day_name)
        case "hour":
            return _of_time(batch, _HOUR, _hour_of_source, _hour_name)
        case _:
            return _of_column(batch, name)


def _of_sources(batch: FlowBatch, value_of: Callable[[LogObject], str | None]) -> _Level:
    values = [value_of(source) for source, _ in batch.sources]
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1:
        return _Level(distinct, _NO_CODES)
    number = {value: code for code, value in enumerate(distinct)}
    return _Level(distinct, _repeat(batch, [number[value] for value in values]))


def _of_owners(batch: FlowBatch, value_of: Callable[[LogObject], str | None]) -> _Level:
    """Number the accounts that own the log groups of rows, else those of the objects."""
    level = _of_sources(batch, value_of)
    events = batch.events
    if events is None or not events.accounts:
        return level
    of_source = level.codes if len(level.values) > 1 else 0
    beyond = len(level.values)
    codes = np.where(events.owners < 0, of_source, events.owners + beyond)
    return _Level([*level.values, *events.accounts], codes)


def _of_time(
    batch: FlowBatch,
    seconds: int,
    of_source: Callable[[LogObject], int | None],
    name: Callable[[int], str],
) -> _Level:
    """Number the days or hours since 1970 in which the rows started; -1 where nothing says."""
    start = batch.rows["start"]
    unit = seconds * _per_second(start)
    if start.null_count == 0:
        times = known_times(start)
        least, most = int(times.min()) // unit, int(times.max()) // unit
        if least == most:
            return _Level([name(least)], _NO_CODES)
    numbers = filled_times(start) // unit
    if start.null_count:
        if batch.events is not None:
            numbers = np.where(numbers == -1, batch.events.times // (seconds * 1000), numbers)
        end = batch.rows["end"]
        ends = filled_times(end) // (seconds * _per_second(end))
        numbers = np.where(numbers == -1, ends, numbers)
        fallback = [of_source(source) for source, _ in batch.sources]
        coded = _repeat(batch, [-1 if period is None else period for period in fallback])
        numbers = np.where(numbers == -1, coded, numbers)
    distinct, codes = _distinct(numbers)
    return _Level([None if n == -1 else name(int(n)) for n in distinct], codes)


def _distinct(numbers: _Codes) -> tuple[_Codes, _Codes]:
    """Return the distinct numbers of rows, ascending, and for each row the place of its own."""
    least = int(numbers.min())
    span = int(numbers.max()) - least + 1
    if span > len(numbers):
        return np.unique(numbers, return_inverse=True)
    # A table takes a tenth of the time of sorting: a block has few days.
    is_there = np.zeros(span, np.bool_)
    is_there[numbers - least] = True
    places = np.cumsum(is_there) - 1
    return np.flatnonzero(is_there) + least, places[numbers - least]


def _per_second(times: "pa.ChunkedArray[Any]") -> int:
    """Return how many of a column's units a second has."""
    return 1_000_000 if pa.types.is_timestamp(times.type) else 1


def _of_column(batch: FlowBatch, column: str) -> _Level:
    if column not in batch.rows.column_names or pa.types.is_null(batch.rows[column].type):
        return _Level([None], _NO_CODES)
    coded: Any = batch.rows[column].combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    values = [str(value) for value in coded.dictionary.to_pylist()]
    codes = coded.indices.cast(pa.int64())
    if codes.null_count:
        codes = codes.fill_null(len(values))
        return _Level([*values, None], codes.to_numpy())
    return _Level([*values], codes.to_numpy())


def _repeat(batch: FlowBatch, codes: list[int]) -> _Codes:
    return np.repeat(np.array(codes, np.int64), [count for _, count in batch.sources])


def _day_of_source(source: LogObject) -> int | None:
    day = source.delivered
    return None if day is None else (day - date(1970, 1, 1)).days


def _hour_of_source(source: LogObject) -> int | None:
    return None if source.time is None else int(source.time.timestamp()) // _HOUR


def _date_name(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _event_day_name(day: int) -> str:
    return _date_name(day).replace("-", "")


def _hour_name(hour: int) -> str:
    return f"{hour % 24:02d}"


def _path(names: Sequence[str], levels: Sequence[_Level], row: int) -> str:
    return "/".join(
        f"{directory_name(name)}={level.of_row(row)}"
        for name, level in zip(names, levels, strict=True)
    )
