"""What expressions say of addresses and numbers, beside Python's ipaddress and socket."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowconv import UsageError, expressions, scan
from flowconv.answers.registries import PRIVATE_NETWORKS, PUBLIC_WITHIN_PRIVATE

ADDRESSES = st.ip_addresses().map(str)
NEAR_PRIVATE = st.sampled_from([*PRIVATE_NETWORKS, *PUBLIC_WITHIN_PRIVATE]).flatmap(
    lambda network: st.ip_addresses(network=network).map(str)
)
TEXTS = st.one_of(
    st.none(),
    ADDRESSES,
    NEAR_PRIVATE,
    st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,3}){3}\Z"),
    st.from_regex(r"\A[0-9a-fA-F:.]{0,20}\Z"),
    st.sampled_from(["", "-", "0e:1f:22:33:44:55", "10.0.0.1 ", "10.0.0.1\n", "+1.2.3.4", "1.2.3"]),
)
NETWORKS = st.lists(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
        st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
    ).map(lambda pair: str(ip_network(pair, strict=False))),
    max_size=8,
)


def ask(texts: list[Any], expression: pl.Expr, type_: Any = pl.String) -> list[Any]:
    """The values of an expression over the column `x`, which both engines must agree on."""
    frame = pl.LazyFrame({"x": pl.Series(texts, dtype=type_)}).select(y=expression)
    values = frame.collect().get_column("y")
    assert frame.collect_schema()["y"] == values.dtype
    assert frame.collect(engine="streaming").get_column("y").to_list() == values.to_list()
    return values.to_list()


def by_ipaddress(text: str | None, verdict: Callable[[Any], Any], otherwise: Any = None) -> Any:
    if text is None:
        return None
    try:
        return verdict(ip_address(text))
    except ValueError:
        return otherwise


@given(st.lists(TEXTS), NETWORKS)
def test_in_cidr_as_ipaddress(texts: list[str | None], networks: list[str]) -> None:
    def held(address: Any) -> bool:
        return any(address in ip_network(network) for network in networks)

    expected = [by_ipaddress(text, held, False) for text in texts]
    for type_ in (pl.String, pl.Categorical):
        assert ask(texts, expressions.in_cidr("x", networks), type_) == expected


@given(st.lists(TEXTS))
def test_address_family_as_ipaddress(texts: list[str | None]) -> None:
    expected = [by_ipaddress(text, lambda address: f"IPv{address.version}") for text in texts]
    assert ask(texts, pl.col("x").flow.address_family()) == expected  # type: ignore[attr-defined]


@given(st.lists(st.one_of(TEXTS, NEAR_PRIVATE)))
def test_private_or_public_by_the_registries(texts: list[str | None]) -> None:
    def private(address: Any) -> bool:
        def held(networks: tuple[str, ...]) -> bool:
            return any(address in ip_network(network) for network in networks)

        return held(PRIVATE_NETWORKS) and not held(PUBLIC_WITHIN_PRIVATE)

    expected = [by_ipaddress(text, private) for text in texts]
    assert ask(texts, expressions.is_private("x")) == expected
    public = [None if is_private is None else not is_private for is_private in expected]
    assert ask(texts, expressions.is_public("x")) == public


# Later than some releases of Python: 192.0.0.0/24 as a whole, and IPv6 networks of 2024 and 2025.
# Python asks of an IPv4 address in IPv6 what the IPv4 address is.
CHANGED = [
    *("192.0.0.0/24", "::ffff:0:0/96", "64:ff9b:1::/48", "100:0:0:1::/64", "2001::/23"),
    *("2002::/16", "3fff::/20", "5f00::/16"),
]


@given(st.one_of(ADDRESSES, NEAR_PRIVATE))
def test_public_as_ipaddress(text: str) -> None:
    address = ip_address(text)
    if any(address in ip_network(network) for network in CHANGED):
        return
    # Multicast, site-local and reserved addresses are not in the registries.
    assert ask([text], expressions.is_public("x")) == [address.is_global]


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("10.1.2.3", True),
        ("172.31.255.255", True),
        ("172.32.0.0", False),
        ("192.168.0.1", True),
        ("100.64.0.1", True),
        ("169.254.169.254", True),
        ("192.0.0.8", True),
        ("192.0.0.9", False),
        ("52.95.1.1", False),
        ("fd00:ec2::254", True),
        ("fe80::1", True),
        ("2600:1f18::1", False),
        ("::ffff:52.95.1.1", True),
        ("2001:20::1", False),
        ("0e:1f:22:33:44:55", None),
    ],
)
def test_private(text: str, private: bool | None) -> None:
    assert ask([text], expressions.is_private("x")) == [private]


def test_addresses_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(text: str) -> Any:
        seen.append(text)
        return ip_address(text)

    monkeypatch.setattr("flowconv.answers.addresses.IPv6Address", counted)
    frame = pl.DataFrame({"x": ["fd00::1", "fd00::2", None] * 1000})
    held = frame.select(expressions.in_cidr("x", "fd00::1")).to_series()
    assert held.sum() == 1000
    assert seen == ["fd00::1", "fd00::2"]


@pytest.mark.parametrize("networks", ["10.0.0.0/33", "10.0.0.1/8", "x", ["10.0.0.0/8", "-"]])
def test_what_is_no_network(networks: Any) -> None:
    with pytest.raises(UsageError, match=r"is not a network .*Write an address and"):
        expressions.in_cidr("x", networks)


@pytest.mark.parametrize("networks", [[8], [None], [b"10.0.0.0/8"]])
def test_network_of_another_type(networks: Any) -> None:
    with pytest.raises(TypeError, match=r"is not a network\. Write a text"):
        expressions.in_cidr("x", networks)


def test_protocol_names_are_those_of_socket() -> None:
    names = {
        number: name.removeprefix("IPPROTO_").replace("V", "v")
        for name, number in vars(socket).items()
        if name in ("IPPROTO_ICMP", "IPPROTO_TCP", "IPPROTO_UDP", "IPPROTO_GRE", "IPPROTO_ESP",
                    "IPPROTO_AH", "IPPROTO_PIM", "IPPROTO_SCTP", "IPPROTO_IPV6")
    }  # fmt: skip
    assert len(names) >= 6
    assert ask(list(names), expressions.protocol_name("x"), pl.Int32) == list(names.values())


def test_protocol_names() -> None:
    numbers = [0, 1, 6, 17, 58, 61, 62, 68, 89, 99, 100, 114, 115, 132, 142, 145, 146, 255, None]
    assert ask(numbers, pl.col("x").flow.protocol_name(), pl.Int32) == [  # type: ignore[attr-defined]
        *("HOPOPT", "ICMP", "TCP", "UDP", "IPv6-ICMP", None, "CFTP", None, "OSPFIGP", None, "GMTP"),
        *(None, "L2TP", "SCTP", "ROHC", "NSH", None, None, None),
    ]


def test_services() -> None:
    ports = [22, 53, 80, 443, 3389, 5432, 9092, 49152, 0, None]
    assert ask(ports, expressions.service("x"), pl.Int32) == [
        *("ssh", "domain", "http", "https", "ms-wbt-server", "postgresql", "kafka"),
        *(None, None, None),
    ]


def test_tcp_flags() -> None:
    flags = [0, 1, 2, 4, 18, 19, 31, 256, 512, None]
    assert ask(flags, expressions.tcp_flag_names("x"), pl.Int32) == [
        *("", "FIN", "SYN", "RST", "SYN ACK", "FIN SYN ACK", "FIN SYN RST PSH ACK", "AE", "", None)
    ]


def test_traffic_paths() -> None:
    paths = [1, 2, 8, 9, None]
    meanings = ask(paths, pl.col("x").flow.traffic_path_meaning(), pl.Int32)  # type: ignore[attr-defined]
    assert meanings == [
        "same VPC",
        "internet gateway or gateway endpoint",
        "internet gateway",
        None,
        None,
    ]


BEGIN = datetime(2026, 1, 14, tzinfo=UTC)


@pytest.mark.parametrize("type_", ["timestamp", "epoch"])
def test_duration_and_rate(type_: str) -> None:
    ends = [BEGIN + timedelta(seconds=60), BEGIN, None]
    frame = pl.LazyFrame(
        {"start": [BEGIN] * 3, "end": ends, "bytes": [600, 600, 600]},
        schema_overrides={name: pl.Datetime("us", "UTC") for name in ("start", "end")},
    )
    if type_ == "epoch":
        frame = frame.with_columns(pl.col("start", "end").dt.epoch("s"))
    asked = frame.select(d=expressions.duration(), b=expressions.bits_per_second())
    answer = asked.collect()
    assert answer.schema == asked.collect_schema()
    assert answer.rows() == [(timedelta(seconds=60), 80.0), (timedelta(0), None), (None, None)]


def test_same_az() -> None:
    frame = pl.DataFrame(
        {"az_id": ["use1-az1", "use1-az1", None], "next_hop_az_id": ["use1-az1", "use1-az2", "x"]},
        schema={"az_id": pl.Categorical, "next_hop_az_id": pl.String},
    )
    assert frame.select(expressions.same_az()).to_series().to_list() == [True, False, None]


def test_namespace_has_every_function() -> None:
    functions = set(expressions.__all__) - {"Flow"}
    assert functions == {name for name in vars(expressions.Flow) if not name.startswith("_")}


@pytest.mark.parametrize("type_", [pl.String, pl.Categorical])
def test_over_a_lake(sample_lake: Path, type_: Any) -> None:
    flows = scan(sample_lake).with_columns(pl.col("srcaddr", "dstaddr").cast(type_))
    named = flows.select(
        "dstaddr",
        expressions.in_cidr("dstaddr", ["10.0.0.0/8", "fc00::/7"]).alias("held"),
        expressions.protocol_name().alias("name"),
        expressions.bits_per_second().alias("rate"),
        expressions.tcp_flag_names().alias("flags"),
    ).filter(pl.col("held"))
    rows = named.collect(engine="streaming")
    assert len(rows) > 100
    held = ip_network("10.0.0.0/8"), ip_network("fc00::/7")
    for text in rows["dstaddr"].cast(pl.String).unique():
        assert any(ip_address(text) in network for network in held)
    assert {"TCP", "UDP"} <= set(rows["name"])
    assert "SYN ACK" in set(rows["flags"])
