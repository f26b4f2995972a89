"""The compiled library, loaded once."""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

from flowconv.errors import KernelError

_NAMES = {"darwin": "libflowconv.dylib", "win32": "flowconv.dll"}

# What flowconv.h calls FC_API_VERSION.
_API_VERSION = 7

# Another build of the library, such as one with sanitizers.
LIBRARY_VARIABLE = "FLOWCONV_KERNEL_LIBRARY"


@cache
def library() -> ctypes.CDLL:
    """Return the library; its functions let other threads run.

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
