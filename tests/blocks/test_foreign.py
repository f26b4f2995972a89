"""What objects are that are no text of flow logs, and how their lines are described."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib

import pytest

from flowconv.blocks.foreign import describe_line, name_foreign
from support.in_memory import assert_as_reference, convert_in_memory
from support.lakes import ROW, V2

LOG = V2 + ROW


UNPACK = "If it holds flow logs, unpack it, or compress it with gzip; if not, "
TAKE_OUT = "If it holds flow logs, take them out of it; if not, "
ENCODE = "If it holds flow logs, write it in UTF-8; if not, "
WRITE = "If it holds flow logs, write them as plain text or gzip; if not, "


def tar(body: bytes, format: int) -> bytes:
    with io.BytesIO() as packed:
        with tarfile.open(fileobj=packed, mode="w", format=format) as archive:
            member = tarfile.TarInfo("a.log")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        return packed.getvalue()


@pytest.mark.parametrize(
    ("body", "name", "advice"),
    [
        *((bz2.compress(LOG, level), "bzip2", UNPACK) for level in range(1, 10)),
        *((zlib.compress(LOG, level), "a zlib stream", UNPACK) for level in range(10)),
        (zlib.compress(b""), "a zlib stream", UNPACK),
        (b"(\xb5/\xfd$", "zstd", UNPACK),
        (lzma.compress(LOG), "xz", UNPACK),
        (b'\x04"M\x18', "lz4", UNPACK),
        (b"\xff\x06\0\0sNaPpY", "snappy", UNPACK),
        (b"PK\x03\x04 and more", "zip", TAKE_OUT),
        (b"PK\x05\x06" + bytes(18), "zip", TAKE_OUT),
        (b"7z\xbc\xaf'\x1c", "7z", TAKE_OUT),
        (tar(LOG, tarfile.GNU_FORMAT), "a tar archive", TAKE_OUT),
        (tar(LOG, tarfile.PAX_FORMAT), "a tar archive", TAKE_OUT),
        *(
            (mark.encode(order) + LOG.decode().encode(order), f"text in UTF-{bits}", ENCODE)
            for bits in (16, 32)
            for order in (f"utf-{bits}-le", f"utf-{bits}-be")
            for mark in ("\ufeff", "", "\t", "2 ")
        ),
        (b"Obj\x01", "Avro", WRITE),
        (b"ORC\x11\0\0", "ORC", WRITE),
        (b"SQLite format 3\0", "an SQLite database", WRITE),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture", WRITE),
        (b"\xff\xd8\xff\xe0", "a JPEG picture", WRITE),
        (b"%PDF-1.7", "a PDF document", WRITE),
        (b"<!DOCTYPE html><p>", "HTML", WRITE),
        (b"\xef\xbb\xbf\r\n <html lang='en'>", "HTML", WRITE),
        (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error/>', "XML", WRITE),
    ],
)
@pytest.mark.parametrize("format", [None, "default"])
def test_named(body: bytes, name: str, advice: str, format: str | None) -> None:
    found = name_foreign(bytearray(b"??" + body), 2, 2 + len(body))
    assert found is not None
    assert found[0] == name
    (got,) = convert_in_memory([body], format)
    assert str(got.failure).startswith(f"object-0: this is {name}, which is not read. {advice}")
    assert_as_reference([LOG, body, LOG], format)


NOT_NAMED = [
    *(b"", LOG, b"BZh is a word\n", b"PK 1\n", b"Obj 2\n", b"SQLite 3\n", b"ORC 1\n", b"x^2 1\n"),
    *(b"x 1\n", b"<134> 2\n", b"<x/> 2\n", b"a\0b 2\n", b"\0\0a b\n", b"a" * 256 + b" ustar\n"),
]


@pytest.mark.parametrize("body", NOT_NAMED)
def test_not_named(body: bytes) -> None:
    assert name_foreign(bytearray(body), 0, len(body)) is None
    # What stands in the buffer behind an object is not of it.
    assert name_foreign(bytearray(body + b"PK\x03\x04"), len(body), len(body) + 2) is None
    assert_as_reference([body, gzip.compress(body)], "srcaddr bytes")


@pytest.mark.parametrize("marks", ["# ", "#", "## ", " \t# "])
def test_a_header_behind_a_number_sign(marks: str) -> None:
    head = b"# by hand\n\n" + marks.encode() + V2
    (got,) = convert_in_memory([head + ROW])
    assert str(got.failure).startswith(
        "object-0: line 3: this line names the fields, but the '#' before them makes it a comment"
    )
    # If a format says what they are, or a header does, it is a comment like others.
    for body, format in ((head + ROW, "default"), (head + LOG, None), (head, None)):
        (got,) = convert_in_memory([body], format)
        assert got.failure is None
        assert_as_reference([body], format)


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
        (
            b'"a" "b" "c d"',
            "It begins with '\"a\"': its values stand in quotes, which are not taken off.",
        ),
        (b'"a b', "It begins with '\"a'."),
        (b"a\0b c", r"It begins with 'a\x00b', and is binary data."),
        (b" \x1b[2J x", r"It begins with '\x1b[2J'."),
        (b"x" * 50, f"It begins with '{'x' * 39}…'."),
    ],
)
def test_described(line: bytes, described: str) -> None:
    assert describe_line(line) == described
