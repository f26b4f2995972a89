"""What a conversion can be told."""

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from flowconv import ConvertOptions, ReadOptions, VerifyOptions
from flowconv.errors import UsageError
from flowconv.options import MB, WORKER_BYTES

TODAY = date(2026, 3, 1)


def test_defaults() -> None:
    options = ConvertOptions()
    assert options.partition_by == ("aws_account_id", "aws_region", "date")
    assert options.time_type == "timestamp"
    assert options.on_bad_line == "quarantine"
    assert options.workers >= 1
    assert options.tasks_at_once == options.workers


@pytest.mark.parametrize(
    "given",
    [
        {"workers": -1},
        {"workers": 1025},
        {"memory_limit": -1},
        {"memory_limit": WORKER_BYTES - 1},
        {"target_file_size": MB - 1},
        {"compression": "brotli"},
        {"time_type": "seconds"},
        {"on_bad_line": "skip"},
        {"since": date(2026, 1, 2), "until": date(2026, 1, 1)},
        {"grace": float("nan")},
        {"grace": float("inf")},
        {"grace": -0.1},
        {"since": "14.1.2026"},
        {"since": 20260114},
        {"until": ""},
        {"workers": "2"},
        {"workers": True},
        {"workers": 2.0},
        {"grace": "10"},
        {"memory_limit": "all"},
        {"memory_limit": 1e9},
        {"format": ["version", "srcaddr"]},
        {"account": 123456789012},
        {"compression": None},
        {"with_source": "no"},
        {"partition_by": 5},
        {"partition_by": (5,)},
        {"partition_by": ()},
        {"partition_by": ("date", "date")},
        {"partition_by": ("day",)},
        {"partition_by": ("start",)},
        {"partition_by": ("end",)},
        {"partition_by": ("account_id",)},  # Its directory would be named as the key's account.
        {"partition_by": ("region",)},
        {"partition_by": ("vpc-id",)},
        {"partition_by": ("new_field",)},
        {"account": ""},
        {"account": "a/b"},
        {"account": "é"},
        {"region": ".."},
        {"region": "x" * 65},
    ],
    ids=str,
)
def test_what_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--") as raised:
        ConvertOptions(**given)
    assert next(iter(given)).replace("_", "-") in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        {"workers": 1024},
        {"memory_limit": WORKER_BYTES},
        {"target_file_size": MB},
        {"since": TODAY, "until": TODAY},
        {"partition_by": ("hour", "vpc_id", "srcport", "traffic_path")},
        {"account": "000000000012", "region": "us-gov-east-1"},
    ],
    ids=str,
)
def test_what_just_can(given: dict[str, Any]) -> None:
    options = ConvertOptions(**given)
    assert all(getattr(options, name) == value for name, value in given.items())


def test_texts_whose_meaning_is_plain(tmp_path: Path) -> None:
    file = tmp_path / "formats.toml"
    file.write_text('default = "default"')
    options = ConvertOptions(
        since="2026-01-14",  # type: ignore[arg-type]
        until=datetime(2026, 1, 15, 23, tzinfo=timezone(timedelta(hours=-2))),
        memory_limit="1GB",  # type: ignore[arg-type]
        quarantine_per_run="20MB",  # type: ignore[arg-type]
        partition_by="date, vpc_id",  # type: ignore[arg-type]
        formats=file,  # type: ignore[arg-type]
    )
    assert (options.since, options.until) == (date(2026, 1, 14), date(2026, 1, 16))
    assert (options.memory_limit, options.quarantine_per_run) == (1000 * MB, 20 * MB)
    assert options.partition_by == ("date", "vpc_id")
    assert options.formats == str(file)


@pytest.mark.parametrize(
    ("workers", "memory", "at_once"),
    [(8, 0, 8), (8, WORKER_BYTES, 1), (8, 3 * WORKER_BYTES + 5, 3), (2, 99 * WORKER_BYTES, 2)],
)
def test_memory_limits_the_workers(workers: int, memory: int, at_once: int) -> None:
    assert ConvertOptions(workers=workers, memory_limit=memory).tasks_at_once == at_once


@pytest.mark.parametrize("options", [ReadOptions, VerifyOptions])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"since": "14.1.2026"}, "--since: '14.1.2026' is not a day"),
        ({"until": 20260114}, "--until: a value of type int is not a day"),
        ({"since": date(2026, 1, 2), "until": date(2026, 1, 1)}, "lies after --until"),
        ({"include": "*.gz"}, r"include: write a list of patterns, such as \['\*.gz'\]"),
        ({"exclude": ("",)}, "--exclude: '' is not a valid pattern"),
        ({"source_options": "anon=true"}, "--source-options: a value of type str is not a mapping"),
    ],
    ids=str,
)
def test_what_a_source_cannot_be_asked_for(
    options: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        options(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": -1}, "--workers: -1 is not in 1 to 1024"),
        ({"workers": "2"}, "--workers: a value of type str is not a whole number"),
        ({"repair": "no"}, "--repair: a value of type str is not a truth value"),
        ({"quick": 1}, "--quick: a value of type int is not a truth value"),
    ],
    ids=str,
)
def test_how_a_lake_cannot_be_verified(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VerifyOptions(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": "flows"}, "'flows' is not a table; write vpc or tgw"),
        ({"table": None}, "--table: a value of type NoneType is not text"),
        ({"format": ["version"]}, "--format: a value of type list is not text"),
    ],
    ids=str,
)
def test_what_cannot_be_read(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ReadOptions(**given)


def test_plain_values_are_taken(tmp_path: Path) -> None:
    taken: Any = {"formats": tmp_path / "formats.toml"}
    read = ReadOptions(since="2026-01-14", allow_unknown_fields="a", **taken)  # type: ignore[arg-type]
    assert (read.since, read.allow_unknown_fields) == (date(2026, 1, 14), ("a",))
    assert read.formats == str(tmp_path / "formats.toml")
    assert VerifyOptions().workers >= 1
