"""Checks the wheels of `make wheels`, and tries the one that is for this machine.

python check_wheels.py FOLDER
"""

import platform
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ELF, MACH_O, PE = b"\x7fELF\x02\x01", b"\xcf\xfa\xed\xfe", b"MZ"

# How each platform's library is called, how it begins, and its processor's number in the header.
# ELF: e_machine; Mach-O: cputype; PE: Machine.
LIBRARIES: Final = {
    "manylinux_2_17_x86_64.manylinux2014_x86_64": ("libflowconv.so", ELF, 62),
    "manylinux_2_17_aarch64.manylinux2014_aarch64": ("libflowconv.so", ELF, 183),
    "musllinux_1_1_x86_64": ("libflowconv.so", ELF, 62),
    "musllinux_1_1_aarch64": ("libflowconv.so", ELF, 183),
    "macosx_11_0_x86_64": ("libflowconv.dylib", MACH_O, 0x01000007),
    "macosx_11_0_arm64": ("libflowconv.dylib", MACH_O, 0x0100000C),
    "win_amd64": ("flowconv.dll", PE, 0x8664),
}

NEWEST_GLIBC = (2, 17)


def processor(library: bytes) -> int:
    if library.startswith(ELF):
        return int.from_bytes(library[18:20], "little")
    if library.startswith(MACH_O):
        return int.from_bytes(library[4:8], "little")
    header = int.from_bytes(library[0x3C:0x40], "little")
    assert library[header : header + 4] == b"PE\0\0"
    return int.from_bytes(library[header + 4 : header + 6], "little")


def check_glibc(library: bytes, tag: str) -> None:
    """The versions of glibc's symbols stand in the library as texts, such as GLIBC_2.14."""
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)", library)
    assert bool(found) == tag.startswith("manylinux"), f"{tag}: needs glibc {found}"
    newest = max(((int(major), int(minor)) for major, minor in found), default=(0, 0))
    assert newest <= NEWEST_GLIBC, f"{tag}: needs glibc {newest}, newer than {NEWEST_GLIBC}"


def check(path: Path) -> str:
    """Check files, tags and library; returns the wheel's platform."""
    _, _, _, _, tag = path.stem.split("-")
    name, begin, number = LIBRARIES[tag]
    with zipfile.ZipFile(path) as wheel:
        files = wheel.namelist()
        (metadata,) = [file for file in files if file.endswith(".dist-info/WHEEL")]
        said = set(re.findall(r"^Tag: (\S+)$", wheel.read(metadata).decode(), re.MULTILINE))
        assert said == {f"py3-none-{single}" for single in tag.split(".")}, f"{tag}: says {said}"
        odd = [f for f in files if not f.endswith(".py") and ".dist-info/" not in f]
        expected = {f"flowconv/kernel/{name}", "flowconv/py.typed"}
        assert set(odd) == expected, f"{tag}: has {sorted(odd)}, not {sorted(expected)}"
        library = wheel.read(f"flowconv/kernel/{name}")
    assert library.startswith(begin), f"{tag}: begins with {library[:6]!r}, not {begin!r}"
    assert processor(library) == number, f"{tag}: is for processor {processor(library)}"
    check_glibc(library, tag)
    for function in (b"fc_append", b"fc_data_pages"):
        assert function in library, f"{tag}: exports no {function!r}"
    sys.stdout.write(f"{path.name}: {len(files)} files, {len(library) // 1000} KB of library\n")
    return tag


def try_wheel(path: Path) -> None:
    """Install a wheel where nothing else is, and convert sample logs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        programs = folder / "venv" / "bin"

        def run(*command: str | Path) -> str:
            return subprocess.run(
                command, check=True, cwd=folder, stdout=subprocess.PIPE, text=True
            ).stdout

        run(programs / "python", "-m", "pip", "install", "--quiet", path.resolve())
        run(programs / "flowconv", "generate", "logs")
        run(programs / "flowconv", "convert", "logs", "lake")
        rows = (
            "import polars as pl; "
            "print(pl.scan_parquet('lake/vpc/').select(pl.len()).collect().item())"
        )
        count = int(run(programs / "python", "-c", rows))
        assert count > 0
        sys.stdout.write(f"{path.name}: installed, and converted {count} rows\n")


def main(arguments: Sequence[str]) -> None:
    wheels = {check(path): path for path in sorted(Path(arguments[0]).glob("*.whl"))}
    missing = set(LIBRARIES) - set(wheels)
    assert not missing, f"no wheels for {sorted(missing)}"
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    for tag, path in wheels.items():
        if sys.platform == "linux" and tag.startswith(libc) and tag.endswith(platform.machine()):
            try_wheel(path)


if __name__ == "__main__":
    main(sys.argv[1:])
