"""Values as people write them: taken as they are meant, or refused with a clear TypeError."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import flowconv
from flowconv import ConvertOptions, ReadOptions, UsageError, VerifyOptions
from support.lakes import ROW, V2, aws_key, write_objects

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arguments")
    write_objects(folder / "logs", {aws_key("012345678901"): V2 + ROW})
    flowconv.convert(folder / "logs", folder / "lake")
    return folder / "lake"


TAKEN: list[tuple[str, Any, Any]] = [
    ("since", "2026-01-15", date(2026, 1, 15)),
    ("since", date(2026, 1, 15), date(2026, 1, 15)),
    ("since", datetime(2026, 1, 15, 23, tzinfo=timezone(timedelta(hours=-5))), date(2026, 1, 16)),
    ("until", datetime(2026, 1, 15, 23, tzinfo=UTC), date(2026, 1, 15)),
    ("target_file_size", "256MB", 256_000_000),
    ("target_file_size", "1.5 GiB", 3 << 29),
    ("target_file_size", 10**9, 10**9),
    ("max_object_size", "1GB", 10**9),
    ("partition_by", "date", ("date",)),
    ("partition_by", ["aws_account_id", "date"], ("aws_account_id", "date")),
    ("allow_unknown_fields", "new-field", ("new-field",)),
]


@pytest.mark.parametrize(("name", "value", "meant"), TAKEN, ids=str)
def test_options_are_taken_as_they_are_meant(name: str, value: Any, meant: Any) -> None:
    assert getattr(ConvertOptions(**{name: value}), name) == meant


REFUSED: list[tuple[str, Any]] = [
    ("since", 20260115),
    ("since", 1768435200.0),
    ("since", True),
    ("until", b"2026-01-15"),
    ("until", ["2026-01-15"]),
    ("target_file_size", 2.56e8),
    ("target_file_size", None),
    ("target_file_size", b"256MB"),
    ("memory_limit", True),
    ("workers", "2"),
    ("workers", 2.0),
    ("workers", True),
    ("partition_by", 7),
    ("partition_by", [7]),
    ("time_type", 7),
    ("format", ["version"]),
    ("account", 12345678901),
    ("with_source", "no"),
    ("wait", 1),
    ("source_options", [("key", "x")]),
    ("dest_options", "key=x"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=str)
def test_options_of_another_type_are_refused(name: str, value: Any) -> None:
    known = [
        options
        for options in (ConvertOptions, ReadOptions, VerifyOptions)
        if name in options.__dataclass_fields__
    ]
    assert known
    for options in known:
        with pytest.raises(TypeError, match=f"^--{name.replace('_', '-')}: ") as caught:
            options(**{name: value})
        assert isinstance(caught.value, UsageError)


def plain(function: Call, *arguments: Any) -> Call:
    """A call that takes the lake, and what is tried."""
    return lambda lake, **tried: function(lake, *arguments, **tried)


CALLS: dict[str, Call] = {
    "scan": plain(flowconv.scan),
    "query": plain(flowconv.query, "SELECT * FROM vpc"),
    "status": plain(flowconv.status),
    "gaps": plain(flowconv.gaps),
    "expire": lambda lake, **tried: flowconv.expire(lake, dry_run=True, **tried),
    "ddl": plain(flowconv.ddl, "duckdb"),
    "names": plain(flowconv.names, []),
    "register": plain(flowconv.register, "delta"),
    "verify": plain(flowconv.verify),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("place", [7, None, b"lake", ["lake"]], ids=str)
def test_a_lake_is_text_or_a_path(name: str, place: Any) -> None:
    tried = {"before": "2020-01-01"} if name == "expire" else {}
    with pytest.raises(TypeError, match="must be text or a Path"):
        CALLS[name](place, **tried)


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("scan", {"since": 20260115}),
        ("scan", {"until": True}),
        ("scan", {"accounts": 12345678901}),
        ("scan", {"accounts": [12345678901]}),
        ("scan", {"accounts": b"012345678901"}),
        ("scan", {"regions": 7}),
        ("scan", {"table": 7}),
        ("scan", {"unknown_fields": 7}),
        ("scan", {"options": ["anon"]}),
        ("query", {"since": 1.5}),
        ("query", {"accounts": 12345678901}),
        ("query", {"options": "anon=true"}),
        ("status", {"runs": "3"}),
        ("status", {"options": {"anon": True}}),
        ("gaps", {"since": 7}),
        ("expire", {"before": 20260115}),
        ("expire", {"before": True}),
        ("ddl", {"location": 7}),
        ("names", {"time": 1768435200}),
        ("verify", {"options": {"workers": 2}}),
    ],
    ids=str,
)
def test_arguments_of_another_type_are_refused(lake: Path, name: str, tried: Any) -> None:
    with pytest.raises(TypeError) as caught:
        CALLS[name](lake, **tried)
    assert isinstance(caught.value, UsageError), "a message of flowconv, not of Python"


def test_other_positions(lake: Path) -> None:
    wrong: Any = 7
    for call in (
        lambda: flowconv.query(lake, wrong),
        lambda: flowconv.ddl(str(lake), wrong),
        lambda: flowconv.register(lake, wrong),
        lambda: flowconv.names(lake, wrong),
        lambda: flowconv.convert(wrong, lake),
        lambda: flowconv.convert(lake.parent / "logs", wrong),
        lambda: flowconv.convert(lake.parent / "logs", lake, wrong),
        lambda: list(flowconv.read(lake.parent / "logs", wrong)),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert isinstance(caught.value, TypeError)


def test_an_account_keeps_its_zero(lake: Path) -> None:
    assert flowconv.scan(lake, accounts="012345678901").collect().height == 1
    with pytest.raises(UsageError, match="write its 12 digits, zeros included"):
        flowconv.scan(lake, accounts=["12345678901"])
