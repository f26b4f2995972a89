"""A bucket of S3 that is far away and takes next to no processor time: it is kept in memory.

    python benchmarks/light_server.py --folder logs --delay-ms 100
    python benchmarks/light_server.py --keys 100000 --days 30 --delay-ms 30

prints the port that it listens on, and runs until its standard input ends. `s3://bucket` has a
folder's files, or made-up objects with the keys of flow logs, in 4 accounts and 4 regions.

A request is answered after the delay, as on a link with such a round trip; a new connection takes
one more, for TCP's handshake. Throughput is not bounded. It knows GET, with and without Range, HEAD
and ListObjectsV2, by path, and looks at no signature. One thread does all of it.
"""

import argparse
import hashlib
import re
import selectors
import socket
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

BUCKET = "bucket"
_ACCOUNTS = [f"{number:012d}" for number in range(123456789012, 123456789016)]
_REGIONS = ("ap-southeast-2", "eu-central-1", "us-east-1", "us-west-2")
_FIRST_DAY = date(2026, 1, 1)
_PAGE = 1000
_READ_BYTES = 64 << 10
_END_OF_HEAD = b"\r\n\r\n"
_REASONS = {
    200: "OK",
    206: "Partial Content",
    404: "Not Found",
    416: "Requested Range Not Satisfiable",
    501: "Not Implemented",
}


class Server:
    """Answers the requests of many connections, each some time after it came."""

    def __init__(self, bucket: "Bucket", delay_s: float) -> None:
        self.bucket = bucket
        self._delay_s = delay_s
        self._selector = selectors.DefaultSelector()
        # All are delayed alike, so they are due in the order in which they came.
        self._delayed: deque[tuple[float, Callable[[], None]]] = deque()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def run(self) -> None:
        """Serve for ever."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        delayed = self._delayed
        while True:
            timeout_s = max(0, delayed[0][0] - time.monotonic()) if delayed else None
            for key, _ in self._selector.select(timeout_s):
                key.data()
            now = time.monotonic()
            while delayed and delayed[0][0] <= now:
                delayed.popleft()[1]()

    def later(self, call: Callable[[], None]) -> None:
        """Call something after the delay."""
        self._delayed.append((time.monotonic() + self._delay_s, call))

    def wait(self, connection: "_Connection", events: int) -> None:
        """Let a connection advance when its socket can."""
        if connection.socket in self._selector.get_map():
            self._selector.modify(connection.socket, events, connection.advance)
        else:
            self._selector.register(connection.socket, events, connection.advance)

    def close(self, connection: "_Connection") -> None:
        """Forget a connection; another time too."""
        if connection.socket.fileno() >= 0:
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = _Connection(self, accepted)
                self.later(partial(self.wait, connection, selectors.EVENT_READ))


class _Connection:
    """A connection, whose requests are answered one after the other."""

    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.socket = accepted
        self._server = server
        self._received = b""
        self._unsent = memoryview(b"")
        self._is_answering = False
        self._is_blocked = False  # The client reads more slowly than it is sent to.

    def advance(self) -> None:
        """Go on as far as the socket lets without waiting."""
        try:
            if self._is_blocked:
                self._send()
            else:
                self._receive()
        except OSError:
            self._server.close(self)

    def _receive(self) -> None:
        data = self.socket.recv(_READ_BYTES)
        if not data:
            self._server.close(self)
            return
        self._received += data
        if not self._is_answering:
            self._take_request()

    def _take_request(self) -> None:
        head, found, rest = self._received.partition(_END_OF_HEAD)
        self._is_answering = bool(found)
        if found:
            self._received = rest
            self._server.later(partial(self._answer, head))

    def _answer(self, head: bytes) -> None:
        self._unsent = memoryview(self._server.bucket.answer(head))
        with suppress(OSError):  # It is closed, or is about to be.
            self._send()

    def _send(self) -> None:
        try:
            sent = self.socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        self._unsent = self._unsent[sent:]
        if bool(self._unsent) != self._is_blocked:
            self._is_blocked = not self._is_blocked
            events = selectors.EVENT_WRITE if self._is_blocked else selectors.EVENT_READ
            self._server.wait(self, events)
        if not self._unsent:
            self._take_request()


class Bucket:
    """Objects by their keys, and answers about them."""

    def __init__(self, objects: Mapping[str, "StoredObject"]) -> None:
        self._objects = objects
        self._keys = sorted(objects)  # As S3 does: code points and UTF-8 have the same order.

    def answer(self, head: bytes) -> bytes:
        """Return the answer to a request; of this all before the empty line is given."""
        method, target, _ = head[: head.find(b"\r\n")].decode().split(" ")
        path, _, query = target.partition("?")
        bucket, _, key = path[1:].partition("/")
        if method not in ("GET", "HEAD"):
            return _refusal(501, "NotImplemented")
        if bucket != BUCKET:
            answer = _refusal(404, "NoSuchBucket")
        elif not key:
            answer = self._list(dict(parse_qsl(query, keep_blank_values=True)))
        elif found := self._objects.get(unquote(key)):
            answer = found.answer(head)
        else:
            answer = _refusal(404, "NoSuchKey")
        return answer if method == "GET" else answer[: answer.index(_END_OF_HEAD) + 4]

    def _list(self, request: dict[str, str]) -> bytes:
        if request.get("list-type") != "2":
            return _refusal(501, "NotImplemented")
        keys, prefix = self._keys, request.get("prefix", "")
        delimiter = request.get("delimiter", "")
        name_of = quote if request.get("encoding-type") == "url" else escape
        # The token of a page is the place of its first key.
        place = int(request.get("continuation-token", 0)) or max(
            bisect_left(keys, prefix), bisect_right(keys, request.get("start-after", ""))
        )
        most = min(int(request.get("max-keys", _PAGE)), _PAGE)
        contents: list[str] = []
        folders: list[str] = []
        while (is_within := place < len(keys) and keys[place].startswith(prefix)) and len(
            contents
        ) + len(folders) < most:
            key = keys[place]
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end >= 0:
                folder = key[: end + len(delimiter)]
                place = bisect_left(keys, folder[:-1] + chr(ord(folder[-1]) + 1))
                folders.append(
                    f"<CommonPrefixes><Prefix>{name_of(folder)}</Prefix></CommonPrefixes>"
                )
            else:
                place += 1
                contents.append(
                    f"<Contents><Key>{name_of(key)}</Key>{self._objects[key].listed}</Contents>"
                )
        token = f"<NextContinuationToken>{place}</NextContinuationToken>"
        is_cut = is_within and most > 0
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{name_of(prefix)}</Prefix>"
            f"<Delimiter>{name_of(delimiter)}</Delimiter><MaxKeys>{most}</MaxKeys>"
            f"<EncodingType>{request.get('encoding-type', '')}</EncodingType>"
            f"<KeyCount>{len(contents) + len(folders)}</KeyCount>"
            f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{token if is_cut else ''}"
            f"{''.join(contents)}{''.join(folders)}</ListBucketResult>"
        )
        return _answer(200, "Content-Type: application/xml\r\n", body.encode())


class StoredObject:
    """An object.

    Attributes:
        listed: What a listing says of it besides its key.
    """

    def __init__(self, body: bytes) -> None:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._body = body
        self._headers = (
            f'ETag: "{etag}"\r\nLast-Modified: Sun, 01 Feb 2026 00:00:00 GMT\r\n'
            "Accept-Ranges: bytes\r\nContent-Type: binary/octet-stream\r\n"
        )
        self.listed = (
            "<LastModified>2026-02-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag><Size>{len(body)}</Size>"
            "<StorageClass>STANDARD</StorageClass>"
        )

    def answer(self, head: bytes) -> bytes:
        """Return the answer to a GET, which may have a Range."""
        lines = head.lower()
        begin = lines.find(b"\r\nrange:")
        if begin < 0:
            return _answer(200, self._headers, self._body)
        value = lines[begin:].split(b"\r\n", 2)[1].decode().partition(":")[2].strip()
        size = len(self._body)
        asked = asked_range(value, size)
        if asked is None:
            return _answer(200, self._headers, self._body)
        if not asked:
            return _refusal(416, "InvalidRange")
        headers = f"{self._headers}Content-Range: bytes {asked.start}-{asked.stop - 1}/{size}\r\n"
        return _answer(206, headers, self._body[asked.start : asked.stop])


def asked_range(value: str, size: int) -> range | None:
    """Return which bytes a header's Range asks for, none of them if it begins after the end.

    None if it is to be ignored, as several ranges are by S3.
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", value)
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


def _answer(status: int, headers: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _refusal(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{_REASONS[status]}</Message></Error>"
    return _answer(status, "Content-Type: application/xml\r\n", body.encode())


def read_folder(folder: Path) -> dict[str, StoredObject]:
    """Return a folder's files, by the paths in it."""
    return {
        path.relative_to(folder).as_posix(): StoredObject(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def make_keys(number: int, days: int) -> list[str]:
    """Return so many keys of flow logs."""
    folders = list(product(_ACCOUNTS, _REGIONS, range(days)))
    keys = []
    for place, (account, region, day) in enumerate(folders):
        of_day = _FIRST_DAY + timedelta(days=day)
        folder = f"AWSLogs/{account}/vpcflowlogs/{region}/{of_day:%Y/%m/%d}/"
        objects = number * (place + 1) // len(folders) - number * place // len(folders)
        keys += [
            f"{folder}{account}_vpcflowlogs_{region}_fl-0123456789abcdef0_{of_day:%Y%m%d}"
            f"T{minute // 60 % 24:02d}{minute % 60:02d}Z_{minute:08x}.log.gz"
            for minute in range(objects)
        ]
    return keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    objects = parser.add_mutually_exclusive_group(required=True)
    objects.add_argument("--folder", type=Path, help="whose files are the objects")
    objects.add_argument("--keys", type=int, help="number of made-up objects")
    parser.add_argument("--days", type=int, default=30, help="number of their days (30)")
    parser.add_argument("--delay-ms", type=float, required=True, help="before each answer")
    arguments = parser.parse_args()
    if arguments.folder:
        bucket = Bucket(read_folder(arguments.folder))
    else:
        made_up = StoredObject(b"made up")
        bucket = Bucket(dict.fromkeys(make_keys(arguments.keys, arguments.days), made_up))
    server = Server(bucket, arguments.delay_ms / 1000)
    print(server.port, flush=True)
    threading.Thread(target=server.run, daemon=True).start()
    with suppress(KeyboardInterrupt):
        sys.stdin.read()


if __name__ == "__main__":
    main()
