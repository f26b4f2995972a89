"""What a task's rows say of their age and of what AWS lost."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from flowconv.rows.times import known_times

_SKIPDATA = "SKIPDATA"


class Freshness:
    """The newest record and the SKIPDATA rows of a task. For one thread.

    Attributes:
        skipdata: Number of rows that say that AWS lost records.
    """

    def __init__(self) -> None:
        self.skipdata = 0
        self._newest_s: float | None = None
        self._now_s = datetime.now(UTC).timestamp()

    def add(self, rows: pa.Table) -> None:
        """Add rows of a table."""
        start: Any = rows["start"]
        per_second = 1_000_000 if pa.types.is_timestamp(start.type) else 1
        times = known_times(start)
        now = int(self._now_s * per_second)
        if times.max(initial=0) > now:
            # A clock that is wrong must not hide that nothing comes any more.
            times = times[times <= now]
        if len(times):
            self._newest_s = max(self._newest_s or 0, int(times.max()) / per_second)
        if "log_status" in rows.column_names:
            self.skipdata += sum(map(_count_skipdata, rows["log_status"].chunks))

    @property
    def newest_record(self) -> datetime | None:
        """Start of the newest record that does not start in the future; None if none has one."""
        return None if self._newest_s is None else datetime.fromtimestamp(self._newest_s, UTC)


def _count_skipdata(status: Any) -> int:
    if pa.types.is_null(status.type):
        return 0
    if not pa.types.is_dictionary(status.type):
        status = status.dictionary_encode()
    words = status.dictionary.to_pylist()
    if _SKIPDATA not in words:
        return 0
    places = status.indices
    known = places.drop_null() if places.null_count else places
    return int(np.count_nonzero(known.to_numpy() == words.index(_SKIPDATA)))
