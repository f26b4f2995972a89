"""The records of sample logs: networks, who talks in them, and lines of text.

`generating` says what is asked for, and imports this module only when it writes, as polars takes
its time.
"""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

import polars as pl

from flowconv.samples.flow_logs import aws_id
from flowconv.samples.options import REGIONS, GenerateOptions

_MAX_CONVERSATIONS: Final = 40_000  # per network

# --- networks: interfaces, and who they talk to ---

_VPCS: Final = (IPv4Address("10.0.0.0"), IPv4Address("10.64.0.0"), IPv4Address("172.31.0.0"))
_SUBNETS: Final = 4  # per VPC, each of 4,096 addresses

# Everybody outside: only ranges kept for documentation, benchmarks and carriers, as (first
# address, bits to choose, weight). The last two are there for their many addresses.
_OUTSIDE: Final = (
    (IPv4Address("192.0.2.0"), 8, 5),
    (IPv4Address("198.51.100.0"), 8, 5),
    (IPv4Address("203.0.113.0"), 8, 5),
    (IPv4Address("198.18.0.0"), 17, 25),
    (IPv4Address("100.64.0.0"), 22, 60),
)
_OUTSIDE_IPV6: Final = (IPv6Address("2001:db8:8000::"), 79)
_PEERS: Final = (IPv4Address("10.200.0.0"), 12)
_PEERS_IPV6: Final = (IPv6Address("2001:db8:7fff::"), 12)

_AWS_SERVICES: Final = ("AMAZON", "S3", "EC2", "DYNAMODB", "CLOUDFRONT", "GLOBALACCELERATOR")
_SCANNED_PORTS: Final = (22, 23, 80, 443, 445, 1433, 3389, 5060, 6379, 8080, 8443, 27017)

TCP: Final = 6
UDP: Final = 17
ICMP: Final = 1


class _Packets(NamedTuple):
    """How many packets a side sends."""

    median: float
    spread: float  # of their logarithm


class _Bytes(NamedTuple):
    """The sizes of packets."""

    of_client: int
    of_server: int
    wobble: int  # by which they differ


class _Service(NamedTuple):
    """What a conversation carries."""

    weight: int
    port: tuple[int, int]  # protocol and port
    packets: _Packets
    bytes: _Bytes


_SERVICES: Final = (
    _Service(420, (TCP, 443), _Packets(14, 1.3), _Bytes(120, 780, 60)),
    _Service(90, (TCP, 80), _Packets(8, 1.1), _Bytes(110, 820, 60)),
    _Service(90, (TCP, 5432), _Packets(22, 1.4), _Bytes(140, 330, 80)),
    _Service(50, (TCP, 3306), _Packets(18, 1.3), _Bytes(130, 350, 80)),
    _Service(45, (TCP, 6379), _Packets(16, 1.2), _Bytes(90, 120, 30)),
    _Service(60, (TCP, 8080), _Packets(10, 1.1), _Bytes(210, 540, 90)),
    _Service(30, (TCP, 9092), _Packets(40, 1.6), _Bytes(620, 160, 120)),
    _Service(25, (TCP, 10250), _Packets(11, 0.9), _Bytes(130, 690, 60)),
    _Service(15, (TCP, 2049), _Packets(60, 1.7), _Bytes(400, 700, 150)),
    _Service(10, (TCP, 22), _Packets(30, 1.4), _Bytes(80, 140, 30)),
    _Service(5, (TCP, 25), _Packets(12, 0.8), _Bytes(400, 90, 90)),
    _Service(110, (UDP, 53), _Packets(1, 0.0), _Bytes(68, 132, 0)),
    _Service(40, (UDP, 123), _Packets(1, 0.0), _Bytes(76, 76, 0)),
    _Service(20, (UDP, 443), _Packets(12, 1.2), _Bytes(140, 820, 120)),
    _Service(6, (UDP, 8125), _Packets(9, 1.0), _Bytes(110, 60, 20)),
    _Service(12, (ICMP, 0), _Packets(2, 0.4), _Bytes(84, 84, 0)),
)


class _Interface(NamedTuple):
    """A network interface; the first seven are fields of its records."""

    interface_id: str
    vpc_id: str
    subnet_id: str
    instance_id: str
    az_id: str
    sublocation_type: str
    sublocation_id: str
    ipv4: str
    ipv6: str
    pkt_ipv4: str  # of a container on it, or of what is behind a NAT gateway


_INTERFACE_FIELDS: Final = _Interface._fields[:7]


class _Side(NamedTuple):
    """One direction of a conversation: what all its records say, and what is left to each.

    The defaults are those of NODATA and SKIPDATA, which say nothing.
    """

    interface: int
    log_status: str
    srcaddr: str = "-"
    dstaddr: str = "-"
    protocol: str = "-"
    action: str = "-"
    type: str = "-"
    pkt_srcaddr: str = "-"
    pkt_dstaddr: str = "-"
    pkt_src_aws_service: str = "-"
    pkt_dst_aws_service: str = "-"
    flow_direction: str = "-"
    traffic_path: str = "-"
    src_port: int = 0  # a record draws one of `src_ports` ports, starting here
    src_ports: int = 1
    dst_port: int = 0
    dst_ports: int = 1
    log_packets: float = 0.0  # logarithm of the median
    spread: float = 0.0
    packet_bytes: int = 0
    wobble_bytes: int = 0
    flags: int = 0  # row of _TCP_FLAGS


# What each record reads of its side, to draw the rest.
DRAWN: Final = ("interface", "log_status", *_Side._fields[_Side._fields.index("src_port") :])

_SIDE_SCHEMA: Final = {
    name: {int: pl.UInt32, float: pl.Float64, str: pl.String}[type_]
    for name, type_ in _Side.__annotations__.items()
}


@dataclass(frozen=True, slots=True)
class Network:
    """The interfaces of one account and region, and their conversations.

    Attributes:
        sides: One row for each `_Side`, with the interface's fields, account_id and region.
            Conversation i has the rows 2i (from the client) and 2i + 1 (from the server); IPv4
            comes before IPv6, the busiest first. Behind them is a NODATA row for each interface,
            then a SKIPDATA row for each.
        ipv4: Number of conversations over IPv4.
        ipv6: Number of conversations over IPv6.
        interfaces: Number of interfaces.
    """

    sides: pl.DataFrame
    ipv4: int
    ipv6: int
    interfaces: int


def make_network(
    rng: random.Random, options: GenerateOptions, account: str, region: str
) -> Network:
    """Make up the interfaces of an account and region, and their conversations."""
    interfaces = _make_interfaces(rng, REGIONS[region])
    neighbours: defaultdict[str, list[_Interface]] = defaultdict(list)
    for interface in interfaces:
        neighbours[interface.vpc_id].append(interface)

    records = options.days * options.objects * options.records
    ipv4 = min(_MAX_CONVERSATIONS, max(1000, records))
    count = ipv4 + ipv4 // 5
    popularity = [1 / (i + 5) for i in range(len(interfaces))]
    talking = rng.choices(range(len(interfaces)), popularity, k=count)
    services = rng.choices(_SERVICES, [s.weight for s in _SERVICES], k=count)
    sides: list[_Side] = []
    for i, (number, service) in enumerate(zip(talking, services, strict=True)):
        interface = interfaces[number]
        near = neighbours[interface.vpc_id]
        sides += _make_conversation(rng, number, interface, near, service, ipv6=i >= ipv4)
    for status in ("NODATA", "SKIPDATA"):
        sides += [_Side(number, status) for number in range(len(interfaces))]

    about = pl.DataFrame(
        [interface[: len(_INTERFACE_FIELDS)] for interface in interfaces],
        schema=_INTERFACE_FIELDS,
        orient="row",
    )
    frame = pl.DataFrame(sides, schema=_SIDE_SCHEMA, orient="row")
    frame = frame.hstack(about[frame["interface"]]).with_columns(
        account_id=pl.lit(account), region=pl.lit(region)
    )
    return Network(frame, ipv4, count - ipv4, len(interfaces))


def _make_interfaces(rng: random.Random, zone: str) -> list[_Interface]:
    interfaces: list[_Interface] = []
    for vpc, first in enumerate(_VPCS):
        vpc_id = aws_id(rng, "vpc")
        first_ipv6 = IPv6Address("2001:db8::") + (rng.getrandbits(22) << 72)
        for subnet in range(_SUBNETS):
            subnet_id = aws_id(rng, "subnet")
            local = vpc == 1 and subnet == 3
            hosts = [first + (subnet << 12) + n for n in rng.sample(range(4, 4092), k=60)]
            interfaces += [
                _Interface(
                    interface_id=aws_id(rng, "eni"),
                    vpc_id=vpc_id,
                    subnet_id=subnet_id,
                    instance_id=aws_id(rng, "i") if rng.random() < 0.75 else "-",
                    az_id=f"{zone}-az{subnet % 3 + 1}",
                    sublocation_type="localzone" if local else "-",
                    sublocation_id=f"{zone}-lax1-az1" if local else "-",
                    ipv4=str(hosts[i]),
                    ipv6=str(first_ipv6 + (subnet << 64) + rng.getrandbits(64)),
                    pkt_ipv4=str(hosts[-1 - i] if i % 6 == 0 else hosts[i]),
                )
                for i in range(rng.randint(12, 28))
            ]
    rng.shuffle(interfaces)  # so that the popular ones, which come first, lie in all VPCs
    return interfaces


def _make_conversation(
    rng: random.Random,
    number: int,
    interface: _Interface,
    near: Sequence[_Interface],
    service: _Service,
    *,
    ipv6: bool,
) -> tuple[_Side, _Side]:
    place = rng.random()
    if place < 0.12:
        return _make_scan(rng, number, interface, ipv6=ipv6)
    remote, aws_service, path = _choose_remote(rng, place, interface, near, ipv6=ipv6)
    client, server = _make_sides(rng, number, service, ipv6=ipv6)
    local = interface.ipv6 if ipv6 else interface.ipv4
    pkt_local = local if ipv6 else interface.pkt_ipv4
    calling = rng.random() < 0.6  # the interface is the client, not the server
    return (
        _direct(client, local, pkt_local, remote, aws_service, path if calling else None),
        _direct(server, local, pkt_local, remote, aws_service, None if calling else path),
    )


def _choose_remote(
    rng: random.Random,
    place: float,
    interface: _Interface,
    near: Sequence[_Interface],
    *,
    ipv6: bool,
) -> tuple[str, str, str]:
    """Return the address of the other side, its AWS service, and the path to it."""
    if place < 0.45:
        outside = str(_outside(rng, ipv6=ipv6))
        if rng.random() >= 0.2:
            return outside, "-", "8"
        aws_service = rng.choice(_AWS_SERVICES)
        return outside, aws_service, "7" if aws_service in ("S3", "DYNAMODB") else "8"
    if place < 0.5:
        first, bits = _PEERS_IPV6 if ipv6 else _PEERS
        return str(first + rng.getrandbits(bits)), "-", rng.choice("345")
    left, right = rng.sample(near, k=2)
    other = right if left is interface else left
    return other.ipv6 if ipv6 else other.ipv4, "-", "1"


def _make_sides(
    rng: random.Random, number: int, service: _Service, *, ipv6: bool
) -> tuple[_Side, _Side]:
    """Return a client's side of a conversation and the server's."""
    # A connection that stays open, or a new one each time.
    protocol, port = service.port
    packets, size = service.packets, service.bytes
    open_long = size.wobble and rng.random() < 0.4
    client_port = (rng.randint(32_768, 60_980), 16) if open_long else (32_768, 28_232)
    client_bytes, server_bytes = size.of_client, size.of_server
    log_packets = math.log(packets.median)
    if size.wobble:
        client_bytes = max(40, round(client_bytes * rng.uniform(0.6, 1.4)))
        server_bytes = max(40, round(server_bytes * rng.uniform(0.6, 1.6)))
        log_packets += rng.gauss(0, 0.9)
    client = _Side(
        interface=number,
        log_status="OK",
        protocol=str(protocol),
        action="ACCEPT",
        type="IPv6" if ipv6 else "IPv4",
        src_port=client_port[0] if protocol != ICMP else 0,
        src_ports=client_port[1] if protocol != ICMP else 1,
        dst_port=port,
        log_packets=log_packets,
        spread=packets.spread,
        packet_bytes=client_bytes,
        wobble_bytes=size.wobble,
        flags=CLIENT_FLAGS if protocol == TCP else NO_FLAGS,
    )
    server = client._replace(
        src_port=client.dst_port,
        src_ports=client.dst_ports,
        dst_port=client.src_port,
        dst_ports=client.src_ports,
        log_packets=log_packets - 0.1,
        packet_bytes=server_bytes,
        flags=SERVER_FLAGS if protocol == TCP else NO_FLAGS,
    )
    return client, server


def _direct(
    side: _Side, local: str, pkt_local: str, remote: str, aws_service: str, path: str | None
) -> _Side:
    """Set what depends on the direction; path is that of egress traffic, None for ingress."""
    if path is None:
        return side._replace(
            srcaddr=remote,
            dstaddr=local,
            pkt_srcaddr=remote,
            pkt_dstaddr=pkt_local,
            pkt_src_aws_service=aws_service,
            flow_direction="ingress",
        )
    return side._replace(
        srcaddr=local,
        dstaddr=remote,
        pkt_srcaddr=pkt_local,
        pkt_dstaddr=remote,
        pkt_dst_aws_service=aws_service,
        flow_direction="egress",
        traffic_path=path,
    )


def _make_scan(
    rng: random.Random, number: int, interface: _Interface, *, ipv6: bool
) -> tuple[_Side, _Side]:
    """Make a stranger who knocks and gets no answer; both sides are that, from other ports."""
    tcp = rng.random() < 0.9
    one_port = rng.random() < 0.7
    remote = str(_outside(rng, ipv6=ipv6))
    local = interface.ipv6 if ipv6 else interface.ipv4
    side = _Side(
        interface=number,
        log_status="OK",
        srcaddr=remote,
        dstaddr=local,
        protocol=str(TCP if tcp else UDP),
        action="REJECT",
        type="IPv6" if ipv6 else "IPv4",
        pkt_srcaddr=remote,
        pkt_dstaddr=local,
        flow_direction="ingress",
        src_port=1024,
        src_ports=31_000,
        dst_port=rng.choice(_SCANNED_PORTS) if one_port else 1,
        dst_ports=1 if one_port else 65_000,
        spread=0.1,
        packet_bytes=rng.choice((40, 44, 60) if tcp else (32, 56, 428)),
        flags=SCAN_FLAGS if tcp else NO_FLAGS,
    )
    return side, side._replace(src_port=33_000)


def _outside(rng: random.Random, *, ipv6: bool) -> IPv4Address | IPv6Address:
    if ipv6:
        return _OUTSIDE_IPV6[0] + rng.getrandbits(_OUTSIDE_IPV6[1])
    first, bits, _ = rng.choices(_OUTSIDE, [weight for _, _, weight in _OUTSIDE])[0]
    return first + rng.getrandbits(bits)


# --- records: everything for whole columns, as one object may have millions ---

# tcp-flags in each of 16 phases of a connection: FIN 1, SYN 2, RST 4, SYN-ACK 18.
NO_FLAGS, SCAN_FLAGS, CLIENT_FLAGS, SERVER_FLAGS = range(4)
