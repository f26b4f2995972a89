"""One writer at a time: a lock file below the lake, with the holder's heartbeat.

The lock keeps runs from disturbing one another; rows are exact without it. If a holder is taken
for dead and wakes up, the ledger refuses its commits (see `ledger`). A heartbeat that pauses
between reading the lock and writing it may overwrite the new holder's lock. Then a third run may
begin, and the second fails like the first.
"""

import os
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from flowconv.errors import FlowconvError, LakeError, StorageError
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.ledger import Ledger, LostLockError
from flowconv.lake.paths import LOCK
from flowconv.running import started, uninterrupted
from flowconv.storage.interface import Storage

HEARTBEAT_S = 15.0

# Long enough for several late heartbeats, and for clocks that differ by seconds.
LEASE_S = 120.0

# Two runs may find the same holder dead, and the slower run then removes the quicker run's lock. So
# a run that takes over reads the lock again after this time, in which two requests are done.
SETTLE_S = 0.5


class Holder(NamedTuple):
    """The run that holds a lake's lock.

    Attributes:
        run_id: The run.
        host: Name of its machine, for messages.
        machine: Id of its machine's boot and of its container: processes of one id see each other.
        pid: Its process there.
        process_start: Start of that process, as the system counts; shows that a pid was reused.
        since: Time at which it took the lock, in UTC.
        heartbeat: Time of its last heartbeat, in UTC.
    """

    run_id: str
    host: str
    machine: str
    pid: int
    process_start: str
    since: str
    heartbeat: str

    @property
    def is_dead(self) -> bool:
        """Its process on this machine is gone, or its lease on another machine is over."""
        if self.is_here:
            return _process_start(self.pid) != self.process_start
        return self.silent_s() > LEASE_S

    @property
    def is_here(self) -> bool:
        """It is a process of this machine."""
        return self.machine == _machine()

    def clock_skew(self) -> str:
        """Return a sentence, with a space before it, if its clock is ahead; else ""."""
        ahead_s = -self.silent_s()
        if ahead_s < HEARTBEAT_S:
            return ""
        return (
            f" Its last heartbeat lies {ahead_s:.0f} seconds in the future: the clocks of the two "
            f"machines differ, or the lock was left behind. --wait takes it over if it does not "
            f"change for {LEASE_S:.0f} seconds."
        )

    def silent_s(self) -> float:
        """Time since its last heartbeat, in seconds."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.heartbeat)).total_seconds()

    def __str__(self) -> str:
        """Describe it for a message."""
        return f"run {self.run_id}, process {self.pid} on {self.host}, since {self.since}"


def new_run_id(began: datetime | None = None) -> str:
    """Return the id of a run, such as `20260114T020000Z-1a2b3c`: when it began, and chance.

    Args:
        began: In UTC; None is now.
    """
    return f"{began or datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.urandom(3).hex()}"


class Lock:
    """Holds a lake's lock within a `with` block, and sends heartbeats.

    Args:
        storage: The lake.
        run_id: The run that takes it.
        wait: Wait while another run holds it, instead of failing.

    Raises:
        LakeError: On entering: another run holds it, and `wait` is false.
        StorageError: On entering: the lake does not answer.

    Attributes:
        has_waited: Another run held it when it was asked for first.
    """

    def __init__(self, storage: Storage, run_id: str, *, wait: bool = False) -> None:
        self.has_waited = False
        self._storage = storage
        self._wait = wait
        self._looked: tuple[float, Future[Holder | None]] | None = None
        now = _now()
        self._holder = Holder(
            run_id=run_id,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            process_start=_process_start(os.getpid()),
            since=now,
            heartbeat=now,
        )
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="flowconv-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._take()
            self._heart.start()
        except KeyboardInterrupt:
            with suppress(FlowconvError):
                self._release()
            raise
        return self

    def _take(self) -> None:
        # It is free as a rule: a request less than if it were read first.
        if self._storage.create(LOCK, _encode(self._holder)):
            return
        settle_s = 0.0
        last_seen: Holder | None = None
        changed = time.monotonic()
        # The lock's content decides: after a takeover here, and in `confirm` otherwise.
        while not self._is_ours(holder := read_holder(self._storage)):
            if holder != last_seen:
                last_seen, changed = holder, time.monotonic()
            # A heartbeat that stays the same is dead, whatever its clock says.
            is_silent = time.monotonic() - changed > LEASE_S
            if holder is None:
                if self._storage.create(LOCK, _encode(self._holder)) and not settle_s:
                    return
                time.sleep(settle_s)
            elif holder.is_dead or (is_silent and not holder.is_here):
                self._storage.delete([LOCK])
                settle_s = SETTLE_S
            elif self._wait:
                self.has_waited = True
                time.sleep(1)
            else:
                raise LakeError(
                    f"this lake is being written by {holder}. Wait for it (--wait), or run again "
                    f"later.{holder.clock_skew()}",
                    uri=self._storage.root,
                )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            ours = self._release()
        except FlowconvError:
            return  # The work is done; the lock ends with this process, or with its lease.
        if isinstance(error, StorageError | LakeError) and not ours:
            # The new holder may have caused it, by removing files that do not count.
            raise LostLockError(self._storage.root) from error

    def look_ahead(self) -> None:
        """Look who holds the lock beside this run's last requests; in a folder that costs nothing.

        What is found decides whether the lock is removed, unless they take longer than a heartbeat.
        """
        if not self._storage.is_local:
            self._looked = (time.monotonic(), started(partial(read_holder, self._storage)))

    def _release(self) -> bool:
        """Remove the lock if this run holds it, and tell whether it did."""
        with uninterrupted():
            self._released.set()
            if self._heart.is_alive():
                self._heart.join()
            ours = self._is_ours(self._last_holder())
            if ours:
                self._storage.delete([LOCK])
        return ours

    def _last_holder(self) -> Holder | None:
        if self._looked:
            began, holder = self._looked
            if time.monotonic() - began < HEARTBEAT_S:
                return holder.result()
        return read_holder(self._storage)

    def read_ledger(self) -> Ledger:
        """Read the lake's ledger, and do what `confirm` does while its records are read.

        Raises:
            LostLockError: Another run holds the lock.
            LakeError: The ledger is damaged, or records of it are gone.
            StorageError: The lake does not answer.
        """
        if self._storage.is_local:
            return Ledger.read(self._storage, on_listed=self.confirm)
        confirmed: list[Future[None]] = []
        ledger = Ledger.read(
            self._storage, on_listed=lambda: confirmed.append(started(self.confirm))
        )
        for look in confirmed:
            look.result()
        return ledger

    def confirm(self) -> None:
        """Check that this run still holds the lock.

        After this, `Ledger.begin` fails if another run has begun since this run listed the ledger.

        Raises:
            LostLockError: Another run holds the lock.
            StorageError: The lake does not answer.
        """
        if not self._is_ours(read_holder(self._storage)):
            raise LostLockError(self._storage.root)

    def _is_ours(self, holder: Holder | None) -> bool:
        return holder is not None and holder.run_id == self._holder.run_id

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            try:
                if not self._is_ours(read_holder(self._storage)):
                    return  # Taken over: the next commit fails.
                self._storage.write(LOCK, _encode(self._holder._replace(heartbeat=_now())))
            except FlowconvError:
                continue  # The lake does not answer just now.


def read_holder(storage: Storage) -> Holder | None:
    """Return the holder of the lake's lock; None if it is free.

    Raises:
        LakeError: The lock's file is damaged.
        StorageError: The lake does not answer.
    """
    written = storage.read(LOCK)
    if written is None:
        return None
    try:
        holder = Holder(**unseal(written))
        holder.silent_s()
    except (ValueError, TypeError, RecursionError):
        # Not written by flowconv, or by a later version.
        raise LakeError(
            f"{LOCK} is damaged. If no run is under way, delete it.", uri=storage.root
        ) from None
    return holder


def _encode(holder: Holder) -> bytes:
    return seal(holder._asdict())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _machine() -> str:
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Containers may share a host's name, but do not see each other's processes.
        return f"{boot_id} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # Not Linux.
        return socket.gethostname()


def _process_start(pid: int) -> str:
    """Return the start of a process of this machine; "" if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            # The name, in parentheses, may contain anything. State is field 3, start field 22.
            fields = file.read().rpartition(b")")[2].split()
            return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):  # noqa: PTH112
            return ""
    try:  # Not Linux: only the pid is checked.
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
