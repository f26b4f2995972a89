"""Logs in folders, what the oracle makes of them, and lakes as they are read back."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from flowconv import ConvertOptions, ConvertReport
from flowconv.blocks.counts import LineCounts
from oracle import reference

V2 = (
    b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes "
    b"start end action log-status\n"
)
ROW = b"2 123456789012 eni-1 10.0.0.1 10.0.0.2 443 49152 6 10 840 1768348800 1768348860 ACCEPT OK\n"


@dataclass(frozen=True)
class Key:
    """Where an object is below its source, and what that says, as the oracle has it."""

    path: str
    _: KW_ONLY
    account_id: str | None = None
    region: str | None = None
    flow_log_id: str | None = None
    day: date | None = None
    time: datetime | None = None


def aws_key(
    account_id: str = "123456789012",
    region: str = "eu-west-1",
    time: str = "2026-01-14T00:05",
    flow_log_id: str = "fl-0a1b2c3d4e5f60718",
    *,
    prefix: str = "",
    hash_: str = "1a2b3c4d",
    layout: str = "{account}/vpcflowlogs/{region}/{time:%Y/%m/%d}/",
) -> Key:
    """A key in AWS's layout."""
    moment = datetime.fromisoformat(f"{time}+00:00")
    folder = layout.format(account=account_id, region=region, time=moment)
    name = f"{account_id}_vpcflowlogs_{region}_{flow_log_id}_{moment:%Y%m%dT%H%MZ}_{hash_}.log.gz"
    path = f"{prefix}AWSLogs/{folder}{name}"
    return Key(
        path,
        account_id=account_id,
        region=region,
        flow_log_id=flow_log_id,
        day=moment.date(),
        time=moment,
    )


def write_objects(source: Path, objects: Mapping[Key, bytes]) -> None:
    """Write objects below a folder."""
    source.mkdir(parents=True, exist_ok=True)
    for key, body in objects.items():
        (source / key.path).parent.mkdir(parents=True, exist_ok=True)
        (source / key.path).write_bytes(body)


def data_files(lake: Path) -> list[Path]:
    """All files below the tables, sorted."""
    return sorted(
        path for table in ("vpc", "tgw") for path in (lake / table).rglob("*") if path.is_file()
    )


def read_quarantine(lake: Path) -> list[tuple[str, int, str, str | None, bytes]]:
    """All lines set aside: uri, line, reason, field, text."""
    lines = []
    for path in sorted((lake / "_flowconv/quarantine").glob("*")):
        assert path.suffix == ".jsonl"
        for record in map(json.loads, path.read_text(encoding="ascii").splitlines()):
            assert list(record) == ["uri", "line", "reason", "field", "text"]
            text = record.pop("text").encode("utf-8", "surrogateescape")
            lines.append((*record.values(), text))
    return lines


# Table, directory, columns, and the rows in their order.
Piece = tuple[str, str, tuple[str, ...], tuple[tuple[Any, ...], ...]]


@dataclass(kw_only=True)
class Expected:
    """What a conversion must come to, by the oracle."""

    objects: int = 0
    unreadable: set[str] = field(default_factory=set)
    lines: LineCounts = field(default_factory=LineCounts)
    rejected: list[tuple[str, int, str, str | None, bytes]] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)


def expected(source: Path, objects: Mapping[Key, bytes], options: ConvertOptions) -> Expected:
    """Convert with the oracle.

    Rows of one account, region and day (of the keys), partition and set of columns stand in one
    order: by flow log, then key, then line. An object's name is where it really is.
    """
    result = Expected()
    pieces: defaultdict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    uris = {key: reference.name_text(os.path.realpath(source / key.path)) for key in objects}
    for key in sorted(objects, key=lambda key: (key.flow_log_id or "", uris[key])):
        uri = uris[key]
        try:
            read = reference.read_object(
                objects[key],
                format=options.format,
                delivered=key.time.date() if key.time else key.day,
                time_type=options.time_type,
            )
        except reference.Unreadable:
            result.unreadable.add(uri)
            continue
        if read.rejected and not read.rows:
            result.unreadable.add(uri)  # No line of it fits.
            continue
        result.objects += 1
        result.lines += LineCounts(
            header=read.header,
            blank=read.blank,
            comment=read.comment,
            rows=len(read.rows),
            rejected=len(read.rejected),
            split=read.split,
            milliseconds=read.milliseconds,
            far_times=read.far_times,
            left_out=read.left_out,
        )
        result.rejected += [(uri, r.line, r.reason, r.field, r.text) for r in read.rejected]
        group = (key.account_id, key.region, key.day)
        for row in read.rows:
            directory = reference.partition_path(
                reference.partition(
                    row,
                    account=key.account_id or options.account,
                    region=key.region or options.region,
                    time=key.time,
                    day=key.day,
                    partition_by=options.partition_by,
                )
            )
            values = reference.table_row(row, flow_log_id=key.flow_log_id)
            pieces[row.table, directory, tuple(values), group].append(tuple(values.values()))
    result.pieces = [(*key[:3], tuple(rows)) for key, rows in pieces.items()]
    return result


def column_types(table: str, columns: tuple[str, ...], time_type: str) -> list[pa.DataType]:
    """The types of a file's columns, by the oracle."""
    types = {
        "int32": pa.int32(),
        "int64": pa.int64(),
        "time": pa.int64() if time_type == "epoch" else pa.timestamp("us", tz="UTC"),
    }
    kinds = {name.replace("-", "_"): kind for name, kind in reference.FIELDS[table].items()}
    return [types.get(kinds.get(column, ""), pa.string()) for column in columns]


# By what rows are sorted within a row group.
SORTED_BY = {
    "vpc": ["interface_id", "srcaddr", "dstaddr", "start"],
    "tgw": ["tgw_attachment_id", "srcaddr", "dstaddr", "start"],
}


def sorted_rows(
    table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Sort rows as a row group is; nulls come first, and equal ones keep their order."""
    places = [columns.index(name) for name in SORTED_BY[table]]

    def key(row: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        values = [row[place] for place in places]
        texts = [value.encode() if isinstance(value, str) else value for value in values]
        return [(False,) if value is None else (True, value) for value in texts]

    return sorted(rows, key=key)


def in_order(pieces: Iterable[Piece], order: str) -> Counter[Piece]:
    """Pieces in one order, whatever the row groups that they were cut into."""
    if order == "log":
        return Counter(pieces)
    return Counter((*piece[:3], tuple(sorted_rows(piece[0], *piece[2:]))) for piece in pieces)


def read_pieces(lake: Path, time_type: str, order: str) -> list[Piece]:
    """Read every file back with pyarrow and with polars, and join those of one task again."""
    rows: defaultdict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for path in data_files(lake):  # Sorted, so a task's files are in the order of their numbers.
        task, dash, number = path.stem.rpartition("-")
        assert (path.suffix, dash, number.isdigit()) == (".parquet", "-", True)
        with pq.ParquetFile(path) as file:
            content = file.read()
            groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        columns = tuple(content.column_names)
        below = path.relative_to(lake)
        table, directory = below.parts[0], "/".join(below.parts[1:-1])
        assert content.schema.types == column_types(table, columns, time_type)
        assert content.num_rows > 0
        read = list(zip(*(column.to_pylist() for column in content.columns), strict=True))
        assert pl.read_parquet(path, hive_partitioning=False).rows() == read
        if order == "sorted":
            for first, count in zip(accumulate(groups, initial=0), groups, strict=False):
                group = read[first : first + count]
                assert group == sorted_rows(table, columns, group)
        rows[table, directory, columns, task] += read
    return [(*key[:3], tuple(values)) for key, values in rows.items()]


def assert_as_reference(
    source: Path,
    objects: Mapping[Key, bytes],
    lake: Path,
    options: ConvertOptions,
    report: ConvertReport,
    unreadable: Collection[str] = (),
) -> None:
    """Rows, nulls, types, order, partitions, quarantine and counts: all as the oracle's.

    `unreadable` is what cannot be read beside the objects.
    """
    wanted = expected(source, objects, options)
    wanted.unreadable.update(unreadable)
    got = read_pieces(lake, options.time_type, options.order)
    assert Counter((*piece[:3], len(piece[3])) for piece in got) == Counter(
        (*piece[:3], len(piece[3])) for piece in wanted.pieces
    )
    assert in_order(got, options.order) == in_order(wanted.pieces, options.order)
    quarantined = read_quarantine(lake)
    assert sorted(quarantined, key=repr) == sorted(wanted.rejected, key=repr)

    assert report.unreadable.keys() == wanted.unreadable
    assert report.objects == wanted.objects
    assert report.lines == wanted.lines
    lines = report.lines
    kinds = lines.header + lines.blank + lines.comment + lines.rows + lines.rejected
    assert lines.lines == kinds - lines.split
    assert report.rejected == Counter(reason for _, _, reason, _, _ in wanted.rejected)
    assert report.complete == (not wanted.unreadable and not wanted.rejected)
    assert report.tables == Counter(
        {
            table: sum(len(piece[3]) for piece in wanted.pieces if piece[0] == table)
            for table in {piece[0] for piece in wanted.pieces}
        }
    )
    assert report.directories == {"/".join(piece[:2]) for piece in wanted.pieces}
    assert report.files == len(data_files(lake))
    assert report.written_bytes == sum(path.stat().st_size for path in data_files(lake))
    assert report.source_bytes == sum(
        len(body)
        for key, body in objects.items()
        if reference.name_text(os.path.realpath(source / key.path)) not in wanted.unreadable
    )
    assert not list((lake / "_flowconv").glob("staging/*"))


def killed_run(logs: Path, lake: Path) -> None:
    """A run that is killed when its first task's files are in place, but do not count yet."""
    code = """
import os, signal, sys
from flowconv import convert
from flowconv.lake.ledger import Ledger
Ledger.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
convert(*sys.argv[1:])
"""
    done = subprocess.run([sys.executable, "-c", code, logs, lake], check=False)
    assert done.returncode == -signal.SIGKILL
