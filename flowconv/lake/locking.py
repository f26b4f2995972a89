"""One writer at a time: a lock file below the lake, with the holder's heartbeat.

The lock keeps runs from disturbing one another; it is not what keeps rows exact. If a holder is
taken for dead and wakes up, the ledger refuses its commits (see `ledger`). Its heart, if it was
stopped just between looking at the lock and writing to it, may write over the lock of the other;
then a third run may begin, and the second will fail like the first.
"""

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from flowconv.errors import FlowconvError, LakeError, StorageError
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.ledger import LostLockError
from flowconv.lake.paths import LOCK
from flowconv.running import uninterrupted
from flowconv.storage.interface import Storage

HEARTBEAT_S = 15.0

# Several heartbeats may be late, and clocks differ by seconds between machines.
LEASE_S = 120.0

# Two runs may find the same holder dead, and the slower one then removes the lock of the quicker
# one. So who takes over looks again after this time, which is long for two requests.
SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lake's lock.

    Attributes:
        run_id: The run.
        host: On which machine, for a reader.
        machine: Where processes see one another: a boot of a machine, and a container on it.
        pid: Its process there.
        process_start: When that process began, as the system counts; tells a reused number.
        since: When it took the lock, in UTC.
        heartbeat: When it last said that it lives, in UTC.
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
        """It is a process of this machine that is gone, or its lease is over."""
        if self.is_here:
            return _process_start(self.pid) != self.process_start
        return self.silent_s() > LEASE_S

    @property
    def is_here(self) -> bool:
        """It is a process of this machine."""
        return self.machine == _machine()

    def clock_skew(self) -> str:
        """Say, behind another sentence, that clocks differ; "" if they do not."""
        ahead_s = -self.silent_s()
        if ahead_s < HEARTBEAT_S:
            return ""
        return (
            f" Its last heartbeat lies {ahead_s:.0f} seconds in the future: the clocks of the two "
            f"machines differ, or the lock was left behind. --wait takes it over if it does not "
            f"change for {LEASE_S:.0f} seconds."
        )

    def silent_s(self) -> float:
        """Time since it last said that it lives, in seconds."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.heartbeat)).total_seconds()

    def __str__(self) -> str:
        """Say who it is, for a message."""
        return f"run {self.run_id}, process {self.pid} on {self.host}, since {self.since}"


class Lock:
    """Holds a lake's lock within a `with` block, and lets others know that its holder lives.

    Args:
        storage: The lake.
        run_id: The run that takes it.
        wait: Wait while somebody else has it, instead of failing.

    Raises:
        LakeError: On entering: somebody else has it, and `wait` is false.
        StorageError: On entering: the lake does not answer.
    """

    def __init__(self, storage: Storage, run_id: str, *, wait: bool = False) -> None:
        self._storage = storage
        self._wait = wait
        now = _now()
        process = (os.getpid(), _process_start(os.getpid()))
        self._holder = Holder(run_id, socket.gethostname(), _machine(), *process, now, now)
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
        settle_s = 0.0
        beat: Holder | None = None
        changed = time.monotonic()
        # Ours is what reads as ours, whether or not the answer to its writing came.
        while not self._is_ours(holder := read_holder(self._storage)):
            if holder != beat:
                beat, changed = holder, time.monotonic()
            # What its clock says does not matter, if it says the same all the time.
            is_silent = time.monotonic() - changed > LEASE_S
            if holder is None:
                self._storage.create(LOCK, _encode(self._holder))
                time.sleep(settle_s)
            elif holder.is_dead or (is_silent and not holder.is_here):
                self._storage.delete([LOCK])
                settle_s = SETTLE_S
            elif self._wait:
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
            return  # What was done is done; the lock ends with this process, or with its lease.
        if isinstance(error, StorageError | LakeError) and not ours:
            # Such as a file that is gone: whoever took over removes what does not count.
            raise LostLockError(self._storage.root) from error

    def _release(self) -> bool:
        """Remove the lock if it is ours, and tell whether it was."""
        with uninterrupted():
            self._released.set()
            if self._heart.is_alive():
                self._heart.join()
            ours = self._is_ours(read_holder(self._storage))
            if ours:
                self._storage.delete([LOCK])
        return ours

    def confirm(self) -> None:
        """Make sure that nobody has taken over.

        A run that reads the ledger before this, and begins after it, cannot begin if another did.

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
                    return  # Taken over; the next commit will find that out.
                alive = asdict(self._holder) | {"heartbeat": _now()}
                self._storage.write(LOCK, _encode(Holder(**alive)))
            except FlowconvError:
                continue  # The lake does not answer at the moment.


def read_holder(storage: Storage) -> Holder | None:
    """Return who holds the lake's lock; None if nobody does."""
    written = storage.read(LOCK)
    if written is None:
        return None
    try:
        holder = Holder(**unseal(written))
        holder.silent_s()
    except (ValueError, TypeError, RecursionError):
        # Not written by us, or by a later flowconv: nobody's that could be asked.
        raise LakeError(
            f"{LOCK} is damaged. If no run is under way, delete it.", uri=storage.root
        ) from None
    return holder


def _encode(holder: Holder) -> bytes:
    return seal(asdict(holder))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _machine() -> str:
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Containers may share a host's name, but not see its processes.
        return f"{boot_id} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # Not Linux.
        return socket.gethostname()


def _process_start(pid: int) -> str:
    """Return when a process of this machine began; "" if there is none such."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            # Behind the name, which may hold anything: state is the 3rd field, start the 22nd.
            fields = file.read().rpartition(b")")[2].split()
            return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):  # noqa: PTH112
            return ""
    try:  # Not Linux: the number must do.
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
