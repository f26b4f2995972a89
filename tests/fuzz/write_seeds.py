"""Writes inputs for the fuzz targets to begin with: the texts of the tests, JSON, and columns.

python write_seeds.py FOLDER writes a folder for each target.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.shapes import parquet
from support.text_cases import CASES, V2

TIME = b"2026-01-14T00:00:00.000Z "

# Indices in fuzz_rows.c's PLANS.
PLAN_V2, PLAN_SMALL, PLAN_TEXTS, PLANS = 0, 1, 2, 7

# What fuzzing found; each is tried first from then on.
FOUND = {
    # A text without rows, with a null pointer to their values.
    "rows": [b"@\nf\xab\no"],
    "json": [],
    "pages": [],
    "decoding": [],
    # A field with a number below 0.
    "metadata": [b"\1\5\3\2\0"],
}


def row_seeds() -> list[bytes]:
    seeds = []
    for case in CASES:
        is_v2 = case.body.startswith(V2)
        text = case.body.removeprefix(V2)
        for plan in [PLAN_V2] if is_v2 else [PLAN_SMALL, PLAN_TEXTS]:
            seeds.append(bytes([plan, 0, 0, 60, 0]) + text)
        timed = b"".join(TIME + line for line in text.splitlines(keepends=True))
        seeds.append(bytes([0x80 | plan, 100, 0, 200, 0x55]) + timed)
    seeds += [bytes([plan, 64, 0, 9, 1]) + b"1 2 3 -\na b\n" for plan in range(PLANS)]
    return seeds


def json_seeds() -> list[bytes]:
    single = rb'{"message":"2 a\n\u00e9\ud83d\ude00","timestamp":-7,"a":[1.5,true,{"b":null}]}'
    data = (
        b'{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logEvents":'
        b'[{"id":"7","timestamp":5,"message":"2 a"},{"id":"8","message":"2 b"}]}'
    )
    control = b'{"messageType":"CONTROL_MESSAGE","logEvents":[{"message":"x"}]}'
    texts = [single, data, control, data + b"\n" + single + b'{"a"', single + control + b"\n{}\n"]
    return [bytes([how]) + text for how in range(4) for text in texts]


def page_seeds() -> list[bytes]:
    chosen = random.Random(1)
    seeds = []
    for kind in range(3):
        for codes in ([1], [255], [254], [0, 255], [1, 2, 3, 254], range(256), [120, 60, 255]):
            for flags in (0, 64, 128):
                first = flags + (kind - flags) % 3
                head = bytes([first, 200, chosen.choice([0, 7, 100]), 90, 20])
                seeds.append(head + bytes(chosen.choices(codes, k=120)))
    return seeds


def decoding_seeds() -> list[bytes]:
    """Pages of 24 rows: runs and packed numbers, with and without levels, and values themselves."""
    levels = b"\4\0\0\0" + b"\x20\1\3\x5a"
    places = b"\3" + b"\x10\2" + b"\5" + bytes(range(6))
    texts = b"".join(bytes([n, 0, 0, 0]) + b"-" * n for n in [1, 0, 3] * 8)
    pages = [places, levels + places, texts, levels + texts, bytes(200), levels + bytes(200)]
    return [bytes([0x70 | kind, 24, 0, 4, 2]) + page for kind in range(16) for page in pages]


def metadata_seeds() -> list[bytes]:
    """Footers of files with and without nested columns, and the pages before them."""
    seeds = []
    for columns in (
        {"a": ["x", None, "y"]},
        {"a": [1, 2, 3], "b": [[1], [], [2]]},
        {"a": [{"b": 1.5, "c": [True]}] * 3, "d": ["é" * 20] * 3},
    ):
        body = parquet(columns, row_group_size=2, compression="none", write_page_checksum=True)
        footer = len(body) - 8 - int.from_bytes(body[-8:-4], "little")
        seeds += [b"\1" + body[footer:-8], b"\1" + body[4:footer]]
    return seeds


def main(folder: Path) -> None:
    for name, seeds in (
        ("rows", row_seeds()),
        ("json", json_seeds()),
        ("pages", page_seeds()),
        ("decoding", decoding_seeds()),
        ("metadata", metadata_seeds()),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(FOUND[name] + seeds):
            (folder / name / f"seed-{number}").write_bytes(seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
