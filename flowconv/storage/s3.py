"""Storage in S3, or a store with its protocol: an `s3://` URL -> the `Storage` of `interface`."""

import os
import re
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from typing import Any

from flowconv.errors import FetchError, FlowconvError, StorageError, UsageError
from flowconv.memory import Room
from flowconv.storage.interface import (
    PART_BYTES,
    BegunListing,
    Folder,
    HandedOver,
    Publishable,
    StagedSink,
    Storage,
    StoredFile,
    Unfinished,
)
from flowconv.storage.names import to_text
from flowconv.storage.request_times import RequestTimes
from flowconv.storage.s3_connection import Connection, check_s3_options
from flowconv.storage.s3_errors import (
    CLIENT_ERRORS,
    code_of,
    concerns_bucket,
    explained,
    folder_errors,
    storage_errors,
)
from flowconv.storage.s3_listing import FolderListing, KeyListing
from flowconv.storage.s3_pages import Page
from flowconv.storage.s3_requests import REQUESTS_AT_ONCE

# Of each file, beside the one that fills.
_PARTS_AT_ONCE = 3

# Connections that are opened for GETs to come, while lake.json is read or a source is being listed.
_GETS_AHEAD = 16

# A closed file of up to this size is kept in memory until it is published: one request, not three.
_SMALL_BYTES = PART_BYTES

# What closed files may keep in memory until they are published: small ones, and parts on their way.
# Who closes more waits until the parts are sent.
_CLOSED_BYTES = 48 << 20

# The codes for "the object exists already": AWS's, and that of others.
_EXISTS = ("PreconditionFailed", "412")

# Others may create and delete the same object meanwhile.
_CREATE_ATTEMPTS = 6

# Metadata with the writer's random id, by which it recognises its own object.
_WRITER = "flowconv-writer"


class S3Storage:
    """A bucket, or a prefix in one; see `interface.Storage`. The first request connects it.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`.
        options: As for `opening.open_storage`.
        max_requests: Highest number of objects fetched at once.

    Raises:
        UsageError: The URL is not valid, or the options do not go together.
    """

    is_local = False

    def __init__(self, url: str, options: Mapping[str, str], max_requests: int) -> None:
        self._bucket, _, key = url.removeprefix("s3://").partition("/")
        if "@" in self._bucket or re.match(r"[^/@]*:[^@]*@", url.removeprefix("s3://")):
            # The error leaves the login out of the URL.
            raise UsageError(
                "an S3 URL takes no login. Leave it out, and use the environment, profile=… or "
                "key=… and secret=….",
                uri=url,
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", self._bucket):
            raise UsageError(
                "this URL has no valid bucket name. Write s3://bucket/prefix.", uri=url
            )
        check_s3_options(options)
        self._root_key = key.rstrip("/")
        self.root = to_text(f"s3://{self._bucket}/{self._root_key}".rstrip("/"))
        self._endpoint_url = options.get("endpoint_url")
        self._connection = Connection(self._bucket, options, max_requests)
        self._room = Room(_CLOSED_BYTES)
        self._has_read = False

    @property
    def retries(self) -> int:
        """See `Storage`."""
        return self._connection.retries.count

    @property
    def times(self) -> RequestTimes:
        """See `Storage`."""
        return self._connection.times

    def give_up(self) -> None:
        """See `Storage`."""
        self._connection.retries.give_up()

    def uri(self, path: str) -> str:
        """Return the text of a path's `s3://` URL."""
        return to_text(self.location(path)) if path else self.root

    def location(self, path: str) -> str:
        """Return the `s3://` URL of a path."""
        return f"s3://{self._bucket}/{self._key(path)}".rstrip("/" if not path else "")

    def key(self, path: str) -> str:
        """Return the text of the whole key, without the bucket."""
        return to_text(self._key(path))

    def is_within(self, other: Storage) -> bool:
        """See `Storage`."""
        if not isinstance(other, S3Storage) or self._endpoint_url != other._endpoint_url:
            return False
        return f"{self.root}/".startswith(f"{other.root}/")

    def list_files(self, below: str = "") -> BegunListing[StoredFile]:
        """See `Storage`; the first request begins at once."""
        keys = KeyListing(self._connection.start_list, self._folder_key(below))
        with self._listing_errors(below):
            keys.begin()
        return BegunListing(self._files(keys, below), lambda: None, keys.cancel)

    def list_first(self) -> Iterator[StoredFile]:
        """See `Storage`."""
        folder = self._folder_key("")
        with storage_errors(self.root):
            # The root's folder marker is no file.
            request = {"prefix": folder, "start-after": folder, "max-keys": "1"}
            answer = self._connection.start_list(**request)
            self._connection.open_ahead(_GETS_AHEAD)

        def files() -> Iterator[StoredFile]:
            with storage_errors(self.root):
                page = answer.result()
            for key, size_bytes, etag in page.keys:
                yield StoredFile(key[len(folder) :], size_bytes, etag)

        return files()

    def list_folder(self, below: str = "") -> BegunListing[StoredFile | Folder]:
        """See `Storage`; the first request begins at once."""
        pages = FolderListing(self._connection.start_list, self._folder_key(below))
        with self._listing_errors(below):
            pages.begin()

        def known() -> list[StoredFile | Folder] | None:
            page = pages.whole()
            return None if page is None else list(self._entries(page))

        return BegunListing(self._folder_entries(pages, below), known, pages.cancel)

    def list_directories(self, below: str = "") -> list[str]:
        """See `Storage`."""
        entries = self.list_folder(below)
        return sorted(entry.path.split("/")[-2] for entry in entries if isinstance(entry, Folder))

    def fetch(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """See `Storage`."""
        return self.start_fetch(path, start, size).result()

    def start_fetch(self, path: str, start: int = 0, size: int | None = None) -> "Future[bytes]":
        """See `Storage`."""
        if size == 0:
            nothing: Future[bytes] = Future()
            nothing.set_result(b"")
            return nothing

        def explain(exc: BaseException) -> BaseException:
            if not isinstance(exc, CLIENT_ERRORS):
                return exc
            kind = StorageError if concerns_bucket(exc) else FetchError
            error = explained(exc, kind, self.uri(path))
            error.__cause__ = exc
            return error

        with storage_errors(self.root):
            return self._connection.start_get(self._key(path), start, size, explain)

    def read(self, path: str) -> bytes | None:
        """See `Storage`."""
        key = self._key(path)
        is_first, self._has_read = not self._has_read, True
        with storage_errors(self.uri(path)):
            try:
                if is_first:
                    # Of a lake lake.json. A PUT or LIST follows it, then the ledger's records do.
                    self._connection.open_ahead(_GETS_AHEAD)
                return self._connection.start_get(key, by_botocore=is_first).result()
            except FileNotFoundError as exc:
                if code_of(exc) == "NoSuchBucket":
                    raise
                return None

    def write(self, path: str, data: bytes) -> None:
        """See `Storage`."""
        with storage_errors(self.uri(path)):
            self._connection.call("put_object", Key=self._key(path), Body=data)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage`."""
        key = self._key(path)
        writer = os.urandom(16).hex()
        put = {"Key": key, "Body": data, "IfNoneMatch": "*", "Metadata": {_WRITER: writer}}
        with storage_errors(self.uri(path)):
            for _ in range(_CREATE_ATTEMPTS):
                try:
                    self._connection.call("put_object", **put)
                except CLIENT_ERRORS as exc:
                    if code_of(exc) not in _EXISTS:
                        raise
                    found = self._connection.find(key)
                    if found is not None:
                        # It is ours if only the answer to our first attempt was lost.
                        return bool(found["Metadata"].get(_WRITER) == writer)
                else:
                    return True
        raise StorageError(
            "other processes keep creating and deleting this object. Run again when they have "
            "ended.",
            uri=self.uri(path),
        )

    def delete(self, paths: Sequence[str]) -> None:
        """See `Storage`."""
        # A request each: DeleteObjects lists its keys in XML, which cannot hold every key.
        at_once = REQUESTS_AT_ONCE // 2
        for start in range(0, len(paths), at_once):
            group = paths[start : start + at_once]
            with storage_errors(self.root):
                deletes = [self._connection.start("delete_object", Key=self._key(p)) for p in group]
            for path, deleted in zip(group, deletes, strict=True):
                with storage_errors(self.uri(path)):
                    deleted.result()

    def move(self, path: str, to: str) -> bool:
        """See `Storage`."""
        original = {"Bucket": self._bucket, "Key": self._key(path)}
        with storage_errors(self.uri(path)):
            try:
                self._connection.call("copy_object", Key=self._key(to), CopySource=original)
            except FileNotFoundError as exc:
                if code_of(exc) == "NoSuchBucket":
                    raise
                return False
        self.delete([path])
        return True

    def open_staged(self, path: str, staging: str) -> StagedSink:  # noqa: ARG002
        """See `Storage`."""
        return _S3Sink(self._connection, self._room, path, self._key(path), self.uri(path))

    def adopt(self, file: HandedOver) -> Publishable:
        """See `Storage`."""
        return _AdoptedUpload(self._connection, self._key(file.path), self.uri(file.path), file)

    def polars_options(self) -> dict[str, Any]:
        """See `Storage`."""
        with storage_errors(self.root):
            return self._connection.polars_options()

    def list_unfinished(
        self,
        staging: str,  # noqa: ARG002
        folders: Sequence[str] = ("",),
    ) -> list[Unfinished]:
        """See `Storage`."""
        prefixes = [self._folder_key(folder) for folder in folders]
        with storage_errors(self.root):
            first_pages = [self._start_uploads(prefix) for prefix in prefixes]
        pages = zip(prefixes, first_pages, strict=True)
        return [upload for prefix, page in pages for upload in self._uploads(prefix, page)]

    def discard(self, unfinished: Sequence[Unfinished]) -> None:
        """See `Storage`."""
        for upload in unfinished:
            with storage_errors(self.uri(upload.path)):
                self._connection.abort(self._key(upload.path), upload.upload_id)

    def _start_uploads(self, prefix: str, **markers: str) -> "Future[Any]":
        return self._connection.start("list_multipart_uploads", Prefix=prefix, **markers)

    def _uploads(self, prefix: str, first_page: "Future[Any]") -> Iterator[Unfinished]:
        root_length = len(self._folder_key(""))
        next_page = first_page
        with storage_errors(self.root):
            while True:
                page = next_page.result()
                for upload in page.get("Uploads", []):
                    yield Unfinished(upload["Key"][root_length:], upload["UploadId"])
                if not page.get("IsTruncated"):
                    return
                next_page = self._start_uploads(
                    prefix,
                    KeyMarker=page["NextKeyMarker"],
                    UploadIdMarker=page["NextUploadIdMarker"],
                )

    def _key(self, path: str) -> str:
        return f"{self._root_key}/{path}" if self._root_key and path else self._root_key or path

    def _folder_key(self, path: str) -> str:
        key = self._key(path)
        return key if not key or (path and key.endswith("/")) else f"{key}/"

    def _files(self, listing: KeyListing, below: str) -> Iterator[StoredFile]:
        root_length = len(self._folder_key(""))
        is_empty = True
        with self._listing_errors(below):
            for keys in listing.pages():
                is_empty = is_empty and not keys
                for key, size_bytes, etag in keys:
                    # The root's folder marker has an empty path, as a root that is an object.
                    if len(key) > root_length:
                        yield StoredFile(key[root_length:], size_bytes, etag)
            if is_empty and not below and self._root_key:
                yield from self._list_root()

    def _folder_entries(self, listing: FolderListing, below: str) -> Iterator[StoredFile | Folder]:
        is_empty = True
        with self._listing_errors(below):
            for page in listing.pages():
                is_empty = is_empty and not (page.keys or page.prefixes)
                yield from self._entries(page)
            if is_empty and not below and self._root_key:
                yield from self._list_root()

    def _entries(self, page: Page) -> Iterator[StoredFile | Folder]:
        root_length = len(self._folder_key(""))
        entries: list[StoredFile | Folder] = [
            StoredFile(key[root_length:], size_bytes, etag) for key, size_bytes, etag in page.keys
        ]
        entries += [Folder(prefix[root_length:]) for prefix in page.prefixes]
        return (entry for entry in sorted(entries, key=lambda entry: entry.path) if entry.path)

    def _listing_errors(self, below: str) -> AbstractContextManager[None]:
        return folder_errors(self.uri(below), self.root) if below else storage_errors(self.root)

    def _list_root(self) -> Iterator[StoredFile]:
        """List the root if it is an object."""
        request = {"prefix": self._root_key, "max-keys": "1"}
        page = self._connection.start_list(**request).result()
        for key, size_bytes, etag in page.keys:
            if key == self._root_key:
                yield StoredFile("", size_bytes, etag)


class _S3Sink:
    """A multi-part upload, visible once it is completed; of a small file one PUT."""

    def __init__(self, connection: Connection, room: Room, path: str, key: str, uri: str) -> None:
        import pyarrow as pa

        self.uri = uri
        self._path = path
        self._upload = _Upload(connection, room, key, uri)
        self.file: pa.NativeFile = pa.PythonFile(self._upload, mode="w")  # type: ignore[arg-type]

    @property
    def waited_s(self) -> float:
        return self._upload.waited_s

    @property
    def crc32(self) -> int:
        return self._upload.crc32

    def tell(self) -> int:
        return self._upload.tell()

    def close(self) -> None:
        if not self.file.closed:
            self.file.close()

    def hand_over(self) -> HandedOver:
        self.close()
        return self._upload.hand_over(self._path)

    def publish(self) -> None:
        self.close()
        self._upload.publish()

    def discard(self) -> None:
        with suppress(FlowconvError):
            self.close()
        with suppress(FlowconvError):
            self._upload.discard()


class _Upload:
    """The file behind `pyarrow.PythonFile`; sends some parts while the next one fills.

    Args:
        connection: To the bucket.
        room: For what closed files keep in memory.
        key: Where the file is published.
        uri: Its URL, for messages.
    """

    def __init__(self, connection: Connection, room: Room, key: str, uri: str) -> None:
        self.closed = False
        self.crc32 = 0
        self.waited_s = 0.0
        self._connection = connection
        self._room = room
        self._taken_bytes = 0
        self._key = key
        self._uri = uri
        self._buffer = bytearray()
        self._size_bytes = 0
        self._upload_id: str | None = None
        self._part_etags: list[str] = []
        self._sent_parts: deque[Future[Any]] = deque()
        self._is_over = False  # Published or discarded.

    def write(self, data: bytes | memoryview) -> int:
        self._buffer += data
        self._size_bytes += len(data)
        self.crc32 = zlib.crc32(data, self.crc32)
        began = time.perf_counter()
        while len(self._buffer) >= PART_BYTES:
            self._send_part(PART_BYTES)
        self.waited_s += time.perf_counter() - began
        return len(data)

    def tell(self) -> int:
        return self._size_bytes

    def flush(self) -> None:
        """Do nothing: a part is sent when it is full."""

    def close(self) -> None:
        self.closed = True
        if self._is_over:
            return
        began = time.perf_counter()
        self._send_rest()
        self.waited_s += time.perf_counter() - began

    def _send_rest(self) -> None:
        if self._upload_id is None:
            if len(self._buffer) <= _SMALL_BYTES and self._take_room(len(self._buffer)):
                return
            self._send_part(len(self._buffer))
        elif self._buffer:
            self._send_part(len(self._buffer))
        if not self._take_room(len(self._sent_parts) * PART_BYTES):
            self._await_parts(0)

    def publish(self) -> None:
        if self._is_over:
            return
        with storage_errors(self._uri):
            if self._upload_id is None:
                self._connection.call("put_object", Key=self._key, Body=bytes(self._buffer))
            else:
                self._await_parts(0)
                _complete(
                    self._connection,
                    self._key,
                    self._upload_id,
                    self._part_etags,
                    self._size_bytes,
                )
        self._end()

    def hand_over(self, path: str) -> HandedOver:
        """End the upload but for its last request, which another process makes."""
        if self._upload_id is None:
            self._send_part(len(self._buffer))
        self._await_parts(0)
        assert self._upload_id
        handed_over = HandedOver(
            path=path,
            upload_id=self._upload_id,
            part_etags=tuple(self._part_etags),
            size_bytes=self._size_bytes,
        )
        self._end()
        return handed_over

    def discard(self) -> None:
        if self._is_over:
            return
        self._end()
        if self._upload_id is not None:
            for part in self._sent_parts:
                part.cancel()
            with storage_errors(self._uri):
                self._connection.abort(self._key, self._upload_id)

    def _take_room(self, size_bytes: int) -> bool:
        if not self._room.take(size_bytes):
            return False
        self._taken_bytes = size_bytes
        return True

    def _end(self) -> None:
        self._is_over = True
        self._buffer = bytearray()
        self._room.give_back(self._taken_bytes)

    def _send_part(self, size: int) -> None:
        self._await_parts(_PARTS_AT_ONCE - 1)
        with storage_errors(self._uri):
            if self._upload_id is None:
                answer = self._connection.call("create_multipart_upload", Key=self._key)
                self._upload_id = answer["UploadId"]
            part = bytes(self._buffer[:size])
            del self._buffer[:size]
            sent_part = self._connection.start(
                "upload_part",
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=len(self._part_etags) + len(self._sent_parts) + 1,
                Body=part,
            )
            self._sent_parts.append(sent_part)

    def _await_parts(self, most: int) -> None:
        """Wait until at most so many parts are under way."""
        while len(self._sent_parts) > most:
            with storage_errors(self._uri):
                answer = self._sent_parts.popleft().result()
            self._part_etags.append(answer["ETag"])


class _AdoptedUpload:
    """An upload that another process has made but for its last request."""

    def __init__(self, connection: Connection, key: str, uri: str, file: HandedOver) -> None:
        self._connection = connection
        self._key = key
        self._uri = uri
        self._file = file
        self._is_over = False

    def publish(self) -> None:
        file = self._file
        with storage_errors(self._uri):
            _complete(self._connection, self._key, file.upload_id, file.part_etags, file.size_bytes)
        self._is_over = True

    def discard(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        with suppress(FlowconvError), storage_errors(self._uri):
            self._connection.abort(self._key, self._file.upload_id)


def _complete(
    connection: Connection, key: str, upload_id: str, part_etags: Sequence[str], size_bytes: int
) -> None:
    """Make an upload visible."""
    parts = [
        {"PartNumber": number, "ETag": etag} for number, etag in enumerate(part_etags, start=1)
    ]
    try:
        connection.call(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )
    except CLIENT_ERRORS:
        # The upload is gone if only the answer to an earlier attempt was lost.
        found = connection.find(key)
        if found is None or found["ContentLength"] != size_bytes:
            raise
