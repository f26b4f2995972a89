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
from dataclasses import replace

import pytest

from support.exactly_once import Lake, arguments, assert_exact, assert_sound
from support.processes import Runs, Step
from support.stories import MERGE, NOT_MOTO, Story, any_time, run

MORE_KILLS = int(os.environ.get("FLOWCONV_KILLS", "0"))


def kill_and_heal(runs: Runs, story: Story, *kills: Step) -> int:
    """Kill a run, and those that are to mend it; return how many were killed indeed."""
    lake = story.before.copy()
    killed = 0
    for step in kills:
        killed += run(runs, story.source, lake, *story.more, at=step).was_killed
        assert_sound(lake, story.versions)
    run(runs, story.source, lake, *story.more, patch=MERGE)
    assert_exact(lake, story.wanted)
    return killed


STEPS = [
    *(
        "ensure_layout",
        "lock",
        "unlock",
        "list_leftovers",
        "remove_leftovers",
        "append",
        "commit",
        "write_intent",
    ),
    *("merge", "write checkpoint", "open file", "row group", "close file", "quarantine"),
]
LOCAL_STEPS = ["local publish", "local delete", "rename", "link", "unlink", "mkdir", "fsync"]
S3_STEPS = [
    *("S3 publish", "S3 delete"),
    *("S3 create_multipart_upload", "S3 upload_part", "S3 put_object", "S3 delete_object"),
    *("S3 answer complete_multipart_upload", "S3 list_multipart_uploads", "S3 list"),
]


def test_every_step(runs: Runs, place: Lake, stories: dict[str, Story]) -> None:
    """Killed at each step that has a name, before it and after; at any of the times it comes."""
    names = STEPS + (LOCAL_STEPS if place.kind == "local" else S3_STEPS)
    if place.kind == "moto":
        names = ["S3 publish", "S3 put_object", "S3 delete_object"]  # Ceph has them all.
    chance = random.Random(1)
    killed = 0
    for name in names:
        story, before = any_time(stories, f"before {name}", chance)
        after = replace(before, name=f"after {name}")
        killed += kill_and_heal(runs, story, before, after)
    assert killed >= len(names)


@pytest.mark.parametrize("name", ["new", "more", "again"])
def test_random_steps(runs: Runs, place: Lake, stories: dict[str, Story], name: str) -> None:
    """Killed anywhere, up to four times before a run comes to its end."""
    story = stories[name]
    chance = random.Random(name)
    # In S3 each takes three seconds.
    wanted = {"local": 8, "moto": 1, "ceph": 5}[place.kind] + MORE_KILLS // 3
    killed = 0
    while killed < wanted:
        kills = [Step(chance.randrange(len(story.steps))) for _ in range(chance.randrange(1, 5))]
        killed += kill_and_heal(runs, story, *kills)


@NOT_MOTO
def test_the_command_at_random_times(place: Lake, stories: dict[str, Story]) -> None:
    """The installed command, killed from without when it has written so many files."""
    story = stories["new"]
    lake = story.before.copy()
    chance = random.Random(2)
    command = [sys.executable, "-m", "flowconv", *arguments(story.source, lake)]
    killed = 0
    for _ in range(4):
        files = len(lake.names()) + chance.randrange(6)
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            while len(lake.names()) <= files and process.poll() is None:
                time.sleep(0.005)
            process.kill()
            errors = process.communicate()[1]
        killed += process.returncode == -signal.SIGKILL
        assert not errors
        assert_sound(lake, story.versions)
    assert killed
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3)
    assert_exact(lake, story.wanted)
