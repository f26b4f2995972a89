"""Small logs whose rows say which object they are from, and lakes held against what they must hold.

What must be in a lake is taken from a run that nothing disturbed.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import polars as pl

import flowconv
from flowconv.errors import LakeError
from flowconv.lake.converted_objects import etags
from flowconv.lake.ledger import Ledger
from flowconv.lake.paths import LEDGER
from flowconv.storage.interface import Storage
from flowconv.storage.opening import open_storage
from oracle.reference import HIVE_NULL
from support.lakes import V2, aws_key
from support.s3_servers import S3Server

# Directory, then the values: a row, and a table of them.
Rows = Counter[tuple[Any, ...]]


class Lake(Protocol):
    """A place for a lake, and all that is in it, however it came there.

    Attributes:
        kind: "local", or the server's kind.
    """

    kind: str
    url: str
    options: Mapping[str, str]

    def names(self) -> set[str]:
        """Return the paths of all files, and of uploads that are not finished."""
        ...

    def fetch(self, path: str) -> bytes: ...

    def copy(self) -> Lake:
        """Return a place of its own with the same files."""
        ...


class LocalLake:
    def __init__(self, folder: Path) -> None:
        self.kind = "local"
        self.url = str(folder)
        self.options: Mapping[str, str] = {}

    def names(self) -> set[str]:
        return {
            os.path.relpath(Path(folder, name), self.url)
            for folder, _, names in os.walk(self.url)
            for name in names
        }

    def fetch(self, path: str) -> bytes:
        return Path(self.url, path).read_bytes()

    def copy(self) -> LocalLake:
        other = f"{self.url}-{secrets.token_hex(4)}"
        if Path(self.url).exists():
            shutil.copytree(self.url, other)
        return LocalLake(Path(other))


class S3Lake:
    def __init__(self, server: S3Server, bucket: str, endpoint_url: str | None = None) -> None:
        self.kind: str = server.kind
        self._server = server
        self._bucket = bucket
        self._client = server.client()
        self._prefix = f"lakes/{secrets.token_hex(4)}/"
        self.url = f"s3://{bucket}/{self._prefix[:-1]}"
        self.options: Mapping[str, str] = s3_options(server, endpoint_url)

    def names(self) -> set[str]:
        names = []
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
            names += [entry["Key"] for entry in page.get("Contents", [])]
        uploads = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix)
        names += [f"{upload['Key']} (unfinished)" for upload in uploads.get("Uploads", [])]
        return {name.removeprefix(self._prefix) for name in names}

    def fetch(self, path: str) -> bytes:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)
        except self._client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(path) from error
        return bytes(answer["Body"].read())

    def copy(self) -> S3Lake:
        other = S3Lake(self._server, self._bucket, self.options["endpoint_url"])
        for name in self.names():
            self._client.put_object(
                Bucket=self._bucket, Key=other._prefix + name, Body=self.fetch(name)
            )
        return other


def s3_options(server: S3Server, endpoint_url: str | None = None) -> dict[str, str]:
    return {
        "key": server.users[0].access_key,
        "secret": server.users[0].secret_key,
        "endpoint_url": endpoint_url or server.endpoint_url,
        "region": server.region,
    }


def storage_of(lake: Lake) -> Storage:
    return open_storage(lake.url, lake.options)


def arguments(source: Path | str, lake: Lake, *more: str) -> list[str]:
    """The command line that converts logs to a lake."""
    options = [f"--dest-option={name}={value}" for name, value in lake.options.items()]
    return ["convert", str(source), lake.url, "--workers=2", "--json", *options, *more]


def body(name: str, rows: int = 4, bad_lines: int = 0) -> bytes:
    """An object whose rows have its name, and lie on both sides of a midnight."""
    lines = V2
    for number in range(rows):
        start = int(datetime(2026, 1, 14, tzinfo=UTC).timestamp()) + 600 * (number - 1)
        lines += (
            f"2 123456789012 {name} 10.0.0.1 10.0.0.2 443 {number} 6 10 840 {start} {start + 60} "
            "ACCEPT OK\n"
        ).encode()
    return gzip.compress(lines + f"{name} is bad\n".encode() * bad_lines)


def write_object(source: Path, number: int, content: bytes) -> str:
    """Write the object of a number, two of which make a task; return its uri."""
    path = source / object_path(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def object_path(number: int) -> str:
    account_id = f"{number // 2:012d}"
    return aws_key(account_id, time="2026-01-14T00:05", hash_=f"{number:08x}").path


def rows_of(paths: Iterable[str], fetch: Callable[[str], bytes]) -> Rows:
    """The rows of Parquet files, each of which must be whole."""
    rows: Rows = Counter()
    for path in paths:
        content = pl.read_parquet(io.BytesIO(fetch(path)))  # Arrow takes twice as long.
        directory = path.rpartition("/")[0]
        rows.update((directory, *row) for row in content.rows())
    return rows


def by_object(rows: Rows) -> dict[str, Rows]:
    """Rows by the name of the object that they are from."""
    objects: dict[str, Rows] = {}
    for row, count in rows.items():
        objects.setdefault(row[3], Counter())[row] = count
    return objects


def tables(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith("vpc/") and name.endswith(".parquet")]


def scanned(lake: Lake) -> Rows:
    """What `flowconv.scan` shows, as `rows_of` has it; nothing if the lake has not begun."""
    try:
        frame = flowconv.scan(lake.url, options=lake.options).collect()
    except LakeError as error:
        assert "has no _flowconv/lake.json" in str(error)  # noqa: PT017
        return Counter()
    rows: Rows = Counter()
    for *values, account_id, region, day in frame.rows():
        account, region_ = account_id or HIVE_NULL, region or HIVE_NULL
        rows[f"vpc/aws_account_id={account}/aws_region={region_}/date={day}", *values] += 1
    return rows


def assert_sound(lake: Lake, expected: Mapping[tuple[str, str], Rows]) -> int:
    """What readers see of a lake whose run was killed: whole files, and committed objects' rows.

    Args:
        lake: The lake.
        expected: Uri and etag of every object -> its rows.

    Returns:
        How many objects are committed.
    """
    ledger, _ = _read_sound(lake, expected, lake.names(), lake.fetch)
    return len(etags(ledger))


def _read_sound(
    lake: Lake,
    expected: Mapping[tuple[str, str], Rows],
    names: Iterable[str],
    fetch: Callable[[str], bytes],
) -> tuple[Ledger, Rows]:
    """The ledger, and the rows of all files, committed or not."""
    rows = rows_of(tables(names), fetch)
    ledger = Ledger.read(storage_of(lake))
    wanted: Rows = Counter()
    for version in etags(ledger).items():
        wanted += expected[version]
    assert scanned(lake) == wanted
    return ledger, rows


def assert_exact(lake: Lake, expected: Mapping[tuple[str, str], Rows]) -> None:
    """A lake that is done: every row once, by listing and by scanning; and no strays."""
    names, fetch = lake.names(), cache(lake.fetch)
    ledger, found = _read_sound(lake, expected, names, fetch)
    assert len(etags(ledger)) == len(expected)
    wanted: Rows = Counter()
    for rows in expected.values():
        wanted += rows
    assert found == wanted
    known = {"_flowconv/lake.json", "_flowconv/ledger.json"} | _of_the_ledger(lake, names)
    assert not names - ledger.files().keys() - known
    assert ledger.files().keys() <= names
    for path, (file, _) in ledger.files().items():
        assert len(fetch(path)) == file.size_bytes
        if not file.is_data:
            records = fetch(path).splitlines()
            assert len([json.loads(record) for record in records]) == file.rows


def _of_the_ledger(lake: Lake, names: Iterable[str]) -> set[str]:
    """The records and checkpoints that should be there.

    A checkpoint stays for those who are reading it, until the one behind the next is made; and
    what was begun of one, until the next is made. Checkpoints share files of objects.
    """
    parts: defaultdict[str, dict[int, str]] = defaultdict(dict)
    after: dict[int, int] = {}
    known = rf"{LEDGER}/(\d{{12}})(?:\.(\w+)(?:-after-(\d{{12}}))?-[0-9a-f]{{8}}\.parquet)?"
    for name in names:
        if match := re.fullmatch(known, name):
            parts[match[2] or ""][int(match[1])] = name
            if match[2] == "objects":
                after[int(match[1])] = int(match[3] or 0)
    records = parts.pop("", {})
    assert parts.keys() <= {"objects", "files", "runs"}
    last = max(after, default=0)
    for number, name in records.items():
        # It stops those who were paused before it; others have gone into the checkpoint.
        assert number > last or json.loads(lake.fetch(name))["kind"] == "begin"
    files, runs = ({n for n in parts[part] if n <= last} for part in ("files", "runs"))
    assert files == runs
    assert len(files) <= 2
    assert max(files, default=0) == last
    of_objects = set()
    for checkpoint in files:
        link = checkpoint
        while link:
            of_objects.add(link)
            link = after[link]
    assert of_objects == set(after)
    return {*records.values(), *(name for part in parts.values() for name in part.values())}
