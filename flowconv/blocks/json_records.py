"""Stage 3b, documents -> rows: JSON with a document for each record, and a key for each field."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from flowconv.blocks.block import RowBlock
from flowconv.blocks.formats import MAX_FIELDS, can_be_name, columns_format, is_known, named_format
from flowconv.blocks.json_documents import TWICE, Document
from flowconv.blocks.shapes import Shape
from flowconv.errors import FormatError
from flowconv.fields import Field
from flowconv.source.keys import LogObject

# Rows of a block; more take more memory, and hardly less time.
_MOST_ROWS = 16_384


class RecordReader:
    """Gathers records to blocks.

    A key that no record before had is a new field from there on; where a record lacks a key, its
    value is null.

    Args:
        log_object: The object.
        first: Its first document, which decides what it is.
        first_row: Number of its line among those of the object, from 1.

    Raises:
        FormatError: The first document is not a record of a flow log.
    """

    def __init__(self, log_object: LogObject, first: dict[str, Any], first_row: int) -> None:
        self._log_object = log_object
        self._first_row = first_row
        self._names, self._left_out = _split_names(list(first))
        self._format = columns_format(self._names, self._left_out, shape="JSON", each="key")
        if _values_of(first) is None:
            raise FormatError("this JSON is not a flow log: its first document has nested values.")
        self._rows: list[_Row] = []
        self._texts: list[bytes] = []
        self._damaged: set[int] = set()
        self._text_bytes = 0

    def add(self, document: Document) -> Iterator[RowBlock]:
        """Add the next line; gives what was gathered if that is enough, or has fewer fields."""
        row = _values_of(document.values)
        if row is not None and not row.keys() <= {*self._names, *self._left_out}:
            try:
                names, left_out = _split_names(
                    list(dict.fromkeys([*self._names, *self._left_out, *row]))
                )
                format_ = named_format(names, left_out)
            except FormatError:
                row = None
            else:
                yield from self.take(ends_object=False)
                self._names, self._left_out, self._format = names, left_out, format_
        if len(self._rows) == _MOST_ROWS:
            yield from self.take(ends_object=False)
        if row is None:
            self._damaged.add(len(self._rows))
        self._rows.append(row or {})
        self._texts.append(document.text.removesuffix(b"\r"))
        self._text_bytes += len(document.text) + 1

    def take(self, *, ends_object: bool) -> Iterator[RowBlock]:
        """Give what was gathered; the last block says that the object ends with it."""
        if not self._rows and not ends_object:
            return
        columns = [
            _column(name, field, self._rows)
            for name, field in zip(self._names, self._format.fields, strict=True)
        ]
        yield RowBlock(
            log_object=self._log_object,
            rows=pa.table(columns, names=list(self._format.columns)),
            format=self._format,
            first_row=self._first_row,
            ends_object=ends_object,
            text_bytes=self._text_bytes,
            shape=Shape.JSON_RECORDS,
            texts=tuple(self._texts),
            damaged=frozenset(self._damaged),
        )
        self._first_row += len(self._rows)
        self._rows, self._texts, self._damaged, self._text_bytes = [], [], set(), 0


# As JSON has it: text, true and false too, and numbers.
_Row = dict[str, str | int | None]


def _split_names(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the names that are read, and the others."""
    read = [name for name in names if is_known(name) or can_be_name(name)]
    return read, [name for name in names if name not in read]


def _column(name: str, field: Field, rows: list[_Row]) -> "pa.Array[Any]":
    # Accounts that were made numbers lost their zeros.
    digits = 12 if field.name.endswith("account-id") else 0
    values = [
        str(value).zfill(digits if value >= 0 else 0) if isinstance(value, int) else value
        for value in (row.get(name) for row in rows)
    ]
    return pa.array(values, pa.string())


def _values_of(values: dict[str, Any] | None) -> _Row | None:
    """Return a record's values; None if it is not a record."""
    if values is None or len(values) > MAX_FIELDS or not any(map(is_known, values)):
        return None
    row: _Row = {}
    for name, value in values.items():
        if value is TWICE or isinstance(value, dict | list):
            return None
        if isinstance(value, bool):
            row[name] = str(value).lower()
        else:
            row[name] = value if value is None or isinstance(value, int) else str(value)
    return row
