"""What a query can be told: the command line takes its help from here."""

from collections.abc import Mapping
from dataclasses import dataclass

from flowconv.answers.questions import LIMIT, PRICES, PRICES_OF
from flowconv.options import described


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """A question, and the part of the lake that is asked."""

    question: str | None = described(
        "One of the questions below, in place of SQL.", metavar="NAME", short="-q"
    )
    value: str | None = described("What some questions ask for.", metavar="VALUE")
    limit: int = described("Rows of a question's answer.", default=LIMIT, short="-n")
    prices: tuple[str, ...] = described(
        f"US dollars for each GiB, in place of a list price of us-east-1, known on "
        f"{PRICES_OF} and not checked since: "
        f"{', '.join(f'{name}={usd:g}' for name, usd in PRICES.items())}. Can be repeated.",
        default=(),
        metavar="NAME=USD",
        flag="--price",
    )
    since: str | None = described(
        "First day that is read, by the records' start: YYYY-MM-DD, or 2d for two days ago.",
        metavar="DAY",
    )
    until: str | None = described("Last day that is read, included.", metavar="DAY")
    accounts: tuple[str, ...] = described(
        "Only this account. Can be repeated.", default=(), metavar="ID", flag="--account"
    )
    regions: tuple[str, ...] = described(
        "Only this region. Can be repeated.", default=(), metavar="REGION", flag="--region"
    )
    names: bool = described(
        "Show the names of interfaces and addresses, which flowconv names keeps. SQL of your own "
        "finds them in columns such as srcaddr_name.",
        default=False,
    )
    dest_options: Mapping[str, str] = described(
        "Storage option of LAKE, as for --source-option of flowconv convert. Can be repeated.",
        default_factory=dict,
        metavar="KEY=VALUE",
        flag="--dest-option",
    )
