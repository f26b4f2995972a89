"""What objects are that are no text of flow logs, and what stands in lines that do not fit."""

import re

from flowconv.errors import quote

# How objects begin that are none, whatever their name: the first that fits counts.
_BEGINNINGS = tuple(
    (re.compile(beginning, re.DOTALL), name)
    for beginning, name in (
        (rb"PK(?:\x03\x04|\x05\x06)", "zip"),
        (rb"BZh[1-9]1AY&SY", "bzip2"),
        (rb"\x28\xb5\x2f\xfd", "zstd"),
        (rb"\xfd7zXZ\x00", "xz"),
        (rb"\x04\x22\x4d\x18", "lz4"),
        (rb"\xff\x06\x00\x00sNaPpY", "snappy"),
        (rb"7z\xbc\xaf\x27\x1c", "7z"),
        (rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff", "text in UTF-32"),
        (rb"\xff\xfe|\xfe\xff", "text in UTF-16"),
        (rb"\x89PNG\r\n", "a PNG picture"),
        (rb"\xff\xd8\xff", "a JPEG picture"),
        (rb"%PDF-", "a PDF document"),
        (rb"Obj\x01", "Avro"),
        (rb"SQLite format 3\x00", "an SQLite database"),
    )
)

_SEPARATORS = {b",": "commas", b";": "semicolons", b"|": "bars"}


def name_foreign(text: bytearray, begin: int, end: int) -> str | None:
    """Return what an object is, by its first bytes, if these say that it is no flow log."""
    return next((name for magic, name in _BEGINNINGS if magic.match(text, begin, end)), None)


def describe_line(line: bytes) -> str:
    """Say how a line begins, and what stands between its values; one token of it is shown."""
    token = line.strip(b" \t").partition(b" ")[0]
    sentence = f"It begins with {quote(token)}"
    for separator, name in _SEPARATORS.items():
        if line.count(separator) > 2 * line.count(b" "):
            quotes = ", in quotes" if line.startswith(b'"') else ""
            return f"{sentence}: its values stand between {name}{quotes}, not spaces."
    return f"{sentence}."
