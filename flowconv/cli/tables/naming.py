"""What a lake knows of names, as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowconv.cli.console import stdout

if TYPE_CHECKING:
    from flowconv.answers.naming import NamesReport


def print_names(report: NamesReport) -> None:
    """Print what was described, and what has changed."""
    stdout().print(
        f"{report.interfaces:,} interfaces and {report.networks:,} networks described: "
        f"{report.began:,} new or changed, {report.ended:,} ended, {report.versions:,} versions in "
        f"all: {report.lake}"
    )
