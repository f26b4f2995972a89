"""Lines that were rejected, as people find them again."""

import json
from pathlib import Path

import pytest

from flowconv import ConvertOptions, convert
from flowconv.errors import LakeError, UsageError
from flowconv.lake.quarantine import read_quarantine
from support.commands import invoke
from support.lakes import ROW, V2, aws_key, write_objects
from support.lakes import read_quarantine as read_files
from support.s3_servers import S3Server

CLEAN, ONE, TWO = aws_key(), aws_key(hash_="00000001"), aws_key("000000000012", "us-east-1")
OBJECTS = {
    CLEAN: V2 + ROW,
    ONE: V2 + b"2 too few\n" + ROW + b"2 \x1b[31m\xff\xfe\n",
    TWO: V2 + ROW + ROW.replace(b"443", b"http") + ROW.replace(b" 6 ", b" 99999999999 "),
}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_objects(tmp_path / "logs", OBJECTS)
    return tmp_path / "logs"


@pytest.fixture
def lake(logs: Path, tmp_path: Path) -> Path:
    convert(str(logs), str(tmp_path / "lake"))
    return tmp_path / "lake"


def test_objects_reasons_and_lines(logs: Path, lake: Path) -> None:
    report = read_quarantine(str(lake))
    first, second = str(logs / ONE.path), str(logs / TWO.path)
    assert {o.uri: dict(o.reasons) for o in report.objects} == {
        first: {"too-few-values": 1, "not-utf8": 1},
        second: {"not-a-number": 1, "out-of-range": 1},
    }
    assert (report.lines, report.reasons.total()) == (4, 4)
    shown = [
        (s.uri, s.line, s.reason, s.field, s.text.encode("utf-8", "surrogateescape"))
        for s in report.shown
    ]
    assert shown == read_files(lake)
    assert (first, 4, "not-utf8", None, b"2 \x1b[31m\xff\xfe") in shown


def test_lines_and_object_choose(logs: Path, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read_quarantine(str(lake), lines=3).shown) == 3
    none = read_quarantine(str(lake), lines=0)
    assert (none.shown, none.lines) == ((), 4)
    monkeypatch.chdir(logs)
    chosen = read_quarantine(str(lake), object=TWO.path)
    assert [o.uri for o in chosen.objects] == [str(logs / TWO.path)]
    assert {line.uri for line in chosen.shown} == {str(logs / TWO.path)}
    assert read_quarantine(str(lake), object=str(logs / CLEAN.path)).lines == 0


def test_object_that_was_not_converted(lake: Path) -> None:
    with pytest.raises(UsageError, match="was not converted to"):
        read_quarantine(str(lake), object="elsewhere.log")


def test_table(logs: Path, lake: Path) -> None:
    shown = invoke(["quarantine", str(lake), "--lines", "2"])
    assert shown.exit_code == 0
    assert "4 lines of 2 objects" in shown.stdout
    assert f"{logs / ONE.path}: 1 not-utf8, 1 too-few-values\n" in shown.stdout
    assert "… and 2 more lines; --lines N" in shown.stdout


def test_lines_cannot_command_a_terminal(logs: Path, lake: Path) -> None:
    shown = invoke(["quarantine", str(lake), "--object", str(logs / ONE.path)])
    assert "\x1b" not in shown.stdout
    assert f"{logs / ONE.path}: line 4: not-utf8\n  2 \\x1b[31m\\xff\\xfe\n" in shown.stdout


def test_markup_is_shown_as_it_is_and_long_lines_are_cut(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {ONE: V2 + ROW + b"[bold]x[/nothing]\n" + b"y" * 5000 + b"\n"})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    shown = invoke(["quarantine", str(tmp_path / "lake")]).stdout
    assert "\n  [bold]x[/nothing]\n" in shown
    assert f"  {'y' * 1000}…\n" in shown
    found = json.loads(invoke(["quarantine", str(tmp_path / "lake"), "--json"]).stdout)
    assert found["shown"][1]["text"] == "y" * 5000


def test_json(logs: Path, lake: Path) -> None:
    shown = invoke(["quarantine", str(lake), "--json"])
    found = json.loads(shown.stdout)
    assert shown.exit_code == 0
    assert found["lines"] == len(found["shown"]) == 4
    assert {o["uri"] for o in found["objects"]} == {str(logs / k.path) for k in (ONE, TWO)}
    texts = {line["text"].encode("utf-8", "surrogateescape") for line in found["shown"]}
    assert b"2 \x1b[31m\xff\xfe" in texts


def test_nothing_rejected(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {CLEAN: OBJECTS[CLEAN]})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    report = read_quarantine(str(tmp_path / "lake"))
    assert (report.lines, report.objects, report.shown, dict(report.reasons)) == (0, (), (), {})
    assert invoke(["quarantine", str(tmp_path / "lake")]).exit_code == 0


def test_many_lines_are_read_a_piece_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowconv.lake.quarantine._PIECE_BYTES", 100)
    write_objects(
        tmp_path / "logs", {ONE: V2 + ROW + b"".join(b"bad %d\n" % n for n in range(500))}
    )
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    report = read_quarantine(str(tmp_path / "lake"), lines=1000)
    assert [line.text for line in report.shown] == [f"bad {n}" for n in range(500)]


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_damaged_file(lake: Path, damage: str) -> None:
    file = next((lake / "_flowconv/quarantine").iterdir())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    else:
        file.write_bytes(b"[]\n" * (file.stat().st_size // 3 + 1))
    with pytest.raises(LakeError, match="flowconv verify"):
        read_quarantine(str(lake))


def test_a_record_that_is_nested_deep(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {ONE: V2 + ROW + b"x" * 5000 + b"\n"})
    convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    file = next((tmp_path / "lake/_flowconv/quarantine").iterdir())
    file.write_bytes(b"[" * file.stat().st_size)
    with pytest.raises(LakeError, match="record 1 is not the JSON of a rejected line"):
        read_quarantine(str(tmp_path / "lake"))


def test_in_s3(logs: Path, moto_s3: S3Server) -> None:
    bucket, user = moto_s3.make_bucket(), moto_s3.users[0]
    options = {"key": user.access_key, "secret": user.secret_key}
    options |= {"endpoint_url": moto_s3.endpoint_url, "region": moto_s3.region}
    convert(str(logs), f"s3://{bucket}/lake", ConvertOptions(dest_options=options))
    report = read_quarantine(f"s3://{bucket}/lake", options=options)
    assert (report.lines, len(report.objects)) == (4, 2)
