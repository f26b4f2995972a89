"""Requests are signed as by botocore."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl

import pytest
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import ReadOnlyCredentials  # type: ignore[import-untyped]
from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from flowconv.storage.s3_signing import GetRequests

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def _parts(request: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = request.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    method, path, version = first.split(" ")
    assert (method, version) == ("GET", "HTTP/1.1")
    return path, dict(line.split(": ", 1) for line in lines)


def _by_botocore(url: str, headers: dict[str, str]) -> str:
    """Return the signature of a request with these headers."""
    credentials = ReadOnlyCredentials("AKIAKEY", "TOPSECRET", headers.get("x-amz-security-token"))
    added = {n: v for n, v in headers.items() if n == "x-amz-request-payer"}
    request = AWSRequest(method="GET", url=url, headers=added)
    # What `add_auth` does, but for the time.
    request.context["timestamp"] = headers["x-amz-date"]
    auth = S3SigV4Auth(credentials, "s3", "eu-west-1")
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    signature: str = auth.signature(text, request)
    return signature


@given(
    token=st.sampled_from([None, "TOKEN"]),
    endpoint_url=st.sampled_from(["http://127.0.0.1:9000", "https://s3.example/a b/"]),
    requester_pays=st.booleans(),
    keys=st.lists(KEYS, min_size=1, max_size=3),
)
def test_signatures(
    endpoint_url: str, token: str | None, requester_pays: bool, keys: list[str]
) -> None:
    requests = GetRequests(
        endpoint_url,
        "bucket",
        "eu-west-1",
        lambda: ReadOnlyCredentials("AKIAKEY", "TOPSECRET", token),
        requester_pays=requester_pays,
    )
    requests.renew()
    made = [requests.make(key, "bytes=0-9") for key in keys]
    made += [requests.make_listing({"prefix": key, "delimiter": "/"}) for key in keys]
    for request in made:
        path, headers = _parts(request)
        assert headers["host"] in ("127.0.0.1:9000", "s3.example")
        assert headers.get("range") == (None if "?" in path else "bytes=0-9")
        assert headers.get("x-amz-request-payer") == ("requester" if requester_pays else None)
        url = "/".join(endpoint_url.split("/")[:3]) + path
        names = ["host", *(name for name in headers if name.startswith("x-amz-"))]
        scope = f"{headers['x-amz-date'][:8]}/eu-west-1/s3/aws4_request"
        assert headers["authorization"] == (
            f"AWS4-HMAC-SHA256 Credential=AKIAKEY/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={_by_botocore(url, headers)}"
        )


@pytest.mark.parametrize(
    ("endpoint_url", "host"),
    [
        ("http://store:80", "store"),
        ("https://store:443/", "store"),
        ("https://store:80", "store:80"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("https://[::1]", "[::1]"),
    ],
)
def test_public_buckets(endpoint_url: str, host: str) -> None:
    requests = GetRequests(endpoint_url, "bucket", "eu-west-1", None, requester_pays=False)
    assert requests.is_fresh
    path, headers = _parts(requests.make("a/é", None))
    assert path == "/bucket/a/%C3%A9"
    assert headers == {"host": host, "user-agent": "flowconv"}


@given(KEYS)
def test_listings_ask_for_what_is_wanted(text: str) -> None:
    requests = GetRequests("http://store/s3", "bucket", "eu-west-1", None, requester_pays=False)
    path, _ = _parts(requests.make_listing({"start-after": text, "prefix": ""}))
    place, _, query = path.partition("?")
    assert place == "/s3/bucket"
    assert parse_qsl(query, keep_blank_values=True, strict_parsing=True) == [
        ("encoding-type", "url"),
        ("list-type", "2"),
        ("prefix", ""),
        ("start-after", text),
    ]


def test_credentials_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = [ReadOnlyCredentials(name, "s", None) for name in ("ONE", "TWO")]
    requests = GetRequests("http://s", "b", "r", lambda: asked.pop(0), requester_pays=False)
    requests.renew()
    assert b"Credential=ONE/" in requests.make("x", None)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
    assert not requests.is_fresh
    requests.renew()
    assert b"Credential=TWO/" in requests.make("x", None)


def test_credentials_that_cannot_be_had() -> None:
    def fail() -> None:
        raise NoCredentialsError

    requests = GetRequests("http://s", "b", "r", fail, requester_pays=False)
    with pytest.raises(NoCredentialsError):
        requests.renew()
    assert not requests.is_fresh
