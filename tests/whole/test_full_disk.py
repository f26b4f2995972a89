"""A disk that fills up at any point of a run, or is read-only: a clear error, and no row is lost.

It is a file system in memory, which only root may mount.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowconv.lake.converted_objects import etags
from flowconv.lake.ledger import Ledger
from support.commands import invoke
from support.exactly_once import (
    LocalLake,
    Rows,
    arguments,
    assert_exact,
    assert_sound,
    body,
    by_object,
    object_path,
    rows_of,
    storage_of,
    tables,
    write_object,
)

OBJECTS = 4


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk, on which nothing else is."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = _mount(folder, "-t", "tmpfs", "tmpfs", "-o", "size=10m")
    if mounted.returncode:
        pytest.skip(f"only root may mount a disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _mount(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["mount", *options, str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for number in range(OBJECTS):
        write_object(tmp_path / "logs", number, body(f"eni-{number}", bad_lines=number % 2))
    return tmp_path / "logs"


def _convert(logs: Path, lake: LocalLake) -> tuple[int, str]:
    result = invoke(arguments(logs, lake))
    assert isinstance(result.exception, SystemExit | None)
    return result.exit_code, result.stderr


def _undisturbed(logs: Path, lake: LocalLake) -> dict[tuple[str, str], Rows]:
    assert _convert(logs, lake)[0] == 3
    rows = by_object(rows_of(tables(lake.names()), lake.fetch))
    paths = {str(logs / object_path(number)): f"eni-{number}" for number in range(OBJECTS)}
    converted = etags(Ledger.read(storage_of(lake)))
    return {(uri, etag): rows[paths[uri]] for uri, etag in converted.items()}


def test_a_disk_that_fills_up_anywhere(disk: Path, logs: Path, tmp_path: Path) -> None:
    wanted = _undisturbed(logs, LocalLake(tmp_path / "lake"))
    codes = []
    for kilobytes in range(4, 200, 8):
        lake = LocalLake(disk / str(kilobytes))
        used = int(subprocess.check_output(["du", "-sk", disk]).split()[0])
        assert not _mount(disk, "-o", f"remount,size={used + kilobytes}k").returncode
        code, message = _convert(logs, lake)
        assert code in (1, 3)
        assert ("the disk is full. Make room" in message) == (code == 1)
        assert "Traceback" not in message
        codes.append(code)
        assert not _mount(disk, "-o", "remount,size=10m").returncode
        assert_sound(lake, wanted)
        assert _convert(logs, lake)[0] in (0, 3)
        assert_exact(lake, wanted)
    assert {*codes} == {1, 3}


def test_a_disk_that_is_read_only(disk: Path, logs: Path) -> None:
    lake = LocalLake(disk / "lake")
    wanted = _undisturbed(logs, lake)
    assert not _mount(disk, "-o", "remount,ro").returncode
    write_object(logs, OBJECTS, body("eni-more"))
    code, message = _convert(logs, lake)
    assert code == 1
    assert "the file system is read-only. Choose another place." in message
    assert_exact(lake, wanted)
