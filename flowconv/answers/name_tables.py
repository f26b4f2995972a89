"""The tables of names in a lake, and what a new description changes in them.

Each row is a version: what was so from `valid_from` until before `valid_to`.
"""

import io
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flowconv.answers.descriptions import Descriptions, Interface, Network
from flowconv.errors import LakeError
from flowconv.lake.paths import NAMES
from flowconv.storage.interface import Storage

# Plain times, so that SQL may compare: `start >= valid_from AND start < valid_to`.
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)

# In the files' own metadata.
_DESCRIBED = "flowconv.described"

_TIME = pl.Datetime("us", "UTC")
_VALID = {"valid_from": _TIME, "valid_to": _TIME}
_LISTS = {"addresses": pl.List(pl.String)}
_NOT_KEPT = {"attached", "is_whole"}

INTERFACES: Mapping[str, Any] = {
    name: _LISTS.get(name, pl.String)
    for name in Interface.__dataclass_fields__
    if name not in _NOT_KEPT
} | _VALID
NETWORKS: Mapping[str, Any] = dict.fromkeys(Network.__dataclass_fields__, pl.String) | _VALID

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTables:
    """Interfaces and networks with their names, in versions.

    Attributes:
        interfaces: The columns of INTERFACES.
        networks: The columns of NETWORKS.
        described: The last time of which something was described; ALWAYS if nothing was.
    """

    interfaces: pl.DataFrame
    networks: pl.DataFrame
    described: datetime

    @classmethod
    def read(cls, storage: Storage) -> "NameTables":
        """Read those of a lake; they are empty if it has none.

        Raises:
            LakeError: A table is damaged.
            StorageError: The lake does not answer.
        """
        interfaces, of_interfaces = _read(storage, "interfaces", INTERFACES)
        networks, of_networks = _read(storage, "networks", NETWORKS)
        described = max(of_interfaces, of_networks)
        return cls(interfaces=interfaces, networks=networks, described=described)

    def write(self, storage: Storage) -> None:
        """Write them in place of those that were; each is whole at any time.

        Raises:
            StorageError: The lake does not answer.
        """
        for name, table in (("interfaces", self.interfaces), ("networks", self.networks)):
            file = io.BytesIO()
            table.write_parquet(file, metadata={_DESCRIBED: self.described.isoformat()})
            storage.write(path_of(name), file.getvalue())

    def addresses(self) -> pl.DataFrame:
        """Return a row for each address of an interface, or prefix delegated to it."""
        columns = ("vpc_id", "interface_id", "name", "instance_id", "valid_from", "valid_to")
        exploded = self.interfaces.explode("addresses").filter(pl.col("addresses").is_not_null())
        return exploded.select(pl.col("addresses").alias("address"), *columns)

    def updated(self, described: Descriptions, time: datetime) -> "NameTables":
        """Return the tables after something was described as it is at a time.

        What is described for the first time is so from when it was attached, if that is known;
        else always, unless its account and region were described before: then from `time`.

        Args:
            described: What is so at the time.
            time: After `self.described`.
        """
        interfaces = _Versions(self.interfaces, ("interface_id",), described.interfaces_of, time)
        for interface in described.interfaces.values():
            row = {name: value for name, value in asdict(interface).items() if name in INTERFACES}
            known = interfaces.now.get((interface.interface_id,))
            interfaces.put(_named(row, known, is_whole=interface.is_whole), interface.attached)
        networks = _Versions(self.networks, ("network", "vpc_id"), described.networks_of, time)
        for network in described.networks.values():
            networks.put(asdict(network), None)
        return NameTables(
            interfaces=pl.DataFrame(interfaces.rows(), dict(INTERFACES), orient="row"),
            networks=pl.DataFrame(networks.rows(), dict(NETWORKS), orient="row"),
            described=time,
        )


def path_of(table: str) -> str:
    """Return the path of a table of names."""
    return f"{NAMES}/{table}.parquet"


class _Versions:
    """The versions of a table's rows, to which those of a time are added.

    Attributes:
        now: Key -> the version that is valid.
    """

    def __init__(
        self,
        table: pl.DataFrame,
        key: tuple[str, ...],
        whole: set[tuple[str | None, str | None]],
        time: datetime,
    ) -> None:
        self._key = key
        self._whole = whole
        self._time = time
        self._past: list[Row] = []
        self._seen: set[Hashable] = set()
        self.now: dict[Hashable, Row] = {}
        for row in table.iter_rows(named=True):
            if row["valid_to"] == FOREVER:
                self.now[self._key_of(row)] = row
            else:
                self._past.append(row)
        self._known = {_scope(row) for row in (*self._past, *self.now.values())}

    def put(self, row: Row, began: datetime | None) -> None:
        """Take a row that is valid at the time; it may be known when it began."""
        key = self._key_of(row)
        self._seen.add(key)
        known = self.now.get(key)
        if began is not None and began > self._time:
            began = None
        if known is None:
            row["valid_from"] = began or (self._time if _scope(row) in self._known else ALWAYS)
        elif all(known[name] == value for name, value in row.items()):
            return
        else:
            # It is attached to something else since then; other changes have no time.
            moved = row.get("instance_id") != known.get("instance_id")
            changed = began if moved and began and began > known["valid_from"] else self._time
            self._past.append(known | {"valid_to": changed})
            row["valid_from"] = changed
        self.now[key] = row | {"valid_to": FOREVER}

    def rows(self) -> list[Row]:
        """Return all versions; what was not taken, though all of its scope was, ends."""
        for key, row in list(self.now.items()):
            scope = ("", "") if row.get("service") else _scope(row)
            if key not in self._seen and scope in self._whole:
                self._past.append(row | {"valid_to": self._time})
                del self.now[key]
        return sorted(
            [*self._past, *self.now.values()],
            key=lambda row: (*(row[name] or "" for name in self._key), row["valid_from"]),
        )

    def _key_of(self, row: Row) -> Hashable:
        return tuple(row[name] for name in self._key)


def _scope(row: Row) -> tuple[str | None, str | None]:
    return ("", "") if row.get("service") else (row["account_id"], row["region"])


def _named(row: Row, known: Row | None, *, is_whole: bool) -> Row:
    """Fill in what a file does not say of an interface, and its name."""
    if known and known["instance_id"] == row["instance_id"]:
        left_out = ("instance_name",) if is_whole else ("type", "description", "tag", "account_id")
        row |= {name: known[name] for name in left_out if not row[name]}
    names = (row["tag"], row["instance_name"], row["description"], row["instance_id"])
    row["name"] = next(filter(None, names), row["interface_id"])
    return row


def _read(storage: Storage, name: str, schema: Mapping[str, Any]) -> tuple[pl.DataFrame, datetime]:
    written = storage.read(path_of(name))
    if written is None:
        return pl.DataFrame(schema=dict(schema)), ALWAYS
    try:
        described = pl.read_parquet_metadata(io.BytesIO(written))[_DESCRIBED]
        table = pl.read_parquet(io.BytesIO(written)).match_to_schema(dict(schema))
        return table, datetime.fromisoformat(described)
    except (pl.exceptions.PolarsError, OSError, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise LakeError(
            f"{path_of(name)} is damaged ({reason}). Restore it from a copy, or delete it and let "
            "flowconv names write it again.",
            uri=storage.root,
        ) from error
