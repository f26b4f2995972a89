"""The connection to a bucket: requests -> answers, over two clients with the same credentials.

- obstore fetches: a GET of a small object takes 0.15 ms of processor time, with botocore 0.8 ms.
  In an event loop of asyncio it takes 0.2 to 0.3 ms, and may end the process with a signal: threads
  of obstore then use Python, even while it is being taken down.
- botocore does the rest: obstore neither lists nor fetches keys with `//`, `..` or control
  characters, and cannot leave an upload open until it is published. `s3_pages` parses its listings.

Credentials and region that the options lack come from where botocore finds them: environment,
profile, single sign-on, web identity, container or instance.
"""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import botocore  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
import obstore
import obstore.store
from botocore import exceptions as botocore_errors
from botocore.config import Config  # type: ignore[import-untyped]

from flowconv.errors import UsageError, quote
from flowconv.storage.aws_descriptions import s3_loader
from flowconv.storage.s3_errors import WrongLengthError, answer_of
from flowconv.storage.s3_pages import read_pages_of
from flowconv.storage.s3_requests import ANSWER_TIMEOUT_S, REQUESTS_AT_ONCE, Request, Requests

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, S3Credential


CONNECT_TIMEOUT_S = 5.0

# Codes of answers that say that something is not there.
_MISSING = {"404", "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion"}


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
        self._bucket = bucket
        self._options = options
        self._lock = threading.Lock()
        self._clients: _Clients | None = None
        self._requests = Requests(f"s3://{bucket}", max_requests)
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
    ) -> "Future[bytes]":
        """Begin to fetch an object's bytes: `size` of them from `start`, or all that follow.

        Args:
            key: The object's.
            start: See above.
            size: See above.
            explain: Makes what is raised of the clients' errors.
        """
        clients = self._connect()
        is_plain = _is_plain(key)
        get = (
            partial(_get_by_obstore, clients.store)
            if is_plain
            else partial(self._get_by_botocore, clients.s3)
        )
        return self._requests.start(
            Request(
                method="get_object",
                uri=self._uri(key),
                call=partial(_get, get, key, start, size),
                limit="fetches" if is_plain else "others",
                received_bytes=size or 0,
                explain=explain,
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
                call=partial(self._call, s3, method, **request),
                limit="pages" if method == "list_objects_v2" else "others",
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
            if exc.response["Error"].get("Code") in _MISSING:
                raise FileNotFoundError(str(exc)) from exc
            raise

    def _get_by_botocore(self, s3: Any, key: str, start: int, size: int | None) -> bytes:
        end = "" if size is None else start + size - 1
        range_ = {"Range": f"bytes={start}-{end}"} if start or size is not None else {}
        return bytes(self._call(s3, "get_object", Key=key, **range_)["Body"].read())

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


def _get(
    get: Callable[[str, int, int | None], bytes], key: str, start: int, size: int | None
) -> bytes:
    body = get(key, start, size)
    if size is not None and len(body) != size:
        raise WrongLengthError(f"S3 sent {len(body)} bytes instead of {size}")
    return body


def _get_by_obstore(store: obstore.store.S3Store, key: str, start: int, size: int | None) -> bytes:
    if size is not None:
        return obstore.get_range(store, key, start=start, length=size).to_bytes()
    options: GetOptions | None = {"range": {"offset": start}} if start else None
    return obstore.get(store, key, options=options).bytes().to_bytes()


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


def _is_plain(key: str) -> bool:
    """Tell whether obstore takes a key unchanged."""
    return key.isprintable() and not {"", ".", ".."} & set(key.split("/"))
