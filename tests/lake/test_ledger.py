"""The ledger: which commits count, which losses are found, and what merging keeps."""

import pickle
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError, StorageError
from flowconv.lake import ledger as ledger_module
from flowconv.lake.checkpoint_names import parse_part
from flowconv.lake.checkpoints import Checkpoint
from flowconv.lake.checksums import seal
from flowconv.lake.converted_objects import (
    DeclaredFor,
    counts_of,
    etags_and_formats,
    has_objects,
    objects_of,
    rejected_uris,
    task_ids_of,
)
from flowconv.lake.ledger import Ledger, LostLockError
from flowconv.lake.ledger_records import (
    Commit,
    ConvertedObject,
    DataFile,
    Run,
    commit_from_json,
    commit_to_json,
    join_headers,
    split_headers,
)
from flowconv.lake.paths import LAST_NUMBER, LEDGER, parse_record_path, record_path
from flowconv.storage.local import LocalStorage

UNFIT = (("/app", "srcaddr"), ("/b, c", "srcaddr dstaddr"))
OLD, NEW = "srcaddr start end", "srcaddr start end vpc-id"
KINDS = [*LineCounts._fields]
RUN = Run(run_id="run", began=datetime(2026, 1, 14, tzinfo=UTC), host="host")
LAYOUT = {"partition_by": ["date"]}


def converted(name: str, day: int | None = 14, **changes: object) -> ConvertedObject:
    found = ConvertedObject(
        uri=f"s3://logs/{name}",
        size_bytes=100,
        etag=f"etag of {name}",
        day=date(2026, 1, day) if day else None,
        counts=LineCounts(header=1, rows=2),
        headers=(OLD,),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def commit(task_id: str, *objects: ConvertedObject, replaces: tuple[str, ...] = ()) -> Commit:
    file = DataFile(path=f"vpc/{task_id}.parquet", rows=2, size_bytes=10, crc32=1)
    return Commit(task_id=task_id, run_id="run", objects=objects, files=(file,), replaces=replaces)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


@pytest.fixture
def writer(storage: LocalStorage) -> Ledger:
    ledger = Ledger.read(storage)
    ledger.begin(RUN, LAYOUT)
    return ledger


def merge(ledger: Ledger) -> None:
    ledger.merge()


def leave(ledger: Ledger) -> None:
    """Leave the records as they are."""


merged_or_not = pytest.mark.parametrize("then", [leave, merge])


@merged_or_not
def test_what_counts(storage: LocalStorage, writer: Ledger, then: Callable[[Ledger], None]) -> None:
    writer.commit(commit("one", converted("a"), converted("b")))
    writer.commit(
        commit("two", converted("c", day=None, declared=(NEW,), headers=(NEW, OLD), unfit=UNFIT))
    )
    then(writer)
    writer.commit(commit("one again", converted("a", etag="new"), replaces=("one",)))
    writer.commit(commit("three", converted("d")))
    writer.forget("run", ["three"])
    then(writer)
    for ledger in (writer, Ledger.read(storage)):
        assert ledger.files().keys() == {"vpc/two.parquet", "vpc/one again.parquet"}
        assert etags_and_formats(ledger) == (
            {"s3://logs/a": "new", "s3://logs/c": "etag of c"},
            {"s3://logs/c": DeclaredFor((NEW,), UNFIT)},
        )
        assert counts_of(ledger, ["s3://logs/a", "s3://logs/b", "s3://logs/c"]) == {
            "s3://logs/a": (LineCounts(header=1, rows=2), ()),
            "s3://logs/c": (LineCounts(header=1, rows=2), (NEW,)),
        }
        assert [file.path for file in ledger.files_of(["two", "one"])] == ["vpc/two.parquet"]
        assert [run.run_id for run in ledger.runs()] == ["run"]


def test_objects_are_packed_until_they_are_merged(writer: Ledger) -> None:
    objects = [converted(f"AWSLogs/123456789012/vpcflowlogs/{n}.log.gz") for n in range(288)]
    objects.append(converted("c", day=None, declared=(NEW,), headers=(NEW, OLD), unfit=UNFIT))
    writer.commit(commit("one", *objects))
    packed = writer.snapshot().commits["one"].objects
    assert len(packed) == len(objects)
    assert list(packed) == list(packed) == objects
    assert objects[-1] in packed
    assert converted("d") not in packed
    assert len(pickle.dumps(packed)) < 50 * len(objects)


@merged_or_not
@pytest.mark.parametrize(
    ("source", "there"),
    [("s3://logs", True), ("s3://logs/a", True), ("s3://log", False), ("s3://logs/ab", False)],
)
def test_has_objects(
    writer: Ledger, then: Callable[[Ledger], None], source: str, there: bool
) -> None:
    writer.commit(commit("one", converted("a"), converted("undated", day=None)))
    then(writer)
    assert has_objects(writer, source) == there


@merged_or_not
def test_tasks_and_rejected(writer: Ledger, then: Callable[[Ledger], None]) -> None:
    bad = converted("b", counts=LineCounts(rejected=1))
    writer.commit(commit("one", converted("a"), bad))
    writer.commit(commit("two", converted("c")))
    then(writer)
    assert rejected_uris(writer) == ["s3://logs/b"]
    tasks = objects_of(writer, task_ids_of(writer, ["s3://logs/b", "s3://logs/unknown"]))
    assert {task: [found.uri for found in objects] for task, objects in tasks.items()} == {
        "one": ["s3://logs/a", "s3://logs/b"]
    }
    assert objects_of(writer, task_ids_of(writer, [])) == {}


def test_a_run_that_was_taken_over_cannot_commit(storage: LocalStorage, writer: Ledger) -> None:
    Ledger.read(storage).begin(replace(RUN, run_id="other"), LAYOUT)
    writes: list[Callable[[], object]] = [
        lambda: writer.commit(commit("one", converted("a"))),
        lambda: writer.forget("run", ["one"]),
        lambda: writer.end(replace(RUN, ended=RUN.began)),
    ]
    for write in writes:
        with pytest.raises(LostLockError, match="another run has taken this lake over"):
            write()
    assert Ledger.read(storage).files() == {}


def test_two_runs_that_begin_at_once(storage: LocalStorage) -> None:
    ledgers = [Ledger.read(storage), Ledger.read(storage)]
    ledgers[0].begin(RUN, LAYOUT)
    with pytest.raises(LakeError, match="another run began at the same moment"):
        ledgers[1].begin(replace(RUN, run_id="other"), LAYOUT)


def test_a_merge_keeps_begins_and_the_previous_checkpoint(
    storage: LocalStorage, writer: Ledger
) -> None:
    for task_id in ("one", "two", "three"):
        writer.commit(commit(task_id, converted(task_id)))
        writer.merge()
    names = sorted(file.path.removeprefix(f"{LEDGER}/") for file in storage.list_files(LEDGER))
    kept = ["000000000001"] + ["000000000003"] * 3 + ["000000000004"] * 3
    assert [name.partition(".")[0] for name in names] == kept
    assert len(Ledger.read(storage).files()) == 3


def test_a_merge_leaves_full_files_of_objects_alone(
    storage: LocalStorage, writer: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until tasks no longer count, of which any may have objects."""
    monkeypatch.setattr("flowconv.lake.checkpoints.FULL_BYTES", 1)
    for task_id in ("one", "two", "three"):
        writer.commit(commit(task_id, converted(task_id)))
        writer.merge()
    for ledger in (writer, Ledger.read(storage)):
        assert ledger.objects("task_id")["task_id"].to_pylist() == ["one", "two", "three"]
        assert len(objects_files(storage)) == 3
        assert ledger.files().keys() == {"vpc/one.parquet", "vpc/two.parquet", "vpc/three.parquet"}
    writer.commit(commit("four", converted("two"), replaces=("two",)))
    again = Ledger.read(storage)
    for ledger in (writer, again):
        assert ledger.objects("task_id")["task_id"].to_pylist() == ["one", "three", "four"]
    again.merge()
    again.merge()
    assert len(objects_files(storage)) == 4  # Three are left to readers.
    again.end(replace(RUN, ended=RUN.began))
    again.merge()
    assert len(objects_files(storage)) == 2
    for ledger in (again, Ledger.read(storage)):
        assert ledger.objects("task_id")["task_id"].to_pylist() == ["one", "three", "four"]
        assert ledger.files().keys() == {"vpc/one.parquet", "vpc/three.parquet", "vpc/four.parquet"}


def objects_files(storage: LocalStorage) -> list[str]:
    return [file.path for file in storage.list_files(LEDGER) if ".objects-" in file.path]


class HeldMerge:
    """Each commit begins a merge beside itself, which is about to write, and then may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes, self.may_write = threading.Event(), threading.Event()
        write = Checkpoint._write

        def write_then(checkpoint: Checkpoint, *args: Any) -> None:
            self.writes.set()
            assert self.may_write.wait(60)
            write(checkpoint, *args)

        monkeypatch.setattr(ledger_module, "_COMMITS_BETWEEN_MERGES", 1)
        monkeypatch.setattr(Checkpoint, "_write", write_then)


def test_commits_go_on_beside_a_merge(
    storage: LocalStorage, writer: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = HeldMerge(monkeypatch)
    writer.commit(commit("one", converted("a"), converted("b")))
    assert merge.writes.wait(60)
    # What a merge writes stays as it was; what replaces it meanwhile counts.
    writer.commit(commit("two", converted("c")))
    writer.commit(commit("three", converted("a"), converted("b"), replaces=("one",)))
    assert [file.path for file in writer.files_of(["one", "three"])] == ["vpc/three.parquet"]
    merge.may_write.set()
    writer.end(replace(RUN, ended=RUN.began))
    names = {file.path.rpartition("/")[2][:12] for file in storage.list_files(LEDGER)}
    assert names == {f"{number:012}" for number in (1, 2, 3, 4, 5)}
    for ledger in (writer, Ledger.read(storage)):
        assert ledger.files().keys() == {"vpc/two.parquet", "vpc/three.parquet"}
        tasks = Counter(ledger.objects("uri", "task_id")["task_id"].to_pylist())
        assert tasks == {"two": 1, "three": 2}
    writer.merge()
    assert Ledger.read(storage).files() == writer.files()


def test_a_task_that_is_replaced_twice_while_a_merge_writes(
    storage: LocalStorage, writer: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first rows are in the checkpoint, and no longer count."""
    writer.commit(commit("one", converted("a")))
    writer.merge()
    writer.forget("run", ["one"])
    merge = HeldMerge(monkeypatch)
    writer.commit(commit("one", converted("a")))
    assert merge.writes.wait(60)
    writer.commit(commit("two", converted("a"), replaces=("one",)))
    merge.may_write.set()
    writer.end(replace(RUN, ended=RUN.began))
    for ledger in (writer, Ledger.read(storage)):
        assert ledger.files().keys() == {"vpc/two.parquet"}


def test_a_merge_beside_the_run_that_fails_is_raised_at_its_end(
    storage: LocalStorage, writer: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "RECORDS_PER_CHECKPOINT", 4)

    def fail(self: Checkpoint, *_: object) -> None:
        raise StorageError("the disk is full", uri=storage.root)

    writer.commit(commit("one", converted("a")))
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "_write", fail)
        writer.merge_if_many()
        with pytest.raises(StorageError, match="the disk is full"):
            writer.end(replace(RUN, ended=RUN.began))
    again = Ledger.read(storage)
    assert again.files().keys() == {"vpc/one.parquet"}
    assert [run.ended is not None for run in again.runs()] == [True]


def test_a_run_with_many_records_before_it_merges_beside_itself(
    storage: LocalStorage, writer: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "RECORDS_PER_CHECKPOINT", 6)
    for task_id in ("one", "two"):
        writer.commit(commit(task_id, converted(task_id)))
    merge = HeldMerge(monkeypatch)
    writer.merge_if_many()
    assert merge.writes.wait(60)
    merge.may_write.set()
    writer.end(replace(RUN, ended=RUN.began))
    names = {file.path.rpartition("/")[2][:12] for file in storage.list_files(LEDGER)}
    assert names == {f"{number:012}" for number in (1, 3, 4)}
    assert len(Ledger.read(storage).files()) == 2


def test_a_run_that_merged_before_its_end(
    storage: LocalStorage, writer: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.commit(commit("one", converted("a")))
    writer.merge()
    writer.end(replace(RUN, ended=RUN.began, report={"rows": 1}))
    again = Ledger.read(storage)
    for ledger in (writer, again):
        assert [(run.host, run.ended is not None, run.report) for run in ledger.runs()] == [
            (RUN.host, True, {"rows": 1})
        ]
    # Whoever asks for files fetches that part alone, and once.
    parts: list[str] = []

    def fetch(self: LocalStorage, path: str) -> bytes | None:
        if part := parse_part(path):
            parts.append(part.part)
        return read(self, path)

    read = LocalStorage.read
    monkeypatch.setattr(LocalStorage, "read", fetch)
    assert Ledger.read(storage).files().keys() == {"vpc/one.parquet"}
    assert parts == ["files"]


LOSSES: dict[str, tuple[str, str]] = {
    "a record in the middle": (record_path(2), "record _flowconv/ledger/000000000002 is gone"),
    "the last record": (record_path(4), "record _flowconv/ledger/000000000004 is gone"),
}


@pytest.mark.parametrize(("path", "message"), LOSSES.values(), ids=LOSSES)
def test_losses_are_found(storage: LocalStorage, writer: Ledger, path: str, message: str) -> None:
    writer.commit(commit("one", converted("a")))
    writer.commit(commit("two", converted("b")))
    writer.end(replace(RUN, ended=RUN.began))
    storage.delete([path])
    with pytest.raises(LakeError, match=message):
        Ledger.read(storage)
    number = parse_record_path(path) or 0
    assert Ledger.read(storage, with_gaps=True).missing_records == (range(number, number + 1),)


def test_a_record_in_the_place_of_another(storage: LocalStorage, writer: Ledger) -> None:
    writer.commit(commit("one", converted("a")))
    storage.write(record_path(3), storage.read(record_path(2)) or b"")
    with pytest.raises(LakeError, match=r"000000000003 is damaged \(it is record 2\)"):
        Ledger.read(storage)


@pytest.mark.parametrize(
    "written",
    [b"", b"{}", seal({"last_number": 0}), seal({"last_number": "7"}), seal({"number": 7})],
)
def test_a_damaged_last_number(storage: LocalStorage, written: bytes) -> None:
    storage.write(LAST_NUMBER, written)
    with pytest.raises(LakeError, match=f"{LAST_NUMBER} is damaged"):
        Ledger.read(storage)


def test_leftovers(writer: Ledger) -> None:
    writer.commit(commit("one", converted("a")))
    writer.merge()
    writer.commit(commit("two", converted("b")))
    noted = ["vpc/one.parquet", "vpc/stray.parquet", *map(record_path, (2, 3))]
    assert writer.leftovers(noted) == ["vpc/stray.parquet", record_path(2)]


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (record_path(7), 7),
        (f"{LEDGER}/000000000064.objects-1a2b3c4d.parquet", None),
        (f"{LEDGER}/7", None),
        (LEDGER + "/" + 12 * "\u0667", None),
        ("000000000007", None),
    ],
)
def test_parse_record_path(path: str, number: int | None) -> None:
    assert parse_record_path(path) == number


@pytest.mark.parametrize("headers", [(), (OLD,), (OLD, NEW)])
def test_headers_are_joined_and_split(headers: tuple[str, ...]) -> None:
    assert split_headers(join_headers(headers)) == headers


def test_a_commit_as_json() -> None:
    """Headers are written once; what is written comes back."""
    whole = commit(
        "one",
        converted("a", headers=(OLD, NEW), declared=(NEW,), unfit=UNFIT),
        converted("b", day=None),
        converted("c", headers=()),
        replaces=("zero",),
    )
    record = commit_to_json(whole)
    unfit = '{"/app": "srcaddr", "/b, c": "srcaddr dstaddr"}'
    assert record["headers"] == [f"{OLD}, {NEW}", NEW, unfit, OLD, ""]
    assert [row[-3:] for row in record["objects"]] == [[0, 1, 2], [3, 4, 4], [4, 4, 4]]
    read = commit_from_json(record)
    assert read._replace(objects=tuple(read.objects)) == whole


@pytest.mark.parametrize(
    "damage",
    [
        {"kinds": ["rows"]},
        {"kinds": ["of the future", *KINDS[1:]]},
        {"headers": []},
        {"headers": [1, 2, 3]},
        {"objects": [["s3://logs/a"]]},
        {"objects": [["s3://logs/a", 1, "", "2026-13-01", *[0] * len(KINDS), 0, 1, 1]]},
        {"objects": [["s3://logs/a", 1, "", None, *[0] * len(KINDS), 0, 1, 0]]},
        {"objects": 1},
    ],
    ids=str,
)
def test_a_record_is_damaged_before_its_objects_are_asked_for(damage: dict[str, Any]) -> None:
    record = commit_to_json(commit("one", converted("a", headers=(OLD,))))
    assert len(commit_from_json(record).objects) == 1
    with pytest.raises((ValueError, KeyError, TypeError, IndexError)):
        commit_from_json(record | damage)
