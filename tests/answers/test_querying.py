"""Queries and questions, of a lake whose flows are few enough to count by hand."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flowconv import ConvertOptions, UsageError, convert, query
from flowconv.answers.questions import QUESTIONS, question_sql
from flowconv.errors import LakeError
from flowconv.fields import FIELDS, Table
from support.commands import FAILED, USAGE, run
from support.lakes import Key, write_objects

GIB = 1 << 30
DAY_14, DAY_15 = 1768348800, 1768435200

FIELD_NAMES = [
    *("account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol"),
    *("packets", "bytes", "start", "end", "action", "log-status", "vpc-id", "instance-id"),
    *("tcp-flags", "pkt-srcaddr", "pkt-dstaddr", "region", "az-id", "pkt-src-aws-service"),
    *("pkt-dst-aws-service", "flow-direction", "traffic-path"),
]


def flow(interface: str, source: str, destination: str, **values: Any) -> str:
    zones = {"eni-a": "use1-az1", "eni-b": "use1-az2", "eni-nat": "use1-az1"}
    instances = {"eni-a": "i-a", "eni-b": "i-b"}
    known: dict[str, Any] = {
        "account-id": "012345678901",
        "interface-id": interface,
        "srcaddr": source,
        "dstaddr": destination,
        "srcport": 40000,
        "dstport": 443,
        "protocol": 6,
        "packets": 1,
        "bytes": 100,
        "start": DAY_14,
        "end": DAY_14 + 60,
        "action": "ACCEPT",
        "log-status": "OK",
        "vpc-id": "vpc-1",
        "instance-id": instances.get(interface, "-"),
        "pkt-srcaddr": source,
        "pkt-dstaddr": destination,
        "region": "us-east-1",
        "az-id": zones[interface],
    }
    known |= {name.replace("_", "-"): value for name, value in values.items()}
    return " ".join(str(known.get(name, "-")) for name in FIELD_NAMES)


A, B, NAT, S3, WEB = "10.0.1.5", "10.0.2.5", "10.0.0.220", "52.216.1.1", "198.51.100.9"
OUT, IN = {"flow_direction": "egress"}, {"flow_direction": "ingress"}
FROM_S3 = {"bytes": 2 * GIB, "pkt_src_aws_service": "S3", "srcport": 443, "dstport": 50000}
TO_WEB = {"bytes": GIB}

FLOWS = [
    # Two GiB from S3 to A through the NAT gateway: three records.
    flow("eni-nat", S3, NAT, **FROM_S3, **IN),
    flow("eni-nat", NAT, A, **FROM_S3, **OUT, pkt_srcaddr=S3, traffic_path=1),
    flow("eni-a", S3, A, **FROM_S3, **IN),
    # One GiB from A to the internet, on the same way.
    flow("eni-a", A, WEB, **TO_WEB, **OUT, traffic_path=1),
    flow("eni-nat", A, NAT, **TO_WEB, **IN, pkt_dstaddr=WEB),
    flow("eni-nat", NAT, WEB, **TO_WEB, **OUT, traffic_path=8),
    # Four GiB from A to B in another zone, one GiB back: both interfaces log both.
    *(
        flow(eni, A, B, **way, bytes=4 * GIB, dstport=5432, tcp_flags=2)
        for eni, way in (("eni-a", OUT), ("eni-b", IN))
    ),
    *(
        flow(eni, B, A, **way, bytes=GIB, srcport=5432, dstport=40000, tcp_flags=18)
        for eni, way in (("eni-b", OUT), ("eni-a", IN))
    ),
    # Rejected, and scanned.
    flow("eni-a", "203.0.113.7", A, **IN, dstport=22, packets=3, action="REJECT"),
    flow("eni-a", "203.0.113.7", A, **IN, dstport=23, action="REJECT"),
    flow("eni-a", "203.0.113.8", A, **IN, dstport=22, action="REJECT"),
    flow("eni-a", "203.0.113.9", A, **IN, dstport=81, tcp_flags=2),
    flow("eni-a", "203.0.113.9", A, **IN, dstport=82, tcp_flags=2),
    # The day after.
    flow("eni-a", A, "198.51.100.77", **OUT, start=DAY_15, end=DAY_15 + 60),
    flow("eni-a", A, B, **OUT, start=DAY_15, end=DAY_15 + 60, dstport=53, protocol=17),
    flow("eni-a", "-", "-", log_status="SKIPDATA", action="-", protocol="-", bytes="-"),
]


@pytest.fixture(scope="module", params=["timestamp", "epoch"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query")
    text = "\n".join([" ".join(FIELD_NAMES), *FLOWS, ""])
    write_objects(folder / "logs", {Key("a.log"): text.encode()})
    convert(str(folder / "logs"), str(folder / "lake"), ConvertOptions(time_type=request.param))
    return folder / "lake"


def ask(lake: Path, question: str, *columns: str, **given: Any) -> list[tuple[Any, ...]]:
    answer = query(lake, question_sql(question, **given)).collect()
    return answer.select(columns or pl.all()).rows()


def test_top_talkers_counts_once_what_both_sides_log(lake: Path) -> None:
    assert ask(lake, "top-talkers", limit=1) == [(A, B, 2, 2, 4 * GIB + 100)]


def test_rejected(lake: Path) -> None:
    assert ask(lake, "rejected-ports") == [(6, 22, 2, 4, 2), (6, 23, 1, 1, 1)]
    assert ask(lake, "rejected-sources") == [
        ("203.0.113.7", 2, 4, 1, 2),
        ("203.0.113.8", 1, 1, 1, 1),
    ]


def test_one_address(lake: Path) -> None:
    # As an address of packets, too, where the NAT gateway's own stands in its place.
    rows = ask(lake, "address", "srcaddr", "dstaddr", "dstport", "flows", "bytes", value=WEB)
    assert sorted(rows) == [(NAT, WEB, 443, 1, GIB), (A, NAT, 443, 1, GIB), (A, WEB, 443, 1, GIB)]
    assert ask(lake, "address", value="x' OR '1'='1") == []


def test_one_interface(lake: Path) -> None:
    rows = ask(lake, "interface", "srcaddr", "dstaddr", "bytes", value="eni-b")
    assert rows == [(A, B, 4 * GIB), (B, A, GIB)]


def test_aws_services(lake: Path) -> None:
    assert ask(lake, "aws-services") == [("S3", "from", 3, 6 * GIB)]


def test_nat_gateway_counts_each_flow_once(lake: Path) -> None:
    assert ask(lake, "nat-gateways", prices={"nat-gateway": 1}) == [("eni-nat", 3, 3, 2, 2)]
    assert ask(lake, "nat-gateways", "usd", "saved_usd") == [
        (pytest.approx(0.135, abs=0.006), 0.09)
    ]


def test_cross_az_counts_each_flow_once_and_both_sides_cost(lake: Path) -> None:
    assert ask(lake, "cross-az") == [
        ("vpc-1", "use1-az1", "use1-az2", 4, 0.08),
        ("vpc-1", "use1-az2", "use1-az1", 1, 0.02),
    ]


def test_internet_egress(lake: Path) -> None:
    assert ask(lake, "internet-egress") == [("eni-nat", 1, 0, 0.09)]


def test_new_destinations(lake: Path) -> None:
    assert ask(lake, "new-destinations", "dstaddr", "sources", "flows", value="2026-01-15") == [
        ("198.51.100.77", 1, 1)
    ]


def test_unanswered_syn(lake: Path) -> None:
    assert ask(lake, "unanswered-syn") == [("203.0.113.9", 2, 1, 2)]


def test_skipdata(lake: Path) -> None:
    assert ask(lake, "skipdata", "account_id", "region", "interface_id", "windows") == [
        ("012345678901", "us-east-1", "eni-a", 1)
    ]


def test_every_question_runs_on_a_sample_lake(sample_lake: Path) -> None:
    values = {"an address": "10.0.0.1", "a day": "2026-01-15"}
    for name, question in QUESTIONS.items():
        value = None if question.asks is None else values.get(question.asks, "eni-1")
        assert query(sample_lake, question_sql(name, value=value)).collect().width > 2, name


def test_sql_may_name_every_documented_column(lake: Path) -> None:
    for table in Table:
        names = ", ".join(f'"{field.column}"' for field in FIELDS[table])
        query(lake, f"SELECT {names} FROM {table}").collect()


def test_only_what_is_asked_is_read(lake: Path) -> None:
    count = "SELECT count(*) FROM vpc"
    assert query(lake, count, since="2026-01-15").collect().item() == 2
    assert query(lake, count, until="2026-01-14").collect().item() == len(FLOWS) - 2
    assert query(lake, count, accounts="123456789999").collect().item() == 0
    paths = [path for path in lake.rglob("*.parquet") if "date=2026-01-15" in str(path)]
    plan = query(lake, "SELECT bytes FROM vpc WHERE date = DATE '2026-01-15'").explain()
    assert len(paths) == 1
    assert str(paths[0]) in plan
    assert "date=2026-01-14" not in plan


# --- the command --------------------------------------------------------------------------------

SELECT = "SELECT dstport, sum(packets) AS n FROM vpc WHERE action = 'REJECT' GROUP BY 1 ORDER BY 1"


def test_table(lake: Path) -> None:
    lines = run("query", lake, SELECT).stdout.splitlines()
    assert [line.split() for line in lines] == [["dstport", "n"], ["22", "4"], ["23", "1"]]


def test_long_table_is_cut(sample_lake: Path) -> None:
    lines = run("query", sample_lake, "SELECT bytes FROM vpc").stdout.splitlines()
    assert len(lines) == 102
    assert lines[-1] == "The first 100 rows; --output csv prints all."


def test_csv_and_json(lake: Path) -> None:
    assert run("query", lake, SELECT, "--output", "csv").stdout == "dstport,n\n22,4\n23,1\n"
    shown = run("query", lake, SELECT, "--output", "json").stdout
    assert [json.loads(line) for line in shown.splitlines()] == [
        {"dstport": 22, "n": 4},
        {"dstport": 23, "n": 1},
    ]


def test_parquet_and_arrow(sample_lake: Path) -> None:
    everything = query(sample_lake, "SELECT * FROM vpc").collect()
    for output, read in (("parquet", pl.read_parquet), ("arrow", pl.read_ipc_stream)):
        result = run("query", sample_lake, "SELECT * FROM vpc", "--output", output)
        frame = read(io.BytesIO(result.stdout_bytes))
        assert frame.sort(pl.all()).equals(everything.sort(pl.all()))


@pytest.mark.parametrize("output", ["table", "csv", "json", "parquet", "arrow"])
def test_no_rows(lake: Path, output: str) -> None:
    nothing = f"{SELECT} LIMIT 0"
    result = run("query", lake, nothing, "--output", output)
    if output in ("table", "csv"):
        assert result.stdout.replace(",", " ").split() == ["dstport", "n"]
    if output == "parquet":
        assert pl.read_parquet(io.BytesIO(result.stdout_bytes)).shape == (0, 2)


def test_show_sql_prints_what_runs(lake: Path) -> None:
    for name in ("rejected-ports", "nat-gateways", "cross-az"):
        sql = run("query", lake, "--question", name, "--show-sql").stdout
        asked = run("query", lake, "--question", name, "--output", "csv").stdout
        assert run("query", lake, sql, "--output", "csv").stdout == asked
        assert asked.count("\n") > 1


def test_prices(lake: Path) -> None:
    options = ("--question", "internet-egress", "--price", "internet-egress=2", "--output", "csv")
    assert run("query", lake, *options).stdout.splitlines()[1] == "eni-nat,1.0,0.0,2.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either SQL or --question"),
        (["SELECT 1", "-q", "skipdata"], "give either SQL or --question"),
        (["-q", "skip-data"], "Did you mean skipdata?"),
        (["-q", "address"], "asks for an address. Give it by --value"),
        (["-q", "skipdata", "--value", "x"], "asks for nothing"),
        (["-q", "new-destinations", "--value", "x"], "'x' is not a day"),
        (["-q", "cross-az", "--price", "x"], "write NAME=USD"),
        (["-q", "cross-az", "--price", "x=1"], "has no price"),
        (["-q", "cross-az", "--price", "cross-az=-1"], "the least is 0"),
        (["-q", "cross-az", "--price", "cross-az=nan"], "the least is 0"),
        (["-q", "cross-az", "-n", "0"], "the least is 1"),
        (["SELECT 1", "--show-sql"], "belong to --question"),
        (["SELECT 1", "--output", "cvs"], "Did you mean csv?"),
        (["DROP TABLE vpc"], "DROP changes a table; a lake is only asked, by SELECT"),
        (["/* old */\n--x\n delete FROM vpc"], "DELETE changes a table"),
        (["CREATE TABLE x AS SELECT 1"], "CREATE changes a table"),
        (["SELECT 1", "--since", "1d", "--until", "2d"], "lies after --until"),
        (["SELEC 1"], "polars does not understand this SQL"),
        (["SELECT nothing FROM vpc"], 'unable to find column "nothing"'),
        (["SELECT 1 FROM flows"], "'flows' was not found"),
    ],
)
def test_wrong_usage(lake: Path, arguments: list[str], message: str) -> None:
    result = run("query", lake, *arguments, code=USAGE)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_damaged_file(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"srcaddr start\n10.0.0.1 1768348800\n"})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    (file,) = (tmp_path / "lake").rglob("*.parquet")
    file.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    result = run("query", tmp_path / "lake", "SELECT * FROM vpc", code=FAILED)
    assert "polars cannot compute the answer" in result.stderr
    file.unlink()
    with pytest.raises(LakeError, match="is gone"):
        query(tmp_path / "lake", "SELECT * FROM vpc")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("output", ["csv", "parquet", "arrow"])
def test_closed_and_full_stdout(sample_lake: Path, output: str) -> None:
    program = Path(sys.executable).parent / "flowconv"
    command = [str(program), "query", str(sample_lake), "SELECT * FROM vpc", "--output", output]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == FAILED
    assert b"Traceback" not in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_binary_is_not_for_a_terminal(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowconv.cli.tables.answers.is_terminal", lambda: True)
    result = run("query", lake, SELECT, "--output", "parquet", code=USAGE)
    assert "a terminal cannot show it" in result.stderr


def test_questions_are_known_by_name() -> None:
    with pytest.raises(UsageError, match="is not one of top-talkers, "):
        question_sql("?")


@pytest.mark.parametrize("account", ["", "12", "1234567890123", "\u0661" * 12, "\ud800"])
def test_what_is_no_account(lake: Path, account: str) -> None:
    with pytest.raises(UsageError, match=r"accounts: .* is not an account; write its 12 digits"):
        query(lake, "SELECT count(*) FROM vpc", accounts=["123456789012", account])
