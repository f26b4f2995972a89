"""AWS's Parquet delivery and copies of it, read as flow logs."""

import datetime as dt
import gzip
import json
import random
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv import ConvertOptions, convert
from flowconv.blocks import parquet_objects
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.reading import read_blocks
from flowconv.blocks.unpacking import Unpacked
from flowconv.errors import CorruptObjectError, FormatError, StorageError
from flowconv.inspecting import inspect_object
from flowconv.rows import parquet_columns
from flowconv.rows.extracting import fail
from support.in_memory import Converted, Stored, assert_as_reference, convert_in_memory, log_object
from support.lakes import ROW, V2, aws_key, read_quarantine, write_objects
from support.shapes import TEXT_VIEW, parquet

DAY = dt.datetime(2026, 1, 14, tzinfo=dt.UTC)
SECONDS = 1768348800
AWS = {
    "version": pa.array([2, 2, None], pa.int32()),
    "account_id": ["012345678901", "-", "unknown"],
    "interface_id": ["eni-1", "eni-2", "-"],
    "srcaddr": ["10.0.0.1", "-", "2001:db8::1"],
    "srcport": pa.array([443, None, 0], pa.int32()),
    "bytes": pa.array([999999999999, None, 0]),
    "start": pa.array([SECONDS, SECONDS + 1, None]),
    "log_status": ["OK", "NODATA", "SKIPDATA"],
}


def read(body: bytes, **how: Any) -> Converted:
    """Read one object, with seconds for times; also held against the oracle."""
    assert_as_reference([body])
    (converted,) = convert_in_memory([body], time_type="epoch", **how)
    return converted


def rows_of(converted: Converted) -> list[dict[str, Any]]:
    """The rows without nulls, unknown fields beside the others."""
    rows = [{k: v for k, v in row.items() if v is not None} for _, _, row in converted.rows]
    return [row | json.loads(row.pop("unknown_fields", "{}")) for row in rows]


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
@pytest.mark.parametrize("packed", [False, True])
def test_delivery(compression: str, packed: bool) -> None:
    body = parquet(AWS, compression=compression)
    got = read(gzip.compress(body) if packed else body)
    assert got.counts == LineCounts(rows=3)
    assert rows_of(got) == [
        {
            "version": 2,
            "account_id": "012345678901",
            "interface_id": "eni-1",
            "srcaddr": "10.0.0.1",
            "srcport": 443,
            "bytes": 999999999999,
            "start": SECONDS,
            "log_status": "OK",
        },
        {"version": 2, "interface_id": "eni-2", "start": SECONDS + 1, "log_status": "NODATA"},
        {
            "account_id": "unknown",
            "srcaddr": "2001:db8::1",
            "srcport": 0,
            "bytes": 0,
            "log_status": "SKIPDATA",
        },
    ]


class Bad(str):
    """The reason why a row is rejected."""


NONE, FAR, NO_TEXT = Bad("not-a-number"), Bad("out-of-range"), Bad("not-utf8")


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        # Numbers of any width.
        ("srcport", pa.array([0, -128, None, 127], pa.int8()), [0, FAR, None, 127]),
        ("srcport", pa.array([65535], pa.uint16()), [65535]),
        ("version", pa.array([2**31 - 1, 2**31, 2**32 - 1], pa.uint32()), [2**31 - 1, FAR, FAR]),
        ("srcport", pa.array([65536, 65543, 2**32 - 1], pa.uint32()), [FAR, FAR, FAR]),
        ("version", pa.array([2**31, -(2**31), -(2**31) - 1, 0]), [FAR, FAR, FAR, 0]),
        ("protocol", pa.array([255, 256, -1, None], pa.int32()), [255, FAR, FAR, None]),
        ("tcp_flags", pa.array([4095, 4096], pa.int64()), [4095, FAR]),
        ("packets", pa.array([0, -1], pa.int64()), [0, FAR]),
        ("bytes", pa.array([7, None], pa.int32()), [7, None]),
        ("bytes", pa.array([2**63 - 1, 2**63, 2**64 - 1], pa.uint64()), [2**63 - 1, FAR, FAR]),
        ("bytes", pa.array([1, None]).dictionary_encode(), [1, None]),
        ("bytes", pa.nulls(2), [None, None]),
        # Fractions, which pandas makes of numbers that may be missing.
        ("bytes", pa.array([1.0, -0.0, float("nan"), None, 0.5]), [1, 0, None, None, NONE]),
        ("bytes", pa.array([float("inf"), -(2.0**53), -float("inf")]), [NONE, FAR, NONE]),
        ("srcport", pa.array([443.0, 1e10, 2.5], pa.float32()), [443, FAR, NONE]),
        ("srcport", pa.array(np.array([443.0], np.float16)), [443]),
        ("bytes", pa.array([Decimal("7.00"), Decimal("7.50"), None]), [7, NONE, None]),
        ("srcport", pa.array([Decimal(7), Decimal(10**10)]), [7, FAR]),
        # Text.
        ("srcport", pa.array(["443", "007", "-1", "-", None]), [443, 7, FAR, None, None]),
        ("srcport", pa.array(["None", "NaN", "nan", ""]), [None] * 4),
        ("srcport", pa.array(["none", "NAN", " 1", "1.0", "0x10", "1\n"]), [NONE] * 6),
        ("srcport", pa.array(["2147483648", "9" * 5000]), [FAR, FAR]),
        (
            "srcport",
            pa.array([b"443", b"-", b"x", b"\xff"], pa.binary()),
            [443, None, NONE, NO_TEXT],
        ),
        ("srcport", pa.array([b"443", b"  1"], pa.binary(3)), [443, NONE]),
        ("srcport", pa.array(["443", "-"], pa.large_string()), [443, None]),
        ("srcport", pa.array(["443", "-"], TEXT_VIEW), [443, None]),
        ("srcport", pa.array(["443", "None", None]).dictionary_encode(), [443, None, None]),
        # Times.
        ("start", pa.array([SECONDS, 0, -1]), [SECONDS, 0, FAR]),
        ("start", pa.array([SECONDS * 1000 + 999, 253402300800000]), [SECONDS, FAR]),
        ("start", pa.array([float(SECONDS), float("nan"), 1.5]), [SECONDS, None, NONE]),
        (
            "start",
            pa.array([f"{SECONDS}", f"{SECONDS}000", "x", ""]),
            [SECONDS, SECONDS, NONE, None],
        ),
        ("end", pa.array([DAY, None]), [SECONDS, None]),
        ("end", pa.array([DAY], pa.timestamp("ms", "UTC")), [SECONDS]),
        ("end", pa.array([DAY], pa.timestamp("us", "Asia/Tokyo")), [SECONDS]),
        ("end", pa.array([SECONDS * 10**9 + 999_999_999], pa.timestamp("ns")), [SECONDS]),
        ("end", pa.array([-1, 0], pa.timestamp("us")), [FAR, 0]),
        (
            "end",
            pa.array([253402300799_999, 253402300800_000], pa.timestamp("ms")),
            [253402300799, FAR],
        ),
        # Text stays as it is.
        (
            "srcaddr",
            pa.array(["a b", "-", "", "None", " x", "#", None]),
            ["a b", None, "", "None", " x", "#", None],
        ),
        ("srcaddr", pa.array(["é", "a\nb"]), ["é", "a\nb"]),
        (
            "srcaddr",
            pa.array([b"a", "é".encode(), b"\xff", None], pa.binary()),
            ["a", "é", NO_TEXT, None],
        ),
        ("srcaddr", pa.array([b"a", b"\xff"], pa.large_binary()), ["a", NO_TEXT]),
        ("srcaddr", pa.array([b"ab", b"\xff\xff"], pa.binary(2)), ["ab", NO_TEXT]),
        ("srcaddr", pa.array(["a", "-", None]).dictionary_encode(), ["a", None, None]),
        ("srcaddr", pa.array([1, -1]), ["1", "-1"]),
        ("instance_tag", pa.array(["a%20b", "%FF", "-"]), ["a b", "%FF", None]),
        # Accounts that lost their zeros.
        (
            "account_id",
            pa.array([12, 123456789012, 0, -1, None]),
            ["000000000012", "123456789012", "000000000000", "-1", None],
        ),
        ("account_id", pa.array([12.0, float("nan"), 0.5]), ["000000000012", None, "0.5"]),
        ("account_id", pa.array([Decimal(12)]), ["000000000012"]),
        ("account_id", pa.array(["12", "unknown", "-"]), ["12", "unknown", None]),
        ("tgw_src_vpc_account_id", pa.array([12]), ["000000000012"]),
        # What AWS does not document is text.
        ("other", pa.array(["a", "-", "", "None"]), ["a", None, "", "None"]),
        ("other", pa.array([12, None]), ["12", None]),
        ("other", pa.array([1.0, 0.5, float("nan"), 2.0**53]), ["1", "0.5", None, f"{2**53}"]),
        ("other", pa.array([Decimal("1.00"), Decimal("-0.25")]), ["1", "-0.25"]),
        ("other", pa.array([True, False, None]), ["true", "false", None]),
        ("other", pa.array([DAY.date(), None]), ["2026-01-14", None]),
    ],
    ids=lambda value: f"{value.type}" if isinstance(value, pa.Array) else None,
)
def test_values(name: str, array: "pa.Array[Any]", expected: list[Any]) -> None:
    got = read(parquet({"interface_id": [str(n) for n in range(len(array))], name: array}))
    numbers = (int(row.get("interface_id", row.get("interface-id", -1))) for row in rows_of(got))
    results = dict(zip(numbers, (row.get(name) for row in rows_of(got)), strict=True))
    for line in got.rejected:
        assert line.field == name.replace("_", "-")
        results[line.line - 1] = Bad(line.reason)
    assert [(type(results[n]), results[n]) for n in range(len(array))] == [
        (type(value), value) for value in expected
    ]
    assert (len(got.rows), got.counts.rejected) == (got.counts.rows, len(got.rejected))


def test_fractions_of_more_than_64_bits() -> None:
    """They stand in the quarantine in another notation than the oracle's."""
    (got,) = convert_in_memory([parquet({"bytes": [2.0**63, -1e300]})])
    assert [(line.reason, line.text) for line in got.rejected] == [
        (FAR, b"9.223372036854776e+18"),
        (FAR, b"-1e+300"),
    ]


def test_rejected_rows() -> None:
    columns = {
        "srcaddr": pa.array([b"a", b"\xff", None, b"b"], pa.binary()),
        "srcport": ["x", "y", "None", "4"],
        "account_id": [7, 8, 9, 10],
        "nested": [[1], [2], [3], [4]],
        "end": pa.array([DAY, DAY, None, DAY]),
        "bytes": [0.5, 1.0, 2.5, 3.0],
        "log_status": pa.array(["OK", "-", "NODATA", "é"], TEXT_VIEW),
    }
    got = read(parquet(columns))
    assert [(r.line, r.reason, r.field, r.text) for r in got.rejected] == [
        (1, "not-a-number", "srcport", b"a x 000000000007 1768348800 0.5 OK"),
        (2, "not-utf8", "srcaddr", b"\xff y 000000000008 1768348800 1 -"),
        (3, "not-a-number", "bytes", b"- - 000000000009 - 2.5 NODATA"),
    ]
    assert got.counts == LineCounts(rows=1, rejected=3)
    assert rows_of(got)[0]["log_status"] == "é"


def test_milliseconds_are_counted() -> None:
    columns = {
        "start": [1768348800000, 5, None, 1768348800000],
        "end": ["-", "6", "1768348800000", "x"],
    }
    got = read(parquet(columns))
    assert got.counts == LineCounts(rows=3, rejected=1, milliseconds=2, far_times=1)
    assert read(parquet({"start": pa.array([DAY], pa.timestamp("ms"))})).counts.milliseconds == 0


# A copy of a flow log has these, whatever was added.
ENOUGH = ("srcaddr", "dstaddr", "interface-id")


@pytest.mark.parametrize(
    ("names", "columns", "left_out"),
    [
        (["account-id", "srcAddr", "LOG_STATUS"], "account_id srcaddr log_status", []),
        (["pkt-src-aws-service", "pktDstaddr"], "pkt_src_aws_service pkt_dstaddr", []),
        (["srcaddr", "az-id", "New-Field", "date"], "srcaddr az_id New-Field date", []),
        (["x", "y", "z", *ENOUGH], "x y z srcaddr dstaddr interface_id", []),
        (
            ["New Field", "a.b", "", "é", *ENOUGH],
            "srcaddr dstaddr interface_id",
            ["New Field", "a.b", "", "é"],
        ),
        (["srcaddr", "az-id", "1", "__level_0"], "srcaddr az_id", ["1", "__level_0"]),
        (["a.b", "a", "srcaddr", "az-id"], "a srcaddr az_id", ["a.b"]),
    ],
)  # fmt: skip
def test_names(tmp_path: Path, names: list[str], columns: str, left_out: list[str]) -> None:
    body = parquet(pa.table([[f"{n}"] for n in range(len(names))], names=names))
    got = read(body)
    kept = [n for n, name in enumerate(names) if name not in left_out]
    assert rows_of(got)[0] == dict(zip(columns.split(), map(str, kept), strict=True))
    (tmp_path / "a.parquet").write_bytes(body)
    (format_,) = inspect_object(str(tmp_path / "a.parquet")).formats
    assert (format_.columns, format_.left_out_columns) == (tuple(columns.split()), tuple(left_out))


def test_transit_gateway() -> None:
    got = read(parquet({"tgw_id": ["tgw-1"], "packets_lost_blackhole": [7], "traffic-path": [1]}))
    assert [table for table, _, _ in got.rows] == ["tgw"]
    assert rows_of(got) == [{"tgw_id": "tgw-1", "packets_lost_blackhole": 7, "traffic-path": "1"}]


OTHER_TYPES = [
    pa.array([[1]]),
    pa.array([{"a": {"b": 1}}]),
    pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
    pa.array([dt.time(1)]),
    pa.array([DAY]),
]


@pytest.mark.parametrize("other", OTHER_TYPES, ids=lambda array: f"{array.type}"[:20])
def test_types_that_no_field_has(other: "pa.Array[Any]") -> None:
    assert rows_of(read(parquet({"other": other, "srcaddr": ["a"]}))) == [{"srcaddr": "a"}]
    failure = read(parquet({"srcport": other, "srcaddr": ["a"]})).failure
    assert isinstance(failure, FormatError)
    assert failure.reason.startswith("column 'srcport' has the type ")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "none of its 0 columns is known"),
        ({"x": ["a"]}, "none of its 1 columns, such as 'x', is known"),
        ({"x": [[1]]}, "none of its 1 columns, such as 'x', is known"),
        ({"uid": [1], "proto": [2]}, "none of its 2 columns, such as 'uid', is known"),
        (
            {"id": [1], "region": [2], "cost": [3]},
            "only 1 of its 3 columns, such as 'region', have",
        ),
        ({"eventversion": [1], "type": [2], "version": [3]}, "only 2 of its 3 columns, such as"),
        ({"start": [1], "end": [2], "user": [3]}, "only 2 of its 3 columns, such as 'start', have"),
        ({"srcaddr": [1], "x": [2], "y": [3]}, "only 1 of its 3 columns, such as 'srcaddr', have"),
        (
            {"class_uid": [4001], "srcaddr": ["a"]},
            "not a flow log of AWS's but OCSF, as Security Lake",
        ),
        ({"srcport": [True]}, "column 'srcport' has the type 'bool'"),
        ({"srcaddr": [True]}, "column 'srcaddr' has the type 'bool'"),
        ({"start": pa.array([DAY.date()])}, "column 'start' has the type 'date32[day]'"),
        ({"bytes": pa.array([DAY])}, "column 'bytes' has the type 'timestamp[us, tz=UTC]'"),
        ({"srcaddr": ["a"], "src_addr": ["b"]}, "column 'srcaddr' twice"),
        ({"srcaddr": ["a"], "az_id": ["d"], "x" * 129: ["b"]}, "a name of 129 characters, 'xxx"),
        (pa.table([["a"], ["b"]], names=["srcaddr", "srcaddr"]), "column 'srcaddr' twice"),
        (
            {f"x{n}": ["a"] for n in range(512)} | {key: ["a"] for key in ENOUGH},
            "at most 512",
        ),
    ],
)
def test_no_flow_logs(columns: Any, message: str) -> None:
    (got,) = convert_in_memory([parquet(columns)])
    assert isinstance(got.failure, FormatError)
    assert message in got.failure.reason
    assert (got.failure.shape, got.failure.uri) == ("parquet", "object-0")
    if columns:
        assert_as_reference([parquet(columns)])


def test_one_name_for_two_columns() -> None:
    """Which of them is meant cannot be said to Arrow; the oracle takes the one that is no list."""
    table = pa.table([["a"]] * 3 + [[[1]]], names=["srcaddr", "az_id", "x", "x"])
    (got,) = convert_in_memory([parquet(table)])
    assert str(got.failure) == "object-0: there are two columns 'x'."


def test_without_rows() -> None:
    got = read(parquet({"srcaddr": pa.array([], pa.string()), "srcport": pa.array([], pa.int64())}))
    assert (got.counts, got.rows, got.failure) == (LineCounts(), [], None)


NUMBERED = {
    "srcport": pa.array(range(1000), pa.int32()),
    "action": [f"{n % 7}" for n in range(1000)],
}


@pytest.mark.parametrize("rows_at_once", [1, 7, 250, 400, 1000])
@pytest.mark.parametrize("spool_bytes", [100, 1 << 20])
def test_row_groups(rows_at_once: int, spool_bytes: int) -> None:
    """Rows keep their numbers; large objects lie on disk meanwhile."""
    body = parquet(NUMBERED, row_group_size=300)
    listed = log_object("a", len(body))
    with (
        mock.patch.object(parquet_objects, "_MOST_ROWS", rows_at_once),
        mock.patch.object(parquet_objects, "_SPOOL_BYTES", spool_bytes),
    ):
        blocks = list(read_blocks([listed], lambda _: Stored(body, 100), DeclaredFormats(), fail))
    assert len(blocks) >= 1000 // rows_at_once
    assert [len(block.ended) for block in blocks] == [0] * (len(blocks) - 1) + [1]
    parsed = [parquet_columns.parse_rows(block) for block in blocks]  # type: ignore[arg-type]
    batches = [batch for extracted in parsed for batch in extracted.batches]
    assert [line for batch in batches for line in batch.lines] == list(range(1, 1001))
    assert [n for batch in batches for n in batch.table["srcport"].to_pylist()] == list(range(1000))
    assert sum(counts.rows for extracted in parsed for _, counts in extracted.counts) == 1000


def test_long_values_make_small_blocks() -> None:
    body = parquet({"x": [f"{n}" * 10_000 for n in range(1000, 1500)], "srcport": [1] * 500})
    listed = log_object("a", len(body))
    blocks = list(read_blocks([listed], lambda _: Stored(body), DeclaredFormats(), fail))
    parsed = [parquet_columns.parse_rows(block) for block in blocks]  # type: ignore[arg-type]
    assert sum(counts.rows for extracted in parsed for _, counts in extracted.counts) == 500
    assert max(block.text_bytes for block in blocks) < 10 << 20


OTHER = {"srcaddr": [f"10.1.0.{n}" for n in range(50)], "dstaddr": ["a"] * 50}


@pytest.mark.parametrize("between", [b"", b"\n"], ids=["", "newline"])
@pytest.mark.parametrize(
    ("first", "second"),
    [(AWS, AWS), (OTHER, AWS), (AWS, OTHER), (OTHER, {"srcaddr": pa.array([], pa.string())})],
    ids=["alike", "large and small", "small and large", "large and without rows"],
)
def test_two_files_in_one(first: Any, second: Any, between: bytes) -> None:
    """Readers know but the second one's footer; its places are those of the first one's pages."""
    (got,) = convert_in_memory([parquet(first) + between + parquet(second)])
    assert got.failure is not None
    if first is second or first is OTHER:
        assert got.failure.reason.startswith("this object is several Parquet files glued")


def test_encrypted() -> None:
    (got,) = convert_in_memory([parquet(AWS)[:-4] + b"PARE"])
    assert "this Parquet is encrypted" in str(got.failure)
    (got,) = convert_in_memory([b"PARE" + parquet(AWS)[4:-4] + b"PARE"])
    assert got.failure is not None


@pytest.mark.parametrize("bits", [(0, 4), (2, 5)])
def test_no_changed_footer_ends_the_process(bits: tuple[int, int]) -> None:
    """pyarrow would: at a codec that it does not know, at histograms that do not fit."""
    whole = parquet({name: AWS[name] for name in ("srcaddr", "bytes", "start")})
    length = int.from_bytes(whole[-8:-4], "little")
    failures = []
    for place in range(len(whole) - 8 - length, len(whole) - 8):
        for bit in bits:
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            (got,) = convert_in_memory([bytes(changed)])
            failures.append(str(got.failure))
    assert len(failures) > 500
    assert any("unknown compression" in failure for failure in failures)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_encodings(version: str) -> None:
    """Pages of every kind are weighed and read."""
    columns = {
        "srcaddr": [f"10.0.{n % 256}.{n // 256}" for n in range(3000)],
        "dstaddr": ["10.0.0.9"] * 3000,
        "action": [None, "ACCEPT", "-"] * 1000,
        "bytes": list(range(3000)),
    }
    wanted = rows_of(read(parquet(columns)))
    how: dict[str, Any] = {"data_page_version": version, "data_page_size": 1000}
    for more in (
        {"use_dictionary": False},
        {"dictionary_pagesize_limit": 1000},
        {"use_dictionary": False, "column_encoding": {"srcaddr": "DELTA_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"srcaddr": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"bytes": "DELTA_BINARY_PACKED"}},
        {"use_dictionary": False, "column_encoding": {"bytes": "BYTE_STREAM_SPLIT"}},
    ):
        assert rows_of(read(parquet(columns, **how, **more))) == wanted


def test_a_row_too_long() -> None:
    for how in ({}, {"use_dictionary": False}):
        body = parquet({"srcaddr": ["a" * (9 << 20), "b"]}, **how)
        (got,) = convert_in_memory([body])
        assert "a row of more than 8 MiB is not a record" in str(got.failure)


def test_bomb() -> None:
    """A few kilobytes that become a hundred megabytes."""
    body = parquet({"srcaddr": ["a" * 10_000] * 10_000})
    assert len(body) < 100_000
    data = Unpacked(log_object("a", len(body)), Stored(body), 50_000_000)
    with pytest.raises(FormatError, match="unpacks to more than 50000000 bytes"):
        list(parquet_objects.read_row_groups(log_object("a"), data))


@pytest.mark.parametrize("end", [4, 8, 20, 100, -100, -8, -4, -1])
def test_truncated(end: int) -> None:
    failure = read(parquet(AWS)[:end]).failure
    assert isinstance(failure, CorruptObjectError)
    assert failure.reason.startswith("the Parquet data is damaged or cannot be read (")
    assert failure.reason.endswith(" Nothing of this object was converted; copy it again.")


def test_text_that_is_none() -> None:
    data = pa.array([b"a", b"\xff"], pa.binary()).buffers()
    failure = read(parquet({"srcaddr": pa.Array.from_buffers(pa.string(), 2, data)})).failure
    assert isinstance(failure, CorruptObjectError)


@pytest.mark.parametrize(("checksums", "least"), [(False, 10), (True, 80)])
def test_flipped_bits(checksums: bool, least: int) -> None:
    """Most damage makes an object unreadable; without checksums of pages it may pass as values."""
    whole = parquet(
        pa.table(NUMBERED).slice(0, 100), row_group_size=30, write_page_checksum=checksums
    )
    rng = random.Random(1)
    unreadable = 0
    for _ in range(100):
        body = bytearray(whole)
        body[rng.randrange(4, len(body) - 1500)] ^= 1 << rng.randrange(8)
        (got,) = convert_in_memory([bytes(body)])
        unreadable += got.failure is not None
        assert got.failure is not None or got.counts.lines == 100
        assert len(got.rows) == got.counts.rows
    assert unreadable >= least


def test_no_room_for_temporary_files() -> None:
    body = parquet(AWS)
    data = Unpacked(log_object("a", len(body)), Stored(body))
    full = mock.Mock(write=mock.Mock(side_effect=OSError(28, "No space left on device")))
    file = mock.MagicMock(__enter__=mock.Mock(return_value=full))
    with (
        mock.patch.object(parquet_objects, "_SPOOL_BYTES", 100),
        mock.patch.object(tempfile, "TemporaryFile", return_value=file),
        pytest.raises(
            StorageError, match=r"\(No space left on device\)\. Make room, or set TMPDIR"
        ),
    ):
        next(parquet_objects.read_row_groups(log_object("a"), data))


def stored(values: st.SearchStrategy[Any], *types: Any) -> st.SearchStrategy["pa.Array[Any]"]:
    """Columns of three values, any of them null."""
    rows = st.lists(st.none() | values, min_size=3, max_size=3)
    columns = st.builds(pa.array, rows, st.sampled_from(types))
    return columns | columns.map(lambda array: array.dictionary_encode())


TOKENS = st.sampled_from(
    ["-", "None", "", "nan", "1", "-5", "0x1", "1768348800000", "99999999999", "é"]
)
SCALARS = [
    stored(TOKENS, pa.string(), pa.large_string()),
    stored(TOKENS.map(str.encode) | st.just(b"\xff"), pa.binary(), pa.large_binary()),
    stored(st.integers(-9, 9), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    stored(st.integers(-(2**63), 2**63 - 1), pa.int64()),
    stored(st.integers(0, 2**64 - 1), pa.uint64()),
    stored(st.integers(0, 2**32 - 1), pa.uint32(), pa.uint64(), pa.int64()),
    stored(st.sampled_from([0.0, -1.0, 1.5, 1e10, float("nan"), 1768348800000.0]), pa.float64()),
    stored(st.sampled_from([0.0, -1.0, 1.5, 1e10, float("nan")]), pa.float32()),
    stored(st.decimals(-999, 10**12, places=2), pa.decimal128(20, 2)),
]  # fmt: skip
TIMES = st.builds(
    pa.array,
    st.lists(st.none() | st.integers(-5, 2 * 10**12), min_size=3, max_size=3),
    st.sampled_from([pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns")]),
)
FIELDS = (
    "version",
    "account_id",
    "srcaddr",
    "srcport",
    "bytes",
    "start",
    "end",
    "instance_tag",
    "x",
)


@settings(max_examples=40)
@given(st.data())
def test_any_columns(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
    columns = {
        name: data.draw(st.one_of([*SCALARS, TIMES] if name in ("start", "end") else SCALARS))
        for name in names
    }
    assert_as_reference([parquet(columns)])


def test_among_other_shapes(tmp_path: Path) -> None:
    """Parquet in AWS's Hive-compatible layout, beside text, in one run; DuckDB reads both sides."""
    hive = (
        "aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/"
        "year={time:%Y}/month={time:%m}/day={time:%d}/"
    )
    delivered = aws_key(layout=hive, hash_="0a0a0a0a")
    delivered = type(delivered)(delivered.path.replace(".log.gz", ".log.parquet"))
    bad = parquet(
        {
            "srcaddr": ["10.0.0.9"] * 2,
            "srcport": ["x", "1"],
            "tags": [["a"]] * 2,
            "owner": ["me"] * 2,
        }
    )
    write_objects(
        tmp_path / "logs",
        {
            delivered: parquet(AWS),
            aws_key(): gzip.compress(V2 + ROW),
            aws_key(hash_="0b0b0b0b"): bad,
            aws_key(hash_="0c0c0c0c"): parquet(AWS)[:-1],
        },
    )
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), ConvertOptions())
    assert report.lines == LineCounts(header=1, rows=5, rejected=1)
    (unreadable,) = report.unreadable
    assert "0c0c0c0c" in unreadable
    assert (report.unknown_fields, report.left_out_columns) == ({"owner"}, {"tags"})
    assert [line[1:] for line in read_quarantine(tmp_path / "lake")] == [
        (1, "not-a-number", "srcport", b"10.0.0.9 x me")
    ]
    names = ", ".join(f"nullif({name}::VARCHAR, '-')" for name in AWS if name != "start")
    source, lake = (
        duckdb.execute(
            f"SELECT {names}, {seconds} FROM read_parquet(?, hive_partitioning = false)",
            [str(path)],
        ).fetchall()
        for seconds, path in (
            ("start", tmp_path / "logs" / delivered.path),
            ("epoch(start)::BIGINT", tmp_path / "lake/vpc/**/*.parquet"),
        )
    )
    text = ("2", "123456789012", "eni-1", "10.0.0.1", "443", "840", "OK", SECONDS)
    beside = (None, None, None, "10.0.0.9", "1", None, None, None)
    assert sorted(map(str, lake)) == sorted(map(str, [*source, text, beside]))
    folders = {path.parent.name for path in (tmp_path / "lake/vpc").rglob("*.parquet")}
    assert folders == {"date=2026-01-14"}
    again = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), ConvertOptions())
    assert (again.objects, again.already_converted) == (0, 3)
