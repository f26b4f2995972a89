"""Kill -9 at any step of a run, any number of times: the next run makes all of it right.

FLOWCONV_KILLS=1000 adds so many kills at random steps, over each kind of lake.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from exactly_once import (
    Lake,
    LocalLake,
    Rows,
    S3Lake,
    arguments,
    assert_exact,
    assert_sound,
    body,
    by_object,
    rows_of,
    write_object,
)
from flowconv.ledger import Ledger
from flowconv.storage import open_storage
from processes import Done, Runs, Step, prepared_runs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

MORE_KILLS = int(os.environ.get("FLOWCONV_KILLS", "0"))

# A merge in every run; every file an upload of parts.
PATCH = {"flowconv.ledger:RECORDS_PER_CHECKPOINT": 4, "flowconv.locking:SETTLE_S": 0.0}
S3_PATCH = {"flowconv.s3:_SMALL_BYTES": 0}


@dataclass(frozen=True)
class Story:
    """Logs, and the lake that they meet.

    Attributes:
        name: What happens.
        source: The logs.
        before: The lake as a run finds it.
        more: Options of the run.
        versions: All versions of all objects, the old ones too: (uri, etag) -> rows.
        wanted: Those that must be in the lake at the end.
    """

    name: str
    source: Path
    before: Lake
    more: tuple[str, ...]
    versions: Mapping[tuple[str, str], Rows]
    wanted: Mapping[tuple[str, str], Rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with prepared_runs(tmp_path_factory.mktemp("runs")) as prepared:
        yield prepared


@pytest.fixture(
    scope="module", params=["local", "moto", pytest.param("ceph", marks=pytest.mark.s3server)]
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """An empty place for a lake."""
    if request.param == "local":
        return LocalLake(tmp_path_factory.mktemp("lakes") / "lake")
    server = request.getfixturevalue(f"{request.param}_s3")
    return S3Lake(server, server.make_bucket())


@pytest.fixture(scope="module")
def stories(runs: Runs, place: Lake, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Story]:
    """Three beginnings: no lake, a lake that gets more objects, one whose objects changed."""
    objects = 7 if place.kind == "local" else 3
    source = tmp_path_factory.mktemp("logs")
    old_source = tmp_path_factory.mktemp("old")
    for number in range(objects):
        write_object(source, number, body(f"eni-{number}", bad_lines=number % 3))
    new = _story(runs, "new", source, place.copy(), ())

    before = place.copy()
    half = tmp_path_factory.mktemp("half") / "logs"
    half.symlink_to(source, target_is_directory=True)
    run(runs, half, before)  # Same objects by another name: other uris, other tasks.
    more = _story(runs, "more", source, before, ())

    before = place.copy()
    for number in range(objects):
        write_object(old_source, number, body(f"eni-{number}", bad_lines=number % 3))
    run(runs, old_source, before)
    for number in range(0, objects, 3):
        write_object(old_source, number, body(f"eni-{number}-new", 3 + number, number % 2))
    again = _story(runs, "again", old_source, before, ("--reprocess",))
    return {story.name: story for story in (new, more, again)}


def _story(runs: Runs, name: str, source: Path, before: Lake, more: tuple[str, ...]) -> Story:
    """Tell it without any disturbance, to know how it ends."""
    calm = before.copy()
    old = _versions(before)
    run(runs, source, calm, *more)
    new = _versions(calm)
    assert_exact(calm, new)
    return Story(name, source, before, more, old | new, new)


def _versions(lake: Lake) -> dict[tuple[str, str], Rows]:
    """All objects of a lake that was not disturbed, and their rows."""
    # The files that the ledger names, object by object: an object's rows have its name.
    ledger = Ledger.read(open_storage(lake.url, lake.options))
    versions = {}
    for task_id, uris in ledger.tasks_of(ledger.converted()).items():
        paths = [file.path for file in ledger.files_of([task_id]) if file.is_data]
        for name, rows in by_object(rows_of(paths, lake)).items():
            number = int(name.split("-")[1])
            (uri,) = (uri for uri in uris if uri.endswith(f"_{number:08x}.log.gz"))
            versions[uri, ledger.converted()[uri]] = rows
    assert {uri for uri, _ in versions} == ledger.converted().keys()
    return versions


def run(runs: Runs, source: Path, lake: Lake, *more: str, at: Step | None = None) -> Done:
    patch = PATCH if lake.kind == "local" else PATCH | S3_PATCH
    done = runs.run(*arguments(source, lake, *more), at=at, patch=patch)
    assert done.was_killed or done.code in (0, 3), done.stderr
    assert "Traceback" not in done.stderr
    return done


def kill_and_heal(runs: Runs, story: Story, *kills: Step) -> int:
    """Kill a run, and those that are to mend it; return how many were killed indeed."""
    lake = story.before.copy()
    killed = 0
    for step in kills:
        killed += run(runs, story.source, lake, *story.more, at=step).was_killed
        assert_sound(lake, story.versions)
    run(runs, story.source, lake, *story.more)
    assert_exact(lake, story.wanted)
    return killed


STEPS = [
    *("ensure_layout", "lock", "unlock", "remove_leftovers", "append", "commit", "write_intent"),
    *("merge", "write checkpoint", "open file", "row group", "close file", "quarantine"),
]
LOCAL_STEPS = ["local publish", "local delete", "rename", "link", "unlink", "mkdir", "fsync"]
S3_STEPS = [
    *("S3 publish", "S3 delete"),
    *("S3 create_multipart_upload", "S3 upload_part", "S3 put_object", "S3 delete_object"),
    *("S3 answer complete_multipart_upload", "S3 list_multipart_uploads", "S3 list_objects_v2"),
]


def test_every_step(runs: Runs, place: Lake, stories: dict[str, Story]) -> None:
    """Killed at each step that has a name, before it and after; at its first time or another."""
    names = LOCAL_STEPS + STEPS if place.kind == "local" else S3_STEPS
    if place.kind == "ceph":
        names += STEPS  # moto takes ten times as long.
    chance = random.Random(1)
    killed = 0
    for name in names:
        story = stories[chance.choice(["new", "more", "again"])]
        steps = [Step(chance.randrange(3), f"{when} {name}") for when in ("before", "after")]
        killed += kill_and_heal(runs, story, *steps)
    assert killed >= len(names)


@pytest.mark.parametrize("name", ["new", "more", "again"])
def test_random_steps(runs: Runs, place: Lake, stories: dict[str, Story], name: str) -> None:
    """Killed anywhere, up to four times before a run comes to its end."""
    story = stories[name]
    steps = len(run(runs, story.source, story.before.copy(), *story.more).steps)
    chance = random.Random(name)
    killed, wanted = 0, (1 if place.kind == "moto" else 12)
    wanted += MORE_KILLS // 3
    while killed < wanted:
        kills = [Step(chance.randrange(steps)) for _ in range(chance.randrange(1, 5))]
        killed += kill_and_heal(runs, story, *kills)


def test_the_command_at_random_times(place: Lake, stories: dict[str, Story]) -> None:
    """The installed command, killed from without."""
    story = stories["new"]
    lake = story.before.copy()
    chance = random.Random(2)
    command = [sys.executable, "-m", "flowconv", *arguments(story.source, lake)]
    for _ in range(4):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            time.sleep(chance.uniform(0.3, 1.2))
            process.send_signal(signal.SIGKILL)
            errors = process.communicate()[1]
        assert not errors
        assert_sound(lake, story.versions)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3)
    assert_exact(lake, story.wanted)
