"""Questions that people ask of flow logs, as SQL for polars.

Costs count a flow once:

- Both interfaces of a flow within a VPC log it. The sender's record, `egress`, counts.
- A NAT gateway logs a flow twice: with the addresses of the packets, and with its own address in
  place of one of them. The second, in which `dstaddr` differs from `pkt_dstaddr` (on the way back
  `srcaddr` from `pkt_srcaddr`), counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from flowconv.errors import UsageError, did_you_mean, quote
from flowconv.values import parse_day

# US dollars for each GiB: list prices of us-east-1 as known on PRICES_OF, not checked since. Those
# between zones count on both sides; egress to the internet is that of the first 10 TB a month.
PRICES: Mapping[str, float] = MappingProxyType(
    {"nat-gateway": 0.045, "cross-az": 0.01, "internet-egress": 0.09}
)
PRICES_OF = date(2025, 6, 1)

# Column -> the column with its name, which the lake may know.
NAMED: Mapping[str, str] = MappingProxyType(
    {
        "interface_id": "interface_name",
        "srcaddr": "srcaddr_name",
        "dstaddr": "dstaddr_name",
        "pkt_srcaddr": "pkt_srcaddr_name",
        "pkt_dstaddr": "pkt_dstaddr_name",
    }
)

# Rows of an answer.
LIMIT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question.

    Attributes:
        help: What it answers, in a sentence.
        sql: With `{limit}`, `{prices[…]}` and, if it `asks`, `{value}`. `{names[…]}` behind a
            column is another one with its name, if names are asked for. `{count}` is the number
            of records, where sums may be asked in their place.
        asks: What must be given: an address, interface or day; None if nothing must.
    """

    help: str
    sql: str
    asks: str | None = None


# Addresses that a NAT gateway does not stand for.
_PRIVATE = (
    r"^(10|192\.168|172\.(1[6-9]|2[0-9]|3[01])|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\."
)

_GIB = 1 << 30

_CONVERSATIONS = """\
SELECT srcaddr, {names[srcaddr]}dstaddr, {names[dstaddr]}protocol, dstport, action,
  count(*) AS flows, sum(packets) AS packets, sum(bytes) AS bytes,
  min(start) AS first, max("end") AS last
FROM vpc
WHERE {where}
GROUP BY srcaddr, {names[srcaddr]}dstaddr, {names[dstaddr]}protocol, dstport, action
ORDER BY bytes DESC NULLS LAST, flows DESC, srcaddr, dstaddr, protocol, dstport, action
LIMIT {limit}
"""

QUESTIONS: Mapping[str, Question] = MappingProxyType(
    {
        "top-talkers": Question(
            help="Which pairs of addresses exchange most bytes; what both sides log counts once.",
            sql="""\
WITH seen AS (
  SELECT srcaddr, {names[srcaddr]}dstaddr, {names[dstaddr]}interface_id, {count} AS flows,
    sum(packets) AS packets, sum(bytes) AS bytes
  FROM vpc
  WHERE action = 'ACCEPT'
  GROUP BY srcaddr, {names[srcaddr]}dstaddr, {names[dstaddr]}interface_id
)
SELECT srcaddr, {names[srcaddr]}dstaddr, {names[dstaddr]}max(flows) AS flows,
  max(packets) AS packets, max(bytes) AS bytes
FROM seen
GROUP BY {names[srcaddr]}{names[dstaddr]}srcaddr, dstaddr
HAVING count(srcaddr) > 0 AND count(dstaddr) > 0
ORDER BY bytes DESC, srcaddr, dstaddr
LIMIT {limit}
""",
        ),
        "rejected-ports": Question(
            help="Which ports are rejected most.",
            sql="""\
SELECT protocol, dstport, {count} AS flows, sum(packets) AS packets,
  count(DISTINCT srcaddr) AS sources
FROM vpc
WHERE action = 'REJECT'
GROUP BY protocol, dstport
ORDER BY packets DESC, protocol, dstport
LIMIT {limit}
""",
        ),
        "rejected-sources": Question(
            help="Which addresses are rejected most.",
            sql="""\
SELECT srcaddr, {names[srcaddr]}{count} AS flows, sum(packets) AS packets,
  count(DISTINCT dstaddr) AS destinations, count(DISTINCT dstport) AS ports
FROM vpc
WHERE action = 'REJECT'
GROUP BY {names[srcaddr]}srcaddr
ORDER BY packets DESC, srcaddr
LIMIT {limit}
""",
        ),
        "address": Question(
            help="What an address (--value) exchanged, and with whom.",
            asks="an address",
            sql=_CONVERSATIONS.replace(
                "{where}",
                "srcaddr = {value} OR dstaddr = {value}\n"
                "  OR pkt_srcaddr = {value} OR pkt_dstaddr = {value}",
            ),
        ),
        "interface": Question(
            help="What a network interface (--value) exchanged, and with whom.",
            asks="an interface such as eni-0123456789abcdef0",
            sql=_CONVERSATIONS.replace("{where}", "interface_id = {value}"),
        ),
        "aws-services": Question(
            help="How much is exchanged with which AWS services.",
            sql="""\
SELECT coalesce(pkt_dst_aws_service, pkt_src_aws_service) AS service,
  CASE WHEN pkt_dst_aws_service IS NULL THEN 'from' ELSE 'to' END AS direction,
  {count} AS flows, sum(bytes) AS bytes
FROM vpc
WHERE pkt_dst_aws_service IS NOT NULL OR pkt_src_aws_service IS NOT NULL
GROUP BY service, direction
ORDER BY bytes DESC, service, direction
LIMIT {limit}
""",
        ),
        "nat-gateways": Question(
            help="What NAT gateways process, its cost, and what a free gateway endpoint for S3 and "
            "DynamoDB would save.",
            sql=f"""\
WITH processed AS (
  SELECT coalesce(interface_id, resource_id) AS gateway, bytes,
    CASE WHEN dstaddr <> pkt_dstaddr THEN pkt_dst_aws_service ELSE pkt_src_aws_service END
      AS service
  FROM vpc
  WHERE action = 'ACCEPT' AND instance_id IS NULL
    AND coalesce(interface_type, 'nat_gateway') IN ('nat_gateway', 'regional_nat_gateway')
    AND ((dstaddr <> pkt_dstaddr AND NOT pkt_dstaddr ~ '{_PRIVATE}')
      OR (srcaddr <> pkt_srcaddr AND NOT pkt_srcaddr ~ '{_PRIVATE}'))
), summed AS (
  SELECT gateway, CAST(sum(bytes) AS DOUBLE) / {_GIB} AS gib,
    CAST(sum(CASE WHEN service IN ('S3', 'DYNAMODB') THEN bytes ELSE 0 END) AS DOUBLE) / {_GIB}
      AS endpoint_gib
  FROM processed
  GROUP BY gateway
)
SELECT gateway, round(gib, 3) AS gib, round(gib * {{prices[nat-gateway]}}, 2) AS usd,
  round(endpoint_gib, 3) AS endpoint_gib,
  round(endpoint_gib * {{prices[nat-gateway]}}, 2) AS saved_usd
FROM summed
ORDER BY summed.gib DESC, gateway
LIMIT {{limit}}
""",
        ),
        "cross-az": Question(
            help="What goes between availability zones of a VPC, and its cost on both sides.",
            sql=f"""\
WITH own AS (
  SELECT vpc_id, srcaddr AS address, min(az_id) AS az_id
  FROM vpc
  WHERE flow_direction = 'egress'
  GROUP BY vpc_id, srcaddr
  UNION ALL
  SELECT vpc_id, dstaddr AS address, min(az_id) AS az_id
  FROM vpc
  WHERE flow_direction = 'ingress'
  GROUP BY vpc_id, dstaddr
), peers AS (
  SELECT vpc_id AS peer_vpc, address, min(az_id) AS peer_az FROM own GROUP BY vpc_id, address
), flows AS (
  SELECT vpc_id, az_id, next_hop_az_id, dstaddr, sum(bytes) AS bytes
  FROM vpc
  WHERE flow_direction = 'egress' AND action = 'ACCEPT'
  GROUP BY vpc_id, az_id, next_hop_az_id, dstaddr
), sent AS (
  SELECT f.vpc_id AS vpc_id, f.az_id AS from_az, coalesce(f.next_hop_az_id, p.peer_az) AS to_az,
    f.bytes AS bytes
  FROM flows AS f LEFT JOIN peers AS p ON f.vpc_id = p.peer_vpc AND f.dstaddr = p.address
), summed AS (
  SELECT vpc_id, from_az, to_az, CAST(sum(bytes) AS DOUBLE) / {_GIB} AS gib
  FROM sent
  WHERE from_az <> to_az
  GROUP BY vpc_id, from_az, to_az
)
SELECT vpc_id, from_az, to_az, round(gib, 3) AS gib,
  round(gib * 2 * {{prices[cross-az]}}, 2) AS usd
FROM summed
ORDER BY summed.gib DESC, vpc_id, from_az, to_az
LIMIT {{limit}}
""",
        ),
        "internet-egress": Question(
            help="Which instance or interface sends how much to the internet, and its cost; what "
            "goes to AWS's own services is not priced.",
            sql=f"""\
WITH summed AS (
  SELECT coalesce(resource_id, instance_id, interface_id) AS resource,
    CAST(sum(bytes) AS DOUBLE) / {_GIB} AS gib,
    CAST(sum(CASE WHEN pkt_dst_aws_service IS NULL THEN 0 ELSE bytes END) AS DOUBLE) / {_GIB}
      AS aws_gib
  FROM vpc
  WHERE flow_direction = 'egress' AND action = 'ACCEPT' AND traffic_path IN (2, 8)
  GROUP BY resource
)
SELECT resource, round(gib, 3) AS gib, round(aws_gib, 3) AS aws_gib,
  round((gib - aws_gib) * {{prices[internet-egress]}}, 2) AS usd
FROM summed
ORDER BY summed.gib DESC, resource
LIMIT {{limit}}
""",
        ),
        "new-destinations": Question(
            help="Which destinations were first seen on a day (--value) or after it; earlier days "
            "are read, too, so leave out --since.",
            asks="a day",
            sql="""\
SELECT dstaddr, {names[dstaddr]}min(date) AS first,
  count(DISTINCT srcaddr) AS sources, count(*) AS flows, sum(bytes) AS bytes
FROM vpc
WHERE action = 'ACCEPT' AND dstaddr IS NOT NULL
GROUP BY {names[dstaddr]}dstaddr
HAVING min(date) >= DATE {value}
ORDER BY bytes DESC, dstaddr
LIMIT {limit}
""",
        ),
        "unanswered-syn": Question(
            help="Which addresses open TCP connections that nobody answers: scans.",
            sql="""\
WITH answers AS (
  SELECT DISTINCT srcaddr AS answerer, srcport AS answered_port, dstaddr AS asker,
    dstport AS asker_port
  FROM vpc
  WHERE protocol = 6 AND tcp_flags IN (18, 19, 22, 23)
)
SELECT f.srcaddr AS srcaddr, count(*) AS attempts, count(DISTINCT f.dstaddr) AS destinations,
  count(DISTINCT f.dstport) AS ports
FROM vpc AS f LEFT JOIN answers AS a
  ON f.srcaddr = a.asker AND f.srcport = a.asker_port AND f.dstaddr = a.answerer
    AND f.dstport = a.answered_port
WHERE f.protocol = 6 AND f.tcp_flags = 2 AND a.answerer IS NULL
GROUP BY f.srcaddr
ORDER BY attempts DESC, srcaddr
LIMIT {limit}
""",
        ),
        "skipdata": Question(
            help="Where records were skipped (SKIPDATA): what is summed there is too low.",
            sql="""\
SELECT account_id, region, interface_id, {names[interface_id]}count(*) AS windows,
  min(start) AS first, max("end") AS last
FROM vpc
WHERE log_status = 'SKIPDATA'
GROUP BY account_id, region, {names[interface_id]}interface_id
ORDER BY windows DESC, interface_id
LIMIT {limit}
""",
        ),
    }
)


def parse_prices(pairs: Iterable[str]) -> dict[str, float]:
    """Return `NAME=USD` arguments as prices.

    Raises:
        UsageError: One is not such a pair.
    """
    prices = {}
    for pair in pairs:
        name, _, dollars = pair.partition("=")
        try:
            prices[name] = float(dollars)
        except ValueError:
            raise UsageError(
                f"--price: {quote(pair)} is not a price; write NAME=USD, such as nat-gateway=0.045."
            ) from None
    return prices


def question_sql(
    name: str,
    *,
    value: str | None = None,
    limit: int = LIMIT,
    prices: Mapping[str, float] = PRICES,
    names: bool = False,
    of_sums: bool = False,
) -> str:
    """Return the SQL of a question.

    Args:
        name: One of QUESTIONS.
        value: What it asks for.
        limit: Number of rows at the most.
        prices: US dollars for each GiB, in place of some of PRICES.
        names: Show the names that interfaces and addresses had; a row for each.
        of_sums: Ask sums of records by all columns that it groups by, with a column `flows`.

    Raises:
        UsageError: There is no such question, its value is missing or of another kind, or a price
            is of nothing or below 0.
    """
    if name not in QUESTIONS:
        raise UsageError(
            f"--question: {quote(name)} is not one of {', '.join(QUESTIONS)}."
            + did_you_mean(name, QUESTIONS)
        )
    question = QUESTIONS[name]
    if limit < 1:
        raise UsageError(f"--limit: {limit} is too small; the least is 1.")
    if question.asks and value is None:
        raise UsageError(f"the question {name} asks for {question.asks}. Give it by --value.")
    if value is not None and not question.asks:
        raise UsageError(f"--value: the question {name} asks for nothing. Leave it out.")
    for price, dollars in prices.items():
        if price not in PRICES:
            raise UsageError(
                f"--price: {quote(price)} has no price; there are those of {', '.join(PRICES)}."
            )
        if not 0 <= dollars < float("inf"):
            raise UsageError(f"--price: {dollars} is not a price of {price}; the least is 0.")
    if question.asks == "a day" and value is not None:
        value = str(parse_day(value, "--value"))
    literal = "'" + (value or "").replace("'", "''") + "'"
    return question.sql.format(
        value=literal,
        limit=limit,
        count="sum(flows)" if of_sums else "count(*)",
        prices={**PRICES, **prices},
        names={column: f"{named}, " if names else "" for column, named in NAMED.items()},
    )
