"""gaps, compact and expire: what is missing in a lake, how its files lie, what is removed."""

from collections.abc import Callable
from typing import Annotated

import typer

from flowconv.cli.arguments import (
    JsonOption,
    LakeArgument,
    LakeOptions,
    shows_examples,
    takes_options,
)
from flowconv.cli.engines import EngineOption, SchedulerOption, chosen_engine
from flowconv.cli.failures import INCOMPLETE, explained
from flowconv.cli.log import TextLog
from flowconv.cli.streams import print_json
from flowconv.options import CompactOptions
from flowconv.values import parse_storage_options


@shows_examples(
    "flowconv gaps lake",
    "flowconv gaps s3://my-lake/flows --since 7d --json",
    "flowconv gaps lake --ack",
)
def gaps(
    lake: LakeArgument,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DAY", help="First day to look at, as in 2026-01-14 or 7d."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="Last day to look at, included.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read the ledger only, not the records.")
    ] = False,
    ack: Annotated[
        bool,
        typer.Option("--ack", help="Acknowledge what is missing now: it is no failure any more."),
    ] = False,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Find what is missing in a lake, from its ledger and records alone.

    Delivery windows without an object, flow logs that fell silent, days with far fewer rows than
    their neighbours. Also shown: how late objects were converted, records that AWS lost (SKIPDATA),
    interfaces without records. Records are read of the chosen days, or of the last week.

    Exit code 3: something is missing that was not acknowledged.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.cli.tables.upkeep import print_gaps
        from flowconv.upkeep.completeness import gaps as gaps_

        options = parse_storage_options(dest_option)
        report = gaps_(
            lake, since=since, until=until, quick=quick, acknowledge=ack, options=options
        )
        print_json(report.to_dict()) if json_ else print_gaps(report)
    if not report.complete:
        raise typer.Exit(INCOMPLETE)


@shows_examples(
    "flowconv compact lake --dry-run",
    "flowconv compact s3://my-lake/flows --since 3d --until 1d",
    "flowconv compact lake --sort-by srcaddr,dstaddr,start",
    "flowconv compact s3://my-lake/flows --engine dask",
)
@takes_options(CompactOptions)
def compact(
    lake: LakeArgument,
    make_options: Callable[[], CompactOptions],
    engine: EngineOption = "threads",
    scheduler: SchedulerOption = None,
    json_: JsonOption = False,
) -> None:
    """Merge the small files of each partition, and sort its rows.

    Queries then read fewer files and skip most row groups. No row changes: objects that change
    later, or have lines in quarantine, are converted again as before. Partitions that are done are
    left alone, so it may run every night, after flowconv convert.
    """
    log = TextLog()
    when_stopped = ": partitions under way are abandoned."
    with explained(log, as_json=json_, when_stopped=when_stopped):
        from flowconv.cli.tables.upkeep import print_compacted
        from flowconv.upkeep.compacting import compact as compact_

        options = make_options()
        with (
            chosen_engine(engine, scheduler, options.workers) as chosen,
            log.progress() as on_progress,
        ):
            report = compact_(lake, options, engine=chosen, on_progress=on_progress)
        print_json(report.to_dict()) if json_ else print_compacted(report)


@shows_examples(
    "flowconv expire lake --before 2026-01-01 --dry-run",
    "flowconv expire s3://my-lake/flows --before 400d",
    "flowconv expire s3://my-lake/flows --gone",
)
def expire(
    lake: LakeArgument,
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="DATE",
            help="First day to keep, in UTC: YYYY-MM-DD, or 400d for 400 days ago.",
        ),
    ] = None,
    gone: Annotated[
        bool,
        typer.Option("--gone", help="Settle that files are gone, as after a lifecycle rule."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and stop.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while another run writes to LAKE.")
    ] = False,
    dest_option: LakeOptions = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Remove old days from a lake, for ever.

    Their objects are not converted again, and flowconv verify does not miss them. Records of these
    days that come later are counted, and not written.

    --gone does the same for days that were deleted in another way, such as by a lifecycle rule of
    the bucket: flowconv scan, status and verify say so.
    """
    with explained(TextLog(), as_json=json_):
        from flowconv.cli.tables.upkeep import print_expired
        from flowconv.upkeep.expiring import expire as expire_

        options = parse_storage_options(dest_option)
        report = expire_(lake, before, gone=gone, dry_run=dry_run, wait=wait, options=options)
        print_json(report.to_dict()) if json_ else print_expired(report)
