"""Where a lake is registered, and what came of it."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flowconv.errors import CatalogError, UsageError, quote
from flowconv.notebooks import InNotebooks

DATABASE = "flowconv"

_DATABASE_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where tables are to be, besides the kind of catalog.

    Attributes:
        catalog: The caller's catalog, by its name in the configuration of the catalog's library;
            None: one beside the lake.
        database: The database or namespace of the tables; None: `DATABASE`.
        options: Storage options of the lake.
    """

    catalog: str | None = None
    database: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            UsageError: One is empty, or the database's has characters that catalogs refuse.
        """
        if self.catalog == "":
            raise UsageError("--catalog: the name is empty. Write that of a catalog.")
        if self.database is not None and not _DATABASE_NAME.fullmatch(self.database):
            raise UsageError(
                f"--database: {quote(self.database)} is not a name. Write letters, digits, _ and "
                "-, with dots between levels."
            )


class OvertakenError(CatalogError):
    """Another process has changed the table since it was read; nothing was committed."""

    def __init__(self, address: str) -> None:
        super().__init__(
            "others change the table all the time. Let one process at a time register a lake.",
            uri=address,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTable:
    """A table in a catalog.

    Attributes:
        name: Its name there.
        address: What engines open.
        version: Its version or snapshot there, now.
        files: Its files.
        added: Files that were added to it; for Glue, which has none, partitions.
        removed: Files that were taken from it: replaced, expired, or not the lake's; for Glue,
            partitions.
    """

    name: str
    address: str
    version: str
    files: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RegisterReport(InNotebooks):
    """What registering a lake came to.

    Attributes:
        lake: The lake.
        catalog: The kind of catalog.
        tables: Its tables there; a table without files is left out until it has any.
        seconds: Wall time.
    """

    lake: str
    catalog: str
    tables: tuple[RegisteredTable, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lake": self.lake,
            "catalog": self.catalog,
            "tables": [asdict(table) for table in self.tables],
            "seconds": round(self.seconds, 3),
        }
