"""What sample logs can be asked for, and what was made."""

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from flowconv.errors import UsageError

if TYPE_CHECKING:
    pass


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
