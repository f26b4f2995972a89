"""Peak memory of processes, held against what the README promises."""

import sys
from pathlib import Path

import pytest

from lakes import ROW, V2, aws_key, write_objects
from peak_memory import Peak, peak_mb, peak_of, promised_mb

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no wait4")


def convert_peak(tmp_path: Path, *options: str, timeout_s: int = 120) -> Peak:
    """Convert `logs` with one worker."""
    folders = (str(tmp_path / "logs"), str(tmp_path / "lake"))
    return peak_mb("convert", *folders, "--workers", "1", *options, timeout_s=timeout_s)


def test_the_measure() -> None:
    """Neither this process's memory counts nor does any of the other's escape."""
    ballast = bytearray(300_000_000)
    small = peak_of([sys.executable, "-S", "-c", "pass"])
    large = peak_of([sys.executable, "-S", "-c", "b'1' * 200_000_000; raise SystemExit(7)"])
    assert len(ballast) == 300_000_000
    assert (small.exit_code, large.exit_code) == (0, 7)
    assert small.mb < 50
    assert 190 < large.mb < 240
    assert peak_of([sys.executable, "-c", "while True: pass"], timeout_s=1).exit_code == -9


def test_logs_as_they_should_be(tmp_path: Path) -> None:
    body = V2 + ROW * 300_000
    write_objects(tmp_path / "logs", {aws_key(hash_=f"{n:08x}"): body for n in range(4)})
    peak = convert_peak(tmp_path)
    assert peak.exit_code == 0, peak.stderr
    assert peak.mb < promised_mb()
