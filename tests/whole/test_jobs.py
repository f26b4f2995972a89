"""docs/jobs.md and its examples hold.

`python tests/whole/test_jobs.py` writes the examples into the page anew.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from flowconv import scan
from flowconv.cli.metrics import write_metrics
from flowconv.conversion.report import ConvertReport
from flowconv.lake.flow_log_days import FlowLogDay
from flowconv.lake.layout import Layout
from flowconv.lake.status import LakeStatus, LockStatus
from flowconv.storage.request_times import RequestTimes
from support.commands import Result, invoke
from support.lakes import ROW, V2, aws_key, data_files, write_objects
from support.s3_servers import S3Server, moto_server, own_buckets_policy

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "jobs.md"
EXAMPLES = {path.name: path for path in sorted((ROOT / "docs" / "examples").iterdir())}
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".json": "json",
    ".service": "ini",
    ".timer": "ini",
    "": "",
}
SOURCE, DEST = "s3://my-logs/AWSLogs/", "s3://my-lake/flows"

needs_posix = pytest.mark.skipif(os.name == "nt", reason="these are examples for other systems")


def text(name: str) -> str:
    return EXAMPLES[name].read_text(encoding="utf-8")


def quoted(name: str) -> str:
    """An example as the page shows it."""
    return f"```{LANGUAGES[EXAMPLES[name].suffix]}\n{text(name)}```\n"


def yaml_of(name: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load(text(name))


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


# --- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_page_shows_the_example_as_it_is(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert f"<!-- {name} -->\n{quoted(name)}<!-- /{name} -->\n" in page, (
        "docs/jobs.md is behind docs/examples; update it with: python tests/whole/test_jobs.py"
    )


def test_links_of_the_page_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (PAGE.parent / link).exists(), link


def table(heading: str) -> set[str]:
    """The names in the first column of the table below a heading of the page."""
    below = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` ", below, re.MULTILINE))


def test_page_names_every_event() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "flowconv").rglob("*.py"))
    events = set(re.findall(r'log_event\(\s*"(\w+)"', code))
    assert len(events) >= 8
    assert table("Log") == events


def test_page_names_every_metric(tmp_path: Path) -> None:
    assert table("Metrics") == metrics(tmp_path)


def metrics(folder: Path) -> set[str]:
    now = datetime.now(UTC)
    lake = LakeStatus(
        lake="b",
        layout=Layout(partition_by=("date",), time_type="timestamp"),
        lock=LockStatus("free"),
        runs=(),
        number_runs=1,
        objects=0,
        partitions=(),
        rejected=0,
        rejected_objects=0,
        newest_record=now,
        newest_object=now,
        flow_logs=(
            FlowLogDay(
                flow_log_id="fl-1",
                account_id="123456789012",
                region="eu-west-1",
                day=now.date(),
                objects=1,
                usual=2,
            ),
        ),
    )
    times = RequestTimes()
    times.begin("GET")
    requests = {"source": times.to_dict() | {"usd": 0.1}}
    shares = dict.fromkeys(("working", "source", "lake", "tasks"), 0.25)
    report = ConvertReport(source="a", lake="b", run_id="1", worker_time=shares, requests=requests)
    write_metrics(folder / "m.prom", {"lake": "b"}, report, lake, failed=False)
    return set(re.findall(r"^# TYPE (\w+)", (folder / "m.prom").read_text(), re.MULTILINE))


# --- the commands of the examples ---------------------------------------------------------------


def command(name: str) -> list[str]:
    """The arguments of flowconv in an example."""
    if name == "cronjob.yaml":
        return list(container(yaml_of(name))["args"])
    joined = text(name).replace("\\\n", " ")
    if name == "airflow_dag.py":
        joined = "".join(re.findall(r'^            "(.*)"$', joined, re.MULTILINE))
    (found,) = re.findall(r"(?<=[ /=])?flowconv convert [^|>\n]*", joined)
    return shlex.split(found)


def container(cronjob: Any) -> Any:
    (found,) = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return found


@needs_posix
@pytest.mark.parametrize("name", ["crontab", "flowconv.service", "airflow_dag.py", "cronjob.yaml"])
def test_command_of_the_example_converts(name: str, tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {aws_key(): gzip.compress(V2 + ROW)})
    here = {
        SOURCE: str(tmp_path / "logs"),
        DEST: str(tmp_path / "lake"),
        "/var/lib/node_exporter/textfile/flowconv.prom": str(tmp_path / "m.prom"),
    }
    arguments = [here.get(argument, argument) for argument in command(name)]
    assert arguments[:2] == ["flowconv", "convert"]
    assert set(here.values()) & set(arguments) >= {here[SOURCE], here[DEST]}
    # The logs are of a day long ago.
    place = next(i for i, argument in enumerate(arguments) if argument.startswith("--since"))
    del arguments[place : place + (1 if "=" in arguments[place] else 2)]
    result = invoke([*arguments[1:], "--log-format", "text"])
    assert result.exit_code == 0, result.output
    assert len(data_files(tmp_path / "lake")) == 1
    assert (tmp_path / "m.prom").exists() == ("--metrics-file" in arguments)


@needs_posix
@pytest.mark.parametrize("code", [0, 1, 2, 3, 143])
def test_shell_of_the_examples_passes_on_what_matters(code: int, tmp_path: Path) -> None:
    stub = tmp_path / "flowconv"
    stub.write_text(f"#!/bin/sh\nexit {code}\n")
    stub.chmod(0o755)

    def run(shell: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        shell = shell.replace("/var/log", str(tmp_path))
        return subprocess.run(
            ["sh", "-c", shell], env=environment, capture_output=True, text=True, check=False
        )

    dag = "".join(re.findall(r'^            "(.*)"$', text("airflow_dag.py"), re.MULTILINE))
    assert run(dag).returncode == (0 if code == 3 else code)
    # cron sends what is printed.
    line = re.split(r"\s+", text("crontab").splitlines()[-1], maxsplit=5)[5]
    assert (run(line).stdout == "") == (code == 0)
    assert code == 0 or f"exit code {code};" in run(line).stdout


def test_crontab_has_times() -> None:
    *times, rest = re.split(r"\s+", text("crontab").splitlines()[-1], maxsplit=5)
    assert all(re.fullmatch(r"\*|\d+", time) for time in times)
    assert rest.startswith("flowconv convert")
    assert "%" not in rest, "cron makes a new line of it"


# --- their own checkers -------------------------------------------------------------------------


@pytest.mark.skipif(program("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in ("flowconv.service", "flowconv.timer"):
        (tmp_path / name).write_text(
            # It must exist.
            text(name).replace("/opt/flowconv/bin/flowconv", shutil.which("true") or "")
        )
    units = [str(tmp_path / "flowconv.service"), str(tmp_path / "flowconv.timer")]
    done = subprocess.run(
        [program("systemd-analyze") or "", "verify", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    # Of other units of the machine it has something to say, too.
    assert "flowconv" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_kubernetes_takes_the_cronjob() -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(yaml_of("cronjob.yaml"), version, strict=True)


@pytest.mark.skipif(program("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_alerts_and_metrics(tmp_path: Path) -> None:
    promtool = program("promtool") or ""
    subprocess.run([promtool, "check", "rules", str(EXAMPLES["alerts.yaml"])], check=True)
    metrics(tmp_path)
    with (tmp_path / "m.prom").open("rb") as file:
        subprocess.run([promtool, "check", "metrics"], stdin=file, check=True)


def test_alerts_use_metrics_that_there_are(tmp_path: Path) -> None:
    rules = [rule for group in yaml_of("alerts.yaml")["groups"] for rule in group["rules"]]
    used = {name for rule in rules for name in re.findall(r"flowconv_\w+", rule["expr"])}
    assert len(used) >= 4
    assert used <= metrics(tmp_path)


def test_grace_is_shorter_than_what_kills() -> None:
    cronjob = yaml_of("cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    grace = next(a for a in command("cronjob.yaml") if a.startswith("--grace=")).partition("=")[2]
    assert int(grace) + 15 <= cronjob["terminationGracePeriodSeconds"]
    service = text("flowconv.service")
    (grace,) = re.findall(r"--grace (\d+)", service)
    (killed,) = re.findall(r"^TimeoutStopSec=(\d+)$", service, re.MULTILINE)
    assert int(grace) + 15 <= int(killed)


# --- permissions --------------------------------------------------------------------------------

LOGS_BUCKET, LAKE_BUCKET = "user0-my-logs", "user0-my-lake"


def policy(name: str, *, without: str = "") -> str:
    document = json.loads(
        text(name).replace("my-logs", LOGS_BUCKET).replace("my-lake", LAKE_BUCKET)
    )
    for statement in document["Statement"]:
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        statement["Action"] = [action for action in actions if action != without]
        # moto knows no conditions.
        statement.pop("Condition", None)
    document["Statement"] = [s for s in document["Statement"] if s["Action"]]
    return json.dumps(document)


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    """A server of which user0 may do everything."""
    with moto_server({"user0": ALLOW_ALL, "user1": own_buckets_policy("user1")}) as server:
        yield server


ALLOW_ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


@pytest.fixture
def server(moto: S3Server, request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """It has the two buckets of user0, and user1 may do what a policy says."""
    moto.set_policy(1, request.param)
    owner = moto.client()
    for bucket in (LOGS_BUCKET, LAKE_BUCKET):
        owner.create_bucket(Bucket=bucket)
    for day in (14, 15):
        key = aws_key(time=f"2026-01-{day}T00:05")
        owner.put_object(Bucket=LOGS_BUCKET, Key=key.path, Body=gzip.compress(V2 + ROW))
    yield moto
    for bucket in (LOGS_BUCKET, LAKE_BUCKET):
        for upload in owner.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
            name = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            owner.abort_multipart_upload(Bucket=bucket, **name)
        for stored in owner.list_objects_v2(Bucket=bucket).get("Contents", ()):
            owner.delete_object(Bucket=bucket, Key=stored["Key"])
        owner.delete_bucket(Bucket=bucket)


def flowconv(server: S3Server, *arguments: str, user: int = 1) -> Result:
    return invoke(arguments, env=server.environment(user))


def convert_twice(server: S3Server) -> tuple[int, str]:
    """Convert, leave an unfinished upload behind, and convert anew what changed."""
    source, dest = f"s3://{LOGS_BUCKET}/AWSLogs/", f"s3://{LAKE_BUCKET}/flows"
    first = flowconv(server, "convert", source, dest)
    if first.exit_code:
        return first.exit_code, first.stderr
    owner = server.client()
    owner.create_multipart_upload(Bucket=LAKE_BUCKET, Key="flows/vpc/left-behind.parquet")
    key = aws_key(time="2026-01-14T00:05").path
    owner.put_object(Bucket=LOGS_BUCKET, Key=key, Body=gzip.compress(V2 + ROW * 2))
    again = flowconv(server, "convert", source, dest, "--reprocess")
    if again.exit_code == 0:
        assert not owner.list_multipart_uploads(Bucket=LAKE_BUCKET).get("Uploads")
    return again.exit_code, again.stderr


@pytest.mark.parametrize("server", [policy("iam-job.json")], indirect=True, ids=["whole"])
def test_job_policy_suffices(server: S3Server) -> None:
    assert convert_twice(server) == (0, "")
    assert flowconv(server, "verify", f"s3://{LAKE_BUCKET}/flows", "--repair").exit_code == 0


NEEDED = [
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListBucketMultipartUploads",
]


@pytest.mark.parametrize(
    "server", [policy("iam-job.json", without=a) for a in NEEDED], indirect=True, ids=NEEDED
)
def test_job_policy_has_nothing_that_is_not_needed(server: S3Server) -> None:
    code, errors = convert_twice(server)
    assert code == 1
    assert "access is denied" in errors


def test_job_policy_has_these_actions() -> None:
    actions = set(re.findall(r"s3:\w+", text("iam-job.json")))
    assert actions == set(NEEDED)


@pytest.mark.parametrize("server", [policy("iam-reader.json")], indirect=True, ids=["reader"])
def test_reader_policy_suffices_to_query(server: S3Server) -> None:
    dest = f"s3://{LAKE_BUCKET}/flows"
    assert flowconv(server, "convert", f"s3://{LOGS_BUCKET}/AWSLogs/", dest, user=0).exit_code == 0
    with mock.patch.dict(os.environ, server.environment(1)):
        assert scan(dest).collect().height == 2
    assert flowconv(server, "status", dest).exit_code == 0
    assert flowconv(server, "verify", dest).exit_code == 0
    assert flowconv(server, "convert", f"s3://{LOGS_BUCKET}/AWSLogs/", dest).exit_code == 1


def update_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in EXAMPLES:
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        assert begin, name
        assert end, name
        page = f"{before}{begin}{quoted(name)}{end}{after}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    update_page()
