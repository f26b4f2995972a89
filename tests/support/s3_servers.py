"""Real S3 servers for tests: moto, which needs pip alone, and Ceph, which is a real object store.

Both listen on a free port of the loopback interface, keep everything in a temporary folder, and
check signatures: a wrong secret is refused, and so is another user's bucket. They stop when the
`with` block ends, and, where Linux's `setpriv` exists, also when the test process is killed.

Ceph comes from Debian's packages; neither systemd nor root is needed::

    apt-get install --no-install-recommends radosgw ceph-mon ceph-osd
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import botocore.session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

__all__ = [
    "ClientError",
    "S3Server",
    "S3User",
    "ServerError",
    "ceph_available",
    "ceph_server",
    "moto_server",
    "own_buckets_policy",
]

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 10.0
CEPH_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

CEPH_CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
auth cluster required = none
auth service required = none
auth client required = none
public network = 127.0.0.0/8
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
pid file = {folder}/$name.pid
crash dir = {folder}/crash
mon data = {folder}/mon
osd data = {folder}/osd
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
mon tick interval = 1
# With the intervals that Ceph comes with, the start takes 12 seconds instead of 1.
paxos propose interval = 0.05
paxos min wait = 0.01
ms bind ipv6 = false
[client.rgw]
# Without tcp_nodelay each small GET takes 44 ms: the answer's body waits for a delayed ACK.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
# Without these two radosgw hangs at its start.
ms mon client mode = crc
auth client required = none
# Else a LocationConstraint, as some clients send it, is refused.
rgw relaxed region enforcement = true
rgw thread pool size = 64
rgw override bucket index max shards = 1
rgw dynamic resharding = false
debug rgw = 0
"""

# For each request moto lists its own folder, and for each key of a listing it parses a time: half
# of the processor time that it takes.
MOTO = """\
from functools import cache

import botocore.utils
import moto.backends
from moto.server import main

modules = tuple(moto.backends.list_of_moto_modules())
moto.backends.list_of_moto_modules = lambda: modules
botocore.utils.parse_timestamp = cache(botocore.utils.parse_timestamp)
main()
"""


class ServerError(RuntimeError):
    """A server did not start; the message ends with the last lines of its logs."""


@dataclass(frozen=True, slots=True)
class S3User:
    """A user whom the server knows."""

    name: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server with two users, neither of whom may use the other's buckets.

    `pids` are the server's processes; the last one answers the HTTP requests. A page of a listing
    has `page_keys` keys at most.
    """

    kind: Literal["moto", "ceph"]
    endpoint_url: str
    region: str
    users: tuple[S3User, S3User]
    pids: tuple[int, ...]
    page_keys: int

    def storage_options(self, user: int = 0) -> dict[str, str]:
        """Return the storage options by which flowconv acts as a user."""
        return {
            "key": self.users[user].access_key,
            "secret": self.users[user].secret_key,
            "endpoint_url": self.endpoint_url,
            "region": self.region,
        }

    def environment(self, user: int = 0) -> dict[str, str]:
        """Return the variables by which any AWS client acts as a user.

        The caller's own configuration files are hidden. `AWS_PROFILE` and `AWS_SESSION_TOKEN`
        must not be set beside these.
        """
        return {
            "AWS_ACCESS_KEY_ID": self.users[user].access_key,
            "AWS_SECRET_ACCESS_KEY": self.users[user].secret_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Ceph 16 answers a trailing checksum with 411 MissingContentLength.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, user: int = 0, *, secret_key: str | None = None) -> Any:
        """Return a botocore S3 client that acts as a user and never retries.

        Args:
            user: Index in `users`.
            secret_key: Signs with this instead of the user's own secret.
        """
        owner = self.users[user]
        return _client(
            "s3", self.endpoint_url, self.region, owner.access_key, secret_key or owner.secret_key
        )

    def set_policy(self, user: int, policy: str) -> None:
        """Say what a user may do from now on; moto alone, and by a first user who may use IAM."""
        first = self.users[0]
        iam = _client("iam", self.endpoint_url, self.region, first.access_key, first.secret_key)
        name = self.users[user].name
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy)

    def make_bucket(self, user: int = 0) -> str:
        """Make an empty bucket that no other user may touch, and return its name."""
        # The name begins with the user's because moto knows no owners: there the users' policies
        # keep them apart, and a policy can only go by the name.
        name = f"{self.users[user].name}-{secrets.token_hex(6)}"
        self.client(user).create_bucket(Bucket=name)
        return name


@contextmanager
def moto_server(policies: Mapping[str, str] | None = None) -> Iterator[S3Server]:
    """Run moto's server in a process of its own, with authentication on.

    Args:
        policies: Names of the two users, and what each may do, as IAM has it; without it, all with
            Glue and with buckets whose names begin with the user's own.

    Raises:
        ServerError: It did not start.
    """
    region = "us-east-1"
    policies = policies or {name: own_buckets_policy(name) for name in ("user0", "user1")}
    with ExitStack() as stack:
        folder = _temporary_folder(stack)
        port = _free_port()
        endpoint_url = f"http://127.0.0.1:{port}"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("AWS_")
        }
        # moto leaves the first N calls unchecked. They must be exactly the calls below: one fewer
        # and a test's first request would pass with any secret, one more and the last is refused.
        calls_per_user = 3
        environment["INITIAL_NO_AUTH_ACTION_COUNT"] = str(calls_per_user * len(policies))
        # As 1000 in S3, but a test of several pages need not write so many objects.
        page_keys = 100
        environment["MOTO_S3_DEFAULT_MAX_KEYS"] = str(page_keys)
        command = [sys.executable, "-c", MOTO, "-H", "127.0.0.1", "-p", str(port)]
        process = _start(stack, command, folder / "moto.log", environment)
        _wait_until(lambda: _accepts(port), "moto", [process], folder)

        iam = _client("iam", endpoint_url, region, "unchecked", "unchecked")
        users = []
        for name, policy in policies.items():
            iam.create_user(UserName=name)
            key = iam.create_access_key(UserName=name)["AccessKey"]
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy)
            users.append(S3User(name, key["AccessKeyId"], key["SecretAccessKey"]))
        yield S3Server(
            kind="moto",
            endpoint_url=endpoint_url,
            region=region,
            users=(users[0], users[1]),
            pids=(process.pid,),
            page_keys=page_keys,
        )


def ceph_available() -> str | None:
    """Say why `ceph_server` cannot run here; None if it can."""
    if sys.platform != "linux":
        return f"Ceph's server runs on Linux only, not on {sys.platform}"
    missing = [program for program in CEPH_PROGRAMS if _which(program) is None]
    if not missing:
        return None
    return (
        f"Ceph is not installed (no {', '.join(missing)}). On Debian and Ubuntu: "
        "apt-get install --no-install-recommends radosgw ceph-mon ceph-osd"
    )


@contextmanager
def ceph_server() -> Iterator[S3Server]:
    """Run a Ceph cluster of one monitor, one store in memory and one RADOS Gateway.

    Raises:
        ServerError: Ceph is not installed, or one of its daemons did not start.
    """
    if reason := ceph_available():
        raise ServerError(reason)
    with ExitStack() as stack:
        folder = _temporary_folder(stack)
        port, mon_port = _free_port(), _free_port()
        fsid, osd_uuid = str(uuid.uuid4()), str(uuid.uuid4())
        config = folder / "ceph.conf"
        config.write_text(
            CEPH_CONFIG.format(fsid=fsid, folder=folder, port=port, mon_port=mon_port)
        )
        for name in ("mon", "osd", "rgw", "crash"):
            (folder / name).mkdir()
        daemons: list[subprocess.Popen[bytes]] = []

        def run(*command: str) -> None:
            _run(_ceph_command(config, *command), folder, daemons)

        def start(*command: str) -> None:
            # In the foreground: so they stay children, whose end is seen and can be waited for.
            log = folder / f"{command[0]}.output.log"
            daemons.append(_start(stack, _ceph_command(config, *command, "-f"), log))

        monmap = str(folder / "monmap")
        address = f"[v2:127.0.0.1:{mon_port}]"
        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
        run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        start("ceph-mon", "-i", "a")
        run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_uuid)
        run("ceph", "osd", "create", osd_uuid)
        start("ceph-osd", "-i", "0")
        start("radosgw", "-n", "client.rgw")
        _wait_until(lambda: _accepts(port), "radosgw", daemons, folder)

        users = (_new_user("user0"), _new_user("user1"))
        for user in users:
            run(
                *("radosgw-admin", "user", "create"),
                *(f"--uid={user.name}", f"--display-name={user.name}"),
                *(f"--access-key={user.access_key}", f"--secret-key={user.secret_key}"),
            )
        pids = tuple(daemon.pid for daemon in daemons)
        yield S3Server(
            kind="ceph",
            endpoint_url=f"http://127.0.0.1:{port}",
            region="us-east-1",
            users=users,
            pids=pids,
            page_keys=1000,
        )


def _new_user(name: str) -> S3User:
    return S3User(name, secrets.token_hex(10).upper(), secrets.token_hex(20))


def own_buckets_policy(user: str) -> str:
    return (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*",'
        f' "Resource": ["arn:aws:s3:::{user}-*"]}},'
        ' {"Effect": "Allow", "Action": "glue:*", "Resource": "*"}]}'
    )


# To read how a service is described takes a tenth of a second; clients may be shared by threads.
@cache
def _client(service: str, endpoint_url: str, region: str, access_key: str, secret_key: str) -> Any:
    return botocore.session.Session().create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path"},
        ),
    )


def _ceph_command(config: Path, program: str, *arguments: str) -> list[str]:
    path = _which(program)
    assert path is not None, f"{program}: ceph_available() found it"
    # monmaptool alone reads no configuration.
    options = () if program == "monmaptool" else ("-c", str(config))
    return [path, *arguments, *options]


def _which(program: str) -> str | None:
    # Daemons may lie in sbin, which is not on every user's path.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _temporary_folder(stack: ExitStack) -> Path:
    # Not below pytest's folder: a daemon's Unix socket must have a path of at most 107 bytes.
    folder = tempfile.TemporaryDirectory(prefix="s3-", ignore_cleanup_errors=True)
    return Path(stack.enter_context(folder))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _start(
    stack: ExitStack,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that ends, at the latest, when the stack is closed."""
    # Linux sends the signal when the thread that started the process ends; in any other than the
    # main one that may be long before the server is done with.
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and (setpriv := shutil.which("setpriv")):
        command = [setpriv, "--pdeathsig", "KILL", *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C is for the tests; they stop the server when they are through with it.
            start_new_session=True,
        )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    # A test may have stopped it with SIGSTOP, and it would not see SIGTERM then.
    # Nothing in the folder is needed afterwards, so there is no reason to wait for a tidy end.
    process.send_signal(signal.SIGKILL)
    process.wait(STOP_TIMEOUT_S)


def _run(command: Sequence[str], folder: Path, daemons: Sequence[subprocess.Popen[bytes]]) -> None:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=START_TIMEOUT_S,
            cwd=folder,
        )
    except subprocess.TimeoutExpired as exc:
        raise ServerError(
            f"{name} did not end within {START_TIMEOUT_S:.0f} s{_logs(folder)}"
        ) from exc
    if done.returncode != 0:
        output = done.stdout.decode(errors="replace").strip()
        ended = "".join(f"\n{_describe(d)}" for d in daemons if d.poll() is not None)
        raise ServerError(
            f"{' '.join(command)}: exit code {done.returncode}\n{output}{ended}{_logs(folder)}"
        )


def _wait_until(
    ready: Callable[[], bool],
    name: str,
    processes: Sequence[subprocess.Popen[bytes]],
    folder: Path,
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        for process in processes:
            if process.poll() is not None:
                raise ServerError(f"{_describe(process)}{_logs(folder)}")
        if time.monotonic() > deadline:
            raise ServerError(
                f"{name} did not answer within {START_TIMEOUT_S:.0f} s{_logs(folder)}"
            )
        time.sleep(0.02)


def _describe(process: subprocess.Popen[bytes]) -> str:
    assert isinstance(process.args, list)
    return f"{' '.join(process.args)}: ended, exit code {process.returncode}"


def _logs(folder: Path, lines: int = 15) -> str:
    """Return the last lines of each log in the folder, to end an error message with."""
    text = ""
    for log in sorted(folder.glob("*.log")):
        if tail := log.read_text(errors="replace").splitlines()[-lines:]:
            text += f"\n--- {log.name}\n" + "\n".join(tail)
    return text
