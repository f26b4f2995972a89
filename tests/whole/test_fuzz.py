"""Damaged objects and damaged lakes: right rows, or a reason; never a traceback or a wrong count.

FLOWCONV_EXAMPLES=1000 adds so many examples to each test.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowconv
from flowconv.errors import FlowconvError
from support.commands import invoke
from support.exactly_once import LocalLake, Rows, body, scanned, write_object
from support.examples import MORE_EXAMPLES
from support.in_memory import assert_as_reference
from support.lakes import ROW, V2, killed_run

# --- damaged bytes ------------------------------------------------------------------------------

PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            *(b"\0", b"\0" * 600, b"\xff", b"\n", b"\r", b"\r\n", b" ", b"\t", b"#", b"-", b"\x1a"),
            *(b"\x1f\x8b", b"\x1f\x8b\x08\0", b"\xef\xbb\xbf", b"\xfe\xff", b"PK\x03\x04", b"${"),
            *(V2, ROW, V2[:40], ROW[:40], b"x" * 100_000, b"9" * 5000, b"%FF", b"NaN", b"\xc2\x85"),
        ]
    ),
)


@st.composite
def damaged(draw: st.DrawFn, wholes: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that something happened to, once or a few times."""
    changed = draw(wholes)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(changed)))
        stop = min(len(changed), start + draw(st.sampled_from([1, 1, 2, 8, 100, 1 << 30])))
        before, middle, after = changed[:start], changed[start:stop], changed[stop:]
        bit = draw(st.integers(0, 7))
        changed = {
            "flipped": before + bytes(byte ^ 1 << bit for byte in middle[:8]) + middle[8:] + after,
            "lost": before + after,
            "twice": before + middle + middle + after,
            "zeros": before + bytes(len(middle)) + after,
            "inserted": before + draw(PIECES) + middle + after,
            "cut": before,
        }[
            draw(
                st.sampled_from(["flipped", "flipped", "lost", "twice", "zeros", "inserted", "cut"])
            )
        ]
    return changed


LOGS = st.sampled_from(
    [
        V2 + 3 * ROW,
        V2 + ROW + b"\n# by hand\n" + ROW + V2 + ROW,
        b"srcaddr new-field start\r\n10.0.0.1 x 1768348800\r\n- - -\r\n",
        b"version resource-type account-id tgw-id\n6 TransitGateway 123456789012 tgw-1\n",
        b"instance-tag tcp-flags\na%20b 19\n%zz 2147483648\n",
        V2 + 40 * ROW[:-1].replace(b"eni-1", "eni-é".encode()) + b"\n",
    ]
)


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """Gzip of several members, some with a name, perhaps with something between them."""
    text = draw(LOGS)
    place = draw(st.integers(0, len(text)))
    level = draw(st.sampled_from([0, 1, 9]))
    between = draw(st.one_of(st.just(b""), st.just(b""), PIECES))
    after = draw(st.one_of(st.just(b""), st.just(b""), PIECES))
    head = b"\x1f\x8b\x08\x08\0\0\0\0\x02\xffname.log\0"
    named = gzip.compress(text[place:], level)
    named = head + named[10:] if draw(st.booleans()) else named
    return gzip.compress(text[:place], level, mtime=0) + between + named + after


NEIGHBOUR = gzip.compress(V2 + 2 * ROW)


@given(damaged(members()), st.sampled_from([2, 7, 1 << 20]))
@settings(max_examples=200 + MORE_EXAMPLES)
def test_damaged_gzip(stored: bytes, piece_bytes: int) -> None:
    assert_as_reference([NEIGHBOUR, stored, NEIGHBOUR], piece_bytes=piece_bytes)


@given(damaged(LOGS), st.booleans(), st.sampled_from([None, "default", "srcaddr new-field start"]))
@settings(max_examples=200 + MORE_EXAMPLES)
def test_damaged_text(text: bytes, is_gzip: bool, format: str | None) -> None:
    stored = gzip.compress(text, 1) if is_gzip else text
    assert_as_reference([NEIGHBOUR, stored, NEIGHBOUR], format)


def test_byte_order_marks_within() -> None:
    """At the beginning of a block they are no less a part of a value than elsewhere."""
    mark = b"\xef\xbb\xbf"
    for log in (
        V2 + mark + ROW,
        b"srcaddr start\n" + mark + b"10.0.0.1 5\n",
        mark + V2 + mark + ROW,
    ):
        assert_as_reference([log])
        assert_as_reference([NEIGHBOUR, log, NEIGHBOUR])
    assert_as_reference([b"a,b new-field start\nx y 1768348800\n"], "a-b new-field start")


@given(st.lists(st.one_of(PIECES, st.binary(max_size=300)), max_size=6).map(b"".join))
@settings(max_examples=100 + MORE_EXAMPLES)
def test_anything(stored: bytes) -> None:
    raw = zlib.compressobj(wbits=-15)
    deflated = raw.compress(stored) + raw.flush()
    frame = gzip.compress(b"")[:10] + deflated + stored[:8].ljust(8, b"\0")
    assert_as_reference([NEIGHBOUR, stored, frame, V2 + stored, NEIGHBOUR])


# --- damaged lakes ------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False, kw_only=True)
class Story:
    """A lake whose last run was killed, and what it holds.

    Attributes:
        source: All objects; some were not converted when the run was killed.
        lake: The lake.
        before: Its rows, as they are.
        after: Its rows, once all objects are converted.
        status: What `status` says of it.
        rejected: Reason -> lines in its quarantine.
        all_rejected: The same, once all objects are converted.
    """

    source: Path
    lake: LocalLake
    before: Rows
    after: Rows
    status: dict[str, Any]
    rejected: dict[str, int]
    all_rejected: dict[str, int]

    def __repr__(self) -> str:
        return "story"

    def files(self) -> list[str]:
        return sorted(name for name in self.lake.names() if name.startswith("_flowconv/"))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Two checkpoints, then records, then a run that was killed: its lock, note and files."""
    folder = tmp_path_factory.mktemp("story")
    source, lake = folder / "logs", LocalLake(folder / "lake")
    for run, merge in enumerate((1, 1, 64, 64)):
        for number in range(3):
            write_object(source, 3 * run + number, body(f"eni-{run}-{number}", bad_lines=number))
        with mock.patch("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", merge):
            if run < 3:
                flowconv.convert(str(source), lake.url)
            else:
                killed_run(source, Path(lake.url))
    calm = LocalLake(folder / "calm")
    flowconv.convert(str(source), calm.url)
    found = Story(
        source=source,
        lake=lake,
        before=scanned(lake),
        after=scanned(calm),
        status={},
        rejected={},
        all_rejected={},
    )
    shown = command("status", lake.url)
    quarantine = command("quarantine", lake.url)
    assert len(found.files()) > 15
    assert {name.split("/")[1] for name in found.files()} >= {
        *("lake.json", "lock.json", "ledger", "intents", "quarantine")
    }
    return replace(
        found,
        status=totals(shown),
        rejected=quarantine["reasons"],
        all_rejected=command("quarantine", calm.url)["reasons"],
    )


def command(*arguments: str) -> Any:
    """Run a command, which must succeed or say what is wrong; return its JSON, None if it failed.

    Exit code 3 is a success: it says that something was found.
    """
    result = invoke([*arguments, "--json"])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    assert result.exit_code in (0, 1, 3), result.output
    shown = json.loads(result.stdout)
    if result.exit_code == 1:
        assert result.stderr.startswith("error: /")
        assert "Traceback" not in result.stderr
        assert shown["error"]
        return None
    return shown | {"exit_code": result.exit_code}


def totals(status: dict[str, Any]) -> dict[str, Any]:
    return {key: status[key] for key in ("objects", "rows", "files", "rejected", "partitions")}


def replace_json(content: bytes, chance: random.Random) -> bytes:
    """Valid JSON with another value somewhere."""
    try:
        whole = json.loads(content)
    except ValueError:
        return chance.choice([b"{}", b"[]", b"null", b"3", b'"x"', b'{"kind": "commit"}'])
    place: Any = None
    key: Any = None
    value = whole
    while isinstance(value, dict | list) and value:
        place = value
        key = chance.choice(sorted(value) if isinstance(value, dict) else range(len(value)))
        value = value[key]
    other: Any = chance.choice(
        [None, 0, -1, 1e400, "", "x", "../../x", [], {}, [[]], {"a": 1}, True]
    )
    if isinstance(value, int) and chance.random() < 0.5:
        other = value + 1
    if place is None:
        return json.dumps(other).encode()
    place[key] = other
    return json.dumps(whole, separators=(",", ":")).encode()


def flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(max(1, len(content)))
    return (
        content[:place]
        + bytes(byte ^ 1 << chance.randrange(8) for byte in content[place : place + 1])
        + (content[place + 1 :])
    )


DAMAGE: dict[str, Callable[[Path, Path, random.Random], object]] = {
    "deleted": lambda path, other, chance: path.unlink(),
    "emptied": lambda path, other, chance: path.write_bytes(b""),
    "cut": lambda path, other, chance: os.truncate(
        path, chance.randrange(max(1, path.stat().st_size))
    ),
    "flipped": lambda path, other, chance: path.write_bytes(flip(path.read_bytes(), chance)),
    "zeros": lambda path, other, chance: path.write_bytes(bytes(path.stat().st_size)),
    "other JSON": lambda path, other, chance: path.write_bytes(
        chance.choice([b"{}", b"[]", b"null", b"3", b'"x"', b"[1]", b'{"paths": ["lake.json"]}'])
    ),
    "other value": lambda path, other, chance: path.write_bytes(
        replace_json(path.read_bytes(), chance)
    ),
    "swapped": lambda path, other, chance: swap(path, other),
    "copied": lambda path, other, chance: path.write_bytes(other.read_bytes()),
    "a folder": lambda path, other, chance: make_folder(path),
}


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def swap(path: Path, other: Path) -> None:
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


COMMANDS = ("status", "quarantine", "scan", "verify", "repair", "convert")


@given(
    how=st.sampled_from(sorted(DAMAGE)),
    which=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 1 << 32),
    commands=st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=4),
)
@settings(max_examples=20 + MORE_EXAMPLES)
def test_damaged_lake(story: Story, how: str, which: float, seed: int, commands: list[str]) -> None:
    files = story.files()
    name, chance = files[int(which * len(files))], random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, mock.patch("flowconv.lake.locking.SETTLE_S", 0):
        lake = LocalLake(Path(folder, "lake"))
        shutil.copytree(story.lake.url, lake.url)
        DAMAGE[how](Path(lake.url, name), Path(lake.url, chance.choice(files)), chance)
        try:
            Trial(story, lake).run([*commands, "convert", "verify"])
        except BaseException as error:
            error.add_note(f"{name} {how}, then {', '.join(commands)}")
            raise


class Trial:
    """Commands over a damaged lake: each may refuse, but what it says must be right."""

    def __init__(self, story: Story, lake: LocalLake) -> None:
        self.story = story
        self.lake = lake
        self.rows, self.totals = story.before, story.status
        self.rejected: dict[str, int] = story.rejected
        self.is_known = True

    def run(self, commands: list[str]) -> None:
        for name in commands:
            getattr(self, name)()

    def status(self) -> None:
        shown = command("status", self.lake.url)
        assert shown is None or not self.is_known or totals(shown) == self.totals

    def quarantine(self) -> None:
        shown = command("quarantine", self.lake.url)
        assert shown is None or not self.is_known or shown["reasons"] == self.rejected

    def scan(self) -> None:
        try:
            flowconv.scan(self.lake.url)
        except FlowconvError:
            return
        assert not self.is_known or scanned(self.lake) == self.rows

    def verify(self) -> None:
        found = command("verify", self.lake.url, "--source", str(self.story.source))
        if found is not None and found["exit_code"] == 0:
            assert scanned(self.lake) == self.story.after

    def repair(self) -> None:
        found = command("verify", self.lake.url, "--source", str(self.story.source), "--repair")
        if found is None or found["forgotten"] or "missing-record" in found["kinds"]:
            self.is_known = False  # There may be less, until the next run.

    def convert(self) -> None:
        report = command("convert", str(self.story.source), self.lake.url)
        if report is None:
            return
        assert report["exit_code"] == (3 if report["rejected"] else 0)
        assert scanned(self.lake) == self.story.after
        self.rows, self.is_known = self.story.after, True
        # A run needs neither the lines of the quarantine nor the runs before it.
        if shown := command("status", self.lake.url):
            assert shown["rows"] == sum(self.story.after.values())
            self.totals = totals(shown)
        if shown := command("quarantine", self.lake.url):
            assert shown["reasons"] == self.story.all_rejected
        self.rejected = self.story.all_rejected
