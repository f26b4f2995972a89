"""Objects of flow logs and days, against the usual: in the status, its table and the metrics."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support.commands import run
from support.lakes import ROW, V2, aws_key, write_objects

parse_openmetrics: Any = text_string_to_metric_families  # which has no types


STEADY, FEW, SILENT, YOUNG, RARE = (f"fl-{number:017x}" for number in range(5))


def objects(days: Mapping[str, Mapping[int, int]]) -> dict[Any, bytes]:
    """Flow log -> day of January -> number of its objects, as objects."""
    return {
        aws_key(
            time=f"2026-01-{day:02}T{number // 12:02}:{number % 12 * 5:02}", flow_log_id=flow_log
        ): V2 + ROW
        for flow_log, by_day in days.items()
        for day, count in by_day.items()
        for number in range(count)
    }


def test_the_last_whole_day_of_each_flow_log(tmp_path: Path) -> None:
    written = objects(
        {
            STEADY: dict.fromkeys(range(1, 12), 4) | {12: 1},
            # Of the last days some are quiet, and one was loud; the tenth of January is too old.
            FEW: {1: 30, 4: 9, 5: 1, 6: 6, 7: 7, 8: 7, 9: 8, 10: 6, 11: 3},
            SILENT: {9: 2, 10: 2},
            YOUNG: {11: 5, 12: 5},
            # Three objects tell nothing of what is usual.
            RARE: {8: 1, 9: 1, 10: 1},
        }
    )
    write_objects(tmp_path / "logs", written)
    (tmp_path / "logs/unnamed.log").write_bytes(V2 + ROW)
    lake, metrics = tmp_path / "lake", tmp_path / "m.prom"
    run("convert", tmp_path / "logs", lake, "--metrics-file", metrics)
    found = json.loads(run("status", lake, "--json").stdout)["flow_logs"]
    assert {log["day"] for log in found} == {"2026-01-11"}
    assert {log["account_id"] for log in found} == {"123456789012"}
    assert [
        (log["flow_log_id"], log["objects"], log["usual"], log["has_few"]) for log in found
    ] == [
        (STEADY, 4, 4, False),
        (FEW, 3, 7, True),
        (SILENT, 0, 2, True),
    ]
    shown = run("status", lake).stdout
    assert f"few objects  {FEW}: 3 on 2026-01-11, 7 are usual" in shown
    assert f"few objects  {SILENT}: 0 on 2026-01-11, 2 are usual" in shown
    assert f"{STEADY}: " not in shown
    families = {family.name: family for family in parse_openmetrics(metrics.read_text())}
    for name, expected in {"objects": (4, 3, 0), "objects_usual": (4, 7, 2)}.items():
        samples = families[f"flowconv_lake_flow_log_{name}"].samples
        assert [sample.labels["flow_log_id"] for sample in samples] == [STEADY, FEW, SILENT]
        assert tuple(sample.value for sample in samples) == expected
        assert samples[0].labels["lake"] == str(lake)


def test_no_day_is_whole_yet(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", objects({STEADY: {12: 3}}))
    run("convert", tmp_path / "logs", tmp_path / "lake", "--metrics-file", tmp_path / "m.prom")
    assert json.loads(run("status", tmp_path / "lake", "--json").stdout)["flow_logs"] == []
    assert "lake_flow_log" not in (tmp_path / "m.prom").read_text()


def test_the_table_says_what_aws_lost(tmp_path: Path) -> None:
    """In the runs that it lists."""
    lines = b"start log-status\n1768348800 SKIPDATA\n1768348800 OK\n"
    write_objects(tmp_path / "logs", {aws_key(): lines})
    run("convert", tmp_path / "logs", tmp_path / "lake")
    assert "AWS lost records: 1 rows of the last runs are SKIPDATA" in " ".join(
        run("status", tmp_path / "lake").stdout.split()
    )
