"""Names of files and objects, and their texts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowconv.storage.names import from_text, is_plain, to_text
from flowconv.storage.opening import open_storage

on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other paths and links")


NAMES = {
    b"caf\xe9.log": "caf%E9.log",
    b"caf\xc3\xa9.log": "caf\xe9.log",
    b"caf%E9.log": "caf%25E9.log",
    b"a\nb\x1b[1m.log": "a%0Ab%1B[1m.log",
    b"day%3D14 100% %zz": "day%3D14 100% %zz",
    "a\u202eb\u2028".encode(): "a%E2%80%AEb%E2%80%A8",
    b"\xed\xa0\x80": "%ED%A0%80",
}


@pytest.mark.parametrize(("name", "text"), NAMES.items(), ids=NAMES.values())
def test_a_name_and_its_text(name: bytes, text: str) -> None:
    decoded = name.decode("utf-8", "surrogateescape")
    assert to_text(decoded) == text
    assert from_text(text) == decoded


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a/b-é 100%.log", True),
        ("caf%E9.log", True),
        ("caf\udce9.log", False),
        ("a\nb", False),
        ("a\u202eb", False),
    ],
)
def test_plain_names(name: str, plain: bool) -> None:
    assert is_plain(name) is plain


@pytest.mark.parametrize("text", ["day%3D14", "100%", "%zz", "%e9"])
def test_other_percents_stand_for_themselves(text: str) -> None:
    assert from_text(text) == text
    assert to_text(text) == text


@on_posix
def test_names_have_texts(tmp_path: Path) -> None:
    for name in NAMES:
        with open(bytes(tmp_path) + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(name)
    storage = open_storage(str(tmp_path))
    texts = {}
    for listed in storage.list_files():
        body = storage.fetch(listed.path, 0, listed.size_bytes)
        uri = storage.uri(listed.path)
        texts[body] = uri.removeprefix(f"{tmp_path}/")
        # A text is as good as a name, unless it is another's.
        if texts[body].encode() not in NAMES or texts[body].encode() == body:
            assert open_storage(uri).root == uri
            assert open_storage(uri).fetch("") == body
    assert texts == NAMES


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_name_has_one_text_in_all_locales(tmp_path: Path, locale: str) -> None:
    for name in NAMES:
        with open(bytes(tmp_path) + b"/" + name, "wb"):  # noqa: PTH123
            pass
    (tmp_path / "l\xe4k\xe9").mkdir()
    code = """
import sys
from flowconv.storage.opening import open_storage
storage, lake = map(open_storage, sys.argv[1:])
lake.write("vpc/\\xe9", b"x")
for file in storage.list_files():
    storage.fetch(file.path)
    sys.stdout.buffer.write(storage.uri(file.path).encode() + b"\\n")
sys.stdout.buffer.write(lake.uri("vpc/\\xe9").encode() + b"\\n")
"""
    settings = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    lake = tmp_path / "l\xe4k\xe9"
    done = subprocess.run(
        [sys.executable, "-c", code, bytes(tmp_path), bytes(lake)],
        env=os.environ | settings,
        check=True,
        capture_output=True,
    )
    texts = [*NAMES.values(), "l\xe4k\xe9/vpc/\xe9"]
    found = done.stdout.decode().splitlines()
    assert sorted(found) == sorted([f"{tmp_path}/{text}" for text in [*texts, texts[-1]]])
    assert (lake / "vpc/\xe9").read_bytes() == b"x"
