"""Of stage 3c: a Parquet file's footer: which columns it has, and where they lie.

pyarrow is not asked: its `ColumnChunkMetaData` ends the process at a codec that it does not know,
at an encrypted column and at histograms of another length than the column's levels.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import IO, NamedTuple

from flowconv.errors import FormatError
from flowconv.kernel import metadata
from flowconv.kernel.metadata import ChunkPlace, RowGroupPart, SchemaPart

# The decoder takes 20 to 60 times a footer's length. That of 1,000 row groups has 4 MB.
_LONGEST_FOOTER = 4 << 20

# By their numbers. pyarrow has no codec of its own for LZO and for Hadoop's LZ4.
_CODECS = ("uncompressed", "snappy", "gzip", "lzo", "brotli", "hadoop_lz4", "zstd", "lz4_raw")
_TYPES = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY")
_FIXED = 7
_OPTIONAL, _REPEATED = 1, 2
_UTF8 = 0
_NEWER_TEXT, _NEWER_INTEGER = 1, 10
_NEWER_NONE = (-1, 0)
# What says of INT32, and of INT64, that it is what it is.
_SIGNED = {1: 17, 2: 18}

# A column's name has those of all that it is in, so that of many deep ones would have gigabytes.
_DEEPEST = 64

_PIECE_BYTES = 1 << 20

_ENCRYPTED = (
    "this Parquet is encrypted, which flowconv does not read. Leave it out with --exclude, or copy "
    "it without encryption."
)


class ParquetColumn(NamedTuple):
    """A column that is not made of others, as the schema describes it.

    Attributes:
        name: Its name, behind those of the columns that it is in, with dots between.
        physical_type: Parquet's type: INT32, BYTE_ARRAY, ….
        type_length: Bytes of a value of FIXED_LEN_BYTE_ARRAY.
        is_annotated: Its values mean something else than their type says, or text if `is_text`.
        is_text: Its values are UTF-8.
        is_nested: It stands in another column, or a row may have several values.
        may_be_null: A row may have none.
    """

    name: str
    physical_type: str
    type_length: int
    is_annotated: bool
    is_text: bool
    is_nested: bool
    may_be_null: bool


class Chunk(NamedTuple):
    """A column of a row group.

    Attributes:
        column: The column.
        codec: The name of its compression, one of `_CODECS`.
        values: Their number, nulls included.
        start: Where its first data page begins.
        dictionary_start: Where its dictionary begins; 0 if there is none.
        size_bytes: The length of its pages.
    """

    column: ParquetColumn
    codec: str
    values: int
    start: int
    dictionary_start: int
    size_bytes: int

    def bounds(self, end: int) -> tuple[int, int]:
        """Return where its pages begin and end, as the decoder finds them.

        Raises:
            ValueError: They are not between the file's beginning and `end`.
        """
        start = self.start
        if 0 < self.dictionary_start < start:
            start = self.dictionary_start
        stop = start + self.size_bytes
        if not 4 <= start <= stop <= end:
            raise ValueError(f"a column lies at {start} to {stop} of {end} bytes")
        return start, stop


class RowGroup(NamedTuple):
    """Some rows of a file.

    Attributes:
        rows: How many.
        size_bytes: What they take, not compressed.
        chunks: A chunk for each column.
    """

    rows: int
    size_bytes: int
    chunks: list[Chunk]


class Footer(NamedTuple):
    """What a footer says.

    Attributes:
        columns: The columns.
        rows: How many the file has.
        groups: Its row groups.
        metadata: What writers put there, by name.
    """

    columns: tuple[ParquetColumn, ...]
    rows: int
    groups: list[RowGroup]
    metadata: dict[bytes, bytes]


def check_footer(file: IO[bytes]) -> None:
    """Look at a file's last bytes before its footer is decoded.

    Raises:
        FormatError: The file is encrypted, or its footer is too long.
        ValueError: The file ends early.
    """
    size_bytes = file.seek(0, 2)
    if size_bytes < 12:
        raise ValueError("it ends early")
    file.seek(size_bytes - 8)
    last = file.read(8)
    if last[4:] == b"PARE":
        raise FormatError(_ENCRYPTED)
    if last[4:] != b"PAR1":
        raise ValueError("it does not end as Parquet does")
    length = int.from_bytes(last[:4], "little")
    if length > _LONGEST_FOOTER:
        raise FormatError(
            f"the footer of this Parquet has {length:,} bytes; at most {_LONGEST_FOOTER:,} are "
            "read. Write it with larger row groups and fewer columns."
        )


def read_footer(file: IO[bytes]) -> Footer:
    """Read a footer that `check_footer` has passed.

    Raises:
        FormatError: A column is encrypted.
        ValueError: It is damaged.
    """
    size_bytes = file.seek(0, 2)
    file.seek(size_bytes - 8)
    length = int.from_bytes(file.read(4), "little")
    if length > size_bytes - 8:
        raise ValueError("its footer ends early")
    file.seek(size_bytes - 8 - length)
    parts = metadata.read_footer(file.read(length))
    columns = _columns(parts.schema)
    chunks = iter(parts.chunks)
    return Footer(
        columns=columns,
        rows=parts.rows,
        groups=[_row_group(group, chunks, columns) for group in parts.groups],
        metadata=parts.pairs,
    )


# Thousands of objects have the same.
@lru_cache(maxsize=64)
def _columns(parts: tuple[SchemaPart, ...]) -> tuple[ParquetColumn, ...]:
    return tuple(_walk(parts))


def _walk(parts: tuple[SchemaPart, ...]) -> Iterator[ParquetColumn]:
    """Yield the columns of a schema, whose parts stand behind what they are parts of."""
    if not parts:
        raise ValueError("it has no schema")
    # Of each part that is not whole: its name, and how many parts it lacks.
    around: list[tuple[str, int]] = [("", parts[0].children)]
    for part in parts[1:]:
        while around and around[-1][1] == 0:
            around.pop()
        if not around:
            raise ValueError("its schema has more parts than it says")
        around[-1] = around[-1][0], around[-1][1] - 1
        name = part.name.decode()
        if part.type >= 0 and part.children == 0:
            path = [outer for outer, _ in around[1:]]
            yield _column(".".join([*path, name]), part, is_nested=len(path) > 0)
        elif len(around) > _DEEPEST:
            raise ValueError("its columns are nested too deep")
        else:
            around.append((name, part.children))
    if any(missing for _, missing in around):
        raise ValueError("its schema has fewer parts than it says")


def _column(name: str, part: SchemaPart, *, is_nested: bool) -> ParquetColumn:
    if part.type > _FIXED:
        raise ValueError(f"a column has the unknown type {part.type}")
    # The older annotation, and the newer one that replaces it; they must agree.
    older, newer = part.annotation, part.newer_annotation
    is_text = older == _UTF8 and newer in (_NEWER_TEXT, *_NEWER_NONE)
    is_integer = older == _SIGNED.get(part.type) and newer in (_NEWER_INTEGER, *_NEWER_NONE)
    return ParquetColumn(
        name=name,
        physical_type="FIXED_LEN_BYTE_ARRAY" if part.type == _FIXED else _TYPES[part.type],
        type_length=part.type_length,
        is_annotated=(older, newer) != (-1, -1) and not (is_text or is_integer),
        is_text=is_text,
        is_nested=is_nested or part.repetition == _REPEATED,
        may_be_null=part.repetition == _OPTIONAL,
    )


def _row_group(
    group: RowGroupPart, chunks: Iterator[ChunkPlace], columns: tuple[ParquetColumn, ...]
) -> RowGroup:
    if group.chunks != len(columns):
        raise ValueError(f"a row group has {group.chunks} columns, the schema {len(columns)}")
    return RowGroup(
        rows=group.rows,
        size_bytes=group.size_bytes,
        chunks=[_chunk(column, next(chunks)) for column in columns],
    )


def _chunk(column: ParquetColumn, place: ChunkPlace) -> Chunk:
    if place.is_encrypted:
        raise FormatError(_ENCRYPTED)
    if place.codec not in range(len(_CODECS)):
        raise ValueError(f"a column has the unknown compression {place.codec}")
    return Chunk(
        column=column,
        codec=_CODECS[place.codec],
        values=place.values,
        start=place.start,
        dictionary_start=place.dictionary_start,
        size_bytes=place.size_bytes,
    )


def check_gaps(file: IO[bytes], groups: Iterable[RowGroup]) -> None:
    """Look for another file's footer among the bytes that a file's columns do not account for.

    Two files that were glued have one after the other, and readers know but the last.

    Raises:
        FormatError: There is one.
        ValueError: The file is damaged: columns lie where none can.
    """
    size_bytes = file.seek(0, 2)
    file.seek(size_bytes - 8)
    end = size_bytes - 8 - int.from_bytes(file.read(4), "little")
    chunks = [chunk.bounds(end) for group in groups for chunk in group.chunks if chunk.values]
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
