"""The fast path over objects that exist in memory only, and how it is held against the oracle."""

from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import reference
from flowconv import blocks, reading
from flowconv.batches import RejectedLine
from flowconv.errors import CorruptObjectError, FormatError, UnreadableObjectError
from flowconv.formats import declared_formats
from flowconv.listing import LogObject
from flowconv.normalising import TimeType, normalise
from flowconv.parsing import BlockParser
from flowconv.reading import read_blocks
from flowconv.report import LineCounts


def log_object(uri: str, size_bytes: int = 0, **facts: Any) -> LogObject:
    """An object whose key says nothing but what is given."""
    said = dict.fromkeys(("account_id", "region", "flow_log_id", "day", "time")) | facts
    return LogObject(uri=uri, path=uri, size_bytes=size_bytes, etag="", **said)


class Stored:
    """Bytes that come in pieces, as from a storage."""

    def __init__(self, body: bytes, piece_bytes: int = 1 << 20) -> None:
        self._body = body
        self._place = 0
        self._piece_bytes = piece_bytes

    def peek_first(self) -> bytes:
        return self._body[: self._piece_bytes]

    def readinto(self, buffer: memoryview, /) -> int:
        piece = self._body[self._place :][: min(len(buffer), self._piece_bytes)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        pass


@dataclass
class Converted:
    """What the fast path made of one object."""

    counts: LineCounts = field(default_factory=LineCounts)
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    rejected: list[RejectedLine] = field(default_factory=list)
    failure: UnreadableObjectError | None = None


def convert_in_memory(
    bodies: list[bytes],
    format: str | None = None,
    *,
    time_type: TimeType = "timestamp",
    block_bytes: int = blocks.BLOCK_BYTES,
    piece_bytes: int = 1 << 20,
) -> list[Converted]:
    """Read, parse and normalise objects together, as one task does."""
    declared = declared_formats(format)
    objects = {log_object(f"object-{n}", len(b)): b for n, b in enumerate(bodies)}
    failures: dict[LogObject, UnreadableObjectError] = {}
    with mock.patch.object(reading, "BLOCK_BYTES", block_bytes):
        while True:
            results = {one: Converted() for one in objects}
            parser = BlockParser(declared)
            try:
                for block in read_blocks(
                    [one for one in objects if one not in failures],
                    lambda one: Stored(objects[one], piece_bytes),
                    declared,
                    failures,
                ):
                    parsed = parser.parse(block)
                    for one, counts in parsed.counts:
                        results[one].counts += counts
                    for line in parsed.rejected:
                        results[line.log_object].rejected.append(line)
                    for raw in parsed.batches:
                        batch = normalise(raw, time_type)
                        rows = batch.rows.to_pylist()
                        assert len(rows) == sum(count for _, count in batch.sources)
                        for one, count in batch.sources:
                            results[one].rows += [(str(batch.table), row) for row in rows[:count]]
                            rows = rows[count:]
                break
            except UnreadableObjectError as error:
                failures |= {one: error for one in objects if one.uri == error.uri}
    for one, failure in failures.items():
        results[one] = Converted(failure=failure)
    return list(results.values())


def assert_as_reference(bodies: list[bytes], format: str | None = None, **how: Any) -> None:
    """Values, nulls, columns and their order, rejected lines and counts: all as the oracle's."""
    results = convert_in_memory(bodies, format, **how)
    for body, got in zip(bodies, results, strict=True):
        try:
            expected = reference.read_object(body, format=format)
        except reference.Unreadable as verdict:
            kinds = {"corrupt": CorruptObjectError, "format": FormatError}
            assert isinstance(got.failure, kinds[verdict.reason])  # noqa: PT017
            continue
        assert got.failure is None
        assert [(r.line, r.reason, r.field, r.text) for r in got.rejected] == [
            (r.line, r.reason, r.field, r.text) for r in expected.rejected
        ]
        assert got.counts == LineCounts(
            header=expected.header,
            blank=expected.blank,
            comment=expected.comment,
            rows=len(expected.rows),
            rejected=len(expected.rejected),
            split=expected.split,
            milliseconds=expected.milliseconds,
        )
        assert got.counts.lines == expected.lines
        assert len(got.rows) == len(expected.rows)
        for (table, row), wanted in zip(got.rows, expected.rows, strict=True):
            assert table == wanted.table
            assert list(row.items()) == list(reference.table_row(wanted).items())
