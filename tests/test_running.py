"""Jobs in threads: results, failures, interrupts."""

import _weakrefset
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest

from flowconv.running import (
    RunProgress,
    Stopped,
    begun,
    iterate_in_order,
    run_all,
    started,
    uninterrupted,
)


def progress() -> RunProgress:
    return RunProgress(total_objects=0, total_bytes=0)


def wait_for_stop(of: RunProgress) -> None:
    while True:
        of.add()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("jobs", [0, 1, 10])
def test_each_job_has_a_result(workers: int, jobs: int) -> None:
    results = run_all(range(jobs), lambda job: job * 2, workers, progress())
    assert sorted(results) == [job * 2 for job in range(jobs)]


def test_jobs_are_taken_as_threads_are_free() -> None:
    """A long list of jobs is not read ahead by more than one for each thread."""
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(100):
            taken.append(job)
            yield job

    results = run_all(jobs(), lambda job: job, 2, progress())
    next(results)
    assert len(taken) <= 2 * 2
    assert len(list(results)) == 99


def test_a_failure_stops_the_others_and_is_raised() -> None:
    of, both_run = progress(), threading.Barrier(2)
    stops: list[str] = []

    def run(job: str) -> None:
        both_run.wait(60)
        if job == "fails":
            raise ValueError(job)
        wait_for_stop(of)

    with pytest.raises(ValueError, match="fails"):
        list(run_all(["fails", "waits"], run, 2, of, on_stop=lambda: stops.append("stop")))
    assert stops == ["stop"]


def test_what_was_done_when_another_failed_is_yielded() -> None:
    both_run, has_failed = threading.Barrier(2), threading.Event()

    def run(job: str) -> str:
        both_run.wait(60)
        if job == "fails":
            raise ValueError(job)
        has_failed.wait(60)
        return job

    results = run_all(["fails", "done"], run, 2, progress(), on_stop=has_failed.set)
    assert next(results) == "done"
    with pytest.raises(ValueError, match="fails"):
        next(results)


def test_an_interrupt_without_grace_stops_all() -> None:
    of = progress()

    def interrupt(_: RunProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_all(range(3), lambda _: wait_for_stop(of), 1, of, on_progress=interrupt))


def test_within_the_grace_jobs_under_way_finish() -> None:
    of, has_begun, is_interrupted = progress(), threading.Event(), threading.Event()

    def run(job: int) -> int:
        has_begun.set()
        is_interrupted.wait(60)
        return job

    def interrupt(_: RunProgress) -> None:
        if has_begun.is_set() and not is_interrupted.is_set():
            is_interrupted.set()
            raise KeyboardInterrupt

    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - results come before the interrupt
        for job in run_all(range(9), run, 1, of, grace_s=60, on_progress=interrupt):
            done.append(job)  # noqa: PERF402 - kept though the loop raises
    assert done == [0]


def test_progress_counts_and_stops() -> None:
    of = RunProgress(total_objects=2, total_bytes=10)
    of.add(objects=1, source_bytes=4, rows=3, text_bytes=9, total_bytes=-1)
    of.add(objects=1)
    counts = (of.objects, of.source_bytes, of.rows, of.text_bytes, of.total_bytes)
    assert counts == (2, 4, 3, 9, 9)
    of.stop()
    with pytest.raises(Stopped):
        of.add(objects=1)
    assert of.objects == 2


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the whole block is what is tested
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            steps.append("end of the block")
        steps.append("behind it")
    assert steps == ["end of the block"]


def test_a_second_interrupt_does_not_wait() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012 - as above
        signal.raise_signal(signal.SIGINT)
        steps.append("first")
        signal.raise_signal(signal.SIGINT)
        steps.append("second")
    assert steps == ["first"]


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_a_started_call_has_its_result_or_its_error() -> None:
    assert started(threading.current_thread).result() is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        started(lambda: 1 // 0).result()


@pytest.mark.parametrize("number", [0, 1, 500, 1000, 1234])
def test_begun_items_are_all_given_in_order(number: int) -> None:
    with begun(iter(range(number)), 600) as items:
        assert list(items) == list(range(number))


def test_items_that_are_not_there_yet_are_none() -> None:
    may_go_on = threading.Event()

    def numbers() -> Iterator[int]:
        assert may_go_on.wait(60)
        yield 1

    with begun(numbers(), 600) as items:
        given = items.with_pauses()
        assert next(given) is None
        may_go_on.set()
        assert [item for item in given if item] == [1]


def test_jobs_run_while_the_next_are_not_known() -> None:
    first_is_done = threading.Event()

    def jobs() -> Iterator[int | None]:
        yield None
        yield 1
        while not first_is_done.is_set():
            yield None
        yield 2

    def run(job: int) -> int:
        first_is_done.set()
        return job

    assert list(run_all(jobs(), run, 2, progress())) == [1, 2]


def test_begun_items_end_with_the_error() -> None:
    def numbers() -> Iterator[int]:
        yield from range(700)
        raise ValueError("after 700")

    given: list[int] = []
    with begun(numbers(), 10_000) as items, pytest.raises(ValueError, match="after 700"):
        given.extend(items)
    # The group that it ends is lost with it.
    assert given == list(range(500))


def test_items_are_taken_before_they_are_asked_for_but_not_all() -> None:
    taken = 0
    is_enough = threading.Event()

    def numbers() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            if taken == 1000:
                is_enough.set()
            yield taken

    with begun(numbers(), 1000) as items:
        assert is_enough.wait(60)
        assert next(items) == 1
        assert taken <= 1000 + 3 * 500


# --- interrupts between any two steps -------------------------------------------------------------


class InterruptedAt:
    """Interrupts this thread before its nth instruction of Python, in whatever it calls."""

    def __init__(self, instruction: int) -> None:
        self.has_come = False
        self._left = instruction

    def __enter__(self) -> "InterruptedAt":
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        # Python itself drops an interrupt that comes in a callback of the garbage collection.
        if frame.f_code.co_filename in (__file__, _weakrefset.__file__):
            return None
        frame.f_trace_opcodes = True
        self._left -= event == "opcode"
        if not self._left:
            self._left = -1
            self.has_come = True
            signal.raise_signal(signal.SIGINT)
        return self._trace


# Of some 2,200 instructions; all of them have been tried.
STEPS = range(1, 10_000, 23)


@pytest.mark.parametrize("grace_s", [0, 60])
def test_an_interrupt_at_any_step_ends_a_run(grace_s: float) -> None:
    """No thread waits for a lock that the interrupted one kept, and all jobs have ended."""
    for step in STEPS:
        of = progress()
        jobs: dict[str, list[int]] = {"begun": [], "ended": []}

        def run(job: int, of: RunProgress = of, jobs: dict[str, list[int]] = jobs) -> int:
            jobs["begun"].append(job)
            try:
                of.add()
            finally:
                jobs["ended"].append(job)
            return job

        interrupted = InterruptedAt(step)
        with suppress(KeyboardInterrupt):
            with interrupted:
                results = list(run_all(range(4), run, 2, of, grace_s=grace_s))
            assert not interrupted.has_come, f"the interrupt at step {step} was lost"
            assert sorted(results) == [0, 1, 2, 3]
            return
        assert sorted(jobs["begun"]) == sorted(jobs["ended"]) == sorted(set(jobs["begun"]))
    pytest.fail("there are more steps than were tried")


def test_an_interrupt_at_any_step_ends_iterators() -> None:
    for step in STEPS:
        jobs = [partial(numbers, first, 3) for first in range(3)]
        interrupted = InterruptedAt(step)
        with suppress(KeyboardInterrupt):
            with interrupted:
                found = list(iterate_in_order(jobs, 2, 1))
            assert not interrupted.has_come, f"the interrupt at step {step} was lost"
            assert found == [0, 1, 2, 1, 2, 3, 2, 3, 4]
            return
    pytest.fail("there are more steps than were tried")


# --- iterators in threads -------------------------------------------------------------------------


def numbers(first: int, count: int) -> Generator[int, None, None]:
    yield from range(first, first + count)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("items_ahead", [1, 100])
def test_items_come_in_the_order_of_the_jobs(workers: int, items_ahead: int) -> None:
    jobs = [partial(numbers, first, first % 7) for first in range(0, 200, 3)]
    found = list(iterate_in_order(jobs, workers, items_ahead))
    assert found == [item for job in jobs for item in job()]


def test_jobs_run_at_once() -> None:
    all_run = threading.Barrier(3)

    def job() -> Generator[int, None, None]:
        yield all_run.wait(60)

    assert sorted(iterate_in_order([job] * 3, 3, 1)) == [0, 1, 2]


def test_a_failure_comes_behind_the_items_before_it() -> None:
    def fail() -> Generator[int, None, None]:
        yield 3
        raise ValueError("fails")

    jobs: list[Callable[[], Generator[int, None, None]]] = [
        partial(numbers, 1, 2),
        fail,
        partial(numbers, 9, 1),
    ]
    items = iterate_in_order(jobs, 2, 1)
    assert [next(items) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="fails"):
        next(items)


def test_jobs_end_when_nobody_asks_any_more() -> None:
    ended: list[str] = []

    def endless() -> Generator[int, None, None]:
        try:
            yield from iter(int, 1)
        finally:
            ended.append("job")

    items = iterate_in_order([endless] * 2, 2, 4, lambda: ended.append("requests"))
    assert next(items) == 0
    items.close()
    assert sorted(ended) == ["job", "job", "requests"]
