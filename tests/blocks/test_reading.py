"""A large object is unpacked a block ahead where a core is idle, and nothing else changes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from flowconv.blocks import reading
from flowconv.blocks.block import BlockEnd, LogBlock, next_block
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.reading import BeginBeside, read_blocks
from flowconv.conversion.task import Cores
from flowconv.errors import UnreadableObjectError
from flowconv.source.keys import LogObject
from support.in_memory import Stored, log_object, now_and_then

HEADER = "version account-id interface-id\n"
TEXT = HEADER + "".join(f"2 123456789012 eni-{number:017x}\n" for number in range(3000))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 10_000)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def _fail(_: LogObject, error: UnreadableObjectError) -> None:
    raise error


def _blocks(
    bodies: Sequence[bytes], begin_beside: BeginBeside, max_object_bytes: int | None = None
) -> Iterator[tuple[bytes, list[tuple[str, int, bool]]]]:
    """The text of each block, and what its spans say."""
    objects = {log_object(f"o{number}", len(body)): body for number, body in enumerate(bodies)}
    blocks = read_blocks(
        list(objects),
        lambda listed: Stored(objects[listed], 700),
        DeclaredFormats(),
        _fail,
        max_object_bytes,
        begin_beside,
    )
    end: BlockEnd | None = None
    while (block := next_block(blocks, end)) is not None:
        assert isinstance(block, LogBlock)
        spans = [(s.log_object.uri, s.first_line, s.ends_object) for s in block.spans]
        yield bytes(block.buffer[: block.size]), spans
        end = BlockEnd(block.format, block.spans[-1].first_line + 100)


BODIES = {
    "one": [TEXT.encode()],
    "between small ones": [HEADER.encode() + b"2 1 eni-1", TEXT.encode(), b"", TEXT[:900].encode()],
    "gzip": [gzip.compress(TEXT.encode()), gzip.compress(TEXT[:5000].encode())],
    "without a last newline": [TEXT[:-1].encode()],
    "as long as some blocks": [TEXT[:30_000].encode()],
}


@pytest.mark.parametrize("bodies", BODIES.values(), ids=BODIES)
def test_the_same_blocks_come(bodies: list[bytes], threads: ThreadPoolExecutor) -> None:
    wanted = list(_blocks(bodies, lambda _: None))
    assert len(wanted) > 3 or len(bodies[0]) == 30_000
    assert list(_blocks(bodies, threads.submit)) == wanted
    assert list(_blocks(bodies, now_and_then())) == wanted


@pytest.mark.parametrize(
    ("body", "max_object_bytes"),
    [
        (gzip.compress(TEXT.encode())[:-200], None),
        (gzip.compress(TEXT.encode()) + b"x", None),
        (TEXT.encode(), 50_000),
        ((TEXT + "x" * 20_000).encode(), None),
    ],
    ids=["ends early", "followed by something", "too large", "a line without end"],
)
def test_the_same_errors_come(
    body: bytes, max_object_bytes: int | None, threads: ThreadPoolExecutor
) -> None:
    found = []
    for begin_beside in (lambda _: None, threads.submit):
        came: list[Any] = []
        with pytest.raises(UnreadableObjectError) as caught:
            came.extend(_blocks([body], begin_beside, max_object_bytes))
        found.append((came, str(caught.value)))
    assert found[0] == found[1]
    assert len(found[0][0]) > 1


def test_who_stops_waits_for_what_is_being_read(threads: ThreadPoolExecutor) -> None:
    go_on = threading.Event()
    begun: list[Future[Any]] = []

    def begin_beside(call: Any) -> Future[Any]:
        begun.append(threads.submit(lambda: (go_on.wait(), call())[1]))
        return begun[-1]

    blocks = _blocks([TEXT.encode()], begin_beside)
    next(blocks)
    threading.Timer(0.05, go_on.set).start()
    blocks.close()  # type: ignore[attr-defined]
    assert [call.done() for call in begun] == [True]


def test_cores_unpack_ahead_if_there_are_fewer_tasks() -> None:
    cores = Cores(2)
    try:

        def ahead() -> int | None:
            begun = cores.begin_unpacking(lambda: 1)
            return begun.result() if begun else None

        assert cores.run(ahead) == 1
        assert cores.run(lambda: cores.run(ahead)) is None
        assert cores.run(ahead) == 1
    finally:
        cores.close()
