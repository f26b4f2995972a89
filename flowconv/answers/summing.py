"""Records of a lake -> their sums by what a report asks for, in one pass.

A report's questions have the same answers by these sums as by the records: the SQL of `questions`
is asked of either.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowconv.fields import Table
from flowconv.lake.compacted import RowGroups
from flowconv.lake.layout import Layout
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.scanning import ChosenFiles
from flowconv.option_values import available_cores
from flowconv.rows.schema import table_schema
from flowconv.running import iterate_in_order

_FLOWS = (
    *("interface_id", "srcaddr", "dstaddr", "action", "vpc_id", "instance_id", "pkt_srcaddr"),
    *("pkt_dstaddr", "az_id", "pkt_src_aws_service", "pkt_dst_aws_service", "flow_direction"),
    *("traffic_path", "resource_id", "interface_type", "next_hop_az_id"),
)
_REJECTS = ("action", "srcaddr", "dstaddr", "protocol", "dstport")
_HOURS = ("hour", "action")
_SUMS = ("flows", "packets", "bytes")
_COLUMNS = tuple(dict.fromkeys((*_FLOWS, *_REJECTS, "start", "packets", "bytes")))

# Each thread has a row group in memory: 100 MB.
_MOST_THREADS = 4

# Row groups of each thread whose sums wait: these are small.
_SUMS_AHEAD = 8

# Sums that wait, before those with equal keys are added up.
_LEAST_TO_MERGE = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSums:
    """Sums of the records of `vpc`: `flows`, their number, `packets` and `bytes`.

    Attributes:
        flows: By all that questions of traffic and costs ask for.
        rejects: Of rejected records, by addresses, protocol and port.
        hours: By action and `hour`, the beginning of the hour in which a record starts.
    """

    flows: pl.LazyFrame
    rejects: pl.LazyFrame
    hours: pl.LazyFrame


def sum_records(chosen: ChosenFiles) -> RecordSums:
    """Sum the records of files; memory holds the sums of each key, and some row groups.

    Raises:
        LakeError: A file is damaged.
        FetchError: A file cannot be fetched; this may pass.
        StorageError: The lake does not answer.
    """
    types = _types(chosen.layout)
    flows, rejects, hours = (_Sums(keys, types) for keys in (_FLOWS, _REJECTS, _HOURS))
    threads = min(available_cores(), _MOST_THREADS)
    jobs = (partial(_read, chosen, file, types) for file in chosen.files)
    for rows in iterate_in_order(jobs, threads, items_ahead=_SUMS_AHEAD):
        flows.add(rows.flows)
        rejects.add(rows.rejects)
        hours.add(rows.hours)
    return RecordSums(flows=flows.texts(), rejects=rejects.texts(), hours=hours.texts())


def _types(layout: Layout) -> Mapping[str, Any]:
    """Return the types of columns: a text is a code, which takes less to compare and to group."""
    schema = pl.Schema(table_schema(Table.VPC, layout.time_type))
    texts = {name: pl.Categorical() for name in _COLUMNS if schema[name] == pl.String}
    sums = dict.fromkeys(_SUMS, pl.Int64())
    return {**schema, **texts, **sums, "hour": pl.Datetime("us", "UTC")}


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowGroupSums:
    """Sums of a row group; of `flows` several may have equal keys."""

    flows: pl.DataFrame
    rejects: pl.DataFrame
    hours: pl.DataFrame


def _read(
    chosen: ChosenFiles, file: DataFile, types: Mapping[str, Any]
) -> Generator[_RowGroupSums, None, None]:
    """Give the sums of each row group of a file."""
    layout = chosen.layout
    schema = table_schema(Table.VPC, layout.time_type, with_source=layout.with_source)
    start = pl.col("start")
    if types["start"].is_integer():
        start = pl.from_epoch(start).dt.replace_time_zone("UTC")
    one = pl.lit(1, pl.Int64).alias("flows")
    with RowGroups(chosen.storage, file, "", schema, with_origins=False) as groups:
        for table, _ in groups.read(_COLUMNS):
            whole = table.unify_dictionaries().combine_chunks()
            lasts, sums = _sum_runs(whole)
            timed = _typed(whole.select(["start", "action", "packets", "bytes"]), types)
            timed = timed.with_columns(one, start.dt.truncate("1h").alias("hour"))
            rejects = timed.select((pl.col("action") == "REJECT").arg_true()).to_series()
            rejected = whole.select([*_REJECTS, "packets", "bytes"]).take(rejects.to_arrow())
            yield _RowGroupSums(
                flows=_typed(whole.select(_FLOWS).take(lasts), types).hstack(sums),
                rejects=_sum(_typed(rejected, types).with_columns(one), _REJECTS),
                hours=_sum(timed, _HOURS),
            )


def _typed(table: pa.Table, types: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(table).cast({name: types[name] for name in table.column_names})


def _sum_runs(table: pa.Table) -> tuple[Any, pl.DataFrame]:
    """Add up neighbours with equal keys: row groups are sorted by the first keys.

    Returns:
        The places of the last rows of such neighbours, and their sums: null where no row has a
        value.
    """
    arrays = {name: _codes(table[name]) for name in (*_FLOWS, "packets", "bytes")}
    is_last = np.zeros(table.num_rows, np.bool_)
    is_last[-1:] = True
    for name, array in arrays.items():
        # Codes are compared in place of texts.
        keys = array.fill_null(-1) if name in _FLOWS else array.is_null()
        numbers = keys.to_numpy(zero_copy_only=False)
        is_last[:-1] |= numbers[1:] != numbers[:-1]
    lasts = is_last.nonzero()[0]
    firsts = np.append(0, lasts[:-1] + 1)
    sums: dict[str, Any] = {"flows": lasts - firsts + 1}
    for name in ("packets", "bytes"):
        added = np.add.reduceat(arrays[name].fill_null(0).to_numpy(), firsts)
        is_null = arrays[name].is_null().to_numpy(zero_copy_only=False)[lasts]
        sums[name] = pa.array(added, mask=is_null)
    return pa.array(lasts), pl.DataFrame(pa.table(sums))


def _codes(column: "pa.ChunkedArray[Any]") -> Any:
    """Return a column as one array, codes in place of texts."""
    array: Any = column.chunk(0)
    if pa.types.is_null(array.type):  # The file lacks the column.
        return array.cast(pa.int32())
    return array.indices if pa.types.is_dictionary(array.type) else array


def _sum(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Sum rows by keys: null where no row has a value, as in SQL."""
    sums = (pl.when(pl.col(name).count() > 0).then(pl.sum(name)) for name in _SUMS)
    return rows.group_by(keys).agg(sums)


class _Sums:
    """Sums by keys; those with equal keys are added up now and then."""

    def __init__(self, keys: Sequence[str], types: Mapping[str, Any]) -> None:
        self._keys = keys
        self._merged = pl.DataFrame(schema={name: types[name] for name in (*keys, *_SUMS)})
        self._waiting: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Add sums."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) > max(_LEAST_TO_MERGE, len(self._merged)):
            self._merge()

    def texts(self) -> pl.LazyFrame:
        """Return the sums, codes as texts again."""
        self._merge()
        return self._merged.lazy().with_columns(pl.col(pl.Categorical).cast(pl.String))

    def _merge(self) -> None:
        self._merged = _sum(pl.concat([self._merged, *self._waiting]), self._keys)
        self._waiting.clear()
