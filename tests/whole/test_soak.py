"""Many runs over hostile objects in one process: the rows are exact, and memory stays flat.

`make soak` runs 200 times over 10,000 objects; FLOWCONV_SOAK=60x3000 is 60 times over 3,000, and
FLOWCONV_SOAK_SEED=2 makes other objects.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import flowconv
from support.hostile import make_hostile
from support.peak_memory import promised_mb
from support.soak import SoakRun

RUNS, OBJECTS = map(int, os.environ.get("FLOWCONV_SOAK", "24x150").split("x"))
SEED = int(os.environ.get("FLOWCONV_SOAK_SEED", "1"))

# Which objects a run meets is chance, and so is how full the allocator's arenas are behind it.
_SLACK_BYTES = 20_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_soak(tmp_path: Path) -> None:
    source, lake = tmp_path / "logs", tmp_path / "lake"
    source.mkdir()
    runs = soak(source, lake)
    assert len(runs) == RUNS
    assert max(run.peak_bytes for run in runs) < 1e6 * promised_mb(workers=2, parquet=True)
    # The first runs fill caches and arenas.
    resident = [run.resident_bytes for run in runs]
    begin, end = resident[RUNS // 3 : RUNS * 2 // 3], resident[RUNS * 2 // 3 :]
    assert median(end) < median(begin) + _SLACK_BYTES, resident

    wanted = {
        made.interface_id: made.rows
        for made in (make_hostile(number, SEED) for number in range(OBJECTS))
        if made.rows
    }
    rows = flowconv.scan(str(lake)).collect()["interface_id"].value_counts()
    found = dict(rows.iter_rows())
    assert {name: found[name] for name in found if name.startswith("eni-good")} == wanted


def soak(source: Path, lake: Path) -> list[SoakRun]:
    """Soak in a process of its own; `pytest -s` shows each run."""
    arguments = [str(source), str(lake), str(RUNS), str(OBJECTS), str(SEED)]
    done = subprocess.run(
        [sys.executable, "-m", "support.soak", *arguments],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    return [SoakRun(**json.loads(line)) for line in done.stdout.splitlines()]
