"""Events in logs."""

import logging
import signal
import sys

import pytest

from flowconv.events import log_event
from flowconv.running import started


class _Interrupted(logging.NullHandler):
    """A log that is interrupted as soon as its lock is taken."""

    def createLock(self) -> None:  # noqa: N802 - logging's name
        logging.Handler.createLock(self)

    def handle(self, record: logging.LogRecord) -> bool:
        return logging.Handler.handle(self, record)

    def acquire(self) -> None:
        super().acquire()
        signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="signals come later there")
def test_an_interrupt_leaves_no_lock_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    logger, handler = logging.getLogger("flowconv"), _Interrupted()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        log_event("run_began")
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    lock = handler.lock
    assert lock is not None
    assert started(lambda: lock.acquire(timeout=5)).result()
