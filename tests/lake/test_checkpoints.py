"""Checkpoints: what is written comes back, and damage is named."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError
from flowconv.lake.checkpoint_names import PARTS, Part, PartFile, parse_part, part_name
from flowconv.lake.checkpoint_tables import files_table, objects_table
from flowconv.lake.checkpoints import Checkpoint
from flowconv.lake.expired import Expired
from flowconv.lake.ledger_listing import LedgerListing, list_ledger
from flowconv.lake.ledger_records import Commit, ConvertedObject, DataFile, Run
from flowconv.lake.paths import LEDGER
from flowconv.storage.local import LocalStorage

OLD, NEW = "srcaddr start end", "srcaddr start end vpc-id"
ENDED = Run(
    run_id="first",
    began=datetime(2026, 1, 14, 2, tzinfo=UTC),
    host="host",
    ended=datetime(2026, 1, 14, 3, tzinfo=UTC),
    report={"objects": 1, "failure": ""},
)
RUNS = {"first": ENDED, "second": replace(ENDED, run_id="second", ended=None, report={})}


def commit(task_id: str) -> Commit:
    converted = ConvertedObject(
        uri=f"s3://logs/{task_id}",
        size_bytes=100,
        etag="e1",
        day=date(2026, 1, 14),
        counts=LineCounts(header=1, rows=2, rejected=3, dropped=1),
        headers=(OLD, NEW),
        declared=(NEW,),
        unfit=(("/app", NEW),),
    )
    file = DataFile(path=f"vpc/{task_id}.parquet", rows=2, size_bytes=10, crc32=2**32 - 1)
    rejected = file._replace(path=f"_flowconv/quarantine/{task_id}.jsonl")
    return Commit(task_id=task_id, run_id="first", objects=(converted,), files=(file, rejected))


COMMITS = [commit("one"), commit("two")]
FILES = {file.path: (file, c.task_id) for c in COMMITS for file in c.files}

EXPIRED = Expired(before=date(2026, 1, 1), partitions=frozenset(["vpc/date=2026-01-02"]))


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


def write(storage: LocalStorage, number: int = 64, before: Checkpoint | None = None) -> Checkpoint:
    """Write a checkpoint; after `before` its objects come behind those of that one."""
    batches = [batch for c in COMMITS for batch in objects_table(c).to_batches()]
    return (before or Checkpoint(storage)).replaced_by(
        number,
        batches,
        files_table(FILES.values()).to_batches(),
        RUNS.values(),
        EXPIRED,
        after_files=before.number_full() if before else 0,
    )


def by_part(checkpoint: Checkpoint) -> dict[Part, PartFile]:
    files = {part_name(path).part: PartFile(path, 1) for path in checkpoint.paths[: len(PARTS)]}
    assert files.keys() == {*PARTS}
    return files


def listed(storage: LocalStorage) -> LedgerListing:
    listing = list_ledger(storage, storage.list_files(LEDGER), 0)
    assert listing
    return listing


def test_what_is_written_comes_back(storage: LocalStorage) -> None:
    written = write(storage)
    for checkpoint in (written, Checkpoint(storage, 64, by_part(written))):
        assert checkpoint.expired() == EXPIRED
        assert checkpoint.files(()) == FILES
        assert checkpoint.runs() == RUNS
        names = ("task_id", "uri", "fields", "declared", "rejected")
        table = pa.Table.from_batches(checkpoint.object_batches((), names))
        assert table.column_names == list(names)
        assert table.to_pylist() == [
            {
                "task_id": task_id,
                "uri": f"s3://logs/{task_id}",
                "fields": f"{OLD}, {NEW}",
                "declared": NEW,
                "rejected": 3,
            }
            for task_id in ("one", "two")
        ]


def test_tasks_are_left_out(storage: LocalStorage) -> None:
    checkpoint = write(storage)
    assert {task_id for _, task_id in checkpoint.files(["one"]).values()} == {"two"}
    (batch,) = checkpoint.file_batches(["one"], ["vpc/two.parquet"])
    assert batch["path"].to_pylist() == ["_flowconv/quarantine/two.jsonl"]
    (batch,) = checkpoint.object_batches(["one", "unknown"], ["uri"])
    assert batch.to_pylist() == [{"uri": "s3://logs/two"}]


def test_the_empty_checkpoint(storage: LocalStorage) -> None:
    empty = Checkpoint(storage)
    assert (empty.files(()), empty.runs(), empty.paths) == ({}, {}, [])
    assert not empty.expired()
    assert not list(empty.object_batches((), ["uri"]))


def test_small_batches_become_one_row_group(storage: LocalStorage) -> None:
    path = by_part(write(storage))["objects"].path
    with pa.parquet.ParquetFile(storage.location(path)) as file:
        assert (file.num_row_groups, file.metadata.num_rows) == (1, 2)


def test_full_files_of_objects_stay(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one is written again until it is full; the next then comes behind it."""
    monkeypatch.setattr("flowconv.lake.checkpoints.FULL_BYTES", 1)
    first = write(storage, 3)
    second = write(storage, 5, first)
    monkeypatch.setattr("flowconv.lake.checkpoints.FULL_BYTES", 1 << 20)
    third = write(storage, 8, second)
    assert [part_name(path) for path in third.paths] == [
        (8, "objects", 3),
        (8, "files", 0),
        (8, "runs", 0),
        (3, "objects", 0),
    ]
    for checkpoint in (second, third, listed(storage).checkpoint):
        assert [batch.num_rows for batch in checkpoint.object_batches((), ["uri"])] == [2, 2]
        assert [batch.num_rows for batch in checkpoint.object_batches(["one"], ["uri"])] == [1, 1]
        assert [batch.num_rows for batch in checkpoint.object_batches((), ["uri"], 1)] == [2]
        assert (checkpoint.files(()), checkpoint.expired()) == (FILES, EXPIRED)
    assert sorted(listed(storage).outdated) == sorted(
        {*second.paths, *first.paths[1:]} - {*third.paths}
    )


def test_a_lost_file_of_objects(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowconv.lake.checkpoints.FULL_BYTES", 1)
    first = write(storage, 3)
    write(storage, 5, first)
    storage.delete(first.paths)
    listing = listed(storage)
    assert (listing.checkpoint.number, listing.missing) == (0, (range(1, 6),))
    assert listing.lost_part == f"{LEDGER}/000000000003.objects-*.parquet"


def test_another_file_in_the_place_of_one_of_objects(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowconv.lake.checkpoints.FULL_BYTES", 1)
    first = write(storage, 3)
    write(storage, 5, first)
    storage.delete(first.paths)
    (other,) = [path for path in write(storage, 4).paths if part_name(path).part == "objects"]
    content = storage.read(other) or b""
    storage.write(f"{LEDGER}/000000000003.objects-{zlib.crc32(content):08x}.parquet", content)
    with pytest.raises(LakeError, match=r"its metadata has (parts|checkpoint) .*, expected"):
        list(listed(storage).checkpoint.object_batches((), ["uri"]))


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        (f"{LEDGER}/000000000064.objects-1a2b3c4d.parquet", (64, "objects", 0)),
        (f"{LEDGER}/000000000000.runs-00000000.parquet", (0, "runs", 0)),
        (f"{LEDGER}/000000000064.objects-after-000000000032-1a2b3c4d.parquet", (64, "objects", 32)),
        (f"{LEDGER}/000000000064.objects-after-000000000064-1a2b3c4d.parquet", None),
        (f"{LEDGER}/000000000064.objects-after-32-1a2b3c4d.parquet", None),
        (f"{LEDGER}/000000000064.files-after-000000000032-1a2b3c4d.parquet", None),
        (f"{LEDGER}/000000000064", None),
        (f"{LEDGER}/64.objects-1a2b3c4d.parquet", None),
        (f"{LEDGER}/000000000064.others-1a2b3c4d.parquet", None),
        (f"{LEDGER}/000000000064.objects-1A2B3C4D.parquet", None),
        (f"{LEDGER}/000000000064.objects-1a2b3c4d.parquet.1", None),
        ("vpc/000000000064.objects-1a2b3c4d.parquet", None),
    ],
)
def test_parse_part(path: str, parsed: tuple[int, Part, int] | None) -> None:
    assert parse_part(path) == parsed


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("gone", "is gone"),
        ("changed", "is damaged: its checksum does not fit"),
        ("of another number", "is damaged: its metadata has checkpoint 63, expected 64"),
    ],
)
def test_damage_is_named(storage: LocalStorage, part: Part, damage: str, message: str) -> None:
    paths = by_part(write(storage))
    path = paths[part].path
    file = Path(storage.location(path))
    if damage == "gone":
        file.unlink()
    elif damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    else:
        other = by_part(write(storage, 63))[part].path
        content = Path(storage.location(other)).read_bytes()
        path = f"{LEDGER}/000000000064.{part}-{zlib.crc32(content):08x}.parquet"
        storage.write(path, content)
        paths[part] = PartFile(path, len(content))
    checkpoint = Checkpoint(storage, 64, paths)
    readers: dict[Part, Callable[[], object]] = {
        "objects": lambda: list(checkpoint.object_batches((), ["rows"])),
        "files": lambda: checkpoint.files(()),
        "runs": checkpoint.runs,
    }
    with pytest.raises(LakeError, match=f"checkpoint {path} {message}"):
        readers[part]()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_with_two_files(storage: LocalStorage, part: Part) -> None:
    write(storage)
    storage.write(f"{LEDGER}/000000000064.{part}-00000000.parquet", b"")
    with pytest.raises(
        LakeError, match=rf"has two files .*{part}-.* and .*{part}-.*, expected one"
    ):
        listed(storage)
