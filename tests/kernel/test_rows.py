"""The native parser against the oracle: every case, every cut, every speed."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowconv.blocks.formats import KNOWN_NAMES, LogFormat, with_timestamp
from flowconv.blocks.shapes import find_header, is_timed
from flowconv.kernel.rows import RowBuilder, Speed, speeds
from flowconv.rows.parsing import kernel_columns
from oracle import reference
from support.native import Native, NativeReading, assert_as_oracle
from support.text_cases import CASES, Case

V2 = (
    b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes "
    b"start end action log-status"
)
ROW = b"2 123456789012 eni-1 10.0.0.1 10.0.0.2 443 49152 6 10 840 1768348800 1768348860 ACCEPT OK\n"
SMALL = b"srcaddr srcport start"


def format_of(header: bytes) -> LogFormat:
    tokens = tuple(header.split())
    found = find_header(tokens, frozenset(), timed=is_timed(tokens[0]))
    assert found is not None
    return found


def read(
    header: bytes,
    text: bytes,
    *,
    speed: Speed = Speed.BEST,
    stretch_bytes: int = 0,
    cuts: tuple[int, ...] = (),
) -> Native:
    """Read what follows a header, in pieces that end at line ends behind `cuts`."""
    reading = NativeReading(format_of(header), speed, stretch_bytes, line=2)
    start = 0
    for cut in (*sorted(cuts), len(text)):
        stop = text.find(b"\n", max(cut - 1, start)) + 1 or len(text)
        if stop > start:
            reading.read(text[start:stop])
            start = stop
    return reading.finish()


def judge(header: bytes, text: bytes, **how: object) -> None:
    expected = reference.read_object(header + b"\n" + text, time_type="epoch")
    assert_as_oracle(read(header, text, **how), expected, header=1)  # type: ignore[arg-type]


@pytest.fixture(params=speeds(), ids=lambda speed: speed.name.lower())
def speed(request: pytest.FixtureRequest) -> Speed:
    found: Speed = request.param
    return found


def headed(case: Case) -> bool:
    body: bytes = case.body
    tags = b"tag" in body.partition(b"\n")[0]
    return case.format is None and body[:1] not in b"\n#\xef" and not tags


@pytest.mark.parametrize("stretch_bytes", [1, 64, 200, 0])
@pytest.mark.parametrize("case", [c for c in CASES if headed(c)], ids=lambda case: case.id)
def test_case(case: Case, stretch_bytes: int, speed: Speed) -> None:
    body: bytes = case.body
    header, _, text = body.partition(b"\n")
    judge(header, text, speed=speed, stretch_bytes=stretch_bytes)


TOKENS = st.one_of(
    st.sampled_from(
        [
            *(b"-", b"0", b"7", b"65535", b"65536", b"007", b"-0", b"-1", b"+1", b"1.5", b"0x1"),
            *(b"12345678", b"123456789", b"1234567890123456", b"12345678901234567", b"x"),
            *(b"9223372036854775807", b"9223372036854775808", b"0000000000000000000000001"),
            *(b"253402300799", b"253402300800", b"253402300799999", b"253402300800000"),
            *(b"#", b"#a", b"a#", b"srcaddr", b"srcport", b"start", b"${end}", b"OK", b"\xff"),
            *(b"\xc3\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"a\rb", b"\0"),
            *(b"a" * 31, b"a" * 32, b"a" * 33, b"a" * 32 + b"b", b"a" * 64, b"a" * 200),
        ]
    ),
    st.binary(min_size=1, max_size=6),
)
GAPS = st.sampled_from([b" "] * 8 + [b"  ", b"\t", b" \t ", b""])
ENDS = st.sampled_from([b"\n"] * 6 + [b"\r\n", b" \n", b" #c\n", b"\n\n"])
PLAIN = st.sampled_from([b"a 1 2\n", b"- - -\n", b"10.0.0.1 443 1768348800\n", b"a - 3\n"])
ODD = st.builds(
    lambda parts, end: b"".join(gap + token for gap, token in parts)[:400] + end,
    st.lists(st.tuples(GAPS, TOKENS), min_size=1, max_size=7),
    ENDS,
)
TEXTS = st.lists(st.one_of(PLAIN, PLAIN, ODD), max_size=40).map(b"".join)


@given(text=TEXTS, cut=st.integers(0, 500), stretch_bytes=st.integers(0, 300))
def test_any_text_is_read_as_the_oracle_reads_it(text: bytes, cut: int, stretch_bytes: int) -> None:
    try:
        reference.read_object(SMALL + b"\n" + text)
    except reference.Unreadable:  # A header in it is none that can be.
        return
    for speed in speeds():
        judge(SMALL, text, speed=speed, stretch_bytes=stretch_bytes, cuts=(cut,))


DIGITS = st.sampled_from([1, 2, 5, 7, 8, 9, 10, 13, 16, 17, 20]).flatmap(
    lambda count: st.text("0123456789", min_size=count, max_size=count)
)
NUMBERS = st.one_of(DIGITS, DIGITS, st.sampled_from(["-", "0", "443", "1768348800", "4x", "-1"]))


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_numbers_of_any_lengths_beside_each_other(rows: list[tuple[str, ...]]) -> None:
    text = "".join(" ".join(row) + "\n" for row in rows).encode()
    for speed in speeds():
        judge(b"srcport bytes start", text, speed=speed)


def test_every_cut(speed: Speed) -> None:
    text = (
        ROW + ROW.replace(b" ", b"  ") + b"\n# c\n" + ROW[:-1] + b"\r\n" + ROW[:-4] + b"\n"
        + ROW.replace(b"eni-1", "éni".encode()) + ROW.replace(b" 6 ", b" 256 ") + ROW[:-1]
    )  # fmt: skip
    whole = read(V2, text, speed=speed)
    judge(V2, text, speed=speed)
    for cut in range(1, len(text)):
        assert read(V2, text, speed=speed, cuts=(cut,)) == whole
        assert read(V2, text, speed=speed, stretch_bytes=cut) == whole


def test_every_place_of_an_odd_byte(speed: Speed) -> None:
    text = ROW * 3
    for byte in (b"\t", b"\r", b"#", b" ", b"\n", b"\xff", b"\xc3\xa9", b"\0"):
        for place in range(0, len(text), 1):
            judge(V2, text[:place] + byte + text[place:], speed=speed)


@pytest.mark.parametrize("header", [b"srcaddr action", b"srcaddr dstaddr pkt-srcaddr"])
@given(data=st.data())
def test_texts_alone(header: bytes, data: st.DataObject) -> None:
    names = [b"srcaddr", b"action", b"${dstaddr}", b"a", b"-", b"pkt-srcaddr", b"PKT_SRCADDR"]
    line = st.lists(st.sampled_from(names), min_size=1, max_size=4).map(b" ".join)
    text = b"\n".join(data.draw(st.lists(line, max_size=10)))
    try:
        reference.read_object(header + b"\n" + text)
    except reference.Unreadable:
        return
    judge(header, text)


TIMES = [
    *(b"2026-01-14T00:00:00Z", b"2026-01-14T00:00:00.123Z", b"2026-02-30T00:00:00.000Z"),
    *(b"1969-12-31T23:59:59.999Z", b"2024-02-29T23:59:60Z", b"2000-02-29T12:00:00.001Z"),
    *(b"2026-1-14T00:00:00Z", b"2026-01-14T00:00:00", b"x", b"9999-12-31T23:59:59.999Z"),
]


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(TIMES),
            st.sampled_from([b" a 1 2", b" - - -", b"", b" ", b" #", b" a", b" a 1 x"]),
        ),
        max_size=30,
    )
)
def test_exports(lines: list[tuple[bytes, bytes]]) -> None:
    text = b"".join(time + values + b"\n" for time, values in lines)
    first = TIMES[0] + b" a 1 2\n"
    expected = reference.read_object(
        first + text, format="${srcaddr} ${srcport} ${start}", time_type="epoch"
    )
    for speed in speeds():
        reading = NativeReading(with_timestamp(format_of(SMALL)), speed)
        reading.read(first + text)
        got = reading.finish()
        assert_as_oracle(got, expected)
        assert got.times == [
            -1 if row.logged is None else round(row.logged.timestamp() * 1000)
            for row in expected.rows
        ]


def test_many_distinct_texts_and_a_dictionary_of_both_kinds(speed: Speed) -> None:
    random_ = random.Random(7)
    lengths = (1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 300)
    values = [f"{n}-".ljust(random_.choice(lengths), "x") for n in range(5000)]
    rows = random_.choices(values, k=20_000)
    text = "".join(f"{value} 1 2\n" for value in rows).encode()
    builder = RowBuilder(kernel_columns(format_of(SMALL)), speed=speed)
    builder.append(text)
    found: Any = builder.take().batch["srcaddr"]
    assert found.to_pylist() == rows
    assert found.dictionary.to_pylist() == list(dict.fromkeys(rows))


def test_truncated_rows_leave_nothing_behind(speed: Speed) -> None:
    builder = RowBuilder(kernel_columns(format_of(SMALL)), speed=speed)
    builder.append(b"a 1 2\n" * 20 + b"- - -\n" * 20)
    builder.truncate(13)
    builder.append(b"b 3 4\n" * 30)
    rows = builder.take()
    assert rows.batch.to_pylist() == (
        [{"srcaddr": "a", "srcport": 1, "start": 2}] * 13
        + [{"srcaddr": "b", "srcport": 3, "start": 4}] * 30
    )


def test_arrays_outlive_the_builder() -> None:
    builder = RowBuilder(kernel_columns(format_of(SMALL)))
    builder.append(b"a 1 2\n" * 1000)
    rows = builder.take()
    builder.append(b"b 3 4\n")
    del builder
    assert rows.batch["srcport"].to_pylist() == [1] * 1000
    assert rows.batch["srcaddr"].to_pylist() == ["a"] * 1000


def test_a_text_of_nothing_but_questions_is_read_in_time() -> None:
    reading = NativeReading(format_of(SMALL))
    reading.read(b"a\n" * 20_000)
    assert len(reading.finish().rejected) == 20_000


def test_the_next_batch_knows_the_texts_of_the_last(speed: Speed) -> None:
    builder = RowBuilder(kernel_columns(format_of(SMALL)), speed=speed)
    builder.append(b"a 1 2\nb 1 2\n")
    first = builder.take()
    assert len(builder) == 0
    builder.append(b"c 3 4\nb - 4\n")
    second: Any = builder.take().batch
    assert second.to_pylist() == [
        {"srcaddr": "c", "srcport": 3, "start": 4},
        {"srcaddr": "b", "srcport": None, "start": 4},
    ]
    assert second["srcaddr"].dictionary.to_pylist() == ["a", "b", "c"]
    builder.append(b"d 5 6\n")
    assert first.batch["srcaddr"].to_pylist() == ["a", "b"]
    assert builder.take().batch["srcaddr"].to_pylist() == ["d"]


def test_batches_share_the_texts_that_they_have_in_common(speed: Speed) -> None:
    builder = RowBuilder(kernel_columns(format_of(SMALL)), speed=speed)
    texts: list[str] = []
    batches: list[Any] = []
    for rows in (1, 1, 1000, 1, 0):
        added = [f"text {len(texts) + row}".replace(" ", "-") for row in range(rows)]
        builder.append("".join(f"{text} 1 2\n" for text in added).encode())
        batches.append(builder.take().batch["srcaddr"])
        texts += added
    del builder
    assert batches.pop().to_pylist() == []
    last = batches[-1].dictionary
    # Between the second and the third they were moved to where there is room for more.
    for place, batch in enumerate(batches):
        assert batch.dictionary.to_pylist() == texts[: len(batch.dictionary)]
        is_there = [a.address for a in batch.dictionary.buffers()[1:]] == [
            a.address for a in last.buffers()[1:]
        ]
        assert is_there == (place >= 2)


@pytest.mark.parametrize(
    "texts", [[str(n) for n in range(140_000)], [f"{n}".ljust(50_000, "x") for n in range(90)]]
)
def test_very_many_texts_are_forgotten(texts: list[str]) -> None:
    builder = RowBuilder(kernel_columns(format_of(SMALL)))
    builder.append("".join(f"{text} 1 2\n" for text in texts).encode())
    assert builder.take().batch["srcaddr"].to_pylist() == texts
    builder.append(b"a 1 2\n")
    found: Any = builder.take().batch["srcaddr"]
    assert found.dictionary.to_pylist() == ["a"]


@given(
    texts=st.lists(TEXTS | TEXTS.map(bytes.rstrip), min_size=1, max_size=8),
    gap=st.integers(0, 99),
)
def test_parts_are_read_as_texts_are(texts: list[bytes], gap: int) -> None:
    """Up to the first that has a question or lines that do not fit, and that one too."""
    format_ = format_of(SMALL)
    whole, parts = b"", []
    for number, text in enumerate(texts):
        whole += b"x" * gap
        parts.append((len(whole), len(text), 1 + 10 * number))
        whole += text
    together, alone = (RowBuilder(kernel_columns(format_), names=KNOWN_NAMES) for _ in range(2))
    found = together.append_parts(whole, np.array(parts, np.int64))
    for place, (part, text) in enumerate(zip(found, texts, strict=False)):
        wanted = alone.append(text, first_line=1 + 10 * place)
        assert part[:-1] == wanted[:-1]
        assert part.rejected.tolist() == wanted.rejected.tolist()
        is_odd = part.question or len(part.rejected) > 0
        assert is_odd <= (place == len(found) - 1)
    assert len(found) == len(texts) or is_odd
    got, expected = together.take(), alone.take()
    assert got.batch.equals(expected.batch)
    assert got.lines.tolist() == expected.lines.tolist()


def test_parts_that_are_too_large() -> None:
    builder = RowBuilder(kernel_columns(format_of(SMALL)))
    parts = np.array([(0, 6, 1), (0, 1 << 31, 1), (0, 6, 1)], np.int64)
    with pytest.raises(OverflowError, match="of text"):
        builder.append_parts(b"a 1 2\n", parts)
