"""Every damage that a lake can come to, made for real; found, repaired, converted again, clean."""

import gzip
import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flowconv
from flowconv import ConvertOptions, VerifyOptions, VerifyReport, convert
from flowconv.conversion.dry_run import plan
from flowconv.errors import FetchError, FormatError, LakeError, StorageError, UsageError
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.intents import write_intent
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile
from flowconv.lake.locking import Lock
from flowconv.lake.quarantine import read_quarantine
from flowconv.running import RunProgress
from flowconv.source.keys import LogObject
from flowconv.source.opening import open_source
from flowconv.storage.local import LocalStorage
from flowconv.storage.opening import open_storage
from flowconv.verification.checking import VerificationWorker
from flowconv.verification.checks import Check, Checked
from flowconv.verification.fetched_files import FetchedFiles
from flowconv.verification.recounting import FetchedAhead, count_lines
from support.commands import invoke
from support.in_memory import log_object
from support.lakes import ROW, V2, Key, aws_key, data_files, killed_run, write_objects
from support.s3_servers import S3Server
from support.shapes import cloudwatch_export, control, document, firehose, parquet, subscription

TGW = b"version resource-type account-id tgw-id\n6 TransitGateway 123456789012 tgw-1\n"
BAD = aws_key("000000000012", "us-east-1")
OBJECTS = {
    aws_key(): gzip.compress(V2 + 3 * ROW + b"\n# by hand\n"),
    aws_key(hash_="00000001"): V2 + 2 * ROW,
    BAD: V2 + ROW + b"2 x\n" + b"2 y\n",
    aws_key("000000000012", "us-west-2"): TGW,
    Key("copies/a.log"): b"srcaddr dstaddr new-field\n10.0.0.1 10.0.0.2 x",
}
ROWS, LINES = 8, 17


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_objects(tmp_path / "logs", OBJECTS)
    return tmp_path / "logs"


@pytest.fixture
def lake(logs: Path, tmp_path: Path) -> Path:
    convert(str(logs), str(tmp_path / "lake"))
    return tmp_path / "lake"


def check(lake: Path, logs: Path | None = None, **kwargs: Any) -> VerifyReport:
    source = None if logs is None else str(logs)
    return flowconv.verify(str(lake), source, VerifyOptions(**kwargs))


def kinds(report: VerifyReport) -> dict[str, int]:
    return dict(report.kinds)


def assert_clean(lake: Path, logs: Path) -> None:
    report = check(lake, logs)
    assert [str(problem) for problem in report.problems] == []
    assert report.complete
    assert (report.rows, report.lines, report.objects) == (ROWS, LINES, len(OBJECTS))
    assert flowconv.scan(str(lake)).collect().height + 1 == ROWS


def data_file(lake: Path, where: str = "aws_account_id=123456789012") -> Path:
    (path,) = (path for path in data_files(lake) if where in str(path))
    return path


def quarantine_file(lake: Path) -> Path:
    (file,) = (lake / "_flowconv/quarantine").iterdir()
    return file


def test_a_lake_as_it_was_written_is_well(lake: Path, logs: Path) -> None:
    report = check(lake, logs)
    assert report.complete
    assert report.problems == []
    assert (report.files, report.objects, report.listed) == (len(data_files(lake)) + 1, 5, 5)
    assert (report.rows, report.rejected, report.lines, report.expired) == (ROWS, 2, LINES, 0)
    assert report.size_bytes == sum(
        path.stat().st_size for path in [*data_files(lake), quarantine_file(lake)]
    )
    assert_clean(lake, logs)


@pytest.mark.parametrize(
    "options",
    [
        ConvertOptions(time_type="epoch"),
        ConvertOptions(partition_by=("date", "hour")),
        ConvertOptions(compression="none"),
        ConvertOptions(compression="gzip"),
        ConvertOptions(partition_by=("action",)),
    ],
    ids=["epoch", "hours", "plain", "gzip", "column"],
)
def test_lakes_of_other_options_are_well(
    logs: Path, tmp_path: Path, options: ConvertOptions
) -> None:
    convert(str(logs), str(tmp_path / "lake"), options)
    assert check(tmp_path / "lake", logs).problems == []


def flipped(body: bytes, place: int) -> bytes:
    changed = bytearray(body)
    changed[place] ^= 0x10
    return bytes(changed)


def flip(path: Path, place: int) -> None:
    path.write_bytes(flipped(path.read_bytes(), place))


def flip_in_a_page(lake: Path) -> None:
    path = data_file(lake)
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(0).column(file.schema_arrow.get_field_index("srcaddr"))
    assert column.dictionary_page_offset is not None
    flip(path, column.dictionary_page_offset + column.total_compressed_size - 1)


def flip_in_statistics(lake: Path) -> None:
    """What neither a page's checksum covers, nor a reader of the rows looks at."""
    path = data_file(lake)
    place = path.read_bytes().rindex(b"10.0.0.2")
    flip(path, place)
    rows = pq.ParquetFile(path, page_checksum_verification=True).read()["dstaddr"].to_pylist()
    assert set(rows) == {"10.0.0.2"}


def other_rows(lake: Path) -> None:
    """A whole file of the same size and columns, with other rows than the ledger says."""
    path = data_file(lake)
    size = path.stat().st_size
    table = pq.ParquetFile(path).read()
    padding = 0
    for _ in range(5):  # Its length is written, too, and so may take some bytes more.
        with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
            writer.write_table(table.slice(0, 1))
            writer.add_key_value_metadata({"x": "x" * padding})
        if path.stat().st_size == size:
            return
        padding += size - path.stat().st_size
    pytest.fail("no file of this size")


def other_columns(lake: Path) -> None:
    path = data_file(lake)
    body = path.read_bytes()
    assert b"interface_id" in body
    path.write_bytes(body.replace(b"interface_id", b"interface_ix"))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (lambda lake: data_file(lake).unlink(), "missing-file"),
    "cut": (lambda lake: os.truncate(data_file(lake), 1000), "damaged-file"),
    "emptied": (lambda lake: os.truncate(data_file(lake), 0), "damaged-file"),
    "flipped byte": (flip_in_a_page, "damaged-file"),
    "flipped footer": (lambda lake: flip(data_file(lake), -5), "damaged-file"),
    "flipped statistics": (flip_in_statistics, "damaged-file"),
    "zeros": (
        lambda lake: data_file(lake).write_bytes(bytes(data_file(lake).stat().st_size)),
        "damaged-file",
    ),
    "other columns": (other_columns, "damaged-file"),
    "other rows": (other_rows, "damaged-file"),
    "quarantine deleted": (lambda lake: quarantine_file(lake).unlink(), "missing-file"),
    "quarantine cut": (lambda lake: os.truncate(quarantine_file(lake), 50), "damaged-file"),
    "quarantine flipped": (lambda lake: flip(quarantine_file(lake), 0), "damaged-file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_repaired_and_converted_again(lake: Path, logs: Path, name: str) -> None:
    damage, kind = DAMAGE[name]
    damage(lake)
    found = check(lake)
    assert kinds(found) == {kind: 1}
    assert not found.complete
    (problem,) = found.problems
    assert problem.uri.startswith(f"{lake}/")
    assert problem.found
    assert problem.expected
    assert "--repair" in problem.advice

    repaired = check(lake, logs, repair=True)
    assert repaired.forgotten == 1
    assert [problem.repaired for problem in repaired.problems] == [True]
    assert not repaired.complete, "the rows are to be converted again"
    assert set(kinds(check(lake, logs))) == {"not-converted"}

    again = convert(str(logs), str(lake))
    assert again.objects >= 1
    assert_clean(lake, logs)


def test_quick_finds_what_names_and_sizes_tell(lake: Path, logs: Path) -> None:
    flip_in_a_page(lake)
    report = check(lake, logs, quick=True)
    assert report.problems == []
    assert report.lines == 0
    os.truncate(data_file(lake), 1000)
    (logs / "new.log").write_bytes(V2 + ROW)
    assert kinds(check(lake, logs, quick=True)) == {"damaged-file": 1, "not-converted": 1}


def test_damage_is_kept_when_its_objects_are_gone(lake: Path, logs: Path) -> None:
    path = data_file(lake, "aws_region=us-east-1")
    path.write_bytes(b"PAR1")
    (logs / BAD.path).unlink()
    for source, why in ((None, "give --source"), (logs, "1 of its 1 objects cannot be converted")):
        report = check(lake, source, repair=True)
        assert [(p.kind, p.repaired) for p in report.problems] == [("damaged-file", False)]
        assert why in report.problems[0].advice
        assert path.exists()
        assert (report.forgotten, report.removed) == (0, 0)
    assert str(logs / BAD.path) in report.problems[0].advice


STRAYS = [
    "vpc/date=2026-01-14/x.parquet",
    "vpc/x",
    "tgw/_SUCCESS",
    "_flowconv/quarantine/0000.jsonl",
]


@pytest.mark.parametrize("path", STRAYS)
def test_strays(lake: Path, logs: Path, path: str) -> None:
    (lake / path).parent.mkdir(parents=True, exist_ok=True)
    (lake / path).write_bytes(b"PAR1")
    found = check(lake)
    assert [(p.kind, p.uri) for p in found.problems] == [("stray-file", str(lake / path))]
    assert "a file of 4 bytes" in found.problems[0].found
    repaired = check(lake, repair=True)
    assert repaired.complete
    assert (repaired.removed, repaired.forgotten) == (1, 0)
    assert not (lake / path).exists()
    assert_clean(lake, logs)


@pytest.mark.parametrize("path", ["_flowconv/staging/x-0000.parquet.1", "_flowconv/intents/x.json"])
def test_leftovers(lake: Path, logs: Path, path: str) -> None:
    (lake / path).parent.mkdir(parents=True, exist_ok=True)
    (lake / path).write_bytes(b"no JSON")
    assert [(p.kind, p.uri) for p in check(lake).problems] == [("leftover", str(lake / path))]
    assert check(lake, repair=True).complete
    assert not (lake / path).exists()
    assert_clean(lake, logs)


def test_leftovers_are_removed_by_the_next_run_too(lake: Path, logs: Path) -> None:
    (lake / "_flowconv/intents").mkdir(exist_ok=True)
    (lake / "_flowconv/intents/x.json").write_bytes(b"no JSON")
    convert(str(logs), str(lake))
    assert_clean(lake, logs)


def test_files_elsewhere_are_nobodys_business(lake: Path, logs: Path) -> None:
    (lake / "README").write_text("ours")
    (lake / "other").mkdir()
    (lake / "other/x.parquet").write_bytes(b"")
    assert_clean(lake, logs)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_run(logs: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    killed_run(logs, lake)
    found = check(lake, logs)
    assert {"dead-lock", "leftover", "stray-file", "not-converted"} <= set(kinds(found))
    assert not found.complete
    repaired = check(lake, repair=True)
    assert repaired.complete
    assert set(kinds(check(lake, logs))) == {"not-converted"}
    convert(str(logs), str(lake))
    assert_clean(lake, logs)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_run_that_the_next_run_cleans_up(logs: Path, tmp_path: Path) -> None:
    killed_run(logs, tmp_path / "lake")
    convert(str(logs), str(tmp_path / "lake"))
    assert_clean(tmp_path / "lake", logs)


def test_what_a_run_is_about_to_write_is_left_out(lake: Path, logs: Path) -> None:
    storage = open_storage(str(lake))
    (lake / "_flowconv/staging").mkdir(exist_ok=True)
    (lake / "_flowconv/staging/new-0001.parquet.1").write_bytes(b"")
    (lake / "vpc/new-0000.parquet").write_bytes(b"")
    intent = write_intent(storage, "new", ["vpc/new-0000.parquet"])
    with Lock(storage, "another-run"):
        report = check(lake, logs)
        assert report.problems == []
        assert report.under_way is not None
        assert "run another-run" in report.under_way
        with pytest.raises(LakeError, match="this lake is being written by run another-run"):
            check(lake, logs, repair=True)
        storage.delete([intent])
        assert kinds(check(lake)) == {"stray-file": 1}, "no run announced it"
    (lake / "vpc/new-0000.parquet").unlink()
    assert kinds(check(lake)) == {"leftover": 1}


def test_what_a_run_replaces_meanwhile_is_left_out(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is read, then its file goes, and a later record says why."""
    storage = open_storage(str(lake))
    read = Ledger.read
    gone = data_file(lake)

    def read_then_lose(storage_: Any, **kwargs: Any) -> Ledger:
        ledger = read(storage_, **kwargs)
        if gone.exists():
            later = read(storage_)
            later.forget("another-run", [later.files()[gone.relative_to(lake).as_posix()][1]])
            gone.unlink()
        return ledger

    monkeypatch.setattr(Ledger, "read", read_then_lose)
    with Lock(storage, "another-run"):
        assert check(lake).problems == []
    assert not gone.exists()


def test_damaged_lock(lake: Path, logs: Path) -> None:
    (lake / "_flowconv/lock.json").write_text("{")
    found = check(lake, logs)
    assert kinds(found) == {"damaged-lock": 1}
    assert "delete it" in found.problems[0].advice
    with pytest.raises(LakeError, match="delete it"):
        check(lake, logs, repair=True)


def record(lake: Path, kind: str) -> Path:
    """The last record of a kind."""
    files = sorted((lake / "_flowconv/ledger").iterdir())
    return [file for file in files if json.loads(file.read_bytes())["kind"] == kind][-1]


def written_files(lake: Path) -> dict[Path, bytes]:
    """Data and rejected lines."""
    rejected = (lake / "_flowconv/quarantine").glob("*.jsonl")
    return {path: path.read_bytes() for path in [*data_files(lake), *rejected]}


def test_missing_record(lake: Path, logs: Path) -> None:
    gone = record(lake, "commit")
    gone.unlink()
    found = check(lake, logs)
    before = written_files(lake)
    for use in (flowconv.scan, flowconv.status, partial(convert, str(logs))):
        with pytest.raises(LakeError, match=f"record _flowconv/ledger/{gone.name} is gone"):
            use(str(lake))
    assert written_files(lake) == before
    assert {"missing-record", "stray-file", "not-converted"} == set(kinds(found))
    assert found.problems[0].uri == str(gone)
    repaired = check(lake, logs, repair=True)
    assert repaired.removed == 0
    assert repaired.set_aside == len(before) - len(written_files(lake)) > 0
    kept = {path.name: path.read_bytes() for path in (lake / "_flowconv/set-aside").rglob("*.*")}
    assert kept == {path.name: old for path, old in before.items() if not path.exists()}
    assert set(kinds(check(lake, logs))) == {"not-converted"}
    convert(str(logs), str(lake))
    assert_clean(lake, logs)


def test_damaged_records_and_checkpoints(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found though they are still JSON or Parquet; once deleted, the repair goes on without."""
    path = record(lake, "commit")
    path.write_bytes(path.read_bytes().replace(b'"rows":', b'"rows":1', 1))
    with pytest.raises(LakeError, match=f"{path.name} is damaged .its checksum does not fit"):
        convert(str(logs), str(lake))
    path.unlink()
    check(lake, logs, repair=True)
    convert(str(logs), str(lake))
    assert_clean(lake, logs)

    monkeypatch.setattr("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", 1)
    convert(str(logs), str(lake))
    path = max((lake / "_flowconv/ledger").glob("*.files-*.parquet"))
    body = path.read_bytes()
    for damaged in (body[:-1], flipped(body, 100), flipped(body, -30)):
        path.write_bytes(damaged)
        with pytest.raises(LakeError, match=f"{path.name} is damaged: its checksum"):
            flowconv.scan(str(lake))
    path.unlink()
    with pytest.raises(LakeError, match=r"\.files-.*is gone"):
        flowconv.scan(str(lake))
    path.write_bytes(body)
    assert_clean(lake, logs)


def test_records_in_each_others_places(lake: Path, logs: Path) -> None:
    record, other, *_ = sorted((lake / "_flowconv/ledger").iterdir())
    first, second = record.read_bytes(), other.read_bytes()
    record.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(LakeError, match=r"0001 is damaged \(it is record 2\)"):
        check(lake, logs)


def test_files_that_are_as_written_but_not_as_recorded(lake: Path, logs: Path) -> None:
    path = record(lake, "commit")
    original = path.read_bytes()
    commit = unseal(original)
    file = commit["files"][0]
    wrong = file | {"rows": file["rows"] + 1}
    path.write_bytes(seal(commit | {"files": [wrong, *commit["files"][1:]]}))
    assert "damaged-file" in kinds(check(lake, logs))
    path.write_bytes(original)
    assert_clean(lake, logs)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (lambda names: [names[1], names[0], *names[2:]], "another order"),
        (lambda names: [*names, "more"], "more: string"),
        (lambda names: names[:-30], None),
    ],
    ids=["another order", "unknown", "of an earlier release"],
)
def test_columns_of_a_file(
    lake: Path, logs: Path, columns: Callable[[list[str]], list[str]], found: str | None
) -> None:
    path = record(lake, "commit")
    commit = unseal(path.read_bytes())
    file = commit["files"][0]
    table = pq.ParquetFile(lake / file["path"]).read()
    names = columns(table.column_names)
    table = table.append_column("more", pa.array(["a"] * table.num_rows))
    pq.write_table(table.select(names), lake / file["path"])
    written = (lake / file["path"]).read_bytes()
    file |= {"size_bytes": len(written), "crc32": zlib.crc32(written)}
    path.write_bytes(seal(commit))
    if found is None:
        assert_clean(lake, logs)
        return
    (problem,) = check(lake, logs).problems
    assert (problem.kind, found in problem.found) == ("damaged-file", True)


def test_record_with_other_rows(lake: Path, logs: Path) -> None:
    path = record(lake, "commit")
    commit = unseal(path.read_bytes())
    commit["objects"][0][4 + commit["kinds"].index("rows")] += 1
    path.write_bytes(seal(commit))
    found = check(lake, logs)
    assert kinds(found) == {"wrong-rows": 1, "wrong-lines": 1}
    assert check(lake, logs, repair=True).forgotten == 1
    convert(str(logs), str(lake))
    assert_clean(lake, logs)


def test_objects_that_are_new_changed_gone_or_unreadable(lake: Path, logs: Path) -> None:
    (logs / "new.log").write_bytes(V2 + ROW)
    changed, gone, *_ = sorted(logs.rglob("*.log.gz"))
    changed.write_bytes(V2 + 9 * ROW)
    gone.unlink()
    found = check(lake, logs)
    assert {problem.uri: problem.kind for problem in found.problems} == {
        str(logs / "new.log"): "not-converted",
        str(changed): "changed",
    }
    assert found.expired == 1
    assert "--reprocess" in next(p.advice for p in found.problems if p.kind == "changed")
    repaired = check(lake, logs, repair=True)
    assert not any(problem.repaired for problem in repaired.problems)
    assert (repaired.removed, repaired.forgotten) == (0, 0)


def keep_time(path: Path, body: bytes) -> None:
    """Overwrite a file so that neither its size nor its time tell."""
    before = path.stat()
    path.write_bytes(body)
    assert len(body) == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_lines_are_counted_again(lake: Path, logs: Path) -> None:
    path = logs / aws_key(hash_="00000001").path
    keep_time(path, path.read_bytes().replace(b"OK\n2", b"OK 2"))
    (problem,) = check(lake, logs).problems
    assert (problem.kind, problem.uri) == ("wrong-lines", str(path))
    assert (problem.found, problem.expected) == ("2 lines", "3 lines, as when it was converted")


def test_rows_that_are_no_lines_of_their_own(tmp_path: Path) -> None:
    """Glued records, times in milliseconds, and Parquet are counted as they were converted."""
    fields, milliseconds = ROW.split(), ROW.replace(b"1768348800", b"1768348800000")
    objects = {
        aws_key(hash_="00000001"): V2 + ROW + b" ".join(fields * 2) + b"\n" + milliseconds,
        Key("copy.parquet"): parquet({"srcaddr": ["a"] * 300, "srcport": ["x", *["1"] * 299]}),
    }
    write_objects(tmp_path / "logs", objects)
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert (report.lines.split, report.lines.milliseconds, report.lines.rejected) == (1, 1, 1)
    assert check(tmp_path / "lake", tmp_path / "logs").problems == []
    path = tmp_path / "logs/copy.parquet"
    keep_time(path, path.read_bytes()[:-1] + b"x")
    (problem,) = check(tmp_path / "lake", tmp_path / "logs").problems
    assert problem.kind == "unreadable-object"
    assert problem.found.startswith("damaged data (it does not end as Parquet does")


def test_object_that_can_no_longer_be_read(lake: Path, logs: Path) -> None:
    path = logs / aws_key().path
    body = path.read_bytes()
    keep_time(path, body[:-20] + bytes(20))
    report = check(lake, logs, repair=True)
    assert [(p.kind, p.uri) for p in report.problems] == [("unreadable-object", str(path))]
    assert not report.complete
    assert report.forgotten == 0


def test_an_engine_finds_the_same(lake: Path, logs: Path) -> None:
    path = logs / aws_key(hash_="00000001").path
    keep_time(path, path.read_bytes().replace(b"OK\n2", b"OK 2"))
    path = logs / aws_key().path
    keep_time(path, path.read_bytes()[:-20] + bytes(20))
    flip(data_file(lake), -30)
    alone = check(lake, logs)
    assert alone.kinds.keys() == {"wrong-lines", "unreadable-object", "damaged-file"}
    shown: list[RunProgress] = []
    with ThreadPoolExecutor(2) as engine:
        report = flowconv.verify(str(lake), str(logs), engine=engine, on_progress=shown.append)
        assert report.problems == alone.problems
        assert report.lines == alone.lines > 0
        assert shown[-1].objects == shown[-1].total_objects
        assert shown[-1].source_bytes == shown[-1].total_bytes
        repaired = flowconv.verify(str(lake), str(logs), VerifyOptions(repair=True), engine=engine)
        assert repaired.kinds == alone.kinds
        secret = VerifyOptions(source_options={"secret": "x"})
        with pytest.raises(UsageError, match="credentials are not sent"):
            flowconv.verify(str(lake), str(logs), secret, engine=engine)


def test_an_engine_without_the_layout(lake: Path, logs: Path) -> None:
    (lake / "_flowconv/lake.json").unlink()
    with ThreadPoolExecutor(2) as engine:
        report = flowconv.verify(str(lake), str(logs), engine=engine)
    assert kinds(report) == {"missing-layout": 1}
    assert report.lines == LINES


@pytest.mark.parametrize(("places", "together"), [(1, 3), (2, 2), (50, 1)])
def test_checks_are_done_together_on_an_engine(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch, places: int, together: int
) -> None:
    """Each place gets several jobs; a job has about the same number of checks."""
    write_objects(logs, {aws_key(hash_=f"000000{n:02}"): V2 + ROW for n in range(2, 10)})
    convert(str(logs), str(lake))
    done: list[int] = []
    do = VerificationWorker.do

    def count(worker: VerificationWorker, checks: Sequence[Check]) -> Checked:
        done.append(len(checks))
        return do(worker, checks)

    monkeypatch.setattr(VerificationWorker, "do", count)
    with ThreadPoolExecutor(places) as engine:
        assert flowconv.verify(str(lake), str(logs), engine=engine).problems == []
    assert sum(done) == 19
    assert max(done) == together
    assert len(done) == -(-19 // together)


def test_days_are_chosen(lake: Path, logs: Path) -> None:
    (logs / "undated.log").write_bytes(V2 + ROW)
    result = invoke(["verify", str(lake), "--source", str(logs), "--since", "2026-01-14", "--json"])
    found = json.loads(result.stdout)
    assert (found["problems"], found["listed"], found["expired"]) == ([], 4, 0)


def test_forgotten_tasks_stay_forgotten_in_a_checkpoint(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", 1)
    convert(str(logs), str(lake))  # Merges what is there.
    assert list((lake / "_flowconv/ledger").glob("*.objects-*.parquet"))
    assert_clean(lake, logs)
    data_file(lake).unlink()
    assert check(lake, logs, repair=True).forgotten == 1
    assert set(kinds(check(lake, logs))) == {"not-converted"}
    convert(str(logs), str(lake))
    assert_clean(lake, logs)
    monkeypatch.undo()
    data_file(lake).unlink()
    assert check(lake, logs, repair=True).forgotten == 1
    convert(str(logs), str(lake))
    assert_clean(lake, logs)


def test_a_repair_that_was_killed_is_finished_by_the_next_run(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lake / "vpc/stray.parquet").write_bytes(b"")
    os.truncate(data_file(lake), 100)

    def fail(storage: LocalStorage, paths: list[str]) -> None:
        if "vpc/stray.parquet" in paths:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LocalStorage, "delete", fail)
        with pytest.raises(KeyboardInterrupt):
            check(lake, logs, repair=True)
    (lake / "_flowconv/lock.json").unlink(missing_ok=True)
    convert(str(logs), str(lake))
    assert_clean(lake, logs)


def test_a_lake_that_does_not_answer_is_not_damaged(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may pass must not lead to a repair."""

    def no_answer(*_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("flowconv.verification.lake_files._open", no_answer)
    with pytest.raises(StorageError, match="access is denied"):
        check(lake, logs, repair=True)
    monkeypatch.undo()
    assert_clean(lake, logs)


def test_a_source_that_does_not_exist(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        check(lake, tmp_path / "nowhere")


def test_no_lake(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="not a flowconv lake"):
        check(tmp_path)
    with pytest.raises(UsageError, match="gs:// is not supported"):
        flowconv.verify("gs://bucket")


LINE_CASES = [
    (b"", 0),
    (b"\n", 1),
    (b"a", 1),
    (b"a\nb", 2),
    (b"a\nb\n", 2),
    (b"\xef\xbb\xbf", 0),
    (b"\xef\xbb\xbf\n", 1),
    (b"\xef\xbb\xbfa", 1),
    (b"\r\r\n", 1),
    (gzip.compress(b""), 0),
    (gzip.compress(b"a\nb") + gzip.compress(b"c\n"), 2),
    (gzip.compress(b"a\n" * 5_000_000 + b"b"), 5_000_001),
    (b"a\n" * 5_000_000 + b"\xef\xbb\xbf", 5_000_001),
    (parquet({"srcaddr": ["a\nb"] * 3}), 3),
    (gzip.compress(parquet({"srcaddr": ["a"] * 3})), 3),
]


@pytest.mark.parametrize(("body", "lines"), LINE_CASES, ids=range(len(LINE_CASES)))
def test_count_lines(tmp_path: Path, body: bytes, lines: int) -> None:
    (tmp_path / "a.log").write_bytes(body)
    source = open_source(str(tmp_path))
    (log_object,) = source.list_objects()
    assert count_lines(source, log_object, lambda: None) == lines


DECODERS = {
    "flowconv.verification.recounting.gzip.GzipFile": gzip.compress(V2 + ROW),
    "flowconv.verification.recounting.check_footer": parquet({"srcaddr": ["a"], "dstaddr": ["b"]}),
    "flowconv.rows.extracting.extract": firehose([V2.decode(), ROW.decode()]),
}


@pytest.mark.parametrize(
    "error", [MemoryError(), OverflowError("odd"), RecursionError(), pa.ArrowException("odd")]
)
@pytest.mark.parametrize("decoder", DECODERS)
def test_whatever_a_decoder_raises(tmp_path: Path, decoder: str, error: Exception) -> None:
    body = DECODERS[decoder]
    write_objects(tmp_path / "logs", {Key("a.log"): body, Key("b.log"): V2 + ROW})
    source, lake = str(tmp_path / "logs"), str(tmp_path / "lake")
    assert convert(source, lake).objects == 2
    with mock.patch(decoder, side_effect=error):
        (problem,) = flowconv.verify(lake, source=source).problems
    assert (problem.kind, problem.uri) == ("unreadable-object", f"{source}/a.log")
    assert problem.found == f"damaged data ({str(error) or type(error).__name__})"


def test_command(lake: Path, logs: Path) -> None:
    well = invoke(["verify", str(lake), "--source", str(logs)])
    assert well.exit_code == 0
    assert f"5 objects, {LINES} lines counted" in well.stdout
    assert "problems   none" in well.stdout
    (lake / "vpc/x.parquet").write_bytes(b"")
    stray = invoke(["verify", str(lake)])
    assert stray.exit_code == 3
    assert (
        f"stray-file: {lake}/vpc/x.parquet: a file of 0 bytes that the ledger does not name, "
        "expected none. If you did not put it there, remove it with --repair.\n"
    ) in stray.stdout
    assert invoke(["verify", str(lake), "--repair"]).exit_code == 0
    data_file(lake).unlink()
    arguments = ["verify", str(lake), "--source", str(logs), "--repair"]
    repaired = invoke(arguments)
    assert repaired.exit_code == 3
    assert f"Now convert their objects again: flowconv convert {logs} {lake}\n" in repaired.stdout
    assert invoke(["convert", str(logs), str(lake)]).exit_code == 0
    shown = invoke(["verify", str(lake), "--source", str(logs), "--json"])
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert (found["complete"], found["problems"], found["rows"]) == (True, [], ROWS)
    repairs = invoke(["status", str(lake)]).stdout
    assert "repair: 1 tasks forgotten" in repairs


def test_no_line_of_a_log_is_quoted(lake: Path, logs: Path) -> None:
    flip(quarantine_file(lake), 40)
    flip_in_a_page(lake)
    for path in logs.rglob("*.log*"):
        path.write_bytes(V2 + ROW)
    shown = invoke(["verify", str(lake), "--source", str(logs)])
    assert shown.exit_code == 3
    assert "10.0.0." not in shown.output


def s3_options(server: S3Server) -> dict[str, str]:
    user = server.users[0]
    options = {"key": user.access_key, "secret": user.secret_key}
    return options | {"endpoint_url": server.endpoint_url, "region": server.region}


def test_in_s3(s3: S3Server) -> None:
    bucket, options, client = s3.make_bucket(), s3_options(s3), s3.client()
    logs, lake = f"s3://{bucket}/logs", f"s3://{bucket}/lake"
    for key, body in OBJECTS.items():
        client.put_object(Bucket=bucket, Key=f"logs/{key.path}", Body=body)
    client.put_object(Bucket=bucket, Key="lake/vpc/", Body=b"")  # What the console makes.

    def run() -> None:
        convert(logs, lake, ConvertOptions(source_options=options, dest_options=options))

    def found(**kwargs: Any) -> VerifyReport:
        how = VerifyOptions(source_options=options, dest_options=options, **kwargs)
        return flowconv.verify(lake, logs, how)

    client.delete_object(Bucket=bucket, Key="lake/vpc/")
    run()
    client.put_object(Bucket=bucket, Key="lake/vpc/", Body=b"")
    well = found()
    assert (well.problems, well.rows, well.lines) == ([], ROWS, LINES)

    storage = open_storage(lake, options)
    files = [file for file, _ in Ledger.read(storage).files().values() if file.is_data]
    gone, cut, flipped, *_ = sorted(files, key=lambda file: -file.size_bytes)
    pages = bytearray(storage.fetch(flipped.path))
    parquet = pq.ParquetFile(pa.BufferReader(bytes(pages)))
    column = parquet.metadata.row_group(0).column(0)
    pages[(column.dictionary_page_offset or column.data_page_offset) + 40] ^= 1
    storage.write(flipped.path, bytes(pages))
    storage.write(cut.path, storage.fetch(cut.path)[:-1])
    storage.delete([gone.path])
    storage.write("vpc/stray.parquet", b"")
    client.create_multipart_upload(Bucket=bucket, Key="lake/vpc/unfinished.parquet")
    assert kinds(found()) == {"stray-file": 1, "missing-file": 1, "damaged-file": 2}
    repaired = found(repair=True)
    assert all(problem.repaired for problem in repaired.problems)
    run()
    well = found()
    assert (well.problems, well.rows, well.lines) == ([], ROWS, LINES)


def test_bucket_that_fails_is_not_damaged(
    moto_s3: S3Server, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, lake = s3_options(moto_s3), f"s3://{moto_s3.make_bucket()}/lake"
    convert(str(logs), lake, ConvertOptions(dest_options=options))

    def no_answer(_: object, path: str, *__: object, **___: object) -> "Future[bytes]":
        failed: Future[bytes] = Future()
        failed.set_exception(FetchError("S3 does not answer.", uri=path))
        return failed

    monkeypatch.setattr("flowconv.storage.s3.S3Storage.start_fetch", no_answer)
    with pytest.raises(FetchError, match="does not answer"):
        flowconv.verify(lake, str(logs), VerifyOptions(dest_options=options, repair=True))
    monkeypatch.undo()
    assert flowconv.verify(lake, str(logs), VerifyOptions(dest_options=options)).problems == []


def test_lines_of_every_shape_are_counted_again(tmp_path: Path) -> None:
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    row = ROW.decode().strip()
    bodies = {
        "export.gz": gzip.compress(cloudwatch_export([ROW.strip(), b"x", b""])),
        "subscription": subscription([control(), document([row, "x"]), document([row])]),
        "firehose": b"# a\n\n" + firehose([row, "", f"{row}\n{row}"]) + b'{"mess',
        "parquet": parquet({"version": [2, None], "action": ["ACCEPT", "-"]}),
        "glued": ROW.strip() + ROW + ROW.strip() + b" " + ROW,
    }
    write_objects(logs, {Key(name): body for name, body in bodies.items()})
    report = convert(str(logs), str(lake), ConvertOptions(format="default"))
    assert report.unreadable == {}
    found = check(lake, logs)
    assert found.problems == []
    assert found.lines == report.lines.lines == 3 + 3 + 5 + 2 + 2


# --- what is lost of the ledger -------------------------------------------------------------------


def ledger_files(lake: Path, pattern: str) -> list[Path]:
    return sorted((lake / "_flowconv/ledger").glob(pattern))


def lose_ledger(lake: Path) -> None:
    shutil.rmtree(lake / "_flowconv/ledger")


def lose_ledger_and_its_number(lake: Path) -> None:
    lose_ledger(lake)
    (lake / "_flowconv/ledger.json").unlink()


def lose_last_records(lake: Path) -> None:
    for path in ledger_files(lake, "?" * 12)[-2:]:
        path.unlink()


def lose_newest_checkpoint(lake: Path) -> None:
    newest = max(path.name[:12] for path in ledger_files(lake, "*.parquet"))
    for path in ledger_files(lake, f"{newest}.*"):
        path.unlink()


def lose_part(part: str) -> Callable[[Path], None]:
    def lose(lake: Path) -> None:
        ledger_files(lake, f"*.{part}-*")[-1].unlink()

    return lose


LOSSES: dict[str, tuple[int, Callable[[Path], None], str]] = {
    "list of objects": (1, lose_part("objects"), r"checkpoint _\S+\.objects-\S+ is gone"),
    "list of files": (1, lose_part("files"), r"checkpoint _\S+\.files-\S+ is gone"),
    "list of runs": (1, lose_part("runs"), r"checkpoint _\S+\.runs-\S+ is gone"),
    "newest checkpoint": (1, lose_newest_checkpoint, r"record \S+( is| and \d+ more are) gone"),
    "last records": (64, lose_last_records, r"record \S+ and 1 more are gone"),
    "whole ledger": (64, lose_ledger, r"record \S+0001 and \d+ more are gone"),
    "ledger of checkpoints": (1, lose_ledger, r"record \S+0001 and \d+ more are gone"),
    "all that tells": (64, lose_ledger_and_its_number, r"record \S+0001 is gone"),
}


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_the_ledger_is_noticed_by_all(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, runs: int
) -> None:
    """Though the newest checkpoint is gone, an older one may be there."""
    merge, lose, message = LOSSES[name]
    lake = tmp_path / "lake"
    monkeypatch.setattr("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", merge)
    for _ in range(runs):
        convert(str(logs), str(lake))
    lose(lake)
    before = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    for use in (
        flowconv.scan,
        flowconv.status,
        partial(convert, str(logs)),
        partial(plan, str(logs)),
        read_quarantine,
    ):
        with pytest.raises(LakeError, match=message) as caught:
            use(str(lake))
        assert "flowconv verify --repair" in str(caught.value)
    after = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == set()
    assert after == before
    for command in ("status", "quarantine"):
        assert invoke([command, str(lake)]).exit_code == 1
    assert invoke(["convert", str(logs), str(lake), "--dry-run"]).exit_code == 1
    found = check(lake, logs)
    assert found.kinds["missing-record"] == 1

    repaired = check(lake, logs, repair=True)
    assert (repaired.removed, repaired.forgotten) == (0, 0)
    kept = [path for path in (lake / "_flowconv/set-aside").rglob("*") if path.is_file()]
    assert repaired.set_aside == len(kept)
    convert(str(logs), str(lake))
    assert_clean(lake, logs)


def test_a_row_that_only_the_lake_has_outlives_the_loss_of_the_ledger(
    lake: Path, logs: Path
) -> None:
    rows = {path.name: path.read_bytes() for path in data_files(lake)}
    shutil.rmtree(logs)
    logs.mkdir()
    lose_ledger(lake)
    repaired = check(lake, logs, repair=True)
    assert data_files(lake) == []
    kept = (lake / "_flowconv/set-aside").rglob("*.parquet")
    assert {path.name: path.read_bytes() for path in kept} == rows
    moved = [p for p in repaired.problems if "_flowconv/set-aside/" in p.advice]
    assert len(moved) == len(rows) + 1  # And the quarantine.


def test_part_of_another_checkpoint(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are whole, but not what the newest checkpoint wrote."""
    monkeypatch.setattr("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", 1)
    for number in range(2):
        (logs / f"{number}.log").write_bytes(V2 + ROW)
        convert(str(logs), str(lake))
    for part in ("files", "objects", "runs"):
        old, young = ledger_files(lake, f"*.{part}-*")
        other = young.with_name(young.name[:12] + old.name[12:])
        whole = young.read_bytes()
        other.write_bytes(old.read_bytes())
        with pytest.raises(LakeError, match="Remove the one that does not belong there"):
            flowconv.status(str(lake))
        young.unlink()
        with pytest.raises(LakeError, match=r"has checkpoint \d+, expected \d+|has parts "):
            flowconv.status(str(lake))
        other.unlink()
        young.write_bytes(whole)
    assert flowconv.status(str(lake)).objects == len(OBJECTS) + 2


@pytest.mark.parametrize("merge", [1, 64])
def test_lost_layout(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge: int
) -> None:
    lake = tmp_path / "lake"
    monkeypatch.setattr("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", merge)
    options = ConvertOptions(partition_by=("date",), time_type="epoch")
    convert(str(logs), str(lake), options)
    layout = (lake / "_flowconv/lake.json").read_bytes()
    (lake / "_flowconv/lake.json").unlink()
    empty = tmp_path / "empty"
    empty.mkdir()
    for use in (
        flowconv.scan,
        flowconv.status,
        partial(convert, str(logs)),
        partial(convert, str(empty)),
        partial(plan, str(logs)),
        read_quarantine,
    ):
        with pytest.raises(LakeError, match=r"_flowconv/lake.json is gone.*verify --repair"):
            use(str(lake))
    assert kinds(check(lake, logs)) == {"missing-layout": 1}
    assert check(lake, logs, repair=True).complete
    assert (lake / "_flowconv/lake.json").read_bytes() == layout
    assert check(lake, logs).problems == []


NAMES = ["000099999999", "٠٠٠٠٠٠٠٠٠٩٩٩", "00000000000²", "1", "0000000000001", "000000000000", "x"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_records(lake: Path, logs: Path, name: str) -> None:
    """A number far away costs no memory; what is no number is a stray."""
    path = lake / "_flowconv/ledger" / name
    end = unseal(record(lake, "end").read_bytes())
    path.write_bytes(b"x")
    if name == NAMES[0]:
        with pytest.raises(LakeError, match=f"record _flowconv/ledger/{name} is damaged"):
            flowconv.status(str(lake))
        path.write_bytes(seal(end | {"number": int(name)}))
        with pytest.raises(LakeError, match=r"and 99,99\d,\d{3} more are gone"):
            flowconv.status(str(lake))
        assert kinds(check(lake, logs)) == {"missing-record": 1}
        assert check(lake, logs, repair=True).complete
    else:
        assert flowconv.status(str(lake)).objects == len(OBJECTS)
        convert(str(logs), str(lake))
        found = check(lake, logs)
        assert [(p.kind, p.uri) for p in found.problems] == [("stray-file", str(path))]
        assert check(lake, logs, repair=True).complete
        assert not path.exists()
    assert_clean(lake, logs)


@pytest.mark.parametrize("written", [b"", b"{}", b"[" * 100_000, seal({"last_number": True})])
def test_damaged_last_number(lake: Path, logs: Path, written: bytes) -> None:
    path = lake / "_flowconv/ledger.json"
    path.write_bytes(written)
    with pytest.raises(LakeError, match=r"_flowconv/ledger.json is damaged .*delete it"):
        convert(str(logs), str(lake))
    path.unlink()
    assert_clean(lake, logs)
    convert(str(logs), str(lake))
    assert path.exists()


# --- no row goes that cannot come again -----------------------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rot(path: Path) -> None:
    body = path.read_bytes()
    keep_time(path, body[:30] + bytes(8) + body[38:])


def lose_a_line(path: Path) -> None:
    """As the same size and time, and whole: only its lines tell."""
    text = gzip.decompress(path.read_bytes())
    for padding in range(200):
        body = gzip.compress(text[: -len(ROW)] + b"#" + b"x" * padding + b"\n", 0)
        if len(body) == path.stat().st_size:
            keep_time(path, body)
            return
    pytest.fail("no object of this size")


def reject_a_line(path: Path) -> None:
    text = gzip.decompress(path.read_bytes())
    keep_time(path, gzip.compress(text.replace(b" 443 ", b" 44x ", 1), 0))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "emptied": empty,
    "rotten": rot,
    "gone": lambda path: path.unlink(),
    "replaced": lambda path: path.write_bytes(gzip.compress(V2 + ROW)),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "no folder": make_folder,
    "line lost": lose_a_line,
    "line rejected": reject_a_line,
}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", UNREADABLE)
def test_repair_keeps_what_cannot_be_converted_again(
    tmp_path: Path, name: str, quick: bool
) -> None:
    """A task's damaged file may go if every one of its objects comes again, row by row."""
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    next_day = ROW.replace(b"1768348800 1768348860", b"1768521600 1768521660")
    bodies = {aws_key(hash_=f"{n:08x}"): gzip.compress(V2 + ROW + next_day, 0) for n in range(3)}
    write_objects(logs, bodies)
    convert(str(logs), str(lake))
    first, second = data_files(lake)
    flip(first, 100)
    intact = second.read_bytes()
    path = logs / aws_key(hash_="00000001").path
    UNREADABLE[name](path)
    report = check(lake, logs, repair=True, quick=quick) if not quick else None
    if quick:
        os.truncate(first, 100)  # What a quick look finds.
        report = check(lake, logs, repair=True, quick=True)
    assert report
    assert (report.forgotten, report.removed, report.set_aside) == (0, 0, 0)
    (damaged,) = [p for p in report.problems if p.kind == "damaged-file"]
    assert not damaged.repaired
    assert "1 of its 3 objects cannot be converted again, and their rows" in damaged.advice
    assert f"({path}: " in damaged.advice
    assert second.read_bytes() == intact
    convert(str(logs), str(lake))
    assert flowconv.scan(str(lake), since=date(2026, 1, 16)).collect().height == 3


def test_repair_knows_the_format_that_an_object_was_converted_by(tmp_path: Path) -> None:
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    write_objects(logs, {Key("a.log"): 3 * ROW, Key("b.log"): V2 + ROW})
    convert(str(logs), str(lake), ConvertOptions(format="default"))
    (path,) = data_files(lake)
    path.unlink()
    assert check(lake, logs, repair=True).forgotten == 1
    convert(str(logs), str(lake), ConvertOptions(format="default"))
    assert check(lake, logs).problems == []


def test_denied_object_is_not_convertible(
    lake: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, denied = LocalStorage.fetch, aws_key().path

    def refuse(storage: LocalStorage, path: str, *args: Any) -> bytes:
        if path == denied:
            raise FetchError("access is denied. Check the permissions.", uri=path)
        return fetch(storage, path, *args)

    data_file(lake).unlink()
    monkeypatch.setattr(LocalStorage, "fetch", refuse)
    report = check(lake, logs, repair=True)
    assert report.forgotten == 0
    (missing,) = [p for p in report.problems if p.kind == "missing-file"]
    assert "access is denied" in missing.advice


@pytest.mark.parametrize("how", ["reprocess", "retry_rejected"])
@pytest.mark.parametrize("name", ["emptied", "rotten", "gone"])
def test_reprocessing_keeps_what_cannot_be_converted_again(
    tmp_path: Path, name: str, how: str
) -> None:
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    keys = [aws_key(hash_=f"{n:08x}") for n in range(3)]
    write_objects(logs, {key: gzip.compress(V2 + 2 * ROW + b"2 x\n", 0) for key in keys})
    convert(str(logs), str(lake))
    before = flowconv.scan(str(lake)).collect()
    path = logs / keys[1].path
    UNREADABLE[name](path)
    (logs / keys[2].path).write_bytes(gzip.compress(V2 + 5 * ROW + b"2 y\n"))
    report = convert(str(logs), str(lake), ConvertOptions(**{how: True}))  # type: ignore[arg-type]
    assert report.objects == 0
    assert not report.complete
    assert flowconv.scan(str(lake)).collect().equals(before)
    assert "their rows would be lost" in str(report.unreadable) or "rows" in str(report.unreadable)
    write_objects(logs, {keys[1]: gzip.compress(V2 + 2 * ROW)})
    assert convert(str(logs), str(lake), ConvertOptions(reprocess=True)).objects == 3
    assert flowconv.scan(str(lake)).collect().height == 2 + 2 + 5


# --- scan: what is asked for, and whether it is there ---------------------------------------------


def test_scan_of_files_that_are_gone(lake: Path, logs: Path) -> None:
    gone = data_file(lake)
    gone.unlink()
    with pytest.raises(LakeError, match=r"the file vpc/\S+ is gone.*flowconv verify") as caught:
        flowconv.scan(str(lake))
    assert gone.name in str(caught.value)
    assert flowconv.scan(str(lake), accounts="000000000012").collect().height == 1


def test_texts_where_lists_and_days_are_meant(lake: Path) -> None:
    plain = flowconv.scan(str(lake), accounts=["123456789012"]).collect()
    assert plain.height == 5
    for same in ("123456789012", ("123456789012",), {"123456789012"}):
        assert flowconv.scan(str(lake), accounts=same).collect().height == 5
    assert flowconv.scan(lake, regions="eu-west-1").collect().height == 5
    assert flowconv.scan(lake, since="2026-01-14", until="2026-01-14").collect().height > 0
    for wrong in (123456789012, [12], b"123456789012", [None]):
        with pytest.raises(
            TypeError, match=r"accounts: a value of type \w+ is not text.*in quotes"
        ):
            flowconv.scan(str(lake), accounts=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="loses an account's zeros"):
        flowconv.scan(str(lake), accounts=[12])  # type: ignore[list-item]
    for day in ("14.01.2026", 3):
        with pytest.raises(UsageError, match="is not a day"):
            flowconv.scan(str(lake), since=day)  # type: ignore[arg-type]


def test_two_files_of_parquet_in_one_are_not_counted(tmp_path: Path) -> None:
    body = parquet({"srcaddr": ["a"] * 3, "dstaddr": ["b"] * 3})
    (tmp_path / "a.parquet").write_bytes(body + body)
    source = open_source(str(tmp_path))
    (log_object,) = source.list_objects()
    with pytest.raises(FormatError, match="several Parquet files glued together"):
        count_lines(source, log_object, lambda: None)


def test_set_aside_in_s3(moto_s3: S3Server, logs: Path) -> None:
    options, lake = s3_options(moto_s3), f"s3://{moto_s3.make_bucket()}/lake"
    convert(str(logs), lake, ConvertOptions(dest_options=options))
    storage = open_storage(lake, options)
    assert not storage.move("vpc/nothing", "vpc/other")
    storage.delete([file.path for file in storage.list_files("_flowconv/ledger")])
    with pytest.raises(LakeError, match=r"the ledger's record .* and 5 more are gone"):
        flowconv.scan(lake, options=options)
    repaired = flowconv.verify(lake, str(logs), VerifyOptions(dest_options=options, repair=True))
    assert repaired.set_aside == 5
    assert list(storage.list_files("vpc")) == []
    convert(str(logs), lake, ConvertOptions(dest_options=options))
    assert flowconv.verify(lake, str(logs), VerifyOptions(dest_options=options)).problems == []
    gone = next(storage.list_files("vpc")).path
    storage.delete([gone])
    with pytest.raises(LakeError, match=f"the file {gone} is gone"):
        flowconv.scan(lake, options=options)


@pytest.mark.parametrize(("size_bytes", "ahead"), [(1000, 20), (8 << 20, 2)])
def test_files_are_fetched_ahead(size_bytes: int, ahead: int) -> None:
    """In any order, each once; so many are under way as the memory has room for."""
    files = [
        DataFile(path=f"{number:02}", rows=1, size_bytes=size_bytes, crc32=0)
        for number in range(20)
    ]
    large = DataFile(path="large", rows=1, size_bytes=(8 << 20) + 1, crc32=0)
    begun: list[str] = []

    class Lake:
        def start_fetch(self, path: str, start: int, size: int) -> Future[bytes]:
            begun.append(path)
            answer: Future[bytes] = Future()
            answer.set_result(f"{path} {start} {size}".encode())
            return answer

    fetched = FetchedFiles(Lake(), [large, *files])  # type: ignore[arg-type]
    assert fetched.fetch(large) is None
    for number, file in enumerate([files[1], files[0], *files[2:]]):
        assert fetched.fetch(file) == f"{file.path} 0 {size_bytes}".encode()
        assert number or len(begun) == ahead
    assert begun == [file.path for file in files]


@pytest.mark.parametrize(("size_bytes", "ahead"), [(1000, 20), (8 << 20, 2)])
def test_objects_are_fetched_ahead(size_bytes: int, ahead: int) -> None:
    """In any order, each once; so many are under way as the memory has room for."""
    objects = [log_object(f"s3://b/{number:02}", size_bytes) for number in range(20)]
    begun: list[str] = []

    class Logs:
        def requests(self, log_object: LogObject) -> Iterator[Callable[[], Future[bytes]]]:
            for part in (b"1", b"2"):
                yield partial(self.begin, log_object, part)

        def begin(self, log_object: LogObject, part: bytes) -> Future[bytes]:
            begun.append(log_object.uri)
            answer: Future[bytes] = Future()
            answer.set_result(log_object.uri.encode() + part)
            return answer

    fetched = FetchedAhead(Logs(), objects)  # type: ignore[arg-type]
    order = [objects[1], objects[0], *objects[2:]]
    for number, next_object in enumerate(order):
        requests = fetched.requests(next_object)
        first = next(requests)().result()
        assert number or len(begun) == ahead
        assert [first, *(request().result() for request in requests)] == [
            next_object.uri.encode() + part for part in (b"1", b"2")
        ]
    assert Counter(begun) == dict.fromkeys((log_object.uri for log_object in objects), 2)
