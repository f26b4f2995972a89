"""A path or URL -> a `Source`: objects below a prefix or folder, or a log group.

`log_groups` is imported only when a `cloudwatch:` source is opened.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from itertools import starmap
from typing import Protocol

from flowconv.errors import FolderError, UsageError
from flowconv.fields import is_table_folder
from flowconv.source.keys import CLOUDWATCH, LogObject
from flowconv.source.listing import LAKE_FOLDER, DayEnd, list_with_day_ends
from flowconv.source.selection import ALL, Selection
from flowconv.storage.interface import Storage, StoredFile
from flowconv.storage.names import from_text
from flowconv.storage.opening import MAX_REQUESTS, open_storage, path_text
from flowconv.storage.request_times import RequestTimes

# Each piece is one request. Nearly all objects are smaller, and one piece.
PIECE_BYTES = 8 << 20


class Source(Protocol):
    """What a run reads. All methods block and are safe to call from any thread."""

    root: str
    """Its uri. The uris of its objects begin with it, except those reached by links."""

    is_local: bool
    """Its bytes are best read where they are used: the page cache answers at once, and passing
    them between threads cost more than it saved."""

    @property
    def retries(self) -> int:
        """Number of repeated requests so far."""
        ...

    @property
    def times(self) -> RequestTimes:
        """How many requests were answered so far, and in what time."""
        ...

    def give_up(self) -> None:
        """Repeat no request from now on; a request that waits to be repeated fails."""
        ...

    def is_within(self, lake: Storage) -> bool:
        """Tell whether it is a lake or lies below it, by whatever path."""
        ...

    def list_objects(
        self,
        selection: Selection = ALL,
        left_out: Counter[str] | None = None,
        unreadable: dict[str, str] | None = None,
    ) -> Iterator[LogObject]:
        """List the objects, always in the same order; see `listing.list_objects`.

        Raises:
            UsageError: The source is a lake or a part of one.
            FolderError: A folder or entry cannot be read, and `unreadable` is not given.
            StorageError: The source does not answer.
        """
        ...

    def list_with_day_ends(
        self,
        selection: Selection = ALL,
        left_out: Counter[str] | None = None,
        unreadable: dict[str, str] | None = None,
    ) -> Iterator[LogObject | DayEnd]:
        """Do as `list_objects`, and tell which days are listed; see `listing`."""
        ...

    def pieces(self, log_object: LogObject) -> Iterator[bytes] | None:
        """Read an object's bytes where they are used, piece by piece; None unless it `is_local`.

        Raises:
            FetchError: The object cannot be read.
        """
        ...

    def requests(self, log_object: LogObject) -> Iterator[Callable[[], "Future[bytes]"]]:
        """Give the requests that fetch an object's bytes, piece by piece.

        The caller begins each request, and waits for its answer before it takes the next one. Only
        the last piece may be empty. Requests of many objects may be begun together.

        Answers raise FetchError if the object cannot be fetched, and StorageError if no object of
        the source can.
        """
        ...


def open_source(
    url: str | os.PathLike[str],
    options: Mapping[str, str] | None = None,
    max_requests: int = MAX_REQUESTS,
) -> Source:
    """Return the source at a local path, an `s3://` URL or `cloudwatch:LOG-GROUP`.

    It neither connects nor checks that the place exists.

    Args:
        url: The path or URL.
        options: As for `storage.opening.open_storage`.
        max_requests: Highest number of objects fetched at once.

    Raises:
        UsageError: The path or URL is not valid, or an option is not known.
    """
    url = path_text(url)
    if url.startswith(CLOUDWATCH):
        from flowconv.source.log_groups import CloudWatchSource

        return CloudWatchSource(url, options or {})
    return StorageSource(open_storage(url, options, max_requests), options)


class StorageSource:
    """The objects of a storage; see `Source`.

    Args:
        storage: Where they are.
        options: The options it was opened with.
    """

    def __init__(self, storage: Storage, options: Mapping[str, str] | None = None) -> None:
        self.root = storage.root
        self.is_local = storage.is_local
        self._storage = storage
        self._options = options

    @property
    def retries(self) -> int:
        """See `Source`."""
        return self._storage.retries

    @property
    def times(self) -> RequestTimes:
        """See `Source`."""
        return self._storage.times

    def give_up(self) -> None:
        """See `Source`."""
        self._storage.give_up()

    def list_objects(
        self,
        selection: Selection = ALL,
        left_out: Counter[str] | None = None,
        unreadable: dict[str, str] | None = None,
    ) -> Iterator[LogObject]:
        """See `Source`."""
        listed = self.list_with_day_ends(selection, left_out, unreadable)
        return (item for item in listed if isinstance(item, LogObject))

    def list_with_day_ends(
        self,
        selection: Selection = ALL,
        left_out: Counter[str] | None = None,
        unreadable: dict[str, str] | None = None,
    ) -> Iterator[LogObject | DayEnd]:
        """See `Source`."""
        if selection.inventory is not None:
            from flowconv.source.inventory import list_inventory

            return self._unless_lake(
                list_inventory(self._storage, self._options or {}, selection, left_out, unreadable)
            )
        return self._unless_lake(list_with_day_ends(self._storage, selection, left_out, unreadable))

    def pieces(self, log_object: LogObject) -> Iterator[bytes] | None:
        """See `Source`."""
        return starmap(self._storage.fetch, _ranges(log_object)) if self.is_local else None

    def requests(self, log_object: LogObject) -> Iterator[Callable[[], "Future[bytes]"]]:
        """See `Source`."""
        for piece in _ranges(log_object):
            yield partial(self._storage.start_fetch, *piece)

    def is_within(self, lake: Storage) -> bool:
        """See `Source`."""
        return self._storage.is_within(lake)

    def _unless_lake(self, listed: Iterator[LogObject | DayEnd]) -> Iterator[LogObject | DayEnd]:
        """Give what is listed, once it is known that the source is no lake or a folder of one."""
        # In S3 this request is under way from here on, too.
        own_files = self._storage.list_files(LAKE_FOLDER)

        def checked() -> Iterator[LogObject | DayEnd]:
            is_lake = _has_file(own_files)
            lake = self._storage if is_lake else lake_around(self._storage, self._options)
            if lake:
                raise UsageError(
                    f"this is flowconv's lake {lake.root} or a part of it, not flow logs. Name the "
                    "logs that it was made from.",
                    uri=self.root,
                )
            yield from listed

        return checked()


def lake_around(storage: Storage, options: Mapping[str, str] | None) -> Storage | None:
    """Return the lake that has a place among its files; None if there is none.

    Only folders with a name from a lake cost a request.

    Args:
        storage: The place.
        options: The options it was opened with.

    Raises:
        StorageError: The storage does not answer.
    """
    above, _, folder = storage.location("").rpartition("/")
    while above.count("/") >= 2 or (above and storage.is_local):
        if folder == LAKE_FOLDER or is_table_folder(folder):
            suspect = open_storage(above, options)
            if _has_file(suspect.list_files(LAKE_FOLDER)):
                return suspect
        above, _, folder = above.rpartition("/")
    return None


def _has_file(own_files: Iterator[StoredFile]) -> bool:
    """Tell whether a lake's own folder has a file."""
    try:
        return next(own_files, None) is not None
    except FolderError:
        return False  # What lies below is denied then, too.


def _ranges(log_object: LogObject) -> Iterator[tuple[str, int, int]]:
    """Give an object's path, and the start and size of each piece."""
    path, size_bytes = from_text(log_object.path), log_object.size_bytes
    for start in range(0, size_bytes, PIECE_BYTES):
        yield path, start, min(PIECE_BYTES, size_bytes - start)
