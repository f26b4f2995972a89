"""Stages 3c and 4, Parquet -> blocks of rows -> raw batches.

AWS's own delivery has the types of the table already, and `-` for text that is missing. Copies by
other tools have any: numbers as text, or as fractions since some were missing; accounts as numbers;
times as timestamps.
"""

import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from flowconv.batches import ParsedBlock, RawBatch, RejectedLines, RejectedPart
from flowconv.blocks import BLOCK_BYTES, RowBlock
from flowconv.casting import impossible, in_milliseconds, typed
from flowconv.errors import CorruptObjectError, FormatError, StorageError, quote
from flowconv.fields import MAX_SECONDS, TEXT, TIME_COLUMNS, Field
from flowconv.formats import LogFormat, can_be_name, columns_format, is_known
from flowconv.listing import LogObject
from flowconv.pages import ColumnPages, check_footer, check_gaps, column_pages, rows_at_once
from flowconv.report import LineCounts
from flowconv.shapes import Shape
from flowconv.unpacking import Unpacked

# AWS's files are of 75 MB at the most. What is larger than this lies on disk while it is read.
_SPOOL_BYTES = 32 << 20

_PIECE_BYTES = 1 << 20

# Columns with longer values in their dictionary are decoded to places in it. Where a column's
# dictionary ends and values follow, that takes two and a half times as long.
_LONG_ENTRY = 256

# Large row groups are read so many bytes of a column at once, not whole.
_STREAM_BYTES = 64 << 10

# Four times as many take a twelfth less time, and half as much memory again.
_MOST_ROWS = 16_384

# What pandas writes for a number that is missing, once its column is text.
_NO_NUMBER = ["-", "None", "NaN", "nan", ""]

_TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

# A column of whatever type Parquet has.
_Column = Any


def read_row_groups(log_object: LogObject, data: Unpacked) -> Iterator[RowBlock]:
    """Read an object of Parquet: its columns by their names, as a header's.

    Args:
        log_object: The object.
        data: Its bytes, from the beginning.

    Raises:
        UnreadableObjectError: The object could not be read, or is damaged; none of its columns is
            known, two are one field, or one has a type that its field cannot have.
        StorageError: There is no room for it among the temporary files.
    """
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
        _spool(data, file)
        try:
            yield from _read(log_object, file, data)
        except FormatError as error:
            error.uri, error.shape = log_object.uri, Shape.PARQUET
            raise
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            what = str(error).partition("\n")[0][:200]
            raise CorruptObjectError(
                f"the Parquet data is damaged or cannot be read ({what}). Nothing of this object "
                "was converted; copy it anew.",
                uri=log_object.uri,
            ) from error


def parse_rows(block: RowBlock) -> ParsedBlock:
    """Give columns the types of their fields; rows with a value that does not fit are rejected."""
    format_ = block.format
    stored = {name: _one_by_one(block.rows[name]) for name in format_.columns}
    columns: dict[str, _Column] = {}
    bad: dict[int, tuple[str, str | None]] = dict.fromkeys(block.damaged, ("not-json", None))
    for field in format_.fields:
        columns[field.column], reasons = _typed(stored[field.column], field)
        for row, reason in reasons.items():
            bad.setdefault(row, (reason, field.name if field.version else None))
    table = pa.table(columns)
    lines = np.arange(block.first_row, block.first_row + table.num_rows)
    rejected = sorted(bad)
    if rejected:
        kept = np.ones(table.num_rows, bool)
        kept[rejected] = False
        table, lines = table.filter(pa.array(kept)), lines[kept]
    counts = LineCounts(
        rows=table.num_rows, rejected=len(rejected), milliseconds=in_milliseconds(table).size
    )
    texts = (
        [block.texts[row] for row in rejected]
        if block.texts
        else list(_texts(pa.table(stored).take(pa.array(rejected, pa.int64())), format_))
    )
    return ParsedBlock(
        (RawBatch(format_, table, ((block.log_object, table.num_rows),), lines),),
        ((block.log_object, counts),),
        _rejected_rows(block, rejected, [bad[row] for row in rejected], texts),
    )


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


def _spool(data: Unpacked, file: IO[bytes]) -> None:
    """Copy an object to where it can be read in any order."""
    room = memoryview(bytearray(_PIECE_BYTES))
    while count := data.readinto(room):
        try:
            file.write(room[:count])
        except OSError as error:
            raise StorageError(
                "a Parquet object does not fit into the folder for temporary files, "
                f"{tempfile.gettempdir()} ({error.strerror}). Make room, or set TMPDIR to another."
            ) from error
    file.seek(0)


def _read(log_object: LogObject, file: IO[bytes], data: Unpacked) -> Iterator[RowBlock]:
    check_footer(file)
    parquet = pq.ParquetFile(file, page_checksum_verification=True)
    metadata = parquet.metadata
    check_gaps(file, metadata)
    format_, names = _recognise(parquet.schema_arrow)
    groups = list(column_pages(file, metadata, names))
    # Thousands of rows may have one long value: it is decoded once.
    coded = {c.name for columns in groups for c in columns if c.longest_entry > _LONG_ENTRY}
    large = any(metadata.row_group(n).total_byte_size > BLOCK_BYTES for n in range(len(groups)))
    parquet = pq.ParquetFile(
        file,
        metadata=metadata,
        read_dictionary=sorted(coded),
        buffer_size=_STREAM_BYTES if large else 0,
        page_checksum_verification=True,
    )
    schema = parquet.schema_arrow
    coded = {name for name in coded if types.is_dictionary(schema.field(name).type)}
    waiting = _named(schema.empty_table().select(names), format_)
    first_row, waiting_bytes = 1, 0
    for number, columns in enumerate(groups):
        longest = _longest_value(parquet, number, columns)
        rows = rows_at_once(columns, _MOST_ROWS, coded, longest)
        for batch in parquet.iter_batches(rows, [number], columns=names, use_threads=False):
            batch.validate(full=True)
            for piece, size_bytes in _pieces(pa.Table.from_batches([batch]).select(names)):
                data.count(size_bytes)
                if waiting.num_rows:
                    yield RowBlock(log_object, waiting, format_, first_row, False, waiting_bytes)
                first_row += waiting.num_rows
                waiting, waiting_bytes = _named(piece, format_), size_bytes
    if (count := first_row - 1 + waiting.num_rows) != metadata.num_rows:
        raise pa.ArrowInvalid(f"it has {count} rows, and names {metadata.num_rows}")
    yield RowBlock(log_object, waiting, format_, first_row, True, waiting_bytes)


def _longest_value(parquet: pq.ParquetFile, number: int, columns: Sequence[ColumnPages]) -> int:
    """Return the length of the longest value of those that each begin as the one before.

    Nothing but decoding them tells.
    """
    longest = 0
    for column in columns:
        if not column.delta_page_bytes:
            continue
        rows = rows_at_once([column], _MOST_ROWS, ())
        for batch in parquet.iter_batches(rows, [number], columns=[column.name]):
            values: Any = _one_by_one(batch.column(0))
            most = pc.max(pc.binary_length(values)).as_py()
            longest = max(longest, most or 0)
            if longest > BLOCK_BYTES:
                raise _row_too_long()
    return longest


def _pieces(rows: pa.Table) -> Iterator[tuple[pa.Table, int]]:
    """Cut rows so that those of a piece take no more than a block, once they lie one by one.

    Yields:
        Pieces, and how many bytes they take then.
    """
    most = rows.nbytes
    for column in rows.columns:
        chunks: list[Any] = column.chunks
        for chunk in chunks:
            if types.is_dictionary(chunk.type) and _has_length(chunk.dictionary.type):
                longest: Any = pc.max(pc.binary_length(chunk.dictionary)).as_py()
                most += (longest or 0) * len(chunk)
    if most <= BLOCK_BYTES:
        yield rows, int(most)
        return
    lengths = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        lengths += _lengths(column)
    if lengths.size and lengths.max() > BLOCK_BYTES:
        raise _row_too_long()
    start = 0
    ends = np.cumsum(lengths)
    while start < rows.num_rows:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK_BYTES, "right")))
        yield rows.slice(start, stop - start), int(ends[stop - 1] - before)
        start = stop


def _lengths(column: _Column) -> Any:
    """Return how many bytes the values of a column take, each on its own."""
    parts = []
    for chunk in column.chunks:
        if types.is_dictionary(chunk.type) and _has_length(chunk.dictionary.type):
            values = pc.fill_null(pc.binary_length(chunk.dictionary), 0)
            part = pc.fill_null(pc.take(values, chunk.indices), 0)
        elif _has_length(chunk.type):
            part = pc.fill_null(pc.binary_length(chunk), 0)
        else:
            part = pa.array(np.full(len(chunk), -(-chunk.nbytes // max(len(chunk), 1))))
        parts.append(np.asarray(part.to_numpy(zero_copy_only=False), np.int64) + 8)
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _has_length(type_: Any) -> bool:
    return _is_text(type_) or _is_binary(type_)


def _row_too_long() -> FormatError:
    return FormatError(
        f"a row of more than {BLOCK_BYTES >> 20} MB is no record of a flow log. "
        "Leave this object out with --exclude."
    )


def _recognise(schema: pa.Schema) -> tuple[LogFormat, list[str]]:
    """Return the fields of a file, and the names of their columns.

    Raises:
        FormatError: No column is known, two are one field, or one cannot be its field.
    """
    names: list[str] = []
    left_out: list[str] = []
    for column in schema:
        may_be_field = can_be_name(column.name) and _is_simple(column.type)
        read = is_known(column.name) or may_be_field
        (names if read else left_out).append(column.name)
    if both := set(names).intersection(left_out):
        raise FormatError(f"there are two columns {quote(min(both))}.")
    format_ = columns_format(names, left_out)
    for name, field in zip(names, format_.fields, strict=True):
        type_: Any = schema.field(name).type
        fits = _is_plain(type_) or (types.is_timestamp(type_) and field.column in TIME_COLUMNS)
        if is_known(name) and not fits:
            raise FormatError(
                f"column {quote(name)} has the type {quote(str(type_))}, which {field.name} cannot "
                "have; numbers and text are read. Leave it out with --exclude."
            )
    return format_, names


def _is_simple(type_: Any) -> bool:
    """Tell whether a field that AWS does not document may have a type."""
    return _is_plain(type_) or types.is_boolean(type_) or types.is_date(type_)


def _is_plain(type_: Any) -> bool:
    """Tell whether any field may have a type: all that numbers and text become in copies."""
    if types.is_dictionary(type_):
        type_ = type_.value_type
    return (
        types.is_null(type_)
        or types.is_integer(type_)
        or types.is_floating(type_)
        or types.is_decimal(type_)
        or _is_text(type_)
        or _is_binary(type_)
    )


def _is_text(type_: Any) -> bool:
    return types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)


def _is_binary(type_: Any) -> bool:
    return (
        types.is_binary(type_)
        or types.is_large_binary(type_)
        or types.is_binary_view(type_)
        or types.is_fixed_size_binary(type_)
    )


def _named(rows: pa.Table, format_: LogFormat) -> pa.Table:
    return rows.rename_columns(list(format_.columns))


def _typed(column: _Column, field: Field) -> tuple[_Column, dict[int, str]]:
    """Give a column its field's type; also return the rows that hold no such value, and why."""
    if types.is_timestamp(column.type):
        return _seconds(column)
    if field.type != TEXT and types.is_integer(column.type):
        numbers, bad = _narrowed(column, field)
    elif field.type != TEXT and types.is_floating(column.type):
        numbers, bad = _whole(column, field)
    else:
        text, undecodable = _text(column, field)
        numbers, bad = typed(text, field, strict=True)
        return numbers, undecodable | bad
    return numbers, bad | impossible(numbers, field)


def _narrowed(column: _Column, field: Field) -> tuple[_Column, dict[int, str]]:
    try:
        return column.cast(field.type), {}
    except pa.ArrowInvalid:
        numbers = column.cast(field.type, safe=False)
    wrong: Any = pc.not_equal(numbers.cast(column.type, safe=False), column)
    if types.is_unsigned_integer(column.type):
        wrong = pc.or_(wrong, pc.less(numbers, pa.scalar(0)))
    return numbers, _reasons(wrong, "out-of-range")


def _whole(column: _Column, field: Field) -> tuple[_Column, dict[int, str]]:
    column = _without_nan(column)
    beyond = pa.scalar(2.0 ** (field.type.bit_width - 1))
    whole: Any = _is_whole(column)
    fits = pc.and_(pc.less(column, beyond), pc.greater_equal(column, pc.negate(beyond)))
    numbers = pc.if_else(pc.and_(whole, fits), column, None).cast(field.type)
    bad = _reasons(pc.invert(fits), "out-of-range") | _reasons(pc.invert(whole), "not-a-number")
    return numbers, bad


def _seconds(column: _Column) -> tuple[_Column, dict[int, str]]:
    ticks = column.cast(pa.int64())
    seconds: Any = pc.divide(ticks, pa.scalar(_TICKS_PER_SECOND[column.type.unit]))
    wrong = pc.or_(pc.less(ticks, pa.scalar(0)), pc.greater(seconds, pa.scalar(MAX_SECONDS)))
    return seconds, _reasons(wrong, "out-of-range")


def _reasons(wrong: _Column, reason: str) -> dict[int, str]:
    rows: list[Any] = pc.indices_nonzero(wrong).to_pylist()
    return dict.fromkeys(rows, reason)


def _text(column: _Column, field: Field) -> tuple[_Column, dict[int, str]]:
    """Write values as a log has them, with nulls for `-`; also return those that are no text."""
    type_ = column.type
    bad: dict[int, str] = {}
    if _is_text(type_):
        text = column.cast(TEXT)
    elif _is_binary(type_):
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
    if field.name.endswith("account-id") and not (_is_text(type_) or _is_binary(type_)):
        # Whoever made numbers of them lost the zeros.
        number: Any = pc.match_substring_regex(text, "^[0-9]+$")
        text = pc.if_else(number, pc.ascii_lpad(text, 12, "0"), text)
    missing: Any = pc.equal(text, pa.scalar("-"))
    if field.type != TEXT:
        missing = pc.is_in(text, pa.array(_NO_NUMBER))
    if pc.any(missing).as_py():
        text = pc.if_else(missing, None, text)
    return text, bad


def _decoded(column: _Column) -> tuple[_Column, dict[int, str]]:
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


def _one_by_one(column: _Column) -> _Column:
    """Return a column of values that stand one by one, neither in a dictionary nor as views."""
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_string_view(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if types.is_binary_view(column.type) else column


def _without_nan(column: _Column) -> _Column:
    column = column.cast(pa.float64())
    return pc.if_else(pc.is_nan(column), None, column)


def _is_whole(column: _Column) -> _Column:
    return pc.and_(pc.is_finite(column), pc.equal(pc.floor(column), column))


def _texts(rows: pa.Table, format_: LogFormat) -> Iterator[bytes]:
    """Write rows as lines of a log."""
    columns = []
    for field in format_.fields:
        column = rows[field.column]
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
