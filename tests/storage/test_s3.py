"""Storage in S3: odd keys, credentials, regions, answers that are lost or broken off."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flowconv.errors import FetchError, FlowconvError, FolderError, StorageError, UsageError
from flowconv.storage import retrying, s3, s3_connection
from flowconv.storage.http_gets import Gets
from flowconv.storage.http_hosts import Host
from flowconv.storage.interface import Folder, Storage, StoredFile
from flowconv.storage.names import to_text
from flowconv.storage.opening import open_storage
from flowconv.storage.s3_connection import Connection
from support.certificates import tls_of_server, write_certificate
from support.faulty_proxy import Fault, faulty_proxy
from support.s3_servers import S3Server

pytestmark = pytest.mark.usefixtures("no_aws_settings")

STAGING = "_flowconv/staging/file"

on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other paths and links")


def test_more_than_a_page(s3: S3Server) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    count = s3.page_keys + 5
    keys = [f"a/{number:04}" for number in range(count)] + [f"b{n:04}/x" for n in range(count)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    storage = open_storage(f"s3://{bucket}", s3.storage_options())
    assert [file.path for file in storage.list_files()] == keys
    assert len(list(storage.list_files("a"))) == count
    assert storage.list_directories() == ["a", *(f"b{n:04}" for n in range(count))]
    listing = storage.list_files()
    assert next(listing).path == "a/0000"
    listing.close()  # type: ignore[attr-defined]


_ENDS_EARLY = """
import json, sys
from flowconv.storage.opening import open_storage

storage = open_storage(sys.argv[1], json.loads(sys.argv[2]))
fetches = [storage.start_fetch("x", 0, 1) for _ in range(100)]
fetches[0].result()
"""


def test_a_process_may_end_while_requests_are_under_way(s3: S3Server) -> None:
    """The clients' threads must not use Python while it is taken down."""
    bucket = s3.make_bucket()
    s3.client().put_object(Bucket=bucket, Key="x", Body=b"x")
    options = json.dumps(s3.storage_options())
    command = [sys.executable, "-c", _ENDS_EARLY, f"s3://{bucket}", options]
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


ODD_KEYS = [
    ".",
    "//",
    "/a",
    "a//b",
    "a/./b",
    "a/../b",
    "a/b?versionId=x#y",
    "a b+c%20d%2Fe&f=g",
    "é/ü ",
    "tab\there",
    "trailing/",
    "quote'\"<>",
]


@pytest.mark.parametrize("prefix", ["", "/p/q"])
def test_odd_keys(s3: S3Server, prefix: str) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    storage = open_storage(f"s3://{bucket}{prefix}", s3.storage_options())
    inside = f"{prefix}/"[1:]
    for path in ODD_KEYS:
        client.put_object(Bucket=bucket, Key=inside + path, Body=b"<" + path.encode() + b">")
    listed = list(storage.list_files())
    assert [file.path for file in listed] == sorted(ODD_KEYS, key=str.encode)
    for file in listed:
        assert storage.fetch(file.path, 0, file.size_bytes) == b"<" + file.path.encode() + b">"
        assert storage.fetch(file.path) == b"<" + file.path.encode() + b">"
        assert storage.fetch(file.path, 1, 2) == (file.path.encode() + b">")[:2]
        assert storage.location(file.path) == f"s3://{bucket}/{inside}{file.path}"
        assert storage.uri(file.path) == to_text(storage.location(file.path))
    assert sorted(_walk(storage)) == sorted(ODD_KEYS)
    for path in ODD_KEYS:
        assert storage.create(path, b"") is False
        storage.write(path, b"new")
        assert storage.read(path) == b"new"
        with pytest.raises(FetchError, match="since it was listed"):
            storage.fetch(path, 0, 4)
    storage.delete(ODD_KEYS)
    assert list(storage.list_files()) == []


def test_marker_of_the_root_is_no_file(s3: S3Server) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    for key in ("logs/", "logs/a", "logs/sub/"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    storage = open_storage(f"s3://{bucket}/logs", s3.storage_options())
    assert [file.path for file in storage.list_files()] == ["a", "sub/"]
    assert [entry.path for entry in storage.list_folder()] == ["a", "sub/"]


def test_empty_bucket_and_prefix_have_no_files(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    for url in (f"s3://{bucket}", f"s3://{bucket}/nothing/here"):
        storage = open_storage(url, s3.storage_options())
        assert list(storage.list_files()) == []
        assert list(storage.list_folder()) == []


def _everything(storage: Storage) -> list[Callable[[], object]]:
    return [
        lambda: list(storage.list_files()),
        lambda: list(storage.list_folder("x")),
        storage.list_directories,
        lambda: storage.read("x"),
        lambda: storage.fetch("x", 0, 1),
        lambda: storage.fetch("x//y", 0, 1),
        lambda: storage.write("x", b"x"),
        lambda: storage.create("x", b"x"),
        lambda: storage.delete(["x"]),
        lambda: storage.open_staged("x", STAGING).publish(),
        lambda: storage.open_staged("x", STAGING).file.write(b"x" * (6 << 20)),
        lambda: storage.list_unfinished(STAGING),
    ]


@pytest.mark.parametrize(
    ("bucket_of", "options", "message"),
    [
        ("missing", {}, "there is no such bucket"),
        ("own", {"secret": "WRONGSECRET"}, "secret does not belong to the access key"),
        ("own", {"key": "AKIAUNKNOWN"}, "access key is not known"),
    ],
    ids=["no bucket", "wrong secret", "wrong key"],
)
def test_bucket_that_cannot_be_had(
    s3: S3Server, bucket_of: str, options: dict[str, str], message: str
) -> None:
    bucket = s3.make_bucket() + ("-missing" if bucket_of == "missing" else "")
    storage = open_storage(f"s3://{bucket}/p", s3.storage_options() | options)
    for action in _everything(storage):
        with pytest.raises(StorageError, match=message) as caught:
            action()
        assert str(caught.value).startswith(f"s3://{bucket}/p")
        _assert_clean(caught.value, s3, "WRONGSECRET", "AKIAUNKNOWN")


def test_bucket_of_another_user(s3: S3Server) -> None:
    storage = open_storage(f"s3://{s3.make_bucket(1)}/p", s3.storage_options(0))
    for action in _everything(storage):
        with pytest.raises((StorageError, FetchError), match=r"access is denied.*s3:") as caught:
            action()
        _assert_clean(caught.value, s3)
    with pytest.raises(FetchError, match="access is denied"):
        storage.fetch("x", 0, 1)


@pytest.mark.s3server  # moto answers 500.
def test_anonymous_where_it_is_not_allowed(ceph_s3: S3Server) -> None:
    options = {"endpoint_url": ceph_s3.endpoint_url, "anon": "true"}
    storage = open_storage(f"s3://{ceph_s3.make_bucket()}", options)
    with pytest.raises(StorageError, match="access is denied"):
        list(storage.list_files())
    with pytest.raises(FetchError, match="access is denied"):
        storage.fetch("x", 0, 1)


@pytest.mark.s3server
def test_anonymous_in_a_public_bucket(ceph_s3: S3Server) -> None:
    bucket, client = ceph_s3.make_bucket(), ceph_s3.client()
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    client.put_object(Bucket=bucket, Key="x", Body=b"body", ACL="public-read")
    options = {"endpoint_url": ceph_s3.endpoint_url, "anon": "true"}
    storage = open_storage(f"s3://{bucket}", options)
    assert [file.path for file in storage.list_files()] == ["x"]
    assert storage.fetch("x", 1, 2) == b"od"


def test_no_credentials(s3: S3Server) -> None:
    storage = open_storage(f"s3://{s3.make_bucket()}", {"endpoint_url": s3.endpoint_url})
    for action in _everything(storage):
        with pytest.raises(StorageError, match=r"no credentials were found.*AWS_PROFILE"):
            action()


def test_missing_profile(s3: S3Server) -> None:
    options = {"endpoint_url": s3.endpoint_url, "profile": "nobody"}
    storage = open_storage(f"s3://{s3.make_bucket()}", options)
    with pytest.raises(StorageError, match="no such profile"):
        list(storage.list_files())


def test_environment_is_enough(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment(1).items():
        monkeypatch.setenv(name, value)
    _assert_works(open_storage(f"s3://{s3.make_bucket(1)}/p"))


@pytest.mark.parametrize("name", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_configuration_that_cannot_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").write_text("[profile p\nregion=\n===\n")
    monkeypatch.setenv(name, str(tmp_path / "aws"))
    with pytest.raises(StorageError, match=r"configuration cannot be read: .* Repair ~/\.aws"):
        open_storage("s3://bucket", {"region": "eu-west-1"}).read("lake.json")


def test_profile_goes_before_the_environment(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in s3.environment(1).items():
        monkeypatch.setenv(name, value)
    user = s3.users[0]
    (tmp_path / "config").write_text(
        f"[profile p]\naws_access_key_id={user.access_key}\n"
        f"aws_secret_access_key={user.secret_key}\nregion={s3.region}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    _assert_works(open_storage(f"s3://{s3.make_bucket(0)}/p", {"profile": "p"}))


@on_posix
def test_credentials_of_a_process_are_used_by_both_clients(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user = s3.users[0]
    log = tmp_path / "log"
    script = tmp_path / "credentials.sh"
    script.write_text(
        f"#!/bin/sh\necho once >> {log}\n"
        f'echo \'{{"Version": 1, "AccessKeyId": "{user.access_key}", "SecretAccessKey": '
        f'"{user.secret_key}", "Expiration": "2999-01-01T00:00:00Z"}}\'\n'
    )
    script.chmod(0o700)
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process={script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    options = {"profile": "p", "endpoint_url": s3.endpoint_url, "region": s3.region}
    _assert_works(open_storage(f"s3://{s3.make_bucket(0)}/p", options))
    assert log.read_text() == "once\n"


# What AWS's token service says to who takes a role.
_ROLE = """<{0}Response><{0}Result><Credentials><AccessKeyId>ROLEKEY</AccessKeyId>
<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></{0}Result></{0}Response>"""


@pytest.mark.parametrize("action", ["AssumeRole", "AssumeRoleWithWebIdentity"])
def test_credentials_of_a_role(
    action: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.command == "POST":
            asked.append(parse_qs(request.rfile.read(int(request.headers["Content-Length"]))))
            body = _ROLE.format(action).encode()
        else:
            assert "Credential=ROLEKEY/" in request.headers["Authorization"]
            assert request.headers["x-amz-security-token"] == "t"
            body = b"0"
        _answer(request, 200, body, {"Content-Length": str(len(body)), **_HEADERS})

    role = "role_arn=arn:aws:iam::123456789012:role/r"
    (tmp_path / "token").write_text("token")
    (tmp_path / "config").write_text(
        f"[profile AssumeRole]\n{role}\nsource_profile=base\n"
        "[profile base]\naws_access_key_id=k\naws_secret_access_key=s\n"
        f"[profile AssumeRoleWithWebIdentity]\n{role}\n"
        f"web_identity_token_file={tmp_path / 'token'}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with _server(answer) as options:
        monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint_url"])
        storage = open_storage("s3://bucket", {"profile": action, "region": "eu-west-1"})
        assert storage.fetch("x") == storage.fetch("x//y") == b"0"
    assert [form[b"Action"] for form in asked] == [[action.encode()]]


def test_options_go_before_the_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment(1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "stale")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    _assert_works(open_storage(f"s3://{s3.make_bucket(0)}/p", s3.storage_options(0)))


def test_endpoint_that_nobody_listens_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        options = {
            "endpoint_url": f"http://127.0.0.1:{unused.getsockname()[1]}",
            "key": "AKIAKEY",
            "secret": "TOPSECRET",
        }
        storage = open_storage("s3://bucket", options)
        for action in _everything(storage):
            with pytest.raises(StorageError, match=r"endpoint cannot be reached.*endpoint_url=…"):
                action()


@pytest.mark.parametrize(
    ("what", "unanswered"),
    [
        *((what, True) for what in ("reset before", "reset in body", "hung up", "short body")),
        *((what, False) for what in ("denied", "expired", "SlowDown", "bad gateway")),
    ],
)
def test_no_answer_is_told_from_a_refusal(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch, what: str, *, unanswered: bool
) -> None:
    monkeypatch.setattr(retrying, "ATTEMPTS", 1)
    bucket = moto_s3.make_bucket()
    moto_s3.client().put_object(Bucket=bucket, Key="x", Body=bytes(100))
    with faulty_proxy(moto_s3) as proxy:
        proxy.faults = [
            Fault(what, kind, times=float("inf")) for kind in ("GetObject", "PutObject")
        ]
        options = {**moto_s3.storage_options(), "endpoint_url": proxy.endpoint_url}
        storage = open_storage(f"s3://{bucket}", options)
        actions: list[Callable[[], object]] = [partial(storage.fetch, "x")]
        if "body" not in what:
            actions.append(partial(storage.write, "y", b"y"))
        for action in actions:
            with pytest.raises(FlowconvError) as raised:
                action()
            assert raised.value.unanswered == unanswered


def test_create_after_a_lost_answer_knows_its_own(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(f"s3://{moto_s3.make_bucket()}", moto_s3.storage_options())
    start = s3_connection.Connection.start

    def start_twice(self: Any, method: str, **request: Any) -> Any:
        # What a client does when the answer to a first attempt is lost.
        if method == "put_object":
            start(self, method, **request).result()
        return start(self, method, **request)

    monkeypatch.setattr(s3_connection.Connection, "start", start_twice)
    assert storage.create("x", b"first") is True
    monkeypatch.undo()
    assert storage.create("x", b"first") is False


def test_publish_after_a_lost_answer_is_done(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(f"s3://{moto_s3.make_bucket()}", moto_s3.storage_options())
    start = s3_connection.Connection.start

    def start_twice(self: Any, method: str, **request: Any) -> Any:
        if method == "complete_multipart_upload":
            start(self, method, **request).result()
        return start(self, method, **request)

    monkeypatch.setattr(s3_connection.Connection, "start", start_twice)
    sink = storage.open_staged("x", STAGING)
    sink.file.write(b"x" * (6 << 20))
    sink.publish()
    assert storage.read("x") == b"x" * (6 << 20)


def test_parts_are_sent_side_by_side(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"s3://{moto_s3.make_bucket()}", moto_s3.storage_options())
    start = s3_connection.Connection.start
    third = threading.Event()
    waited: list[bool] = []

    def start_first_when_the_third_is_sent(self: Any, method: str, **request: Any) -> Any:
        if request.get("PartNumber") == 3:
            third.set()
        if request.get("PartNumber") != 1:
            return start(self, method, **request)
        first: Future[Any] = Future()

        def send() -> None:
            waited.append(third.wait(60))
            first.set_result(start(self, method, **request).result())

        threading.Thread(target=send).start()
        return first

    monkeypatch.setattr(s3_connection.Connection, "start", start_first_when_the_third_is_sent)
    sink = storage.open_staged("x", STAGING)
    body = b"".join(bytes([number]) * (5 << 20) for number in range(4)) + b"end"
    sink.file.write(body)
    sink.publish()
    assert waited == [True]
    assert storage.read("x") == body


@pytest.mark.parametrize("room", [48 << 20, 0])
def test_close_waits_for_parts_only_without_room(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(s3, "_CLOSED_BYTES", room)
    storage = open_storage(f"s3://{moto_s3.make_bucket()}", moto_s3.storage_options())
    start = s3_connection.Connection.start
    is_closed = threading.Event()
    sent: list[bool] = []

    def start_parts_when_closed(self: Any, method: str, **request: Any) -> Any:
        if method != "upload_part":
            return start(self, method, **request)
        part: Future[Any] = Future()

        def send() -> None:
            # Without room nothing is closed before the parts are sent.
            sent.append(is_closed.wait(60 if room else 0.1))
            part.set_result(start(self, method, **request).result())

        threading.Thread(target=send).start()
        return part

    monkeypatch.setattr(s3_connection.Connection, "start", start_parts_when_closed)
    sink = storage.open_staged("x", STAGING)
    sink.file.write(b"x" * (6 << 20))
    sink.close()
    is_closed.set()
    assert room or len(sent) == 2
    sink.publish()
    assert sent == [bool(room)] * 2
    assert storage.read("x") == b"x" * (6 << 20)


def test_closed_files_keep_a_bounded_memory(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files that have no room are sent when they are closed."""
    monkeypatch.setattr(s3, "_CLOSED_BYTES", 5)
    storage = open_storage(f"s3://{moto_s3.make_bucket()}", moto_s3.storage_options())
    sinks = [storage.open_staged(name, STAGING) for name in "abcd"]
    for sink in sinks:
        sink.file.write(b"xxx")
        sink.close()
    assert [upload.path for upload in storage.list_unfinished(STAGING)] == ["b", "c", "d"]
    sinks[0].publish()
    sinks[1].discard()
    sinks[2].publish()
    sinks[3].publish()
    again = storage.open_staged("e", STAGING)
    again.file.write(b"xxxxx")
    again.close()
    assert storage.list_unfinished(STAGING) == []
    again.publish()
    assert {name: storage.read(name) for name in "abcde"} == {
        **dict.fromkeys("acd", b"xxx"),
        "b": None,
        "e": b"xxxxx",
    }


@pytest.mark.parametrize("region", [None, "eu-central-1"])
def test_both_clients_sign_for_the_region(region: str | None) -> None:
    scopes = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        scopes.append(request.headers["Authorization"].split("/")[2])
        _answer_ok(request)

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options | ({"region": region} if region else {}))
        assert storage.fetch("x") == b"0"
        storage.delete(["x"])
    assert scopes == [region or "us-east-1"] * 2


@pytest.mark.parametrize("status", [200, 301, 403])
def test_bucket_at_aws_is_used_where_it_is(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_connection, "_is_aws", lambda endpoint_url: True)
    scopes = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.command == "HEAD":
            _answer(request, status, b"", {"x-amz-bucket-region": "eu-central-1"})
        else:
            scopes.append(request.headers["Authorization"].split("/")[2])
            _answer_ok(request)

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options | {"region": "us-west-2"})
        assert storage.fetch("x") == b"0"
        storage.delete(["x"])
    assert scopes == ["eu-central-1"] * 2


@pytest.mark.parametrize(
    ("status", "code", "region"),
    [
        (301, "PermanentRedirect", "eu-central-1"),
        (301, "", "eu-central-1"),
        (307, "TemporaryRedirect", "eu-central-1"),
        (307, "", "eu-central-1"),
        (301, "PermanentRedirect", None),
    ],
)
def test_a_bucket_in_another_region(status: int, code: str, region: str | None) -> None:
    """It is said at once, and no request is made again."""
    body = f"<Error><Code>{code}</Code><Message>Elsewhere</Message></Error>".encode() * bool(code)
    requests = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        requests.append(request.path)
        sent = b"" if request.command == "HEAD" else body
        headers = {"Content-Length": str(len(sent)), "Content-Type": "application/xml"}
        headers |= {"x-amz-bucket-region": region} if region else {}
        _answer(request, status, sent, headers)

    with _server(answer) as options:
        for use in (
            lambda storage: list(storage.list_files("")),
            lambda storage: storage.fetch("x"),
            lambda storage: storage.delete(["x"]),
        ):
            storage = open_storage("s3://bucket", options | {"region": "us-west-2"})
            with pytest.raises(FlowconvError, match=r"in another region\. Set region=… to it\."):
                use(storage)
            assert storage.retries == 0
    assert len(requests) >= 3


@pytest.mark.parametrize(
    ("endpoint_url", "is_aws"),
    [
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com", True),
        ("http://127.0.0.1:9000", False),
        ("https://amazonaws.com.example.org", False),
    ],
)
def test_endpoints_of_aws(endpoint_url: str, is_aws: bool) -> None:
    assert s3_connection._is_aws(endpoint_url) is is_aws


@contextmanager
def _server(
    answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None
) -> Iterator[dict[str, str]]:
    """Run an HTTP server that answers each request so; give the options to reach it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_DELETE = do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  # http.server calls them so.

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield {
                "endpoint_url": f"{'https' if tls else 'http'}://localhost:{server.server_port}",
                "key": "AKIAKEY",
                "secret": "TOPSECRET",
            }
        finally:
            server.shutdown()
            thread.join()


def _answer(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
    request.close_connection = True


_HEADERS = {"ETag": '"x"', "Last-Modified": "Wed, 14 Jan 2026 00:00:00 GMT"}


def _answer_ok(request: BaseHTTPRequestHandler) -> None:
    """Answer that it is done; an object is "0"."""
    body = b"0" if request.command == "GET" else b""
    _answer(request, 200, body, {"Content-Length": str(len(body)), **_HEADERS})


@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxy"])
@pytest.mark.parametrize(
    ("sent", "announced"),
    [(b"01234", 10), (b"01234", 5), (b"0123456789ab", 12)],
    ids=["broken off", "short", "long"],
)
def test_body_of_the_wrong_length(
    sent: bytes, announced: int, monkeypatch: pytest.MonkeyPatch, *, is_proxied: bool
) -> None:
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    requests = 0

    def answer(request: BaseHTTPRequestHandler) -> None:
        nonlocal requests
        requests += 1
        range_ = f"bytes 0-{announced - 1}/{announced}"
        headers = {"Content-Length": str(announced), "Content-Range": range_, **_HEADERS}
        _answer(request, 206, sent, headers)

    with _server(answer) as options:
        reached = _behind_a_proxy(options, monkeypatch) if is_proxied else options
        storage = open_storage("s3://bucket", reached)
        with pytest.raises(FetchError) as caught:
            storage.fetch("x", 0, 10)
    assert requests >= 2
    assert str(caught.value).startswith("s3://bucket/x: ")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxy"])
def test_fetch_survives_what_passes(monkeypatch: pytest.MonkeyPatch, *, is_proxied: bool) -> None:
    requests = 0

    def answer(request: BaseHTTPRequestHandler) -> None:
        nonlocal requests
        requests += 1
        headers = {"Content-Length": "10", "Content-Range": "bytes 0-9/10", **_HEADERS}
        if requests == 1:
            slow_down = b"<Error><Code>SlowDown</Code><Message>Slow</Message></Error>"
            _answer(request, 503, slow_down, {"Content-Length": str(len(slow_down))})
        elif requests == 2:
            request.close_connection = True  # No answer at all.
        elif requests == 3:
            _answer(request, 206, b"01234", headers)
        else:
            start = int(request.headers["Range"].split("=")[1].split("-")[0])
            body = b"0123456789"[start:]
            range_ = {"Content-Range": f"bytes {start}-9/10", "Content-Length": str(len(body))}
            _answer(request, 206, body, headers | range_)

    with _server(answer) as options:
        reached = _behind_a_proxy(options, monkeypatch) if is_proxied else options
        assert open_storage("s3://bucket", reached).fetch("x", 0, 10) == b"0123456789"
    assert requests >= 4


_PAGE = b"""<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
<Contents><Key>a%2Fb%2B</Key><Size>3</Size><ETag>"e"</ETag></Contents></ListBucketResult>"""


@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxy"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<Error><Code>InternalError</Code><Message>Later</Message></Error>"),
        (200, b"<ListBucketResult><Contents>"),
        (200, b"no XML"),
        (200, b"<Other/>"),
        (503, b"<Error><Code>SlowDown</Code></Error>"),
        (500, b""),
    ],
)
def test_listing_survives_what_passes(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, *, is_proxied: bool
) -> None:
    monkeypatch.setattr(retrying, "FIRST_DELAY_S", 0.0)
    asked: list[dict[str, list[str]]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(parse_qs(urlsplit(request.path).query))
        found = (status, body) if len(asked) == 1 else (200, _PAGE)
        _answer(request, *found, {"Content-Length": str(len(found[1]))} | _HEADERS)

    with _server(answer) as options:
        reached = _behind_a_proxy(options, monkeypatch) if is_proxied else options
        storage = open_storage("s3://bucket/a", reached)
        assert list(storage.list_files()) == [StoredFile("b+", 3, "e")]
        assert list(storage.list_first()) == [StoredFile("b+", 3, "e")]
    assert [query.get("max-keys") for query in asked] == [None, None, ["1"]]
    assert {query["prefix"][0] for query in asked} == {"a/"}


@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxy"])
@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (404, "NoSuchBucket", "there is no such bucket"),
        (403, "AccessDenied", "access is denied"),
        (403, "SignatureDoesNotMatch", "secret"),
        (301, "PermanentRedirect", "the bucket is in another region"),
    ],
)
def test_a_listing_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, told: str, *, is_proxied: bool
) -> None:
    body = f"<Error><Code>{code}</Code><Message>No</Message></Error>".encode()

    def answer(request: BaseHTTPRequestHandler) -> None:
        _answer(request, status, body, {"Content-Length": str(len(body))})

    with _server(answer) as options:
        reached = _behind_a_proxy(options, monkeypatch) if is_proxied else options
        for below in ("", "a folder"):
            with pytest.raises(StorageError, match=told) as caught:
                list(open_storage("s3://bucket", reached).list_files(below))
            is_denied = bool(below) and code == "AccessDenied"
            assert caught.value.uri == ("s3://bucket/a folder" if is_denied else "s3://bucket")
            assert isinstance(caught.value, FolderError) is is_denied


def _behind_a_proxy(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make a server a proxy; return the options to reach what only it reaches."""
    monkeypatch.setenv("http_proxy", options["endpoint_url"])
    monkeypatch.delenv("no_proxy", raising=False)
    return options | {"endpoint_url": "http://s3.invalid"}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (202, b"", "S3 answers 202"),
        (400, b"<E><Error>x</Error><RequestId/></E>", "S3 answers 400"),
        (400, b"<Error><Code/></Error>", "S3 answers 400"),
        (400, b"<Error><Code><x/></Code></Error>", "S3 answers 400"),
        (400, b"<Error><Code>Odd</Code><Message>So.</Message></Error>", "S3 answers Odd: So"),
        (400, b"<Error", "S3 answers 400"),
        (404, b"no XML", "no such bucket or object"),
        (500, b"no XML", "S3 answers 500"),
    ],
)
def test_answers_that_are_no_object(
    status: int, body: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "ATTEMPTS", 1)

    def answer(request: BaseHTTPRequestHandler) -> None:
        _answer(request, status, body, {"Content-Length": str(len(body))})

    with _server(answer) as options, pytest.raises(FetchError, match=told):
        open_storage("s3://bucket", options).fetch("x", 0, 3)


@pytest.mark.parametrize(
    ("status", "range_", "start", "size", "is_right"),
    [
        (206, "bytes 2-4/9", 2, 3, True),
        (206, "bytes 0-2/9", 2, 3, False),
        (206, "bytes 20-22/99", 2, 3, False),
        (206, None, 2, 3, False),
        (206, "bytes 2-4/9", 2, None, True),
        # The server does not know ranges.
        (200, None, 2, 3, False),
        (200, None, 0, 3, True),
        (200, None, 0, None, True),
    ],
)
def test_other_bytes_than_were_asked_for(
    status: int,
    range_: str | None,
    start: int,
    size: int | None,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_right: bool,
) -> None:
    monkeypatch.setattr(retrying, "ATTEMPTS", 1)

    def answer(request: BaseHTTPRequestHandler) -> None:
        headers = {"Content-Range": range_} if range_ else {}
        _answer(request, status, b"abc", {"Content-Length": "3", **_HEADERS, **headers})

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options)
        if is_right:
            assert storage.fetch("x", start, size) == b"abc"
        else:
            with pytest.raises(FetchError, match="the answer is damaged"):
                storage.fetch("x", start, size)


def test_certificates_that_are_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not as if the object were missing."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path))
    options = {"key": "k", "secret": "s", "region": "us-east-1", "endpoint_url": "https://[::1]:9"}
    with pytest.raises(UsageError, match=r"AWS_CA_BUNDLE.* is not a file"):
        open_storage("s3://bucket", options).read("x")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "AWS_ENDPOINT_URL",
            "localhost:9000",
            "not valid: Invalid endpoint: localhost:9000. Check",
        ),
        ("AWS_ENDPOINT_URL_S3", "ftp://host", "endpoint_url of the profile: write it as https://"),
        ("AWS_ENDPOINT_URL", "http://host:99999", "endpoint_url of the profile: write it as "),
        ("AWS_ENDPOINT_URL", "http://[::1", "a setting of AWS's tools is not valid"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "soon", "is not valid: .*'soon'. Check the environment"),
        ("AWS_DEFAULT_REGION", "eu west", "is not valid: .*'eu west' doesn't match"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://a.example", "Unsupported host 'a.example'"),
    ],
)
def test_settings_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        open_storage("s3://bucket").read("x")


@pytest.mark.parametrize("setting", ["endpoint_url", "region", "services"])
def test_settings_that_have_settings_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{setting} =\n  region = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(UsageError, match=r"a setting of AWS's tools is not valid: .* the profile"):
        open_storage("s3://bucket", {"key": "key", "secret": "secret"}).read("x")


def test_authorities_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both clients use them, and no others."""
    certificate = write_certificate(tmp_path / "localhost.pem")
    with _server(_answer_ok, tls_of_server(certificate)) as options:
        storage = open_storage("s3://bucket", options)
        actions: list[Callable[[], object]] = [
            partial(storage.fetch, "x"),
            partial(storage.delete, ["x"]),
        ]
        for action in actions:
            with pytest.raises(FlowconvError, match=r"certificate is not trusted.* AWS_CA_BUNDLE"):
                action()
        assert storage.retries == 0
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        storage = open_storage("s3://bucket", options)
        assert storage.fetch("x") == b"0"
        storage.delete(["x"])


def test_a_body_is_sent_at_once() -> None:
    """Not after the answer to `Expect: 100-continue`."""
    expected = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        expected.append(request.headers["Expect"])
        _answer(request, 200, b"", {"Content-Length": "0", **_HEADERS})

    with _server(answer) as options:
        open_storage("s3://bucket", options).write("x", b"body")
    assert expected == [None]


def test_what_follows_the_first_read_finds_its_connection_open() -> None:
    """A PUT or LIST that of this read, GETs those that were opened meanwhile."""
    ports: dict[str, int] = {}

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        ports[f"{request.command} {request.path.partition('?')[0]}"] = request.client_address[1]
        body = b"0" if request.command == "GET" else b""
        length = {"Connection": "keep-alive", "Content-Length": str(len(body))}
        _answer(request, 200, body, length | _HEADERS)
        request.close_connection = False

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options)
        assert storage.read("first") == b"0"
        storage.write("second", b"body")
        assert [storage.read(path) for path in ("third", "fourth")] == [b"0", b"0"]
    assert ports["GET /bucket/first"] == ports["PUT /bucket/second"]
    assert len(ports) == 4
    assert len(set(ports.values())) == 2


@pytest.mark.parametrize(
    ("max_requests", "opened"), [(1, [1, 1]), (5, [3, 5]), (100, [3, 16])], ids=str
)
def test_no_more_connections_are_opened_ahead_than_are_used(
    monkeypatch: pytest.MonkeyPatch, max_requests: int, opened: list[int]
) -> None:
    numbers: list[int] = []
    body = b"<ListBucketResult/>"

    def note(_: Gets, __: Host, number: int) -> None:
        numbers.append(number)

    monkeypatch.setattr(Gets, "open_ahead", note)

    def answer(request: BaseHTTPRequestHandler) -> None:
        _answer(request, 200, body, {"Content-Length": str(len(body))} | _HEADERS)

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options, max_requests=max_requests)
        assert [storage.read(path) for path in ("first", "second")] == [body] * 2
        assert numbers == opened
        # A source is not read so, but listed.
        storage = open_storage("s3://bucket", options, max_requests=max_requests)
        assert list(storage.list_first()) == []
    assert numbers == opened * 2


@pytest.mark.parametrize(
    "named_by", ["option", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "profile"]
)
def test_connections_are_opened_while_the_client_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named_by: str
) -> None:
    make_client = Connection._make_client
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def make_once_connected(*of: Any) -> Any:
            listener.settimeout(60)
            listener.accept()[0].close()
            return make_client(*of)

        monkeypatch.setattr(Connection, "_make_client", make_once_connected)
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        options = {"key": "key", "secret": "secret"}
        if named_by == "option":
            options["endpoint_url"] = url
        elif named_by == "profile":
            (tmp_path / "config").write_text(f"[default]\nendpoint_url = {url}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        else:
            monkeypatch.setenv(named_by, url)
        found = Connection("bucket", options, 8)._connect().host
        assert found == Host("127.0.0.1", port, None)


def test_a_refusal_that_breaks_off() -> None:
    """Of the first read, and of the others."""
    requests: Counter[str] = Counter()

    def answer(request: BaseHTTPRequestHandler) -> None:
        requests[request.path] += 1
        body = b"<Error><Code>NoSuchKey</Code></Error>"
        if requests[request.path] == 1:
            _answer(request, 404, b"25\r\n" + body[:9], {"Transfer-Encoding": "chunked"})
        else:
            _answer(request, 404, body, {"Content-Length": str(len(body))})

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options)
        assert [storage.read(path) for path in ("first", "second")] == [None, None]
    assert requests == {"/bucket/first": 2, "/bucket/second": 2}


def test_requester_pays_is_said_by_both_clients() -> None:
    payers = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        payers.append(request.headers["x-amz-request-payer"])
        _answer_ok(request)

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options | {"requester_pays": "true"})
        assert storage.fetch("x") == b"0"
        storage.delete(["x"])
    assert payers == ["requester", "requester"]


def _assert_works(storage: Storage) -> None:
    storage.write("x", b"body")
    assert [file.path for file in storage.list_files()] == ["x"]
    assert storage.fetch("x", 0, 4) == b"body"


def _assert_clean(error: FlowconvError, server: S3Server, *secrets: str) -> None:
    """No secret is shown, and no library's traceback text."""
    text = str(error)
    for secret in (*secrets, *(user.secret_key for user in server.users)):
        assert secret not in text
    assert "\n" not in text
    assert "Debug source" not in text
    assert error.__cause__ is not None


def _walk(storage: Storage, below: str = "") -> Iterator[str]:
    for entry in storage.list_folder(below):
        if isinstance(entry, Folder) and not (below and entry.path == below):
            yield from _walk(storage, entry.path)
        else:
            yield entry.path
