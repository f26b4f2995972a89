"""Days, sizes, choices and storage options as people write them."""

from datetime import date

import pytest

from flowconv.errors import UsageError
from flowconv.values import check_choice, parse_day, parse_size, parse_storage_options

TODAY = date(2026, 3, 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("csv", "--shape: 'csv' is not one of header, parquet."),
        ("Parquet", "--shape: 'Parquet' is not one of header, parquet. Did you mean parquet?"),
        ("", "--shape: '' is not one of header, parquet."),
    ],
)
def test_choices(value: str, message: str) -> None:
    check_choice("parquet", ("header", "parquet"), "--shape")
    with pytest.raises(UsageError) as raised:
        check_choice(value, ("header", "parquet"), "--shape")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-01-14", date(2026, 1, 14)),
        ("today", TODAY),
        ("yesterday", date(2026, 2, 28)),
        ("0d", TODAY),
        ("2d", date(2026, 2, 27)),
        ("365d", date(2025, 3, 1)),
    ],
)
def test_days(text: str, day: date) -> None:
    assert parse_day(text, today=TODAY) == day


@pytest.mark.parametrize(
    "text", ["", "d", "-1d", "2 d", "1w", "2026-02-30", "14.1.2026", "tomorrow", "٢d"]
)
def test_no_days(text: str) -> None:
    with pytest.raises(UsageError, match="is not a day"):
        parse_day(text, today=TODAY)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1000000", 1_000_000),
        ("1B", 1),
        ("10k", 10_000),
        ("256MB", 256_000_000),
        ("256 MB", 256_000_000),
        ("600M", 600_000_000),
        ("1.5GB", 1_500_000_000),
        ("2tb", 2_000_000_000_000),
        (" 1G ", 1_000_000_000),
        ("256MiB", 256 << 20),
        ("1.5GiB", 3 << 29),
        ("64ki", 64 << 10),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "1,5GB", "1e6", "1XB", "1.GB", "1IB", "0x10", "all", "1" * 400, "٢MB"]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


def test_storage_options() -> None:
    pairs = ["anon=true", "endpoint_url=http://x/?a=b", "key="]
    expected = {"anon": "true", "endpoint_url": "http://x/?a=b", "key": ""}
    assert parse_storage_options(pairs) == expected


def test_a_storage_option_has_one_value() -> None:
    with pytest.raises(UsageError, match="given twice") as raised:
        parse_storage_options(["secret=hush", "secret=hush2"])
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("pair", ["hush", "=hush", ""])
def test_no_storage_options(pair: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE") as raised:
        parse_storage_options([pair])
    assert "hush" not in str(raised.value)
