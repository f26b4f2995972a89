"""The source compared with the ledger: its objects' names, and their lines counted again.

Text is counted with the standard library alone, and Parquet by the number of rows in its footer: so
a mistake in `reading` is found.
"""

import codecs
import gzip
import io
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats, declared_formats
from flowconv.blocks.parquet_footer import check_footer, check_gaps, read_footer
from flowconv.errors import FlowconvError, UnreadableObjectError
from flowconv.lake.converted_objects import counts_of
from flowconv.lake.ledger import Ledger
from flowconv.options import VerifyOptions
from flowconv.running import RunProgress, Stopped
from flowconv.source.fetching import AHEAD_BYTES, AHEAD_OBJECTS, ObjectFetcher
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source
from flowconv.source.selection import Selection
from flowconv.verification.checks import Check, Checked, Opened, Requests
from flowconv.verification.problems import Problem, ProblemKind, object_problem

# A request to S3, and what a thread holds of an object.
PIECE_BYTES = 8 << 20


class SourceObjects:
    """The source's objects and those that the ledger has.

    Args:
        logs: The source; None if none is given.
        lake_root: The lake, which may lie within the source.
        ledger: The lake's ledger.
        options: Which days and paths are compared.
    """

    def __init__(
        self, logs: Source | None, lake_root: str, ledger: Ledger, options: VerifyOptions
    ) -> None:
        self._logs = logs
        self._all = options.since is None and options.until is None and not options.patterns
        kinds = LineCounts._fields
        self._converted = {
            row["uri"]: (row["etag"], LineCounts(**{kind: row[kind] for kind in kinds}).lines)
            for batch in ledger.objects("uri", "etag", *kinds).to_batches()
            for row in batch.to_pylist()
        }
        self._ledger = ledger
        self._expired = ledger.expired()
        self._listed: dict[str, LogObject] = {}
        self._unlisted: dict[str, str] = {}
        if logs is not None:
            selection = Selection(
                since=options.since,
                until=options.until,
                patterns=options.patterns,
                leave_out=lake_root,
                inventory=options.inventory,
            )
            selection.require_bucket(logs.root)
            listed = logs.list_objects(selection, unreadable=self._unlisted)
            self._listed = {log_object.uri: log_object for log_object in listed}

    @property
    def converted(self) -> int:
        """Number of objects that the ledger has."""
        return len(self._converted)

    @property
    def listed(self) -> int:
        """Number of objects in the source."""
        return len(self._listed)

    @property
    def expired(self) -> int:
        """Number of objects that the ledger has of this source, and the source no longer has."""
        if self._logs is None or not self._all:
            return 0
        below = f"{self._logs.root}/"
        unknown = tuple(f"{uri}/" for uri in self._unlisted)
        return sum(
            uri not in self._listed
            and f"{uri}/".startswith(below)
            and not f"{uri}/".startswith(unknown)
            for uri in self._converted
        )

    def unconvertible(
        self, uris: Sequence[str], at_least: int | None, workers: int
    ) -> dict[str, str]:
        """Return uri -> reason, of the objects of a task that would now give fewer rows.

        Each object is read to its end, with the format that it was converted by.

        Args:
            uris: All objects of the task.
            at_least: Rows that all objects must give together; None: each must give the rows that
                the ledger has of it.
            workers: Number of objects read at once.

        Raises:
            StorageError: The source does not answer.
        """
        reasons: dict[str, str] = {}
        for uri in uris:
            if uri not in self._listed:
                reasons[uri] = "it is not in the source"
            elif self._converted[uri][0] != self._listed[uri].etag:
                reasons[uri] = "it has changed since it was converted"
        if reasons:
            return reasons
        before = counts_of(self._ledger, uris)
        with ThreadPoolExecutor(workers, "flowconv-recount") as pool:
            progress = RunProgress(total_objects=len(uris), total_bytes=0)
            count = partial(self._count_rows, progress.add)
            try:
                counted = list(pool.map(count, uris, (before[uri][1] for uri in uris)))
            finally:
                progress.stop()
        rows = 0
        for uri, now in zip(uris, counted, strict=True):
            then, formats = before[uri]
            if isinstance(now, str):
                reasons[uri] = now
            elif at_least is None and now.lines != then.lines:
                reasons[uri] = f"it has {now.lines:,} lines, and had {then.lines:,}"
            elif at_least is None and now.rows < then.rows and len(formats) <= 1:
                reasons[uri] = f"it has {now.rows:,} rows, and had {then.rows:,}"
            else:
                rows += now.rows
        if not reasons and at_least and rows < at_least:
            reasons[uris[0]] = f"all have {rows:,} rows, and had {at_least:,}"
        return reasons

    def _count_rows(
        self, go_on: Callable[[], None], uri: str, formats: Sequence[str]
    ) -> LineCounts | str:
        """Return an object's lines by kind as it is now, or why it cannot be read."""
        assert self._logs is not None
        # With several formats, only the log group says which one a message was read by.
        names = formats[0] if formats else ""
        declared = declared_formats(names or None, allow_unknown_fields=names.split())
        try:
            return _parse(self._logs, self._listed[uri], declared, go_on)
        except UnreadableObjectError as error:
            return error.reason.removesuffix(".")

    def check_names(self) -> Iterator[Problem]:
        """Compare the listed objects with the converted ones."""
        for uri, reason in self._unlisted.items():
            yield object_problem("not-listed", uri, reason.removesuffix("."))
        for uri, log_object in self._listed.items():
            etag, _ = self._converted.get(uri, (None, 0))
            if self._expired.has_object(log_object):
                continue  # Converted or not, changed or not: no row of it is to be in the lake.
            if etag is None:
                found = f"an object of {log_object.size_bytes:,} bytes that was not converted"
                yield object_problem("not-converted", uri, found)
            elif etag != log_object.etag:
                found, expected = f"etag {log_object.etag}", f"{etag}, as it was converted"
                yield object_problem("changed", uri, found, expected)

    def line_checks(self) -> list["LineCheck"]:
        """Return the checks of the objects that have not changed."""
        return [
            LineCheck(log_object, self._converted[uri][1])
            for uri, log_object in self._listed.items()
            if self._converted.get(uri, (None, 0))[0] == log_object.etag
        ]


@dataclass(frozen=True, slots=True)
class LineCheck:
    """An object's lines are counted and compared with the number that it had."""

    log_object: LogObject
    lines: int

    @property
    def size_bytes(self) -> int:
        """See `Check`."""
        return self.log_object.size_bytes

    def run(self, opened: Opened, go_on: Callable[[], None]) -> Checked:
        """See `Check`."""
        assert opened.logs
        kind: ProblemKind = "unreadable-object"
        lines = 0
        unanswered = False
        try:
            lines = count_lines(opened.logs, self.log_object, go_on, opened.requests)
        except UnreadableObjectError as error:
            found, unanswered = error.reason, error.unanswered
        except (FlowconvError, Stopped):
            raise
        except Exception as error:  # noqa: BLE001 - decoders raise anything for damaged data
            found = f"damaged data ({str(error) or type(error).__name__})"
        else:
            if lines == self.lines:
                return Checked(lines=lines)
            kind, found = "wrong-lines", f"{lines:,} lines"
        wanted = f"{self.lines:,} lines, as when it was converted"
        problem = object_problem(kind, self.log_object.uri, found.removesuffix("."), wanted)
        return Checked((problem,), lines, unanswered)


def requests_ahead(logs: Source | None, checks: Iterable[Check]) -> Requests | None:
    """Return what gives the requests of the checks' objects, ahead of them; None locally."""
    if logs is None or logs.is_local:
        return None
    objects = [check.log_object for check in checks if isinstance(check, LineCheck)]
    return FetchedAhead(logs, objects).requests


class FetchedAhead:
    """Fetches objects of a source before they are asked for, in about their order.

    Args:
        logs: The source.
        log_objects: Each is asked for once.
    """

    def __init__(self, logs: Source, log_objects: Iterable[LogObject]) -> None:
        self._logs = logs
        self._rest = iter(log_objects)
        self._begun: dict[str, tuple[Future[bytes] | None, Iterator[Callable[[], Future[bytes]]]]]
        self._begun = {}
        self._begun_bytes = 0
        self._mutex = threading.Lock()

    def requests(self, log_object: LogObject) -> Iterator[Callable[[], Future[bytes]]]:
        """Give an object's requests, as `Source.requests`; the first is under way."""
        with self._mutex:
            while log_object.uri not in self._begun or self._has_room():
                following = next(self._rest, None)
                if following is None:
                    break
                requests = self._logs.requests(following)
                request = next(requests, None)
                self._begun[following.uri] = request and request(), requests
                self._begun_bytes += min(PIECE_BYTES, following.size_bytes)
            first, rest = self._begun.pop(log_object.uri)
            self._begun_bytes -= min(PIECE_BYTES, log_object.size_bytes)
        if first is not None:
            yield lambda: first
        yield from rest

    def _has_room(self) -> bool:
        return len(self._begun) < AHEAD_OBJECTS and self._begun_bytes < AHEAD_BYTES


def count_lines(
    logs: Source,
    log_object: LogObject,
    go_on: Callable[[], None],
    requests: Requests | None = None,
) -> int:
    """Count an object's lines of all kinds, or its rows if it is Parquet.

    `go_on` is called for each piece, and raises if verifying is to end. `requests` gives the
    object's requests, if `logs` does not.

    Raises:
        UnreadableObjectError: It cannot be fetched, or its JSON or Parquet cannot be read.
        Exception: Whatever the decoders of gzip and Parquet raise for damaged data.
    """
    text: Any = io.BufferedReader(_Pieces((requests or logs.requests)(log_object)), PIECE_BYTES)
    for _ in range(2):
        # Firehose compresses compressed records again.
        if text.peek(2)[:2] == b"\x1f\x8b":
            text = gzip.GzipFile(fileobj=text, mode="rb")
    if text.peek(4)[:4] == b"PAR1":
        with tempfile.TemporaryFile() as file:
            while piece := text.read(PIECE_BYTES):
                go_on()
                file.write(piece)
            check_footer(file)
            check_gaps(file, read_footer(file).groups)
            return int(pq.ParquetFile(file).metadata.num_rows)
    lines = size = 0
    last = b""
    while piece := text.read(PIECE_BYTES):
        go_on()
        if size == 0 and _JSON.match(piece):
            return _count_messages(logs, log_object, go_on)
        lines += piece.count(b"\n")
        size += len(piece)
        last = (last + piece)[-3:]
    # The last line may lack its newline; a byte order mark alone is none.
    return lines + (size > 0 and last[-1:] != b"\n" and (size, last) != (3, codecs.BOM_UTF8))


# Blank lines and comments may precede the JSON.
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r]*(?:#[^\n]*)?\n)*[ \t\r]*\{")


def _count_messages(logs: Source, log_object: LogObject, go_on: Callable[[], None]) -> int:
    """Count the lines in messages; the format does not matter."""
    return _parse(logs, log_object, declared_formats("default"), go_on).lines


def _parse(
    logs: Source, log_object: LogObject, declared: DeclaredFormats, go_on: Callable[[], None]
) -> LineCounts:
    """Read an object as a run would, and count its lines by kind."""
    # Here: most objects are counted without what parses them.
    from flowconv.rows.extracting import extract

    total = LineCounts()
    with closing(ObjectFetcher(logs, [log_object])) as fetcher:
        for _, parsed in extract([log_object], fetcher.open, declared, must_fit=False):
            go_on()
            total = sum((counts for _, counts in parsed.counts), total)
    return total


class _Pieces(io.RawIOBase):
    """An object as a file object, fetched as it is read."""

    def __init__(self, requests: Iterator[Callable[[], Future[bytes]]]) -> None:
        self._requests = requests
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._piece and (request := next(self._requests, None)):
            self._piece = memoryview(request().result())
        view = memoryview(buffer)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count
