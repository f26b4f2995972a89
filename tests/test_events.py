"""Events in logs."""

import logging
import signal
import sys
import threading
from typing import Any

import pytest

from flowconv.events import log_event
from flowconv.running import started


class _Lock:
    """A lock that is interrupted as soon as it is taken, by `acquire` or by `with`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.release = self._lock.release

    def acquire(self, timeout: float = -1) -> bool:
        taken = self._lock.acquire(timeout=timeout)
        signal.raise_signal(signal.SIGINT)
        return taken

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()

    def is_free(self) -> bool:
        """Tell whether another thread can take it."""
        return started(lambda: self._lock.acquire(timeout=60)).result()


class _Interrupted(logging.Handler):
    """A log with such a lock."""

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock: Any = _Lock()

    def emit(self, record: logging.LogRecord) -> None:
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals come later there")
def test_an_interrupt_leaves_no_lock_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    logger, handler = logging.getLogger("flowconv"), _Interrupted()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        log_event("run_began")
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    assert handler.lock.is_free()
