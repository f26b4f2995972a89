"""The connection to a bucket: requests -> answers, over two clients with the same credentials.

- obstore fetches: a GET of a small object takes 0.15 ms of processor time, with botocore 0.8 ms.
- botocore does the rest: obstore neither lists nor fetches keys with `//`, `..` or control
  characters, and cannot leave an upload open until it is published. `s3_pages` parses its listings.
  Its calls block, so each has a thread: to import a client that does not, and make one, would take
  twice as long.

Credentials and region that the options lack come from where botocore finds them: environment,
profile, single sign-on, web identity, container or instance.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import botocore  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
import obstore
import obstore.store
from botocore import exceptions as botocore_errors
from botocore.config import Config  # type: ignore[import-untyped]

from flowconv.errors import UsageError, quote
from flowconv.storage.aws_descriptions import s3_loader
from flowconv.storage.request_times import KINDS, RequestTimes
from flowconv.storage.retrying import RequestLimit, Retries
from flowconv.storage.s3_errors import (
    CLIENT_ERRORS,
    answer_of,
    asks_to_slow_down,
    may_pass,
    reason_of,
)
from flowconv.storage.s3_pages import read_pages_of
from flowconv.storage.s3_threads import event_loop, in_thread

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, S3Credential


CONNECT_TIMEOUT_S = 5.0

# For a whole answer: a body may come byte by byte.
ANSWER_TIMEOUT_S = 60.0

# The slowest upload in bytes a second; a request's body adds its time to the timeout.
_LEAST_SENT_PER_S = 100_000

# A GET or LIST is hedged when it takes so many times as long as usual, and as it would at this many
# bytes a second; at most this share of all is.
_PATIENCE = 5
_LEAST_PATIENCE_S = 0.5
_LEAST_RECEIVED_PER_S = 1_000_000
_HEDGED_SHARE = 0.05

# Concurrent requests of botocore, such as deletes.
REQUESTS_AT_ONCE = 64

# Codes of answers that say that something is not there.
_MISSING = {"404", "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion"}

Answer = TypeVar("Answer")


class _Clients(NamedTuple):
    """The clients of a bucket, and the session of botocore that has their credentials."""

    session: Any
    s3: Any
    store: obstore.store.S3Store


class Connection:
    """The two clients of a bucket; the first request makes them.

    Args:
        bucket: Its name.
        options: As for `opening.open_storage`; see `check_s3_options`.
        max_requests: The highest number of GETs at once, and of LISTs.
    """

    def __init__(self, bucket: str, options: Mapping[str, str], max_requests: int) -> None:
        self.retries = Retries()
        self.times = RequestTimes()
        self._bucket = bucket
        self._options = options
        self._lock = threading.Lock()
        self._clients: _Clients | None = None
        self._room = asyncio.Semaphore(REQUESTS_AT_ONCE)
        # Two: a page need not wait until the objects before it are fetched.
        self._limits = {
            method: RequestLimit(
                f"s3://{bucket}", _is_overloaded, min(most, max_requests, _sockets_allowed())
            )
            for method, most in (
                ("get_object", max_requests),
                ("list_objects_v2", REQUESTS_AT_ONCE),
            )
        }

    def start(self, method: str, **request: Any) -> "Future[Any]":
        """Begin a request, by the name of its method in botocore; repeat it if that may help."""
        s3 = self._connect().s3
        attempt = partial(self._request, s3, method, **request)
        if method == "list_objects_v2":
            attempt = partial(self._hedged, attempt, "LIST")
        return self._start(attempt, method, **request)

    def call(self, method: str, **request: Any) -> Any:
        """Make such a request and wait for the answer."""
        return self.start(method, **request).result()

    def submit(self, requests: Callable[[], Coroutine[Any, Any, Answer]]) -> "Future[Answer]":
        """Run requests, such as `get`, one after the other in the clients' event loop."""
        self._connect()
        return asyncio.run_coroutine_threadsafe(requests(), event_loop())

    async def get(self, key: str, start: int, size: int | None) -> bytes:
        """Return an object's bytes: `size` of them from `start`, or all that follow."""
        assert self._clients is not None  # submit() has connected.
        get = (
            partial(_get_by_obstore, self._clients.store)
            if _is_plain(key)
            else partial(self._get_by_botocore, self._clients.s3)
        )
        attempt = partial(self._hedged, partial(get, key, start, size), "GET", size or 0)
        body = bytes(await self._repeated(attempt, "get_object", Key=key))
        self.times.received_bytes += len(body)
        return body

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

    async def _get_by_botocore(self, s3: Any, key: str, start: int, size: int | None) -> bytes:
        end = "" if size is None else start + size - 1
        range_ = {"Range": f"bytes={start}-{end}"} if start or size is not None else {}
        answer = await self._request(s3, "get_object", Key=key, **range_)
        return await in_thread(lambda: bytes(answer["Body"].read()))

    async def _hedged(
        self, request: Callable[[], Coroutine[Any, Any, Answer]], kind: str, size_bytes: int = 0
    ) -> Answer:
        """Make a request, and once more beside it if the answer takes much longer than usual.

        See Dean and Barroso, The Tail at Scale (https://research.google/pubs/the-tail-at-scale/).
        """
        began = time.monotonic()
        attempts = {asyncio.ensure_future(request())}
        look_after_s: float | None = _LEAST_PATIENCE_S
        try:
            while True:
                done, _ = await asyncio.wait(
                    attempts, timeout=look_after_s, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return done.pop().result()
                # What is usual is not known before some requests have been answered.
                patience_s = self._patience_s(kind, size_bytes)
                waited_s = time.monotonic() - began
                if patience_s is None:
                    look_after_s = _LEAST_PATIENCE_S
                elif waited_s < patience_s:
                    look_after_s = patience_s - waited_s
                else:
                    look_after_s = None
                    self.times.hedge(kind)
                    attempts.add(asyncio.ensure_future(request()))
        finally:
            for attempt in attempts:
                # Else asyncio would warn of an error that nobody looked at.
                if not attempt.cancel() and not attempt.cancelled():
                    attempt.exception()

    def _patience_s(self, kind: str, size_bytes: int) -> float | None:
        """Return after how many seconds a request is hedged; None if it is not now."""
        usual_s = self.times.usual_s(kind)
        answered = self.times.count("GET") + self.times.count("LIST")
        if usual_s is None or self.times.hedges > _HEDGED_SHARE * answered:
            return None
        return max(_LEAST_PATIENCE_S, _PATIENCE * usual_s) + size_bytes / _LEAST_RECEIVED_PER_S

    def _start(
        self, attempt: Callable[[], Awaitable[Any]], method: str, **request: Any
    ) -> "Future[Any]":
        """Begin an attempt in the event loop, and repeat it where that may help."""
        return asyncio.run_coroutine_threadsafe(
            self._repeated(attempt, method, **request), event_loop()
        )

    async def _repeated(
        self, attempt: Callable[[], Awaitable[Any]], method: str, **request: Any
    ) -> Any:
        timeout_s = ANSWER_TIMEOUT_S + len(request.get("Body", b"")) / _LEAST_SENT_PER_S
        backoff = self.retries.begin(
            method, self._uri(request.get("Key", request.get("Prefix", "")))
        )
        limit = self._limits.get(method)
        failures = 0
        while True:
            room = limit.request(is_second=failures == 1) if limit else nullcontext()
            try:
                async with room, asyncio.timeout(timeout_s):
                    answer = await self._timed(attempt, method)
                    self.times.sent_bytes += len(request.get("Body", b""))
                    return answer
            except CLIENT_ERRORS as exc:
                failures += 1
                delay_s = backoff.delay_s(reason_of(exc)) if may_pass(exc) else None
                if delay_s is None or not await self.retries.wait(delay_s):
                    raise

    async def _timed(self, attempt: Callable[[], Awaitable[Any]], method: str) -> Any:
        kind = KINDS[method]
        self.times.begin(kind)
        began = time.monotonic()
        try:
            answer = await attempt()
        finally:
            self.times.end()
        self.times.add(kind, time.monotonic() - began)
        return answer

    async def _request(self, s3: Any, method: str, **request: Any) -> Any:
        """Make a request of botocore, and wait for the answer; FileNotFoundError if it says so."""
        request["Bucket"] = self._bucket
        if self._requester_pays and _takes(s3, method, "RequestPayer"):
            request["RequestPayer"] = "requester"
        try:
            async with self._room:
                return await in_thread(partial(getattr(s3, method), **request))
        except botocore_errors.ClientError as exc:
            if exc.response["Error"].get("Code") in _MISSING:
                raise FileNotFoundError(str(exc)) from exc
            raise

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _connect(self) -> _Clients:
        with self._lock:
            if self._clients is None:
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
        region = self._options.get("region")
        s3 = self._make_client(session, region)
        if not self._is_anonymous:
            # obstore would hide botocore's error in its own.
            _credentials(session)
        if _is_aws(s3.meta.endpoint_url):
            # botocore follows a redirect to the bucket's region, obstore does not.
            bucket_region = self._bucket_region(s3)
            if bucket_region not in (None, s3.meta.region_name):
                s3 = self._make_client(session, bucket_region)
        elif not _has_chosen_checksums(session):
            # Older stores refuse trailing checksums, botocore's default. Where the requests go is
            # known only now; another client would take 50 ms.
            s3.meta.config.request_checksum_calculation = "when_required"
        return _Clients(session, s3, self._make_obstore(session, s3))

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

    def _make_obstore(self, session: Any, s3: Any) -> obstore.store.S3Store:
        def credentials() -> "S3Credential":
            frozen, expires_at = _credentials(session)
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": expires_at,
            }

        endpoint_url = s3.meta.endpoint_url
        client_options: ClientConfig = {
            "allow_http": endpoint_url.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=ANSWER_TIMEOUT_S),
        }
        if authorities := session.get_config_variable("ca_bundle"):
            client_options["root_certificate"] = Path(authorities).read_bytes()
        return obstore.store.S3Store(
            self._bucket,
            endpoint=endpoint_url,
            region=_region(s3),
            virtual_hosted_style_request=False,
            skip_signature=self._is_anonymous,
            request_payer=self._requester_pays,
            credential_provider=None if self._is_anonymous else credentials,
            client_options=client_options,
            retry_config={"max_retries": 0},
        )

    def polars_options(self) -> dict[str, Any]:
        """Return polars' options for the bucket, with the same credentials."""
        session, s3, _ = self._connect()

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
            answer = self._start(lambda: self._request(s3, "head_bucket"), "head_bucket").result()
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


def _is_overloaded(exc: BaseException) -> bool:
    """Tell whether to make fewer requests; some servers do not answer those beyond a number."""
    return asks_to_slow_down(exc) or isinstance(exc, TimeoutError)


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


async def _get_by_obstore(
    store: obstore.store.S3Store, key: str, start: int, size: int | None
) -> bytes:
    if size is not None:
        return (await obstore.get_range_async(store, key, start=start, length=size)).to_bytes()
    options: GetOptions | None = {"range": {"offset": start}} if start else None
    whole = await obstore.get_async(store, key, options=options)
    return (await whole.bytes_async()).to_bytes()


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


def _sockets_allowed() -> int:
    """Return how many connections may be open beside files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return sys.maxsize
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else max(1, files // 2)


def _is_plain(key: str) -> bool:
    """Tell whether obstore takes a key unchanged."""
    return key.isprintable() and not {"", ".", ".."} & set(key.split("/"))
