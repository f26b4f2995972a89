"""What every storage takes and gives, whether it is a folder or a prefix in S3.

Paths are relative to the storage's root. They are names; `root` and `uri` are texts (see `names`).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from flowconv.storage.request_times import RequestTimes

if TYPE_CHECKING:
    import pyarrow as pa

# A larger file is sent to S3 in such parts, S3's smallest. An upload has at most 10,000 of them:
# files of up to 50 GB.
PART_BYTES = 5 << 20


class StoredFile(NamedTuple):
    """An object in S3, or a local file.

    Attributes:
        path: Relative to the storage's root; "" if the root is this file.
        size_bytes: Its size.
        etag: S3's ETag without quotes; locally `<size>-<time of modification in ns>`.
        target: Of a link, the absolute path that it leads to; else empty.
    """

    path: str
    size_bytes: int
    etag: str
    target: str = ""


class Folder(NamedTuple):
    """A local folder, or a prefix in S3.

    Attributes:
        path: Relative to the storage's root, with a slash at its end. S3 also has `a//`.
        target: Of a link, the absolute path that it leads to; else empty.
    """

    path: str
    target: str = ""


class UnreadableEntry(NamedTuple):
    """An entry of a folder that is neither file nor folder: a dangling link, a named pipe.

    Attributes:
        path: Relative to the storage's root.
        reason: What it is, and what to do.
    """

    path: str
    reason: str


Entry = TypeVar("Entry", bound=StoredFile | Folder)


class BegunListing(Iterator[Entry], Generic[Entry]):
    """A listing in S3 whose first request is under way.

    Args:
        entries: Waits for the answers.
        known: Gives all entries if that needs no waiting, else None.
        cancel: Ends what is under way.
    """

    def __init__(
        self,
        entries: Iterator[Entry],
        known: Callable[[], "list[Entry] | None"],
        cancel: Callable[[], None],
    ) -> None:
        self._entries = entries
        self.known = known
        self.close = cancel

    def __next__(self) -> Entry:
        """Return the next entry."""
        return next(self._entries)


class Unfinished(NamedTuple):
    """A file that is being written, or that a killed writer left; it does not count yet.

    Attributes:
        path: Relative to the storage's root; in S3 the path that it will be published at.
        upload_id: S3's id of the upload; "" locally.
    """

    path: str
    upload_id: str = ""


class HandedOver(NamedTuple):
    """A complete file that is not visible yet, and that another process publishes.

    Attributes:
        path: Where it will be visible, relative to the storage's root.
        size_bytes: Its size.
        staged: Locally, where it is until then; relative to the storage's root.
        upload_id: S3's id of the upload.
        part_etags: The ETags of the upload's parts, in their order.
    """

    path: str
    size_bytes: int
    staged: str = ""
    upload_id: str = ""
    part_etags: tuple[str, ...] = ()


class Publishable(Protocol):
    """A complete file that is not visible at its path until it is published."""

    def publish(self) -> None:
        """Make it durable and visible at its path, replacing any file there.

        Raises:
            StorageError: It could not be published.
        """
        ...

    def discard(self) -> None:
        """Unless it is published, remove it. Never raises.

        A file that cannot be removed is left to `Storage.discard`.
        """
        ...


class StagedSink(Publishable, Protocol):
    """A file that is not visible at its path until it is published.

    Not safe for several threads at once.
    """

    @property
    def uri(self) -> str:
        """Where it will be visible."""
        ...

    file: "pa.NativeFile"
    """Takes what is written, for example by `pyarrow.parquet.ParquetWriter`, until the sink is
    closed. It raises OSError: write within `local_errors.storage_errors(sink.uri)`."""

    @property
    def waited_s(self) -> float:
        """For how long writing has waited for the disk or for S3 so far, in seconds."""
        ...

    @property
    def crc32(self) -> int:
        """CRC-32 of the bytes written so far; of the whole file once it is closed."""
        ...

    def tell(self) -> int:
        """Return the number of bytes written, also after it is closed."""
        ...

    def close(self) -> None:
        """Finish writing; the file stays invisible. Calling it again does nothing.

        In S3 some bytes may still be on their way; `publish` waits for them.

        Raises:
            StorageError: The rest could not be written.
        """
        ...

    def hand_over(self) -> HandedOver:
        """Close it and leave it as it is, for the process that calls `Storage.adopt`.

        Raises:
            StorageError: The rest could not be written.
        """
        ...


class Storage(Protocol):
    """A folder of files, local or in S3; all paths are relative to its root, with slashes.

    A folder's path may end with a slash or not; the root's path is "".

    All methods block and are safe to call from any thread. They raise StorageError if the bucket or
    folder is missing, refuses access, is full, or does not answer.
    """

    root: str
    """`s3://bucket/prefix` or an absolute local path without links; no slash at its end."""

    is_local: bool

    @property
    def retries(self) -> int:
        """Number of repeated requests so far; 0 locally."""
        ...

    @property
    def times(self) -> RequestTimes:
        """How many requests were answered so far, and in what time; none locally."""
        ...

    def give_up(self) -> None:
        """Repeat no request from now on; a request that waits to be repeated fails."""
        ...

    def uri(self, path: str) -> str:
        """Return a path's full name, as text."""
        ...

    def location(self, path: str) -> str:
        """Return the path or URL by which other libraries open it."""
        ...

    def key(self, path: str) -> str:
        """Return the whole key, or the absolute local path with links as they were given."""
        ...

    def is_within(self, other: "Storage") -> bool:
        """Tell whether its root is the other's or lies below it, by whatever path."""
        ...

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        """List all files below a folder, in the order of their paths' bytes.

        Memory holds some pages (S3) or the folders on the way (local). If the root is a file, it is
        listed. A missing folder below the root has no files. Links are followed, but no folder is
        listed twice; entries that are not files are left out.

        Raises:
            FolderError: A folder below the root cannot be listed.
            StorageError: Also if the root is a local folder that does not exist.
        """
        ...

    def list_first(self) -> Iterator[StoredFile]:
        """List the first of all files below the root; in S3, its request is under way."""
        ...

    def list_folder(self, below: str = "") -> Iterator[StoredFile | Folder | UnreadableEntry]:
        """List one level: the entries of a folder, in the order of their paths' bytes.

        Raises:
            FolderError: A folder below the root cannot be listed: access is denied, for example.
            StorageError: The root cannot be listed.
        """
        ...

    def list_directories(self, below: str = "") -> list[str]:
        """Return the names of the folders directly in a folder, sorted."""
        ...

    def fetch(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """Return a file's bytes, or a range of them. In S3, Python's lock is released meanwhile.

        Requests are repeated where that may help.

        Args:
            path: The file.
            start: Offset of the first byte.
            size: Number of bytes; None: to the end.

        Raises:
            FetchError: The file is gone, access is denied, or the file is too short.
        """
        ...

    def start_fetch(self, path: str, start: int = 0, size: int | None = None) -> "Future[bytes]":
        """Begin what `fetch` does; its result is `fetch`'s. Locally it is done at once.

        Any number may be begun: as many are under way as the storage bears, in the order in which
        they began. One that is cancelled before that is not made.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """Return a small file's bytes; None if there is no such file."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whole or not at all, replacing any file there."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file, whole or not at all, unless there is one.

        Returns:
            Whether it was written. Of several concurrent calls, one returns True.
        """
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files; missing ones are ignored."""
        ...

    def move(self, path: str, to: str) -> bool:
        """Move a file; at any time it is at one path or the other.

        Returns:
            Whether there was such a file.
        """
        ...

    def open_staged(self, path: str, staging: str) -> StagedSink:
        """Begin a file that is not visible at `path` until it is published.

        Args:
            path: The file's path once it is published.
            staging: Path to write it to until then; a unique ending is added. Not used in S3.
        """
        ...

    def adopt(self, file: HandedOver) -> Publishable:
        """Return a file that another process has written and handed over."""
        ...

    def polars_options(self) -> dict[str, Any]:
        """Return the arguments with which `polars.scan_parquet` reads files by `uri`."""
        ...

    def list_unfinished(self, staging: str, folders: Sequence[str] = ("",)) -> list[Unfinished]:
        """List files that are being written: below a staging folder, or unfinished uploads in S3.

        Args:
            staging: The folder of staged files, locally.
            folders: Folders that they will be published in; S3's uploads elsewhere are not ours.
        """
        ...

    def discard(self, unfinished: Sequence[Unfinished]) -> None:
        """Remove unfinished files; writers that are still alive can no longer publish them."""
        ...
