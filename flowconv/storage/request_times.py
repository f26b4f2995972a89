"""How many requests are made and how long they take, in few numbers for any many requests."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

# Method of botocore -> what a report calls it.
KINDS = {
    "abort_multipart_upload": "DELETE",
    "complete_multipart_upload": "POST",
    "copy_object": "COPY",
    "create_multipart_upload": "POST",
    "delete_object": "DELETE",
    "get_object": "GET",
    "head_bucket": "HEAD",
    "head_object": "HEAD",
    "list_multipart_uploads": "LIST",
    "list_objects_v2": "LIST",
    "put_object": "PUT",
    "upload_part": "PUT",
}

# A quantile is exact to 5 %.
_STEP = math.log(1.05)

# A request is not usual before some of its kind were answered.
_FEW = 20


@dataclass(slots=True, kw_only=True)
class RequestTimes:
    """The requests of a storage; added to by one thread at a time, read by any.

    Attributes:
        most_at_once: The highest number of requests that were under way together.
        hedges: Requests that were made once more while the first was still under way.
        sent_bytes: Size of the objects and parts sent.
        received_bytes: Size of the objects and ranges received.
    """

    most_at_once: int = 0
    hedges: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    _under_way: int = 0
    _buckets: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _counts: Counter[str] = field(default_factory=Counter)
    _sent: Counter[str] = field(default_factory=Counter)
    _medians_s: dict[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._sent)

    @property
    def sent(self) -> dict[str, int]:
        """Kind -> number of requests, with those that failed or were made twice: S3 bills them."""
        return dict(self._sent)

    def begin(self, kind: str) -> None:
        """Count a request under way."""
        self._sent[kind] += 1
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)

    def end(self) -> None:
        """Count a request that is over."""
        self._under_way -= 1

    def add(self, kind: str, seconds: float) -> None:
        """Count an answer, and its time in seconds."""
        self._buckets[kind][round(math.log(max(seconds, 1e-6)) / _STEP)] += 1
        self._counts[kind] += 1
        if self._counts[kind] % _FEW == 0:
            self._medians_s[kind] = self.quantile_s(kind, 0.5)

    def hedge(self, kind: str) -> None:
        """Count a request that is made once more beside the first."""
        self._sent[kind] += 1
        self.hedges += 1

    def count(self, kind: str) -> int:
        """Return the number of answers of a kind."""
        return self._counts[kind]

    def usual_s(self, kind: str) -> float | None:
        """Return the median in seconds as it was lately; None after few answers."""
        return self._medians_s.get(kind)

    def quantile_s(self, kind: str, share: float) -> float:
        """Return the time in seconds within which this share of the answers came; 0 without any."""
        buckets = dict(self._buckets.get(kind, {}))
        rest = share * sum(buckets.values())
        for bucket in sorted(buckets):
            rest -= buckets[bucket]
            if rest <= 0:
                return math.exp(bucket * _STEP)
        return 0.0

    def include(self, other: "RequestTimes") -> None:
        """Count another storage's requests too; for one thread at a time."""
        self.most_at_once = max(self.most_at_once, other.most_at_once)
        self.hedges += other.hedges
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self._sent.update(other._sent.copy())
        self._counts.update(other._counts.copy())
        for kind, buckets in other._buckets.copy().items():
            self._buckets[kind].update(buckets.copy())

    def since(self, earlier: "RequestTimes") -> "RequestTimes":
        """Return what was counted since; `earlier` includes all that this returned before."""
        buckets = {
            kind: counted.copy() - earlier._buckets[kind]
            for kind, counted in self._buckets.copy().items()
        }
        return RequestTimes(
            most_at_once=self.most_at_once,
            hedges=self.hedges - earlier.hedges,
            sent_bytes=self.sent_bytes - earlier.sent_bytes,
            received_bytes=self.received_bytes - earlier.received_bytes,
            _buckets=defaultdict(Counter, buckets),
            _counts=self._counts.copy() - earlier._counts,
            _sent=self._sent.copy() - earlier._sent,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times are in milliseconds."""
        kinds = {
            kind: {
                "count": self._counts[kind],
                "sent": self._sent[kind],
                "median_ms": round(1000 * self.quantile_s(kind, 0.5), 1),
                "p99_ms": round(1000 * self.quantile_s(kind, 0.99), 1),
            }
            for kind in sorted(self._sent.copy())
        }
        return {
            "kinds": kinds,
            "most_at_once": self.most_at_once,
            "hedges": self.hedges,
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
        }
