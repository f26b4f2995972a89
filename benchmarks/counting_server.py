"""Files as a bucket of S3 that counts the bytes that it sends: what a query reads.

It answers HEAD and GET with ranges, without signatures, and no listing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from light_server import asked_range


class CountingServer(ThreadingHTTPServer):
    """Serves the files below a folder as `s3://bucket/<path>`."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests = self.sent_bytes = 0
        self._lock = threading.Lock()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Do nothing: a client may hang up when it has what it needs."""

    def count(self, sent_bytes: int) -> None:
        with self._lock:
            self.requests += 1
            self.sent_bytes += sent_bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingServer

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def do_GET(self) -> None:
        self._send(with_body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).partition("/bucket/")[2]
        data = (self.server.folder / path).read_bytes()
        size = len(data)
        asked = asked_range(self.headers.get("Range", ""), size)
        sent = range(size) if asked is None else asked
        self.send_response(200 if asked is None else 206)
        if asked is not None:
            self.send_header("Content-Range", f"bytes {sent.start}-{sent.stop - 1}/{size}")
        self.send_header("Content-Length", str(len(sent)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        body = data[sent.start : sent.stop] if with_body else b""
        self.wfile.write(body)
        self.server.count(len(body))


@contextmanager
def counting_server(folder: Path) -> Iterator[CountingServer]:
    with CountingServer(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
