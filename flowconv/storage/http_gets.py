"""GETs over HTTP, of objects and listings: one thread makes all, over connections that it keeps.

A GET of 18 kB takes 30 to 40 us of processor time so. Clients that block in a thread for each take
175 to 320: most of it is the threads' taking turns.
"""

import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial

from botocore import exceptions as botocore_errors  # type: ignore[import-untyped]

from flowconv.storage.http_answers import Answer
from flowconv.storage.http_hosts import Address, Addresses, Host

CONNECT_TIMEOUT_S = 5.0

# Servers close a connection that is idle for some seconds; a request may meet the end of one.
_IDLE_S = 15.0

# How often timeouts are looked at.
_TICK_S = 1.0

_SMALL_READ_BYTES = 64 << 10
_LARGE_READ_BYTES = 256 << 10


@dataclass(slots=True, eq=False, kw_only=True)
class Get:
    """A GET.

    Attributes:
        host: Where it goes.
        request: Its bytes.
        timeout_s: For the whole answer.
        done: Called once in the thread of all GETs, with the answer, whatever its status, or with
            an error, botocore's if it has one for it. It must neither block nor raise.
    """

    host: Host
    request: bytes
    timeout_s: float
    done: Callable[[Answer | None, BaseException | None], None]


class Gets:
    """Makes GETs, in one thread; each takes a connection for itself until it is answered.

    The thread is a daemon: an answer that never comes does not keep the process from ending.
    """

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._is_asleep = False
        self._connections: set[_Connection] = set()
        self._idle: defaultdict[Host, list[_Connection]] = defaultdict(list)
        self._addresses: dict[Host, Addresses] = {}
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="flowconv-s3-gets", daemon=True)
        self._thread.start()

    def begin(self, get: Get) -> None:
        """Begin a GET; from any thread."""
        if threading.get_ident() == self._thread.ident:
            self._begin(get)
        else:
            self._call(partial(self._begin, get))

    def open_ahead(self, host: Host, number: int) -> None:
        """Open connections, so that so many are there for GETs to come; from any thread."""
        self._call(partial(self._open_ahead, host, number))

    def _call(self, function: Callable[[], None]) -> None:
        """Call a function in the thread of all GETs."""
        self._calls.append(function)
        if self._is_asleep:
            self._is_asleep = False
            with suppress(BlockingIOError):  # Enough was sent to wake it.
                self._waker.send(b"x")

    def _run(self) -> None:
        next_tick = 0.0
        while True:
            self._is_asleep = True
            # Whoever adds a call from now on wakes this thread.
            timeout_s = 0.0 if self._calls else _TICK_S if self._connections else None
            ready = self._selector.select(timeout_s)
            self._is_asleep = False
            for key, _ in ready:
                if key.data is None:
                    self._woken.recv(1024)
                else:
                    key.data.advance()
            while self._calls:
                self._calls.popleft()()
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_S
                for connection in [c for c in self._connections if c.deadline < now]:
                    connection.expire()

    def _begin(self, get: Get) -> None:
        idle = self._idle[get.host]
        # The one that was used last is the least likely to be closed by now.
        connection = idle.pop() if idle else _Connection(self, get.host)
        connection.begin(get)

    def _open_ahead(self, host: Host, number: int) -> None:
        idle = self._idle[host]
        for _ in range(number - len(idle)):
            connection = _Connection(self, host)
            # Those that are open already are taken first.
            idle.insert(0, connection)
            connection.open()

    def addresses(self, host: Host) -> Addresses:
        """Return a host's addresses."""
        if host not in self._addresses:
            self._addresses[host] = Addresses(host, self._call)
        return self._addresses[host]

    def add(self, connection: "_Connection") -> None:
        """Look after a connection until `leave`."""
        self._connections.add(connection)

    def wait(self, connection: "_Connection", fileno: int, events: int, *, is_new: bool) -> None:
        """Let a connection advance when its socket can."""
        change = self._selector.register if is_new else self._selector.modify
        change(fileno, events, connection)

    def keep(self, connection: "_Connection") -> None:
        """Keep a connection for another GET."""
        self._idle[connection.host].append(connection)

    def leave(self, connection: "_Connection", fileno: int | None) -> None:
        """Forget a connection, whose socket is about to be closed."""
        self._connections.discard(connection)
        idle = self._idle[connection.host]
        if connection in idle:
            idle.remove(connection)
        if fileno is not None:
            self._selector.unregister(fileno)


class _Connection:
    """A connection to a host, which makes one GET after the other.

    Attributes:
        host: Where it goes.
        deadline: When it expires, as `time.monotonic` tells.
    """

    def __init__(self, gets: Gets, host: Host) -> None:
        self.host = host
        self.deadline = 0.0
        self._gets = gets
        self._socket: socket.socket | None = None
        self._events = 0  # What the selector waits for.
        self._address: Address | None = None
        self._is_begun = self._is_open = False
        self._get: Get | None = None  # None while it is idle.
        self._answer = Answer()
        self._unsent = b""

    def begin(self, get: Get) -> None:
        """Make a GET; another one only when it is done."""
        self._get, self._answer, self._unsent = get, Answer(), get.request
        if self._is_open:
            self.deadline = time.monotonic() + get.timeout_s
            self._try(self._send)
        elif not self._is_begun:
            self.open()

    def open(self) -> None:
        """Begin to open it; when it is open, the GET is made that it has by then."""
        self._is_begun = True
        self._gets.add(self)
        self._try(self._find_address)

    def advance(self) -> None:
        """Go on as far as the socket lets without waiting."""
        self._try(self._go_on)

    def expire(self) -> None:
        """End what has taken too long."""
        if self._is_open:
            self._fail(botocore_errors.ReadTimeoutError(endpoint_url=self.host.url))
        else:
            self._fail(botocore_errors.ConnectTimeoutError(endpoint_url=self.host.url))

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (BlockingIOError, ssl.SSLWantReadError):
            self._wait(selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._wait(selectors.EVENT_WRITE)
        except Exception as exc:  # noqa: BLE001 - whoever waits for the answer gets it
            self._fail(exc)

    def _find_address(self) -> None:
        self.deadline = time.monotonic() + CONNECT_TIMEOUT_S
        self._gets.addresses(self.host).find(self._connect)

    def _connect(self, address: Address | None, failure: OSError | None) -> None:
        if not self._is_begun:  # It has expired meanwhile.
            return
        if address is None:
            self._fail(failure or OSError("the name has no address"))
            return
        self._address = address
        self._try(self._open_socket)

    def _open_socket(self) -> None:
        assert self._address is not None
        family, place = self._address
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = self._socket.connect_ex(place)
        if error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(error, os.strerror(error))
        # It can be written to when it is connected.
        self._wait(selectors.EVENT_WRITE)

    def _go_on(self) -> None:
        if not self._is_open:
            self._open()
        if self._unsent:
            self._send()
        else:
            self._receive()

    def _open(self) -> None:
        """Take the socket, which is connected, and greet the host if it has TLS."""
        assert self._socket is not None
        if not isinstance(self._socket, ssl.SSLSocket):
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            if self.host.tls:
                self._socket = self.host.tls.wrap_socket(
                    self._socket, server_hostname=self.host.name, do_handshake_on_connect=False
                )
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.do_handshake()
        self._is_open = True
        self.deadline = time.monotonic() + (self._get.timeout_s if self._get else _IDLE_S)

    def _send(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        self._unsent = self._unsent[sent:]
        self._wait(selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ)

    def _receive(self) -> None:
        assert self._socket is not None
        while True:
            is_large = self._answer.missing_bytes > _SMALL_READ_BYTES
            data = self._socket.recv(_LARGE_READ_BYTES if is_large else _SMALL_READ_BYTES)
            if self._get is None:
                # The host has closed it, or answers what was not asked.
                self._close()
                return
            if data:
                self._answer.add(data)
            elif not self._answer.end():
                raise ConnectionResetError
            if self._answer.is_whole:
                self._finish(self._get)
                return
            if not self.host.tls:
                return  # The selector knows if there is more; with TLS it does not.

    def _finish(self, get: Get) -> None:
        answer = self._answer
        if answer.may_follow:
            self._get = None
            self.deadline = time.monotonic() + _IDLE_S
            self._gets.keep(self)
        else:
            self._close()
        get.done(answer, None)

    def _fail(self, exc: BaseException) -> None:
        get, was_open = self._get, self._is_open
        self._close()
        if get is None:
            return
        tried = None if was_open else self._address
        if tried and self._gets.addresses(self.host).drop(tried):
            self.begin(get)
        else:
            get.done(None, self._explain(exc, was_open=was_open))

    def _explain(self, exc: BaseException, *, was_open: bool) -> BaseException:
        """Return what botocore raises for an error of the system."""
        if not isinstance(exc, OSError) or isinstance(exc, botocore_errors.BotoCoreError):
            return exc
        kind = (
            botocore_errors.SSLError
            if isinstance(exc, ssl.SSLCertVerificationError)
            else botocore_errors.ConnectionClosedError
            if was_open
            else botocore_errors.EndpointConnectionError
        )
        error: BaseException = kind(endpoint_url=self.host.url, error=exc)
        return error

    def _wait(self, events: int) -> None:
        if events != self._events:
            assert self._socket is not None
            self._gets.wait(self, self._socket.fileno(), events, is_new=not self._events)
            self._events = events

    def _close(self) -> None:
        if self._socket is not None:
            self._gets.leave(self, self._socket.fileno() if self._events else None)
            self._socket.close()
        else:
            self._gets.leave(self, None)
        self._socket, self._events, self._get = None, 0, None
        self._is_begun = self._is_open = False


_making = threading.Lock()


def gets() -> Gets:
    """Return what makes the GETs of the process."""
    with _making:  # `cache` alone lets threads that come together make one each.
        return _made_gets()


@cache
def _made_gets() -> Gets:
    return Gets()


def _forget() -> None:
    """Forget what a fork does not have, the thread, and must leave alone, the connections."""
    _made_gets.cache_clear()
    _making.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_making.acquire, after_in_parent=_making.release, after_in_child=_forget
    )
