"""What the two clients of S3 raise: what it means, whether it may pass, and what to do about it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import obstore.exceptions
from aiohttp import ClientConnectorError
from aiohttp import ClientError as HttpError
from botocore import exceptions as botocore_errors  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from flowconv.errors import FolderError, StorageError

# obstore's are no OSError but for FileNotFoundError; s3fs makes an OSError of what S3 answers, and
# lets botocore's and aiohttp's own errors pass.
CLIENT_ERRORS = (
    OSError,
    RecursionError,
    HttpError,
    ResponseParserError,
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
    **dict.fromkeys(
        (
            *("PermanentRedirect", "TemporaryRedirect", "301", "302", "307", "308"),
            *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
            # botocore asks where a bucket is, and again if the answer to that is 301, for ever.
            "RecursionError",
        ),
        "the bucket is in another region. Set region=… to it.",
    ),
    "EndpointConnectionError": "the endpoint cannot be reached. Check the network, the proxy and "
    "endpoint_url=….",
    "ConnectTimeoutError": "the endpoint cannot be reached. Check the network, the proxy and "
    "endpoint_url=….",
    "ProxyConnectionError": "the proxy cannot be reached. Check HTTPS_PROXY.",
    "SSLError": "the endpoint's certificate is not trusted. Name its authority in AWS_CA_BUNDLE.",
}
_DENIED = (
    "access is denied. The credentials need s3:ListBucket, s3:GetObject and, for a lake, "
    "s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads "
    "here, and the use of its KMS key if there is one. What is denied of SOURCE can also be left "
    "out with --exclude."
)
_OF_OBJECT = {
    "NoSuchKey": "there is no such object; it may have been deleted since it was listed.",
    "404": "there is no such bucket or object. Check the name.",
    "FileNotFoundError": "there is no such object; it may have been deleted since it was listed.",
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "InvalidObjectState": "the object is archived. Restore it first, or leave it out with "
    "--exclude.",
    "InvalidRange": "the object has no such bytes; it was replaced since it was listed. Run again.",
    "416": "the object has no such bytes; it was replaced since it was listed. Run again.",
    "QuotaExceeded": "the quota is used up. Make room and run again.",
    "NotImplemented": "this store lacks an operation of S3 that flowconv needs.",
    "MissingContentLength": "this store refuses checksums at a body's end. Set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required.",
}
# Answers that may be another the next time, besides the 5xx.
_PASSING = frozenset(
    {
        *("408", "429", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"),
        # What arrived was not what was sent.
        *("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
        # Somebody else is just writing there.
        *("409", "ConditionalRequestConflict", "OperationAborted"),
    }
)

# Those of them that ask for fewer requests.
_SLOW_DOWN = frozenset(
    {
        *("SlowDown", "503", "ServiceUnavailable", "429", "TooManyRequests"),
        *("Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout"),
    }
)

# They concern what is between here and S3, which may be back in a moment.
_OF_NETWORK = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"})

# What is raised where S3's answer did not come, or not all of it.
_BROKEN_OFF = (
    HttpError,
    ResponseParserError,
    botocore_errors.HTTPClientError,
    botocore_errors.ConnectionError,
    botocore_errors.IncompleteReadError,
    TimeoutError,
    ConnectionError,
    obstore.exceptions.GenericError,
)

# In words, by the exception's name; obstore's errors get those of botocore.
_IN_WORDS = {
    "EndpointConnectionError": "the endpoint cannot be reached",
    "ConnectTimeoutError": "the endpoint cannot be reached",
    "ConnectionClosedError": "the connection broke off",
    "ClientPayloadError": "the connection broke off",
    "ResponseStreamingError": "the connection broke off",
    "ReadTimeoutError": "no answer came in time",
    "TimeoutError": "no whole answer came in time",
    "ResponseParserError": "the answer is damaged",
}
_OBSTORE_KINDS = {
    "Connect": "EndpointConnectionError",
    "Timeout": "ReadTimeoutError",
    "Interrupted": "ConnectionClosedError",
    "Request": "ConnectionClosedError",
}


@contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn the clients' errors into StorageError, saying what to do."""
    try:
        yield
    except CLIENT_ERRORS as exc:
        raise StorageError(explain(exc), uri=uri) from exc


@contextmanager
def folder_errors(uri: str) -> Iterator[None]:
    """Turn the clients' errors while a prefix is listed into ours; others may not be denied."""
    try:
        yield
    except CLIENT_ERRORS as exc:
        denied = code_of(exc) in ("AccessDenied", "403")
        raise (FolderError if denied else StorageError)(explain(exc), uri=uri) from exc


def explain(exc: BaseException) -> str:
    """Return what a client's error means and what to do; without any secret."""
    code = code_of(exc)
    advice = _OF_BUCKET.get(code) or _OF_OBJECT.get(code)
    return advice or f"{reason_of(exc)}. Run again; what is published stays valid."


def reason_of(exc: BaseException) -> str:
    """Return what a client's error means, in a few words."""
    code = code_of(exc)
    if answer := answer_of(exc):
        return f"S3 answers {code}: {answer['Error'].get('Message', '')}".rstrip(" .:")
    if message := re.search(r"<Message>([^<]*)</Message>", str(exc)):
        return f"S3 answers {code}: {message[1]}".rstrip(" .:")
    if status := _status(exc):
        return f"S3 answers {status}"
    text = re.sub(r"\s+", " ", _text(exc)).strip(" .")
    return _IN_WORDS.get(code) or f"the request failed: {text[:300] or code}"


def may_pass(exc: BaseException) -> bool:
    """Say whether the same request may be answered if it is made again."""
    code = code_of(exc)
    if code in _PASSING or code in _OF_NETWORK:
        return True
    if code in _OF_BUCKET or code in _OF_OBJECT:
        return False
    status = _status(exc)
    return isinstance(exc, _BROKEN_OFF) if status is None else status >= 500


def asks_to_slow_down(exc: BaseException) -> bool:
    """Say whether S3 wants fewer requests at once."""
    return code_of(exc) in _SLOW_DOWN


def concerns_bucket(exc: BaseException) -> bool:
    """Say whether nothing else in the bucket can be had either."""
    return code_of(exc) in _OF_BUCKET


def code_of(exc: BaseException) -> str:
    """Return S3's code for an error, else HTTP's status, else the exception's name."""
    if answer := answer_of(exc):
        return str(answer["Error"].get("Code", ""))
    if isinstance(exc, obstore.exceptions.BaseError | FileNotFoundError):
        # obstore gives text alone.
        if "redirect" in _text(exc):
            return "PermanentRedirect"
        for pattern in (r"<Code>(\w+)</Code>", r"status code: (\d+)"):
            if match := re.search(pattern, str(exc)):
                return match[1]
        for kind, code in _OBSTORE_KINDS.items():
            if f"kind: {kind}," in str(exc):
                return code
    if isinstance(exc, botocore_errors.EndpointConnectionError):
        # aiobotocore says this of connections that break off, too.
        never_began = isinstance(exc.kwargs["error"], ClientConnectorError)
        return "EndpointConnectionError" if never_began else "ConnectionClosedError"
    return type(exc).__name__


def _status(exc: BaseException) -> int | None:
    """Return HTTP's status, if there was an answer."""
    if answer := answer_of(exc):
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
    match = re.search(r"status code: (\d+)", _text(exc))
    return int(match[1]) if match else None


def _text(exc: BaseException) -> str:
    return str(exc).partition("Debug source:")[0]


def answer_of(exc: BaseException) -> dict[str, Any]:
    """Return what S3 answered, from botocore's error or the one made of it; {} if nothing."""
    for error in (exc, exc.__cause__):
        if isinstance(error, botocore_errors.ClientError):
            return dict(error.response)
    return {}
