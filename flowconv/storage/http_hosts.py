"""Hosts, and a host's name -> the addresses that connections go to."""

import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from flowconv.storage.s3_threads import threads

# An address is used so long after it was looked up: S3's names have others every few seconds.
_KNOWN_S = 15.0

Address = tuple[socket.AddressFamily, Any]


class Host(NamedTuple):
    """Where requests go.

    Attributes:
        name: Its name or address.
        port: TCP's.
        tls: What its certificate is checked with; None without TLS.
    """

    name: str
    port: int
    tls: ssl.SSLContext | None

    @property
    def url(self) -> str:
        """Its URL, for messages."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{'https' if self.tls else 'http'}://{name}:{self.port}"


class Addresses:
    """A host's addresses, looked up in a thread of their own: it may take seconds.

    Args:
        host: The host.
        call: Calls a function in the thread that all methods are called in.
    """

    def __init__(self, host: Host, call: Callable[[Callable[[], None]], None]) -> None:
        self._host = host
        self._call = call
        self._known: list[Address] = []
        self._until = 0.0
        self._waiting: list[Callable[[Address | None, OSError | None], None]] = []

    def find(self, found: Callable[[Address | None, OSError | None], None]) -> None:
        """Call a function with an address or with an error, now or later."""
        if self._known and time.monotonic() < self._until:
            found(self._choose(), None)
            return
        if not self._waiting:
            threads().begin(self._look_up)
        self._waiting.append(found)

    def drop(self, address: Address) -> bool:
        """Leave out an address that does not answer; return whether there are others."""
        self._known = [known for known in self._known if known != address]
        return bool(self._known)

    def _choose(self) -> Address:
        # S3 has several, which share the work. The system puts the better family first.
        family, _ = self._known[0]
        return random.choice([known for known in self._known if known[0] == family])

    def _look_up(self) -> None:
        known: list[Address] = []
        failure: OSError | None = None
        try:
            for family, _, _, _, place in socket.getaddrinfo(
                self._host.name, self._host.port, type=socket.SOCK_STREAM
            ):
                known.append((family, place))
        except (OSError, UnicodeError) as exc:
            failure = OSError(str(exc))

        def go_on() -> None:
            self._known, self._until = known, time.monotonic() + _KNOWN_S
            waiting, self._waiting = self._waiting, []
            for found in waiting:
                found(self._choose() if self._known else None, failure)

        self._call(go_on)
