"""What a lake says of itself: runs, partitions, quarantine and lock."""

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import flowconv
from flowconv import ConvertOptions, FlowconvError, convert
from flowconv.lake.locking import Lock
from flowconv.storage.opening import open_storage
from support.commands import invoke
from support.lakes import ROW, V2, Key, aws_key, killed_run, write_objects

GOOD = aws_key()
BAD = aws_key("000000000012", "us-east-1")
BROKEN = Key("broken.log.gz")
OBJECTS = {
    GOOD: V2 + 3 * ROW,
    BAD: V2 + ROW + b"2 x\n" + ROW.replace(b"443", b"http"),
    BROKEN: b"\x1f\x8b\x08",
}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_objects(tmp_path / "logs", OBJECTS)
    return tmp_path / "logs"


@pytest.fixture
def lake(logs: Path, tmp_path: Path) -> Path:
    convert(str(logs), str(tmp_path / "lake"))
    return tmp_path / "lake"


def test_runs_partitions_quarantine(logs: Path, lake: Path) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # The ledger's times are in these.
    convert(str(logs), str(lake))
    status = flowconv.status(str(lake))
    assert (status.lake, status.objects, status.rows) == (str(lake), 2, 4)
    assert (status.rejected, status.rejected_objects) == (2, 1)
    assert (status.lock.state, status.lock.holder) == ("free", None)
    assert [(p.table, p.directory, p.files, p.rows) for p in status.partitions] == [
        ("vpc", "aws_account_id=000000000012/aws_region=us-east-1/date=2026-01-14", 1, 1),
        ("vpc", "aws_account_id=123456789012/aws_region=eu-west-1/date=2026-01-14", 1, 3),
    ]
    assert status.size_bytes == sum(f.stat().st_size for f in lake.glob("vpc/**/*.parquet"))
    last, first = status.runs
    assert first.state == last.state == "done"
    assert first.run.began < before < last.run.began < before + timedelta(minutes=1)
    assert first.seconds is not None
    assert 0 < first.seconds < 60
    assert [run.run.report["objects"] for run in status.runs] == [0, 2]
    assert [run.run.report["number_unreadable"] for run in status.runs] == [1, 1]


def test_failed_run_says_why(logs: Path, lake: Path) -> None:
    (logs / "late.log").write_bytes(V2 + b"2 x\n")
    with pytest.raises(FlowconvError, match="it has 2 values, and the format has 14"):
        convert(str(logs), str(lake), ConvertOptions(on_bad_line="fail"))
    run = flowconv.status(str(lake), runs=1).runs[0]
    assert run.state == "failed"
    assert "late.log: line 2" in run.run.report["failure"]
    shown = invoke(["status", str(lake)])
    assert f"{run.run.run_id} failed: {logs}/late.log: line 2" in shown.stdout


def test_held_lock_and_run_under_way(lake: Path) -> None:
    with Lock(open_storage(str(lake)), "20260114T000000Z-abcdef"):
        lock = flowconv.status(str(lake)).lock
        assert lock.state == "held"
        assert lock.holder is not None
        assert (lock.holder.run_id, lock.holder.pid) == ("20260114T000000Z-abcdef", os.getpid())
        shown = invoke(["status", str(lake)])
        assert "held by run 20260114T000000Z-abcdef, process " in shown.stdout
    assert flowconv.status(str(lake)).lock.state == "free"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_run(logs: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    killed_run(logs, lake)
    status = flowconv.status(str(lake))
    assert status.lock.state == "dead"
    assert [(run.state, run.seconds) for run in status.runs] == [("killed", None)]
    assert (status.rows, status.objects) == (0, 0)
    shown = invoke(["status", str(lake)]).stdout
    assert "which was killed; the next run takes over" in shown
    assert f"{status.runs[0].run.run_id} was killed on " in shown
    convert(str(logs), str(lake))
    after = flowconv.status(str(lake))
    assert [run.state for run in after.runs] == ["done", "killed"]
    assert (after.lock.state, after.rows) == ("free", 4)


def test_damaged_lock_is_said_and_does_not_hide_the_rest(lake: Path) -> None:
    (lake / "_flowconv/lock.json").write_text("{}")
    status = flowconv.status(str(lake))
    assert (status.lock.state, status.rows) == ("damaged", 4)
    shown = invoke(["status", str(lake)]).stdout
    assert "if no run is under way, delete _flowconv/lock.json" in shown


def test_empty_lake(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(b"")[:-1]})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    status = flowconv.status(str(tmp_path / "lake"))
    assert (status.rows, status.files, status.partitions, status.rejected) == (0, 0, (), 0)
    shown = invoke(["status", str(tmp_path / "lake")])
    assert shown.exit_code == 0


def test_so_many_runs(logs: Path, lake: Path) -> None:
    for _ in range(3):
        convert(str(logs), str(lake))
    status = flowconv.status(str(lake), runs=2)
    assert (len(status.runs), status.number_runs) == (2, 4)
    assert flowconv.status(str(lake), runs=0).runs == ()
    shown = invoke(["status", str(lake), "-n", "1"]).stdout
    assert "… and 3 earlier ones; --runs" in shown


def test_json_has_all_of_it(lake: Path) -> None:
    shown = invoke(["status", str(lake), "--json"])
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert found == json.loads(json.dumps(flowconv.status(str(lake)).to_dict()))
    assert found["lock"] == {"state": "free", "holder": None}
    assert (found["rows"], found["rejected"]) == (4, 2)
    assert found["runs"][0]["state"] == "done"


def test_table_shows_rows_and_unreadable_objects(lake: Path) -> None:
    shown = invoke(["status", str(lake)])
    assert shown.exit_code == 0
    assert "rows         4 in 2 files" in shown.stdout
    assert f"quarantine   2 lines of 1 objects (flowconv quarantine {lake})" in shown.stdout
    assert "2, 1 unreadable" in shown.stdout


def test_no_lake_is_an_error(tmp_path: Path) -> None:
    shown = invoke(["status", str(tmp_path)])
    assert shown.exit_code == 1
    assert "this is not a flowconv lake" in shown.stderr
