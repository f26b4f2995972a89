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
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from uuid import UUID

from flowconv.errors import StorageError, UsageError

if TYPE_CHECKING:
    from flowconv.delivering import Body
    from flowconv.fields import Field

Shape = Literal["header", "headerless", "cloudwatch-export", "subscription", "firehose", "parquet"]
SHAPES: Final[tuple[str, ...]] = get_args(Shape)

VERSIONS: Final = (2, 3, 4, 5)

# Each region with the beginning of its availability zones' ids.
REGIONS: Final = {
    "us-east-1": "use1",
    "eu-west-1": "euw1",
    "us-west-2": "usw2",
    "eu-central-1": "euc1",
    "ap-southeast-2": "apse2",
    "ap-northeast-1": "apne1",
    "us-east-2": "use2",
    "eu-north-1": "eun1",
    "ca-central-1": "cac1",
    "sa-east-1": "sae1",
    "ap-south-1": "aps1",
    "ap-southeast-1": "apse1",
}

_MAX_ACCOUNTS: Final = 1000
_WRITE_TEST: Final = "exportedlogs/aws-logs-write-test"
BUCKET_S: Final = 300  # AWS publishes every five minutes; the time in a name is a bucket's end
_WINDOWS_S: Final = (600, 60)  # the two aggregation intervals that AWS offers
_ROWS_PER_CHUNK: Final = 250_000  # many small objects are made at once, a large one alone


def _described(help_: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help_})


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What sample logs are like; checked when it is made.

    Raises:
        UsageError: An option is out of its range.
    """

    shape: Shape = _described(
        f"How the records reach the bucket: {', '.join(SHAPES[:-1])} or {SHAPES[-1]}. Logs without "
        "a header all have the fields of the highest version, in AWS's order.",
        "header",
    )
    seed: int = _described("The same seed and options give the same bytes.", 0)
    versions: tuple[int, ...] = _described(
        "Log versions, 2 to 5; each flow log has one of them.", VERSIONS
    )
    accounts: int = _described("Number of accounts; the first one's id begins with 0.", 2)
    regions: int = _described("Number of regions in each account.", 2)
    days: int = _described("Number of days.", 2)
    start_day: date = _described("First day, in UTC.", date(2026, 1, 14))
    objects: int = _described("Objects per account, region and day.", 4)
    records: int = _described("Records per object.", 500)
    custom_orders: bool = _described(
        "Add flow logs with a format of their own: shuffled, alphabetical, and a subset.", True
    )
    ipv6_share: float = _described("Share of conversations over IPv6, 0 to 1.", 0.05)
    nodata_share: float = _described("Share of NODATA records, 0 to 1.", 0.02)
    skipdata_share: float = _described("Share of SKIPDATA records, 0 to 1.", 0.001)
    bad_lines: float = _described(
        "Share of bad lines, 0 to 1, evenly spread: too few values, too many, no number, no UTF-8.",
        0.0,
    )
    double_spaces: bool = _described("Put two spaces between values.", False)
    hive: bool = _described("Name the objects in AWS's Hive-compatible layout.", False)
    per_hour: bool = _described("Give every hour a folder of its own.", False)
    compresslevel: int = _described("Level of gzip, 0 to 9.", 6)

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UsageError(
                f"--shape: {self.shape!r} is unknown; choose from {', '.join(SHAPES)}."
            )
        if self.shape == "parquet" and (self.bad_lines or self.double_spaces):
            raise UsageError(
                "--shape: parquet has no lines; leave out --bad-lines and --double-spaces."
            )
        if self.shape not in ("header", "parquet") and (self.hive or self.per_hour):
            raise UsageError(
                f"--shape: {self.shape} has keys of its own; leave out --hive and --per-hour."
            )
        _check_range("accounts", self.accounts, 1, _MAX_ACCOUNTS)
        _check_range("regions", self.regions, 1, len(REGIONS))
        _check_range("days", self.days, 1, 3660)
        _check_range("objects", self.objects, 1, 1_000_000)
        _check_range("records", self.records, 0, 10_000_000)
        _check_range("compresslevel", self.compresslevel, 0, 9)
        for share in ("ipv6_share", "nodata_share", "skipdata_share", "bad_lines"):
            _check_range(share, getattr(self, share), 0, 1)
        if self.nodata_share + self.skipdata_share > 1:
            raise UsageError(
                f"--skipdata-share: {self.skipdata_share} is too large; together with "
                f"--nodata-share {self.nodata_share} it must not exceed 1."
            )
        if not self.versions:
            raise UsageError("--versions: none given; choose some of 2, 3, 4 and 5.")
        for version in self.versions:
            if version not in VERSIONS:
                raise UsageError(f"--versions: {version} is unknown; choose from 2, 3, 4 and 5.")
        if not 1971 <= self.start_day.year <= 9900:
            raise UsageError(f"--start-day: {self.start_day} must lie in the years 1971 to 9900.")


def _check_range(option: str, value: float, least: float, most: float) -> None:
    name = f"--{option.replace('_', '-')}"
    if value < least:
        raise UsageError(f"{name}: {value} is too small; the least is {least}.")
    if not value <= most:
        raise UsageError(f"{name}: {value} is too large; the most is {most}.")


@dataclass(frozen=True, slots=True)
class GenerateReport:
    """What was written.

    Attributes:
        objects: Number of objects of flow logs.
        records: Number of records in them, bad ones too, headers not counted.
        bad_lines: Number of records that are bad.
        format: What `--format` of `flowconv convert` must say; None if the objects say it.
        text_bytes: Size of their text, with headers; of Parquet, that of its values.
        gzip_bytes: Size of the files.
        seconds: Time that it took.
    """

    objects: int
    records: int
    bad_lines: int
    format: str | None
    text_bytes: int
    gzip_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FlowLog:
    """A flow log: one format and aggregation interval, which AWS never lets one change."""

    id: str
    fields: "tuple[Field, ...]"
    version: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Place:
    """An object before it is made.

    Attributes:
        account: Who owns its flow log.
        region: Where that is.
        log_id: Its flow log.
        end: Time in its name.
        number: Its number among all objects.
        first: It is the first of its account and region.
    """

    account: str
    region: str
    log_id: str
    end: datetime
    number: int
    first: bool

    @property
    def glued(self) -> bool:
        """Its documents are not divided by newlines, if it has documents."""
        return self.number % 2 == 1


def generate(directory: Path, options: GenerateOptions | None = None) -> GenerateReport:
    """Write sample flow logs below a directory.

    Args:
        directory: Where `AWSLogs/` is made, or `exportedlogs/` or `firehose/`, by their shape;
            created if need be. Files of the same name are overwritten, others stay.
        options: What the logs are like; the defaults if None.

    Returns:
        Counts, sizes and the time.

    Raises:
        StorageError: The directory cannot be written.
    """
    import flowconv.delivering  # noqa: F401 - polars loads before the clock starts

    options = options or GenerateOptions()
    began = time.perf_counter()
    objects = text_bytes = gzip_bytes = 0
    level = None if options.shape == "parquet" else options.compresslevel
    try:
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
        format=_declared(options),
        text_bytes=text_bytes,
        gzip_bytes=gzip_bytes,
        seconds=time.perf_counter() - began,
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
    from flowconv.delivering import make_bodies
    from flowconv.sampling import make_network

    rng = random.Random(f"accounts {options.seed}")
    accounts = [
        f"{'0' if i == 0 else rng.randint(1, 9)}{rng.randrange(10**11):011d}"
        for i in range(options.accounts)
    ]
    per_network = options.days * options.objects
    for index, (account, region) in enumerate(product(accounts, list(REGIONS)[: options.regions])):
        rng = random.Random(f"network {options.seed} {account} {region}")
        network = make_network(rng, options, account, region)
        logs = _make_flow_logs(rng, options)
        # Flow logs take turns; each network begins where the one before left off, so that few
        # objects show many formats.
        turns: defaultdict[FlowLog, list[Place]] = defaultdict(list)
        for n in range(per_network):
            number = index * per_network + n
            log = logs[number % len(logs)]
            end = _bucket_end(options, n)
            turns[log].append(Place(account, region, log.id, end, number, first=n == 0))
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


def bad_before(number: int, share: float) -> int:
    """Count the bad lines among the first of all that are generated."""
    return number * round(share * 2**32) >> 32


def _make_flow_logs(rng: random.Random, options: GenerateOptions) -> list[FlowLog]:
    from flowconv.fields import FIELDS, Table

    of_version = {
        version: [f for f in FIELDS[Table.VPC] if f.version <= version]
        for version in sorted(set(options.versions))
    }
    formats = list(of_version.values())
    if options.shape not in ("header", "parquet"):
        formats = formats[-1:]
    elif options.custom_orders:
        least, most = formats[0], formats[-1]
        formats += [
            rng.sample(least, k=len(least)),
            sorted(most, key=lambda f: f.name),
            rng.sample(most, k=len(most) * 2 // 3),
        ]
    return [
        FlowLog(
            id=aws_id(rng, "fl"),
            fields=tuple(fields),
            version=max(f.version for f in fields),
            window_s=_WINDOWS_S[i % len(_WINDOWS_S)],
        )
        for i, fields in enumerate(formats)
    ]


def _declared(options: GenerateOptions) -> str | None:
    from flowconv.fields import DEFAULT_FORMAT

    if options.shape in ("header", "parquet"):
        return None
    names = [f.name for f in _make_flow_logs(random.Random(0), options)[0].fields]
    return "default" if tuple(names) == DEFAULT_FORMAT else " ".join(f"${{{n}}}" for n in names)


def aws_id(rng: random.Random, prefix: str) -> str:
    """Make up an id such as AWS gives its resources."""
    return f"{prefix}-0{rng.getrandbits(64):016x}"
