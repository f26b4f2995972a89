"""Stage 4, blocks of rows -> raw batches: columns of any type -> those of their fields.

AWS's own delivery has the types of the table already, and `-` for text that is missing. Copies by
other tools have any: numbers as text, or as fractions since some were missing; accounts as numbers;
times as timestamps.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from flowconv.blocks.block import BlockEnd, RowBlock
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.formats import LogFormat
from flowconv.blocks.parquet_types import Column, is_binary, is_text, one_by_one
from flowconv.fields import MAX_SECONDS, Field
from flowconv.rows.batch import ParsedBlock, RawBatch, RejectedLines, RejectedPart
from flowconv.rows.casting import impossible, in_milliseconds, typed
from flowconv.rows.schema import TEXT, field_type

# What pandas writes for a number that is missing, once its column is text.
_NO_NUMBER = ["-", "None", "NaN", "nan", ""]

_TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def parse_rows(block: RowBlock) -> ParsedBlock:
    """Give columns the types of their fields; rows with a value that does not fit are rejected."""
    format_ = block.format
    columns: dict[str, Column] = {}
    bad: dict[int, tuple[str, str | None]] = dict.fromkeys(block.damaged, ("not-json", None))
    for field in format_.fields:
        columns[field.column], reasons = _typed(block.rows[field.column], field)
        for row, reason in reasons.items():
            bad.setdefault(row, (reason, field.name if field.version else None))
    table = pa.table(columns)
    lines = np.arange(block.first_row, block.first_row + table.num_rows)
    rejected = sorted(bad)
    texts: Sequence[bytes] = ()
    if rejected:
        kept = np.ones(table.num_rows, bool)
        kept[rejected] = False
        table, lines = table.filter(pa.array(kept)), lines[kept]
        texts = _texts_of(block, rejected)
    counts = LineCounts(
        rows=table.num_rows, rejected=len(rejected), milliseconds=in_milliseconds(table).size
    )
    batch = RawBatch(
        format=format_,
        table=table,
        sources=((block.log_object, table.num_rows),),
        lines=lines,
    )
    return ParsedBlock(
        batches=(batch,),
        counts=((block.log_object, counts),),
        rejected=_rejected_rows(block, rejected, [bad[row] for row in rejected], texts),
        end=BlockEnd(format_, block.first_row + block.rows.num_rows),
    )


def _texts_of(block: RowBlock, rows: Sequence[int]) -> list[bytes]:
    if block.texts:
        return [block.texts[row] for row in rows]
    return list(_texts(block.rows.take(pa.array(rows, pa.int64())), block.format))


def _rejected_rows(
    block: RowBlock,
    rows: Sequence[int],
    reasons: Sequence[tuple[str, str | None]],
    texts: Sequence[bytes],
) -> RejectedLines:
    if not rows:
        return RejectedLines()
    edges = np.cumsum([0, *map(len, texts)])
    codes = {reason: code for code, reason in enumerate(dict.fromkeys(reasons))}
    part = RejectedPart(
        text=b"".join(texts),
        starts=edges[:-1].astype(np.int32),
        ends=edges[1:].astype(np.int32),
        numbers=block.first_row + np.array(rows, np.int64),
        log_objects=(block.log_object,),
        places=np.zeros(len(rows), np.int32),
        reasons=tuple(codes),
        codes=np.array([codes[reason] for reason in reasons], np.int16),
        format=block.format,
    )
    return RejectedLines([part])


def _typed(column: Column, field: Field) -> tuple[Column, dict[int, str]]:
    """Give a column its field's type; also return the rows that hold no such value, and why."""
    if field.is_text and types.is_dictionary(column.type) and column.type.value_type == TEXT:
        return _without_dashes(column), {}
    column = one_by_one(column)
    if types.is_timestamp(column.type):
        return _seconds(column)
    if not field.is_text and types.is_integer(column.type):
        numbers, bad = _narrowed(column, field)
    elif not field.is_text and types.is_floating(column.type):
        numbers, bad = _whole(column, field)
    else:
        text, undecodable = _text(column, field)
        numbers, bad = typed(text, field, strict=True)
        return numbers, undecodable | bad
    return numbers, bad | impossible(numbers, field)


def _without_dashes(column: Column) -> Column:
    """Return texts, places in dictionaries, with nulls for `-`."""
    chunks: list[Any] = column.chunks
    return pa.chunked_array([_without_dash(chunk) for chunk in chunks], column.type)


def _without_dash(texts: "pa.DictionaryArray[Any, Any]") -> "pa.DictionaryArray[Any, Any]":
    missing: Any = pc.equal(texts.dictionary, pa.scalar("-"))
    if not pc.any(missing).as_py():
        return texts
    places: Any = pc.if_else(missing.take(texts.indices), None, texts.indices)
    return pa.DictionaryArray.from_arrays(places, texts.dictionary)


def _narrowed(column: Column, field: Field) -> tuple[Column, dict[int, str]]:
    type_ = field_type(field)
    try:
        return column.cast(type_), {}
    except pa.ArrowInvalid:
        numbers = column.cast(type_, safe=False)
    wrong: Any = pc.not_equal(numbers.cast(column.type, safe=False), column)
    if types.is_unsigned_integer(column.type):
        wrong = pc.or_(wrong, pc.less(numbers, pa.scalar(0)))
    return numbers, _reasons(wrong, "out-of-range")


def _whole(column: Column, field: Field) -> tuple[Column, dict[int, str]]:
    column = _without_nan(column)
    type_ = field_type(field)
    beyond = pa.scalar(2.0 ** (type_.bit_width - 1))
    whole: Any = _is_whole(column)
    fits = pc.and_(pc.less(column, beyond), pc.greater_equal(column, pc.negate(beyond)))
    numbers = pc.if_else(pc.and_(whole, fits), column, None).cast(type_)
    bad = _reasons(pc.invert(fits), "out-of-range") | _reasons(pc.invert(whole), "not-a-number")
    return numbers, bad


def _seconds(column: Column) -> tuple[Column, dict[int, str]]:
    ticks = column.cast(pa.int64())
    seconds: Any = pc.divide(ticks, pa.scalar(_TICKS_PER_SECOND[column.type.unit]))
    wrong = pc.or_(pc.less(ticks, pa.scalar(0)), pc.greater(seconds, pa.scalar(MAX_SECONDS)))
    return seconds, _reasons(wrong, "out-of-range")


def _reasons(wrong: Column, reason: str) -> dict[int, str]:
    rows: list[Any] = pc.indices_nonzero(wrong).to_pylist()
    return dict.fromkeys(rows, reason)


def _text(column: Column, field: Field) -> tuple[Column, dict[int, str]]:
    """Write values as a log has them, with nulls for `-`; also return those that are no text."""
    type_ = column.type
    bad: dict[int, str] = {}
    if is_text(type_):
        text = column.cast(TEXT)
    elif is_binary(type_):
        text, bad = _decoded(column)
    elif types.is_floating(type_):
        column = _without_nan(column)
        whole = pc.and_(_is_whole(column), pc.less(pc.abs(column), pa.scalar(2.0**63)))
        integers = pc.if_else(whole, column, None).cast(pa.int64())
        text = pc.if_else(whole, integers.cast(TEXT), column.cast(TEXT))
    elif types.is_decimal(type_):
        text = pc.replace_substring_regex(column.cast(TEXT), r"\.0+$", "")
    else:
        text = column.cast(TEXT)
    if field.name.endswith("account-id") and not (is_text(type_) or is_binary(type_)):
        # Accounts that were made numbers lost their zeros.
        number: Any = pc.match_substring_regex(text, "^[0-9]+$")
        text = pc.if_else(number, pc.ascii_lpad(text, 12, "0"), text)
    missing: Any = pc.equal(text, pa.scalar("-"))
    if not field.is_text:
        missing = pc.is_in(text, pa.array(_NO_NUMBER))
    if pc.any(missing).as_py():
        text = pc.if_else(missing, None, text)
    return text, bad


def _decoded(column: Column) -> tuple[Column, dict[int, str]]:
    try:
        return column.cast(TEXT), {}
    except pa.ArrowInvalid:
        text = column.cast(TEXT, safe=False)
    bad = {}
    for row in pc.indices_nonzero(pc.invert(pc.string_is_ascii(text))).to_pylist():
        try:
            column[row].as_py().decode()
        except UnicodeDecodeError:
            bad[row] = "not-utf8"
    decodable = np.ones(len(text), bool)
    decodable[list(bad)] = False
    return pc.if_else(pa.array(decodable), text, None), bad


def _without_nan(column: Column) -> Column:
    column = column.cast(pa.float64())
    return pc.if_else(pc.is_nan(column), None, column)


def _is_whole(column: Column) -> Column:
    return pc.and_(pc.is_finite(column), pc.equal(pc.floor(column), column))


def _texts(rows: pa.Table, format_: LogFormat) -> Iterator[bytes]:
    """Write rows as lines of a log."""
    columns = []
    for field in format_.fields:
        column = one_by_one(rows[field.column])
        if types.is_timestamp(column.type):
            per_second = _TICKS_PER_SECOND[column.type.unit]
            ticks = column.cast(pa.int64()).to_pylist()
            values = [tick if tick is None else str(tick // per_second).encode() for tick in ticks]
        else:
            text, bad = _text(column, field)
            values = text.cast(pa.binary()).to_pylist()
            for row in bad:
                values[row] = column[row].as_py()
        columns.append([b"-" if value is None else value for value in values])
    return map(b" ".join, zip(*columns, strict=True))
