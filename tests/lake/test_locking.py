"""The lock: who holds a lake, whether that one lives, and what is said to the others."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from flowconv import ConvertOptions, convert
from flowconv.errors import LakeError, StorageError
from flowconv.lake import locking
from flowconv.lake.checksums import seal
from flowconv.lake.ledger import LostLockError
from flowconv.lake.locking import Holder, Lock, read_holder
from flowconv.lake.paths import LEDGER, LOCK
from flowconv.storage.interface import StoredFile
from flowconv.storage.local import LocalStorage
from support.exactly_once import LocalLake, arguments, body, write_object
from support.processes import Runs, Step

OTHER = Holder(
    run_id="20260114T023000Z-abcdef",
    host="worker-7",
    machine="another machine",
    pid=4711,
    process_start="12345",
    since="2026-01-14T02:30:00+00:00",
    heartbeat="2026-01-14T02:31:00+00:00",
)
BUSY = (
    "this lake is being written by run 20260114T023000Z-abcdef, process 4711 on worker-7, since "
    "2026-01-14T02:30:00+00:00. Wait for it (--wait), or run again later."
)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path / "lake"))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_object(tmp_path / "logs", 0, body("eni-0"))
    return tmp_path / "logs"


def hold(storage: LocalStorage, holder: Holder, silent_s: float = 0) -> None:
    """Write a lock whose holder has said nothing for a while."""
    heartbeat = datetime.now(UTC) - timedelta(seconds=silent_s)
    written = holder._asdict() | {"heartbeat": heartbeat.isoformat(timespec="seconds")}
    storage.write(LOCK, seal(written))


def test_held_elsewhere(storage: LocalStorage) -> None:
    hold(storage, OTHER, locking.LEASE_S - 30)
    with pytest.raises(LakeError, match=re.escape(BUSY)), Lock(storage, "mine"):
        pass
    found = read_holder(storage)
    assert found
    assert found.run_id == OTHER.run_id


def test_silent_elsewhere(storage: LocalStorage) -> None:
    hold(storage, OTHER, locking.LEASE_S + 1)
    with Lock(storage, "mine") as lock:
        lock.confirm()
        hold(storage, OTHER)
        with pytest.raises(LostLockError, match="another run has taken this lake over"):
            lock.confirm()
    found = read_holder(storage)
    assert found
    assert found.run_id == OTHER.run_id, "only the own lock is removed"


def test_waiting_for_one_elsewhere(
    storage: LocalStorage, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ends; until then nothing is written."""
    monkeypatch.setattr(locking, "LEASE_S", 2.0)
    hold(storage, OTHER)
    started = time.monotonic()
    report = convert(str(logs), storage.root, ConvertOptions(wait=True))
    # The heartbeat has no fraction of a second.
    assert time.monotonic() - started > 1
    assert report.objects == 1
    assert read_holder(storage) is None


def test_heartbeat_in_the_future(
    storage: LocalStorage, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; who waits takes it over when it has not changed for as long as a lease."""
    monkeypatch.setattr(locking, "LEASE_S", 1.5)
    hold(storage, OTHER, -86_400)
    with pytest.raises(LakeError, match=r"864\d\d|86399 seconds in the future: the clocks"):
        convert(str(logs), storage.root)
    started = time.monotonic()
    assert convert(str(logs), storage.root, ConvertOptions(wait=True)).objects == 1
    assert time.monotonic() - started > 1.5


@pytest.mark.parametrize("how", ["link", "folder"])
def test_lock_that_is_no_file(storage: LocalStorage, logs: Path, how: str) -> None:
    convert(str(logs), storage.root)
    path = Path(storage.uri(LOCK))
    path.symlink_to("nowhere") if how == "link" else path.mkdir()
    with pytest.raises(StorageError, match=r"lock\.json: this "):
        convert(str(logs), storage.root, ConvertOptions(wait=True))


def test_heartbeat_keeps_others_waiting(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(locking, "LEASE_S", 1.9)
    with Lock(storage, "mine"):
        # Seen from elsewhere.
        monkeypatch.setattr(locking, "_machine", lambda: "another machine")
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            found = read_holder(storage)
            assert found
            assert not found.is_dead
            time.sleep(0.05)


def test_dead_on_the_same_machine(storage: LocalStorage, logs: Path, runs: Runs) -> None:
    """It need not be waited for, and neither need one whose number another process has by now."""
    place = LocalLake(Path(storage.root))
    killed = runs.run(*arguments(logs, place), at=Step(0, "after append"))
    assert killed.was_killed
    holder = read_holder(storage)
    assert holder
    assert holder.is_dead
    with Lock(storage, "mine"):
        living = read_holder(storage)
        assert living
        assert not living.is_dead
        assert living._replace(process_start="1").is_dead
        hold(storage, living._replace(run_id="gone", process_start="1"))
        with Lock(storage, "second"):
            pass


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\x00",
        b"[" * 100_000,
        b'{"run_id": "x"}',
        seal(OTHER._asdict() | {"heartbeat": "yesterday"}),
        seal(OTHER._asdict() | {"heartbeat": "2026-01-14T02:31:00"}),
        seal(OTHER._asdict() | {"heartbeat": 7}),
        seal(OTHER._asdict() | {"later": 1}),
    ],
    ids=[
        *("empty", "cut", "list", "bytes", "deep", "lacks-all", "no-time", "no-zone", "number"),
        "unknown",
    ],
)
def test_damaged_lock(storage: LocalStorage, logs: Path, written: bytes) -> None:
    storage.write(LOCK, written)
    with pytest.raises(LakeError) as caught:
        convert(str(logs), storage.root, ConvertOptions(wait=True))
    assert str(caught.value) == (
        f"{storage.root}: {LOCK} is damaged. If no run is under way, delete it."
    )
    assert storage.read(LOCK) == written


def test_a_free_lock_is_taken_by_one_request(storage: LocalStorage) -> None:
    """Each would take a round trip of S3 before the run begins."""
    with mock.patch.object(LocalStorage, "read") as read:
        lock = Lock(storage, "mine")
        lock._take()
    read.assert_not_called()
    assert (holder := read_holder(storage))
    assert holder.run_id == "mine"


class Remote(LocalStorage):
    """A folder with which requests are made beside one another, as with S3."""

    is_local = False


class TakenMeanwhile(LocalStorage):
    """A lake that another run takes over while its ledger is listed."""

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        yield from super().list_files(below)
        if below == LEDGER:
            hold(self, OTHER)


class TakenMeanwhileInS3(TakenMeanwhile, Remote):
    """The same, with requests beside one another."""


@pytest.mark.parametrize("kind", [TakenMeanwhile, TakenMeanwhileInS3])
def test_taken_over_while_the_ledger_is_listed(tmp_path: Path, kind: type[LocalStorage]) -> None:
    lake = kind(str(tmp_path))
    with pytest.raises(LostLockError), Lock(lake, "mine") as lock:
        lock.read_ledger()
    assert (holder := read_holder(lake))
    assert holder.run_id == OTHER.run_id


def test_a_lock_that_was_looked_at_is_removed_by_one_request(tmp_path: Path) -> None:
    lake = Remote(str(tmp_path))
    lock = Lock(lake, "mine")
    with lock:
        lock.look_ahead()
        assert (holder := lock._last_holder())
        assert holder.run_id == "mine"
        with mock.patch.object(Remote, "read") as read:
            lock._release()
        read.assert_not_called()
    assert read_holder(lake) is None


def test_a_lock_that_was_looked_at_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Remote(str(tmp_path))
    with Lock(lake, "mine") as lock:
        lock.look_ahead()
        hold(lake, OTHER)
        monkeypatch.setattr(locking, "HEARTBEAT_S", 0.0)
    assert (holder := read_holder(lake))
    assert holder.run_id == OTHER.run_id, "only the own lock is removed"
