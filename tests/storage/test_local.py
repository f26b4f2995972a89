"""Storage in a local folder: links, pipes, permissions, durability."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from flowconv.errors import FetchError, StorageError
from flowconv.storage.interface import Folder, StagedSink, Unfinished, UnreadableEntry
from flowconv.storage.local import LocalStorage
from flowconv.storage.local_errors import storage_errors
from flowconv.storage.opening import open_storage

STAGING = "_flowconv/staging/file"

on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other paths and links")


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
    reasons = {path: e.reason for path, e in entries.items() if isinstance(e, UnreadableEntry)}
    assert reasons.keys() == {"itself", "nowhere", "pipe"}
    assert "leads to itself" in reasons["itself"]
    assert "this link is broken" in reasons["nowhere"]
    assert "a named pipe" in reasons["pipe"]


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@on_posix
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "this is a named pipe, where a file was expected"),
        (_make_socket, "the operating system reports: "),
    ],
)
def test_what_is_no_file_is_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], message: str
) -> None:
    monkeypatch.chdir(tmp_path)  # Names of sockets are short.
    make(Path("x"))
    with pytest.raises(FetchError, match=message):
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


def test_a_closed_file_takes_little_memory(tmp_path: Path) -> None:
    """A task may have a file for each of tens of thousands of partitions."""
    storage = open_storage(str(tmp_path))

    def close_files() -> tuple[list[StagedSink], int]:
        closed = []
        tracemalloc.start()
        try:
            for number in range(300):
                sink = storage.open_staged(f"vpc/interface_id={number}/x.parquet", STAGING)
                sink.file.write(b"data")
                sink.close()
                closed.append(sink)
            return closed, tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    # The least: other tests' threads may end meanwhile, and take some.
    closed, held = min((close_files() for _ in range(3)), key=lambda both: both[1])
    assert held < 300 * 1200
    assert all((sink.tell(), sink.crc32) == (4, zlib.crc32(b"data")) for sink in closed)
    closed[7].publish()
    assert storage.read("vpc/interface_id=7/x.parquet") == b"data"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full. Make room"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "access is denied"),
        (errno.EXDEV, "the operating system reports: Invalid cross-device link."),
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


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
