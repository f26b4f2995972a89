"""Stage 3b, documents -> messages: whose they are, when they were logged, and what has none.

A subscription of CloudWatch Logs delivers documents with many messages each, and Firehose writes
one behind the other with nothing in between (https://docs.aws.amazon.com/AmazonCloudWatch/latest/
logs/SubscriptionFilters.html). The native core reads documents of these kinds, and leaves what is
damaged or unusual in them to be read one by one.
"""

import base64
import binascii
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from flowconv.blocks.block import Events
from flowconv.blocks.json_documents import (
    MAX_DOCUMENT_BYTES,
    Document,
    Stretch,
    find_sure_cut,
    read_documents,
)
from flowconv.blocks.shapes import Shape
from flowconv.kernel.messages import Kind, MessageReader, MessageRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of messages of one kind and log group, or lines of JSON without a message.

    Attributes:
        text: The lines, each with its newline.
        shape: Where they are from; JSON if it is a document of no known kind, None if it is none.
        log_group: The log group that their documents name.
        events: The event of each line.
        may_hold_header: If not, no line consists of names of fields.
    """

    text: bytes
    shape: Shape | None
    log_group: str | None = None
    events: Events | None = None
    may_hold_header: bool = True

    @property
    def count(self) -> int:
        """The number of lines."""
        return self.text.count(b"\n") if self.events is None else len(self.events.times)

    @property
    def are_messages(self) -> bool:
        """If not, they are rejected."""
        return self.events is not None


def read_messages(stretch: Stretch) -> Iterator[Lines]:
    """Take the messages out of documents, in their order, and set aside what has none."""
    text, are_events = stretch.text, stretch.are_events
    reader = MessageReader()
    start = 0
    while start < len(text):
        runs, start = reader.read(text, start, are_events=are_events)
        for (kind, log_group), same in groupby(runs, lambda run: (run.kind, run.log_group)):
            yield _joined(list(same), _shape_of_kind(kind, are_events=are_events), log_group)
        if start < len(text):
            stop, behind = find_sure_cut(text, start)
            yield from read_one_by_one(Stretch(text[start:stop], are_events))
            start = behind


def _shape_of_kind(kind: Kind, *, are_events: bool) -> Shape:
    if kind is Kind.LOG_EVENTS:
        return Shape.SUBSCRIPTION
    return Shape.CLOUDWATCH_API if kind is Kind.EVENTS or are_events else Shape.FIREHOSE


def _joined(runs: Sequence[MessageRun], shape: Shape, log_group: str | None) -> Lines:
    """Return the lines of runs that differ in their owner alone."""
    accounts = tuple(dict.fromkeys(run.owner for run in runs if run.owner is not None))
    places = {account: place for place, account in enumerate(accounts)}
    owners = [-1 if run.owner is None else places[run.owner] for run in runs]
    events = Events(
        np.concatenate([run.times for run in runs]),
        np.repeat(np.array(owners, np.int64), [len(run.times) for run in runs]),
        accounts,
    )
    return Lines(
        text=b"".join(run.text for run in runs),
        shape=shape,
        log_group=log_group,
        events=events,
        may_hold_header=any(run.may_hold_header for run in runs),
    )


# --- one by one ---------------------------------------------------------------------------------


def read_one_by_one(stretch: Stretch) -> Iterator[Lines]:
    """Do the same with any documents, slowly."""
    for is_damaged, documents in groupby(
        read_documents(stretch), lambda document: document.values is None
    ):
        if is_damaged:
            yield Lines(text=b"".join(document.text + b"\n" for document in documents), shape=None)
            continue
        for document in documents:
            assert document.values is not None
            yield from _lines_of(document, document.values, are_events=stretch.are_events)


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
