"""What driver and workers must have in common: releases, and the compiled library."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pyarrow as pa

from flowconv.errors import EngineError
from flowconv.kernel.library import library
from flowconv.version import VERSION


@cache
def environment() -> Mapping[str, str]:
    """Return what is to be the same in driver and workers: its name -> its release.

    Raises:
        KernelError: The compiled library does not load.
    """
    kernel = hashlib.sha256(Path(library()._name).read_bytes()).hexdigest()
    return {
        "flowconv": VERSION,
        "pyarrow": pa.__version__,
        # Python's minor releases pickle some types differently.
        "Python": ".".join(platform.python_version_tuple()[:2]),
        # Two builds of a release may differ, and so would the files of a task that runs twice.
        "flowconv's compiled library": kernel[:12],
    }


def require_same(of_driver: Mapping[str, str], of_worker: Mapping[str, str], worker: str) -> None:
    """Check that a worker has what the driver has.

    Raises:
        EngineError: It has something else.
    """
    differences = [
        f"{name} {of_worker.get(name, 'none')}, and the driver has {release}"
        for name, release in of_driver.items()
        if of_worker.get(name) != release
    ]
    if differences:
        raise EngineError(
            f"the worker {worker} has {'; '.join(differences)}. Install the same releases on all "
            "machines, for example by one container image."
        )
