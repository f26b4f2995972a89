"""What `gaps` finds: gaps, what is known of each flow log, and of each interface."""

from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Literal

from flowconv.notebooks import InNotebooks

GapKind = Literal["windows", "silent", "few-rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that should be in the lake, and is not.

    Attributes:
        kind: `windows`: delivery windows of a flow log without an object; `silent`: a flow log that
            delivers no more; `few-rows`: a day with far fewer rows than its neighbours.
        of: The flow log; or the partition without its day, such as
            `vpc/aws_account_id=…/aws_region=…`.
        account_id: The account in the names of the flow log's objects; None for a day.
        region: Their region; None for a day.
        first: End of the first window that is missing, or begin of the day, in UTC. Of a silent
            flow log, the end of its last window that is there.
        last: End of the last window that is missing, or begin of the day. Of a silent flow log, the
            end of the last window of any flow log.
        number: Windows that are missing; of a day, its rows.
        usual: Windows between `first` and `last`; of a day, the median of its neighbours' rows.
        acknowledged: `acknowledge` was asked for when it was found.
    """

    kind: GapKind
    of: str
    account_id: str | None = None
    region: str | None = None
    first: datetime
    last: datetime
    number: int
    usual: int
    acknowledged: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"first": self.first.isoformat(), "last": self.last.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLogDelivery:
    """What the ledger says of a flow log's delivery, in the chosen days.

    Attributes:
        flow_log_id: The flow log.
        account_id: The account in its objects' names.
        region: Their region.
        period_minutes: The usual time between its windows; None if there is none.
        objects: Number of its objects.
        windows: Number of its windows with an object.
        missing: Number of windows without one; 0 if there is no usual time.
        first: End of its first window, in UTC.
        last: End of its last window.
        lag_median_s: Time from a window's end to the conversion of its object: the median.
        lag_most_s: The longest such time.
    """

    flow_log_id: str
    account_id: str
    region: str
    period_minutes: int | None
    objects: int
    windows: int
    missing: int
    first: datetime
    last: datetime
    lag_median_s: float | None
    lag_most_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"first": self.first.isoformat(), "last": self.last.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceHour:
    """An hour of an interface with records that AWS lost, or that say there was no traffic.

    Attributes:
        table: `vpc` or `tgw`.
        interface_id: The interface; in `tgw` the attachment.
        hour: Its begin, in UTC, by the records' start.
        records: Number of its records.
        skipdata: Those that say that AWS lost some (SKIPDATA).
        nodata: Those that say that there was no traffic (NODATA).
    """

    table: str
    interface_id: str
    hour: datetime
    records: int
    skipdata: int
    nodata: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"hour": self.hour.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentInterface:
    """An interface that has no records any more: it was deleted, or its flow log lost it.

    Attributes:
        table: `vpc` or `tgw`.
        interface_id: The interface; in `tgw` the attachment.
        last: The last hour with records, in UTC.
    """

    table: str
    interface_id: str
    last: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"last": self.last.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsFound:
    """What the lake's records say.

    Attributes:
        since: The first day that was read; None if there are no days.
        records: Number of records.
        skipdata: Those that say that AWS lost some.
        nodata: Those that say that there was no traffic.
        hours: Hours of interfaces with SKIPDATA, the largest share first; at most a thousand.
        silent_interfaces: Those without a record in the last day; at most a thousand.
    """

    since: date | None = None
    records: int = 0
    skipdata: int = 0
    nodata: int = 0
    hours: tuple[InterfaceHour, ...] = ()
    silent_interfaces: tuple[SilentInterface, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "since": self.since and self.since.isoformat(),
            "records": self.records,
            "skipdata": self.skipdata,
            "nodata": self.nodata,
            "hours": [hour.to_dict() for hour in self.hours],
            "silent_interfaces": [interface.to_dict() for interface in self.silent_interfaces],
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GapReport(InNotebooks):
    """How complete a lake is.

    Attributes:
        lake: The lake.
        gaps: What is missing, by kind and time.
        flow_logs: Each flow log's delivery.
        unnamed_objects: Objects whose names say no time, so their windows are not known.
        records: What the records say; None if only the ledger was read.
        seconds: Wall time.
    """

    lake: str
    gaps: tuple[Gap, ...]
    flow_logs: tuple[FlowLogDelivery, ...]
    unnamed_objects: int
    records: RecordsFound | None
    seconds: float

    @property
    def complete(self) -> bool:
        """Nothing is missing that was not acknowledged."""
        return all(gap.acknowledged for gap in self.gaps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; keys are this class's attributes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {
            "gaps": [gap.to_dict() for gap in self.gaps],
            "flow_logs": [log.to_dict() for log in self.flow_logs],
            "records": self.records and self.records.to_dict(),
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }
