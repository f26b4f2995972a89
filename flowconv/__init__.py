"""AWS VPC Flow Logs to partitioned Parquet.

The data's way, stage by stage:

1. `listing`: a prefix becomes log objects, each with what its key says
2. `planning`: log objects become tasks
3. `reading`: a task's objects become blocks of text (`sources`, `fetching`, `storage`)
4. `parsing`: blocks become columns as the log has them, and rejected lines (`formats`)
5. `normalising`: columns as the table has them (`fields`)
6. `partitioning`: pieces of one partition each
7. `writing`: staged Parquet files, published when their task is done

`pipeline` runs them. Importing flowconv opens no connection, reads no environment and configures
no logging; what it offers is imported when it is first used, as pyarrow and polars take a while.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowconv.errors import FlowconvError
    from flowconv.lake import scan
    from flowconv.options import ConvertOptions
    from flowconv.overview import LakeStatus, status
    from flowconv.pipeline import convert
    from flowconv.problems import VerifyReport
    from flowconv.report import ConvertReport
    from flowconv.streaming import read
    from flowconv.verifying import verify

    __version__: str

__all__ = [
    "ConvertOptions",
    "ConvertReport",
    "FlowconvError",
    "LakeStatus",
    "VerifyReport",
    "__version__",
    "convert",
    "read",
    "scan",
    "status",
    "verify",
]

# Type checkers do not see these functions, or they would take any name for one of ours.
if not TYPE_CHECKING:
    _HOMES = {
        "ConvertOptions": "flowconv.options",
        "ConvertReport": "flowconv.report",
        "FlowconvError": "flowconv.errors",
        "LakeStatus": "flowconv.overview",
        "VerifyReport": "flowconv.problems",
        "convert": "flowconv.pipeline",
        "read": "flowconv.streaming",
        "scan": "flowconv.lake",
        "status": "flowconv.overview",
        "verify": "flowconv.verifying",
    }

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            value = version("flowconv")
        elif name in _HOMES:
            from importlib import import_module

            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value  # so that this function is called once for each name
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
