"""read(): flow logs as a stream of Arrow record batches, without writing anything."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.fields import Table
from flowconv.option_values import available_cores
from flowconv.options import ReadOptions
from flowconv.rows.batch import ParsedBlock, RejectedLine, RejectedLines, bad_line_error
from flowconv.rows.extracting import extract
from flowconv.rows.normalising import FlowBatch, normalise
from flowconv.rows.schema import table_schema, with_encoded_texts
from flowconv.running import iterate_in_order
from flowconv.source.fetching import ObjectFetcher, requests_ended
from flowconv.source.keys import LogObject
from flowconv.source.opening import Source, open_source
from flowconv.source.selection import Selection
from flowconv.values import require

# As stored: small objects give one or two blocks of text together, and a large one is alone.
_GROUP_BYTES = 1 << 20

# Of each object or group: the other cores go on while the first is asked for its batches.
_BATCHES_AHEAD = 8

# Most blocks are one batch.
_BATCH_ROWS = 1 << 17


def read(
    source: str | os.PathLike[str],
    options: ReadOptions | None = None,
    *,
    on_rejected: Callable[[RejectedLine], None] | None = None,
) -> pa.RecordBatchReader:
    """Read the flow logs below a prefix as a stream of Arrow record batches.

    Nothing is written. All cores read, and for each no more than some blocks of text and objects
    fetched ahead are held in memory. Any library that knows Arrow's PyCapsule interface takes the
    result, such as `polars.DataFrame(reader)` or DuckDB.

    Args:
        source: A folder, an object, an `s3://` URL of a bucket, a prefix or an object, or
            `cloudwatch:LOG-GROUP`.
        options: What is read of it; by default all records of VPC flow logs.
        on_rejected: Called with each line that does not fit. Without it, the first one raises. An
            object of which no line fits raises at its end.

    Returns:
        Batches in the order of the keys, with the columns that a lake has: int32, int64, UTC
        timestamps in microseconds, and text as dictionary arrays of strings (`Categorical` in
        polars), whose dictionaries differ from batch to batch.

    Raises:
        UsageError: The source or the format is not valid.
        StorageError: The source does not answer, or a folder of it cannot be listed.
        UnreadableObjectError: While the stream is read: an object cannot be read whole, or no line
            of it fits. Rows of it may have been given out already if it is larger than a block of
            8 MiB.
        ParseError: While the stream is read: a line does not fit, and there is no `on_rejected`.
    """
    options = options or ReadOptions()
    require(options, ReadOptions, "options")
    table = Table(options.table)
    declared = options.declared_formats()
    schema = with_encoded_texts(table_schema(table))
    logs = open_source(source, options.source_options)
    selection = Selection(since=options.since, until=options.until, patterns=options.patterns)
    listed = logs.list_objects(selection)
    log_objects = sorted(listed, key=lambda o: o.uri)
    batches = _read_batches(logs, log_objects, declared, table, schema, on_rejected)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _read_batches(
    logs: Source,
    log_objects: Sequence[LogObject],
    declared: DeclaredFormats,
    table: Table,
    schema: pa.Schema,
    on_rejected: Callable[[RejectedLine], None] | None,
) -> Iterator[pa.RecordBatch]:
    def read_group(group: Sequence[LogObject]) -> Generator[_Part, None, None]:
        with closing(ObjectFetcher(logs, group)) as fetcher:
            for _, parsed in extract(group, fetcher.open, declared):
                yield from _parts_of(parsed, table, schema)

    jobs = (partial(read_group, group) for group in _groups(log_objects))
    with requests_ended(logs):
        for part in iterate_in_order(jobs, available_cores(), _BATCHES_AHEAD, logs.give_up):
            for line in part.rejected:
                if on_rejected is None:
                    raise bad_line_error(line)
                on_rejected(line)
            yield from part.batches


@dataclass(frozen=True, slots=True)
class _Part:
    """What a block gives, or a piece of it."""

    rejected: RejectedLines
    batches: Sequence[pa.RecordBatch] = ()


def _groups(log_objects: Sequence[LogObject]) -> Iterator[Sequence[LogObject]]:
    """Cut objects into groups, each of which a core reads from its first to its last."""
    group: list[LogObject] = []
    for log_object in log_objects:
        group.append(log_object)
        if sum(member.size_bytes for member in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _parts_of(parsed: ParsedBlock, table: Table, schema: pa.Schema) -> Iterator[_Part]:
    if parsed.rejected:
        yield _Part(parsed.rejected)
    for batch in parsed.batches:
        if batch.format.table is table:
            for piece in batch.pieces(_BATCH_ROWS):
                yield _Part(RejectedLines(), _with_schema(normalise(piece, "timestamp"), schema))


def _with_schema(batch: FlowBatch, schema: pa.Schema) -> list[pa.RecordBatch]:
    """Return the rows, if there are any, with nulls of the columns' types."""
    types: set[Any] = {*schema.types}
    nulls: dict[Any, Any] = {type_: pa.nulls(batch.rows.num_rows, type_) for type_ in types}
    columns = [
        nulls[field.type] if pa.types.is_null(column.type) else column.cast(field.type)
        for field, column in zip(schema, batch.rows.columns, strict=True)
    ]
    return pa.table(columns, schema=schema).to_batches()
