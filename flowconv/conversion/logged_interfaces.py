"""Rows of a run -> pairs of flow logs that overlap: their records are twice in the lake.

A flow log delivers from its creation to its deletion, for the same VPC, subnet or interface. So two
overlap if they have an interface in common, and windows of both lie in the same time.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations, groupby
from typing import TYPE_CHECKING, Any

from flowconv.fields import Table
from flowconv.lake.overlaps import Overlap

if TYPE_CHECKING:
    from flowconv.rows.batch import RawBatch

_INTERFACE = {Table.VPC: "interface_id", Table.TGW: "tgw_attachment_id"}

# More are not compared: each takes some 100 bytes.
MOST_INTERFACES = 200_000


@dataclass(frozen=True, slots=True)
class Logged:
    """The windows of a flow log that were read, and its interfaces."""

    first: datetime
    last: datetime
    interfaces: set[str] = field(default_factory=set)


class LoggedInterfaces:
    """The interfaces of each flow log whose objects have times in their names. For one thread."""

    def __init__(self) -> None:
        self._logged: dict[str, Logged] = {}
        self._room = MOST_INTERFACES

    def add_batch(self, batch: "RawBatch") -> None:
        """Add rows of one or more objects."""
        name = _INTERFACE[batch.format.table]
        if name not in batch.format.columns:
            return
        column: Any = batch.table[name]
        start = 0
        for flow_log_id, group in groupby(batch.sources, lambda source: source[0].flow_log_id):
            sources = list(group)
            rows = sum(number for _, number in sources)
            times = [log_object.time for log_object, _ in sources if log_object.time]
            if flow_log_id and times:
                of_log = column.slice(start, rows)
                interfaces = _distinct(of_log, is_whole=rows == len(column))
                self._add(flow_log_id, Logged(min(times), max(times), interfaces))
            start += rows

    def add(self, logged: Mapping[str, Logged]) -> None:
        """Add what a task read."""
        for flow_log_id, more in logged.items():
            self._add(flow_log_id, more)

    def logged(self) -> Mapping[str, Logged]:
        """Return flow log -> its windows and interfaces."""
        return self._logged

    def overlaps(self) -> list[Overlap]:
        """Return each pair of flow logs that overlap, by their ids."""
        logs_of: defaultdict[str, list[str]] = defaultdict(list)
        for flow_log_id in sorted(self._logged):
            for interface in self._logged[flow_log_id].interfaces:
                logs_of[interface].append(flow_log_id)
        shared: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for interface, logs in logs_of.items():
            for pair in combinations(logs, 2):
                shared[pair].append(interface)
        return list(self._overlaps(shared))

    def _overlaps(self, shared: Mapping[tuple[str, str], list[str]]) -> Iterator[Overlap]:
        for pair, interfaces in sorted(shared.items()):
            both = [self._logged[flow_log_id] for flow_log_id in pair]
            first, last = max(log.first for log in both), min(log.last for log in both)
            if first <= last:
                yield Overlap(
                    flow_logs=pair,
                    interfaces=len(interfaces),
                    interface=min(interfaces),
                    first=first,
                    last=last,
                )

    def _add(self, flow_log_id: str, more: Logged) -> None:
        known = self._logged.get(flow_log_id) or Logged(more.first, more.last)
        new = more.interfaces - known.interfaces if self._room else set()
        if len(new) > self._room:
            new = set(sorted(new)[: self._room])
        self._room -= len(new)
        known.interfaces.update(new)
        first, last = min(known.first, more.first), max(known.last, more.last)
        self._logged[flow_log_id] = Logged(first, last, known.interfaces)


def _distinct(column: Any, *, is_whole: bool) -> set[str]:
    """Return the values of a column, or of a part of it."""
    import numpy as np
    import pyarrow as pa

    found: set[str] = set()
    for chunk in column.chunks:
        if not pa.types.is_dictionary(chunk.type):
            values = chunk.unique()
        elif is_whole:
            values = chunk.dictionary
        else:
            # A fifth of the time that Arrow takes for distinct values.
            is_there = np.zeros(len(chunk.dictionary), bool)
            is_there[chunk.indices.drop_null().to_numpy()] = True
            values = chunk.dictionary.filter(pa.array(is_there))
        found.update(values.to_pylist())
    return found - {None}
