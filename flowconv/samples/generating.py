"""Sample VPC flow logs: seeded, offline, under the keys that AWS gives them.

Tests, the demo and the benchmarks convert what this module writes, so its statistics follow real
flow logs: a few busy conversations and a long tail, both directions of each, records of one
interface and window side by side with the same start and end, and text that gzip makes five to
eight times smaller.
"""

import gzip
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from flowconv.errors import StorageError, UsageError

if TYPE_CHECKING:
    from flowconv.samples.delivering import Body
from flowconv.samples.flow_logs import (
    FlowLog,
    Place,
    aws_id,
    bad_before,
    declared_by,
    make_flow_logs,
)
from flowconv.samples.options import BUCKET_S, REGIONS, GenerateOptions, GenerateReport
from flowconv.source.listing import LAKE_FOLDER
from flowconv.source.opening import lake_around
from flowconv.storage.opening import open_storage

_WRITE_TEST: Final = "exportedlogs/aws-logs-write-test"
_ROWS_PER_CHUNK: Final = 250_000  # many small objects are made at once, a large one alone


def generate(directory: Path, options: GenerateOptions | None = None) -> GenerateReport:
    """Write sample flow logs below a directory.

    Args:
        directory: Where `AWSLogs/` is made, or `exportedlogs/` or `firehose/`, by their shape;
            created if need be. Files of the same name are overwritten, others stay.
        options: What the logs are like; the defaults if None.

    Returns:
        Counts, sizes and the time.

    Raises:
        UsageError: The directory is a lake or a part of one.
        StorageError: The directory cannot be written.
    """
    import flowconv.samples.delivering  # noqa: F401 - polars loads before the clock starts

    options = options or GenerateOptions()
    began = time.perf_counter()
    objects = text_bytes = gzip_bytes = 0
    level = None if options.shape == "parquet" else options.compresslevel
    try:
        _refuse_lakes(directory)
        if options.shape == "cloudwatch-export":
            # CloudWatch Logs tries whether it may write before it exports anything.
            _write_object(directory / _WRITE_TEST, [b"Permission Check Successful"], None)
        with ThreadPoolExecutor() as pool:
            pending: list[Future[int]] = []
            for key, body in _make_objects(options):
                objects += 1
                text_bytes += body.text_bytes
                # zlib releases the GIL, so a few objects are compressed at once; only a few, as
                # each one holds its text in memory.
                if len(pending) >= 4:
                    gzip_bytes += pending.pop(0).result()
                pending.append(pool.submit(_write_object, directory / key, body.parts, level))
            gzip_bytes += sum(future.result() for future in pending)
    except OSError as exc:
        raise StorageError(
            f"cannot write sample logs: {exc.strerror}. Choose a directory that can be written.",
            uri=str(exc.filename or directory),
        ) from exc
    records = objects * options.records
    return GenerateReport(
        objects=objects,
        records=records,
        bad_lines=bad_before(records, options.bad_lines),
        format=declared_by(options),
        text_bytes=text_bytes,
        gzip_bytes=gzip_bytes,
        seconds=time.perf_counter() - began,
    )


def _refuse_lakes(directory: Path) -> None:
    place = open_storage(str(directory))
    lake = place if (directory / LAKE_FOLDER).is_dir() else lake_around(place, None)
    if lake:
        raise UsageError(
            f"this is flowconv's lake {lake.root} or a part of it, no place for logs. Choose "
            "another directory.",
            uri=place.root,
        )


def _write_object(path: Path, parts: Sequence[bytes], compresslevel: int | None) -> int:
    if compresslevel is not None:
        # Without any part, it is the gzip of nothing.
        parts = [gzip.compress(part, compresslevel, mtime=0) for part in parts or [b""]]
    data = b"".join(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return len(data)


def _make_objects(options: GenerateOptions) -> Iterator[tuple[str, "Body"]]:
    from flowconv.samples.delivering import make_bodies
    from flowconv.samples.networks import make_network

    rng = random.Random(f"accounts {options.seed}")
    accounts = [
        f"{'0' if i == 0 else rng.randint(1, 9)}{rng.randrange(10**11):011d}"
        for i in range(options.accounts)
    ]
    per_network = options.days * options.objects
    for index, (account, region) in enumerate(product(accounts, list(REGIONS)[: options.regions])):
        rng = random.Random(f"network {options.seed} {account} {region}")
        network = make_network(rng, options, account, region)
        logs = make_flow_logs(rng, options)
        # Flow logs take turns; each network begins where the one before left off, so that few
        # objects show many formats.
        turns: defaultdict[FlowLog, list[Place]] = defaultdict(list)
        for n in range(per_network):
            number = index * per_network + n
            log = logs[number % len(logs)]
            end = _bucket_end(options, n)
            turns[log].append(
                Place(
                    account=account,
                    region=region,
                    log_id=log.id,
                    end=end,
                    number=number,
                    first=n == 0,
                )
            )
        objects_per_chunk = max(1, _ROWS_PER_CHUNK // max(1, options.records))
        exported: Counter[str] = Counter()
        for log, places in turns.items():
            for i in range(0, len(places), objects_per_chunk):
                chunk = places[i : i + objects_per_chunk]
                bodies = make_bodies(rng, options, network, log, chunk)
                for place, body in zip(chunk, bodies, strict=True):
                    if options.shape == "cloudwatch-export":
                        yield _export_key(place, body, exported), body
                    elif options.shape in ("header", "parquet"):
                        yield _aws_key(options, place, f"{rng.getrandbits(32):08x}"), body
                    else:
                        yield _firehose_key(options, place, rng), body


def _bucket_end(options: GenerateOptions, number: int) -> datetime:
    """End of the bucket of a network's n-th object: the day's last ones are keyed by the next."""
    day, i = divmod(number, options.objects)
    buckets = math.ceil((i + 1) * 86_400 / options.objects / BUCKET_S) + 1
    midnight = datetime.combine(options.start_day, datetime.min.time(), UTC)
    return midnight + timedelta(days=day, seconds=buckets * BUCKET_S)


def _aws_key(options: GenerateOptions, place: Place, name: str) -> str:
    account, region, end, hour = place.account, place.region, place.end, options.per_hour
    if options.hive:
        folder = (
            f"aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/"
            f"year={end:%Y}/month={end:%m}/day={end:%d}/{f'hour={end:%H}/' if hour else ''}"
        )
    else:
        folder = f"{account}/vpcflowlogs/{region}/{end:%Y/%m/%d}/{f'{end:%H}/' if hour else ''}"
    return (
        f"AWSLogs/{folder}{account}_vpcflowlogs_{region}_{place.log_id}_{end:%Y%m%dT%H%MZ}_{name}"
        f".log.{'parquet' if options.shape == 'parquet' else 'gz'}"
    )


def _export_key(place: Place, body: "Body", exported: Counter[str]) -> str:
    """Name an object of an export: a task for each day, a folder for each log stream in it.

    AWS exports every stream to objects of its own. Here the object's first interface lends its
    name, so that there are as many objects as were asked for.
    """
    rng = random.Random(f"task {place.account} {place.region} {place.end:%Y%m%d}")
    folder = f"exportedlogs/{_uuid(rng)}/{body.interface_id or aws_id(rng, 'eni')}-all"
    exported[folder] += 1
    return f"{folder}/{exported[folder] - 1:06d}.gz"


def _firehose_key(options: GenerateOptions, place: Place, rng: random.Random) -> str:
    """Name an object as Firehose does; what comes compressed has no suffix."""
    end = place.end + timedelta(seconds=rng.randrange(60))
    suffix = "" if options.shape == "subscription" and place.glued else ".gz"
    return (
        f"firehose/{place.account}/vpcflowlogs/{place.region}/{end:%Y/%m/%d/%H}/"
        f"flow-logs-1-{end:%Y-%m-%d-%H-%M-%S}-{_uuid(rng)}{suffix}"
    )


def _uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)
