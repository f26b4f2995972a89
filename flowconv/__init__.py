"""AWS VPC Flow Logs to partitioned Parquet.

The packages follow the data:

1. `source`: a prefix -> objects -> their bytes (on `storage`: folders and S3)
2. `blocks`: bytes -> blocks of lines
3. `rows`: blocks -> columns -> the table's columns -> pieces of one partition
4. `lake`: pieces -> Parquet files, and the ledger that makes them count

`conversion` runs them, `verification` compares a lake with its source, `answers` is what people ask
of a lake, `catalogs` tells other engines of its tables, `upkeep` finds gaps, compacts files and
removes old days, `samples` makes sample logs, and `cli` is the command line. A package imports only
from those named before it.

The names in `__all__` are public. Each is imported when it is first used, because pyarrow and
polars take a while. Importing flowconv opens no connection, reads no environment and configures no
logging.
"""

from typing import TYPE_CHECKING

from flowconv.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from flowconv import expressions
    from flowconv.answers.ddl import ddl
    from flowconv.answers.naming import NamesReport, names
    from flowconv.answers.querying import query
    from flowconv.answers.report_pages import report
    from flowconv.answers.reporting import LakeReport
    from flowconv.catalogs.registered import RegisterReport
    from flowconv.catalogs.registering import register
    from flowconv.conversion.converting import convert
    from flowconv.conversion.report import ConvertReport
    from flowconv.errors import (
        CatalogError,
        EngineError,
        FetchError,
        FlowconvError,
        LakeError,
        ParseError,
        StorageError,
        UnreadableObjectError,
        UsageError,
    )
    from flowconv.lake.scanning import scan
    from flowconv.lake.status import LakeStatus, status
    from flowconv.options import CompactOptions, ConvertOptions, ReadOptions, VerifyOptions
    from flowconv.rows.batch import RejectedLine
    from flowconv.running import RunProgress
    from flowconv.streaming import read
    from flowconv.upkeep.compacting import CompactReport, compact
    from flowconv.upkeep.completeness import gaps
    from flowconv.upkeep.expiring import ExpireReport, expire
    from flowconv.upkeep.gap_report import GapReport
    from flowconv.verification.problems import VerifyReport
    from flowconv.verification.verifying import verify

__all__ = [
    "CatalogError",
    "CompactOptions",
    "CompactReport",
    "ConvertOptions",
    "ConvertReport",
    "EngineError",
    "ExpireReport",
    "FetchError",
    "FlowconvError",
    "GapReport",
    "LakeError",
    "LakeReport",
    "LakeStatus",
    "NamesReport",
    "ParseError",
    "ReadOptions",
    "RegisterReport",
    "RejectedLine",
    "RunProgress",
    "StorageError",
    "UnreadableObjectError",
    "UsageError",
    "VerifyOptions",
    "VerifyReport",
    "__version__",
    "compact",
    "convert",
    "ddl",
    "expire",
    "expressions",
    "gaps",
    "names",
    "query",
    "read",
    "register",
    "report",
    "scan",
    "status",
    "verify",
]

# Type checkers do not see these functions, or they would take any name for one of ours.
if not TYPE_CHECKING:
    _HOMES = {
        "CatalogError": "flowconv.errors",
        "CompactOptions": "flowconv.options",
        "CompactReport": "flowconv.upkeep.compacting",
        "ConvertOptions": "flowconv.options",
        "ConvertReport": "flowconv.conversion.report",
        "EngineError": "flowconv.errors",
        "ExpireReport": "flowconv.upkeep.expiring",
        "FetchError": "flowconv.errors",
        "FlowconvError": "flowconv.errors",
        "GapReport": "flowconv.upkeep.gap_report",
        "LakeError": "flowconv.errors",
        "LakeReport": "flowconv.answers.reporting",
        "LakeStatus": "flowconv.lake.status",
        "NamesReport": "flowconv.answers.naming",
        "ParseError": "flowconv.errors",
        "ReadOptions": "flowconv.options",
        "RegisterReport": "flowconv.catalogs.registered",
        "RejectedLine": "flowconv.rows.batch",
        "RunProgress": "flowconv.running",
        "StorageError": "flowconv.errors",
        "UnreadableObjectError": "flowconv.errors",
        "UsageError": "flowconv.errors",
        "VerifyOptions": "flowconv.options",
        "VerifyReport": "flowconv.verification.problems",
        "compact": "flowconv.upkeep.compacting",
        "convert": "flowconv.conversion.converting",
        "ddl": "flowconv.answers.ddl",
        "expressions": "flowconv.expressions",  # the module itself
        "expire": "flowconv.upkeep.expiring",
        "gaps": "flowconv.upkeep.completeness",
        "names": "flowconv.answers.naming",
        "query": "flowconv.answers.querying",
        "read": "flowconv.streaming",
        "register": "flowconv.catalogs.registering",
        "report": "flowconv.answers.report_pages",
        "scan": "flowconv.lake.scanning",
        "status": "flowconv.lake.status",
        "verify": "flowconv.verification.verifying",
    }

    def __getattr__(name):
        if name in _HOMES:
            from importlib import import_module

            home = import_module(_HOMES[name])
            value = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value  # so that this function is called once for each name
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
