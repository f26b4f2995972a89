"""A lake's files in S3, fetched before they are checked."""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from flowconv.lake.ledger_records import DataFile
from flowconv.source.fetching import AHEAD_BYTES, AHEAD_OBJECTS
from flowconv.source.opening import PIECE_BYTES
from flowconv.storage.interface import Storage


class FetchedFiles:
    """Fetches the files that are one piece, in about their order; shared by threads.

    Args:
        storage: The lake.
        files: Each is asked for once.
    """

    def __init__(self, storage: Storage, files: Iterable[DataFile]) -> None:
        self._storage = storage
        self._rest = filter(_is_one_piece, files)
        self._begun: dict[str, Future[bytes]] = {}
        self._begun_bytes = 0
        self._mutex = threading.Lock()

    def fetch(self, file: DataFile) -> bytes | None:
        """Return a file's bytes; None if it is more than one piece.

        Raises:
            FetchError: See `Storage.fetch`.
        """
        if not _is_one_piece(file):
            return None
        with self._mutex:
            for following in self._following(file):
                size_bytes = following.size_bytes
                self._begun[following.path] = self._storage.start_fetch(
                    following.path, 0, size_bytes
                )
                self._begun_bytes += size_bytes
            fetched = self._begun.pop(file.path)
            self._begun_bytes -= file.size_bytes
        return fetched.result()

    def _following(self, wanted: DataFile) -> Iterator[DataFile]:
        while wanted.path not in self._begun or (
            len(self._begun) < AHEAD_OBJECTS and self._begun_bytes < AHEAD_BYTES
        ):
            if (file := next(self._rest, None)) is None:
                return
            yield file


def _is_one_piece(file: DataFile) -> bool:
    return file.size_bytes <= PIECE_BYTES
