"""Text of logs -> columns of Arrow: what `src/flowconv.h` declares, with Python's types."""

import ctypes
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.kernel.library import Function, functions

Integers = npt.NDArray[np.int64]

REJECTED = np.dtype(
    [
        ("line", np.int64),
        ("offset", np.int32),
        ("length", np.int32),
        ("reason", np.int16),
        ("field", np.int16),
        ("unused", np.int32),
    ]
)
"""A line that does not fit: number, place in the text, index in REASONS, and index of the field
at fault or -1."""

REASONS = (
    "",
    "not-utf8",
    "control-character",
    "not-a-timestamp",
    "too-few-values",
    "too-many-values",
    "not-a-number",
    "out-of-range",
)

_NO_LINES = np.empty(0, REJECTED)

MOST_TEXT_BYTES = (1 << 31) - 1


class Speed(IntEnum):
    """How text is looked at; the rows are the same."""

    BEST = 0
    WORDS = 1
    AVX2 = 2
    NEON = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one value of a line becomes.

    Attributes:
        name: Its name in the batch.
        type: int32, int64 or string; text becomes a dictionary of int32 numbers.
        largest: The largest number that can be, if it is below the type's.
        is_time: Seconds since 1970; larger numbers are milliseconds, and become seconds.
    """

    name: str
    type: pa.DataType
    largest: int | None = None
    is_time: bool = False


class Appended(NamedTuple):
    """What became of a text. Lines = rows + blank + comment + rejected.

    Attributes:
        consumed: So many bytes were read.
        question: The line there may be a header, or several records.
        lines: How many were read.
        rows: How many of them are rows.
        blank: How many are blank.
        comment: How many have nothing but a comment.
        milliseconds: Rows that had times in milliseconds.
        rejected: The lines that do not fit, of the type REJECTED.
    """

    consumed: int
    question: bool
    lines: int
    rows: int
    blank: int
    comment: int
    milliseconds: int
    rejected: npt.NDArray[np.void]


class Rows(NamedTuple):
    """The rows of a batch.

    Attributes:
        batch: Their values.
        lines: Number of each row's line.
        times: When each row's event was, in milliseconds since 1970, -1 if it says no time that
            can be; None if events have none.
    """

    batch: pa.RecordBatch
    lines: Integers
    times: Integers | None


class RowBuilder:
    """Collects the rows of a batch, then of the next. Not to be shared between threads.

    Args:
        columns: One for each value of a line.
        timestamped: Before the values stands the time of a CloudWatch event.
        names: Known names of fields, squashed; lines of which they are at least half may be
            headers.
        speed: How text is looked at.
        stretch_bytes: So much text is looked at together; 0 is best for the caches.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        timestamped: bool = False,
        names: Iterable[str] = (),
        speed: Speed = Speed.BEST,
        stretch_bytes: int = 0,
    ) -> None:
        self._columns = tuple(columns)
        self._timestamped = timestamped
        self._schema = _schema(columns, timestamped=timestamped)
        squashed = [name.encode() for name in sorted(names)]
        offsets = np.cumsum([0, *map(len, squashed)], dtype=np.int32)
        plan = _Plan(
            fields=(_Field * len(columns))(*map(_field, columns)),
            field_count=len(columns),
            timestamped=timestamped,
            names=b"".join(squashed),
            name_offsets=offsets.ctypes.data,
            name_count=len(squashed),
            speed=speed,
            stretch_bytes=stretch_bytes,
            seed=_SEED,
        )
        self._native = _Builder(plan)

    def append(
        self, text: bytes | bytearray | memoryview, *, first_line: int = 1, settled: bool = False
    ) -> Appended:
        """Add the rows of whole lines; the last may lack its newline.

        Reading stops at a line that is a question: one whose values may all be names of fields, at
        least half of them known, or that has the values of two records. Read it yourself and go on
        behind it; or go on at it with `settled`, and it is a line like others.

        Args:
            text: Valid until the call returns.
            first_line: Number of its first line.
            settled: The first line is no question.

        Raises:
            OverflowError: The batch would have taken more than 2 GB of text.
            MemoryError: There is none.
        """
        buffer = pa.py_buffer(text)
        found = np.empty(_APPENDED_NUMBERS, np.int64)
        status = _functions().fc_append(
            self._native.pointer,
            buffer.address,
            buffer.size,
            first_line,
            settled,
            found.ctypes.data,
        )
        return _appended(found.tolist(), status)

    def append_parts(self, text: bytes | bytearray | memoryview, parts: Integers) -> list[Appended]:
        """Add the rows of parts of a text, up to the first that leaves something to do.

        Python's lock is asked for once: a block may have thousands of small objects.

        Args:
            text: Valid until the call returns.
            parts: For each its offset, its size, and the number of its first line.

        Returns:
            As `append` does for each; none but the last has a question or lines that do not fit.
            The parts behind it were not read.

        Raises:
            OverflowError: See `append`.
            MemoryError: There is none.
        """
        buffer = pa.py_buffer(text)
        found = np.empty((len(parts), _APPENDED_NUMBERS), np.int64)
        status = ctypes.c_int32()
        read = _functions().fc_append_parts(
            self._native.pointer,
            buffer.address,
            buffer.size,
            parts.ctypes.data,
            len(parts),
            found.ctypes.data,
            ctypes.byref(status),
        )
        *plain, last = found[:read].tolist()
        return [*(_appended(numbers, _OK) for numbers in plain), _appended(last, status.value)]

    def truncate(self, rows: int) -> None:
        """Forget the rows behind the first `rows`."""
        _functions().fc_truncate(self._native.pointer, rows)

    def __len__(self) -> int:
        rows: int = _functions().fc_rows(self._native.pointer)
        return rows

    def take(self) -> Rows:
        """Return the rows without a copy; the builder has none then.

        Dictionaries begin with the texts of the batch before, which this one may lack.

        Raises:
            MemoryError: There is none.
        """
        exported = _ArrowArray()
        if _functions().fc_take(self._native.pointer, ctypes.byref(exported)):
            raise MemoryError
        taken = pa.record_batch(_Exported(self._schema, ctypes.addressof(exported)))
        columns = len(self._columns)
        batch = taken.select(range(columns))
        lines = _integers(taken.column(columns))
        times = _integers(taken.column(columns + 1)) if self._timestamped else None
        return Rows(batch, lines, times)


def speeds() -> tuple[Speed, ...]:
    """Return the speeds that this processor has, the slowest first."""
    return tuple(s for s in list(Speed)[1:] if _functions().fc_speed(s) == s)


# Texts whose values collide in a hash table cannot be made by those who do not know it.
_SEED = int.from_bytes(os.urandom(8), "little")

_OK, _QUESTION, _FULL, _NO_MEMORY = 0, 1, 2, 3


class _Field(ctypes.Structure):
    _fields_ = (("largest", ctypes.c_int64), ("type", ctypes.c_int32))


class _Plan(ctypes.Structure):
    _fields_ = (
        ("fields", ctypes.POINTER(_Field)),
        ("field_count", ctypes.c_int32),
        ("timestamped", ctypes.c_int32),
        ("names", ctypes.c_char_p),
        ("name_offsets", ctypes.c_void_p),
        ("name_count", ctypes.c_int32),
        ("speed", ctypes.c_int32),
        ("stretch_bytes", ctypes.c_int64),
        ("seed", ctypes.c_uint64),
    )


# What fc_appended has.
_APPENDED_NUMBERS = 8


def _appended(numbers: Sequence[int], status: int) -> Appended:
    """Return an fc_appended with Python's types.

    Raises:
        OverflowError: There was too much text.
        MemoryError: There is none.
    """
    if status == _FULL:
        raise OverflowError(f"more than {MOST_TEXT_BYTES} bytes of text")
    if status == _NO_MEMORY:
        raise MemoryError
    consumed, lines, rows, blank, comment, milliseconds, count, rejections = numbers
    rejected = _NO_LINES
    if count:
        rejected = np.empty(count, REJECTED)
        ctypes.memmove(rejected.ctypes.data, rejections, rejected.nbytes)
    return Appended(
        consumed=consumed,
        question=status == _QUESTION,
        lines=lines,
        rows=rows,
        blank=blank,
        comment=comment,
        milliseconds=milliseconds,
        rejected=rejected,
    )


class _ArrowArray(ctypes.Structure):
    """Arrow's C data interface."""

    _fields_ = (
        ("counts", ctypes.c_int64 * 5),
        ("pointers", ctypes.c_void_p * 5),
    )


def _field(column: Column) -> _Field:
    if column.type == pa.string():
        return _Field(0, 0)
    is_wide = column.type == pa.int64()
    most = (1 << (63 if is_wide else 31)) - 1
    largest = most if column.largest is None else min(most, column.largest)
    return _Field(largest, 3 if column.is_time else 2 if is_wide else 1)


class _Builder:
    """A builder of the library."""

    def __init__(self, plan: _Plan) -> None:
        self.pointer = _functions().fc_builder_new(ctypes.byref(plan))
        if not self.pointer:
            raise MemoryError

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            _functions().fc_builder_free(self.pointer)


class _Exported:
    """Rows of the library, which pyarrow takes over."""

    def __init__(self, schema: pa.Schema, address: int) -> None:
        self._schema = schema
        self._address = address

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Return capsules of the schema and the rows."""
        schema = self._schema.__arrow_c_schema__()
        return schema, _new_capsule(self._address, _ARRAY_NAME, None)


# A capsule keeps the address of its name.
_ARRAY_NAME = b"arrow_array"
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))


def _schema(columns: Sequence[Column], *, timestamped: bool) -> pa.Schema:
    """Return the columns of what the library exports: those of the rows, then its own."""
    texts = pa.dictionary(pa.int32(), pa.string())
    fields = [
        pa.field(column.name, texts if column.type == pa.string() else column.type)
        for column in columns
    ]
    return pa.schema([*fields, *[pa.field("", pa.int64())] * (1 + timestamped)])


def _integers(column: "pa.Array[Any]") -> Integers:
    """Return int64 numbers where they lie."""
    values: Any = column.buffers()[1]
    return np.frombuffer(values or b"", np.int64, len(column))


@cache
def _functions() -> Any:
    """Return the functions that read rows."""
    pointer, size, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    return functions(
        {
            "fc_speed": Function(flag, (flag,), keeps_lock=True),
            "fc_builder_new": Function(pointer, (ctypes.POINTER(_Plan),)),
            "fc_builder_free": Function(None, (pointer,)),
            "fc_append": Function(flag, (pointer, pointer, size, size, flag, pointer)),
            "fc_append_parts": Function(
                size, (pointer, pointer, size, pointer, size, pointer, ctypes.POINTER(flag))
            ),
            "fc_truncate": Function(None, (pointer, size)),
            "fc_rows": Function(size, (pointer,), keeps_lock=True),
            "fc_take": Function(flag, (pointer, pointer)),
        }
    )
