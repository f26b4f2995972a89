"""Reads a file's footer, page headers and page index: by the format's document, byte by byte."""

import struct
import zlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page as its header says."""

    kind: int
    offset: int
    size_bytes: int
    values: int
    checksum: int


class Reader:
    """Thrift's compact protocol: structs become dictionaries by field number."""

    def __init__(self, data: bytes, place: int = 0) -> None:
        self.data, self.place = data, place

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.place]
            self.place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def integer(self) -> int:
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def value(self, kind: int) -> Any:
        match kind:
            case 4 | 5 | 6:
                return self.integer()
            case 8:
                length = self.varint()
                self.place += length
                return self.data[self.place - length : self.place]
            case 9:
                head = self.data[self.place]
                self.place += 1
                count = self.varint() if head >> 4 == 15 else head >> 4
                if head & 15 in (1, 2):
                    self.place += count
                    return [byte == 1 for byte in self.data[self.place - count : self.place]]
                return [self.value(head & 15) for _ in range(count)]
            case 12:
                return self.struct()
        raise ValueError(f"type {kind}")

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self.data[self.place]:
            self.place += 1
            number += head >> 4
            assert head >> 4, "a field number far from the one before"
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self.value(kind)
        self.place += 1
        return fields


def footer(data: bytes) -> dict[int, Any]:
    assert data[:4] == data[-4:] == b"PAR1"
    (length,) = struct.unpack("<I", data[-8:-4])
    reader = Reader(data, len(data) - 8 - length)
    found = reader.struct()
    assert reader.place == len(data) - 8
    return found


def struct_at(data: bytes, offset: int, length: int) -> dict[int, Any]:
    reader = Reader(data, offset)
    found = reader.struct()
    assert reader.place == offset + length
    return found


def pages(data: bytes, metadata: dict[int, Any]) -> list[Page]:
    """Every page of a chunk, by its ColumnMetaData; their checksums are compared."""
    start = metadata.get(11, metadata[9])
    reader = Reader(data, start)
    found = []
    while reader.place < start + metadata[7]:
        offset = reader.place
        header = reader.struct()
        body = data[reader.place : reader.place + header[3]]
        assert zlib.crc32(body) == header[4] & 0xFFFFFFFF
        reader.place += header[3]
        values = header[7 if header[1] == 2 else 5][1]
        page = Page(
            kind=header[1],
            offset=offset,
            size_bytes=reader.place - offset,
            values=values,
            checksum=header[4],
        )
        found.append(page)
    assert reader.place == start + metadata[7]
    return found
