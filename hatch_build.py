"""Compiles flowconv/kernel/src into a library beside the package's modules.

For wheels and for editable installs. It needs a C compiler; PyPI has one for machines without.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# No -march: what a processor has is asked at run time.
FLAGS = (
    "-std=c11",
    "-O3",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-shared",
    "-fvisibility=hidden",
    # All of Windows' code can be moved, and its compilers refuse to be told.
    *(() if sys.platform == "win32" else ("-fPIC",)),
)

# Zig is a C compiler from PyPI (101 MB), for machines that have none. Other releases may compile
# otherwise.
ZIG = "ziglang==0.16.0"

LIBRARY = {"darwin": "libflowconv.dylib", "win32": "flowconv.dll"}.get(
    sys.platform, "libflowconv.so"
)


class KernelBuildHook(BuildHookInterface[Any]):
    """Builds the library that `flowconv.kernel` loads."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a compiler if the machine has none."""
        return [] if self.target_name != "wheel" or _compiler() else [ZIG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and mark the wheel as one for this platform and every Python."""
        if self.target_name != "wheel":
            return
        compile_kernel(Path(self.root))
        build_data["pure_python"] = False
        here = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{here}"
        build_data["artifacts"].append(f"/flowconv/kernel/{LIBRARY}")


def compile_kernel(root: Path) -> None:
    """Compile the library.

    Args:
        root: The folder of pyproject.toml.

    Raises:
        SystemExit: It does not compile.
    """
    kernel = root / "flowconv" / "kernel"
    compiler = _compiler() or (sys.executable, "-m", "ziglang", "cc", *_zig_target())
    sources = sorted(str(source) for source in (kernel / "src").glob("*.c"))
    # Beside it first: a library that is loaded must not be written over.
    made = kernel / f"{LIBRARY}.new"
    command = [*compiler, *FLAGS, *sources, "-o", str(made)]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"flowconv's C sources cannot be compiled: {error}. Set CC to a C11 compiler."
        ) from error
    made.replace(kernel / LIBRARY)


def _compiler() -> tuple[str, ...] | None:
    """Return the command of CC, else of the system's compiler; None if there is neither."""
    if chosen := os.environ.get("CC"):
        return tuple(shlex.split(chosen))
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return found and (found,)


def _zig_target() -> tuple[str, ...]:
    """Return what keeps zig from compiling for this very processor, and for this very glibc."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    system = {"darwin": "macos", "win32": "windows-gnu"}.get(sys.platform)
    if system is None:
        libc = platform.libc_ver()[0]
        system = "linux-gnu.2.17" if libc == "glibc" else "linux-musl"
    return ("-target", f"{machine}-{system}")
