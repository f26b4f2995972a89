"""Sorted rows -> the same rows without those that another flow log has too.

Flow logs that overlap deliver the same records, each with the fields of its format. Two rows are
the same record if they agree in all fields that both flow logs have. Of each two, the row of the
flow log with more fields is kept. Rows of one flow log are never the same record: if one has a row
twice and the other too, two are left.

Rows with equal `KEYS` are neighbours, so no more than a piece of rows is in memory.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.fields import FIELDS, Table
from flowconv.lake.ledger_records import Duplicates
from flowconv.rows.schema import FLOW_LOG_ID, UNKNOWN_FIELDS

_FLOW = ("srcaddr", "dstaddr", "srcport", "dstport", "protocol", "start", "end")

KEYS: Mapping[Table, tuple[str, ...]] = {
    Table.VPC: ("interface_id", *_FLOW),
    Table.TGW: ("tgw_attachment_id", *_FLOW),
}
"""Columns that tell records apart: flow logs that lack one are not compared."""

# A row without these may be any record.
_NEEDED = ("interface_id", "tgw_attachment_id", "start", "end")

# They say how the flow log was set up, not what was recorded.
_OF_FLOW_LOG = frozenset({"version", "resource_type"})

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_NO_LOG = -1


def columns_of(table: Table, names: Collection[str]) -> frozenset[str]:
    """Return the columns that a flow log with fields of these names has."""
    known = {field.name: field.column for field in FIELDS[table]}
    return frozenset(known.get(name, UNKNOWN_FIELDS) for name in names)


def comparable(table: Table, flow_logs: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """Return flow log -> its columns, of those that have all `KEYS`.

    Args:
        table: Their table.
        flow_logs: Flow log -> AWS's names of its fields.
    """
    found = {flow_log: columns_of(table, names) for flow_log, names in flow_logs.items()}
    return {name: columns for name, columns in found.items() if columns.issuperset(KEYS[table])}


class DuplicateRemover:
    """Removes rows that another flow log has too. For one thread.

    Args:
        table: The table of the rows.
        flow_logs: The flow logs that are compared, and their columns, as `comparable` gives them.
        tasks: The tasks of the rows.
        task_column: The column with the place of each row's task in `tasks`.
    """

    def __init__(
        self,
        table: Table,
        flow_logs: Mapping[str, frozenset[str]],
        tasks: Sequence[str],
        task_column: str,
    ) -> None:
        self._keys = KEYS[table]
        # The richest first: its rows are kept.
        self._flow_logs = sorted(flow_logs, key=lambda name: (-len(flow_logs[name]), name))
        self._columns = flow_logs
        self._tasks = tasks
        self._task_column = task_column
        self._removed: Counter[tuple[int, int, int, int]] = Counter()

    def keep(self, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Give the rows that are kept.

        Args:
            pieces: The rows, sorted so that those with equal `KEYS` are neighbours.
        """
        rest: pa.Table | None = None
        for piece in pieces:
            rows = piece if rest is None else _joined(rest, piece)
            kept, last = self._kept(rows, is_end=False)
            # The next piece may begin with the same record.
            rest = rows.slice(last)
            yield (
                rows.slice(0, last).filter(pa.array(kept))
                if not kept.all()
                else rows.slice(0, last)
            )
        if rest is not None:
            kept, _ = self._kept(rest, is_end=True)
            yield rest.filter(pa.array(kept))

    def duplicates(self) -> list[Duplicates]:
        """Return what was removed so far."""
        return [
            Duplicates(
                task_id=self._tasks[task],
                flow_log_id=self._flow_logs[log],
                kept_task_id=self._tasks[kept_task],
                kept_flow_log_id=self._flow_logs[kept_log],
                rows=rows,
            )
            for (task, log, kept_task, kept_log), rows in sorted(self._removed.items())
        ]

    def _kept(self, rows: pa.Table, *, is_end: bool) -> tuple[Flags, int]:
        """Tell which rows are kept, up to the place of the last record, or to the end."""
        logs = self._logs_of(rows)
        chosen = np.flatnonzero(logs != _NO_LOG)
        changes = _changes([part[chosen] for name in self._keys for part in _parts(rows, name)])
        records = np.cumsum(changes, dtype=np.int64)
        end = rows.num_rows
        if not is_end and len(chosen):
            first = int(np.searchsorted(records, records[-1]))
            end = int(chosen[first])
            chosen, records = chosen[:first], records[:first]
        kept = np.ones(end, bool)
        neighbours = _Neighbours(rows, chosen, records, logs[chosen])
        for rich, poor in neighbours.pairs():
            self._compare(neighbours, rich, poor, kept)
        return kept, end

    def _logs_of(self, rows: pa.Table) -> Numbers:
        """Return for each row the place of its flow log, or `_NO_LOG` if it is not compared."""
        needed = [name for name in self._keys if name in _NEEDED]
        if not {FLOW_LOG_ID, *needed}.issubset(rows.column_names):
            return np.full(rows.num_rows, _NO_LOG, np.int64)
        places = {name: place for place, name in enumerate(self._flow_logs)}
        column = _one_chunk(rows[FLOW_LOG_ID])
        known = [places.get(name, _NO_LOG) for name in column.dictionary.to_pylist()]
        codes = _filled(column.indices, len(known))
        logs = np.array([*known, _NO_LOG], np.int64)[codes]
        for name in needed:
            if rows[name].null_count:
                logs[np.asarray(rows[name].is_null())] = _NO_LOG
        return logs

    def _compare(self, neighbours: "_Neighbours", rich: int, poor: int, kept: Flags) -> None:
        """Remove the rows of a flow log that a richer one has too."""
        shared = self._columns[self._flow_logs[rich]] & self._columns[self._flow_logs[poor]]
        compared = sorted(shared - _OF_FLOW_LOG.union(self._keys))
        removed, standing = neighbours.compare(rich, poor, compared, kept)
        if not len(removed):
            return
        kept[removed] = False
        tasks = neighbours.rows[self._task_column].to_numpy().astype(np.int64)
        found, counts = np.unique(
            np.stack([tasks[removed], tasks[standing]]), axis=1, return_counts=True
        )
        for (task, kept_task), rows in zip(found.T.tolist(), counts.tolist(), strict=True):
            self._removed[task, poor, kept_task, rich] += rows


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Rows that may be the same record.

    Attributes:
        rows: The rows.
        chosen: Places of those that are compared.
        records: Their numbers: rows that differ in a key have different ones; they ascend.
        logs: Their flow logs; the richest has the least number.
    """

    rows: pa.Table
    chosen: Numbers
    records: Numbers
    logs: Numbers

    def pairs(self) -> list[tuple[int, int]]:
        """Return pairs of flow logs that have a record of equal keys, the richer one first."""
        logs, records = self._each_once()
        pairs: set[tuple[int, int]] = set()
        for distance in range(1, len(logs)):
            same = records[distance:] == records[:-distance]
            if not same.any():
                break
            found = np.stack([logs[:-distance][same], logs[distance:][same]])
            pairs |= {(rich, poor) for rich, poor in np.unique(found, axis=1).T.tolist()}
        return sorted(pairs)

    def _each_once(self) -> tuple[Numbers, Numbers]:
        """Return logs and records, each pair of them once, by record and log."""
        order = np.lexsort((self.logs, self.records))
        logs, records = self.logs[order], self.records[order]
        once = _changes([logs, records])
        return logs[once], records[once]

    def compare(
        self, rich: int, poor: int, columns: Iterable[str], kept: Flags
    ) -> tuple[Numbers, Numbers]:
        """Return places of rows to remove, and for each the place of the row that stands for it.

        Args:
            rich: The flow log whose rows stand for those of the other.
            poor: The other.
            columns: What both have, beside the keys.
            kept: Which rows are there still.
        """
        is_of_both = (self.logs == rich) | (self.logs == poor)
        candidates = np.flatnonzero(is_of_both & kept[self.chosen])
        places = self.chosen[candidates]
        names = [name for name in columns if name in self.rows.column_names]
        parts = [self.records[candidates]]
        parts += [part[places] for name in names for part in _parts(self.rows, name)]
        is_poor = self.logs[candidates] == poor
        order = np.lexsort((is_poor, _mixed(parts), parts[0]))
        places, is_poor = places[order], is_poor[order]
        # Values whose mixture is equal by chance are told apart here.
        same = np.cumsum(_changes([part[order] for part in parts])) - 1
        number = int(same[-1]) + 1 if len(same) else 0
        starts = np.searchsorted(same, np.arange(number))
        rich_rows = np.bincount(same[~is_poor], minlength=number)
        # The first row of the one is that of the other, and so on.
        nth = np.arange(len(same)) - starts[same] - rich_rows[same]
        removed = np.flatnonzero(is_poor & (nth < rich_rows[same]))
        return places[removed], places[starts[same[removed]] + nth[removed]]


def _joined(first: pa.Table, second: pa.Table) -> pa.Table:
    return pa.concat_tables([first, second]).unify_dictionaries().combine_chunks()


def _parts(rows: pa.Table, name: str) -> list[Numbers]:
    """Return numbers that are equal where the values of a column are."""
    if name not in rows.column_names:
        return []
    column = _one_chunk(rows[name])
    if pa.types.is_dictionary(column.type):
        return [_filled(column.indices, -1)]
    numbers = [_filled(column.cast(pa.int64()), 0)]
    if column.null_count:
        numbers.append(np.asarray(column.is_null()).astype(np.int64))
    return numbers


def _one_chunk(column: Any) -> Any:
    """Return a column's rows, which are in one chunk as they come, as they are."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _filled(column: Any, value: int) -> Numbers:
    filled: Numbers = column.fill_null(value).to_numpy(zero_copy_only=False).astype(np.int64)
    return filled


def _changes(parts: Sequence[Numbers]) -> Flags:
    """Tell where a row differs from the one before it."""
    changes = np.zeros(len(parts[0]), bool)
    changes[:1] = True
    for part in parts:
        changes[1:] |= part[1:] != part[:-1]
    return changes


# The multiplier of Knuth's linear congruential generator.
_MULTIPLIER = np.uint64(6364136223846793005)


def _mixed(parts: Sequence[Numbers]) -> npt.NDArray[np.uint64]:
    """Return numbers that are equal where all parts are, and else most probably not."""
    mixed = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        mixed = (mixed ^ part.view(np.uint64)) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return mixed
