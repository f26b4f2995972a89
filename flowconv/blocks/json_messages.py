"""Stage 3b, documents -> messages: whose they are, when they were logged, and what has none.

A subscription of CloudWatch Logs delivers documents with many messages each, and Firehose writes
one behind the other with nothing in between (https://docs.aws.amazon.com/AmazonCloudWatch/latest/
logs/SubscriptionFilters.html). Arrow's JSON reader takes a stretch of documents at once, and none
of them if one is damaged; then they are read one by one.
"""

import base64
import binascii
import codecs
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from flowconv.blocks.block import Events
from flowconv.blocks.json_documents import MAX_DOCUMENT_BYTES, Document, Stretch, read_documents
from flowconv.blocks.shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of messages of one kind and log group, or lines of JSON without a message.

    Attributes:
        text: The lines, each with its newline.
        shape: Where they are from; JSON if it is a document of no known kind, None if it is none.
        log_group: The log group that their documents name.
        events: The event of each line.
    """

    text: bytes
    shape: Shape | None
    log_group: str | None = None
    events: Events | None = None

    @property
    def are_messages(self) -> bool:
        """If not, they are rejected."""
        return self.events is not None


def read_messages(stretch: Stretch) -> Iterator[Lines]:
    """Take the messages out of documents, in their order, and set aside what has none."""
    columns = _read(stretch)
    if columns is not None and not columns.lacking.any():
        yield from columns.lines()
        return
    for is_damaged, documents in groupby(
        read_documents(stretch), lambda document: document.values is None
    ):
        if is_damaged:
            yield Lines(text=b"".join(document.text + b"\n" for document in documents), shape=None)
            continue
        for document in documents:
            assert document.values is not None
            yield from _lines_of(document, document.values, are_events=stretch.are_events)


# --- one by one ---------------------------------------------------------------------------------


def _lines_of(document: Document, values: dict[str, Any], *, are_events: bool) -> Iterator[Lines]:
    shape = shape_of(values, are_events=are_events)
    if values.get("messageType") == "CONTROL_MESSAGE":
        yield Lines(text=b"", shape=shape)
        return
    found = _messages_of(values, shape, are_events=are_events)
    if found is None:
        yield Lines(text=document.text + b"\n", shape=shape)
        return
    messages, times = found
    if shape is Shape.HTTP_ENDPOINT:
        yield from _lines_of_records(messages)
        return
    # As `_joined` does, whose calls of Arrow would take 0.1 ms for each document.
    lines = [message.rstrip("\r\n") + "\n" for message in messages]
    counts = np.array([line.count("\n") for line in lines], np.int64)
    owner = values.get("owner")
    events = Events(
        np.repeat(np.array(times, np.int64), counts),
        np.full(counts.sum(), -1 if owner is None else 0, np.int64),
        () if owner is None else (owner,),
    )
    text = "".join(lines).encode()
    yield Lines(text=text, shape=shape, log_group=values.get("logGroup"), events=events)


def shape_of(values: dict[str, Any], *, are_events: bool) -> Shape:
    """Return the shape of the object that a document is of; JSON if it holds no messages."""
    if values.get("logEvents") is not None:
        return Shape.SUBSCRIPTION
    if values.get("events") is not None:
        return Shape.CLOUDWATCH_API
    if values.get("message") is not None:
        return Shape.CLOUDWATCH_API if are_events else Shape.FIREHOSE
    records = values.get("records")
    if records and all(record and record.get("data") is not None for record in records):
        return Shape.HTTP_ENDPOINT
    return Shape.JSON if values.get("messageType") is None else Shape.SUBSCRIPTION


def _messages_of(
    values: dict[str, Any], shape: Shape, *, are_events: bool
) -> tuple[list[str], list[int]] | None:
    """Return messages and their times in milliseconds; None if some are missing."""
    if shape is Shape.HTTP_ENDPOINT:
        return [record["data"] for record in values["records"]], []
    events: list[dict[str, Any] | None]
    if values.get("logEvents") is not None:
        events = values["logEvents"]
    elif values.get("events") is not None:
        events = values["events"]
    else:
        events = [values if are_events else {"message": values.get("message")}]
    messages, times = [], []
    for event in events:
        if event is None or event.get("message") is None:
            return None
        messages.append(event["message"])
        time = event.get("timestamp")
        times.append(-1 if time is None or time < 0 else time)
    return messages, times


# --- columns ------------------------------------------------------------------------------------

_EVENT = pa.struct([("message", pa.string()), ("timestamp", pa.int64())])
_SCHEMA: pa.Schema = pa.schema(
    [
        ("messageType", pa.string()),
        ("logGroup", pa.string()),
        ("owner", pa.string()),
        ("message", pa.string()),
        ("logEvents", pa.list_(_EVENT)),
        ("events", pa.list_(_EVENT)),
        ("records", pa.list_(pa.struct([("data", pa.string())]))),
    ]
)
_SCHEMA_OF_EVENTS = _SCHEMA.append(pa.field("timestamp", pa.int64()))


def _read(stretch: Stretch) -> "_Columns | None":
    """Return the documents of a stretch; None if any is damaged."""
    text = stretch.text
    if not text.strip(b" \t\r\n"):
        return _Columns(_SCHEMA_OF_EVENTS.empty_table(), are_events=stretch.are_events)
    # Arrow crashes on a text that begins with null, skips a byte order mark, and does not look at
    # what is UTF-8.
    if not text.lstrip(b" \t\r\n").startswith(b"{") or not _is_utf8(text):
        return None
    try:
        table = json.read_json(
            pa.BufferReader(pa.py_buffer(text)),  # type: ignore[arg-type]
            read_options=json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            parse_options=json.ParseOptions(
                explicit_schema=_SCHEMA_OF_EVENTS if stretch.are_events else _SCHEMA,
                newlines_in_values=True,
                unexpected_field_behavior="ignore",
            ),
        )
    except pa.ArrowInvalid:
        return None
    return _Columns(table, are_events=stretch.are_events)


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(codecs.utf_8_decode(text, "strict", True))
    except UnicodeDecodeError:
        return False


_CONTROL, _EVENTS, _API, _SINGLE, _RECORDS = range(5)
_SHAPES = (Shape.SUBSCRIPTION, Shape.SUBSCRIPTION, Shape.CLOUDWATCH_API)


class _Columns:
    """Whole documents, column by column.

    Attributes:
        lacking: For each document, whether it is to have messages and has none.
    """

    def __init__(self, table: pa.Table, *, are_events: bool) -> None:
        self._are_events = are_events
        self._log_events: Any = table["logEvents"].combine_chunks()
        self._events: Any = table["events"].combine_chunks()
        self._records: Any = table["records"].combine_chunks()
        self._message: Any = table["message"].combine_chunks()
        self._groups: Any = table["logGroup"].combine_chunks().dictionary_encode()
        self._owners: Any = table["owner"].combine_chunks()
        self._times: Any = table["timestamp"].combine_chunks() if are_events else None
        type_: Any = table["messageType"].combine_chunks()
        control = _as_bools(pc.equal(type_, pa.scalar("CONTROL_MESSAGE")))
        kinds = [control] + [
            _as_bools(column.is_valid())
            for column in (self._log_events, self._events, self._message, self._records)
        ]
        self._kinds = np.select(kinds, [_CONTROL, _EVENTS, _API, _SINGLE, _RECORDS])
        lacking = ~np.logical_or.reduce(kinds)
        for events, name in (
            (self._log_events, "message"),
            (self._events, "message"),
            (self._records, "data"),
        ):
            values: Any = pc.struct_field(pc.list_flatten(events), name)
            parents: Any = pc.list_parent_indices(events)
            lacking[parents.filter(values.is_null()).to_numpy()] = True
        empty = _as_bools(pc.equal(pc.list_value_length(self._records), pa.scalar(0)))
        self.lacking = (lacking | (empty & (self._kinds == _RECORDS))) & ~control

    def lines(self) -> Iterator[Lines]:
        """Give the messages; those go together that are of one kind and log group."""
        groups = self._groups.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        changes = (self._kinds[1:] != self._kinds[:-1]) | (groups[1:] != groups[:-1])
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(groups)]
        for start, stop in pairwise(edges):
            if start < stop:
                yield from self._run(start, stop, self._groups[start].as_py())

    def _run(self, start: int, stop: int, log_group: str | None) -> Iterator[Lines]:
        kind = self._kinds[start]
        # The accounts of this run alone: a stretch may have very many.
        own = self._owners[start:stop].dictionary_encode()
        owners = own.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        accounts = tuple(own.dictionary.to_pylist())
        if kind == _CONTROL:
            yield Lines(text=b"", shape=Shape.SUBSCRIPTION)
        elif kind == _SINGLE:
            shape = Shape.CLOUDWATCH_API if self._are_events else Shape.FIREHOSE
            times = np.full(stop - start, -1)
            if self._times is not None:
                times = _as_times(self._times[start:stop])
            yield _joined(self._message[start:stop], times, owners, accounts, shape, log_group)
        elif kind == _RECORDS:
            data = pc.struct_field(pc.list_flatten(self._records[start:stop]), "data")
            yield from _lines_of_records(data.to_pylist())
        else:
            lists = (self._log_events if kind == _EVENTS else self._events)[start:stop]
            events: Any = pc.list_flatten(lists)
            counts = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
            yield _joined(
                pc.struct_field(events, "message"),
                _as_times(pc.struct_field(events, "timestamp")),
                np.repeat(owners, counts),
                accounts,
                _SHAPES[kind],
                log_group,
            )


def _as_bools(array: Any) -> Any:
    return array.fill_null(False).to_numpy(zero_copy_only=False)


def _as_times(array: Any) -> npt.NDArray[np.int64]:
    times: npt.NDArray[np.int64] = array.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.maximum(times, -1)


def _joined(
    messages: Any,
    times: npt.NDArray[np.int64],
    owners: npt.NDArray[np.int64],
    accounts: tuple[str, ...],
    shape: Shape,
    log_group: str | None,
) -> Lines:
    """Return messages as lines; newlines that end a message are no lines of their own."""
    if any(pc.any(pc.ends_with(messages, end)).as_py() for end in ("\n", "\r")):
        messages = pc.ascii_rtrim(messages, "\r\n")
    lines: Any = pc.binary_join_element_wise(messages, pa.scalar(""), pa.scalar("\n"))
    _, offsets, data = lines.buffers()
    text = bytes(data)[: np.frombuffer(offsets, np.int32)[len(lines)]] if len(lines) else b""
    if text.count(b"\n") > len(times):
        counts = pc.count_substring(lines, "\n").to_numpy(zero_copy_only=False)
        times, owners = np.repeat(times, counts), np.repeat(owners, counts)
    events = Events(times, owners.astype(np.int64), accounts)
    return Lines(text=text, shape=shape, log_group=log_group, events=events)


# --- what Firehose sends to an HTTP endpoint ----------------------------------------------------


def _lines_of_records(records: Sequence[str]) -> Iterator[Lines]:
    """Read records in base64: text, or gzip of it; that of a subscription is a document."""
    for data in records:
        text = _decoded(data)
        if text is None:
            rejected = data.encode().replace(b"\n", b" ").replace(b"\r", b" ")
            yield Lines(text=rejected + b"\n", shape=Shape.HTTP_ENDPOINT)
        elif text.lstrip(b" \t\r\n").startswith(b"{"):
            for lines in read_messages(Stretch(text)):
                yield replace(lines, shape=Shape.HTTP_ENDPOINT)
        else:
            text = text.rstrip(b"\r\n") + b"\n"
            events = Events.of_times(np.full(text.count(b"\n"), -1))
            yield Lines(text=text, shape=Shape.HTTP_ENDPOINT, events=events)


def _decoded(data: str) -> bytes | None:
    """Return what a record holds; None if it is damaged or too large."""
    try:
        stored = base64.b64decode(data, validate=True)
        if stored[:2] != b"\x1f\x8b":
            return stored
        with gzip.GzipFile(fileobj=io.BytesIO(stored)) as file:
            text = file.read(MAX_DOCUMENT_BYTES + 1)
    except (ValueError, binascii.Error, OSError, EOFError, zlib.error):
        return None
    return text if len(text) <= MAX_DOCUMENT_BYTES else None
