"""What people say about flow logs, as polars expressions.

Each function takes columns by name or as expressions. Importing this module also adds them to
polars as a namespace, in which the expression itself is the first column:

    flows.filter(pl.col("dstaddr").flow.is_public())
    flows.filter(expressions.is_public("dstaddr"))

All of them give null for null, work on `String` and `Categorical`, and in polars' streaming engine.
"""

from collections.abc import Iterable, Mapping
from functools import cache

import polars as pl

from flowconv.answers.addresses import Addresses, Network, Networks, by_distinct
from flowconv.answers.registries import (
    PRIVATE_NETWORKS,
    PROTOCOLS,
    PUBLIC_WITHIN_PRIVATE,
    SERVICES,
    SERVICES_IN_USE,
    TCP_FLAGS,
    TRAFFIC_PATHS,
)

__all__ = [
    "Flow",
    "address_family",
    "bits_per_second",
    "duration",
    "in_cidr",
    "is_private",
    "is_public",
    "protocol_name",
    "same_az",
    "service",
    "tcp_flag_names",
    "traffic_path_meaning",
]

Column = str | pl.Expr


def in_cidr(address: Column, networks: Network | Iterable[Network]) -> pl.Expr:
    """Tell whether an address is in one of some networks.

    Args:
        address: IPv4 and IPv6 addresses as text. What is neither, such as a MAC address of EFA
            traffic, is in no network.
        networks: One or many, such as `10.0.0.0/8`, `fd00::/8` or a single address. Thousands, as
            in AWS's ip-ranges.json, take no longer than a few.

    Raises:
        UsageError: A text is not a network.
        TypeError: A network is something else.
    """
    return by_distinct(_column(address), Networks.parse(networks).hold, pl.Boolean)


def address_family(address: Column) -> pl.Expr:
    """Return `IPv4` or `IPv6`; null for what is neither."""
    return by_distinct(_column(address), Addresses.families, pl.String)


def is_private(address: Column) -> pl.Expr:
    """Tell whether an address is not globally reachable, by IANA's special-purpose registries.

    These are 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fc00::/7, and also shared addresses
    (100.64.0.0/10, common in VPCs), link-local and reserved ones. Null for what is no address.
    """
    return by_distinct(_column(address), _are_private, pl.Boolean)


def is_public(address: Column) -> pl.Expr:
    """Tell whether an address is globally reachable: the opposite of `is_private`."""
    return ~is_private(address)


def protocol_name(protocol: Column = "protocol") -> pl.Expr:
    """Return IANA's keyword of a protocol number, such as `TCP`; null where it has none."""
    return _meaning(protocol, PROTOCOLS)


def service(port: Column) -> pl.Expr:
    """Return the service of a well-known port, such as `https`; null for all others.

    Names are IANA's but for a few: 9092 is `kafka`, not `XmlIpcRegSvc`.
    """
    return _meaning(port, {**SERVICES, **SERVICES_IN_USE})


def traffic_path_meaning(traffic_path: Column = "traffic_path") -> pl.Expr:
    """Return which way egress traffic went, such as `internet gateway`."""
    return _meaning(traffic_path, TRAFFIC_PATHS)


def tcp_flag_names(tcp_flags: Column = "tcp_flags") -> pl.Expr:
    """Return the names of TCP flags, such as `SYN ACK`; an empty text where none is set."""
    flags = _column(tcp_flags)
    names = [pl.when(flags & bit != 0).then(pl.lit(name)) for bit, name in TCP_FLAGS.items()]
    joined = pl.concat_str(names, separator=" ", ignore_nulls=True)
    return pl.when(flags.is_not_null()).then(joined).alias("tcp_flags")


def duration(start: Column = "start", end: Column = "end") -> pl.Expr:
    """Return for how long a flow was seen, in whole seconds, as a Duration.

    Times may be timestamps or, with `--time-type epoch`, seconds.
    """
    return (_column(end) - _column(start)).map_batches(
        _as_duration, return_dtype=pl.Duration("us"), is_elementwise=True
    )


def bits_per_second(
    bytes: Column = "bytes", start: Column = "start", end: Column = "end"
) -> pl.Expr:
    """Return a flow's mean rate in bits per second; null if it starts and ends in one second."""
    seconds = duration(start, end).dt.total_seconds()
    return pl.when(seconds > 0).then(_column(bytes) * 8 / seconds)


def same_az(az: Column = "az_id", other: Column = "next_hop_az_id") -> pl.Expr:
    """Tell whether two availability zones are the same; null if one is not known.

    Args:
        az: Zone ids. Ids, not names such as us-east-1a, mean the same in every account.
        other: The zone of the other side, in `tgw` `tgw_dst_az_id`.
    """
    return _column(az).cast(pl.String) == _column(other).cast(pl.String)


@pl.api.register_expr_namespace("flow")
class Flow:
    """The functions of this module, with an expression as their first column."""

    def __init__(self, expression: pl.Expr) -> None:
        self._expression = expression

    def in_cidr(self, networks: Network | Iterable[Network]) -> pl.Expr:
        """As `in_cidr`."""
        return in_cidr(self._expression, networks)

    def address_family(self) -> pl.Expr:
        """As `address_family`."""
        return address_family(self._expression)

    def is_private(self) -> pl.Expr:
        """As `is_private`."""
        return is_private(self._expression)

    def is_public(self) -> pl.Expr:
        """As `is_public`."""
        return is_public(self._expression)

    def protocol_name(self) -> pl.Expr:
        """As `protocol_name`."""
        return protocol_name(self._expression)

    def service(self) -> pl.Expr:
        """As `service`."""
        return service(self._expression)

    def traffic_path_meaning(self) -> pl.Expr:
        """As `traffic_path_meaning`."""
        return traffic_path_meaning(self._expression)

    def tcp_flag_names(self) -> pl.Expr:
        """As `tcp_flag_names`."""
        return tcp_flag_names(self._expression)

    def duration(self, end: Column = "end") -> pl.Expr:
        """As `duration`, from this start."""
        return duration(self._expression, end)

    def bits_per_second(self, start: Column = "start", end: Column = "end") -> pl.Expr:
        """As `bits_per_second`, of these bytes."""
        return bits_per_second(self._expression, start, end)

    def same_az(self, other: Column = "next_hop_az_id") -> pl.Expr:
        """As `same_az`."""
        return same_az(self._expression, other)


def _column(column: Column) -> pl.Expr:
    return pl.col(column) if isinstance(column, str) else column


def _meaning(number: Column, meanings: Mapping[int, str]) -> pl.Expr:
    return _column(number).replace_strict(
        list(meanings), list(meanings.values()), default=None, return_dtype=pl.String
    )


@cache
def _private() -> tuple[Networks, Networks]:
    return Networks.parse(PRIVATE_NETWORKS), Networks.parse(PUBLIC_WITHIN_PRIVATE)


def _are_private(addresses: Addresses) -> pl.Series:
    private, public = _private()
    is_private = private.hold(addresses) & ~public.hold(addresses)
    return is_private.set(addresses.families().is_null(), None)


def _as_duration(difference: pl.Series) -> pl.Series:
    if difference.dtype.is_integer():  # --time-type epoch
        difference = difference * 1_000_000
    return difference.cast(pl.Duration("us"))
