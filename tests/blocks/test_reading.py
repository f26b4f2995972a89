"""The next block is read where a core is idle, and nothing else changes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from flowconv.blocks import reading
from flowconv.blocks.block import BlockEnd, LogBlock, next_block
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.reading import BeginBeside, no_core_is_idle, read_blocks
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


def at_once(call: Callable[[], Any]) -> Future[Any]:
    """An idle core that has always done what it was asked for before the caller goes on."""
    done: Future[Any] = Future()
    try:
        done.set_result(call())
    except UnreadableObjectError as error:
        done.set_exception(error)
    return done


def _blocks(
    bodies: Sequence[bytes],
    begin_beside: BeginBeside,
    max_object_bytes: int | None = None,
    on_failure: Callable[[LogObject, UnreadableObjectError], None] = _fail,
) -> Iterator[tuple[bytes, list[tuple[str, int, bool]], int]]:
    """The text of each block, what its spans say, and its size with headers."""
    objects = {log_object(f"o{number}", len(body)): body for number, body in enumerate(bodies)}
    blocks = read_blocks(
        list(objects),
        lambda listed: Stored(objects[listed], 700),
        DeclaredFormats(),
        on_failure,
        max_object_bytes,
        begin_beside,
    )
    end: BlockEnd | None = None
    while (block := next_block(blocks, end)) is not None:
        assert isinstance(block, LogBlock)
        spans = [(s.log_object.uri, s.first_line, s.ends_object) for s in block.spans]
        assert all(span.start <= span.stop for span in block.spans)
        text = b"".join(block.buffer[s.start : s.stop] for s in block.spans)
        yield text, spans, block.text_bytes
        end = BlockEnd(block.format, block.spans[-1].first_line + 100)


BODIES = {
    "one": [TEXT.encode()],
    "between small ones": [HEADER.encode() + b"2 1 eni-1", TEXT.encode(), b"", TEXT[:900].encode()],
    "gzip": [gzip.compress(TEXT.encode()), gzip.compress(TEXT[:5000].encode())],
    "without a last newline": [TEXT[:-1].encode()],
    "as long as some blocks": [TEXT[:30_000].encode()],
    "a header without a newline": [TEXT[:9000].encode(), HEADER.strip().encode()] * 9,
    "small ones": [TEXT[: 900 + 37 * number].encode() for number in range(60)],
    "small ones of two formats": [
        (TEXT if number % 7 else "version start\n2 1700000000\n")[: 900 + 37 * number].encode()
        for number in range(60)
    ],
    "small ones whose sizes are known late": [
        gzip.compress(TEXT[: 2000 + 300 * number].encode()) + gzip.compress(b"2 1 eni-1\n")
        for number in range(30)
    ],
    "large ones behind small ones": [
        (TEXT[:25_000] if number % 5 == 4 else TEXT[:2500]).encode() for number in range(20)
    ],
}


@pytest.mark.parametrize("bodies", BODIES.values(), ids=BODIES)
def test_the_same_blocks_come(bodies: list[bytes], threads: ThreadPoolExecutor) -> None:
    wanted = list(_blocks(bodies, no_core_is_idle))
    assert len(wanted) > 3 or len(bodies[0]) == 30_000
    assert list(_blocks(bodies, threads.submit)) == wanted
    assert list(_blocks(bodies, at_once)) == wanted
    assert list(_blocks(bodies, now_and_then())) == wanted
    texts = [gzip.decompress(b) if b.startswith(b"\x1f\x8b") else b for b in bodies]
    texts = [text if text.endswith(b"\n") or not text else text + b"\n" for text in texts]
    assert sum(text_bytes for *_, text_bytes in wanted) == sum(map(len, texts))


@pytest.mark.parametrize("is_idle", [False, True])
def test_objects_that_fail_are_told_of_before_the_rows_behind_them(is_idle: bool) -> None:
    small = gzip.compress(TEXT[:3000].encode())
    damaged = small[:100] + bytes(20) + small[120:]
    bodies = [small] * 10 + [damaged] + [small] * 10 + [damaged] * 2
    came: list[str] = []
    blocks = _blocks(
        bodies,
        at_once if is_idle else no_core_is_idle,
        on_failure=lambda failed, _: came.append(f"failed {failed.uri}"),
    )
    for _, spans, _ in blocks:
        came += [uri for uri, _, _ in spans]
    listed = [f"o{number}" for number in range(23)]
    # A block has room for three: o9 waits while o10 fails, o19 and o20 while the last two do.
    assert came == [
        *listed[:9],
        f"failed {listed[10]}",
        listed[9],
        *listed[11:19],
        f"failed {listed[21]}",
        f"failed {listed[22]}",
        *listed[19:21],
    ]


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
    for begin_beside in (no_core_is_idle, threads.submit, at_once):
        came: list[Any] = []
        with pytest.raises(UnreadableObjectError) as caught:
            came.extend(_blocks([body], begin_beside, max_object_bytes))
        found.append((came, str(caught.value)))
    assert found[0] == found[1] == found[2]
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


def test_cores_read_ahead_if_there_are_fewer_tasks() -> None:
    cores = Cores(2)
    try:

        def ahead() -> int | None:
            begun = cores.begin_reading(lambda: 1)
            return begun.result() if begun else None

        assert cores.run(ahead) == 1
        assert cores.run(lambda: cores.run(ahead)) is None
        assert cores.run(ahead) == 1
    finally:
        cores.close()
