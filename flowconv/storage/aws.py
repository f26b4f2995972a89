"""The options by which AWS is reached: their names, and what they may be."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from flowconv.errors import UsageError, did_you_mean, quote

OPTION_NAMES = (
    *("key", "secret", "token", "profile", "endpoint_url", "region"),
    *("anon", "requester_pays"),
)


def check_option_names(options: Mapping[str, str], names: Sequence[str], kind: str) -> None:
    """Check that there are such options, and that their values can be sent.

    Raises:
        UsageError: One is none. What is like none of them is not shown: it may be a secret.
    """
    for name, value in options.items():
        if name not in names:
            # `secret:VALUE=` is a name, too.
            is_name = re.fullmatch(r"[A-Za-z_-]{1,24}", name)
            meant = did_you_mean(name, names, _OPTIONS_MEANT) if is_name else ""
            found = quote(name) if meant or name in OPTION_NAMES else "what was given"
            raise UsageError(f"{found} is no {kind}.{meant} There are {', '.join(names)}.")
        if not isinstance(value, str):
            raise UsageError(f"{kind} {name}: write a text, such as 'true'.")
        if not value or not value.isprintable() or value != value.strip():
            raise UsageError(f"{kind} {name}: it is empty, or has a space or a control character.")
    address = options.get("endpoint_url", "https://s3")
    try:
        endpoint = urlsplit(address)
        is_address = bool(endpoint.hostname) and endpoint.port != 0
    except ValueError:
        is_address = False
    # A login in it would be sent to nobody, and shown in errors.
    if not re.match(r"https?://", address) or not is_address or re.search(r"[@?#\s]", address):
        raise UsageError(f"{kind} endpoint_url: write it as https://host or http://host:port.")


# What AWS's other tools call them.
_OPTIONS_MEANT = {
    **dict.fromkeys(("access_key", "access_key_id", "aws_access_key_id", "accesskey"), "key"),
    **dict.fromkeys(("aws_secret_access_key", "secret_access_key", "secret_key"), "secret"),
    **dict.fromkeys(("aws_session_token", "session_token", "security_token"), "token"),
    **dict.fromkeys(("endpoint", "url", "aws_endpoint_url"), "endpoint_url"),
    **dict.fromkeys(("region_name", "aws_region", "aws_default_region"), "region"),
    **dict.fromkeys(("aws_profile", "profile_name"), "profile"),
    **dict.fromkeys(("anonymous", "no_sign_request", "skip_signature"), "anon"),
    **dict.fromkeys(("request_payer", "requester"), "requester_pays"),
}
