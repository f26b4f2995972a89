"""From S3, near and far: many small objects, a night from bucket to bucket, and long listings.

See README.md, or `python benchmarks/bench_s3.py --help`.
"""

import argparse
import compileall
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench_convert import (
    HEADER,
    OURS,
    THREADS,
    Bench,
    Entry,
    Result,
    Run,
    as_json,
    common_cells,
    environment,
    print_table,
    print_target,
    run_process,
    say,
    wall,
    warn_if_busy,
)
from datasets import CACHE, ROOT
from light_server import BUCKET

if TYPE_CHECKING:
    from support.s3_servers import S3Server

POLARS = "polars_scan_csv"
DELAYS_MS = (0, 30, 100)
UPLOADS_AT_ONCE = 8
NIGHT_OBJECTS = 400
LISTED_KEYS = 100_000
MOST_KEYS = 1_000_000
LISTING_DELAY_MS = 30

# Counts the objects of flow logs, and nothing else.
LIST = """
import sys
from flowconv.source.listing import list_objects
from flowconv.storage.opening import open_storage
print(sum(1 for _ in list_objects(open_storage(sys.argv[1]))))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A bucket, and how it is reached.

    Attributes:
        label: What tells it from others.
        url: Its own.
        environment: Makes clients find it.
        pids: The processes whose CPU time is the server's.
    """

    label: str
    url: str
    environment: Mapping[str, str]
    pids: tuple[int, ...]


def compare_readers(bench: Bench) -> None:
    """The many small objects, near and far: flowconv and polars."""
    dataset = bench.dataset("small_v5")
    readers = [c for c in (OURS, POLARS) if c in bench.contenders]
    with ExitStack() as stack:
        server = stack.enter_context(s3_server())
        bucket = server.make_bucket()
        upload(server, bucket, Path(dataset.folder))
        stores = [
            Store(
                label=f"{delay_ms} ms",
                url=f"s3://{bucket}",
                environment=server.environment()
                | reached_at(stack.enter_context(delayed(server.endpoint_url, delay_ms))),
                pids=server.pids,
            )
            for delay_ms in DELAYS_MS
        ]
        stores += [
            stack.enter_context(light_server(delay_ms, f"--folder={dataset.folder}"))
            for delay_ms in DELAYS_MS[1:]
        ]
        entries = [Entry(OURS, dataset, label=f"{OURS}, folder")]
        entries += [
            Entry(
                contender,
                dataset,
                label=f"{contender}, {store.label}",
                source=store.url,
                environment=store.environment,
                server_pids=store.pids,
            )
            for store in stores
            for contender in readers
        ]
        results = bench.run_case("s3", entries)
    print_readers(results, server.kind)
    if not bench.smoke and len(readers) > 1:
        print_readers_targets(results)


def print_readers(results: Sequence[Result], kind: str) -> None:
    by_label = {result.contender: result for result in results}
    rows = []
    for result in results:
        polars = by_label.get(result.contender.replace(OURS, POLARS))
        rows.append(
            [
                *common_cells(result),
                f"{result.ratio_to(results[0], wall):.2f}",
                f"{result.ratio_to(polars, wall):.2f}" if polars else "",
                f"{result.median(lambda run: run.server_cpu_s or 0):.2f}",
            ]
        )
    print_table(
        f"s3: small_v5 from {kind}'s S3 server, each request delayed, written to a folder",
        (*HEADER, "wall / folder", "wall / polars", "server's CPU s"),
        rows,
    )


def print_readers_targets(results: Sequence[Result]) -> None:
    by_label = {result.contender: result for result in results}
    near, far, farther = (by_label[f"{OURS}, {delay} ms"] for delay in DELAYS_MS)
    for result in (far, farther):
        polars = by_label[result.contender.replace(OURS, POLARS)]
        print_target(f"s3: {result.contender}: wall / polars", result.ratio_to(polars, wall), 0.5)
    print_target("s3: wall at 100 ms / without delay", farther.ratio_to(near, wall), 1.25)
    besides = near.cpu_s - results[0].cpu_s
    print_target("s3: CPU s besides the folder's, per 1,000 objects", besides / 4, 0.35)


def compare_nights(bench: Bench) -> None:
    """Some hundred objects from bucket to bucket, and a night on which nothing is new."""
    dataset = bench.dataset("small_v5")
    runs: dict[str, list[Run]] = {}
    with ExitStack() as stack:
        server = stack.enter_context(s3_server())
        bucket, lakes = server.make_bucket(), server.make_bucket()
        upload(server, bucket, Path(dataset.folder), NIGHT_OBJECTS)
        endpoint_urls = {
            delay_ms: stack.enter_context(delayed(server.endpoint_url, delay_ms))
            for delay_ms in (DELAYS_MS[0], DELAYS_MS[-1])
        }
        for number in range(bench.rounds):
            for delay_ms, endpoint_url in endpoint_urls.items():
                command = [sys.executable, "-m", "flowconv", "convert", f"s3://{bucket}"]
                command += [f"s3://{lakes}/{number}-{delay_ms}", f"--workers={THREADS}", "--json"]
                variables = server.environment() | reached_at(endpoint_url)
                for what in ("a night", "nothing new"):
                    label = f"{what}, {delay_ms} ms"
                    run, printed = run_process(label, command, variables)
                    require_objects(json.loads(printed), what, dataset.objects)
                    runs.setdefault(label, []).append(run)
                    say(f"{label}, round {number + 1}: {run.wall_s:.2f} s")
    near, nothing_near, far, nothing_far = (median_wall(of_label) for of_label in runs.values())
    objects = min(dataset.objects, NIGHT_OBJECTS)
    print_table(
        f"nights: {objects} objects of small_v5 from {server.kind}'s S3 server to it",
        ("", "wall s", "CPU s", "peak MB"),
        [[label, *cells(of_label)] for label, of_label in runs.items()],
    )
    if not bench.smoke:
        print_target("a night: wall s at 100 ms besides that without delay", far - near, 2.5)
        print_target("nothing new: wall s at 100 ms", nothing_far, 2.0)
        say(f"nothing new, without delay: {nothing_near:.2f} s")


def require_objects(report: Mapping[str, int], what: str, objects: int) -> None:
    """End the benchmark if a run did not convert what it should have."""
    expected = min(objects, NIGHT_OBJECTS)
    found = report["objects"] if what == "a night" else report["already_converted"]
    if found != expected:
        raise SystemExit(f"{what}: {found} objects, not {expected}")


def compare_listings(bench: Bench) -> None:
    """Long listings, with what a short one takes for comparison."""
    numbers = (1, 2_000) if bench.smoke else (1, LISTED_KEYS, MOST_KEYS)
    runs: dict[int, list[Run]] = {}
    for number in numbers:
        with light_server(LISTING_DELAY_MS, f"--keys={number}") as store:
            # The last is about memory.
            for _ in range(1 if number == MOST_KEYS else bench.rounds):
                run, printed = run_process(
                    "listing", [sys.executable, "-c", LIST, store.url], store.environment
                )
                if int(printed) != number:
                    raise SystemExit(f"listing: {int(printed)} keys, not {number}")
                runs.setdefault(number, []).append(run)
                say(f"listing, {number:,} keys: {run.wall_s:.2f} s")
    start_s = median(run.cpu_s for run in runs[1])
    per_key_us = {
        number: (median(run.cpu_s for run in of_number) - start_s) / number * 1e6
        for number, of_number in runs.items()
    }
    print_table(
        f"listing: keys of 30 days in 4 accounts and 4 regions, each page {LISTING_DELAY_MS} ms",
        ("keys", "wall s", "CPU s", "peak MB", "CPU us a key"),
        [
            [f"{number:,}", *cells(of_number), f"{per_key_us[number]:.1f}" if number > 1 else ""]
            for number, of_number in runs.items()
        ],
    )
    if not bench.smoke:
        print_target(f"wall s of {LISTED_KEYS:,} keys", median_wall(runs[LISTED_KEYS]), 4)
        print_target("CPU us a key", per_key_us[LISTED_KEYS], 40)
        most, one = (max(run.peak_bytes for run in runs[n]) / 1e6 for n in (MOST_KEYS, 1))
        print_target(f"peak MB of {MOST_KEYS:,} keys besides one key's", most - one, 64)


CASES: dict[str, Callable[[Bench], None]] = {
    "readers": compare_readers,
    "nights": compare_nights,
    "listings": compare_listings,
}


@contextmanager
def s3_server() -> Iterator["S3Server"]:
    """Run the tests' Ceph, or their moto where Ceph is not installed."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import s3_servers

    reason = s3_servers.ceph_available()
    if reason:
        say(f"{reason}. moto stands in for it: written in Python, it is slow itself.")
    with s3_servers.moto_server() if reason else s3_servers.ceph_server() as server:
        yield server


def upload(server: "S3Server", bucket: str, folder: Path, most: int | None = None) -> None:
    """Put a folder's objects into a bucket, or the first of them."""
    client = server.client()

    def put(path: Path) -> None:
        client.put_object(
            Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes()
        )

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        for _ in pool.map(put, sorted(folder.rglob("*.log.gz"))[:most]):
            pass


def reached_at(endpoint_url: str) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": endpoint_url, "AWS_ALLOW_HTTP": "true"}


@contextmanager
def delayed(endpoint_url: str, delay_ms: int) -> Iterator[str]:
    """Give the URL of a server behind a link with a round trip; see `delaying_proxy`.

    Without delay the link is there, too: it takes processor time of its own.
    """
    server = endpoint_url.partition("//")[2]
    with running("delaying_proxy", f"--to={server}", f"--delay-ms={delay_ms}") as (proxy, _):
        yield proxy


@contextmanager
def light_server(delay_ms: int, *objects: str) -> Iterator[Store]:
    """Run `light_server` with objects."""
    with running("light_server", f"--delay-ms={delay_ms}", *objects) as (endpoint_url, pid):
        variables = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield Store(
            label=f"{delay_ms} ms, light server",
            url=f"s3://{BUCKET}",
            environment=variables | reached_at(endpoint_url),
            pids=(pid,),
        )


@contextmanager
def running(module: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """Run a module that prints its port; give its URL and its process."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process.pid
        finally:
            process.terminate()


def median_wall(runs: Sequence[Run]) -> float:
    return median(run.wall_s for run in runs)


def cells(runs: Sequence[Run]) -> list[str]:
    return [
        f"{median_wall(runs):.2f}",
        f"{median(run.cpu_s for run in runs):.2f}",
        f"{max(run.peak_bytes for run in runs) / 1e6:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--case", action="append", choices=CASES, help="only this; may be repeated")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each (2)")
    parser.add_argument("--smoke", action="store_true", help="tiny logs, one round: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the readers' runs there")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="where logs are kept and output goes (.bench)"
    )
    arguments = parser.parse_args()
    arguments.contender = [OURS, POLARS]
    warn_if_busy()
    compileall.compile_dir(ROOT / "flowconv", quiet=1)  # as in bench_convert
    bench = Bench(arguments)
    bench.cache.mkdir(parents=True, exist_ok=True)
    for case, run in CASES.items():
        if case in (arguments.case or CASES):
            run(bench)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(bench), indent=2) + "\n")


if __name__ == "__main__":
    main()
