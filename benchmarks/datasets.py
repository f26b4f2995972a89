"""The benchmarks' logs: generated once, kept in `.bench/`, and counted line by line.

Run as a program, in a process of its own: the runner must stay small (`bench_convert.measure`).
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contenders.task import Group, Task, Type

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is generated: objects of one account and region, all of one log version."""

    version: int
    objects: int
    records: int
    copies: int = 1  # each object so many times, under names of their own
    days: int = 1  # each has so many objects


SPECS = {
    "large_v5": Spec(version=5, objects=12, records=250_000),
    "large_v2": Spec(version=2, objects=12, records=250_000),
    "small_v5": Spec(version=5, objects=4_000, records=500),
    "large_v5_x4": Spec(version=5, objects=12, records=250_000, copies=4),
    "one_v5": Spec(version=5, objects=1, records=3_000_000),
}
SMOKE_SPECS = {
    "large_v5": Spec(version=5, objects=2, records=2_000),
    "large_v2": Spec(version=2, objects=2, records=2_000),
    "small_v5": Spec(version=5, objects=40, records=50),
    "large_v5_x4": Spec(version=5, objects=2, records=2_000, copies=4),
    "one_v5": Spec(version=5, objects=1, records=4_000),
}


@dataclass(frozen=True, slots=True)
class Totals:
    """What a contender's output must add up to."""

    rows: int
    sum_of_bytes: int
    tcp_flags_nulls: int

    def __mul__(self, copies: int) -> "Totals":
        return Totals(self.rows * copies, self.sum_of_bytes * copies, self.tcp_flags_nulls * copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Generated logs.

    Attributes:
        fingerprint: Of what they were made by.
        folder: Where the objects lie, and nothing else.
        objects: Their number.
        gzip_bytes: Their size.
        text_bytes: The size of their text, headers included.
        totals: Of their records.
        header: AWS's names of the fields.
    """

    fingerprint: str
    folder: str
    objects: int
    gzip_bytes: int
    text_bytes: int
    totals: Totals
    header: list[str]
    log_fields: dict[str, Type]
    columns: dict[str, Type]

    @classmethod
    def read(cls, path: Path) -> "Dataset":
        values = json.loads(path.read_text())
        return cls(**values | {"totals": Totals(**values["totals"])})

    def task(self, dest: Path, threads: int, source: str | None = None) -> Task:
        """Return what a contender is given; with a source, its files are below that URL."""
        groups = group_files(Path(self.folder))
        if source:
            for group in groups:
                group.files[:] = [file.replace(self.folder, source, 1) for file in group.files]
        return Task(
            source=source or self.folder,
            dest=str(dest),
            threads=threads,
            groups=groups,
            log_fields=self.log_fields,
            columns=self.columns,
        )


def group_files(folder: Path) -> list[Group]:
    """List the objects of AWSLogs/{account}/vpcflowlogs/{region}/, by account and region."""
    files: defaultdict[Path, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.log.gz")):
        files[folder.joinpath(*path.relative_to(folder).parts[:4])].append(str(path))
    return [Group(f.parts[-3], f.parts[-1], str(f), paths) for f, paths in files.items()]


def make(name: str, cache: Path, *, smoke: bool, spec: Spec | None = None) -> Dataset:
    """Generate a data set, unless the cache has it; its description is kept beside its folder.

    Args:
        name: One of SPECS, or another one if `spec` is given.
        cache: Where it is kept.
        smoke: A small one.
        spec: What is generated, in place of one of SPECS.
    """
    spec = spec or (SMOKE_SPECS if smoke else SPECS)[name]
    folder = cache / f"smoke_{name}" if smoke else cache / name
    described = folder.with_suffix(".json")
    modules = sorted((ROOT / "flowconv" / "samples").glob("*.py"))
    generator = b"".join(module.read_bytes() for module in modules)
    fingerprint = hashlib.sha256(generator + repr((1, spec)).encode()).hexdigest()
    if described.exists() and folder.exists():
        dataset = Dataset.read(described)
        if (dataset.fingerprint, dataset.folder) == (fingerprint, str(folder)):
            return dataset
    shutil.rmtree(folder, ignore_errors=True)
    described.unlink(missing_ok=True)
    if spec.copies > 1:
        dataset = link_copies(
            make("large_v5", cache, smoke=smoke), folder, spec.copies, fingerprint
        )
    else:
        dataset = generate(folder, spec, fingerprint)
    described.write_text(json.dumps(asdict(dataset), indent=2) + "\n")
    return dataset


def generate(folder: Path, spec: Spec, fingerprint: str) -> Dataset:
    from flowconv.fields import FIELDS, TIME_COLUMNS, Table
    from flowconv.samples.generating import generate
    from flowconv.samples.options import GenerateOptions

    options = GenerateOptions(
        versions=(spec.version,),
        accounts=1,
        regions=1,
        days=spec.days,
        objects=spec.objects,
        records=spec.records,
        custom_orders=False,
    )
    report = generate(folder, options)
    header, totals, text_bytes = count(sorted(folder.rglob("*.log.gz")))
    if (totals.rows, text_bytes) != (report.records, report.text_bytes):
        raise SystemExit(f"{folder}: counted {totals.rows} records, generated {report.records}")
    columns = {
        field.column: "timestamp" if field.column in TIME_COLUMNS else str(field.type)
        for field in FIELDS[Table.VPC]
        if field.version <= 5  # What the others write; flowconv writes all fields.
    }
    typed: Any = columns
    return Dataset(
        fingerprint=fingerprint,
        folder=str(folder),
        objects=report.objects,
        gzip_bytes=report.gzip_bytes,
        text_bytes=text_bytes,
        totals=totals,
        header=header,
        log_fields={field: typed[field.replace("-", "_")] for field in header},
        columns=typed,
    )


def count(paths: list[Path]) -> tuple[list[str], Totals, int]:
    """Count by the plainest loop there is; no contender's code has a part in it."""
    rows = sum_of_bytes = tcp_flags_nulls = text_bytes = 0
    header: list[str] = []
    for path in paths:
        with gzip.open(path) as lines:
            first = next(lines)
            text_bytes += len(first)
            header = first.decode().split()
            at_bytes = header.index("bytes")
            at_flags = header.index("tcp-flags") if "tcp-flags" in header else None
            for line in lines:
                text_bytes += len(line)
                rows += 1
                values = line.split()
                if values[at_bytes] != b"-":
                    sum_of_bytes += int(values[at_bytes])
                if at_flags is None or values[at_flags] == b"-":
                    tcp_flags_nulls += 1
    return header, Totals(rows, sum_of_bytes, tcp_flags_nulls), text_bytes


def link_copies(dataset: Dataset, folder: Path, copies: int, fingerprint: str) -> Dataset:
    """Give every object more names; the last part of a name is a hash that means nothing."""
    origin = Path(dataset.folder)
    for path in origin.rglob("*.log.gz"):
        target = folder / path.relative_to(origin)
        target.parent.mkdir(parents=True, exist_ok=True)
        for number in range(copies):
            link_or_copy(path, target.with_name(target.name.replace(".log", f"{number}.log")))
    return Dataset(
        fingerprint=fingerprint,
        folder=str(folder),
        objects=dataset.objects * copies,
        gzip_bytes=dataset.gzip_bytes * copies,
        text_bytes=dataset.text_bytes * copies,
        totals=dataset.totals * copies,
        header=dataset.header,
        log_fields=dataset.log_fields,
        columns=dataset.columns,
    )


def link_or_copy(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a data set; print where it is described.")
    parser.add_argument("name", choices=SPECS)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--cache", type=Path, default=CACHE)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    dataset = make(arguments.name, arguments.cache.resolve(), smoke=arguments.smoke)
    print(Path(dataset.folder).with_suffix(".json"))


if __name__ == "__main__":
    main()
