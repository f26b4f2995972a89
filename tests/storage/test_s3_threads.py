"""What requests to S3 wait in."""

import subprocess
import sys
import threading

import pytest

from flowconv.storage.s3_threads import Threads

_HANGING = """
import os, threading
from queue import SimpleQueue
from flowconv.storage.s3_threads import threads

def result(call):
    answers = SimpleQueue()
    threads().begin(lambda: answers.put(call()))
    return answers.get()

threads().begin(threading.Event().wait)
print(result(lambda: "answered"), flush=True)
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    print(result(lambda: "in a fork"), flush=True)
"""

_LATE = """
import threading, time
from flowconv.storage import s3_threads
from flowconv.storage.s3_threads import threads

s3_threads._LAST_CALLS_S = 60
is_begun = threading.Event()

def call():
    is_begun.set()
    time.sleep(0.1)
    print("answered", flush=True)

threads().begin(call)
is_begun.wait()
"""


def test_a_call_that_hangs_keeps_neither_others_nor_the_process() -> None:
    assert _run(_HANGING) == "answered\nin a fork\n"


def test_the_process_ends_after_its_last_call() -> None:
    assert _run(_LATE) == "answered\n"


def test_calls_wait_where_the_system_allows_no_more_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def start_two(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    threads = Threads()
    go_on = threading.Event()
    made = threading.Semaphore(0)

    def call() -> None:
        go_on.wait()
        made.release()

    for _ in range(5):
        threads.begin(call)
    go_on.set()
    assert all(made.acquire(timeout=60) for _ in range(5))
    monkeypatch.setattr(threading.Thread, "start", lambda _: start_two(started[0]))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Threads().begin(call)


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
