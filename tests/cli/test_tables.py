"""Reports on a terminal of 80 columns."""

import gzip
import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from unittest import mock

import pytest

import flowconv
from flowconv.cli import console as consoles
from flowconv.cli.console import Console
from flowconv.cli.tables.conversion import print_report
from flowconv.cli.tables.upkeep import print_compacted, print_expired
from flowconv.cli.text_tables import TextTable
from flowconv.fields import FIELDS
from flowconv.lake.partitions import PartitionStatus
from flowconv.upkeep.compacting import CompactReport
from flowconv.upkeep.expiring import ExpireReport
from support.commands import invoke
from support.lakes import ROW, V2, aws_key, write_objects


@pytest.fixture
def terminal() -> Iterator[io.StringIO]:
    """What is shown on it."""
    shown = io.StringIO()
    console = Console(shown)
    console.width = 80
    with mock.patch.object(consoles, "stdout", return_value=console):
        yield shown


def test_status_breaks_no_line(tmp_path: Path, terminal: io.StringIO) -> None:
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(V2 + ROW * 2)})
    lake = str(tmp_path / "lake")
    flowconv.convert(str(tmp_path / "logs"), lake)
    (run,) = flowconv.status(lake).runs
    assert invoke(["status", lake]).exit_code == 0
    lines = [line.split() for line in terminal.getvalue().splitlines()]
    assert [run.run.run_id, "done"] in [line[:2] for line in lines]
    columns = ["table", "aws_account_id", "aws_region", "date", "files", "rows", "size"]
    begin = lines.index(columns)
    (partition,) = lines[begin + 1 :]
    assert partition[:6] == ["vpc", "123456789012", "eu-west-1", "2026-01-14", "1", "2"]


def test_the_first_flow_logs_that_were_not_compared(terminal: io.StringIO) -> None:
    names = {f"fl-{number:02}" for number in range(13)}
    print_compacted(CompactReport(lake="a", run_id="1", dry_run=False, not_compared=names))
    said = terminal.getvalue()
    assert "fl-09\n… and 3 more; --json\n" in said
    assert "fl-10" not in said


@pytest.mark.parametrize("seconds", [9.9, 10.0])
def test_what_workers_spent_their_time_on(terminal: io.StringIO, seconds: float) -> None:
    report = flowconv.ConvertReport(source="a", lake="b", run_id="1", seconds=seconds)
    report.worker_time = {"working": 0.2, "source": 0.7, "lake": 0.04, "tasks": 0.06}
    print_report(report)
    said = " ".join(terminal.getvalue().split())
    assert ("workers 70% waiting for SOURCE, 20% work, 6% waiting for the listing" in said) == (
        seconds >= 10
    )


def test_schema_breaks_meanings_alone(terminal: io.StringIO) -> None:
    assert invoke(["schema"]).exit_code == 0
    lines = terminal.getvalue().splitlines()
    fields = [line.split()[1] for line in lines if line.startswith(("vpc ", "tgw "))]
    assert fields == [field.name for table in FIELDS.values() for field in table]
    assert all(len(line) <= 80 for line in lines)


def test_records_stand_beside_one_another_as_far_as_there_is_room(
    tmp_path: Path, terminal: io.StringIO
) -> None:
    path = tmp_path / "1.log"
    path.write_bytes(V2 + b"".join(ROW.replace(b"10.0.0.1", b"10.0.0.%d" % n) for n in range(5)))
    assert invoke(["inspect", str(path)]).exit_code == 0
    shown = terminal.getvalue().splitlines()
    rows = [line.split() for line in shown if line.startswith(("column", "srcaddr"))]
    assert rows == [
        ["column", "row", "1", "row", "2"],
        ["srcaddr", "10.0.0.0", "10.0.0.1"],
        ["column", "row", "3", "row", "4"],
        ["srcaddr", "10.0.0.2", "10.0.0.3"],
        ["column", "row", "5"],
        ["srcaddr", "10.0.0.4"],
    ]
    begin = next(n for n, line in enumerate(shown) if line.startswith("column"))
    assert all(len(line) <= 80 for line in shown[begin:])


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((1, 1), "1 row in 1 file, 9 bytes, was removed: b"), ((1000, 2), "1,000 rows in 2 files")],
)
def test_what_expired_is_counted(
    terminal: io.StringIO, numbers: tuple[int, int], said: str
) -> None:
    rows, files = numbers
    partition = PartitionStatus(
        table="vpc", directory="date=2026-01-14", files=files, rows=rows, size_bytes=9
    )
    report = ExpireReport(
        lake="b", before=date(2026, 2, 1), partitions=(partition,), dry_run=False, seconds=1
    )
    print_expired(report)
    assert said in terminal.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "is_styled"),
    [
        (Terminal, {}, True),
        (Terminal, {"NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (io.StringIO, {}, False),
    ],
    ids=["terminal", "no color", "dumb", "pipe"],
)
def test_what_is_red_or_bold(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    environment: dict[str, str],
    is_styled: bool,
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shown = stream()
    console = Console(shown)
    table = TextTable()
    table.add_row("lake", "a\x1b[1m")
    console.print(table)
    console.print("b\x1b[1m", label="error: ")
    bold, red, end = ("\x1b[1m", "\x1b[31m\x1b[1m", "\x1b[0m") if is_styled else ("", "", "")
    lines = [f"{bold}lake{end}  a\\x1b[1m", f"{red}error: {end}b\\x1b[1m"]
    assert shown.getvalue().splitlines() == lines
