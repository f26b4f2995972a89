"""The benchmarks' light server answers as S3 does: else what is measured with it shows nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import polars as pl
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

import flowconv
from flowconv import ConvertOptions
from support.s3_servers import S3Server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "light_server.py"

BODY = bytes(range(100))

# Their order is that of their bytes in UTF-8, which UTF-16 and folders do not have.
KEYS = (
    *("a", "a b+c", "a-b/1", "a/1", "a/b/1", "a/b/2", "a/é", "a0", "a0/1", "a<&>'=%41"),
    *("b/1", "b/2", "c/\N{FULLWIDTH EXCLAMATION MARK}", "c/\N{GRINNING FACE}"),
)

# More than any socket's buffers hold.
LARGE = b"0123456789abcdef" * (1 << 20)


@contextmanager
def light_server(*arguments: str) -> Iterator[int]:
    """Run the server; give its port."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    assert process.returncode == 0  # Its standard input has ended.


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("bucket")
    for key in KEYS:
        path = folder / f"{key}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BODY)
    (folder / "large").write_bytes(LARGE)
    with light_server(f"--folder={folder}", "--delay-ms=0") as port:
        yield port


@pytest.fixture(scope="module")
def client(port: int) -> Any:
    return client_of(port)


def client_of(port: int) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@pytest.fixture(scope="module")
def strict(moto_s3: S3Server) -> tuple[Any, str]:
    """A client of moto, and a bucket with the same small objects."""
    bucket, client = moto_s3.make_bucket(), moto_s3.client()
    for key in KEYS:
        client.put_object(Bucket=bucket, Key=f"{key}.log", Body=BODY)
    return client, bucket


@pytest.mark.parametrize(
    "request_",
    [
        {"Prefix": "a"},
        {"Prefix": "a", "MaxKeys": 1},
        {"Prefix": "a", "Delimiter": "/"},
        {"Prefix": "a", "Delimiter": "/", "MaxKeys": 1},
        {"Prefix": "a", "Delimiter": "/", "MaxKeys": 2},
        {"Prefix": "a/", "Delimiter": "/", "MaxKeys": 2},
        {"Prefix": "a/b/"},
        {"Prefix": "a", "StartAfter": "a/b/1.log"},
        {"Prefix": "a", "StartAfter": "a/b/"},
        {"Prefix": "b", "StartAfter": "a"},
        {"Prefix": "a", "StartAfter": "c"},
        {"Prefix": "a", "Delimiter": ".l"},
        {"Prefix": "c/", "MaxKeys": 1},
        {"Prefix": "nothing"},
    ],
    ids=str,
)
def test_listing(client: Any, strict: tuple[Any, str], request_: dict[str, Any]) -> None:
    strict_client, bucket = strict
    assert pages(client, "bucket", request_) == pages(strict_client, bucket, request_)


def pages(client: Any, bucket: str, request: dict[str, Any]) -> list[Any]:
    """Return each page's number, objects and prefixes."""
    answers: list[dict[str, Any]] = [client.list_objects_v2(Bucket=bucket, **request)]
    while answers[-1]["IsTruncated"]:
        token = answers[-1]["NextContinuationToken"]
        more = client.list_objects_v2(Bucket=bucket, ContinuationToken=token, **request)
        answers.append(more)
    return [
        (
            answer["KeyCount"],
            [(e["Key"], e["Size"], e["ETag"]) for e in answer.get("Contents", ())],
            [entry["Prefix"] for entry in answer.get("CommonPrefixes", ())],
        )
        for answer in answers
    ]


def test_listing_of_all_is_in_order(client: Any) -> None:
    (number, objects, _), *more = pages(client, "bucket", {})
    assert not more
    assert number == len(objects) == len(KEYS) + 1
    keys = [key for key, _, _ in objects]
    assert keys == sorted(keys, key=str.encode)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_found(client: Any, key: str) -> None:
    assert client.get_object(Bucket="bucket", Key=f"{key}.log")["Body"].read() == BODY


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, 99),
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=90-1000", 90, 99),
        ("bytes=99-", 99, 99),
        ("bytes=-10", 90, 99),
        ("bytes=-1000", 0, 99),
    ],
)
def test_range(client: Any, asked: str, first: int, last: int) -> None:
    answer = client.get_object(Bucket="bucket", Key="a.log", Range=asked)
    assert answer["ContentRange"] == f"bytes {first}-{last}/100"
    assert answer["Body"].read() == BODY[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=5-4", "bytes=-", "lines=1-2"])
def test_range_that_is_ignored(client: Any, asked: str) -> None:
    answer = client.get_object(Bucket="bucket", Key="a.log", Range=asked)
    assert "ContentRange" not in answer
    assert answer["Body"].read() == BODY


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_range_after_the_end(client: Any, asked: str) -> None:
    with pytest.raises(ClientError, match="InvalidRange"):
        client.get_object(Bucket="bucket", Key="a.log", Range=asked)


def test_head(client: Any) -> None:
    head = client.head_object(Bucket="bucket", Key="a.log")
    (listed,) = client.list_objects_v2(Bucket="bucket", Prefix="a.log")["Contents"]
    assert (head["ContentLength"], head["ETag"]) == (100, listed["ETag"])
    assert head["LastModified"] == listed["LastModified"]
    assert_answers(client)  # The connection is ready for what follows.


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("get_object", {"Bucket": "bucket", "Key": "missing"}, "NoSuchKey"),
        ("get_object", {"Bucket": "missing", "Key": "a.log"}, "NoSuchBucket"),
        ("head_object", {"Bucket": "bucket", "Key": "missing"}, "404"),
        ("list_objects_v2", {"Bucket": "missing"}, "NoSuchBucket"),
        ("list_objects", {"Bucket": "bucket"}, "NotImplemented"),
        ("delete_object", {"Bucket": "bucket", "Key": "a.log"}, "NotImplemented"),
    ],
)
def test_refusal(client: Any, method: str, request_: dict[str, str], code: str) -> None:
    with pytest.raises(ClientError, match=code):
        getattr(client, method)(**request_)


def test_client_that_reads_slowly_keeps_nobody_waiting(client: Any, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /bucket/large HTTP/1.1\r\n\r\n")
        received = slow.recv(1024)
        for _ in range(3):
            assert_answers(client)
        # Two more requests are there before the first is answered; the last one in pieces.
        slow.sendall(b"GET /bucket/a.log HTTP/1.1\r\n\r\nGET /bucket/b")
        slow.sendall(b"/1.log HTTP/1.1\r\nRange: bytes=1-2\r\n\r")
        while not received.endswith(BODY):
            received += slow.recv(1 << 20)
        slow.sendall(b"\n")
        last = slow.recv(1024)
    bodies = received.split(b"\r\n\r\n", 1)[1]
    assert bodies[: len(LARGE)] == LARGE
    assert bodies[len(LARGE) :].startswith(b"HTTP/1.1 200 OK\r\n")
    assert last.startswith(b"HTTP/1.1 206 ")
    assert last.endswith(b"\r\n\r\n" + BODY[1:3])


def test_client_that_hangs_up_harms_nobody(client: Any, port: int) -> None:
    for request in (b"", b"GET", b"GET /bucket/large HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as hasty:
            hasty.sendall(request)
    assert_answers(client)


def assert_answers(client: Any) -> None:
    assert client.get_object(Bucket="bucket", Key="a.log")["Body"].read() == BODY


def test_delay_of_requests_and_of_connections() -> None:
    delay_s = 0.02
    with light_server("--keys=1", "--delay-ms=20") as port:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for delays in (2, 1):
                connection.sendall(b"HEAD /bucket/missing HTTP/1.1\r\n\r\n")
                assert connection.recv(1024).startswith(b"HTTP/1.1 404 ")
                now = time.monotonic()
                assert now - began >= delays * delay_s
                began = now


@pytest.mark.usefixtures("no_aws_settings")
def test_logs_are_converted_as_from_their_folder(
    sample_logs: Path, sample_lake: Path, tmp_path: Path
) -> None:
    with light_server(f"--folder={sample_logs}", "--delay-ms=1") as port:
        options = ConvertOptions(
            workers=2,
            source_options={
                "key": "key",
                "secret": "secret",
                "endpoint_url": f"http://127.0.0.1:{port}",
                "region": "us-east-1",
            },
        )
        report = flowconv.convert("s3://bucket", str(tmp_path / "lake"), options)
    assert report.complete
    found, wanted = (flowconv.scan(str(lake)) for lake in (tmp_path / "lake", sample_lake))
    rows = wanted.collect()
    assert rows.height > 0
    assert found.collect().sort(pl.all()).equals(rows.sort(pl.all()))


def test_made_up_objects() -> None:
    with light_server("--keys=100", "--days=2", "--delay-ms=0") as port:
        listed = client_of(port).list_objects_v2(Bucket="bucket")["Contents"]
    keys = [entry["Key"] for entry in listed]
    assert len(set(keys)) == 100
    assert keys == sorted(keys)
