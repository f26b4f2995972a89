"""How much memory a command takes at the most, measured as the peak of a process of its own.

peak_mb("convert", "logs", "lake", "--workers", "1").mb < promised_mb(workers=1)
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from support.warm_start import Ended, patience_s

# What the README promises: for every worker, for every worker that reads Parquet, and besides.
WORKER_MB = 200
PARQUET_WORKER_MB = 250
PROCESS_MB = 150

# Linux counts the memory of whoever starts a process as the process's own, until it is replaced.
# So a small one starts it, not pytest; it also ends what runs away.
_LAUNCHER = """
import json, os, resource, signal, subprocess, sys
result, cpu_s, patience_s, addresses, *command = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s), int(cpu_s)))
resource.setrlimit(resource.RLIMIT_AS, (int(addresses), int(addresses)))
process = subprocess.Popen(command)
signal.signal(signal.SIGALRM, lambda *_: process.kill())
signal.alarm(int(patience_s))
_, status, usage = os.wait4(process.pid, 0)
unit = 1 if sys.platform == "darwin" else 1024
with open(result, "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit / 1e6], file)
"""

# Addresses, not memory: far beyond any promise, so that a mistake is found and the machine lives.
MOST_ADDRESSES = 12 << 30


def promised_mb(*, workers: int = 1, parquet: bool = False) -> int:
    """What a run may take at the most."""
    return workers * (PARQUET_WORKER_MB if parquet else WORKER_MB) + PROCESS_MB


def peak_mb(*arguments: str, cpu_s: int = 120) -> Ended:
    """Run `python -m flowconv` with arguments to its end.

    After so much processor time, or waiting for very long, it is killed (-9).
    """
    return peak_of([sys.executable, "-m", "flowconv", *arguments], cpu_s)


def peak_of(command: list[str], cpu_s: int = 120) -> Ended:
    """Run any command; see `peak_mb`."""
    with tempfile.TemporaryDirectory() as folder:
        result, output, errors = (Path(folder) / name for name in ("result", "output", "errors"))
        limits = map(str, (cpu_s, patience_s(cpu_s), MOST_ADDRESSES))
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(result), *limits]
        with output.open("wb") as stdout, errors.open("wb") as stderr:
            subprocess.run(
                [*launch, *command],
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                check=True,
            )
        exit_code, mb = json.loads(result.read_text())
        return Ended(
            exit_code,
            mb,
            output.read_text(errors="replace"),
            errors.read_text(errors="replace"),
        )
