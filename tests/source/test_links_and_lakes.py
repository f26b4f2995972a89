"""What is told apart below a source: links, lakes, and what cannot be listed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flowconv import ConvertOptions, convert, read, verify
from flowconv.conversion.dry_run import plan
from flowconv.errors import StorageError, UsageError
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions
from flowconv.source.opening import StorageSource
from flowconv.storage.interface import StoredFile
from flowconv.storage.local import LocalStorage
from support.lakes import ROW, V2, Key, write_objects

LOG = V2 + ROW


def run(source: Path, lake: Path, **options: bool) -> tuple[int, int]:
    report = convert(str(source), str(lake), ConvertOptions(**options))  # type: ignore[arg-type]
    return report.objects, report.lines.rows


def test_links_to_an_object_are_one(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_objects(logs, {Key("a.log"): LOG, Key("x/b.log"): LOG})
    (logs / "up").symlink_to(logs, target_is_directory=True)
    (logs / "x/round").symlink_to(logs / "x", target_is_directory=True)
    (logs / "x/a-again.log").symlink_to(logs / "a.log")
    assert run(logs, tmp_path / "lake") == (2, 2)


def test_links_out_of_the_source_count_once(tmp_path: Path) -> None:
    write_objects(tmp_path / "elsewhere", {Key("c.log"): LOG})
    write_objects(tmp_path / "logs", {Key("a.log"): LOG})
    for name in ("one", "two"):
        (tmp_path / "logs" / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert run(tmp_path / "logs", tmp_path / "lake") == (2, 2)


def test_the_same_source_by_another_path(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): LOG})
    assert run(tmp_path / "logs", tmp_path / "lake") == (1, 1)
    (tmp_path / "link").symlink_to(tmp_path / "logs", target_is_directory=True)
    for other in (tmp_path / "link", tmp_path / "logs/../logs"):
        report = convert(str(other), str(tmp_path / "lake"))
        assert (report.objects, report.already_converted) == (0, 1)


def test_source_within_the_lake_by_a_link(tmp_path: Path) -> None:
    write_objects(tmp_path / "place/logs", {Key("a.log"): LOG})
    (tmp_path / "link").symlink_to(tmp_path / "place", target_is_directory=True)
    with pytest.raises(UsageError, match="SOURCE lies within DEST"):
        convert(str(tmp_path / "place/logs"), str(tmp_path / "link"))


@pytest.mark.parametrize("folder", ["vpc", "tgw/a/b", "vpc/date=2026-01-14", "_flowconv/x"])
def test_lake_among_the_files_of_another(tmp_path: Path, folder: str) -> None:
    """Readers of the other would find its rows, and a repair would remove its files."""
    write_objects(tmp_path / "logs", {Key("a.log"): LOG})
    assert run(tmp_path / "logs", tmp_path / "lake") == (1, 1)
    for command in (convert, plan):
        with pytest.raises(UsageError, match=r"DEST lies among the files of the lake .*/lake, who"):
            command(str(tmp_path / "logs"), str(tmp_path / "lake" / folder))
    assert run(tmp_path / "logs", tmp_path / "lake/other") == (1, 1)
    assert verify(str(tmp_path / "lake")).complete


@pytest.mark.parametrize("folder", ["", "vpc", "vpc/date=2026-01-14/x", "_flowconv"])
def test_samples_among_the_files_of_a_lake(tmp_path: Path, folder: str) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): LOG})
    assert run(tmp_path / "logs", tmp_path / "lake") == (1, 1)
    files = sorted((tmp_path / "lake").rglob("*"))
    with pytest.raises(UsageError, match=r"this is flowconv's lake .*/lake or a part of it, no pl"):
        generate(tmp_path / "lake" / folder, GenerateOptions(records=1))
    assert sorted((tmp_path / "lake").rglob("*")) == files


def test_lakes_below_the_source(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_objects(logs, {Key("a.log"): LOG})
    assert run(logs, logs / "deep/lake") == (1, 1)
    report = convert(str(logs), str(tmp_path / "other"))
    assert (report.objects, report.left_out) == (1, {"lakes": 1})
    assert run(logs, logs / "deep/lake") == (0, 0)
    assert read(str(logs)).read_all().num_rows == 1


@pytest.mark.parametrize("below", ["", "vpc", "_flowconv"])
def test_a_lake_is_no_source(tmp_path: Path, below: str) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): LOG})
    run(tmp_path / "logs", tmp_path / "lake")
    with pytest.raises(UsageError, match="this is flowconv's lake"):
        convert(str(tmp_path / "lake" / below), str(tmp_path / "other"))


# One conversion imports all that is needed: somebody else may not read Python's own files.
AS_NOBODY = """
import json, os, sys
from flowconv import convert
source, warm, lake = sys.argv[1:]
convert(source, warm)
os.setgid(65534)
os.setuid(65534)
report = convert(source, lake)
print(json.dumps([report.objects, report.complete, report.unreadable]))
"""


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be somebody else"
)
def test_what_cannot_be_listed() -> None:
    """A denied folder, a link to nowhere, one in a circle and a pipe: the run goes on."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are root's
        top = Path(name)
        logs = top / "logs"
        write_objects(logs, {Key("a.log"): LOG, Key("denied/b.log"): LOG})
        (logs / "nowhere.log").symlink_to(logs / "gone")
        (logs / "circle").symlink_to(logs / "circle")
        os.mkfifo(logs / "pipe.log")
        (top / "lakes").mkdir()
        (top / "lakes").chmod(0o777)
        (logs / "denied").chmod(0)
        top.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(logs), str(top / "warm"), str(top / "lakes/one")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    objects, complete, unreadable = json.loads(done.stdout)
    assert (objects, complete) == (1, False)
    names = {Path(uri).name for uri in unreadable}
    assert names == {"denied", "nowhere.log", "circle", "pipe.log"}


def test_an_empty_source(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    lake = tmp_path / "lake"
    assert convert(str(tmp_path / "logs"), str(lake)).empty
    assert not convert(str(tmp_path / "logs"), str(lake), ConvertOptions(allow_empty=True)).empty
    write_objects(tmp_path / "logs", {Key("a.log"): LOG, Key("_SUCCESS"): b""})
    assert run(tmp_path / "logs", lake) == (1, 1)
    assert not convert(str(tmp_path / "logs"), str(lake)).empty
    with pytest.raises(StorageError, match="no such folder"):
        convert(str(tmp_path / "nowhere"), str(lake))
    assert verify(str(lake), source=str(tmp_path / "logs")).complete


def test_the_listing_begins_before_lakes_are_looked_for(tmp_path: Path) -> None:
    """In S3 the two need not wait for one another."""

    class Remote(LocalStorage):
        is_local = False
        asked: ClassVar[list[str]] = []

        def list_files(self, below: str = "") -> Iterator[StoredFile]:
            self.asked.append(below)
            return super().list_files(below)

        def list_first(self) -> Iterator[Any]:
            self.asked.append("the first file")
            return iter(())

        def list_folder(self, below: str = "") -> Iterator[Any]:
            self.asked.append(below)
            return super().list_folder(below)

    source = StorageSource(Remote(str(tmp_path)))
    assert list(source.list_objects()) == []
    assert Remote.asked == ["", "the first file", "_flowconv"]
