"""Stage 3c, Parquet -> blocks of rows: AWS's own Parquet delivery, and what others made of it."""

from collections.abc import Iterator

from flowconv.batches import ParsedBlock
from flowconv.blocks import RowBlock
from flowconv.errors import FormatError
from flowconv.listing import LogObject
from flowconv.unpacking import Unpacked


def read_row_groups(log_object: LogObject, data: Unpacked) -> Iterator[RowBlock]:
    """Read an object of Parquet."""
    raise FormatError("this is a Parquet file", uri=log_object.uri)
    yield


def parse_rows(block: RowBlock) -> ParsedBlock:
    """Make typed columns of a block of rows."""
    raise NotImplementedError
