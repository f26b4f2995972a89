"""What a task, in this process or on an engine, must know of its run."""

from typing import NamedTuple

from flowconv.lake.expired import Expired
from flowconv.options import ConvertOptions


class BegunRun(NamedTuple):
    """What must be known of a run that has begun to convert its tasks; small, and picklable.

    Attributes:
        run_id: The run.
        generation: The number of its `begin`.
        expired: What has expired in the lake.
        options: Its options.
    """

    run_id: str
    generation: int
    expired: Expired
    options: ConvertOptions
