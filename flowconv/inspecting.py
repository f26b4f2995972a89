"""Looks into one object and says what it holds, without writing anything."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats, declared_formats
from flowconv.blocks.formats import LogFormat
from flowconv.blocks.shapes import SIGNS, Shape
from flowconv.errors import FormatError, UnreadableObjectError, UsageError
from flowconv.notebooks import InNotebooks
from flowconv.rows.batch import ParsedBlock, RejectedLine
from flowconv.rows.extracting import extract
from flowconv.rows.normalising import normalise
from flowconv.source.fetching import ObjectFetcher
from flowconv.source.opening import StorageSource
from flowconv.storage.opening import open_storage

# An object may have millions of bad lines; these many are kept.
_MOST_REJECTED = 1000


@dataclass(slots=True, kw_only=True, repr=False)
class Inspection(InNotebooks):
    """What an object holds.

    Attributes:
        uri: The object.
        size_bytes: Its size as it is stored.
        shape: How the logs lie in it, recognised from its content; None if that cannot be told.
        lines: Its lines by kind.
        formats: The fields that its headers name, or that were declared, in the order in which
            they come.
        records: The first records: column -> value, columns as in the table.
        rejected: The first thousand lines that do not fit.
        unreadable: Why the object cannot be read whole, if it cannot.
    """

    uri: str
    size_bytes: int
    shape: Shape | None = None
    lines: LineCounts = field(default_factory=LineCounts)
    formats: list[LogFormat] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[RejectedLine] = field(default_factory=list)
    unreadable: str | None = None

    @property
    def complete(self) -> bool:
        """The object can be read, and every line of it fits."""
        return self.unreadable is None and self.lines.rejected == 0

    @property
    def sign(self) -> str | None:
        """By what the shape was recognised."""
        return self.shape and SIGNS[self.shape]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times are ISO 8601."""
        return {
            "uri": self.uri,
            "size_bytes": self.size_bytes,
            "shape": self.shape,
            "sign": self.sign,
            "unreadable": self.unreadable,
            "lines": {"lines": self.lines.lines, **self.lines._asdict()},
            "formats": [
                {
                    "table": str(format_.table),
                    "fields": [f.name for f in format_.fields],
                    "unknown_fields": [f.name for f in format_.unknown_fields],
                    "left_out_columns": list(format_.left_out_columns),
                }
                for format_ in self.formats
            ],
            "records": [
                {column: _plain(value) for column, value in record.items()}
                for record in self.records
            ],
            "rejected": [
                {"line": line.line, "reason": line.reason, "field": line.field}
                for line in self.rejected
            ],
        }


def inspect_object(
    uri: str,
    *,
    format: str | None = None,
    formats: str | DeclaredFormats | None = None,
    allow_unknown_fields: Sequence[str] = (),
    rows: int = 5,
    options: Mapping[str, str] | None = None,
) -> Inspection:
    """Read one object whole and say what it holds.

    Args:
        uri: A file or an `s3://` URL of one object.
        format: Its fields if it has no header, as for `ConvertOptions.format`.
        formats: A TOML file of formats, as for `ConvertOptions.formats`; or what is in it and in
            the format, for many objects.
        allow_unknown_fields: As for `ConvertOptions.allow_unknown_fields`.
        rows: Number of records to return.
        options: Storage options, as for `ConvertOptions.source_options`.

    Raises:
        UsageError: It is a folder or prefix, or the format is not valid.
        StorageError: The storage does not answer.
    """
    if not isinstance(formats, DeclaredFormats):
        formats = declared_formats(format, formats, allow_unknown_fields=allow_unknown_fields)
    source = StorageSource(open_storage(uri, options or {}), options)
    log_objects = list(source.list_objects())
    if [o.uri for o in log_objects] != [source.root]:
        raise UsageError(
            "this is not a single object; inspect reads one at a time.", uri=source.root
        )
    inspection = Inspection(uri=source.root, size_bytes=log_objects[0].size_bytes)
    try:
        with closing(ObjectFetcher(source, log_objects)) as fetcher:
            for block, parsed in extract(log_objects, fetcher.open, formats):
                inspection.shape = inspection.shape or block.shape
                _add(inspection, parsed, rows)
    except UnreadableObjectError as error:
        if isinstance(error, FormatError) and error.shape:
            inspection.shape = Shape(error.shape)
        inspection.unreadable = error.reason_with_line
    return inspection


def _add(inspection: Inspection, parsed: ParsedBlock, rows: int) -> None:
    """Add what a block holds, up to `rows` records in all."""
    for _, counts in parsed.counts:
        inspection.lines += counts
    for batch in parsed.batches:
        if batch.format not in inspection.formats:
            inspection.formats.append(batch.format)
        wanted = batch.table.num_rows and rows - len(inspection.records)
        if wanted > 0:
            first = normalise(batch, "timestamp").rows.slice(0, wanted)
            inspection.records += first.to_pylist()
    room = _MOST_REJECTED - len(inspection.rejected)
    inspection.rejected += parsed.rejected[:room]


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
