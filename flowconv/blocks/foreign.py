"""What objects are that are not text of flow logs, and what is in lines that do not fit."""

import re

from flowconv.errors import quote

_UNPACK = "unpack it, or compress it with gzip"
_DECRYPT = "decrypt it"
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
        (rb"\]\x00\x00..(?:\xff{8}|.{5}\x00{3})", "lzma", _UNPACK),
        (rb"LZIP\x01", "lzip", _UNPACK),
        (rb"\x89LZO\x00\r\n\x1a\n", "lzop", _UNPACK),
        (rb"\x1f\x9d", "compress (.Z)", _UNPACK),
        (rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", "lz4", _UNPACK),
        (rb"[\x50-\x5f]\x2a\x4d\x18", "zstd or lz4", _UNPACK),
        (rb"\xff\x06\x00\x00sNaPpY|\x82SNAPPY\x00", "snappy", _UNPACK),
        (rb"x(?:[\x01\x9c\xda]|\x5e.{0,8}[\x80-\xff])", "a zlib stream", _UNPACK),
        (rb"H4sI[A-Za-z0-9+/]{28}", "gzip in base64", "decode it"),
        (rb"PK(?:\x03\x04|\x05\x06|\x07\x08)", "zip", _TAKE_OUT),
        (rb"7z\xbc\xaf\x27\x1c", "7z", _TAKE_OUT),
        (rb"Rar!\x1a\x07", "rar", _TAKE_OUT),
        (rb".{257}ustar(?:  )?\0", "a tar archive", _TAKE_OUT),
        # Before POSIX: mode, owners, size and time in octal, and the checksum as all tars write it.
        (rb".{100}[ 0-7\0]{48}[ 0-7]{6}\0 ", "a tar archive", _TAKE_OUT),
        (rb"-----BEGIN PGP MESSAGE-----", "encrypted by PGP", _DECRYPT),
        (rb"Salted__.{0,24}[\x80-\xff]", "encrypted by OpenSSL", _DECRYPT),
        (rb"age-encryption\.org/", "encrypted by age", _DECRYPT),
        (rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff", "text in UTF-32", _ENCODE),
        (rb"(?:%b\0\0\0){2}|(?:\0\0\0%b){2}" % (_ASCII, _ASCII), "text in UTF-32", _ENCODE),
        (rb"\xff\xfe|\xfe\xff", "text in UTF-16", _ENCODE),
        (rb"(?:%b\0){2}|(?:\0%b){2}" % (_ASCII, _ASCII), "text in UTF-16", _ENCODE),
        (rb"Obj\x01", "Avro", _WRITE),
        (rb"ORC.{0,64}[\x00-\x08]", "ORC", _WRITE),
        (rb"ARROW1\x00\x00", "Arrow", _WRITE),
        (rb"SEQ[\x04-\x06]", "a SequenceFile of Hadoop", _WRITE),
        (rb"RCF\x01", "an RCFile of Hive", _WRITE),
        (rb"\xe0\x01\x00\xea", "Ion", _WRITE),
        (rb"\xd4\xc3\xb2\xa1|\xa1\xb2\xc3\xd4", "a capture of packets", _WRITE),
        (rb"SQLite format 3\x00", "an SQLite database", _WRITE),
        (rb"\x89PNG\r\n", "a PNG picture", _WRITE),
        (rb"\xff\xd8\xff", "a JPEG picture", _WRITE),
        (rb"%PDF-", "a PDF document", _WRITE),
        (rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<(?i:!doctype|html)", "HTML", _WRITE),
        (rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<(?i:\?xml)", "XML", _WRITE),
    )
)

# Text packed without a frame has no mark: it begins with the length of a first stretch that is not
# compressed, of 15 bytes or more in a log, and a copy of a part of it follows
# (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md).
_RAW_LZ4 = re.compile(rb"[\xf0-\xff](?P<full>\xff{0,8})(?P<last>[^\xff])%b{15}" % _ASCII, re.DOTALL)
# Before it, snappy has the size of all (https://github.com/google/snappy/blob/main/
# format_description.txt).
_RAW_SNAPPY = re.compile(
    rb"(?P<size>[\x80-\xff]{1,4}[\x00-\x7f])(?P<literal>\xf0.|\xf4..|[%b])%b{8}"
    % (re.escape(bytes(range(7 << 2, 60 << 2, 4))), _ASCII),
    re.DOTALL,
)
# Hadoop's two lengths before either.
_HADOOP_BYTES = 8

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
    for start, kind in ((begin, "without its frame"), (begin + _HADOOP_BYTES, "of Hadoop")):
        if start == begin or text.startswith(b"\0", begin, end):
            if _is_raw_lz4(text, start, end):
                return f"lz4 {kind}", _UNPACK
            if _is_raw_snappy(text, start, end):
                return f"snappy {kind}", _UNPACK
    return None


def _is_raw_lz4(text: bytearray, begin: int, end: int) -> bool:
    """Tell whether text packed by lz4 begins so; UTF-8 has no such bytes."""
    match = _RAW_LZ4.match(text, begin, end)
    if match is None:
        return False
    literal = 15 + 255 * len(match["full"]) + match["last"][0]
    behind = match.end("last") + literal
    return behind == end or _reaches_back(text[behind : min(behind + 2, end)], literal)


def _is_raw_snappy(text: bytearray, begin: int, end: int) -> bool:
    """Tell whether text packed by snappy begins so, and UTF-8 does not."""
    match = _RAW_SNAPPY.match(text, begin, end)
    if match is None or _is_utf8(match["size"] + match["literal"]):
        return False
    size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(match["size"]))
    length = match["literal"][1:] or bytes([match["literal"][0] >> 2])
    literal = int.from_bytes(length, "little") + 1
    behind = match.end("literal") + literal
    if behind >= end:
        return behind == end and literal == size
    tag, offset = text[behind], text[behind + 1 : min(behind + 3, end)]
    if tag & 3 == 1 and offset:
        offset = bytearray([offset[0], tag >> 5])
    return literal < size and tag & 3 in (1, 2) and _reaches_back(offset, literal)


def _reaches_back(offset: bytearray, most: int) -> bool:
    """Tell whether a copy is of what stands before it."""
    return len(offset) == 2 and 0 < int.from_bytes(offset, "little") <= most


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def describe_line(line: bytes) -> str:
    """Say how a line begins, and what stands between its values; one token of it is shown."""
    token = line.strip(b" \t").partition(b" ")[0]
    sentence = f"It begins with {quote(token)}"
    if _BINARY.search(line):
        return f"{sentence}, and is binary data: if it is packed or encrypted, unpack it."
    for separator, name in _SEPARATORS.items():
        if line.count(separator) > 2 * line.count(b" "):
            quotes = ", in quotes" if line.startswith(b'"') else ""
            return f"{sentence}: its values stand between {name}{quotes}, not spaces."
    if line.startswith(b'"') and line.count(b'" "') > line.count(b" ") // 2:
        return f"{sentence}: its values stand in quotes, which are not taken off."
    return f"{sentence}."
