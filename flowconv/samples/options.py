"""What sample logs can be asked for, and what was made."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, get_args

from flowconv.errors import UsageError, quote
from flowconv.options import described
from flowconv.values import as_day, check_choice

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
BUCKET_S: Final = 300  # AWS publishes every five minutes; the time in a name is a bucket's end


def _share(help_: str, default: float) -> Any:
    return described(help_, default=default, metavar="SHARE")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What sample logs are like; checked when it is made.

    Raises:
        UsageError: An option is out of its range.
    """

    shape: Shape = described(
        "How the records reach the bucket. Logs without a header all have the fields of the "
        "highest version, in AWS's order.",
        default="header",
    )
    seed: int = described("The same seed and options give the same bytes.", default=0)
    versions: tuple[int, ...] = described(
        "Log versions, 2 to 5; each flow log has one of them.", default=VERSIONS, metavar="N,N…"
    )
    accounts: int = described("Number of accounts; the first one's id begins with 0.", default=2)
    regions: int = described("Number of regions in each account.", default=2)
    days: int = described("Number of days.", default=2)
    start_day: date = described("First day, in UTC.", default=date(2026, 1, 14), metavar="DAY")
    objects: int = described("Objects per account, region and day.", default=4)
    records: int = described("Records per object.", default=500)
    custom_orders: bool = described(
        "Add flow logs with a format of their own: shuffled, alphabetical, and a subset.",
        default=True,
    )
    ipv6_share: float = _share("Share of conversations over IPv6, 0 to 1.", 0.05)
    nodata_share: float = _share("Share of NODATA records, 0 to 1.", 0.02)
    skipdata_share: float = _share("Share of SKIPDATA records, 0 to 1.", 0.001)
    bad_lines: float = _share(
        "Share of bad lines, 0 to 1, evenly spread: too few values, too many, no number, no UTF-8.",
        0.0,
    )
    double_spaces: bool = described("Put two spaces between values.", default=False)
    hive: bool = described("Name the objects in AWS's Hive-compatible layout.", default=False)
    per_hour: bool = described("Give every hour a folder of its own.", default=False)
    compresslevel: int = described("Level of gzip, 0 to 9.", default=6)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_day", as_day(self.start_day, "--start-day"))
        object.__setattr__(self, "versions", _take_versions(self.versions))
        check_choice(self.shape, SHAPES, "--shape")
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


def _take_versions(versions: object) -> object:
    """Take a text such as `2,5` too."""
    if not isinstance(versions, str):
        return versions
    try:
        return tuple(int(version) for version in versions.split(","))
    except ValueError:
        raise UsageError(f"--versions: {quote(versions)} is not a list such as 2,5.") from None


def _check_range(option: str, value: float, least: float, most: float) -> None:
    name = f"--{option.replace('_', '-')}"
    if value < least:
        raise UsageError(f"{name}: {value} is too small; the least is {least}.")
    if not value <= most:
        raise UsageError(f"{name}: {value} is too large; the most is {most}.")


@dataclass(frozen=True, slots=True, kw_only=True)
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
