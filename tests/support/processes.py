"""Runs of `python -m flowconv` in processes of their own, which stop or die where a test says.

A process that has imported everything, and has no threads yet, forks for each run: that takes
milliseconds, where a start takes half a second. `python processes.py` is that process; it reads
orders from stdin and answers on stdout, a line of JSON each.

A run's steps are the calls below, each before it is made and after it: what the ledger, the lock
and the writer do, each change to the local file system, and each request to S3.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

from flowconv.storage.aws_descriptions import s3_loader
from support.warm_start import import_everything

CALLS = {
    "list objects": "flowconv.source.opening:list_with_day_ends",
    "plan": "flowconv.conversion.pending:plan_tasks",
    "read ledger": "flowconv.lake.ledger:Ledger.read",
    "read holder": "flowconv.lake.locking:read_holder",
    "parse": "flowconv.rows.parsing:BlockParser.parse",
    "check file": "flowconv.verification.lake_files:_check_file",
    "check lines": "flowconv.verification.recounting:LineCheck.run",
    "count rows": "flowconv.verification.recounting:SourceObjects._count_rows",
    "say": "flowconv.cli.log:TextLog.stopping",
    "stop": "flowconv.running:RunProgress.stop",
    "ensure_layout": "flowconv.conversion.converting:ensure_layout",
    "list_leftovers": "flowconv.conversion.converting:list_leftovers",
    "remove_leftovers": "flowconv.conversion.converting:remove_leftovers",
    "lock": "flowconv.lake.locking:Lock.__enter__",
    "unlock": "flowconv.lake.locking:Lock.__exit__",
    "holder": "flowconv.lake.locking:_encode",
    "append": "flowconv.lake.ledger:Ledger._append",
    "merge": "flowconv.lake.merging:Merging.merge",
    "write checkpoint": "flowconv.lake.checkpoints:Checkpoint._write",
    "write_intent": "flowconv.conversion.committing:write_intent",
    "commit": "flowconv.conversion.committing:TaskCommitter._commit",
    "open file": "flowconv.lake.writing:TaskWriter._open_file",
    "row group": "flowconv.lake.writing:TaskWriter._write_row_group",
    "close file": "flowconv.lake.writing:TaskWriter._close_file",
    "quarantine": "flowconv.lake.quarantine_writing:QuarantineWriter.write",
    "local publish": "flowconv.storage.local:_LocalSink.publish",
    "local delete": "flowconv.storage.local:LocalStorage.delete",
    "rename": "pathlib:Path.replace",
    "link": "pathlib:Path.hardlink_to",
    "unlink": "pathlib:Path.unlink",
    "mkdir": "pathlib:Path.mkdir",
    "fsync": "os:fsync",
    "S3 publish": "flowconv.storage.s3:_S3Sink.publish",
    "S3 delete": "flowconv.storage.s3:S3Storage.delete",
    "S3 list": "flowconv.storage.s3:Connection.start_list",
    "S3": "flowconv.storage.s3:Connection.start",
    "S3 answer": "flowconv.storage.s3:Connection.call",
}


@dataclass(frozen=True)
class Step:
    """The `number`-th time, from 0, that a run comes to a step; any step if it has no name.

    Of signals that can be heard, each of `times` is waited for until that is said, and then
    `until` the run has come to another step.
    """

    number: int = 0
    name: str = ""
    _: KW_ONLY
    signal: int = signal.SIGKILL
    times: int = 1
    until: str = ""


@dataclass(frozen=True)
class Done:
    """How a run ended: its exit code, or minus the signal; and the steps it took, in order."""

    code: int
    stdout: str
    stderr: str
    steps: tuple[str, ...]

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Running:
    """A run that was started."""

    def __init__(self, runs: Runs, pid: int, folder: Path) -> None:
        self.pid = pid
        self._runs = runs
        self._folder = folder

    def wait(self) -> Done:
        code = self._runs._order({"wait": self.pid})
        steps = self._folder / "steps"
        return Done(
            code,
            (self._folder / "stdout").read_text(),
            (self._folder / "stderr").read_text(),
            tuple(steps.read_text().splitlines()) if steps.exists() else (),
        )

    def wait_until_stopped(self) -> bool:
        """Tell whether it was stopped; else it has ended, and has been waited for."""
        return bool(self._runs._order({"wait until stopped": self.pid}))

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)


class Runs:
    """Starts runs; those that are left at its end are killed."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._numbers = itertools.count()

    def start(
        self,
        *arguments: str | Path,
        at: Step | None = None,
        patch: Mapping[str, Any] | None = None,
    ) -> Running:
        """Start `python -m flowconv` with these arguments.

        Args:
            arguments: What stands behind the command's name.
            at: Where it gets a signal.
            patch: `module:name` -> value, or what the function of that name returns.
        """
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        order = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(folder),
            "at": asdict(at) if at else None,
            "patch": dict(patch or {}),
        }
        return Running(self, self._order(order), folder)

    def run(self, *arguments: str | Path, **kwargs: Any) -> Done:
        """Start it, and wait for its end."""
        return self.start(*arguments, **kwargs).wait()

    def _order(self, order: Mapping[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@contextmanager
def prepared_runs(folder: Path) -> Iterator[Runs]:
    """Start the process that forks."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "AWS_"} | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "COLUMNS": "200",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield Runs(process, folder)
        finally:
            assert process.stdin
            process.stdin.close()


def _serve() -> None:
    """Do what the orders say, until there are no more."""
    for call in CALLS.values():
        importlib.import_module(call.partition(":")[0])
    import_everything()
    # To read how S3 is described takes 50 ms for each client.
    s3_loader(None).load_service_model("s3", "service-2")
    assert threading.active_count() == 1
    # Else each fork's garbage collection would write to, and so copy, all that was imported.
    gc.freeze()
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        answer: Any
        if "wait" in order:
            children.discard(order["wait"])
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        elif "wait until stopped" in order:
            pid, status = os.waitpid(order["wait until stopped"], os.WUNTRACED)
            answer = os.WIFSTOPPED(status)
            if not answer:
                children.discard(pid)
        elif answer := os.fork():
            children.add(answer)
        else:
            _run(order)
        print(json.dumps(answer), flush=True)  # noqa: T201
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _run(order: Mapping[str, Any]) -> NoReturn:
    from flowconv.cli.app import app

    folder = Path(order["folder"])
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        opened = os.open(folder / name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
    # The orders' buffers are the parent's.
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode) for fd, mode in enumerate("rww"))
    for target, value in order["patch"].items():
        owner, name = _find(target)
        returns = callable(getattr(owner, name))
        setattr(owner, name, (lambda *_, value=value: value) if returns else value)
    steps: list[str] = []
    _watch(steps, Step(**order["at"]) if order["at"] else None)
    code = 1
    try:
        app(order["arguments"], prog_name="flowconv")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    (folder / "steps").write_text("\n".join(steps))
    os._exit(code)


def _watch(steps: list[str], at: Step | None) -> None:
    """Note each step, and send the signal at the one that is meant."""
    # The main thread hears signals wherever it is, and takes a step then.
    noted = threading.Condition(threading.RLock())
    left = itertools.count(at.number if at else -1, -1)

    def step(name: str) -> None:
        with noted:
            steps.append(name)
            noted.notify_all()
            if at is None or at.name not in ("", name) or next(left) != 0:
                return
            if at.signal in (signal.SIGKILL, signal.SIGSTOP):
                # To this thread: to the process, it would go on until another has got it.
                signal.pthread_kill(threading.get_ident(), at.signal)
                return
        for number in range(at.times):
            os.kill(os.getpid(), at.signal)
            wait_for("after say", number + 1)
        if at.until:
            wait_for(at.until, 1)

    def wait_for(name: str, times: int) -> None:
        with noted:
            noted.wait_for(lambda: steps.count(name) >= times, timeout=60)

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def watching(*args: Any, **kwargs: Any) -> Any:
            which = f"{name} {args[1]}" if name.startswith("S3") and len(args) > 1 else name
            which = name if name in ("S3 publish", "S3 delete") else which
            step(f"before {which}")
            result = None if name == "fsync" else call(*args, **kwargs)
            step(f"after {which}")
            return result

        return watching

    for name, target in CALLS.items():
        owner, attribute = _find(target)
        setattr(owner, attribute, watched(name, getattr(owner, attribute)))


def _find(target: str) -> tuple[Any, str]:
    module, _, name = target.partition(":")
    owner: Any = importlib.import_module(module)
    *above, attribute = name.split(".")
    for part in above:
        owner = getattr(owner, part)
    return owner, attribute


if __name__ == "__main__":
    _serve()
