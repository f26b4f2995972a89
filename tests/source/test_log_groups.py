"""CloudWatch Logs as a source: against moto's server, and against one that misbehaves."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.session  # type: ignore[import-untyped]
import pytest

import flowconv
from flowconv import (
    ConvertOptions,
    ConvertReport,
    ReadOptions,
    VerifyOptions,
    convert,
    scan,
    verify,
)
from flowconv.conversion.dry_run import plan
from flowconv.errors import FetchError, FlowconvError, StorageError, UsageError
from flowconv.source import log_groups
from flowconv.source.fetching import ObjectFetcher, requests_ended
from flowconv.source.keys import LogObject
from flowconv.source.log_groups import LIKELY_BYTES, CloudWatchSource
from flowconv.source.opening import open_source
from flowconv.source.selection import Selection
from flowconv.storage.opening import open_storage
from support.commands import invoke
from support.lakes import read_quarantine
from support.s3_servers import S3Server, moto_server

ROW = "2 123456789012 eni-1 10.0.0.1 10.0.0.2 443 49152 6 10 840 {start} {start} ACCEPT OK"
ROOT = Path(__file__).parents[2]
DOCS_PAGE = ROOT / "docs/cloudwatch.md"
POLICY = ROOT / "docs" / "examples" / "iam-cloudwatch.json"
DAYS_AGO = [datetime.now(UTC).date() - timedelta(days=n) for n in range(5)]

Event = tuple[datetime, str]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """moto's server, with a user who may do everything."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    with moto_server({"user0": policy, "user1": policy}) as server:
        yield server


@pytest.fixture
def group(server: S3Server) -> str:
    """A log group of the test's own."""
    name = f"/aws/vpc/flow-logs-{secrets.token_hex(4)}"
    client(server).create_log_group(logGroupName=name)
    return name


@cache
def client(server: S3Server, service: str = "logs") -> Any:
    options = server.storage_options()
    return botocore.session.Session().create_client(
        service,
        region_name=options["region"],
        endpoint_url=options["endpoint_url"],
        aws_access_key_id=options["key"],
        aws_secret_access_key=options["secret"],
    )


def put(server: S3Server, group: str, stream: str, events: list[Event]) -> None:
    """Put events, in their order of time, into a stream that may be there."""
    logs = client(server)
    if not logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    answer = logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[
            {"timestamp": round(moment.timestamp() * 1000), "message": message}
            for moment, message in sorted(events, key=lambda event: event[0])
        ],
    )
    assert not answer.get("rejectedLogEventsInfo")


def at(days_ago: int, clock: str = "12:00:00") -> datetime:
    return datetime.combine(DAYS_AGO[days_ago], time.fromisoformat(clock), UTC)


def window(first: int, last: int) -> Selection:
    return Selection(since=DAYS_AGO[first], until=DAYS_AGO[last])


def record(moment: datetime) -> Event:
    return moment, ROW.format(start=int(moment.timestamp()))


def read(source: CloudWatchSource, log_objects: list[LogObject]) -> list[bytes]:
    """Fetch objects as a run does."""
    texts = []
    with requests_ended(source):
        fetcher = ObjectFetcher(source, log_objects)
        for log_object in log_objects:
            opened = fetcher.open(log_object)
            first = opened.fetch_first()
            text = b""
            buffer = memoryview(bytearray(1000))
            while count := opened.readinto(buffer):
                text += buffer[:count]
            assert text.startswith(first)
            opened.close()
            texts.append(text)
        fetcher.close()
    return texts


def source_of(server: S3Server, group: str, user: int = 0) -> CloudWatchSource:
    source = open_source(f"cloudwatch:{group}", server.storage_options(user))
    assert isinstance(source, CloudWatchSource)
    return source


def line(event: Event) -> bytes:
    moment, message = event
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z {message}\n".encode()


# Against moto


def test_lists_the_days_of_every_stream(server: S3Server, group: str) -> None:
    put(server, group, "eni-1-all", [record(at(4)), record(at(2))])
    put(server, group, "odd/näme [x] %2F", [record(at(3))])
    source = source_of(server, group)
    with mock.patch.object(log_groups, "_STREAMS_PER_PAGE", 1):
        found = list(source.list_objects(window(4, 2)))
    assert [(o.uri, o.day) for o in found] == [
        (f"cloudwatch:{group}/{stream}/{DAYS_AGO[n]}", DAYS_AGO[n])
        for stream in ("eni-1-all", "odd%2Fn%C3%A4me%20%5Bx%5D%20%252F")
        for n in (4, 3, 2)
    ]
    assert {(o.account_id, o.region) for o in found} == {("123456789012", "us-east-1")}
    assert {o.size_bytes for o in found} == {LIKELY_BYTES}
    assert found == list(source.list_objects(window(4, 2)))
    assert read(source, found) == [
        *(line(record(at(4))), b"", line(record(at(2)))),
        *(b"", line(record(at(3))), b""),
    ]


@pytest.mark.parametrize("events_per_page", [1, 2, 3, 7, 10_000])
def test_reads_every_event_of_a_day_once(
    server: S3Server, group: str, events_per_page: int
) -> None:
    days = [
        [record(at(4, "00:00:00")), record(at(4, "23:59:59.999"))],
        [record(at(3, clock)) for clock in ["00:00:00", *["11:30:00.123"] * 4, "23:59:59.999"]],
        [record(at(2, "00:00:00"))],
    ]
    put(server, group, "eni-1-all", [event for day in days for event in day])
    source = source_of(server, group)
    log_objects = list(source.list_objects(window(4, 2)))
    with mock.patch.object(log_groups, "_EVENTS_PER_PAGE", events_per_page):
        texts = read(source, log_objects)
    assert texts == [b"".join(map(line, day)) for day in days]


def test_a_missing_log_group(server: S3Server) -> None:
    with pytest.raises(StorageError, match="cloudwatch:/no: there is no such log group"):
        list(source_of(server, "/no").list_objects())


def test_a_stream_that_is_deleted_meanwhile(server: S3Server, group: str) -> None:
    put(server, group, "eni-1-all", [record(at(3))])
    source = source_of(server, group)
    (log_object,) = source.list_objects(window(3, 3))
    client(server).delete_log_stream(logGroupName=group, logStreamName="eni-1-all")
    with pytest.raises(FetchError, match="no such log group or log stream") as raised:
        read(source, [log_object])
    assert raised.value.uri == log_object.uri


def test_a_wrong_secret(server: S3Server, group: str) -> None:
    source = open_source(f"cloudwatch:{group}", server.storage_options() | {"secret": "wrong"})
    with pytest.raises(StorageError, match="access is denied"):
        list(source.list_objects())


ACTIONS = ["logs:DescribeLogStreams", "logs:GetLogEvents"]


@pytest.mark.parametrize("without", ["", *ACTIONS])
def test_policy_of_the_docs(server: S3Server, group: str, without: str) -> None:
    put(server, group, "eni-1-all", [record(at(3))])
    policy = json.loads(POLICY.read_text(encoding="utf-8"))
    (statement,) = policy["Statement"]
    assert statement["Action"] == ACTIONS
    statement["Action"] = [action for action in ACTIONS if action != without]
    statement["Resource"] = "*"  # moto knows no resources of CloudWatch Logs.
    client(server, "iam").put_user_policy(
        UserName="user1", PolicyName="own", PolicyDocument=json.dumps(policy)
    )
    source = source_of(server, group, user=1)
    with pytest.raises(StorageError, match="access is denied") if without else nullcontext():
        assert read(source, list(source.list_objects(window(3, 3))))


# Conversions


SIZE = len(line(record(at(3))))


def run(server: S3Server, group: str, lake: Path, **options: Any) -> ConvertReport:
    return convert(
        f"cloudwatch:{group}",
        str(lake),
        ConvertOptions(
            **{"format": "default", "source_options": server.storage_options(), **options}
        ),
    )


def starts(lake: Path) -> list[datetime]:
    """When the lake's records begin, in order."""
    flows = scan(str(lake)).collect()
    assert set(flows["aws_account_id"]) == {"123456789012"}
    assert set(flows["aws_region"]) == {"us-east-1"}
    assert flows["date"].to_list() == flows["start"].dt.date().to_list()
    return sorted(flows["start"])


def test_converts_what_is_new(server: S3Server, group: str, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    moments = [at(4, clock) for clock in ("01:00:00", "12:00:00", "23:59:59")]
    put(server, group, "eni-1-all", [record(moment) for moment in moments])
    put(server, group, "eni-2-all", [record(at(3)), (at(3), "what is this?")])
    first = run(server, group, lake, since=DAYS_AGO[4], until=DAYS_AGO[3])
    assert (first.objects, first.lines.rows, first.lines.rejected) == (4, 4, 1)
    assert (first.already_converted, first.unreadable) == (0, {})
    # The size of what was read, not the estimate.
    assert first.source_bytes == first.text_bytes == 4 * SIZE + 39
    assert starts(lake) == [*moments, at(3)]
    [(uri, number, reason, _, text)] = read_quarantine(lake)
    assert uri == f"cloudwatch:{group}/eni-2-all/{DAYS_AGO[3]}"
    assert (number, reason) == (2, "too-few-values")
    assert text.endswith(b"what is this?")

    # The same again, and what came late for a day that was converted, is not read.
    put(server, group, "eni-1-all", [record(at(4, "13:00:00"))])
    second = run(server, group, lake, since=DAYS_AGO[4], until=DAYS_AGO[3])
    assert (second.objects, second.already_converted, second.lines.rows) == (0, 4, 0)

    # A day more, and a stream more.
    put(server, group, "eni-1-all", [record(at(2))])
    put(server, group, "eni-3-all", [record(at(3, "03:00:00"))])
    third = run(server, group, lake, since=DAYS_AGO[4], until=DAYS_AGO[2])
    assert (third.objects, third.already_converted, third.lines.rows) == (5, 4, 2)
    assert starts(lake) == [*moments, at(3, "03:00:00"), at(3), at(2)]

    # What came late is found, and can be had.
    found = verify(
        str(lake),
        f"cloudwatch:{group}",
        VerifyOptions(
            since=DAYS_AGO[4], until=DAYS_AGO[3], source_options=server.storage_options()
        ),
    )
    assert [(problem.kind, problem.uri) for problem in found.problems] == [
        ("wrong-lines", f"cloudwatch:{group}/eni-1-all/{DAYS_AGO[4]}")
    ]
    day = DAYS_AGO[4]
    fourth = run(server, group, lake, since=day, until=day, reprocess=True)
    assert fourth.complete
    assert fourth.lines.rows == 4
    assert starts(lake) == sorted([*moments, at(4, "13:00:00"), at(3, "03:00:00"), at(3), at(2)])


def test_days_that_aws_has_removed_stay_in_the_lake(
    server: S3Server, group: str, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    put(server, group, "eni-1-all", [record(at(4)), record(at(3))])
    put(server, group, "eni-2-all", [record(at(4)), record(at(3))])
    days = {"since": DAYS_AGO[4], "until": DAYS_AGO[3]}
    run(server, group, lake, **days)
    client(server).delete_log_stream(logGroupName=group, logStreamName="eni-1-all")
    put(server, group, "eni-1-all", [record(at(3))])
    again = run(server, group, lake, reprocess=True, **days)
    uri, beside = (
        f"cloudwatch:{group}/{name}/{DAYS_AGO[4]}" for name in ("eni-1-all", "eni-2-all")
    )
    # Those of one task are replaced together, or not at all.
    assert again.unreadable.keys() == {uri, beside}
    assert f"0 bytes are left of {SIZE} that were converted before" in again.unreadable[uri]
    assert again.lines.rows == 2
    assert starts(lake) == [at(4), at(4), at(3), at(3)]


def test_formats_by_log_group(server: S3Server, group: str, tmp_path: Path) -> None:
    records = ["10.0.0.1 443", "10.0.0.2 444\n10.0.0.3 445"]
    put(server, group, "eni-1-all", [(at(3), message) for message in records])
    # A header is one here, too.
    put(server, group, "eni-2-all", [(at(3), "dstport srcaddr"), (at(3), "446 10.0.0.4")])
    formats = tmp_path / "formats.toml"
    formats.write_text(f'[log-groups]\n"{group}" = "${{srcaddr}} ${{dstport}}"\n')
    report = run(
        server, group, tmp_path / "lake", format=None, formats=str(formats), since=DAYS_AGO[3]
    )
    assert report.complete
    assert report.lines.header == 1
    flows = scan(str(tmp_path / "lake")).select("srcaddr", "dstport", "date").collect()
    # The day is the object's.
    assert sorted(flows.rows()) == [(f"10.0.0.{n}", 442 + n, DAYS_AGO[3]) for n in range(1, 5)]


def test_without_a_format(server: S3Server, group: str, tmp_path: Path) -> None:
    put(server, group, "eni-1-all", [record(at(3))])
    days = {"since": DAYS_AGO[3], "until": DAYS_AGO[3]}
    report = run(server, group, tmp_path / "lake", format=None, **days)
    (reason,) = report.unreadable.values()
    assert "--format" in reason
    assert run(server, group, tmp_path / "lake", **days).lines.rows == 1


def test_command_of_the_docs(server: S3Server, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(server, group, "eni-1-all", [record(at(3)), record(at(2))])
    put(server, group, "eni-2-all", [record(at(2)), (at(2), "what is this?")])
    put(server, group, "eni-3-all", [(at(2), "what is that?")])
    bucket = server.make_bucket()
    page = DOCS_PAGE.read_text(encoding="utf-8")
    (command,) = re.findall(r"^flowconv (convert cloudwatch:.*)$", page, re.MULTILINE)
    command = command.replace("/aws/vpc/flowlogs", group).replace("my-lake", bucket)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    done = invoke([*command.split(), "--json"])
    assert done.exit_code == 3
    report = json.loads(done.stdout)
    assert report["lines"]["rows"] == 3
    assert list(report["unreadable"]) == [f"cloudwatch:{group}/eni-3-all/{DAYS_AGO[2]}"]
    uri = f"cloudwatch:{group}/eni-2-all/{DAYS_AGO[2]}"
    lake = f"s3://{bucket}/flows"
    done = invoke(["quarantine", lake, "--object", uri, "--json"])
    assert done.exit_code == 0
    (rejected,) = json.loads(done.stdout)["shown"]
    assert (rejected["uri"], rejected["line"]) == (uri, 2)


def test_plan_and_progress(server: S3Server, group: str, tmp_path: Path) -> None:
    put(server, group, "eni-1-all", [record(at(4)), record(at(3))])
    source, lake = f"cloudwatch:{group}", str(tmp_path / "lake")
    options = ConvertOptions(
        format="default",
        since=DAYS_AGO[4],
        until=DAYS_AGO[2],
        source_options=server.storage_options(),
    )
    planned = plan(source, lake, options)
    assert (planned.objects, planned.size_bytes) == (3, 3 * LIKELY_BYTES)
    assert {(group.account_id, group.region) for group in planned.groups} == {
        ("123456789012", "us-east-1")
    }
    heard: list[tuple[int, int, int]] = []
    convert(
        source,
        lake,
        options,
        on_progress=lambda p: heard.append((p.objects, p.source_bytes, p.total_bytes)),
    )
    assert heard[-1] == (3, 2 * SIZE, 2 * SIZE)


def test_reads_without_writing(server: S3Server, group: str) -> None:
    put(server, group, "eni-1-all", [record(at(4)), record(at(3))])
    reader = flowconv.read(
        f"cloudwatch:{group}",
        ReadOptions(
            format="default",
            since=DAYS_AGO[4],
            until=DAYS_AGO[3],
            source_options=server.storage_options(),
        ),
    )
    assert reader.read_all()["start"].to_pylist() == [at(4), at(3)]


# Against a server that answers what a test wants


Answer = tuple[int, Mapping[str, Any] | bytes]
MIDNIGHT = datetime(2026, 1, 14, tzinfo=UTC)
STREAM = {"logStreamName": "s", "creationTime": 1768348800000, "arn": ""}
NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)


@dataclass
class Scripted:
    """A server, and a source at it, whose requests are answered as a test wants."""

    connected: CloudWatchSource
    answer: Callable[[str, dict[str, Any]], Answer] = lambda *_: (500, {})

    @property
    def source(self) -> CloudWatchSource:
        """The one source, as new: a client takes half a second to make."""
        self.connected._given_up = False
        return self.connected


@pytest.fixture(scope="module", name="scripted")
def scripted_server() -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = scripted.answer(operation, request)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        options = {"key": "k", "secret": "s", "endpoint_url": url, "region": "eu-west-1"}
        scripted = Scripted(CloudWatchSource("cloudwatch:g", options))
        # Without botocore's waiting between attempts.
        with mock.patch("time.sleep"), mock.patch("botocore.retries.bucket.TokenBucket.acquire"):
            yield scripted
        server.shutdown()


@contextmanager
def clock_at(now: datetime) -> Iterator[None]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now.astimezone(tz)

    with mock.patch.object(log_groups, "datetime", Clock):
        yield


def days_listed(scripted: Scripted, stream: Mapping[str, int], now: datetime = NOW) -> list[int]:
    """The days of January that are listed of a stream."""
    scripted.answer = lambda *_: (200, {"logStreams": [{**STREAM, **stream}]})
    with clock_at(now):
        return [o.day.day for o in scripted.source.list_objects() if o.day]


def ms(day: int, hour: int = 0) -> int:
    return round(datetime(2026, 1, day, hour, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "last"),
    [("00:00:00", 15), ("00:59:59", 15), ("01:00:00", 16), ("23:59:59", 16)],
)
def test_a_day_is_listed_an_hour_after_it_is_over(scripted: Scripted, now: str, last: int) -> None:
    moment = datetime.fromisoformat(f"2026-01-17T{now}Z")
    assert days_listed(scripted, {}, moment) == list(range(13, last + 1))


@pytest.mark.parametrize(
    ("said", "days"),
    [
        # Nothing is known of its events: no day is left out.
        ({}, [13, 14, 15, 16, 17]),
        ({"firstEventTimestamp": ms(12, 23)}, [11, 12, 13, 14, 15, 16, 17]),
        ({"firstEventTimestamp": ms(16)}, [13, 14, 15, 16, 17]),
        ({"lastEventTimestamp": ms(15, 23)}, [13, 14, 15]),
        ({"lastEventTimestamp": ms(15), "lastIngestionTime": ms(16)}, [13, 14, 15, 16]),
        ({"lastEventTimestamp": ms(15, 5), "lastIngestionTime": ms(15, 4)}, [13, 14, 15]),
        ({"creationTime": ms(18)}, [17]),
        ({"creationTime": ms(19)}, []),
    ],
)
def test_days_of_a_stream(scripted: Scripted, said: dict[str, int], days: list[int]) -> None:
    assert days_listed(scripted, said) == days


LOG_OBJECT = LogObject(
    uri="cloudwatch:g/s/2026-01-14",
    path="s/2026-01-14",
    size_bytes=LIKELY_BYTES,
    etag="",
    account_id=None,
    region=None,
    flow_log_id=None,
    day=date(2026, 1, 14),
    time=None,
)


def page(token: str, *messages: str, timestamp: int = ms(14, 1)) -> Answer:
    events = [{"timestamp": timestamp, "message": message} for message in messages]
    return 200, {"events": events, "nextForwardToken": token, "nextBackwardToken": "b"}


def error(code: str, message: str = "said") -> Answer:
    return 400, {"__type": code, "message": message}


def read_answers(scripted: Scripted, *answers: Answer) -> bytes:
    """Read a stream whose pages are these; all must be asked for, each with the token before."""
    left = list(answers)
    token: list[str | None] = [None]

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        assert operation == "GetLogEvents"
        assert request.get("nextToken") == token[0]
        fields = ("logGroupName", "logStreamName", "startTime", "endTime", "startFromHead")
        assert [request[name] for name in fields] == ["g", "s", ms(14), ms(15), True]
        # What fails at last fails for ever.
        status, body = left.pop(0) if len(left) > 1 or answers[-1][0] == 200 else left[0]
        if isinstance(body, dict) and status == 200:
            token[0] = body["nextForwardToken"]
        return status, body

    scripted.answer = answer
    (text,) = read(scripted.source, [LOG_OBJECT])
    assert not left
    return text


T = "2026-01-14T01:00:00.000Z "


@pytest.mark.parametrize(
    ("answers", "messages"),
    [
        ([page("a"), page("a")], []),
        ([page("a", "1"), page("a")], ["1"]),
        ([page("a", "1", "2"), page("b", "3"), page("b")], ["1", "2", "3"]),
        ([page("a"), page("b"), page("c", "1"), page("d"), page("e", "2"), page("e")], ["1", "2"]),
        ([page("a", "1"), page("a", "2")], ["1", "2"]),
        ([page("a", "1"), page("b", "x", timestamp=ms(15)), page("b")], ["1"]),
        ([page("a", "x", timestamp=ms(14) - 1), page("b", "1"), page("b")], ["1"]),
    ],
)
def test_pages(scripted: Scripted, answers: list[Answer], messages: list[str]) -> None:
    assert read_answers(scripted, *answers).decode() == "".join(
        f"{T}{message}\n" for message in messages
    )


def test_throttling_is_waited_out(scripted: Scripted) -> None:
    throttled = error("ThrottlingException", "Rate exceeded")
    failed: Answer = (503, {"__type": "ServiceUnavailableException"})
    answers = [throttled, throttled, page("a", "1"), failed, throttled, page("a")]
    before = scripted.source.retries
    assert read_answers(scripted, *answers).decode() == f"{T}1\n"
    assert scripted.source.retries == before + 4


def test_nothing_is_asked_for_again_when_the_run_ends(
    scripted: Scripted,
) -> None:
    asked = 0

    def answer(*_: object) -> Answer:
        nonlocal asked
        asked += 1
        scripted.source.give_up()
        return error("ThrottlingException")

    scripted.answer = answer
    with pytest.raises(FetchError, match="the run ends"):
        list(scripted.source.list_objects())
    assert asked == 1


@pytest.mark.parametrize(
    ("answer", "kind", "match"),
    [
        (error("ThrottlingException"), FetchError, "AWS keeps refusing requests"),
        ((500, b""), FetchError, "CloudWatch Logs answers 500"),
        (error("AccessDeniedException"), StorageError, "access is denied"),
        (error("InvalidOperationException"), StorageError, "only log groups of the Standard class"),
        (error("UnrecognizedClientException"), StorageError, "access key is not known"),
        (error("ExpiredTokenException"), StorageError, "credentials have expired"),
        (
            error("InvalidParameterException", "The specified nextToken is invalid."),
            FetchError,
            "answers InvalidParameterException: The specified nextToken is invalid. Run again",
        ),
        ((200, b'{"events": [{"mess'), FetchError, "the answer lacks 'nextForwardToken'"),
        ((200, {"nextForwardToken": "b", "events": [{}]}), FetchError, "lacks 'timestamp'"),
    ],
)
def test_what_aws_refuses(
    scripted: Scripted, answer: Answer, kind: type[FlowconvError], match: str
) -> None:
    with pytest.raises(kind, match=match) as raised:
        read_answers(scripted, page("a", "1"), answer)
    assert raised.value.uri == LOG_OBJECT.uri
    assert not raised.value.unanswered


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (error("ThrottlingException"), "AWS keeps refusing requests"),
        (error("AccessDeniedException"), "access is denied"),
        ((200, b'{"logStr'), "the answer lacks 'logStreams'"),
        ((200, {"logStreams": [{}]}), "the answer lacks 'creationTime'"),
    ],
)
def test_what_aws_refuses_to_list(scripted: Scripted, answer: Answer, match: str) -> None:
    scripted.answer = lambda *_: answer
    with pytest.raises(StorageError, match=f"^cloudwatch:g: {match}"):
        list(scripted.source.list_objects())


def test_a_stream_that_fails_half_way_is_read_by_the_next_run(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So short that lines are given out before the failure.
    monkeypatch.setattr("flowconv.blocks.reading.BLOCK_BYTES", 4 * SIZE)
    rows = [ROW.format(start=1768352400 + n) for n in range(20)]
    failing = True

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "DescribeLogStreams":
            streams = [STREAM | {"logStreamName": name} for name in ("a", "b", "c")]
            return 200, {"logStreams": streams}
        place = int(request.get("nextToken", "0"))
        if failing and (request["logStreamName"], place) == ("b", 10):
            return error("InvalidParameterException", "The specified nextToken is expired.")
        return page(str(min(place + 5, 20)), *rows[place : place + 5])

    scripted.answer = answer
    monkeypatch.setattr("flowconv.conversion.converting.open_source", lambda *_: scripted.source)
    lake = str(tmp_path / "lake")
    day = date(2026, 1, 14)
    options = ConvertOptions(format="default", since=day, until=day)
    first = convert("cloudwatch:g", lake, options)
    assert list(first.unreadable) == ["cloudwatch:g/b/2026-01-14"]
    assert (first.objects, first.lines.rows) == (2, 40)
    failing = False
    second = convert("cloudwatch:g", lake, options)
    assert (second.objects, second.lines.rows, second.complete) == (1, 20, True)
    assert scan(lake).collect()["start"].value_counts()["count"].to_list() == [3] * 20


def test_nobody_answers(scripted: Scripted) -> None:
    options = {"key": "k", "secret": "s", "region": "eu-west-1"}
    options["endpoint_url"] = "http://127.0.0.1:9"
    with pytest.raises(StorageError, match="the endpoint cannot be reached") as raised:
        list(CloudWatchSource("cloudwatch:g", options).list_objects())
    assert raised.value.unanswered


# Lines


@pytest.mark.parametrize(
    ("messages", "lines"),
    [
        (["2 a", "2 b"], [f"{T}2 a", f"{T}2 b"]),
        (["2 a\n", "2 b\r\n", "2 c\n\n"], [f"{T}2 a", f"{T}2 b\r", f"{T}2 c"]),
        (["2 a\n2 b", "2\nc"], [f"{T}2 a", f"{T}2 b", f"{T}2", f"{T}c"]),
        (["", "\n", " \t", "2 a\n\n2 b"], ["", "", "", f"{T}2 a", "", f"{T}2 b"]),
        ([" 2  a "], [f"{T} 2  a "]),
        (["2 \u2028 \x0b ä 🙂"], [f"{T}2 \u2028 \x0b ä 🙂"]),
        (["2 \ud83d"], [f"{T}2 \ud83d"]),
    ],
)
def test_lines_of_messages(scripted: Scripted, messages: list[str], lines: list[str]) -> None:
    got = read_answers(scripted, page("a", *messages), page("a"))
    assert got == "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


# Usage


@pytest.mark.parametrize(
    ("url", "options", "match"),
    [
        ("cloudwatch:", {}, "no valid name of a log group"),
        ("cloudwatch:a b", {}, "no valid name of a log group"),
        ("cloudwatch:arn:aws:logs", {}, "no valid name of a log group"),
        ("cloudwatch:g", {"anon": "true"}, "'anon' is not a source option of CloudWatch Logs"),
        ("cloudwatch:g", {"endpoint_url": "localhost:1"}, "write it as https://host"),
    ],
)
def test_usage(url: str, options: dict[str, str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        open_source(url, options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"profile": "none-such", "region": "eu-west-1"}, "no such profile"),
        ({"key": "k", "region": "eu-west-1"}, "the credentials lack a part"),
        ({"key": "k", "secret": "s"}, "the region is not known"),
        ({"region": "eu-west-1"}, "no credentials were found"),
    ],
)
@pytest.mark.usefixtures("no_aws_settings")
def test_credentials_and_region(options: dict[str, str], match: str) -> None:
    with pytest.raises(StorageError, match=match):
        list(CloudWatchSource("cloudwatch:g", options).list_objects())


@pytest.mark.usefixtures("no_aws_settings")
def test_settings_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    source = CloudWatchSource("cloudwatch:g", {"key": "k", "secret": "s", "region": "eu-west-1"})
    with pytest.raises(UsageError, match="Invalid endpoint: localhost:9000"):
        list(source.list_objects())


def test_a_log_group_is_no_lake() -> None:
    with pytest.raises(UsageError, match="only convert and verify read a log group"):
        open_storage("cloudwatch:g")
