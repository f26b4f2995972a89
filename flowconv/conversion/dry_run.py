"""plan(): what a run would convert, without writing anything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from flowconv.conversion.pending import (
    Pending,
    is_empty,
    list_source,
    plan_pending,
    require_apart,
)
from flowconv.conversion.planning import Task
from flowconv.conversion.request_estimate import requests_of_lake, requests_of_source
from flowconv.lake.converted_objects import has_objects
from flowconv.lake.layout import check_layout, find_layout, list_tables
from flowconv.lake.ledger import Ledger
from flowconv.notebooks import InNotebooks
from flowconv.options import ConvertOptions
from flowconv.source.opening import Source, open_source
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from flowconv.storage.request_prices import cost_usd, parse_request_prices


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    """Objects of one account, region and day that a run would read.

    Attributes:
        account_id: The account of the keys; None if they have none.
        region: The region of the keys; None if they have none.
        day: The day of the keys; None if they have none.
        objects: Number of objects.
        size_bytes: Their size as they are stored.
        tasks: Number of tasks that would convert them; each writes one file or more.
    """

    account_id: str | None
    region: str | None
    day: date | None
    objects: int
    size_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plan(InNotebooks):
    """What a run would read and write.

    Attributes:
        source: The source.
        lake: The lake.
        groups: Objects that would be read, by account, region and day.
        already_converted: Number of objects that earlier runs converted.
        changed: Number of objects that changed since they were converted, and would not be read.
        changed_format: Number of objects that were converted by one declared format and now have
            another, and would not be read.
        left_out: Kind -> number of objects that would be left out.
        unreadable: Uri -> reason, of objects and folders that cannot be listed, and of objects
            that cannot be converted again.
        empty: As `ConvertReport.empty`.
        found_before: As `ConvertReport.found_before`.
        requests: `source` and `lake`, where they are in S3 -> kind -> about how many requests the
            run would make.
        requests_usd: About what they would cost, in US dollars; None if there are none.
    """

    source: str
    lake: str
    groups: tuple[PlannedGroup, ...]
    already_converted: int
    changed: int
    changed_format: int
    left_out: Mapping[str, int]
    unreadable: Mapping[str, str]
    empty: bool
    found_before: bool
    requests: Mapping[str, Mapping[str, int]]
    requests_usd: float | None

    @property
    def complete(self) -> bool:
        """Objects were found, and everything could be listed."""
        return not (self.empty or self.unreadable)

    @property
    def objects(self) -> int:
        """Number of objects."""
        return sum(group.objects for group in self.groups)

    @property
    def size_bytes(self) -> int:
        """Size of the objects as they are stored."""
        return sum(group.size_bytes for group in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "source": self.source,
            "lake": self.lake,
            "objects": self.objects,
            "size_bytes": self.size_bytes,
            "already_converted": self.already_converted,
            "changed": self.changed,
            "changed_format": self.changed_format,
            "left_out": dict(self.left_out),
            "unreadable": dict(self.unreadable),
            "empty": self.empty,
            "found_before": self.found_before,
            "requests": {place: dict(kinds) for place, kinds in self.requests.items()},
            "requests_usd": self.requests_usd,
            "complete": self.complete,
            "groups": [
                asdict(group) | {"day": group.day and group.day.isoformat()}
                for group in self.groups
            ],
        }


def plan(source: str, dest: str, options: ConvertOptions | None = None) -> Plan:
    """Return what `convert` would read and write; nothing is written.

    Raises:
        UsageError: The source or destination is not a valid path or URL, or a new lake would lie
            among the files of another.
        StorageError: The source or destination does not answer.
        LakeError: The destination is not a lake, or its layout differs.
    """
    options = options or ConvertOptions()
    logs = open_source(source, options.source_options)
    lake = open_storage(dest, options.dest_options)
    require_apart(logs, lake)
    left_out: Counter[str] = Counter()
    unreadable: dict[str, str] = {}
    listed = list_source(logs, lake, options, left_out, unreadable)
    layout = find_layout(lake)
    check_layout(lake, options, layout, {} if layout else list_tables(lake, options))
    by_group: dict[tuple[str, str, date], list[Task]] = {}
    ledger = Ledger.read(lake)
    pending = Pending()
    for task in filter(None, plan_pending(listed, ledger, options, pending)):
        group = (task.account_id or "", task.region or "", task.day or date.min)
        by_group.setdefault(group, []).append(task)
    left_out += Counter(expired=pending.expired)
    empty = is_empty(pending, unreadable, options)
    tasks = [task for same in by_group.values() for task in same]
    requests, usd = _estimate(logs, lake, tasks, options, is_new=layout is None)
    groups = tuple(
        PlannedGroup(
            account_id=same[0].account_id,
            region=same[0].region,
            day=same[0].day,
            objects=sum(len(task.log_objects) for task in same),
            size_bytes=sum(task.size_bytes for task in same),
            tasks=len(same),
        )
        for _, same in sorted(by_group.items())
    )
    return Plan(
        source=logs.root,
        lake=lake.root,
        groups=groups,
        already_converted=pending.already_converted,
        changed=len(pending.changed),
        changed_format=len(pending.changed_format),
        left_out=left_out,
        unreadable=unreadable | pending.stuck,
        empty=empty,
        found_before=empty and has_objects(ledger, logs.root),
        requests=requests,
        requests_usd=usd,
    )


def _estimate(
    logs: Source, lake: Storage, tasks: Sequence[Task], options: ConvertOptions, *, is_new: bool
) -> tuple[dict[str, Mapping[str, int]], float | None]:
    """Return the requests to S3 of a run that converts these tasks, and their price."""
    requests: dict[str, Mapping[str, int]] = {}
    if logs.times:
        requests["source"] = requests_of_source(logs.times.sent, tasks)
    if lake.times and not (is_new and not tasks):
        requests["lake"] = requests_of_lake(lake.times.sent, tasks, is_new=is_new)
    if not requests:
        return requests, None
    received_bytes = sum(task.size_bytes for task in tasks) if logs.times else 0
    prices = parse_request_prices(options.request_prices)
    usd = [cost_usd(kinds, 0, prices) for kinds in requests.values()]
    return requests, round(sum(usd) + cost_usd({}, received_bytes, prices), 9)
