"""What every storage does: the same tests against a folder and both S3 servers."""

from __future__ import annotations

import os
import pickle
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowconv.errors import FetchError, StorageError
from flowconv.storage import retrying
from flowconv.storage.interface import Storage, StoredFile
from flowconv.storage.opening import open_storage
from support.s3_servers import S3Server

pytestmark = pytest.mark.usefixtures("no_aws_settings")

STAGING = "_flowconv/staging/file"


@pytest.fixture(params=["local", "moto", pytest.param("ceph", marks=pytest.mark.s3server)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage: the same test against a folder and both S3 servers."""
    if request.param == "local":
        return open_storage(str(tmp_path))
    server: S3Server = request.getfixturevalue(f"{request.param}_s3")
    return open_storage(f"s3://{server.make_bucket()}/some/prefix", server.storage_options())


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


def _reopen(storage: Storage, path: str, request: pytest.FixtureRequest) -> Storage:
    """Open what lies at a path in a storage as a storage of its own."""
    if storage.is_local:
        return open_storage(storage.uri(path))
    server: S3Server = request.getfixturevalue(f"{request.node.callspec.params['storage']}_s3")
    return open_storage(storage.uri(path), server.storage_options())


@pytest.mark.parametrize("size", [10, 12 << 20], ids=["10", "12M"])
def test_another_process_publishes_what_was_handed_over(storage: Storage, size: int) -> None:
    data = os.urandom(size)
    handed_over = []
    for name in ("published", "discarded"):
        sink = storage.open_staged(f"table/{name}.parquet", f"{STAGING}-{name}")
        sink.file.write(data)
        handed_over.append(pickle.loads(pickle.dumps(sink.hand_over())))
        sink.discard()
    assert [file.size_bytes for file in handed_over] == [size, size]
    assert [file.path for file in storage.list_files("table")] == []
    assert len(storage.list_unfinished("_flowconv/staging")) == 2
    published, discarded = map(storage.adopt, handed_over)
    published.publish()
    for file in (published, discarded, discarded):
        file.discard()
    assert storage.read("table/published.parquet") == data
    assert [file.path for file in storage.list_files()] == ["table/published.parquet"]
    assert storage.list_unfinished("_flowconv/staging") == []
