"""A path or URL -> its storage.

S3's libraries are imported only when an `s3://` URL is opened: that takes half a second.
"""

import os
import re
from collections.abc import Mapping
from urllib.parse import unquote

from flowconv.errors import StorageError, UsageError, WrongTypeError, quote
from flowconv.memory import uncollected
from flowconv.storage.aws import S3_OPTION_NAMES, check_options
from flowconv.storage.interface import Storage
from flowconv.storage.local import LocalStorage
from flowconv.storage.names import from_system
from flowconv.values import require

# At 100 ms a request these fetch 5,000 small objects a second; each is a connection.
MAX_REQUESTS = 512


def open_storage(
    url: str | os.PathLike[str],
    options: Mapping[str, str] | None = None,
    max_requests: int = MAX_REQUESTS,
) -> Storage:
    """Return the storage at a local path, a `file://` URL or an `s3://` URL.

    It neither connects nor checks that the place exists.

    Args:
        url: A folder, a bucket, a prefix or one object.
        options: For S3: key, secret, token, profile, endpoint_url, region, anon=true,
            requester_pays=true. Without an option, the settings of AWS's tools count.
        max_requests: Highest number of objects fetched at once from S3.

    Raises:
        UsageError: The path or URL is not valid, or an option is not known.
        StorageError: The path is relative to a folder that was removed.
    """
    options = options or {}
    url = from_system(path_text(url))
    require(options, Mapping, "options")
    check_options(options, S3_OPTION_NAMES, "storage option")
    if url.startswith("s3://"):
        with uncollected():
            from flowconv.storage.s3 import S3Storage

        return S3Storage(url, options, max_requests)
    if options:
        raise UsageError(
            f"{', '.join(sorted(options))}: a local folder takes no storage options. Leave them "
            "out, or use an s3:// URL.",
            uri=url,
        )
    if url.startswith("cloudwatch:"):
        raise UsageError(
            "only convert and verify read a log group, as their SOURCE. Write a local folder or "
            "s3://bucket/prefix.",
            uri=url,
        )
    if url.startswith("file:///"):
        return LocalStorage(unquote(url.removeprefix("file://"), errors="surrogateescape"))
    if not url or "\0" in url:
        raise UsageError(
            f"{quote(url)} is not a valid path. Write a local folder or s3://bucket/prefix."
        )
    if not os.path.lexists(url):
        if re.fullmatch(r"[A-Za-z0-9+._-]+:[^\s@]+@[^\s@]+", url):
            raise UsageError("this looks like a login, not a path. Write s3://bucket/prefix.")
        if reason := _why_invalid(url):
            raise UsageError(reason, uri=url)
    try:
        return LocalStorage(url)
    except FileNotFoundError as error:  # A relative path asks for the current folder.
        raise StorageError(
            "the current folder was removed. Go to another one, or write the whole path.", uri=url
        ) from error


def path_text(url: str | os.PathLike[str]) -> str:
    """Return a path or URL as text.

    Raises:
        WrongTypeError: It is neither text nor a Path.
    """
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise WrongTypeError(f"a path or URL must be text or a Path, not {type(url).__name__}.")
    return text


def _why_invalid(url: str) -> str | None:
    """Return why a path that does not exist cannot be meant as a local folder; None if it can."""
    if re.match(r"s3[an]?:", url, re.IGNORECASE):
        return "this is not a valid S3 URL. Write s3://bucket/prefix."
    if url.startswith("arn:"):
        return "ARNs are not supported. Write s3://bucket/prefix."
    if re.match(r"https?:", url, re.IGNORECASE):
        return "web addresses are not supported. Write s3://bucket/prefix for a bucket."
    if url.startswith("file:"):
        return "a file URL has three slashes. Write file:///folder, or the folder alone."
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", url):
        return f"{scheme[0]} is not supported. Write a local folder or s3://bucket/prefix."
    if re.match(r"~[^/]*(/|$)", url):
        return (
            "the shell did not replace ~ by your home folder. Leave out the quotes, or use $HOME."
        )
    pattern = re.match(r"[^*?]*[*?][^/]*", url)
    if pattern and not os.path.lexists(pattern[0]):
        return "there is no such folder; * and ? are not wildcards here. Write the folder."
    return None
