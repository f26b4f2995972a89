"""An HTTP proxy before an S3 server that does what networks and busy stores do: it breaks requests.

It is the server's `endpoint_url` for those who are tested. Signatures hold, since it forwards each
request with the `Host` for which it was signed.
"""

from __future__ import annotations

import http.client
import itertools
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from support.s3_servers import S3Server

if sys.platform == "linux":
    import fcntl
    import termios

# How a trickling body comes: a byte, and a pause.
TRICKLE_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that came.

    Attributes:
        kind: Its operation of S3; `ConditionalPut` is a `PutObject` with `If-None-Match`.
        path: Bucket and key.
    """

    kind: str
    path: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Fault:
    """What is done to some requests.

    Attributes:
        what: One of `FAULTS`.
        kind: To requests of this kind,
        below: whose path has this in it.
        numbers: To these of them, counted from 0; to all if there are none. A request that is made
            again has the number that it had.
        times: To so many attempts at each.
        injected: How often it was done.
    """

    what: str
    kind: str
    below: str = ""
    _: KW_ONLY
    numbers: frozenset[int] = frozenset()
    times: float = 1
    injected: int = 0
    _attempts: dict[str, int] = field(default_factory=dict, repr=False)

    def choose(self, request: Request) -> str | None:
        """Return what is to be done to a request; None for nothing."""
        if request.kind != self.kind or self.below not in request.path:
            return None
        attempt = self._attempts[request.target] = self._attempts.get(request.target, 0) + 1
        number = list(self._attempts).index(request.target)
        hit = attempt <= self.times and (not self.numbers or number in self.numbers)
        self.injected += hit
        return self.what if hit else None


class RandomFaults:
    """A share of all requests is broken in one of some ways."""

    def __init__(self, seed: int, share: float, whats: Sequence[str]) -> None:
        self.injected = 0
        self._chance = random.Random(seed)
        self._share = share
        self._whats = whats

    def choose(self, request: Request) -> str | None:
        if self._chance.random() >= self._share:
            return None
        self.injected += 1
        suitable = [what for what in self._whats if request.kind in ONLY.get(what, [request.kind])]
        return self._chance.choice(suitable)


class Cut:
    """The network is cut during a request, and stays so until it is mended.

    Attributes:
        kind: Of this request, which is for a file, if it can be for one.
        how: What is done to it, one of `FAULTS`.
        injected: How many requests have failed.
        is_mended: Set to end it.
    """

    def __init__(self, kind: str, how: str) -> None:
        self.injected = 0
        self.is_mended = threading.Event()
        self._kind = kind
        self._how = how

    def choose(self, request: Request) -> str | None:
        """Return what is to be done to a request; None for nothing."""
        suits = request.kind == self._kind and (
            self._kind == "ListObjectsV2" or request.path.endswith((".gz/", ".parquet/"))
        )
        if self.is_mended.is_set() or not (self.injected or suits):
            return None
        self.injected += 1
        return "reset before" if self.injected > 1 else self._how


class FaultyProxy:
    """A proxy that runs.

    Attributes:
        endpoint_url: Where it listens.
        requests: Those that came, in their order.
        faults: What is done to them; of several that hit a request the first is.
        most_at_once: Of requests for objects; those beyond get SlowDown.
        most_listings_at_once: The same of listings.
        most_connections: Those beyond are closed at once.
        hanging: Every so manieth connection answers nothing, for ever; 0 for none.
        delay_s: Before the answer to a request.
        bytes_per_s: Of the link that all answers to requests for objects share.
        slowed_down: How many did.
    """

    def __init__(self, upstream: str) -> None:
        self.endpoint_url = ""
        self.requests: list[Request] = []
        self.faults: list[Fault | RandomFaults | Cut] = []
        self.most_at_once = self.most_listings_at_once = float("inf")
        self.slowed_down = 0
        self.most_connections = float("inf")
        self.hanging = 0
        self.delay_s: Callable[[Request], float] = lambda _: 0.0
        self.bytes_per_s = float("inf")
        self._connected = 0
        self._numbers = itertools.count(1)
        self._link_is_free = 0.0
        self._at_once: Counter[str] = Counter()
        self._upstream = urlsplit(upstream).netloc
        self._mutex = threading.Lock()
        self._connections = threading.local()

    def calm(self) -> None:
        """Forget requests and faults."""
        self.requests, self.faults = [], []
        self.most_at_once = self.most_listings_at_once = float("inf")
        self.slowed_down = 0
        self.most_connections, self.hanging = float("inf"), 0
        self.delay_s, self.bytes_per_s = lambda _: 0.0, float("inf")
        self._numbers = itertools.count(1)

    @contextmanager
    def connected(self, handler: _Handler) -> Iterator[bool]:
        """Tell whether a connection is served; it is open until the block's end."""
        with self._mutex:
            self._connected += 1
            too_many = self._connected > self.most_connections
            hangs = bool(self.hanging) and next(self._numbers) % self.hanging == 0
        try:
            if hangs:
                while handler.connection.recv(1 << 16):
                    pass
            yield not (too_many or hangs)
        finally:
            with self._mutex:
                self._connected -= 1

    def handle(self, handler: _Handler, request: Request) -> None:
        with self._mutex:
            self.requests.append(request)
            what = next(filter(None, (fault.choose(request) for fault in self.faults)), None)
        if delay_s := self.delay_s(request):
            time.sleep(delay_s)
        if what:
            FAULTS[what](handler, request, lambda: self.forward(request))
        elif request.kind == "GetObject":
            answer = self._forward_few(request, self.most_at_once)
            self._pass(len(answer.body))
            handler.send(answer)
        elif request.kind == "ListObjectsV2":
            handler.send(self._forward_few(request, self.most_listings_at_once))
        else:
            handler.send(self.forward(request))

    def _pass(self, size_bytes: int) -> None:
        """Wait until the link has passed so much, behind all before."""
        with self._mutex:
            now = time.monotonic()
            self._link_is_free = max(now, self._link_is_free) + size_bytes / self.bytes_per_s
            wait_s = self._link_is_free - now
        time.sleep(wait_s)

    def _forward_few(self, request: Request, most: float) -> Answer:
        with self._mutex:
            too_many = self._at_once[request.kind] >= most
            self.slowed_down += too_many
            self._at_once[request.kind] += 1
        try:
            return SLOW_DOWN if too_many else self.forward(request)
        finally:
            with self._mutex:
                self._at_once[request.kind] -= 1

    def forward(self, request: Request) -> Answer:
        connection = getattr(self._connections, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._upstream, timeout=30)
            self._connections.connection = connection
        try:
            connection.putrequest(
                request.method, request.target, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(request.body or None)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self.close_connection()
            raise
        headers = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in ("transfer-encoding", "connection", "keep-alive")
            and not (name.lower() == "content-length" and request.method != "HEAD")
        ]
        if request.method != "HEAD" and answer.status not in (204, 304):
            headers.append(("Content-Length", str(len(body))))
        if answer.will_close:
            self.close_connection()
        return Answer(answer.status, headers, body)

    def close_connection(self) -> None:
        """Close this thread's connection to the server."""
        if connection := getattr(self._connections, "connection", None):
            connection.close()
            self._connections.connection = None


@contextmanager
def faulty_proxy(server: S3Server) -> Iterator[FaultyProxy]:
    """Run a proxy before a server."""
    proxy = FaultyProxy(server.endpoint_url)

    class Handler(_Handler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            request = _request(self, self.rfile.read(length))
            proxy.handle(self, request)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815  # http.server calls them so.

        def handle(self) -> None:
            with proxy.connected(self) as is_served:
                if is_served:
                    super().handle()

        def finish(self) -> None:
            super().finish()
            proxy.close_connection()

    with _Server(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        proxy.endpoint_url = f"http://127.0.0.1:{listener.server_port}"
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # Clients keep connections open.
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that went away are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def send(self, answer: Answer) -> None:
        self.wfile.write(_head(answer) + (b"" if self.command == "HEAD" else answer.body))

    def send_part(self, data: bytes) -> None:
        self.wfile.write(data)

    def wait_until_received(self) -> None:
        """Wait until the client's system has all that was sent."""
        if sys.platform == "linux":
            while struct.unpack("i", fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4)))[0]:
                time.sleep(0.001)

    def reset(self) -> None:
        """End the connection with a RST."""
        self.close_connection = True
        # A pending answer would be lost with it.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def hang_up(self) -> None:
        """End the connection as if all had been sent."""
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def _request(handler: BaseHTTPRequestHandler, body: bytes) -> Request:
    parts = urlsplit(handler.path)
    headers = dict(handler.headers.items())
    query = parse_qs(parts.query, keep_blank_values=True)
    kind = _kind(handler.command, set(query), "if-none-match" in map(str.lower, headers))
    # The prefix of a listing is its path.
    path = parts.path + "/" + query.get("prefix", [""])[0]
    return Request(
        kind=kind,
        path=path,
        method=handler.command,
        target=handler.path,
        headers=headers,
        body=body,
    )


def _kind(method: str, names: set[str], conditional: bool) -> str:
    if method == "GET":
        if "uploads" in names:
            return "ListMultipartUploads"
        return "ListObjectsV2" if "list-type" in names else "GetObject"
    if method == "PUT":
        if "partNumber" in names:
            return "UploadPart"
        return "ConditionalPut" if conditional else "PutObject"
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in names else "CompleteMultipartUpload"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in names else "DeleteObject"
    return "HeadObject"


# What can be done to a request: it has the handler, the request, and a call that forwards it.

Forward = Callable[[], Answer]


def _reset_before(handler: _Handler, request: Request, forward: Forward) -> None:
    handler.reset()


def _lost_answer(handler: _Handler, request: Request, forward: Forward) -> None:
    forward()
    handler.reset()


def _hung_up(handler: _Handler, request: Request, forward: Forward) -> None:
    forward()
    handler.hang_up()


def _reset_in_body(handler: _Handler, request: Request, forward: Forward) -> None:
    answer = forward()
    handler.send_part(_head(answer) + answer.body[: len(answer.body) // 2])
    handler.wait_until_received()  # Else the reset overtakes what was sent.
    handler.reset()


def _short_body(handler: _Handler, request: Request, forward: Forward) -> None:
    answer = forward()
    handler.send_part(_head(answer) + answer.body[:-7])
    handler.hang_up()


def _slow_down(handler: _Handler, request: Request, forward: Forward) -> None:
    handler.send(SLOW_DOWN)


def _internal_error(handler: _Handler, request: Request, forward: Forward) -> None:
    handler.send(_error(500, "InternalError", "We encountered an internal error."))


def _lost_internal_error(handler: _Handler, request: Request, forward: Forward) -> None:
    """It was done, but the answer says that it failed."""
    forward()
    handler.send(_error(500, "InternalError", "We encountered an internal error."))


def _bad_gateway(handler: _Handler, request: Request, forward: Forward) -> None:
    """What a proxy on the way answers, which knows nothing of S3."""
    body = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
    headers = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
    handler.send(Answer(502, headers, body))


def _error_in_200(handler: _Handler, request: Request, forward: Forward) -> None:
    """S3 answers 200 before it knows how a completion ends."""
    handler.send(_error(200, "InternalError", "We encountered an internal error."))


def _delay(handler: _Handler, request: Request, forward: Forward) -> None:
    time.sleep(0.1)
    handler.send(forward())


def _silence(handler: _Handler, request: Request, forward: Forward) -> None:
    """No answer at all, until the client gives up."""
    forward()
    with suppress(OSError):
        handler.connection.settimeout(60)
        handler.connection.recv(1)
    handler.hang_up()


def _trickle(handler: _Handler, request: Request, forward: Forward) -> None:
    """A body that comes byte by byte, until the client gives up."""
    answer = forward()
    handler.send_part(_head(answer))
    with suppress(OSError):
        for place in range(len(answer.body)):
            handler.send_part(answer.body[place : place + 1])
            time.sleep(TRICKLE_S)


def _cut_xml(handler: _Handler, request: Request, forward: Forward) -> None:
    """An answer of the length that it announces, but not all of its XML."""
    answer = forward()
    body = answer.body[: len(answer.body) * 2 // 3]
    headers = [pair for pair in answer.headers if pair[0].lower() != "content-length"]
    headers.append(("Content-Length", str(len(body))))
    handler.send(Answer(answer.status, headers, body))


def _denied(handler: _Handler, request: Request, forward: Forward) -> None:
    handler.send(_error(403, "AccessDenied", "Access Denied"))


def _expired(handler: _Handler, request: Request, forward: Forward) -> None:
    handler.send(_error(400, "ExpiredToken", "The provided token has expired."))


FAULTS: dict[str, Callable[[_Handler, Request, Forward], None]] = {
    "reset before": _reset_before,
    "lost answer": _lost_answer,
    "hung up": _hung_up,
    "reset in body": _reset_in_body,
    "short body": _short_body,
    "SlowDown": _slow_down,
    "InternalError": _internal_error,
    "InternalError, but done": _lost_internal_error,
    "bad gateway": _bad_gateway,
    "error in 200": _error_in_200,
    "delay": _delay,
    "silence": _silence,
    "trickle": _trickle,
    "cut XML": _cut_xml,
    "denied": _denied,
    "expired": _expired,
}

# What is done to bodies is done to these kinds alone.
XML = (
    *("ListObjectsV2", "ListMultipartUploads"),
    *("CreateMultipartUpload", "CompleteMultipartUpload"),
)
ONLY = {
    "reset in body": (*XML, "GetObject"),
    "short body": (*XML, "GetObject"),
    "trickle": (*XML, "GetObject"),
    "cut XML": XML,
    "error in 200": ("CompleteMultipartUpload",),
}


def _error(status: int, code: str, message: str) -> Answer:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    ).encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    return Answer(status, headers, body)


SLOW_DOWN = _error(503, "SlowDown", "Please reduce your request rate.")


def _head(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {http.client.responses[answer.status]}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
