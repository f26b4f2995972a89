"""Small JSON files with a checksum of their content at the end.

A changed digit would leave valid JSON; the checksum shows it.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

_CHECKSUM = b',"crc32":"'


def seal(record: Mapping[str, Any]) -> bytes:
    """Return a record, which must not be empty, as JSON with its checksum."""
    body = json.dumps(record, separators=(",", ":")).encode().removesuffix(b"}")
    return body + _seal_of(body)


def unseal(written: bytes) -> dict[str, Any]:
    """Return the record.

    Raises:
        ValueError: The bytes are not those that were written.
    """
    body = written.rpartition(_CHECKSUM)[0]
    if body + _seal_of(body) != written:
        raise ValueError("its checksum does not fit")
    record: dict[str, Any] = json.loads(body + b"}")
    return record


def _seal_of(body: bytes) -> bytes:
    return b'%s%08x"}' % (_CHECKSUM, zlib.crc32(body))
