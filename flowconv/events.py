"""What happens in a run, as events in a log.

The names of events are part of the interface: docs/jobs.md lists them.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flowconv.errors import printable, redact
from flowconv.running import uninterrupted

if TYPE_CHECKING:
    pass


_logger = logging.getLogger("flowconv")
_logger.addHandler(logging.NullHandler())  # Else Python prints warnings of silent libraries.


def log_event(event: str, *, level: int = logging.INFO, **values: Any) -> None:
    """Log what happened, as `event key=value …`; a JSON log gets the values as they are."""
    if _logger.isEnabledFor(level):
        values = {k: redact(v) if isinstance(v, str) else v for k, v in values.items()}
        text = printable(" ".join([event, *(f"{k}={v}" for k, v in values.items())]))
        # An interrupt while a log's lock is taken would leave it so, and all threads would wait.
        with uninterrupted():
            _logger.log(level, "%s", text, extra={"event": event, "values": values})


@contextmanager
def json_log(stream: Any) -> Iterator[None]:
    """Write all events of flowconv meanwhile as JSON, one a line, to a text stream.

    For one run at a time: what has no run's id gets that of the last event that had one.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter())
    before = _logger.level, _logger.propagate
    _logger.addHandler(handler)
    _logger.setLevel(logging.INFO)
    _logger.propagate = False
    try:
        yield
    finally:
        _logger.removeHandler(handler)
        level, _logger.propagate = before
        _logger.setLevel(level)


class _JsonFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._of_run: dict[str, Any] = {}

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = getattr(record, "values", {"message": record.getMessage()})
        event = getattr(record, "event", "message")
        if "run_id" in values:
            self._of_run = {"run_id": values["run_id"]}
        line = {"time": time, "level": record.levelname.lower(), "event": event}
        return json.dumps(line | self._of_run | values, default=str)
