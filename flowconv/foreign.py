"""What objects are that are no text of flow logs, and what stands in lines that do not fit."""

from flowconv.errors import quote

# How objects begin that are none, whatever their name; with what they are and what to do.
_BEGINNINGS = (
    (b"PK\x03\x04", "zip"),
    (b"BZh91AY&SY", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF-", "a PDF document"),
    (b"Obj\x01", "Avro"),
)

_SEPARATORS = {b",": "commas", b";": "semicolons", b"|": "bars"}


def name_foreign(text: bytearray, begin: int, end: int) -> str | None:
    """Return what an object is, by its first bytes, if these say that it is no flow log."""
    return next(
        (name for magic, name in _BEGINNINGS if text.startswith(magic, begin, end)),
        None,
    )


def describe_line(line: bytes) -> str:
    """Say how a line begins, and what stands between its values; one token of it is shown."""
    token = line.strip(b" \t").partition(b" ")[0]
    sentence = f"It begins with {quote(token)}"
    for separator, name in _SEPARATORS.items():
        if line.count(separator) > 2 * line.count(b" "):
            quotes = ", in quotes" if line.startswith(b'"') else ""
            return f"{sentence}: its values stand between {name}{quotes}, not spaces."
    return f"{sentence}."
