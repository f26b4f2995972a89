"""Storage in S3 and what speaks its protocol.

Two clients share one set of credentials. obstore fetches: a GET of a small object costs it 0.15 ms
of processor time, s3fs 0.8 ms. s3fs does the rest, since obstore neither lists nor fetches keys
with `//`, `..` or control characters, and cannot leave an upload unfinished until it is published.

What botocore does not get from the options comes from the usual places: environment, profile,
single sign-on, web identity, container or instance.
"""

import asyncio
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiobotocore.session  # type: ignore[import-untyped]
import fsspec.asyn  # type: ignore[import-untyped]
import obstore
import obstore.exceptions
import obstore.store
import pyarrow as pa
import s3fs  # type: ignore[import-untyped]
from aiohttp import ClientError as HttpError
from botocore import exceptions as botocore_errors  # type: ignore[import-untyped]

from flowconv.errors import FetchError, FlowconvError, StorageError, UsageError
from flowconv.monitoring import log_event
from flowconv.storage import Folder, StagedSink, StoredFile, Unfinished

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

# A server that hangs is given up after some four minutes by s3fs: 3 x 4 attempts.
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 20
_S3FS_ATTEMPTS = 3
_BOTOCORE_ATTEMPTS = 4

# And after two to four minutes by obstore.
_FETCH_TIMEOUT_S = 60
_FETCH_RETRIES = 6
_FETCH_RETRY_TIMEOUT_S = 120

# The least that S3 takes as a part. An upload may have 10,000: files of up to 50 GB.
_PART_BYTES = 5 << 20

# Up to this size a closed file is kept in memory until it is published: one request, not three.
_SMALL_BYTES = 1 << 20

# How stores say that what is to be created exists already; s3fs knows only AWS's way.
_EXISTS = ("PreconditionFailed", "412")
# And that somebody else is just creating it, so that one should try again.
_CONFLICT = ("ConditionalRequestConflict", "OperationAborted", "409")
_CREATE_ATTEMPTS = 6

_DELETES_AT_ONCE = 32

# Names the writer of an object, so that it knows its own again.
_WRITER = "flowconv-writer"


class S3Storage:
    """A bucket, or a prefix in one; see `storage.Storage`.

    It is connected when it is first used.
    """

    is_local = False

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._bucket, _, key = url.removeprefix("s3://").partition("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", self._bucket):
            raise UsageError("this names no bucket. Write s3://bucket/prefix.", uri=url)
        self._root_key = key.rstrip("/")
        self.root = f"s3://{self._bucket}/{self._root_key}".rstrip("/")
        self._connection = _Connection(self._bucket, _checked(options))

    def uri(self, path: str) -> str:
        """Return the `s3://` URL of a path."""
        return f"s3://{self._bucket}/{self._key(path)}" if path else self.root

    def list_files(self, below: str = "") -> Iterator[StoredFile]:
        """See `Storage`."""
        for entry in self._list(below, {}):
            assert isinstance(entry, StoredFile)
            yield entry

    def list_folder(self, below: str = "") -> Iterator[StoredFile | Folder]:
        """See `Storage`."""
        return self._list(below, {"Delimiter": "/"})

    def list_directories(self, below: str = "") -> list[str]:
        """See `Storage`."""
        entries = self.list_folder(below)
        return sorted(entry.path.split("/")[-2] for entry in entries if isinstance(entry, Folder))

    def fetch(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """See `Storage`."""
        if size == 0:
            return b""
        uri = self.uri(path)
        body = b""
        for attempts_left in (1, 0):
            try:
                body = self._connection.get(self._key(path), start, size)
            except _CLIENT_ERRORS as exc:
                if _concerns_bucket(exc):
                    raise StorageError(_explain(exc), uri=uri) from exc
                if not attempts_left or _code(exc) in _OF_OBJECT:
                    raise FetchError(_explain(exc), uri=uri) from exc
                log_event("retry", level=logging.WARNING, uri=uri, reason=_explain(exc))
                continue
            if size is None or len(body) == size:
                return body
        raise FetchError(
            f"{len(body)} bytes came where {size} were asked for, twice; the object may have been "
            "replaced since it was listed. Run again.",
            uri=uri,
        )

    def read(self, path: str) -> bytes | None:
        """See `Storage`."""
        with _storage_errors(self.uri(path)):
            try:
                return self._connection.get(self._key(path), 0, None)
            except FileNotFoundError as exc:
                if _code(exc) == "NoSuchBucket":
                    raise
                return None

    def write(self, path: str, data: bytes) -> None:
        """See `Storage`."""
        with _storage_errors(self.uri(path)):
            self._connection.call("put_object", Key=self._key(path), Body=data)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage`."""
        key = self._key(path)
        writer = secrets.token_hex(16)
        put = {"Key": key, "Body": data, "IfNoneMatch": "*", "Metadata": {_WRITER: writer}}
        with _storage_errors(self.uri(path)):
            for attempt in range(_CREATE_ATTEMPTS):
                try:
                    self._connection.call("put_object", **put)
                except OSError as exc:
                    code = _code(exc)
                    if code in _EXISTS:
                        found = self._connection.find(key)
                        if found is not None:
                            # It is ours if the answer to a first attempt was lost on its way.
                            return bool(found["Metadata"].get(_WRITER) == writer)
                    elif code not in _CONFLICT:
                        raise
                    log_event("retry", level=logging.WARNING, uri=self.uri(path), reason=code)
                    time.sleep(0.1 * 2**attempt)
                else:
                    return True
        raise StorageError(
            "others create and delete this object all the time. Run again when they have ended.",
            uri=self.uri(path),
        )

    def delete(self, paths: Sequence[str]) -> None:
        """See `Storage`."""
        # One by one: a request for many names its keys in XML, which cannot hold every key.
        for start in range(0, len(paths), _DELETES_AT_ONCE):
            some = paths[start : start + _DELETES_AT_ONCE]
            with _storage_errors(self.root):
                deletes = [self._connection.start("delete_object", Key=self._key(p)) for p in some]
            for path, done in zip(some, deletes, strict=True):
                with _storage_errors(self.uri(path)):
                    done.result()

    def open_staged(self, path: str, staging: str) -> StagedSink:  # noqa: ARG002  # needs no place
        """See `Storage`."""
        return _S3Sink(self._connection, self._key(path), self.uri(path))

    def polars_options(self) -> dict[str, Any]:
        """See `Storage`."""
        with _storage_errors(self.root):
            return self._connection.polars_options()

    def list_unfinished(
        self,
        staging: str,  # noqa: ARG002
        folders: Sequence[str] = ("",),
    ) -> list[Unfinished]:
        """See `Storage`."""
        return [one for folder in folders for one in self._uploads(self._folder_key(folder))]

    def discard(self, unfinished: Sequence[Unfinished]) -> None:
        """See `Storage`."""
        for one in unfinished:
            with _storage_errors(self.uri(one.path)):
                self._connection.abort(self._key(one.path), one.upload_id)

    def _uploads(self, prefix: str) -> Iterator[Unfinished]:
        root_length = len(self._folder_key(""))
        marks: dict[str, str] = {}
        with _storage_errors(self.root):
            while True:
                page = self._connection.call("list_multipart_uploads", Prefix=prefix, **marks)
                for upload in page.get("Uploads", []):
                    yield Unfinished(upload["Key"][root_length:], upload["UploadId"])
                if not page.get("IsTruncated"):
                    return
                marks = {
                    "KeyMarker": page["NextKeyMarker"],
                    "UploadIdMarker": page["NextUploadIdMarker"],
                }

    def _key(self, path: str) -> str:
        return f"{self._root_key}/{path}" if self._root_key and path else self._root_key or path

    def _folder_key(self, path: str) -> str:
        key = self._key(path)
        return key if not key or (path and key.endswith("/")) else f"{key}/"

    def _list(self, below: str, request: dict[str, Any]) -> Iterator[StoredFile | Folder]:
        folder_key = self._folder_key(below)
        root_length = len(self._folder_key(""))
        empty = True
        with _storage_errors(self.uri(below)):
            for page in self._pages(Prefix=folder_key, **request):
                entries: list[StoredFile | Folder] = [
                    StoredFile(entry["Key"][root_length:], entry["Size"], entry["ETag"].strip('"'))
                    for entry in page.get("Contents", [])
                ]
                entries += [
                    Folder(entry["Prefix"][root_length:])
                    for entry in page.get("CommonPrefixes", [])
                ]
                empty = empty and not entries
                for entry in sorted(entries, key=_place_in_order):
                    # The root's own marker has no path; it would be taken for an object.
                    if entry.path:
                        yield entry
            if empty and not below and self._root_key:
                yield from self._list_root()

    def _list_root(self) -> Iterator[StoredFile]:
        """List the root if it is an object."""
        page = self._connection.call("list_objects_v2", Prefix=self._root_key, MaxKeys=1)
        for entry in page.get("Contents", []):
            if entry["Key"] == self._root_key:
                yield StoredFile("", entry["Size"], entry["ETag"].strip('"'))

    def _pages(self, **request: Any) -> Iterator[dict[str, Any]]:
        """Give the pages of a listing; the next one is on its way while one is worked at."""
        following = self._connection.start("list_objects_v2", **request)
        while True:
            page = following.result()
            if not page.get("IsTruncated"):
                yield page
                return
            request["ContinuationToken"] = page["NextContinuationToken"]
            following = self._connection.start("list_objects_v2", **request)
            try:
                yield page
            except GeneratorExit:
                following.cancel()
                raise


class _Connection:
    """The two clients of a bucket, made when the first request is."""

    def __init__(self, bucket: str, options: Mapping[str, str]) -> None:
        self._bucket = bucket
        self._options = options
        self._lock = threading.Lock()
        self._clients: tuple[Any, obstore.store.S3Store] | None = None

    def start(self, method: str, **request: Any) -> "Future[Any]":
        """Begin a request of botocore's S3 client, with the retries of s3fs."""
        s3 = self._connect()[0]
        return asyncio.run_coroutine_threadsafe(
            s3._call_s3(method, Bucket=self._bucket, **request), s3.loop
        )

    def call(self, method: str, **request: Any) -> Any:
        """Make such a request, and wait for the answer."""
        return self.start(method, **request).result()

    def get(self, key: str, start: int, size: int | None) -> bytes:
        """Return an object's bytes."""
        s3, store = self._connect()
        if not _is_plain(key):
            return self._get_odd(s3, key, start, size)
        if size is not None:
            return obstore.get_range(store, key, start=start, length=size).to_bytes()
        whole = obstore.get(store, key, options={"range": {"offset": start}} if start else None)
        return whole.bytes().to_bytes()

    def find(self, key: str) -> Any:
        """Return an object's head; None if there is none."""
        try:
            return self.call("head_object", Key=key)
        except FileNotFoundError:
            return None

    def abort(self, key: str, upload_id: str) -> None:
        """Give up an upload; one that is gone is fine."""
        with suppress(FileNotFoundError):
            self.call("abort_multipart_upload", Key=key, UploadId=upload_id)

    def _get_odd(self, s3: Any, key: str, start: int, size: int | None) -> bytes:
        async def get() -> bytes:
            end = "" if size is None else start + size - 1
            range_ = {"Range": f"bytes={start}-{end}"} if start or size is not None else {}
            answer = await s3._call_s3("get_object", Bucket=self._bucket, Key=key, **range_)
            async with answer["Body"] as body:
                return bytes(await body.read())

        return asyncio.run_coroutine_threadsafe(get(), s3.loop).result()

    def _connect(self) -> tuple[Any, obstore.store.S3Store]:
        with self._lock:
            if self._clients is None:
                self._clients = self._make_clients()
            return self._clients

    def _make_clients(self) -> tuple[Any, obstore.store.S3Store]:
        session = aiobotocore.session.AioSession(profile=self._options.get("profile"))
        if "key" in self._options:
            session.set_credentials(
                self._options["key"], self._options["secret"], self._options.get("token")
            )
        region = self._options.get("region")
        s3 = self._make_s3fs(session, region, {})
        if not self._is_anonymous:
            # Here, rather than in the first request, so that errors are botocore's.
            _credentials(s3)
        if _is_aws(s3.s3.meta.endpoint_url):
            # botocore follows to where a bucket is; obstore does not.
            bucket_region = self._bucket_region(s3)
            if bucket_region not in (None, s3.s3.meta.region_name):
                s3 = self._make_s3fs(session, bucket_region, {})
        elif not _has_chosen_checksums(session):
            # Older stores refuse the trailing checksums that are botocore's default.
            s3 = self._make_s3fs(session, region, {"request_checksum_calculation": "when_required"})
        return s3, self._make_obstore(s3)

    def _make_s3fs(self, session: Any, region: str | None, config: dict[str, Any]) -> Any:
        s3 = s3fs.S3FileSystem(
            anon=self._is_anonymous,
            endpoint_url=self._options.get("endpoint_url"),
            requester_pays=self._pays,
            client_kwargs={"region_name": region} if region else {},
            session=session,
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "read_timeout": _READ_TIMEOUT_S,
                "retries": {"total_max_attempts": _BOTOCORE_ATTEMPTS, "mode": "standard"},
                "max_pool_connections": 2 * _DELETES_AT_ONCE,
                **config,
            },
        )
        s3.retries = _S3FS_ATTEMPTS
        s3.connect()
        return s3

    def _make_obstore(self, s3: Any) -> obstore.store.S3Store:
        def credentials() -> "S3Credential":
            frozen, expires_at = _credentials(s3)
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": expires_at,
            }

        endpoint_url = s3.s3.meta.endpoint_url
        client_options: ClientConfig = {
            "allow_http": endpoint_url.startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=_FETCH_TIMEOUT_S),
        }
        if authorities := s3.session.get_config_variable("ca_bundle"):
            client_options["root_certificate"] = Path(authorities).read_bytes()
        return obstore.store.S3Store(
            self._bucket,
            endpoint=endpoint_url,
            region=_region(s3),
            virtual_hosted_style_request=False,
            skip_signature=self._is_anonymous,
            request_payer=self._pays,
            credential_provider=None if self._is_anonymous else credentials,
            client_options=client_options,
            retry_config={
                "max_retries": _FETCH_RETRIES,
                "retry_timeout": timedelta(seconds=_FETCH_RETRY_TIMEOUT_S),
            },
        )

    def polars_options(self) -> dict[str, Any]:
        """Return how polars is to reach the bucket, with the same credentials."""
        s3, _ = self._connect()

        def credentials() -> tuple[dict[str, str], int]:
            frozen, expires_at = _credentials(s3)
            keys = {
                "aws_access_key_id": frozen.access_key,
                "aws_secret_access_key": frozen.secret_key,
                "aws_session_token": frozen.token,
            }
            return {k: v for k, v in keys.items() if v}, int(expires_at.timestamp())

        endpoint_url = s3.s3.meta.endpoint_url
        return {
            "storage_options": {
                "aws_endpoint_url": endpoint_url,
                "aws_region": _region(s3),
                "aws_virtual_hosted_style_request": "false",
                "aws_allow_http": str(endpoint_url.startswith("http://")).lower(),
                "aws_skip_signature": str(self._is_anonymous).lower(),
                "aws_request_payer": str(self._pays).lower(),
            },
            "credential_provider": None if self._is_anonymous else credentials,
        }

    def _bucket_region(self, s3: Any) -> str | None:
        """Return where the bucket is, which S3 says even to those who may not read it."""
        try:
            answer = s3.call_s3("head_bucket", Bucket=self._bucket)
        except (OSError, botocore_errors.ClientError) as exc:
            answer = _answer(exc)
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region")
        return None if region is None else str(region)

    @property
    def _is_anonymous(self) -> bool:
        return self._options.get("anon") == "true"

    @property
    def _pays(self) -> bool:
        return self._options.get("requester_pays") == "true"


class _S3Sink:
    """A multi-part upload, which is visible once it is completed; or one put of a small file."""

    def __init__(self, connection: _Connection, key: str, uri: str) -> None:
        self.uri = uri
        self._upload = _Upload(connection, key, uri)
        self.file: pa.NativeFile = pa.PythonFile(self._upload, mode="w")  # type: ignore[arg-type]

    def tell(self) -> int:
        return self._upload.tell()

    def close(self) -> None:
        if not self.file.closed:
            self.file.close()

    def publish(self) -> None:
        self.close()
        self._upload.publish()

    def discard(self) -> None:
        with suppress(FlowconvError):
            self.close()
        with suppress(FlowconvError):
            self._upload.discard()


class _Upload:
    """What `pyarrow.PythonFile` writes to; one part is on its way while the next one fills."""

    def __init__(self, connection: _Connection, key: str, uri: str) -> None:
        self.closed = False
        self._connection = connection
        self._key = key
        self._uri = uri
        self._buffer = bytearray()
        self._size_bytes = 0
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._under_way: Future[Any] | None = None
        self._ended = False

    def write(self, data: bytes | memoryview) -> int:
        self._buffer += data
        self._size_bytes += len(data)
        while len(self._buffer) >= _PART_BYTES:
            self._send_part(_PART_BYTES)
        return len(data)

    def tell(self) -> int:
        return self._size_bytes

    def flush(self) -> None:
        """Nothing can be sent before a part is full."""

    def close(self) -> None:
        self.closed = True
        if self._ended:
            return
        if self._buffer and (self._upload_id or len(self._buffer) > _SMALL_BYTES):
            self._send_part(len(self._buffer))
        self._await_part()

    def publish(self) -> None:
        if self._ended:
            return
        with _storage_errors(self._uri):
            if self._upload_id is None:
                self._connection.call("put_object", Key=self._key, Body=bytes(self._buffer))
            else:
                self._complete()
        self._ended = True

    def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._upload_id is not None:
            with _storage_errors(self._uri):
                self._connection.abort(self._key, self._upload_id)

    def _send_part(self, size: int) -> None:
        self._await_part()
        with _storage_errors(self._uri):
            if self._upload_id is None:
                answer = self._connection.call("create_multipart_upload", Key=self._key)
                self._upload_id = answer["UploadId"]
            part = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._under_way = self._connection.start(
                "upload_part",
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=len(self._parts) + 1,
                Body=part,
            )

    def _await_part(self) -> None:
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            with _storage_errors(self._uri):
                answer = under_way.result()
            self._parts.append({"PartNumber": len(self._parts) + 1, "ETag": answer["ETag"]})

    def _complete(self) -> None:
        try:
            self._connection.call(
                "complete_multipart_upload",
                Key=self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
            )
        except FileNotFoundError:
            # There is no such upload: if the answer to a first attempt was lost, it is complete.
            found = self._connection.find(self._key)
            if found is None or found["ContentLength"] != self._size_bytes:
                raise


# What the clients raise. obstore's are no OSError but for FileNotFoundError; s3fs makes an OSError
# of what S3 answers, and lets botocore's and aiohttp's own errors pass.
_CLIENT_ERRORS = (
    OSError,
    HttpError,
    botocore_errors.BotoCoreError,
    botocore_errors.ClientError,
    obstore.exceptions.BaseError,
)

# By S3's code, HTTP's status or the exception's name. Those of the first kind concern the whole
# bucket: nothing else in it can be had either.
_OF_BUCKET = {
    "NoSuchBucket": "there is no such bucket. Check its name, and endpoint_url=… if it is not at "
    "AWS.",
    "InvalidBucketName": "this is no name of a bucket.",
    "InvalidAccessKeyId": "the access key is not known here. Check the credentials and the "
    "endpoint.",
    "SignatureDoesNotMatch": "the secret does not belong to the access key. Check the credentials.",
    "ExpiredToken": "the credentials have expired. Renew them, such as with aws sso login.",
    "TokenRefreshRequired": "the credentials have expired. Renew them, such as with aws sso login.",
    "InvalidToken": "the session token is not valid. Renew the credentials.",
    "InvalidClientTokenId": "the credentials are not valid. Renew them.",
    "RequestTimeTooSkewed": "this computer's clock is wrong. Set it.",
    "NoCredentialsError": "no credentials were found. Set AWS_PROFILE or another of AWS's ways, "
    "or the storage options profile=… or key=… and secret=…; anon=true for a public bucket.",
    "PartialCredentialsError": "the credentials lack a part. Set both the access key and the "
    "secret.",
    "ProfileNotFound": "there is no such profile in AWS's configuration. Check profile=… or "
    "AWS_PROFILE.",
    "CredentialRetrievalError": "the credentials could not be had. Check the profile.",
    "SSOTokenLoadError": "there is no single sign-on session. Run aws sso login.",
    "UnauthorizedSSOTokenError": "the single sign-on session has ended. Run aws sso login.",
    "TokenRetrievalError": "the single sign-on session has ended. Run aws sso login.",
    "UnauthenticatedError": "the credentials were refused or could not be had. Renew them.",
    "NoRegionError": "the region is not known. Set region=… or AWS_DEFAULT_REGION.",
    "PermanentRedirect": "the bucket is in another region. Set region=… to it.",
    "AuthorizationHeaderMalformed": "the bucket is in another region. Set region=… to it.",
    "IllegalLocationConstraintException": "the bucket is in another region. Set region=… to it.",
    "EndpointConnectionError": "the endpoint cannot be reached. Check the network, the proxy and "
    "endpoint_url=….",
    "ConnectTimeoutError": "the endpoint cannot be reached. Check the network, the proxy and "
    "endpoint_url=….",
    "ProxyConnectionError": "the proxy cannot be reached. Check HTTPS_PROXY.",
    "SSLError": "the endpoint's certificate is not trusted. Name its authority in AWS_CA_BUNDLE.",
}
_OF_OBJECT = {
    "NoSuchKey": "there is no such object; it may have been deleted since it was listed.",
    "404": "there is no such bucket or object. Check the name.",
    "FileNotFoundError": "there is no such object; it may have been deleted since it was listed.",
    "AccessDenied": "access is denied. The credentials need s3:ListBucket, s3:GetObject and, for "
    "a lake, s3:PutObject and s3:DeleteObject here, and the use of its KMS key if there is one.",
    "403": "access is denied. The credentials need s3:ListBucket, s3:GetObject and, for a lake, "
    "s3:PutObject and s3:DeleteObject here, and the use of its KMS key if there is one.",
    "InvalidObjectState": "the object is archived. Restore it first, or leave it out.",
    "InvalidRange": "the object has no such bytes; it was replaced since it was listed. Run again.",
    "416": "the object has no such bytes; it was replaced since it was listed. Run again.",
    "QuotaExceeded": "the quota is used up. Make room and run again.",
    "NotImplemented": "this store lacks an operation of S3 that flowconv needs.",
    "MissingContentLength": "this store refuses checksums at a body's end. Set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required.",
}
_PASSING = "Run again; what is published stays valid."


def _explain(exc: BaseException) -> str:
    code = _code(exc)
    if known := _OF_BUCKET.get(code) or _OF_OBJECT.get(code):
        return known
    if _answer(exc):
        return f"S3 answers {code}: {_answer(exc)['Error'].get('Message', '')}. {_PASSING}"
    text = re.sub(r"\s+", " ", str(exc).partition("Debug source:")[0]).strip(" .") or code
    return f"the request failed: {text[:300]}. {_PASSING}"


@contextmanager
def _storage_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except _CLIENT_ERRORS as exc:
        raise StorageError(_explain(exc), uri=uri) from exc


def _concerns_bucket(exc: BaseException) -> bool:
    return _code(exc) in _OF_BUCKET


def _code(exc: BaseException) -> str:
    """Return S3's code for an error, else HTTP's status, else the exception's name."""
    if answer := _answer(exc):
        return str(answer["Error"].get("Code", ""))
    # obstore gives text alone.
    text = str(exc)
    for pattern in (r"<Code>(\w+)</Code>", r"status code: (\d+)"):
        if match := re.search(pattern, text):
            return match[1]
    if "error sending request" in text:
        return "EndpointConnectionError"
    return type(exc).__name__


def _answer(exc: BaseException) -> dict[str, Any]:
    """Return what S3 answered, of botocore's error or of the one that s3fs made of it."""
    for error in (exc, exc.__cause__):
        if isinstance(error, botocore_errors.ClientError):
            return dict(error.response)
    return {}


def _checked(options: Mapping[str, str]) -> Mapping[str, str]:
    """Return options that go together.

    Raises:
        UsageError: They do not; their values are not shown.
    """
    for name in ("anon", "requester_pays"):
        if options.get(name, "true") not in ("true", "false"):
            raise UsageError(f"storage option {name}: write true or false.")
    if ("key" in options) != ("secret" in options):
        raise UsageError("storage options key and secret: one is useless without the other.")
    if "token" in options and "key" not in options:
        raise UsageError("storage option token: it goes with key and secret.")
    sources = [name for name in ("key", "profile") if name in options]
    if options.get("anon") == "true":
        sources.append("anon")
    if len(sources) > 1:
        raise UsageError(f"storage options {' and '.join(sources)}: choose one of them.")
    endpoint = urlsplit(options.get("endpoint_url", "https://s3"))
    if endpoint.scheme not in ("http", "https") or not endpoint.hostname or endpoint.username:
        raise UsageError(
            "storage option endpoint_url: write it as https://host or http://host:port."
        )
    return options


def _credentials(s3: Any) -> tuple[Any, datetime]:
    """Return the credentials of a client of s3fs, renewed if need be, and until when to use them.

    Raises:
        NoCredentialsError: There are none, or another of botocore's errors.
    """

    async def get() -> Any:
        credentials = await s3.session.get_credentials()
        if credentials is None:
            raise botocore_errors.NoCredentialsError
        return await credentials.get_frozen_credentials()

    # botocore renews them 10 minutes or more before they end. Whoever has these asks again some
    # minutes before this; that costs nothing while they are valid.
    return fsspec.asyn.sync(s3.loop, get), datetime.now(UTC) + timedelta(minutes=10)


def _region(s3: Any) -> str:
    region = s3.s3.meta.region_name
    # botocore's name for no region, with which it signs as for this one.
    return "us-east-1" if region in (None, "aws-global") else str(region)


def _is_aws(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _has_chosen_checksums(session: Any) -> bool:
    """Say whether the user told AWS's tools when to send checksums."""
    name = "request_checksum_calculation"
    return f"AWS_{name.upper()}" in os.environ or name in session.get_scoped_config()


def _is_plain(key: str) -> bool:
    """Say whether obstore takes a key, and takes it as it is."""
    return key.isprintable() and not {"", ".", ".."} & set(key.split("/"))


def _place_in_order(entry: StoredFile | Folder) -> bytes:
    return entry.path.encode()
