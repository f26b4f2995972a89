"""What AWS says about interfaces and networks: files of JSON -> descriptions.

The files are the answers of `aws ec2 describe-network-interfaces`, `describe-subnets` and
`describe-instances`, and AWS's ip-ranges.json.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from flowconv.errors import UsageError, quote

# Of a zone such as us-east-1a or us-west-2-lax-1a.
_REGION = re.compile(r"[a-z-]+-[0-9]+")


@dataclass(slots=True, kw_only=True)
class Interface:
    """A network interface, as a file describes it.

    Attributes:
        name: What people call it; set last, of what is known.
        tag: Its own tag `Name`.
        addresses: Its addresses and delegated prefixes, sorted.
        attached: When it was attached to what it is attached to.
        is_whole: All of it is known: describe-instances leaves out a part.
    """

    interface_id: str
    name: str | None = None
    tag: str | None = None
    type: str | None = None
    description: str | None = None
    instance_id: str | None = None
    instance_name: str | None = None
    subnet_id: str | None = None
    vpc_id: str | None = None
    availability_zone: str | None = None
    account_id: str | None = None
    region: str | None = None
    addresses: list[str] = field(default_factory=list)
    attached: datetime | None = None
    is_whole: bool = True


@dataclass(slots=True, kw_only=True)
class Network:
    """A subnet, or a network of AWS's own.

    Attributes:
        network: Such as `10.0.0.0/16`.
        subnet_id: None for AWS's own.
        service: AWS's name of the services there; None for a subnet.
    """

    network: str
    name: str | None = None
    subnet_id: str | None = None
    vpc_id: str | None = None
    availability_zone: str | None = None
    account_id: str | None = None
    region: str | None = None
    service: str | None = None


@dataclass(slots=True, kw_only=True)
class Descriptions:
    """All that some files describe.

    Attributes:
        interfaces: By their ids.
        networks: By network and VPC.
        interfaces_of: Accounts and regions of which all interfaces are here.
        networks_of: The same of subnets; `("", "")` are AWS's own networks.
    """

    interfaces: dict[str, Interface] = field(default_factory=dict)
    networks: dict[tuple[str, str | None], Network] = field(default_factory=dict)
    interfaces_of: set[tuple[str | None, str | None]] = field(default_factory=set)
    networks_of: set[tuple[str | None, str | None]] = field(default_factory=set)


def read_descriptions(paths: Iterable[str]) -> Descriptions:
    """Read files; their order does not matter.

    Raises:
        UsageError: A file cannot be read, is not complete, or is something else.
    """
    found = Descriptions()
    instances: list[Interface] = []
    for path in paths:
        document = _load(path)
        read = _reader(document, path)
        if document.get("NextToken"):
            raise UsageError(
                "it has a NextToken: more pages follow. Give the whole answer, without "
                "--max-items and --no-paginate.",
                uri=path,
            )
        read(document, path, found, instances)
    for described in instances:
        known = found.interfaces.setdefault(described.interface_id, described)
        known.instance_name = described.instance_name
    return found


def _reader(document: Mapping[str, Any], path: str) -> "_Reader":
    for key, read in _READERS.items():
        if isinstance(document.get(key), list):
            return read
    keys = ", ".join(map(quote, list(document)[:3])) or "no keys"
    raise UsageError(
        f"found JSON with {keys}; expected {', '.join(_READERS)}. Give the whole answer of aws ec2 "
        "describe-network-interfaces, describe-subnets or describe-instances, without --query, or "
        "AWS's ip-ranges.json.",
        uri=path,
    )


def _load(path: str) -> dict[str, Any]:
    try:
        written = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a valid path"
        raise UsageError(f"the file cannot be read ({reason}).", uri=path) from None
    try:
        document = json.loads(written)
    except RecursionError:
        raise UsageError("its JSON is nested too deeply.", uri=path) from None
    except ValueError as error:
        raise UsageError(
            f"it is not JSON, or ends early ({error}). Write it again: aws ec2 describe-… "
            "--output json.",
            uri=path,
        ) from None
    if not isinstance(document, dict):
        raise UsageError(
            f"found a JSON {type(document).__name__}, expected an object. Give the whole answer, "
            "without --query.",
            uri=path,
        )
    return document


def _each(
    items: Iterable[Any], name: str, path: str, read: Callable[[Mapping[str, Any]], Any]
) -> Iterator[Any]:
    """Read each item of a list.

    Raises:
        UsageError: One is not what AWS writes.
    """
    for index, item in enumerate(items):
        try:
            yield read(item)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(
                f"{name}[{index}] is not as AWS writes it ({detail}). Give the whole answer, "
                "without --query.",
                uri=path,
            ) from None


def _read_interfaces(
    document: Mapping[str, Any], path: str, found: Descriptions, _: list[Interface]
) -> None:
    items = document["NetworkInterfaces"]
    for interface in _each(items, "NetworkInterfaces", path, _interface):
        found.interfaces[interface.interface_id] = interface
        found.interfaces_of.add((interface.account_id, interface.region))


def _read_instances(
    document: Mapping[str, Any], path: str, _: Descriptions, instances: list[Interface]
) -> None:
    for reserved in _each(
        document["Reservations"], "Reservations", path, lambda item: item["Instances"]
    ):
        for interfaces in _each(reserved, "Instances", path, _interfaces_of_instance):
            instances += interfaces


def _read_subnets(
    document: Mapping[str, Any], path: str, found: Descriptions, _: list[Interface]
) -> None:
    for subnets in _each(document["Subnets"], "Subnets", path, _subnets):
        for subnet in subnets:
            found.networks[subnet.network, subnet.vpc_id] = subnet
            found.networks_of.add((subnet.account_id, subnet.region))


def _read_ranges(
    document: Mapping[str, Any], path: str, found: Descriptions, _: list[Interface]
) -> None:
    services: dict[str, dict[str, str]] = {}
    for key, prefix in (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix")):

        def read(item: Mapping[str, Any], prefix: str = prefix) -> tuple[str, str, str]:
            return _network(item[prefix]), _text(item["service"]), _text(item["region"])

        for network, service, region in _each(document.get(key, ()), key, path, read):
            services.setdefault(network, {})[service] = region
    for network, of_network in services.items():
        # All are AMAZON's, too; that alone is for what has no name of its own.
        named = sorted(of_network.keys() - {"AMAZON"}) or ["AMAZON"]
        region = of_network[named[0]]
        service = ", ".join(named)
        found.networks[network, None] = Network(
            network=network, name=f"{service} {region}", service=service, region=region
        )
    found.networks_of.add(("", ""))


_Reader = Callable[[Mapping[str, Any], str, Descriptions, list[Interface]], None]

_READERS: Mapping[str, _Reader] = {
    "NetworkInterfaces": _read_interfaces,
    "Subnets": _read_subnets,
    "Reservations": _read_instances,
    "prefixes": _read_ranges,
}


def _interface(item: Mapping[str, Any]) -> Interface:
    attachment = item.get("Attachment") or {}
    zone = _optional(item.get("AvailabilityZone"))
    return Interface(
        interface_id=_text(item["NetworkInterfaceId"]),
        tag=_tag(item.get("TagSet") or item.get("Tags")),
        type=_optional(item.get("InterfaceType")),
        description=_optional(item.get("Description")),
        instance_id=_optional(attachment.get("InstanceId")),
        subnet_id=_optional(item.get("SubnetId")),
        vpc_id=_optional(item.get("VpcId")),
        availability_zone=zone,
        account_id=_optional(item.get("OwnerId")),
        region=_region(zone),
        addresses=_addresses(item),
        attached=_time(attachment.get("AttachTime")),
    )


def _interfaces_of_instance(instance: Mapping[str, Any]) -> list[Interface]:
    interfaces = [_interface(item) for item in instance.get("NetworkInterfaces") or ()]
    zone = _optional((instance.get("Placement") or {}).get("AvailabilityZone"))
    for interface in interfaces:
        interface.instance_id = _text(instance["InstanceId"])
        interface.instance_name = _tag(instance.get("Tags"))
        interface.availability_zone, interface.region = zone, _region(zone)
        interface.is_whole = False
    return interfaces


def _subnets(item: Mapping[str, Any]) -> list[Network]:
    zone = _optional(item.get("AvailabilityZone"))
    six = item.get("Ipv6CidrBlockAssociationSet") or ()
    # Of a subnet for IPv6 alone there is no CidrBlock.
    networks = [item.get("CidrBlock"), *(block["Ipv6CidrBlock"] for block in six)]
    return [
        Network(
            network=_network(network),
            name=_tag(item.get("Tags")) or _text(item["SubnetId"]),
            subnet_id=_text(item["SubnetId"]),
            vpc_id=_text(item["VpcId"]),
            availability_zone=zone,
            account_id=_optional(item.get("OwnerId")),
            region=_region(zone),
        )
        for network in networks
        if network
    ]


def _addresses(item: Mapping[str, Any]) -> list[str]:
    found = [item.get("PrivateIpAddress"), (item.get("Association") or {}).get("PublicIp")]
    for private in item.get("PrivateIpAddresses") or ():
        public = (private.get("Association") or {}).get("PublicIp")
        found += [private.get("PrivateIpAddress"), public]
    found += [six["Ipv6Address"] for six in item.get("Ipv6Addresses") or ()]
    for version in ("Ipv4Prefix", "Ipv6Prefix"):
        found += [prefix[version] for prefix in item.get(f"{version}es") or ()]
    texts = {_network(address) for address in found if address}
    return sorted(text.removesuffix("/32").removesuffix("/128") for text in texts)


def _network(text: Any) -> str:
    return str(ip_network(_text(text)))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a value of type {type(value).__name__} in place of text")
    return value


def _optional(value: Any) -> str | None:
    return _text(value) if value not in (None, "") else None


def _tag(tags: Any) -> str | None:
    named = [tag["Value"] for tag in tags or () if tag["Key"] == "Name"]
    return _optional(named[0]) if named else None


def _time(text: Any) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(_text(text))
    if time.tzinfo is None:
        raise ValueError(f"{quote(text)} has no time zone")
    return time


def _region(zone: str | None) -> str | None:
    match = _REGION.match(zone or "")
    return match[0] if match else None
