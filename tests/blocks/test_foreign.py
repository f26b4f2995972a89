"""What objects are that are no text of flow logs, and how their lines are described."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from base64 import b64encode
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from flowconv.blocks.foreign import describe_line, name_foreign
from support.in_memory import assert_as_reference, convert_in_memory
from support.lakes import ROW, V2

LOG = V2 + ROW


UNPACK = "If it holds flow logs, unpack it, or compress it with gzip; if not, "
DECRYPT = "If it holds flow logs, decrypt it; if not, "
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


def old_tar(body: bytes, *, size: bytes = b"%011o ") -> bytes:
    """As before POSIX: no mark, and a checksum."""
    fields = b"0000644\0" + 2 * b"0000000\0" + size % len(body) + b"15131625000 "
    head = (b"a.log".ljust(100, b"\0") + fields + 8 * b" ").ljust(512, b"\0")
    checksum = b"%06o\0 " % sum(head)
    return head[:148] + checksum + head[156:] + body + bytes(-len(body) % 512 + 1024)


# The lines of a true log are less alike.
LONG = V2 + b"".join(ROW.replace(b"443", b"%d" % Random(n).randrange(65536)) for n in range(300))
JSON = b'{"messageType":"DATA_MESSAGE","owner":"123456789012","logEvents":[' + LONG + b"]}"


def packed(codec: Any, body: bytes = LONG) -> bytes:
    return pa.compress(body, codec=codec, asbytes=True)


def of_hadoop(codec: str) -> bytes:
    block = packed(codec)
    return len(LONG).to_bytes(4) + len(block).to_bytes(4) + block


@pytest.mark.parametrize(
    ("body", "name", "advice"),
    [
        *((bz2.compress(LOG, level), "bzip2", UNPACK) for level in range(1, 10)),
        *((zlib.compress(LOG, level), "a zlib stream", UNPACK) for level in range(10)),
        (zlib.compress(b""), "a zlib stream", UNPACK),
        (b"(\xb5/\xfd$", "zstd", UNPACK),
        (lzma.compress(LOG), "xz", UNPACK),
        (lzma.compress(LOG, format=lzma.FORMAT_ALONE), "lzma", UNPACK),
        (b"]\0\0\x80\0" + (9000).to_bytes(8, "little"), "lzma", UNPACK),
        (b"LZIP\x01", "lzip", UNPACK),
        (b"\x89LZO\0\r\n\x1a\n", "lzop", UNPACK),
        (b"\x1f\x9d\x90", "compress (.Z)", UNPACK),
        (packed("lz4"), "lz4", UNPACK),
        (packed("zstd"), "zstd", UNPACK),
        (b"\x02!L\x18\x10\0\0\0", "lz4", UNPACK),
        (b"\x50*M\x18", "zstd or lz4", UNPACK),
        (b"\x82SNAPPY\0\0\0\0\x01", "snappy", UNPACK),
        *(
            (packed(codec + suffix, body), f"{codec} without its frame", UNPACK)
            for codec, suffix in (("snappy", ""), ("lz4", "_raw"))
            for body in (LOG, LONG, JSON, ROW * 100, b"ab\tcd efghijklmnopq" * 40, LONG * 40)
        ),
        (of_hadoop("snappy"), "snappy of Hadoop", UNPACK),
        (of_hadoop("lz4_raw"), "lz4 of Hadoop", UNPACK),
        (b64encode(gzip.compress(LOG)), "gzip in base64", "If it holds flow logs, decode it; if"),
        (b'\x04"M\x18', "lz4", UNPACK),
        (b"\xff\x06\0\0sNaPpY", "snappy", UNPACK),
        (b"PK\x03\x04 and more", "zip", TAKE_OUT),
        (b"PK\x05\x06" + bytes(18), "zip", TAKE_OUT),
        (b"PK\x07\x08PK\x03\x04", "zip", TAKE_OUT),
        (b"7z\xbc\xaf'\x1c", "7z", TAKE_OUT),
        (b"Rar!\x1a\x07\x01\0", "rar", TAKE_OUT),
        (old_tar(LOG), "a tar archive", TAKE_OUT),
        (old_tar(LOG, size=b"%11o\0"), "a tar archive", TAKE_OUT),
        (b"-----BEGIN PGP MESSAGE-----\n\nhQ", "encrypted by PGP", DECRYPT),
        (b"Salted__\x01\x80", "encrypted by OpenSSL", DECRYPT),
        (b"age-encryption.org/v1\n-> ", "encrypted by age", DECRYPT),
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
        (b"ARROW1\0\0", "Arrow", WRITE),
        (b"SEQ\x06\x19org", "a SequenceFile of Hadoop", WRITE),
        (b"RCF\x01", "an RCFile of Hive", WRITE),
        (b"\xe0\x01\0\xea", "Ion", WRITE),
        (b"\xd4\xc3\xb2\xa1\x02\0", "a capture of packets", WRITE),
        (b"\xa1\xb2\xc3\xd4\0\x02", "a capture of packets", WRITE),
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


BINARY = "and is binary data: if it is packed or encrypted, unpack it."

NOT_NAMED = [
    *(b"", LOG, b"BZh is a word\n", b"PK 1\n", b"Obj 2\n", b"SQLite 3\n", b"ORC 1\n", b"x^2 1\n"),
    *(
        b"Salted__ 1\n",
        b"Rar! 1\n",
        b"H4sIAHOG 1\n",
        b"\x82 1\n",
        b"\0" * 600,
        b"] 1\n",
        b"SEQ 1\n",
    ),
    # A bit of a header or a record was flipped, and text of other languages.
    *(
        bytes([V2[0] | 0x80]) + V2[1:],
        bytes([ROW[0] | 0x80]) + ROW[1:],
        "éthé vert 12 3\n".encode(),
    ),
    *(
        b"\xb2 4" + ROW,
        b"\xf0\x10" + ROW,
        b"\0" * 8 + b"\xf0\x10" + ROW,
        b"\xf0" + b"\xff" * 9 + ROW,
    ),
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
        (b"a\0b c", rf"It begins with 'a\x00b', {BINARY}"),
        (b" \x1b[2J x", r"It begins with '\x1b[2J'."),
        (b"x" * 50, f"It begins with '{'x' * 39}…'."),
    ],
)
def test_described(line: bytes, described: str) -> None:
    assert describe_line(line) == described
