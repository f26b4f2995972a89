"""New headers: headers that no object of a prefix had before, which may break queries.

The format of a flow log never changes, so new fields come with a new flow log. But prefixes outlive
flow logs, and queries are written for prefixes.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from flowconv.conversion.report import NewHeader
from flowconv.lake.ledger_records import ConvertedObject, split_headers

if TYPE_CHECKING:
    import pyarrow as pa

# The part of a uri before the day, else the folder.
_PREFIX = r"^(.*?)/(?:[0-9]{4}/[0-9]{2}/[0-9]{2}/.*|year=[0-9]{4}/.*|[^/]*)$"

# More are only counted: each is compared with all known headers of its prefix, and is in the report
# and in the ledger.
MAX_LISTED = 100


class _First(NamedTuple):
    """The first object that has a header."""

    since: date | None
    flow_log_id: str | None


class KnownHeaders:
    """The headers that a ledger's objects have, by prefix, and the new headers of a run.

    Args:
        batches: Columns `uri` and `fields` of the ledger's objects.
    """

    def __init__(self, batches: "Iterable[pa.RecordBatch]") -> None:
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        for prefix, headers in _distinct(batches):
            self._known[prefix].update(split_headers(headers))
        self._new: dict[tuple[str, str], _First] = {}

    def add(self, objects: Iterable[ConvertedObject]) -> None:
        """Look for new headers in objects that a run converted."""
        if not self._known:
            return  # A first run. To find a prefix takes 4 us an object.
        for converted in objects:
            prefix = re.sub(_PREFIX, r"\1", converted.uri)
            known = self._known.get(prefix)
            if not known:
                continue
            for header in converted.headers:
                if header in known:
                    continue
                first = self._new.get((prefix, header))
                if first is None or (converted.day and converted.day < (first.since or date.max)):
                    self._new[prefix, header] = _First(converted.day, converted.flow_log_id)

    @property
    def number_new(self) -> int:
        """Number of new headers; a header counts once in each prefix."""
        return len(self._new)

    def new(self) -> list[NewHeader]:
        """Return the first `MAX_LISTED` new headers, by prefix and day.

        A prefix without known headers has no new ones.
        """
        ordered = sorted(
            self._new.items(), key=lambda item: (item[0][0], item[1].since or date.min, item[0][1])
        )
        listed = ordered[:MAX_LISTED]
        prefixes = {prefix for (prefix, _), _ in listed}
        known = {
            prefix: [(header, frozenset(header.split())) for header in self._known[prefix]]
            for prefix in prefixes
        }
        return [
            _compare(prefix, header, first, known[prefix]) for (prefix, header), first in listed
        ]


def _compare(
    prefix: str, header: str, first: _First, known: Collection[tuple[str, frozenset[str]]]
) -> NewHeader:
    """Compare a new header with the most similar known header of its prefix."""
    names = header.split()
    wanted = frozenset(names)
    similar = min(known, key=lambda other: (len(other[1] ^ wanted), other[0]))[0].split()
    return NewHeader(
        prefix=prefix,
        flow_log_id=first.flow_log_id,
        since=first.since,
        fields=header,
        added=tuple(name for name in names if name not in similar),
        removed=tuple(name for name in similar if name not in names),
    )


def _distinct(batches: "Iterable[pa.RecordBatch]") -> Iterator[tuple[str, str]]:
    """Give each prefix with each of its objects' joined headers, at least once."""
    for batch in batches:
        # Within the loop: a first run has no batches, and this takes an eighth of a short one.
        import pyarrow.compute as pc

        prefixes: Any = pc.replace_substring_regex(batch["uri"], _PREFIX, r"\1")
        prefixes, headers = (column.dictionary_encode() for column in (prefixes, batch["fields"]))
        # To group a table takes as long for many objects, and 0.02 s of imports.
        numbers = (column.indices.to_numpy().tolist() for column in (prefixes, headers))
        for prefix, header in set(zip(*numbers, strict=True)):
            yield prefixes.dictionary[prefix].as_py(), headers.dictionary[header].as_py()
