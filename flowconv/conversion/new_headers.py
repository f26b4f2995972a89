"""Which headers the logs of a prefix have had: a new one may need somebody's attention.

A flow log's format never changes, so new fields come with a new flow log id; but prefixes outlive
flow logs, and queries are written for prefixes.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.conversion.report import NewHeader
from flowconv.lake.ledger_records import ConvertedObject, split_headers

# What stands before the day of a key, else the folder.
_PREFIX = r"^(.*?)/(?:[0-9]{4}/[0-9]{2}/[0-9]{2}/.*|year=[0-9]{4}/.*|[^/]*)$"


class KnownHeaders:
    """The headers that a ledger's objects have, by prefix.

    Args:
        batches: Columns `uri` and `fields` of the ledger's objects.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        for prefix, headers in _distinct(batches):
            self._known[prefix].update(split_headers(headers))
        self._new: dict[tuple[str, str], NewHeader] = {}

    def add(self, converted: Iterable[ConvertedObject]) -> None:
        """Take note of objects that a run converted."""
        for one in converted:
            prefix = re.sub(_PREFIX, r"\1", one.uri)
            known = self._known.get(prefix, set())
            for fields in one.headers:
                if not known or fields in known:
                    continue
                new = self._new.get((prefix, fields))
                if new is None or (one.day and one.day < (new.since or date.max)):
                    new = new or _compare(prefix, fields, known)
                    self._new[prefix, fields] = replace(
                        new, flow_log_id=one.flow_log_id, since=one.day
                    )

    def new(self) -> list[NewHeader]:
        """Return the headers that are new in prefixes of which some were known, by prefix."""
        return sorted(self._new.values(), key=lambda new: (new.prefix, new.since or date.min))


def _compare(prefix: str, fields: str, known: Iterable[str]) -> NewHeader:
    new = fields.split()
    like = min(known, key=lambda header: (len({*header.split()} ^ {*new}), header)).split()
    came = tuple(name for name in new if name not in like)
    went = tuple(name for name in like if name not in new)
    return NewHeader(prefix, None, None, fields, came, went)


def _distinct(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str]]:
    """Give every prefix with each of its objects' headers, at least once."""
    for batch in batches:
        prefixes: Any = pc.replace_substring_regex(batch["uri"], _PREFIX, r"\1")
        pairs = pa.table({"prefix": prefixes, "fields": batch["fields"].cast(pa.string())})
        for row in pairs.group_by(["prefix", "fields"]).aggregate([]).to_pylist():
            yield row["prefix"], row["fields"]
