"""GETs over real connections; the servers do what the tests say."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from botocore import exceptions as botocore_errors  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from flowconv.storage import http_gets
from flowconv.storage.http_answers import Answer
from flowconv.storage.http_gets import Get, Gets
from flowconv.storage.http_hosts import Addresses, Host
from support.certificates import tls_of_server, write_certificate

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Serve = Callable[[socket.socket, int], None]


@pytest.fixture
def gets(monkeypatch: pytest.MonkeyPatch) -> Gets:
    monkeypatch.setattr(http_gets, "_TICK_S", 0.01)
    return Gets()


@contextmanager
def _server(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve each connection in a thread, with the number of those before; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run(connection: socket.socket, number: int) -> None:
            with suppress(OSError), connection:
                if tls:
                    connection = tls.wrap_socket(connection, server_side=True)
                with connection:
                    serve(connection, number)

        def accept() -> None:
            number = 0
            with suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    threading.Thread(target=run, args=(connection, number), daemon=True).start()
                    number += 1

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _read_request(connection: socket.socket) -> bytes:
    """Return a request, or b"" at the end."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        data = connection.recv(1 << 16)
        if not data:
            return b""
        request += data
    return request


def _always(answer: bytes) -> Serve:
    def serve(connection: socket.socket, _: int) -> None:
        while _read_request(connection):
            connection.sendall(answer)

    return serve


def _begin(
    gets: Gets, host: Host, request: bytes = b"GET / HTTP/1.1\r\n\r\n", timeout_s: float = 60
) -> Future[Answer]:
    future: Future[Answer] = Future()

    def done(answer: Answer | None, failure: BaseException | None) -> None:
        if answer is not None:
            future.set_result(answer)
        else:
            future.set_exception(failure)

    gets.begin(Get(host=host, request=request, timeout_s=timeout_s, done=done))
    return future


def _host(port: int, tls: ssl.SSLContext | None = None) -> Host:
    return Host("127.0.0.1", port, tls)


def test_a_connection_takes_one_get_after_the_other(gets: Gets) -> None:
    connections: set[int] = set()

    def serve(connection: socket.socket, number: int) -> None:
        connections.add(number)
        _always(OK)(connection, number)

    with _server(serve) as port:
        for _ in range(5):
            assert _begin(gets, _host(port)).result(60).body == b"ok"
        assert connections == {0}
        many = [_begin(gets, _host(port)) for _ in range(50)]
        assert [future.result(60).body for future in many] == [b"ok"] * 50


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"more",
    ],
)
def test_a_connection_that_takes_no_other_get(gets: Gets, answer: bytes) -> None:
    connections: set[int] = set()

    def serve(connection: socket.socket, number: int) -> None:
        connections.add(number)
        _always(answer)(connection, number)

    with _server(serve) as port:
        for _ in range(3):
            assert _begin(gets, _host(port)).result(60).body == b"ok"
    assert connections == {0, 1, 2}


def test_a_connection_that_is_closed_while_it_is_idle(gets: Gets) -> None:
    """No GET meets its end."""
    closed = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        _read_request(connection)
        connection.sendall(OK)
        if number == 0:
            connection.shutdown(socket.SHUT_WR)
            # The other side closes, too.
            assert connection.recv(1) == b""
            closed.set()
        else:
            _always(OK)(connection, number)

    with _server(serve) as port:
        assert _begin(gets, _host(port)).result(60).body == b"ok"
        assert closed.wait(60)
        assert _begin(gets, _host(port)).result(60).body == b"ok"


def test_threads_that_come_together_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    another = threading.Event()

    class Made:
        def __init__(self) -> None:
            made.append(self)
            if len(made) > 1:
                another.set()
            another.wait(0.1)

    monkeypatch.setattr(http_gets, "Gets", Made)
    http_gets._made_gets.cache_clear()
    try:
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda _: http_gets.gets(), range(4)))
    finally:
        http_gets._made_gets.cache_clear()
    assert [id(one) for one in got] == [id(made[0])] * 4
    assert len(made) == 1


@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "TLS"])
def test_connections_that_are_opened_ahead(gets: Gets, certificate: Path, *, has_tls: bool) -> None:
    connections: set[int] = set()
    opened = threading.Barrier(4)

    def serve(connection: socket.socket, number: int) -> None:
        connections.add(number)
        opened.wait(60)
        _always(OK)(connection, number)

    with _server(serve, tls_of_server(certificate) if has_tls else None) as port:
        tls = ssl.create_default_context(cafile=certificate) if has_tls else None
        host = Host("localhost", port, tls)
        gets.open_ahead(host, 3)
        # Some begin while the connections are being opened, the others afterwards.
        early = [_begin(gets, host) for _ in range(2)]
        opened.wait(60)
        many = [*early, *(_begin(gets, host) for _ in range(1))]
        assert [future.result(60).body for future in many] == [b"ok"] * 3
        # There are as many already.
        gets.open_ahead(host, 3)
        assert _begin(gets, host).result(60).body == b"ok"
    assert connections == {0, 1, 2}


def test_connections_that_cannot_be_opened_ahead(gets: Gets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = _host(listener.getsockname()[1])
    gets.open_ahead(host, 3)
    with pytest.raises(botocore_errors.EndpointConnectionError):
        _begin(gets, host).result(60)
    with _server(_always(OK)) as port:
        assert _begin(gets, _host(port)).result(60).body == b"ok"


def test_an_idle_connection_is_closed_after_a_while(
    gets: Gets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_gets, "_IDLE_S", 0.01)
    closed = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        _always(OK)(connection, number)
        closed.set()

    with _server(serve) as port:
        assert _begin(gets, _host(port)).result(60).body == b"ok"
        assert closed.wait(60)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b"", botocore_errors.ConnectionClosedError),
        (OK[:-1], botocore_errors.ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\n\r\nno length", botocore_errors.ConnectionClosedError),
        (b"hello\r\n\r\n", ResponseParserError),
    ],
)
def test_answers_that_are_not_whole(gets: Gets, answer: bytes, raised: type[Exception]) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        _read_request(connection)
        connection.sendall(answer)

    with _server(serve) as port, pytest.raises(raised):
        _begin(gets, _host(port)).result(60)


def test_an_answer_that_never_comes(gets: Gets) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        while connection.recv(1 << 16):
            pass

    with _server(serve) as port, pytest.raises(botocore_errors.ReadTimeoutError):
        _begin(gets, _host(port), timeout_s=0.01).result(60)


def test_long_requests_and_answers(gets: Gets) -> None:
    """They are longer than what sockets hold."""
    body = os.urandom(1 << 20) * 20
    request = b"GET / HTTP/1.1\r\nx: " + b"y" * (10 << 20) + b"\r\n\r\n"
    lengths = []

    def serve(connection: socket.socket, _: int) -> None:
        while data := _read_request(connection):
            lengths.append(len(data))
            connection.sendall(b"HTTP/1.1 206 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with _server(serve) as port:
        for _ in range(2):
            assert _begin(gets, _host(port), request).result(60).body == body
    assert lengths == [len(request)] * 2


def test_nobody_listens(gets: Gets) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = _host(unused.getsockname()[1])
        with pytest.raises(botocore_errors.EndpointConnectionError):
            _begin(gets, host).result(60)


def test_a_host_that_does_not_take_the_connection(
    gets: Gets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_gets, "CONNECT_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        # There is no room for another one that nobody takes.
        with (
            socket.create_connection(("127.0.0.1", port)),
            pytest.raises(botocore_errors.ConnectTimeoutError),
        ):
            _begin(gets, _host(port)).result(60)


def test_a_name_that_nobody_has(gets: Gets) -> None:
    for name in ("nobody.invalid", "a" * 100):
        with pytest.raises(botocore_errors.EndpointConnectionError):
            _begin(gets, Host(name, 80, None)).result(60)


def test_addresses_that_do_not_answer_are_left_out(
    gets: Gets, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def addresses(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(name)
        return [
            (family, socket.SOCK_STREAM, 6, "", place)
            for family, place in (
                (socket.AF_INET6, ("::1", 1)),
                (socket.AF_INET, ("127.0.0.1", 1)),
                (socket.AF_INET, ("127.0.0.1", port)),
            )
        ]

    with _server(_always(OK)) as port:
        monkeypatch.setattr(socket, "getaddrinfo", addresses)
        host = Host("several.example", port, None)
        for future in [_begin(gets, host) for _ in range(20)]:
            assert future.result(60).body == b"ok"
    assert asked == ["several.example"]


def test_addresses_are_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def look_up(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("flowconv.storage.http_hosts._KNOWN_S", 0.0)
    addresses = Addresses(Host("s3.example", 80, None), lambda call: call())
    for number in range(1, 3):
        found = threading.Event()
        addresses.find(lambda address, _, found=found: found.set())  # type: ignore[misc]
        assert found.wait(60)
        assert len(asked) == number


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "localhost.pem")


def test_tls(gets: Gets, certificate: Path) -> None:
    body = os.urandom(1 << 20) * 3
    answer = b"HTTP/1.1 206 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    connections: set[int] = set()

    def serve(connection: socket.socket, number: int) -> None:
        connections.add(number)
        _always(answer)(connection, number)

    with _server(serve, tls_of_server(certificate)) as port:
        host = Host("localhost", port, ssl.create_default_context(cafile=certificate))
        for _ in range(3):
            assert _begin(gets, host).result(60).body == body
        assert connections == {0}
        many = [_begin(gets, host) for _ in range(10)]
        assert all(future.result(60).body == body for future in many)


def test_tls_that_breaks_off(gets: Gets, certificate: Path) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        _read_request(connection)
        connection.sendall(OK[:-1])

    with _server(serve, tls_of_server(certificate)) as port:
        host = Host("localhost", port, ssl.create_default_context(cafile=certificate))
        with pytest.raises(botocore_errors.ConnectionClosedError):
            _begin(gets, host).result(60)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_certificates_are_checked(gets: Gets, certificate: Path, name: str) -> None:
    """One that nobody vouches for, and one of another name."""
    authorities = None if name == "localhost" else certificate
    with _server(_always(OK), tls_of_server(certificate)) as port:
        host = Host(name, port, ssl.create_default_context(cafile=authorities))
        with pytest.raises(botocore_errors.SSLError, match="certificate"):
            _begin(gets, host).result(60)


def test_a_server_without_tls(gets: Gets, certificate: Path) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(1)
        connection.sendall(OK)

    with _server(serve) as port:
        host = Host("localhost", port, ssl.create_default_context(cafile=certificate))
        with pytest.raises(botocore_errors.EndpointConnectionError):
            _begin(gets, host).result(60)


_IN_A_FORK = """
import os, sys
from concurrent.futures import Future
from flowconv.storage.http_gets import Get, gets
from flowconv.storage.http_hosts import Host

def fetch():
    body = Future()
    host = Host("127.0.0.1", int(sys.argv[1]), None)
    done = lambda answer, failure: body.set_result(answer and answer.body)
    gets().begin(Get(host=host, request=b"GET / HTTP/1.1\\r\\n\\r\\n", timeout_s=60, done=done))
    return body.result(60)

print(fetch(), flush=True)
if pid := os.fork():
    os.waitpid(pid, 0)
    print(fetch(), flush=True)
else:
    print(fetch(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
def test_a_fork_has_connections_of_its_own() -> None:
    def serve(connection: socket.socket, number: int) -> None:
        _always(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)(connection, number)

    with _server(serve) as port:
        command = [sys.executable, "-c", _IN_A_FORK, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["b'0'", "b'1'", "b'0'"]


def test_an_error_of_ours_ends_the_get(gets: Gets, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Answer, data: bytes) -> None:
        raise ZeroDivisionError

    with _server(_always(OK)) as port:
        with monkeypatch.context() as patch:
            patch.setattr(Answer, "add", fail)
            with pytest.raises(ZeroDivisionError):
                _begin(gets, _host(port)).result(60)
        assert _begin(gets, _host(port)).result(60).body == b"ok"
