"""A soak: many runs in one process over hostile objects, and the memory that each takes.

`python -m support.soak SOURCE LAKE RUNS OBJECTS SEED` makes objects below SOURCE and converts them
to LAKE. Each run meets its share of them for the first time, and once more what was made for the
runs before it; what is older is removed. Behind each run, a line of JSON says what it took, and
stderr says so to people.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import flowconv
from support.hostile import make_hostile

# Unreadable objects are tried again by so many runs.
_RUNS_KEPT = 3


@dataclass(frozen=True, kw_only=True)
class SoakRun:
    """What a run took, and found.

    Attributes:
        number: Its number, from 1.
        resident_bytes: The process's memory behind it.
        peak_bytes: The most that it had within it.
        objects: Objects converted.
        unreadable: Objects that could not be read.
    """

    number: int
    resident_bytes: int
    peak_bytes: int
    objects: int
    unreadable: int

    def __str__(self) -> str:
        memory = f"{self.resident_bytes / 1e6:.0f} MB, {self.peak_bytes / 1e6:.0f} MB at its peak"
        return (
            f"run {self.number}: {memory}; {self.objects} objects converted, "
            f"{self.unreadable} unreadable"
        )


def soak(source: Path, lake: str, runs: int, objects: int, seed: int) -> None:
    """Make and convert so many objects in so many runs; print what each run took."""
    options = flowconv.ConvertOptions(format="default", workers=2, max_object_size=64 << 20)
    for run in range(runs):
        for number in _objects_of(run - _RUNS_KEPT, runs, objects):
            (source / f"{number:06d}").unlink()
        for number in _objects_of(run, runs, objects):
            (source / f"{number:06d}").write_bytes(make_hostile(number, seed).body)
        _forget_peak()
        report = flowconv.convert(str(source), lake, options)
        memory = _memory_bytes()
        took = SoakRun(
            number=run + 1,
            resident_bytes=memory["VmRSS"],
            peak_bytes=memory["VmHWM"],
            objects=report.objects,
            unreadable=len(report.unreadable),
        )
        sys.stdout.write(f"{json.dumps(asdict(took))}\n")
        sys.stdout.flush()
        sys.stderr.write(f"{took}\n")


def _objects_of(run: int, runs: int, objects: int) -> range:
    return range(max(run, 0) * objects // runs, max(run + 1, 0) * objects // runs)


def _forget_peak() -> None:
    """Let the kernel measure the peak from here on (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def _memory_bytes() -> dict[str, int]:
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[-1] == "kB"}


if __name__ == "__main__":
    # What reaches the disk does not matter here, and takes most of the time.
    with mock.patch("os.fsync"):
        soak(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
