"""The report: its numbers, and the page that shows them."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from flowconv import ConvertOptions, convert, scan
from flowconv.answers.page import render
from flowconv.answers.reporting import LakeReport, Section
from support.commands import FAILED, USAGE, run
from support.lakes import Key, write_objects

pytestmark = pytest.mark.usefixtures("quick_disk")

HOSTILE = "<script>document.title='gone'</script>"
NAMES = [
    *("traffic", "flows", "top-talkers", "rejected-ports", "rejected-sources", "aws-services"),
    *("traffic-paths", "cross-az", "nat-gateways", "internet-egress", "completeness", "health"),
]


@pytest.fixture(scope="module", params=["timestamp", "epoch"])
def hostile_lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    lines = [
        "srcaddr dstaddr bytes packets action start end",
        f"{HOSTILE} 10.0.0.1 700 7 ACCEPT 1768348800 1768348860",
        "\"x'&amp; 10.0.0.1 50 1 REJECT 1768352400 1768352460",
        "10.0.0.2 10.0.0.1 300 3 ACCEPT 1768352400 1768352460",
    ]
    write_objects(folder / "logs", {Key("a.log"): ("\n".join(lines) + "\n").encode()})
    options = ConvertOptions(time_type=request.param)
    convert(str(folder / "logs"), str(folder / "lake"), options)
    return folder / "lake"


def test_numbers(hostile_lake: Path) -> None:
    found = json.loads(run("report", hostile_lake, "--json").stdout)
    assert list(found["sections"]) == NAMES
    assert found["sections"]["traffic"] == [
        {"time": "2026-01-14T00:00:00+00:00", "accepted": 700, "rejected": 0},
        {"time": "2026-01-14T01:00:00+00:00", "accepted": 300, "rejected": 50},
    ]
    assert found["sections"]["flows"][1] == {
        "time": "2026-01-14T01:00:00+00:00",
        "accepted": 1,
        "rejected": 1,
    }
    assert found["sections"]["top-talkers"][0]["srcaddr"] == HOSTILE
    assert {"what": "rows", "value": 3} in found["sections"]["health"]


def test_sums_are_those_of_the_lake(sample_lake: Path) -> None:
    found = json.loads(run("report", sample_lake, "--json").stdout)["sections"]
    timed = scan(sample_lake).filter(pl.col("start").is_not_null())
    for name, action in (("accepted", "ACCEPT"), ("rejected", "REJECT")):
        of_action = timed.filter(pl.col("action") == action)
        assert sum(row[name] for row in found["traffic"]) == (
            of_action.select(pl.sum("bytes")).collect().item()
        )
        assert sum(row[name] for row in found["flows"]) == (
            of_action.select(pl.len()).collect().item()
        )
    assert len(found["completeness"]) > 1


def test_chosen_days(sample_lake: Path) -> None:
    options = ("--since", "2026-01-15", "--until", "2026-01-15", "--json")
    found = json.loads(run("report", sample_lake, *options).stdout)["sections"]
    assert {row["time"][:10] for row in found["traffic"]} == {"2026-01-15"}


class Page(HTMLParser):
    """Checks that a page is well formed, and notes its elements and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(hostile_lake: Path) -> Path:
    path = hostile_lake.parent / "report.html"
    run("report", hostile_lake, "--output", path)
    return path


def test_hostile_text_stays_text(page: Path) -> None:
    read = Page(page.read_text(encoding="utf-8"))
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"script", "img", "link", "iframe", "object"}
    assert HOSTILE in read.texts
    assert "\"x'&amp;" in read.texts


def test_page_loads_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    read = Page(text)
    links = [a["href"] for tag, a in read.elements if tag == "a"]
    assert links == [f"#{name}" for name in NAMES]
    assert not any("src" in attributes for _, attributes in read.elements)
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text


def test_every_chart_has_a_name_and_a_table(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    charts = [part for part in text.split("<section ")[1:] if "<svg" in part]
    assert len(charts) >= 3
    for part in charts:
        assert re.search(r'<svg [^>]*role="img" aria-label="[^"]{20,}"', part)
        assert "<table>" in part


def test_month_of_hours_is_small() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    hours = tuple((begin + timedelta(hours=n), 10**12 + n, 10**9 + n) for n in range(31 * 24))
    sections = tuple(
        Section(
            name=name,
            title=name,
            note="",
            columns=("time", "accepted", "rejected"),
            rows=hours,
            drawn="over-time",
        )
        for name in ("traffic", "flows")
    )
    text = render(LakeReport(lake="lake", days="", sections=sections))
    assert text.count("<td>2026-01-") == 2 * 31 * 24
    assert 100_000 < len(text.encode()) < 350_000


def test_lake_without_rows(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"srcaddr start\n"})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    run("report", tmp_path / "lake", "--output", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("There is none.") == 11


def test_wrong_usage(hostile_lake: Path, tmp_path: Path) -> None:
    assert "give --output FILE" in run("report", hostile_lake, code=USAGE).stderr
    result = run("report", hostile_lake, "--output", tmp_path / "no" / "x.html", code=FAILED)
    assert "the page cannot be written" in result.stderr


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [400, 1600])
def test_chromium_shows_it_without_a_complaint(page: Path, tmp_path: Path, width: int) -> None:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path}", f"--window-size={width},900", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True)
    assert "CONSOLE" not in done.stderr
    assert "<title>Flow logs of" in done.stdout
    assert "&lt;script&gt;" in done.stdout
    assert "<script" not in done.stdout
