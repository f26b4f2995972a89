"""Peak memory of processes, held against what the README promises.

FLOWCONV_PARTITIONS=40000 makes so many of the object whose rows all have partitions of their own.
"""

import gzip
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.reading import read_blocks
from flowconv.errors import FetchError, UnreadableObjectError
from flowconv.source.keys import LogObject
from oracle import reference
from support.in_memory import Stored, log_object
from support.lakes import ROW, V2, aws_key, write_objects
from support.peak_memory import MOST_ADDRESSES, peak_mb, peak_of, promised_mb
from support.shapes import document, http_endpoint, parquet, subscription
from support.warm_start import Ended, WarmStart

PARTITIONS = int(os.environ.get("FLOWCONV_PARTITIONS", "500"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no wait4")


def convert_peak(
    warm: WarmStart, folder: Path, *options: str, cpu_s: int = 120, is_near: bool = False
) -> Ended:
    """Convert `logs` with one worker.

    A start that is warm takes some megabytes more, never less: where that may be too much, the
    command is started anew; at once if the peak is known to be near the promise.
    """
    logs, lake = folder / "logs", folder / "lake"
    arguments = ("convert", str(logs), str(lake), "--workers", "1", *options)
    if not is_near:
        peak = warm.run(*arguments, cpu_s=cpu_s, most_addresses=MOST_ADDRESSES)
        if peak.mb < promised_mb():
            return peak
        shutil.rmtree(lake, ignore_errors=True)
    return peak_mb(*arguments, cpu_s=cpu_s)


def test_the_measure() -> None:
    """Neither this process's memory counts nor does any of the other's escape."""
    ballast = bytearray(300_000_000)
    small = peak_of([sys.executable, "-S", "-c", "pass"])
    large = peak_of([sys.executable, "-S", "-c", "b'1' * 200_000_000; raise SystemExit(7)"])
    assert len(ballast) == 300_000_000
    assert (small.exit_code, large.exit_code) == (0, 7)
    assert small.mb < 50
    assert 200 < large.mb < 250
    assert peak_of([sys.executable, "-c", "while True: pass"], cpu_s=1).exit_code == -9


def test_logs_as_they_should_be(tmp_path: Path, warm: WarmStart) -> None:
    body = V2 + ROW * 300_000
    write_objects(tmp_path / "logs", {aws_key(hash_=f"{n:08x}"): body for n in range(4)})
    folders = (str(tmp_path / "logs"), str(tmp_path / "lake"))
    started_anew = peak_mb("convert", *folders, "--workers", "1")
    shutil.rmtree(tmp_path / "lake")
    started_warm = convert_peak(warm, tmp_path)
    for peak in (started_anew, started_warm):
        assert peak.exit_code == 0, peak.stderr
        assert peak.mb < promised_mb()
    # What a fork shares with the process that it comes from is counted.
    assert started_warm.mb > started_anew.mb - 10


MANY = 80
ROWS_8_MB = 90_000


def unreadable_objects(kind: str) -> list[bytes]:
    """Objects of which each takes some megabytes while it is read, and fails then."""
    match kind:
        case "json":
            # Few and long: it is their bytes that must not be kept, and each record takes time.
            record = {"eventName": "x", "k": "v" * 3000}
            return [gzip.compress(json.dumps({"Records": [record] * 1000}).encode(), 1)] * MANY
        case "cut gzip":
            return [gzip.compress(V2 + ROW * 60_000, 1)[:-100]] * MANY
        case "second header":
            return [V2 + b"srcaddr srcaddr version\n" + ROW] * MANY
        case "cut parquet":
            return [parquet({"srcaddr": [f"10.0.0.{n}" for n in range(200_000)]})[:-9]] * MANY
        case "parquet with a damaged page":
            body = bytearray(parquet({"srcaddr": [f"10.0.0.{n}" for n in range(200_000)]}))
            body[len(body) // 2] ^= 1
            return [bytes(body)] * MANY
        case "large with an end that is cut":
            return [gzip.compress(V2 + ROW * 2 * ROWS_8_MB, 1)[:-100]] * (MANY // 5)
        case _:
            raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "json",
        "cut gzip",
        "second header",
        "cut parquet",
        "parquet with a damaged page",
        "large with an end that is cut",
    ],
)
def test_unreadable_objects(tmp_path: Path, kind: str, warm: WarmStart) -> None:
    """What is kept of an object that failed is a sentence, not the reader's buffers."""
    bodies = unreadable_objects(kind)
    keys = [aws_key(hash_=f"{n:08x}") for n in range(len(bodies))]
    write_objects(tmp_path / "logs", dict(zip(keys, bodies, strict=True)))
    write_objects(tmp_path / "logs", {aws_key(hash_="ffffffff"): V2 + ROW})
    peak = convert_peak(warm, tmp_path, "--json")
    assert peak.exit_code == 3, peak.stderr
    report = json.loads(peak.stdout)
    assert (report["number_unreadable"], report["objects"]) == (len(bodies), 1)
    assert peak.mb < promised_mb(parquet="parquet" in kind)


THREADS_OF_A_RUN = """
import os, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from flowconv.memory import giving_memory_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def read(_):
    for size in (9_000_000, 8_000_000, 3_000_000):
        all_begun.wait()
        b"1" * size

all_begun = threading.Barrier(8)
with giving_memory_back():
    begin = resident()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
print(resident() - begin)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have another allocator")
def test_what_is_kept_of_threads() -> None:
    """Not the blocks that each thread had: runs in one process do not add up."""
    ran = peak_of([sys.executable, "-c", THREADS_OF_A_RUN])
    assert ran.exit_code == 0, ran.stderr
    assert int(ran.stdout) < 30_000_000


def test_what_is_kept_of_a_failure() -> None:
    """Neither frames nor causes, whatever failed."""

    def fetch(log_object: LogObject) -> Stored:
        if log_object.path == "gone":
            try:
                raise OSError("the answer of a server")
            except OSError as error:
                raise FetchError("it is gone.", uri=log_object.uri) from error
        return Stored(b"PAR1 and no more")

    failures: dict[LogObject, UnreadableObjectError] = {}
    objects = [log_object("gone"), log_object("damaged")]
    blocks = read_blocks(objects, fetch, DeclaredFormats(), failures.__setitem__)
    assert list(blocks) == []
    assert len(failures) == 2
    for error in failures.values():
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


COMMON_COLUMNS = {
    "version": pa.array([2] * 16_384, pa.int32()),
    "srcaddr": ["10.0.0.1"] * 16_384,
    "dstaddr": ["10.0.0.2"] * 16_384,
    "interface_id": ["eni-1"] * 16_384,
    "start": [1768348800] * 16_384,
}


def in_dictionary(value: Any, rows: int = 16_384) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


def bomb(kind: str) -> bytes:
    """A small file of Parquet that takes much memory to decode."""
    how: dict[str, Any] = {"compression": "zstd", "store_schema": False}
    how["write_statistics"] = kind == "a large footer"  # Of large values they take seconds.
    columns: dict[str, Any] = dict(COMMON_COLUMNS)
    match kind:
        case "one value in the dictionary":
            columns["note"] = in_dictionary("x" * 65_536)
        case "a large value in the dictionary":
            columns["note"] = in_dictionary("x" * (5 << 20))
        case "a large value in many dictionaries":
            columns |= {f"note{n}": in_dictionary("x" * (1 << 20)) for n in range(20)}
        case "a huge value":
            columns["note"] = ["x" * 300_000_000, *[""] * 16_383]
            how["use_dictionary"] = False
        case "a huge value with LZ4":
            columns["note"] = ["x" * 300_000_000, *[""] * 16_383]
            how |= {"use_dictionary": False, "compression": "lz4"}
        case "values that begin alike":
            rows = 8192
            columns = {name: column[:rows] for name, column in columns.items()}
            columns["note"] = ["x" * 65_536] * rows
            how |= {"use_dictionary": False, "column_encoding": {"note": "DELTA_BYTE_ARRAY"}}
        case "values of one width":
            wide = pa.array([b"x" * 65_536], pa.binary(65_536))
            columns["note"] = pa.DictionaryArray.from_arrays(pa.array([0] * 16_384), wide)
        case "long values, numbers in streams":
            rows = 4096
            columns = {name: column[:rows] for name, column in columns.items()}
            columns |= {"bytes": [1] * rows, "note": [f"{n}" * 30_000 for n in range(1000, 5096)]}
            how |= {"use_dictionary": False, "column_encoding": {"bytes": "BYTE_STREAM_SPLIT"}}
        case "many large columns":
            columns |= {f"note{n}": ["x" * 200] * 16_384 for n in range(200)}
            how["use_dictionary"] = False
        case "a large footer":
            columns |= {f"note{n}": ["x"] * 16_384 for n in range(300)}
            how["row_group_size"] = 64
        case "large facts about it":
            table = pa.table(columns).replace_schema_metadata({"x": "y" * 50_000_000})
            return parquet(table, **(how | {"store_schema": True}))
        case _:
            raise AssertionError(kind)
    return parquet(pa.table(columns), **how)


BOMBS = {
    "one value in the dictionary": "more than",
    "a large value in the dictionary": "unpacks to more than",
    "a large value in many dictionaries": "a row of more than 8 MiB",
    "a huge value": "pages of this Parquet unpack to",
    "a huge value with LZ4": "pages of this Parquet unpack to",
    "values that begin alike": "unpacks to more than",
    "values of one width": "unpacks to more than",
    "long values, numbers in streams": "pages of this Parquet unpack to",
    "many large columns": "pages of this Parquet unpack to",
    "a large footer": "the footer of this Parquet has",
    "large facts about it": "the footer of this Parquet has",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_parquet_bombs(tmp_path: Path, kind: str, warm: WarmStart) -> None:
    """Whatever the encoding, memory stays within the promise, and the object is named."""
    write_objects(tmp_path / "logs", {aws_key(): bomb(kind)})
    peak = convert_peak(warm, tmp_path, "--json", "--max-object-size", "300MB")
    report = json.loads(peak.stdout)
    for reason in report["unreadable"].values():
        assert BOMBS[kind] in reason
    assert (peak.exit_code, report["number_unreadable"]) == (3, 1), peak.stderr
    assert peak.mb < promised_mb(parquet=True)


def test_many_partitions(tmp_path: Path, warm: WarmStart) -> None:
    """A few rows of each in every block: they wait together, twice until all are too many."""
    body = V2 + b"".join(
        b"2 123456789012 eni-%017d 10.%d.%d.%d" % (n % 400, n % 251, n % 241, n % 239)
        + b" 10.0.0.2 443 49152 6 10 840 1768348800 1768348860 ACCEPT OK\n"
        for n in range(600_000)
    )
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(body, 1)})
    peak = convert_peak(warm, tmp_path, "--partition-by", "interface_id", "--json")
    report = json.loads(peak.stdout)
    assert (report["lines"]["rows"], report["partitions"], report["files"]) == (600_000, 400, 800)
    assert peak.mb < promised_mb()


def test_a_partition_for_each_row(tmp_path: Path, warm: WarmStart) -> None:
    body = V2 + b"".join(ROW.replace(b"eni-1", b"eni-%d" % n) for n in range(PARTITIONS))
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(body, 1)})
    how = ("--partition-by", "interface_id", "--json")
    peak = convert_peak(warm, tmp_path, *how, cpu_s=120 + PARTITIONS // 50)
    report = json.loads(peak.stdout)
    assert report["lines"]["rows"] == report["partitions"] == report["files"] == PARTITIONS
    assert peak.mb < promised_mb()


def test_lines_of_one_character(tmp_path: Path, warm: WarmStart) -> None:
    body = V2 + ROW + b"x\n" * 5_000_000
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(body, 1)})
    peak = convert_peak(warm, tmp_path, "--json", cpu_s=400)
    report = json.loads(peak.stdout)
    lines, kept = report["lines"], (tmp_path / "lake/_flowconv/quarantine")
    assert (peak.exit_code, lines["rows"], lines["rejected"]) == (3, 1, 5_000_000)
    assert sum(path.stat().st_size for path in kept.iterdir()) < 16 << 20
    assert lines["dropped"] > 4_000_000
    assert peak.mb < promised_mb(), f"{peak.mb:.0f} MB"


MESS = """
import os, sys
from pathlib import Path
import flowconv

def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000

_, call, logs, lake = sys.argv
flowconv.convert(logs, lake)
pieces = [bytes(1000) for _ in range(200_000)]
del pieces[:-1]  # glibc gives back what is beyond the last piece in use, and nothing else.
before = resident_mb()
flowconv.convert(logs, lake) if call == "convert" else flowconv.verify(lake)
print(before - resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give it back")
@pytest.mark.parametrize("call", ["convert", "verify"])
def test_memory_is_given_back(tmp_path: Path, call: str) -> None:
    write_objects(tmp_path / "logs", {aws_key(): V2 + ROW})
    folders = (str(tmp_path / "logs"), str(tmp_path / "lake"))
    peak = peak_of([sys.executable, "-c", MESS, call, *folders])
    assert peak.exit_code == 0, peak.stderr
    assert int(peak.stdout) > 160


def test_long_names_of_unknown_fields(tmp_path: Path, warm: WarmStart) -> None:
    """Each row has the names of its unknown fields: 7 KB here, beside a line of 216 bytes."""
    names = [f"{n:03d}".rjust(128, "x") for n in range(54)]
    line = b"- " * 54 + b"1 " * len(names) + b"\n"
    body = " ".join([*reference.VPC, *names]).encode() + b"\n" + line * 40_000
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(body)})
    peak = convert_peak(warm, tmp_path)
    assert peak.exit_code == 0, peak.stderr
    assert peak.mb < promised_mb()


# --- JSON -----------------------------------------------------------------------------------------

HOSTILE_JSON = {
    "newlines": lambda: b"{" + b"\n" * (40 << 20),
    "open lines": lambda: b'{"message": "x"}\n' + b'{"message": \n' * 250_000,
    "rubbish": lambda: b'{"message": "x"}\n' + b"x\n" * 500_000,
    "deep": lambda: b'{"a":' * 3_000_000,
    "deep and closed": lambda: b'{"a":' * 500_000 + b"1" + b"}" * 500_000,
    "arrays": lambda: b"[" + b"[" * 10_000_000,
    "tiny documents": lambda: b'{"message":"a"}' * 1_000_000,
    "no documents": lambda: b"{}" * 8_000_000,
    "one document": lambda: subscription([document(["x" * 60] * 60_000)]),
    "one document, cut": lambda: subscription([document(["x" * 60] * 60_000)])[:-3],
    "tiny events": lambda: b'{"logEvents":[' + b"{}," * 5_000_000 + b"{}]}",
    "an array": lambda: b"[" + b'{"message":"a"},' * 1_000_000 + b"{}]",
    "braces": lambda: b"}{" * 10_000_000,
    "braces in a string": lambda: b'{"a":"' + b"}{" * 10_000_000,
    "a string": lambda: b'"{' + b"a" * 40_000_000,
    "records": lambda: b'{"version":2,"srcaddr":"10.0.0.1"}' * 500_000,
    "other records": lambda: json.dumps(
        {"Records": [{"eventName": "x", "k": "v" * 150}] * 90_000}
    ).encode(),
    "one long message": lambda: b'{"message":"' + b"x" * 12_000_000 + b'"}',
    "gzip in records": lambda: http_endpoint([gzip.compress(b"x" * 15_000_000)] * 18),
    "log groups": lambda: b"".join(
        b'{"logGroup":"%d","owner":"%d","logEvents":[{"message":"x"}]}' % (n, n)
        for n in range(20_000)
    ),
}


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_json(kind: str, tmp_path: Path, warm: WarmStart) -> None:
    """Whatever the JSON: within the promise, and in time that grows with its size."""
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(HOSTILE_JSON[kind](), 1)})
    peak = convert_peak(warm, tmp_path, "--format", "default", is_near=kind == "an array")
    assert peak.exit_code in (0, 3), peak.stderr
    assert peak.mb < promised_mb(), f"{peak.mb:.0f} MB"
