"""What botocore is told of S3."""

import gzip
import json
import os
from pathlib import Path

import botocore.loaders  # type: ignore[import-untyped]
import pytest
from botocore.regions import EndpointResolver  # type: ignore[import-untyped]

from flowconv.storage.aws_descriptions import s3_loader

BOTOCORE = botocore.loaders.Loader()

# The last four give credentials: of a role, of a web identity, of single sign-on. Releases of
# botocore before 1.41 lack the last one.
SERVICES = [
    name
    for name in ("s3", "sts", "sso", "sso-oidc", "signin")
    if name in BOTOCORE.list_available_services("service-2")
]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["service-2", "paginators-1", "endpoint-rule-set-1"])
def test_the_same_as_botocore(service: str, kind: str) -> None:
    # Clients change what their loader has read.
    found = s3_loader.__wrapped__(None).load_service_model(service, kind)
    assert found == BOTOCORE.load_service_model(service, kind)


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_endpoints_as_botocore(service: str) -> None:
    prefix = BOTOCORE.load_service_model(service, "service-2")["metadata"]["endpointPrefix"]
    ours = EndpointResolver(s3_loader(None).load_data("endpoints"))
    theirs = EndpointResolver(BOTOCORE.load_data("endpoints"))
    for partition in theirs.get_available_partitions():
        regions = theirs.get_available_endpoints(prefix, partition, allow_non_regional=True)
        for region in (*regions, "elsewhere-1"):
            found = ours.construct_endpoint(prefix, region)
            assert found == theirs.construct_endpoint(prefix, region)


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
