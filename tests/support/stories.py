"""Lakes that a run meets, and how each must look at its end."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowconv.lake.converted_objects import etags, objects_of, task_ids_of
from flowconv.lake.ledger import Ledger
from support.exactly_once import (
    Lake,
    Rows,
    arguments,
    assert_exact,
    body,
    by_object,
    rows_of,
    storage_of,
    write_object,
)
from support.processes import Done, Runs, Step

# A merge in every run, which writes objects behind those of others; every file an upload of parts.
PATCH = {
    "flowconv.lake.ledger:RECORDS_PER_CHECKPOINT": 4,
    "flowconv.lake.checkpoints:FULL_BYTES": 1,
    "flowconv.lake.locking:SETTLE_S": 0.0,
}
# What was begun of a checkpoint stays until the next is made.
MERGE = {"flowconv.lake.ledger:RECORDS_PER_CHECKPOINT": 1}
S3_PATCH = {"flowconv.storage.s3:_SMALL_BYTES": 0}

# moto is no quicker than Ceph, and shows no more.
NOT_MOTO = pytest.mark.parametrize(
    "place",
    ["local", pytest.param("ceph", marks=pytest.mark.s3server)],
    indirect=True,
    scope="session",
)


@dataclass(frozen=True, kw_only=True)
class Story:
    """Logs, and the lake that they meet.

    Attributes:
        name: What happens.
        source: The logs.
        before: The lake as a run finds it.
        more: Options of the run.
        versions: All versions of all objects, the old ones too: (uri, etag) -> rows.
        wanted: Those that must be in the lake at the end.
        steps: What the run comes to, in order.
    """

    name: str
    source: Path
    before: Lake
    more: tuple[str, ...]
    versions: Mapping[tuple[str, str], Rows]
    wanted: Mapping[tuple[str, str], Rows]
    steps: tuple[str, ...]


def any_time(stories: Mapping[str, Story], step: str, chance: random.Random) -> tuple[Story, Step]:
    """Choose a story whose run comes to a step, and one of the times that it does."""
    story = chance.choice([story for story in stories.values() if step in story.steps])
    return story, Step(chance.randrange(story.steps.count(step)), step)


def make_stories(
    runs: Runs, place: Lake, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Story]:
    """Three beginnings: no lake, a lake that gets more objects, one whose objects changed."""
    objects = 7 if place.kind == "local" else 3
    source = tmp_path_factory.mktemp("logs")
    old_source = tmp_path_factory.mktemp("old")
    for number in range(objects):
        write_object(source, number, body(f"eni-{number}", bad_lines=number % 3))
    of_new = _story(runs, "new", source, place.copy(), ())

    before = place.copy()
    half = tmp_path_factory.mktemp("half") / "logs"
    shutil.copytree(source, half)
    run(runs, half, before)  # Same objects by another name: other uris, other tasks.
    more = _story(runs, "more", source, before, ())

    before = place.copy()
    for number in range(objects):
        write_object(old_source, number, body(f"eni-{number}", bad_lines=number % 3))
    run(runs, old_source, before)
    for number in range(0, objects, 3):
        write_object(old_source, number, body(f"eni-{number}-new", 3 + number, number % 2))
    again = _story(runs, "again", old_source, before, ("--reprocess",))
    return {story.name: story for story in (of_new, more, again)}


def _story(runs: Runs, name: str, source: Path, before: Lake, more: tuple[str, ...]) -> Story:
    """Tell it without any disturbance, to know how it ends."""
    calm = before.copy()
    old = _versions(before)
    steps = run(runs, source, calm, *more).steps
    converted = _versions(calm)
    assert_exact(calm, converted)
    return Story(
        name=name,
        source=source,
        before=before,
        more=more,
        versions=old | converted,
        wanted=converted,
        steps=steps,
    )


def _versions(lake: Lake) -> dict[tuple[str, str], Rows]:
    """All objects of a lake that was not disturbed, and their rows."""
    # The files that the ledger names, object by object: an object's rows have its name.
    ledger = Ledger.read(storage_of(lake))
    versions = {}
    for task_id, objects in objects_of(ledger, task_ids_of(ledger, etags(ledger))).items():
        paths = [file.path for file in ledger.files_of([task_id]) if file.is_data]
        for name, rows in by_object(rows_of(paths, lake.fetch)).items():
            number = int(name.split("-")[1])
            (uri,) = (o.uri for o in objects if o.uri.endswith(f"_{number:08x}.log.gz"))
            versions[uri, etags(ledger)[uri]] = rows
    assert {uri for uri, _ in versions} == etags(ledger).keys()
    return versions


def patch_of(lake: Lake) -> dict[str, Any]:
    return PATCH if lake.kind == "local" else PATCH | S3_PATCH


def run(
    runs: Runs,
    source: Path,
    lake: Lake,
    *more: str,
    at: Step | None = None,
    patch: Mapping[str, Any] | None = None,
) -> Done:
    """Convert to a lake; unless it is killed it must do so without an error."""
    done = runs.run(
        *arguments(source, lake, *more), at=at, patch={**patch_of(lake), **(patch or {})}
    )
    assert done.was_killed or done.code in (0, 3), done.stderr
    assert "Traceback" not in done.stderr
    return done
