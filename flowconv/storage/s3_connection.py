"""The connection to a bucket: requests -> answers, over two clients with the same credentials.

- `http_gets` fetches and lists: a GET of a small object takes 0.1 ms of processor time, with
  botocore 0.8 ms, with a client written in Rust, in threads, 0.3 ms. `s3_pages` parses listings.
- botocore does the rest, and all of it through a proxy.

Credentials and region that the options lack come from where botocore finds them: environment,
profile, single sign-on, web identity, container or instance.
"""

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree

import botocore  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
from botocore import exceptions as botocore_errors
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.httpsession import get_cert_path  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError, create_parser  # type: ignore[import-untyped]
from botocore.response import URLLib3ProtocolError, URLLib3ReadTimeoutError  # type: ignore[import-untyped]
from botocore.utils import get_environ_proxies  # type: ignore[import-untyped]

from flowconv.errors import UsageError, quote
from flowconv.memory import uncollected
from flowconv.storage.aws import check_endpoint, known_settings
from flowconv.storage.aws_descriptions import s3_loader
from flowconv.storage.http_answers import Answer
from flowconv.storage.http_gets import CONNECT_TIMEOUT_S, Get, gets
from flowconv.storage.http_hosts import Host
from flowconv.storage.s3_errors import WrongLengthError, answer_of, code_of
from flowconv.storage.s3_pages import Page, read_page, read_pages_of
from flowconv.storage.s3_requests import (
    ANSWER_TIMEOUT_S,
    REQUESTS_AT_ONCE,
    Done,
    Request,
    Requests,
    in_thread,
)
from flowconv.storage.s3_signing import GetRequests

# Parameters of ListObjectsV2.
_BOTOCORE_NAMES = {
    "prefix": "Prefix",
    "delimiter": "Delimiter",
    "start-after": "StartAfter",
    "continuation-token": "ContinuationToken",
    "max-keys": "MaxKeys",
}

# A listing begins with three requests.
_OPENED_EARLY = 3

# Codes of answers that say that something is not there.
_MISSING = {"404", "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion"}


class _Clients(NamedTuple):
    """How a bucket is reached.

    Attributes:
        session: Of botocore; it has the credentials.
        s3: botocore's client.
        host: Where GETs go; None if they go through a proxy.
        get_requests: Makes them.
    """

    session: Any
    s3: Any
    host: Host | None
    get_requests: GetRequests


class Connection:
    """The two clients of a bucket; the first request makes them.

    Args:
        bucket: Its name.
        options: As for `opening.open_storage`; see `check_s3_options`.
        max_requests: The highest number of GETs at once, and of LISTs.
    """

    def __init__(self, bucket: str, options: Mapping[str, str], max_requests: int) -> None:
        self._bucket = bucket
        self._options = options
        self._lock = threading.Lock()
        self._clients: _Clients | None = None
        self._max_requests = max_requests
        self._requests = Requests(f"s3://{bucket}", max_requests, self.open_ahead)
        self.retries = self._requests.retries
        self.times = self._requests.times

    def start(self, method: str, **request: Any) -> "Future[Any]":
        """Begin a request, by the name of its method in botocore; repeat it if that may help."""
        return self._start(self._connect().s3, method, **request)

    def call(self, method: str, **request: Any) -> Any:
        """Make such a request and wait for the answer."""
        return self.start(method, **request).result()

    def start_get(
        self,
        key: str,
        start: int = 0,
        size: int | None = None,
        explain: Callable[[BaseException], BaseException] = lambda failure: failure,
        *,
        by_botocore: bool = False,
    ) -> "Future[bytes]":
        """Begin to fetch an object's bytes: `size` of them from `start`, or all that follow.

        Args:
            key: The object's.
            start: See above.
            size: See above.
            explain: Makes what is raised of the clients' errors.
            by_botocore: Over a connection of botocore, which others then get: they need not open
                one, which takes a round trip, and one or two more with TLS.
        """
        clients = self._connect()
        range_ = _Range(start, size)
        if clients.host is None or by_botocore:
            begin = in_thread(partial(self._get_by_botocore, clients.s3, key, range_))
        else:
            begin = partial(_begin_get, clients.get_requests, clients.host, key, range_)
        return self._requests.start(
            Request(
                method="get_object",
                uri=self._uri(key),
                begin=begin,
                limit="others" if clients.host is None or by_botocore else "fetches",
                received_bytes=size or 0,
                explain=explain,
            )
        )

    def open_ahead(self, number: int) -> None:
        """Open connections for so many GETs to come, or for as many as may be made at once."""
        host = self._connect().host
        if host is not None:
            gets().open_ahead(host, min(number, self._max_requests))

    def start_list(self, **request: str) -> "Future[Page]":
        """Begin to list a page of keys; `request` has the parameters of ListObjectsV2."""
        clients = self._connect()
        if clients.host is None:
            begin = in_thread(partial(self._list_by_botocore, clients.s3, request))
        else:
            begin = partial(_begin_list, clients.get_requests, clients.host, request)
        return self._requests.start(
            Request(
                method="list_objects_v2",
                uri=self._uri(request.get("prefix", "")),
                begin=begin,
                limit="pages",
            )
        )

    def find(self, key: str) -> Any:
        """Return HeadObject's answer; None if there is no such object."""
        try:
            return self.call("head_object", Key=key)
        except FileNotFoundError:
            return None

    def abort(self, key: str, upload_id: str) -> None:
        """Abort an upload; one that is gone is ignored."""
        with suppress(FileNotFoundError):
            self.call("abort_multipart_upload", Key=key, UploadId=upload_id)

    def _start(self, s3: Any, method: str, **request: Any) -> "Future[Any]":
        return self._requests.start(
            Request(
                method=method,
                uri=self._uri(request.get("Key", request.get("Prefix", ""))),
                begin=in_thread(partial(self._call, s3, method, **request)),
                sent_bytes=len(request.get("Body", b"")),
            )
        )

    def _call(self, s3: Any, method: str, **request: Any) -> Any:
        """Make a request of botocore, and wait for the answer; FileNotFoundError if it says so."""
        request["Bucket"] = self._bucket
        if self._requester_pays and _takes(s3, method, "RequestPayer"):
            request["RequestPayer"] = "requester"
        try:
            return getattr(s3, method)(**request)
        except botocore_errors.ClientError as exc:
            _raise_missing(exc)
            raise
        except (URLLib3ProtocolError, URLLib3ReadTimeoutError) as exc:
            # The body of an error broke off, where botocore expected an object.
            raise botocore_errors.ResponseStreamingError(error=exc) from exc

    def _get_by_botocore(self, s3: Any, key: str, range_: "_Range") -> bytes:
        asked = {"Range": range_.header} if range_.header else {}
        body = bytes(self._call(s3, "get_object", Key=key, **asked)["Body"].read())
        range_.check(body)
        return body

    def _list_by_botocore(self, s3: Any, request: Mapping[str, str]) -> Page:
        parameters: dict[str, Any] = {_BOTOCORE_NAMES[name]: request[name] for name in request}
        if "MaxKeys" in parameters:
            parameters["MaxKeys"] = int(parameters["MaxKeys"])
        page: Page = self._call(s3, "list_objects_v2", **parameters)["Page"]
        return page

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _connect(self) -> _Clients:
        with self._lock:
            if self._clients is None:
                with uncollected(), known_settings():
                    self._clients = self._make_clients()
            return self._clients

    def _make_clients(self) -> _Clients:
        session = botocore.session.Session(profile=self._options.get("profile"))
        session.register_component(
            "data_loader", s3_loader(session.get_config_variable("data_path"))
        )
        if "key" in self._options:
            session.set_credentials(
                self._options["key"], self._options["secret"], self._options.get("token")
            )
        authorities = session.get_config_variable("ca_bundle")
        if authorities and not Path(authorities).is_file():
            # The clients' errors would read as if an object were missing.
            raise UsageError(
                f"AWS_CA_BUNDLE, or ca_bundle of the profile: {quote(authorities)} is not a file. "
                "Name a file with the certificates of the endpoint's authority.",
                uri=self._uri(""),
            )
        self._open_early(session, self._options.get("endpoint_url") or _named_endpoint(session))
        region = self._options.get("region")
        s3 = self._make_client(session, region)
        check_endpoint(s3.meta.endpoint_url, "AWS_ENDPOINT_URL, or endpoint_url of the profile")
        if not self._is_anonymous:
            # What is wrong is told before anything is asked.
            _credentials(session)
        if _is_aws(s3.meta.endpoint_url):
            self._open_early(session, s3.meta.endpoint_url)
            # botocore follows a redirect to the bucket's region, GETs do not.
            bucket_region = self._bucket_region(s3)
            if bucket_region not in (None, s3.meta.region_name):
                s3 = self._make_client(session, bucket_region)
        elif not _has_chosen_checksums(session):
            # Older stores refuse trailing checksums, botocore's default. Where the requests go is
            # known only now; another client would take 50 ms.
            s3.meta.config.request_checksum_calculation = "when_required"
        url = s3.meta.endpoint_url
        is_proxied = urlsplit(url).scheme in get_environ_proxies(url)
        get_requests = GetRequests(
            url,
            self._bucket,
            _region(s3),
            None if self._is_anonymous else lambda: _credentials(session)[0],
            requester_pays=self._requester_pays,
        )
        return _Clients(session, s3, None if is_proxied else _host(session, url), get_requests)

    def _open_early(self, session: Any, endpoint_url: str | None) -> None:
        """Open connections to where the first requests are likely to go, while others are made."""
        if endpoint_url is None:
            return
        with suppress(ValueError):  # A wrong URL is told of where it is used.
            if urlsplit(endpoint_url).scheme not in get_environ_proxies(endpoint_url):
                host = _host(session, endpoint_url)
                gets().open_ahead(host, min(_OPENED_EARLY, self._max_requests))

    def _make_client(self, session: Any, region: str | None) -> Any:
        s3 = session.create_client(
            "s3",
            region_name=region,
            endpoint_url=self._options.get("endpoint_url"),
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=ANSWER_TIMEOUT_S,
                retries={"total_max_attempts": 1, "mode": "standard"},
                # Calls that are waited for no longer hold theirs for a while.
                max_pool_connections=2 * REQUESTS_AT_ONCE,
                signature_version=botocore.UNSIGNED if self._is_anonymous else None,
            ),
        )
        read_pages_of(s3)
        s3.meta.events.register_last("before-call.s3", _send_at_once)
        return s3

    def polars_options(self) -> dict[str, Any]:
        """Return polars' options for the bucket, with the same credentials."""
        session, s3, *_ = self._connect()

        def credentials() -> tuple[dict[str, str], int]:
            frozen, expires_at = _credentials(session)
            keys = {
                "aws_access_key_id": frozen.access_key,
                "aws_secret_access_key": frozen.secret_key,
                "aws_session_token": frozen.token,
            }
            return {k: v for k, v in keys.items() if v}, int(expires_at.timestamp())

        endpoint_url = s3.meta.endpoint_url
        return {
            "storage_options": {
                "aws_endpoint_url": endpoint_url,
                "aws_region": _region(s3),
                "aws_virtual_hosted_style_request": "false",
                "aws_allow_http": str(endpoint_url.startswith("http://")).lower(),
                "aws_skip_signature": str(self._is_anonymous).lower(),
                "aws_request_payer": str(self._requester_pays).lower(),
            },
            "credential_provider": None if self._is_anonymous else credentials,
        }

    def _bucket_region(self, s3: Any) -> str | None:
        """Return the bucket's region, which S3 tells even without permission to read."""
        try:
            answer = self._start(s3, "head_bucket").result()
        except (OSError, botocore_errors.ClientError) as exc:
            answer = answer_of(exc)
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region")
        return None if region is None else str(region)

    @property
    def _is_anonymous(self) -> bool:
        return self._options.get("anon") == "true"

    @property
    def _requester_pays(self) -> bool:
        return self._options.get("requester_pays") == "true"


def check_s3_options(options: Mapping[str, str]) -> None:
    """Check that options go together.

    Raises:
        UsageError: They do not. Values are not shown.
    """
    for name in ("anon", "requester_pays"):
        if options.get(name, "true") not in ("true", "false"):
            raise UsageError(f"storage option {name}: write true or false.")
    if ("key" in options) != ("secret" in options):
        raise UsageError("storage options key and secret: each needs the other.")
    if "token" in options and "key" not in options:
        raise UsageError("storage option token: it needs key and secret.")
    sources = [name for name in ("key", "profile") if name in options]
    if options.get("anon") == "true":
        sources.append("anon")
    if len(sources) > 1:
        raise UsageError(f"storage options {' and '.join(sources)}: choose one of them.")


def _send_at_once(params: dict[str, Any], **_: Any) -> None:
    """Send a body with its request: botocore first asks whether it may, a round trip more."""
    params["headers"].pop("Expect", None)


@dataclass(frozen=True, slots=True)
class _Range:
    """Which bytes of an object are asked for: `size` of them from `start`, or all that follow."""

    start: int
    size: int | None

    @property
    def header(self) -> str | None:
        """HTTP's header; None for the whole object."""
        if not self.start and self.size is None:
            return None
        return f"bytes={self.start}-{'' if self.size is None else self.start + self.size - 1}"

    def check(self, body: bytes) -> None:
        """Raise WrongLengthError if a body has not all of the range."""
        if self.size is not None and len(body) != self.size:
            raise WrongLengthError(f"S3 sent {len(body)} bytes instead of {self.size}")

    def body_of(self, answer: Answer) -> bytes:
        """Return the bytes that an answer has of the range.

        Raises:
            ClientError: S3 refuses; FileNotFoundError if there is nothing.
            ResponseParserError: The answer has other bytes.
            WrongLengthError: The answer has more or fewer.
        """
        if answer.status not in (200, 206):
            exc = _error_of(answer, answer.status)
            _raise_missing(exc)
            raise exc
        sent = (answer.header("content-range") or "") if answer.status == 206 else "bytes 0-"
        if not sent.startswith(f"bytes {self.start}-"):
            raise ResponseParserError(f"{self.header} was asked for, and {sent} came")
        self.check(answer.body)
        return answer.body


def _page_of(answer: Answer) -> Page:
    """Return the page that an answer has.

    Raises:
        ClientError: S3 refuses; FileNotFoundError if there is no such bucket.
        ResponseParserError: The answer is none.
    """
    status = answer.status
    if status == 200:
        try:
            page = read_page(answer.body)
        except ElementTree.ParseError as exc:
            raise ResponseParserError(str(exc)) from exc
        if page is not None:
            return page
        status = 500  # As botocore takes an error that comes with status 200.
    error = _error_of(answer, status)
    _raise_missing(error)
    raise error


def _error_of(answer: Answer, status: int) -> Exception:
    """Return the error of an answer that is none of an object, or no page."""
    raw = {"status_code": status, "headers": answer.headers, "body": answer.body}
    try:
        parsed = create_parser("rest-xml").parse(raw, None)
        code = parsed["Error"]["Code"]
    except (AttributeError, LookupError, TypeError, ResponseParserError):
        # botocore is not ready for every XML, nor for a success that S3 does not know.
        code = None
    if not isinstance(code, str):
        parsed = {
            "Error": {"Code": str(status), "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
    error: Exception = botocore_errors.ClientError(parsed, "GetObject")
    return error


def _begin_get(
    get_requests: GetRequests, host: Host, key: str, range_: _Range, done: Done[bytes]
) -> None:
    """Begin to fetch an object's bytes."""

    def receive(answer: Answer | None, failure: BaseException | None) -> None:
        body = None
        if answer is not None:
            try:
                body = range_.body_of(answer)
            except Exception as exc:  # noqa: BLE001 - whoever waits for the body gets it
                failure = exc
        done(body, failure)

    _begin(get_requests, host, partial(get_requests.make, key, range_.header), receive)


def _begin_list(
    get_requests: GetRequests, host: Host, request: Mapping[str, str], done: Done[Page]
) -> None:
    """Begin to list a page of keys."""

    def receive(answer: Answer | None, failure: BaseException | None) -> None:
        if answer is None:
            done(None, failure)
        else:
            # Of 1,000 keys it takes some ms, for which the thread of all GETs must not wait.
            in_thread(partial(_page_of, answer))(done)

    _begin(get_requests, host, partial(get_requests.make_listing, request), receive)


def _begin(
    get_requests: GetRequests, host: Host, make: Callable[[], bytes], done: Done[Answer]
) -> None:
    """Begin to send a request, with credentials that are renewed if need be."""

    def send() -> None:
        gets().begin(Get(host=host, request=make(), timeout_s=ANSWER_TIMEOUT_S, done=done))

    def renew_and_send() -> None:
        get_requests.renew()
        send()

    def fail(_: None, failure: BaseException | None) -> None:
        if failure is not None:
            done(None, failure)

    if get_requests.is_fresh:
        send()
    else:
        in_thread(renew_and_send)(fail)


def _raise_missing(exc: BaseException) -> None:
    """Raise FileNotFoundError if an answer says that something is not there."""
    if code_of(exc) in _MISSING:
        raise FileNotFoundError(str(exc)) from exc


def _named_endpoint(session: Any) -> str | None:
    """Return the endpoint that the environment or the profile names; botocore knows of more."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    of_profile = session.get_scoped_config().get("endpoint_url")
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or of_profile
    return url if isinstance(url, str) else None


def _host(session: Any, endpoint_url: str) -> Host:
    url = urlsplit(endpoint_url)
    if url.scheme != "https":
        return Host(url.hostname or "", url.port or 80, None)
    # As botocore does.
    authorities = session.get_config_variable("ca_bundle") or get_cert_path(verify=True)
    return Host(url.hostname or "", url.port or 443, _tls(authorities))


@cache
def _tls(authorities: str) -> ssl.SSLContext:
    """Return what checks certificates; to read those of the authorities takes 10 ms."""
    # As strict as botocore: `ssl.create_default_context` refuses more from Python 3.13 on.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_verify_locations(authorities)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


def _credentials(session: Any) -> tuple[Any, datetime]:
    """Return the credentials of a session, renewed if need be, and when to ask again.

    Raises:
        BotoCoreError: They cannot be loaded; NoCredentialsError if there are none.
    """
    credentials = session.get_credentials()
    if credentials is None:
        raise botocore_errors.NoCredentialsError
    # botocore renews them at least 10 minutes before they end. The clients ask again some minutes
    # before the time given; that costs nothing while they are valid.
    return credentials.get_frozen_credentials(), datetime.now(UTC) + timedelta(minutes=10)


def _takes(s3: Any, method: str, parameter: str) -> bool:
    """Tell whether a method of botocore's client has a parameter."""
    operation = s3.meta.service_model.operation_model(s3.meta.method_to_api_mapping[method])
    return parameter in operation.input_shape.members


def _region(s3: Any) -> str:
    region = s3.meta.region_name
    # Without a region botocore says "aws-global", and signs for us-east-1.
    return "us-east-1" if region in (None, "aws-global") else str(region)


def _is_aws(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _has_chosen_checksums(session: Any) -> bool:
    """Tell whether the user has set when AWS's tools send checksums."""
    name = "request_checksum_calculation"
    return f"AWS_{name.upper()}" in os.environ or name in session.get_scoped_config()
