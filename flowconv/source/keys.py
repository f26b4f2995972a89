"""A key or path -> what it says about its object: account, region, day, flow log."""

import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

SERVICE = "vpcflowlogs"

# The scheme of sources in CloudWatch Logs.
CLOUDWATCH = "cloudwatch:"


class KeyFacts(NamedTuple):
    """What a key or path says about the object; None where it says nothing.

    Attributes:
        account_id: The account that owns the flow log; from the path, else from the name.
        region: From the path, else from the name.
        flow_log_id: From the name, such as `fl-0a1b2c3d4e5f60718`.
        day: From the path, else from the name.
        time: From the name: the end of the records' window, in UTC.
        service: The AWS service in the path, below `AWSLogs/`.
    """

    account_id: str | None = None
    region: str | None = None
    flow_log_id: str | None = None
    day: date | None = None
    time: datetime | None = None
    service: str | None = None


class LogObject(NamedTuple):
    """One object of flow logs, with what its key says; see `KeyFacts`.

    Attributes:
        uri: `s3://bucket/key`, an absolute local path without links, or
            `cloudwatch:LOG-GROUP/STREAM/DAY`; as text (see `names`).
        path: Relative to the root of its source, with links as they were followed; as text.
        size_bytes: As stored. In CloudWatch Logs an estimate, or the size that was read before.
        etag: S3's ETag without quotes; locally `<size>-<time of modification in ns>`; empty in
            CloudWatch Logs.
        account_id: The account that owns the flow log.
        region: Its region.
        flow_log_id: The flow log.
        day: From the path, else from the name.
        time: From the name, in UTC.
    """

    uri: str
    path: str
    size_bytes: int
    etag: str
    account_id: str | None
    region: str | None
    flow_log_id: str | None
    day: date | None
    time: datetime | None

    @property
    def delivered(self) -> date | None:
        """The day of its delivery: of the time in the name, else of the path."""
        return self.time.date() if self.time else self.day

    @property
    def log_group(self) -> str | None:
        """The log group, if the source is CloudWatch Logs."""
        root = self.uri.removesuffix(f"/{self.path}")
        return root.removeprefix(CLOUDWATCH) if root.startswith(CLOUDWATCH) else None


class NameFacts(NamedTuple):
    """What an object's name says; see `KeyFacts`."""

    account_id: str | None = None
    region: str | None = None
    flow_log_id: str | None = None
    time: datetime | None = None


_NOTHING = NameFacts()


def parse_key(key: str) -> KeyFacts:
    """Return what a key, or a path with slashes, says about its object."""
    folder, name = folder_and_name(key)
    facts = _facts_of(folder)
    named = parse_name(name)
    if named is _NOTHING:
        return facts
    time = named.time
    return KeyFacts(
        account_id=facts.account_id or named.account_id,
        region=facts.region or named.region,
        flow_log_id=named.flow_log_id,
        day=facts.day or (time and time.date()),
        time=time,
        service=facts.service,
    )


def parse_name(name: str) -> NameFacts:
    """Return what the name of an object says."""
    match = _NAME.search(name)
    if match is None:
        return _NOTHING
    account_id, region, flow_log_id, time = match.groups()
    return NameFacts(account_id, region, flow_log_id, _parse_time(time))


# A listing gives the keys of a folder one after the other.
@lru_cache(maxsize=64)
def _facts_of(folder: str) -> KeyFacts:
    return KeyFacts(
        account_id=_first_group(_ACCOUNT, folder),
        region=_first_group(_REGION, folder),
        day=_day(folder),
        service=service_of(folder),
    )


# All but the name are searched in a folder with a slash at each end.
_A_REGION = r"[a-z]+(?:-[a-z]+)+-[0-9]+"
_ACCOUNT = re.compile(
    r"/aws-account-id=([0-9]+)/|/AWSLogs/(?:o-[^/]+/)?([0-9]+)/|/([0-9]+)/vpcflowlogs/"
)
_SERVICE = re.compile(
    r"/aws-service=([^/]+)/|/AWSLogs/(?:o-[^/]+/)?[0-9]+/([A-Za-z][^/=]*)/|/[0-9]+/(vpcflowlogs)/"
)
_REGION = re.compile(rf"/aws-region=({_A_REGION})/|/vpcflowlogs/({_A_REGION})/")
_DAY = re.compile(r"/(?:year=)?([0-9]{4})/(?:month=)?([0-9]{2})/(?:day=)?([0-9]{2})(?=/)")
_YEAR_OR_MONTH = re.compile(
    rf"/(?:aws-region={_A_REGION}/year=|vpcflowlogs/{_A_REGION}/)([0-9]{{4}})"
    r"(?:/(?:month=)?([0-9]{2}))?/$"
)
# In the name of an object; RE2 takes it too.
NAME_PATTERN = (
    rf"(?P<account>[0-9]+)_vpcflowlogs_(?P<region>{_A_REGION})"
    r"_(?P<id>fl-[0-9A-Za-z]+)_(?P<time>[0-9]{8}T[0-9]{4})Z"
)
_NAME = re.compile(rf"(?<![0-9]){NAME_PATTERN}")


def folder_and_name(key: str) -> tuple[str, str]:
    """Return the folder, with a slash at each end, and the name."""
    # S3's event notifications encode the = of the Hive-compatible layout; some tools copy by them.
    key = key.replace("%3D", "=").replace("%3d", "=")
    folder, _, name = key.rpartition("/")
    return f"/{folder}/", name


def _first_group(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return next(group for group in match.groups() if group) if match else None


def service_of(folder: str) -> str | None:
    """Return the AWS service that a folder's path names."""
    return _first_group(_SERVICE, folder)


def _day(folder: str) -> date | None:
    """Return the last day in a folder's path."""
    for digits in reversed(_DAY.findall(folder)):
        try:
            return date(*map(int, digits))
        except ValueError:
            continue
    return None


def period_of(folder: str) -> tuple[date, date]:
    """Return the first and last day of the objects below a folder, as far as its path says."""
    if day := _day(folder):
        return day, day
    if match := _YEAR_OR_MONTH.search(folder):
        try:
            year, month = int(match[1]), int(match[2] or 1)
            after = (
                date(year + 1, 1, 1) if match[2] is None else date(year, month, 28) + timedelta(4)
            )
            return date(year, month, 1), after.replace(day=1) - timedelta(1)
        except (ValueError, OverflowError):
            pass
    return date.min, date.max


def _parse_time(text: str) -> datetime | None:
    if text.endswith("T2400"):
        return None  # From Python 3.13 on it is read as the next day.
    try:
        return datetime.fromisoformat(f"{text}Z")
    except ValueError:
        return None
