"""Sums of records, by which a report's questions have the same answers as by the records."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv import ConvertOptions, LakeError, convert, report, scan
from flowconv.answers import summing
from flowconv.answers.questions import question_sql
from flowconv.answers.reporting import read_report
from support.examples import MORE_EXAMPLES
from support.lakes import Key, write_objects

ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "52.216.1.1", "2001:db8::1", "-"])
SERVICES = st.sampled_from(["S3", "DYNAMODB", "EC2", "-"])
NUMBERS = st.sampled_from(["-", "0", "1", "7", str(1 << 40)])
FIELDS: Mapping[str, Any] = {
    "interface-id": st.sampled_from(["eni-a", "eni-b", "-"]),
    "srcaddr": ADDRESSES,
    "dstaddr": ADDRESSES,
    "pkt-srcaddr": ADDRESSES,
    "pkt-dstaddr": ADDRESSES,
    "dstport": st.sampled_from(["22", "443", "-"]),
    "protocol": st.sampled_from(["6", "17", "-"]),
    "packets": NUMBERS,
    "bytes": NUMBERS,
    "start": st.integers(1768348800, 1768348800 + 86400 * 2).map(str) | st.just("-"),
    "action": st.sampled_from(["ACCEPT", "REJECT", "-"]),
    "vpc-id": st.sampled_from(["vpc-1", "-"]),
    "az-id": st.sampled_from(["use1-az1", "use1-az2", "-"]),
    "instance-id": st.sampled_from(["i-a", "-", "-"]),
    "pkt-src-aws-service": SERVICES,
    "pkt-dst-aws-service": SERVICES,
    "flow-direction": st.sampled_from(["ingress", "egress", "-"]),
    "traffic-path": st.sampled_from(["1", "2", "8", "-"]),
}
LINES = st.tuples(*FIELDS.values()).map(" ".join)
LOGS = st.lists(st.lists(LINES, max_size=12), min_size=1, max_size=3)
QUESTIONS = [
    *("top-talkers", "rejected-ports", "rejected-sources", "aws-services", "cross-az"),
    *("nat-gateways", "internet-egress"),
]


@settings(max_examples=10 + MORE_EXAMPLES, deadline=None)
@given(logs=LOGS, time_type=st.sampled_from(["timestamp", "epoch"]))
def test_report_answers_as_the_questions_do(logs: list[list[str]], time_type: Any) -> None:
    with TemporaryDirectory() as folder:
        lake = Path(folder) / "lake"
        objects = {
            Key(f"{number}.log"): "\n".join([" ".join(FIELDS), *lines, ""]).encode()
            for number, lines in enumerate(logs)
        }
        write_objects(Path(folder) / "logs", objects)
        convert(Path(folder) / "logs", lake, ConvertOptions(time_type=time_type))
        sections = {section.name: section.rows for section in read_report(str(lake)).sections}
        with pl.SQLContext(vpc=scan(lake)) as context:
            for name in QUESTIONS:
                expected = context.execute(question_sql(name, limit=10), eager=True)
                assert sections[name] == tuple(expected.iter_rows()), name
        assert_traffic(sections, scan(lake).collect())


def assert_traffic(sections: Mapping[str, Any], records: pl.DataFrame) -> None:
    """Compare what hours and paths have with the records, one by one."""
    expected: dict[str, dict[Any, Any]] = {"traffic": {}, "flows": {}}
    paths: dict[Any, int] = {}
    for row in records.iter_rows(named=True):
        if row["flow_direction"] == "egress":
            paths[row["traffic_path"]] = paths.get(row["traffic_path"], 0) + 1
        if row["start"] is None:
            continue
        start = row["start"]
        time = start if isinstance(start, datetime) else datetime.fromtimestamp(start, UTC)
        hour = time.replace(minute=0, second=0)
        for name, value in (("traffic", row["bytes"] or 0), ("flows", 1)):
            sums = expected[name].setdefault(hour, {"ACCEPT": 0, "REJECT": 0, None: 0})
            sums[row["action"]] += value
    for name, hours in expected.items():
        rows = tuple((hour, hours[hour]["ACCEPT"], hours[hour]["REJECT"]) for hour in sorted(hours))
        assert sections[name] == rows, name
    assert sorted(flows for _, flows, _ in sections["traffic-paths"]) == sorted(paths.values())


def test_equal_keys_are_added_up_now_and_then(
    sample_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_report(str(sample_lake)).to_dict()
    monkeypatch.setattr(summing, "_LEAST_TO_MERGE", 1)
    assert read_report(str(sample_lake)).to_dict() == whole


def test_file_without_columns() -> None:
    nulls = {name: pa.nulls(3) for name in (*summing._FLOWS, "packets")}
    table = pa.table({**nulls, "srcaddr": pa.array(["a", "a", "b"]).dictionary_encode()})
    _, sums = summing._sum_runs(table.append_column("bytes", pa.array([1, 2, 4])))
    assert sums.rows() == [(2, None, 3), (1, None, 4)]


def test_damaged_file(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"srcaddr bytes\n10.0.0.1 7\n"})
    convert(tmp_path / "logs", tmp_path / "lake")
    (path,) = (tmp_path / "lake").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-9] + b"!" + path.read_bytes()[-8:])
    with pytest.raises(LakeError, match="the file is damaged") as raised:
        report(tmp_path / "lake")
    assert raised.value.uri == str(path)
