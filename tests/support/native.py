"""The native parser over whole texts, with what Python decides, and how the oracle judges it."""

from dataclasses import dataclass, field
from typing import Any

from flowconv.blocks.formats import KNOWN_NAMES, LogFormat, split_line
from flowconv.blocks.shapes import find_header
from flowconv.kernel.rows import REASONS, RowBuilder, Rows, Speed
from flowconv.rows import glued_records
from flowconv.rows.parsing import kernel_columns
from oracle import reference


@dataclass(kw_only=True)
class Native:
    """What the native parser made of a text."""

    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    rejected: list[tuple[int, str, str | None, bytes]] = field(default_factory=list)
    header: int = 0
    blank: int = 0
    comment: int = 0
    split: int = 0
    milliseconds: int = 0
    lines: int = 0


class NativeReading:
    """Reads texts one after the other as they follow each other in one object."""

    def __init__(
        self, format_: LogFormat, speed: Speed = Speed.BEST, stretch_bytes: int = 0, line: int = 1
    ) -> None:
        self.format = format_
        self.how: dict[str, Any] = {"speed": speed, "stretch_bytes": stretch_bytes}
        self.line = line
        self.result = Native()
        self._begin()

    def _begin(self) -> None:
        self.builder = RowBuilder(
            kernel_columns(self.format),
            timestamped=self.format.timestamped,
            names=KNOWN_NAMES | {field.name.replace("-", "") for field in self.format.fields},
            **self.how,
        )

    def read(self, text: bytes) -> None:
        start, settled = 0, False
        while start < len(text):
            found = self.builder.append(text[start:], first_line=self.line, settled=settled)
            self._count(found, text[start:])
            start += found.consumed
            settled = found.question and not self._answer(text[start:].split(b"\n", 1)[0])
            if found.question and not settled:
                newline = text.find(b"\n", start)
                start = len(text) if newline < 0 else newline + 1
                self.line += 1
                self.result.lines += 1

    def _count(self, found: Any, text: bytes) -> None:
        assert found.lines == found.rows + found.blank + found.comment + len(found.rejected)
        self.line += found.lines
        result = self.result
        result.lines += found.lines
        result.blank += found.blank
        result.comment += found.comment
        result.milliseconds += found.milliseconds
        for bad in found.rejected:
            name = None if bad["field"] < 0 else self.format.fields[bad["field"]].name
            line = text[bad["offset"] :][: bad["length"]]
            result.rejected.append((int(bad["line"]), REASONS[bad["reason"]], name, line))

    def _answer(self, line: bytes) -> bool:
        """Read a line that is a question; false if it is one like others."""
        split = split_line(line)
        assert split is not None
        timed = self.format.timestamped
        header = find_header(split.tokens, frozenset(), timed=timed)
        if header is not None:
            self.result.header += 1
            if header != self.format:
                self.finish()
                self.format = header
                self._begin()
            return True
        if len(split.tokens) - timed < 2 * len(self.format.fields) - 1:
            return False
        records = glued_records.divide(line.removesuffix(b"\r"), self.format)
        if not records:
            return False
        before = len(self.builder)
        rows = 0
        milliseconds = 0
        for record in records:
            found = self.builder.append(record, first_line=self.line, settled=True)
            rows += found.rows
            milliseconds += found.milliseconds
        if rows == len(records):
            self.result.split += rows - 1
            self.result.milliseconds += milliseconds
        else:
            self.builder.truncate(before)
            line = line.removesuffix(b"\r")
            self.result.rejected.append((self.line, "glued-records", None, line))
        return True

    def finish(self) -> Native:
        rows = self.builder.take()
        check(rows)
        self.result.rows += zip(rows.lines.tolist(), rows.batch.to_pylist(), strict=True)
        if rows.times is not None:
            self.result.times += rows.times.tolist()
        return self.result


def check(rows: Rows) -> None:
    """Arrow finds nothing wrong, and no number stands where there is none."""
    rows.batch.validate(full=True)
    assert len(rows.lines) == rows.batch.num_rows


def assert_as_oracle(got: Native, expected: reference.ReferenceObject, header: int = 0) -> None:
    assert got.rejected == [(r.line, r.reason, r.field, r.text) for r in expected.rejected]
    assert [line for line, _ in got.rows] == [row.line for row in expected.rows]
    for (line, values), row in zip(got.rows, expected.rows, strict=True):
        assert list(values.items()) == list(row.values.items()), line
    assert (got.header + header, got.blank, got.comment, got.split, got.milliseconds) == (
        expected.header,
        expected.blank,
        expected.comment,
        expected.split,
        expected.milliseconds,
    )
