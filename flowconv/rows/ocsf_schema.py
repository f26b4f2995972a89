"""The columns of OCSF 1.1's class Network Activity, as far as flow logs fill them.

Names, types and nesting are those of https://schema.ocsf.io/1.1.0/classes/network_activity with the
profiles cloud, security_control and datetime. `unmapped` is a map, as in the tables of Security
Lake.
"""

import pyarrow as pa

from flowconv.rows.schema import INT32, INT64, TEXT, TIMESTAMP

# Parquet names the values of a list so.
TEXTS = pa.list_(pa.field("element", TEXT))

_ENDPOINT = pa.struct(
    [
        ("ip", TEXT),
        ("mac", TEXT),
        ("port", INT32),
        ("intermediate_ips", TEXTS),
        ("svc_name", TEXT),
        ("interface_uid", TEXT),
        ("vpc_uid", TEXT),
        ("subnet_uid", TEXT),
        ("instance_uid", TEXT),
    ]
)
_FEATURE = pa.struct([("name", TEXT)])
_PRODUCT = pa.struct(
    [("name", TEXT), ("vendor_name", TEXT), ("feature", _FEATURE), ("version", TEXT)]
)
_METADATA = pa.struct([("version", TEXT), ("product", _PRODUCT), ("profiles", TEXTS)])
_CLOUD = pa.struct(
    [
        ("provider", TEXT),
        ("account", pa.struct([("uid", TEXT)])),
        ("region", TEXT),
        ("zone", TEXT),
    ]
)
_CONNECTION = pa.struct(
    [
        ("protocol_num", INT32),
        ("protocol_ver_id", INT32),
        ("protocol_ver", TEXT),
        ("tcp_flags", INT32),
        ("direction_id", INT32),
        ("direction", TEXT),
        ("boundary_id", INT32),
        ("boundary", TEXT),
    ]
)

OCSF_SCHEMA: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]
        ("time", INT64),
        ("time_dt", TIMESTAMP),
        ("start_time", INT64),
        ("start_time_dt", TIMESTAMP),
        ("end_time", INT64),
        ("end_time_dt", TIMESTAMP),
        ("category_uid", INT32),
        ("category_name", TEXT),
        ("class_uid", INT32),
        ("class_name", TEXT),
        ("activity_id", INT32),
        ("activity_name", TEXT),
        ("type_uid", INT64),
        ("type_name", TEXT),
        ("severity_id", INT32),
        ("severity", TEXT),
        ("status_code", TEXT),
        ("status_detail", TEXT),
        ("action_id", INT32),
        ("action", TEXT),
        ("disposition_id", INT32),
        ("disposition", TEXT),
        ("metadata", _METADATA),
        ("cloud", _CLOUD),
        ("src_endpoint", _ENDPOINT),
        ("dst_endpoint", _ENDPOINT),
        ("connection_info", _CONNECTION),
        ("traffic", pa.struct([("bytes", INT64), ("packets", INT64)])),
        ("unmapped", pa.map_(TEXT, TEXT)),
    ]
)
