"""A lake and its source as the workers of an engine see them, with credentials of their own.

Workers write files that are not visible yet; only the driver, which holds the lake's lock,
publishes and commits them. So a worker that is frozen, cut off or started twice changes nothing
that counts.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

from flowconv.engines.workers import worker_name
from flowconv.errors import EngineError, FlowconvError, UsageError, redact
from flowconv.fields import Table
from flowconv.lake.layout import find_layout, lost_layout
from flowconv.lake.ledger import LostLockError
from flowconv.lake.locking import HEARTBEAT_S, read_holder
from flowconv.lake.paths import STAGING, is_of_generation
from flowconv.memory import giving_memory_back
from flowconv.running import RunProgress
from flowconv.source.fetching import requests_ended
from flowconv.source.opening import Source, open_source
from flowconv.storage.interface import Storage
from flowconv.storage.names import from_text, to_system
from flowconv.storage.opening import MAX_REQUESTS, open_storage

# What says who asks, not where and how.
_CREDENTIALS = ("key", "secret", "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a run reads and writes, as it is sent to workers; picklable.

    Attributes:
        lake: The lake.
        source: The source; None if the run reads none.
        lake_options: Storage options of the lake.
        source_options: Those of the source.
        max_requests: Most objects that are fetched from the source at once, in each worker.
    """

    lake: str
    source: str | None
    lake_options: Mapping[str, str]
    source_options: Mapping[str, str]
    max_requests: int = MAX_REQUESTS

    @classmethod
    def of(
        cls,
        lake: Storage,
        logs: Source | None,
        lake_options: Mapping[str, str],
        source_options: Mapping[str, str],
        max_requests: int = MAX_REQUESTS,
    ) -> "Places":
        """Return the places that a driver has opened."""
        return cls(
            lake=lake.location(""),
            source=None if logs is None else to_system(from_text(logs.root)),
            lake_options=lake_options,
            source_options=source_options,
            max_requests=max_requests,
        )

    @contextmanager
    def opened(self) -> Iterator[tuple[Storage, Source | None]]:
        """Open lake and source in a worker's process.

        At the end of the block the source's requests end, and free memory is given back.

        Raises:
            EngineError: The worker does not see the lake or the source, or has no access.
            StorageError: They do not answer.
        """
        source = self.source or ""
        logs = None
        try:
            lake = open_storage(self.lake, self.lake_options)
            if self.source is not None:
                logs = open_source(source, self.source_options, self.max_requests)
            has_lake = bool(lost_layout(lake) or find_layout(lake))
            if source.startswith("s3://"):
                next(open_storage(source, self.source_options).list_folder(), None)
        except FlowconvError as error:
            if error.unanswered:
                raise
            raise EngineError(
                f"the worker {worker_name()} has no access: {error} Workers use credentials of "
                "their own; see docs/scale-out.md."
            ) from error
        missing = [] if has_lake else [lake.root]
        if logs and logs.is_local and not os.path.lexists(source):
            missing.append(logs.root)
        if missing:
            raise EngineError(
                f"the worker {worker_name()} does not see {' and '.join(missing)}. All machines "
                "must see the same: use s3:// URLs, or a file system that they share, at the same "
                "path."
            )
        with giving_memory_back(), requests_ended(logs) if logs else nullcontext():
            yield lake, logs


class LockWatch:
    """Looks now and then whether a run still holds the lake's lock; for any thread.

    Jobs under way in a worker hear so that the run has ended, whatever engine runs them.
    """

    def __init__(self, lake: Storage, run_id: str) -> None:
        self._lake = lake
        self._run_id = run_id
        self._looked = -HEARTBEAT_S
        self._is_lost = False
        self._mutex = threading.Lock()

    def check(self) -> None:
        """Raise LostLockError if another run, or none, holds the lock."""
        with self._mutex:
            is_due = time.monotonic() - self._looked >= HEARTBEAT_S
            if is_due:
                self._looked = time.monotonic()
        if is_due:
            with suppress(FlowconvError):  # The lake does not answer just now.
                holder = read_holder(self._lake)
                self._is_lost = holder is None or holder.run_id != self._run_id
        if self._is_lost:
            raise LostLockError(self._lake.root)


@dataclass(slots=True, kw_only=True)
class WatchedProgress(RunProgress):
    """Progress of a job, which ends when its run does."""

    watch: Callable[[], None]

    def add(self, **counts: int) -> None:
        """See `RunProgress`."""
        self.watch()
        RunProgress.add(self, **counts)


def remove_lost_attempts(lake: Storage, generation: int) -> None:
    """Remove what workers of this run wrote and could not hand over: they died, for example.

    What a worker writes after that is removed by the next run.
    """
    unfinished = lake.list_unfinished(STAGING, (*Table, "_flowconv"))
    lake.discard([file for file in unfinished if is_of_generation(file.path, generation)])


def require_no_credentials(
    source_options: Mapping[str, str], dest_options: Mapping[str, str]
) -> None:
    """Check that no credentials would be sent to workers.

    Raises:
        UsageError: Some would be.
    """
    for flag, given in (("--source-option", source_options), ("--dest-option", dest_options)):
        for name, value in given.items():
            if name in _CREDENTIALS or redact(value) != value:
                raise UsageError(
                    f"{flag} {name}: credentials are not sent to the workers of an engine. Give "
                    "each machine its own, as AWS's tools do: a role, a profile, or the "
                    "environment."
                )
