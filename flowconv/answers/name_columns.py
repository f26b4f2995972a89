"""Columns with the names that interfaces and addresses had at a record's time."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowconv.answers.addresses import Addresses
from flowconv.answers.name_tables import NameTables
from flowconv.answers.questions import NAMED

_NONE = -1
# Times below it are of this age.
_SECONDS_BITS = 38

_Numbers = npt.NDArray[np.int64]


def with_names(records: pl.LazyFrame, tables: NameTables) -> pl.LazyFrame:
    """Add the columns of NAMED to records of VPC flow logs; they cost nothing if not asked for."""
    interfaces = _Interfaces(tables.interfaces)
    addresses = _Places(tables)
    seconds = pl.col("start")
    if not records.collect_schema()["start"].is_integer():
        seconds = seconds.dt.epoch("s")
    # Records of version 2 do not name their VPC.
    known = tables.interfaces.unique("interface_id", keep="last")
    vpc = pl.coalesce(
        pl.col("vpc_id").cast(pl.String),
        pl.col("interface_id")
        .cast(pl.String)
        .replace_strict(known["interface_id"], known["vpc_id"], default=None),
    )
    columns = []
    for column, name in NAMED.items():
        find = interfaces.names if column == "interface_id" else addresses.names
        rows = pl.struct(
            key=pl.col(column).cast(pl.String),
            vpc=vpc,
            time=seconds.cast(pl.Int64),
        )
        columns.append(
            rows.map_batches(find, return_dtype=pl.String(), is_elementwise=True).alias(name)
        )
    return records.with_columns(columns)


class _Versions:
    """Names of things, each from a time to a time.

    Args:
        versions: Of each version the number of its thing, its times in seconds, and the name.
    """

    def __init__(self, versions: Iterable[tuple[int, int, int, str]]) -> None:
        in_order = sorted(versions)
        self._things = np.array([thing for thing, *_ in in_order], np.int64)
        begins = np.array([begin for _, begin, _, _ in in_order], np.int64)
        self._begins = self._combine(self._things, begins)
        self._ends = np.array([end for _, _, end, _ in in_order], np.int64)
        self._names = pl.Series([name for *_, name in in_order], dtype=pl.String)

    @staticmethod
    def _combine(things: _Numbers, seconds: _Numbers) -> _Numbers:
        return (things << _SECONDS_BITS) + seconds

    def names(self, things: _Numbers, seconds: _Numbers) -> pl.Series:
        """Return the name of each thing at a time; null if it has none then, or is _NONE."""
        if not len(self._things):
            return pl.Series([None], dtype=pl.String).new_from_index(0, len(things))
        at = np.searchsorted(self._begins, self._combine(things, seconds), side="right") - 1
        found = np.maximum(at, 0)
        is_known = (at >= 0) & (self._things[found] == things) & (seconds < self._ends[found])
        return self._names.gather(found).set(~pl.Series(is_known), None)


class _Interfaces:
    """Interfaces by their ids."""

    def __init__(self, interfaces: pl.DataFrame) -> None:
        self._ids = interfaces["interface_id"].unique(maintain_order=True)
        numbers = {id_: number for number, id_ in enumerate(self._ids)}
        self._versions = _Versions(
            (numbers[row["interface_id"]], *_seconds(row), row["name"])
            for row in interfaces.iter_rows(named=True)
        )

    def names(self, rows: pl.Series) -> pl.Series:
        """Return the names of structs of interface and time."""
        numbers = pl.int_range(len(self._ids), eager=True, dtype=pl.Int64)
        things = rows.struct.field("key").replace_strict(
            self._ids, numbers, default=_NONE, return_dtype=pl.Int64
        )
        return self._versions.names(things.to_numpy(), _times(rows))


class _Tree:
    """Networks, each within the least one that holds it, and their names.

    Args:
        entries: Of each version the network, its VPC, its times in seconds, and the name.
    """

    def __init__(
        self, entries: list[tuple[IPv4Network | IPv6Network, str | None, int, int, str]]
    ) -> None:
        networks = sorted(
            {network for network, *_ in entries},
            key=lambda network: (network.version, int(network.network_address), network.prefixlen),
        )
        numbers = {network: number for number, network in enumerate(networks)}
        self._parents = np.full(len(networks), _NONE, np.int64)
        # In all VPCs, an address may stand for several things: such have no name.
        vpcs: list[set[str | None]] = [set() for _ in networks]
        for network, vpc, *_ in entries:
            vpcs[numbers[network]].add(vpc)
        self._bounds: dict[int, tuple[list[int], list[int]]] = {4: ([], []), 6: ([], [])}
        path: list[int] = []
        for number, network in enumerate(networks):
            self._leave(path, networks, network)
            if path:
                self._parents[number] = path[-1]
                vpcs[number] |= vpcs[path[-1]]
            path.append(number)
            self._bound(network, int(network.network_address), number)
        self._leave(path, networks, None)
        self._depth = max(map(self._depth_of, range(len(networks))), default=0)
        self._versions = _Versions(
            (numbers[network], begin, end, name)
            for network, _, begin, end, name in entries
            if len(vpcs[numbers[network]]) == 1
        )

    def _leave(
        self,
        path: list[int],
        networks: list[Any],
        following: IPv4Network | IPv6Network | None,
    ) -> None:
        """Leave the networks that do not hold the next one: their parents go on behind them."""
        while path:
            last = networks[path[-1]]
            end = int(last.broadcast_address)
            if (
                following is not None
                and last.version == following.version
                and int(following.network_address) <= end
            ):
                return
            path.pop()
            outer = path[-1] if path else _NONE
            self._bound(last, end + 1, outer)

    def _bound(self, network: IPv4Network | IPv6Network, begin: int, number: int) -> None:
        begins, numbers = self._bounds[network.version]
        if begins and begins[-1] == begin:
            numbers[-1] = number
        else:
            begins.append(begin)
            numbers.append(number)

    def _depth_of(self, number: int) -> int:
        depth = 0
        while number != _NONE:
            number, depth = int(self._parents[number]), depth + 1
        return depth

    @cached_property
    def _four(self) -> tuple[_Numbers, _Numbers]:
        begins, numbers = self._bounds[4]
        return np.array([-1, *begins], np.int64), np.array([_NONE, *numbers], np.int64)

    def least(self, addresses: Addresses) -> _Numbers:
        """Return the number of the least network that holds each address; _NONE if none does."""
        begins, numbers = self._four
        at = np.searchsorted(begins, addresses.four.fill_null(-1).to_numpy(), side="right") - 1
        found = numbers[at]
        six_begins, six_numbers = self._bounds[6]
        for index, number in addresses.six.items():
            before = bisect_right(six_begins, number) - 1
            found[index] = six_numbers[before] if before >= 0 else _NONE
        return found

    def names(self, networks: _Numbers, seconds: _Numbers) -> pl.Series:
        """Return the name of each network at a time, or of the least around it that has one."""
        names = self._versions.names(networks, seconds)
        for _ in range(self._depth - 1):
            is_open = names.is_null().to_numpy() & (networks != _NONE)
            if not is_open.any():
                break
            networks = np.where(is_open, self._parents[networks], networks)
            names = names.zip_with(names.is_not_null(), self._versions.names(networks, seconds))
        return names


class _Places:
    """Addresses of interfaces, subnets and AWS's networks: what is where.

    Private addresses are those of a record's own VPC. What is not there, is one of another VPC if
    only one has it; but only if the own VPC is known, or the record does not name it.
    """

    def __init__(self, tables: NameTables) -> None:
        own: dict[str, list[Any]] = {}
        public: list[Any] = []
        for row in tables.addresses().iter_rows(named=True):
            entry = _entry(row["address"], row)
            (public if entry[1] is None else own.setdefault(entry[1], [])).append(entry)
        for row in tables.networks.iter_rows(named=True):
            entry = _entry(row["network"], row)
            (public if entry[1] is None else own.setdefault(entry[1], [])).append(entry)
        self._own = {vpc: _Tree(entries) for vpc, entries in own.items()}
        self._all = _Tree([entry for entries in own.values() for entry in entries])
        self._public = _Tree(public)

    def names(self, rows: pl.Series) -> pl.Series:
        """Return the names of structs of address, VPC and time."""
        keys, vpcs = rows.struct.field("key"), rows.struct.field("vpc")
        distinct = keys.unique(maintain_order=True)
        addresses = Addresses(distinct)
        numbers = pl.int_range(len(distinct), eager=True, dtype=pl.Int64)
        at = keys.replace_strict(distinct, numbers, return_dtype=pl.Int64).to_numpy()
        seconds = _times(rows)
        names = pl.Series([None], dtype=pl.String).new_from_index(0, len(keys))
        own = [
            ((vpcs == vpc).fill_null(False), self._own.get(vpc))
            for vpc in vpcs.unique().drop_nulls()
        ]
        known = vpcs.is_null() | vpcs.is_in(list(self._own))
        for where, tree in (*own, (known, self._all), (keys.is_not_null(), self._public)):
            if tree is not None:
                open_ = (where & names.is_null()).arg_true()
                found = tree.names(tree.least(addresses)[at[open_]], seconds[open_])
                names = names.scatter(open_, found)
        return names


def _entry(text: str, row: Mapping[str, Any]) -> Any:
    network = ip_network(text)
    vpc = row["vpc_id"]
    if vpc and network.network_address.is_global:
        vpc = None
    return network, vpc, *_seconds(row), row["name"]


def _seconds(row: Mapping[str, Any]) -> tuple[int, int]:
    return int(row["valid_from"].timestamp()), int(row["valid_to"].timestamp())


def _times(rows: pl.Series) -> _Numbers:
    """Return the times of structs; one before all others where there is none."""
    latest = (1 << _SECONDS_BITS) - 1
    return rows.struct.field("time").fill_null(-1).clip(-1, latest).to_numpy()
