"""ListObjectsV2's answer in XML -> a `Page`.

botocore parses it twice, by shapes: 60 us a key. Answers that are as plain as those of the stores
are searched for the three elements of a key, 2 us; others are parsed, 8 us.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from botocore import handlers  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

_ROOT = "ListBucketResult"

# As AWS, Ceph, MinIO and moto write a key. The last group stands for any other elements.
_PLAIN_KEY = re.compile(
    r"<Contents><Key>([^<&]+)</Key><LastModified>[^<]*</LastModified>"
    r"<ETag>(?:&quot;|&#34;|\")?([^<&\"]*)(?:&quot;|&#34;|\")?</ETag>"
    r"(?:<Checksum\w+>[^<]*</Checksum\w+>)*<Size>([0-9]+)</Size>"
    r"(?:<(?!/?Contents>|Key>|Size>|ETag>)[^<]*)*</Contents>"
)


class ListedKey(NamedTuple):
    """A key of a page."""

    key: str
    size_bytes: int
    etag: str


@dataclass(slots=True, kw_only=True)
class Page:
    """A part of a listing.

    Attributes:
        keys: In the order of their bytes.
        prefixes: Of a listing with a delimiter, those in which more keys are; in that order.
        token: By which the next page is asked for; None on the last.
        in_order: Whether S3 gave it in this order. AWS's directory buckets do not.
    """

    keys: list[ListedKey]
    prefixes: list[str]
    token: str | None
    in_order: bool


def read_pages_of(client: Any) -> None:
    """Let the answers of a botocore client's ListObjectsV2 have their page as `Page`."""
    events = client.meta.events
    # It parses each answer to see whether it is an error. Where it has another name, it does so
    # before we do, which takes its time and changes nothing.
    find_error = getattr(handlers, "_handle_200_error", None)
    if find_error:
        events.unregister("before-parse.s3.*", find_error)

    def before_parse(response_dict: dict[str, Any], **context: Any) -> None:
        is_listing = context["operation_model"].name == "ListObjectsV2"
        if is_listing and (page := _page_of(response_dict)):
            context["customized_response_dict"]["Page"] = page
            # Nothing is left for botocore to parse.
            response_dict["body"] = f"<{_ROOT}/>".encode()
        elif find_error:
            find_error(response_dict=response_dict, **context)

    events.register_first("before-parse.s3.*", before_parse)


def _page_of(response: dict[str, Any]) -> Page | None:
    """Return the page of an answer; None if it is an error, or broken off."""
    if response["status_code"] != 200:
        return None
    try:
        return read_page(response["body"])
    except ElementTree.ParseError:
        return None  # botocore makes an error of it.


def read_page(body: bytes) -> Page | None:
    """Return the page of an answer; None if it is an error, which may come with status 200.

    Raises:
        ElementTree.ParseError: It is no XML.
        ResponseParserError: It is neither.
    """
    root, keys = _parse(body)
    space, _, name = root.tag.rpartition("}")
    space = f"{space}}}" if space else ""
    if name == "Error":
        return None
    if name != _ROOT:
        raise ResponseParserError(f"a listing begins with <{name}>")
    keys += [_listed_key(entry, space) for entry in root.iterfind(f"{space}Contents")]
    prefixes = [
        entry.findtext(f"{space}Prefix") or _missing("Prefix")
        for entry in root.iterfind(f"{space}CommonPrefixes")
    ]
    if root.findtext(f"{space}EncodingType") == "url":
        keys = [ListedKey(_decoded(key), size, etag) for key, size, etag in keys]
        prefixes = [unquote_plus(prefix) for prefix in prefixes]
    token = None
    if root.findtext(f"{space}IsTruncated") == "true":
        token = root.findtext(f"{space}NextContinuationToken") or _missing("NextContinuationToken")
    # The order of code points is that of UTF-8. Sorting what is sorted costs next to nothing.
    ordered = sorted(keys)
    return Page(keys=ordered, prefixes=sorted(prefixes), token=token, in_order=ordered == keys)


def _parse(body: bytes) -> tuple[ElementTree.Element, list[ListedKey]]:
    """Return an answer's root, and the keys that are taken out of it."""
    pieces = _PLAIN_KEY.split(body.decode(errors="replace"))
    rest = "".join(pieces[::4])
    # A comment may have what looks like a key.
    if "<Contents" in rest or "<!" in rest:
        return ElementTree.XML(body), []
    keys = zip(pieces[1::4], pieces[2::4], pieces[3::4], strict=True)
    return ElementTree.XML(rest.encode()), [ListedKey(k, int(size), etag) for k, etag, size in keys]


def _listed_key(entry: ElementTree.Element, space: str) -> ListedKey:
    key = entry.findtext(f"{space}Key") or _missing("Key")
    size = entry.findtext(f"{space}Size") or _missing("Size")
    if not size.isdecimal():
        raise ResponseParserError("a listing has a size that is no number")
    return ListedKey(key, int(size), (entry.findtext(f"{space}ETag") or "").strip('"'))


def _decoded(key: str) -> str:
    # Nearly all keys have no others; unquote_plus takes 15 times as long.
    key = key.replace("%2F", "/").replace("%3D", "=")
    return unquote_plus(key) if "%" in key or "+" in key else key


def _missing(name: str) -> str:
    raise ResponseParserError(f"a listing lacks {name}")
