"""--include and --exclude: what globs choose, and that what they leave out is counted."""

from pathlib import Path

import pytest

from flowconv import ConvertOptions, convert
from flowconv.errors import UsageError
from flowconv.source.patterns import NOT_INCLUDED, Patterns
from support.lakes import ROW, V2, Key, write_objects


@pytest.mark.parametrize(
    ("glob", "path", "part"),
    [
        ("*.json", "a.json", "a.json"),
        ("*.json", "x/y/a.json", "x/y/a.json"),
        ("*.json", "a.json.gz", None),
        ("*.json", "x.json/a.gz", "x.json/"),
        ("tmp/", "tmp/a", "tmp/"),
        ("tmp/", "x/tmp/y/a", "x/tmp/"),
        ("tmp/", "tmp", None),
        ("/tmp", "tmp", "tmp"),
        ("/tmp", "x/tmp", None),
        ("2026/*/x.log", "2026/01/x.log", "2026/01/x.log"),
        ("2026/*/x.log", "2026/01/02/x.log", None),
        ("2026/*/x.log", "a/2026/01/x.log", None),
        ("**/archive/*.gz", "archive/a.gz", "archive/a.gz"),
        ("**/archive/*.gz", "x/y/archive/a.gz", "x/y/archive/a.gz"),
        ("logs/**", "logs/a/b", "logs/a/"),
        ("logs/**", "logs", None),
        ("part-[0-9]?.gz", "part-01.gz", "part-01.gz"),
        ("part-[0-9]?.gz", "part-a1.gz", None),
        ("part-[0-9]?.gz", "part-0/.gz", None),
        ("a+b(c).gz", "a+b(c).gz", "a+b(c).gz"),
    ],
)
def test_glob(glob: str, path: str, part: str | None) -> None:
    refused = Patterns(exclude=[glob]).refuses(path)
    assert refused == (None if part is None else (f"--exclude {glob}", part))
    assert (Patterns(include=[glob]).refuses(path) is None) == (part is not None)


def test_exclude_beats_include() -> None:
    patterns = Patterns(include=["*.gz"], exclude=["tmp/"])
    assert patterns.refuses("a/b.gz") is None
    assert patterns.refuses("tmp/b.gz") == ("--exclude tmp/", "tmp/")
    assert patterns.refuses("a/b.json") == (NOT_INCLUDED, "a/b.json")


@pytest.mark.parametrize("glob", ["", "/", "[z-a]", "a//b"])
def test_no_glob(glob: str) -> None:
    with pytest.raises(UsageError, match="--exclude"):
        ConvertOptions(exclude=(glob,))


def test_counted(tmp_path: Path) -> None:
    names = ["a.log", "b.json", "tmp/c.log", "tmp/d.log", "x/e.json"]
    write_objects(tmp_path / "logs", {Key(name): V2 + ROW for name in names})
    options = ConvertOptions(exclude=("*.json", "tmp/", "nothing"))
    report = convert(str(tmp_path / "logs"), str(tmp_path / "lake"), options)
    assert (report.objects, report.complete) == (1, True)
    # A folder that is left out as a whole counts once.
    counts = {"--exclude *.json": 2, "--exclude tmp/": 1, "--exclude nothing": 0}
    assert report.left_out == counts
    options = ConvertOptions(include=("tmp/",))
    report = convert(str(tmp_path / "logs"), str(tmp_path / "other"), options)
    assert report.objects == 2
