"""Days, patterns and a lake -> which objects of a source are chosen."""

from datetime import date
from typing import NamedTuple

from flowconv.errors import UsageError
from flowconv.source.patterns import Patterns


class Selection(NamedTuple):
    """Which objects of a source are listed.

    Attributes:
        since: First day, by the day of the objects' keys; objects without a day are left out.
        until: Last day, included; as `since`.
        patterns: Paths below the root; if the root is one object, its name.
        leave_out: Root of a lake; everything below it is left out.
        inventory: URL of the manifest of an S3 Inventory, which lists in place of requests.
    """

    since: date | None = None
    until: date | None = None
    patterns: Patterns | None = None
    leave_out: str | None = None
    inventory: str | None = None

    def require_bucket(self, root: str) -> None:
        """Check that a source is in S3 if an inventory is to list it.

        Raises:
            UsageError: It is not.
        """
        if self.inventory is not None and not root.startswith("s3://"):
            raise UsageError("--inventory: it lists a bucket of S3, and SOURCE is none.", uri=root)


ALL = Selection()
