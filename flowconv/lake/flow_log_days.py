"""Objects of each flow log on the last whole day, against the days before, from the ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.lake.ledger import Ledger
from flowconv.source.keys import NAME_PATTERN

# The days that say what is usual: a week has quiet days.
_DAYS = 7

# Fewer objects in them tell nothing of what is usual.
_LEAST_OBJECTS = 4

# Stands between parts of a name; none of them has it.
_SEPARATOR = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLogDay:
    """A flow log's objects on the last day that was over for the newest object of the lake.

    Attributes:
        flow_log_id: The flow log.
        account_id: The account in its objects' names.
        region: Their region.
        day: The day, by the objects' keys.
        objects: Number of its objects.
        usual: The median of the seven days before, from its first one on.
    """

    flow_log_id: str
    account_id: str
    region: str
    day: date
    objects: int
    usual: float

    @property
    def has_few(self) -> bool:
        """It has less than half of the usual number."""
        return 2 * self.objects < self.usual

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"day": self.day.isoformat(), "has_few": self.has_few}


def flow_log_days(ledger: Ledger) -> list[FlowLogDay]:
    """Return the last whole day of each flow log of which the week before says what is usual."""
    days = [day for batch in ledger.object_batches("day") if (day := _newest(batch))]
    if not days:
        return []
    last = max(days) - timedelta(days=1)
    first = last - timedelta(days=_DAYS)
    from statistics import median  # here: it takes longer than a small lake

    counts: defaultdict[tuple[str, str, str], Counter[date]] = defaultdict(Counter)
    for batch in ledger.object_batches("uri", "day"):
        for names, day, objects in _by_flow_log(batch, first, last):
            counts[names][day] += objects
    found = []
    for (flow_log_id, account_id, region), by_day in sorted(counts.items()):
        days_before = (last - min(by_day)).days
        before = [by_day[last - timedelta(days=ago)] for ago in range(1, days_before + 1)]
        if sum(before) >= _LEAST_OBJECTS:
            found.append(
                FlowLogDay(
                    flow_log_id=flow_log_id,
                    account_id=account_id,
                    region=region,
                    day=last,
                    objects=by_day[last],
                    usual=median(before),
                )
            )
    return found


def _newest(batch: pa.RecordBatch) -> date | None:
    newest: date | None = pc.max(batch["day"]).as_py()
    return newest


def _by_flow_log(
    batch: pa.RecordBatch, first: date, last: date
) -> Iterator[tuple[tuple[str, str, str], date, int]]:
    """Give the number of objects of flow logs and days, of objects whose names say both."""
    day: Any = batch["day"]
    is_chosen: Any = pc.and_(
        pc.greater_equal(day, pa.scalar(first, pa.date32())),
        pc.less_equal(day, pa.scalar(last, pa.date32())),
    )
    chosen = batch.filter(is_chosen)
    found: Any = pc.extract_regex(chosen["uri"], NAME_PATTERN)
    parts = [pc.struct_field(found, name) for name in ("id", "account", "region")]
    days: Any = chosen["day"].cast(pa.string())
    # Grouping a table would load Arrow's datasets, which takes a tenth of a second.
    names: Any = pc.binary_join_element_wise(*parts, days, pa.scalar(_SEPARATOR, pa.string()))
    for row in pc.value_counts(names.drop_null()).to_pylist():
        flow_log_id, account, region, of_day = row["values"].split(_SEPARATOR)
        yield (flow_log_id, account, region), date.fromisoformat(of_day), row["counts"]
