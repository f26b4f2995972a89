"""Processes of a Dask cluster are killed and frozen: the lake is as one machine makes it.

FLOWCONV_DASK_KILLS=30 adds so many kills of workers at random steps, a third as many of drivers,
and a sixth of schedulers.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowconv import (
    ConvertOptions,
    ConvertReport,
    EngineError,
    LakeError,
    compact,
    convert,
    verify,
)
from flowconv.lake.layout import read_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Run
from flowconv.running import started
from flowconv.storage.opening import open_storage
from support.dask_cluster import (
    CHECK,
    READ,
    WRITTEN,
    DaskCluster,
    Forks,
    Started,
    dask_cluster,
    forks,
    wait_until,
)
from support.lakes import ROW, V2, aws_key, data_files, write_objects

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MORE_KILLS = int(os.environ.get("FLOWCONV_DASK_KILLS", "0"))

# A day is a task.
DAYS = 8
OPTIONS = ConvertOptions(workers=2)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs of some days, not to be changed; one line of each does not fit."""
    folder = tmp_path_factory.mktemp("dask") / "logs"
    keys = [aws_key(time=f"2026-01-{day:02}T00:05") for day in range(1, DAYS + 1)]
    text = V2 + ROW * 20 + b"2 not a record\n"
    write_objects(folder, {key: gzip.compress(text + ROW * n) for n, key in enumerate(keys)})
    return folder


@pytest.fixture(scope="module")
def alone(logs: Path) -> dict[str, tuple[int, int]]:
    """What one machine makes of the logs."""
    lake = logs.parent / "alone"
    convert(str(logs), str(lake), OPTIONS)
    return files_of(lake)


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks(tmp_path_factory.mktemp("forks")) as started_:
        yield started_


@pytest.fixture(scope="module")
def cluster(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(forked, tmp_path_factory.mktemp("cluster"), workers=2) as started_:
        yield started_


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def files_of(lake: Path) -> dict[str, tuple[int, int]]:
    """The files that count, without the run in their names -> their rows and checksums."""
    files = Ledger.read(open_storage(str(lake))).files()
    return {
        re.sub(r"(/[0-9a-f]{20})-[0-9]+", r"\1", path): (file.rows, file.crc32)
        for path, (file, _) in files.items()
    }


def assert_sound(lake: Path, logs: Path, alone: dict[str, tuple[int, int]]) -> None:
    """All is there once, and nothing else."""
    assert files_of(lake) == alone
    assert verify(str(lake), str(logs)).problems == []
    staging = lake / "_flowconv/staging"
    assert not staging.exists() or list(staging.iterdir()) == []


@contextmanager
def running(cluster: DaskCluster, logs: Path, lake: Path) -> Iterator[Future[ConvertReport]]:
    """Convert on the cluster, in another thread."""
    cluster.forget_steps()
    with distributed.Client(cluster.address) as client:
        yield started(lambda: convert(str(logs), str(lake), OPTIONS, engine=client))


def driver(cluster: DaskCluster, logs: Path, lake: Path) -> Started:
    """Convert on the cluster, in a process of its own."""
    cluster.forget_steps()
    options = ["--engine", "dask", "--scheduler", cluster.address]
    return cluster.add_driver("convert", logs, lake, *options)


def test_it_is_as_on_one_machine(
    cluster: DaskCluster,
    logs: Path,
    lake: Path,
    alone: dict[str, tuple[int, int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "flowconv")
    with running(cluster, logs, lake) as run:
        report = run.result()
    assert_sound(lake, logs, alone)
    one_machine = convert(str(logs), str(lake) + "-2", OPTIONS)
    same = ("objects", "lines", "rejected", "text_bytes", "tables", "files", "written_bytes")
    for name in same:
        assert getattr(report, name) == getattr(one_machine, name)
    assert sum(worker.tasks for worker in report.workers.values()) == DAYS
    assert sum(w.source_bytes for w in report.workers.values()) == report.source_bytes
    assert report.workers.keys() <= cluster.workers.keys()
    assert report.worker_time["working"] > 0
    committed = [r.getMessage() for r in caplog.records if r.getMessage().startswith("task_comm")]
    assert len(committed) == 2 * DAYS
    assert (
        sum(f"run_id={report.run_id}" in text and "worker=" in text for text in committed) == DAYS
    )
    with running(cluster, logs, lake) as run:
        assert run.result().already_converted == DAYS


def test_ocsf(cluster: DaskCluster, logs: Path, lake: Path) -> None:
    options = replace(OPTIONS, schema="ocsf")
    convert(str(logs), str(lake) + "-alone", options)
    with distributed.Client(cluster.address) as client:
        report = convert(str(logs), str(lake), options, engine=client)
    assert report.objects == DAYS
    assert files_of(lake) == files_of(Path(f"{lake}-alone"))


def test_killed_worker(
    cluster: DaskCluster, logs: Path, lake: Path, alone: dict[str, tuple[int, int]]
) -> None:
    """Its tasks run elsewhere; what it had written and not handed over is removed."""
    with cluster.gate(WRITTEN) as open_gate, running(cluster, logs, lake) as run:
        wait_until(lambda: len(set(cluster.at(WRITTEN))) == 2)
        cluster.kill(cluster.at(WRITTEN)[0])
        cluster.add_worker()
        open_gate()
        run.result()
    assert_sound(lake, logs, alone)


def test_frozen_worker_wakes_up(
    cluster: DaskCluster, logs: Path, lake: Path, alone: dict[str, tuple[int, int]]
) -> None:
    """The scheduler gives it up; when it goes on, its run is over, and it changes nothing."""
    with cluster.gate(READ) as open_gate, running(cluster, logs, lake) as run:
        wait_until(lambda: len(set(cluster.at(READ))) == 2)
        frozen = cluster.at(READ)[0]
        cluster.workers[frozen].signal(signal.SIGSTOP)
        cluster.add_worker()
        open_gate()
        run.result()
    assert_sound(lake, logs, alone)
    before = cluster.at(WRITTEN).count(frozen)
    worker = cluster.workers.pop(frozen)
    worker.signal(signal.SIGCONT)
    # It finishes its task, or hears that the run is over.
    wait_until(lambda: worker.has_ended() or cluster.at(WRITTEN).count(frozen) > before)
    worker.kill()
    assert files_of(lake) == alone
    convert(str(logs), str(lake), OPTIONS)  # Removes what it may have written.
    assert_sound(lake, logs, alone)


def test_run_that_lost_the_lock_commits_nothing(
    cluster: DaskCluster, logs: Path, lake: Path, alone: dict[str, tuple[int, int]]
) -> None:
    """Another run begins while the workers of this one are at work."""
    with cluster.gate(WRITTEN) as open_gate, running(cluster, logs, lake) as run:
        wait_until(lambda: len(cluster.at(WRITTEN)) == 2)
        storage = open_storage(str(lake))
        other = Run(run_id="other", began=datetime.now(UTC), host="there")
        Ledger.read(storage).begin(other, asdict(read_layout(storage)))
        open_gate()
        with pytest.raises(LakeError, match="another run has taken this lake over"):
            run.result()
    assert files_of(lake) == {}
    assert data_files(lake) == []
    convert(str(logs), str(lake), OPTIONS)
    assert_sound(lake, logs, alone)


def test_verify_with_a_killed_worker(cluster: DaskCluster, logs: Path, tmp_path: Path) -> None:
    """Its checks are done elsewhere."""
    lake = tmp_path / "lake"
    convert(str(logs), str(lake), OPTIONS)
    file = data_files(lake)[0]
    file.write_bytes(file.read_bytes()[::-1])
    cluster.forget_steps()
    with cluster.gate(CHECK) as open_gate, distributed.Client(cluster.address) as client:
        run = started(lambda: verify(str(lake), str(logs), engine=client))
        wait_until(lambda: len(set(cluster.at(CHECK))) == 2)
        cluster.kill(cluster.at(CHECK)[0])
        cluster.add_worker()
        open_gate()
        report = run.result()
    assert report.problems == verify(str(lake), str(logs)).problems
    assert report.kinds == {"damaged-file": 1}
    assert report.lines == verify(str(lake), str(logs)).lines > 0


def test_compact_with_a_killed_worker(cluster: DaskCluster, logs: Path, tmp_path: Path) -> None:
    """Its partition is merged elsewhere; what it had written is removed."""
    lake = tmp_path / "lake"
    convert(str(logs), str(lake), OPTIONS)
    again = tmp_path / "alone"
    shutil.copytree(lake, again)
    compact(str(again))
    cluster.forget_steps()
    with cluster.gate(WRITTEN) as open_gate, distributed.Client(cluster.address) as client:
        run = started(lambda: compact(str(lake), engine=client))
        wait_until(lambda: cluster.at(WRITTEN))
        cluster.kill(cluster.at(WRITTEN)[0])
        cluster.add_worker()
        open_gate()
        report = run.result()
    assert report.totals["compacted_files"] == len(report.partitions) == 1
    assert_sound(lake, logs, files_of(again))


def test_killed_driver(
    cluster: DaskCluster, logs: Path, lake: Path, alone: dict[str, tuple[int, int]]
) -> None:
    """The next run goes on where it stopped, though workers still write for the killed one."""
    with cluster.gate(WRITTEN):
        process = driver(cluster, logs, lake)
        wait_until(lambda: cluster.at(WRITTEN))
        process.kill()
        report = convert(str(logs), str(lake), OPTIONS)
        assert report.objects == DAYS
    with running(cluster, logs, lake) as run:
        assert run.result().already_converted == DAYS
    convert(str(logs), str(lake), OPTIONS)
    assert_sound(lake, logs, alone)


def wait_for_a_step(
    cluster: DaskCluster, chance: random.Random, has_ended: Callable[[], bool]
) -> None:
    """Wait until the tasks have come so many steps, or all have ended, and then up to 50 ms."""
    steps = chance.randrange(2 * DAYS)
    wait_until(lambda: has_ended() or len(cluster.at(READ) + cluster.at(WRITTEN)) > steps)
    time.sleep(chance.random() / 20)


@pytest.mark.skipif(not MORE_KILLS, reason="FLOWCONV_DASK_KILLS is not set")
def test_random_kills(
    forked: Forks,
    cluster: DaskCluster,
    logs: Path,
    tmp_path: Path,
    alone: dict[str, tuple[int, int]],
) -> None:
    chance = random.Random(1)
    for number in range(MORE_KILLS):
        lake = tmp_path / f"worker-{number}"
        with running(cluster, logs, lake) as run:
            wait_for_a_step(cluster, chance, run.done)
            cluster.kill(chance.choice(list(cluster.workers)))
            cluster.add_worker()
            run.result()
        assert_sound(lake, logs, alone)
    for number in range(MORE_KILLS // 3):
        lake = tmp_path / f"driver-{number}"
        process = driver(cluster, logs, lake)
        wait_for_a_step(cluster, chance, process.has_ended)
        process.kill()
        for _ in range(2):  # Workers may still write for the killed driver.
            with running(cluster, logs, lake) as run:
                run.result()
        assert_sound(lake, logs, alone)
    for number in range(MORE_KILLS // 6):
        lake = tmp_path / f"scheduler-{number}"
        folder = tmp_path / f"cluster-{number}"
        folder.mkdir()
        with dask_cluster(forked, folder, workers=2) as killed:
            process = driver(killed, logs, lake)
            wait_for_a_step(killed, chance, process.has_ended)
            killed.scheduler.kill()
            assert process.wait() in (0, 1)
        if lake.exists():
            assert files_of(lake).items() <= alone.items()
        with running(cluster, logs, lake) as run:
            run.result()
        assert_sound(lake, logs, alone)


def test_vanished_scheduler(
    forked: Forks, tmp_path: Path, logs: Path, lake: Path, alone: dict[str, tuple[int, int]]
) -> None:
    half = DAYS // 2
    with (
        dask_cluster(forked, tmp_path, workers=1) as cluster,
        cluster.gate(READ, passing=half),
    ):
        process = driver(cluster, logs, lake)
        wait_until(lambda: len(cluster.at(READ)) > half and bool(files_of(lake)))
        cluster.scheduler.kill()
        assert process.wait() == 1, process.stderr
    assert f"the connection to Dask's scheduler {cluster.address} is lost" in process.stderr
    assert "What was committed is kept" in process.stderr
    assert files_of(lake).items() < alone.items()
    assert convert(str(logs), str(lake), OPTIONS).already_converted > 0
    assert_sound(lake, logs, alone)


def test_other_releases_are_refused(cluster: DaskCluster, logs: Path, lake: Path) -> None:
    """Also on a worker that comes during the run."""
    with cluster.gate(WRITTEN), running(cluster, logs, lake) as run:
        wait_until(lambda: cluster.at(WRITTEN))
        other = cluster.add_worker(flowconv="0.0.9")
        both = r"has flowconv 0\.0\.9, and the driver has 0\.1"
        with pytest.raises(EngineError, match=f"the worker {other} {both}"):
            run.result()
    with running(cluster, logs, lake) as run, pytest.raises(EngineError, match=both):
        run.result()
    cluster.kill(other)
