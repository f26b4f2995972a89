"""AWS VPC Flow Logs to partitioned Parquet.

The data's way, a package for each part of it:

1. `source`: a prefix -> objects -> their bytes (on `storage`: folders and S3)
2. `blocks`: bytes -> blocks of lines
3. `rows`: blocks -> columns -> the table's columns -> pieces of one partition
4. `lake`: pieces -> Parquet files, and the ledger that makes them count

`conversion` runs them, `verification` holds a lake against its source, `samples` makes logs to try,
and `cli` is the command line. A package imports only from those named before it.

Importing flowconv opens no connection, reads no environment and configures no logging; what it
offers is imported when it is first used, as pyarrow and polars take a while.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowconv.conversion.converting import convert
    from flowconv.conversion.report import ConvertReport
    from flowconv.errors import FlowconvError
    from flowconv.lake.scanning import scan
    from flowconv.lake.status import LakeStatus, status
    from flowconv.options import ConvertOptions
    from flowconv.streaming import read
    from flowconv.verification.problems import VerifyReport
    from flowconv.verification.verifying import verify

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
        "ConvertReport": "flowconv.conversion.report",
        "FlowconvError": "flowconv.errors",
        "LakeStatus": "flowconv.lake.status",
        "VerifyReport": "flowconv.verification.problems",
        "convert": "flowconv.conversion.converting",
        "read": "flowconv.streaming",
        "scan": "flowconv.lake.scanning",
        "status": "flowconv.lake.status",
        "verify": "flowconv.verification.verifying",
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
