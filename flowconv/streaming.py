"""read(): flow logs as a stream of Arrow record batches, without writing anything."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date

import pyarrow as pa

from flowconv.blocks.declared_formats import DeclaredFormats, declared_formats
from flowconv.blocks.formats import declared_format
from flowconv.errors import FormatError, UsageError, quote
from flowconv.fields import Table
from flowconv.rows.batch import RejectedLine, bad_line_error
from flowconv.rows.extracting import extract
from flowconv.rows.normalising import FlowBatch, normalise
from flowconv.rows.schema import known_extra_fields, table_schema
from flowconv.source.fetching import ObjectFetcher, requests_ended
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source, open_source
from flowconv.source.patterns import Patterns
from flowconv.source.selection import Selection
from flowconv.values import as_day, take_texts


def read(
    source: str,
    *,
    format: str | None = None,
    formats: str | None = None,
    allow_unknown_fields: Sequence[str] = (),
    table: str = "vpc",
    extra_fields: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    source_options: Mapping[str, str] | None = None,
    on_rejected: Callable[[RejectedLine], None] | None = None,
) -> pa.RecordBatchReader:
    """Read the flow logs below a prefix as a stream of Arrow record batches.

    Nothing is written, and no more than some blocks of text and objects fetched ahead are held in
    memory. Any library that knows Arrow's PyCapsule interface takes the result, such as
    `polars.DataFrame(reader)` or DuckDB.

    Args:
        source: A folder, an object, an `s3://` URL of a bucket, a prefix or an object, or
            `cloudwatch:LOG-GROUP`.
        format: Fields of objects without a header, as for `ConvertOptions.format`.
        formats: A TOML file of formats, as for `ConvertOptions.formats`.
        allow_unknown_fields: As for `ConvertOptions.allow_unknown_fields`.
        table: `vpc`, or `tgw` for transit gateway logs; records of the other are left out.
        extra_fields: AWS's names of the fields that are wanted beyond those of versions 2 to 5.
            None takes the known ones of all versions.
        since: First day, by the day in the objects' keys.
        until: Last day, included.
        include: Patterns of paths, as for `ConvertOptions.include`.
        exclude: Patterns of paths, as for `ConvertOptions.exclude`.
        source_options: Storage options, as for `ConvertOptions.source_options`.
        on_rejected: Called with each line that does not fit. Without it, the first one raises. An
            object of which no line fits raises at its end.

    Returns:
        Batches in the order of the keys. Columns: the 29 of versions 2 to 5 (tgw: all 36), then
        the extra ones; int32, int64, string, and UTC timestamps in microseconds.

    Raises:
        UsageError: The source or the format is not valid.
        StorageError: The source does not answer, or a folder of it cannot be listed.
        UnreadableObjectError: While the stream is read: an object cannot be read whole, no line
            of it fits, or it has a field beyond `extra_fields`. Rows of it may have been given out
            already if it is larger than a block of 8 MB.
        ParseError: While the stream is read: a line does not fit, and there is no `on_rejected`.
    """
    try:
        wanted = Table(table)
    except ValueError:
        raise UsageError(f"{table!r} is not a table; write vpc or tgw.") from None
    declared = declared_formats(format, formats, allow_unknown_fields=allow_unknown_fields)
    if extra_fields is None:
        extra = known_extra_fields(wanted)
    else:
        extra = (
            declared_format(
                " ".join(take_texts(extra_fields, "extra_fields") or ()), wanted
            ).extra_fields
            if extra_fields
            else ()
        )
    schema = table_schema(wanted, extra_fields=extra)
    logs = open_source(source, source_options)
    selection = Selection(
        since=as_day(since, "since"),
        until=as_day(until, "until"),
        patterns=Patterns(include, exclude),
    )
    listed = logs.list_objects(selection)
    log_objects = sorted(listed, key=lambda o: o.uri)
    batches = _read_batches(logs, log_objects, declared, wanted, schema, on_rejected)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _read_batches(
    logs: Source,
    log_objects: Sequence[LogObject],
    declared: DeclaredFormats,
    table: Table,
    schema: pa.Schema,
    on_rejected: Callable[[RejectedLine], None] | None,
) -> Iterator[pa.RecordBatch]:
    with requests_ended(logs), closing(ObjectFetcher(logs, log_objects)) as fetcher:
        for _, parsed in extract(log_objects, fetcher.open, declared):
            for line in parsed.rejected:
                if on_rejected is None:
                    raise bad_line_error(line)
                on_rejected(line)
            for batch in parsed.batches:
                if batch.format.table is table and batch.table.num_rows:
                    yield from _with_schema(normalise(batch, "timestamp"), schema)


def _with_schema(batch: FlowBatch, schema: pa.Schema) -> list[pa.RecordBatch]:
    rows = batch.rows
    for name in rows.column_names:
        if name not in schema.names:
            raise FormatError(
                f"the header has the field {quote(name)}, which is not asked for. Name it in "
                "extra_fields.",
                uri=batch.sources[0][0].uri,
            )
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(schema.names).to_batches()
