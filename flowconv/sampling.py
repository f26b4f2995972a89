"""The records of sample logs: networks, who talks in them, and lines of text.

`generating` says what is asked for, and imports this module only when it writes, as polars takes
its time.
"""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby
from statistics import NormalDist
from typing import Final, NamedTuple

import polars as pl
import pyarrow as pa

from flowconv.generating import BUCKET_S, REGIONS, FlowLog, GenerateOptions, aws_id

_MAX_CONVERSATIONS: Final = 40_000  # per network
# Zipf-Mandelbrot shift: the busiest conversation has about 0.2% of records.
_BUSY_HEAD: Final = 100.0

# Columns that differ from record to record; a conversation settles all others.
_VARYING: Final = frozenset(("srcport", "dstport", "packets", "bytes", "start", "end", "tcp_flags"))

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


class _Service(NamedTuple):
    """What a conversation carries."""

    weight: int
    protocol: int
    port: int
    packets: float  # median
    spread: float  # of the logarithm of packets
    client_bytes: int  # in a packet
    server_bytes: int
    wobble_bytes: int  # by which a packet's size differs


_SERVICES: Final = (
    _Service(420, TCP, 443, 14, 1.3, 120, 780, 60),
    _Service(90, TCP, 80, 8, 1.1, 110, 820, 60),
    _Service(90, TCP, 5432, 22, 1.4, 140, 330, 80),
    _Service(50, TCP, 3306, 18, 1.3, 130, 350, 80),
    _Service(45, TCP, 6379, 16, 1.2, 90, 120, 30),
    _Service(60, TCP, 8080, 10, 1.1, 210, 540, 90),
    _Service(30, TCP, 9092, 40, 1.6, 620, 160, 120),
    _Service(25, TCP, 10250, 11, 0.9, 130, 690, 60),
    _Service(15, TCP, 2049, 60, 1.7, 400, 700, 150),
    _Service(10, TCP, 22, 30, 1.4, 80, 140, 30),
    _Service(5, TCP, 25, 12, 0.8, 400, 90, 90),
    _Service(110, UDP, 53, 1, 0.0, 68, 132, 0),
    _Service(40, UDP, 123, 1, 0.0, 76, 76, 0),
    _Service(20, UDP, 443, 12, 1.2, 140, 820, 120),
    _Service(6, UDP, 8125, 9, 1.0, 110, 60, 20),
    _Service(12, ICMP, 0, 2, 0.4, 84, 84, 0),
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
    src_port: int = 0  # a record draws one of so many ports, from this one on
    src_ports: int = 1
    dst_port: int = 0
    dst_ports: int = 1
    log_packets: float = 0.0  # logarithm of the median
    spread: float = 0.0
    packet_bytes: int = 0
    wobble_bytes: int = 0
    flags: int = 0  # row of _TCP_FLAGS


# What each record reads of its side, to draw the rest.
_DRAWN: Final = ("interface", "log_status", *_Side._fields[_Side._fields.index("src_port") :])

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
    aws_service = "-"
    remote: str | IPv4Address | IPv6Address
    if place < 0.45:
        remote, path = _outside(rng, ipv6=ipv6), "8"
        if rng.random() < 0.2:
            aws_service = rng.choice(_AWS_SERVICES)
            path = "7" if aws_service in ("S3", "DYNAMODB") else "8"
    elif place < 0.5:
        first, bits = _PEERS_IPV6 if ipv6 else _PEERS
        remote, path = first + rng.getrandbits(bits), rng.choice("345")
    else:
        one, two = rng.sample(near, k=2)
        other = two if one is interface else one
        remote, path = (other.ipv6 if ipv6 else other.ipv4), "1"

    # A connection that stays open, or a new one each time.
    open_long = service.wobble_bytes and rng.random() < 0.4
    client_port = (rng.randint(32_768, 60_980), 16) if open_long else (32_768, 28_232)
    client_bytes, server_bytes = service.client_bytes, service.server_bytes
    log_packets = math.log(service.packets)
    if service.wobble_bytes:
        client_bytes = max(40, round(client_bytes * rng.uniform(0.6, 1.4)))
        server_bytes = max(40, round(server_bytes * rng.uniform(0.6, 1.6)))
        log_packets += rng.gauss(0, 0.9)
    client = _Side(
        interface=number,
        log_status="OK",
        protocol=str(service.protocol),
        action="ACCEPT",
        type="IPv6" if ipv6 else "IPv4",
        src_port=client_port[0] if service.protocol != ICMP else 0,
        src_ports=client_port[1] if service.protocol != ICMP else 1,
        dst_port=service.port,
        log_packets=log_packets,
        spread=service.spread,
        packet_bytes=client_bytes,
        wobble_bytes=service.wobble_bytes,
        flags=_CLIENT_FLAGS if service.protocol == TCP else _NO_FLAGS,
    )
    server = client._replace(
        src_port=client.dst_port,
        src_ports=client.dst_ports,
        dst_port=client.src_port,
        dst_ports=client.src_ports,
        log_packets=log_packets - 0.1,
        packet_bytes=server_bytes,
        flags=_SERVER_FLAGS if service.protocol == TCP else _NO_FLAGS,
    )
    local = interface.ipv6 if ipv6 else interface.ipv4
    pkt_local = local if ipv6 else interface.pkt_ipv4
    calling = rng.random() < 0.6  # the interface is the client, not the server
    return (
        _direct(client, local, pkt_local, str(remote), aws_service, path if calling else None),
        _direct(server, local, pkt_local, str(remote), aws_service, None if calling else path),
    )


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
        flags=_SCAN_FLAGS if tcp else _NO_FLAGS,
    )
    return side, side._replace(src_port=33_000)


def _outside(rng: random.Random, *, ipv6: bool) -> IPv4Address | IPv6Address:
    if ipv6:
        return _OUTSIDE_IPV6[0] + rng.getrandbits(_OUTSIDE_IPV6[1])
    first, bits, _ = rng.choices(_OUTSIDE, [weight for _, _, weight in _OUTSIDE])[0]
    return first + rng.getrandbits(bits)


# --- records: everything for whole columns, as one object may have millions ---

# tcp-flags in each of 16 phases of a connection: FIN 1, SYN 2, RST 4, SYN-ACK 18.
_NO_FLAGS, _SCAN_FLAGS, _CLIENT_FLAGS, _SERVER_FLAGS = range(4)
_PHASES: Final = 16
_TCP_FLAGS: Final = pl.Series(
    [
        *([0] * _PHASES),
        *([2] * _PHASES),
        *([3] * 7 + [0] * 5 + [2, 1, 7, 4]),
        *([19] * 7 + [0] * 5 + [18, 1, 19, 1]),
    ],
    dtype=pl.UInt32,
)

# Quantiles of the normal distribution: a draw of 12 bits picks one.
_NORMAL: Final = pl.Series([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)])


def make_records(
    rng: random.Random,
    options: GenerateOptions,
    network: Network,
    log: FlowLog,
    times: Sequence[datetime],
) -> pl.DataFrame:
    """Make the records of some objects of a flow log.

    Returns:
        One row for each record, object by object: `side` (row of the network's sides), and the
        columns of `_VARYING`: null where a record says nothing.
    """
    choices = _choose_sides(rng, options, network, len(times))
    return _draw_values(rng, network, log, times, choices)


def _choose_sides(
    rng: random.Random, options: GenerateOptions, network: Network, objects: int
) -> pl.DataFrame:
    """Choose what each record belongs to: as a rule, two neighbours are a conversation's sides.

    Returns:
        One row for each record, object by object: `object`, `side` (row of the network's sides),
        and draws that both neighbours share (`volume`, `phase`, `port`, `run`).
    """
    pairs = (options.records + 1) // 2
    # Interfaces come in short runs, again and again, as AWS gathers records from many hosts.
    runs = max(5, options.records // 400)
    draws = pl.DataFrame(_draw(rng, name, objects * pairs) for name in ("which", "how", "port"))
    flows = draws.select(
        (pl.int_range(pl.len(), dtype=pl.UInt32) // pairs).alias("object"),
        pl.when(_bits("how", 0, 16) < round(options.ipv6_share * 0x10000))
        .then(_rank("which", network.ipv6) + network.ipv4)
        .otherwise(_rank("which", network.ipv4))
        .cast(pl.UInt32)
        .alias("conversation"),
        _bits("how", 16, 4).alias("phase"),
        _bits("how", 20, 12).alias("volume"),
        _bits("port", 0, 16).alias("port"),
        (_bits("port", 16, 16) % runs).alias("run"),
    )
    # Sort by object, run and interface; the position makes each key unique, so that the order
    # does not depend on the sort's.
    interface = network.sides["interface"].gather(flows["conversation"] * 2)
    group = pl.col("object").cast(pl.UInt64) * runs + pl.col("run")
    keys = flows.select(
        (group * network.interfaces + interface) * 2**32 + pl.int_range(pl.len(), dtype=pl.UInt64)
    ).to_series()
    order = (keys.sort() & 0xFFFF_FFFF).cast(pl.UInt32)

    number = pl.int_range(objects * options.records, dtype=pl.UInt32, eager=True)
    place = number % options.records
    records = flows[order.gather(number // options.records * pairs + place // 2)]
    talking = pl.col("conversation") * 2 + place % 2
    silent = 2 * (network.ipv4 + network.ipv6) + pl.col("any") % network.interfaces
    nodata = round(options.nodata_share * 2**32)
    skipdata = nodata + round(options.skipdata_share * 2**32)
    return records.with_columns(
        _draw(rng, "silence", len(records)), _draw(rng, "any", len(records))
    ).select(
        *("object", "volume", "phase", "port", "run"),
        pl.when(pl.col("silence") < nodata)
        .then(silent)
        .when(pl.col("silence") < skipdata)
        .then(silent + network.interfaces)
        .otherwise(talking)
        .alias("side"),
    )


def _draw_values(
    rng: random.Random,
    network: Network,
    log: FlowLog,
    times: Sequence[datetime],
    choices: pl.DataFrame,
) -> pl.DataFrame:
    """Draw what differs from record to record.

    Returns:
        `side` of choices, and the columns of `_VARYING`: null where a record says nothing.
    """
    chance = _draw(rng, "chance", len(choices))
    lags = [rng.randrange(BUCKET_S) for _ in range(network.interfaces)]
    lag = pl.lit(pl.Series(lags, dtype=pl.Int64)).gather("interface")
    ends = [int(end.timestamp()) for end in times]
    bucket = pl.lit(pl.Series(ends, dtype=pl.Int64)).gather("object")
    step = pl.col("run").cast(pl.Int64) % (BUCKET_S // min(BUCKET_S, log.window_s))
    # A window begins and ends when its interface's turn comes, and is not quite full.
    end = bucket - lag % log.window_s - step * log.window_s
    length = log.window_s - 2 - (lag + step * 3 + pl.col("object")) % 6
    # Every seventh record or so begins later: its first packet came then.
    late = pl.when(_bits("chance", 22, 10) < 150).then(length * _bits("chance", 16, 6) // 80)

    volume = pl.lit(_NORMAL).gather("volume") * 0.95  # shared by both directions, and its own
    own_volume = pl.lit(_NORMAL).gather(_bits("chance", 0, 12)) * 0.3
    packets = (pl.col("log_packets") + pl.col("spread") * (volume + own_volume)).exp().round()
    wobble = pl.col("wobble_bytes") * _bits("chance", 12, 10) // 1024
    text_bytes = pl.col("packets") * pl.col("packet_bytes") + pl.col("packets").sqrt() * wobble

    talks = pl.col("log_status") == "OK"
    return (
        choices.hstack([*network.sides.select(_DRAWN)[choices["side"]], chance])
        .with_columns(packets.clip(1, 40_000_000).cast(pl.Int64).alias("packets"))
        .select(
            "side",
            (end - length + pl.when(talks).then(late).fill_null(0)).alias("start"),
            end.alias("end"),
            *(
                pl.when(talks).then(value).alias(name)
                for name, value in {
                    "srcport": pl.col("src_port") + pl.col("port") % pl.col("src_ports"),
                    "dstport": pl.col("dst_port") + pl.col("port") % pl.col("dst_ports"),
                    "packets": pl.col("packets"),
                    "bytes": text_bytes.cast(pl.Int64),
                    "tcp_flags": pl.lit(_TCP_FLAGS).gather(
                        pl.col("flags") * _PHASES + pl.col("phase")
                    ),
                }.items()
            ),
        )
    )


def _draw(rng: random.Random, name: str, count: int) -> pl.Series:
    """Draw integers of 32 bits; Python's generator gives the same ones everywhere."""
    buffer = pa.py_buffer(rng.randbytes(4 * count))
    return pl.Series(name, pa.Array.from_buffers(pa.uint32(), count, [None, buffer]))


def _bits(draw: str, first: int, count: int) -> pl.Expr:
    return (pl.col(draw) // (1 << first)) & ((1 << count) - 1)


def _rank(draw: str, count: int) -> pl.Expr:
    """Turn a draw into a rank below count, by the law of Zipf and Mandelbrot: 0 is likeliest."""
    share = pl.col(draw).cast(pl.Float64) / 2**32
    rank = ((share * math.log1p(count / _BUSY_HEAD)).exp() - 1) * _BUSY_HEAD
    return rank.floor().clip(0, count - 1)


def join_fields(
    log: FlowLog, sides: pl.DataFrame, records: pl.DataFrame, spaces: str, line_end: str
) -> pl.Series:
    """Join the fields of each record to a line.

    Neighbouring fields that the side settles are joined once for each side, not for each record.
    """
    sides = sides.with_columns(version=pl.lit(str(log.version)))
    parts = []
    for varying, run in groupby((f.column for f in log.fields), _VARYING.__contains__):
        if varying:
            parts += [pl.col(column).cast(pl.String).fill_null("-") for column in run]
        else:
            text = sides.select(pl.concat_str(list(run), separator=spaces)).to_series()
            parts.append(pl.lit(text).gather("side"))
    spaced = [part for value in parts for part in (value, pl.lit(spaces))]
    return records.select(pl.concat_str(*spaced[:-1], pl.lit(line_end))).to_series()
