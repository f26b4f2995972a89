"""Delivery windows of flow logs, from the names of the objects that the ledger has.

AWS publishes each flow log's objects at regular times, usually every five or ten minutes, and an
object's name has the end of its window. A flow log whose objects come at no regular time has none
that could be missing.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.lake.ledger import Ledger
from flowconv.source.keys import NAME_PATTERN
from flowconv.upkeep.gap_report import FlowLogDelivery, Gap

_Numbers = npt.NDArray[np.int64]

_DAY_MINUTES = 24 * 60

# Fewer windows tell nothing of a flow log's times.
_LEAST_WINDOWS = 4

# So many windows may be late before a flow log is silent, and an hour at least.
_LATE_WINDOWS = 3
_LATE_MINUTES = 60


class FlowLogKey(NamedTuple):
    """A flow log, and where its objects' names say that it is."""

    flow_log_id: str
    account_id: str
    region: str


class ObjectTimes(NamedTuple):
    """A flow log's objects.

    Attributes:
        ends: Ends of their windows, in minutes since 1970.
        lags_s: Times from there to their conversion, in seconds; those that are not known are left
            out.
    """

    ends: _Numbers
    lags_s: _Numbers


def read_times(ledger: Ledger) -> tuple[dict[FlowLogKey, ObjectTimes], int]:
    """Return the objects of each flow log, and the number of those whose names say no time."""
    ends: defaultdict[FlowLogKey, list[_Numbers]] = defaultdict(list)
    lags: defaultdict[FlowLogKey, list[_Numbers]] = defaultdict(list)
    unnamed = 0
    for batch in ledger.object_batches("uri", "committed"):
        for key, minutes, committed_s in _by_flow_log(batch):
            ends[key].append(minutes)
            known = committed_s >= 0
            lags[key].append(committed_s[known] - 60 * minutes[known])
            unnamed -= len(minutes)
        unnamed += batch.num_rows
    return {
        key: ObjectTimes(np.concatenate(ends[key]), np.concatenate(lags[key])) for key in ends
    }, unnamed


def _by_flow_log(batch: pa.RecordBatch) -> Iterator[tuple[FlowLogKey, _Numbers, _Numbers]]:
    """Give the flow logs of a batch of objects: window ends, and seconds of conversion or -1."""
    found: Any = pc.extract_regex(batch["uri"], NAME_PATTERN)
    names = ("id", "account", "region")
    times: Any = pc.strptime(
        pc.struct_field(found, "time"), format="%Y%m%dT%H%M", unit="s", error_is_null=True
    )
    rows: Any = pa.table(
        {
            **{name: pc.struct_field(found, name) for name in names},
            "time": times.cast(pa.int64()),
            "committed": batch["committed"]
            .cast(pa.timestamp("s", "UTC"), safe=False)
            .cast(pa.int64()),
        }
    )
    rows = rows.filter(pc.is_valid(rows["time"]))
    if rows.num_rows == 0:
        return
    joined: Any = pc.binary_join_element_wise(*(rows[name] for name in names), " ")
    coded = joined.combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    minutes = rows["time"].to_numpy() // 60
    committed = rows["committed"].fill_null(-1).to_numpy()
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(coded.dictionary) + 1))
    for code, text in enumerate(coded.dictionary.to_pylist()):
        chosen = order[bounds[code] : bounds[code + 1]]
        yield FlowLogKey(*text.split(" ")), minutes[chosen], committed[chosen]


def check_windows(
    times: dict[FlowLogKey, ObjectTimes], since: date | None, until: date | None
) -> tuple[list[FlowLogDelivery], list[Gap]]:
    """Return each flow log's delivery, and its missing windows.

    Args:
        times: The objects of each flow log.
        since: The first day, by the ends of windows.
        until: The last day, included.
    """
    begin = _minutes(since) if since else 0
    stop = _minutes(until) + _DAY_MINUTES if until else np.iinfo(np.int64).max
    logs: list[FlowLogDelivery] = []
    gaps: list[Gap] = []
    chosen: dict[FlowLogKey, ObjectTimes] = {}
    for key, of_log in times.items():
        before_stop = of_log.ends < stop
        if before_stop.any():
            has_lags = len(of_log.lags_s) == len(of_log.ends)
            lags = (
                of_log.lags_s[before_stop & (of_log.ends >= begin)] if has_lags else of_log.lags_s
            )
            chosen[key] = ObjectTimes(of_log.ends[before_stop], lags)
    newest = max((int(of_log.ends.max()) for of_log in chosen.values()), default=0)
    for key, of_log in sorted(chosen.items()):
        windows, numbers = np.unique(of_log.ends, return_counts=True)
        period = _usual_period(windows)
        found = list(_missing(key, windows, period, begin)) if period else []
        if windows[-1] >= begin:
            found += _silence(key, windows, period, newest)
        gaps += found
        inside = windows >= begin
        if inside.any():
            logs.append(
                _delivery(key, windows[inside], int(numbers[inside].sum()), period, found, of_log)
            )
    return logs, gaps


def _delivery(
    key: FlowLogKey,
    windows: _Numbers,
    objects: int,
    period: int | None,
    found: list[Gap],
    of_log: ObjectTimes,
) -> FlowLogDelivery:
    lags = of_log.lags_s
    return FlowLogDelivery(
        **key._asdict(),
        period_minutes=period,
        objects=objects,
        windows=len(windows),
        missing=sum(gap.number for gap in found),
        first=_time(windows[0]),
        last=_time(windows[-1]),
        lag_median_s=float(np.median(lags)) if len(lags) else None,
        lag_most_s=float(lags.max()) if len(lags) else None,
    )


def _usual_period(windows: _Numbers) -> int | None:
    """Return the minutes between two windows, if that is the same for most of them."""
    steps, numbers = np.unique(np.diff(windows), return_counts=True)
    if len(windows) < _LEAST_WINDOWS or 2 * numbers.max() < numbers.sum():
        return None
    period = int(steps[numbers.argmax()])
    return period if period < _DAY_MINUTES else None


def _missing(key: FlowLogKey, windows: _Numbers, period: int, begin: int) -> Iterator[Gap]:
    lost = np.diff(windows) // period - 1
    for place in np.flatnonzero(lost > 0).tolist():
        first = int(windows[place]) + period
        number = int(lost[place])
        if first < begin:
            before = min(number, -(-(begin - first) // period))
            first, number = first + before * period, number - before
        if number:
            last = first + (number - 1) * period
            yield _gap("windows", key, first, last, number)


def _silence(key: FlowLogKey, windows: _Numbers, period: int | None, newest: int) -> list[Gap]:
    """Return the silence at the end of a flow log, while others go on."""
    last = int(windows[-1])
    late = max(_LATE_WINDOWS * period, _LATE_MINUTES) if period else _DAY_MINUTES
    if len(windows) < _LEAST_WINDOWS or newest - last <= late:
        return []
    return [_gap("silent", key, last, newest, (newest - last) // period if period else 0)]


def _gap(kind: Any, key: FlowLogKey, first: int, last: int, number: int) -> Gap:
    return Gap(
        kind=kind,
        of=key.flow_log_id,
        account_id=key.account_id,
        region=key.region,
        first=_time(first),
        last=_time(last),
        number=number,
        usual=number,
    )


def _minutes(day: date) -> int:
    return (day - date(1970, 1, 1)).days * _DAY_MINUTES


def _time(minutes: Any) -> datetime:
    return datetime.fromtimestamp(60 * int(minutes), UTC)
