"""A planned run -> the requests to S3 that it will make, before it makes them."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from flowconv.conversion.planning import Task
from flowconv.source.opening import PIECE_BYTES
from flowconv.storage.interface import PART_BYTES

# Parquet is 0.6 to 0.8 times as large as gzip.
_PARQUET_BYTES_PER_GZIP_BYTE = 0.7

# Once for each run: lock, records of its begin and end, leftovers of killed runs.
_RUN = Counter(LIST=4, GET=2, PUT=4, DELETE=1)

# For each task: the note of its files, the record of its commit, and the note's removal.
_TASK = Counter(PUT=2, DELETE=1)


def requests_of_source(listed: Mapping[str, int], tasks: Iterable[Task]) -> Counter[str]:
    """Return kind -> requests for SOURCE.

    Args:
        listed: Those with which it was listed.
        tasks: What will be read.
    """
    sizes = (log_object.size_bytes for task in tasks for log_object in task.log_objects)
    return Counter(listed) + Counter(GET=sum(-(-size // PIECE_BYTES) for size in sizes))


def requests_of_lake(
    read: Mapping[str, int], tasks: Iterable[Task], *, is_new: bool
) -> Counter[str]:
    """Return kind -> requests for the lake, about: sizes and number of its files are not known.

    Args:
        read: Those with which its layout and ledger were read.
        tasks: What will be converted.
        is_new: The run begins the lake.
    """
    requests = Counter(read) + _RUN
    if is_new:
        requests += Counter(PUT=1)
    for task in tasks:
        requests += _TASK + _upload(task.size_bytes * _PARQUET_BYTES_PER_GZIP_BYTE)
    return requests


def _upload(size_bytes: float) -> Counter[str]:
    """Return the requests that send a file."""
    if size_bytes <= PART_BYTES:
        return Counter(PUT=1)
    return Counter(PUT=math.ceil(size_bytes / PART_BYTES), POST=2)
