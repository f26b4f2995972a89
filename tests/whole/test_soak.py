"""Many runs over hostile objects in one process: the rows are exact, and memory stays flat.

FLOWCONV_SOAK=60x3000 runs 60 times over 3,000 objects in all, of which each run meets some new ones
and all that could not be read before; FLOWCONV_SOAK_SEED=2 makes others. It takes hours.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import flowconv
from support.hostile import make_hostile

RUNS, OBJECTS = map(int, os.environ.get("FLOWCONV_SOAK", "6x150").split("x"))
SEED = int(os.environ.get("FLOWCONV_SOAK_SEED", "1"))

MIB = 1 << 20

# Some memory comes late: a kind of object that no run before has met, threads' arenas, caches.
_SLACK_BYTES = 40 * MIB

SOAK = """
import json, os, sys
from pathlib import Path
from unittest import mock
import flowconv
from support.hostile import make_hostile

source, lake, runs, objects, seed = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
options = flowconv.ConvertOptions(format="default", workers=2, max_object_size=64 << 20)
page = os.sysconf("SC_PAGE_SIZE")
with mock.patch("os.fsync"):
    for run in range(runs):
        for number in range(run * objects // runs, (run + 1) * objects // runs):
            (source / f"{number:06d}").write_bytes(make_hostile(number, seed).body)
        report = flowconv.convert(str(source), lake, options)
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
        print(json.dumps([resident, report.objects, len(report.unreadable)]), flush=True)
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(json.dumps(int(peak) * 1024))
"""


def test_soak(tmp_path: Path) -> None:
    source, lake = tmp_path / "logs", tmp_path / "lake"
    source.mkdir()
    arguments = [str(source), str(lake), str(RUNS), str(OBJECTS), str(SEED)]
    done = subprocess.run(
        [sys.executable, "-c", SOAK, *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *measured, peak = map(json.loads, done.stdout.splitlines())
    resident = [run[0] for run in measured]
    assert len(resident) == RUNS
    half = RUNS // 2
    assert max(resident[half:]) < max(resident[:half]) + _SLACK_BYTES, resident
    # Two workers that read Parquet, and what they share.
    assert peak < (2 * 250 + 150) * MIB, peak // MIB

    wanted = {
        made.interface_id: made.rows
        for made in (make_hostile(number, SEED) for number in range(OBJECTS))
        if made.rows
    }
    rows = flowconv.scan(str(lake)).collect()["interface_id"].value_counts()
    found = dict(rows.iter_rows())
    assert {name: found[name] for name in found if name.startswith("eni-good")} == wanted
