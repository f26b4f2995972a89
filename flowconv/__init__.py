"""AWS VPC Flow Logs to partitioned Parquet.

The data's way, stage by stage:

1. `listing`: a prefix becomes log objects, each with what its key says
2. `planning`: log objects become tasks
3. `reading`: a task's objects become blocks of text (`fetching`, `storage`)
4. `parsing`: blocks become columns as the log has them, and rejected lines (`formats`)
5. `normalising`: columns as the table has them (`fields`)
6. `partitioning`: pieces of one partition each
7. `writing`: staged Parquet files, published when their task is done

`pipeline` runs them. Importing flowconv opens no connection, reads no environment and configures
no logging.
"""

from importlib.metadata import version

from flowconv.errors import FlowconvError
from flowconv.lake import scan
from flowconv.options import ConvertOptions
from flowconv.pipeline import convert
from flowconv.report import ConvertReport
from flowconv.streaming import read

__version__ = version("flowconv")

__all__ = [
    "ConvertOptions",
    "ConvertReport",
    "FlowconvError",
    "__version__",
    "convert",
    "read",
    "scan",
]
