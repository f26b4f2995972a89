"""The files that docs/scale-out.md leads to are valid, and fit flowconv and each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import invoke

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "scale-out"


def manifests() -> list[Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    documents = (FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")
    return [yaml.safe_load(document) for document in documents.split("\n---\n")]


def containers() -> dict[str, Any]:
    specs = [m["spec"]["template"]["spec"] for m in manifests() if "template" in m["spec"]]
    return {c["name"]: c for spec in specs for c in spec["containers"]}


def actions(path: Path) -> set[str]:
    found: set[str] = set()
    for statement in json.loads(path.read_text(encoding="utf-8"))["Statement"]:
        given = statement["Action"]
        found |= {given} if isinstance(given, str) else set(given)
    return found


def test_the_page_leads_to_all_files() -> None:
    page = (ROOT / "docs" / "scale-out.md").read_text(encoding="utf-8")
    for path in sorted(FOLDER.iterdir()):
        assert f"(scale-out/{path.name})" in page
    assert "(../Dockerfile)" in page


def test_kubernetes_takes_the_manifests() -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    version = kubernetes_validate.latest_version()
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_containers_find_each_other() -> None:
    service, *_ = manifests()
    found = containers()
    (port,) = [port["port"] for port in service["spec"]["ports"]]
    address = f"tcp://{service['metadata']['name']}:{port}"
    assert found["scheduler"]["ports"] == [{"containerPort": port}]
    assert f"--port={port}" in found["scheduler"]["args"]
    assert address in found["worker"]["args"]
    assert f"--scheduler={address}" in found["driver"]["args"]
    assert len({container["image"] for container in found.values()}) == 1


def test_commands_are_flowconvs_and_dasks() -> None:
    program, command, *arguments = containers()["driver"]["args"]
    assert (program, command) == ("flowconv", "convert")
    page = invoke(["convert", "--help"]).stdout
    flags = [found[0] for argument in arguments if (found := re.match(r"--[a-z-]+", argument))]
    assert len(flags) == 5
    assert [flag for flag in flags if flag not in page] == []
    task = json.loads((FOLDER / "ecs-worker.json").read_text(encoding="utf-8"))
    (worker,) = task["containerDefinitions"]
    known = subprocess.run(
        [sys.executable, "-m", "dask", "worker", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for arguments in (worker["command"], containers()["worker"]["args"]):
        assert arguments[:2] == ["dask", "worker"]
        flags = [found[0] for argument in arguments if (found := re.match(r"--[a-z-]+", argument))]
        assert [flag for flag in flags if flag not in known] == []


def test_a_worker_may_do_less_than_a_driver() -> None:
    job = actions(ROOT / "docs" / "examples" / "iam-job.json")
    assert actions(FOLDER / "worker-policy.json") == job - {
        "s3:DeleteObject",
        "s3:ListBucketMultipartUploads",
    }


HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_dockerfile_has_no_findings() -> None:
    subprocess.run([str(HADOLINT), str(ROOT / "Dockerfile")], check=True)


def test_dockerfile_copies_what_a_build_needs(tmp_path: Path) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--)(.+) /src\S*$", dockerfile, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = {"pyproject.toml", "hatch_build.py", "flowconv"}
    asked |= set(re.findall(r'^readme = "(.+)"$', pyproject, re.MULTILINE))
    asked |= set(re.findall(r'^license-files = \["(.+)"\]$', pyproject, re.MULTILINE))
    assert names == asked


@pytest.mark.parametrize("path", ["Dockerfile", "docs/scale-out.md"])
def test_workers_have_the_settings_of_local_clusters(path: str) -> None:
    dask_config = pytest.importorskip("dask.config")
    quiet = pytest.importorskip("flowconv.engines.dask").QUIET
    text = (ROOT / path).read_text(encoding="utf-8")
    variables = dict(re.findall(r"(DASK_\w+)=(\S+)", text))
    config = dask_config.collect_env(variables)
    assert {name: dask_config.get(name, config=config) for name in quiet} == quiet
    assert len(variables) == len(quiet)
