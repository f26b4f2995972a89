"""Executors as engines, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from flowconv import ConvertOptions, EngineError, StorageError, UsageError, convert, errors
from flowconv.conversion.begun_run import BegunRun
from flowconv.conversion.remote import Conversion
from flowconv.engines.engine import Remote
from flowconv.engines.environment import environment, require_same
from flowconv.engines.workers import Done, do_job, pack
from flowconv.lake.expired import Expired
from flowconv.lake.layout import ensure_layout
from flowconv.lake.ledger import LostLockError
from flowconv.lake.remote import Places, require_no_credentials
from flowconv.storage.opening import open_storage
from support.lakes import data_files

OPTIONS = ConvertOptions(workers=2)


def names_and_sizes(lake: Path) -> list[tuple[str, int]]:
    return [(str(file.relative_to(lake)), file.stat().st_size) for file in data_files(lake)]


def test_executor(sample_logs: Path, sample_lake: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with ThreadPoolExecutor(2) as executor:
        report = convert(str(sample_logs), str(lake), OPTIONS, engine=executor)
    assert names_and_sizes(lake) == names_and_sizes(sample_lake)
    (worker,) = report.to_dict()["workers"].values()
    assert worker == {"tasks": 12, "source_bytes": report.source_bytes, "retries": 0}
    assert list((lake / "_flowconv/staging").iterdir()) == []


class Broken(Executor):
    """An executor whose process was killed."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("a child process terminated abruptly"))
        return future


def test_broken_executor(sample_logs: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="a process of the executor ended"):
        convert(str(sample_logs), str(tmp_path / "lake"), OPTIONS, engine=Broken())
    with ThreadPoolExecutor(1) as closed:
        pass
    with pytest.raises(EngineError, match="was shut down during the run"):
        convert(str(sample_logs), str(tmp_path / "lake"), OPTIONS, engine=closed)


def test_no_engine(sample_logs: Path, tmp_path: Path) -> None:
    engine: Any = "dask"
    with pytest.raises(UsageError, match="a value of type str is neither a concurrent"):
        convert(str(sample_logs), str(tmp_path / "lake"), OPTIONS, engine=engine)


class Numbered:
    """An engine of numbered workers, of which the first ones do not reach the lake, or the source.

    Without the lake a job raises; without the source it has a result.
    """

    def __init__(self, workers: int, cut_off: int, *, raises: bool) -> None:
        self.workers, self.cut_off, self.raises = [str(n) for n in range(workers)], cut_off, raises
        self.asked: list[str] = []

    def submit(self, *_: object, without: Collection[str] = ()) -> Future[Done]:
        worker = next((n for n in self.workers if n not in without), self.workers[0])
        self.asked.append(worker)
        failure = f"worker {worker}: no answer" if int(worker) < self.cut_off else ""
        failed = StorageError(failure, uri="s3://lake") if self.raises else "nothing"
        future: Future[Done] = Future()
        future.set_result(Done(worker, worker, pack(failed if failure else "done"), failure))
        return future

    def has_others(self, without: Collection[str]) -> bool:
        return not set(without) >= set(self.workers)

    def places(self) -> int:
        return len(self.workers)

    def explain(self, error: Exception) -> EngineError | None:
        return None


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(
    ("workers", "cut_off", "asked"),
    [(3, 0, "00"), (3, 1, "011"), (3, 2, "0122"), (4, 3, None), (2, 2, None), (1, 1, None)],
)
def test_a_worker_that_is_cut_off(
    workers: int, cut_off: int, asked: str | None, *, raises: bool
) -> None:
    """Its jobs go to others, and it gets no more."""
    engine = Numbered(workers, cut_off, raises=raises)
    remote = Remote(engine, Conversion(places=None, run=None))  # type: ignore[arg-type]
    if asked is None:
        last = str(cut_off - 1)
        if raises:
            with pytest.raises(StorageError, match=f"worker {last}: no answer"):
                remote.do("job", lambda: None)
        else:
            assert remote.do("job", lambda: None) == (last, "nothing")
        assert engine.asked == [str(n) for n in range(cut_off)]
        return
    assert [remote.do("job", lambda: None) for _ in range(2)] == [(str(cut_off), "done")] * 2
    assert "".join(engine.asked) == asked


@pytest.mark.parametrize("name", ["key", "secret", "token"])
def test_credentials_are_not_sent(name: str) -> None:
    for flag in range(2):
        given: list[dict[str, str]] = [{}, {}]
        given[flag] = {name: "x"}
        with pytest.raises(UsageError, match=f"{name}: credentials are not sent"):
            require_no_credentials(*given)
    require_no_credentials({}, {"profile": "p", "region": "eu-west-1"})


def test_worker_without_access(sample_logs: Path, tmp_path: Path) -> None:
    def work(source: Path, lake: Path) -> Conversion:
        run = BegunRun(run_id="run", generation=1, expired=Expired(), options=OPTIONS)
        places = Places(lake=str(lake), source=str(source), lake_options={}, source_options={})
        return Conversion(places=places, run=run)

    lake = tmp_path / "lake"
    with pytest.raises(EngineError, match=rf"the worker .* does not see {lake}\. All machines"):
        do_job(environment(), pack(work(sample_logs, lake)), b"")
    ensure_layout(open_storage(str(lake)), OPTIONS, None, {})
    with pytest.raises(EngineError, match=rf"the worker .* does not see {tmp_path}/none\."):
        do_job(environment(), pack(work(tmp_path / "none", lake)), b"")
    (lake / "_flowconv/lake.json").write_text("{")
    with pytest.raises(EngineError, match=r"has no access: .*lake\.json is damaged"):
        do_job(environment(), pack(work(sample_logs, lake)), b"")


def test_releases_that_differ() -> None:
    require_same({"flowconv": "1"}, {"flowconv": "1", "more": "2"}, "w")
    with pytest.raises(EngineError, match="worker w has pyarrow none, and the driver has 1"):
        require_same({"flowconv": "1", "pyarrow": "1"}, {"flowconv": "1"}, "w")
    assert len(environment()) == 4


@pytest.mark.parametrize(
    "error",
    [
        errors.ParseError("no", uri="s3://b/k", line=3, field="bytes"),
        errors.FormatError("no", uri="x", shape="json"),
        LostLockError("s3://lake"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_workers_come_as_they_are(error: errors.FlowconvError) -> None:
    sent = pickle.loads(pickle.dumps(error))
    assert (type(sent), str(sent), vars(sent)) == (type(error), str(error), vars(error))
