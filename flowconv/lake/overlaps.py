"""Overlapping flow logs: pairs that logged the same interfaces at once, as runs have found them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Self

from flowconv.lake.ledger_records import Run

# More pairs are only counted: they are in the report and in the ledger.
MAX_LISTED = 100


class Overlap(NamedTuple):
    """Two flow logs that logged the same interfaces at once.

    Attributes:
        flow_logs: Their ids, in order.
        interfaces: Number of interfaces that both have; in `tgw/`, of attachments.
        interface: The first of them.
        first: The first window that both have, by the times in objects' names, in UTC.
        last: The last one.
    """

    flow_logs: tuple[str, str]
    interfaces: int
    interface: str
    first: datetime
    last: datetime

    @property
    def is_lasting(self) -> bool:
        """It lasts for more than one window; else one flow log may have taken the other's place."""
        return self.first < self.last

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        times = {name: getattr(self, name).isoformat() for name in ("first", "last")}
        plain = self._asdict() | times | {"flow_logs": list(self.flow_logs)}
        return plain | {"is_lasting": self.is_lasting}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        times = {name: datetime.fromisoformat(plain[name]) for name in ("first", "last")}
        return cls(
            flow_logs=tuple(plain["flow_logs"]),
            interfaces=plain["interfaces"],
            interface=plain["interface"],
            **times,
        )


def overlaps_of(runs: Iterable[Run]) -> list[Overlap]:
    """Return what runs have found, one overlap for each pair of flow logs."""
    return merged(
        Overlap.from_dict(plain) for run in runs for plain in run.report.get("overlaps", ())
    )


def merged(overlaps: Iterable[Overlap]) -> list[Overlap]:
    """Return one overlap for each pair of flow logs, the lasting ones first, then by ids."""
    by_pair: dict[tuple[str, str], Overlap] = {}
    for found in overlaps:
        known = by_pair.get(found.flow_logs, found)
        by_pair[found.flow_logs] = found._replace(
            interfaces=max(known.interfaces, found.interfaces),
            first=min(known.first, found.first),
            last=max(known.last, found.last),
        )
    return sorted(by_pair.values(), key=lambda pair: (not pair.is_lasting, pair.flow_logs))
