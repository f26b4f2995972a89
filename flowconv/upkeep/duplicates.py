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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.fields import FIELDS, KEYS, Table
from flowconv.lake.compacted import Codes, Origins, Removed
from flowconv.lake.ledger_records import Duplicates
from flowconv.rows.table_columns import FLOW_LOG_ID, UNKNOWN_FIELDS

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


def is_of(table: Table, names: Collection[str]) -> bool:
    """Tell whether a flow log with fields of these names has no field of the other table alone."""
    own = {field.name for field in FIELDS[table]}
    others = {field.name for other in Table for field in FIELDS[other]} - own
    return others.isdisjoint(names)


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
        origins: The origins of the rows; those of rows that stand for others are added.
        origin_column: The column with the code of each row's origin.
    """

    def __init__(
        self,
        table: Table,
        flow_logs: Mapping[str, frozenset[str]],
        origins: Origins,
        origin_column: str,
    ) -> None:
        self._keys = KEYS[table]
        # The richest first: its rows are kept.
        self._flow_logs = sorted(flow_logs, key=lambda name: (-len(flow_logs[name]), name))
        self._columns = flow_logs
        self._origins = origins
        self._origin_column = origin_column
        self._removed: Counter[tuple[str, str, str, str]] = Counter()

    def keep(self, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Give the rows that are kept.

        Args:
            pieces: The rows, sorted so that those with equal `KEYS` are neighbours; in any order if
                no flow logs are compared.
        """
        if not self._flow_logs:
            yield from pieces
            return
        rest: pa.Table | None = None
        for piece in pieces:
            rows = piece if rest is None else _joined(rest, piece)
            # The next piece may begin with the last record.
            done = self._compared(rows, is_end=False)
            yield done.kept
            rest = done.rest
        if rest is not None:
            yield self._compared(rest, is_end=True).kept

    def duplicates(self) -> list[Duplicates]:
        """Return what was removed so far."""
        return [
            Duplicates(
                task_id=task_id,
                flow_log_id=flow_log_id,
                kept_task_id=kept_task_id,
                kept_flow_log_id=kept_flow_log_id,
                rows=rows,
            )
            for (task_id, flow_log_id, kept_task_id, kept_flow_log_id), rows in sorted(
                self._removed.items()
            )
        ]

    def _compared(self, rows: pa.Table, *, is_end: bool) -> "_Compared":
        """Compare rows up to the last record, or to the end."""
        logs = self._logs_of(rows)
        chosen = np.flatnonzero(logs != _NO_LOG)
        changes = _changes([part[chosen] for name in self._keys for part in _parts(rows, name)])
        records = np.cumsum(changes, dtype=np.int64)
        end = rows.num_rows
        if not is_end and len(chosen):
            first = int(np.searchsorted(records, records[-1]))
            end = int(chosen[first])
            chosen, records = chosen[:first], records[:first]
        neighbours = _Neighbours(rows, chosen, records, logs[chosen])
        kept = np.ones(end, bool)
        origins = rows[self._origin_column].to_numpy().copy()
        for rich, poor in neighbours.pairs():
            self._compare(neighbours, rich, poor, kept, origins)
        place = rows.column_names.index(self._origin_column)
        marked = rows.set_column(place, self._origin_column, pa.array(origins))
        return _Compared(marked.slice(0, end).filter(pa.array(kept)), rows.slice(end))

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

    def _compare(
        self, neighbours: "_Neighbours", rich: int, poor: int, kept: Flags, origins: Codes
    ) -> None:
        """Remove the rows of a flow log that a richer one has too."""
        names = self._flow_logs[rich], self._flow_logs[poor]
        shared = self._columns[names[0]] & self._columns[names[1]]
        compared = sorted(shared - _OF_FLOW_LOG.union(self._keys))
        # A row stands for no more than one of each flow log, since these are different records.
        takes_part = kept & ~(
            neighbours.is_of(rich, len(kept)) & self._stand_for(names[1])[origins[: len(kept)]]
        )
        removed, standing = neighbours.compare(rich, poor, compared, takes_part)
        kept[removed] = False
        # As one number each: to sort pairs takes several times as long.
        number = len(self._origins)
        pairs = origins[removed].astype(np.int64) * number + origins[standing]
        found, inverse, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        marks = []
        for pair, rows in zip(found.tolist(), counts.tolist(), strict=True):
            gone, stays = (self._origins[code] for code in divmod(pair, number))
            self._removed[gone.task_id, names[1], stays.task_id, names[0]] += rows
            more = (Removed(gone.task_id, names[1]), *gone.stands_for)
            marks.append(self._origins.code(stays._replace(stands_for=(*stays.stands_for, *more))))
        origins[standing] = np.array(marks, np.uint32)[inverse]

    def _stand_for(self, flow_log: str) -> Flags:
        """Tell which origins are those of rows that stand for one of a flow log."""
        return np.array(
            [
                any(removed.flow_log_id == flow_log for removed in origin.stands_for)
                for origin in self._origins
            ],
            bool,
        )


class _Compared(NamedTuple):
    """Rows that are kept, and those that are to be compared with the next ones."""

    kept: pa.Table
    rest: pa.Table


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
        number = int(logs.max(initial=-1)) + 1
        are_there = np.zeros((number, number), bool)
        for distance in range(1, len(logs)):
            same = records[distance:] == records[:-distance]
            if not same.any():
                break
            are_there[logs[:-distance][same], logs[distance:][same]] = True
        return [(rich, poor) for rich, poor in np.argwhere(are_there).tolist()]

    def is_of(self, log: int, rows: int) -> Flags:
        """Tell which of so many rows are of a flow log, and compared."""
        found = np.zeros(rows, bool)
        found[self.chosen[self.logs == log]] = True
        return found

    def _each_once(self) -> tuple[Numbers, Numbers]:
        """Return logs and records, each pair of them once, by record and log."""
        order = np.lexsort((self.logs, self.records))
        logs, records = self.logs[order], self.records[order]
        once = _changes([logs, records])
        return logs[once], records[once]

    def compare(
        self, rich: int, poor: int, columns: Iterable[str], takes_part: Flags
    ) -> tuple[Numbers, Numbers]:
        """Return places of rows to remove, and for each the place of the row that stands for it.

        Args:
            rich: The flow log whose rows stand for those of the other.
            poor: The other.
            columns: What both have, beside the keys.
            takes_part: Which rows are compared.
        """
        is_of_both = (self.logs == rich) | (self.logs == poor)
        candidates = np.flatnonzero(is_of_both & takes_part[self.chosen])
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
