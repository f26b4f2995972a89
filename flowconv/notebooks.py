"""How results look in notebooks and interactive shells."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowconv.errors import printable

# What is shown of a list, and of the whole in one line.
_MOST_ROWS = 20
_LINE = 160
_VALUE = 40


class InNotebooks:
    """Gives a result that has `to_dict` a repr of one line, and a table in notebooks."""

    __slots__ = ()

    if TYPE_CHECKING:

        def to_dict(self) -> dict[str, Any]:
            """Return plain values."""

    def __repr__(self) -> str:
        """Return the first of its values on one line; of lists and the like, how many there are."""
        shown = f"<{type(self).__name__}"
        for name, value in self.to_dict().items():
            if value in (None, "", [], {}):
                continue
            part = f" {printable(name)}={_short(value)}"
            if len(shown) + len(part) > _LINE:
                return f"{shown} …>"
            shown += part
        return f"{shown}>"

    def _repr_html_(self) -> str:
        """Return its values as a table of HTML; every value is escaped."""
        from html import escape

        heading = f"<strong>{escape(type(self).__name__)}</strong>"
        return f"<div>{heading}\n{_values(self.to_dict())}</div>"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple | Mapping):
        return str(len(value))
    text = printable(str(value))
    return text if len(text) <= _VALUE else f"…{text[1 - _VALUE :]}"


def _values(values: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f'<tr><th style="text-align: left">{_text(name)}</th>'
        f'<td style="text-align: left">{_cell(value)}</td></tr>'
        for name, value in values.items()
        if value not in (None, "", [], {})
    )
    return f"<table>\n{rows}\n</table>"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return _values(value)
    if not isinstance(value, list | tuple):
        return _text(f"{value:,}" if type(value) is int else value)
    more = f"<br>… and {len(value) - _MOST_ROWS:,} more" if len(value) > _MOST_ROWS else ""
    shown = value[:_MOST_ROWS]
    if all(isinstance(item, Mapping) for item in shown):
        return _rows(shown) + more
    return "<br>".join(_cell(item) for item in shown) + more


def _rows(rows: Iterable[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for row in rows for name in row)
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names)}</tr>" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"


def _text(value: Any) -> str:
    from html import escape  # here: few results are ever shown so

    return escape("" if value is None else printable(str(value)))
