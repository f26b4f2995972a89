"""The test servers are as strict as S3: else tests that pass against them would show nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import botocore.session  # type: ignore[import-untyped]
import pytest

from support import s3_servers
from support.s3_servers import ClientError, S3Server, ServerError


def test_wrong_secret_is_refused(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    s3.client().put_object(Bucket=bucket, Key="key", Body=b"body")
    stranger = s3.client(secret_key="wrong")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.get_object(Bucket=bucket, Key="key")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.put_object(Bucket=bucket, Key="key", Body=b"other")
    assert s3.client().get_object(Bucket=bucket, Key="key")["Body"].read() == b"body"


@pytest.mark.parametrize(("owner", "other"), [(0, 1), (1, 0)])
def test_bucket_of_another_user_is_refused(s3: S3Server, owner: int, other: int) -> None:
    bucket = s3.make_bucket(owner)
    s3.client(owner).put_object(Bucket=bucket, Key="key", Body=b"body")
    stranger = s3.client(other)
    with pytest.raises(ClientError, match="AccessDenied"):
        stranger.list_objects_v2(Bucket=bucket)
    with pytest.raises(ClientError, match="AccessDenied"):
        stranger.get_object(Bucket=bucket, Key="key")
    with pytest.raises(ClientError, match="AccessDenied"):
        stranger.put_object(Bucket=bucket, Key="key", Body=b"other")
    assert s3.client(owner).get_object(Bucket=bucket, Key="key")["Body"].read() == b"body"


def test_missing_bucket_and_key_are_told_apart(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.client().get_object(Bucket=bucket, Key="missing")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.client().get_object(Bucket=f"{bucket}-missing", Key="missing")


def test_put_if_absent_keeps_the_first(s3: S3Server) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    client.put_object(Bucket=bucket, Key="key", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=bucket, Key="key", Body=b"second", IfNoneMatch="*")
    assert client.get_object(Bucket=bucket, Key="key")["Body"].read() == b"first"


def test_pages_of_a_listing(s3: S3Server) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    keys = [f"{number:04}" for number in range(s3.page_keys + 1)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [page["KeyCount"] for page in pages] == [s3.page_keys, 1]
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys


def test_environment_is_enough_for_a_client(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3.environment(1).items():
        monkeypatch.setenv(name, value)
    bucket = s3.make_bucket(1)
    client = botocore.session.Session().create_client("s3")
    client.put_object(Bucket=bucket, Key="key", Body=b"body")
    assert client.get_object(Bucket=bucket, Key="key")["Body"].read() == b"body"


def test_server_that_ends_at_once_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(
        stack: object, command: Sequence[str], log: Path, environment: object = None
    ) -> object:
        script = "print('the log says why'); raise SystemExit(3)"
        return start(stack, [sys.executable, "-c", script], log, environment)  # type: ignore[arg-type]

    start = s3_servers._start
    monkeypatch.setattr(s3_servers, "_start", fail)
    message = r"exit code 3(?s:.*)the log says why"
    with pytest.raises(ServerError, match=message), s3_servers.moto_server():
        pass


def test_missing_ceph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(s3_servers, "_which", lambda program: None)
    reason = s3_servers.ceph_available()
    assert reason is not None
    assert "radosgw" in reason
    assert "apt-get install" in reason
    with pytest.raises(ServerError, match="Ceph is not installed"), s3_servers.ceph_server():
        pass
