"""Whether a declared format can be the one of an object's records.

A wrong one is seen by fields that have but a few values: the first records are looked at, and if
most of them have values there that AWS does not write, nothing of the object is read. A header is
believed: it was written with its records.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.formats import LogFormat, split_line
from flowconv.blocks.shapes import EVENT_TIME, find_header, is_timed
from flowconv.errors import FormatError, quote
from flowconv.source.keys import LogObject

RECORDS_LOOKED_AT = 100


def _one_of(*values: bytes) -> Callable[[bytes], bool]:
    return frozenset(values).__contains__


def _is_interface(value: bytes) -> bool:
    return value.startswith(b"eni-") or value == b"-"


def _is_account(value: bytes) -> bool:
    return value.isdigit() or value in (b"unknown", b"-")


# Field -> what tells whether it can have a value, and a word for people.
_CLOSED: Mapping[str, tuple[Callable[[bytes], bool], str]] = MappingProxyType(
    {
        "action": (_one_of(b"ACCEPT", b"REJECT", b"-"), "ACCEPT, REJECT or -"),
        "log-status": (_one_of(b"OK", b"NODATA", b"SKIPDATA", b"-"), "OK, NODATA, SKIPDATA or -"),
        "interface-id": (_is_interface, "eni-… or -"),
        "account-id": (_is_account, "digits, unknown or -"),
    }
)


# The same as expressions, for lines in plain order: those that are no header and have no comment.
# One expression for all takes a fifth of the time that looking at each takes.
_PLAIN = {
    "action": "(?:ACCEPT|REJECT|-)",
    "log-status": "(?:OK|NODATA|SKIPDATA|-)",
    "interface-id": "(?:eni-[!-~]*|-)",
    "account-id": "(?:[0-9]+|unknown|-)",
}
_ANY_VALUE = '[!"$-~][!-~]*'


@lru_cache(maxsize=64)
def _plain_records(format_: LogFormat) -> re.Pattern[bytes]:
    """Return what matches as many records as are enough, of which each is possible."""
    values = [_PLAIN.get(field.name, _ANY_VALUE) for field in format_.fields]
    record = "(?=[0-9-])" + " ".join(values) + "\n"
    time = f"{EVENT_TIME} " if format_.timestamped else ""
    return re.compile(f"(?:{time}{record}){{1,{RECORDS_LOOKED_AT // 2}}}".encode())


class Plausibility:
    """Looks at the first records of an object that a declared format is for, in their order.

    Args:
        log_object: The object.
        format_: The format.
        declared: All declared formats, which headers may repeat.
    """

    def __init__(
        self, log_object: LogObject, format_: LogFormat, declared: DeclaredFormats
    ) -> None:
        self._log_object = log_object
        self._timed = format_.timestamped
        self._declared = declared.all
        self._fields = len(format_.fields)
        self._closed = [
            (place, *_CLOSED[field.name], field.name)
            for place, field in enumerate(format_.fields)
            if field.name in _CLOSED
        ]
        self._plain = _plain_records(format_)
        self._possible = self._impossible = 0
        self._first: tuple[int, str | None, str] | None = None
        self.is_done = not self._closed

    def look_at(
        self,
        text: bytes | bytearray,
        start: int,
        stop: int,
        line: int,
        log_group: str | None = None,
    ) -> bool:
        """Look at whole lines, up to a header if there is one.

        Args:
            text: Holds them.
            start: Offset of the first.
            stop: Offset behind the last, which may lack its newline.
            line: Number of the first in the object.
            log_group: Theirs, if it is known.

        Returns:
            There is a header, which is for what follows.

        Raises:
            FormatError: Most of the records that were to be looked at are impossible.
        """
        is_first = not self.is_done and self._possible + self._impossible == 0
        if is_first and (plain := self._plain.match(text, start, stop)):
            count = text.count(b"\n", start, plain.end())
            self._possible += count
            start, line = plain.end(), line + count
            self._finish_if_enough()
        while start < stop and not self.is_done:
            newline = text.find(b"\n", start, stop)
            end = stop if newline < 0 else newline
            values = split_line(bytes(memoryview(text)[start:end]))
            if values is not None and values.tokens:
                if self._is_header(values.tokens):
                    return True
                self._look_at(values.tokens, line, log_group)
            start, line = end + 1, line + 1
        return False

    def finish(self) -> None:
        """Decide by the records there were.

        Raises:
            FormatError: Most of them are impossible.
        """
        self.is_done = True
        if self._first is None or self._impossible <= self._possible:
            return
        line, log_group, what = self._first
        of_group, advice = "", "Correct --format or --formats"
        if log_group := log_group or self._log_object.log_group:
            of_group = f" log group {quote(log_group)}"
            advice = f'{advice}, or write "exclude" for the log group there'
        raise FormatError(
            f"the declared format does not fit{of_group}: {what}; the same is true of "
            f"{self._impossible} of the first {self._impossible + self._possible} records. "
            f"{advice}; if this is not a flow log, leave it out with --exclude.",
            uri=self._log_object.uri,
            line=line,
        )

    def _is_header(self, values: tuple[bytes, ...]) -> bool:
        try:
            return find_header(values, self._declared, timed=self._timed) is not None
        except FormatError:
            return False  # The parser says so.

    def _look_at(self, values: tuple[bytes, ...], line: int, log_group: str | None) -> None:
        if self._timed:
            if not is_timed(values[0]):
                return
            values = values[1:]
        if len(values) != self._fields:
            return
        for place, is_possible, wanted, name in self._closed:
            if not is_possible(values[place]):
                self._impossible += 1
                what = f"{name} would be {quote(values[place])}, and {wanted} is expected"
                self._first = self._first or (line, log_group, what)
                break
        else:
            self._possible += 1
        self._finish_if_enough()

    def _finish_if_enough(self) -> None:
        # More than half of them cannot be impossible any more; or they are all.
        enough = 2 * self._possible >= RECORDS_LOOKED_AT
        if enough or self._possible + self._impossible == RECORDS_LOOKED_AT:
            self.finish()
