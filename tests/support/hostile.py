"""Objects that do harm, and good ones among them: made from a seed, with what must become of each.

The rows of good objects are of the interfaces `eni-good-…`; damaged ones may leave rows of their
own, whose interface is `eni-maybe`.
"""

import bz2
import gzip
import json
import lzma
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from support.lakes import ROW, V2
from support.shapes import (
    cloudwatch_export,
    document,
    firehose,
    gzip_members,
    parquet,
    subscription,
)

Chance = random.Random


@dataclass(frozen=True)
class Hostile:
    """An object.

    Attributes:
        kind: What is done.
        body: Its bytes.
        rows: Rows of its good interface; none if it cannot be read.
        interface_id: That interface.
    """

    kind: str
    body: bytes
    rows: int
    interface_id: str


def make_hostile(number: int, seed: int) -> Hostile:
    """Make one object; the same number and seed give the same one."""
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choice(sorted(GOOD)) if chance.random() < 0.5 else chance.choice(sorted(BAD))
    interface_id = f"eni-good-{number}"
    if kind in GOOD:
        rows = chance.choice([1, 2, 3, 50, 400])
        row = ROW.replace(b"eni-1", interface_id.encode())
        return Hostile(kind, GOOD[kind](row, rows, chance), rows, interface_id)
    return Hostile(kind, BAD[kind](chance), 0, interface_id)


def _messages(row: bytes, rows: int) -> list[str]:
    return [row.decode().strip()] * rows


def _columns(row: bytes, rows: int) -> dict[str, list[str]]:
    values = row.decode().split()
    return {name: [value] * rows for name, value in zip(V2.decode().split(), values, strict=True)}


# All are read with `--format default`.
GOOD: dict[str, Callable[[bytes, int, Chance], bytes]] = {
    "text": lambda row, rows, _: V2 + rows * row,
    "gzip": lambda row, rows, _: gzip.compress(V2 + rows * row, 1),
    "members": lambda row, rows, _: gzip_members([V2, *[row] * rows, b""]),
    "gzip in gzip": lambda row, rows, _: gzip.compress(gzip.compress(V2 + rows * row, 1), 1),
    "no header": lambda row, rows, _: rows * row,
    "tabs and CRLF": lambda row, rows, _: (
        V2 + rows * row.replace(b" ", b"\t", 3).replace(b"\n", b"  \r\n")
    ),
    "comments": lambda row, rows, _: b"\n# by hand\n" + V2 + rows * (b"# x\n" + row),
    "headers again": lambda row, rows, _: V2 + rows * (row + V2),
    "bad lines": lambda row, rows, chance: (
        V2
        + rows * row
        + b"".join(b"x" * chance.randrange(99) + b" \xff\n" for _ in range(chance.randrange(99)))
    ),
    "export": lambda row, rows, _: cloudwatch_export([row.strip()] * rows),
    "subscription": lambda row, rows, _: subscription([document(_messages(row, rows))]),
    "subscriptions": lambda row, rows, _: gzip.compress(
        subscription([document(_messages(row, 1)) for _ in range(rows)])
    ),
    "firehose": lambda row, rows, _: firehose(_messages(row, rows)),
    "glued firehose": lambda row, rows, _: firehose(_messages(row, rows), between=""),
    "parquet": lambda row, rows, _: parquet(_columns(row, rows)),
}


def _noise(chance: Chance, most: int = 4000) -> bytes:
    return chance.randbytes(chance.randrange(1, most))


def _maybe(rows: int = 200) -> bytes:
    return V2 + rows * ROW.replace(b"eni-1", b"eni-maybe")


def _flipped(body: bytes, chance: Chance) -> bytes:
    damaged = bytearray(body)
    for _ in range(chance.randrange(1, 5)):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _bomb_column(rows: int) -> bytes:
    large = pa.DictionaryArray.from_arrays(
        pa.array([0] * rows, pa.int32()), pa.array(["x" * 65536])
    )
    columns = _columns(ROW.replace(b"eni-1", b"eni-maybe"), rows)
    return parquet({**columns, "note": large}, compression="zstd", store_schema=False)


BAD: dict[str, Callable[[Chance], bytes]] = {
    "empty": lambda _: b"",
    "noise": _noise,
    "noise in gzip": lambda chance: gzip.compress(_noise(chance), 1),
    "prose": lambda chance: b"Dear all,\n" * chance.randrange(1, 500),
    "cut gzip": lambda chance: gzip.compress(_maybe(), 1)[: -chance.randrange(1, 60)],
    "flipped gzip": lambda chance: _flipped(gzip.compress(_maybe(), 1), chance),
    "gzip with a long name": lambda chance: (
        b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * chance.choice([600_000, 70_000])
    ),
    "gzip of zeros": lambda _: gzip.compress(bytes(20 << 20)),
    "gzip, three layers": lambda _: gzip.compress(gzip.compress(gzip.compress(_maybe()))),
    "zip": lambda chance: b"PK\x03\x04" + _noise(chance),
    "bzip2": lambda _: bz2.compress(_maybe()),
    "xz": lambda _: lzma.compress(_maybe()),
    "deflate": lambda _: zlib.compress(_maybe()),
    "UTF-16": lambda _: _maybe().decode().encode("utf-16"),
    "commas": lambda _: _maybe().replace(b" ", b","),
    "second header that is none": lambda _: _maybe() + b"srcaddr " * 2 + b"\n",
    "many headers": lambda chance: b"".join(
        b"version start x%d\n2 1768348800 y\n" % chance.randrange(1 << 40) for _ in range(200)
    ),
    "one-character lines": lambda chance: V2 + b"x\n" * chance.randrange(1, 20_000),
    "a long line": lambda _: V2 + b"x" * (9 << 20),
    "CloudTrail": lambda _: json.dumps(
        {"Records": [{"eventName": "x", "k": "v" * 150}] * 2000}
    ).encode(),
    "cut JSON": lambda chance: subscription([document(["x " * 50] * 50)])[
        : chance.randrange(1, 2000)
    ],
    "deep JSON": lambda chance: b'{"a":' * chance.choice([1000, 100_000]),
    "deep arrays": lambda chance: b"[" * chance.choice([1000, 100_000]),
    "JSON and newlines": lambda _: gzip.compress(b"{" + b"\n" * (1 << 20)),
    "JSON of rubbish lines": lambda chance: firehose(["x"]) + b'{"message": \n' * 2000,
    "parquet of others": lambda _: parquet({"id": [1, 2], "start": [3, 4], "name": ["a", "b"]}),
    "cut parquet": lambda chance: parquet(_columns(ROW, 50))[: -chance.randrange(1, 500)],
    "flipped parquet": lambda chance: _flipped(
        parquet(_columns(ROW.replace(b"eni-1", b"eni-maybe"), 50)), chance
    ),
    "parquet that grows": lambda chance: _bomb_column(chance.choice([100, 16_384])),
    "two parquets": lambda _: 2 * parquet(_columns(ROW.replace(b"eni-1", b"eni-maybe"), 5)),
}
