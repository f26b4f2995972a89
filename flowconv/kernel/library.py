"""The compiled library, loaded once, and its functions."""

import ctypes
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from flowconv.errors import KernelError

_NAMES = {"darwin": "libflowconv.dylib", "win32": "flowconv.dll"}

# What flowconv.h calls FC_API_VERSION.
_API_VERSION = 10

# Another build of the library, such as one with sanitizers.
LIBRARY_VARIABLE = "FLOWCONV_KERNEL_LIBRARY"


class Function(NamedTuple):
    """A function's result and arguments, as in src/flowconv.h.

    Attributes:
        result: The type of its result; None: it has none.
        arguments: The types of its arguments.
        keeps_lock: No other thread runs Python meanwhile. For what takes some 10 us: who lets
            others run may have to wait ten times as long until it is their turn again.
    """

    result: Any
    arguments: tuple[Any, ...]
    keeps_lock: bool = False


def functions(declared: Mapping[str, Function]) -> Any:
    """Return the library's functions, as attributes."""
    found = SimpleNamespace()
    for name, function in declared.items():
        kind = ctypes.PYFUNCTYPE if function.keeps_lock else ctypes.CFUNCTYPE
        prototype = kind(function.result, *function.arguments)
        setattr(found, name, prototype((name, library())))
    return found


@cache
def library() -> ctypes.CDLL:
    """Return the library.

    Raises:
        KernelError: It is missing, does not load, or is of another release.
    """
    own = Path(__file__).parent / _NAMES.get(sys.platform, "libflowconv.so")
    path = os.environ.get(LIBRARY_VARIABLE) or str(own)
    try:
        loaded = ctypes.CDLL(path)
        version = loaded.fc_api_version()
    except (OSError, AttributeError) as error:
        raise KernelError(
            f"flowconv's compiled part, {path}, cannot be loaded: {error}. Install flowconv again "
            "with pip, which compiles it or fetches it for this platform."
        ) from error
    if version != _API_VERSION:
        raise KernelError(
            f"flowconv's compiled part, {path}, has version {version}, and version {_API_VERSION} "
            "is needed. Install flowconv again with pip."
        )
    return loaded
