"""JSON of CloudWatch Logs -> the lines in its messages: what `src/flowconv.h` declares."""

import ctypes
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowconv.kernel.library import Function, functions

Integers = npt.NDArray[np.int64]


class Kind(IntEnum):
    """Where a document has its messages."""

    LOG_EVENTS = 0
    EVENTS = 1
    SINGLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRun:
    """The lines of documents that follow one another, of one kind and with the same names.

    Attributes:
        kind: Where they have their messages.
        log_group: The log group that they name.
        owner: The account that they name.
        text: The lines, each with its newline; none of documents without a message.
        times: When each line's event was, in milliseconds since 1970; -1 where that is not known.
        may_hold_header: If not, no line consists of names of fields.
    """

    kind: Kind
    log_group: str | None
    owner: str | None
    text: bytes
    times: Integers
    may_hold_header: bool


class MessageReader:
    """Reads documents, and uses its memory again. For one thread."""

    def __init__(self) -> None:
        self._pointer = _functions().fc_json_new()
        if not self._pointer:
            raise MemoryError

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            _functions().fc_json_free(self._pointer)

    def read(
        self, text: bytes | bytearray, start: int, *, are_events: bool
    ) -> tuple[list[MessageRun], int]:
        """Read documents up to the first that is damaged, or unusual.

        It ends at the next newline between } and {, and begins behind the last such newline.

        Args:
            text: Whole documents, with blanks or nothing between them.
            start: Where to begin; they are read to the end of the text.
            are_events: What has one message may have the time of its event.

        Returns:
            The lines, and where those documents begin; the text's length if there are none.

        Raises:
            MemoryError: There is none.
        """
        buffer = pa.py_buffer(text)
        found = _Messages()
        status = _functions().fc_read_messages(
            self._pointer,
            buffer.address + start,
            buffer.size - start,
            are_events,
            ctypes.byref(found),
        )
        if status == _NO_MEMORY:
            raise MemoryError
        return _runs(found), start + int(found.consumed)


def count(text: bytes | bytearray, byte: bytes) -> int:
    """Count a byte; Python's own count takes 20 times as long where it is frequent."""
    buffer = pa.py_buffer(text)
    found: int = _functions().fc_count(buffer.address, buffer.size, ord(byte))
    return found


_NO_MEMORY = 3

_RUN = np.dtype(
    [
        ("log_group_start", np.int64),
        ("log_group_size", np.int64),
        ("owner_start", np.int64),
        ("owner_size", np.int64),
        ("text_end", np.int64),
        ("line_end", np.int64),
        ("kind", np.int32),
        ("may_hold_header", np.int32),
    ]
)


class _Messages(ctypes.Structure):
    _fields_ = (
        ("consumed", ctypes.c_int64),
        ("text", ctypes.c_void_p),
        ("times", ctypes.c_void_p),
        ("names", ctypes.c_void_p),
        ("runs", ctypes.c_void_p),
        ("run_count", ctypes.c_int64),
    )


def _runs(found: _Messages) -> list[MessageRun]:
    """Return copies of what was found."""
    runs: list[MessageRun] = []
    if not found.run_count:
        return runs
    text_start = line_start = 0
    stored = ctypes.string_at(found.runs, found.run_count * _RUN.itemsize)
    for run in np.frombuffer(stored, _RUN).tolist():
        group_start, group_size, owner_start, owner_size, text_end, line_end, kind, may_be = run
        times = np.empty(line_end - line_start, np.int64)
        if len(times):
            ctypes.memmove(times.ctypes.data, found.times + 8 * line_start, times.nbytes)
        runs.append(
            MessageRun(
                kind=Kind(kind),
                log_group=_name(found.names, group_start, group_size),
                owner=_name(found.names, owner_start, owner_size),
                text=ctypes.string_at(found.text + text_start, text_end - text_start),
                times=times,
                may_hold_header=bool(may_be),
            )
        )
        text_start, line_start = text_end, line_end
    return runs


def _name(names: int, start: int, size: int) -> str | None:
    return None if size < 0 else ctypes.string_at(names + start, size).decode()


@cache
def _functions() -> Any:
    """Return the functions that read JSON."""
    pointer, size, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    messages = ctypes.POINTER(_Messages)
    return functions(
        {
            "fc_json_new": Function(pointer, ()),
            "fc_json_free": Function(None, (pointer,)),
            "fc_read_messages": Function(flag, (pointer, pointer, size, flag, messages)),
            "fc_count": Function(size, (pointer, size, ctypes.c_uint8)),
        }
    )
