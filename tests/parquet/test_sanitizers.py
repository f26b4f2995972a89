"""The kernel's C under AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages_library import compile_library

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# Python's own leaks are not the kernel's.
RUNTIME = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def test_writing_under_sanitizers(tmp_path: Path) -> None:
    try:
        library = compile_library(tmp_path, *SANITIZERS)
    except subprocess.CalledProcessError:
        pytest.skip("the compiler has no sanitizers")
    compiler = os.environ.get("CC", "cc")
    runtime = subprocess.check_output([compiler, "-print-file-name=libasan.so"], text=True).strip()
    if not Path(runtime).is_absolute():
        pytest.skip("the sanitizers' runtime is no library that can be loaded first")
    environment = os.environ | RUNTIME
    environment |= {"LD_PRELOAD": runtime, "FLOWCONV_PAGES_LIBRARY": str(library)}
    # Its own process; no other reader in it, which takes minutes under the sanitizers.
    script = Path(__file__).parents[1] / "support" / "write_parquet.py"
    command = [sys.executable, str(script), "60"]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, result.stderr[-5000:]
    assert result.stdout == "60 tables\n"
