"""Logs of flow logs that log the same interface, and a lake of them."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import flowconv
from flowconv import CompactOptions, ConvertOptions
from flowconv.lake.ledger import Ledger
from flowconv.storage.opening import open_storage
from support.lakes import aws_key, data_files

START = 1768348800  # 2026-01-14
RICH, POOR, LONE, LATE = "fl-0a", "fl-0b", "fl-0c", "fl-00"
KEYS = "interface-id srcaddr dstaddr srcport dstport protocol start end"
HEADERS = {
    RICH: f"version {KEYS} bytes action",
    POOR: f"{KEYS} bytes",
    LONE: "interface-id start end bytes",
    LATE: f"version {KEYS} bytes action log-status",
}


def body(flow_log: str, hour: int, ports: range, *, size: int = 840) -> bytes:
    """A record of each port; every twentieth is of the day before."""
    lines = [HEADERS[flow_log]]
    for port in ports:
        start = START + 3600 * hour + port - (86400 if port % 20 == 0 else 0)
        record = dict(
            zip(
                KEYS.split(), ["eni-1", "10.0.0.1", "10.0.0.2", str(port), "443", "6"], strict=False
            )
        )
        record |= {"version": "5", "start": str(start), "end": str(start + 60)}
        record |= {"bytes": str(size), "action": "ACCEPT", "log-status": "OK"}
        lines.append(" ".join(record[name] for name in HEADERS[flow_log].split()))
    return gzip.compress("\n".join([*lines, ""]).encode())


class Place:
    """Logs, and their lake."""

    def __init__(self, folder: Path) -> None:
        self.logs, self.lake = folder / "logs", folder / "lake"

    def path(self, flow_log: str, hour: int) -> Path:
        return self.logs / aws_key(time=f"2026-01-14T{hour:02}:05", flow_log_id=flow_log).path

    def write(self, flow_log: str, hour: int, ports: range, **values: int) -> None:
        path = self.path(flow_log, hour)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body(flow_log, hour, ports, **values))

    def convert(self, **options: Any) -> flowconv.ConvertReport:
        how = ConvertOptions(workers=1, **options)
        return flowconv.convert(str(self.logs), str(self.lake), how)

    def compact(self, **options: Any) -> flowconv.CompactReport:
        how = {"dedupe": True, "workers": 1, **options}
        return flowconv.compact(str(self.lake), CompactOptions(**how))

    def ledger(self) -> Ledger:
        return Ledger.read(open_storage(str(self.lake)))

    def records(self) -> Counter[Any]:
        """Flow log, port and size of all records."""
        rows = flowconv.scan(self.lake).select("flow_log_id", "srcport", "bytes").collect()
        return Counter(rows.rows())

    def assert_well(self) -> None:
        """The files are those of the ledger, and no row is missed."""
        there = {path.relative_to(self.lake).as_posix() for path in data_files(self.lake)}
        assert there == {p for p, (file, _) in self.ledger().files().items() if file.is_data}
        assert not flowconv.verify(str(self.lake), str(self.logs)).problems
