"""A path or URL -> the storage there.

What S3 needs is imported only when an `s3://` URL is opened: its libraries take half a second.
"""

import os
import re
from collections.abc import Mapping
from urllib.parse import unquote

from flowconv.errors import UsageError, quote
from flowconv.storage.aws import OPTION_NAMES, check_option_names
from flowconv.storage.interface import Storage
from flowconv.storage.local import LocalStorage
from flowconv.storage.names import from_system


def open_storage(url: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> Storage:
    """Return the storage at a local path, a `file://` URL or an `s3://` URL.

    Nothing is connected to or looked for yet.

    Args:
        url: A folder, a bucket, a prefix or one object.
        options: For S3: key, secret, token, profile, endpoint_url, region, anon=true,
            requester_pays=true. What they leave open is taken from where AWS's tools take it.

    Raises:
        UsageError: It is none of these, or an option is not known.
    """
    options = options or {}
    url = from_system(path_text(url))
    check_option_names(options, OPTION_NAMES, "storage option")
    if url.startswith("s3://"):
        from flowconv.storage.s3 import S3Storage

        return S3Storage(url, options)
    if options:
        raise UsageError(
            f"{', '.join(sorted(options))}: a local folder takes no storage options. Leave them "
            "out, or name an s3:// URL.",
            uri=url,
        )
    if url.startswith("cloudwatch:"):
        raise UsageError(
            "a log group can be read by convert and verify, and that is all. Name a local folder, "
            "or s3://bucket/prefix.",
            uri=url,
        )
    if url.startswith("file:///"):
        return LocalStorage(unquote(url.removeprefix("file://"), errors="surrogateescape"))
    if not url or "\0" in url:
        raise UsageError(f"{quote(url)} is no folder. Name one, or s3://bucket/prefix.")
    if not os.path.lexists(url):
        if re.fullmatch(r"[A-Za-z0-9+._-]+:[^\s@]+@[^\s@]+", url):
            raise UsageError("what was given looks like a login. Write s3://bucket/prefix.")
        if reason := _no_folder(url):
            raise UsageError(reason, uri=url)
    return LocalStorage(url)


def path_text(url: str | os.PathLike[str]) -> str:
    """Return a path or URL as text.

    Raises:
        UsageError: It is neither a text nor a path.
    """
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise UsageError(f"a {type(url).__name__} is no folder. Write a text or a Path.")
    return text


def _no_folder(url: str) -> str | None:
    """Say why a name of nothing that is there cannot be a local folder, if it cannot."""
    if re.match(r"s3[an]?:", url, re.IGNORECASE):
        return "this is no URL of S3. Write s3://bucket/prefix."
    if url.startswith("arn:"):
        return "an ARN is no place. Write s3://bucket/prefix."
    if re.match(r"https?:", url, re.IGNORECASE):
        return "addresses of the web are not supported. Write s3://bucket/prefix for a bucket."
    if url.startswith("file:"):
        return "write file:///folder, with three slashes, or the folder alone."
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", url):
        return f"{scheme[0]} is not supported. Name a local folder, or s3://bucket/prefix."
    if re.match(r"~[^/]*(/|$)", url):
        return "the shell did not put your home folder for ~. Leave out the quotes, or use $HOME."
    pattern = re.match(r"[^*?]*[*?][^/]*", url)
    if pattern and not os.path.lexists(pattern[0]):
        return "there is no such folder, and * and ? stand for nothing here. Name the folder."
    return None
