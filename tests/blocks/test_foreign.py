"""What objects are that are no text of flow logs, and how their lines are described."""

import bz2
import lzma

import pytest

from flowconv.blocks.foreign import describe_line, name_foreign
from support.in_memory import assert_as_reference, convert_in_memory
from support.lakes import ROW, V2

LOG = V2 + ROW


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"PK\x03\x04 and more", "zip"),
        (b"PK\x05\x06" + bytes(18), "zip"),
        *((bz2.compress(LOG, level), "bzip2") for level in range(1, 10)),
        (b"(\xb5/\xfd$", "zstd"),
        (lzma.compress(LOG), "xz"),
        (b'\x04"M\x18', "lz4"),
        (b"\xff\x06\0\0sNaPpY", "snappy"),
        (b"7z\xbc\xaf'\x1c", "7z"),
        (LOG.decode().encode("utf-16"), "text in UTF-16"),
        (b"\xfe\xff" + LOG.decode().encode("utf-16-be"), "text in UTF-16"),
        (LOG.decode().encode("utf-32"), "text in UTF-32"),
        (b"\0\0\xfe\xff" + LOG.decode().encode("utf-32-be"), "text in UTF-32"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"%PDF-1.7", "a PDF document"),
        (b"Obj\x01", "Avro"),
        (b"SQLite format 3\0", "an SQLite database"),
    ],
)
@pytest.mark.parametrize("format", [None, "default"])
def test_named(body: bytes, name: str, format: str | None) -> None:
    assert name_foreign(bytearray(b"??" + body), 2, 2 + len(body)) == name
    (got,) = convert_in_memory([body], format)
    assert str(got.failure).startswith(f"object-0: this is {name}, which is not read. ")
    assert_as_reference([LOG, body, LOG], format)


@pytest.mark.parametrize(
    "body", [b"", LOG, b"BZh is a word\n", b"PK 1\n", b"Obj 2\n", b"SQLite 3\n"]
)
def test_not_named(body: bytes) -> None:
    assert name_foreign(bytearray(body), 0, len(body)) is None
    # What stands in the buffer behind an object is not of it.
    assert name_foreign(bytearray(body + b"PK\x03\x04"), len(body), len(body) + 2) is None


@pytest.mark.parametrize(
    ("line", "described"),
    [
        (b"hello world", "It begins with 'hello'."),
        (b"a,b,c", "It begins with 'a,b,c': its values stand between commas, not spaces."),
        (b"a;b;c", "It begins with 'a;b;c': its values stand between semicolons, not spaces."),
        (b"a|b|c", "It begins with 'a|b|c': its values stand between bars, not spaces."),
        (
            b'"a","b"',
            'It begins with \'"a","b"\': its values stand between commas, in quotes, not spaces.',
        ),
        (b" \x1b[2J x", r"It begins with '\x1b[2J'."),
        (b"x" * 50, f"It begins with '{'x' * 39}…'."),
    ],
)
def test_described(line: bytes, described: str) -> None:
    assert describe_line(line) == described
