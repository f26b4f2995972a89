"""AWS's own descriptions of S3, as botocore keeps them -> a loader that keeps no others."""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import botocore.loaders  # type: ignore[import-untyped]

# S3, and what botocore asks for credentials: of a role, of a web identity, of single sign-on.
_SERVICES = ("s3", "sts", "sso", "sso-oidc", "signin")

# What they are called where endpoints are listed.
_PREFIXES = ("s3", "sts", "portal.sso", "oidc", "signin")


@cache
def s3_loader(data_path: str | None) -> Any:
    """Return what reads the descriptions; it keeps them for the next client.

    It takes half the time of botocore's own: 60 of 120 ms of each start, measured with botocore
    1.44.

    Args:
        data_path: More folders with descriptions, as AWS_DATA_PATH has them.
    """
    folders = os.path.expandvars(data_path).split(os.pathsep) if data_path else []
    return _S3Loader(extra_search_paths=[str(Path(folder).expanduser()) for folder in folders])


class _PlainFiles(botocore.loaders.JSONFileLoader):  # type: ignore[misc]
    """Reads files into dictionaries; botocore's have the same order, and take twice as long."""

    def _load_file(self, full_path: str, open_method: Callable[..., Any]) -> Any:
        if not Path(full_path).is_file():
            return None
        with open_method(full_path, "rb") as file:
            return json.loads(file.read())


class _S3Loader(botocore.loaders.Loader):  # type: ignore[misc]
    FILE_LOADER_CLASS = _PlainFiles

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002
        """Name services without a look into the folders of 400."""
        return list(_SERVICES)

    def load_data_with_path(self, name: str) -> Any:
        """Return a description, and the file that it is from."""
        described, path = super().load_data_with_path(name)
        if name == "endpoints":
            # Where 400 services are is a fifth of all objects of a program that scans a lake, and
            # Python looks at each three times when it ends.
            for partition in described["partitions"]:
                services = partition["services"]
                partition["services"] = {key: services[key] for key in _PREFIXES if key in services}
        return described, path
