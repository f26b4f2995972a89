"""The report: its numbers, and the page that shows them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flowconv import ConvertOptions, LakeError, convert, report, scan
from flowconv.answers.page import render
from flowconv.answers.reporting import LakeReport, Section, shown
from support.browser import CHROMIUM, Browser, browser
from support.commands import FAILED, USAGE, run
from support.lakes import Key, write_objects

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


@pytest.mark.parametrize(
    ("value", "column", "wanted"),
    [
        (1_234, "flows", "1,234"),
        (27_017, "dstport", "27017"),
        (0.125, "usd", "0.12"),
        (None, "bytes", "-"),
        (datetime(2026, 1, 14, 5, tzinfo=UTC), "time", "2026-01-14 05:00"),
    ],
)
def test_values_as_people_read_them(value: Any, column: str, wanted: str) -> None:
    assert shown(value, column) == wanted


@pytest.mark.parametrize(
    ("columns", "label"),
    [(("srcaddr", "dstaddr", "bytes"), "a → b"), (("service", "direction", "bytes"), "a, b")],
)
def test_labels_of_bars(columns: tuple[str, ...], label: str) -> None:
    section = Section(
        name="x", title="x", note="", columns=columns, rows=(("a", "b", 1_234),), drawn="bars"
    )
    page = render(LakeReport(lake="lake", days="", sections=(section,)))
    assert f">{label}</text>" in page
    assert ">1,234</text>" in page


def test_lake_without_rows(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): b"srcaddr start\n"})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    run("report", tmp_path / "lake", "--output", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("There is none.") == 11


def test_wrong_usage(hostile_lake: Path, tmp_path: Path) -> None:
    assert "give --output FILE" in run("report", hostile_lake, code=USAGE).stderr
    result = run("report", hostile_lake, "--output", tmp_path / "no" / "x.html", code=FAILED)
    assert "the page cannot be written" in result.stderr


def test_function_is_the_command(hostile_lake: Path, tmp_path: Path) -> None:
    found = report(hostile_lake, tmp_path / "report.html", prices={"cross-az": 0.02})
    assert found.path == str(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<title>Flow logs of" in page
    arguments = ("--json", "--output", tmp_path / "report.html", "--price", "cross-az=0.02")
    printed = json.loads(run("report", hostile_lake, *arguments).stdout)
    assert json.loads(json.dumps(found.to_dict())) == printed
    assert report(str(hostile_lake)).path is None
    with pytest.raises(TypeError, match="must be text or a Path"):
        report(hostile_lake, 7)  # type: ignore[arg-type]


@pytest.mark.parametrize("time_type", ["timestamp", "epoch"])
@pytest.mark.parametrize("days", [2, 40])
def test_lake_without_days(tmp_path: Path, time_type: Any, days: int) -> None:
    lines = ["srcaddr dstaddr bytes action start"]
    lines += [f"10.0.0.1 10.0.0.2 7 ACCEPT {1768348800 + 86400 * day}" for day in range(days)]
    write_objects(tmp_path / "logs", {Key("a.log"): "\n".join([*lines, ""]).encode()})
    reports = []
    for number, partitions in enumerate(("aws_region", "date")):
        lake = tmp_path / str(number)
        options = ConvertOptions(partition_by=(partitions,), time_type=time_type)
        convert(tmp_path / "logs", lake, options)
        reports.append(report(lake).to_dict()["sections"]["traffic"])
    assert reports[0] == reports[1]
    assert len(reports[0]) == days
    with pytest.raises(LakeError, match="partitioned by aws_region, not by date"):
        report(tmp_path / "0", since="2026-01-14")


@dataclass(frozen=True)
class Look:
    """How a browser showed a page."""

    width: int
    background: str
    text: str
    title: str
    requests: tuple[str, ...]
    complaints: tuple[str, ...]


LOOKS = {
    (scheme, width): f"{scheme}, {width} pixels"
    for scheme in ("light", "dark")
    for width in (400, 1600)
}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with browser(CHROMIUM, tmp_path_factory.mktemp("chromium")) as started:
        yield started


def look(chromium: Browser, page: Path, scheme: str, width: int) -> Look:
    chromium.events.clear()
    feature = {"name": "prefers-color-scheme", "value": scheme}
    chromium.call("Emulation.setEmulatedMedia", features=[feature])
    chromium.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    chromium.call("Page.navigate", url=page.as_uri())
    chromium.wait_for("Page.loadEventFired")

    def value_of(expression: str) -> Any:
        # Two frames later all that is loaded late has been asked for.
        code = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => "
        code += f"done({expression}))))"
        answer = chromium.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        return answer["result"]["value"]

    body = "getComputedStyle(document.body)"
    return Look(
        width=value_of("document.documentElement.scrollWidth"),
        background=value_of(f"{body}.backgroundColor"),
        text=value_of(f"{body}.color"),
        title=value_of("document.title"),
        requests=tuple(
            params["request"]["url"]
            for method, params in chromium.events
            if method == "Network.requestWillBeSent"
        ),
        complaints=tuple(
            method
            for method, _ in chromium.events
            if method
            in (
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
                "Runtime.exceptionThrown",
                "Page.javascriptDialogOpening",
            )
        ),
    )


@pytest.mark.parametrize(("scheme", "width"), LOOKS, ids=LOOKS.values())
def test_browser_shows_it(chromium: Browser, page: Path, scheme: str, width: int) -> None:
    found = look(chromium, page, scheme, width)
    assert found.requests == (page.as_uri(),)
    assert found.complaints == ()
    assert found.title.startswith("Flow logs of")
    assert found.width <= width, "nothing but charts and tables is scrolled sideways"
    dark, light = "rgb(13, 17, 23)", "rgb(255, 255, 255)"
    assert found.background == (dark if scheme == "dark" else light)
    assert found.text != found.background


def test_browser_hears_of_what_a_page_does(chromium: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<title>x</title><img src=http://127.0.0.1:9/x.png><script>f()</script>")
    found = look(chromium, bad, "light", 400)
    assert found.requests == (bad.as_uri(), "http://127.0.0.1:9/x.png")
    assert "Runtime.exceptionThrown" in found.complaints
