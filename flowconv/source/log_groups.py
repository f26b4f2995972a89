"""CloudWatch Logs as a source: `cloudwatch:LOG-GROUP`.

An object is one day (UTC) of one log stream, in the form of AWS's exports to S3: a line for each
event, `2026-01-14T00:00:00.000Z <message>`. Each day is read once, an hour after it ends, so that
late events are in it.

AWS allows 25 requests a second for an account and region, each for at most 1 MB or 10,000 events
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html). A day of
a busy network interface is some 25 of them, one of a quiet interface is two.
"""

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

import botocore.config  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
import numpy as np
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    SSLError,
)
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from flowconv.errors import FetchError, StorageError, UnreadableObjectError, UsageError
from flowconv.events import log_event
from flowconv.source.keys import CLOUDWATCH, LogObject
from flowconv.source.selection import ALL, Selection
from flowconv.storage.aws import ADVICE, OPTION_NAMES, check_options, known_settings
from flowconv.storage.interface import Storage
from flowconv.storage.request_times import RequestTimes

# A day is listed this long after its end. Flow logs are delivered within some ten minutes, and
# DescribeLogStreams shows events within an hour.
SETTLING = timedelta(hours=1)

# The assumed size of an object, one page of events: AWS does not tell it.
LIKELY_BYTES = 1 << 20

# Four stay below the 25 requests a second, and leave some to others.
_REQUESTS_AT_ONCE = 4
# Within at most a minute.
_ATTEMPTS = 8
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 60

# AWS's limits.
_STREAMS_PER_PAGE = 50
_EVENTS_PER_PAGE = 10_000

_DAY = timedelta(days=1)


class CloudWatchSource:
    """A log group; see `opening.Source`. The first request connects it.

    Args:
        url: `cloudwatch:LOG-GROUP`.
        options: key, secret, token, profile, endpoint_url, region. Without an option, the settings
            of AWS's tools count.

    Raises:
        UsageError: The name of the log group is not valid, or an option is not known.
    """

    is_local = False

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self.root = url
        self.log_group = url.removeprefix(CLOUDWATCH)
        if not re.fullmatch(r"[A-Za-z0-9._/#-]{1,512}", self.log_group):
            raise UsageError(
                "this has no valid name of a log group. Write cloudwatch:LOG-GROUP.", uri=url
            )
        check_options(options, OPTION_NAMES, "source option of CloudWatch Logs")
        self._options = options
        self.retries = 0
        self._mutex = threading.Lock()
        self._given_up = False
        self._requests = ThreadPoolExecutor(_REQUESTS_AT_ONCE, "flowconv-fetch")
        self.times = RequestTimes()  # botocore's requests are not timed.

    def give_up(self) -> None:
        """See `opening.Source`."""
        self._given_up = True

    def is_within(self, lake: Storage) -> bool:  # noqa: ARG002
        """See `opening.Source`."""
        return False

    def list_objects(
        self,
        selection: Selection = ALL,
        left_out: Counter[str] | None = None,
        unreadable: dict[str, str] | None = None,  # noqa: ARG002  # no stream is denied alone
    ) -> Iterator[LogObject]:
        """List the past days of all log streams; see `opening.Source`.

        A day without events may be listed, too.
        """
        left_out = Counter() if left_out is None else left_out
        patterns = selection.patterns
        if patterns:
            left_out.update(dict.fromkeys(patterns.kinds, 0))
        over = (datetime.now(UTC) - SETTLING).date() - _DAY
        until = min(selection.until or over, over)
        with _errors(StorageError, self.root):
            for stream in self._streams():
                first, last = _days(stream)
                day = max(first, selection.since or first)
                while day <= min(last, until):
                    log_object = self._log_object(stream, day)
                    day += _DAY
                    if refused := patterns and patterns.refuses(log_object.path):
                        left_out[refused[0]] += 1
                        continue
                    yield log_object

    def list_with_day_ends(
        self,
        selection: Selection = ALL,
        left_out: Counter[str] | None = None,
        unreadable: dict[str, str] | None = None,
    ) -> Iterator[LogObject]:
        """See `opening.Source`: a day's streams are not neighbours, so none is known to end."""
        return self.list_objects(selection, left_out, unreadable)

    def pieces(self, log_object: LogObject) -> None:
        """See `Source`."""

    def requests(self, log_object: LogObject) -> Iterator[Callable[[], "Future[bytes]"]]:
        """See `opening.Source`."""
        stream, _, day = log_object.path.rpartition("/")
        request = {"logGroupName": self.log_group, "logStreamName": unquote(stream)}
        pages = _Pages(self._client, request, date.fromisoformat(day), log_object.uri)
        while not pages.at_end:
            yield partial(self._requests.submit, pages.fetch)

    def _streams(self) -> Iterator[dict[str, Any]]:
        paginator = self._client.get_paginator("describe_log_streams")
        for page in paginator.paginate(
            logGroupName=self.log_group, PaginationConfig={"PageSize": _STREAMS_PER_PAGE}
        ):
            yield from page["logStreams"]

    def _log_object(self, stream: dict[str, Any], day: date) -> LogObject:
        # arn:aws:logs:REGION:ACCOUNT:log-group:…
        region, account_id = (stream.get("arn", "").split(":") + [""] * 5)[3:5]
        path = f"{percent_encode(stream['logStreamName'], safe='')}/{day}"
        return LogObject(
            uri=f"{self.root}/{path}",
            path=path,
            size_bytes=LIKELY_BYTES,
            etag="",
            account_id=account_id or None,
            region=region or None,
            flow_log_id=None,
            day=day,
            time=None,
        )

    @cached_property
    def _client(self) -> Any:
        option = self._options.get
        with _errors(StorageError, self.root), known_settings():
            session = botocore.session.Session(profile=option("profile"))
            client = session.create_client(
                "logs",
                region_name=option("region"),
                endpoint_url=option("endpoint_url"),
                aws_access_key_id=option("key"),
                aws_secret_access_key=option("secret"),
                aws_session_token=option("token"),
                config=botocore.config.Config(
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    read_timeout=_READ_TIMEOUT_S,
                    # Waits out what is throttled, and asks more slowly from then on.
                    retries={"total_max_attempts": _ATTEMPTS, "mode": "adaptive"},
                ),
            )
            client.meta.events.register("before-send.cloudwatch-logs", self._before_send)
            client.meta.events.register("after-call.cloudwatch-logs", self._after_call)
            return client

    def _before_send(self, **_: Any) -> None:
        """Refuse an attempt when the run ends; botocore makes no other after such an error."""
        if self._given_up:
            raise FetchError("the run ends; this request is not repeated.", uri=self.root)

    def _after_call(self, parsed: Mapping[str, Any], **_: Any) -> None:
        retries = parsed["ResponseMetadata"].get("RetryAttempts", 0)
        if retries:
            with self._mutex:
                self.retries += retries
            reason = f"an answer took {retries + 1} attempts"
            log_event("retry", level=logging.WARNING, uri=self.root, reason=reason)


class _Pages:
    """The events of a stream and day, page by page; memory holds one page."""

    def __init__(self, client: Any, request: Mapping[str, str], day: date, uri: str) -> None:
        self.at_end = False
        self._client = client
        self._start = _milliseconds(day)
        self._stop = _milliseconds(day + _DAY)
        self._request: dict[str, Any] = {
            **request,
            "startTime": self._start,
            "endTime": self._stop,
            "startFromHead": True,
            "limit": _EVENTS_PER_PAGE,
        }
        self._uri = uri

    def fetch(self) -> bytes:
        """Return the lines of the next page that has any; empty only after the last one.

        Raises:
            FetchError: This page cannot be fetched.
            StorageError: Nothing of the source can.
        """
        lines = b""
        while not lines and not self.at_end:
            with _errors(FetchError, self._uri):
                page = self._client.get_log_events(**self._request)
                token = page["nextForwardToken"]
                # AWS leaves out events at endTime itself; other servers do not.
                lines = _lines(
                    [e for e in page["events"] if self._start <= e["timestamp"] < self._stop]
                )
            # A page before the last one may be empty; only the token shows the end.
            self.at_end = token == self._request.get("nextToken")
            self._request["nextToken"] = token
        return lines


def _lines(events: list[dict[str, Any]]) -> bytes:
    """Return events as an export to S3 has them, but with the time on every line of a message.

    So two records in one message are two rows, and a wrapped record is rejected line by line, as in
    other shapes. Blank lines stay blank.
    """
    # A loop over Python objects: botocore makes the 8,000 events of 1 MB in 16 ms, this loop takes
    # 6 ms.
    moments = np.array([event["timestamp"] for event in events], "datetime64[ms]")
    text = "".join(
        f"{moment}Z {line}\n" if line.removesuffix("\r").strip(" \t") else "\n"
        for moment, event in zip(np.datetime_as_string(moments), events, strict=True)
        for line in event["message"].rstrip("\n").split("\n")
    )
    # JSON may have half a surrogate pair; its line is not UTF-8 and is rejected.
    return text.encode("utf-8", "surrogatepass")


def _days(stream: Mapping[str, Any]) -> tuple[date, date]:
    """Return the first and last day on which a stream may have events.

    AWS's time of the last event is up to an hour old, sometimes more. A day that is missed for this
    reason is listed by a later run.
    """
    created = stream["creationTime"]
    # A stream's first events may be minutes older than the stream.
    first = _day(min(created, stream.get("firstEventTimestamp", created))) - _DAY
    said = [stream[name] for name in ("lastEventTimestamp", "lastIngestionTime") if name in stream]
    return first, _day(max(said)) if said else date.max


def _day(milliseconds: int) -> date:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).date()


def _milliseconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1000


_DENIED = (
    "access is denied. The credentials need logs:DescribeLogStreams and logs:GetLogEvents for this "
    "log group, and the use of its KMS key if there is one."
)
_OTHER_CLASS = (
    "AWS lets only log groups of the Standard class be read. If this is one of another class, such "
    "as Infrequent Access, its events cannot be converted."
)

# By AWS's code or the exception's name. These concern the whole source.
_OF_SOURCE = {
    **ADVICE,
    "InvalidOperationException": _OTHER_CLASS,
    "ValidationException": _OTHER_CLASS,
    "AccessDeniedException": _DENIED,
    "403": _DENIED,
    "NoCredentialsError": "no credentials were found. Set AWS_PROFILE or another of AWS's ways, "
    "or the source options profile=… or key=… and secret=….",
}

# These concern one request.
_OF_REQUEST = {
    "ResourceNotFoundException": "there is no such log group or log stream here. Check its name, "
    "the region and the account.",
    "ThrottlingException": "AWS keeps refusing requests: the quota of the account and region is "
    "used up. Run again; what is published stays valid.",
}


@contextmanager
def _errors(kind: type[StorageError | UnreadableObjectError], uri: str) -> Iterator[None]:
    """Turn botocore's errors into ours.

    Raises:
        StorageError: The error concerns the whole source.
        FlowconvError: Of this kind, otherwise.
    """
    try:
        yield
    except KeyError as exc:  # The answer's JSON was cut, which botocore does not notice.
        raise kind(f"the answer lacks {exc}. Run again.", uri=uri) from exc
    except UnicodeDecodeError as exc:  # Not an answer of CloudWatch Logs.
        raise kind("the answer is damaged. Check the endpoint, and run again.", uri=uri) from exc
    except (BotoCoreError, ClientError, ResponseParserError) as exc:
        answer = dict(exc.response["Error"]) if isinstance(exc, ClientError) else {}
        if "<" in answer.get("Message", ""):
            answer["Message"] = ""  # Another server's whole page.
        code = answer.get("Code") or type(exc).__name__
        said = f"CloudWatch Logs answers {code}: {answer.get('Message', '')}" if answer else exc
        text = " ".join(str(said).split()).rstrip(" .:")[:300]
        otherwise = f"{text}. Run again; what is published stays valid."
        advice = _OF_SOURCE.get(code) or _OF_REQUEST.get(code, otherwise)
        error = (StorageError if code in _OF_SOURCE else kind)(advice, uri=uri)
        error.unanswered = isinstance(exc, HTTPClientError | ConnectionError) and not isinstance(
            exc, SSLError
        )
        raise error from exc
