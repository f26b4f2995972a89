"""What a job tells the outside: events in its log, and metrics in a file."""

import gzip
import json
import os
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from flowconv.cli.metrics import write_metrics
from flowconv.conversion.report import ConvertReport
from flowconv.errors import LakeError, StorageError
from flowconv.lake.ledger import Ledger
from support.commands import invoke
from support.lakes import ROW, V2, aws_key, write_objects

parse_openmetrics: Any = text_string_to_metric_families  # which has no types


JOB = {"source": "s3://my-logs", "lake": "s3://my-lake"}
GOOD = gzip.compress(V2 + ROW * 2)
WITH_REJECTED = V2 + ROW.replace(b" 443 ", b" 192.168.17.4 ") + ROW


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two good days, one with a line that does not fit, and an object that ends early."""
    write_objects(
        tmp_path / "logs",
        {
            aws_key(time="2026-01-14T00:05"): GOOD,
            aws_key(time="2026-01-15T00:05"): GOOD,
            aws_key(time="2026-01-16T00:05"): WITH_REJECTED,
            aws_key(time="2026-01-17T00:05"): GOOD[:-9],
        },
    )
    return tmp_path / "logs"


def run(*arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    """Convert with a JSON log, and return its events."""
    command = ["convert", *map(str, arguments), "--log-format", "json", "--json"]
    result = invoke(command)
    assert result.exit_code == code, result.output
    return [json.loads(line) for line in result.stderr.splitlines()]


def metrics(path: Path) -> dict[str, float]:
    """Parse a file of metrics; all have the labels of the job."""
    found: dict[str, float] = {}
    for family in parse_openmetrics(path.read_text(encoding="utf-8")):
        assert family.documentation
        (sample,) = family.samples
        assert sample.name == family.name
        assert {"source", "lake"} <= sample.labels.keys()
        found[sample.name.removeprefix("flowconv_")] = sample.value
    return found


# --- events -------------------------------------------------------------------------------------


def test_events_of_a_run(logs: Path, tmp_path: Path) -> None:
    events = run(logs, tmp_path / "lake", code=3)
    assert Counter(event["event"] for event in events) == {
        "run_began": 1,
        "run_planned": 1,
        "task_began": 4,
        "object_converted": 3,
        "object_unreadable": 1,
        "task_committed": 3,
        "run_ended": 1,
    }
    assert (events[0]["event"], events[-1]["event"]) == ("run_began", "run_ended")
    assert len({event["run_id"] for event in events}) == 1
    for event in events:
        moment = datetime.fromisoformat(event["time"])
        assert abs((datetime.now(UTC) - moment).total_seconds()) < 600
        assert event["level"] == ("warning" if event["event"] == "object_unreadable" else "info")
    ended = events[-1]
    assert (ended["objects"], ended["number_unreadable"], ended["failure"]) == (3, 1, "")
    assert (ended["lines"]["rows"], ended["lines"]["rejected"]) == (5, 1)


def test_events_hold_no_addresses(logs: Path, tmp_path: Path) -> None:
    command = ["convert", str(logs), str(tmp_path / "lake"), "--log-format", "json", "--json"]
    logged = invoke(command).stderr
    assert '"rejected": 1' in logged
    for address in ("10.0.0.1", "10.0.0.2", "192.168.17.4"):
        assert address not in logged


def test_events_of_a_run_that_fails(logs: Path, tmp_path: Path) -> None:
    with mock.patch.object(Ledger, "commit", side_effect=LakeError("no longer ours.")):
        events = run(logs, tmp_path / "lake", "--workers", "1", code=1)
    ended, error = events[-2:]
    assert (ended["event"], ended["level"]) == ("run_ended", "error")
    assert (error["event"], error["level"]) == ("error", "error")
    assert "no longer ours." in ended["failure"]
    assert "no longer ours." in error["message"]
    assert len({event["run_id"] for event in events}) == 1


def test_events_of_a_run_that_may_not_begin(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "lake/vpc").mkdir(parents=True)
    (tmp_path / "lake/vpc/somebody's.parquet").touch()
    events = run(logs, tmp_path / "lake", code=1)
    assert [event["event"] for event in events] == ["run_began", "error"]
    assert events[0]["run_id"] == events[1]["run_id"]


def test_a_second_attempt_is_logged(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(V2 + ROW * 300)[:-9]})
    with mock.patch("flowconv.blocks.reading.BLOCK_BYTES", 8000):
        events = run(tmp_path / "logs", tmp_path / "lake", code=3)
    (retry,) = [event for event in events if event["event"] == "retry"]
    assert (retry["level"], retry["uri"]) == ("warning", str(tmp_path / "logs" / aws_key().path))
    assert "ends early" in retry["reason"]
    assert retry["run_id"] == events[0]["run_id"]


def test_nothing_but_events_on_stderr_for_wrong_usage(tmp_path: Path) -> None:
    (event,) = run(tmp_path, tmp_path / "lake", "--workers", "9999", code=2)
    assert (event["event"], event["level"]) == ("error", "error")


# --- metrics ------------------------------------------------------------------------------------


def test_metrics_of_a_run(logs: Path, tmp_path: Path) -> None:
    write_objects(logs, {aws_key(time=f"2026-01-14T00:{minute}"): GOOD for minute in (10, 15, 20)})
    file = tmp_path / "flowconv.prom"
    began = datetime.now(UTC).timestamp()
    events = run(logs, tmp_path / "lake", "--metrics-file", file, code=3)
    found = metrics(file)
    ended = found.pop("last_run_timestamp_seconds")
    assert began < found.pop("last_success_timestamp_seconds") <= ended + 1
    assert found.pop("last_run_seconds") > 0
    assert found.pop("last_run_written_bytes") > 0
    shares = [
        found.pop(f"last_run_workers_{what}_ratio")
        for what in ("working", "source", "lake", "tasks")
    ]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert found == {
        "last_run_failed": 0,
        "last_run_empty": 0,
        "last_run_objects": 6,
        "last_run_objects_unreadable": 1,
        "last_run_objects_changed": 0,
        "last_run_objects_changed_format": 0,
        "last_run_rows": 11,
        "last_run_rejected_lines": 1,
        "last_run_skipdata_rows": 0,
        "last_run_overlapping_flow_logs": 0,
        "last_run_expired_rows": 0,
        "lake_quarantined_lines": 1,
        "lake_gone_partitions": 0,
        "lake_uncovered_days": 0,
        "lake_flow_log_objects": 1,
        "lake_flow_log_objects_usual": 4,
        "lake_newest_record_timestamp_seconds": 1768348800,
        "lake_newest_object_timestamp_seconds": 1768521900,
        "last_run_source_bytes": events[-1]["source_bytes"],
        "last_run_text_bytes": events[-1]["text_bytes"],
        "last_run_info": 1,
    }
    assert f'run_id="{events[0]["run_id"]}"' in file.read_text()


def test_metrics_are_of_the_kinds_that_node_exporter_knows(tmp_path: Path) -> None:
    """It parses Prometheus' older format, which has none of OpenMetrics' new types."""
    write_metrics(
        tmp_path / "m.prom", JOB, ConvertReport(source="a", lake="b", run_id="1"), failed=False
    )
    text = (tmp_path / "m.prom").read_text()
    assert set(re.findall(r"^# TYPE \w+ (\w+)$", text, re.MULTILINE)) == {"gauge"}
    assert text.endswith("\n# EOF\n")


def test_the_last_success_outlives_a_run_that_fails(logs: Path, tmp_path: Path) -> None:
    file = tmp_path / "flowconv.prom"
    run(logs, tmp_path / "lake", "--metrics-file", file, code=3)
    success = metrics(file)["last_success_timestamp_seconds"]
    (tmp_path / "logs/new.log").write_bytes(V2 + ROW)
    for _ in range(2):
        with mock.patch.object(Ledger, "commit", side_effect=LakeError("no longer ours.")):
            events = run(logs, tmp_path / "lake", "--metrics-file", file, code=1)
        found = metrics(file)
        assert found["last_success_timestamp_seconds"] == success
        assert found["last_run_failed"] == 1
        assert found["last_run_objects"] == 0
        assert found["last_run_timestamp_seconds"] > success
        assert f'run_id="{events[0]["run_id"]}"' in file.read_text()
    run(logs, tmp_path / "lake", "--metrics-file", file, code=3)
    assert metrics(file)["last_success_timestamp_seconds"] > success


def test_metrics_before_there_was_a_success(tmp_path: Path) -> None:
    file = tmp_path / "flowconv.prom"
    run(tmp_path / "nowhere", tmp_path / "lake", "--metrics-file", file, code=1)
    found = metrics(file)
    assert found["last_run_failed"] == 1
    assert "last_success_timestamp_seconds" not in found


def test_names_in_labels_are_escaped(tmp_path: Path) -> None:
    odd = 'a "quoted" \\ and\nbroken\\n ü'
    write_metrics(tmp_path / "m.prom", {"source": "a\x1b[2Jb", "lake": "\udcff"}, None, failed=True)
    (family, *_) = parse_openmetrics((tmp_path / "m.prom").read_text(encoding="utf-8"))
    assert family.samples[0].labels == {"source": r"a\x1b[2Jb", "lake": r"\udcff"}
    for failed in (False, True):
        write_metrics(tmp_path / "m.prom", {"source": odd, "lake": "b"}, None, failed=failed)
    (family, *_, last) = parse_openmetrics((tmp_path / "m.prom").read_text(encoding="utf-8"))
    assert family.samples[0].labels == {"source": odd, "lake": "b"}
    assert last.name == "flowconv_last_success_timestamp_seconds"


def test_metrics_are_replaced_at_once(tmp_path: Path) -> None:
    file = tmp_path / "m.prom"
    write_metrics(file, JOB, None, failed=False)
    before = file.read_text()

    def replace(unfinished: Path, path: Path) -> None:
        # Until now the old file is whole, and the new one is none that a collector reads.
        assert path.read_text() == before
        assert unfinished.read_text().endswith("# EOF\n")
        assert not unfinished.name.endswith(".prom")
        raise OSError(28, "No space left on device")

    with (
        mock.patch("flowconv.cli.metrics.os.replace", replace),
        pytest.raises(StorageError, match="--metrics-file"),
    ):
        write_metrics(file, JOB, None, failed=True)
    assert file.read_text() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("no/such/folder/m.prom", "there is no folder"),
        (".", "this is a folder"),
        ("logs", "this is a folder"),
        ("file/m.prom", "there is no folder"),
        ("x" * 300, "it cannot be reached"),
        (f"{'x' * 300}/m.prom", "it cannot be reached"),
        ("loop", "it cannot be reached"),
        ("loop/m.prom", "it cannot be reached"),
    ],
    ids=[
        "in no folder",
        "this folder",
        "a folder",
        "in a file",
        "too long",
        "in what is too long",
        "a link to itself",
        "in such a link",
    ],
)
def test_metrics_that_can_never_be_written(
    logs: Path, tmp_path: Path, name: str, found: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    events = run(logs, tmp_path / "lake", "--metrics-file", tmp_path / name, code=2)
    assert [event["event"] for event in events] == ["error"]
    assert "--metrics-file" in events[0]["message"]
    assert found in events[0]["message"]
    assert not (tmp_path / "lake").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")  # noqa: PTH110
def test_metrics_that_cannot_be_written_lose_no_report(logs: Path, tmp_path: Path) -> None:
    command = ["convert", str(logs), str(tmp_path / "lake"), "--json"]
    command += ["--metrics-file", "/dev/full"]
    result = invoke(command)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["objects"] == 3
    assert "the metrics cannot be written (No space left on device)" in result.stderr
    # Nor why a run failed.
    with mock.patch.object(Ledger, "read", side_effect=LakeError("no longer ours.")):
        result = invoke(command)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"] == "no longer ours."
    assert result.stderr.count("error: ") == 2


def test_metrics_to_what_is_no_file(tmp_path: Path) -> None:
    """A device or a pipe is written to; replaced by a file it would be gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with os.fdopen(os.open(pipe, os.O_RDWR)) as end:
        write_metrics(pipe, JOB, None, failed=False)
        assert end.readline().startswith("# TYPE flowconv_")
    assert pipe.is_fifo()
    link, file = tmp_path / "link.prom", tmp_path / "file.prom"
    file.touch()
    link.symlink_to(file)
    write_metrics(link, JOB, None, failed=False)
    assert link.is_symlink()
    assert file.read_text().endswith("# EOF\n")
