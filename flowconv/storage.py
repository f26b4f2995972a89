"""Where objects and lakes are: a local folder, or a prefix in S3.

Both are used through `Storage`, with paths relative to its root. Paths are names, `root` and `uri`
their texts; see `names`. What S3 needs is in `s3`, which is imported only when an `s3://` URL is
opened: its libraries take half a second.
"""

import errno
import io
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from flowconv.errors import (
    FetchError,
    FolderError,
    StorageError,
    UsageError,
    did_you_mean,
    quote,
)
from flowconv.names import from_system, from_text, to_system, to_text

OPTION_NAMES = (
    *("key", "secret", "token", "profile", "endpoint_url", "region"),
    *("anon", "requester_pays"),
)

# Files that are being written and do not count yet; a crash may leave them behind.
_UNFINISHED = re.compile(r"\.unfinished-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object in S3, or a local file.

    Attributes:
        path: Relative to the storage's root; "" if the root itself is this one file.
        size_bytes: Its size.
        etag: S3's ETag without quotes; locally `<size>-<time of modification in ns>`.
        target: Where it really is, an absolute path, if it is a link; else empty.
    """

    path: str
    size_bytes: int
    etag: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """What has files below it.

    Attributes:
        path: Relative to the storage's root, with a slash at its end: S3 also has `a//`.
        target: Where it really is, an absolute path, if it is a link; else empty.
    """

    path: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class NoFile:
    """What is in a folder and can be neither read nor listed: a broken link, a named pipe.

    Attributes:
        path: Relative to the storage's root.
        reason: What it is, and what to do.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What is being written and does not count yet, or was when its writer was killed.

    Attributes:
        path: Relative to the storage's root; in S3 of what it is to become.
        upload_id: S3's name of the upload; "" locally.
    """

    path: str
    upload_id: str = ""


class StagedSink(Protocol):
    """A file that is written below the lake, but not visible at its path until it is published.

    It is used by one thread at a time.
    """

    uri: str
    """Where it will be visible."""

    file: pa.NativeFile
    """What to write to, such as with `pyarrow.parquet.ParquetWriter`. Its errors are those of the
    system: write within `storage_errors(sink.uri)`."""

    @property
    def crc32(self) -> int:
        """CRC-32 of the bytes written; of all of them once it is closed."""
        ...

    def tell(self) -> int:
        """Return the number of bytes written; also after it is closed."""
        ...

    def close(self) -> None:
        """Finish writing; it stays invisible. Calling it again does nothing.

        Raises:
            StorageError: What is left could not be written.
        """
        ...

    def publish(self) -> None:
        """Close it, make it durable and visible at its path, replacing what was there.

        Raises:
            StorageError: It could not be made visible.
        """
        ...

    def discard(self) -> None:
        """Close it and remove what was written, unless it is published; never raises.

        What cannot be removed is left to `Storage.discard`.
        """
        ...


class Storage(Protocol):
    """A folder of files, local or in S3; all paths are relative to its root, with slashes.

    A folder's path may have a slash at its end or not; the root's is "".

    Its methods may be called from any thread, and block. All of them raise StorageError if the
    bucket or folder is missing, refuses access, is full, or does not answer.
    """

    root: str
    """`s3://bucket/prefix` or an absolute local path without links; no slash at its end."""

    is_local: bool

    @property
    def retries(self) -> int:
        """How many requests were made again so far; none locally."""
        ...

    def give_up(self) -> None:
        """Make no request again from here on; whoever waits for one hears that it failed."""
        ...

    def uri(self, path: str) -> str:
        """Return a path's full name, as text."""
        ...

    def location(self, path: str) -> str:
        """Return what other libraries open a path by."""
        ...

    def key(self, path: str) -> str:
        """Return what a path says by its name: the whole key, or the local path as it was given."""
        ...

    def is_within(self, other: "Storage") -> bool:
        """Tell whether its root is the other's or lies below it, whatever they are called."""
        ...

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        """List all files below a folder, in the order of their paths' bytes.

        Nothing is held but one page (S3) or the folders on the way (local). If the root is a file
        itself, it is listed. A folder that does not exist below the root has no files. Links are
        followed, but no folder is listed twice; what is no file is left out.

        Raises:
            FolderError: A folder below the root cannot be listed.
            StorageError: Also if the root is a local folder that does not exist.
        """
        ...

    def list_folder(self, below: str = "") -> Iterator[StoredFile | Folder | NoFile]:
        """List one level: what is directly in a folder, in order.

        Raises:
            FolderError: It is below the root and cannot be listed, such as one that is denied.
            StorageError: It is the root, or nothing can be listed.
        """
        ...

    def list_directories(self, below: str = "") -> list[str]:
        """Return the names of the folders directly in a folder, sorted."""
        ...

    def fetch(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """Return a file's bytes, all or a range of them; without holding Python's lock in S3.

        What may pass is tried again a few times.

        Args:
            path: The file.
            start: Offset of the first byte.
            size: Number of bytes; None takes all that follow.

        Raises:
            FetchError: The file is gone or refused, or has no such bytes.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """Return a small file; None if there is none."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whole or not at all, replacing what was there."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file, whole or not at all, if there is none.

        Returns:
            Whether it was written; of several who try at once, one gets True.
        """
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files; those that do not exist are fine."""
        ...

    def move(self, path: str, to: str) -> bool:
        """Give a file another path; it is at one of the two at any time.

        Returns:
            Whether there was one.
        """
        ...

    def open_staged(self, path: str, staging: str) -> StagedSink:
        """Begin a file that is not visible at `path` until it is published.

        Args:
            path: The file's path once it is published.
            staging: Where it is kept until then, with an ending of its own; S3 needs no place.
        """
        ...

    def polars_options(self) -> dict[str, Any]:
        """Return what `polars.scan_parquet` needs to read files by their `uri`."""
        ...

    def list_unfinished(self, staging: str, folders: Sequence[str] = ("",)) -> list[Unfinished]:
        """List what is being written: files below a staging folder, unfinished uploads in S3.

        Args:
            staging: Where staged files are kept locally.
            folders: Where they are to become visible; uploads elsewhere are somebody else's.
        """
        ...

    def discard(self, unfinished: Sequence[Unfinished]) -> None:
        """Remove what crashed runs left; their writers, if they live, can no longer publish it."""
        ...


def open_storage(url: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> Storage:
    """Return the storage at a local path, a `file://` URL or an `s3://` URL.

    Nothing is connected to or looked for yet.

    Args:
        url: A folder, a bucket, a prefix or one object.
        options: For S3: key, secret, token, profile, endpoint_url, region, anon=true,
            requester_pays=true. What they leave open is taken from where AWS's tools take it.

    Raises:
        UsageError: It is none of these, or an option is not known.
    """
    options = options or {}
    url = from_system(path_text(url))
    check_option_names(options, OPTION_NAMES, "storage option")
    if url.startswith("s3://"):
        from flowconv.s3 import S3Storage

        return S3Storage(url, options)
    if options:
        raise UsageError(
            f"{', '.join(sorted(options))}: a local folder takes no storage options. Leave them "
            "out, or name an s3:// URL.",
            uri=url,
        )
    if url.startswith("cloudwatch:"):
        raise UsageError(
            "a log group can be read by convert and verify, and that is all. Name a local folder, "
            "or s3://bucket/prefix.",
            uri=url,
        )
    if url.startswith("file:///"):
        return LocalStorage(unquote(url.removeprefix("file://"), errors="surrogateescape"))
    if not url or "\0" in url:
        raise UsageError(f"{quote(url)} is no folder. Name one, or s3://bucket/prefix.")
    if not os.path.lexists(url):
        if re.fullmatch(r"[A-Za-z0-9+._-]+:[^\s@]+@[^\s@]+", url):
            raise UsageError("what was given looks like a login. Write s3://bucket/prefix.")
        if reason := _no_folder(url):
            raise UsageError(reason, uri=url)
    return LocalStorage(url)


def path_text(url: str | os.PathLike[str]) -> str:
    """Return a path or URL as text.

    Raises:
        UsageError: It is neither a text nor a path.
    """
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise UsageError(f"a {type(url).__name__} is no folder. Write a text or a Path.")
    return text


def check_option_names(options: Mapping[str, str], names: Sequence[str], kind: str) -> None:
    """Check that there are such options, and that their values can be sent.

    Raises:
        UsageError: One is none. What is like none of them is not shown: it may be a secret.
    """
    for name, value in options.items():
        if name not in names:
            # `secret:VALUE=` is a name, too.
            is_name = re.fullmatch(r"[A-Za-z_-]{1,24}", name)
            meant = did_you_mean(name, names, _OPTIONS_MEANT) if is_name else ""
            found = quote(name) if meant or name in OPTION_NAMES else "what was given"
            raise UsageError(f"{found} is no {kind}.{meant} There are {', '.join(names)}.")
        if not isinstance(value, str):
            raise UsageError(f"{kind} {name}: write a text, such as 'true'.")
        if not value or not value.isprintable() or value != value.strip():
            raise UsageError(f"{kind} {name}: it is empty, or has a space or a control character.")
    address = options.get("endpoint_url", "https://s3")
    try:
        endpoint = urlsplit(address)
        is_address = bool(endpoint.hostname) and (endpoint.port or 1) > 0
    except ValueError:
        is_address = False
    # A login in it would be sent to nobody, and shown in errors.
    if not re.match(r"https?://", address) or not is_address or re.search(r"[@?#\s]", address):
        raise UsageError(f"{kind} endpoint_url: write it as https://host or http://host:port.")


# What AWS's other tools call them.
_OPTIONS_MEANT = {
    **dict.fromkeys(("access_key", "access_key_id", "aws_access_key_id", "accesskey"), "key"),
    **dict.fromkeys(("aws_secret_access_key", "secret_access_key", "secret_key"), "secret"),
    **dict.fromkeys(("aws_session_token", "session_token", "security_token"), "token"),
    **dict.fromkeys(("endpoint", "url", "aws_endpoint_url"), "endpoint_url"),
    **dict.fromkeys(("region_name", "aws_region", "aws_default_region"), "region"),
    **dict.fromkeys(("aws_profile", "profile_name"), "profile"),
    **dict.fromkeys(("anonymous", "no_sign_request", "skip_signature"), "anon"),
    **dict.fromkeys(("request_payer", "requester"), "requester_pays"),
}


def _no_folder(url: str) -> str | None:
    """Say why a name of nothing that is there cannot be a local folder, if it cannot."""
    if re.match(r"s3[an]?:", url, re.IGNORECASE):
        return "this is no URL of S3. Write s3://bucket/prefix."
    if url.startswith("arn:"):
        return "an ARN is no place. Write s3://bucket/prefix."
    if re.match(r"https?:", url, re.IGNORECASE):
        return "addresses of the web are not supported. Write s3://bucket/prefix for a bucket."
    if url.startswith("file:"):
        return "write file:///folder, with three slashes, or the folder alone."
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", url):
        return f"{scheme[0]} is not supported. Name a local folder, or s3://bucket/prefix."
    if re.match(r"~[^/]*(/|$)", url):
        return "the shell did not put your home folder for ~. Leave out the quotes, or use $HOME."
    pattern = re.match(r"[^*?]*[*?][^/]*", url)
    if pattern and not os.path.lexists(pattern[0]):
        return "there is no such folder, and * and ? stand for nothing here. Name the folder."
    return None


@contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn the system's errors on a file into StorageError, saying what to do.

    Raises:
        StorageError: In place of an OSError.
    """
    try:
        yield
    except OSError as exc:
        raise StorageError(_explain(exc), uri=uri) from exc


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe, whose other end may never come, nothing is read."""
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISFIFO(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "a pipe, where a file should be", path)
    return number


class LocalStorage:
    """A local folder, or a single file."""

    is_local = True
    retries = 0

    def __init__(self, path: str) -> None:
        name = to_system(from_system(path))
        if not os.path.lexists(name):
            # As a report or the ledger says it.
            as_text = to_system(from_text(from_system(path)))
            name = as_text if os.path.lexists(as_text) else name
        # Not Path.resolve(), for which a link that leads to itself is an error, and not yet here.
        self._root = from_system(Path(os.path.realpath(name)).as_posix())
        self._given = from_system(Path(os.path.abspath(name)).as_posix())  # noqa: PTH100
        self.root = to_text(self._root)

    def give_up(self) -> None:
        """See `Storage`; nothing is made again here."""

    def uri(self, path: str) -> str:
        """Return the absolute path's text."""
        return to_text(self._name(path))

    def location(self, path: str) -> str:
        """Return the absolute path."""
        return to_system(self._name(path))

    def key(self, path: str) -> str:
        """Return the absolute path as it was given, by whatever links; they may say the day."""
        return to_text(f"{self._given.rstrip('/')}/{path}" if path else self._given)

    def is_within(self, other: "Storage") -> bool:
        """See `Storage`; the same folder may be mounted at two places."""
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
        # No recursion: folders may be nested by the thousand.
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
                        continue  # It is listed by the name that it has there.
                    targets.add(entry.target)
                open_folders.append(self._list_if_there(entry.path))

    def list_folder(self, below: str = "") -> Iterator[StoredFile | Folder | NoFile]:
        """See `Storage`."""
        kind = FolderError if below else StorageError
        try:
            with os.scandir(self.location(below)) as entries:
                found = sorted(map(_Entry, entries), key=lambda entry: entry.place_in_order)
        except FileNotFoundError as exc:
            advice = "It was removed or renamed meanwhile." if below else "Check the name."
            reason = f"there is no such folder or file. {advice}"
            raise kind(reason, uri=self.uri(below)) from exc
        except NotADirectoryError as exc:
            if below:
                raise FolderError(_explain(exc), uri=self.uri(below)) from exc
            yield self._root_file()
            return
        except OSError as exc:
            raise kind(_explain(exc), uri=self.uri(below)) from exc
        prefix = f"{below.rstrip('/')}/" if below else ""
        for entry in found:
            if listed := entry.listed(prefix):
                yield listed

    def list_directories(self, below: str = "") -> list[str]:
        """See `Storage`."""
        entries = self._list_if_there(below)
        return sorted(entry.path.split("/")[-2] for entry in entries if isinstance(entry, Folder))

    def fetch(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """See `Storage`."""
        uri = self.uri(path)
        try:
            # A third of the time of Path.open.
            with open(self.location(path), "rb", buffering=0, opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise FetchError(_no_file(status.st_mode), uri=uri)
                file.seek(start)
                wanted = status.st_size - start if size is None else size
                pieces = []
                while wanted > 0 and (piece := file.read(wanted)):
                    pieces.append(piece)
                    wanted -= len(piece)
        except OSError as exc:
            raise FetchError(_explain(exc), uri=uri) from exc
        if size is not None and wanted:
            raise FetchError(
                f"the file ends {wanted} bytes early; it has changed since it was listed. "
                "Run again when it is complete.",
                uri=uri,
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read(self, path: str) -> bytes | None:
        """See `Storage`."""
        with storage_errors(self.uri(path)):
            try:
                with open(self.location(path), "rb", opener=_without_waiting) as file:
                    return file.read()
            except FileNotFoundError as exc:
                if os.path.islink(self.location(path)):  # noqa: PTH114
                    # It is listed and cannot be made: who waits for either would wait for ever.
                    raise StorageError(
                        "this link leads nowhere. Remove it.", uri=self.uri(path)
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
                # Whoever holds the lock took it for a leftover of a run that was killed.
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
        # Unique, so that two runs that work at the same task do not meet.
        staged = f"{staging}.{secrets.token_hex(8)}"
        return _LocalSink(Path(self.location(staged)), Path(self.location(path)), self.uri(path))

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
        # Small files that are being written, beside what they are to become.
        paths += [
            Path(folder, name).relative_to(self.location("")).as_posix()
            for folder, _, names in os.walk(Path(self.location(staging)).parent)
            for name in names
            if _UNFINISHED.fullmatch(name)
        ]
        return [Unfinished(path) for path in paths]

    def discard(self, unfinished: Sequence[Unfinished]) -> None:
        """See `Storage`."""
        self.delete([one.path for one in unfinished])

    def _name(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else self._root

    def _list_if_there(self, below: str) -> Iterator[StoredFile | Folder | NoFile]:
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
            raise StorageError(_no_file(status.st_mode), uri=self.root)
        return _stored_file("", status)

    @contextmanager
    def _unfinished(self, path: str, data: bytes) -> Iterator[Path]:
        """Give a complete, durable file beside `path`; then make what was done with it durable."""
        folder = Path(self.location(path)).parent
        _make_folder(folder)
        unfinished = folder / f".unfinished-{secrets.token_hex(8)}"
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
    """Keeps the CRC-32 of what is written, so that it need not be read again."""

    crc32 = 0

    def write(self, data: Any, /) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        return super().write(data)


class _LocalSink:
    """A file below the lake's staging folder, so on the same device as the place it is moved to."""

    def __init__(self, staged: Path, target: Path, uri: str) -> None:
        self.uri = uri
        self._staged = staged
        self._target = target
        self._size_bytes = 0
        self._published = False
        with storage_errors(uri):
            staged.parent.mkdir(parents=True, exist_ok=True)
            self._checksummed = _ChecksummedFile(io.FileIO(staged, "wb"))
        self.file: pa.NativeFile = pa.PythonFile(self._checksummed, mode="w")

    @property
    def crc32(self) -> int:
        return self._checksummed.crc32

    def tell(self) -> int:
        return self._size_bytes if self.file.closed else self.file.tell()

    def close(self) -> None:
        if not self.file.closed:
            with storage_errors(self.uri):
                self._size_bytes = self.file.tell()
                self.file.close()

    def publish(self) -> None:
        self.close()
        with storage_errors(self.uri):
            with self._staged.open("rb+") as file:
                os.fsync(file.fileno())
            _make_folder(self._target.parent)
            self._staged.replace(self._target)
            self._published = True
            _sync_folder(self._target.parent)

    def discard(self) -> None:
        with suppress(StorageError):
            self.close()
        if not self._published:
            with suppress(OSError):
                self._staged.unlink(missing_ok=True)


# What file systems answer that know no hard links: FAT, some network shares and containers.
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

_ADVICE = {
    errno.EACCES: "access is denied. Check the permissions.",
    errno.EPERM: "access is denied. Check the permissions.",
    errno.ENOENT: "there is no such file; it may have been removed meanwhile. Run again.",
    errno.EISDIR: "this is a folder, where a file was expected.",
    errno.ENOTDIR: "a part of this path is a file, where a folder was expected.",
    errno.EEXIST: "a part of this path is a file, where a folder was expected.",
    errno.ENOSPC: "the disk is full. Make room and run again; what is published stays valid.",
    errno.EDQUOT: "the disk quota is used up. Make room and run again; what is published stays "
    "valid.",
    errno.EROFS: "the file system is read-only. Choose another place.",
    errno.EMFILE: "too many files are open. Raise the limit (ulimit -n), or use fewer workers.",
    errno.ENAMETOOLONG: "the name is too long for this file system.",
    errno.ELOOP: "this link leads to itself. Remove it.",
    errno.EIO: "the device reports an error. Check the disk.",
    errno.ESTALE: "the network share was lost. Run again when it is back.",
}


def _explain(exc: OSError) -> str:
    reason = exc.strerror or str(exc)
    return _ADVICE.get(exc.errno or 0) or f"the system says: {reason}."


class _Entry:
    """What is in a folder, looked at once."""

    def __init__(self, entry: "os.DirEntry[str]") -> None:
        self._entry = entry
        self._name = from_system(entry.name)
        self._error: OSError | None = None
        try:
            self._is_folder = entry.is_dir()
        except OSError as exc:
            self._is_folder, self._error = False, exc

    @property
    def place_in_order(self) -> bytes:
        """Sort as S3 does, by the bytes of whole paths: a folder counts with its slash."""
        name = os.fsencode(self._entry.name)
        return name + b"/" if self._is_folder else name

    def listed(self, prefix: str) -> StoredFile | Folder | NoFile | None:
        """Return it as it is listed; None if it does not count, or was deleted meanwhile."""
        path = prefix + self._name
        try:
            if self._error:
                raise self._error
            target = self._target()
            if self._is_folder:
                return Folder(f"{path}/", target)
            if _UNFINISHED.fullmatch(self._name):
                return None
            status = self._entry.stat()
        except FileNotFoundError:
            if not self._entry.is_symlink():
                return None
            return NoFile(path, "this link leads nowhere. Remove it, or restore what it led to.")
        except OSError as exc:
            return NoFile(path, _explain(exc))
        if stat.S_ISREG(status.st_mode):
            return _stored_file(path, status, target)
        return NoFile(path, _no_file(status.st_mode))

    def _target(self) -> str:
        if not self._entry.is_symlink():
            return ""
        return from_system(Path(os.path.realpath(self._entry.path)).as_posix())


def _no_file(mode: int) -> str:
    kinds = {stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket", stat.S_ISDIR: "a folder"}
    kind = next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
    return f"this is {kind}, where a file was expected. Name a file, or use --exclude."


def _stored_file(path: str, status: os.stat_result, target: str = "") -> StoredFile:
    return StoredFile(path, status.st_size, f"{status.st_size}-{status.st_mtime_ns}", target)


def _create_without_link(target: Path, data: bytes) -> bool:
    """Create exclusively, though readers may see the file before it is complete."""
    try:
        with target.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, and make their names durable."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders; NTFS keeps a journal of names.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
