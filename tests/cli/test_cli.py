"""The command line: what it prints where, and its exit codes."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import flowconv
from flowconv.cli import progress
from flowconv.conversion import pending
from support.commands import DONE, FAILED, INCOMPLETE, INTERRUPTED, USAGE, invoke, run
from support.lakes import ROW, V2, Key, aws_key, data_files, write_objects
from support.warm_start import WarmStart

# Sizes after compression, and times.
MEASURED = [
    (r"[0-9.]+ (?:[kM]B|bytes)(?= stored| in \d)", "? kB"),
    (r"[0-9.]+ s, [0-9.,]+ MB/s", "? s, ? MB/s"),
    (r"[0-9.]+ s$", "? s"),
]


def shown(text: str, folder: Path) -> list[str]:
    """The lines of an output, without what differs from run to run."""
    for pattern, instead in MEASURED:
        text = re.sub(pattern, instead, text.replace(str(folder), "~"), flags=re.MULTILINE)
    return text.splitlines()


def keys_of(value: Any) -> Any:
    """The shape of JSON: the keys of its objects, and the types of its values."""
    if isinstance(value, dict):
        return {key: keys_of(below) for key, below in value.items()}
    return [keys_of(value[0])] if isinstance(value, list) and value else type(value).__name__


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A good object, one with a bad line and a new field, and one that ends early."""
    write_objects(
        tmp_path / "logs",
        {
            aws_key(): gzip.compress(V2 + b"\n# by hand\n" + ROW * 2),
            aws_key(flow_log_id="fl-0f"): b"version srcaddr new-field\n2 a b\nx a b\n2 a\n",
            aws_key(hash_="ffffffff"): gzip.compress(V2 + ROW)[:-9],
            Key("tgw.log"): b"version tgw-id\n6 tgw-1\n",
            Key("_SUCCESS"): b"",
        },
    )
    return tmp_path / "logs"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder of one good object."""
    write_objects(tmp_path / "good", {aws_key(): gzip.compress(V2 + ROW * 2)})
    return tmp_path / "good"


# --- convert ------------------------------------------------------------------------------------


def test_convert(good: Path, tmp_path: Path) -> None:
    result = run("convert", good, tmp_path / "lake")
    assert result.stderr == ""
    printed = shown(result.stdout, tmp_path)
    printed = [line for line in printed if not line.startswith("objects")]
    assert printed == [
        "source   ~/good",
        "lake     ~/lake",
        "rows     2 in vpc/",
        "lines    3 = 1 header + 0 blank + 0 comment + 2 rows + 0 rejected",
        "read     ? kB stored, 295 bytes of text",
        "written  ? kB in 1 files, 1 partitions",
        "time     ? s, ? MB/s",
    ]
    assert re.search(r"^objects +1 converted,.* 0 unreadable *$", result.stdout, re.MULTILINE)
    assert len(data_files(tmp_path / "lake")) == 1


def test_convert_with_rejects(logs: Path, tmp_path: Path) -> None:
    result = run("convert", logs, tmp_path / "lake", code=INCOMPLETE)
    printed = shown(result.stdout, tmp_path)
    bad = aws_key(hash_="ffffffff").path
    for line in (
        "left out    1 names that no log has: folder markers, or with _ or . first",
        "rows        1 in tgw/, 3 in vpc/",
        "lines       11 = 3 header + 1 blank + 1 comment + 4 rows + 2 rejected",
        "rejected    1 not-a-number",
        "rejected    1 too-few-values",
        "new fields  new-field (not documented by AWS; in unknown_fields)",
    ):
        assert line in printed
    assert printed[-2:] == [
        (
            "Rejected lines are in ~/lake/_flowconv/quarantine/, each with its object, number and "
            "reason."
        ),
        (
            f"unreadable: ~/logs/{bad}: the gzip data ends early. Nothing of this object was "
            "converted; copy it again."
        ),
    ]


def test_convert_json(logs: Path, tmp_path: Path) -> None:
    result = run("convert", logs, tmp_path / "lake", "--json", code=INCOMPLETE)
    report = json.loads(result.stdout)
    shape = keys_of(report)
    kinds = (
        "header",
        "blank",
        "comment",
        "rows",
        "rejected",
        "split",
        "milliseconds",
        "far_times",
        "left_out",
        "dropped",
    )
    counts = dict.fromkeys(("lines", *kinds), "int")
    expected = {
        "source": "str",
        "lake": "str",
        "objects": "int",
        "lines": counts,
        "unreadable": {str(logs / aws_key(hash_="ffffffff").path): "str"},
        "left_out": {"not_logs": "int"},
        "rejected": {"not-a-number": "int", "too-few-values": "int"},
        "unknown_fields": ["str"],
        "tables": {"vpc": "int", "tgw": "int"},
        "directories": ["str"],
        "seconds": "float",
        "text_megabytes_per_second": "float",
        "complete": "bool",
    }
    numbers = ("files", "partitions", "source_bytes", "text_bytes", "written_bytes")
    expected |= dict.fromkeys(numbers, "int")
    assert {key: shape.get(key) for key in expected} == expected
    assert report["objects"] == 3
    assert report["complete"] is False


def test_dry_run_writes_nothing(logs: Path, tmp_path: Path) -> None:
    result = run("convert", logs, tmp_path / "lake", "--dry-run")
    lines = shown(result.stdout, tmp_path)
    assert [line.split() for line in lines[:3]] == [
        ["account", "region", "day", "objects", "size", "tasks"],
        ["-", "-", "-", "1", "23", "bytes", "1"],
        ["123456789012", "eu-west-1", "2026-01-14", "3", *lines[2].split()[4:6], "1"],
    ]
    assert re.fullmatch(
        r"4 objects, \d+ bytes, would be read from ~/logs and written to ~/lake; nothing was\.",
        lines[3],
    )
    assert lines[4:] == ["left out: 1 names that no log has: folder markers, or with _ or . first"]
    planned = json.loads(run("convert", logs, tmp_path / "lake", "--dry-run", "--json").stdout)
    assert planned["objects"] == 4
    group = {"account_id": "str", "region": "str", "day": "str"}
    group |= dict.fromkeys(("objects", "size_bytes", "tasks"), "int")
    assert keys_of(planned["groups"][1]) == group
    assert not (tmp_path / "lake").exists()


def test_convert_with_every_option(good: Path, tmp_path: Path) -> None:
    options = "--format default --account 000000000001 --region mars-1"
    options += " --since 2026-01-14 --until 2026-01-14 --partition-by date,action"
    options += " --time-type epoch --compression snappy"
    options += " --target-file-size 2MB --workers 1 --memory-limit 1GB --on-bad-line fail"
    run("convert", good, tmp_path / "lake", *options.split())
    (path,) = data_files(tmp_path / "lake")
    assert path.parent == tmp_path / "lake/vpc/date=2026-01-14/aws_action=ACCEPT"


def test_headerless_logs(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): ROW})
    result = run("convert", tmp_path / "logs", tmp_path / "lake", code=INCOMPLETE)
    assert "--format" in result.stdout
    options = ("--format", "default", "--account", "123456789012", "--region", "eu-west-1")
    run("convert", tmp_path / "logs", tmp_path / "other", *options)
    (path,) = data_files(tmp_path / "other")
    assert "aws_account_id=123456789012/aws_region=eu-west-1/date=2026-01-14" in path.as_posix()


def test_unreadable_objects_are_not_listed_without_end(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key(f"{n:02d}.log"): ROW for n in range(15)})
    result = run("convert", tmp_path / "logs", tmp_path / "lake", code=INCOMPLETE)
    assert result.stdout.count("unreadable: ") == 10
    assert "… and 5 more; --json lists all objects." in result.stdout


def test_progress_in_a_log(good: Path, tmp_path: Path) -> None:
    with mock.patch.object(progress, "_LINE_EVERY_S", 0.0):
        result = run("convert", good, tmp_path / "lake")
    lines = result.stderr.splitlines()
    assert lines
    pattern = r"\d+%  [01] of 1 objects  [02] rows  \d* ?(MB/s)?  \d+ s left"
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert lines[-1].startswith("100%  1 of 1 objects  2 rows")


# --- what cannot be done ------------------------------------------------------------------------

ERRORS: dict[str, tuple[int, list[str], str]] = {
    "no source": (
        FAILED,
        ["convert", "nowhere", "lake"],
        "~/nowhere: there is no such folder or file. Check the name.",
    ),
    "source of no kind": (
        USAGE,
        ["convert", "gs://bucket", "lake"],
        "gs://bucket: gs:// is not supported. Write a local folder or s3://bucket/prefix.",
    ),
    "S3 without a bucket": (
        USAGE,
        ["convert", "good", "s3://"],
        "s3://: this URL has no valid bucket name. Write s3://bucket/prefix.",
    ),
    "day": (
        USAGE,
        ["convert", "good", "lake", "--since", "14.1.2026"],
        (
            "--since: '14.1.2026' is not a day; write 2026-01-14, or 2d for two days ago, today or "
            "yesterday."
        ),
    ),
    "days": (
        USAGE,
        ["convert", "good", "lake", "--since", "2026-01-02", "--until", "2026-01-01"],
        "--since 2026-01-02 lies after --until 2026-01-01; exchange them.",
    ),
    "size": (
        USAGE,
        ["convert", "good", "lake", "--target-file-size", "big"],
        "--target-file-size: 'big' is not a size; write 256MB, 1.5GB or a number of bytes.",
    ),
    "file size": (
        USAGE,
        ["convert", "good", "lake", "--target-file-size", "10KB"],
        "--target-file-size: 10000 bytes are too few; the least is 1MB.",
    ),
    "workers": (
        USAGE,
        ["convert", "good", "lake", "--workers", "-1"],
        "--workers: -1 is not in 1 to 1024.",
    ),
    "compression": (
        USAGE,
        ["convert", "good", "lake", "--compression", "zip"],
        "--compression: 'zip' is not one of zstd, snappy, gzip, lz4, none. Did you mean gzip?",
    ),
    "time type": (
        USAGE,
        ["convert", "good", "lake", "--time-type", "ms"],
        "--time-type: 'ms' is not one of timestamp, epoch.",
    ),
    "bad lines": (
        USAGE,
        ["convert", "good", "lake", "--on-bad-line", "skip"],
        "--on-bad-line: 'skip' is not one of quarantine, fail.",
    ),
    "account": (
        USAGE,
        ["convert", "good", "lake", "--account", "../x"],
        "--account: '../x' is not an account; write its 12 digits, zeros included.",
    ),
    "no partition": (
        USAGE,
        ["convert", "good", "lake", "--partition-by", ","],
        "--partition-by: name at least one partition, such as date.",
    ),
    "a partition twice": (
        USAGE,
        ["convert", "good", "lake", "--partition-by", "date,date"],
        "--partition-by: it names one of them twice.",
    ),
    "format": (
        USAGE,
        ["convert", "good", "lake", "--format", "version ${version}"],
        "--format: the header names column 'version' twice.",
    ),
    "format of no names": (
        USAGE,
        ["convert", "good", "lake", "--format", "a=b"],
        (
            "--format: 'a=b' is not a field name. Write AWS's notation, '${version} ${account-id} "
            "…', or default."
        ),
    ),
    "storage option": (
        USAGE,
        ["convert", "good", "lake", "--source-option", "anon"],
        "a storage option is written KEY=VALUE, such as anon=true.",
    ),
    "storage option of a folder": (
        USAGE,
        ["convert", "good", "lake", "--dest-option", "key=hush"],
        "lake: key: a local folder takes no storage options. Leave them out, or use an s3:// URL.",
    ),
    "unknown storage option": (
        USAGE,
        ["convert", "good", "lake", "--dest-option", "sceret=hush"],
        (
            "'sceret' is not a storage option. Did you mean secret? There are key, secret, token, "
            "profile, endpoint_url, region, anon, requester_pays."
        ),
    ),
    "inspect nothing": (
        FAILED,
        ["inspect", "nowhere"],
        "~/nowhere: there is no such folder or file. Check the name.",
    ),
    "inspect a folder": (
        USAGE,
        ["inspect", "good"],
        "~/good: this is not a single object; inspect reads one at a time.",
    ),
    "versions": (
        USAGE,
        ["generate", "sample", "--versions", "2,x"],
        "--versions: '2,x' is not a list such as 2,5.",
    ),
    "unknown version": (
        USAGE,
        ["generate", "sample", "--versions", "9"],
        "--versions: 9 is unknown; choose from 2, 3, 4 and 5.",
    ),
    "generate into a file": (
        FAILED,
        ["generate", "good/file"],
        "",
    ),
}
CASES = [pytest.param(*case, id=id_) for id_, case in ERRORS.items()]


@pytest.mark.parametrize(("code", "arguments", "message"), CASES)
def test_errors(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    arguments: list[str],
    message: str,
) -> None:
    (good / "file").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = run(*arguments, code=code)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    if message:
        assert shown(result.stderr, tmp_path) == [f"error: {message}"]
    assert "hush" not in result.stderr
    if code == USAGE:
        assert sorted(tmp_path.rglob("*")) == before


def test_errors_in_json(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): V2 + ROW.replace(b" 443 ", b" 4x3 ")})
    command = ("convert", tmp_path / "logs", tmp_path / "lake", "--on-bad-line", "fail")
    result = run(*command, code=FAILED)
    message = (
        "field srcport: its value is not a whole number. To set such lines aside and go on, use "
        "--on-bad-line quarantine."
    )
    assert shown(result.stderr, tmp_path) == [f"error: ~/logs/a.log: line 2: {message}"]
    result = run(*command, "--json", code=FAILED)
    place = {"uri": str(tmp_path / "logs/a.log"), "line": 2, "field": "srcport"}
    assert json.loads(result.stdout) == {"error": message} | place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert"], "SOURCE is missing. Write flowconv convert SOURCE DEST."),
        (["convert", "good"], "DEST is missing. Write flowconv convert SOURCE DEST."),
        (["convert", "good", "lake", "more"], "there are more arguments than SOURCE and DEST."),
        (["convert", "good", "lake", "--worker", "2"], "Did you mean --workers?"),
        (
            ["convert", "good", "lake", "--frmat", "x"],
            "there is no option --frmat. Did you mean --f",
        ),
        (["convert", "good", "lake", "--source_option=a=b"], "Did you mean --source-option?"),
        (
            ["convert", "good", "lake", "--workers", "two"],
            "--workers: 'two' is not a whole number.",
        ),
        (
            ["convert", "good", "lake", "--workers", "1e9"],
            "--workers: '1e9' is not a whole number.",
        ),
        (["convert", "good", "lake", "--json=yes"], "'--json' does not take a value"),
        (["convert", "good", "lake", "--format"], "'--format' requires an argument"),
        (["inspect"], "OBJECTS is missing"),
        (["inspect", "a.log", "--rows", "-1"], "--rows: '-1' is too small; the least is 0."),
        (["generate"], "DIRECTORY is missing"),
        (["schema", "x"], "there are more arguments than options."),
        (["frobnicate"], "there is no command frobnicate. There are convert, inspect, "),
        (["Convert"], "there is no command Convert. Did you mean convert?"),
        (["stats"], "there is no command stats. Did you mean status?"),
        (["\x1b[31mred"], "there is no such command. There are convert, inspect, "),
    ],
    ids=ascii,
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = run(*arguments, code=USAGE)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert result.stderr.rstrip("\n").isprintable()


def test_query_in_json() -> None:
    told = json.loads(run("query", "lake", "--json", code=USAGE).stdout)["error"]
    assert told.startswith("there is no option --json. Did you mean --output json?")


def test_interrupted(good: Path, tmp_path: Path) -> None:
    with mock.patch.object(pending, "plan_tasks", side_effect=KeyboardInterrupt):
        result = run("convert", good, tmp_path / "lake", code=INTERRUPTED)
    assert "stopped  before its end; the next run goes on from here" in result.stdout
    assert result.stderr.startswith("error: stopped.")
    with mock.patch.object(pending, "plan_tasks", side_effect=KeyboardInterrupt):
        result = run("convert", good, tmp_path / "lake", "--json", code=INTERRUPTED)
    report = json.loads(result.stdout)
    assert (report["cancelled"], report["complete"], report["objects"]) == (True, False, 0)


@pytest.mark.parametrize("failure", [KeyError("10.0.0.1"), RecursionError(), AssertionError()])
def test_a_bug_is_one_sentence(good: Path, tmp_path: Path, failure: Exception) -> None:
    with mock.patch.object(pending, "plan_tasks", side_effect=failure):
        result = run("convert", good, tmp_path / "lake", "--json", code=FAILED)
    sentence = f"this is a bug of flowconv: {type(failure).__name__} in pending.py, line "
    assert result.stderr.startswith(f"error: {sentence}")
    assert result.stderr.count("\n") == 1
    assert "10.0.0.1" not in result.output
    assert json.loads(result.stdout)["error"].startswith(sentence)


def test_debugging_shows_where_a_bug_is(good: Path, tmp_path: Path) -> None:
    with mock.patch.object(pending, "plan_tasks", side_effect=KeyError("secret=hush")):
        result = invoke(
            env={"FLOWCONV_DEBUG": "1"}, arguments=["convert", str(good), str(tmp_path / "lake")]
        )
    assert "Traceback" in result.stderr
    assert "hush" not in result.stderr


def test_markup_in_names_is_shown_as_it_is(tmp_path: Path) -> None:
    write_objects(tmp_path / "[red]", {Key("[bold].log"): b"version srcaddr\n2 [/red]\nx y\n"})
    path = tmp_path / "[red]/[bold].log"
    result = run("inspect", path, code=INCOMPLETE)
    assert str(path) in result.stdout
    assert "[/red]" in result.stdout
    result = run("convert", tmp_path / "[red]", tmp_path / "[lake]", code=INCOMPLETE)
    assert f"Rejected lines are in {tmp_path}/[lake]/_flowconv/quarantine/" in result.stdout
    result = run("inspect", tmp_path / "[nowhere]", code=FAILED)
    assert f"error: {tmp_path}/[nowhere]: " in result.stderr


# --- inspect, schema, generate, version -----------------------------------------------------------


def test_inspect(tmp_path: Path) -> None:
    body = b"version srcaddr foo start\n2 a b 1768348800\nx a b -\n2 - c -\n"
    write_objects(tmp_path, {Key("a.log"): body})
    result = run("inspect", tmp_path / "a.log", code=INCOMPLETE)
    assert result.stderr == ""
    lines = shown(result.stdout, tmp_path)
    assert lines == [
        "object      ~/a.log",
        "size        ? kB stored",
        "shape       header: its first line with values names the fields",
        "lines       4 = 1 header + 0 blank + 0 comment + 2 rows + 1 rejected",
        "fields      4 of table vpc, versions 2: version srcaddr foo start",
        "new fields  foo (not documented by AWS; in unknown_fields)",
        "",
        "column          row 1                      row 2",
        "version         2                          2",
        "srcaddr         a                          -",
        "start           2026-01-14 00:00:00+00:00  -",
        'unknown_fields  {"foo":"b"}                {"foo":"c"}',
        "line 3: not-a-number (field version)",
    ]


def test_inspect_json(tmp_path: Path) -> None:
    body = b"version start foo\n2 1768348800 b\nx - b\n"
    write_objects(tmp_path, {Key("a.log"): body, Key("b.log"): b"nonsense\n"})
    result = run("inspect", tmp_path / "a.log", tmp_path / "b.log", "--json", code=INCOMPLETE)
    first, other = json.loads(result.stdout)
    assert first["uri"] == str(tmp_path / "a.log")
    assert first["size_bytes"] == len(body)
    assert first["unreadable"] is None
    counts = {"header": 1, "blank": 0, "comment": 0, "rows": 1, "rejected": 1}
    counts |= {"split": 0, "milliseconds": 0, "far_times": 0, "left_out": 0, "dropped": 0}
    assert (first["shape"], first["sign"]) == (
        *("header", "its first line with values names the fields"),
    )
    assert first["lines"] == {"lines": 3} | counts
    names = ["version", "start", "foo"]
    others = {"unknown_fields": ["foo"], "left_out_columns": []}
    assert first["formats"] == [{"table": "vpc", "fields": names} | others]
    (record,) = first["records"]
    assert (record["version"], record["start"], record["unknown_fields"]) == (
        *(2, "2026-01-14T00:00:00+00:00", '{"foo":"b"}'),
    )
    assert first["rejected"] == [{"line": 3, "reason": "not-a-number", "field": "version"}]
    assert other["unreadable"].startswith("line 1: this line is not a header")
    assert (other["shape"], other["records"]) == ("headerless", [])


def test_inspect_a_good_object(good: Path) -> None:
    (path,) = good.rglob("*.log.gz")
    assert "row 2" in run("inspect", path).stdout
    assert "row 2" not in run("inspect", path, "--rows", "1").stdout
    assert "row 1" not in run("inspect", path, "-n", "0").stdout


def test_schema() -> None:
    lines = run("schema").stdout.splitlines()
    assert lines[0].split() == ["table", "field", "type", "version", "meaning"]
    assert lines[-1] == "A field's column has its name, with _ in place of -."
    described = json.loads(run("schema", "--json").stdout)
    assert len(lines) - 2 == len(described)
    assert all(row["column"] == row["field"].replace("-", "_") for row in described)
    names = {"table": "vpc", "field": "account-id", "column": "account_id"}
    assert described[1].items() >= (names | {"type": "string", "version": 2}).items()
    types = {(row["table"], row["column"]): row["type"] for row in described}
    assert types["vpc", "start"] == "timestamp[us, tz=UTC]"
    assert types["tgw", "packets_lost_blackhole"] == "int64"
    assert all(row["meaning"] for row in described)


def test_generate(tmp_path: Path) -> None:
    options = "--versions 2,5 --accounts 1 --regions 1 --days 1 --objects 2 --records 3 --hive"
    result = run("generate", tmp_path / "logs", *options.split())
    assert shown(result.stdout, tmp_path)[0].startswith("2 objects with 6 records in ~/logs: ")
    assert len(list(tmp_path.rglob("*.log.gz"))) == 2
    result = run("generate", tmp_path / "more", *options.split(), "--json")
    report = json.loads(result.stdout)
    assert (report["objects"], report["records"]) == (2, 6)
    assert report["format"] is None
    options = "--shape firehose --bad-lines 0.5 --accounts 1 --regions 1 --days 1 --records 2"
    shape = options.split()
    lines = shown(run("generate", tmp_path / "v2", *shape, "--versions", "2").stdout, tmp_path)
    assert lines[1:] == [
        "4 of the records are bad lines",
        "to convert them: --format default",
    ]
    result = run("generate", tmp_path / "v5", *shape)
    assert "to convert them: --format '${version} ${account-id} " in result.stdout


def test_version_and_help() -> None:
    assert run("--version").stdout == f"flowconv {flowconv.__version__}\n"
    assert "Usage: " in run("--help").stdout
    assert "--on-bad-line" in run("convert", "-h").stdout


# --- as a process of its own ----------------------------------------------------------------------


def process(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    package = Path(flowconv.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "flowconv", *map(str, arguments)],
        check=False,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(package)} | environment,
    )


def test_python_dash_m(good: Path, tmp_path: Path) -> None:
    done = process("convert", good, tmp_path / "lake", "--json")
    assert (done.returncode, done.stderr) == (DONE, b"")
    assert json.loads(done.stdout)["lines"]["rows"] == 2


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "ascii", "cp1252"],
)
def test_any_encoding_of_the_terminal(tmp_path: Path, encoding: str) -> None:
    write_objects(tmp_path, {Key("é.log"): "version srcaddr\n2 日本é\n".encode()})
    checks: list[tuple[int, Callable[[], Any]]] = [
        (DONE, lambda: process("inspect", tmp_path / "é.log", PYTHONIOENCODING=encoding)),
        (DONE, lambda: process("convert", "--help", PYTHONIOENCODING=encoding)),
        (FAILED, lambda: process("inspect", tmp_path / "日", PYTHONIOENCODING=encoding)),
    ]
    for code, check in checks:
        done = check()
        assert b"Traceback" not in done.stderr
        assert done.returncode == code


COMMANDS = {
    "convert": ["convert", "good", "lake"],
    "convert, stopped at a bad line": ["convert", "bad", "lake", "--on-bad-line", "fail"],
    "dry run": ["convert", "good", "lake", "--dry-run"],
    "inspect": ["inspect", "good/a.log"],
    "schema": ["schema", "--json"],
    "status": ["status", "old", "--json"],
    "quarantine": ["quarantine", "old"],
    "wrong usage": ["convert", "--frob"],
}


def test_streams_that_are_closed_or_full(tmp_path: Path, warm: WarmStart) -> None:
    """Nothing but the exit code and one sentence tells of it, and what was done stays."""
    write_objects(tmp_path / "good", {Key("a.log"): V2 + ROW})
    write_objects(tmp_path / "bad", {Key("a.log"): V2 + ROW.replace(b" 443 ", b" 4x3 ")})
    run("convert", tmp_path / "bad", tmp_path / "old", code=INCOMPLETE)

    def shell(arguments: list[str], streams: str, *, cold: bool = False) -> tuple[int, str]:
        program = [sys.executable, "-m", "flowconv"] if cold else [str(warm.bin / "flowconv")]
        command = shlex.join([*program, *arguments])
        shutil.rmtree(tmp_path / "lake", ignore_errors=True)
        done = subprocess.run(
            ["bash", "-c", f"{command} {streams}; exit ${{PIPESTATUS[0]}}"],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == ""
        return done.returncode, done.stderr

    for arguments in (*COMMANDS.values(), ["convert", "good", "lake", "--json"], ["--version"]):
        code, errors = shell(arguments, ">/dev/null")
        assert "Traceback" not in errors
        full, said = shell(arguments, ">/dev/full")
        if code in (DONE, INCOMPLETE):
            assert full == FAILED
            assert said.removeprefix(errors) == (
                "error: what is printed on stdout could not be written (No space left on device).\n"
            )
        else:
            assert (full, said) == (code, errors)
        if arguments[:2] == ["convert", "good"] and "--dry-run" not in arguments:
            assert len(data_files(tmp_path / "lake")) == 1
            # Whoever read it has gone.
            assert shell(arguments, "| true") == (code, errors)
            assert shell(arguments, ">/dev/null 2>/dev/full") == (code, "")
        assert shell(arguments, ">&- 2>&- <&-") == (code, "")

    cold = COMMANDS["convert"]
    for streams in (">/dev/full", "| true", ">/dev/null 2>/dev/full", ">&- 2>&- <&-"):
        assert shell(cold, streams, cold=True) == shell(cold, streams), streams


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """As in `flowconv schema | head -n 1`."""
    package = Path(flowconv.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-m", "flowconv", "schema", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(package)},
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
