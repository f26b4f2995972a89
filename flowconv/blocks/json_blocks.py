"""Stage 3b, JSON -> blocks: messages of CloudWatch Logs and Firehose, or records with keys.

The first document that is whole decides which: `json_texts` cuts the text into documents,
`json_messages` takes the messages out of them, and `json_records` those that are records
themselves.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, groupby, islice

import numpy as np

from flowconv.blocks.block import BlockReader, Events, LogBlock, Span
from flowconv.blocks.counts import GROUPS_COUNTED, OTHER_GROUPS, LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.formats import LogFormat, declared_format, header_format, is_header, split_line
from flowconv.blocks.json_documents import (
    STRETCH_BYTES,
    Stretch,
    read_documents,
    read_stretches,
    unreadable_json,
)
from flowconv.blocks.json_messages import Lines, read_messages
from flowconv.blocks.json_records import RecordReader
from flowconv.blocks.plausibility import Plausibility
from flowconv.blocks.shapes import Shape, no_format
from flowconv.blocks.unpacking import Unpacked
from flowconv.errors import FormatError, quote
from flowconv.source.keys import LogObject


def read_json(log_object: LogObject, text: Unpacked, declared: DeclaredFormats) -> BlockReader:
    """Read an object of JSON: each line of a block is a message or a record, or damaged JSON.

    Messages of documents that name their log group are read by that group's format.

    Args:
        log_object: The object.
        text: Its text, from the first document on.
        declared: The formats of what has no header.

    Raises:
        UnreadableObjectError: The object could not be read, its documents are not a flow log's or
            too large, or their messages have no format.
    """
    blocks = _MessageBlocks(log_object, declared)
    records: RecordReader | None = None
    for stretch in read_stretches(log_object, text.readinto):
        damaged = 0
        if records is None:
            for lines in read_messages(stretch):
                if lines.shape is Shape.JSON and blocks.shape is None:
                    yield from blocks.take(ends_object=False)
                    records = _record_reader(log_object, stretch, damaged, blocks.next_line)
                    break
                damaged += lines.count
                blocks.add(lines)
                if lines.shape is Shape.HTTP_ENDPOINT:
                    text.count(len(lines.text))  # It was unpacked.
                if blocks.size >= 2 * STRETCH_BYTES:
                    yield from blocks.take(ends_object=False)
        if records is not None:
            for document in islice(read_documents(stretch), damaged, None):
                yield from records.add(document)
    yield from (records or blocks).take(ends_object=True)


def _record_reader(
    log_object: LogObject, stretch: Stretch, damaged: int, first_row: int
) -> RecordReader:
    """Return a reader of records, if the document behind so many damaged lines is one."""
    first = next(islice(read_documents(stretch), damaged, None)).values
    assert first is not None
    try:
        return RecordReader(log_object, first, first_row)
    except FormatError as error:
        if "class_uid" in first:
            raise unreadable_json(log_object, error.reason) from None
        keys = ", ".join(map(quote, list(first)[:_KEYS_SHOWN])) or "no keys"
        more = " and others" if len(first) > _KEYS_SHOWN else ""
        raise unreadable_json(
            log_object,
            f"this JSON is not a flow log: its first document has {keys}{more}. Expected are "
            "logEvents or events, message, records with data, or fields of flow logs as keys. "
            "Leave it out with --exclude.",
        ) from None


_KEYS_SHOWN = 5

# Whose first records are looked at apart, each of which takes 1 KB; those of more, together.
_GROUPS_LOOKED_AT = 1000


class _MessageBlocks:
    """Gathers messages to blocks, each of one format.

    Attributes:
        size: Bytes gathered.
        shape: The shape of the object; None while no document was whole.
        next_line: Number of the next line, from 1.
    """

    def __init__(self, log_object: LogObject, declared: DeclaredFormats) -> None:
        self.size = 0
        self.shape: Shape | None = None
        self.next_line = 1
        self._log_object = log_object
        self._declared = declared
        self._lines: list[Lines] = []
        self._format: LogFormat | None = declared_format("default")
        self._log_group: str | None = None
        self._headers: dict[str | None, LogFormat] = {}
        self._may_have_headers = False
        self._first_records: dict[tuple[LogFormat, str | None], Plausibility] = {}
        self._with_header: set[str | None] = set()
        self._has_messages = False
        self._left_out: Counter[str] = Counter()
        self._names_left_out: dict[str, None] = {}
        self._undeclared: dict[str, None] = {}

    def add(self, lines: Lines) -> None:
        """Add lines of one kind, unless their log group is left out."""
        if lines.shape not in (None, Shape.JSON):
            self.shape = lines.shape
        if not lines.text or self._is_left_out(lines):
            return
        self._has_messages |= lines.are_messages
        self._may_have_headers |= lines.may_hold_header and _may_hold_header(lines.text)
        self._lines.append(lines)
        self.size += len(lines.text)

    def take(self, *, ends_object: bool) -> BlockReader:
        """Give what was gathered; the last block says that the object ends with it.

        Raises:
            FormatError: The object has lines, but no document; or messages without a format, or
                with one that does not fit.
        """
        if ends_object:
            self._require_messages()
        runs = [(by, list(lines)) for by, lines in groupby(self._lines, self._read_by)]
        self._lines, self.size = [], 0
        if ends_object and not runs:
            runs = [((self._format, self._log_group), [])]
        for number, ((format_, log_group), run) in enumerate(runs, start=1):
            # A header among the messages wins from there on, for its log group.
            in_force = self._headers.get(log_group) or format_ or self._find_header(log_group, run)
            is_last = ends_object and number == len(runs)
            if format_ is not None:
                self._look_at(run, format_)
            if is_last:
                for first_records in self._first_records.values():
                    first_records.finish()
            end = yield self._block(run, in_force, ends_object=is_last)
            self.next_line = end.line
            # Headers may have led away from the format and back to it.
            if end.format is not in_force:
                self._headers[log_group] = end.format

    def _look_at(self, run: list[Lines], format_: LogFormat) -> None:
        """Look at the first records of each log group that a declared format is for.

        Raises:
            FormatError: It does not fit one of them.
        """
        line = self.next_line
        for lines in run:
            group = lines.log_group
            if lines.are_messages and group not in self._with_header:
                text = lines.text
                if self._first_records_of(format_, group).look_at(text, 0, len(text), line, group):
                    self._with_header.add(group)
            line += lines.count

    def _first_records_of(self, format_: LogFormat, log_group: str | None) -> Plausibility:
        by = (format_, log_group)
        if by not in self._first_records:
            if len(self._first_records) >= _GROUPS_LOOKED_AT:
                by = (format_, None)
            made = Plausibility(self._log_object, format_, self._declared)
            return self._first_records.setdefault(by, made)
        return self._first_records[by]

    def _block(self, run: list[Lines], format_: LogFormat, *, ends_object: bool) -> LogBlock:
        text = b"".join(lines.text for lines in run)
        starts = accumulate((len(lines.text) for lines in run), initial=0)
        left_out, self._left_out = self._left_out, Counter()
        span = Span(
            log_object=self._log_object,
            start=0,
            stop=len(text),
            first_line=self.next_line,
            head=LineCounts(left_out=left_out.total()),
            ends_object=ends_object,
        )
        return LogBlock(
            buffer=text,
            size=len(text),
            shape=self.shape or Shape.JSON,
            format=format_,
            spans=(span,),
            text_bytes=len(text),
            damaged=tuple(
                start + place
                for lines, start in zip(run, starts, strict=False)
                if not lines.are_messages
                for place in _starts_of_lines(lines.text)
            ),
            events=_events_of(run),
            left_out=left_out,
            log_groups=_log_groups_of(run),
        )

    def _is_left_out(self, lines: Lines) -> bool:
        """Count lines of log groups that are excluded, or not named where others are."""
        group = lines.log_group
        if not lines.are_messages or group is None:
            return False
        if not self._declared.excludes(group):
            if not self._declared.log_groups or self._find_format(group) is not None:
                return False
            if len(self._undeclared) < _KEYS_SHOWN:
                self._undeclared[group] = None
        self._names_left_out.setdefault(group)
        if len(self._names_left_out) > GROUPS_COUNTED:
            self._names_left_out.popitem()
            group = OTHER_GROUPS
        self._left_out[group] += lines.count
        return True

    def _require_messages(self) -> None:
        """Make sure that there was a document, and a log group that is read.

        Raises:
            FormatError: There was none.
        """
        if self.shape is None and (self._lines or self.next_line > 1):
            raise unreadable_json(
                self._log_object,
                "this JSON is not a flow log: no document in it is whole. Copy it again, or leave "
                "it out with --exclude.",
            )
        if self._undeclared and not self._has_messages:
            groups = ", ".join(map(quote, self._undeclared))
            raise unreadable_json(
                self._log_object,
                f"--formats has no format for its log groups, {groups}. Name one below "
                '[log-groups], or leave them out there with "exclude".',
            )

    def _find_format(self, log_group: str | None) -> LogFormat | None:
        log_object = self._log_object
        return self._declared.find(log_object.path, log_object.flow_log_id, log_group)

    def _read_by(self, lines: Lines) -> tuple[LogFormat | None, str | None]:
        """Return the format declared for messages, and their log group if that matters.

        Lines that are no messages go with those before them.
        """
        if lines.are_messages:
            self._format = self._find_format(lines.log_group)
            # A header is that of its group. Blocks of many groups are quicker.
            self._log_group = lines.log_group if self._may_have_headers else None
        return self._format, self._log_group

    def _find_header(self, log_group: str | None, run: list[Lines]) -> LogFormat:
        """Return the format of messages of which none is declared: the first may be a header."""
        for lines in run:
            for line in lines.text.split(b"\n") if lines.are_messages else ():
                split = split_line(line)
                if split is not None and not split.tokens:
                    continue
                header = split and header_format(split.tokens)
                if not header:
                    raise no_format(
                        self._log_object,
                        self.shape or Shape.JSON,
                        self.next_line,
                        log_group=lines.log_group,
                    )
                self._headers[log_group] = header
                return header
        # Nothing in them needs any.
        return declared_format("default")


def _events_of(run: Sequence[Lines]) -> Events | None:
    """Return the events of all lines; lines that are no messages have none."""
    if not run:
        return None
    accounts = tuple(
        dict.fromkeys(a for lines in run if lines.events for a in lines.events.accounts)
    )
    places = {account: place for place, account in enumerate(accounts)}
    times, owners = [], []
    for lines in run:
        if lines.events is None:
            none = np.full(lines.count, -1)
            times.append(none)
            owners.append(none)
            continue
        # The last place is for -1.
        moved = np.array([*(places[account] for account in lines.events.accounts), -1])
        times.append(lines.events.times)
        owners.append(moved[lines.events.owners])
    return Events(np.concatenate(times), np.concatenate(owners), accounts)


def _log_groups_of(run: Sequence[Lines]) -> tuple[tuple[str | None, int], ...]:
    if all(lines.log_group is None for lines in run):
        return ()
    return tuple((lines.log_group, lines.count) for lines in run)


def _starts_of_lines(text: bytes) -> list[int]:
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8)[:-1] == ord("\n"))
    return [0, *(newlines + 1).tolist()]


def _may_hold_header(text: bytes) -> bool:
    """Tell whether a line consists of names, as headers do."""
    return any(is_header(match[0]) for match in _NAMES.finditer(text))


_NAMES = re.compile(
    rb"^[ \t]*(?:\$\{)?[A-Za-z][A-Za-z0-9_-]*\}?(?:[ \t]+[^\n]*)?\r?$", re.MULTILINE
)
