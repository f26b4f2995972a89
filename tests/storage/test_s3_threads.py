"""What requests to S3 wait in."""

import asyncio
import subprocess
import sys

from flowconv.storage.s3_threads import event_loop, in_thread

_HANGING = """
import asyncio, os, threading
from flowconv.storage.s3_threads import event_loop, in_thread

def result(call, timeout_s):
    waiting = asyncio.wait_for(in_thread(call), timeout_s)
    return asyncio.run_coroutine_threadsafe(waiting, event_loop()).result()

try:
    result(threading.Event().wait, 0.01)
except TimeoutError:
    print("given up", flush=True)
print(result(lambda: "answered", None), flush=True)
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    print(result(lambda: "in a fork", None), flush=True)
"""


def test_a_call_that_hangs_keeps_neither_others_nor_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _HANGING],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "given up\nanswered\nin a fork\n"


def test_what_a_call_raises_reaches_who_waits() -> None:
    waiting = asyncio.run_coroutine_threadsafe(in_thread(lambda: 1 // 0), event_loop())
    assert isinstance(waiting.exception(), ZeroDivisionError)
