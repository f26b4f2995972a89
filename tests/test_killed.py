"""A run is killed at every step; the next run makes the table whole."""

import gzip
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import flowconv
from flowconv import ConvertOptions, converting, locking, pipeline, storage, verifying, writing
from flowconv.ledger import Ledger
from flowconv.storage import LocalStorage
from lakes import V2, aws_key

# The steps of a run, as functions: the process dies right before or right after one of their calls.
STEPS: dict[str, tuple[Any, str]] = {
    "layout": (pipeline, "ensure_layout"),
    "lock": (locking.Lock, "__enter__"),
    "record": (Ledger, "_append"),
    "leftovers": (pipeline, "remove_leftovers"),
    "row group": (writing.TaskWriter, "_write_row_group"),
    "intent": (converting, "write_intent"),
    "publish a file": (storage._LocalSink, "publish"),
    "commit": (Ledger, "commit"),
    "remove": (LocalStorage, "delete"),
    "create": (LocalStorage, "create"),
    "end": (Ledger, "end"),
}


def write_logs(folder: Path) -> None:
    """Objects of two accounts and days; some rows lie in the next day, some lines do not fit."""
    for n in range(24):
        account, day = f"12345678901{n % 2}", 14 + n % 3
        start = 1768348800 + 86_400 * (day - 14) - 300
        lines = [
            b"2 %s eni-%d 10.0.0.1 10.0.0.2 443 %d 6 10 %d %d %d ACCEPT OK\n"
            % (account.encode(), n, line, 840 + line, start + 20 * line, start + 20 * line + 9)
            for line in range(40)
        ]
        key = aws_key(account, time=f"2026-01-{day}T00:05", hash_=f"{n:08x}")
        path = folder / key.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(V2 + b"".join(lines) + b"bogus\n" * (n % 2)))


def options() -> ConvertOptions:
    return ConvertOptions(workers=2)


def run_and_die(source: Path, dest: Path, step: str, call: int, *, after: bool) -> bool:
    """Run in a child that kills itself; return whether it came to that."""
    child = os.fork()
    if child == 0:
        owner, name = STEPS[step]
        real: Callable[..., Any] = getattr(owner, name)
        calls = 0

        def die(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            mine = calls == call
            if mine and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **named)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, die)
        try:
            flowconv.convert(str(source), str(dest), options())
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def rows(frame: pl.LazyFrame) -> Counter[tuple[Any, ...]]:
    return Counter(frame.collect().rows())


def check_readers(dest: Path) -> None:
    """Whatever happened, visible files are whole, and a scan shows whole tasks only."""
    for path in dest.glob("vpc/**/*.parquet"):
        pq.read_table(path, partitioning=None)
    if (dest / "_flowconv/lake.json").exists():
        counts = flowconv.scan(str(dest)).group_by("interface_id").len().collect()
        assert set(counts["len"]) <= {40}


def check_whole(dest: Path, expected: Counter[tuple[Any, ...]]) -> None:
    assert rows(flowconv.scan(str(dest))) == expected
    visible = {str(path.relative_to(dest)) for path in dest.glob("vpc/**/*.parquet")}
    kept = Ledger.read(LocalStorage(str(dest))).files
    assert visible == {path for path, (file, _) in kept.items() if file.is_data}
    assert verifying.verify(str(dest)).complete
    for left in ("staging", "intents", "lock.json"):
        assert not [path for path in (dest / "_flowconv").glob(f"{left}*/**/*") if path.is_file()]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder)
    return folder


@pytest.fixture(scope="module")
def expected(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Counter[tuple[Any, ...]]:
    dest = tmp_path_factory.mktemp("undisturbed") / "lake"
    flowconv.convert(str(logs), str(dest), options())
    found = rows(flowconv.scan(str(dest)))
    assert found.total() == 24 * 40
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(
    logs: Path, expected: Counter[tuple[Any, ...]], tmp_path: Path, step: str, after: bool
) -> None:
    dest = tmp_path / "lake"
    kills = 0
    for call in (1, 2, 4):
        kills += run_and_die(logs, dest, step, call, after=after)
        check_readers(dest)
    assert kills >= 1
    flowconv.convert(str(logs), str(dest), options())
    check_whole(dest, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again(
    logs: Path, expected: Counter[tuple[Any, ...]], tmp_path: Path, seed: int
) -> None:
    dest, chance = tmp_path / "lake", random.Random(seed)
    for _ in range(8):
        step, call = chance.choice(list(STEPS)), chance.randint(1, 12)
        run_and_die(logs, dest, step, call, after=chance.random() < 0.5)
        check_readers(dest)
    flowconv.convert(str(logs), str(dest), options())
    check_whole(dest, expected)
