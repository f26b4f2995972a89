"""Gzip as it is unpacked: any header, any cut between pieces, two layers, any failure."""

import gc
import gzip
import struct
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowconv
from flowconv.blocks import reading, unpacking
from flowconv.blocks.unpacking import Unpacked
from flowconv.errors import CorruptObjectError, FetchError, FormatError
from flowconv.rows.parsing import BlockParser
from support.in_memory import Stored, assert_as_reference, log_object
from support.lakes import ROW, V2, Key, write_objects
from support.shapes import gzip_member as member

LOG = V2 + ROW * 3
NEIGHBOUR = gzip.compress(V2 + ROW)


def unpack(stored: bytes, piece_bytes: int = 1 << 20, read_bytes: int = 1 << 20) -> bytes:
    text = Unpacked(log_object("x", len(stored)), Stored(stored, piece_bytes))
    whole, buffer = b"", memoryview(bytearray(read_bytes))
    while count := text.readinto(buffer):
        whole += buffer[:count]
    return whole


PARTS = st.none() | st.binary(max_size=40).map(lambda part: part.replace(b"\0", b"n"))
MEMBERS = st.builds(
    member,
    st.sampled_from([b"", b"a", b"abc" * 9, LOG]),
    extra=PARTS,
    name=PARTS,
    comment=PARTS,
    has_checksum=st.booleans(),
)


@given(st.lists(MEMBERS, min_size=1, max_size=4), st.integers(1, 400), st.integers(1, 64))
@settings(max_examples=200)
def test_headers_pieces_and_reads(members: list[bytes], piece_bytes: int, read_bytes: int) -> None:
    stored = b"".join(members) + bytes(piece_bytes % 3)
    assert unpack(stored, max(2, piece_bytes), read_bytes) == gzip.decompress(stored)
    twice = gzip.compress(stored, 1)
    assert unpack(twice, max(2, piece_bytes), read_bytes) == gzip.decompress(stored)


@given(MEMBERS, MEMBERS)
@settings(max_examples=20)
def test_every_cut_is_noticed(first: bytes, second: bytes) -> None:
    stored = first + second
    for end in range(2, len(stored)):
        for piece_bytes, read_bytes in ((5, 1), (5, 100), (1 << 20, 1), (1 << 20, 100)):
            if end == len(first):
                assert unpack(stored[:end], piece_bytes, read_bytes) == gzip.decompress(first)
                continue
            with pytest.raises(CorruptObjectError, match="ends early"):
                unpack(stored[:end], piece_bytes, read_bytes)


@pytest.mark.parametrize("short", range(24))
def test_an_empty_member_where_the_block_ends(short: int) -> None:
    stored = member(LOG, name=b"a.log") + member(b"", name=b"b.log")
    assert unpack(stored, len(stored) - short, len(LOG)) == LOG
    rows = V2 + ROW * 50
    assert_as_reference(
        [rows, member(LOG) + member(b"", comment=b"c" * short), rows],
        block_bytes=len(rows) + len(LOG) + short,
    )


@pytest.mark.parametrize("part", ["name", "comment"])
def test_long_headers(tmp_path: Path, part: str) -> None:
    long = member(LOG, **{part: b"a" * 600_000})  # type: ignore[arg-type]
    assert unpack(long) == unpack(long, 1000, 7) == LOG
    endless = member(LOG, **{part: b"a" * 600_000})[:500_000]  # type: ignore[arg-type]
    bodies = {"good": V2 + ROW, "long": long, "endless": endless}
    write_objects(tmp_path / "logs", {Key(f"{name}.log"): body for name, body in bodies.items()})
    report = flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert report.lines.rows == 4
    assert [Path(uri).name for uri in report.unreadable] == ["endless.log"]
    checked = flowconv.verify(str(tmp_path / "lake"), source=str(tmp_path / "logs"))
    assert [(problem.kind, str(problem.uri)[-11:]) for problem in checked.problems] == [
        ("not-converted", "endless.log")
    ]


def test_layers() -> None:
    two = gzip.compress(gzip.compress(LOG) + gzip.compress(ROW))
    assert_as_reference([NEIGHBOUR, two, NEIGHBOUR, two[:-9], gzip.compress(NEIGHBOUR[:-9])])
    assert_as_reference([NEIGHBOUR, gzip.compress(two), NEIGHBOUR])
    assert_as_reference([gzip.compress(two), gzip.compress(b"\x1f"), gzip.compress(b"")])
    with pytest.raises(FormatError, match="gzip within gzip within gzip; two layers"):
        unpack(gzip.compress(two))


def test_both_layers_count() -> None:
    inner = gzip.compress(bytes(100_000))
    bomb = gzip.compress(inner + bytes(100_000))
    text = Unpacked(log_object("x"), Stored(bomb), 150_000)
    buffer = memoryview(bytearray(1 << 20))
    with pytest.raises(FormatError, match="--max-object-size"):
        assert all(text.readinto(buffer) for _ in range(2))


@pytest.mark.parametrize(
    "error", [OverflowError("too long"), MemoryError(), ValueError("odd"), struct.error("x")]
)
def test_whatever_a_decoder_raises(error: Exception) -> None:
    broken = mock.Mock()
    broken.return_value.readinto.side_effect = error
    with (
        mock.patch.object(unpacking, "_reader", broken),
        pytest.raises(CorruptObjectError, match=str(error) or type(error).__name__),
    ):
        unpack(NEIGHBOUR)


@pytest.mark.parametrize("error", [FetchError("gone", uri="x"), EOFError("gone"), OSError("gone")])
@pytest.mark.parametrize("fetched", [0, len(NEIGHBOUR) // 2])
def test_what_fetching_raises_passes_through(error: Exception, fetched: int) -> None:
    class Broken(Stored):
        left = fetched

        def readinto(self, buffer: memoryview, /) -> int:
            if not self.left:
                raise error
            count = super().readinto(buffer[: self.left])
            self.left -= count
            return count

    for stored in (NEIGHBOUR, gzip.compress(NEIGHBOUR)):
        text = Unpacked(log_object("x"), Broken(stored))
        with pytest.raises(type(error), match="gone"):
            assert all(text.readinto(memoryview(bytearray(99))) for _ in stored)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("stored", [NEIGHBOUR, gzip.compress(NEIGHBOUR)], ids=["once", "twice"])
def test_what_unpacks_is_freed(stored: bytes, fails: bool) -> None:
    """It takes a megabyte for each layer of each object."""

    class Source(Stored):
        def readinto(self, buffer: memoryview, /) -> int:
            count = super().readinto(buffer[:40])
            if fails and not count:
                raise FetchError("gone", uri="x")
            return count

    source = Source(stored[:-8] if fails else stored)
    is_used = weakref.ref(source)
    text, buffer = Unpacked(log_object("x"), source), memoryview(bytearray(999))
    with pytest.raises(FetchError) if fails else nullcontext():
        while text.readinto(buffer):
            pass
    del source, text
    gc.collect()
    assert is_used() is None


def test_an_object_that_is_too_large_in_its_outer_layer() -> None:
    text = Unpacked(log_object("x"), Stored(gzip.compress(gzip.compress(LOG * 999))), 50)
    with pytest.raises(FormatError, match=r"^x: the object unpacks to more than 50 bytes"):
        text.readinto(memoryview(bytearray(999)))


@given(st.lists(MEMBERS, min_size=1, max_size=3), st.integers(2, 64), st.integers(1, 64))
@settings(max_examples=50)
def test_without_isal(members: list[bytes], piece_bytes: int, read_bytes: int) -> None:
    stored = b"".join(members)
    reader: Any = gzip
    with (
        mock.patch.object(unpacking, "_reader", reader._GzipReader),
        mock.patch.object(unpacking, "_ISAL", False),
    ):
        assert unpack(stored, piece_bytes, read_bytes) == gzip.decompress(stored)
        with pytest.raises(CorruptObjectError, match="the gzip data ends early"):
            unpack(stored[:-1], piece_bytes, read_bytes)


@pytest.mark.parametrize("where", ["recognise", "parse"])
def test_an_unexpected_error_is_one_objects(tmp_path: Path, where: str) -> None:
    # A header that was seen before is not looked at again.
    bodies = {"a": V2 + ROW, "bad": b"\n" + V2 + ROW * 9, "c": V2 + ROW}
    write_objects(tmp_path / "logs", {Key(f"{name}.log"): body for name, body in bodies.items()})
    place: Any = reading if where == "recognise" else BlockParser
    right = getattr(place, where)

    def wrong(*arguments: Any, **options: Any) -> Any:
        block = arguments[-1] if where == "parse" else None
        objects = arguments[:1] if block is None else block.log_objects
        if any(listed.uri.endswith("bad.log") for listed in objects):
            raise RecursionError
        return right(*arguments, **options)

    with mock.patch.object(place, where, wrong):
        report = flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert report.lines.rows == 2
    [(uri, reason)] = report.unreadable.items()
    assert uri.endswith("bad.log")
    assert "cannot be read (RecursionError in " in reason


@pytest.mark.parametrize("body", [LOG, LOG[:-1]])
def test_verify_counts_through_two_layers(tmp_path: Path, body: bytes) -> None:
    twice = gzip.compress(gzip.compress(body[:50]) + gzip.compress(body[50:]))
    write_objects(tmp_path / "logs", {Key("a.gz"): twice})
    report = flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert report.lines.rows == 3
    checked = flowconv.verify(str(tmp_path / "lake"), source=str(tmp_path / "logs"))
    assert not checked.problems


def test_a_header_where_the_block_ends() -> None:
    """The last member is empty, so its size says nothing of the object's."""
    names = b"".join(b" new-field-%03d" % number for number in range(13))
    header = V2.strip() + names + b"\n"
    log = header + (ROW.strip() + b" -" * 13 + b"\n") * 3
    stored = gzip.compress(log) + gzip.compress(b"")
    before = V2 + ROW * 20
    # The room in the block is what the object takes packed, or more, and less than its header.
    room = range(len(stored), len(header))
    assert len(room) > 20
    for size in room:
        assert_as_reference([before, stored, before], block_bytes=len(before) - len(V2) + size)
