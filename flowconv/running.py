"""Runs jobs in threads: the tasks of a conversion, the checks of a verification."""

import atexit
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Job = TypeVar("Job")
Result = TypeVar("Result")

# Time between two calls of `on_progress`.
_TICK_S = 0.2

# Of jobs that wait for other machines, two for each place there.
MOST_THREADS = 2048

# Items that threads pass on together: one by one they take 20 us each.
_GROUP = 500


class Stopped(Exception):  # noqa: N818 - it is a request, not an error
    """Raised within a job that was asked to stop."""


@dataclass(slots=True, kw_only=True)
class RunProgress:
    """Progress of a run; jobs add to it, the caller reads it.

    Attributes:
        total_objects: Number of objects to read, as far as they are known.
        total_bytes: Their size as they are stored; where this is not known before, an estimate
            until they are read.
        objects: Number of objects read so far.
        source_bytes: Their size so far.
        rows: Rows parsed so far.
        text_bytes: Text parsed so far.
    """

    total_objects: int
    total_bytes: int
    objects: int = 0
    source_bytes: int = 0
    rows: int = 0
    text_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_stopped: bool = False

    def add(
        self,
        *,
        objects: int = 0,
        source_bytes: int = 0,
        rows: int = 0,
        text_bytes: int = 0,
        total_objects: int = 0,
        total_bytes: int = 0,
    ) -> None:
        """Count work that was done, and correct the total.

        Raises:
            Stopped: The run is to end; the job must clean up and return.
        """
        if self._is_stopped:
            raise Stopped
        with self._lock:
            self.objects += objects
            self.source_bytes += source_bytes
            self.rows += rows
            self.text_bytes += text_bytes
            self.total_objects += total_objects
            self.total_bytes += total_bytes

    def stop(self) -> None:
        """Ask all jobs to stop."""
        self._is_stopped = True


def started(call: Callable[[], Result]) -> "Future[Result]":
    """Begin a call in a thread of its own, which the end of the program does not wait for."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # Raised where the result is asked for.
            future.set_exception(error)

    threading.Thread(target=run, name="flowconv-started", daemon=True).start()
    return future


class Begun(Iterator[Job], Generic[Job]):
    """Items that another thread takes; see `begun`."""

    def __init__(self, groups: "queue.Queue[tuple[list[Job], BaseException | None]]") -> None:
        self._groups = groups
        self._items = self._give()

    def __next__(self) -> Job:
        """Return the next item, and wait for it."""
        while (item := next(self._items)) is None:
            pass
        return item

    def with_pauses(self) -> Iterator[Job | None]:
        """Give the other items, and None now and then while there is none."""
        return self._items

    def _give(self) -> Iterator[Job | None]:
        while True:
            # Without a limit an interrupt would wait on Windows.
            try:
                group, error = self._groups.get(timeout=_TICK_S)
            except queue.Empty:
                yield None
                continue
            if error:
                raise error
            if not group:
                return
            yield from group


@contextmanager
def begun(items: Iterator[Job], most: int) -> Iterator[Begun[Job]]:
    """Take items from an iterator in a thread of its own, before they are asked for.

    Args:
        items: The iterator; only that thread uses it.
        most: So many items wait at most, a few more or less.

    Yields:
        The same items, and the error that ends them.
    """
    groups: queue.Queue[tuple[list[Job], BaseException | None]] = queue.Queue(
        max(1, most // _GROUP)
    )
    left = threading.Event()

    def put(group: list[Job], error: BaseException | None) -> None:
        while not left.is_set():
            with suppress(queue.Full):
                groups.put((group, error), timeout=_TICK_S)
                return

    def take() -> None:
        try:
            while not left.is_set() and (group := list(islice(items, _GROUP))):
                put(group, None)
        except BaseException as error:  # noqa: BLE001  # Raised where the items are taken.
            put([], error)
        else:
            put([], None)

    threading.Thread(target=take, name="flowconv-begun", daemon=True).start()
    try:
        yield Begun(groups)
    finally:
        left.set()


def run_all(
    jobs: Iterable[Job | None],
    run: Callable[[Job], Result],
    workers: int | Callable[[], int],
    progress: RunProgress,
    *,
    grace_s: float = 0.0,
    on_progress: Callable[[RunProgress], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Run jobs in threads; the heavy calls of a job must release the interpreter's lock.

    - When a job raises, the jobs under way are asked to stop and waited for. Each either leaves
      nothing behind, or is done and has its result yielded.
    - When the caller is interrupted (Ctrl-C), they first have the grace to finish; a second
      interrupt ends it.

    Args:
        jobs: The jobs, in the order in which they begin; None if the next is not known yet.
        run: Does a job. It calls `progress.add` several times a second, which raises if it must
            stop.
        workers: Number of threads; or what tells how many jobs may be under way now, at most
            `MOST_THREADS`: jobs that wait for other machines.
        progress: Gets what the jobs have done.
        grace_s: Time in seconds for jobs under way to finish after an interrupt.
        on_progress: Called in this thread several times a second.
        on_stop: Called when the jobs under way must end at once, for example to abort requests.

    Yields:
        Results, in the order in which jobs finish.

    Raises:
        KeyboardInterrupt: The caller was interrupted, and no job is under way any more. A result
            may be lost with it: what must be counted is counted by the job.
    """
    deadline: float | None = None

    def stop() -> None:
        progress.stop()
        if on_stop:
            on_stop()

    with _workers(MOST_THREADS if callable(workers) else workers, stop) as begin:
        under_way = _UnderWay(begin, workers, jobs, run, stop)
        try:
            while True:
                # An interrupt may come at any point here, with the same effect.
                try:
                    yield from under_way.results()
                    if deadline is not None and time.monotonic() >= deadline:
                        stop()
                    if not under_way.wait():
                        break
                    if on_progress:
                        on_progress(progress)
                except KeyboardInterrupt:
                    now = time.monotonic()
                    deadline = now + grace_s if deadline is None else now
                    under_way.begin_no_more()
        finally:
            progress.stop()
            under_way.begin_no_more()
    if under_way.failure is not None:
        raise under_way.failure
    if deadline is not None:
        raise KeyboardInterrupt


class _UnderWay(Generic[Job, Result]):
    """Jobs that have begun, or wait for a thread.

    The thread that waits for them may be interrupted between any two steps, and shares no lock
    with theirs: it would keep it. (`concurrent.futures.wait` does, of each future, and so a job
    never ends.)

    Attributes:
        failure: What the first job that failed raised.
    """

    def __init__(
        self,
        begin: Callable[[Callable[[], None]], None],
        workers: int | Callable[[], int],
        jobs: Iterable[Job | None],
        run: Callable[[Job], Result],
        stop: Callable[[], None],
    ) -> None:
        self.failure: BaseException | None = None
        self._begin = begin
        self._workers = workers
        self._jobs = iter(jobs)
        self._run = run
        self._stop = stop
        self._runs: list[_Run[Result]] = []
        self._done: list[_Run[Result]] = []
        self._ends: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self) -> bool:
        """Begin jobs and wait until one has ended, or for a tick; False when all have ended."""
        # A second job per thread waits, so no thread idles while results are handled.
        most = 2 * (self._workers() if callable(self._workers) else self._workers)
        is_last = True
        for job in islice(self._jobs, max(0, most - len(self._runs))):
            if job is None:
                is_last = False
                break
            begun = _Run(partial(self._run, job), self._ends)
            self._runs.append(begun)
            self._begin(begun)
        if not self._runs:
            return not is_last
        with suppress(queue.Empty):
            self._ends.get(timeout=_TICK_S)
            while True:
                self._ends.get_nowait()
        # One statement: an interrupt must not lose what was done.
        self._done, self._runs = _parted(self._runs)
        return True

    def results(self) -> Iterator[Result]:
        """Yield the results of the jobs that have ended; the first failure stops all others."""
        done, self._done = self._done, []
        for run in done:
            if not run.error:
                yield from run.results
            elif not isinstance(run.error, Stopped):
                # Other jobs may be committing, and their results must be yielded.
                self.failure = self.failure or run.error
                self.begin_no_more()
                self._stop()

    def begin_no_more(self) -> None:
        """Forget the jobs that have not begun."""
        self._jobs = iter(())
        for run in self._runs:
            run.is_cancelled = True
            # Again: the interrupt may have come before it was given to the threads.
            self._begin(run)


class _Run(Generic[Result]):
    """A job that is run once, unless it is cancelled before.

    Attributes:
        is_cancelled: Whether it is not to begin.
        has_ended: Whether it was run, or will never be.
        results: Its result, once it has ended without error.
        error: What it raised.
    """

    def __init__(self, job: Callable[[], Result], ends: "queue.SimpleQueue[None]") -> None:
        self.is_cancelled = False
        self.has_ended = False
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self._job = job
        self._ends = ends
        self._has_begun = threading.Lock()

    def __call__(self) -> None:
        """Run it, and tell its end."""
        if not self._has_begun.acquire(blocking=False):
            return
        try:
            if not self.is_cancelled:
                self.results.append(self._job())
        except BaseException as error:  # noqa: BLE001  # Raised where the results are taken.
            self.error = error
        self.has_ended = True
        self._ends.put(None)


def _parted(runs: list[_Run[Result]]) -> tuple[list[_Run[Result]], list[_Run[Result]]]:
    """Return those that have ended, and the others."""
    parts: tuple[list[_Run[Result]], list[_Run[Result]]] = [], []
    for run in runs:
        parts[not run.has_ended].append(run)
    return parts


def iterate_in_order(
    jobs: Iterable[Callable[[], Generator[Item, None, None]]],
    workers: int,
    items_ahead: int,
    on_stop: Callable[[], object] = bool,
) -> Generator[Item, None, None]:
    """Run iterators in threads, and give what they yield in the order of the jobs.

    One job more than there are threads is begun. A job goes on until `items_ahead` of its items
    wait to be asked for.

    Args:
        jobs: Each makes an iterator, in a thread.
        workers: Number of threads.
        items_ahead: Of each job.
        on_stop: Called if this ends before the jobs do, for example to abort requests.

    Raises:
        Exception: What a job raised, behind its items.
    """
    to_begin = iter(jobs)
    under_way: deque[_Ahead[Item]] = deque()

    def give_up() -> None:
        for items in under_way:
            items.give_up()
        on_stop()

    with _workers(workers, give_up) as begin:
        while True:
            for job in islice(to_begin, workers + 1 - len(under_way)):
                under_way.append(_Ahead(job, items_ahead))
                begin(under_way[-1].run)
            if not under_way:
                return
            yield from under_way[0]
            under_way.popleft()


class _Ahead(Generic[Item]):
    """The items of an iterator that another thread runs, before they are asked for.

    Unlike `queue.Queue` it has no lock that a thread which is interrupted would keep.

    Args:
        job: Makes the iterator, in the other thread.
        most: So many items wait at most.
    """

    def __init__(self, job: Callable[[], Generator[Item, None, None]], most: int) -> None:
        self._job = job
        self._items: queue.SimpleQueue[tuple[Item, ...] | Exception] = queue.SimpleQueue()
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_wanted = True
        for _ in range(most):
            self._places.put(None)

    def run(self) -> None:
        """Run the iterator, in the other thread."""
        try:
            with closing(self._job()) as iterator:
                for item in iterator:
                    self._put((item,))
            self._put(())
        except _NotWantedError:
            return
        except Exception as error:  # noqa: BLE001 - raised where the items are asked for
            with suppress(_NotWantedError):
                self._put(error)

    def __iter__(self) -> Iterator[Item]:
        """Wait for the items, and give them.

        Raises:
            Exception: What the iterator raised, behind its items.
        """
        while item := self._items.get():
            self._places.put(None)
            if isinstance(item, Exception):
                raise item
            yield from item

    def give_up(self) -> None:
        """End the iterator soon: nothing more is wanted."""
        self._is_wanted = False
        self._places.put(None)

    def _put(self, item: tuple[Item, ...] | Exception) -> None:
        """Wait for a place, and add an item."""
        self._places.get()
        if not self._is_wanted:
            self._places.put(None)
            raise _NotWantedError
        self._items.put(item)


class _NotWantedError(Exception):
    """Raised where an item is added that nobody will take."""


@contextmanager
def _workers(
    most: int, give_up: Callable[[], None]
) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield what gives a call to one of some threads, which end with the block.

    A thread is started when all others are busy. They are asked to end where the block is left
    early, and at the end of the program: who keeps an iterator and reads no further must not wait
    for ever.

    Args:
        most: So many threads at most.
        give_up: Asks the calls under way to end.
    """
    calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
    threads: list[threading.Thread] = []
    idle = 0
    lock = threading.Lock()

    def start() -> None:
        nonlocal idle
        thread = threading.Thread(target=work, name="flowconv-worker", daemon=True)
        thread.start()
        threads.append(thread)
        idle += 1

    def work() -> None:
        nonlocal idle
        while (call := calls.get()) is not None:
            with lock:
                idle -= 1
                # By one of them, since an interrupt does not come here. Where the system has no
                # more threads, there are as many as there are.
                if not idle and len(threads) < most:
                    with suppress(RuntimeError):
                        start()
            call()
            with lock:
                idle += 1
        calls.put(None)  # For the next.

    def end() -> None:
        calls.put(None)
        for thread in threads:
            thread.join()

    def stop() -> None:
        give_up()
        end()

    atexit.register(stop)
    try:
        with uninterrupted():
            start()
        yield calls.put
    except BaseException:
        stop()
        raise
    else:
        end()
    finally:
        atexit.unregister(stop)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an interrupt until the end of this block, which must be short; a second one is not.

    Signal handlers are called at once; only the KeyboardInterrupt is delayed.

    Raises:
        KeyboardInterrupt: There was an interrupt, and the block did not fail.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread is interrupted.
        return
    interrupts: list[KeyboardInterrupt] = []
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    handlers: dict[int, Any] = {n: signal.getsignal(n) for n in numbers if n is not None}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}

    def hold(number: int, frame: Any) -> None:
        try:
            handlers[number](number, frame)
        except KeyboardInterrupt as interrupt:
            interrupts.append(interrupt)
            if interrupts[1:]:
                raise

    try:
        for number in handlers:
            signal.signal(number, hold)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if interrupts:
        raise KeyboardInterrupt
