"""How fast text becomes columns, and what finding its delimiters takes of it, in GB/s of CPU.

See README.md, or `python benchmarks/bench_kernel.py --help`.
"""

import argparse
import ctypes
import gzip
import json
import os
import random
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datasets import CACHE, make
from flowconv.blocks.block import BLOCK_BYTES, LogBlock, Span
from flowconv.blocks.counts import LineCounts
from flowconv.blocks.declared_formats import declared_formats
from flowconv.blocks.formats import LogFormat, header_format
from flowconv.blocks.shapes import Shape
from flowconv.kernel.rows import RowBuilder, Speed, speeds
from flowconv.rows.parsing import BlockParser, kernel_columns
from flowconv.source.keys import LogObject

# Rows of a row group, about.
TEXT_BYTES = 4 * BLOCK_BYTES

# What is looked at together, so that the offsets of its delimiters stay in the caches.
STRETCH_BYTES = 128 << 10

COMPILER = shlex.split(os.environ.get("CC", "cc"))


def with_bad_lines(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    for place in random.Random(1).sample(range(len(lines)), len(lines) // 100):
        lines[place] = lines[place].replace(b" ", b" x ", 1)
    return b"".join(lines)


# Kinds of text that have the same rows as plain text, or all but one in a hundred.
KINDS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda text: text,
    "1 % bad lines": with_bad_lines,
    "double spaces": lambda text: text.replace(b" ", b"  "),
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "one tab": lambda text: text.replace(b" ", b"\t", 1),
    "a letter beyond ASCII": lambda text: text.replace(b"eni-", "éni-".encode()),
}


def logs(case: str, cache: Path, *, smoke: bool) -> tuple[LogFormat, bytes]:
    """The format of a data set's logs and some of their text."""
    path = next(iter(sorted(Path(make(case, cache, smoke=smoke).folder).rglob("*.log.gz"))))
    header, _, text = gzip.decompress(path.read_bytes()).partition(b"\n")
    format_ = header_format(tuple(header.split()))
    assert format_ is not None
    text = text if smoke else text * (TEXT_BYTES // len(text) + 1)
    return format_, text[: text.rfind(b"\n", 0, TEXT_BYTES) + 1]


def native(format_: LogFormat, text: bytes, speed: Speed) -> int:
    builder = RowBuilder(kernel_columns(format_), speed=speed)
    builder.append(text)
    return builder.take().batch.num_rows


def present(format_: LogFormat, text: bytes) -> int:
    parser = BlockParser(declared_formats())
    nothing: dict[str, None] = dict.fromkeys(("account_id", "region", "flow_log_id", "day", "time"))
    one = LogObject(uri="a", path="a", size_bytes=0, etag="", **nothing)
    rows = start = 0
    while start < len(text):
        stop = text.rfind(b"\n", start, start + BLOCK_BYTES) + 1
        part = text[start:stop]
        span = Span(
            log_object=one,
            start=0,
            stop=len(part),
            first_line=1,
            head=LineCounts(),
            ends_object=stop == len(text),
        )
        block = LogBlock(
            buffer=part,
            size=len(part),
            shape=Shape.HEADER,
            format=format_,
            spans=(span,),
            text_bytes=len(part),
        )
        rows += sum(batch.table.num_rows for batch in parser.parse(block).batches)
        start = stop
    return rows


class _Delimiters(ctypes.Structure):
    """What `src/delimiters.h` declares."""

    _fields_ = (
        ("offsets", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("line_ends", ctypes.c_void_p),
        ("lines", ctypes.c_size_t),
        ("blocks", ctypes.c_void_p),
        ("found", ctypes.c_uint8),
    )


class DelimiterFinder:
    """Finds delimiters and does nothing else; compiled apart, as the library does not show it."""

    def __init__(self, text: bytes, speed: Speed) -> None:
        self._text = text
        # Whole blocks are looked at: there must be something behind the text.
        self._padded = ctypes.create_string_buffer(text, len(text) + 64)
        source = Path(__file__).parents[1] / "flowconv" / "kernel" / "src" / "delimiters.c"
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "delimiters.so"
            flags = ("-std=c11", "-O3", "-funroll-loops", "-shared", "-fPIC")
            subprocess.run([*COMPILER, *flags, str(source), "-o", str(library)], check=True)
            loaded = ctypes.CDLL(str(library))
        loaded.find_delimiters_of.restype = ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
        )
        self._find = loaded.find_delimiters_of(ctypes.byref(ctypes.c_int32(speed)))
        room = STRETCH_BYTES + 64
        self._memory = [ctypes.create_string_buffer(4 * room) for _ in range(3)]
        offsets, line_ends, blocks = map(ctypes.addressof, self._memory)
        self._found = _Delimiters(offsets=offsets, line_ends=line_ends, blocks=blocks)

    def count_lines(self) -> int:
        """Look at the text stretch by stretch; return its lines."""
        address = ctypes.addressof(self._padded)
        lines = start = 0
        while start < len(self._text):
            stop = self._text.rfind(b"\n", start, start + STRETCH_BYTES) + 1
            self._find(address + start, stop - start, ctypes.addressof(self._found))
            lines += self._found.lines
            start = stop
        return lines


def gigabytes_a_second(parse: Callable[[], int], size: int, rows: int, rounds: int) -> float:
    """The best of some rounds, by processor time: others may use the machine, too.

    Raises:
        SystemExit: Another number of rows came out.
    """
    found = []
    for _ in range(rounds):
        start = time.process_time()
        if parse() != rows:
            raise SystemExit("the parsers disagree about the number of rows")
        found.append(size / 1e9 / (time.process_time() - start))
    return max(found)


def delimiters_alone(text: bytes, rounds: int) -> dict[str, float]:
    figures = {}
    for speed in speeds():
        find = DelimiterFinder(text, speed).count_lines
        size, lines = len(text), text.count(b"\n")
        figures[speed.name.lower()] = gigabytes_a_second(find, size, lines, rounds)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--case", default="large_v5", choices=("large_v5", "large_v2"))
    parser.add_argument("--rounds", type=int, default=7, help="runs of each (7)")
    parser.add_argument("--smoke", action="store_true", help="tiny logs, one round: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where logs are kept (.bench)")
    arguments = parser.parse_args()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    format_, plain = logs(arguments.case, cache, smoke=arguments.smoke)
    rounds = 1 if arguments.smoke else arguments.rounds
    names = [speed.name.lower() for speed in speeds()]
    print(f"\n{arguments.case}, {len(plain) / 1e6:,.0f} MB, GB/s of processor time\n")
    print("| text                  | " + " | ".join(f"{n:>7}" for n in [*names, "present"]) + " |")
    print("| --------------------- | " + " | ".join(["------:"] * (len(names) + 1)) + " |")
    results: dict[str, dict[str, float]] = {}
    for kind, change in KINDS.items():
        text = change(plain)
        rows = native(format_, text, Speed.BEST)
        assert rows
        figures = {
            speed.name.lower(): gigabytes_a_second(
                lambda text=text, speed=speed: native(format_, text, speed),  # type: ignore[misc]
                len(text), rows, rounds,
            )
            for speed in speeds()
        }  # fmt: skip
        figures["present"] = gigabytes_a_second(
            lambda text=text: present(format_, text),  # type: ignore[misc]
            len(text), rows, min(rounds, 3),
        )  # fmt: skip
        results[kind] = figures
        print(f"| {kind:<21} | " + " | ".join(f"{s:>7.2f}" for s in figures.values()) + " |")
    if shutil.which(COMPILER[0]) is None:
        print(f"there is no {COMPILER[0]}, so finding delimiters alone is left out")
    else:
        name = "delimiters alone"
        results[name] = delimiters_alone(plain, rounds)
        cells = [f"{speed:>7.2f}" for speed in results[name].values()]
        print(f"| {name:<21} | " + " | ".join([*cells, " " * 7]) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
