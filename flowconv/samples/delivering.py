"""Sample records in every shape in which flow logs reach a bucket.

`sampling` makes the records; here they become what AWS's services write: text with a header or
without, exports of CloudWatch Logs, documents of its subscriptions and of Firehose, Parquet.
"""

import random
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Final, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from flowconv.rows.schema import field_type
from flowconv.samples.flow_logs import FlowLog, Place
from flowconv.samples.networks import Network
from flowconv.samples.options import GenerateOptions
from flowconv.samples.sample_records import join_fields, make_records

_EVENTS_PER_DOCUMENT: Final = 500
_LOG_GROUP: Final = "/aws/vpc/flowlogs"

# A byte that no UTF-8 has: what stands for it while lines are text, and half of a pair in JSON.
_NO_UTF8: Final = "\x1a"
_NO_UTF8_IN_JSON: Final = r"\ud800"

# Before all else, CloudWatch Logs asks whether the destination of a subscription is there.
_CONTROL: Final = (
    '{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"",'
    '"subscriptionFilters":[],"logEvents":[{"id":"","timestamp":%d,"message":"CWL CONTROL MESSAGE:'
    ' Checking health of destination Firehose."}]}'
)


class Body(NamedTuple):
    """What an object holds.

    Attributes:
        parts: The members of its gzip, before they are compressed; Parquet is stored as it is.
        text_bytes: Size of its text; of Parquet, that of its values.
        interface_id: Of its first record; None if it has none.
    """

    parts: Sequence[bytes]
    text_bytes: int
    interface_id: str | None


def make_bodies(
    rng: random.Random,
    options: GenerateOptions,
    network: Network,
    log: FlowLog,
    places: Sequence[Place],
) -> Iterator[Body]:
    """Make some objects of a flow log, one for each place, in that order."""
    header = b""
    if options.shape == "header":
        header = (" ".join(f.name for f in log.fields) + "\n").encode()
        if options.records == 0:
            yield from [Body([header], len(header), None)] * len(places)
            return
    records = make_records(rng, options, network, log, [place.end for place in places])
    if options.shape == "parquet":
        table = _typed(network, log, records)
        for i in range(len(places)):
            yield _parquet(table.slice(i * options.records, options.records))
        return

    lines = _join_lines(options, network, log, records, places)
    interfaces = network.sides["interface_id"].gather(records["side"])
    if options.shape == "subscription":
        events = pl.DataFrame({"interface": interfaces, "start": records["start"], "line": lines})
        for i, place in enumerate(places):
            yield _subscription(place, events.slice(i * options.records, options.records))
        return
    for i, text in enumerate(_cut_texts(lines, options.records, len(places))):
        interface_id = interfaces[i * options.records] if options.records else None
        yield Body([header + text], len(header) + len(text), interface_id)


# --- text -----------------------------------------------------------------------------------------


def _join_lines(
    options: GenerateOptions,
    network: Network,
    log: FlowLog,
    records: pl.DataFrame,
    places: Sequence[Place],
) -> pl.Series:
    """Write each record as its shape has it, newline included; as the bare line, if a message."""
    in_json = options.shape in ("subscription", "firehose")
    spaces = "  " if options.double_spaces else " "
    lines = join_fields(log, network.sides, records, spaces, "" if in_json else "\n")
    if options.bad_lines:
        first = [place.number * options.records for place in places]
        numbers = pl.select(
            pl.lit(pl.Series(first, dtype=pl.Int64)).repeat_by(options.records).explode()
            + pl.int_range(len(lines)) % options.records
        ).to_series()
        no_utf8 = _NO_UTF8_IN_JSON if in_json else _NO_UTF8
        lines = _spoil(lines, log, options.bad_lines, numbers, no_utf8)
    if options.shape == "cloudwatch-export":
        times = pl.from_epoch(records["start"]).dt.strftime("%Y-%m-%dT%H:%M:%S.000Z ")
        return times + lines
    if options.shape == "firehose":
        ends = pl.Series(['"}' if place.glued else '"}\n' for place in places], dtype=pl.String)
        place = pl.int_range(len(lines)) // options.records
        message = pl.concat_str(pl.lit('{"message":"'), lines, pl.lit(ends).gather(place))
        return pl.select(message).to_series()
    return lines


def _spoil(
    lines: pl.Series, log: FlowLog, share: float, numbers: pl.Series, no_utf8: str
) -> pl.Series:
    """Make a share of lines bad, evenly spread: too few values, too many, not a number, not UTF-8.

    Args:
        lines: The lines.
        log: Their fields.
        share: How many are to be bad.
        numbers: Of each line among all that are generated; they tell which are bad.
        no_utf8: What stands for a byte that no UTF-8 has.
    """
    line = pl.col("line")
    field = next(i for i, f in enumerate(log.fields) if not f.is_text)
    kinds = (
        line.str.replace(r" +[^ \n]+(\n?)$", "$1"),
        line.str.replace(r"(\n?)$", " extra$1"),
        line.str.replace(rf"^((?:[^ ]+ +){{{field}}})[^ \n]+", "${1}12x"),
        line.str.replace(r"(\n?)$", no_utf8 + "$1"),
    )
    # As many of the first n are bad as `bad_before` says.
    before, after = ((pl.col("number") + i) * round(share * 2**32) // 2**32 for i in (0, 1))
    spoiled = (
        pl.DataFrame({"line": lines, "number": numbers})
        .with_row_index("row")
        .filter(after > before)
        .select("row", pl.coalesce(pl.when(before % 4 == i).then(k) for i, k in enumerate(kinds)))
    )
    return lines.scatter(spoiled["row"], spoiled["line"])


def _cut_texts(lines: pl.Series, records: int, objects: int) -> Iterator[bytes]:
    """Cut lines to the texts of objects."""
    # The lines lie one after another in Arrow's buffer: cut it where objects end.
    array = lines.to_arrow()
    assert isinstance(array, pa.LargeStringArray)
    assert array.offset == 0
    _, offsets_buffer, data_buffer = array.buffers()
    if records == 0 or offsets_buffer is None or data_buffer is None:
        yield from [b""] * objects
        return
    offsets = memoryview(offsets_buffer).cast("q")
    for i in range(0, len(array), records):
        begin, end = offsets[i], offsets[i + records]
        yield data_buffer.slice(begin, end - begin).to_pybytes().replace(_NO_UTF8.encode(), b"\xff")


# --- subscriptions --------------------------------------------------------------------------------


def _subscription(place: Place, events: pl.DataFrame) -> Body:
    """Pack events as Firehose gets them: documents of one log stream each.

    Firehose joins what it gets: documents that came compressed are members of one gzip; had it
    decompress them, there are newlines between.
    """
    milliseconds = (pl.col("start") * 1000).cast(pl.String)
    number = pl.int_range(pl.len()).cast(pl.String).str.zfill(42)
    documents = (
        events.sort("interface", maintain_order=True)
        .with_columns(
            pl.concat_str(
                pl.lit('{"id":"3'),
                milliseconds.str.zfill(13),
                number,
                pl.lit('","timestamp":'),
                milliseconds,
                pl.lit(',"message":"'),
                "line",
                pl.lit('"}'),
            ).alias("event"),
            chunk=pl.int_range(pl.len()).over("interface") // _EVENTS_PER_DOCUMENT,
        )
        .group_by("interface", "chunk", maintain_order=True)
        .agg(pl.col("event").str.join(","))
    )
    texts = [
        '{"messageType":"DATA_MESSAGE",'
        f'"owner":"{place.account}","logGroup":"{_LOG_GROUP}","logStream":"{interface}-all",'
        f'"subscriptionFilters":["flow-logs"],"logEvents":[{joined}]}}'
        for interface, _, joined in documents.iter_rows()
    ]
    if place.first:
        texts.insert(0, _CONTROL % (place.end.timestamp() * 1000))
    parts = [text.encode() for text in texts]
    if not place.glued:
        parts = [b"".join(part + b"\n" for part in parts)]
    interface_id = events["interface"][0] if len(events) else None
    return Body(parts, sum(map(len, parts)), interface_id)


# --- Parquet --------------------------------------------------------------------------------------


def _typed(network: Network, log: FlowLog, records: pl.DataFrame) -> pa.Table:
    """Give records the columns of AWS's Parquet: a missing text is "-", a missing number null."""
    sides = network.sides.with_columns(version=pl.lit(str(log.version)))
    columns = {}
    for field in log.fields:
        varies = field.column in records.columns
        values = records[field.column] if varies else sides[field.column].gather(records["side"])
        typed = values if field.is_text else values.cast(pl.Int64, strict=False)
        columns[field.column] = typed.to_arrow()
    return pa.table(columns).cast(pa.schema([(f.column, field_type(f)) for f in log.fields]))


def _parquet(table: pa.Table) -> Body:
    sink = BytesIO()
    pq.write_table(table, sink, compression="gzip")
    return Body([sink.getvalue()], table.nbytes, None)
