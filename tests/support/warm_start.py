"""The command in processes of its own, without the second that Python takes to import it.

A process that has imported everything, and has no threads yet, forks for each command:
`python warm_start.py SOCKET` is that process. Who connects to its socket sends an order in JSON,
and its streams; the answer is how the command ended. From there on the command runs as
`python -m flowconv` does, to the end of the interpreter.

    with warm_start(folder) as warm:
        warm.run("convert", "logs", "lake").exit_code
        subprocess.run("flowconv schema | head", shell=True, env={"PATH": f"{warm.bin}:{path}"})
    subprocess.run([warm.bin / "python-c", "import flowconv"])
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import typer.main

# What commands import when they need it; not what S3 takes, 40 MB that most do without.
_MODULES = (
    "flowconv.cli.console",
    "flowconv.cli.metrics",
    "flowconv.cli.tables.conversion",
    "flowconv.cli.tables.lake",
    "flowconv.cli.tables.verification",
    "flowconv.conversion.attempt",
    "flowconv.conversion.converting",
    "flowconv.conversion.dry_run",
    "flowconv.conversion.remote",
    "flowconv.inspecting",
    "flowconv.lake.quarantine",
    "flowconv.lake.status",
    "flowconv.samples.delivering",
    "flowconv.samples.generating",
    "flowconv.samples.networks",
    "flowconv.storage.local",
    "flowconv.verification.verifying",
    "_strptime",
    "encodings.ascii",
    "encodings.idna",
    "numpy.ma",
    "pyarrow.parquet",
    "secrets",
)

# What stands for `flowconv` in a shell, and for `python -W error -c`.
_COMMAND = """#!{python} -IS
import json, os, socket, sys

streams = []
for number in range(3):
    try:
        os.fstat(number)
        streams.append(number)
    except OSError:
        pass
order = {{{what}, "streams": streams, "folder": os.getcwd()}}
order["environment"] = dict(os.environ)
with socket.socket(socket.AF_UNIX) as server:
    server.connect({socket!r})
    socket.send_fds(server, [json.dumps(order).encode()], streams)
    server.shutdown(socket.SHUT_WR)
    code = json.loads(server.makefile().read())["exit code"]
os._exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Ended:
    """What a process said and took; `mb` are millions of bytes at its peak, as in reports."""

    exit_code: int
    mb: float
    stdout: str
    stderr: str


@dataclass(frozen=True)
class WarmStart:
    """Runs commands; in a shell, the `flowconv` in the folder `bin` does so too.

    `python-c` there runs the code that it is given.
    """

    socket: Path
    bin: Path

    def run(
        self,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        most_addresses: int | None = None,
        cpu_s: int = 120,
    ) -> Ended:
        """Run a command to its end; if it runs away or waits for very long, it is killed (-9).

        Args:
            arguments: What stands behind the command's name.
            environment: The caller's own if it is not given.
            user: Its user and group, if it is to be another; of root alone.
            most_addresses: RLIMIT_AS.
            cpu_s: The processor time that it may take.
        """
        order = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
            "user": user,
            "most addresses": most_addresses,
            "processor time": cpu_s,
        }
        with (
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
        ):
            answer = self._order(order, (stdin, stdout, stderr))
            said = []
            for stream in (stdout, stderr):
                stream.seek(0)
                said.append(stream.read().decode(errors="replace"))
        return Ended(answer["exit code"], answer["mb"], *said)

    def _order(self, order: Mapping[str, Any], streams: Sequence[IO[bytes]]) -> Any:
        text = json.dumps({**order, "streams": [0, 1, 2]}).encode()
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.socket))
            socket.send_fds(server, [text], [stream.fileno() for stream in streams])
            server.shutdown(socket.SHUT_WR)
            return json.loads(server.makefile().read())


def patience_s(cpu_s: int) -> int:
    """Return how long a command may take; on a busy machine far longer than its processor time."""
    return 10 * cpu_s


@contextmanager
def warm_start() -> Iterator[WarmStart]:
    """Start the process that forks."""
    with tempfile.TemporaryDirectory(prefix="warm-") as name:
        warm = WarmStart(Path(name) / "socket", Path(name) / "bin")
        warm.bin.mkdir()
        for program, what in (
            ("flowconv", '"arguments": sys.argv[1:]'),
            ("python-c", '"code": sys.argv[1]'),
        ):
            text = _COMMAND.format(python=sys.executable, socket=str(warm.socket), what=what)
            (warm.bin / program).write_text(text)
            (warm.bin / program).chmod(0o755)
        with subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(warm.socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin
            assert process.stdout
            try:
                assert process.stdout.readline() == b"ready\n"
                yield warm
            finally:
                process.stdin.close()


def import_everything() -> None:
    """Import all that commands do, so that no fork has to, without a thread."""
    for module in _MODULES:
        importlib.import_module(module)
    from flowconv.cli.app import _WithoutPandas, app

    # As the command does: pandas takes half a second.
    sys.meta_path.insert(0, _WithoutPandas())
    # The command is made of its options here, not in each fork.
    typer.main.get_command = cache(typer.main.get_command)
    for arguments in (["--help"], ["schema"]):  # help imports every command
        with redirect_stdout(io.StringIO()), suppress(SystemExit):
            app(arguments, prog_name="flowconv")
    assert threading.active_count() == 1


# --- the process that forks -----------------------------------------------------------------------


def _serve(path: str) -> dict[str, Any] | None:
    """Fork for each order until stdin ends; in the fork, return the order."""
    import_everything()
    # As in the tests themselves: each takes milliseconds.
    os.fsync = lambda fd: None
    # Else each fork's garbage collection would write to, and so copy, all that was imported.
    gc.freeze()
    resident = _resident_bytes()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            readable, _, _ = select.select([0, listener.fileno()], [], [])
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if 0 in readable:
                return None
            if readable:
                connection, _ = listener.accept()
                with connection:
                    if os.fork() == 0:
                        listener.close()
                        return _attend(connection, resident)


def _attend(connection: socket.socket, resident_before: int) -> dict[str, Any]:
    """Fork for an order, and answer how it ended; in the fork, return the order."""
    # What is mapped from files does not come along, but is in memory all the same.
    left_bytes = resident_before - _resident_bytes()
    parts, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while part := connection.recv(1 << 16):
        parts += part
    order: dict[str, Any] = json.loads(parts)
    if pid := os.fork():
        for stream in streams:
            os.close(stream)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.alarm(patience_s(order.get("processor time", 0)))
        _, status, usage = os.wait4(pid, 0)
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) + left_bytes
        answer = {"exit code": os.waitstatus_to_exitcode(status), "mb": peak / 1e6}
        with suppress(BrokenPipeError):
            connection.sendall(json.dumps(answer).encode())
        os._exit(0)
    connection.close()
    for number in range(3):
        os.close(number)
    for number, stream in zip(order["streams"], streams, strict=True):
        os.dup2(stream, number)
    for stream in streams:
        if stream > 2:
            os.close(stream)
    return order


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0  # Not on Linux: then it does not matter which pages come along.
    return pages * os.sysconf("SC_PAGE_SIZE")


def _become(order: Mapping[str, Any]) -> None:
    """Take the folder, environment and limits of an order; its streams are there."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = None
        if number in order["streams"]:
            errors = "backslashreplace" if name == "stderr" else "strict"
            stream = os.fdopen(number, mode, encoding="utf-8", errors=errors, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    os.chdir(order["folder"])
    if (cpu_s := order.get("processor time")) is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    if (limit := order.get("most addresses")) is not None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if (user := order.get("user")) is not None:
        os.setgid(user)
        os.setuid(user)
    sys.argv = ["flowconv", *order.get("arguments", ())]


def _end_quickly(end: BaseException | None) -> None:
    """End as the interpreter does, but leave its memory as it is, which takes a tenth of a second.

    Where that fails, and after an error, it is the interpreter that ends.
    """
    code = end.code if isinstance(end, SystemExit) else end
    with suppress(AttributeError, OSError, ValueError):
        if code is None or isinstance(code, int):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code or 0)


if __name__ == "__main__" and (order := _serve(sys.argv[1])):
    _become(order)
    from flowconv.cli.app import run

    try:
        if "code" in order:
            exec(order["code"], {"__name__": "__main__"})
        else:
            run()
    finally:
        _end_quickly(sys.exc_info()[1])
