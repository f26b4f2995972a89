"""What objects are that are not text of flow logs, and what is in lines that do not fit."""

import re

from flowconv.errors import quote

_UNPACK = "unpack it, or compress it with gzip"
_TAKE_OUT = "take them out of it"
_ENCODE = "write it in UTF-8"
_WRITE = "write them as plain text or gzip"

# A character of ASCII, in encodings that have zeros beside it.
_ASCII = rb"[\t\n\r -~]"

# How objects begin that are none, whatever their name, and what to do with them: the first that
# fits counts. Beginnings that a line of text could have too need what it has not behind them.
_BEGINNINGS = tuple(
    (re.compile(beginning, re.DOTALL), name, advice)
    for beginning, name, advice in (
        (rb"BZh[1-9]1AY&SY", "bzip2", _UNPACK),
        (rb"\x28\xb5\x2f\xfd", "zstd", _UNPACK),
        (rb"\xfd7zXZ\x00", "xz", _UNPACK),
        (rb"\x04\x22\x4d\x18", "lz4", _UNPACK),
        (rb"\xff\x06\x00\x00sNaPpY", "snappy", _UNPACK),
        (rb"x(?:[\x01\x9c\xda]|\x5e.{0,8}[\x80-\xff])", "a zlib stream", _UNPACK),
        (rb"PK(?:\x03\x04|\x05\x06)", "zip", _TAKE_OUT),
        (rb"7z\xbc\xaf\x27\x1c", "7z", _TAKE_OUT),
        (rb".{257}ustar(?:  )?\0", "a tar archive", _TAKE_OUT),
        (rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff", "text in UTF-32", _ENCODE),
        (rb"(?:%b\0\0\0){2}|(?:\0\0\0%b){2}" % (_ASCII, _ASCII), "text in UTF-32", _ENCODE),
        (rb"\xff\xfe|\xfe\xff", "text in UTF-16", _ENCODE),
        (rb"(?:%b\0){2}|(?:\0%b){2}" % (_ASCII, _ASCII), "text in UTF-16", _ENCODE),
        (rb"Obj\x01", "Avro", _WRITE),
        (rb"ORC.{0,64}[\x00-\x08]", "ORC", _WRITE),
        (rb"SQLite format 3\x00", "an SQLite database", _WRITE),
        (rb"\x89PNG\r\n", "a PNG picture", _WRITE),
        (rb"\xff\xd8\xff", "a JPEG picture", _WRITE),
        (rb"%PDF-", "a PDF document", _WRITE),
        (rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<(?i:!doctype|html)", "HTML", _WRITE),
        (rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<(?i:\?xml)", "XML", _WRITE),
    )
)

_SEPARATORS = {b",": "commas", b";": "semicolons", b"|": "bars"}

# Control characters but those of white space, and escapes, that texts of terminals have.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def name_foreign(text: bytearray, begin: int, end: int) -> tuple[str, str] | None:
    """Return what an object is, by its first bytes, and what to do if it holds flow logs.

    None if these may be those of a flow log.
    """
    for magic, name, advice in _BEGINNINGS:
        if magic.match(text, begin, end):
            return name, advice
    return None


def describe_line(line: bytes) -> str:
    """Say how a line begins, and what stands between its values; one token of it is shown."""
    token = line.strip(b" \t").partition(b" ")[0]
    sentence = f"It begins with {quote(token)}"
    if _BINARY.search(line):
        return f"{sentence}, and is binary data."
    for separator, name in _SEPARATORS.items():
        if line.count(separator) > 2 * line.count(b" "):
            quotes = ", in quotes" if line.startswith(b'"') else ""
            return f"{sentence}: its values stand between {name}{quotes}, not spaces."
    if line.startswith(b'"') and line.count(b'" "') > line.count(b" ") // 2:
        return f"{sentence}: its values stand in quotes, which are not taken off."
    return f"{sentence}."
