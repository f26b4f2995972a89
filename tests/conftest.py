"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.hooks import EventAliaser  # type: ignore[import-untyped]
from botocore.loaders import create_loader  # type: ignore[import-untyped]
from hypothesis import settings

from flowconv import ConvertOptions, convert
from flowconv.samples.generating import generate
from support.exactly_once import Lake, LocalLake, S3Lake
from support.processes import Runs, prepared_runs
from support.s3_servers import S3Server, ceph_available, ceph_server, moto_server
from support.stories import Story, make_stories
from support.warm_start import WarmStart, warm_start

# An example's time depends on the machine. CI always tries the same ones.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "s3server: needs Ceph's S3 server (make test-s3)")


def pytest_xdist_auto_num_workers() -> int:
    # A fifth of the time of two would go by in waiting, for servers, leases and timeouts.
    return (os.cpu_count() or 1) * 3 // 2


def pytest_collection_finish() -> None:
    # What was imported stays: to look through it for garbage takes a tenth of a second each time.
    gc.collect()
    gc.freeze()
    # To look for garbage after every 700 objects takes a twelfth of the processor time.
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def _quick_clients() -> Iterator[None]:
    """What all clients have in common is made once; each would take 0.1 s for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        make, names = EventAliaser.__init__, dict[str, str]()

        def make_with_names(aliaser: Any, *args: Any) -> None:
            make(aliaser, *args)
            aliaser._alias_name_cache = names

        patch.setattr(EventAliaser, "__init__", make_with_names)
        yield


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Server]:
    """moto's S3 server, one for the whole run."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def ceph_s3() -> Iterator[S3Server]:
    """Ceph's S3 server, one for the whole run; tests that use it are marked `s3server`.

    Where Ceph is missing they are skipped, or fail if FLOWCONV_REQUIRE_S3 is 1.
    """
    if reason := ceph_available():
        if os.environ.get("FLOWCONV_REQUIRE_S3") == "1":
            pytest.fail(f"FLOWCONV_REQUIRE_S3=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    with ceph_server() as server:
        yield server


@pytest.fixture(params=["moto", pytest.param("ceph", marks=pytest.mark.s3server)])
def s3(request: pytest.FixtureRequest) -> S3Server:
    """Each of the servers: the same test against moto and, marked `s3server`, against Ceph."""
    server = request.getfixturevalue(f"{request.param}_s3")
    assert isinstance(server, S3Server)
    return server


@pytest.fixture
def no_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's settings of AWS reach no client in this process."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(scope="session", autouse=True)
def _quick_disk() -> Iterator[None]:
    """Files need not outlive the machine, and each fsync would take milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        yield


@pytest.fixture(scope="session")
def sample_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `flowconv generate` writes, in a folder; not to be changed."""
    folder = tmp_path_factory.mktemp("sample") / "logs"
    generate(folder)
    return folder


@pytest.fixture(scope="session")
def sample_lake(sample_logs: Path) -> Path:
    """The lake of the sample logs; not to be changed."""
    lake = sample_logs.parent / "lake"
    convert(str(sample_logs), str(lake), ConvertOptions(workers=2))
    return lake


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs of the command in processes that can be stopped and killed anywhere."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    with prepared_runs(tmp_path_factory.mktemp("runs")) as prepared:
        yield prepared


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmStart]:
    """The command in processes of its own, which are there at once."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    with warm_start() as started:
        yield started


@pytest.fixture(
    scope="session", params=["local", "moto", pytest.param("ceph", marks=pytest.mark.s3server)]
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """An empty place for a lake."""
    if request.param == "local":
        return LocalLake(tmp_path_factory.mktemp("lakes") / "lake")
    server = request.getfixturevalue(f"{request.param}_s3")
    return S3Lake(server, server.make_bucket())


@pytest.fixture(scope="session")
def stories(runs: Runs, place: Lake, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Story]:
    """Lakes that a run meets; not to be changed but in copies."""
    return make_stories(runs, place, tmp_path_factory)
