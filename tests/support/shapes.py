"""Bytes of objects in every shape in which flow logs reach a bucket, made of lines or columns."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TIME = b"2026-01-14T00:00:00.000Z"
LOG_GROUP = "/aws/vpc/flowlogs"


def cloudwatch_export(lines: Sequence[bytes], *, time: bytes = TIME) -> bytes:
    """An object of an export: each line behind the time at which it was logged."""
    return b"".join(b"%s %s\n" % (time, line) for line in lines)


def document(
    messages: Sequence[str], *, log_group: str | None = LOG_GROUP, **others: Any
) -> dict[str, Any]:
    """A document of a subscription; further keys replace those that AWS writes."""
    made = {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": log_group,
        "logStream": "eni-0a1b2c3d4e5f60718-all",
        "subscriptionFilters": ["flow-logs"],
        "logEvents": [
            {"id": f"{number:056d}", "timestamp": 1768348800000, "message": message}
            for number, message in enumerate(messages)
        ],
    }
    return {key: value for key, value in (made | others).items() if value is not None}


def control(log_group: str = "") -> dict[str, Any]:
    """The document by which CloudWatch Logs asks whether its destination is there."""
    text = "CWL CONTROL MESSAGE: Checking health of destination Firehose."
    return document([text], log_group=log_group, messageType="CONTROL_MESSAGE")


def subscription(
    documents: Sequence[Mapping[str, Any]], *, between: str = "", indent: int | None = None
) -> bytes:
    """Documents of a subscription, glued or with something between; indented, if that is wanted."""
    return _joined(documents, between, indent)


def firehose(messages: Sequence[str], *, between: str = "\n", indent: int | None = None) -> bytes:
    """Documents of one message each, one a line, or glued."""
    return _joined([{"message": message} for message in messages], between, indent)


def api_events(messages: Sequence[str], *, times: Sequence[int] = (), **others: Any) -> bytes:
    """What `aws logs filter-log-events` prints."""
    events = [
        {"logStreamName": "s", "timestamp": time, "message": message, "eventId": "1"}
        for message, time in zip(messages, times or [1768348800000] * len(messages), strict=True)
    ]
    return json.dumps({"events": events, "searchedLogStreams": []} | others, indent=4).encode()


def http_endpoint(records: Sequence[bytes]) -> bytes:
    """What Firehose sends to an HTTP endpoint: records in base64."""
    data = [{"data": base64.b64encode(record).decode()} for record in records]
    made = {"requestId": "x", "timestamp": 1768348800000, "records": data}
    return json.dumps(made).encode()


def _joined(documents: Sequence[Mapping[str, Any]], between: str, indent: int | None) -> bytes:
    compact = None if indent is not None else (",", ":")
    texts = [
        json.dumps(each, ensure_ascii=False, indent=indent, separators=compact)
        for each in documents
    ]
    # Half of a surrogate pair can only be escaped.
    return "".join(text + between for text in texts).encode("utf-8", "backslashreplace")


def gzip_member(
    text: bytes,
    *,
    extra: bytes | None = None,
    name: bytes | None = None,
    comment: bytes | None = None,
    has_checksum: bool = False,
) -> bytes:
    """A member of gzip with the parts of a header that are given."""
    flags = (
        2 * has_checksum
        | 4 * (extra is not None)
        | 8 * (name is not None)
        | 16 * (comment is not None)
    )
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(5) + b"\xff"
    if extra is not None:
        head += struct.pack("<H", len(extra)) + extra
    head += b"".join(part + b"\0" for part in (name, comment) if part is not None)
    if has_checksum:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + gzip.compress(text, mtime=0)[10:]


def gzip_members(parts: Sequence[bytes]) -> bytes:
    """Each part a gzip member of its own, as Firehose joins what came compressed."""
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def parquet(columns: Mapping[str, Any] | pa.Table, **how: Any) -> bytes:
    """A Parquet file of columns: arrays, or values whose type Arrow infers."""
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    sink = BytesIO()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


def _text_view() -> pa.DataType:
    """The type of text in views; plain text where pyarrow cannot write it, as before release 21."""
    with suppress(pa.ArrowNotImplementedError):
        parquet({"a": pa.array(["x"], pa.string_view())})
        return pa.string_view()
    return pa.string()


TEXT_VIEW = _text_view()
