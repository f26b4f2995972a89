"""The oracle of OCSF: a row of the flat table -> its event, one attribute at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]

ACTIVITIES = {0: "Unknown", 5: "Refuse", 6: "Traffic"}
BOUNDARIES = {
    4: "Same VPC",
    5: "Internet/VPC Gateway",
    6: "Virtual Private Gateway",
    7: "Intra-region VPC",
    8: "Inter-region VPC",
    9: "Local Gateway",
    10: "Gateway VPC",
    11: "Internet Gateway",
}
MAPPED = [
    "version",
    "account_id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log_status",
    "tcp_flags",
    "type",
    "pkt_srcaddr",
    "pkt_dstaddr",
    "region",
    "az_id",
    "pkt_src_aws_service",
    "pkt_dst_aws_service",
    "flow_direction",
    "traffic_path",
    "reject_reason",
    "tgw_src_eni",
    "tgw_dst_eni",
    "tgw_src_vpc_id",
    "tgw_dst_vpc_id",
    "tgw_src_subnet_id",
    "tgw_dst_subnet_id",
]
OWN = {
    "interface_uid": "interface_id",
    "vpc_uid": "vpc_id",
    "subnet_uid": "subnet_id",
    "instance_uid": "instance_id",
}


def event(row: Values, account: str | None = None, region: str | None = None) -> dict[str, Any]:
    """Return the event of a row; `account` and `region` are those of its object."""
    activity_id, activity = activity_of(row)
    start, end = row["start"], row["end"]
    time = start if start is not None else end
    action = row.get("action")
    ours = {"ACCEPT": (1, "Allowed", 1, "Allowed"), "REJECT": (2, "Denied", 2, "Blocked")}
    unknown = (0, "Unknown", 0, "Unknown")
    other = (99, action, 99, action)
    action_id, action_name, disposition_id, disposition = (
        unknown if action is None else ours.get(action, other)
    )
    result: dict[str, Any] = {}
    for name, moment in (("time", time), ("start_time", start), ("end_time", end)):
        result[name] = None if moment is None else round(moment.timestamp()) * 1000
        result[f"{name}_dt"] = moment
    version = row["version"]
    product = "AWS Transit Gateway" if "tgw_id" in row else "Amazon VPC"
    return result | {
        "category_uid": 4,
        "category_name": "Network Activity",
        "class_uid": 4001,
        "class_name": "Network Activity",
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": 400100 + activity_id,
        "type_name": f"Network Activity: {activity}",
        "severity_id": 1,
        "severity": "Informational",
        "status_code": row["log_status"],
        "status_detail": row.get("reject_reason"),
        "action_id": action_id,
        "action": action_name,
        "disposition_id": disposition_id,
        "disposition": disposition,
        "metadata": {
            "version": "1.1.0",
            "product": {
                "name": product,
                "vendor_name": "AWS",
                "feature": {"name": "Flowlogs"},
                "version": None if version is None else str(version),
            },
            "profiles": ["cloud", "security_control", "datetime"],
        },
        "cloud": {
            "provider": "AWS",
            "account": {"uid": row["account_id"] or account},
            "region": row["region"] or region,
            "zone": row.get("az_id"),
        },
        "src_endpoint": endpoint(row, "src", "egress"),
        "dst_endpoint": endpoint(row, "dst", "ingress"),
        "connection_info": connection(row),
        "traffic": {"bytes": row["bytes"], "packets": row["packets"]},
        "unmapped": unmapped(row),
    }


def activity_of(row: Values) -> tuple[int, str]:
    action = row.get("action")
    if action is None:
        number = 0 if row["log_status"] in ("NODATA", "SKIPDATA") else 6
        return number, ACTIVITIES[number]
    if action in ("ACCEPT", "REJECT"):
        number = 6 if action == "ACCEPT" else 5
        return number, ACTIVITIES[number]
    return 99, action


def endpoint(row: Values, which: str, own: str) -> dict[str, Any]:
    address, packet = row[f"{which}addr"], row.get(f"pkt_{which}addr")
    first = address if packet is None else packet
    is_mac = first is not None and re.fullmatch("([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", first)
    passed = address is not None and packet is not None and address != packet
    result = {
        "ip": None if is_mac else first,
        "mac": first if is_mac else None,
        "port": row[f"{which}port"],
        "intermediate_ips": [address] if passed else None,
        "svc_name": row[f"pkt_{which}_aws_service"],
    }
    if "tgw_id" in row:
        names = ("eni", "vpc_id", "subnet_id")
        uids = [row[f"tgw_{which}_{name}"] for name in names]
        return result | dict(zip(OWN, [*uids, None], strict=True))
    is_own = row["flow_direction"] == own
    return result | {name: row[column] if is_own else None for name, column in OWN.items()}


def connection(row: Values) -> dict[str, Any]:
    kind, direction, path = row["type"], row["flow_direction"], row.get("traffic_path")
    versions = {
        "IPv4": (4, "Internet Protocol version 4 (IPv4)"),
        "IPv6": (6, "Internet Protocol version 6 (IPv6)"),
        None: (0, "Unknown"),
    }
    directions = {"ingress": (1, "Inbound"), "egress": (2, "Outbound"), None: (0, "Unknown")}
    boundary = (99, "-")
    if path is not None:
        boundary = (path + 3, BOUNDARIES[path + 3]) if 1 <= path <= 8 else (99, str(path))
    version_id, version = versions.get(kind, (99, kind))
    direction_id, direction_name = directions.get(direction, (99, direction))
    return {
        "protocol_num": row["protocol"],
        "protocol_ver_id": version_id,
        "protocol_ver": version,
        "tcp_flags": row["tcp_flags"],
        "direction_id": direction_id,
        "direction": direction_name,
        "boundary_id": boundary[0],
        "boundary": boundary[1],
    }


def unmapped(row: Values) -> dict[str, str]:
    has_side = row["flow_direction"] in ("ingress", "egress")
    left_out = {*MAPPED, *(OWN.values() if has_side else ())}
    return {
        name: str(value)
        for name, value in row.items()
        if value is not None and name not in left_out
    }
