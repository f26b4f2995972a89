"""report(): a page that shows what a lake holds, and its numbers."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from flowconv.answers.page import render
from flowconv.answers.reporting import LakeReport, read_report
from flowconv.errors import StorageError
from flowconv.storage.opening import path_text


def report(
    dest: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    prices: Mapping[str, float] | None = None,
    options: Mapping[str, str] | None = None,
) -> LakeReport:
    """Report what a lake holds: traffic, talkers, rejects, costs, completeness, its health.

    Args:
        dest: The lake: the DEST given to `convert`.
        output: Where a page of HTML is written that loads nothing; None for the numbers alone.
        since: First day, by the records' start in UTC.
        until: Last day, included.
        prices: US dollars for each GiB, in place of list prices, as for `flowconv query --price`.
        options: Storage options, as for `ConvertOptions.dest_options`.

    Raises:
        LakeError: There is no lake, files are gone or damaged, or days are chosen of a lake that is
            not partitioned by date.
        FetchError: A file cannot be fetched; this may pass.
        StorageError: The lake does not answer, or the page cannot be written.
        UsageError: A day or a price is not valid.
        TypeError: An argument has another type.
    """
    path = None if output is None else path_text(output)
    lake = path_text(dest)
    found = read_report(lake, since=since, until=until, prices=prices, options=options)
    if path is None:
        return found
    found = replace(found, path=path)
    try:
        Path(path).write_text(render(found), encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a valid path"
        raise StorageError(
            f"the page cannot be written ({reason}). Choose another --output.", uri=path
        ) from None
    return found
