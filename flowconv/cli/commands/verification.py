"""verify: whether a lake has all that it should."""

from collections.abc import Callable
from typing import Annotated

import typer

from flowconv.cli.arguments import JsonOption, LakeArgument, shows_examples, takes_options
from flowconv.cli.engines import EngineOption, SchedulerOption, chosen_engine
from flowconv.cli.failures import INCOMPLETE, explained
from flowconv.cli.log import TextLog
from flowconv.cli.streams import print_json
from flowconv.options import VerifyOptions


@shows_examples(
    "flowconv verify lake --source logs",
    "flowconv verify s3://my-lake/flows --quick",
    "flowconv verify lake --source logs --repair; flowconv convert logs lake",
    "flowconv verify s3://my-lake/flows --source s3://my-logs --engine dask",
)
@takes_options(VerifyOptions)
def verify(
    lake: LakeArgument,
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            help="What was converted to LAKE: compare its objects too, and count lines again.",
        ),
    ] = None,
    make_options: Callable[[], VerifyOptions],
    engine: EngineOption = "threads",
    scheduler: SchedulerOption = None,
    json_: JsonOption = False,
) -> None:
    """Check that a lake has all its files and rows, and no other.

    Every file is read, and its checksum compared. --source also finds objects that were not
    converted or have changed since, and lines of objects that are not in LAKE. Nothing is changed
    without --repair.

    Exit codes: 0 no problem, 1 failed, 2 wrong usage, 3 problems were found, or tasks forgotten
    that are to be converted again.
    """
    log = TextLog()
    with explained(log, as_json=json_, when_stopped=": running checks are abandoned."):
        from flowconv.cli.tables.verification import print_verification
        from flowconv.verification.verifying import verify as verify_

        options = make_options()
        with (
            chosen_engine(engine, scheduler, options.workers) as chosen,
            log.progress() as on_progress,
        ):
            report = verify_(lake, source, options, engine=chosen, on_progress=on_progress)
        print_json(report.to_dict()) if json_ else print_verification(report)
    if not report.complete:
        raise typer.Exit(INCOMPLETE)
