"""What a contender is told to do; the same for all of them. Imports nothing heavy."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

Type = Literal["int32", "int64", "string", "timestamp"]


@dataclass(frozen=True, slots=True)
class Group:
    """The files of one account and region: their path says which, their rows need not.

    Attributes:
        account: The account.
        region: The region.
        folder: Where the files lie, at any depth; no others do.
        files: All of them, sorted.
    """

    account: str
    region: str
    folder: str
    files: list[str]

    @property
    def directory(self) -> str:
        return f"aws_account_id={self.account}/aws_region={self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Convert all files below `source` to Parquet below `dest`.

    Attributes:
        source: Folder or s3:// URL.
        dest: Folder that does not exist yet.
        threads: How many may run.
        groups: The files below source; empty if that is in S3.
        log_fields: The log's fields in its order, by AWS's names, with their types.
        columns: The columns of the Parquet files with their types.
    """

    source: str
    dest: str
    threads: int
    groups: list[Group]
    log_fields: dict[str, Type]
    columns: dict[str, Type]

    def field(self, column: str) -> str | None:
        """Return the log's field that a column holds; without one the column is null."""
        field = column.replace("_", "-")
        return field if field in self.log_fields else None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        values = json.loads(path.read_text())
        return cls(**values | {"groups": [Group(**group) for group in values["groups"]]})


def given_task() -> Task:
    """Return the task of the file that the command line names."""
    return Task.read(Path(sys.argv[1]))
