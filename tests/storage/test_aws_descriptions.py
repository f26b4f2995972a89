"""What botocore is told of S3."""

import gzip
import json
import os
from pathlib import Path

import botocore.loaders  # type: ignore[import-untyped]
import pytest

from flowconv.storage.aws_descriptions import s3_loader


@pytest.mark.parametrize("kind", ["service-2", "paginators-1", "endpoint-rule-set-1"])
def test_the_same_as_botocore(kind: str) -> None:
    # Clients change what their loader has read.
    found = s3_loader.__wrapped__(None).load_service_model("s3", kind)
    assert found == botocore.loaders.Loader().load_service_model("s3", kind)


@pytest.mark.parametrize("name", ["~/aws", "$HOME/aws", "elsewhere{pathsep}~/aws"])
def test_folders_of_the_user(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "aws/s3/2999-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json.gz").write_bytes(gzip.compress(json.dumps({"a": 1}).encode()))
    loader = s3_loader(name.format(pathsep=os.pathsep))
    assert loader.load_service_model("s3", "service-2") == {"a": 1}


def test_no_description(tmp_path: Path) -> None:
    with pytest.raises(botocore.loaders.UnknownServiceError, match="logs"):
        s3_loader(str(tmp_path)).load_service_model("logs", "service-2")
