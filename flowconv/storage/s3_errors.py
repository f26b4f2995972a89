"""An exception of either S3 client -> what it means, whether to repeat the request, what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from botocore import exceptions as botocore_errors  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from flowconv.errors import FlowconvError, FolderError, StorageError
from flowconv.storage.aws import ADVICE


class WrongLengthError(OSError):
    """A body has another length than was asked for."""


CLIENT_ERRORS = (
    OSError,
    RecursionError,
    ResponseParserError,
    botocore_errors.BotoCoreError,
    botocore_errors.ClientError,
)

_ELSEWHERE = "the bucket is in another region. Set region=… to it."

# By S3's code, HTTP's status or the exception's name. These concern the whole bucket.
_OF_BUCKET = {
    **ADVICE,
    "NoSuchBucket": "there is no such bucket. Check its name, and endpoint_url=… if it is not at "
    "AWS.",
    "InvalidBucketName": "this is not a valid bucket name.",
    "TokenRefreshRequired": ADVICE["ExpiredToken"],
    "InvalidToken": "the session token is not valid. Renew the credentials.",
    "NoCredentialsError": "no credentials were found. Set AWS_PROFILE or another of AWS's ways, "
    "or the storage options profile=… or key=… and secret=…; anon=true for a public bucket.",
    "PermanentRedirect": _ELSEWHERE,
    "TemporaryRedirect": _ELSEWHERE,
    **dict.fromkeys(("301", "302", "307", "308"), _ELSEWHERE),
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    # botocore asks where a bucket is, and again without end if the answer to that is 301.
    "RecursionError": _ELSEWHERE,
}
_DENIED = (
    "access is denied. The credentials need s3:ListBucket, s3:GetObject and, for a lake, "
    "s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads "
    "here, and the use of its KMS key if there is one. What is denied of SOURCE can also be left "
    "out with --exclude."
)
_GONE = "there is no such object; it may have been deleted since it was listed."
_TOO_SHORT = "the object has no such bytes; it was replaced since it was listed. Run again."

# These concern one object.
_OF_OBJECT = {
    "NoSuchKey": _GONE,
    "404": "there is no such bucket or object. Check the name.",
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "InvalidObjectState": "the object is archived. Restore it first, or leave it out with "
    "--exclude.",
    "InvalidRange": _TOO_SHORT,
    "416": _TOO_SHORT,
    "QuotaExceeded": "the quota is used up. Make room and run again.",
    "NotImplemented": "this store lacks an S3 operation that flowconv needs.",
    "MissingContentLength": "this store refuses checksums at the end of a body. Set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required.",
}

_THROTTLED = {"429", "TooManyRequests", "Throttling", "ThrottlingException", "RequestTimeout"}
_DAMAGED_ON_THE_WAY = {"IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"}
_CONFLICTS = {"409", "ConditionalRequestConflict", "OperationAborted"}

# Answers to repeat the request after, besides the 5xx.
_PASSING = {"408"} | _THROTTLED | _DAMAGED_ON_THE_WAY | _CONFLICTS

# Answers that ask for fewer requests.
_SLOW_DOWN = {"SlowDown", "503", "ServiceUnavailable", "RequestLimitExceeded"} | _THROTTLED

# The network between here and S3, which may be back in a moment.
_OF_NETWORK = {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"}

# Raised when no answer came, or only a part of it.
_NO_WHOLE_ANSWER = (
    ResponseParserError,
    botocore_errors.HTTPClientError,
    botocore_errors.ConnectionError,
    botocore_errors.IncompleteReadError,
    TimeoutError,
    ConnectionError,
)

# By the exception's name.
_REASONS = {
    "EndpointConnectionError": "the endpoint cannot be reached",
    "ConnectTimeoutError": "the endpoint cannot be reached",
    "ConnectionClosedError": "the connection broke off",
    "ResponseStreamingError": "the connection broke off",
    "ReadTimeoutError": "no answer came in time",
    "TimeoutError": "no whole answer came in time",
    "ResponseParserError": "the answer is damaged",
}


@contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn the clients' errors into StorageError, with advice."""
    try:
        yield
    except CLIENT_ERRORS as exc:
        raise explained(exc, StorageError, uri) from exc


@contextmanager
def folder_errors(uri: str, root: str) -> Iterator[None]:
    """Turn the clients' errors in listing a prefix into ours; FolderError if it is denied.

    Others concern all of the root.
    """
    try:
        yield
    except CLIENT_ERRORS as exc:
        if code_of(exc) in ("AccessDenied", "403"):
            raise explained(exc, FolderError, uri) from exc
        raise explained(exc, StorageError, root) from exc


_Error = TypeVar("_Error", bound=FlowconvError)


def explained(exc: BaseException, kind: type[_Error], uri: str) -> _Error:
    """Return a client's error as ours of this kind: what it means and what to do."""
    code = code_of(exc)
    advice = _OF_BUCKET.get(code) or _OF_OBJECT.get(code)
    if isinstance(exc, WrongLengthError):
        advice = f"{exc}, twice; the object may have been replaced since it was listed. Run again."
    otherwise = f"{reason_of(exc)}. Run again; what is published stays valid."
    error = kind(advice or otherwise, uri=uri)
    error.unanswered = _is_unanswered(exc)
    return error


def reason_of(exc: BaseException) -> str:
    """Return what a client's error means, without advice."""
    code = code_of(exc)
    if answer := answer_of(exc):
        return f"S3 answers {code}: {answer['Error'].get('Message', '')}".rstrip(" .:")
    if isinstance(exc, WrongLengthError):
        return str(exc)
    text = re.sub(r"\s+", " ", str(exc)).strip(" .")
    return _REASONS.get(code) or f"the request failed: {text[:300] or code}"


def may_pass(exc: BaseException) -> bool:
    """Tell whether repeating the request may help."""
    code = code_of(exc)
    if code in _PASSING or isinstance(exc, WrongLengthError) or _is_unanswered(exc):
        return True
    return code not in _OF_BUCKET and code not in _OF_OBJECT and (_status(exc) or 0) >= 500


def _is_unanswered(exc: BaseException) -> bool:
    """Tell whether no answer came, or only a part of it."""
    code = code_of(exc)
    if code in _OF_NETWORK:
        return True
    is_answer = code in _PASSING or code in _OF_BUCKET or code in _OF_OBJECT or _status(exc)
    return not is_answer and isinstance(exc, _NO_WHOLE_ANSWER)


def asks_to_slow_down(exc: BaseException) -> bool:
    """Tell whether S3 asks for fewer requests."""
    return code_of(exc) in _SLOW_DOWN


def concerns_bucket(exc: BaseException) -> bool:
    """Tell whether the error concerns the whole bucket, not one object."""
    return code_of(exc) in _OF_BUCKET


def code_of(exc: BaseException) -> str:
    """Return S3's error code, which may be HTTP's status, else the exception's name."""
    if answer := answer_of(exc):
        return str(answer["Error"].get("Code", ""))
    return type(exc).__name__


def _status(exc: BaseException) -> int | None:
    """Return HTTP's status; None without an answer."""
    if answer := answer_of(exc):
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
    return None


def answer_of(exc: BaseException) -> dict[str, Any]:
    """Return S3's answer, from botocore's error or the one that was made of it; {} if none."""
    for error in (exc, exc.__cause__):
        if isinstance(error, botocore_errors.ClientError):
            return dict(error.response)
    return {}
