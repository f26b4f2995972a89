"""Storage in a local folder: a path -> the `Storage` of `interface`."""

import errno
import io
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from flowconv.errors import FetchError, FolderError, StorageError
from flowconv.storage.interface import (
    Folder,
    HandedOver,
    Publishable,
    StagedSink,
    Storage,
    StoredFile,
    Unfinished,
    UnreadableEntry,
)
from flowconv.storage.local_errors import explain_os_error, storage_errors
from flowconv.storage.names import from_system, from_text, to_system, to_text
from flowconv.storage.request_times import RequestTimes

# Small files that are being written; a crash may leave them.
_UNFINISHED = re.compile(r"\.unfinished-[0-9a-f]{16}")


# Without waiting for the other end of a pipe.
_TO_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _open_without_blocking(path: str, flags: int) -> int:
    """Open a file; refuse a pipe, whose other end may never be opened."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "a pipe, where a file was expected", path)
    return descriptor


class LocalStorage:
    """A local folder, or a single file."""

    is_local = True
    retries = 0

    def __init__(self, path: str) -> None:
        name = to_system(from_system(path))
        if not os.path.lexists(name):
            # It may be a text, copied from a report.
            decoded = to_system(from_text(from_system(path)))
            name = decoded if os.path.lexists(decoded) else name
        # Path.resolve() raises for a link to itself; here that is reported when the path is used.
        self._root = from_system(Path(os.path.realpath(name)).as_posix())
        self._given = from_system(Path(os.path.abspath(name)).as_posix())  # noqa: PTH100
        self.root = to_text(self._root)
        self.times = RequestTimes()

    def give_up(self) -> None:
        """See `Storage`; nothing is repeated here."""

    def uri(self, path: str) -> str:
        """Return the absolute path's text."""
        return to_text(self._name(path))

    def location(self, path: str) -> str:
        """Return the absolute path."""
        return to_system(self._name(path))

    def key(self, path: str) -> str:
        """Return the absolute path with links as they were given: their names may have the day."""
        return to_text(f"{self._given.rstrip('/')}/{path}" if path else self._given)

    def is_within(self, other: "Storage") -> bool:
        """See `Storage`; a folder that is mounted twice is the same folder."""
        if not isinstance(other, LocalStorage):
            return False
        try:
            outer = os.stat(other.location(""))  # noqa: PTH116
        except OSError:
            return f"{self._root}/".startswith(f"{other._root.rstrip('/')}/")
        place = Path(self.location(""))
        for folder in (place, *place.parents):
            with suppress(OSError):
                if os.path.samestat(folder.stat(), outer):
                    return True
        return False

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        """See `Storage`."""
        top = os.path.realpath(self.location(below))
        targets: set[str] = set()
        # No recursion: folders may be nested thousands deep.
        open_folders = [self._list_if_there(below)]
        while open_folders:
            entry = next(open_folders[-1], None)
            if entry is None:
                open_folders.pop()
            elif isinstance(entry, StoredFile):
                yield entry
            elif isinstance(entry, Folder) and entry.target not in targets:
                if entry.target:
                    if f"{to_system(entry.target)}/".startswith(f"{top}/"):
                        continue  # It is listed at its own path.
                    targets.add(entry.target)
                open_folders.append(self._list_if_there(entry.path))

    def list_first(self) -> Iterator[StoredFile]:
        """See `Storage`."""
        return islice(self.list_files(), 1)

    def list_folder(self, below: str = "") -> Iterator[StoredFile | Folder | UnreadableEntry]:
        """See `Storage`."""
        kind = FolderError if below else StorageError
        try:
            with os.scandir(self.location(below)) as entries:
                found = sorted((_sort_key(entry), entry) for entry in entries)
        except FileNotFoundError as exc:
            advice = "It was removed or renamed during the run." if below else "Check the name."
            reason = f"there is no such folder or file. {advice}"
            raise kind(reason, uri=self.uri(below)) from exc
        except NotADirectoryError as exc:
            if below:
                raise FolderError(explain_os_error(exc), uri=self.uri(below)) from exc
            yield self._root_file()
            return
        except OSError as exc:
            raise kind(explain_os_error(exc), uri=self.uri(below)) from exc
        prefix = f"{below.rstrip('/')}/" if below else ""
        for sort_key, entry in found:
            if listed := _listed(entry, sort_key, prefix):
                yield listed

    def list_directories(self, below: str = "") -> list[str]:
        """See `Storage`."""
        entries = self._list_if_there(below)
        return sorted(entry.path.split("/")[-2] for entry in entries if isinstance(entry, Folder))

    def fetch(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """See `Storage`."""
        pieces = []
        try:
            # Few calls of the system: each lets go of the interpreter, which the threads of a run
            # with many small objects wait for.
            descriptor = os.open(self.location(path), _TO_READ)
            try:
                if start:
                    os.lseek(descriptor, start, os.SEEK_SET)
                wanted = self._file_bytes(descriptor, path) - start if size is None else size
                while wanted > 0 and (piece := os.read(descriptor, wanted)):
                    pieces.append(piece)
                    wanted -= len(piece)
                if wanted:
                    self._file_bytes(descriptor, path)
            finally:
                os.close(descriptor)
        except OSError as exc:
            raise FetchError(explain_os_error(exc), uri=self.uri(path)) from exc
        if size is not None and wanted:
            raise FetchError(
                f"the file ends {wanted} bytes early; it has changed since it was listed. "
                "Run again when it is complete.",
                uri=self.uri(path),
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def start_fetch(self, path: str, start: int = 0, size: int | None = None) -> "Future[bytes]":
        """See `Storage`."""
        done: Future[bytes] = Future()
        try:
            done.set_result(self.fetch(path, start, size))
        except FetchError as error:
            done.set_exception(error)
        return done

    def read(self, path: str) -> bytes | None:
        """See `Storage`."""
        with storage_errors(self.uri(path)):
            try:
                with open(self.location(path), "rb", opener=_open_without_blocking) as file:
                    return file.read()
            except FileNotFoundError as exc:
                if os.path.islink(self.location(path)):  # noqa: PTH114
                    # Not None: `create` would fail, so a caller that tries both in turn would
                    # never end.
                    raise StorageError(
                        "this link is broken: its target does not exist. Remove it.",
                        uri=self.uri(path),
                    ) from exc
                return None

    def write(self, path: str, data: bytes) -> None:
        """See `Storage`."""
        with storage_errors(self.uri(path)), self._unfinished(path, data) as unfinished:
            unfinished.replace(self.location(path))

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage`."""
        target = Path(self.location(path))
        with storage_errors(self.uri(path)), self._unfinished(path, data) as unfinished:
            try:
                target.hardlink_to(unfinished)
            except FileExistsError:
                return False
            except FileNotFoundError:
                # The holder of the lock removed it as a leftover of a killed run.
                return self.create(path, data)
            except OSError as exc:
                if exc.errno not in _NO_HARD_LINKS:
                    raise
                return _create_without_link(target, data)
        return True

    def delete(self, paths: Sequence[str]) -> None:
        """See `Storage`."""
        for path in paths:
            with storage_errors(self.uri(path)):
                Path(self.location(path)).unlink(missing_ok=True)

    def move(self, path: str, to: str) -> bool:
        """See `Storage`."""
        target = Path(self.location(to))
        with storage_errors(self.uri(path)):
            _make_folder(target.parent)
            try:
                Path(self.location(path)).replace(target)
            except FileNotFoundError:
                return False
            _sync_folder(target.parent)
        return True

    def open_staged(self, path: str, staging: str) -> StagedSink:
        """See `Storage`."""
        # Unique: two runs may write the same task's file.
        return _LocalSink(_StagedFile(self, path, f"{staging}.{os.urandom(8).hex()}"))

    def adopt(self, file: HandedOver) -> Publishable:
        """See `Storage`."""
        return _StagedFile(self, file.path, file.staged)

    def polars_options(self) -> dict[str, Any]:
        """See `Storage`."""
        return {}

    def list_unfinished(
        self,
        staging: str,
        folders: Sequence[str] = ("",),  # noqa: ARG002
    ) -> list[Unfinished]:
        """See `Storage`."""
        paths = [file.path for file in self.list_files(staging)]
        # Small files are written beside their final paths.
        paths += [
            Path(folder, name).relative_to(self.location("")).as_posix()
            for folder, _, names in os.walk(Path(self.location(staging)).parent)
            for name in names
            if _UNFINISHED.fullmatch(name)
        ]
        return [Unfinished(path) for path in paths]

    def discard(self, unfinished: Sequence[Unfinished]) -> None:
        """See `Storage`."""
        self.delete([file.path for file in unfinished])

    def _file_bytes(self, descriptor: int, path: str) -> int:
        """Return the size of what is open; raise FetchError if it is no file."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FetchError(_not_a_file(status.st_mode), uri=self.uri(path))
        return status.st_size

    def _name(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else self._root

    def _list_if_there(self, below: str) -> Iterator[StoredFile | Folder | UnreadableEntry]:
        if below and not self._is_folder(below):
            return
        yield from self.list_folder(below)

    def _is_folder(self, path: str) -> bool:
        with storage_errors(self.uri(path)):
            try:
                return stat.S_ISDIR(os.stat(self.location(path)).st_mode)  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                return False

    def _root_file(self) -> StoredFile:
        with storage_errors(self.root):
            status = os.stat(self.location(""))  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(_not_a_file(status.st_mode), uri=self.root)
        return _stored_file("", status)

    @contextmanager
    def _unfinished(self, path: str, data: bytes) -> Iterator[Path]:
        """Give a complete, durable file beside `path`; after the block make the folder durable."""
        folder = Path(self.location(path)).parent
        _make_folder(folder)
        unfinished = folder / f".unfinished-{os.urandom(8).hex()}"
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield unfinished
        finally:
            unfinished.unlink(missing_ok=True)
        _sync_folder(folder)


class _ChecksummedFile(io.BufferedWriter):
    """Computes the CRC-32 while it is written, so that the file need not be read again."""

    __slots__ = ("crc32", "size_bytes", "waited_s")

    def __init__(self, file: io.FileIO) -> None:
        super().__init__(file)
        self.crc32 = 0
        self.size_bytes = 0
        self.waited_s = 0.0

    def write(self, data: Any, /) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        began = time.perf_counter()
        written = super().write(data)
        self.waited_s += time.perf_counter() - began
        self.size_bytes += written
        return written


class _LocalSink:
    """A file in the lake's staging folder: on the same device, so that a rename publishes it.

    A task may have tens of thousands: little of those that are closed is kept.
    """

    __slots__ = ("_checksummed", "_staged", "file")

    def __init__(self, staged: "_StagedFile") -> None:
        import pyarrow as pa

        self._staged = staged
        with storage_errors(self.uri):
            self._checksummed = _ChecksummedFile(staged.open())
        self.file: pa.NativeFile = pa.PythonFile(self._checksummed, mode="w")

    @property
    def uri(self) -> str:
        return self._staged.uri

    @property
    def waited_s(self) -> float:
        return self._checksummed.waited_s

    @property
    def crc32(self) -> int:
        return self._checksummed.crc32

    def tell(self) -> int:
        return self._checksummed.size_bytes

    def close(self) -> None:
        if not self._checksummed.closed:
            with storage_errors(self.uri):
                self.file.close()
            del self.file

    def hand_over(self) -> HandedOver:
        self.close()
        return self._staged.hand_over(self.tell())

    def publish(self) -> None:
        self.close()
        self._staged.publish()

    def discard(self) -> None:
        with suppress(StorageError):
            self.close()
        self._staged.discard()


class _StagedFile:
    """A file in the staging folder, whichever process wrote it."""

    __slots__ = ("_is_over", "_path", "_staged", "_storage")

    def __init__(self, storage: LocalStorage, path: str, staged: str) -> None:
        self._storage = storage
        self._path = path
        self._staged = staged
        self._is_over = False  # Published or handed over.

    @property
    def uri(self) -> str:
        return self._storage.uri(self._path)

    def open(self) -> io.FileIO:
        staged = self._place()
        staged.parent.mkdir(parents=True, exist_ok=True)
        # The file keeps its name, of which a Path keeps the parts, too: 0.7 kB with Python 3.14.
        return io.FileIO(str(staged), "wb")

    def hand_over(self, size_bytes: int) -> HandedOver:
        self._is_over = True
        return HandedOver(path=self._path, staged=self._staged, size_bytes=size_bytes)

    def publish(self) -> None:
        staged, target = self._place(), Path(self._storage.location(self._path))
        with storage_errors(self.uri):
            with staged.open("rb+") as file:
                os.fsync(file.fileno())
            _make_folder(target.parent)
            staged.replace(target)
            self._is_over = True
            _sync_folder(target.parent)

    def discard(self) -> None:
        if not self._is_over:
            with suppress(OSError):
                self._place().unlink(missing_ok=True)

    def _place(self) -> Path:
        return Path(self._storage.location(self._staged))


# Errors of file systems without hard links: FAT, some network shares and containers.
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def _sort_key(entry: "os.DirEntry[str]") -> bytes:
    """Return the name's bytes, a folder's with its slash: S3's order of whole paths."""
    name = os.fsencode(entry.name)
    try:
        return name + b"/" if entry.is_dir() else name
    except OSError:
        return name  # To ask again fails, too.


def _listed(
    entry: "os.DirEntry[str]", sort_key: bytes, prefix: str
) -> StoredFile | Folder | UnreadableEntry | None:
    """Return a folder's entry for a listing; None if it is unfinished, or was deleted just now."""
    name = from_system(entry.name)
    path = prefix + name
    try:
        target = _target(entry) if entry.is_symlink() else ""
        if sort_key.endswith(b"/"):
            return Folder(f"{path}/", target)
        if _UNFINISHED.fullmatch(name):
            return None
        status = entry.stat()
    except FileNotFoundError:
        if not entry.is_symlink():
            return None
        return UnreadableEntry(
            path,
            "this link is broken: its target does not exist. Remove it, or restore the target.",
        )
    except OSError as exc:
        return UnreadableEntry(path, explain_os_error(exc))
    if stat.S_ISREG(status.st_mode):
        return _stored_file(path, status, target)
    return UnreadableEntry(path, _not_a_file(status.st_mode))


def _target(link: "os.DirEntry[str]") -> str:
    return from_system(Path(os.path.realpath(link.path)).as_posix())


def _not_a_file(mode: int) -> str:
    kinds = {stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket", stat.S_ISDIR: "a folder"}
    kind = next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
    return f"this is {kind}, where a file was expected. Name a file, or use --exclude."


def _stored_file(path: str, status: os.stat_result, target: str = "") -> StoredFile:
    return StoredFile(path, status.st_size, f"{status.st_size}-{status.st_mtime_ns}", target)


def _create_without_link(target: Path, data: bytes) -> bool:
    """Create exclusively; readers may see an incomplete file."""
    try:
        with target.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders; NTFS keeps a journal of names.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
