"""What can be opened as a storage, and what cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowconv.errors import StorageError, UsageError
from flowconv.storage.opening import open_storage

pytestmark = pytest.mark.usefixtures("no_aws_settings")

on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other paths and links")


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("s3://", {}, "no valid bucket name"),
        ("s3:///key", {}, "no valid bucket name"),
        ("s3://b cket/key", {}, "no valid bucket name"),
        ("gs://bucket/key", {}, "gs:// is not supported"),
        ("https://bucket.s3.amazonaws.com/key", {}, "web addresses are not supported"),
        ("", {}, "'' is not a valid path"),
        ("a\0b", {}, "is not a valid path"),
        ("folder", {"region": "x"}, "region: a local folder takes no storage options"),
        ("s3://bucket", {"regoin": "x"}, "'regoin' is not a storage option. Did you mean region?"),
        ("folder", {"regoin": "x"}, "'regoin' is not a storage option"),
        ("s3://bucket", {"anon": "yes"}, "anon: write true or false"),
        ("s3://bucket", {"requester_pays": "1"}, "requester_pays: write true or false"),
        ("s3://bucket", {"key": "K"}, "key and secret: each needs the other"),
        ("s3://bucket", {"secret": "TOPSECRET"}, "key and secret: each needs the other"),
        ("s3://bucket", {"token": "TOPSECRET"}, "token: it needs key and secret"),
        ("s3://bucket", {"anon": "true", "profile": "p"}, "profile and anon: choose one"),
        ("s3://bucket", {"endpoint_url": "localhost:9000"}, "endpoint_url: write it as"),
        ("s3://bucket", {"endpoint_url": "http://u:TOPSECRET@h"}, "endpoint_url: write it as"),
    ],
)
def test_what_cannot_be_opened(url: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_storage(url, options)
    assert message in str(caught.value)
    assert "TOPSECRET" not in str(caught.value)


@on_posix
@pytest.mark.parametrize(
    ("url", "root", "uri"),
    [
        ("s3://bucket", "s3://bucket", "s3://bucket/a/b"),
        ("s3://bucket/", "s3://bucket", "s3://bucket/a/b"),
        ("s3://bucket/p/q/", "s3://bucket/p/q", "s3://bucket/p/q/a/b"),
        ("/folder//x/../y/", "/folder/y", "/folder/y/a/b"),
        ("file:///folder/a%20b", "/folder/a b", "/folder/a b/a/b"),
        ("/", "/", "/a/b"),
    ],
)
def test_roots(url: str, root: str, uri: str) -> None:
    storage = open_storage(url)
    assert storage.root == root
    assert storage.uri("") == root
    assert storage.uri("a/b") == uri
    assert storage.is_local is not url.startswith("s3:")


def test_relative_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("x").root == str(tmp_path / "x")


@on_posix
def test_relative_to_a_folder_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError, match="x: the current folder was removed"):
        open_storage("x")
    assert open_storage(str(tmp_path / "x")).root == str(tmp_path / "x")


def test_neither_import_nor_opening_loads_the_clients_or_connects() -> None:
    code = (
        "import sys; import flowconv.source.listing\n"
        "from flowconv.storage.opening import open_storage\n"
        "open_storage('x')\n"
        "print(sorted({'asyncio', 'botocore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    open_storage("s3://bucket", {"endpoint_url": "http://127.0.0.1:9"})
