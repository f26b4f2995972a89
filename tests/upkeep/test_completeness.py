"""Gaps: lakes with known holes, and what is found of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowconv
from flowconv import ConvertOptions, GapReport, LakeError
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile
from flowconv.samples.generating import generate
from flowconv.samples.options import GenerateOptions
from flowconv.storage.opening import open_storage
from flowconv.upkeep.delivery_windows import FlowLogKey, ObjectTimes, check_windows
from flowconv.upkeep.few_rows import days_with_few_rows
from flowconv.upkeep.gap_report import Gap
from support.commands import INCOMPLETE, run
from support.lakes import Key, aws_key, write_objects

FIRST = datetime(2026, 1, 14, tzinfo=UTC)
LOG, OTHER = FlowLogKey("fl-1", "1", "eu-west-1"), FlowLogKey("fl-2", "1", "eu-west-1")


def times(minutes: Iterable[int]) -> ObjectTimes:
    """Windows that end so many minutes after the first day began."""
    begin = int(FIRST.timestamp()) // 60
    ends = np.array([begin + minute for minute in minutes], np.int64)
    return ObjectTimes(ends, np.full(len(ends), 90))


def minute(time: datetime) -> int:
    return int((time - FIRST).total_seconds()) // 60


def found(gaps: Iterable[Gap]) -> list[tuple[str, str, int, int, int]]:
    return [(gap.kind, gap.of, minute(gap.first), minute(gap.last), gap.number) for gap in gaps]


@pytest.mark.parametrize("period", [1, 5, 10])
def test_windows_without_an_object(period: int) -> None:
    lost = {3, 10, 11, 12, 80}
    windows = [period * number for number in range(100) if number not in lost]
    # An object more of a window is no window more.
    (log,), gaps = check_windows({LOG: times([*windows, windows[5]])}, None, None)
    assert (log.period_minutes, log.windows, log.objects, log.missing) == (period, 95, 96, 5)
    assert (log.lag_median_s, log.lag_most_s) == (90, 90)
    assert found(gaps) == [
        ("windows", "fl-1", 3 * period, 3 * period, 1),
        ("windows", "fl-1", 10 * period, 12 * period, 3),
        ("windows", "fl-1", 80 * period, 80 * period, 1),
    ]


@pytest.mark.parametrize(
    ("minutes", "what"),
    [
        ([0, 7, 30, 31, 90, 100], "no usual time"),
        ([0, 5], "too few"),
        ([0, 5, 10, 17, 22, 27, 32], "late, and none is missing"),
        ([0, 5, 10, 15], "all are there"),
    ],
)
def test_nothing_can_be_missing(minutes: list[int], what: str) -> None:
    _, gaps = check_windows({LOG: times(minutes)}, None, None)
    assert not gaps, what


@given(
    period=st.sampled_from([1, 5, 10, 60]),
    number=st.integers(20, 200),
    lost=st.sets(st.integers(1, 198), max_size=6),
    since=st.none() | st.integers(0, 3),
    until=st.none() | st.integers(0, 3),
)
def test_each_window_that_is_lost_is_found(
    period: int, number: int, lost: set[int], since: int | None, until: int | None
) -> None:
    lost = {window for window in lost if window < number - 1}
    there = [period * window for window in range(number) if window not in lost]
    days = [None if n is None else FIRST.date() + timedelta(days=n) for n in (since, until)]
    _, gaps = check_windows({LOG: times(there)}, *days)
    windows = [
        first + period * step for _, _, first, _, count in found(gaps) for step in range(count)
    ]
    begin = 1440 * (since or 0)
    stop = 10**9 if until is None else 1440 * (until + 1)
    last = max((minute for minute in there if minute < stop), default=0)
    wanted = [
        period * window for window in sorted(lost) if begin <= period * window < min(stop, last)
    ]
    if len([minute for minute in there if minute < stop]) > 20:
        assert windows == wanted
    else:  # There may be too few to know how many there should be.
        assert set(windows) <= set(wanted)


def test_a_flow_log_that_falls_silent() -> None:
    logs = {LOG: times(range(0, 500, 10)), OTHER: times(range(0, 1000, 10))}
    _, gaps = check_windows(logs, None, None)
    assert found(gaps) == [("silent", "fl-1", 490, 990, 50)]
    logs = {LOG: times(range(0, 940, 10)), OTHER: times(range(0, 1000, 10))}
    assert not check_windows(logs, None, None)[1]  # It may be late.
    assert not check_windows(logs, date(2026, 1, 15), None)[1]
    assert not check_windows(logs, None, date.max)[1]
    logs = {LOG: times([0, 5]), OTHER: times(range(0, 5000, 10))}  # Two windows tell nothing.
    assert not check_windows(logs, None, None)[1]


def file(day: int, rows: int, where: str = "vpc/aws_region=a", name: str = "a") -> DataFile:
    path = f"{where}/date={FIRST.date() + timedelta(days=day)}/{name}.parquet"
    return DataFile(path=path, rows=rows, size_bytes=1, crc32=0)


@pytest.mark.parametrize(
    ("rows", "few"),
    [
        ([10, 100, 100, 100, 100, 10], {}),
        ([10, 100, 20, 100, 100, 10], {2: 20}),
        ([10, 100, 30, 100, 100, 10], {}),
        ([10, 100, 0, 0, 100, 90, 10], {2: 0, 3: 0}),
        ([100, 0, 100], {1: 0}),
        ([5, 5, 0, 5, 5], {}),  # Fewer rows say nothing.
        ([100], {}),
        ([], {}),
    ],
)
def test_days_with_few_rows(rows: list[int], few: dict[int, int]) -> None:
    files = [file(day, number) for day, number in enumerate(rows) if number]
    files += [file(day, 7, "vpc/aws_region=b") for day in range(len(rows))]
    gaps = list(days_with_few_rows(files, None, None))
    assert {(gap.first - FIRST).days: gap.number for gap in gaps} == few
    assert {gap.of for gap in gaps} <= {"vpc/aws_region=a"}


def test_rows_of_a_day_are_those_of_all_its_files() -> None:
    files = [file(day, 50, name=name) for day in range(6) for name in "ab"]
    files += [file(2, 100, f"tgw/date={FIRST.date()}/hour=05")]  # Hours are within days.
    assert not list(days_with_few_rows(files, None, None))
    files = [file for file in files if "/date=2026-01-16/" not in file.path]
    assert [gap.usual for gap in days_with_few_rows(files, None, None)] == [100]
    assert not list(days_with_few_rows(files, date(2026, 1, 17), None))
    assert not list(days_with_few_rows(files, None, date(2026, 1, 15)))


@pytest.fixture(scope="module")
def lake_with_holes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """Three days of flow logs, some objects of which were never delivered."""
    folder = tmp_path_factory.mktemp("holes")
    options = GenerateOptions(
        accounts=1,
        regions=1,
        days=3,
        objects=48,
        records=4,
        versions=(5,),
        custom_orders=False,
        skipdata_share=0.1,
        nodata_share=0.1,
    )
    generate(folder / "logs", options)
    objects = sorted((folder / "logs").rglob("*.log.gz"), key=lambda path: path.name)
    lost: dict[str, list[str]] = {}
    for place in (10, 11, 60, 100):
        name = objects[place].name.split("_")
        lost.setdefault(name[3], []).append(name[4])
        objects[place].unlink()
    flowconv.convert(str(folder / "logs"), str(folder / "lake"), ConvertOptions(workers=1))
    return folder / "lake", lost


def missing_times(report: GapReport) -> dict[str, list[str]]:
    periods = {log.flow_log_id: log.period_minutes or 0 for log in report.flow_logs}
    names: dict[str, list[str]] = {}
    for gap in report.gaps:
        for number in range(gap.number):
            time = gap.first + timedelta(minutes=number * periods[gap.of])
            names.setdefault(gap.of, []).append(f"{time:%Y%m%dT%H%MZ}")
    return names


@pytest.mark.parametrize("merged", [False, True])
def test_known_holes(lake_with_holes: tuple[Path, dict[str, list[str]]], merged: bool) -> None:
    lake, lost = lake_with_holes
    if merged:
        Ledger.read(open_storage(str(lake))).merge()
    report = flowconv.gaps(str(lake))
    assert not report.complete
    assert {gap.kind for gap in report.gaps} == {"windows"}
    assert missing_times(report) == lost
    assert sum(log.missing for log in report.flow_logs) == 4
    assert sum(log.windows for log in report.flow_logs) == 3 * 48 - 4
    for log in report.flow_logs:
        assert log.lag_median_s is not None
        assert log.lag_most_s is not None
        least_s = (datetime.now(UTC) - log.last).total_seconds()
        span_s = (log.last - log.first).total_seconds()
        # Converted a moment ago.
        assert least_s + span_s - 600 < log.lag_most_s < least_s + span_s
        assert least_s - 600 < log.lag_median_s < log.lag_most_s


def test_records(lake_with_holes: tuple[Path, dict[str, list[str]]]) -> None:
    lake, _ = lake_with_holes
    records = flowconv.gaps(str(lake)).records
    assert records is not None
    flows = flowconv.scan(lake).collect()
    by_status = dict(flows.group_by("log_status").len().iter_rows())
    assert records.records == flows.height == 140 * 4
    assert (records.skipdata, records.nodata) == (by_status["SKIPDATA"], by_status["NODATA"])
    assert records.since == flows["date"].min()
    assert sum(hour.skipdata for hour in records.hours) == records.skipdata
    shares = [hour.skipdata / hour.records for hour in records.hours]
    assert shares == sorted(shares, reverse=True)
    silent = {interface.interface_id: interface.last for interface in records.silent_interfaces}
    newest: Any = flows["start"].max()
    for (interface_id,), same in flows.group_by("interface_id"):
        age: timedelta = newest - same["start"].max()
        if age > timedelta(hours=26):
            assert interface_id in silent
        elif age < timedelta(hours=22):
            assert interface_id not in silent
    only = flowconv.gaps(str(lake), since="2026-01-15", until="2026-01-15").records
    assert only is not None
    assert (
        only.records == flowconv.scan(lake, since="2026-01-15", until="2026-01-15").collect().height
    )
    assert flowconv.gaps(str(lake), quick=True).records is None


def test_epoch_times_and_other_partitions(tmp_path: Path) -> None:
    generate(tmp_path / "logs", GenerateOptions(accounts=1, regions=1, days=1, records=50))
    options = ConvertOptions(partition_by=("aws_region",), time_type="epoch", workers=1)
    flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    report = flowconv.gaps(str(tmp_path / "lake"))
    assert report.records is not None
    assert (report.records.records, report.records.since) == (200, None)


def test_expired_days_are_not_missing(
    lake_with_holes: tuple[Path, dict[str, list[str]]], tmp_path: Path
) -> None:
    lake, lost = lake_with_holes
    shutil.copytree(lake, tmp_path / "lake")
    flowconv.expire(str(tmp_path / "lake"), "2026-01-15")
    left = {
        flow_log: [time for time in times if time >= "20260115"]
        for flow_log, times in lost.items()
        if max(times) >= "20260115"
    }
    assert missing_times(flowconv.gaps(str(tmp_path / "lake"))) == left


def test_acknowledging(tmp_path: Path) -> None:
    logs, lake = tmp_path / "logs", tmp_path / "lake"
    line = b"srcaddr start end log-status\n10.0.0.1 1768348800 1768348860 OK\n"

    def deliver(minutes: Iterable[int], flow_log: str = "fl-1") -> None:
        keys: list[Key] = [
            aws_key(
                time=f"{FIRST + timedelta(minutes=minute):%Y-%m-%dT%H:%M}", flow_log_id=flow_log
            )
            for minute in minutes
        ]
        write_objects(logs, dict.fromkeys(keys, line))
        flowconv.convert(str(logs), str(lake), ConvertOptions(workers=1))

    deliver([0, 5, 10, 20, 25, 30])
    shown = run("gaps", lake, code=INCOMPLETE).stdout
    assert "missing: fl-1: 1 windows that end from 2026-01-14 00:15 to 2026-01-14 00:15" in shown
    shown = run("gaps", lake, "--ack").stdout
    assert "0 gaps, 1 acknowledged" in shown
    assert "1 acknowledged" in run("gaps", lake).stdout
    # Another one is found, and the first stays acknowledged.
    deliver([35, 45, 50, 55])
    gaps = json.loads(run("gaps", lake, "--json", code=INCOMPLETE).stdout)["gaps"]
    assert [gap["acknowledged"] for gap in gaps] == [True, False]
    assert flowconv.gaps(str(lake), acknowledge=True).complete
    assert [gap.acknowledged for gap in flowconv.gaps(str(lake)).gaps] == [True, True]
    # A flow log that was deleted stays silent; the next one that falls silent is another.
    deliver(range(0, 300, 5), "fl-2")
    assert (
        "silent: fl-1: no window after 2026-01-14 00:55"
        in run("gaps", lake, code=INCOMPLETE).stdout
    )
    assert flowconv.gaps(str(lake), acknowledge=True).complete
    deliver(range(300, 600, 5), "fl-2")
    assert flowconv.gaps(str(lake)).complete
    deliver(range(600, 900, 5), "fl-3")
    assert not flowconv.gaps(str(lake)).complete
    assert not flowconv.verify(str(lake), str(logs)).problems


def test_objects_without_a_time(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"start end\n1768348800 1768348860\n"})
    flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    report = flowconv.gaps(str(tmp_path / "lake"))
    assert (report.unnamed_objects, report.flow_logs, report.complete) == (1, (), True)
    assert "1 objects have no time in their names" in run("gaps", tmp_path / "lake").stdout


def test_damaged_acknowledgements(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"start end\n1768348800 1768348860\n"})
    flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    (tmp_path / "lake/_flowconv/acknowledged.json").write_text("{}")
    with pytest.raises(LakeError, match=r"acknowledged\.json is damaged .*flowconv gaps --ack"):
        flowconv.gaps(str(tmp_path / "lake"))
