"""Several writers of a lake, and readers of it: at once, and after a pause behind their lease.

FLOWCONV_PAUSES=100 adds so many pauses at random steps to each test, over each kind of lake.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError
from flowconv.lake.converted_objects import etags
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Commit, ConvertedObject, Run
from flowconv.lake.paths import LAST_NUMBER, LEDGER, record_path
from flowconv.storage.interface import StoredFile
from flowconv.storage.local import LocalStorage
from support.exactly_once import (
    Lake,
    Rows,
    arguments,
    assert_exact,
    assert_sound,
    by_object,
    rows_of,
    scanned,
    tables,
)
from support.processes import Done, Running, Runs, Step
from support.stories import MERGE, NOT_MOTO, Story, any_time, patch_of, run

# On another machine only its heartbeat tells whether a holder lives.
ELSEWHERE = {"flowconv.lake.locking:_machine": "another machine"}
IMPATIENT = {"flowconv.lake.locking:LEASE_S": -1.0}

MORE_PAUSES = int(os.environ.get("FLOWCONV_PAUSES", "0"))

LOST = "another run has taken this lake over"
BUSY = r"this lake is being written by run \S+, process \d+ on \S+, since 20\d\d-\d\d-\d\dT"


def read_unless_gone(read: Callable[[], Rows]) -> Rows | None:
    """Read, unless a file goes meanwhile, such as one that was replaced."""
    try:
        return read()
    except FileNotFoundError:
        return None


def total(versions: Mapping[tuple[str, str], Rows]) -> Rows:
    return sum(versions.values(), Counter())


def by_number(rows: Rows) -> dict[str, Rows]:
    """Rows by the number of the object that they are from, whichever version of it."""
    objects: dict[str, Rows] = {}
    for name, of_version in by_object(rows).items():
        objects.setdefault(name.split("-")[1], Counter()).update(of_version)
    return objects


def list_and_read(lake: Lake) -> None:
    """Read as those do who know no ledger: each file must be whole."""
    for path in tables(lake.names()):
        read_unless_gone(partial(rows_of, [path], lake.fetch))


@contextmanager
def readers(lake: Lake, story: Story) -> Iterator[Counter[str]]:
    """Read all the while: whole files by listing, and committed tasks by `flowconv.scan`.

    Gives how often each was done.
    """
    before, after = by_number(scanned(story.before)), by_number(total(story.wanted))
    pause_s = 0.01 if lake.kind == "local" else 0.2
    done = threading.Event()
    counts: Counter[str] = Counter()

    def list_() -> None:
        while not done.wait(pause_s):
            list_and_read(lake)
            counts["listed"] += 1

    def scan() -> None:
        while not done.wait(pause_s):
            rows = read_unless_gone(partial(scanned, lake))
            for number, of_object in by_number(rows or Counter()).items():
                assert of_object in (before.get(number), after[number])
            counts["scanned"] += rows is not None

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(list_), pool.submit(scan)]
        try:
            yield counts
        finally:
            done.set()
            for future in reading:
                future.result()


@pytest.mark.parametrize(
    ("name", "writers", "options"),
    [("new", 4, ()), ("again", 4, ()), ("more", 2, ("--wait",)), ("again", 3, ("--wait",))],
    ids=["new-4", "again-4", "more-2-waiting", "again-3-waiting"],
)
def test_at_once(
    runs: Runs,
    place: Lake,
    stories: dict[str, Story],
    name: str,
    writers: int,
    options: tuple[str, ...],
) -> None:
    """One writes; the others wait for it or say who it is."""
    story = stories[name]
    lake = story.before.copy()
    convert = arguments(story.source, lake, *story.more, *options)
    with readers(lake, story) as counts:
        started = [runs.start(*convert, patch=patch_of(lake)) for _ in range(writers)]
        done = [process.wait() for process in started]
    for writer in done:
        assert writer.code in (0, 3) or (not options and re.search(BUSY, writer.stderr)), (
            writer.stderr
        )
    converted = sorted(json.loads(ended.stdout)["objects"] for ended in done if ended.code != 1)
    assert converted[-1] > 0
    assert not any(converted[:-1])
    assert_exact(lake, story.wanted)
    assert counts["listed"]
    assert counts["scanned"]


@NOT_MOTO
def test_with_repair(runs: Runs, place: Lake, stories: dict[str, Story]) -> None:
    """Runs that convert, replace and repair: none disturbs another."""
    story = stories["again"]
    lake = story.before.copy()
    options = [f"--dest-option={name}={value}" for name, value in lake.options.items()]
    repair = ["verify", lake.url, f"--source={story.source}", "--repair", "--wait", *options]
    convert = arguments(story.source, lake, "--wait")
    with readers(lake, story):
        orders = [repair, [*convert, *story.more], convert, repair]
        started = [runs.start(*order, patch=patch_of(lake)) for order in orders]
        done = [process.wait() for process in started]
    for ended in done:
        # A repair that comes first finds the changed objects, and leaves them to the others.
        assert ended.code in (0, 3) or (ended.code == 1 and "changed" in ended.stdout), ended.stderr
        assert not ended.stderr.startswith("error")
    assert_exact(lake, story.wanted)


def pause(
    runs: Runs, story: Story, lake: Lake, at: Step, patch: Mapping[str, Any]
) -> Running | None:
    """Start a run that stops at a step; None if it came to its end before."""
    # Its heart beats without a pause, so that it is met between its check and its writing.
    quick = {"flowconv.lake.locking:HEARTBEAT_S": 0.001} if "holder" in at.name else {}
    paused = runs.start(
        *arguments(story.source, lake, *story.more),
        at=replace(at, signal=signal.SIGSTOP),
        patch={**patch_of(lake), **quick, **patch},
    )
    stopped = paused.wait_until_stopped()
    assert_sound(lake, story.versions)
    return paused if stopped else None


def wake(paused: Running, lake: Lake, story: Story) -> Done:
    """Let a run go on to its end, and read meanwhile."""
    with readers(lake, story):
        paused.signal(signal.SIGCONT)
        done = paused.wait()
    # BUSY: it was stopped before it had the lock.
    too_late = done.code == 1 and re.search(f"{LOST}|{BUSY}", done.stderr)
    assert done.code in (0, 3) or too_late, done.stderr
    assert "Traceback" not in done.stderr
    assert_sound(lake, story.versions)
    return done


def outrun(runs: Runs, story: Story, at: Step) -> int | None:
    """Stop a run, let another take over and end, and then the first go on; return how it ends."""
    lake = story.before.copy()
    paused = pause(runs, story, lake, at, ELSEWHERE)
    run(runs, story.source, lake, *story.more, patch=IMPATIENT)
    assert_sound(lake, story.versions)
    code = wake(paused, lake, story).code if paused else None
    run(runs, story.source, lake, *story.more, patch=MERGE)
    assert_exact(lake, story.wanted)
    return code


STEPS = [
    *("ensure_layout", "lock", "list_leftovers", "remove_leftovers", "append", "write_intent"),
    *("commit", "merge", "write checkpoint", "close file", "quarantine", "unlock", "holder"),
]
LOCAL_STEPS = ["local publish", "rename", "link", "unlink", "local delete"]
S3_STEPS = [
    *("S3 publish", "S3 delete", "S3 put_object", "S3 upload_part", "S3 delete_object"),
    *("S3 answer complete_multipart_upload", "S3 answer put_object", "S3 list"),
]


def steps(place: Lake, chance: random.Random) -> list[str]:
    """Names of the steps to stop at, before or after."""
    names = STEPS + (LOCAL_STEPS if place.kind == "local" else S3_STEPS)
    return [f"{chance.choice(['before', 'after'])} {name}" for name in names]


@NOT_MOTO
def test_paused_behind_its_lease(runs: Runs, place: Lake, stories: dict[str, Story]) -> None:
    """Another run takes over and does the work; then the first notices that it is too late."""
    chance = random.Random(3)
    # In S3 each takes six seconds.
    names = steps(place, chance)[:: 2 if place.kind == "local" else 5]
    ends = [outrun(runs, *any_time(stories, name, chance)) for name in names]
    assert ends.count(1) > len(names) / 2
    for _ in range(MORE_PAUSES):
        story = chance.choice(list(stories.values()))
        outrun(runs, story, Step(chance.randrange(len(story.steps))))


@NOT_MOTO
def test_woken_while_the_other_writes(runs: Runs, place: Lake, stories: dict[str, Story]) -> None:
    """Both are stopped; the first goes on to its end, then the second, and is not disturbed."""
    chance = random.Random(4)
    names = steps(place, chance)
    for name in names[:: 3 if place.kind == "local" else 7] + chance.choices(names, k=MORE_PAUSES):
        story, time = any_time(stories, name, chance)
        lake = story.before.copy()
        first = pause(runs, story, lake, time, ELSEWHERE)
        second_at = any_time_behind_its_begin(story, chance)
        second = pause(runs, story, lake, second_at, IMPATIENT)
        if first:
            wake(first, lake, story)
        if second:
            done = wake(second, lake, story)
            assert done.code in (0, 3), (time, second_at, done.stderr)
        run(runs, story.source, lake, *story.more, patch=MERGE)
        assert_exact(lake, story.wanted)


def any_time_behind_its_begin(story: Story, chance: random.Random) -> Step:
    """A step that no run takes before its record in the ledger, whatever lock it finds."""
    began = story.steps.index("after append")
    before, behind = set(story.steps[:began]), story.steps[began:]
    place = chance.choice([n for n, name in enumerate(behind) if name not in before])
    return Step(behind[:place].count(behind[place]), behind[place])


class MergedMeanwhile(LocalStorage):
    """A lake whose ledger is merged while it is listed for the first time."""

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        listed = list(super().list_files(below))
        if below == LEDGER and not any("parquet" in file.path for file in listed):
            Ledger.read(LocalStorage(self.root)).merge()
            listed = [file for file in listed if Path(self.uri(file.path)).exists()]
        yield from listed


def test_read_while_merged(tmp_path: Path) -> None:
    """The last records are gone, and what holds them came too late to be listed."""
    storage = LocalStorage(str(tmp_path))
    writer = Ledger.read(storage)
    writer.begin(Run(run_id="run", began=datetime.now(UTC), host="host"), {})
    converted = ConvertedObject(
        uri="uri", size_bytes=1, etag="etag", day=None, counts=LineCounts(rows=1), headers=()
    )
    writer.commit(Commit(task_id="task", run_id="run", objects=(converted,), files=()))
    assert etags(Ledger.read(MergedMeanwhile(str(tmp_path)))) == {"uri": "etag"}
    assert list((tmp_path / LEDGER).glob("000000000002.objects-*.parquet"))


class AddedMeanwhile(LocalStorage):
    """A lake to which a run adds its end between the listing of its ledger and ledger.json."""

    def __init__(self, root: str, end: Callable[[], None]) -> None:
        super().__init__(root)
        self._steps = [end]

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        return iter(list(super().list_files(below)))

    def read(self, path: str) -> bytes | None:
        if path == LAST_NUMBER and self._steps:
            self._steps.pop()()
        return super().read(path)


def test_read_while_a_run_ends(tmp_path: Path) -> None:
    """In S3 ledger.json may be ahead of the listing, which is asked for at the same time."""
    storage = LocalStorage(str(tmp_path))
    run = Run(run_id="run", began=datetime.now(UTC), host="host")
    writer = Ledger.read(storage)
    writer.begin(run, {})
    end = partial(writer.end, replace(run, ended=datetime.now(UTC)))
    (found,) = Ledger.read(AddedMeanwhile(str(tmp_path), end)).runs()
    assert found.ended
    (tmp_path / record_path(2)).unlink()
    with pytest.raises(LakeError, match="is gone"):
        Ledger.read(storage)
