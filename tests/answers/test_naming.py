"""Names of interfaces and addresses, as they were at each record's time."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv import ConvertOptions, UsageError, convert, expire, names, query, scan, status, verify
from flowconv.answers.addresses import Addresses
from flowconv.answers.name_columns import _Tree
from flowconv.errors import LakeError
from flowconv.storage.local import LocalStorage
from support.commands import USAGE, run
from support.lakes import Key, write_objects
from support.s3_servers import S3Server

FIELDS = "account-id interface-id vpc-id srcaddr dstaddr bytes start end action"
MONDAY, TUESDAY, WEDNESDAY = 1768176000, 1768262400, 1768348800  # 12 January 2026


def interface(id_: str, address: str, vpc: str = "vpc-1", **values: Any) -> dict[str, Any]:
    return {
        "NetworkInterfaceId": id_,
        "OwnerId": "012345678901",
        "AvailabilityZone": "us-east-1a",
        "VpcId": vpc,
        "PrivateIpAddresses": [{"PrivateIpAddress": address}],
        **values,
    }


def tagged(name: str) -> dict[str, Any]:
    return {"TagSet": [{"Key": "Team", "Value": "x"}, {"Key": "Name", "Value": name}]}


WEB = interface(
    "eni-web",
    "10.0.1.5",
    Association={"PublicIp": "198.51.100.1"},
    Ipv6Addresses=[{"Ipv6Address": "2600:1f18::5"}],
    Attachment={"InstanceId": "i-web", "AttachTime": "2025-12-01T00:00:00+00:00"},
)
BALANCER = interface("eni-lb", "10.0.2.9", Description="ELB app/shop/1")
OTHER = interface("eni-other", "10.0.1.5", "vpc-2", **tagged("other"))
POD = interface("eni-pod", "10.0.3.4", Ipv4Prefixes=[{"Ipv4Prefix": "10.0.3.16/28"}]) | tagged(
    "pods"
)
INSTANCES = {
    "Reservations": [
        {
            "Instances": [
                {
                    "InstanceId": "i-web",
                    "Placement": {"AvailabilityZone": "us-east-1a"},
                    "Tags": [{"Key": "Name", "Value": "web-1"}],
                    "NetworkInterfaces": [WEB],
                }
            ]
        }
    ]
}
SUBNETS = {
    "Subnets": [
        {
            "SubnetId": "subnet-1",
            "VpcId": "vpc-1",
            "OwnerId": "012345678901",
            "CidrBlock": "10.0.1.0/24",
            "AvailabilityZone": "us-east-1a",
            "Tags": [{"Key": "Name", "Value": "front"}],
        }
    ]
}
RANGES = {
    "syncToken": "1",
    "prefixes": [
        {"ip_prefix": "52.216.0.0/15", "region": "us-east-1", "service": service}
        for service in ("AMAZON", "S3")
    ]
    + [{"ip_prefix": "52.0.0.0/8", "region": "GLOBAL", "service": "AMAZON"}],
    "ipv6_prefixes": [
        {"ipv6_prefix": "2600:1ff8::/40", "region": "us-east-1", "service": "DYNAMODB"}
    ],
}
INTERFACES = {"NetworkInterfaces": [WEB, BALANCER, OTHER, POD]}


def record(start: int, interface_id: str, source: str, destination: str, vpc: str = "vpc-1") -> str:
    ends = f"{source} {destination} 100 {start} {start + 60} ACCEPT"
    return f"012345678901 {interface_id} {vpc} {ends}"


def make_lake(folder: Path, *records: str, **options: Any) -> str:
    write_objects(folder / "logs", {Key("a.log"): "\n".join([FIELDS, *records, ""]).encode()})
    convert(str(folder / "logs"), str(folder / "lake"), ConvertOptions(**options))
    return str(folder / "lake")


def files(folder: Path, *documents: Any) -> list[Path]:
    paths = []
    for document in documents:
        paths.append(folder / f"{len(list(folder.iterdir()))}.json")
        paths[-1].write_text(json.dumps(document))
    return paths


def named(lake: str, column: str, **options: Any) -> dict[str, str | None]:
    sql = f"SELECT start, {column}, {column.removesuffix('_id')}_name AS name FROM vpc"
    rows = query(lake, sql, names=True, **options).sort("start").collect()
    return dict(rows.select(column, "name").rows())


@pytest.mark.parametrize("time_type", ["timestamp", "epoch"])
def test_what_addresses_are_called(tmp_path: Path, time_type: Any) -> None:
    addresses = {
        "10.0.1.5": "web-1",
        "198.51.100.1": "web-1",
        "2600:1f18::5": "web-1",
        "10.0.2.9": "ELB app/shop/1",
        "10.0.3.20": "pods",
        "10.0.1.77": "front",
        "10.0.9.9": None,
        "52.216.3.4": "S3 us-east-1",
        "52.1.1.1": "AMAZON GLOBAL",
        "2600:1ff8::1": "DYNAMODB us-east-1",
        "203.0.113.5": None,
        "-": None,
    }
    records = [record(MONDAY, "eni-web", "10.0.1.5", address) for address in addresses]
    lake = make_lake(tmp_path, *records, time_type=time_type)
    before = scan(lake).collect()
    report = names(lake, files(tmp_path, INSTANCES, SUBNETS, RANGES, INTERFACES))
    assert (report.interfaces, report.networks, report.began, report.ended) == (4, 4, 8, 0)
    assert named(lake, "dstaddr") == {(None if a == "-" else a): n for a, n in addresses.items()}
    assert named(lake, "interface_id") == {"eni-web": "web-1"}
    # Nothing else knows of them.
    assert scan(lake).collect().equals(before)
    assert verify(lake).complete
    assert status(lake).files == 1
    expire(lake, "2026-02-01")
    assert named(lake, "dstaddr") == {}
    assert query(lake, "SELECT * FROM addresses").collect().height == 7


def test_an_address_is_that_of_its_own_vpc(tmp_path: Path) -> None:
    lake = make_lake(
        tmp_path,
        *(
            record(MONDAY + second, "eni-x", "10.0.1.5", "10.0.2.9", vpc)
            for second, vpc in enumerate(("vpc-1", "vpc-2", "vpc-unknown", "-"))
        ),
    )
    names(lake, files(tmp_path, INTERFACES, INSTANCES))
    sql = "SELECT start, srcaddr_name, dstaddr_name FROM vpc"
    rows = query(lake, sql, names=True).sort("start").drop("start").collect().rows()
    balancer = "ELB app/shop/1"
    # Peered VPCs have different addresses. In a VPC that no file describes, all may be others; if
    # the record does not name it, an address that two VPCs have may be either.
    assert rows == [("web-1", balancer), ("other", balancer), (None, None), (None, balancer)]


def test_names_are_those_of_the_time(tmp_path: Path) -> None:
    times = (MONDAY, TUESDAY, WEDNESDAY)
    lake = make_lake(
        tmp_path, *(record(time, "eni-1", "10.0.1.5", f"10.9.9.{time % 7}") for time in times)
    )
    first = interface("eni-1", "10.0.1.5", **tagged("old"))
    second = interface("eni-1", "10.0.1.5", **tagged("new"))
    names(lake, files(tmp_path, {"NetworkInterfaces": [first]}), time="2026-01-12T06:00")
    report = names(lake, files(tmp_path, {"NetworkInterfaces": [second]}), time="2026-01-12T12:00")
    assert (report.began, report.ended, report.versions) == (1, 1, 2)
    gone = {"NetworkInterfaces": [interface("eni-2", "10.0.7.7")]}
    names(lake, files(tmp_path, gone), time=datetime(2026, 1, 13, 12, tzinfo=UTC))
    sql = "SELECT start, interface_name, srcaddr_name FROM vpc ORDER BY start"
    rows = query(lake, sql, names=True).drop("start").collect().rows()
    assert rows == [("old", "old"), ("new", "new"), (None, None)]
    sql = """SELECT DISTINCT i.name AS name FROM vpc AS f JOIN interfaces AS i
        ON f.interface_id = i.interface_id WHERE f.start >= i.valid_from AND f.start < i.valid_to"""
    assert sorted(query(lake, sql).collect()["name"]) == ["new", "old"]
    # The same again changes nothing.
    again = names(lake, files(tmp_path, gone))
    assert (again.began, again.ended, again.versions) == (0, 0, 3)


def test_an_interface_that_moves_has_its_instance_since_it_was_attached(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, record(MONDAY, "eni-web", "10.0.1.5", "10.0.1.6"))
    moved = deepcopy(WEB)
    moved["Attachment"] = {"InstanceId": "i-2", "AttachTime": "2026-01-10T00:00:00Z"}
    names(lake, files(tmp_path, INTERFACES, INSTANCES), time="2026-01-05T00:00")
    # Instances that are not given keep their names.
    names(lake, files(tmp_path, INTERFACES), time="2026-01-06T00:00")
    names(lake, files(tmp_path, {"NetworkInterfaces": [moved]}), time="2026-01-14T00:00")
    sql = "SELECT name, valid_from, valid_to FROM interfaces WHERE interface_id = 'eni-web'"
    rows = query(lake, sql).collect().rows()
    assert [(name, f"{begin:%Y-%m-%d}", f"{end:%Y-%m-%d}") for name, begin, end in rows] == [
        ("web-1", "2025-12-01", "2026-01-10"),
        ("i-2", "2026-01-10", "9999-12-31"),
    ]


def test_time_goes_forward(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, record(MONDAY, "eni-1", "10.0.1.5", "10.0.1.6"))
    names(lake, files(tmp_path, INTERFACES), time="2026-01-05T00:00")
    with pytest.raises(UsageError, match="is not after 2026-01-05"):
        names(lake, files(tmp_path, SUBNETS), time="2026-01-04T00:00")
    with pytest.raises(UsageError, match="in the future"):
        names(lake, files(tmp_path, SUBNETS), time="2999-01-01T00:00")


def test_questions_have_names(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, record(MONDAY, "eni-web", "10.0.1.5", "10.0.2.9"))
    paths = files(tmp_path, INTERFACES, INSTANCES)
    done = run("names", lake, "--from", *map(str, paths))
    assert "4 interfaces and 0 networks described: 4 new or changed" in done.stdout
    asked = run("query", lake, "-q", "top-talkers", "--names", "--output", "csv")
    assert asked.stdout.splitlines() == [
        "srcaddr,srcaddr_name,dstaddr,dstaddr_name,flows,packets,bytes",
        "10.0.1.5,web-1,10.0.2.9,ELB app/shop/1,1,,100",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON, or ends early"),
        (json.dumps(INTERFACES)[:-20], "not JSON, or ends early"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "found a JSON list"),
        ("{}", "no keys"),
        ('{"Vpcs": []}', "found JSON with 'Vpcs'; expected NetworkInterfaces"),
        ('{"NetworkInterfaces": {}}', "found JSON with 'NetworkInterfaces'"),
        ('{"NetworkInterfaces": [], "NextToken": "x"}', "more pages follow"),
        ('{"NetworkInterfaces": ["eni-1"]}', r"NetworkInterfaces\[0\] is not as AWS"),
        ('{"NetworkInterfaces": [{}]}', "no 'NetworkInterfaceId'"),
        (
            '{"NetworkInterfaces": [{"NetworkInterfaceId": "e", "PrivateIpAddress": "10.0.0.3x"}]}',
            "'10.0.0.3x' does not appear to be",
        ),
        (
            '{"NetworkInterfaces": [{"NetworkInterfaceId": 7}]}',
            "a value of type int in place of text",
        ),
        (
            '{"Reservations": [{"Instances": [{"InstanceId": "i", "Placement": {"a": 1}}, 7]}]}',
            r"Instances\[1\] is not as AWS writes it",
        ),
        (
            json.dumps({"NetworkInterfaces": [WEB | {"Attachment": {"AttachTime": "2026-01-01"}}]}),
            "has no time zone",
        ),
        ('{"Reservations": [{"Instances": [{"NetworkInterfaces": 7}]}]}', "Instances"),
        ('{"Subnets": [{"CidrBlock": "10.0.0.0/8", "SubnetId": "s"}]}', "no 'VpcId'"),
        ('{"prefixes": [{"ip_prefix": "52.0.0.1/8"}]}', "has host bits set"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str | bytes, says: str) -> None:
    lake = make_lake(tmp_path, record(MONDAY, "eni-1", "10.0.1.5", "10.0.1.6"))
    path = tmp_path / "wrong.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=says) as caught:
        names(lake, [path])
    assert str(caught.value).startswith(str(path))
    assert not (Path(lake) / "dim").exists()


def test_wrong_arguments(tmp_path: Path) -> None:
    done = run("names", str(tmp_path), code=USAGE)
    assert "no file is given" in done.stderr
    done = run("names", str(tmp_path), "--from", "nothing.json", code=USAGE)
    assert "nothing.json: the file cannot be read (No such file or directory)" in done.stderr
    with pytest.raises(TypeError, match="files: a value of type int is not text"):
        names("lake", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="--time: a value of type int is not a time"):
        names("lake", ["a"], time=7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--time: 'soon' is not a time"):
        names("lake", ["a"], time="soon")
    with pytest.raises(LakeError, match="not a flowconv lake"):
        names(tmp_path, files(tmp_path, INTERFACES))


def test_a_call_that_is_killed_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_lake(tmp_path, record(MONDAY, "eni-1", "10.0.1.5", "10.0.1.77"))
    paths = files(tmp_path, INTERFACES, INSTANCES, SUBNETS)
    write = LocalStorage.write

    def write_and_die(storage: LocalStorage, path: str, data: bytes) -> None:
        if path == "dim/networks.parquet":
            raise KeyboardInterrupt
        write(storage, path, data)

    monkeypatch.setattr(LocalStorage, "write", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        names(lake, paths)
    monkeypatch.undo()
    assert named(lake, "dstaddr") == {"10.0.1.77": None}
    report = names(lake, paths)
    assert (report.began, report.ended) == (1, 0)
    assert named(lake, "dstaddr") == {"10.0.1.77": "front"}


@pytest.mark.usefixtures("no_aws_settings")
def test_names_in_s3(moto_s3: S3Server, tmp_path: Path) -> None:
    source = make_lake(tmp_path, record(MONDAY, "eni-web", "10.0.1.5", "10.0.1.77"))
    lake = f"s3://{moto_s3.make_bucket()}/lake"
    options = moto_s3.storage_options()
    convert(str(Path(source).parent / "logs"), lake, ConvertOptions(dest_options=options))
    names(lake, files(tmp_path, INTERFACES, SUBNETS), options=options)
    assert named(lake, "dstaddr", options=options) == {"10.0.1.77": "front"}


def test_a_lake_without_names(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, record(MONDAY, "eni-1", "10.0.1.5", "10.0.1.6"))
    says = run("query", lake, "-q", "top-talkers", "--names", code=USAGE).stderr
    assert "the lake has no names yet. Keep some first: flowconv names" in says
    assert query(lake, "SELECT * FROM interfaces").collect().is_empty()


def test_damaged_names(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, record(MONDAY, "eni-1", "10.0.1.5", "10.0.1.6"))
    names(lake, files(tmp_path, INTERFACES))
    table = Path(lake) / "dim/interfaces.parquet"
    table.write_bytes(table.read_bytes()[:-7])
    with pytest.raises(LakeError, match=r"dim/interfaces.parquet is damaged .* delete it"):
        query(lake, "SELECT * FROM interfaces")
    assert query(lake, "SELECT * FROM vpc").collect().height == 1


@settings(max_examples=40)
@given(
    networks=st.lists(
        st.one_of(
            st.tuples(st.integers(0, 255), st.integers(24, 32)).map(
                lambda n: ip_network((f"10.0.0.{n[0]}", n[1]), strict=False)
            ),
            st.tuples(st.integers(0, 255), st.integers(120, 128)).map(
                lambda n: ip_network((f"fd00::{n[0]:x}", n[1]), strict=False)
            ),
        ),
        max_size=12,
        unique=True,
    )
)
def test_the_least_network_is_found(networks: list[Any]) -> None:
    tree = _Tree([(network, None, 0, 10, str(network)) for network in networks])
    texts = [f"10.0.{n >> 8}.{n & 255}" for n in range(270)] + [f"fd00::{n:x}" for n in range(270)]
    addresses = Addresses(pl.Series([*texts, "x", None], dtype=pl.String))
    found = tree.names(tree.least(addresses), pl.repeat(5, 542, eager=True).to_numpy()).to_list()
    for text, name in zip(texts, found, strict=False):
        holding = [n for n in networks if ip_address(text) in n]
        least = max(holding, key=lambda n: n.prefixlen, default=None)
        assert name == (least and str(least))
    assert found[540:] == [None, None]
