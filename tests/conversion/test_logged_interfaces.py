"""Flow logs that log the same interfaces at once, as runs notice them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest

import flowconv
from flowconv import convert
from flowconv.conversion.logged_interfaces import Logged, LoggedInterfaces
from flowconv.lake.overlaps import MAX_LISTED, Overlap
from support.commands import run
from support.lakes import Key, aws_key, write_objects

A, B, C = "fl-0a", "fl-0b", "fl-0c"
LONG, SHORT = "interface-id start bytes", "start interface-id"
TGW = "resource-type tgw-id tgw-attachment-id start"


def at(hour: int, minute: int = 5) -> datetime:
    return datetime(2026, 1, 14, hour, minute, tzinfo=UTC)


def body(header: str, *interfaces: str) -> bytes:
    values = {"start": "1768348800", "bytes": "9", "resource-type": "TransitGateway"}
    names = header.split()
    lines = [
        " ".join(
            interface if name.endswith("t-id") or name == "interface-id" else values.get(name, "x")
            for name in names
        )
        for interface in interfaces
    ]
    return "\n".join([header, *lines, ""]).encode()


def key(flow_log_id: str, hour: int, number: int = 0) -> Key:
    return aws_key(time=f"2026-01-14T{hour:02}:05", flow_log_id=flow_log_id, hash_=f"{number:08x}")


def overlaps(folder: Path, objects: Mapping[Key, bytes]) -> list[Overlap]:
    write_objects(folder / "logs", objects)
    report = convert(str(folder / "logs"), str(folder / "lake"))
    assert report.number_overlaps == len(report.lasting_overlaps)
    assert flowconv.status(folder / "lake").overlaps == tuple(report.overlaps)
    return report.overlaps


@pytest.mark.parametrize("other", [LONG, SHORT])
@pytest.mark.parametrize("least_bytes", [1, 1 << 20])
def test_two_flow_logs_of_an_interface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, least_bytes: int
) -> None:
    """Of one format, whose lines are in one batch, and of two; in many tasks and in one."""
    monkeypatch.setattr("flowconv.conversion.planning._LEAST_TASK_BYTES", least_bytes)
    found = overlaps(
        tmp_path,
        {
            key(A, 1): body(LONG, "eni-1", "eni-2", "-"),
            key(A, 3): body(LONG, "eni-3"),
            key(B, 2): body(other, "eni-3", "-", "eni-4"),
            key(B, 4): body(other, "eni-2", "eni-2"),
            key(C, 2): body(other, "eni-5"),
        },
    )
    assert found == [
        Overlap(flow_logs=(A, B), interfaces=2, interface="eni-2", first=at(2), last=at(3))
    ]


def test_one_after_the_other(tmp_path: Path) -> None:
    """A flow log took the place of another."""
    objects = {
        key(A, 1): body(LONG, "eni-1"),
        key(A, 2): body(LONG, "eni-1"),
        key(B, 3): body(LONG, "eni-1"),
    }
    assert overlaps(tmp_path, objects) == []


def test_transit_gateways(tmp_path: Path) -> None:
    objects = {key(A, 1): body(TGW, "tgw-attach-1"), key(B, 1): body(TGW, "tgw-attach-1")}
    (found,) = overlaps(tmp_path, objects)
    assert (found.interface, found.first, found.last) == ("tgw-attach-1", at(1), at(1))


def test_flow_logs_without_interfaces_or_names(tmp_path: Path) -> None:
    objects = {
        key(A, 1): body("start bytes", "x"),
        key(B, 1): body("start bytes", "x"),
        Key("a.log"): body(LONG, "eni-1"),
        Key("b.log"): body(LONG, "eni-1"),
    }
    assert overlaps(tmp_path, objects) == []


def test_a_pair_is_reported_once(tmp_path: Path) -> None:
    """It has one window in common in the first run, and in the second one more."""
    for hour, lines in ((1, 0), (2, 1)):
        both = {key(log, hour): body(LONG, "eni-1") for log in (A, B)}
        write_objects(tmp_path / "logs", both)
        shown = run("convert", tmp_path / "logs", tmp_path / "lake").stdout
        assert len(re.findall(r"^overlap: ", shown, re.MULTILINE)) == lines
    wanted = "fl-0a and fl-0b both log eni-1, from 2026-01-14 01:05 to 2026-01-14 02:05"
    assert wanted in shown.replace("\n", " ")
    (found,) = flowconv.status(tmp_path / "lake").overlaps
    assert (found.first, found.last, found.is_lasting) == (at(1), at(2), True)
    assert wanted in " ".join(run("status", tmp_path / "lake").stdout.split())


def test_three_flow_logs_are_three_pairs() -> None:
    logged = LoggedInterfaces()
    for log in (C, A, B):
        logged.add({log: Logged(at(1), at(2), {"eni-1"})})
    assert [overlap.flow_logs for overlap in logged.overlaps()] == [(A, B), (A, C), (B, C)]


def test_interfaces_are_bounded() -> None:
    names = {f"eni-{number}" for number in range(10)}
    with mock.patch("flowconv.conversion.logged_interfaces.MOST_INTERFACES", 12):
        logged = LoggedInterfaces()
    for _ in range(2):
        logged.add({A: Logged(at(1), at(2), set(names)), B: Logged(at(1), at(2), set(names))})
    (found,) = logged.overlaps()
    assert (found.interfaces, found.interface) == (2, "eni-0")


def test_pairs_are_bounded(tmp_path: Path) -> None:
    logs = [f"fl-{number:x}" for number in range(16, 32)]
    hours = (1, 2)
    objects = {key(log, hour): body(LONG, "eni-1") for log in logs for hour in hours}
    write_objects(tmp_path / "logs", objects)
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert (len(report.overlaps), report.number_overlaps) == (MAX_LISTED, 120)
    assert report.to_dict()["overlaps"][0]["flow_logs"] == ["fl-10", "fl-11"]
