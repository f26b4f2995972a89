"""Pending objects: each listed object is planned, or counted as what it is left as."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv import ConvertOptions
from flowconv.blocks.counts import LineCounts
from flowconv.conversion import pending as pending_module
from flowconv.conversion.pending import Pending, is_empty, plan_pending
from flowconv.conversion.planning import Task, plan_tasks
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Commit, ConvertedObject, Run
from flowconv.options import MB
from flowconv.source.keys import LogObject
from flowconv.source.listing import DayEnd, day_of
from flowconv.storage.local import LocalStorage
from support.in_memory import log_object

OLD, NEW = "srcaddr start end", "srcaddr start end vpc-id"
REJECTED = {"b": {"counts": LineCounts(rows=1, rejected=1)}}


def listed(*names: str, **etags: str) -> list[LogObject]:
    """Objects of a source; those named in `etags` have changed."""
    return [
        LogObject(
            uri=f"/logs/{name}",
            path=name,
            size_bytes=100,
            etag=etags.get(name, "etag"),
            account_id=None,
            region=None,
            flow_log_id=None,
            day=None,
            time=None,
        )
        for name in names
    ]


def ledger(
    folder: Path, tasks: Mapping[str, str], changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Ledger:
    """A ledger with tasks (id -> names of objects, a letter each)."""
    found = Ledger.read(LocalStorage(str(folder)))
    found.begin(Run(run_id="run", began=datetime.now(UTC), host="host"), {})
    for task_id, names in tasks.items():
        values: list[dict[str, Any]] = [
            {
                "uri": f"/logs/{name}",
                "size_bytes": 7,
                "etag": "etag",
                "day": None,
                "counts": LineCounts(rows=1),
                "headers": (OLD,),
                **(changes or {}).get(name, {}),
            }
            for name in names
        ]
        objects = tuple(ConvertedObject(**value) for value in values)
        found.commit(Commit(task_id=task_id, run_id="run", objects=objects, files=()))
    return found


def plan(
    objects: Iterable[LogObject | DayEnd], known: Ledger, options: ConvertOptions
) -> tuple[Pending, list[Task]]:
    pending = Pending()
    tasks = list(filter(None, plan_pending(objects, known, options, pending)))
    assert pending.tasks == len(tasks)
    assert pending.objects == sum(len(task.log_objects) for task in tasks)
    return pending, tasks


def planned(tasks: Iterable[Task]) -> list[tuple[tuple[str, ...], str, str]]:
    """What each task replaces, its objects' names, and those of the changed ones with rows."""
    return sorted(
        (
            task.replaces,
            "".join(sorted(log_object.path for log_object in task.log_objects)),
            "".join(sorted(uri.removeprefix("/logs/") for uri in task.with_rows)),
        )
        for task in tasks
    )


AGAIN, RETRY = ConvertOptions(reprocess=True), ConvertOptions(retry_rejected=True)


@pytest.mark.parametrize(
    ("options", "tasks", "counts"),
    [
        (ConvertOptions(), [((), "n", "")], (3, ["/logs/a"])),
        (AGAIN, [((), "n", ""), (("one",), "ab", "a")], (2, [])),
        (RETRY, [((), "n", ""), (("one",), "ab", "a")], (2, [])),
        (
            ConvertOptions(reprocess=True, since=date(2026, 1, 14)),
            [((), "n", ""), (("one",), "ab", "a"), (("two",), "cd", "")],
            (0, []),
        ),
    ],
    ids=["only new objects", "changed", "rejected", "whole days"],
)
def test_what_is_planned(
    tmp_path: Path,
    options: ConvertOptions,
    tasks: list[tuple[tuple[str, ...], str, str]],
    counts: tuple[int, list[str]],
) -> None:
    pending, found = plan(
        listed("a", "b", "c", "d", "n", a="other"),
        ledger(tmp_path, {"one": "ab", "two": "cd"}, REJECTED),
        options,
    )
    assert planned(found) == tasks
    assert (pending.already_converted, pending.changed) == counts
    assert pending.stuck == {}


def test_a_replacement_has_the_sizes_that_were_read(tmp_path: Path) -> None:
    _, (task,) = plan(listed("a", "b", a="other"), ledger(tmp_path, {"one": "ab"}), AGAIN)
    assert {o.path: o.size_bytes for o in task.log_objects} == {"a": 100, "b": 7}


def test_a_task_that_lost_objects_is_stuck(tmp_path: Path) -> None:
    pending, tasks = plan(listed("a", a="other"), ledger(tmp_path, {"one": "abc"}), AGAIN)
    assert (tasks, pending.changed, pending.already_converted) == ([], [], 0)
    (reason,) = pending.stuck.values()
    assert reason.startswith("cannot be converted again: 2 objects that were converted with it are")


@pytest.mark.parametrize(
    ("declared", "changed"),
    [((), False), ((OLD,), True), ((NEW,), False), ((NEW, OLD), True)],
)
def test_other_formats(tmp_path: Path, declared: tuple[str, ...], changed: bool) -> None:
    known = ledger(tmp_path, {"one": "a"}, {"a": {"declared": declared}})
    pending, _ = plan(listed("a"), known, ConvertOptions(format=NEW))
    assert (pending.changed_format, pending.already_converted) == (
        (["/logs/a"], 0) if changed else ([], 1)
    )


@pytest.mark.parametrize(
    ("options", "pending", "unreadable", "empty"),
    [
        ({}, None, [], True),
        ({}, Pending(), [], True),
        ({"allow_empty": True}, None, [], False),
        ({}, None, ["/logs/denied"], False),
        ({}, Pending(already_converted=1), [], False),
        ({}, Pending(changed=["/logs/a"]), [], False),
        ({}, Pending(changed_format=["/logs/a"]), [], False),
        ({}, Pending(stuck={"/logs/a": "its task has lost objects"}), [], False),
        ({}, Pending(expired=1), [], False),
        ({"since": date(2026, 1, 14)}, Pending(), [], True),
    ],
)
def test_is_empty(
    options: dict[str, Any], pending: Pending | None, unreadable: list[str], empty: bool
) -> None:
    found = is_empty(pending, unreadable, ConvertOptions(**options))
    assert found == empty


def days_of_sizes(sizes_mb: Iterable[tuple[int, int]]) -> list[LogObject]:
    """For each pair a day with some objects, each of some MB."""
    return [
        log_object(
            f"s3://b/{day:02}/{number:03}",
            size_mb * MB,
            account_id="1",
            region="eu-west-1",
            day=date(2026, 1, 1) + timedelta(day),
        )
        for day, (objects, size_mb) in enumerate(sizes_mb)
        for number in range(objects)
    ]


@given(
    sizes_mb=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30)), min_size=1, max_size=20),
    target_mb=st.sampled_from([1, 20, 256]),
)
@settings(deadline=None)
def test_tasks_of_days_that_have_ended_are_those_of_the_whole_listing(
    tmp_path_factory: pytest.TempPathFactory, sizes_mb: list[tuple[int, int]], target_mb: int
) -> None:
    objects = days_of_sizes(sizes_mb)
    known = Ledger.read(LocalStorage(str(tmp_path_factory.mktemp("lake"))))
    options = ConvertOptions(target_file_size=target_mb * MB)
    listing: list[LogObject | DayEnd] = []
    for first, following in zip(objects, [*objects[1:], None], strict=True):
        listing.append(first)
        if following is None or following.day != first.day:
            listing.append(day_of(first))
    _, tasks = plan(listing, known, options)
    assert {task.id for task in tasks} == {task.id for task in plan_tasks(objects, options)}
    assert len(tasks) == len({task.id for task in tasks})
    assert plan(listing, known, options)[1] == tasks


def test_the_first_new_objects_are_told_at_once(tmp_path: Path) -> None:
    converted = log_object("/logs/a", 7, etag="etag")
    objects = [converted, *days_of_sizes([(4, 1)])]
    told: list[LogObject] = []
    planned_after: list[int] = []

    def on_new(log_object: LogObject) -> bool:
        told.append(log_object)
        return len(told) < 3

    def listing() -> Iterator[LogObject]:
        for listed in objects:
            planned_after.append(len(told))
            yield listed

    known = ledger(tmp_path, {"one": "a"})
    list(plan_pending(listing(), known, ConvertOptions(), Pending(), on_new))
    assert told == objects[1:4]
    # Each before the next one is listed.
    assert planned_after == [0, 0, 1, 2, 3]


def test_the_task_of_the_first_new_object_comes_first(tmp_path: Path) -> None:
    """Its objects are fetched before it is planned."""
    objects = days_of_sizes([(5, 2), (10, 3)])
    *larger, smallest = plan_tasks(objects, ConvertOptions())
    assert objects[0] in smallest.log_objects
    _, tasks = plan(objects, ledger(tmp_path, {}), ConvertOptions())
    assert tasks == [smallest, *larger]


@pytest.mark.parametrize("most", [1, 0])
def test_a_day_is_planned_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Unless the ledger has many objects."""
    monkeypatch.setattr(pending_module, "_MOST_CONVERTED", most)
    objects = days_of_sizes([(1, 1), (30, 1), (1, 1)])
    small, large, last = objects[:1], objects[1:31], objects[31:]
    read: list[str] = []

    def listing() -> Iterator[LogObject | DayEnd | None]:
        for day in (small, large, last):
            yield from day
            yield None
            yield day_of(day[0])
            read.append(day[0].uri)

    tasks = plan_pending(listing(), ledger(tmp_path, {"one": "a"}), ConvertOptions(), Pending())
    found = [(task.log_objects[0].uri, len(read)) for task in tasks if task]
    if not most:
        assert [number for _, number in found] == [3] * 4
        return
    # How a large day is cut depends on the size of all objects.
    assert found[:2] == [(small[0].uri, 0), (last[0].uri, 2)]
    assert [number for _, number in found[2:]] == [3, 3]
