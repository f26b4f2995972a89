"""JSON -> messages: what the native core reads must be what is read one by one."""

import json
import re
from itertools import groupby
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowconv.blocks.json_documents import MOST_LEVELS, Stretch
from flowconv.blocks.json_messages import Lines, read_messages, read_one_by_one
from flowconv.blocks.shapes import Shape
from flowconv.kernel.messages import Kind, MessageReader
from support.examples import MORE_EXAMPLES

DATA = (
    '{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logEvents":'
    '[{"id":"7","timestamp":5,"message":"2 a"},{"id":"8","timestamp":6,"message":"2 b"}]}'
)
CONTROL = '{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logEvents":[{"message":"x"}]}'
SINGLE = '{"message":"2 c"}'


def read(text: str | bytes, *, are_events: bool = False) -> tuple[list[Any], int]:
    """What the core reads, and what of the text it leaves."""
    encoded = text.encode() if isinstance(text, str) else text
    runs, stop = MessageReader().read(encoded, 0, are_events=are_events)
    values = [(run.kind, run.log_group, run.owner, run.text, run.times.tolist()) for run in runs]
    return values, len(encoded) - stop


def flat(parts: list[Lines]) -> tuple[list[object], list[Shape | None]]:
    """Each line with all that is known of it, and the shapes as they follow one another."""
    found: list[object] = []
    for lines in parts:
        texts = lines.text.split(b"\n")
        assert texts.pop() == b""
        assert len(texts) == lines.count
        assert lines.may_hold_header or not any(map(re.compile(rb"[ \t]*[$A-Za-z]").match, texts))
        times = owners = [None] * len(texts)
        if lines.events is not None:
            times = lines.events.times.tolist()
            accounts = [*lines.events.accounts, None]
            owners = [accounts[owner] for owner in lines.events.owners.tolist()]
        facts = (lines.log_group, lines.are_messages)
        found += [(*facts, *line) for line in zip(texts, times, owners, strict=True)]
    return found, [shape for shape, _ in groupby(parts, lambda lines: lines.shape)]


@pytest.mark.parametrize("between", ["", "\n", " ", "\r\n \t"])
def test_documents(between: str) -> None:
    text = between.join([DATA, SINGLE, DATA.replace('"g"', '"h"'), CONTROL, DATA, DATA])
    data = (b"2 a\n2 b\n", [5, 6])
    twice = (b"2 a\n2 b\n2 a\n2 b\n", [5, 6, 5, 6])
    assert read(text + between) == (
        [
            (Kind.LOG_EVENTS, "g", "1", *data),
            (Kind.SINGLE, None, None, b"2 c\n", [-1]),
            (Kind.LOG_EVENTS, "h", "1", *data),
            (Kind.LOG_EVENTS, None, None, b"", []),
            (Kind.LOG_EVENTS, "g", "1", *twice),
        ],
        0,
    )


@pytest.mark.parametrize(
    ("escaped", "lines", "times"),
    [
        (r"\"\\\/\b\f\n\r\t.", b'"\\/\b\f\n\r\t.\n', [5, 5]),
        (r"\u0041\u00e9\u20AC\ud83d\uDE00\u0000", "A\u00e9\u20ac\U0001f600\0\n".encode(), [5]),
        ("", b"\n", [5]),
        (r"\n\r\n", b"\n", [5]),
        (r"a\n\nb\r\n", b"a\n\nb\n", [5, 5, 5]),
        ("x" * 100 + r"\t" + "y" * 7, b"x" * 100 + b"\t" + b"y" * 7 + b"\n", [5]),
    ],
)
def test_what_a_message_says(escaped: str, lines: bytes, times: list[int]) -> None:
    text = DATA.replace("2 a", escaped).replace("2 b", "2")
    assert read(text) == ([(Kind.LOG_EVENTS, "g", "1", lines + b"2\n", [*times, 6])], 0)


@pytest.mark.parametrize(
    "unusual",
    [
        *('{"message":"\\ud83d"}', '{"message":"\\ude00\\ud83d"}', '{"message":"\\x"}'),
        *('{"message":"\n"}', '{"message":"a","message":"b"}', '{"m\\u0065ssage":"a"}'),
        *('{"message":"a",}', '{"message":"a","b":01}', '{"message":"a","b":- 1}'),
        *('{"message":"a","b":1e999}', '{"message":"a","b":NaN}', '{"message":"a","b":[1,]}'),
        *('{"message":1}', '{"message":"a","logEvents":[]}', '{"logEvents":[{"id":1}]}'),
        *('{"logEvents":[null]}', '{"logEvents":[{"message":"a","timestamp":1.5}]}'),
        *('{"message":"a","b":' + "[" * 64 + "]" * 64 + "}", '{"records":[]}', "{}", "[", "{"),
        *('{"message":"a","owner":7}', '{"messageType":"OTHER","message":"a"}', '{"a":1}', '{"a"'),
        *(b'{"message":"\xff"}', '\ufeff{"message":"a"}', '{"message":"a"', '{"message":"\\u00'),
    ],
)
def test_what_is_unusual_is_left_with_all_of_its_line(unusual: str | bytes) -> None:
    rest = unusual.encode() if isinstance(unusual, str) else unusual
    single = SINGLE.encode()
    found = [(Kind.SINGLE, None, None, b"2 c\n", [-1])]
    assert read(single + b" \r\n" + rest)[0] == (found if rest.startswith(b"{") else [])
    if rest.startswith(b"{"):
        assert read(single + b"\n" + single + rest + single) == (found, 2 * len(single) + len(rest))
    for text in (rest, single + b"\n" + rest + b"\n" + single, single + rest + single + b"\n{"):
        stretch = Stretch(text)
        assert flat(list(read_messages(stretch))) == flat(list(read_one_by_one(stretch)))


@pytest.mark.parametrize(
    "around", ['{"message":"a","b":%s}', '{"logEvents":[{"message":"a","b":%s}]}']
)
@pytest.mark.parametrize(("opened", "closed"), ["[]", ('{"c":', "}")])
def test_what_is_read_has_as_many_levels_as_python_reads(
    around: str, opened: str, closed: str
) -> None:
    own = around.count("{") + around.count("[")
    for levels, is_read in ((MOST_LEVELS, True), (MOST_LEVELS + 1, False)):
        inner = levels - own
        text = around % (opened * inner + "1" + closed * inner)
        assert bool(read(text)[0]) == is_read
        (lines,) = read_one_by_one(Stretch(text.encode()))
        assert lines.are_messages == is_read


def test_the_time_of_one_message_counts_among_events() -> None:
    text = '{"timestamp":7,"message":"a\\nb","c":{"d":[true,false,null,-1.5,"e"]}}'
    assert read(text)[0] == [(Kind.SINGLE, None, None, b"a\nb\n", [-1, -1])]
    assert read(text, are_events=True)[0] == [(Kind.SINGLE, None, None, b"a\nb\n", [7, 7])]


def test_a_line_that_may_be_a_header() -> None:
    for message in ("version", " 2", "\\t", "$x", "2\\na"):
        (run,), _ = MessageReader().read(b'{"message":"%s"}' % message.encode(), 0, are_events=True)
        assert run.may_hold_header
    (run,), _ = MessageReader().read(b'{"message":"2 a"}', 0, are_events=True)
    assert not run.may_hold_header


# --- any documents ------------------------------------------------------------------------------

ODD = [
    *('"\\ud83d"', '"\\u12"', '"\\q"', '"\t"', "1.5", "01", "-", "-0", "1e5", "1e999", "1" * 30),
    *("NaN", "tru", "null", "[]", "{}", '[{"message":"m"}]', "[null]", '{"a":1,"a":2}', '"\\ud83d'),
    *("[" * 40 + "]" * 40, '["', '{"message"', '""', '" "', "7", "true", '"DATA_MESSAGE"'),
]
MESSAGES = ["2 a", "version action", "", "\n", "a\r\n", "a\nb", "\u20ac\U0001f600\0", '"\\', " x"]
numbers = st.integers(-2, 1 << 64).map(str)
messages = st.sampled_from(MESSAGES)
texts = st.builds(json.dumps, messages, ensure_ascii=st.booleans())
odd = st.sampled_from(ODD)


def of_keys(keys: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """Objects with some of these keys, whose values are now and then of any kind."""
    member = st.sampled_from(sorted(keys)).flatmap(
        lambda key: st.builds('"{}":{}'.format, st.just(key), keys[key])
    )
    strange = st.builds('"{}":{}'.format, st.sampled_from(sorted(keys)), odd)
    members = st.lists(st.one_of(member, member, member, strange), max_size=4)
    return members.map(lambda parts: "{" + ",".join(parts) + "}")


some_event = st.one_of(
    st.builds('{{"id":"1","timestamp":{},"message":{}}}'.format, numbers, texts),
    of_keys({"message": texts, "timestamp": numbers, "id": texts}),
)
events = st.lists(some_event, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]")
names = st.sampled_from(['"g"', '"h"', '"\\u0067"', "null", '""'])
KEYS = {"message": texts, "logEvents": events, "events": events, "timestamp": numbers}
NAMES = {"owner": names, "logGroup": names, "messageType": st.just('"CONTROL_MESSAGE"')}
some_document = st.one_of(
    st.builds('{{"owner":{},"logGroup":{},"logEvents":{}}}'.format, names, names, events),
    st.builds('{{"message":{},"logGroup":{}}}'.format, texts, names),
    of_keys(KEYS | NAMES),
    of_keys({"message": texts, "records": odd, "a\\u0062": odd}),
    odd,
)
separators = st.sampled_from(["\n", "\n", "", " ", "\r\n", "\n \n\t", "\n,"])
stretches = st.lists(st.tuples(some_document, separators), max_size=5).map(
    lambda parts: "".join(map("".join, parts))
)


@settings(max_examples=150 + MORE_EXAMPLES)
@given(text=stretches, are_events=st.booleans())
@example(text='{"message":"a"}\n\n{"message":"b"}{"b"\n\n {"message":"c"}', are_events=False)
def test_any_documents(text: str, are_events: bool) -> None:
    stretch = Stretch(text.encode("utf-8", "surrogatepass"), are_events)
    assert flat(list(read_messages(stretch))) == flat(list(read_one_by_one(stretch)))


@settings(max_examples=60 + MORE_EXAMPLES)
@given(text=stretches, place=st.integers(0, 200), byte=st.sampled_from(b'\x00\n"\\{}[],:0\x80\xff'))
def test_a_byte_is_damaged(text: str, place: int, byte: int) -> None:
    damaged = bytearray((DATA + text).encode())
    damaged[min(place, len(damaged) - 1)] = byte
    stretch = Stretch(bytes(damaged))
    assert flat(list(read_messages(stretch))) == flat(list(read_one_by_one(stretch)))
