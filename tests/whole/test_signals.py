"""A run that is stopped: SIGTERM and Ctrl-C, to a process of its own."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

import flowconv
from flowconv import ConvertOptions, VerifyOptions, convert
from flowconv.lake.converted_objects import etags
from flowconv.lake.layout import is_lake
from flowconv.lake.ledger import Ledger
from flowconv.lake.locking import Lock, read_holder
from flowconv.running import RunProgress, run_all
from flowconv.storage.opening import open_storage
from support.lakes import ROW, V2, aws_key, data_files, write_objects
from support.processes import Runs, Step

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

# A day is a task; more of them than are under way at once.
DAYS = 16
ROWS = 3
DEADLINE_S = 60

# Each task takes so long, and notes its beginning in a file.
SLOW = """
import signal, sys, time
from pathlib import Path
from flowconv.cli.app import app
from flowconv.conversion.task import TaskConverter

# Who started this may have had them switched off.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
seconds, notes = float(sys.argv.pop(1)), Path(sys.argv.pop(1))
read = TaskConverter._read

def read_slowly(self, log_objects, fetcher, attempt, failures, progress):
    with notes.open("a") as file:
        file.write("read\\n")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)
        progress.add()
    read(self, log_objects, fetcher, attempt, failures, progress)

TaskConverter._read = read_slowly
app()
"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    keys = [aws_key(time=f"2026-01-{day:02}T00:05") for day in range(1, DAYS + 1)]
    write_objects(tmp_path / "logs", dict.fromkeys(keys, gzip.compress(V2 + ROW * ROWS)))
    return tmp_path / "logs"


@contextmanager
def under_way(logs: Path, task_s: float, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A run some of whose tasks are under way."""
    notes = logs.parent / "notes"
    command = [
        *(sys.executable, "-c", SLOW, str(task_s), str(notes)),
        *("convert", str(logs), str(logs.parent / "lake"), "--workers", "2", *options),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until = time.monotonic() + DEADLINE_S
            while not notes.exists() or not notes.read_text():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def converted(lake: Path) -> int:
    """How many objects are converted; that nothing else is there, and nothing half-written."""
    ledger = Ledger.read(open_storage(str(lake)))
    number = len(etags(ledger))
    assert {file.relative_to(lake).as_posix() for file in data_files(lake)} == set(ledger.files())
    assert flowconv.scan(str(lake)).collect().height == number * ROWS
    assert not [path for path in (lake / "_flowconv/staging").rglob("*") if path.is_file()]
    assert not list((lake / "_flowconv/intents").glob("*"))
    assert not (lake / "_flowconv/lock.json").exists()
    assert ledger.runs()[-1].ended
    return number


def complete(logs: Path) -> None:
    """The next run does what is left, and no more."""
    lake = logs.parent / "lake"
    before = converted(lake)
    report = convert(str(logs), str(lake), ConvertOptions(workers=2))
    assert (report.already_converted, report.objects) == (before, DAYS - before)
    assert converted(lake) == DAYS


SIGNALS = pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
    ids=["SIGTERM", "SIGINT", "SIGHUP"],
)


@SIGNALS
def test_tasks_under_way_are_finished(logs: Path, number: signal.Signals, code: int) -> None:
    with under_way(logs, 0.3, "--grace", "60", "--json") as process:
        process.send_signal(number)
        printed, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    assert errors.splitlines()[0].startswith("stopping: tasks under way have 60 s to finish;")
    assert errors.splitlines()[-1].startswith("error: stopped.")
    assert 0 < converted(logs.parent / "lake") < DAYS
    report = json.loads(printed)
    assert (report["cancelled"], report["complete"]) == (True, False)
    assert report["objects"] == converted(logs.parent / "lake")
    complete(logs)


@SIGNALS
def test_without_grace_they_are_abandoned(logs: Path, number: signal.Signals, code: int) -> None:
    metrics = logs.parent / "metrics.prom"
    with under_way(logs, 600, "--grace", "0", "--metrics-file", str(metrics)) as process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert converted(logs.parent / "lake") == 0
    assert re.search(r"^flowconv_last_run_failed\{.*\} 1$", metrics.read_text(), re.MULTILINE)
    complete(logs)


# --- at every step ------------------------------------------------------------------------------

TERM = partial(Step, signal=signal.SIGTERM)
FEW = 3


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs of few days; not to be changed."""
    logs = tmp_path_factory.mktemp("few") / "logs"
    keys = [aws_key(time=f"2026-01-{day:02}T00:05") for day in range(1, FEW + 1)]
    write_objects(logs, dict.fromkeys(keys, gzip.compress(V2 + ROW * ROWS)))
    return logs


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.mark.parametrize(
    "step",
    [
        TERM(0, "before list objects"),
        TERM(0, "after plan"),
        TERM(0, "before ensure_layout"),
        TERM(0, "after ensure_layout"),
        TERM(0, "before lock"),
        TERM(0, "before read holder"),
        TERM(0, "after holder"),
        TERM(0, "before append"),  # The run begins.
        TERM(0, "after append"),
        TERM(0, "before remove_leftovers"),
        TERM(2, "before parse"),
        TERM(2, "before open file"),
        TERM(2, "after row group"),
        TERM(2, "before close file"),
        TERM(2, "before local publish"),
        TERM(2, "before commit"),
        TERM(2, "before append"),
        TERM(2, "after append"),
        TERM(FEW - 1, "after commit"),
        TERM(FEW + 1, "before append"),  # The run ends.
        TERM(FEW + 1, "after append"),
        TERM(1, "before read holder"),  # It releases the lock.
    ],
    ids=lambda step: f"{step.name} {step.number}",
)
def test_a_run_stops_at_any_step(few: Path, lake: Path, runs: Runs, step: Step) -> None:
    done = runs.run(*run_of(few, lake), "--grace=60", at=step)
    assert done.code == 143, done
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("stopping: tasks under way have 60 s to finish;")
    assert last == "error: stopped. What was finished is kept; nothing half-written is left."
    if (lake / "_flowconv/ledger").exists():
        assert json.loads(done.stdout)["objects"] == converted(lake)
        assert json.loads(done.stdout)["cancelled"]
    report = convert(str(few), str(lake), ConvertOptions(workers=2))
    assert report.already_converted + report.objects == converted(lake) == FEW


@pytest.mark.parametrize(
    ("name", "objects", "times"),
    [
        ("before parse", 0, 1),
        ("before open file", 0, 1),
        ("after row group", 0, 1),
        ("before close file", 0, 1),
        ("after close file", 0, 2),
        ("before write_intent", 0, 1),
        ("before local publish", 1, 1),  # It is the last file, and what is left is quick.
        ("before append", 1, 2),
    ],
)
def test_a_task_is_abandoned_at_any_step(
    few: Path, lake: Path, runs: Runs, name: str, objects: int, times: int
) -> None:
    """Without grace, or by a second signal. Where its files are visible it is committed."""
    number = 1 if name == "before append" else 0
    step = TERM(number, name, times=times, until="after stop")
    grace = f"--grace={[0, 600][times - 1]}"
    done = runs.run(*run_of(few, lake), "--workers=1", grace, at=step, patch=ONE_AT_A_TIME)
    assert done.code == 143, done
    assert ("stopping at once." in done.stderr.splitlines()) == (times == 2)
    assert json.loads(done.stdout)["objects"] == objects
    assert converted(lake) == objects


# No other task is under way that could be done by then.
ONE_AT_A_TIME = {"flowconv.conversion.task:BESIDE_EACH_CORE": 0}


def run_of(logs: Path, lake: Path) -> list[str | Path]:
    return ["convert", logs, lake, "--workers=2", "--json"]


def test_a_run_that_waits_for_the_lock_stops(few: Path, lake: Path, runs: Runs) -> None:
    convert(str(few), str(lake), ConvertOptions(workers=2))
    with Lock(open_storage(str(lake)), "another"):
        done = runs.run(*run_of(few, lake), "--wait", at=TERM(1, "before read holder"))
        assert done.code == 143, done
        assert read_holder(open_storage(str(lake))) is not None
    assert json.loads(done.stdout)["objects"] == 0
    assert converted(lake) == FEW


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with lines in quarantine and a file that is damaged, beside its logs."""
    folder = tmp_path_factory.mktemp("damaged")
    keys = [aws_key(time=f"2026-01-{day:02}T00:05") for day in range(1, FEW + 1)]
    write_objects(folder / "logs", dict.fromkeys(keys, gzip.compress(V2 + ROW * ROWS + b"x\n")))
    convert(str(folder / "logs"), str(folder / "lake"), ConvertOptions(workers=2))
    path = data_files(folder / "lake")[0]
    path.write_bytes(path.read_bytes()[:-1] + b"0")
    return folder


REPAIR = ("verify", "--source=logs", "--repair")


@pytest.mark.parametrize(
    ("command", "step", "said"),
    [
        (
            ("verify",),
            TERM(0, "before check file", until="after stop"),
            "running checks are abandoned",
        ),
        (
            ("verify", "--source=logs"),
            TERM(0, "before check lines", until="after stop"),
            "running checks are abandoned",
        ),
        (REPAIR, TERM(0, "before count rows", until="after stop"), "running checks are abandoned"),
        (REPAIR, TERM(0, "before lock"), "running checks are abandoned"),
        (REPAIR, TERM(0, "before read holder"), "running checks are abandoned"),
        (REPAIR, TERM(0, "before append"), "running checks are abandoned"),
        (REPAIR, TERM(1, "after append"), "running checks are abandoned"),
        (REPAIR, TERM(0, "before local delete"), "running checks are abandoned"),
        (("status",), TERM(0, "before read ledger"), ""),
        (("quarantine",), TERM(0, "after read ledger"), ""),
    ],
    ids=lambda value: value.name if isinstance(value, Step) else None,
)
def test_a_command_stops_at_any_step(
    damaged: Path, lake: Path, runs: Runs, command: tuple[str, ...], step: Step, said: str
) -> None:
    """And leaves a lake that it can be done to again."""
    logs = damaged / "logs"
    shutil.copytree(damaged / "lake", lake)
    name, *options = (part.replace("=logs", f"={logs}") for part in command)
    if step.until:  # No other check is under way that could be done by then.
        options.append("--workers=1")
    done = runs.run(name, lake, *options, "--json", at=step)
    assert done.code == 143, done
    first, *_, last = done.stderr.splitlines()
    assert first.startswith(f"stopping: {said}" if said else "stopping.")
    assert last.startswith("error: stopped.")
    assert json.loads(done.stdout)["error"] == last.removeprefix("error: ")
    if step.until:
        assert step.name.replace("before", "after") not in done.steps
    assert not (lake / "_flowconv/lock.json").exists()
    flowconv.verify(str(lake), source=str(logs), options=VerifyOptions(repair=True))
    convert(str(logs), str(lake), ConvertOptions(workers=2))
    assert flowconv.verify(str(lake), source=str(logs)).complete


def test_an_interrupt_means_the_same_wherever_it_comes() -> None:
    progress = RunProgress(total_objects=20, total_bytes=0)
    begun: list[int] = []
    interrupted, cancelled = threading.Event(), threading.Event()

    def interrupt(_: RunProgress) -> None:
        if interrupted.is_set():
            cancelled.set()
        elif len(begun) == 4:
            interrupted.set()
            raise KeyboardInterrupt

    def run(number: int) -> int:
        begun.append(number)
        if number >= 2:
            assert cancelled.wait(DEADLINE_S)
        progress.add()
        return number

    results: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        results.extend(run_all(range(20), run, 2, progress, grace_s=60, on_progress=interrupt))
    # Those that had ended, and those that were under way.
    assert sorted(results) == [0, 1, 2, 3]


def test_what_was_done_is_counted_when_a_task_fails() -> None:
    """Tasks that are done when another fails have counted; a report is to say so."""

    all_begun, stopped = threading.Barrier(3), threading.Event()

    def run(number: int) -> int:
        if number < 3:
            all_begun.wait(DEADLINE_S)
        if number == 1:
            raise ValueError("it failed")
        assert stopped.wait(DEADLINE_S)  # Commits, past all that it could be stopped at.
        return number

    results: list[int] = []
    progress = RunProgress(total_objects=9, total_bytes=0)
    with pytest.raises(ValueError, match="it failed"):
        results.extend(run_all(range(9), run, 3, progress, on_stop=stopped.set))
    assert sorted(results) in ([0, 2], [0, 2, 3])


@pytest.mark.parametrize("stopped_at", [1, 13, 26, 39, 45, 59])
def test_a_task_of_many_files_stops_at_each(tmp_path: Path, stopped_at: int) -> None:
    """While they are written, closed and made visible; nothing is left behind."""
    rows = [ROW.replace(b"eni-", b"eni-%02d" % n) for n in range(20)]
    write_objects(tmp_path / "logs", {aws_key(): V2 + b"".join(rows)})
    options = ConvertOptions(workers=1, partition_by=("date", "interface_id"), grace=0)
    steps = 0
    add = RunProgress.add

    def count(self: RunProgress, **counts: int) -> None:
        nonlocal steps
        steps += not counts
        if steps == stopped_at:
            self.stop()
        add(self, **counts)

    with mock.patch.object(RunProgress, "add", count):
        report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    assert (report.objects, report.files) == (0, 0)
    lake = tmp_path / "lake"
    assert list(data_files(lake)) == []
    assert not [path for path in (lake / "_flowconv/staging").rglob("*") if path.is_file()]
    again = convert(str(tmp_path / "logs"), str(lake), options)
    assert (again.objects, again.files) == (1, 20)
    assert flowconv.scan(str(lake)).collect().height == 20


def test_the_grace_ends(logs: Path) -> None:
    began = time.monotonic()
    with under_way(logs, 600, "--grace", "1") as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    assert time.monotonic() - began > 1
    assert converted(logs.parent / "lake") == 0
    complete(logs)


def test_a_second_signal_ends_the_grace(logs: Path) -> None:
    with under_way(logs, 600, "--grace", "600") as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    assert converted(logs.parent / "lake") == 0
    complete(logs)


def test_after_a_kill_the_next_run_goes_on(logs: Path) -> None:
    lake = open_storage(str(logs.parent / "lake"))
    with under_way(logs, 0.2) as process:
        until = time.monotonic() + DEADLINE_S
        while not (is_lake(lake) and etags(Ledger.read(lake))):
            assert time.monotonic() < until
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=DEADLINE_S)
    report = convert(str(logs), str(logs.parent / "lake"), ConvertOptions(workers=2))
    assert report.already_converted > 0
    assert report.already_converted + report.objects == DAYS
    assert converted(logs.parent / "lake") == DAYS


# Ctrl-C while the command line is imported.
AT_THE_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "flowconv.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
from flowconv.__main__ import run
run()
"""


def test_stopped_before_it_begins() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_IMPORT, "status", "lake"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
