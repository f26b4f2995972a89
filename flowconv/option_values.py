"""Values of options, as people write them -> as they are used, or an error that says what to write.

All functions take options that are being made: the command line's, or a caller's.
"""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal

from flowconv.errors import UsageError, WrongTypeError, did_you_mean, quote
from flowconv.fields import FIELDS, TIME_COLUMNS, Table
from flowconv.source.patterns import Patterns
from flowconv.values import as_day

# Partition names that are not columns, in the order of AWS's own prefix.
KEY_PARTITIONS = ("aws_account_id", "aws_region")
TIME_PARTITIONS = ("date", "hour")

DEFAULT_PARTITIONS = (*KEY_PARTITIONS, "date")

# Those of a custom source of Security Lake, in its order.
OCSF_PARTITIONS = ("region", "accountId", "eventDay")

Schema = Literal["flat", "ocsf"]
TimeType = Literal["timestamp", "epoch"]

# Options that are sizes in bytes.
SIZES = (
    "memory_limit",
    "target_file_size",
    "max_object_size",
    "quarantine_per_object",
    "quarantine_per_run",
)

# Options of one type: the types that are taken, and what to write.
_WANTED: tuple[tuple[tuple[str, ...], Any, str], ...] = (
    (("workers", "max_requests", "min_files", *SIZES), int, "a whole number"),
    (("grace", "keep"), int | float, "a number"),
    (("format", "formats", "account", "region"), str | None, "text"),
    (("schema", "time_type", "compression", "order", "on_bad_line", "table"), str, "text"),
    (
        (
            "with_source",
            "bloom_filters",
            "reprocess",
            "retry_rejected",
            "wait",
            "quick",
            "repair",
            "dry_run",
        ),
        bool,
        "a truth value; write True or False",
    ),
    (("source_options", "dest_options"), Mapping, "a mapping of texts"),
)


def flag(name: str) -> str:
    """Return the flag of an option."""
    return f"--{name.replace('_', '-')}"


def take(options: Any, name: str, value: object) -> None:
    """Set a field of options that are being made, and are frozen."""
    object.__setattr__(options, name, value)


def take_days(options: Any) -> None:
    """Take days as texts.

    Raises:
        UsageError: One is not valid.
        WrongTypeError: One has another type.
    """
    for name in ("since", "until"):
        take(options, name, as_day(getattr(options, name), f"--{name}"))


def take_names(options: Any, field_name: str) -> None:
    """Take a list of names, or names between commas.

    Raises:
        WrongTypeError: It is neither.
    """
    names: Any = getattr(options, field_name)
    names = [names] if isinstance(names, str) else names
    require(
        isinstance(names, Iterable), f"{flag(field_name)}: write a list of names.", WrongTypeError
    )
    names = list(names)
    require(
        all(isinstance(name, str) for name in names),
        f"{flag(field_name)}: its names are texts.",
        WrongTypeError,
    )
    parts = (part.strip() for name in names for part in name.split(","))
    take(options, field_name, tuple(part for part in parts if part))


def take_formats(options: Any) -> None:
    """Take a file of formats as a path, and names of unknown fields.

    Raises:
        WrongTypeError: The names are no texts.
    """
    if isinstance(options.formats, os.PathLike):
        take(options, "formats", os.fspath(options.formats))
    take_list(options, "allow_unknown_fields")


def take_list(options: Any, name: str) -> None:
    """Take a list of texts, or one of them.

    Raises:
        WrongTypeError: It is neither.
    """
    texts: Any = getattr(options, name)
    wanted = f"{name}: write a list of texts."
    require(isinstance(texts, Iterable), wanted, WrongTypeError)
    texts = (texts,) if isinstance(texts, str) else tuple(texts)
    require(all(isinstance(text, str) for text in texts), wanted, WrongTypeError)
    take(options, name, texts)


def check_types(options: Any) -> None:
    """Check the options that have one type.

    Raises:
        WrongTypeError: One has another.
    """
    for names, kinds, wanted in _WANTED:
        for name in filter(partial(hasattr, options), names):
            value = getattr(options, name)
            # True is a number for Python.
            fits = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
            require(
                fits,
                f"{flag(name)}: a value of type {type(value).__name__} is not {wanted}.",
                WrongTypeError,
            )


def check_workers(options: Any) -> None:
    """Check the number of workers; 0 becomes that of the cores.

    Raises:
        UsageError: It is out of range.
    """
    if options.workers == 0:
        take(options, "workers", available_cores())
    require(1 <= options.workers <= 1024, f"--workers: {options.workers} is not in 1 to 1024.")


def check_patterns(options: Any) -> None:
    """Check what chooses objects by their keys.

    Raises:
        UsageError: A pattern is not valid.
    """
    for name in ("include", "exclude"):
        patterns = getattr(options, name)
        require(
            not isinstance(patterns, str),
            f"{name}: write a list of patterns, such as [{patterns!r}].",
        )
    Patterns(options.include, options.exclude)


def available_cores() -> int:
    """Return the cores that this process may use; a container's share, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


# What people write -> the name of the partition.
_PARTITIONS_MEANT = {
    **dict.fromkeys(("account", "account_id", "accountid"), "aws_account_id"),
    **dict.fromkeys(("region", "aws_region_id"), "aws_region"),
    **dict.fromkeys(("day", "dt", "start", "end", "start_day", "year", "month"), "date"),
}


def check_partitions(names: tuple[str, ...]) -> None:
    """Check the names of partitions.

    Raises:
        UsageError: One is unknown, or comes twice.
    """
    known = [*KEY_PARTITIONS, *TIME_PARTITIONS]
    require(bool(names), "--partition-by: name at least one partition, such as date.")
    require(
        len(set(names)) == len(names),
        "--partition-by: it names one of them twice.",
    )
    others = [name for name in names if name not in known]
    if not others:
        return

    columns = {f.column for f in FIELDS[Table.VPC]} - {"account_id", "region", *TIME_COLUMNS}
    for name in others:
        require(
            name in columns,
            f"--partition-by: {quote(name)} is not a partition. Choose from {', '.join(known)}, "
            "or a column such as vpc_id, action or interface_id."
            + did_you_mean(name, [*known, *sorted(columns)], _PARTITIONS_MEANT),
        )


def take_ocsf(options: Any) -> None:
    """Take the partitions of OCSF, and check that no option asks for other files.

    Raises:
        UsageError: One does.
    """
    given = {
        "--partition-by": options.partition_by not in (DEFAULT_PARTITIONS, OCSF_PARTITIONS),
        "--time-type": options.time_type != "timestamp",
        "--with-source": options.with_source,
        "--order": options.order != "sorted",
        "--bloom-filters": options.bloom_filters,
    }
    for name, is_given in given.items():
        require(
            not is_given,
            f"{name} does not go with --schema ocsf, whose files are as Security Lake wants them. "
            "Leave it out.",
        )
    take(options, "partition_by", OCSF_PARTITIONS)


def require(holds: bool, message: str, error: type[UsageError] = UsageError) -> None:
    """Raise an error with a message unless something holds."""
    if not holds:
        raise error(message)
