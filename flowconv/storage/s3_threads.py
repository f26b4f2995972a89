"""Threads for calls that block until S3 answers, shared by all connections of a process."""

import atexit
import os
import threading
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue

# At its end the process waits so long for calls under way: a library that comes back from a call
# while Python is being taken down would end the process with a signal.
_LAST_CALLS_S = 1.0


class Threads:
    """As many threads as there are calls at once; those that have nothing to do wait for more.

    They are daemons: an answer that never comes does not keep the process from ending.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._changed = threading.Condition()
        self._threads = 0
        self._busy = 0
        self._is_ending = False

    def begin(self, call: Callable[[], None]) -> None:
        """Make a call, which must not raise, in a thread."""
        with self._changed:
            if self._busy >= self._threads:
                self._add_thread()
            self._busy += 1
        self._calls.put(call)

    def await_last(self) -> None:
        """Wait for the calls under way, but not for long."""
        with self._changed:
            self._is_ending = True
            self._changed.wait_for(lambda: not self._busy, _LAST_CALLS_S)

    def _add_thread(self) -> None:
        try:
            threading.Thread(target=self._work, name="flowconv-s3", daemon=True).start()
        except RuntimeError:
            # The system allows no more: the call waits for one of those that there are.
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _work(self) -> None:
        while True:
            self._calls.get()()
            with self._changed:
                self._busy -= 1
                if self._is_ending:
                    self._changed.notify_all()


@cache
def threads() -> Threads:
    """Return the threads of the process."""
    made = Threads()
    atexit.register(made.await_last)
    return made


if hasattr(os, "register_at_fork"):
    # A fork has none of the threads.
    os.register_at_fork(after_in_child=threads.cache_clear)
