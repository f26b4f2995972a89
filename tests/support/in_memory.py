"""The fast path over objects that exist in memory only, and how it is held against the oracle."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from flowconv.blocks import block, json_blocks, json_documents, reading
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats, declared_formats
from flowconv.blocks.reading import BeginBeside
from flowconv.blocks.shapes import Shape
from flowconv.errors import CorruptObjectError, FormatError, UnreadableObjectError
from flowconv.option_values import TimeType
from flowconv.rows.batch import RejectedLine
from flowconv.rows.extracting import extract
from flowconv.rows.normalising import FlowBatch, normalise
from flowconv.source.keys import LogObject
from oracle import reference

# The day of all runs here.
TODAY = date(2026, 1, 20)


def log_object(uri: str, size_bytes: int = 0, **facts: Any) -> LogObject:
    """An object whose key says nothing but what is given."""
    unknown = dict.fromkeys(("account_id", "region", "flow_log_id", "day", "time"))
    said: dict[str, Any] = {"path": uri, "size_bytes": size_bytes, "etag": ""} | unknown | facts
    return LogObject(uri=uri, **said)


class Stored:
    """Bytes that come in pieces, as from a storage."""

    def __init__(self, body: bytes, piece_bytes: int = 1 << 20) -> None:
        self._body = body
        self._place = 0
        self._piece_bytes = piece_bytes

    def fetch_first(self) -> bytes:
        return self._body[: self._piece_bytes]

    def readinto(self, buffer: memoryview, /) -> int:
        piece = self._body[self._place :][: min(len(buffer), self._piece_bytes)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        pass


@dataclass(kw_only=True)
class Converted:
    """What the fast path made of one object.

    A row is its table, its line and its values; the event of each is its time in milliseconds and
    its owner. What is unfit has lines, but none that fits.
    """

    counts: LineCounts = field(default_factory=LineCounts)
    rows: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    events: list[tuple[int, str | None]] = field(default_factory=list)
    shape: Shape | None = None
    rejected: list[RejectedLine] = field(default_factory=list)
    unfit: UnreadableObjectError | None = None
    failure: UnreadableObjectError | None = None


def declare(format: str | None = None, formats: str | None = None) -> DeclaredFormats:
    """What --format, and a file of --formats with this text, declare."""
    names = re.findall(r"[A-Za-z][A-Za-z0-9_-]*", f"{format} {formats}")
    if formats is None:
        return declared_formats(format, allow_unknown_fields=names)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "formats.toml"
        file.write_text(formats, encoding="utf-8")
        return declared_formats(format, str(file), allow_unknown_fields=names)


def convert_in_memory(
    bodies: list[bytes],
    format: str | None = None,
    *,
    formats: str | None = None,
    keys: Sequence[dict[str, Any]] = (),
    time_type: TimeType = "timestamp",
    block_bytes: int = block.BLOCK_BYTES,
    document_bytes: int = json_documents.STRETCH_BYTES,
    piece_bytes: int = 1 << 20,
) -> list[Converted]:
    """Read, parse and normalise objects together, as one task does.

    Args:
        bodies: What they hold.
        format: As --format.
        formats: Text of a file for --formats.
        keys: What the key of each says: `path`, `flow_log_id` and others.
        time_type: As --time-type.
        block_bytes: So much text is read at once.
        document_bytes: So much text of JSON is read at once.
        piece_bytes: So much of an object is fetched at once.
    """
    declared = declare(format, formats)
    objects = {
        log_object(f"object-{n}", len(body), **(keys[n] if keys else {})): body
        for n, body in enumerate(bodies)
    }
    failures: dict[LogObject, UnreadableObjectError] = {}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(reading, "BLOCK_BYTES", block_bytes))
        stack.enter_context(mock.patch.object(json_blocks, "STRETCH_BYTES", document_bytes))
        stack.enter_context(mock.patch.object(json_documents, "STRETCH_BYTES", document_bytes))
        while True:
            left = {listed: body for listed, body in objects.items() if listed not in failures}
            try:
                results = _extracted(left, declared, failures, time_type, piece_bytes)
                break
            except UnreadableObjectError as error:
                failures |= {listed: error for listed in objects if listed.uri == error.uri}
    return [
        Converted(failure=failures[listed]) if listed in failures else results[listed]
        for listed in objects
    ]


def _extracted(
    objects: Mapping[LogObject, bytes],
    declared: DeclaredFormats,
    failures: dict[LogObject, UnreadableObjectError],
    time_type: TimeType,
    piece_bytes: int,
) -> dict[LogObject, Converted]:
    """What objects come to; those that fail before any row of theirs go into `failures`.

    Raises:
        UnreadableObjectError: An object failed behind some of its rows.
    """
    results = {listed: Converted() for listed in objects}
    ended: set[LogObject] = set()

    def on_failure(failed: LogObject, error: UnreadableObjectError) -> None:
        if failed in ended:
            results[failed].unfit = error
        else:
            failures[failed] = error

    for whole, parsed in extract(
        list(objects),
        lambda listed: Stored(objects[listed], piece_bytes),
        declared,
        on_failure,
        today=TODAY,
        begin_beside=now_and_then(),
    ):
        ended.update(whole.ended)
        for listed in whole.log_objects:
            results[listed].shape = whole.shape
        for listed, counts in parsed.counts:
            results[listed].counts += counts
        for line in parsed.rejected:
            results[line.log_object].rejected.append(line)
        for raw in parsed.batches:
            batch = normalise(raw, time_type)
            lines = raw.lines.tolist()
            found = zip(lines, batch.rows.to_pylist(), strict=True)
            rows = [(str(batch.table), line, row) for line, row in found]
            assert len(rows) == sum(count for _, count in batch.sources)
            events = events_of(batch)
            for listed, count in batch.sources:
                results[listed].rows += rows[:count]
                results[listed].events += events[:count]
                rows, events = rows[count:], events[count:]
    return results


def now_and_then() -> BeginBeside:
    """A core that is idle for every other block, beginning with the first."""
    is_idle = cycle((True, False))
    return lambda call: _beside.submit(call) if next(is_idle) else None


_beside = ThreadPoolExecutor(1)


def events_of(batch: FlowBatch) -> list[tuple[int, str | None]]:
    """Time and owner of each row's event."""
    events = batch.events
    if events is None:
        return [(-1, None)] * batch.rows.num_rows
    owners = [None if code < 0 else events.accounts[code] for code in events.owners]
    return list(zip(events.times.tolist(), owners, strict=True))


def assert_as_reference(
    bodies: list[bytes],
    format: str | None = None,
    *,
    formats: str | None = None,
    keys: Sequence[dict[str, Any]] = (),
    **how: Any,
) -> None:
    """Rows with their lines and columns, rejected lines and counts: all as the oracle's.

    The shape too, if there are any rows.
    """
    results = convert_in_memory(bodies, format, formats=formats, keys=keys, **how)
    by = None if formats is None else reference.read_formats(formats)
    for n, (body, got) in enumerate(zip(bodies, results, strict=True)):
        key = {"path": f"object-{n}"} | (keys[n] if keys else {})
        try:
            delivered = delivery_of(key)
            place = reference.Place(key["path"], key.get("flow_log_id"))
            expected = reference.read_object(
                body, format=format, formats=by, delivered=delivered, today=TODAY, place=place
            )
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
            far_times=expected.far_times,
            left_out=expected.left_out,
        )
        assert got.counts.lines == expected.lines
        assert (got.unfit is not None) == (expected.rejected != [] and not expected.rows)
        assert len(got.rows) == len(expected.rows)
        for (table, line, row), wanted in zip(got.rows, expected.rows, strict=True):
            assert (table, line) == (wanted.table, wanted.line)
            values = reference.table_row(wanted, flow_log_id=key.get("flow_log_id"))
            assert list(row.items()) == list(values.items())
        for (time, owner), wanted in zip(got.events, expected.rows, strict=True):
            assert owner == wanted.owner
            # Times are not looked at unless they are needed.
            if wanted.values.get("start") is None:
                assert time == (-1 if wanted.logged is None else milliseconds_of(wanted.logged))
        if expected.rows:
            assert got.shape == expected.shape


def delivery_of(key: dict[str, Any]) -> date | None:
    time, day = key.get("time"), key.get("day")
    return time.date() if time else day


def milliseconds_of(time: datetime) -> int:
    return round(time.timestamp() * 1000)
