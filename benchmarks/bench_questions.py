"""Questions of a month, asked of a lake, of other Parquet files and of the gzipped objects.

See README.md, or `python benchmarks/bench_questions.py --help`.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import datasets
from answering import DAY_IS, READERS
from bench_convert import (
    THREADS,
    compile_modules,
    machine,
    print_table,
    print_target,
    run_process,
    say,
    warn_if_busy,
)
from datasets import CACHE, ROOT, Dataset, Spec

RECORDS, SMOKE_RECORDS = 20_000_000, 2_000
DAYS, SMOKE_DAYS = 30, 2
OBJECTS_PER_DAY = 4

WRITERS = {"Parquet of polars": "polars_scan_csv", "Parquet of DuckDB": "duckdb_read_csv"}

# The first two must be so many times as fast as on the raw objects.
FASTER = ("a day of one interface", "top talkers of a day")
LEAST_TIMES = 50

# Of `flowconv report`.
MOST_SECONDS, MOST_BYTES, MOST_BYTES_OF_PAGE = 5, 10**9, 500_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is asked.

    Attributes:
        task: The file with the contenders' task.
        questions: The file with the questions.
        places: Reader -> the folder or address that it opens.
    """

    task: Path
    questions: Path
    places: dict[str, str]


@dataclass(frozen=True, slots=True)
class Took:
    """What one answer took, the opening of the files included."""

    wall_s: float
    cpu_s: float


Answered = dict[str, Took]  # by question


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What the month's report took: `flowconv report` as a whole process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    page_bytes: int


def questions(dataset: Dataset) -> dict[str, str]:
    """Return the questions, of an interface, an address and a day that are in the logs."""
    import polars as pl

    first = min(Path(dataset.folder).rglob("*.log.gz"))
    log = pl.read_csv(first, separator=" ", null_values="-", infer_schema=False)
    busiest = log["interface-id"].drop_nulls().value_counts(sort=True)["interface-id"][0]
    address = random.Random(0).choice(sorted(set(log["srcaddr"].drop_nulls())))
    return {
        FASTER[0]: f"SELECT count(*) AS n, sum(bytes) AS b FROM flows WHERE {DAY_IS} "
        f"AND interface_id = '{busiest}'",
        FASTER[1]: f"SELECT srcaddr, dstaddr, sum(bytes) AS b FROM flows WHERE {DAY_IS} "
        "AND action = 'ACCEPT' GROUP BY srcaddr, dstaddr ORDER BY b DESC, srcaddr, dstaddr "
        "LIMIT 10",
        "a count over everything": "SELECT action, count(*) AS n FROM flows "
        "WHERE action IS NOT NULL GROUP BY action ORDER BY action",
        "one address over the month": "SELECT count(*) AS n, sum(bytes) AS b FROM flows "
        f"WHERE srcaddr = '{address}' OR dstaddr = '{address}'",
    }


def prepare(
    records: int, days: int, cache: Path, folder: Path, *, for_report_alone: bool
) -> Prepared:
    """Make logs, a lake of them, and for questions its Iceberg table and others' Parquet files."""
    per_object = max(records // (days * OBJECTS_PER_DAY), 1)
    spec = Spec(version=5, objects=OBJECTS_PER_DAY, records=per_object, days=days)
    name = f"month_{records}"
    dataset = datasets.make(name, cache, spec=spec, smoke=False)
    task = folder / "task.json"
    dataset.task(folder / "unused", THREADS).write(task)
    asked = folder / "questions.json"
    asked.write_text(json.dumps(questions(dataset)))
    lake = folder / "lake"
    flowconv = [sys.executable, "-m", "flowconv"]
    run_process("convert", [*flowconv, "convert", dataset.folder, str(lake)])
    run_process("compact", [*flowconv, "compact", str(lake)])
    if for_report_alone:
        return Prepared(task, asked, {"lake, scan": str(lake)})
    command = [*flowconv, "register", str(lake), "--to", "iceberg", "--json"]
    _, registered = run_process("register", command)
    places = {
        "lake, scan": str(lake),
        "lake, DuckDB": str(lake),
        "lake, Iceberg": json.loads(registered)["tables"][0]["address"],
        "raw, polars": dataset.folder,
        "raw, DuckDB": dataset.folder,
    }
    for written, contender in WRITERS.items():
        dest = folder / contender
        its_task = folder / f"{contender}.json"
        dataset.task(dest, THREADS).write(its_task)
        command = [sys.executable, "-m", f"contenders.{contender}", str(its_task)]
        run_process(written, command, _VARIABLES)
        places |= {f"{written}, {engine}": str(dest) for engine in ("polars", "DuckDB")}
    say(f"{dataset.totals.rows:,} records are ready")
    return Prepared(task, asked, places)


_VARIABLES = {"POLARS_MAX_THREADS": str(THREADS)}


def ask(prepared: Prepared, rounds: int) -> dict[str, Answered]:
    """Ask each reader in turn; return what each took, the medians of the rounds.

    Raises:
        SystemExit: Two readers differ.
    """
    measured: dict[str, dict[str, list[Took]]] = {reader: {} for reader in READERS}
    first: dict[str, list[list[str]]] = {}
    script = str(ROOT / "benchmarks" / "answering.py")
    for number in range(rounds):
        for reader in READERS:
            place = prepared.places[reader]
            command = [sys.executable, script, str(prepared.task), str(prepared.questions)]
            _, output = run_process(reader, [*command, reader, place], _VARIABLES)
            for question, answer in json.loads(output).items():
                expected = first.setdefault(question, answer["rows"])
                if answer["rows"] != expected:
                    raise SystemExit(
                        f"{reader}: {question}: found {answer['rows']}, expected {expected}"
                    )
                took = Took(answer["wall_s"], answer["cpu_s"])
                measured[reader].setdefault(question, []).append(took)
        say(f"round {number + 1} of {rounds}")
    return {
        reader: {
            question: Took(median(t.wall_s for t in runs), median(t.cpu_s for t in runs))
            for question, runs in of_question.items()
        }
        for reader, of_question in measured.items()
    }


def report(prepared: Prepared, rounds: int) -> Reported:
    """Write the month's report so many times, each in a process of its own."""
    page = prepared.task.with_name("report.html")
    lake = prepared.places["lake, scan"]
    command = [sys.executable, "-m", "flowconv", "report", lake, "--output", str(page)]
    runs = [run_process("report", command)[0] for _ in range(rounds)]
    return Reported(
        wall_s=median(run.wall_s for run in runs),
        cpu_s=median(run.cpu_s for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
        page_bytes=page.stat().st_size,
    )


def print_questions(measured: dict[str, Answered], records: int) -> None:
    """Print what each reader took for each question."""
    for what, unit in (("wall", "wall_s"), ("CPU", "cpu_s")):
        print_table(
            f"questions: {records:,} records, {what} seconds",
            ("reader", *next(iter(measured.values()))),
            [
                [reader, *(f"{getattr(took, unit):.3f}" for took in of_question.values())]
                for reader, of_question in measured.items()
            ],
        )


def compare(measured: dict[str, Answered]) -> None:
    """Say whether the targets are met."""
    for question in next(iter(measured.values())):
        took = {reader: of_question[question] for reader, of_question in measured.items()}
        raw = min(value.wall_s for reader, value in took.items() if reader.startswith("raw"))
        for engine, ours in (("polars", "lake, scan"), ("DuckDB", "lake, DuckDB")):
            others = [took[f"{written}, {engine}"] for written in WRITERS]
            wall = took[ours].wall_s / min(other.wall_s for other in others)
            cpu = took[ours].cpu_s / min(other.cpu_s for other in others)
            print(
                f"{ours}: {question}: {raw / took[ours].wall_s:.0f} times as fast as raw"
                + (f" (target {LEAST_TIMES})" if question in FASTER else "")
                + f", {wall:.2f} of the best Parquet's time (target 1), {cpu:.2f} of its CPU time"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--smoke", action="store_true", help="a few records: does it work?")
    parser.add_argument("--records", type=int, default=RECORDS, help=f"of the month ({RECORDS:,})")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="measure the month's report alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where logs are kept (.bench)")
    arguments = parser.parse_args()
    warn_if_busy()
    compile_modules()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    records = SMOKE_RECORDS if arguments.smoke else arguments.records
    folder = Path(tempfile.mkdtemp(dir=cache, prefix="out-"))
    try:
        prepared = prepare(
            records,
            SMOKE_DAYS if arguments.smoke else DAYS,
            cache,
            folder,
            for_report_alone=arguments.report,
        )
        rounds = 1 if arguments.smoke else arguments.rounds
        measured = {} if arguments.report else ask(prepared, rounds)
        reported = report(prepared, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if measured:
        print_questions(measured, records)
    print_table(
        f"the month's report: {records:,} records",
        ("wall s", "CPU s", "peak MB", "page kB"),
        [
            [
                f"{reported.wall_s:.2f}",
                f"{reported.cpu_s:.2f}",
                f"{reported.peak_bytes / 1e6:.0f}",
                f"{reported.page_bytes / 1e3:.0f}",
            ]
        ],
    )
    if not arguments.smoke:
        if measured:
            compare(measured)
        print_target("report: seconds", reported.wall_s, MOST_SECONDS)
        print_target("report: MB", reported.peak_bytes / 1e6, MOST_BYTES / 1e6)
        print_target("report: kB of the page", reported.page_bytes / 1e3, MOST_BYTES_OF_PAGE / 1e3)
    if arguments.json:
        written = {
            "machine": machine(),
            "records": records,
            "questions": {
                reader: {question: asdict(took) for question, took in of_question.items()}
                for reader, of_question in measured.items()
            },
            "report": asdict(reported),
        }
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
