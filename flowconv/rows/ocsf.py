"""Rows of a table -> events of OCSF's class Network Activity; docs/ocsf.md has the mapping.

It follows https://github.com/ocsf/examples (AWS VPC Flow Logs, OCSF 1.1), as Security Lake's own
tables do. What has no place in the class is in `unmapped`, by the name of its column.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.fields import Table
from flowconv.rows.ocsf_schema import OCSF_SCHEMA, TEXTS
from flowconv.rows.partitioning import indices
from flowconv.rows.schema import INT32, INT64, TEXT, TIMESTAMP

# An array; the stubs of Arrow's functions know no nested ones.
Column: TypeAlias = Any

_CLASS = 4001
_OTHER = 99
_PRODUCTS = MappingProxyType({Table.VPC: "Amazon VPC", Table.TGW: "AWS Transit Gateway"})
_PROFILES = ["cloud", "security_control", "datetime"]

# What AWS writes -> the number and name that OCSF has for it; None is for no value.
_Meanings = Mapping[str | None, tuple[int, str]]
_ACTIVITIES: _Meanings = MappingProxyType(
    {"ACCEPT": (6, "Traffic"), "REJECT": (5, "Refuse"), None: (0, "Unknown")}
)
_ACTIONS: _Meanings = MappingProxyType(
    {"ACCEPT": (1, "Allowed"), "REJECT": (2, "Denied"), None: (0, "Unknown")}
)
_DISPOSITIONS: _Meanings = MappingProxyType(
    {"ACCEPT": (1, "Allowed"), "REJECT": (2, "Blocked"), None: (0, "Unknown")}
)
_VERSIONS: _Meanings = MappingProxyType(
    {
        "IPv4": (4, "Internet Protocol version 4 (IPv4)"),
        "IPv6": (6, "Internet Protocol version 6 (IPv6)"),
        None: (0, "Unknown"),
    }
)
_DIRECTIONS: _Meanings = MappingProxyType(
    {"ingress": (1, "Inbound"), "egress": (2, "Outbound"), None: (0, "Unknown")}
)
# By AWS's traffic-path; Security Lake says "other" where there is none, as for ingress.
_BOUNDARIES: _Meanings = MappingProxyType(
    {
        "1": (4, "Same VPC"),
        "2": (5, "Internet/VPC Gateway"),
        "3": (6, "Virtual Private Gateway"),
        "4": (7, "Intra-region VPC"),
        "5": (8, "Inter-region VPC"),
        "6": (9, "Local Gateway"),
        "7": (10, "Gateway VPC"),
        "8": (11, "Internet Gateway"),
        None: (_OTHER, "-"),
    }
)

# Records of these are about the log, not about traffic.
_WITHOUT_TRAFFIC = pa.array(["NODATA", "SKIPDATA"])

# EFA's addresses. An IPv6 address of six groups is not one.
_MAC = "^(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"

# Attributes of an endpoint -> the columns that describe a VPC's side of the record.
_OWN_SIDE = MappingProxyType(
    {
        "interface_uid": "interface_id",
        "vpc_uid": "vpc_id",
        "subnet_uid": "subnet_id",
        "instance_uid": "instance_id",
    }
)


def to_ocsf(rows: pa.Table, table: Table, account: str | None, region: str | None) -> pa.Table:
    """Return the events of a table's rows, in their order.

    Args:
        rows: Some thousand rows of the table. Texts may be dictionaries, and columns without
            values of Arrow's type null.
        table: The table.
        account: The account of rows that have none.
        region: The region of rows that have none.

    Returns:
        The columns of `OCSF_SCHEMA`.
    """
    flows = _Flows(rows)
    # Both are taken in any case, so that neither is left to `unmapped`.
    start, end = flows.times("start"), flows.times("end")
    time = pc.coalesce(start, end)
    action, status = flows.texts("action"), flows.texts("log_status")
    version = flows.texts("version")
    cloud = {
        "provider": flows.constant("AWS"),
        "account": _struct(uid=_or_else(flows.texts("account_id"), account)),
        "region": _or_else(flows.texts("region"), region),
        "zone": flows.texts("az_id"),
    }
    activity_id, activity = _coded(_activity(action, status), _ACTIVITIES)
    action_id, action_name = _coded(action, _ACTIONS)
    disposition_id, disposition = _coded(action, _DISPOSITIONS)
    source, destination = _endpoints(flows, table)
    columns: dict[str, Column] = {
        **_time_columns("time", time),
        **_time_columns("start_time", start),
        **_time_columns("end_time", end),
        "category_uid": flows.constant(4),
        "category_name": flows.constant("Network Activity"),
        "class_uid": flows.constant(_CLASS),
        "class_name": flows.constant("Network Activity"),
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": pc.add(activity_id.cast(INT64), _CLASS * 100),
        "type_name": pc.binary_join_element_wise("Network Activity", activity, ": "),
        "severity_id": flows.constant(1),
        "severity": flows.constant("Informational"),
        "status_code": status,
        "status_detail": flows.texts("reject_reason"),
        "action_id": action_id,
        "action": action_name,
        "disposition_id": disposition_id,
        "disposition": disposition,
        "metadata": _metadata(flows, table, version),
        "cloud": _struct(**cloud),
        "src_endpoint": source,
        "dst_endpoint": destination,
        "connection_info": _connection(flows),
        "traffic": _struct(bytes=flows.numbers("bytes"), packets=flows.numbers("packets")),
    }
    columns["unmapped"] = flows.unmapped()
    return pa.table(columns).select(OCSF_SCHEMA.names).cast(OCSF_SCHEMA)


class _Flows:
    """Rows of a table, column by column, and which columns were taken."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._rest = {*rows.column_names}
        self._left: dict[str, Column] = {}

    def __len__(self) -> int:
        return self._rows.num_rows

    def texts(self, name: str) -> Column:
        """Take a column as texts."""
        return self._taken(name, TEXT)

    def numbers(self, name: str) -> Column:
        """Take a column of numbers."""
        return self._taken(name, INT64)

    def times(self, name: str) -> Column:
        """Take a column of times."""
        return self._taken(name, TIMESTAMP)

    def give_back(self, name: str, values: Column) -> None:
        """Leave what is left of a column to `unmapped`."""
        self._left[name] = values

    def constant(self, value: Any) -> Column:
        """Return a value for each row."""
        kind = TEXT if isinstance(value, str) else INT32 if isinstance(value, int) else TEXTS
        constant: Any = pa.scalar(value, kind)
        return pa.repeat(constant, self._rows.num_rows)

    def unmapped(self) -> Column:
        """Return the values that nothing has taken, by their columns' names; call it last."""
        left = {
            name: self._left[name] if name in self._left else _plain(self._rows[name], TEXT)
            for name in self._rows.column_names
            if name in self._rest or name in self._left
        }
        left = {name: values for name, values in left.items() if values.null_count < len(values)}
        places = [np.flatnonzero(values.is_valid()) for values in left.values()]
        rows = np.concatenate([np.empty(0, np.int64), *places])
        # A row's values stand together, in the order of the columns.
        order = indices(np.argsort(rows, kind="stable"))
        sizes = [len(of_column) for of_column in places]
        names = np.repeat(np.arange(len(left)), sizes)
        keys = pa.array([*left], TEXT).take(indices(names)).take(order)
        values = [text.drop_null() for text in left.values()]
        items = pa.concat_arrays([pa.array([], TEXT), *values]).take(order)
        counts = np.bincount(rows, minlength=self._rows.num_rows)
        return pa.MapArray.from_arrays(_offsets(counts), keys, items)

    def _taken(self, name: str, kind: pa.DataType) -> Column:
        self._rest.discard(name)
        if name in self._rows.column_names:
            return _plain(self._rows[name], kind)
        return pa.nulls(len(self)).cast(kind)


def _plain(column: Column, kind: pa.DataType) -> Column:
    values = column.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(kind)


def _struct(**columns: Column) -> Column:
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def _or_else(texts: Column, text: str | None) -> Column:
    return texts if text is None else pc.fill_null(texts, text)


def _surely(holds: Column) -> Column:
    """Return truth values without nulls, which count as false."""
    return pc.coalesce(holds, pa.scalar(value=False))


def _coded(texts: Column, meanings: _Meanings) -> tuple[Column, Column]:
    """Return OCSF's numbers and names of texts; any other text is OCSF's `Other`, and its name."""
    known = [*meanings]
    # Null is found, too.
    places: Column = pc.index_in(texts, pa.array(known, TEXT))
    numbers = pa.array([meanings[text][0] for text in known], INT32).take(places)
    names = pa.array([meanings[text][1] for text in known], TEXT).take(places)
    return pc.coalesce(numbers, pa.scalar(_OTHER, INT32)), pc.coalesce(names, texts)


def _activity(action: Column, status: Column) -> Column:
    """Return the action; traffic without one, as in logs without this field, counts as accepted."""
    has_traffic = pc.invert(pc.is_in(status, _WITHOUT_TRAFFIC))
    accepted = pc.if_else(has_traffic, pa.scalar("ACCEPT", TEXT), pa.scalar(None, TEXT))
    return pc.coalesce(action, accepted)


def _time_columns(name: str, times: Column) -> dict[str, Column]:
    """Return times in milliseconds since 1970, and as they are."""
    milliseconds = pc.divide(times.cast(INT64), 1000)
    return {name: milliseconds, f"{name}_dt": times}


def _metadata(flows: _Flows, table: Table, version: Column) -> Column:
    product = _struct(
        name=flows.constant(_PRODUCTS[table]),
        vendor_name=flows.constant("AWS"),
        feature=_struct(name=flows.constant("Flowlogs")),
        version=version,
    )
    return _struct(
        version=flows.constant("1.1.0"), product=product, profiles=flows.constant(_PROFILES)
    )


def _connection(flows: _Flows) -> Column:
    version_id, version = _coded(flows.texts("type"), _VERSIONS)
    direction_id, direction = _coded(flows.texts("flow_direction"), _DIRECTIONS)
    boundary_id, boundary = _coded(flows.texts("traffic_path"), _BOUNDARIES)
    return _struct(
        protocol_num=flows.numbers("protocol"),
        protocol_ver_id=version_id,
        protocol_ver=version,
        tcp_flags=flows.numbers("tcp_flags"),
        direction_id=direction_id,
        direction=direction,
        boundary_id=boundary_id,
        boundary=boundary,
    )


def _endpoints(flows: _Flows, table: Table) -> tuple[Column, Column]:
    """Return the source and the destination."""
    if table is Table.TGW:
        sides = [_tgw_side(flows, "src"), _tgw_side(flows, "dst")]
    else:
        sides = _vpc_sides(flows)
    source, destination = (
        _struct(**_addresses(flows, which), **side)
        for which, side in zip(("src", "dst"), sides, strict=True)
    )
    return source, destination


def _addresses(flows: _Flows, which: str) -> dict[str, Column]:
    address, packet = flows.texts(f"{which}addr"), flows.texts(f"pkt_{which}addr")
    first = pc.coalesce(packet, address)
    is_mac = _surely(pc.match_substring_regex(first, _MAC))
    nothing = pa.scalar(None, TEXT)
    passed = _surely(pc.not_equal(packet, address))
    return {
        "ip": pc.if_else(is_mac, nothing, first),
        "mac": pc.if_else(is_mac, first, nothing),
        "port": flows.numbers(f"{which}port"),
        "intermediate_ips": _lists(address, passed),
        "svc_name": flows.texts(f"pkt_{which}_aws_service"),
    }


def _lists(texts: Column, chosen: Column) -> Column:
    """Return a list of each chosen text, and null for the others."""
    offsets = _offsets(np.asarray(chosen))
    is_null: Any = pc.invert(chosen)
    return pa.ListArray.from_arrays(offsets, texts.filter(chosen), type=TEXTS, mask=is_null)


def _offsets(counts: Any) -> Column:
    """Return where the values of each row begin, if they have so many."""
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def _vpc_sides(flows: _Flows) -> list[dict[str, Column]]:
    """Return what describes the interface's side: the destination's or, of egress, the source's."""
    direction = flows.texts("flow_direction")
    nothing = pa.scalar(None, TEXT)
    is_source = _surely(pc.equal(direction, pa.scalar("egress")))
    is_destination = _surely(pc.equal(direction, pa.scalar("ingress")))
    source, destination = {}, {}
    for attribute, column in _OWN_SIDE.items():
        texts = flows.texts(column)
        source[attribute] = pc.if_else(is_source, texts, nothing)
        destination[attribute] = pc.if_else(is_destination, texts, nothing)
        flows.give_back(column, pc.if_else(pc.or_(is_source, is_destination), nothing, texts))
    return [source, destination]


def _tgw_side(flows: _Flows, which: str) -> dict[str, Column]:
    return {
        "interface_uid": flows.texts(f"tgw_{which}_eni"),
        "vpc_uid": flows.texts(f"tgw_{which}_vpc_id"),
        "subnet_uid": flows.texts(f"tgw_{which}_subnet_id"),
        "instance_uid": pa.nulls(len(flows), TEXT),
    }
