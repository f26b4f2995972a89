"""names(): a lake learns what interfaces and networks are called.

The tables of names lie beside those of the logs. Neither the ledger nor any run depends on them,
and nothing that was converted is written again.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flowconv.answers.descriptions import read_descriptions
from flowconv.answers.name_tables import FOREVER, NameTables
from flowconv.errors import UsageError
from flowconv.lake.layout import read_flat_layout
from flowconv.lake.locking import Lock, new_run_id
from flowconv.notebooks import InNotebooks
from flowconv.storage.opening import open_storage
from flowconv.values import parse_time, take_texts


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NamesReport(InNotebooks):
    """What a lake knows after names were read.

    Attributes:
        lake: The lake.
        time: When it was as described.
        interfaces: Interfaces that the files describe.
        networks: Networks that they describe.
        began: Versions that are new: something was first described, or has changed.
        ended: Versions that ended: something has changed, or is gone.
        versions: All that the lake has now.
    """

    lake: str
    time: datetime
    interfaces: int
    networks: int
    began: int
    ended: int
    versions: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"time": self.time.isoformat()}


def names(
    dest: str | os.PathLike[str],
    files: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    time: datetime | str | None = None,
    wait: bool = False,
    options: Mapping[str, str] | None = None,
) -> NamesReport:
    """Keep the names of interfaces and networks in a lake, with the time in which each was so.

    Give all files of a moment in one call: interfaces get the names of their instances. Of each
    account and region whose interfaces or subnets are described, all must be: those that are not
    described any more have ended.

    Args:
        dest: The lake: the DEST given to `convert`.
        files: Answers of `aws ec2 describe-network-interfaces`, `describe-subnets` and
            `describe-instances` as JSON, and AWS's ip-ranges.json.
        time: When the files were made, if that was not just now; in UTC without a time zone.
        wait: Wait while a run writes to the lake, instead of failing.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Raises:
        UsageError: A file cannot be read, is not complete or is something else; or the lake
            already knows what was so at a later time.
        LakeError: There is no lake, another run holds its lock, or its names are damaged.
        StorageError: The lake does not answer.
        TypeError: An argument has another type.
    """
    storage = open_storage(dest, options or {})
    paths = [os.fspath(file) for file in _several(files)]
    now = datetime.now(UTC)
    as_of = parse_time(time, "--time") if time is not None else now
    if as_of > now:
        raise UsageError(f"--time: {as_of.isoformat()} lies in the future.")
    if not paths:
        raise UsageError("no file is given. Give at least one, by --from.")
    described = read_descriptions(paths)
    read_flat_layout(storage, "A table of names")
    run_id = new_run_id(now)
    with Lock(storage, run_id, wait=wait) as lock:
        known = NameTables.read(storage)
        if as_of <= known.described:
            raise UsageError(
                f"--time: {as_of.isoformat()} is not after {known.described.isoformat()}, of which "
                "the lake knows already. Give files in the order of their times."
            )
        updated = known.updated(described, as_of)
        lock.confirm()
        updated.write(storage)
    before, after = _ends(known), _ends(updated)
    return NamesReport(
        lake=storage.root,
        time=as_of,
        interfaces=len(described.interfaces),
        networks=len(described.networks),
        began=len(after) - len(before),
        ended=_past(after) - _past(before),
        versions=len(after),
    )


def _several(
    files: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
) -> Iterable[str | os.PathLike[str]]:
    if isinstance(files, os.PathLike):
        return (files,)
    if isinstance(files, str | bytes) or not isinstance(files, Iterable):
        return take_texts(files, "files") or ()
    return files


def _past(ends: pl.Series) -> int:
    return ends.filter(ends < FOREVER).len()


def _ends(tables: NameTables) -> pl.Series:
    return pl.concat([tables.interfaces["valid_to"], tables.networks["valid_to"]])
