"""A report as one HTML file that loads nothing: tables, and charts as SVG."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from itertools import pairwise
from typing import Any

from flowconv.answers.reporting import LakeReport, Section, shown
from flowconv.errors import printable

_WIDTH, _HEIGHT = 960, 240
# Bars have their label above them, so that a telephone shows them whole.
_BARS_WIDTH, _BAR = 480, 40

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #ffffff; --line: #d0d7de;
  --soft: #57606a; --one: #0969da; --two: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --back: #0d1117; --line: #30363d;
  --soft: #9aa4af; --one: #58a6ff; --two: #ff7b72; } }
body { margin: 0 auto; max-width: 1100px; padding: 1rem; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
p { color: var(--soft); margin: .3rem 0; } figure { margin: .5rem 0; overflow-x: auto; }
svg { width: 100%; min-width: 760px; height: auto; }
.bars svg { min-width: 0; max-width: 560px; }
svg text { fill: var(--text); font-size: 13px; }
.one { fill: var(--one); } .two { fill: var(--two); } .axis { stroke: var(--line); }
.scroll { overflow-x: auto; max-height: 30rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .7rem .2rem 0; text-align: left;
  white-space: nowrap; vertical-align: top; }
.number { text-align: right; } summary { cursor: pointer; }
:focus-visible { outline: 2px solid var(--one); }
@media print { .scroll { max-height: none; overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


def render(report: LakeReport) -> str:
    """Return a report's HTML; every value in it is escaped."""
    parts = "\n".join(_section(section) for section in report.sections)
    links = " · ".join(
        f'<a href="#{section.name}">{_text(section.title)}</a>' for section in report.sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Flow logs of {_text(report.lake)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>Flow logs of {_text(report.lake)}</h1>
<p>{_text(report.days)}; all times are UTC.</p>
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{parts}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    note = f"<p>{_text(section.note)}</p>" if section.note else ""
    heading = f'<section id="{section.name}">\n<h2>{_text(section.title)}</h2>\n{note}'
    if not section.rows:
        return f"{heading}\n<p>There is none.</p>\n</section>"
    table = _table(section)
    if section.drawn == "over-time":
        chart = _over_time(section)
        table = f"<details>\n<summary>Table of this chart</summary>\n{table}\n</details>"
    else:
        chart = _bars(section) if section.drawn else ""
    return f"{heading}\n{chart}\n{table}\n</section>"


def _table(section: Section) -> str:
    is_number = [
        all(isinstance(row[i], int | float | None) for row in section.rows)
        for i in range(len(section.columns))
    ]

    def cells(tag: str, values: Iterable[Any]) -> str:
        return "".join(
            f"<{tag}{' class=number' * right}>{_text(shown(value, column))}</{tag[:2]}>"
            for value, column, right in zip(values, section.columns, is_number, strict=True)
        )

    head = cells("th scope=col", section.columns)
    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in section.rows)
    about = f"Table: {_text(section.title)}"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{about}">'
        f"\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _over_time(section: Section) -> str:
    """Draw the numbers of each time one above the other."""
    times = [row[0] for row in section.rows]
    totals = [sum(row[1:]) for row in section.rows]
    most = max(totals) or 1
    first, last = times[0], times[-1]
    step = min((after - before for before, after in pairwise(times)), default=None)
    span = (last - first + step) if step else None
    wide = _WIDTH * (step / span) if step and span else _WIDTH

    def x(time: Any) -> float:
        return float(_WIDTH * ((time - first) / span)) if span else 0.0

    bottoms = [0.0] * len(times)
    paths = []
    for column, style in ((1, "one"), (2, "two")):
        drawn = []
        for index, row in enumerate(section.rows):
            high = row[column] / most * (_HEIGHT - 20)
            y = _HEIGHT - bottoms[index] - high
            if high:
                drawn.append(f"M{x(row[0]):.1f} {y:.1f}h{wide:.1f}v{high:.1f}h-{wide:.1f}z")
            bottoms[index] += high
        paths.append(f'<path class="{style}" d="{"".join(drawn)}"/>')
    names = " and ".join(section.columns[1:])
    about = (
        f"{section.title}: {names}, from {_day(first)} to {_day(last)}, at most {most:,} at once."
    )
    return f"""<figure tabindex="0">
{_svg(_WIDTH, _HEIGHT + 40, about)}
{"".join(paths)}
<path class="axis" d="M0 {_HEIGHT}h{_WIDTH}"/>
<text x="0" y="14">{most:,}</text>
<text x="0" y="{_HEIGHT + 18}">{_day(first)}</text>
<text x="{_WIDTH}" y="{_HEIGHT + 18}" text-anchor="end">{_day(last)}</text>
<rect class="one" x="0" y="{_HEIGHT + 27}" width="10" height="10"/>
<text x="15" y="{_HEIGHT + 37}">{_text(section.columns[1])}</text>
<rect class="two" x="110" y="{_HEIGHT + 27}" width="10" height="10"/>
<text x="125" y="{_HEIGHT + 37}">{_text(section.columns[2])}</text>
</svg>
</figure>"""


def _bars(section: Section) -> str:
    column, values = section.columns[-1], [row[-1] or 0 for row in section.rows]
    most = max(values) or 1
    between = " → " if section.columns[:2] == ("srcaddr", "dstaddr") else ", "
    drawn = []
    for index, (row, value) in enumerate(zip(section.rows, values, strict=True)):
        y = index * _BAR
        wide = value / most * (_BARS_WIDTH - 130)
        label = between.join(_names(row))
        drawn.append(
            f'<text x="0" y="{y + 14}">{_text(label[:60])}</text>'
            f'<rect class="one" x="0" y="{y + 19}" width="{wide:.1f}" height="14"/>'
            f'<text x="{wide + 6:.1f}" y="{y + 31}">{shown(value, column)}</text>'
        )
    about = f"{section.title}: {column} of {len(values)}, the most {most:,}."
    body = "\n".join(drawn)
    svg = _svg(_BARS_WIDTH, len(values) * _BAR, about)
    return f'<figure class="bars" tabindex="0">\n{svg}\n{body}\n</svg>\n</figure>'


def _names(row: Sequence[Any]) -> list[str]:
    return [value for value in row[:2] if isinstance(value, str)]


def _svg(width: int, height: int, about: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{_text(about)}" '
        'xmlns="http://www.w3.org/2000/svg">'
    )


def _day(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if isinstance(time, datetime) else f"{time}"


def _text(value: str) -> str:
    return escape(printable(value))
