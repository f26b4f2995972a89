"""The driver's side of an engine: a job goes to a worker, and a small result comes back."""

import os
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from flowconv.engines.environment import environment
from flowconv.engines.interface import KEPT, Engine
from flowconv.engines.workers import Done, Work, do_job, pack, unpack
from flowconv.errors import EngineError, FlowconvError, UsageError
from flowconv.events import log_event
from flowconv.running import MOST_THREADS

if TYPE_CHECKING:
    from distributed import Client

# How often a thread that waits for a worker looks whether the run is to end.
_TICK_S = 0.5

# A job that so many workers could not do is one that none can.
_MOST_TRIED = 3


class Answer(NamedTuple):
    """What came of a job.

    Attributes:
        worker: The worker that did it.
        result: What `Worker.do` returned.
    """

    worker: str
    result: Any


class Remote:
    """A run's work on an engine.

    Args:
        engine: Where it is done.
        work: The work.
    """

    def __init__(self, engine: Engine, work: Work) -> None:
        self._engine = engine
        self._work = pack(work)
        self._mutex = threading.Lock()
        self._cut_off: frozenset[str] = frozenset()

    def places(self) -> int:
        """Return the number of jobs that can be done at once now."""
        return min(self._engine.places(), MOST_THREADS // 2)

    def do(self, job: object, go_on: Callable[[], None]) -> Answer:
        """Have a job done by a worker, and wait for it.

        A job that fails at one worker, which may be cut off from the network, is done by another.
        If that one can, the first gets no more jobs.

        Args:
            job: The job.
            go_on: Called now and then; ends the wait by raising.

        Raises:
            EngineError: The engine failed, or a worker that differs.
            FlowconvError: The job failed.
        """
        packed = pack(job)
        failed: set[str] = set()
        while True:
            done = self._done(packed, failed, go_on)
            if not done.failure:
                with self._mutex:
                    self._cut_off |= failed
                return Answer(done.worker, unpack(done.packed))
            failed.add(done.address)
            if len(failed) == _MOST_TRIED or not self._engine.has_others(failed):
                outcome = unpack(done.packed)
                if isinstance(outcome, FlowconvError):
                    raise outcome
                return Answer(done.worker, outcome)
            log_event("job_moved", worker=done.worker, error=done.failure)

    def _done(self, job: bytes, failed: set[str], go_on: Callable[[], None]) -> Done:
        without = self._cut_off | failed
        if without and not self._engine.has_others(without):
            without = frozenset(failed)
        try:
            future = self._engine.submit(do_job, environment(), self._work, job, without=without)
            try:
                while not wait([future], _TICK_S).done:
                    go_on()
            except BaseException:
                future.cancel()
                raise
            return future.result()
        except FlowconvError:
            raise
        except (Exception, CancelledError) as error:
            explained = self._engine.explain(error)
            if explained is None:
                raise
            raise explained from error


class ExecutorEngine:
    """Any executor of `concurrent.futures` as an engine."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(
        self,
        function: Callable[..., Done],
        *arguments: object,
        without: Collection[str] = (),  # noqa: ARG002 - executors choose workers themselves
    ) -> "Future[Done]":
        """See `Engine`."""
        return self._executor.submit(function, *arguments)

    def has_others(self, without: Collection[str]) -> bool:  # noqa: ARG002
        """See `Engine`."""
        return False

    def places(self) -> int:
        """See `Engine`."""
        # Executors do not say it; those of the standard library know it.
        return int(getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1)

    def explain(self, error: Exception) -> EngineError | None:
        """See `Engine`."""
        if isinstance(error, BrokenExecutor):
            return EngineError(
                "a process of the executor ended, and it takes no more jobs; perhaps there was not "
                f"enough memory. {KEPT}"
            )
        if isinstance(error, CancelledError) or "after shutdown" in str(error):
            return EngineError(f"the executor was shut down during the run. {KEPT}")
        return None


@contextmanager
def opened_engine(engine: "Executor | Client") -> Iterator[Engine]:
    """Return the engine that a caller gave.

    Raises:
        UsageError: It is neither an executor nor a client of Dask.
        EngineError: A worker differs from the driver, or the scheduler does not answer.
    """
    if isinstance(engine, Executor):
        yield ExecutorEngine(engine)
        return
    if type(engine).__module__.partition(".")[0] == "distributed":
        from distributed import Client

        from flowconv.engines.dask import DaskEngine

        if isinstance(engine, Client):
            if engine.asynchronous:
                raise UsageError("engine: this client of Dask is asynchronous; give another.")
            yield DaskEngine(engine)
            return
    raise UsageError(
        f"engine: a value of type {type(engine).__name__} is neither a "
        "concurrent.futures.Executor nor a distributed.Client."
    )
