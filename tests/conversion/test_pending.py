"""Pending objects: each listed object is planned, or counted as what it is left as."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from flowconv import ConvertOptions
from flowconv.blocks.counts import LineCounts
from flowconv.conversion.pending import Pending, find_pending, is_empty
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import Commit, ConvertedObject, Run
from flowconv.source.keys import LogObject
from flowconv.storage.local import LocalStorage

pytestmark = pytest.mark.usefixtures("quick_disk")

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


def planned(pending: Pending) -> list[tuple[tuple[str, ...], str, str]]:
    """What each task replaces, its objects' names, and those of the changed ones with rows."""
    return sorted(
        (
            task.replaces,
            "".join(sorted(log_object.path for log_object in task.log_objects)),
            "".join(sorted(uri.removeprefix("/logs/") for uri in task.with_rows)),
        )
        for task in pending.tasks
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
    pending = find_pending(
        listed("a", "b", "c", "d", "n", a="other"),
        ledger(tmp_path, {"one": "ab", "two": "cd"}, REJECTED),
        options,
    )
    assert planned(pending) == tasks
    assert (pending.already_converted, pending.changed) == counts
    assert pending.stuck == {}


def test_a_replacement_has_the_sizes_that_were_read(tmp_path: Path) -> None:
    (task,) = find_pending(
        listed("a", "b", a="other"), ledger(tmp_path, {"one": "ab"}), AGAIN
    ).tasks
    assert {o.path: o.size_bytes for o in task.log_objects} == {"a": 100, "b": 7}


def test_a_task_that_lost_objects_is_stuck(tmp_path: Path) -> None:
    pending = find_pending(listed("a", a="other"), ledger(tmp_path, {"one": "abc"}), AGAIN)
    assert (pending.tasks, pending.changed, pending.already_converted) == ([], [], 0)
    (reason,) = pending.stuck.values()
    assert reason.startswith("cannot be converted again: 2 objects that were converted with it are")


@pytest.mark.parametrize(
    ("declared", "changed"),
    [((), False), ((OLD,), True), ((NEW,), False), ((NEW, OLD), True)],
)
def test_other_formats(tmp_path: Path, declared: tuple[str, ...], changed: bool) -> None:
    known = ledger(tmp_path, {"one": "a"}, {"a": {"declared": declared}})
    pending = find_pending(listed("a"), known, ConvertOptions(format=NEW))
    assert (pending.changed_format, pending.already_converted) == (
        (["/logs/a"], 0) if changed else ([], 1)
    )


@pytest.mark.parametrize(
    ("options", "pending", "unreadable", "tasks", "empty"),
    [
        ({}, None, [], {}, True),
        ({}, Pending(), [], {}, True),
        ({"allow_empty": True}, None, [], {}, False),
        ({}, None, ["/logs/denied"], {}, False),
        ({}, Pending(already_converted=1), [], {}, False),
        ({}, Pending(changed=["/logs/a"]), [], {}, False),
        ({}, Pending(), [], {"one": "a"}, False),
        ({"since": date(2026, 1, 14)}, Pending(), [], {"one": "a"}, True),
    ],
)
def test_is_empty(
    tmp_path: Path,
    options: dict[str, Any],
    pending: Pending | None,
    unreadable: list[str],
    tasks: dict[str, str],
    empty: bool,
) -> None:
    known = ledger(tmp_path, tasks)
    found = is_empty("/logs", pending, unreadable, known, ConvertOptions(**options))
    assert found == empty
