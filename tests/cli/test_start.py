"""How the command's process is set up before anything is imported."""

import subprocess
import sys

import pytest

_RUN = """
import os
from flowconv.__main__ import run

os._exit = lambda code: None
run()
import pyarrow as pa
print(pa.default_memory_pool().backend_name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux alone")
def test_memory_of_arrow() -> None:
    """Arrow's memory is malloc's, whose freed blocks are given back."""
    command = [sys.executable, "-c", _RUN, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "system"
