"""Compiles flowconv/kernel/src into a library beside the package's modules.

For wheels and for editable installs. It needs a C compiler; PyPI has one for machines without.
`make wheels` compiles with that one for other platforms, too: FLOWCONV_PLATFORM names which.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Zig is a C compiler from PyPI (101 MB), for machines that have none. Other releases may compile
# otherwise.
ZIG = "ziglang==0.16.0"

# Platforms as the names of wheels have them, and what zig calls them. glibc 2.17 is of 2012; macOS
# 11 is the first that runs on ARM.
PLATFORMS = {
    "manylinux_2_17_x86_64.manylinux2014_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64.manylinux2014_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_1_x86_64": "x86_64-linux-musl",
    "musllinux_1_1_aarch64": "aarch64-linux-musl",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
    "win_amd64": "x86_64-windows-gnu",
}
PLATFORM_VARIABLE = "FLOWCONV_PLATFORM"


class KernelBuildHook(BuildHookInterface[Any]):
    """Builds the library that `flowconv.kernel` loads."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a compiler if the machine has none."""
        needs_zig = PLATFORM_VARIABLE in os.environ or not _compiler()
        return [ZIG] if self.target_name == "wheel" and needs_zig else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and mark the wheel as one for its platform and every Python."""
        if self.target_name != "wheel":
            return
        build_data["pure_python"] = False
        if wanted := os.environ.get(PLATFORM_VARIABLE):
            build_data["tag"] = f"py3-none-{wanted}"
            library = compile_for(wanted, Path(self.root))
            build_data["force_include"][str(library)] = f"flowconv/kernel/{library.name}"
            return
        library = compile_here(Path(self.root))
        here = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{here}"
        build_data["artifacts"].append(f"/flowconv/kernel/{library.name}")


def compile_here(root: Path) -> Path:
    """Compile the library for this machine, and put it beside the modules.

    Args:
        root: The folder of pyproject.toml.

    Raises:
        SystemExit: It does not compile.
    """
    compiler = _compiler() or _zig(_own_zig_target())
    library = root / "flowconv" / "kernel" / _library_name(sys.platform)
    _compile(root, compiler, _flags(sys.platform, _own_processor()), library)
    return library


def compile_for(wanted: str, root: Path) -> Path:
    """Compile the library for one of PLATFORMS, below `build`.

    Raises:
        SystemExit: There is no such platform, or it does not compile.
    """
    if wanted not in PLATFORMS:
        raise SystemExit(
            f"{PLATFORM_VARIABLE}: {wanted!r} is none of {', '.join(PLATFORMS)}. Choose one."
        )
    system = {"macosx": "darwin", "win": "win32"}.get(wanted.split("_", maxsplit=1)[0], "linux")
    library = root / "build" / "kernel" / wanted / _library_name(system)
    library.parent.mkdir(parents=True, exist_ok=True)
    target = PLATFORMS[wanted]
    _compile(root, _zig(target), _flags(system, target.partition("-")[0]), library)
    return library


def _compile(root: Path, compiler: tuple[str, ...], flags: tuple[str, ...], library: Path) -> None:
    sources = sorted(map(str, (root / "flowconv" / "kernel" / "src").glob("*.c")))
    # Elsewhere first: a library that is loaded must not be written over, and some compilers put
    # files beside it.
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".compiling-") as folder:
        made = Path(folder) / library.name
        command = [*compiler, *flags, *sources, "-o", str(made)]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(
                f"flowconv's C sources cannot be compiled: {error}. Set CC to a C11 compiler."
            ) from error
        made.replace(library)


def _flags(system: str, processor: str) -> tuple[str, ...]:
    # Without -funroll-loops the core takes a tenth more instructions.
    flags = ("-std=c11", "-O3", "-funroll-loops", "-shared", "-fvisibility=hidden")
    flags = (*flags, "-Wall", "-Wextra", "-Werror")
    # No -march: what a processor has is asked at run time. But pyarrow runs on none
    # without SSE 4.2, with which pages are made in 3 % less time.
    # https://arrow.apache.org/docs/cpp/env_vars.html#envvar-ARROW_USER_SIMD_LEVEL
    if processor == "x86_64":
        flags = (*flags, "-msse4.2")
    # All of Windows' code can be moved, and its compilers refuse to be told.
    return flags if system == "win32" else (*flags, "-fPIC")


def _library_name(system: str) -> str:
    """Return what `flowconv.kernel.library` looks for."""
    return {"darwin": "libflowconv.dylib", "win32": "flowconv.dll"}.get(system, "libflowconv.so")


def _compiler() -> tuple[str, ...] | None:
    """Return the command of CC, else of the system's compiler; None if there is neither."""
    if chosen := os.environ.get("CC"):
        return tuple(shlex.split(chosen))
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return found and (found,)


def _zig(target: str) -> tuple[str, ...]:
    # Without a target zig compiles for this very processor, and for this very glibc; without -s it
    # adds debug information, four times as large as the code.
    return (sys.executable, "-m", "ziglang", "cc", "-target", target, "-s")


def _own_processor() -> str:
    """Return this machine's processor as zig calls it."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _own_zig_target() -> str:
    system = {"darwin": "macos", "win32": "windows-gnu"}.get(sys.platform)
    if system is None:
        libc = platform.libc_ver()[0]
        system = "linux-gnu.2.17" if libc == "glibc" else "linux-musl"
    return f"{_own_processor()}-{system}"
