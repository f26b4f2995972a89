"""Stage 1, prefix -> objects: what is there, and what the keys say about it.

AWS delivers to one of two layouts, plain or Hive-compatible, below a prefix of the user's choice:

    AWSLogs/[o-organisation/]{account}/vpcflowlogs/{region}/YYYY/MM/DD/[HH/]{name}
    AWSLogs/[o-organisation/]aws-account-id={account}/aws-service=vpcflowlogs/
        aws-region={region}/year=YYYY/month=MM/day=DD/[hour=HH/]{name}

with names `{account}_vpcflowlogs_{region}_{fl-id}_{YYYYMMDDTHHmmZ}_{hash}.log.gz`
(https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html). Transit gateway logs
use the same. Objects are also copied elsewhere, so any key will do; what it does not say is None.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flowconv.storage import Storage, StoredFile

SERVICE = "vpcflowlogs"

# How sources in CloudWatch Logs begin.
CLOUDWATCH = "cloudwatch:"


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a key or a path says about the object; None where it says nothing.

    Attributes:
        account_id: The account that owns the flow log; of the path, else of the name.
        region: Of the path, else of the name.
        flow_log_id: Of the name, such as `fl-0a1b2c3d4e5f60718`.
        day: Of the path, else of the name.
        time: Of the name: when the window of its records ends, in UTC.
        service: The service that the path names, below `AWSLogs/`.
    """

    account_id: str | None = None
    region: str | None = None
    flow_log_id: str | None = None
    day: date | None = None
    time: datetime | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True)
class LogObject:
    """One object of flow logs, with what its key says; see `KeyFacts`.

    Attributes:
        uri: `s3://bucket/key`, an absolute local path, or `cloudwatch:LOG-GROUP/STREAM/DAY`.
        path: Relative to the root of its source.
        size_bytes: As it is stored. Of CloudWatch Logs an estimate, or what was read before.
        etag: S3's ETag without quotes; locally `<size>-<time of modification in ns>`; of
            CloudWatch Logs empty.
        account_id: The account that owns the flow log.
        region: Its region.
        flow_log_id: The flow log.
        day: The day of the path, else of the name.
        time: The time of the name, in UTC.
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
        """The day of its delivery: that of the name's time, else of the path."""
        return self.time.date() if self.time else self.day

    @property
    def log_group(self) -> str | None:
        """The log group, if it comes straight from CloudWatch Logs."""
        root = self.uri.removesuffix(f"/{self.path}")
        return root.removeprefix(CLOUDWATCH) if root.startswith(CLOUDWATCH) else None


def list_objects(
    storage: Storage,
    since: date | None = None,
    until: date | None = None,
    leave_out: str | None = None,
    left_out: Counter[str] | None = None,
) -> Iterator[LogObject]:
    """List the objects of flow logs in a storage, always in the same order.

    Folders are walked down as far as AWS's layout goes, so that neither other services nor other
    days are listed. Below, and outside AWS's layout, all is listed at once.

    Args:
        storage: A bucket, any prefix or folder in AWS's layout or outside it, or one object. What
            its root says about account, region and day counts too.
        since: First day, by the day of the objects' keys; without one an object is left out.
        until: Last day, included.
        leave_out: Root of a lake; what is below it is left out.
        left_out: Counts what is left out, by kind: `other_services` (folders of other AWS
            services; what is in them is not listed), `not_logs` (folder markers, AWS's test
            object, names that begin with `_` or `.`), `undated` (with since or until, objects
            whose keys show no day).

    Yields:
        Objects; memory stays bounded, however many there are.

    Raises:
        StorageError: The storage does not answer.
    """
    return _Listing(
        storage,
        since or date.min,
        until or date.max,
        None if leave_out is None else f"{leave_out}/",
        Counter() if left_out is None else left_out,
    ).walk("", depth=0)


def parse_key(key: str) -> KeyFacts:
    """Return what a key, or a path with slashes, says."""
    folder, name = _split(key)
    account_id = _first_group(_ACCOUNT, folder)
    region = _first_group(_REGION, folder)
    flow_log_id = time = None
    if match := _NAME.search(name):
        time = _parse_time(match["time"])
        flow_log_id = match["id"]
        account_id = account_id or match["account"]
        region = region or match["region"]
    day = _day(folder) or (time and time.date())
    return KeyFacts(account_id, region, flow_log_id, day, time, _first_group(_SERVICE, folder))


# Outside AWS's layout, folders are walked one by one to so many levels, and so many in each. A
# call for each of them is cheap; a call for each of a million is not.
_LEVELS_OUTSIDE = 4
_FOLDERS_OUTSIDE = 100

_TEST_OBJECT = "aws-logs-write-test"

# These are looked for in a folder with a slash at each end.
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
_NAME = re.compile(
    rf"(?<![0-9])(?P<account>[0-9]+)_vpcflowlogs_(?P<region>{_A_REGION})"
    r"_(?P<id>fl-[0-9A-Za-z]+)_(?P<time>[0-9]{8}T[0-9]{4})Z"
)


@dataclass(frozen=True, slots=True)
class _Listing:
    storage: Storage
    since: date
    until: date
    leave_out: str | None
    left_out: Counter[str]

    def walk(self, path: str, depth: int) -> Iterator[LogObject]:
        """List what is wanted of a folder and those below it."""
        uri = f"{self.storage.uri(path).removesuffix('/')}/"
        folder, _ = _split(_key(uri))
        if self._is_in_lake(uri):
            return
        service = _first_group(_SERVICE, folder)
        if service not in (None, SERVICE):
            self.left_out["other_services"] += 1
            return
        period = _period(folder)
        if period[1] < self.since or period[0] > self.until:
            return
        wanted_whole = self.since <= period[0] and period[1] <= self.until
        in_layout = service == SERVICE or "/AWSLogs/" in folder
        dated = period != (date.min, date.max)
        if (wanted_whole and (service or dated)) or depth > _LEVELS_OUTSIDE:
            for file in self.storage.list_files(path):
                yield from self._choose(file)
            return
        folders = []
        for entry in self.storage.list_folder(path):
            if isinstance(entry, StoredFile):
                yield from self._choose(entry)
            else:
                folders.append(entry.path)
        if not in_layout and len(folders) > _FOLDERS_OUTSIDE:
            depth = _LEVELS_OUTSIDE
        for below in folders:
            yield from self.walk(below, 0 if in_layout else depth + 1)

    def _choose(self, file: StoredFile) -> Iterator[LogObject]:
        """Give the object if it is one and is wanted."""
        uri = self.storage.uri(file.path)
        if self._is_in_lake(uri):
            return
        name = file.path.rpartition("/")[2]
        if (file.path and name in ("", _TEST_OBJECT)) or name.startswith(("_", ".")):
            self.left_out["not_logs"] += 1
            return
        facts = parse_key(_key(uri))
        if facts.service not in (None, SERVICE):
            self.left_out["other_services"] += 1
            return
        if (self.since, self.until) != (date.min, date.max):
            if facts.day is None:
                self.left_out["undated"] += 1
                return
            if not self.since <= facts.day <= self.until:
                return
        yield LogObject(
            uri,
            file.path,
            file.size_bytes,
            file.etag,
            facts.account_id,
            facts.region,
            facts.flow_log_id,
            facts.day,
            facts.time,
        )

    def _is_in_lake(self, uri: str) -> bool:
        return self.leave_out is not None and uri.startswith(self.leave_out)


def _key(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[2] if uri.startswith("s3://") else uri


def _split(key: str) -> tuple[str, str]:
    """Return the folder, with a slash at each end, and the name."""
    # S3's event notifications write the = of the Hive-compatible layout so, and some copy by them.
    key = key.replace("%3D", "=").replace("%3d", "=")
    folder, _, name = key.rpartition("/")
    return f"/{folder}/", name


def _first_group(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return next(group for group in match.groups() if group) if match else None


def _day(folder: str) -> date | None:
    """Return the last day that a folder names."""
    for digits in reversed(_DAY.findall(folder)):
        try:
            return date(*map(int, digits))
        except ValueError:
            continue
    return None


def _period(folder: str) -> tuple[date, date]:
    """Return the first and the last day that objects below a folder may have."""
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
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None
