"""Prices of requests, as they are typed and as they add up."""

from typing import Any

import pytest

from flowconv import ConvertOptions
from flowconv.errors import UsageError
from flowconv.storage.request_prices import PRICES, cost_usd, parse_request_prices


def test_some_prices_are_given() -> None:
    assert parse_request_prices(()) == PRICES
    assert parse_request_prices(("GET=0", "RECEIVED=0.09")) == {
        **PRICES,
        "GET": 0,
        "RECEIVED": 0.09,
    }


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("get=0.1", "'get' has no price; there are those of LIST, .* Did you mean GET?"),
        ("GET", "'GET' is not a price; write NAME=USD"),
        ("GET=", "'GET=' is not a price"),
        ("GET=cheap", "'GET=cheap' is not a price"),
        ("GET=-1", "'GET=-1' is not a price"),
        ("GET=nan", "'GET=nan' is not a price"),
        ("GET=inf", "'GET=inf' is not a price"),
    ],
)
def test_wrong_prices(pair: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^--request-price: {message}"):
        parse_request_prices((pair,))


@pytest.mark.parametrize("prices", [None, 5, [1]])
def test_prices_of_another_type(prices: Any) -> None:
    with pytest.raises(UsageError, match=r"^request_prices: write a list of texts\.$"):
        ConvertOptions(request_prices=prices)


def test_a_price_is_for_a_thousand_requests_and_for_a_gigabyte() -> None:
    prices = {"GET": 0.0004, "PUT": 0.005, "DELETE": 0.0, "RECEIVED": 0.09}
    usd = cost_usd({"GET": 500_000, "PUT": 2000, "DELETE": 10**6}, 3e9, prices)
    assert usd == pytest.approx(0.2 + 0.01 + 0.27)
