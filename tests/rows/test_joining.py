"""Batches of few rows become one."""

from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from flowconv.blocks.block import Events
from flowconv.blocks.formats import declared_format
from flowconv.rows import joining
from flowconv.rows.batch import RawBatch
from flowconv.rows.joining import BatchJoiner
from support.in_memory import log_object

PORTS = declared_format("srcaddr srcport start")
TIMES = declared_format("srcaddr start end")


def batch(name: str, texts: Any, numbers: list[int | None], *, is_ports: bool = True) -> RawBatch:
    format_ = PORTS if is_ports else TIMES
    numbers_: Any = pa.array(numbers, pa.int32() if is_ports else pa.int64())
    columns = [texts, numbers_, pa.array(range(len(numbers)), pa.int64())]
    return RawBatch(
        format=format_,
        table=pa.table(columns, names=list(format_.columns)),
        sources=((log_object(name), len(numbers)),),
        lines=np.arange(1, len(numbers) + 1),
    )


def rows_of(batches: list[RawBatch]) -> list[tuple[Any, ...]]:
    """Each row with its object, its line and its format."""
    rows = []
    for b in batches:
        b.table.validate(full=True)
        uris = [source.uri for source, count in b.sources for _ in range(count)]
        values = (tuple(row.values()) for row in b.table.to_pylist())
        events: list[Any] = [None] * len(uris)
        if b.events is not None:
            owners = [b.events.accounts[n] if n >= 0 else None for n in b.events.owners]
            events = list(zip(b.events.times.tolist(), owners, strict=True))
        rows += [
            (uri, line, b.format.names, event, *row)
            for uri, line, event, row in zip(uris, b.lines.tolist(), events, values, strict=True)
        ]
    return rows


def joined(batches: list[RawBatch]) -> list[RawBatch]:
    joiner = BatchJoiner()
    out = [b for given_ in batches for b in joiner.add(given_)]
    return [*out, *joiner.take()]


TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", "", "é"]), max_size=6)


ACCOUNTS = st.none() | st.lists(st.sampled_from("123"), max_size=3, unique=True)


@given(st.lists(st.tuples(TEXTS, st.booleans(), st.booleans(), ACCOUNTS), max_size=12))
def test_rows_stay_as_they_are(
    drawn: list[tuple[list[str | None], bool, bool, list[str] | None]],
) -> None:
    batches = []
    for number, (texts, is_coded, is_ports, drawn_accounts) in enumerate(drawn):
        array: Any = pa.array(texts, pa.string())
        array = array.dictionary_encode() if is_coded else array
        made = batch(str(number), array, [n if n % 3 else None for n in range(len(texts))],
                     is_ports=is_ports)  # fmt: skip
        if drawn_accounts is not None:
            owners = np.array([n % (len(drawn_accounts) + 1) - 1 for n in range(len(texts))], int)
            times = np.arange(number, number + len(texts))
            made = made._replace(events=Events(times, owners, tuple(drawn_accounts)))
        batches.append(made)
    with mock.patch.object(joining, "ENOUGH_ROWS", 10):
        got = joined(batches)
    assert rows_of(got) == rows_of(batches)


def test_how_many_are_joined() -> None:
    texts = pa.array(["a", "b"]).dictionary_encode()
    small = [batch(f"{n}", texts, [1, 2]) for n in range(9)]
    (one,) = joined(small)
    assert (one.table.num_rows, len(one.sources)) == (18, 9)
    column: Any = one.table["srcaddr"]
    assert column.num_chunks == 1
    assert column.chunk(0).dictionary.to_pylist() == ["a", "b"]
    with mock.patch.object(joining, "ENOUGH_ROWS", 6):
        assert [b.table.num_rows for b in joined(small)] == [6, 6, 6]
    with mock.patch.object(joining, "_MOST_BYTES", 100):
        assert all(b.table.num_rows < 18 for b in joined(small))
    other = batch("other", texts, [1, 2], is_ports=False)
    assert [b.table.num_rows for b in joined([*small[:2], other, *small[:3]])] == [4, 2, 6]
    assert joined([]) == []
