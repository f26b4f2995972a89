"""Chromium without a window, told what to do over a pipe (Chrome DevTools Protocol)."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Browser:
    """A tab.

    Attributes:
        events: What has happened in it: method and parameters.
    """

    def __init__(self, reads: int, writes: int) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._reads = os.fdopen(reads, "rb")
        self._writes = os.fdopen(writes, "wb", buffering=0)
        self._session: dict[str, str] = {}
        self._number = 0
        self._rest = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method, and return its result."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": params, **self._session}
        self._writes.write(json.dumps(order).encode() + b"\0")
        while (message := self._next()).get("id") != self._number:
            self._note(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def wait_for(self, method: str) -> None:
        """Wait until something happens, if it has not."""
        while method not in [name for name, _ in self.events]:
            self._note(self._next())

    def close(self) -> None:
        """End the browser."""
        self._session = {}
        self.call("Browser.close")
        self._reads.close()
        self._writes.close()

    def _note(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self.events.append((message["method"], message["params"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = self._reads.read1(1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """Start a browser whose files are in a folder, and end it."""
    its_reads, writes = os.pipe()
    reads, its_writes = os.pipe()
    # It reads from 3 and writes to 4.
    script = f'exec "$@" 3<&{its_reads} 4>&{its_writes}'
    command = ["bash", "-c", script, "bash", program, *_FLAGS, f"--user-data-dir={folder}"]
    process = subprocess.Popen(command, pass_fds=(its_reads, its_writes), stderr=subprocess.DEVNULL)
    os.close(its_reads)
    os.close(its_writes)
    try:
        tab = Browser(reads, writes)
        yield tab
        tab.close()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
