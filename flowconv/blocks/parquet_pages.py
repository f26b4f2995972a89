"""Of stage 3c: what Parquet's pages take in memory, known before any of them is unpacked.

A page of a few bytes may unpack to gigabytes, and a footer may lie. What pages themselves say
cannot lie, as the decoder goes by it. Their headers are read here:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from flowconv.errors import FormatError
from flowconv.kernel.pages import longest_text

# Of all columns together: one page of each, its dictionary, and what they take when unpacked.
# Writers make pages of 1 MiB, dictionaries too.
_PAGES_BYTES = 160 << 20

# Rows that are decoded at once take so much, pages aside.
_ROWS_BYTES = 16 << 20

# Their statistics make headers long.
_HEADER_BYTES = 256
_LONGEST_HEADER = 1 << 20

# The decoder takes 20 to 60 times a footer's length. That of 1,000 row groups has 4 MB.
_LONGEST_FOOTER = 4 << 20

# Dictionaries of more are not looked into; writers end them at 1 MiB.
_LARGE_DICTIONARY = 4 << 20

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PLAIN_DICTIONARY, _DELTA_LENGTH, _DELTA_TEXT, _RLE_DICTIONARY = 2, 6, 7, 8
# By their numbers. pyarrow has no codec of its own for LZO and for Hadoop's LZ4.
_CODECS = ("uncompressed", "snappy", "gzip", "lzo", "brotli", "hadoop_lz4", "zstd", "lz4_raw")
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}

_PIECE_BYTES = 1 << 20

_ENCRYPTED = (
    "this Parquet is encrypted, which flowconv does not read. Leave it out with --exclude, or copy "
    "it without encryption."
)


@dataclass(slots=True, kw_only=True)
class ColumnPages:
    """The most that a column of a row group, or of several, takes.

    Attributes:
        name: The column.
        is_text: Its values are as long as each says.
        page_bytes: A page, packed and unpacked.
        row_bytes: A row of it, pages aside, that lies one by one.
        longest_entry: The longest value in its dictionary, or a number that is not less.
        delta_page_bytes: The largest page whose values each begin as the one before; a value may
            be as long as it. 0 without one.
        is_coded: Its values are text, and all of them stand in its dictionary.
    """

    name: str
    is_text: bool
    page_bytes: int = 0
    row_bytes: float = 0
    longest_entry: int = 0
    delta_page_bytes: int = 0
    is_coded: bool = False


def check_footer(file: IO[bytes]) -> None:
    """Look at a file's last bytes before its footer is decoded.

    Raises:
        FormatError: The file is encrypted, or its footer is too long.
        ValueError: It is damaged.
    """
    size_bytes = file.seek(0, 2)
    if size_bytes < 12:
        raise ValueError("it ends early")
    file.seek(size_bytes - 8)
    last = file.read(8)
    if last[4:] == b"PARE":
        raise FormatError(_ENCRYPTED)
    length = int.from_bytes(last[:4], "little")
    if last[4:] == b"PAR1" and length > _LONGEST_FOOTER:
        raise FormatError(
            f"the footer of this Parquet has {length:,} bytes; at most {_LONGEST_FOOTER:,} are "
            "read. Write it with larger row groups and fewer columns."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A column of a row group, as the footer describes it.

    Attributes:
        name: The column.
        physical_type: Parquet's type: INT32, BYTE_ARRAY, ….
        type_length: Bytes of a value of FIXED_LEN_BYTE_ARRAY.
        codec: The name of its compression, one of `_CODECS`.
        values: Their number, nulls included.
        start: Where its first data page begins.
        dictionary_start: Where its dictionary begins; 0 if there is none.
        size_bytes: The length of its pages.
    """

    name: str
    physical_type: str
    type_length: int
    codec: str
    values: int
    start: int
    dictionary_start: int
    size_bytes: int


def read_footer(file: IO[bytes], schema: pq.ParquetSchema) -> list[list[Chunk]]:
    """Return the columns of each row group.

    pyarrow is not asked: its `ColumnChunkMetaData` ends the process at a codec that it does not
    know, at an encrypted column and at histograms of another length than the column's levels.

    Raises:
        FormatError: A column is encrypted.
        ValueError: The footer is damaged.
    """
    size_bytes = file.seek(0, 2)
    file.seek(size_bytes - 8)
    length = int.from_bytes(file.read(4), "little")
    file.seek(size_bytes - 8 - length)
    try:
        footer, _ = _read_struct(file.read(length), 0, 0)
    except IndexError:
        raise ValueError("its footer ends early") from None
    columns = [schema.column(place) for place in range(len(schema))]
    groups = []
    for group in footer.get((4, _LIST), ()):
        chunks = group.get((1, _LIST), ())
        if len(chunks) != len(columns):
            raise ValueError(f"a row group has {len(chunks)} columns, the schema {len(columns)}")
        groups.append([_chunk(*both) for both in zip(chunks, columns, strict=True)])
    return groups


def _chunk(described: dict[Any, Any], column: Any) -> Chunk:
    """Return what a footer's ColumnChunk says of a column of the schema."""
    if (8, _STRUCT) in described or (9, _BINARY) in described:
        raise FormatError(_ENCRYPTED)
    facts = described.get((3, _STRUCT), {})
    codec = _number(facts, 4)
    if codec not in range(len(_CODECS)):
        raise ValueError(f"a column has the unknown compression {codec}")
    return Chunk(
        name=column.path,
        physical_type=column.physical_type,
        type_length=column.length or 0,
        codec=_CODECS[codec],
        values=int(facts.get((5, _INT64), 0)),
        start=int(facts.get((9, _INT64), 0)),
        dictionary_start=int(facts.get((11, _INT64), 0)),
        size_bytes=int(facts.get((7, _INT64), 0)),
    )


def check_gaps(file: IO[bytes], groups: Iterable[Iterable[Chunk]]) -> None:
    """Look for another file's footer among the bytes that a file's columns do not account for.

    Two files that were glued have one after the other, and readers know but the last.

    Raises:
        FormatError: There is one.
        ValueError: The file is damaged: columns lie where none can.
    """
    size_bytes = file.seek(0, 2)
    file.seek(size_bytes - 8)
    end = size_bytes - 8 - int.from_bytes(file.read(4), "little")
    chunks = [_bounds(chunk, end) for group in groups for chunk in group if chunk.values]
    covered = 4
    for start, stop in [*sorted(chunks), (end, end)]:
        if start > covered and _has_footer(file, covered, start):
            raise FormatError(
                "this object is several Parquet files glued together, and readers see only the "
                "last of them. Copy them one by one."
            )
        covered = max(covered, stop)


def _has_footer(file: IO[bytes], start: int, stop: int) -> bool:
    before = b""
    for place in range(start, stop, _PIECE_BYTES):
        file.seek(place)
        piece = before + file.read(min(_PIECE_BYTES, stop - place))
        found = piece.find(b"PAR1", 4)
        while found >= 0:
            length = int.from_bytes(piece[found - 4 : found], "little")
            if 0 < length <= place - len(before) + found - 8:
                return True
            found = piece.find(b"PAR1", found + 1)
        before = piece[-7:]
    return False


def column_pages(
    file: IO[bytes], groups: Iterable[Iterable[Chunk]], names: Iterable[str]
) -> Iterator[list[ColumnPages]]:
    """Read what the pages of some columns take.

    Args:
        file: The file; where it stands afterwards is not said.
        groups: What its footer says.
        names: The columns, none of them nested.

    Yields:
        For each row group its columns.

    Raises:
        FormatError: The pages are too large.
        ValueError: The file is damaged.
    """
    wanted = set(names)
    size_bytes = file.seek(0, 2)
    for group in groups:
        columns = [_read_chunk(file, chunk, size_bytes) for chunk in group if chunk.name in wanted]
        together = sum(column.page_bytes for column in columns)
        if together > _PAGES_BYTES:
            largest = max(columns, key=lambda column: column.page_bytes)
            raise FormatError(
                f"the pages of this Parquet unpack to {together:,} bytes a row group, those of one "
                f"column to {largest.page_bytes:,}; at most {_PAGES_BYTES:,} are read. If it is "
                "not a bomb, write it with pages of 1 MiB, as most writers do."
            )
        yield columns


def rows_at_once(
    columns: Iterable[ColumnPages], most_rows: int, coded: Collection[str], longest: int = 0
) -> int:
    """Return how many rows may be decoded at once.

    Args:
        columns: A row group's columns.
        most_rows: The most rows.
        coded: The columns that are decoded to places in their dictionary.
        longest: The longest value of columns that have `delta_page_bytes`; 0 if it is not known.
    """
    row_bytes = 1.0
    for column in columns:
        row_bytes += column.row_bytes
        if column.delta_page_bytes:
            row_bytes += longest or column.delta_page_bytes
        if column.is_text and column.name not in coded:
            row_bytes += column.longest_entry
    return max(1, min(most_rows, int(_ROWS_BYTES / row_bytes)))


def _bounds(chunk: Chunk, end: int) -> tuple[int, int]:
    """Return where a column's pages begin and end, as the decoder finds them."""
    start = chunk.start
    if 0 < chunk.dictionary_start < start:
        start = chunk.dictionary_start
    stop = start + chunk.size_bytes
    if not 4 <= start <= stop <= end:
        raise ValueError(f"a column lies at {start} to {stop} of {end} bytes")
    return start, stop


def _read_chunk(file: IO[bytes], chunk: Chunk, size_bytes: int) -> ColumnPages:
    place, stop = _bounds(chunk, size_bytes) if chunk.values else (0, 0)
    is_text = chunk.physical_type == "BYTE_ARRAY"
    width = _WIDTHS.get(chunk.physical_type, max(chunk.type_length, 1))
    pages = ColumnPages(
        name=chunk.name, is_text=is_text, row_bytes=4 if is_text else width, is_coded=is_text
    )
    packed = unpacked = dictionary = values = 0
    while values < chunk.values:
        header, length = _read_header(file, place, stop)
        kind, unpacked_bytes, packed_bytes = (_number(header, n) for n in (1, 2, 3))
        count = encoding = 0
        if kind in (_DATA, _DATA_V2):
            facts = header.get((5 if kind == _DATA else 8, _STRUCT), {})
            count = _number(facts, 1)
            encoding = _number(facts, 2 if kind == _DATA else 4)
            values += count
        elif kind == _DICTIONARY:
            count = _number(header.get((7, _STRUCT), {}), 1)
            taken = 2 * unpacked_bytes + (20 * count if is_text else 0)
            dictionary = max(dictionary, taken)
            if is_text and 0 <= unpacked_bytes <= _LARGE_DICTIONARY and packed_bytes >= 0:
                file.seek(place + length)
                entries = file.read(min(packed_bytes, stop - place))
                longest = _longest_entry(entries, chunk.codec, unpacked_bytes, count)
            else:
                longest = unpacked_bytes
            pages.longest_entry = max(pages.longest_entry, longest)
        place += length + packed_bytes
        if unpacked_bytes < 0 or packed_bytes < 0 or count < 0 or place > stop:
            raise ValueError(f"a page of column {pages.name[:40]!r} has an impossible length")
        packed = max(packed, packed_bytes)
        if kind == _DICTIONARY:
            continue
        taken = unpacked_bytes
        pages.is_coded &= not count or encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY)
        if encoding in (_DELTA_LENGTH, _DELTA_TEXT):
            taken += 8 * count  # The lengths of all values.
        if encoding == _DELTA_TEXT:
            pages.delta_page_bytes = max(pages.delta_page_bytes, unpacked_bytes)
        elif is_text and count and encoding not in (_PLAIN_DICTIONARY, _RLE_DICTIONARY):
            pages.row_bytes = max(pages.row_bytes, unpacked_bytes / count)
            # Rows that are decoded together may take most of the pages before and behind.
            taken *= 2
        unpacked = max(unpacked, taken)
    pages.page_bytes = packed + unpacked + dictionary
    return pages


def _longest_entry(packed: bytes, codec: str, size_bytes: int, count: int) -> int:
    """Return the length of the longest text in a dictionary; all of it where that is not known."""
    try:
        if codec == "uncompressed":
            data = packed
        else:
            name: Any = codec
            data = pa.Codec(name).decompress(packed, size_bytes, asbytes=True)
    except (pa.ArrowException, OSError, ValueError):
        return size_bytes
    return min(longest_text(data, count), size_bytes)


def _number(values: dict[Any, Any], field: int) -> int:
    return int(values.get((field, _INT32), 0))


# --- Thrift's compact protocol ------------------------------------------------------------------

_TRUE, _FALSE, _BYTE, _INT16, _INT32, _INT64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(
    1, 13
)
_DEEPEST = 8


def _read_header(file: IO[bytes], place: int, stop: int) -> tuple[dict[Any, Any], int]:
    """Return a page's header, by number and type of its fields, and its length in bytes."""
    size = _HEADER_BYTES
    while True:
        file.seek(place)
        data = file.read(min(size, stop - place))
        try:
            return _read_struct(data, 0, 0)
        except IndexError:
            if len(data) < size or size >= _LONGEST_HEADER:
                raise ValueError("a page's header ends early") from None
            size *= 16


def _read_struct(data: bytes, place: int, depth: int) -> tuple[dict[Any, Any], int]:
    if depth > _DEEPEST:
        raise ValueError("a header is nested too deep")
    values: dict[Any, Any] = {}
    field = 0
    while first := data[place]:
        place += 1
        kind = first & 15
        if first >> 4:
            field += first >> 4
        else:
            number, place = _read_varint(data, place)
            field = _signed(number)
        if kind not in (_TRUE, _FALSE):
            # One of another type is passed over by the decoder, so it must not hide the right one.
            values[field, kind], place = _read_value(data, place, kind, depth)
    return values, place + 1


def _read_value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (_INT16, _INT32, _INT64):
        number, place = _read_varint(data, place)
        return _signed(number), place
    if kind in (_BYTE, _TRUE, _FALSE):
        return None, place + 1
    if kind == _STRUCT:
        return _read_struct(data, place, depth + 1)
    if kind == _DOUBLE:
        return None, place + 8
    if kind == _BINARY:
        length, place = _read_varint(data, place)
        if place + length > len(data):
            raise IndexError
        return None, place + length
    if kind in (_LIST, _SET):
        first = data[place]
        place += 1
        count = first >> 4
        if count == 15:
            count, place = _read_varint(data, place)
        entries = []
        for _ in range(count):
            entry, place = _read_value(data, place, first & 15, depth + 1)
            entries.append(entry)
        return entries, place
    raise ValueError("a header is damaged")


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a header is damaged")


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
