"""Dask as an engine, and what the command line names: a scheduler, or a cluster of this machine."""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, KilledWorker, LocalCluster

from flowconv.engines.environment import environment, require_same
from flowconv.engines.interface import KEPT
from flowconv.engines.workers import Done, describe
from flowconv.errors import EngineError, UsageError, quote
from flowconv.events import log_event

SCHEDULER_VARIABLE = "DASK_SCHEDULER_ADDRESS"

# Two workers and their scheduler took 9 % of a core to do nothing, most of it to measure
# themselves, and take 1 % (benchmarks/README.md, "bench_dask"). The Dockerfile has the same.
QUIET: Mapping[str, bool | str] = {
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "1s",
    "distributed.worker.profile.enabled": False,
}

# A cluster that grows by itself must see jobs before it has workers.
_LEAST_PLACES = 8

# A cluster's first machines take some minutes.
_WITHOUT_WORKERS_S = 600.0

# The number of workers is asked for this often.
_COUNTED_EVERY_S = 2.0

_CONNECT_S = 30


class DaskEngine:
    """A Dask cluster as an engine.

    Args:
        client: Its client.

    Raises:
        EngineError: A worker differs from the driver, or the scheduler does not answer.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scheduler = client.scheduler.address if client.scheduler else "?"
        self._executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
        self._mutex = threading.Lock()
        self._counted = -_COUNTED_EVERY_S
        self._places = 0
        self._had_workers = time.monotonic()
        self._require_same()

    def submit(
        self, function: Callable[..., Done], *arguments: object, without: Collection[str] = ()
    ) -> "Future[Done]":
        """See `Engine`."""
        # Whoever is left does it if the others are gone: a job must not wait for ever.
        where = {"workers": self._others(without), "allow_other_workers": True} if without else {}
        future: Future[Done] = self._executor.submit(function, *arguments, **where)
        return future

    def has_others(self, without: Collection[str]) -> bool:
        """See `Engine`."""
        return bool(self._others(without))

    def places(self) -> int:
        """See `Engine`."""
        with self._mutex:
            now = time.monotonic()
            if now - self._counted >= _COUNTED_EVERY_S:
                self._counted = now
                self._places = sum(self._threads().values())
                if self._places:
                    self._had_workers = now
        silent_s = now - self._had_workers
        if silent_s > _WITHOUT_WORKERS_S:
            raise EngineError(
                f"Dask's scheduler {self._scheduler} has had no worker for {silent_s:.0f} seconds. "
                f"Start workers: dask worker {self._scheduler}. {KEPT}"
            )
        return max(self._places, _LEAST_PLACES)

    def explain(self, error: Exception) -> EngineError | None:
        """See `Engine`."""
        if isinstance(error, KilledWorker):
            return EngineError(
                "several workers of Dask died one after the other at the same task; perhaps they "
                f"have too little memory (docs/scale-out.md). {KEPT}"
            )
        if isinstance(error, CancelledError) or self._client.status != "running":
            return self._gone()
        if isinstance(error, ModuleNotFoundError | AttributeError):
            return EngineError(
                f"a worker of Dask cannot load flowconv ({error}). Install flowconv "
                f"{environment()['flowconv']} with the extra dask on all workers."
            )
        if type(error).__module__.partition(".")[0] in ("distributed", "dask"):
            return EngineError(f"Dask failed: {error}. {KEPT}")
        return None

    def _others(self, without: Collection[str]) -> list[str]:
        """Return the addresses of the other workers."""
        return [address for address in self._threads() if address not in without]

    def _threads(self) -> dict[str, int]:
        """Return the address of each worker, and how many threads it has."""
        try:
            threads: dict[str, int] = self._client.nthreads()  # type: ignore[no-untyped-call]
        except (OSError, CancelledError, RuntimeError) as error:
            raise self._gone() from error
        return threads

    def _gone(self) -> EngineError:
        return EngineError(
            f"the connection to Dask's scheduler {self._scheduler} is lost; it ended, or the "
            f"network did. {KEPT}"
        )

    def _require_same(self) -> None:
        """Compare the releases of the workers that are there; others are checked at their jobs."""
        try:
            answers: dict[str, Any] = self._client.run(describe, on_error="return")
        except (OSError, CancelledError, RuntimeError) as error:
            raise self._gone() from error
        for answer in answers.values():
            if isinstance(answer, Exception):
                raise self.explain(answer) or answer
            name, of_worker = answer
            require_same(environment(), of_worker, name)
        log_event("engine_found", scheduler=self._scheduler, workers=len(answers))


@contextmanager
def dask_client(scheduler: str | None, workers: int) -> Iterator[Client]:
    """Connect to a scheduler, or start a cluster on this machine for the block.

    Args:
        scheduler: Its address; None: the environment's DASK_SCHEDULER_ADDRESS, if there is one.
        workers: Number of workers of a cluster on this machine, each of one thread.

    Raises:
        UsageError: The address is not valid.
        EngineError: There is no scheduler.
    """
    address = scheduler or os.environ.get(SCHEDULER_VARIABLE)
    if not address:
        with (
            dask.config.set(QUIET),
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                # A run bounds its memory itself, and Dask would look ten times a second.
                memory_limit=0,
                # Any port: another cluster may have the usual one.
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,  # type: ignore[no-untyped-call]
        ):
            yield client
        return
    if "://" not in address:
        raise UsageError(
            f"--scheduler: {quote(address)} is not the address of a scheduler. Write "
            "tcp://HOST:PORT; the scheduler says it when it starts."
        )
    try:
        client = Client(address, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise EngineError(
            f"Dask's scheduler {address} does not answer ({error}). Start one (dask scheduler), or "
            "leave out --scheduler for a cluster on this machine."
        ) from error
    with client:
        yield client
