"""Of stage 3c: a row group as AWS delivers it -> tables, by the native core.

Its columns are integers and texts, and its pages plain ones: what AWS's delivery has, and most
copies of it. `parquet_foreign` reads everything else; where both can, they give the same rows.
"""

import base64
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyarrow import types

from flowconv.blocks.parquet_footer import Chunk, Footer, ParquetColumn, RowGroup
from flowconv.blocks.parquet_pages import ColumnPages, Page, unpack
from flowconv.blocks.parquet_types import CODED_TEXT, is_text
from flowconv.kernel.decoding import (
    NO_PLACE,
    PageReader,
    find_byte,
    measure_places,
    no_bits,
    room,
)

_TYPES: dict[str, Any] = {"INT32": pa.int32(), "INT64": pa.int64(), "BYTE_ARRAY": pa.string()}

_NO_TEXTS: Any = pa.array([], pa.string())

# What AWS's delivery has for a text that is missing.
_MISSING = b"-"


def native_schema(footer: Footer) -> pa.Schema | None:
    """Return the columns of a file, if all of them are integers and texts; else None."""
    return _schema(footer.columns, footer.metadata.get(b"ARROW:schema"))


# Thousands of objects have the same.
@lru_cache(maxsize=64)
def _schema(columns: tuple[ParquetColumn, ...], stored: bytes | None) -> pa.Schema | None:
    """`stored` is what Arrow has in a footer of its own types: they must mean nothing else."""
    if not all(map(_is_native, columns)) or not (stored is None or _is_native_to_arrow(stored)):
        return None
    return pa.schema([(column.name, _TYPES[column.physical_type]) for column in columns])


def can_decode(columns: Sequence[ColumnPages]) -> bool:
    """Tell whether all pages of some columns of such a file are plain."""
    return all(column.pages for column in columns)


def decode(
    data: memoryview,
    group: RowGroup,
    columns: Sequence[ColumnPages],
    most_rows: int,
    coded: Collection[str],
) -> Iterator[tuple[pa.Table, int]]:
    """Read a row group.

    Args:
        data: The file.
        group: What its footer says.
        columns: The columns that are read; `can_decode` them.
        most_rows: How many rows are read at once.
        coded: The columns of texts that become places in a dictionary.

    Yields:
        Tables of at most so many rows, with null for the text `-`; and how many bytes they take if
        all values lie one by one.

    Raises:
        ArrowException, OSError, ValueError: It is damaged.
    """
    chunks = {chunk.column.name: chunk for chunk in group.chunks}
    readers: list[_Integers | _Texts] = []
    for column in columns:
        chunk = chunks[column.name]
        if chunk.values != group.rows:
            raise ValueError(f"a column has {chunk.values} values in {group.rows} rows")
        if chunk.column.is_text:
            readers.append(_Texts(data, chunk, column, is_coded=column.name in coded))
        else:
            readers.append(_Integers(data, chunk, column))
    names = [column.name for column in columns]
    for first in range(0, group.rows, most_rows):
        rows = min(most_rows, group.rows - first)
        arrays, sizes = zip(*(reader.read(rows) for reader in readers), strict=True)
        yield pa.table(arrays, names=names), sum(sizes)


class _Chunk:
    """The pages of a chunk, unpacked one after another."""

    def __init__(self, data: memoryview, chunk: Chunk, pages: Sequence[Page]) -> None:
        self._data = data
        self._chunk = chunk
        self._pages = iter(pages)
        self._page: PageReader | None = None

    def page(self) -> PageReader:
        """Return the page of the next row."""
        while self._page is None or not self._page.rows:
            page = next(self._pages, None)
            if page is None:
                raise ValueError("a column has fewer values than rows")
            self._page = PageReader(
                unpack(self._data, page, self._chunk.codec),
                page.values,
                may_be_null=self._chunk.column.may_be_null,
                has_places=page.has_places,
            )
        return self._page


class _Integers:
    """Reads a column of integers."""

    def __init__(self, data: memoryview, chunk: Chunk, column: ColumnPages) -> None:
        self._type = _TYPES[chunk.column.physical_type]
        self._size = self._type.bit_width // 8
        self._dictionary = pa.py_buffer(b"")
        pages = column.pages
        if pages[0].is_dictionary:
            dictionary = pa.py_buffer(unpack(data, pages[0], chunk.codec))
            if dictionary.size < pages[0].values * self._size:
                raise ValueError("a dictionary has fewer values than it says")
            self._dictionary = dictionary.slice(0, pages[0].values * self._size)
            pages = pages[1:]
        self._chunk = _Chunk(data, chunk, pages)

    def read(self, rows: int) -> tuple[Any, int]:
        """Return the next rows, an array, and their size."""
        size_bytes = rows * self._size
        values, validity = room(size_bytes), no_bits(rows)
        place = nulls = 0
        while place < rows:
            page = self._chunk.page()
            count = min(rows - place, page.rows)
            to = values, self._size, validity, place
            nulls += page.read_integers(count, *to, self._dictionary)
            place += count
        buffers = [validity if nulls else None, values]
        return pa.Array.from_buffers(self._type, rows, buffers, nulls), size_bytes


class _Texts:
    """Reads a column of texts: places in its dictionary if it is coded, else the texts."""

    def __init__(
        self, data: memoryview, chunk: Chunk, column: ColumnPages, *, is_coded: bool
    ) -> None:
        self._is_coded = is_coded
        self._dictionary = _NO_TEXTS
        pages = column.pages
        if pages[0].is_dictionary:
            entries = column.entries
            if entries is None:
                entries = unpack(data, pages[0], chunk.codec)
            count = pages[0].values
            page = PageReader(entries, count, may_be_null=False, has_places=False)
            self._dictionary = page.read_texts(count)
            pages = pages[1:]
        self._null = find_byte(self._dictionary, _MISSING)
        # No writer is known that has a text twice in its dictionary.
        self._has_others = find_byte(self._dictionary.slice(self._null + 1), _MISSING) != NO_PLACE
        self._offsets = self._dictionary.buffers()[1]
        self._chunk = _Chunk(data, chunk, pages)

    def read(self, rows: int) -> tuple[Any, int]:
        """Return the next rows, an array or several, and the size of their texts."""
        arrays, size_bytes = [], 0
        while rows:
            read = self._read_places if self._chunk.page().has_places else self._read_texts
            array, its_bytes = read(rows)
            arrays.append(array)
            rows -= len(array)
            size_bytes += its_bytes
        return arrays[0] if len(arrays) == 1 else pa.chunked_array(arrays), size_bytes

    def _read_texts(self, rows: int) -> tuple[Any, int]:
        page = self._chunk.page()
        texts = page.read_texts(min(rows, page.rows), _MISSING)
        return texts.dictionary_encode() if self._is_coded else texts, texts.nbytes

    def _read_places(self, rows: int) -> tuple[Any, int]:
        """Read up to a page without places."""
        places, validity = room(4 * rows), no_bits(rows)
        place = nulls = 0
        while place < rows and (page := self._chunk.page()).has_places:
            count = min(rows - place, page.rows)
            to = places, validity, place
            nulls += page.read_places(count, *to, len(self._dictionary), self._null)
            place += count
        buffers = [validity if nulls else None, places]
        texts: Any = pa.DictionaryArray.from_buffers(
            CODED_TEXT, place, buffers, self._dictionary, nulls
        )
        size_bytes = 4 * place + measure_places(places, buffers[0], 0, place, self._offsets)
        if self._is_coded and not self._has_others:
            return texts, size_bytes
        texts = texts.dictionary_decode()
        if self._has_others:
            texts = pa.array([None if t == "-" else t for t in texts.to_pylist()], pa.string())
        return texts.dictionary_encode() if self._is_coded else texts, size_bytes


def _is_native(column: ParquetColumn) -> bool:
    return (
        column.physical_type in _TYPES
        and column.is_text == (column.physical_type == "BYTE_ARRAY")
        and not (column.is_nested or column.is_annotated)
    )


def _is_native_to_arrow(stored: bytes) -> bool:
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored)))
    except (pa.ArrowException, OSError, ValueError):
        return False
    return all(map(_is_native_type, schema.types))


def _is_native_type(type_: Any) -> bool:
    if types.is_dictionary(type_):
        type_ = type_.value_type
    return type_ in (pa.int32(), pa.int64()) or is_text(type_)
