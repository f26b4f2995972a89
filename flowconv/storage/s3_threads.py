"""Where requests wait for their answers: an event loop, and threads for botocore's calls.

All connections of a process share them. The threads are daemons: an answer that never comes does
not keep the process from ending.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar

Answer = TypeVar("Answer")


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop, which runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="flowconv-s3", daemon=True).start()
    return loop


async def in_thread(call: Callable[[], Answer]) -> Answer:
    """Make a call that blocks; if this is cancelled, the call ends by itself, and is ignored."""
    return await asyncio.wrap_future(_threads().begin(call))


class _Threads:
    """As many threads as there are calls at once; those that have nothing to do wait for more."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def begin(self, call: Callable[[], Answer]) -> "Future[Answer]":
        future: Future[Answer] = Future()
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                threading.Thread(target=self._work, name="flowconv-s3", daemon=True).start()
        self._calls.put((future, call))
        return future

    def _work(self) -> None:
        while True:
            _answer(*self._calls.get())
            with self._lock:
                self._idle += 1


def _answer(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as exc:  # noqa: BLE001 - whoever waits gets it
        future.set_exception(exc)


@cache
def _threads() -> _Threads:
    return _Threads()


if hasattr(os, "register_at_fork"):
    # A fork has none of the threads.
    os.register_at_fork(after_in_child=event_loop.cache_clear)
    os.register_at_fork(after_in_child=_threads.cache_clear)
