"""What shells and notebooks show of results."""

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import flowconv
from flowconv import ConvertOptions
from flowconv.conversion.dry_run import plan
from flowconv.inspecting import inspect_object
from flowconv.lake.quarantine import read_quarantine
from flowconv.notebooks import InNotebooks
from support.lakes import ROW, V2, Key, write_objects

HOSTILE = "<script>alert('x')</script>\x1b[31m"


@dataclass(repr=False)
class Result(InNotebooks):
    values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.values


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_results_of_a_lake(tmp_path: Path) -> None:
    write_objects(tmp_path / "<b>logs", {Key("a.log"): V2 + ROW + b"2 x\n"})
    source, lake = tmp_path / "<b>logs", tmp_path / "lake"
    results = [
        plan(str(source), str(lake), ConvertOptions()),
        flowconv.convert(source, lake),
        inspect_object(str(next(source.rglob("*.log")))),
        flowconv.status(lake),
        flowconv.verify(lake, source),
        flowconv.gaps(lake),
        flowconv.expire(lake, "2020-01-01", dry_run=True),
        read_quarantine(str(lake)),
    ]
    for result in results:
        shown, page = repr(result), result._repr_html_()
        assert shown.startswith(f"<{type(result).__name__} ")
        assert len(shown) < 200
        assert type(result).__name__ in page
        assert "b" not in Elements(page).names
    assert "objects=1" in repr(results[1])
    assert "&lt;b&gt;logs" in results[1]._repr_html_()


def test_every_value_is_escaped() -> None:
    result = Result(
        {
            HOSTILE: HOSTILE,
            "list": [HOSTILE, None, 7],
            "rows": [{HOSTILE: HOSTILE}, {"other": [HOSTILE]}],
            "values": {HOSTILE: {HOSTILE: HOSTILE}},
        }
    )
    page = result._repr_html_()
    assert Elements(page).names <= {"div", "strong", "table", "tr", "th", "td", "br"}
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    assert "\x1b" not in page + repr(result)


def test_much_is_cut() -> None:
    result = Result({"n": 1234567, "items": list(range(1000)), "x": "y" * 500, "empty": []})
    assert repr(result) == f"<Result n=1234567 items=1000 x=…{'y' * 39}>"
    page = result._repr_html_()
    assert "1,234,567" in page
    assert "… and 980 more" in page
    assert "empty" not in page
