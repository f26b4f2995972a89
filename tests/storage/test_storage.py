"""Local folders and S3 behave alike; what differs has tests of its own."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowconv.errors import FetchError, FlowconvError, StorageError, UsageError
from flowconv.storage import retrying, s3_connection
from flowconv.storage.interface import Folder, NoFile, Storage, StoredFile, Unfinished
from flowconv.storage.local import LocalStorage
from flowconv.storage.local_errors import storage_errors
from flowconv.storage.names import to_text
from flowconv.storage.opening import open_storage
from support.s3_servers import S3Server

STAGING = "_flowconv/staging/file"

on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other paths and links")


def options_of(server: S3Server, user: int = 0, **more: str) -> dict[str, str]:
    return {
        "key": server.users[user].access_key,
        "secret": server.users[user].secret_key,
        "endpoint_url": server.endpoint_url,
        "region": server.region,
        **more,
    }


@pytest.fixture(params=["local", "moto", pytest.param("ceph", marks=pytest.mark.s3server)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage: the same test against a folder and both S3 servers."""
    if request.param == "local":
        return open_storage(str(tmp_path))
    server: S3Server = request.getfixturevalue(f"{request.param}_s3")
    return open_storage(f"s3://{server.make_bucket()}/some/prefix", options_of(server))


@pytest.fixture(autouse=True)
def no_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


# Both alike.


def test_listing_is_in_the_order_of_the_paths_bytes(storage: Storage) -> None:
    paths = ["a-b/x", "a.gz", "a/.hidden", "a/b/c", "a/x", "a0", "b/é", "b/z"]
    for path in reversed(paths):
        storage.write(path, path.encode())
    assert [file.path for file in storage.list_files()] == sorted(paths, key=str.encode)
    assert [file.path for file in storage.list_files("a")] == ["a/.hidden", "a/b/c", "a/x"]
    assert list(storage.list_files("a/")) == list(storage.list_files("a"))
    assert list(storage.list_files("missing")) == []
    assert [entry.path for entry in storage.list_folder()] == ["a-b/", "a.gz", "a/", "a0", "b/"]
    assert [entry.path for entry in storage.list_folder("a")] == ["a/.hidden", "a/b/", "a/x"]
    assert storage.list_directories() == ["a", "a-b", "b"]
    assert storage.list_directories("a/") == ["b"]
    assert storage.list_directories("missing") == []


def test_listed_files_have_size_and_an_etag_that_changes(storage: Storage) -> None:
    storage.write("a", b"first")
    (before,) = storage.list_files()
    assert before == StoredFile("a", 5, before.etag)
    assert '"' not in before.etag
    assert list(storage.list_files()) == [before]
    storage.write("a", b"other")
    (after,) = storage.list_files()
    assert after.etag != before.etag


def test_root_may_be_one_file(storage: Storage, request: pytest.FixtureRequest) -> None:
    storage.write("logs/one.gz", b"0123456789")
    storage.write("logs/one.gz.txt", b"")
    file = _reopen(storage, "logs/one.gz", request)
    assert [(f.path, f.size_bytes) for f in file.list_files()] == [("", 10)]
    assert [(f.path, f.size_bytes) for f in file.list_folder() if isinstance(f, StoredFile)] == [
        ("", 10)
    ]
    assert file.uri("") == file.root == storage.uri("logs/one.gz")
    assert file.fetch("", 2, 3) == b"234"
    assert file.read("") == b"0123456789"


def test_a_prefix_is_a_folder(storage: Storage, request: pytest.FixtureRequest) -> None:
    storage.write("AWSLogs/a", b"")
    storage.write("AWSLogs2/b", b"")
    folder = _reopen(storage, "AWSLogs", request)
    assert [file.path for file in folder.list_files()] == ["a"]
    assert folder.uri("a") == storage.uri("AWSLogs/a")


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [
        (0, None, b"0123456789"),
        (0, 10, b"0123456789"),
        (3, 4, b"3456"),
        (9, 1, b"9"),
        (7, None, b"789"),
        (5, 0, b""),
    ],
)
def test_fetch_gives_the_range(
    storage: Storage, start: int, size: int | None, expected: bytes
) -> None:
    storage.write("x", b"0123456789")
    body = storage.fetch("x", start, size)
    assert body == expected
    assert type(body) is bytes


def test_fetch_of_an_empty_file(storage: Storage) -> None:
    storage.write("empty", b"")
    assert storage.fetch("empty") == b""
    assert storage.read("empty") == b""


@pytest.mark.parametrize(("start", "size"), [(0, 11), (8, 3), (10, 1), (50, 5)])
def test_fetch_of_more_than_there_is_fails(storage: Storage, start: int, size: int) -> None:
    storage.write("x", b"0123456789")
    with pytest.raises(FetchError) as caught:
        storage.fetch("x", start, size)
    assert caught.value.uri == storage.uri("x")
    assert "since it was listed" in caught.value.reason


def test_fetch_of_a_missing_file_fails(storage: Storage) -> None:
    storage.write("x", b"")
    with pytest.raises(FetchError) as caught:
        storage.fetch("missing", 0, 5)
    assert caught.value.uri == storage.uri("missing")
    assert caught.value.reason.startswith("there is no such")


def test_read_of_a_missing_file_is_none(storage: Storage) -> None:
    assert storage.read("missing/at/all") is None


def test_write_replaces(storage: Storage) -> None:
    storage.write("folder/x", b"a" * 1000)
    storage.write("folder/x", b"b")
    assert storage.read("folder/x") == b"b"
    assert [file.path for file in storage.list_files()] == ["folder/x"]


def test_create_is_exclusive(storage: Storage) -> None:
    assert storage.create("folder/x", b"first") is True
    assert storage.create("folder/x", b"first") is False
    assert storage.create("folder/x", b"second") is False
    assert storage.read("folder/x") == b"first"
    assert [file.path for file in storage.list_files()] == ["folder/x"]


def test_create_has_one_winner_of_many(storage: Storage) -> None:
    barrier = threading.Barrier(16)

    def create(number: int) -> bool:
        barrier.wait()
        return storage.create("lock", b"%d" % number)

    storage.read("lock")  # Connects.
    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(create, range(16)))
    assert won.count(True) == 1
    assert storage.read("lock") == b"%d" % won.index(True)


def test_delete_takes_what_is_there(storage: Storage) -> None:
    for number in range(70):
        storage.write(f"a/{number}", b"")
    storage.write("b", b"")
    storage.delete([])
    storage.delete([*(f"a/{number}" for number in range(70)), "missing", "no/folder"])
    assert [file.path for file in storage.list_files()] == ["b"]


@pytest.mark.parametrize("size", [0, 10, 2 << 20, 12 << 20], ids=["0", "10", "2M", "12M"])
def test_staged_file_is_invisible_until_published(storage: Storage, size: int) -> None:
    data = os.urandom(size)
    storage.write("other", b"")
    sink = storage.open_staged("table/date=1/x.parquet", STAGING)
    assert sink.uri == storage.uri("table/date=1/x.parquet")
    for start in range(0, size, 3 << 20):
        sink.file.write(data[start : start + (3 << 20)])
    assert sink.tell() == size
    assert storage.read("table/date=1/x.parquet") is None
    sink.close()
    sink.close()
    assert sink.tell() == size
    assert sink.crc32 == zlib.crc32(data)
    assert storage.read("table/date=1/x.parquet") is None
    assert [file.path for file in storage.list_files("table")] == []
    sink.publish()
    assert storage.read("table/date=1/x.parquet") == data
    sink.discard()
    paths = [file.path for file in storage.list_files()]
    assert paths == ["other", "table/date=1/x.parquet"]
    assert storage.list_unfinished("_flowconv/staging") == []


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("size", [10, 12 << 20], ids=["10", "12M"])
def test_discarded_file_is_gone(storage: Storage, size: int, closed: bool) -> None:
    storage.write("other", b"")
    sink = storage.open_staged("table/x.parquet", STAGING)
    sink.file.write(b"x" * size)
    if closed:
        sink.close()
    sink.discard()
    sink.discard()
    assert [file.path for file in storage.list_files()] == ["other"]
    assert storage.list_unfinished("_flowconv/staging") == []


def test_what_a_crash_left_is_removed(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both servers answer 500 to what is published after that.
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    storage.write("other", b"")
    for number in range(3):
        sink = storage.open_staged(f"table/{number}.parquet", f"{STAGING}-{number}")
        sink.file.write(b"x" * (6 << 20))
        sink.close()
    left = storage.list_unfinished("_flowconv/staging")
    assert len(left) == 3
    storage.discard(left)
    storage.discard(left)
    assert storage.list_unfinished("_flowconv/staging") == []
    assert [file.path for file in storage.list_files()] == ["other"]
    with pytest.raises(StorageError):
        sink.publish()


def test_what_is_being_created_may_be_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a lock creates it while its holder cleans up."""
    storage = LocalStorage(str(tmp_path))
    link = Path.hardlink_to
    left: list[Unfinished] = []

    def clean_up_and_link(target: Path, unfinished: Path) -> None:
        if not left:
            left.extend(storage.list_unfinished("_flowconv/staging"))
            storage.discard(left)
        link(target, unfinished)

    monkeypatch.setattr(Path, "hardlink_to", clean_up_and_link)
    assert storage.create("_flowconv/lock.json", b"x")
    assert len(left) == 1
    assert storage.read("_flowconv/lock.json") == b"x"
    assert storage.list_unfinished("_flowconv/staging") == []


def test_two_may_stage_the_same_file(storage: Storage) -> None:
    first = storage.open_staged("x.parquet", STAGING)
    second = storage.open_staged("x.parquet", STAGING)
    first.file.write(b"first")
    second.file.write(b"second")
    second.publish()
    assert storage.read("x.parquet") == b"second"
    first.publish()
    assert storage.read("x.parquet") == b"first"


def test_parquet_is_written_through_a_sink(storage: Storage) -> None:
    table = pa.table({"n": pa.array(range(200_000))})
    sink = storage.open_staged("x.parquet", STAGING)
    with pq.ParquetWriter(sink.file, table.schema, compression="none", use_dictionary=False) as w:
        for _ in range(4):
            w.write_table(table)
    sink.close()
    sink.publish()
    body = storage.read("x.parquet")
    assert body is not None
    assert len(body) == sink.tell()
    assert len(body) > 6 << 20
    assert pq.read_table(pa.BufferReader(body)) == pa.concat_tables([table] * 4)


def test_polars_reads_by_uri_and_options(storage: Storage) -> None:
    table = pa.table({"n": [1, 2, 3]})
    paths = ["t/x=1/a.parquet", "t/x=a%20b%2Fc/b.parquet"]
    for path in paths:
        sink = storage.open_staged(path, STAGING)
        pq.write_table(table, sink.file)
        sink.publish()
    scan = pl.scan_parquet(
        [storage.uri(path) for path in paths],
        hive_schema={"x": pl.String()},
        glob=False,
        **storage.polars_options(),
    )
    assert scan.collect().rows() == [(n, x) for x in ("1", "a b/c") for n in (1, 2, 3)]


# Opening.


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("s3://", {}, "names no bucket"),
        ("s3:///key", {}, "names no bucket"),
        ("s3://b cket/key", {}, "names no bucket"),
        ("gs://bucket/key", {}, "gs:// is not supported"),
        ("https://bucket.s3.amazonaws.com/key", {}, "addresses of the web are not supported"),
        ("", {}, "'' is no folder"),
        ("a\0b", {}, "is no folder"),
        ("folder", {"region": "x"}, "region: a local folder takes no storage options"),
        ("s3://bucket", {"regoin": "x"}, "'regoin' is no storage option. Did you mean region? Th"),
        ("folder", {"regoin": "x"}, "'regoin' is no storage option"),
        ("s3://bucket", {"anon": "yes"}, "anon: write true or false"),
        ("s3://bucket", {"requester_pays": "1"}, "requester_pays: write true or false"),
        ("s3://bucket", {"key": "K"}, "key and secret"),
        ("s3://bucket", {"secret": "TOPSECRET"}, "key and secret"),
        ("s3://bucket", {"token": "TOPSECRET"}, "token: it goes with key and secret"),
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


def test_neither_import_nor_opening_loads_the_clients_or_connects() -> None:
    code = (
        "import sys; import flowconv.source.listing\n"
        "from flowconv.storage.opening import open_storage\n"
        "open_storage('x')\n"
        "print(sorted({'s3fs', 'obstore', 'botocore', 'fsspec', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    open_storage("s3://bucket", {"endpoint_url": "http://127.0.0.1:9"})


# Local folders.


def test_missing_folder(tmp_path: Path) -> None:
    missing = open_storage(str(tmp_path / "missing"))
    for list_ in (missing.list_files, missing.list_folder, missing.list_directories):
        with pytest.raises(StorageError, match="no such folder or file"):
            list(list_())
    assert list(missing.list_files("_flowconv")) == []


@on_posix
def test_links_are_followed_and_each_folder_listed_once(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "file").write_bytes(b"12345")
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "here").symlink_to(root / "a")
    (root / "file").symlink_to(real / "file")
    (root / "folder").symlink_to(real)
    (root / "nowhere").symlink_to(tmp_path / "missing")
    (root / "itself").symlink_to(root / "itself")
    (root / "once more").symlink_to(real)
    (real / "outside up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    storage = open_storage(str(root))
    files = {file.path: file for file in storage.list_files()}
    # By the links out of the root and up, the root is met again, once.
    below = "folder/outside up/"
    assert list(files) == ["file", "folder/file", f"{below}elsewhere/file", f"{below}root/file"]
    assert {file.size_bytes for file in files.values()} == {5}
    assert files["file"].target == str(real / "file")
    assert files["folder/file"].target == ""
    with pytest.raises(FetchError, match="no such file"):
        storage.fetch("nowhere", 0, 1)
    entries = {entry.path: entry for entry in storage.list_folder()}
    assert list(entries) == ["a/", "file", "folder/", "itself", "nowhere", "once more/", "pipe"]
    assert entries["folder/"] == Folder("folder/", str(real))
    reasons = {path: e.reason for path, e in entries.items() if isinstance(e, NoFile)}
    assert reasons.keys() == {"itself", "nowhere", "pipe"}
    assert "leads to itself" in reasons["itself"]
    assert "leads nowhere" in reasons["nowhere"]
    assert "a named pipe" in reasons["pipe"]


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@on_posix
@pytest.mark.parametrize("make", [os.mkfifo, _make_socket])
def test_what_is_no_file_is_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)  # Names of sockets are short.
    make(Path("x"))
    with pytest.raises(FetchError):
        open_storage(str(tmp_path)).fetch("x", 0, 1)
    with pytest.raises(StorageError, match=r"a named pipe|a socket"):
        list(open_storage(str(tmp_path / "x")).list_folder())


@on_posix
def test_the_root_is_known_by_where_it_really_is(tmp_path: Path) -> None:
    (tmp_path / "real/logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    storage = open_storage(str(tmp_path / "link/../link/logs/"))
    assert storage.root == str(tmp_path / "real/logs")
    assert storage.key("x") == str(tmp_path / "link/logs/x")
    assert storage.is_within(open_storage(str(tmp_path / "real")))
    assert storage.is_within(open_storage(str(tmp_path / "link")))
    assert storage.is_within(storage)
    assert not storage.is_within(open_storage(str(tmp_path / "real/logs/lake")))
    assert not storage.is_within(open_storage(str(tmp_path / "rea")))


NAMES = {
    b"caf\xe9.log": "caf%E9.log",
    b"caf\xc3\xa9.log": "caf\xe9.log",
    b"caf%E9.log": "caf%25E9.log",
    b"a\nb\x1b[1m.log": "a%0Ab%1B[1m.log",
    b"day%3D14 100% %zz": "day%3D14 100% %zz",
    "a\u202eb\u2028".encode(): "a%E2%80%AEb%E2%80%A8",
    b"\xed\xa0\x80": "%ED%A0%80",
}


@on_posix
def test_names_have_texts(tmp_path: Path) -> None:
    for name in NAMES:
        with open(bytes(tmp_path) + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(name)
    storage = open_storage(str(tmp_path))
    texts = {}
    for listed in storage.list_files():
        body = storage.fetch(listed.path, 0, listed.size_bytes)
        uri = storage.uri(listed.path)
        texts[body] = uri.removeprefix(f"{tmp_path}/")
        # A text is as good as a name, unless it is another's.
        if texts[body].encode() not in NAMES or texts[body].encode() == body:
            assert open_storage(uri).root == uri
            assert open_storage(uri).fetch("") == body
    assert texts == NAMES


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_name_has_one_text_in_all_locales(tmp_path: Path, locale: str) -> None:
    for name in NAMES:
        with open(bytes(tmp_path) + b"/" + name, "wb"):  # noqa: PTH123
            pass
    (tmp_path / "l\xe4k\xe9").mkdir()
    code = """
import sys
from flowconv.storage.opening import open_storage
storage, lake = map(open_storage, sys.argv[1:])
lake.write("vpc/\\xe9", b"x")
for file in storage.list_files():
    storage.fetch(file.path)
    sys.stdout.buffer.write(storage.uri(file.path).encode() + b"\\n")
sys.stdout.buffer.write(lake.uri("vpc/\\xe9").encode() + b"\\n")
"""
    settings = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    lake = tmp_path / "l\xe4k\xe9"
    done = subprocess.run(
        [sys.executable, "-c", code, bytes(tmp_path), bytes(lake)],
        env=os.environ | settings,
        check=True,
        capture_output=True,
    )
    texts = [*NAMES.values(), "l\xe4k\xe9/vpc/\xe9"]
    found = done.stdout.decode().splitlines()
    assert sorted(found) == sorted([f"{tmp_path}/{text}" for text in [*texts, texts[-1]]])
    assert (lake / "vpc/\xe9").read_bytes() == b"x"


@on_posix
def test_thousands_of_folders_in_each_other(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(1200):
        folder /= "a"
        folder.mkdir()
    (folder / "x").write_bytes(b"")
    (found,) = open_storage(str(tmp_path)).list_files()
    assert found.path == f"{folder.relative_to(tmp_path)}/x"
    # pytest would remove it by recursion.
    subprocess.run(["rm", "-r", tmp_path / "a"], check=True)


def test_unfinished_files_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(str(tmp_path))

    def crash(self: Path, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        patch.setattr(Path, "unlink", lambda self, missing_ok: None)
        with pytest.raises(KeyboardInterrupt):
            storage.write("x", b"data")
    assert [name.startswith(".unfinished-") for name in _names(tmp_path)] == [True]
    assert list(storage.list_files()) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP], ids=["EPERM", "EOPNOTSUPP"])
def test_create_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(self: Path, target: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    storage = open_storage(str(tmp_path))
    assert storage.create("x", b"first") is True
    assert storage.create("x", b"second") is False
    assert storage.read("x") == b"first"


@on_posix
def test_what_is_published_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append(str(path).removeprefix(str(tmp_path)))
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("says which file a descriptor is on Linux only")
    monkeypatch.setattr(os, "fsync", record)
    sink = open_storage(str(tmp_path)).open_staged("a/b/x", STAGING)
    sink.file.write(b"data")
    sink.publish()
    staged, *folders = synced
    assert staged.startswith(f"/{STAGING}.")
    assert folders == ["", "/a", "/a/b"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full. Make room"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "access is denied"),
        (errno.EXDEV, "the system says: Invalid cross-device link."),
    ],
)
def test_errors_of_the_system_say_what_to_do(code: int, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught, storage_errors("/lake/x"):
        raise OSError(code, os.strerror(code))
    assert caught.value.uri == "/lake/x"
    assert isinstance(caught.value.__cause__, OSError)


def test_full_disk_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "_flowconv").mkdir()
    storage = open_storage(str(tmp_path))
    sink = storage.open_staged("x", STAGING)
    full = pa.OSFile("/dev/full", "wb")
    with pytest.raises(StorageError, match="disk is full"), storage_errors(sink.uri):
        full.write(b"x" * 100_000)
    sink.discard()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(StorageError, match="access is denied"):
        list(open_storage(str(tmp_path)).list_files())


def test_file_where_a_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    storage = open_storage(str(tmp_path / "file"))
    for action in (
        lambda: storage.write("x", b""),
        lambda: storage.create("x", b""),
        lambda: storage.open_staged("x", STAGING),
    ):
        with pytest.raises(StorageError, match="is a file, where a folder was expected"):
            action()


# S3.


def test_more_than_a_page(s3: S3Server) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    keys = [f"a/{number:04}" for number in range(1005)] + [f"b{n:04}/x" for n in range(1005)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    storage = open_storage(f"s3://{bucket}", options_of(s3))
    assert [file.path for file in storage.list_files()] == keys
    assert len(list(storage.list_files("a"))) == 1005
    assert storage.list_directories() == ["a", *(f"b{n:04}" for n in range(1005))]
    listing = storage.list_files()
    assert next(listing).path == "a/0000"
    listing.close()  # type: ignore[attr-defined]


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
    storage = open_storage(f"s3://{bucket}{prefix}", options_of(s3))
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
        with pytest.raises(FetchError):
            storage.fetch(path, 0, 4)
    storage.delete(ODD_KEYS)
    assert list(storage.list_files()) == []


def test_marker_of_the_root_is_no_file(s3: S3Server) -> None:
    bucket, client = s3.make_bucket(), s3.client()
    for key in ("logs/", "logs/a", "logs/sub/"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    storage = open_storage(f"s3://{bucket}/logs", options_of(s3))
    assert [file.path for file in storage.list_files()] == ["a", "sub/"]
    assert [entry.path for entry in storage.list_folder()] == ["a", "sub/"]


def test_empty_bucket_and_prefix_have_no_files(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    for url in (f"s3://{bucket}", f"s3://{bucket}/nothing/here"):
        storage = open_storage(url, options_of(s3))
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
    storage = open_storage(f"s3://{bucket}/p", options_of(s3) | options)
    for action in _everything(storage):
        with pytest.raises(StorageError, match=message) as caught:
            action()
        assert str(caught.value).startswith(f"s3://{bucket}/p")
        _assert_clean(caught.value, s3, "WRONGSECRET", "AKIAUNKNOWN")


def test_bucket_of_another_user(s3: S3Server) -> None:
    storage = open_storage(f"s3://{s3.make_bucket(1)}/p", options_of(s3, 0))
    for action in _everything(storage):
        with pytest.raises((StorageError, FetchError), match=r"access is denied.*s3:") as caught:
            action()
        _assert_clean(caught.value, s3)
    with pytest.raises(FetchError):
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


def test_options_go_before_the_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment(1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "stale")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    _assert_works(open_storage(f"s3://{s3.make_bucket(0)}/p", options_of(s3, 0)))


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


def test_create_after_a_lost_answer_knows_its_own(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(f"s3://{moto_s3.make_bucket()}", options_of(moto_s3))
    start = s3_connection.Connection.start

    def start_twice(self: Any, method: str, **request: Any) -> Any:
        # What s3fs does when the answer to a first attempt is lost.
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
    storage = open_storage(f"s3://{moto_s3.make_bucket()}", options_of(moto_s3))
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


@pytest.mark.parametrize("region", [None, "eu-central-1"])
def test_both_clients_sign_for_the_region(region: str | None) -> None:
    scopes = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        scopes.append(request.headers["Authorization"].split("/")[2])
        _answer(request, 200, b"0", {"Content-Length": "1", **_HEADERS})

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options | ({"region": region} if region else {}))
        assert storage.fetch("x") == storage.fetch("x//y") == b"0"
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
            _answer(request, 200, b"0", {"Content-Length": "1", **_HEADERS})

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options | {"region": "us-west-2"})
        assert storage.fetch("x") == storage.fetch("x//y") == b"0"
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
            lambda storage: storage.fetch("x//y"),
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
def _server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[dict[str, str]]:
    """Run an HTTP server that answers each GET and HEAD so; give the options to reach it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_GET  # noqa: N815  # http.server calls it so.

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield {
                "endpoint_url": f"http://127.0.0.1:{server.server_port}",
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


@pytest.mark.parametrize("path", ["x", "x//y"], ids=["obstore", "s3fs"])
@pytest.mark.parametrize(
    ("sent", "announced"),
    [(b"01234", 10), (b"01234", 5), (b"0123456789ab", 12)],
    ids=["broken off", "short", "long"],
)
def test_body_of_the_wrong_length(
    sent: bytes, announced: int, path: str, monkeypatch: pytest.MonkeyPatch
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
        storage = open_storage("s3://bucket", options)
        with pytest.raises(FetchError) as caught:
            storage.fetch(path, 0, 10)
    assert requests >= 2
    assert str(caught.value).startswith(f"s3://bucket/{path}: ")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("path", ["x", "x//y"], ids=["obstore", "s3fs"])
def test_fetch_survives_what_passes(path: str) -> None:
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
        assert open_storage("s3://bucket", options).fetch(path, 0, 10) == b"0123456789"
    assert requests >= 4


def test_requester_pays_is_said_by_both_clients() -> None:
    payers = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        payers.append(request.headers["x-amz-request-payer"])
        _answer(request, 200, b"0", {"Content-Length": "1", **_HEADERS})

    with _server(answer) as options:
        storage = open_storage("s3://bucket", options | {"requester_pays": "true"})
        assert storage.fetch("x") == storage.fetch("x//y") == b"0"
    assert payers == ["requester", "requester"]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


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


def _reopen(storage: Storage, path: str, request: pytest.FixtureRequest) -> Storage:
    """Open what lies at a path in a storage as a storage of its own."""
    if storage.is_local:
        return open_storage(storage.uri(path))
    server: S3Server = request.getfixturevalue(f"{request.node.callspec.params['storage']}_s3")
    return open_storage(storage.uri(path), options_of(server))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_or_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    """Who read them would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    storage = open_storage(str(tmp_path))
    for name in ("pipe", "link", "circle"):
        with pytest.raises(StorageError) as caught:
            storage.read(name)
        assert caught.value.uri == f"{tmp_path}/{name}"
        with pytest.raises(FetchError):
            storage.fetch(name)
