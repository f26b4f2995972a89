"""Objects into tasks: each in exactly one, the same ones on any machine."""

import pickle
import random
from datetime import date
from typing import Any

import pytest

from flowconv import ConvertOptions
from flowconv.conversion.planning import plan_tasks
from flowconv.options import MB
from flowconv.source.keys import LogObject
from support.in_memory import log_object

OPTIONS = ConvertOptions(workers=1)


def some_objects(count: int, size_bytes: int = MB, **facts: Any) -> list[LogObject]:
    said = {"account_id": "1", "region": "eu-west-1", "day": date(2026, 1, 14)} | facts
    return [log_object(f"s3://b/{said}/{n:04d}", size_bytes, **said) for n in range(count)]


MIXED = [
    *some_objects(3),
    *some_objects(3, account_id=None),
    *some_objects(3, account_id="0"),
    *some_objects(3, region="us-east-1"),
    *some_objects(3, region=None),
    *some_objects(3, day=date(2026, 1, 15)),
    *some_objects(3, day=None),
    *some_objects(3, account_id=None, region=None, day=None),
]


def test_a_task_is_of_one_account_region_and_day() -> None:
    tasks = plan_tasks(MIXED, OPTIONS)
    assert len(tasks) == 8
    for task in tasks:
        facts = {(o.account_id, o.region, o.day) for o in task.log_objects}
        assert facts == {(task.account_id, task.region, task.day)}
    planned = [listed for task in tasks for listed in task.log_objects]
    assert sorted(planned, key=lambda one: one.uri) == sorted(MIXED, key=lambda one: one.uri)


def test_the_order_of_the_listing_does_not_matter() -> None:
    expected = plan_tasks(MIXED, OPTIONS)
    for seed in range(5):
        shuffled = random.Random(seed).sample(MIXED, len(MIXED))
        assert plan_tasks(iter(shuffled), OPTIONS) == expected


def test_objects_of_a_flow_log_are_neighbours() -> None:
    objects = [o._replace(flow_log_id=f"fl-{n % 3}") for n, o in enumerate(some_objects(9))]
    (task,) = plan_tasks(objects, OPTIONS)
    ids = [listed.flow_log_id for listed in task.log_objects]
    assert ids == sorted(ids, key=str)


@pytest.mark.parametrize(
    ("sizes_mib", "target_mib", "tasks"),
    [
        ([1] * 10, 256, 1),  # No crumbs.
        ([1] * 16, 256, 1),
        ([1] * 32, 256, 2),
        ([10] * 160, 256, 16),  # Work for all cores.
        ([10] * 160, 8, 160),  # But files of the wanted size.
        ([1] * 160, 8, 14),
        ([500], 256, 1),  # An object is not cut.
        ([500, 1, 1, 500], 256, 4),
        ([0] * 10, 256, 1),
    ],
    ids=str,
)
def test_sizes(sizes_mib: list[int], target_mib: int, tasks: int) -> None:
    objects = [
        listed._replace(size_bytes=size * MB)
        for listed, size in zip(some_objects(len(sizes_mib)), sizes_mib, strict=True)
    ]
    planned = plan_tasks(objects, ConvertOptions(target_file_size=target_mib * MB))
    assert sum(len(task.log_objects) for task in planned) == len(objects)
    sizes = [task.size_bytes for task in planned]
    assert sizes == sorted(sizes, reverse=True)
    assert len(planned) == pytest.approx(tasks, abs=1)


@pytest.mark.parametrize(("mib", "tasks"), [(16, 1), (17, 2), (33, 4), (71, 6), (96, 6)])
def test_two_cores_have_as_many_tasks_each(mib: int, tasks: int) -> None:
    planned = plan_tasks(some_objects(mib), OPTIONS)
    sizes = [task.size_bytes for task in planned]
    assert len(sizes) == tasks
    assert max(sizes) - min(sizes) <= MB


def test_no_objects() -> None:
    assert plan_tasks([], OPTIONS) == []


def test_ids_stand_for_what_is_read_and_written() -> None:
    objects = some_objects(3)

    def task_id(objects: list[LogObject], **options: Any) -> str:
        (task,) = plan_tasks(objects, ConvertOptions(**options))
        assert len(task.id) == 20
        assert set(task.id) <= set("0123456789abcdef")
        return task.id

    first, *others = objects
    same = task_id(objects)
    assert task_id(objects, workers=7, memory_limit=1 << 30, on_bad_line="fail") == same
    assert task_id(objects, since=date(2026, 1, 1), source_options={"anon": "true"}) == same
    different = [
        task_id(others),
        task_id([first._replace(etag="x"), *others]),
        task_id([first._replace(size_bytes=5), *others]),
        task_id([first._replace(uri="s3://b/elsewhere"), *others]),
        task_id(objects, time_type="epoch"),
        task_id(objects, partition_by=("date",)),
        task_id(objects, format="default"),
        task_id(objects, account="000000000001"),
        task_id(objects, region="x"),
        task_id(objects, compression="snappy"),
        task_id(objects, target_file_size=5 * MB),
    ]
    assert len({same, *different}) == 1 + len(different)


def test_tasks_can_be_sent_to_other_machines() -> None:
    tasks = plan_tasks(MIXED, OPTIONS)
    assert pickle.loads(pickle.dumps(tasks)) == tasks
    assert len(pickle.dumps(tasks[0])) < 2000
