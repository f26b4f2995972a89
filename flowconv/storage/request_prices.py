"""What requests to S3 cost: their number by kind and the bytes received -> US dollars."""

import math
from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType

from flowconv.errors import UsageError, did_you_mean, quote

RECEIVED = "RECEIVED"

# US dollars for 1,000 requests of a kind, and for 10**9 bytes received: list prices of S3 Standard
# in us-east-1, known on PRICES_OF and not checked against
# https://aws.amazon.com/s3/pricing/ since. POST begins and ends an upload in parts. Bytes within
# the region are free.
PRICES: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("LIST", "PUT", "POST", "COPY"), 0.005),
        **dict.fromkeys(("GET", "HEAD"), 0.0004),
        **dict.fromkeys(("DELETE", RECEIVED), 0.0),
    }
)
PRICES_OF = date(2025, 6, 1)


def parse_request_prices(pairs: Iterable[str]) -> dict[str, float]:
    """Return all prices, those of `NAME=USD` arguments in place of list prices.

    Raises:
        UsageError: One is not such a pair, has another name, or is less than 0.
    """
    prices = dict(PRICES)
    for pair in pairs:
        name, _, dollars = pair.partition("=")
        if name not in PRICES:
            raise UsageError(
                f"--request-price: {quote(name)} has no price; there are those of "
                f"{', '.join(PRICES)}.{did_you_mean(name.upper(), PRICES)}"
            )
        try:
            prices[name] = float(dollars)
        except ValueError:
            prices[name] = math.nan
        if not 0 <= prices[name] < math.inf:
            raise UsageError(
                f"--request-price: {quote(pair)} is not a price; write NAME=USD with 0 or more US "
                "dollars, such as GET=0.0004."
            )
    return prices


def cost_usd(
    requests: Mapping[str, float], received_bytes: float, prices: Mapping[str, float]
) -> float:
    """Return the price in US dollars of so many requests of each kind, and of bytes received."""
    of_requests = sum(prices[kind] * number / 1000 for kind, number in requests.items())
    return of_requests + prices[RECEIVED] * received_bytes / 1e9
