"""What partitions are called: the names of their directories, as Hive writes them."""

import re
from functools import lru_cache
from typing import NamedTuple

from flowconv.fields import OCSF_FOLDER, Table
from flowconv.option_values import OCSF_PARTITIONS, TIME_PARTITIONS

# What Hive, and every reader after it, takes for null.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

# What Security Lake wants in place of an account where there is none.
NO_ACCOUNT = "external"

# File systems allow 255 bytes in a name, and the partition's own name needs some.
_MAX_VALUE_BYTES = 200


class PartitionKey(NamedTuple):
    """A directory of a table.

    Attributes:
        table: The table.
        path: Its partitions, such as `aws_account_id=…/aws_region=…/date=2026-01-14`.
    """

    table: Table
    path: str

    @property
    def folder(self) -> str:
        """Below the lake; those of OCSF lie at its root."""
        return self.path if self.path.startswith(OCSF_FOLDER) else f"{self.table}/{self.path}"


def directory_name(name: str) -> str:
    """Return the name of a partition's directories.

    A column's is `aws_<column>`, so that no partition has the name of a column: Athena and Hive
    refuse such tables.
    """
    is_whole = name in (*TIME_PARTITIONS, *OCSF_PARTITIONS) or name.startswith("aws_")
    return name if is_whole else f"aws_{name}"


def encode_value(value: str | None) -> str:
    """Return a partition value as a directory name may hold it, as Hive writes it.

    All but letters, digits, `_`, `.` and `-` is percent-encoded, so no value can climb out of its
    directory. Null, and a value too long for a file system's names, are Hive's null.
    """
    # Encoding does not shorten it. Keep megabytes out of the cache.
    if value is None or len(value) > _MAX_VALUE_BYTES:
        return NULL_PARTITION
    return _encode(value)


@lru_cache(maxsize=65536)
def _encode(value: str) -> str:
    encoded = re.sub(
        rb"[^A-Za-z0-9_.-]",
        lambda match: b"%%%02X" % match[0][0],
        value.encode("utf-8", "surrogatepass"),
    ).decode()
    return encoded if 0 < len(encoded) <= _MAX_VALUE_BYTES else NULL_PARTITION
