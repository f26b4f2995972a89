"""What a task's rows say of their age and of what AWS lost."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
        last = pc.max(start.cast(pa.int64())).as_py()
        if last is not None and last > self._now_s * per_second:
            # A clock that is wrong must not hide that nothing comes any more.
            past = pc.less_equal(start.cast(pa.int64()), pa.scalar(int(self._now_s * per_second)))
            last = pc.max(start.cast(pa.int64()).filter(past)).as_py()
        if last is not None:
            self._newest_s = max(self._newest_s or 0, last / per_second)
        if "log_status" in rows.column_names:
            self.skipdata += sum(map(_count_skipdata, rows["log_status"].chunks))

    @property
    def newest_record(self) -> datetime | None:
        """Start of the newest record that does not start in the future; None if none has one."""
        return None if self._newest_s is None else datetime.fromtimestamp(self._newest_s, UTC)


def _count_skipdata(status: Any) -> int:
    if pa.types.is_null(status.type):
        return 0
    if pa.types.is_dictionary(status.type):
        if (place := status.dictionary.index(_SKIPDATA).as_py()) < 0:
            return 0
        status, value = status.indices, pa.scalar(place, status.indices.type)
    else:
        value = pa.scalar(_SKIPDATA, status.type)
    return int(pc.sum(pc.equal(status, value)).as_py() or 0)
