"""Values as they were typed, for options of texts and of whole numbers.

typer has every value checked by pydantic. Importing that and building its checks takes 0.2 s, a
third of what `flowconv status` takes, and a text needs none.
"""

import re
from typing import Any

_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def read_plainly(params: Any) -> None:
    """Have parameters of typer read by PlainValue, in those releases that import pydantic."""
    for param in params:
        # Older releases have no such attribute. It is made when the first value is read.
        if getattr(param, "_runtime_param", param) is None:
            param._runtime_param = PlainValue()


class PlainValue:
    """Reads a value that needs no check, and leaves all others, and their errors, to typer."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return what the command is given."""
        kind = param.type_descriptor.annotation
        is_list = param.multiple or param.nargs == -1
        if value is None:
            return () if is_list else None
        if kind is str and not is_list and isinstance(value, str):
            return value
        if kind == list[str] and is_list and _are_texts(value):
            return list(value)
        if kind in (int, float) and type(value) is kind:
            return value  # the default
        if kind is int and _is_whole_number(value, param.type_descriptor.parameter_info):
            return int(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def _is_whole_number(value: Any, info: Any) -> bool:
    """Tell whether this is a number that no limit forbids."""
    if info.min not in (None, 0) or info.max is not None or info.clamp:
        return False
    return isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) is not None
