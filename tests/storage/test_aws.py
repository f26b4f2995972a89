"""The options by which AWS is reached: which there are, and what values they take."""

import pytest

from flowconv.errors import UsageError
from flowconv.storage.aws import S3_OPTION_NAMES, check_options

KIND = "storage option"


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict.fromkeys(set(S3_OPTION_NAMES) - {"endpoint_url"}, "x"),
        {"endpoint_url": "https://s3.example.org"},
        {"endpoint_url": "http://127.0.0.1:9000"},
        {"endpoint_url": "http://[::1]:9000/path"},
    ],
    ids=["none", "all", "host", "port", "IPv6"],
)
def test_options_that_there_are(options: dict[str, str]) -> None:
    check_options(options, S3_OPTION_NAMES, KIND)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("regoin", "region"),
        ("aws_access_key_id", "key"),
        ("secret_access_key", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("endpoint-url", "endpoint_url"),
        ("no_sign_request", "anon"),
        ("request_payer", "requester_pays"),
    ],
)
def test_what_other_tools_call_an_option(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_options({name: "x"}, S3_OPTION_NAMES, KIND)
    assert f"{name!r} is not a {KIND}. Did you mean {meant}?" in str(caught.value)


@pytest.mark.parametrize("name", ["wJalrXUtnFEMIbPx", "secret:TOPSECRET", "TOP SECRET", "x" * 25])
def test_a_name_that_may_be_a_secret_is_not_shown(name: str) -> None:
    with pytest.raises(UsageError, match="There are key, secret, token") as caught:
        check_options({name: "x"}, S3_OPTION_NAMES, KIND)
    assert name not in str(caught.value)


def test_an_option_that_this_source_does_not_take() -> None:
    with pytest.raises(UsageError, match="'anon' is not a source option"):
        check_options({"anon": "true"}, ("key", "secret"), "source option")


@pytest.mark.parametrize("value", ["", " x", "x ", "x\n", "a\0b"])
def test_a_value_that_cannot_be_sent(value: str) -> None:
    with pytest.raises(
        UsageError, match="storage option secret: the value is empty, or has a space"
    ):
        check_options({"secret": value}, S3_OPTION_NAMES, KIND)


def test_a_value_that_is_no_text() -> None:
    with pytest.raises(
        UsageError, match="storage option anon: the value must be text, such as 'true'"
    ):
        check_options({"anon": True}, S3_OPTION_NAMES, KIND)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "address",
    [
        "localhost:9000",
        "ftp://host",
        "https://",
        "http://host:0",
        "http://host:99999",
        "http://user:TOPSECRET@host",
        "http://host?TOPSECRET",
        "http://host#TOPSECRET",
        "http://[::1",
    ],
)
def test_an_endpoint_that_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=r"endpoint_url: write it as https://host") as caught:
        check_options({"endpoint_url": address}, S3_OPTION_NAMES, KIND)
    assert "TOPSECRET" not in str(caught.value)
