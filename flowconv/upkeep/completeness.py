"""gaps(): how complete a lake is, from its ledger and its records alone.

delivery_windows   names of objects -> windows without an object, flow logs that fell silent
few_rows           rows of files -> days with far fewer than their neighbours
lake_records       rows -> SKIPDATA and NODATA by interface and hour, interfaces without records
acknowledged       what the owner knows of
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from flowconv.lake.acknowledged import read_acknowledged, write_acknowledged
from flowconv.lake.expired import Expired
from flowconv.lake.layout import read_flat_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.locking import Lock, new_run_id
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage, path_text
from flowconv.upkeep.delivery_windows import check_windows, read_times
from flowconv.upkeep.few_rows import days_with_few_rows
from flowconv.upkeep.gap_report import Gap, GapReport
from flowconv.values import as_day, check_days


def gaps(
    lake: str | os.PathLike[str],
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    quick: bool = False,
    acknowledge: bool = False,
    options: Mapping[str, str] | None = None,
) -> GapReport:
    """Find what is missing in a lake: delivery windows, flow logs that fell silent, rows of a day.

    Args:
        lake: The lake: the DEST given to `convert`.
        since: First day to look at: a date, or a text such as `2026-01-14` or `7d`.
        until: Last day to look at, included.
        quick: Read the ledger only, and no records.
        acknowledge: Note in the lake what is missing now, so that it does not make the lake
            incomplete any more. This waits for a run that writes to the lake.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Returns:
        What is missing, and what was acknowledged before; each flow log's delivery; SKIPDATA and
        NODATA by interface and hour, and silent interfaces, of the chosen days or the last week.

    Raises:
        LakeError: There is no lake, its ledger is damaged, or files of it are gone.
        StorageError: The lake does not answer.
        UsageError: A day is not valid.
    """
    from flowconv.upkeep.lake_records import read_records

    started = time.monotonic()
    first, last = as_day(since, "--since"), as_day(until, "--until")
    check_days(first, last)
    lake = path_text(lake)
    storage = open_storage(lake, options or {})
    read_flat_layout(storage, "flowconv gaps")
    ledger = Ledger.read(storage)
    files = [file for file, _ in ledger.files().values()]
    times, unnamed = read_times(ledger)
    flow_logs, found = check_windows(times, first, last)
    found += days_with_few_rows([*files, *ledger.notes(with_expired=False)], first, last)
    found = _without_expired(found, ledger.expired())
    known = _Acknowledged(read_acknowledged(storage))
    found = [replace(gap, acknowledged=known.has(gap)) for gap in found]
    if acknowledge and not all(gap.acknowledged for gap in found):
        _acknowledge(storage, found)
        found = [replace(gap, acknowledged=True) for gap in found]
    return GapReport(
        lake=storage.root,
        gaps=tuple(sorted(found, key=lambda gap: (gap.kind, gap.of, gap.first))),
        flow_logs=tuple(flow_logs),
        unnamed_objects=unnamed,
        records=None if quick else read_records(lake, files, first, last, options or {}),
        seconds=time.monotonic() - started,
    )


def _without_expired(found: Sequence[Gap], expired: Expired) -> list[Gap]:
    """Leave out what is missing only in days that were removed."""
    before = expired.before
    return [gap for gap in found if not (before and gap.last.date() < before)]


class _Acknowledged:
    """Gaps that were acknowledged, by what they are of."""

    def __init__(self, gaps: Sequence[Mapping[str, Any]]) -> None:
        self._by_kind: dict[tuple[str, str], list[tuple[datetime, datetime]]] = {}
        for gap in gaps:
            span = (datetime.fromisoformat(gap["first"]), datetime.fromisoformat(gap["last"]))
            self._by_kind.setdefault((gap["kind"], gap["of"]), []).append(span)

    def has(self, gap: Gap) -> bool:
        """Tell whether a gap is within one that was acknowledged."""
        spans = self._by_kind.get((gap.kind, gap.of), [])
        if gap.kind == "silent":  # It grows; it is another one when the flow log was back.
            return any(first == gap.first for first, _ in spans)
        return any(first <= gap.first and gap.last <= last for first, last in spans)


def _acknowledge(storage: Storage, found: Sequence[Gap]) -> None:
    """Add gaps to those that were acknowledged."""
    run_id = new_run_id()
    with Lock(storage, run_id, wait=True):
        before = read_acknowledged(storage)
        known = _Acknowledged(before)
        added = [gap.to_dict() for gap in found if not known.has(gap)]
        write_acknowledged(
            storage,
            [*before, *({name: gap[name] for name in _ACKNOWLEDGED_BY} for gap in added)],
        )


_ACKNOWLEDGED_BY = ("kind", "of", "first", "last")
