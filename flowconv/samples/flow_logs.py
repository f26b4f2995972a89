"""The flow logs of sample accounts: who delivers what, and where."""

import random
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flowconv.fields import Field
from flowconv.samples.options import GenerateOptions

_WINDOWS_S: Final = (600, 60)  # the two aggregation intervals that AWS offers


@dataclass(frozen=True, slots=True)
class FlowLog:
    """A flow log: one format and aggregation interval, which AWS never lets one change."""

    id: str
    fields: "tuple[Field, ...]"
    version: int
    window_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An object before it is made.

    Attributes:
        account: Who owns its flow log.
        region: Where that is.
        log_id: Its flow log.
        end: Time in its name.
        number: Its number among all objects.
        first: It is the first of its account and region.
    """

    account: str
    region: str
    log_id: str
    end: datetime
    number: int
    first: bool

    @property
    def glued(self) -> bool:
        """Its documents are not divided by newlines, if it has documents."""
        return self.number % 2 == 1


def bad_before(number: int, share: float) -> int:
    """Count the bad lines among the first of all that are generated."""
    return number * round(share * 2**32) >> 32


def make_flow_logs(rng: random.Random, options: GenerateOptions) -> list[FlowLog]:
    """Make up the flow logs of an account in a region: their ids, formats and intervals."""
    from flowconv.fields import FIELDS, Table

    of_version = {
        version: [f for f in FIELDS[Table.VPC] if f.version <= version]
        for version in sorted(set(options.versions))
    }
    formats = list(of_version.values())
    if options.shape not in ("header", "parquet"):
        formats = formats[-1:]
    elif options.custom_orders:
        least, most = formats[0], formats[-1]
        formats += [
            rng.sample(least, k=len(least)),
            sorted(most, key=lambda f: f.name),
            rng.sample(most, k=len(most) * 2 // 3),
        ]
    return [
        FlowLog(
            id=aws_id(rng, "fl"),
            fields=tuple(fields),
            version=max(f.version for f in fields),
            window_s=_WINDOWS_S[i % len(_WINDOWS_S)],
        )
        for i, fields in enumerate(formats)
    ]


def declared_by(options: GenerateOptions) -> str | None:
    """Return what `--format` must say of the samples; None if they say it themselves."""
    from flowconv.fields import DEFAULT_FORMAT

    if options.shape in ("header", "parquet"):
        return None
    names = [f.name for f in make_flow_logs(random.Random(0), options)[0].fields]
    return "default" if tuple(names) == DEFAULT_FORMAT else " ".join(f"${{{n}}}" for n in names)


def aws_id(rng: random.Random, prefix: str) -> str:
    """Make up an id such as AWS gives its resources."""
    return f"{prefix}-0{rng.getrandbits(64):016x}"
