"""What every storage can do, whether it is a folder or a prefix in S3.

Paths are relative to the storage's root. They are names; `root` and `uri` are their texts (see
`names`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa


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
