"""The fields of flow logs: the one table that everything else reads.

Names, versions and types are those of AWS: "Available fields" of the VPC flow logs guide, the
same page of the transit gateway guide, and for the types AWS's own Parquet delivery
(https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html,
https://docs.aws.amazon.com/vpc/latest/tgw/tgw-flow-logs.html). AWS has not documented a Parquet
type for `encryption-status`; its values are the integers 0 to 3.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

# By Arrow's names; `rows.schema` has Arrow's types, which take a while to import.
FieldType = Literal["int32", "int64", "string"]
INT32: Final = "int32"
INT64: Final = "int64"
TEXT: Final = "string"


class Table(StrEnum):
    """The tables of a lake; each is a directory of Parquet files with one schema."""

    VPC = "vpc"
    TGW = "tgw"


# Where a lake has OCSF's records: folders at its root, as Security Lake names them.
OCSF_FOLDER = "region="


def is_table_folder(name: str) -> bool:
    """Tell whether a folder at the root of a lake has a table's files."""
    return name in (*Table,) or name.startswith(OCSF_FOLDER)


class Field(NamedTuple):
    """A field of a flow log record and the column that it becomes.

    Attributes:
        name: As AWS writes it in formats and headers, such as `account-id`.
        column: As it stands in Parquet, such as `account_id`; the name, if the table has no such
            column.
        type: int32, int64 or string, as in AWS's own Parquet delivery. `start` and `end` are int64
            seconds here; `normalising` makes them timestamps.
        version: The log version that brought the field; 0 for a field that AWS does not document.
        meaning: One line for people.
        largest: The largest number that can be, if it is below the type's; 0 is the least.
        aliases: What others call it, beside spellings of its name: AWS's guides for metric filters
            and, until 2021, for Athena, and StreamAlert.
    """

    name: str
    column: str
    type: FieldType
    version: int
    meaning: str
    largest: int | None = None
    aliases: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether its values are text, not numbers."""
        return self.type == TEXT


# Seconds up to the year 9999; larger values are milliseconds, which AWS wrote for a while.
MAX_SECONDS = 253_402_300_799
MAX_MILLISECONDS = MAX_SECONDS * 1000 + 999

# Ports have 16 bits, protocols 8, and TCP's header has 12 for flags. What else is a code, such as
# traffic-path, may get more values.
_LARGEST: Mapping[str, int] = MappingProxyType(
    {
        "srcport": (1 << 16) - 1,
        "dstport": (1 << 16) - 1,
        "protocol": (1 << 8) - 1,
        "tcp-flags": (1 << 12) - 1,
        "start": MAX_MILLISECONDS,
        "end": MAX_MILLISECONDS,
    }
)


_ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "account-id": ("account",),
        "interface-id": ("eni",),
        "srcaddr": ("source", "source-address"),
        "dstaddr": ("destination", "destination-address"),
        "srcport": ("source-port",),
        "dstport": ("destination-port", "destport"),
        "packets": ("num-packets",),
        "bytes": ("num-bytes",),
        "start": ("start-time", "window-start"),
        "end": ("end-time", "window-end"),
        "log-status": ("flow-log-status",),
    }
)


def _field(version: int, name: str, type_: FieldType, meaning: str) -> Field:
    return Field(
        name=name,
        column=name.replace("-", "_"),
        type=type_,
        version=version,
        meaning=meaning,
        largest=_LARGEST.get(name),
        aliases=_ALIASES.get(name, ()),
    )


def unknown_field(name: str) -> Field:
    """Return a field that the table lacks: its values are text, in the column `unknown_fields`."""
    return Field(name=name, column=name, type=TEXT, version=0, meaning="not documented by AWS")


_VPC = (
    _field(
        2,
        "version",
        INT32,
        "format version: the highest among the chosen fields; no guide to which they are",
    ),
    _field(
        2,
        "account-id",
        TEXT,
        "account that owns the interface, or unknown; text, with its leading zeros",
    ),
    _field(2, "interface-id", TEXT, "network interface; none for a regional NAT gateway"),
    _field(2, "srcaddr", TEXT, "source address: IPv4, IPv6 or, for EFA traffic, MAC"),
    _field(2, "dstaddr", TEXT, "destination address: IPv4, IPv6 or, for EFA traffic, MAC"),
    _field(2, "srcport", INT32, "source port; 0 for ICMP"),
    _field(2, "dstport", INT32, "destination port; 0 for ICMP"),
    _field(2, "protocol", INT32, "IANA protocol number"),
    _field(2, "packets", INT64, "packets in the capture window"),
    _field(2, "bytes", INT64, "bytes in the capture window"),
    _field(2, "start", INT64, "first packet of the capture window, in UTC"),
    _field(2, "end", INT64, "last packet of the capture window, in UTC"),
    _field(2, "action", TEXT, "ACCEPT or REJECT"),
    _field(2, "log-status", TEXT, "OK, NODATA or SKIPDATA"),
    _field(3, "vpc-id", TEXT, "VPC of the interface"),
    _field(3, "subnet-id", TEXT, "subnet of the interface"),
    _field(3, "instance-id", TEXT, "instance of the interface"),
    _field(
        3, "tcp-flags", INT32, "TCP flags OR-ed over the window: FIN 1, SYN 2, RST 4, SYN-ACK 18"
    ),
    _field(3, "type", TEXT, "IPv4, IPv6 or EFA"),
    _field(3, "pkt-srcaddr", TEXT, "original source address of the packets"),
    _field(3, "pkt-dstaddr", TEXT, "original destination address of the packets"),
    _field(4, "region", TEXT, "region of the interface"),
    _field(4, "az-id", TEXT, "availability zone of the interface"),
    _field(4, "sublocation-type", TEXT, "wavelength, outpost or localzone"),
    _field(4, "sublocation-id", TEXT, "id of the sublocation"),
    _field(5, "pkt-src-aws-service", TEXT, "AWS service whose range holds pkt-srcaddr"),
    _field(5, "pkt-dst-aws-service", TEXT, "AWS service whose range holds pkt-dstaddr"),
    _field(5, "flow-direction", TEXT, "ingress or egress"),
    _field(5, "traffic-path", INT32, "path of egress traffic, 1 to 8"),
    _field(7, "ecs-cluster-arn", TEXT, "ARN of the ECS cluster"),
    _field(7, "ecs-cluster-name", TEXT, "name of the ECS cluster"),
    _field(7, "ecs-container-instance-arn", TEXT, "ARN of the ECS container instance"),
    _field(7, "ecs-container-instance-id", TEXT, "id of the ECS container instance"),
    _field(7, "ecs-container-id", TEXT, "id of the first container of the task"),
    _field(7, "ecs-second-container-id", TEXT, "id of the second container of the task"),
    _field(7, "ecs-service-name", TEXT, "name of the ECS service"),
    _field(7, "ecs-task-definition-arn", TEXT, "ARN of the ECS task definition"),
    _field(7, "ecs-task-arn", TEXT, "ARN of the ECS task"),
    _field(7, "ecs-task-id", TEXT, "id of the ECS task"),
    _field(8, "reject-reason", TEXT, "BPA (block public access) or EC (encryption control)"),
    _field(9, "resource-id", TEXT, "resource of the flow, such as a regional NAT gateway"),
    _field(10, "encryption-status", INT32, "0 clear, 1 Nitro, 2 application layer, 3 both"),
    _field(11, "instance-tag", TEXT, "tag value of the instance, percent-decoded"),
    _field(11, "instance-tag-2", TEXT, "tag value of the instance, percent-decoded"),
    _field(11, "interface-tag", TEXT, "tag value of the interface, percent-decoded"),
    _field(11, "interface-tag-2", TEXT, "tag value of the interface, percent-decoded"),
    _field(11, "asg-tag", TEXT, "tag value of the Auto Scaling group, percent-decoded"),
    _field(11, "asg-tag-2", TEXT, "tag value of the Auto Scaling group, percent-decoded"),
    _field(11, "interface-type", TEXT, "such as nat_gateway, transit_gateway or vpc_endpoint"),
    _field(11, "next-hop-interface-id", TEXT, "interface of the next hop"),
    _field(11, "next-hop-subnet-id", TEXT, "subnet of the next hop"),
    _field(11, "next-hop-az-id", TEXT, "availability zone of the next hop"),
    _field(11, "next-hop-vpc-id", TEXT, "VPC of the next hop"),
    _field(11, "next-hop-interface-type", TEXT, "interface type of the next hop"),
)

_TGW = (
    _field(6, "version", INT32, "format version"),
    _field(6, "resource-type", TEXT, "TransitGateway or TransitGatewayAttachment"),
    _field(6, "account-id", TEXT, "account that owns the transit gateway"),
    _field(6, "tgw-id", TEXT, "transit gateway"),
    _field(6, "tgw-attachment-id", TEXT, "attachment of the flow"),
    _field(6, "tgw-src-vpc-account-id", TEXT, "account of the source VPC"),
    _field(6, "tgw-dst-vpc-account-id", TEXT, "account of the destination VPC"),
    _field(6, "tgw-src-vpc-id", TEXT, "source VPC"),
    _field(6, "tgw-dst-vpc-id", TEXT, "destination VPC"),
    _field(6, "tgw-src-subnet-id", TEXT, "source subnet"),
    _field(6, "tgw-dst-subnet-id", TEXT, "destination subnet"),
    _field(6, "tgw-src-eni", TEXT, "source attachment interface"),
    _field(6, "tgw-dst-eni", TEXT, "destination attachment interface"),
    _field(6, "tgw-src-az-id", TEXT, "source availability zone"),
    _field(6, "tgw-dst-az-id", TEXT, "destination availability zone"),
    _field(6, "tgw-pair-attachment-id", TEXT, "attachment of the opposite direction"),
    _field(6, "srcaddr", TEXT, "source address: IPv4, IPv6 or, for EFA traffic, MAC"),
    _field(6, "dstaddr", TEXT, "destination address: IPv4, IPv6 or, for EFA traffic, MAC"),
    _field(6, "srcport", INT32, "source port; 0 for ICMP"),
    _field(6, "dstport", INT32, "destination port; 0 for ICMP"),
    _field(6, "protocol", INT32, "IANA protocol number"),
    _field(6, "packets", INT64, "packets in the capture window"),
    _field(6, "bytes", INT64, "bytes in the capture window"),
    _field(6, "start", INT64, "first packet of the capture window, in UTC"),
    _field(6, "end", INT64, "last packet of the capture window, in UTC"),
    _field(6, "log-status", TEXT, "OK, NODATA or SKIPDATA"),
    _field(6, "type", TEXT, "IPv4, IPv6 or EFA"),
    _field(6, "packets-lost-no-route", INT64, "packets lost for lack of a route"),
    _field(6, "packets-lost-blackhole", INT64, "packets lost in a blackhole route"),
    _field(6, "packets-lost-mtu-exceeded", INT64, "packets lost over the MTU"),
    _field(6, "packets-lost-ttl-expired", INT64, "packets lost with expired TTL"),
    _field(6, "tcp-flags", INT32, "TCP flags OR-ed over the window; adds PSH 8, ACK 16, URG 32"),
    _field(6, "region", TEXT, "region of the interface"),
    _field(6, "flow-direction", TEXT, "ingress or egress"),
    _field(6, "pkt-src-aws-service", TEXT, "AWS service whose range holds pkt-srcaddr"),
    _field(6, "pkt-dst-aws-service", TEXT, "AWS service whose range holds pkt-dstaddr"),
)

FIELDS: Mapping[Table, tuple[Field, ...]] = MappingProxyType({Table.VPC: _VPC, Table.TGW: _TGW})

# What a flow log has when nobody chose fields: version 2, in AWS's order.
DEFAULT_FORMAT = tuple(f.name for f in _VPC if f.version == 2)

_FLOW_KEYS = ("srcaddr", "dstaddr", "srcport", "dstport", "protocol", "start", "end")

# The columns that tell records apart: AWS has one for each flow of an interface in each window.
KEYS: Mapping[Table, tuple[str, ...]] = MappingProxyType(
    {
        Table.VPC: ("interface_id", *_FLOW_KEYS),
        Table.TGW: ("tgw_attachment_id", *_FLOW_KEYS),
    }
)

# Seconds since the epoch in the log, timestamps in the table.
TIME_COLUMNS = ("start", "end")

# Values that AWS percent-encodes, since tags may hold spaces.
TAG_FIELDS = frozenset(f for f in _VPC if f.version == 11 and "-tag" in f.name)
