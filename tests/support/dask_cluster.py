"""A Dask cluster whose scheduler, workers and drivers are processes that can be killed and frozen.

`python dask_cluster.py` is the process that forks them: it has imported everything, which takes
seconds. Each line of its stdin is a JSON list: what to start, a file for stderr, and arguments. It
answers with the process's number.

A worker notes each step of a task as a file in the cluster's folder, and waits there while the
folder has a gate for the step.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# A frozen worker is given up after this time, and a task may lose any number of workers.
_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "2s",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1000",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}

# Steps in a worker: before a task is read; when files of a task, or of a compacted partition, are
# written; before checks.
READ, WRITTEN, CHECK = "read", "written", "check"

_DEADLINE_S = 60


class Forks:
    """What starts processes that can be killed."""

    def __init__(self, folder: Path, *, with_s3: bool = False) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, *(["s3"] if with_s3 else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _SETTINGS,
            text=True,
        )
        self._number = 0

    def start(self, what: str, *arguments: str) -> Started:
        """Start a process."""
        assert self._process.stdin
        assert self._process.stdout
        self._number += 1
        log = self.folder / f"{self._number}-{what}.log"
        self._process.stdin.write(json.dumps([what, str(log), *arguments]) + "\n")
        self._process.stdin.flush()
        return Started(int(self._process.stdout.readline()), log)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Started:
    """A process; its stderr is in a file, its exit code in another."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log
        self._code = log.with_suffix(".code")

    @property
    def stderr(self) -> str:
        return self._log.read_text()

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def has_ended(self) -> bool:
        """Tell whether it has ended."""
        return self._code.exists()

    def wait(self) -> int:
        """Wait for its end, and return its exit code, or minus the signal."""
        wait_until(self.has_ended)
        return int(self._code.read_text())

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        if not self.has_ended():
            self.signal(signal.SIGKILL)
            self.wait()


class DaskCluster:
    """The cluster; its workers have one thread each."""

    def __init__(self, forks: Forks, folder: Path) -> None:
        self.folder = folder
        self.workers: dict[str, Started] = {}
        self._forks = forks
        self._number = 0
        address = folder / "address"
        self.scheduler = forks.start("scheduler", str(address))
        wait_until(address.exists)
        self.address = address.read_text()

    def add_worker(
        self, flowconv: str = "", attempts: int = 0, environment: Mapping[str, str] | None = None
    ) -> str:
        """Start a worker, and return its name.

        Args:
            flowconv: It says that it has this release.
            attempts: It makes a request to S3 so often.
            environment: More variables of its environment.
        """
        self._number += 1
        name = f"worker-{self._number}"
        how = json.dumps([flowconv, attempts, environment or {}])
        self.workers[name] = self._forks.start("worker", self.address, name, str(self.folder), how)
        return name

    def kill(self, name: str) -> None:
        """Kill a worker."""
        self.workers.pop(name).kill()

    def add_driver(self, *arguments: str | Path) -> Started:
        """Start flowconv."""
        return self._forks.start("driver", *map(str, arguments))

    @contextmanager
    def gate(self, step: str, passing: int = 0) -> Iterator[Callable[[], None]]:
        """Let all workers wait at a step, to the end of the block or until the gate is opened.

        Args:
            step: The step.
            passing: So many tasks, which come one after the other, do not wait.

        Yields:
            What opens it.
        """
        gate = self.folder / f"gate-{step}"
        gate.write_text(str(passing))
        try:
            yield gate.unlink
        finally:
            gate.unlink(missing_ok=True)

    def at(self, step: str) -> list[str]:
        """Return the name of the worker of each task that came to a step so far."""
        return [path.name.split("_")[1] for path in self.folder.glob(f"at-{step}_*")]

    def forget_steps(self) -> None:
        """Forget the steps so far."""
        for path in self.folder.glob("at-*"):
            path.unlink()

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers.values(), self.scheduler):
            process.kill()


@contextmanager
def forks(folder: Path, *, with_s3: bool = False) -> Iterator[Forks]:
    """Start what starts processes; with S3's clients in them, if they are to use it."""
    started = Forks(folder, with_s3=with_s3)
    try:
        yield started
    finally:
        started.close()


@contextmanager
def dask_cluster(forks: Forks, folder: Path, workers: int) -> Iterator[DaskCluster]:
    """Start a cluster."""
    cluster = DaskCluster(forks, folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.close()


def wait_until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


# --- the processes --------------------------------------------------------------------------------


def _serve() -> None:
    """Fork for each line of stdin."""
    import distributed  # noqa: F401

    from support.warm_start import import_everything

    import_everything()
    if sys.argv[1:]:
        import flowconv.storage.s3  # noqa: F401
    for line in sys.stdin:
        what, log, *arguments = json.loads(line)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            if pid := os.fork():
                print(pid, flush=True)  # noqa: T201
                _, status = os.waitpid(pid, 0)
                code = Path(log).with_suffix(".code")
                code.with_suffix(".new").write_text(str(os.waitstatus_to_exitcode(status)))
                code.with_suffix(".new").rename(code)
                os._exit(0)
            _attend(what, Path(log), arguments)


def _attend(what: str, log: Path, arguments: list[str]) -> None:
    """Be a process; never returns."""
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(number, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        if what == "driver":
            from flowconv.cli.app import run

            sys.argv = ["flowconv", *arguments]
            run()
        else:
            asyncio.run(_schedule(*arguments) if what == "scheduler" else _work(*arguments))
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


async def _schedule(address: str) -> None:
    from distributed import Scheduler

    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        Path(f"{address}.new").write_text(scheduler.address)
        Path(f"{address}.new").rename(address)
        await scheduler.finished()


async def _work(address: str, name: str, folder: str, how: str) -> None:
    from distributed import Worker

    _note_steps(name, Path(folder))
    flowconv, attempts, environment = json.loads(how)
    os.environ |= environment
    if attempts:
        from flowconv.storage import retrying

        retrying.ATTEMPTS = attempts
    if flowconv:
        from flowconv.engines import environment, workers

        other = {**environment.environment(), "flowconv": flowconv}
        vars(workers)["environment"] = lambda: other
    async with Worker(
        address, nthreads=1, name=name, dashboard=False, local_directory=folder
    ) as worker:
        await worker.finished()


def _note_steps(name: str, folder: Path) -> None:
    from flowconv.conversion.task import TaskConverter
    from flowconv.upkeep.merging import Merger
    from flowconv.verification.checking import VerificationWorker

    convert = TaskConverter.convert
    check = VerificationWorker.do
    merge = Merger.merge

    def note(step: str, task_id: str) -> None:
        (folder / f"at-{step}_{name}_{task_id}_{time.monotonic_ns()}").touch()
        with suppress(FileNotFoundError):
            while len([*folder.glob(f"at-{step}_*")]) > int((folder / f"gate-{step}").read_text()):
                time.sleep(0.02)

    def convert_and_note(self: Any, task: Any, progress: Any) -> Any:
        note(READ, task.id)
        attempt = convert(self, task, progress)
        note(WRITTEN, task.id)
        return attempt

    def note_and_check(self: Any, checks: Any) -> Any:
        note(CHECK, str(len(checks)))
        return check(self, checks)

    def merge_and_note(self: Any, partition: Any, progress: Any) -> Any:
        merged = merge(self, partition, progress)
        note(WRITTEN, str(len(partition.files)))
        return merged

    TaskConverter.convert = convert_and_note  # type: ignore[method-assign]
    Merger.merge = merge_and_note  # type: ignore[method-assign]
    VerificationWorker.do = note_and_check  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    with suppress(KeyboardInterrupt):
        _serve()
