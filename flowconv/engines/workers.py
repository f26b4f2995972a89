"""A worker's side: what a run needs is opened once in each process, and shared by its jobs.

What is sent is packed here, so a worker compares releases before it reads anything else.
"""

import multiprocessing
import os
import pickle
import socket
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from flowconv.engines.environment import environment, require_same
from flowconv.errors import FlowconvError, StorageError


class Worker(Protocol):
    """What a run has opened in a process; all may be called from any thread."""

    def do(self, job: Any) -> Any:
        """Do a job, and return its small result.

        Raises:
            CutOffError: It came to nothing, since what it reads does not answer here.
            FlowconvError: It failed.
        """
        ...


class Work(Protocol):
    """What a run does; small, and picklable."""

    def opened(self) -> AbstractContextManager[Worker]:
        """Open what the run needs, in a worker's process; at the block's end no job is under way.

        Raises:
            FlowconvError: The worker has no access, for example.
        """
        ...


class CutOffError(Exception):
    """What a job reads does not answer in this process; another may reach it.

    Args:
        reason: What happened.
        result: The job's result if no other can do it.
    """

    def __init__(self, reason: str, result: object) -> None:
        super().__init__(reason)
        self.result = result


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker made of a job.

    Attributes:
        worker: The worker.
        address: Where the engine finds it; empty if that is nowhere.
        packed: The packed result, or the error by which the job failed.
        failure: What other workers may not have: a network that is cut, or a full disk. Empty if
            nothing is.
    """

    worker: str
    address: str
    packed: bytes
    failure: str = ""


def pack(value: object) -> bytes:
    """Return a value as it is sent."""
    # Uris of a task are much alike: a tenth remains.
    return zlib.compress(pickle.dumps(value), 1)


def unpack(packed: bytes) -> Any:
    """Undo `pack`."""
    return pickle.loads(zlib.decompress(packed))


def do_job(of_driver: Mapping[str, str], work: bytes, job: bytes) -> Done:
    """Do a job in this process.

    Args:
        of_driver: The driver's `environment`.
        work: A packed `Work`; the same bytes in all jobs of a run.
        job: A packed job.

    Raises:
        EngineError: This worker has other releases than the driver.
        FlowconvError: The job failed.
    """
    name, dask_worker = worker_name(), _dask_worker()
    address = "" if dask_worker is None else str(dask_worker.address)
    require_same(of_driver, environment(), name)
    try:
        with _OPEN.opened(work) as worker:
            return Done(name, address, pack(worker.do(unpack(job))))
    except CutOffError as cut_off:
        return Done(name, address, pack(cut_off.result), str(cut_off))
    except FlowconvError as error:
        # It may be this machine alone that has no network, or whose disk is full.
        if not (error.unanswered or isinstance(error, StorageError)):
            raise
        error.args = (f"the worker {name}: {error.reason}",)
        return Done(name, address, pack(error), str(error))


def describe() -> tuple[str, Mapping[str, str]]:
    """Return this process's name and environment."""
    return worker_name(), environment()


def worker_name() -> str:
    """Return a name of this process that others know it by: Dask's, or machine and process."""
    worker = _dask_worker()
    return f"{socket.gethostname()}-{os.getpid()}" if worker is None else str(worker.name)


def threads_of_worker() -> int:
    """Return the number of jobs that this process does at once; 0 if nobody knows."""
    if (worker := _dask_worker()) is not None:
        return int(worker.state.nthreads)
    # Those of a pool of processes do one at a time.
    return 1 if multiprocessing.parent_process() else 0


def _dask_worker() -> Any:
    """Return Dask's worker in whose thread this is called; None if it is none."""
    if distributed := sys.modules.get("distributed"):
        try:
            return distributed.get_worker()
        except ValueError:
            pass
    return None


class _Open:
    """The works that are open in this process: the last one, and others with jobs under way."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._opening: dict[bytes, threading.Lock] = {}
        self._workers: dict[bytes, tuple[Worker, ExitStack]] = {}
        self._under_way: dict[bytes, int] = {}

    @contextmanager
    def opened(self, work: bytes) -> Iterator[Worker]:
        """Open a work if it is not, and keep it open for the block."""
        with self._mutex:
            self._under_way[work] = self._under_way.get(work, 0) + 1
            opening = self._opening.setdefault(work, threading.Lock())
        try:
            with opening:
                if work not in self._workers:
                    self._close_others()
                    stack = ExitStack()
                    worker = stack.enter_context(unpack(work).opened())
                    self._workers[work] = worker, stack
            yield self._workers[work][0]
        finally:
            with self._mutex:
                self._under_way[work] -= 1

    def _close_others(self) -> None:
        """Close the works of other runs, which have ended or will open theirs again."""
        with self._mutex:
            idle = [work for work in self._workers if not self._under_way[work]]
            stacks = [self._workers.pop(work)[1] for work in idle]
            for work in idle:
                del self._under_way[work], self._opening[work]
        for stack in stacks:
            stack.close()


_OPEN = _Open()
