"""The engine that a command's options name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from flowconv.cli.arguments import choice
from flowconv.errors import UsageError
from flowconv.values import check_choice

if TYPE_CHECKING:
    from distributed import Client

ENGINES = ("threads", "dask")

EngineOption = Annotated[
    str,
    choice(
        ENGINES,
        "--engine",
        help="What does the work: threads of this process, or the workers of a Dask cluster (extra "
        "flowconv[dask]; see docs/scale-out.md).",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="With --engine dask: the scheduler, such as tcp://host:8786; by default "
        "DASK_SCHEDULER_ADDRESS, else a cluster of --workers processes on this machine.",
        show_default=False,
    ),
]


@contextmanager
def chosen_engine(name: str, scheduler: str | None, workers: int) -> Iterator["Client | None"]:
    """Connect to the engine for the block; None stands for threads.

    Raises:
        UsageError: There is no such engine, or Dask is not installed.
        EngineError: The scheduler does not answer.
    """
    check_choice(name, ENGINES, "--engine")
    if name == "threads":
        if scheduler is not None:
            raise UsageError("--scheduler: it goes with --engine dask. Add that, or leave it out.")
        yield None
        return
    if find_spec("distributed") is None:
        raise UsageError(
            "--engine: dask is not installed. Install it with: pip install 'flowconv[dask]'."
        )
    # It logs tracebacks of what is said in a sentence here.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    from flowconv.engines.dask import dask_client

    with dask_client(scheduler, workers) as client:
        yield client
