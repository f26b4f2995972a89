"""Generated inventories in place of a listing: the same objects, and what is wrong with others."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flowconv
from flowconv import ConvertOptions, StorageError, UsageError, VerifyOptions
from flowconv.source.keys import LogObject
from flowconv.source.listing import DayEnd
from flowconv.source.opening import open_source
from flowconv.source.patterns import Patterns
from flowconv.source.selection import Selection
from flowconv.storage.names import from_text
from support.exactly_once import s3_options
from support.lakes import ROW, V2, aws_key
from support.s3_servers import S3Server

CREATED = datetime(2026, 1, 20, 4, tzinfo=UTC)  # Days from the 18th on are listed.
CSV_COLUMNS = "Bucket, Key, Size, LastModifiedDate, ETag"
VERSIONS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"
PARQUET_NAMES = {
    "Bucket": "bucket",
    "Key": "key",
    "VersionId": "version_id",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
}
HOSTILE = [
    "AWSLogs/with space.log",
    "AWSLogs/plus+and%25percent%.log",
    'AWSLogs/"quoted", and more.log',
    "AWSLogs/größe/日本.log",
    "AWSLogs/aws-account-id=1/x.log",
]
DAYS = [aws_key(time=f"2026-01-{day}T00:05").path for day in (14, 15, 19)]
OTHERS = [
    "AWSLogs/123456789012/CloudTrail/eu-west-1/2026/01/14/x.json.gz",
    "AWSLogs/_hidden",
    "elsewhere/a.log",
    "lake/_flowconv/lake.json",
    "lake/vpc/date=2026-01-14/x.parquet",
]


class Bucket:
    """A bucket of logs, and inventories of it in another."""

    def __init__(self, server: S3Server) -> None:
        self.name, self.inventories = server.make_bucket(), server.make_bucket()
        self.client = server.client()
        self.options = s3_options(server)
        for key in (*DAYS, *HOSTILE, *OTHERS):
            self.client.put_object(Bucket=self.name, Key=key, Body=gzip.compress(V2 + ROW))

    def rows(self) -> list[dict[str, str]]:
        found = self.client.list_objects_v2(Bucket=self.name)["Contents"]
        return [
            {
                "Bucket": self.name,
                "Key": entry["Key"],
                "Size": str(entry["Size"]),
                "ETag": entry["ETag"].strip('"'),
                "LastModifiedDate": "2026-01-14T00:05:00.000Z",
                "IsLatest": "true",
                "IsDeleteMarker": "false",
                "VersionId": "v1",
            }
            for entry in found
        ]

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.inventories, Key=key, Body=body)

    def write(
        self,
        rows: list[dict[str, str]],
        *,
        format_: str = "CSV",
        columns: str = CSV_COLUMNS,
        files: int = 2,
        **changed: Any,
    ) -> str:
        """Write an inventory, of which parts may be changed; return its manifest's URL."""
        names = columns.split(", ")
        entries = []
        for number in range(files):
            # Not in order.
            body = written(rows[::-1][number::files], names, format_)
            key = f"inv/{self.name}/all/data/{number}.{format_.lower()}"
            self.put(key, body)
            md5 = hashlib.md5(body).hexdigest()
            entries.append({"key": key, "size": len(body), "MD5checksum": md5})
        schema = columns if format_ == "CSV" else parquet_schema(names)
        described = {
            "sourceBucket": self.name,
            "destinationBucket": f"arn:aws:s3:::{self.inventories}",
            "version": "2016-11-30",
            "creationTimestamp": str(int(CREATED.timestamp() * 1000)),
            "fileFormat": format_,
            "fileSchema": schema,
            "files": entries,
        } | changed
        folder = f"inv/{self.name}/all/2026-01-20T04-00Z"
        text = json.dumps(described).encode()
        self.put(f"{folder}/manifest.json", text)
        self.put(f"{folder}/manifest.checksum", hashlib.md5(text).hexdigest().encode())
        return f"s3://{self.inventories}/{folder}/manifest.json"

    def listed(
        self, below: str = "AWSLogs", **selection: Any
    ) -> tuple[list[LogObject | DayEnd], Counter[str]]:
        left_out: Counter[str] = Counter()
        url = f"s3://{self.name}/{below}" if below else f"s3://{self.name}"
        source = open_source(url, self.options)
        return list(source.list_with_day_ends(Selection(**selection), left_out, {})), left_out


def written(rows: list[dict[str, str]], names: list[str], format_: str) -> bytes:
    if format_ == "CSV":
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row in rows:
            writer.writerow(quote_plus(row[n], safe="/") if n == "Key" else row[n] for n in names)
        return gzip.compress(text.getvalue().encode())
    values: dict[str, list[Any]] = {PARQUET_NAMES[name]: [r[name] for r in rows] for name in names}
    if "size" in values:
        values["size"] = [int(size) if size else None for size in values["size"]]
    for name in ("is_latest", "is_delete_marker"):
        if name in values:
            values[name] = [value == "true" for value in values[name]]
    sink = io.BytesIO()
    pq.write_table(pa.table(values), sink)
    return sink.getvalue()


def parquet_schema(names: list[str]) -> str:
    types = {"Size": "int64", "IsLatest": "boolean", "IsDeleteMarker": "boolean"}
    fields = [
        f"  {'required' if name in ('Bucket', 'Key') else 'optional'} "
        f"{types.get(name, 'binary')} {PARQUET_NAMES[name]}"
        f"{'' if name in types else ' (STRING)'};"
        for name in names
    ]
    return "message s3.inventory {\n" + "\n".join(fields) + "\n}"


@pytest.fixture(scope="module")
def bucket(moto_s3: S3Server) -> Bucket:
    return Bucket(moto_s3)


def objects(listed: list[LogObject | DayEnd]) -> list[LogObject]:
    return sorted(
        (item for item in listed if isinstance(item, LogObject)), key=lambda item: item.uri
    )


@pytest.mark.parametrize(
    ("format_", "columns", "below"),
    [
        ("CSV", CSV_COLUMNS, "AWSLogs"),
        ("CSV", VERSIONS, ""),
        ("Parquet", CSV_COLUMNS, ""),
        ("Parquet", VERSIONS, "AWSLogs"),
        ("Parquet", VERSIONS, DAYS[0]),
    ],
    ids=["CSV", "CSV of a bucket", "Parquet of a bucket", "Parquet", "an object"],
)
def test_as_a_listing(bucket: Bucket, format_: str, columns: str, below: str) -> None:
    wanted, left_out = bucket.listed(below)
    assert objects(wanted)
    url = bucket.write(bucket.rows(), format_=format_, columns=columns)
    found, left_out_now = bucket.listed(below, inventory=url)
    assert objects(found) == objects(wanted)
    if below != "":  # Folders of other services and lakes count once, objects each.
        assert left_out_now == left_out
    # Each day of the inventory ends behind its objects.
    for place, item in enumerate(found):
        if isinstance(item, LogObject) and item.day and item.day < date(2026, 1, 18):
            assert found[place + 1] == DayEnd(item.account_id, item.region, item.day)


def test_chosen_days_and_patterns(bucket: Bucket) -> None:
    url = bucket.write(bucket.rows())
    for selection in (
        {"since": date(2026, 1, 15)},
        {"until": date(2026, 1, 14)},
        {"since": date(2026, 1, 19)},
        {"patterns": Patterns((), ("*.log",))},
    ):
        found, _ = bucket.listed(inventory=url, **selection)
        assert objects(found) == objects(bucket.listed(**selection)[0])
        assert objects(found)


def test_later_days_are_listed(bucket: Bucket) -> None:
    """What is in the inventory of them does not count: it may be incomplete."""
    rows = [row for row in bucket.rows() if row["Key"] != DAYS[-1]]
    gone = {**rows[0], "Key": aws_key(time="2026-01-19T00:05", hash_="0000dead").path}
    url = bucket.write([*rows, gone])
    assert objects(bucket.listed(inventory=url)[0]) == objects(bucket.listed()[0])


def test_only_present_versions(bucket: Bucket) -> None:
    rows = bucket.rows()
    old = {**rows[0], "Size": "7", "ETag": "old", "IsLatest": "false"}
    key = aws_key(time="2026-01-14T00:05", hash_="0000dead").path
    marker = {**rows[0], "Key": key, "Size": "", "ETag": "", "IsDeleteMarker": "true"}
    for format_ in ("CSV", "Parquet"):
        url = bucket.write([*rows, old, marker], format_=format_, columns=VERSIONS)
        assert objects(bucket.listed(inventory=url)[0]) == objects(bucket.listed()[0])


def test_keys_that_no_store_of_tests_takes(bucket: Bucket) -> None:
    keys = ["AWSLogs/a\nb\r\n.log", 'AWSLogs/"\n".log', "AWSLogs/%2F+%.log", "AWSLogs/a//b/./../c"]
    rows = [{**bucket.rows()[0], "Key": key} for key in keys]
    for format_ in ("CSV", "Parquet"):
        found, _ = bucket.listed(inventory=bucket.write(rows, format_=format_))
        paths = {item.path for item in objects(found) if item.day is None}
        assert {f"AWSLogs/{from_text(path)}" for path in paths} == set(keys)


def test_empty(bucket: Bucket) -> None:
    url = bucket.write([], files=1)
    found = objects(bucket.listed(inventory=url)[0])
    assert [item.day for item in found] == [date(2026, 1, 19)]
    assert objects(bucket.listed(inventory=bucket.write([], files=0))[0]) == found


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sourceBucket": "another"}, "it lists the bucket 'another', and SOURCE is in 'user"),
        ({"fileFormat": "ORC"}, "its files are 'ORC'; only CSV and Parquet can be read"),
        ({"columns": "Bucket, Key"}, "its files lack Size, ETag; they have Bucket, Key"),
        ({"columns": "Bucket, Key, Size"}, "its files lack ETag"),
        ({"columns": "Bucket, Key, Size", "format_": "Parquet"}, "its files lack ETag"),
        ({"columns": "Bucket, Key, VersionId, Size, ETag"}, "lack IsLatest, IsDeleteMarker"),
        ({"written": b'{"files": "x"}'}, "not the manifest of an S3 Inventory"),
        ({"written": b"[" * 100_000}, "not the manifest of an S3 Inventory"),
        ({"creationTimestamp": "soon"}, "not the manifest of an S3 Inventory"),
    ],
)
def test_wrong_manifests(bucket: Bucket, changed: dict[str, Any], message: str) -> None:
    changed = dict(changed)
    written = changed.pop("written", None)
    url = bucket.write(bucket.rows(), **changed)
    if written:
        path = url.removeprefix(f"s3://{bucket.inventories}/")
        bucket.put(path, written)
        bucket.client.delete_object(
            Bucket=bucket.inventories, Key=path.replace(".json", ".checksum")
        )
    with pytest.raises(UsageError, match=message):
        bucket.listed(inventory=url)


def reverse(body: bytes) -> bytes:
    return body[::-1]


def fewer_columns(_: bytes) -> bytes:
    return gzip.compress(b'"b","k","1"\n')


def no_gzip(_: bytes) -> bytes:
    return b"x"


@pytest.mark.parametrize(
    ("damage", "is_told", "message"),
    [
        (reverse, False, "with the MD5 .*, and the manifest says"),
        (fewer_columns, True, "does not fit its manifest"),
        (no_gzip, True, "does not fit its manifest"),
    ],
)
def test_damaged_files(
    bucket: Bucket, damage: Callable[[bytes], bytes], is_told: bool, message: str
) -> None:
    url = bucket.write(bucket.rows(), files=1)
    key = f"inv/{bucket.name}/all/data/0.csv"
    body = damage(bucket.client.get_object(Bucket=bucket.inventories, Key=key)["Body"].read())
    if is_told:
        md5 = hashlib.md5(body).hexdigest()
        entry = {"key": key, "size": len(body), "MD5checksum": md5}
        url = bucket.write(bucket.rows(), files=1, version="x")
        path = url.removeprefix(f"s3://{bucket.inventories}/")
        described = json.loads(
            bucket.client.get_object(Bucket=bucket.inventories, Key=path)["Body"].read()
        )
        text = json.dumps(described | {"files": [entry]}).encode()
        bucket.put(path, text)
        bucket.put(path.replace(".json", ".checksum"), hashlib.md5(text).hexdigest().encode())
    bucket.put(key, body)
    with pytest.raises(StorageError, match=message):
        bucket.listed(inventory=url)


def test_damaged_manifest(bucket: Bucket) -> None:
    url = bucket.write(bucket.rows())
    path = url.removeprefix(f"s3://{bucket.inventories}/")
    bucket.put(path.replace(".json", ".checksum"), b"0" * 32)
    with pytest.raises(StorageError, match=r"manifest\.checksum has another"):
        bucket.listed(inventory=url)
    with pytest.raises(StorageError, match="no such manifest"):
        bucket.listed(inventory=url.replace("all", "none"))
    url = bucket.write(bucket.rows(), files=1)
    bucket.client.delete_object(Bucket=bucket.inventories, Key=f"inv/{bucket.name}/all/data/0.csv")
    with pytest.raises(StorageError, match="a file of the inventory cannot be fetched"):
        bucket.listed(inventory=url)


@pytest.mark.parametrize(
    "url", ["manifest.json", "s3://b/x.csv", "s3://b", "https://b/manifest.json", ""]
)
def test_not_the_url_of_a_manifest(bucket: Bucket, url: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of an inventory's manifest"):
        bucket.listed(inventory=url)


def test_convert(bucket: Bucket, tmp_path: Path) -> None:
    url = bucket.write(bucket.rows())

    def convert(**options: Any) -> flowconv.ConvertReport:
        how = ConvertOptions(workers=2, source_options=bucket.options, **options)
        return flowconv.convert(f"s3://{bucket.name}/AWSLogs", tmp_path / "lake", how)

    report = convert(inventory=url)
    assert report.objects == len(DAYS) + len(HOSTILE)
    report = convert()
    assert (report.objects, report.already_converted) == (0, len(DAYS) + len(HOSTILE))
    assert report.changed == []
    with pytest.raises(UsageError, match="it lists a bucket of S3, and SOURCE is none"):
        flowconv.convert(tmp_path, tmp_path / "other", ConvertOptions(inventory=url))


def test_verify(bucket: Bucket, tmp_path: Path) -> None:
    lake, logs = tmp_path / "lake", f"s3://{bucket.name}/AWSLogs"
    how: Any = {"workers": 2, "source_options": bucket.options}
    flowconv.convert(logs, lake, ConvertOptions(**how))

    def verify(url: str, **options: Any) -> flowconv.VerifyReport:
        return flowconv.verify(lake, logs, VerifyOptions(inventory=url, **how, **options))

    rows = bucket.rows()
    report = verify(bucket.write(rows))
    assert report == replace(verify(bucket.write(rows), repair=True), seconds=report.seconds)
    assert (report.problems, report.expired) == ([], 0)
    assert report.objects == report.listed == len(DAYS) + len(HOSTILE)
    assert report.lines == 2 * report.objects

    # Days from the 18th on are listed, whatever the inventory lacks of them.
    without = [row for row in rows if row["Key"] not in (DAYS[0], DAYS[2])]
    report = verify(bucket.write(without), quick=True)
    assert (report.problems, report.expired) == ([], 1)

    added = rows[0] | {"Key": "AWSLogs/more.log"}
    changed = [row | {"ETag": "other"} if row["Key"] == DAYS[1] else row for row in rows]
    assert verify(bucket.write([*changed, added]), quick=True).kinds == {
        "not-converted": 1,
        "changed": 1,
    }
    with pytest.raises(UsageError, match="it lists a bucket of S3, and SOURCE is none"):
        flowconv.verify(lake, tmp_path, VerifyOptions(inventory=bucket.write(rows)))
