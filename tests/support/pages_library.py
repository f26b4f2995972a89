"""Compiles the kernel's C files for the tests."""

import os
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "flowconv" / "kernel" / "src"
NAMES = ("arrow", "bloom", "distinct", "encodings", "pages", "sorting")
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")


def compile_library(folder: Path, *flags: str) -> Path:
    """Compile the library into a folder; returns its path."""
    library = folder / "libpages.so"
    sources = [str(SOURCES / f"{name}.c") for name in NAMES]
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, *FLAGS, *(flags or ("-O3",)), "-o", str(library), *sources], check=True
    )
    return library
