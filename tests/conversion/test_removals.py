"""What does not count any more: removed beside what follows, and waited for."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flowconv.conversion.committing import Removals
from flowconv.errors import StorageError
from flowconv.storage.local import LocalStorage


class Remote(LocalStorage):
    """A folder from which files are removed beside what follows, as from S3; `bad` cannot be."""

    is_local = False

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.deleted: list[Sequence[str]] = []

    def delete(self, paths: Sequence[str]) -> None:
        if "bad" in paths:
            raise StorageError("it does not answer")
        self.deleted.append(paths)


@pytest.fixture
def lake(tmp_path: Path) -> Remote:
    return Remote(str(tmp_path))


def test_groups_are_removed_in_order(lake: Remote) -> None:
    with Removals(lake) as removals:
        removals.begin(["files"], ["intent"])
    assert lake.deleted == [["files"], ["intent"]]


def test_an_intent_stays_if_its_files_do(lake: Remote) -> None:
    with pytest.raises(StorageError, match="does not answer"), Removals(lake) as removals:
        removals.begin(["bad"], ["intent"])
    assert lake.deleted == []


def test_the_first_failure_is_told(lake: Remote) -> None:
    def fail() -> None:
        with Removals(lake) as removals:
            removals.begin(["bad"])
            raise ValueError("before")

    with pytest.raises(ValueError, match="before"):
        fail()
