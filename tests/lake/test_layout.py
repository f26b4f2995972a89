"""lake.json: what all files of a lake have in common."""

from pathlib import Path
from typing import NoReturn

from flowconv.lake.layout import ensure_layout, read_layout
from flowconv.lake.paths import LAYOUT, record_path
from flowconv.options import ConvertOptions
from flowconv.storage.local import LocalStorage


def test_a_lake_that_begins_while_it_is_read(tmp_path: Path) -> None:
    """It has a record by the time that its ledger is listed."""

    class BegunMeanwhile(LocalStorage):
        reads = 0

        def read(self, path: str) -> bytes | None:
            self.reads += path == LAYOUT
            return None if self.reads == 1 else super().read(path)

    begun = ensure_layout(LocalStorage(str(tmp_path)), ConvertOptions(workers=1), None, {})
    LocalStorage(str(tmp_path)).write(record_path(1), b"")
    assert read_layout(BegunMeanwhile(str(tmp_path))) == begun


def test_the_ledger_is_not_listed_for_it(tmp_path: Path) -> None:
    class WithoutLists(LocalStorage):
        def list_files(self, below: str = "") -> NoReturn:
            raise AssertionError(below)

    begun = ensure_layout(LocalStorage(str(tmp_path)), ConvertOptions(workers=1), None, {})
    assert read_layout(WithoutLists(str(tmp_path))) == begun
