"""What people type who do not know flowconv, and what enemies do: one sentence, and no secret."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

import flowconv
from flowconv import ConvertOptions, convert
from flowconv.cli.app import app
from flowconv.errors import FlowconvError, printable, redact
from support.commands import invoke
from support.lakes import ROW, V2, Key, aws_key, write_objects
from support.s3_servers import S3Server
from support.warm_start import WarmStart

# A good object, a lake of it, a file that is no log, and an empty folder.
CONVERT = ("convert", "logs", "lake2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("usage")
    write_objects(top / "logs", {aws_key(): gzip.compress(V2 + ROW * 2), Key("b.log"): V2 + b"x\n"})
    convert(str(top / "logs"), str(top / "lake"), ConvertOptions(workers=1))
    (top / "note.gz").write_bytes(b"note")
    (top / "empty").mkdir()
    return top


@pytest.fixture
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    yield folder
    assert sorted(folder.rglob("*")) == before


def sentence(*arguments: str, codes: tuple[int, ...] = (2,)) -> str:
    """The one sentence that a command says, and nothing else."""
    result = invoke(arguments)
    assert result.exit_code in codes, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith("\n")
    said = result.stderr.removeprefix("error: ").removesuffix("\n")
    assert said.isprintable()
    assert "bug of flowconv" not in said
    assert len(said) < 700
    return said


# Typed -> what the sentence says.
TYPED: dict[str, str] = {
    # --- places
    "convert s3:/bucket/AWSLogs lake2": "Write s3://bucket/prefix.",
    "convert s3:bucket lake2": "Write s3://bucket/prefix.",
    "convert S3://bucket lake2": "Write s3://bucket/prefix.",
    "convert s3a://bucket lake2": "Write s3://bucket/prefix.",
    "convert s3n://bucket/x lake2": "Write s3://bucket/prefix.",
    "convert s3// lake2": "there is no such folder or file",
    "convert ss3://bucket lake2": "ss3:// is not supported. Write a local folder or s3://",
    "convert s3:// lake2": "this URL has no valid bucket name",
    "convert s3:///prefix lake2": "this URL has no valid bucket name",
    "convert s3://b@d/x lake2": "an S3 URL takes no login",
    "convert arn:aws:s3:::bucket/AWSLogs lake2": "ARNs are not supported. Write s3://bucket/prefix.",
    "convert https://bucket.s3.eu-west-1.amazonaws.com/x lake2": "Write s3://bucket/prefix",
    "convert https://s3.console.aws.amazon.com/s3/buckets/b lake2": "Write s3://bucket/prefix",
    "convert logs http://lake": "web addresses are not supported",
    "convert file://logs lake2": "a file URL has three slashes. Write file",
    "convert logs gs://bucket": "gs:// is not supported",
    "convert logs hdfs://name/x": "hdfs:// is not supported",
    "convert ~/logs lake2": "the shell did not replace ~ by your home folder",
    "convert logs ~/lake": "the shell did not replace ~ by your home folder",
    "convert logs/*.gz lake2": "* and ? are not wildcards here",
    "convert logs lake*": "* and ? are not wildcards here",
    "convert nowhere lake2": "there is no such folder or file. Check the name.",
    "convert logs note.gz": "note.gz",
    "convert logs logs": "the same",
    "convert cloudwatch: lake2": "this has no valid name of a log group",
    "convert logs cloudwatch:/aws/vpc": "only convert and verify read a log group",
    "inspect logs": "this is not a single object",
    "inspect s3:/bucket/key": "Write s3://bucket/prefix.",
    "inspect cloudwatch:/aws/vpc": "only convert and verify read a log group",
    "generate note.gz": "note.gz",
    "status logs": "logs",
    "status nowhere": "nowhere",
    "status note.gz": "note.gz",
    "quarantine logs": "logs",
    "verify logs": "logs",
    "verify nowhere": "nowhere",
    "verify s3:/bucket": "Write s3://bucket/prefix.",
    # --- days, sizes and numbers
    "convert logs lake2 --since 14.01.2026": "--since: '14.01.2026' is not a day; write 2026-01-14",
    "convert logs lake2 --since 01/14/2026": "--since: '01/14/2026' is not a day",
    "convert logs lake2 --since 2026-1-4": "--since: '2026-1-4' is not a day",
    "convert logs lake2 --until 2026-02-30": "--until: '2026-02-30' is not a day",
    "convert logs lake2 --since 2days": "--since: '2days' is not a day",
    "convert logs lake2 --since -2d": "--since: '-2d' is not a day",
    "convert logs lake2 --since 3h": "--since: '3h' is not a day",
    "query lake --question top-talkers --since 2days": "--since: '2days' is not a day",
    "report lake --output x.html --until 2days": "--until: '2days' is not a day",
    "convert logs lake2 --since=": "--since: '' is not a day",
    "convert logs lake2 --since 1d --until 2d": "lies after --until",
    "gaps lake --since 1d --until 2d": "lies after --until",
    "report lake --output r.html --since 1d --until 2d": "lies after --until",
    "verify lake --since x": "--since: 'x' is not a day",
    "verify lake --since 2026-01-01": "--since: only with --source",
    "verify lake --exclude a/ --inventory s3://b/m": "--exclude and --inventory: only with",
    "convert logs lake2 --target-file-size 256": "--target-file-size: 256 bytes are too few",
    "convert logs lake2 --target-file-size 1e9": "--target-file-size: '1e9' is not a size",
    "convert logs lake2 --memory-limit 1,5GB": "--memory-limit: '1,5GB' is not a size",
    "convert logs lake2 --memory-limit 100MB": "--memory-limit: 100000000 bytes are too few",
    "convert logs lake2 --max-object-size=": "--max-object-size: '' is not a size",
    "convert logs lake2 --workers all": "--workers: 'all' is not a whole number.",
    "convert logs lake2 --workers 1.5": "--workers: '1.5' is not a whole number.",
    "convert logs lake2 -w 5000": "--workers: 5000 is not in 1 to 1024.",
    "convert logs lake2 --grace 10s": "--grace: '10s' is not a number.",
    "convert logs lake2 --grace nan": "--grace: nan is not in 0 to 86400 seconds.",
    "convert logs lake2 --grace inf": "--grace: inf is not in 0 to 86400 seconds.",
    "convert logs lake2 --grace -1": "--grace: -1.0 is not in 0 to 86400 seconds.",
    "status lake --runs many": "--runs: 'many' is not a whole number.",
    "quarantine lake --lines -5": "--lines: '-5' is too small; the least is 0.",
    # --- choices
    "convert logs lake2 --compression zst": "Did you mean zstd?",
    "convert logs lake2 --compression ZSTD": "Did you mean zstd?",
    "convert logs lake2 --compression gz": "Did you mean gzip?",
    "convert logs lake2 --time-type epochs": "Did you mean epoch?",
    "convert logs lake2 --on-bad-line quarentine": "Did you mean quarantine?",
    "convert logs lake2 --partition-by day": "Did you mean date?",
    "convert logs lake2 --partition-by account_id,date": "Did you mean aws_account_id?",
    "convert logs lake2 --partition-by region": "Did you mean aws_region?",
    "convert logs lake2 --partition-by vpc-id": "Did you mean vpc_id?",
    "convert logs lake2 --partition-by date/hour": "is not a partition",
    "convert logs lake2 --log-format yaml": "--log-format: 'yaml' is not one of text, json.",
    "convert logs lake2 --account 123-456/789": "--account: '123-456/789' is not an account;",
    "convert logs lake2 --region eu_west_1!": "--region: 'eu_west_1!' is not valid;",
    "convert logs lake2 --account=": "--account: '' is not an account;",
    "convert logs lake2 --account 12": "--account: '12' is not an account; write its 12 digits",
    "query lake --question=skipdata --account 12": "--account: '12' is not an account;",
    "convert logs lake2 --formats nowhere.toml": "--formats: nowhere.toml cannot be read",
    "convert logs lake2 --formats=": "--formats: ",
    "convert logs lake2 --formats logs": "--formats: logs cannot be read (Is a directory).",
    "convert logs lake2 --format=": "--format: empty.",
    "convert logs lake2 --format version,account-id": "--format: ",
    "convert logs lake2 --metrics-file .": "--metrics-file: this is a folder",
    "convert logs lake2 --metrics-file no/such/m.prom": "--metrics-file: there is no folder",
    # --- storage options
    "convert logs lake2 --source-option region=eu-west-1": "a local folder takes no storage opt",
    "convert s3://b1c lake2 --source-option aws_secret_access_key=x": "Did you mean secret?",
    "convert s3://b1c lake2 --source-option SECRET=x": "Did you mean secret?",
    "convert s3://b1c lake2 --source-option endpoint=http://h": "Did you mean endpoint_url?",
    "convert s3://b1c lake2 --source-option region=": "storage option region: the value is empty",
    "convert s3://b1c lake2 --source-option region": "a storage option is written KEY=VALUE",
    "convert s3://b1c lake2 --source-option endpoint_url=localhost:9000": "write it as https://host",
    "convert s3://b1c lake2 --source-option endpoint_url=http://h:x": "write it as https://host",
    "convert s3://b1c lake2 --source-option anon=yes": "write true or false",
    # --- commands, options and arguments
    "covert logs lake2": "Did you mean convert?",
    "verfy lake": "Did you mean verify?",
    "logs lake2": "there is no command logs. There are convert, inspect,",
    "convert": "SOURCE is missing. Write flowconv convert SOURCE DEST.",
    "convert logs": "DEST is missing. Write flowconv convert SOURCE DEST.",
    "convert logs/a logs/b logs/c lake2": "there are more arguments than SOURCE and DEST.",
    "convert logs lake2 --dryrun": "Did you mean --dry-run?",
    "convert logs lake2 --on-bad-lines fail": "Did you mean --on-bad-line?",
    "convert logs lake2 --partition_by date": "Did you mean --partition-by?",
    "convert logs lake2 --output lake": "there is no option --output.",
    "convert logs lake2 -v": "there is no option -v.",
    "convert logs lake2 --dry-run true": "there are more arguments than SOURCE and DEST.",
    "verify lake logs": "there are more arguments than LAKE.",
    "schema --jsno": "Did you mean --json?",
    "generate": "DIRECTORY is missing. Write flowconv generate DIRECTORY.",
    "generate new --shape csv": "--shape: 'csv' is not one of header, headerless, ",
    "generate new --shape Parquet": "Did you mean parquet?",
    "generate new --start-day 14.1.2026": "--start-day: '14.1.2026' is not a day",
    "generate new --versions v5": "--versions: 'v5' is not a list such as 2,5.",
    "generate new --days 0": "--days: ",
    "generate new --ipv6-share 50": "--ipv6-share: ",
    "generate new --ipv6-share nan": "--ipv6-share: ",
    "generate new --bad-lines 1%": "--bad-lines: '1%' is not a number.",
    "generate new --start-day 9999-12-31": "--start-day",
    "generate new --start-day 0001-01-01": "--start-day",
}


@pytest.mark.parametrize(("typed", "says"), TYPED.items(), ids=[*TYPED])
def test_typed_by_people(there: Path, typed: str, says: str) -> None:
    said = sentence(*typed.split(" "), codes=(1, 2))
    assert says in said.replace(f"{there}/", "")


# --- hostile values, everywhere -------------------------------------------------------------------

HOSTILE = {
    "empty": "",
    "a space": " ",
    "a dash": "-",
    "two dashes": "--",
    "escapes": "\x1b[31m\x1b]0;title\x07",
    "newlines": "a\nerror: b\r\n",
    "bidi": "a\u202eb\u2066",
    "surrogates": "\udcff\udc80",
    "markup": "[bold]x[/bold][link=http://x]:smile:[",
    "long": "x" * 5000,
    "digits": "9" * 400,
    "nan": "nan",
    "infinity": "-inf",
    "huge": "1e400",
    "minus one": "-1",
    "first day": "0001-01-01",
    "last day": "9999-12-31",
    "a folder": ".",
    "device": "/dev/null/x",
    "no UTF-8": "/\udcff",
    "slashes": "../" * 50 + "nowhere/x",
    "braces": "{}{0}%s%n",
}


def parameters() -> Iterator[tuple[str, str]]:
    """Every command with each of its options and arguments."""
    group = typer.main.get_command(app)
    for command in group.commands.values():  # type: ignore[attr-defined]
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                yield command.name, parameter.name
            elif not parameter.is_flag:
                yield command.name, max(parameter.opts, key=len)


# What is given besides, so that a command does little if it takes the value.
GIVEN = {
    "convert": ["logs", "lake", "--dry-run"],
    "inspect": ["note.gz"],
    "generate": ["note.gz/x", "--records=50"],
    "status": ["lake"],
    "verify": ["lake", "--quick"],
    "compact": ["lake", "--dry-run"],
    "expire": ["lake", "--dry-run"],
    "gaps": ["lake"],
    "quarantine": ["lake"],
    "query": ["lake", "--question=skipdata"],
    "report": ["lake", "--json"],
    "names": ["lake", "note.gz"],
    "ddl": ["lake", "--dialect=duckdb"],
    "register": ["lake", "--to=delta"],
}


@pytest.mark.parametrize(("command", "parameter"), [*parameters()])
def test_hostile_values(there: Path, command: str, parameter: str) -> None:
    given = GIVEN[command]
    for name, value in HOSTILE.items():
        if parameter.startswith("-"):
            is_file = (command, parameter) == ("report", "--output")
            arguments = [command, *given, f"{parameter}={'note.gz/' * is_file}{value}"]
        else:
            place = 1 if parameter == "dest" else 0
            flags = [argument for argument in given if argument.startswith("--")]
            names = [argument for argument in given if not argument.startswith("--")]
            names[place] = f"note.gz/{value}" if parameter == "directory" else value
            arguments = [command, *flags, "--", *names]
        result = invoke(arguments)
        assert result.exit_code in (0, 1, 2, 3), name
        assert "Traceback" not in result.output, name
        assert "bug of flowconv" not in result.output, (name, result.output)
        assert all(line.isprintable() for line in result.output.split("\n")), name
        if result.exit_code in (1, 2):
            assert result.stderr.count("\n") == 1, name
            assert len(result.stderr) < 12_000, name
        assert there.exists()


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Nowhere/Land"},
        {"LC_ALL": "C", "LANG": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "utf-16"},
        {"TERM": "dumb", "COLUMNS": "20", "NO_COLOR": "1"},
        {"COLUMNS": "0", "LINES": "x"},
        {"FORCE_COLOR": "1", "PYTHONUTF8": "0", "LC_ALL": "POSIX"},
        None,
    ],
    ids=str,
)
def test_odd_environments(folder: Path, environment: dict[str, str] | None) -> None:
    """Also none at all, with a working folder that is gone."""
    package = str(Path(flowconv.__file__).parent.parent)
    everything = {"PYTHONPATH": package} | (os.environ | environment if environment else {})
    gone = folder.parent / f"gone-{os.getpid()}"
    gone.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "flowconv", "status", str(folder / "lake")]
    code = "import os, sys; os.rmdir(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"
    if environment is None:
        command = [sys.executable, "-c", code, str(gone), *command]
    done = subprocess.run(
        command, check=False, capture_output=True, env=everything, cwd=gone, timeout=60
    )
    assert b"Traceback" not in done.stderr
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"converted" in done.stdout.replace(b"\0", b"")


# --- what comes from others -----------------------------------------------------------------------

RAW = "\x1b[2J\n\u202e[bold]\x07"


def test_names_and_values_are_shown_escaped(tmp_path: Path) -> None:
    name = f"a{RAW}.log"
    header = b"version srcaddr new\x1b-field\n"
    write_objects(
        tmp_path / "logs",
        {
            Key(name): b"version srcaddr foo\n2 \x1b[31mred \xe2\x80\xae\nx \x1b[31m y\n",
            Key(f"b{RAW}/c.log"): header + b"2 a b\n",
            Key(f"d{RAW}.log.gz"): gzip.compress(V2 + ROW)[:-9],
        },
    )
    logs, lake = str(tmp_path / "logs"), str(tmp_path / f"lake{RAW}")
    for arguments in (
        ["convert", logs, lake, "--dry-run"],
        ["convert", logs, lake],
        ["convert", logs, lake, "--log-format", "json"],
        ["convert", logs, lake, "--format", RAW],
        ["inspect", f"{logs}/{name}"],
        ["status", lake],
        ["verify", lake, "--source", logs],
        ["quarantine", lake],
        ["quarantine", lake, "--object", RAW],
        ["status", f"{lake}{RAW}"],
    ):
        for more in ([], ["--json"]):
            result = invoke(arguments + more)
            assert result.exit_code in (0, 1, 2, 3), result.output
            assert all(line.isprintable() for line in result.output.split("\n")), arguments
            if more and result.stdout:
                json.loads(result.stdout)
    shown = invoke(["inspect", f"{logs}/{name}"]).stdout
    assert "a%1B[2J%0A%E2%80%AE[bold]%07.log" in shown


def test_printable() -> None:
    assert printable("plain ä 日 [bold] \\") == "plain ä 日 [bold] \\"
    assert printable("\x1b\n\u202e\udcff\u200b\x9b") == r"\x1b\n\u202e\udcff\u200b\x9b"
    error = FlowconvError("a\nb", uri="c\x1b")
    assert str(error) == r"c\x1b: a\nb"


# --- secrets --------------------------------------------------------------------------------------

SECRET = "wJalrXUt/CANARY+bPxRfi"

TEXTS_WITH_SECRETS = [
    f"https://user:{SECRET}@host/x",
    f"https://{SECRET.replace('/', '')}@host/x",
    f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/p",
    f"AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/p",
    f"https://b.s3.amazonaws.com/k?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}&x=1",
    f"GET /k?AWSAccessKeyId=A&Signature={SECRET}",
    f"Authorization: AWS4-HMAC-SHA256 Credential={SECRET}/2026, Signature={SECRET}",
    f"{{'Authorization': 'AWS4-HMAC-SHA256 Credential={SECRET}, Signature={SECRET}'}}",
    f"authorization: Bearer {SECRET}",
    f"secret={SECRET}",
    f"secret:{SECRET}",
    f"SECRET={SECRET}",
    f"aws_secret_access_key = {SECRET}",
    f"{{'aws_session_token': '{SECRET}'}}",
    f"'x-amz-security-token': b'{SECRET}'",
    f"X-Amz-Security-Token: {SECRET}",
    f"<SessionToken>{SECRET}</SessionToken>",
    f"password={SECRET}",
]


@pytest.mark.parametrize("text", TEXTS_WITH_SECRETS)
def test_secrets_are_left_out(text: str) -> None:
    assert "CANARY" not in redact(f"before {text} after")
    assert redact(f"before {text}").startswith("before ")
    assert "CANARY" not in str(FlowconvError(text))


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/user@example.com/x.log",
        "http://host:9000/a@b",
        "storage option token: it goes with key and secret.",
        "or the storage options profile=… or key=… and secret=…; anon=true for a public bucket.",
        "s3://bucket/AWSLogs/123456789012/vpcflowlogs/eu-west-1/2026/01/14/x.log.gz",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


LEAKS = [
    ["--source-option", f"secret:{SECRET}"],
    ["--source-option", f"secret:{SECRET}="],
    ["--source-option", f"secret{SECRET}=x"],
    ["--source-option", "secret", SECRET],
    ["--source-option", f"SECRET={SECRET}"],
    ["--source-option", f"Secret = {SECRET}"],
    ["--source-option", f"secret={SECRET}", "--source-option", f"secret={SECRET}"],
    ["--source-option", f"secret={SECRET}"],
    ["--source-option", f"token={SECRET}"],
    ["--source-option", f"key=K\n{SECRET}", "--source-option", f"secret=\n{SECRET}"],
    ["--source-option", f"endpoint_url=https://user:{SECRET}@host"],
    ["--source-option", f"endpoint_url=https://{SECRET}"],
    ["--source-option", f"endpoint_url=http://h:80:{SECRET}"],
    ["--source-option", f"endpoint_url=http://h/?token={SECRET}"],
    [f"--source-option=secret:{SECRET}"],
    [f"--secret={SECRET}"],
    [f"--secret{SECRET}"],
    [f"--source-options=secret={SECRET}"],
]
URLS = [
    f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/p",
    f"s3://KEY:{SECRET}@bucket/p",
    f"s3:/KEY:{SECRET}@bucket/p",
    f"https://KEY:{SECRET}@host/p",
    f"https:/KEY:{SECRET}@host/p",
    f"s3:KEY:{SECRET}@bucket/p",
    f"gs://KEY:{SECRET}@host/p",
    f"https://b.s3.amazonaws.com/k?X-Amz-Signature={SECRET}",
    f"cloudwatch:https://KEY:{SECRET}@host/p",
    f"AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/p",
    f"KEY:{SECRET}@bucket/p",
]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_that_are_typed_wrong(there: Path, log_format: str) -> None:
    more = ["--json", "--log-format", log_format, "--metrics-file", "/dev/stderr"]
    commands = [["convert", "s3://bucket", "lake2", *leak, *more] for leak in LEAKS[:7]]
    commands += [["convert", "s3://bucket", "lake2", *leak, *more] for leak in LEAKS[9:]]
    commands += [["convert", "logs", "lake2", *leak, *more] for leak in LEAKS]
    commands += [["inspect", "s3://bucket/k", *leak, "--json"] for leak in LEAKS[:7]]
    commands += [["convert", url, "lake2", *more] for url in URLS]
    commands += [["convert", "logs", url, *more] for url in URLS]
    commands += [[name, url] for url in URLS for name in ("inspect", "status", "verify")]
    for command in commands:
        result = invoke(command)
        assert result.exit_code in (1, 2), command
        assert "CANARY" not in result.output, command
        assert "Traceback" not in result.output
    assert there.exists()


def test_secrets_stay_out_of_lakes_and_reports(moto_s3: S3Server, tmp_path: Path) -> None:
    bucket = moto_s3.make_bucket()
    options = ["--source-option", "key=KEYCANARY", "--source-option", f"secret={SECRET}"]
    options += ["--source-option", f"token={SECRET}", "--source-option", "region=us-east-1"]
    for endpoint in (moto_s3.endpoint_url, "http://127.0.0.1:9"):
        for log_format in ("text", "json"):
            metrics = tmp_path / "m.prom"
            command = ["convert", f"s3://{bucket}/logs", str(tmp_path / "lake"), *options]
            command += ["--source-option", f"endpoint_url={endpoint}", "--json"]
            command += ["--log-format", log_format, "--metrics-file", str(metrics)]
            if endpoint.endswith(":9"):
                command += ["--source-option", "profile=CANARY"]
            result = invoke(command)
            assert "CANARY" not in result.output
            for path in (file for file in tmp_path.rglob("*") if file.is_file()):
                assert b"CANARY" not in path.read_bytes()
    assert re.search(r"flowconv_", metrics.read_text())


class Enemy(BaseHTTPRequestHandler):
    """A store whose answers hold escape sequences and what it was sent."""

    body = b""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(400)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


@pytest.mark.parametrize(
    "body",
    [
        f"<Error><Code>AccessDenied</Code><Message>\x1b[31m secret={SECRET}</Message></Error>",
        f"<Error><Code>Odd</Code><Message>x&#10;&#x202e; token={SECRET}</Message></Error>",
        '{"__type":"Odd\\u001b","message":"\\u001b[31m"}',
        "\udcff\udcfe\x1b[2J",
    ],
    ids=["escapes", "newlines", "JSON", "no text"],
)
def test_answers_of_an_enemy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr("flowconv.storage.retrying.ATTEMPTS", 1)
    monkeypatch.setattr(Enemy, "body", body.encode("utf-8", "surrogateescape"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Enemy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = [f"endpoint_url=http://127.0.0.1:{server.server_port}", "region=us-east-1"]
        options += ["key=K", f"secret={SECRET}", f"token={SECRET}"]
        source = [f"--source-option={option}" for option in options]
        dest = [f"--dest-option={option}" for option in options]
        for command in (
            ["convert", "s3://bucket/x", str(tmp_path / "lake"), *source],
            ["convert", "cloudwatch:/aws/x", str(tmp_path / "lake"), *source],
            ["convert", str(folder / "logs"), "s3://bucket/x", *dest, "--json"],
            ["status", "s3://bucket/x", *dest],
        ):
            result = invoke(command)
            assert result.exit_code in (1, 3)
            assert "CANARY" not in result.output
            assert "bug of flowconv" not in result.output
            assert all(line.isprintable() for line in result.output.split("\n"))
        server.shutdown()


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be somebody else"
)
def test_what_is_denied(folder: Path, warm: WarmStart) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are root's
        top = Path(name)
        top.chmod(0o755)
        for lake, denied in (("lake", "_flowconv/ledger"), ("other", "_flowconv/lake.json")):
            shutil.copytree(folder / "lake", top / lake)
            (top / lake / denied).chmod(0)
        shutil.copytree(folder / "logs", top / "logs")
        shutil.copytree(folder / "logs", top / "closed")
        (top / "closed").chmod(0)
        for command, place in {
            f"status {top}/lake": f"{top}/lake/_flowconv/ledger",
            f"quarantine {top}/lake": f"{top}/lake/_flowconv/ledger",
            f"verify {top}/other --quick": f"{top}/other/_flowconv/lake.json",
            f"convert {top}/logs {top}/other": f"{top}/other/_flowconv/lake.json",
            f"convert {top}/logs {top}/new": f"{top}/new",
            f"inspect {top}/closed/a.log": f"{top}/closed/a.log",
            f"generate {top}/made": f"{top}/made",
            f"convert {top}/logs {top}/new --metrics-file {top}/m.prom": f"{top}/m.prom",
        }.items():
            # Everything is imported before: somebody else may not be allowed to read Python's own
            # modules.
            done = warm.run(*command.split(), user=65534, cpu_s=60)
            assert done.exit_code in (1, 2), done.stderr
            assert done.stderr.startswith(f"error: {place}"), command
            assert "denied" in done.stderr or "may not be written" in done.stderr
            assert done.stderr.count("\n") == 1
