"""Signals that end a job, as KeyboardInterrupt."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flowconv.cli.log import Log


@contextmanager
def heard_signals(log: Log, when_stopped: str) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for the signals that end a job, and yield the numbers of those heard.

    The first is answered at once with what is waited for; a second one ends the waiting.
    """
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        heard.append(number)
        log.stopping(f"stopping{when_stopped or '.'}" if len(heard) == 1 else "stopping at once.")
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Whoever started this may not want it to hear one: nohup, or & in a script.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, hear)
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
