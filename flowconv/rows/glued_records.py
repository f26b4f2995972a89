"""A line with the values of several records -> the records."""

import re
from collections import deque

from flowconv.blocks.formats import LogFormat, split_line


def divide(line: bytes, format_: LogFormat) -> list[bytes]:
    """Return the records of a line that has the values of several; none if they do not divide.

    Where only the newline between two is missing, the status of one and the first number of the
    next are one value, such as `OK2`. Records of text alone are not divided, since nothing would
    show that they fit. Nor is a line if one of them would be nothing but `-`, or of no status that
    AWS writes: then the format lacks fields.

    Args:
        line: Without its newline.
        format_: The fields of a record.
    """
    split = split_line(line)
    if split is None or all(field.is_text for field in format_.fields):
        return []
    first, last = format_.fields[0], format_.fields[-1]
    may_touch = last.name == "log-status" and (not first.is_text or first.name == "account-id")
    names = [field.name for field in format_.fields]
    status = names.index("log-status") if "log-status" in names else None
    time = [*split.tokens[:1]] if format_.timestamped else []
    values = deque(split.tokens[len(time) :])
    records = []
    while len(values) >= len(format_.fields):
        record = [values.popleft() for _ in format_.fields]
        if may_touch and (joint := _JOINT.fullmatch(record[-1])):
            record[-1] = joint[1]
            values.appendleft(joint[2])
        if status is not None and record[status] not in _STATUSES:
            return []
        if all(value == b"-" for value in record):
            return []
        records.append(b" ".join([*time, *record]) + b"\n")
    return [] if values else records


_STATUSES = (b"OK", b"NODATA", b"SKIPDATA")
_JOINT = re.compile(rb"(OK|NODATA|SKIPDATA)([0-9]+)")
