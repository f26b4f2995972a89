"""What S3 and CloudWatch Logs share: the options to reach AWS, and advice on AWS's errors."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from flowconv.errors import UsageError, WrongTypeError, did_you_mean, quote

OPTION_NAMES = ("key", "secret", "token", "profile", "endpoint_url", "region")
S3_OPTION_NAMES = (*OPTION_NAMES, "anon", "requester_pays")


def check_options(options: Mapping[str, str], names: Sequence[str], kind: str) -> None:
    """Check the names of options, and that their values can be sent.

    Args:
        options: Name -> value.
        names: The names that exist.
        kind: What messages call such an option: "storage option".

    Raises:
        UsageError: A name does not exist, or a value is not valid. Values are never shown, and an
            unknown name only if it is like a known one: it may be a secret.
    """
    for name, value in options.items():
        if name not in names:
            _refuse_name(name, names, kind)
        if not isinstance(value, str):
            raise WrongTypeError(f"{kind} {name}: the value must be text, such as 'true'.")
        if not value or not value.isprintable() or value != value.strip():
            raise UsageError(
                f"{kind} {name}: the value is empty, or has a space at an end or a control "
                "character."
            )
    check_endpoint(options.get("endpoint_url", "https://s3"), f"{kind} endpoint_url")


def check_endpoint(url: str, name: str) -> None:
    """Check that requests can be sent to a URL.

    Raises:
        UsageError: They cannot; it has the name of the option.
    """
    if not _is_endpoint(url):
        raise UsageError(f"{name}: write it as https://host or http://host:port.")


@contextmanager
def known_settings() -> Iterator[None]:
    """Refuse settings of AWS's tools, variables and profiles, that botocore cannot make sense of.

    Raises:
        UsageError: In place of a ValueError; or of the TypeError of a setting that has settings of
            its own, indented below it.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"a setting of AWS's tools is not valid: {str(error).rstrip('.')}. Check the "
            "environment variables that begin with AWS_, and the profile."
        ) from error


def _refuse_name(name: str, names: Sequence[str], kind: str) -> None:
    # In `secret:VALUE=` the name has the secret.
    is_name = re.fullmatch(r"[A-Za-z_-]{1,24}", name)
    suggestion = did_you_mean(name, names, _NAMES_ELSEWHERE) if is_name else ""
    found = quote(name) if suggestion or name in S3_OPTION_NAMES else "what was given"
    raise UsageError(f"{found} is not a {kind}.{suggestion} There are {', '.join(names)}.")


def _is_endpoint(url: str) -> bool:
    # A login in it would not be sent, but shown in errors.
    if not re.match(r"https?://", url) or re.search(r"[@?#\s]", url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# Names in AWS's other tools.
_NAMES_ELSEWHERE = {
    **dict.fromkeys(("access_key", "access_key_id", "aws_access_key_id", "accesskey"), "key"),
    **dict.fromkeys(("aws_secret_access_key", "secret_access_key", "secret_key"), "secret"),
    **dict.fromkeys(("aws_session_token", "session_token", "security_token"), "token"),
    **dict.fromkeys(("endpoint", "url", "aws_endpoint_url"), "endpoint_url"),
    **dict.fromkeys(("region_name", "aws_region", "aws_default_region"), "region"),
    **dict.fromkeys(("aws_profile", "profile_name"), "profile"),
    **dict.fromkeys(("anonymous", "no_sign_request", "skip_signature"), "anon"),
    **dict.fromkeys(("request_payer", "requester"), "requester_pays"),
}


_WRONG_KEY = "the access key is not known here. Check the credentials and the endpoint."
_WRONG_SECRET = "the secret does not belong to the access key. Check the credentials."
_EXPIRED = "the credentials have expired. Renew them, for example with aws sso login."
_SIGNED_OUT = "the single sign-on session has ended. Run aws sso login."
_UNREACHABLE = (
    "the endpoint cannot be reached. Check the network, the proxy, the region and endpoint_url=…."
)

ADVICE: Mapping[str, str] = {
    "InvalidAccessKeyId": _WRONG_KEY,
    "UnrecognizedClientException": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "InvalidSignatureException": _WRONG_SECRET,
    "InvalidClientTokenId": "the credentials are not valid. Renew them.",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestTimeTooSkewed": "this computer's clock is wrong. Set it.",
    "PartialCredentialsError": "the credentials lack a part. Set both the access key and the "
    "secret.",
    "ProfileNotFound": "there is no such profile in AWS's configuration. Check profile=… or "
    "AWS_PROFILE.",
    "ConfigParseError": "AWS's configuration cannot be read: a line is neither a [section] nor a "
    "setting (name = value). Repair ~/.aws/config and ~/.aws/credentials, or the files that "
    "AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name.",
    "CredentialRetrievalError": "the credentials could not be loaded. Check the profile.",
    "SSOTokenLoadError": "there is no single sign-on session. Run aws sso login.",
    "UnauthorizedSSOTokenError": _SIGNED_OUT,
    "TokenRetrievalError": _SIGNED_OUT,
    "NoRegionError": "the region is not known. Set region=… or AWS_DEFAULT_REGION.",
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
    "ProxyConnectionError": "the proxy cannot be reached. Check HTTPS_PROXY.",
    "SSLError": "the endpoint's certificate is not trusted. Set AWS_CA_BUNDLE to a file with its "
    "authority.",
}
"""What an error means and what to do, by AWS's code or the name of botocore's exception.

Such an error concerns every request, not one object.
"""
