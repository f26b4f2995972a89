"""Objects are fetched piece by piece; a run's first ones before their tasks are known."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from flowconv.source import fetching, opening
from flowconv.source.fetching import FirstObjects, ObjectFetcher
from flowconv.source.opening import PIECE_BYTES, StorageSource
from flowconv.storage.local import LocalStorage
from support.in_memory import log_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowconv.source.keys import LogObject
    from flowconv.source.opening import Source


class _Store:
    """A source whose pieces are answered when they are asked for, and counted."""

    is_local = False

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answers: list[Future[bytes]] = []

    def pieces(self, _: LogObject) -> None:
        pass

    def requests(self, wanted: LogObject) -> Iterator[Callable[[], Future[bytes]]]:
        for start in range(0, wanted.size_bytes, PIECE_BYTES):
            size = min(PIECE_BYTES, wanted.size_bytes - start)
            yield partial(self._fetch, wanted.uri, start, size)

    def _fetch(self, uri: str, start: int, size: int) -> Future[bytes]:
        self.asked.append((uri, start))
        answer: Future[bytes] = Future()
        answer.set_result(bytes(size))
        self.answers.append(answer)
        return answer


@pytest.fixture
def store() -> _Store:
    return _Store()


@pytest.fixture
def source(store: _Store) -> Source:
    return store  # type: ignore[return-value]


@pytest.mark.parametrize("size_bytes", [0, 5, 8, 9, 24])
def test_a_local_object_is_read_piece_by_piece(
    tmp_path: Path, size_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "PIECE_BYTES", 8)
    body = bytes(range(size_bytes))
    (tmp_path / "x").write_bytes(body)
    listed = log_object("x", size_bytes)
    pieces: list[tuple[LogObject, int]] = []
    source = StorageSource(LocalStorage(str(tmp_path)))
    fetcher = ObjectFetcher(source, [listed], on_piece=lambda *piece: pieces.append(piece))
    with closing(fetcher), closing(fetcher.open(listed)) as opened:
        assert opened.fetch_first() == body[:8]
        buffer = memoryview(bytearray(size_bytes + 1))
        count = 0
        while read := opened.readinto(buffer[count:]):
            count += read
        assert bytes(buffer[:count]) == body
    assert pieces == [(listed, len(body[n : n + 8])) for n in range(0, size_bytes, 8)]
    assert opened.readinto(buffer) == 0
    assert fetcher.waited_s > 0 or not size_bytes


@pytest.mark.parametrize("size_bytes", [10, PIECE_BYTES, 2 * PIECE_BYTES + 1])
def test_each_piece_is_fetched_once(store: _Store, source: Source, size_bytes: int) -> None:
    objects = [log_object(name, size_bytes) for name in "abc"]
    with closing(FirstObjects(source)) as first:
        for early in objects[:2]:
            first.begin(early)
        assert store.asked == [("a", 0), ("b", 0)]
        # Tasks may have them in another order.
        order = objects[::-1]
        with closing(ObjectFetcher(source, order, first=first)) as fetcher:
            for wanted in order:
                opened = fetcher.open(wanted)
                buffer = memoryview(bytearray(size_bytes + 1))
                count = 0
                while read := opened.readinto(buffer[count:]):
                    count += read
                assert count == size_bytes
    pieces = range(0, size_bytes, PIECE_BYTES)
    assert sorted(store.asked) == [(o.uri, start) for o in objects for start in pieces]


def test_an_object_that_is_read_again_is_fetched_again(store: _Store, source: Source) -> None:
    found = log_object("a", 10)
    first = FirstObjects(source)
    first.begin(found)
    for number in (1, 2):
        fetcher = ObjectFetcher(source, [found], first=first)
        assert fetcher.open(found).fetch_first() == bytes(10)
        assert len(store.asked) == number


def test_their_number_and_size_are_bounded(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "AHEAD_OBJECTS", 3)
    first = FirstObjects(source)
    assert [first.begin(log_object(name, 1)) for name in "abc"] == [True, True, False]
    first = FirstObjects(source)
    sizes = [("a", PIECE_BYTES - 1), ("b", PIECE_BYTES), ("c", 1)]
    assert [first.begin(log_object(*both)) for both in sizes] == [True, True, False]
    # Of a larger one only the first piece is fetched.
    first = FirstObjects(source)
    assert [first.begin(log_object(name, 3 * PIECE_BYTES)) for name in "ab"] == [True, False]


def test_an_empty_object_costs_no_request(store: _Store, source: Source) -> None:
    first = FirstObjects(source)
    assert first.begin(log_object("a", 0)) is True
    assert list(first.take(log_object("a", 0))) == []
    assert store.asked == []


def test_a_folder_is_read_when_it_is_needed(store: _Store, source: Source) -> None:
    store.is_local = True
    assert FirstObjects(source).begin(log_object("a", 10)) is False
    assert store.asked == []


def test_what_no_task_takes_is_cancelled(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: Future[bytes] = Future()
    monkeypatch.setattr(source, "_fetch", lambda *_: waiting)
    first = FirstObjects(source)
    first.begin(log_object("a", 10))
    first.close()
    assert waiting.cancelled()
