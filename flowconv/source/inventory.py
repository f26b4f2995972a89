"""An S3 Inventory -> the objects of a source, in place of a listing: no request for each 1,000.

A manifest.json names files of CSV or Parquet with a row for each object of a bucket, as it was at
one time (https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html).
What S3 delivers for later days is listed as always.

The keys of the source are held in memory, 0.25 kB each, since their order in the files is not
promised.
"""

import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.errors import FetchError, StorageError, UsageError, quote
from flowconv.events import log_event
from flowconv.source.keys import LogObject
from flowconv.source.listing import DayEnd, choose_listed, list_with_day_ends
from flowconv.source.selection import Selection
from flowconv.storage.interface import Storage, StoredFile
from flowconv.storage.names import from_text
from flowconv.storage.opening import open_storage

# An inventory may lack objects of the hours before it was made
# (https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html), and logs are
# delivered late.
_LISTED_DAYS = 2

# Name in a manifest's schema of CSV -> in that of Parquet.
_COLUMNS = {
    "Bucket": "bucket",
    "Key": "key",
    "Size": "size",
    "ETag": "e_tag",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
}
_NEEDED = ("Bucket", "Key", "Size", "ETag")

# Rows that become objects at once.
_ROWS_AT_ONCE = 10_000

_TEXT: Any = pa.large_string()
_SCHEMA = pa.schema({"path": _TEXT, "size": pa.int64(), "etag": _TEXT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a manifest says.

    Attributes:
        uri: The manifest.
        bucket: The bucket that was listed.
        created: When the inventory was begun, in UTC.
        is_parquet: Its files are Parquet, not CSV.
        columns: The columns of its files, in their order; those of CSV by `_COLUMNS`.
        has_versions: It lists all versions of each object.
        files: Key, size and MD5 of each file.
    """

    uri: str
    bucket: str
    created: datetime
    is_parquet: bool
    columns: tuple[str, ...]
    has_versions: bool
    files: tuple[tuple[str, int, str], ...]

    @property
    def listed_from(self) -> date:
        """The first day that is listed instead."""
        return self.created.date() - timedelta(_LISTED_DAYS)


def list_inventory(
    storage: Storage,
    options: Mapping[str, str],
    selection: Selection,
    left_out: Counter[str] | None,
    unreadable: dict[str, str] | None,
) -> Iterator[LogObject | DayEnd]:
    """List the objects of a source by an inventory, and those of later days by requests.

    Args:
        storage: The source, in S3.
        options: Its storage options; the inventory is opened by the same.
        selection: Which objects are listed; `inventory` is the URL of the manifest.
        left_out: See `listing`.
        unreadable: See `listing`.

    Raises:
        UsageError: The manifest is of another bucket, lacks a column, or is no manifest.
        FetchError, StorageError: A file of the inventory is missing, damaged, or does not come.
    """
    left_out = Counter() if left_out is None else left_out
    url = selection.inventory or ""
    place, files = _open(url, options)
    manifest = read_manifest(place, files, storage)
    table = _paths(manifest, files, storage)
    log_event(
        "inventory_read",
        uri=manifest.uri,
        created=manifest.created.isoformat(timespec="seconds"),
        files=len(manifest.files),
        objects=table.num_rows,
        listed_from=manifest.listed_from.isoformat(),
    )
    first = manifest.listed_from
    for item in choose_listed(storage, _in_order(table), selection, left_out):
        if item.day is None or item.day < first:
            yield item
    del table
    if selection.until is None or selection.until >= first:
        later = selection._replace(since=max(selection.since or date.min, first))
        undated: Counter[str] = Counter()
        yield from list_with_day_ends(storage, later, undated, unreadable)


def _open(url: str, options: Mapping[str, str]) -> tuple[str, Storage]:
    """Return the path of a manifest in its bucket, and the bucket.

    Raises:
        UsageError: It is not the URL of a manifest in S3.
    """
    match = re.fullmatch(r"(s3://[^/]+)/(.+/)?manifest\.json", url)
    if match is None:
        raise UsageError(
            f"--inventory: {quote(url)} is not the URL of an inventory's manifest. Write "
            "s3://BUCKET/PREFIX/…/manifest.json."
        )
    return url.removeprefix(f"{match[1]}/"), open_storage(match[1], options)


def read_manifest(path: str, bucket: Storage, source: Storage) -> Manifest:
    """Read a manifest, and check that it lists the bucket of a source.

    Raises:
        UsageError: It is no manifest, lacks a column, or is of another bucket.
        StorageError: There is none, or its checksum differs.
    """
    uri = bucket.uri(path)
    written = bucket.read(path)
    if written is None:
        raise StorageError("there is no such manifest. Check the URL.", uri=uri)
    checksum = bucket.read(f"{path.removesuffix('.json')}.checksum")
    if checksum is not None and checksum.decode("utf-8", "replace").strip().lower() != _md5(
        written
    ):
        raise StorageError(
            f"its MD5 is {_md5(written)}, and manifest.checksum has another. Take another day's "
            "inventory, or leave out --inventory.",
            uri=uri,
        )
    try:
        manifest = _parse(json.loads(written), uri)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise UsageError(
            f"--inventory: this is not the manifest of an S3 Inventory ({type(error).__name__}: "
            f"{error}).",
            uri=uri,
        ) from error
    wanted = source.root.removeprefix("s3://").partition("/")[0]
    if manifest.bucket != wanted:
        raise UsageError(
            f"--inventory: it lists the bucket {quote(manifest.bucket)}, and SOURCE is in "
            f"{quote(wanted)}.",
            uri=uri,
        )
    return manifest


def _parse(described: Any, uri: str) -> Manifest:
    """Return what a manifest says.

    Raises:
        UsageError: Its files are of another format, or lack a column.
        ValueError, KeyError, TypeError, AttributeError: It is not a manifest.
    """
    format_ = described["fileFormat"]
    if format_ not in ("CSV", "Parquet"):
        raise UsageError(
            f"--inventory: its files are {quote(str(format_))}; only CSV and Parquet can be read. "
            "Change the output format of the inventory.",
            uri=uri,
        )
    is_parquet = format_ == "Parquet"
    schema: str = described["fileSchema"]
    if is_parquet:
        columns = tuple(re.findall(r"(?:required|optional)\s+\w+\s+(\w+)", schema))
        names = {column: name for name, column in _COLUMNS.items()}
        found = {names.get(column, column) for column in columns}
    else:
        columns = tuple(name.strip() for name in schema.split(","))
        found = set(columns)
    has_versions = bool(found & {"VersionId", "version_id", "IsLatest"})
    needed = (*_NEEDED, *(("IsLatest", "IsDeleteMarker") if has_versions else ()))
    if missing := [name for name in needed if name not in found]:
        raise UsageError(
            f"--inventory: its files lack {', '.join(missing)}; they have {', '.join(columns)}. "
            "Add Size and ETag to the inventory's optional fields.",
            uri=uri,
        )
    files = tuple(
        (str(file["key"]), int(file["size"]), str(file["MD5checksum"]).lower())
        for file in described["files"]
    )
    return Manifest(
        uri=uri,
        bucket=str(described["sourceBucket"]),
        created=datetime.fromtimestamp(int(described["creationTimestamp"]) / 1000, UTC),
        is_parquet=is_parquet,
        columns=columns,
        has_versions=has_versions,
        files=files,
    )


def _paths(manifest: Manifest, bucket: Storage, source: Storage) -> pa.Table:
    """Return path, size and ETag of the objects below a source, in the order of their paths."""
    tables = [_read(manifest, bucket, source, *file) for file in manifest.files]
    table = pa.concat_tables([_SCHEMA.empty_table(), *tables])
    return table.sort_by("path")


def _read(
    manifest: Manifest, bucket: Storage, source: Storage, key: str, size: int, md5: str
) -> pa.Table:
    """Return path, size and ETag of the objects of a file that are below a source.

    Raises:
        StorageError: It differs from what the manifest says, or cannot be read.
        FetchError: It cannot be fetched.
    """
    uri = bucket.uri(key)
    try:
        body = bucket.fetch(key)
    except FetchError as error:
        raise StorageError(
            f"a file of the inventory cannot be fetched: {error.reason}", uri=uri
        ) from error
    if (len(body), _md5(body)) != (size, md5):
        raise StorageError(
            f"found {len(body):,} bytes with the MD5 {_md5(body)}, and the manifest says "
            f"{size:,} with {quote(md5)}. Take another day's inventory, or leave out --inventory.",
            uri=uri,
        )
    names = [name for name in _COLUMNS if manifest.has_versions or name in _NEEDED]
    try:
        if manifest.is_parquet:
            import pyarrow.parquet as pq

            columns = [_COLUMNS[name] for name in names]
            table = pq.read_table(pa.BufferReader(body)).select(columns).rename_columns(names)
        else:
            table = _read_csv(gzip.decompress(body), manifest.columns, names)
        return _below(table, manifest, source)
    except (pa.ArrowException, OSError, EOFError, zlib.error, KeyError, ValueError) as error:
        raise StorageError(
            f"this file of the inventory does not fit its manifest ({error}). Take another day's "
            "inventory, or leave out --inventory.",
            uri=uri,
        ) from error


def _read_csv(text: bytes, columns: Sequence[str], names: Sequence[str]) -> pa.Table:
    from pyarrow import csv

    if not text:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    table = csv.read_csv(
        io.BytesIO(text),
        csv.ReadOptions(column_names=list(columns)),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=dict.fromkeys(columns, _TEXT),
            include_columns=list(names),
            strings_can_be_null=False,
        ),
    )
    keys = table["Key"]
    encoded = pc.match_substring_regex(keys, "[%+]")
    if pc.any(encoded).as_py():
        # AWS encodes keys in CSV as in the answers of its API.
        decoded = [
            unquote_plus(key, errors="strict") if "%" in key or "+" in key else key
            for key in map(str, keys.to_pylist())
        ]
        table = table.set_column(table.column_names.index("Key"), "Key", pa.array(decoded, _TEXT))
    return table


def _below(table: pa.Table, manifest: Manifest, source: Storage) -> pa.Table:
    """Return path, size and ETag of the present objects below a source."""
    if manifest.has_versions:
        is_there = pc.and_(
            _is_true(table["IsLatest"]), pc.invert(_is_true(table["IsDeleteMarker"]))
        )
        table = table.filter(is_there)
    prefix = from_text(source.key("")).rstrip("/")
    keys = table["Key"].cast(_TEXT)
    if prefix:
        is_root = pc.equal(keys, pa.scalar(prefix, keys.type))
        is_below = pc.or_(pc.starts_with(keys, f"{prefix}/"), is_root)
        table, keys = table.filter(is_below), keys.filter(is_below)
        # Of the source itself, if it is one object, nothing is left.
        keys = pc.utf8_slice_codeunits(keys, len(prefix) + 1)
    return pa.table(
        {
            "path": keys,
            "size": table["Size"].cast(pa.int64()),
            "etag": pc.utf8_trim(table["ETag"].cast(_TEXT), '"'),
        },
        schema=_SCHEMA,
    )


def _is_true(column: Any) -> Any:
    if pa.types.is_boolean(column.type):
        return pc.fill_null(column, False)
    return pc.equal(pc.utf8_lower(column), pa.scalar("true", column.type))


def _in_order(table: pa.Table) -> Iterator[StoredFile]:
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        rows = table.slice(start, _ROWS_AT_ONCE).to_pydict()
        yield from map(StoredFile, rows["path"], rows["size"], rows["etag"])


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
